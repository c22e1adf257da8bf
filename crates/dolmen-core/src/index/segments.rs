//! Writing index segments.

use bytes::Bytes;
use dolmen_format::index::{IndexedFrame, PackEntry, Segment, encode_frames};
use dolmen_format::limits::SEGMENT_PLAIN_BYTES_TARGET;
use dolmen_format::{InstanceId, ObjectKey, PackId};
use dolmen_state::SeenObject;

use crate::error::{Error, Result};
use crate::objects::seen;
use crate::repository::Repository;

/// Gathers what packs hold into segments; one is in memory, 8 MiB of it at most.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    instance: InstanceId,
    packs: Vec<PackEntry>,
    plain: Vec<u8>,
    written: Vec<WrittenSegment>,
}

/// A segment that is in the store.
#[derive(Debug, Clone)]
pub(crate) struct WrittenSegment {
    pub(crate) seen: SeenObject,
    /// The packs that it describes, until somebody takes them.
    pub(crate) packs: Vec<PackId>,
}

impl SegmentWriter {
    /// Writes as an instance of this client.
    pub(crate) const fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            packs: Vec::new(),
            plain: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Adds a stored pack; writes a segment when it is full. Cost: at most one put.
    pub(crate) fn push(
        &mut self,
        repository: &Repository,
        entry: PackEntry,
        frames: &[IndexedFrame],
    ) -> Result<()> {
        encode_frames(frames, &mut self.plain);
        self.packs.push(entry);
        if self.plain.len() >= SEGMENT_PLAIN_BYTES_TARGET {
            self.flush(repository)?;
        }
        Ok(())
    }

    /// Adds a pack unless the next segment holds it already. Cost: as [`Self::push`].
    pub(crate) fn push_once(
        &mut self,
        repository: &Repository,
        entry: &PackEntry,
        frames: &[IndexedFrame],
    ) -> Result<()> {
        if self.packs.iter().any(|pending| pending.pack == entry.pack) {
            return Ok(());
        }
        self.push(repository, entry.clone(), frames)
    }

    /// Bytes that the next segment holds so far, before they are encrypted.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Writes what was gathered. Cost: one put, none where nothing was.
    pub(crate) fn flush(&mut self, repository: &Repository) -> Result<()> {
        if self.packs.is_empty() {
            return Ok(());
        }
        let packs = std::mem::take(&mut self.packs);
        let plain = std::mem::take(&mut self.plain);
        let ids = packs.iter().map(|entry| entry.pack).collect();
        let seen = self.put(repository, packs, plain)?;
        self.written.push(WrittenSegment { seen, packs: ids });
        Ok(())
    }

    /// The segments that are in the store.
    pub(crate) fn written(&self) -> &[WrittenSegment] {
        &self.written
    }

    /// The segments that are in the store, each with the packs that were not taken yet.
    pub(crate) fn take_packs(&mut self) -> Vec<WrittenSegment> {
        let take = |segment: &mut WrittenSegment| WrittenSegment {
            seen: segment.seen,
            packs: std::mem::take(&mut segment.packs),
        };
        self.written.iter_mut().map(take).collect()
    }

    fn put(
        &self,
        repository: &Repository,
        packs: Vec<PackEntry>,
        plain: Vec<u8>,
    ) -> Result<SeenObject> {
        let encode = || Error::encode("an index segment");
        let (writer, domain) = (repository.writer(), repository.keys().home()?);
        let salt = repository.environment.salt();
        let blobs = domain
            .seal_segment(&repository.id(), &salt, plain)
            .map_err(encode())?;
        let segment = Segment {
            writer,
            instance: self.instance,
            domain: domain.id(),
            salt,
            packs,
            blobs,
        };
        let signed = repository.keys().signing().sign(&repository.id(), &segment);
        let (stored, id) = signed.map_err(encode())?;
        let bytes = u64::try_from(stored.len()).unwrap_or(u64::MAX);
        let receipt = repository
            .objects
            .put(&ObjectKey::Index(writer, id), Bytes::from(stored))?;
        Ok(seen(id, &receipt.object.version, bytes))
    }
}
