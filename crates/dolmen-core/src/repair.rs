//! Rebuilding what can be rebuilt.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dolmen_crypto::CryptoError;
use dolmen_format::index::{IndexedFrame, PackEntry, Segment, encode_frames};
use dolmen_format::limits::SEGMENT_PLAIN_BYTES_TARGET;
use dolmen_format::pack::{PackTable, Recipient, TRAILER_BYTES};
use dolmen_format::{
    BlobKind, FormatError, InstanceId, ObjectId, ObjectKey, ObjectKind, SegmentId,
};
use dolmen_state::state::Instance;
use dolmen_store::{ByteRange, StoreErrorKind, VersionInfo, VersionKind};
use futures_util::TryStreamExt as _;

use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, chain};
use crate::objects::Listed;
use crate::repository::Repository;

/// Bytes of a pack's end that are read at first: the table of most packs.
const TAIL_BYTES: u64 = 64 << 10;
/// Tables read at the same time.
const READS_MAX: usize = 8;

/// What a rebuilding of the index did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexReport {
    /// Packs that the new segments describe.
    pub packs: u64,
    /// Blobs in them.
    pub blobs: u64,
    /// Packs that could not be read.
    pub unreadable: Vec<Finding>,
}

/// Writes segments anew from the tables of all packs of this writer, and then removes the index objects
/// that are not what their names say. Nothing else is removed; the old segments stay.
///
/// Cost: two listings; one or two requests for each pack, one for each old segment, one put for each new.
pub fn rebuild_index(
    repository: &Repository,
    instance: &mut Instance,
    observer: &dyn Observer,
    cancel: &AtomicBool,
) -> Result<IndexReport> {
    let mut report = IndexReport::default();
    let mut packs = Vec::new();
    let prefix = format!("packs/{}/", repository.writer());
    let foreign = repository
        .objects
        .list(&prefix, |object| packs.push(object))?;
    for name in foreign {
        observer.notice(&format!("{name} is no pack"));
    }
    packs.sort_by_key(|object| object.key);
    let mut writer = SegmentWriter::new(repository, instance.id());
    for batch in packs.chunks(READS_MAX) {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        for (object, described) in batch.iter().zip(describe_all(repository, batch)?) {
            match described {
                Ok((entry, frames)) => {
                    report.packs += 1;
                    report.blobs += frames
                        .iter()
                        .map(|frame| count(frame.blobs.len()))
                        .sum::<u64>();
                    writer.push(entry, &frames)?;
                }
                Err(problem) => {
                    let finding = Finding::new(object.key.to_string(), problem);
                    observer.finding(&finding);
                    report.unreadable.push(finding);
                }
            }
        }
    }
    writer.flush()?;
    let old = old_segments(repository)?;
    let mut record = instance.record().clone();
    record.segments = old.intact.into_iter().chain(writer.written).collect();
    record.segments.sort();
    record.segments.dedup();
    instance.save(record)?;
    remove(repository, &old.junk, observer);
    Ok(report)
}

/// What a pack's table says, for a segment; or why it cannot be believed.
type Described = std::result::Result<(PackEntry, Vec<IndexedFrame>), String>;

/// Describes several packs at once, in their order.
fn describe_all(repository: &Repository, packs: &[Listed]) -> Result<Vec<Described>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = packs
            .iter()
            .map(|pack| scope.spawn(|| describe_listed(repository, pack)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            thread.join().map_err(|_panic| Error::Internal {
                what: "a reading thread died",
            })?
        });
        joined.collect()
    })
}

/// Reads a pack's end and describes it. The error within is damage, the one outside the store's failure.
fn describe_listed(repository: &Repository, pack: &Listed) -> Result<Described> {
    let mut len = pack.bytes.min(TAIL_BYTES);
    loop {
        let tail = match repository.objects.read(&pack.key, ByteRange::Last { len }) {
            Ok(tail) => tail,
            Err(error) if error.kind == StoreErrorKind::Unavailable => return Err(error.into()),
            Err(error) => return Ok(Err(chain(&error))),
        };
        let table = match PackTable::decode_tail(&tail, pack.bytes) {
            Err(FormatError::Truncated { wanted_bytes, .. })
                if count(wanted_bytes) > len && count(wanted_bytes) <= pack.bytes =>
            {
                len = count(wanted_bytes);
                continue;
            }
            decoded => decoded,
        };
        let described = table
            .map_err(CryptoError::from)
            .and_then(|table| Ok((entry(pack, &tail)?, describe_table(repository, &table)?)));
        return Ok(described.map_err(|error| chain(&error)));
    }
}

fn entry(pack: &Listed, tail: &[u8]) -> std::result::Result<PackEntry, FormatError> {
    let invalid = |field| FormatError::Invalid { field };
    let trailer = tail
        .last_chunk::<TRAILER_BYTES>()
        .ok_or_else(|| invalid("table"))?;
    Ok(PackEntry {
        pack: pack.key.id(),
        pack_bytes: u32::try_from(pack.bytes).map_err(|_error| invalid("pack"))?,
        table_bytes: u32::from_le_bytes(*trailer),
        checksum: Vec::new(),
        version: String::new(),
    })
}

/// What an original pack's table says of its frames, each descriptor verified.
pub(crate) fn describe_table(
    repository: &Repository,
    table: &PackTable,
) -> std::result::Result<Vec<IndexedFrame>, CryptoError> {
    let invalid = |field| FormatError::Invalid { field };
    let [origin] = table.origins.as_slice() else {
        return Err(invalid("origins").into());
    };
    if origin.domain != repository.domain().id() || origin.pack.is_some() {
        return Err(invalid("origins").into());
    }
    let descriptors = repository
        .domain()
        .descriptor_key(repository.id(), origin.salt)?;
    let sealed_key_digest = origin.sealed_key.digest();
    let mut frames = Vec::with_capacity(table.frames.len());
    for frame in &table.frames {
        let descriptor = descriptors.open(frame.ordinal, &frame.descriptor)?;
        let is_manifest = table.recipient == Recipient::Maintain;
        let fits = |kind: BlobKind| (kind == BlobKind::Manifest) == is_manifest;
        if descriptor.frame_hash != frame.hash
            || descriptor.sealed_key_digest != sealed_key_digest
            || !descriptor.blobs.iter().all(|blob| fits(blob.kind))
        {
            return Err(invalid("descriptor").into());
        }
        frames.push(IndexedFrame {
            frame_bytes: frame.frame_bytes,
            raw_bytes: descriptor.raw_bytes,
            compression: frame.compression,
            blobs: descriptor.blobs,
        });
    }
    Ok(frames)
}

/// Writes segments, one in memory.
struct SegmentWriter<'a> {
    repository: &'a Repository,
    instance: InstanceId,
    packs: Vec<PackEntry>,
    plain: Vec<u8>,
    written: Vec<SegmentId>,
}

impl<'a> SegmentWriter<'a> {
    fn new(repository: &'a Repository, instance: InstanceId) -> Self {
        let (packs, plain, written) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            repository,
            instance,
            packs,
            plain,
            written,
        }
    }

    fn push(&mut self, entry: PackEntry, frames: &[IndexedFrame]) -> Result<()> {
        encode_frames(frames, &mut self.plain);
        self.packs.push(entry);
        if self.plain.len() >= SEGMENT_PLAIN_BYTES_TARGET {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        if self.packs.is_empty() {
            return Ok(());
        }
        let (packs, plain) = (
            std::mem::take(&mut self.packs),
            std::mem::take(&mut self.plain),
        );
        self.written
            .push(put_segment(self.repository, self.instance, packs, plain)?);
        Ok(())
    }
}

/// Signs and puts a segment. Cost: one put.
fn put_segment(
    repository: &Repository,
    instance: InstanceId,
    packs: Vec<PackEntry>,
    plain: Vec<u8>,
) -> Result<SegmentId> {
    let salt = repository.environment.salt();
    let blobs = repository
        .domain()
        .seal_segment(&repository.id(), &salt, plain)
        .map_err(Error::encode("an index segment"))?;
    let (writer, domain) = (repository.writer(), repository.domain().id());
    let segment = Segment {
        writer,
        instance,
        domain,
        salt,
        packs,
        blobs,
    };
    let (stored, id) = repository
        .signing_key()
        .sign(&repository.id(), &segment)
        .map_err(Error::encode("an index segment"))?;
    repository
        .objects
        .put(&ObjectKey::Index(writer, id), Bytes::from(stored))?;
    Ok(id)
}

/// The index objects of the store.
#[derive(Debug, Default)]
struct OldSegments {
    /// Whose bytes are what their names say.
    intact: Vec<SegmentId>,
    /// Whose bytes are not: by definition no objects of a repository.
    junk: Vec<VersionInfo>,
}

fn old_segments(repository: &Repository) -> Result<OldSegments> {
    let objects = &repository.objects;
    let versions: Vec<VersionInfo> =
        objects.block_on(objects.store().list_versions("index/").try_collect())?;
    let mut old = OldSegments::default();
    for version in versions {
        let Ok(ObjectKey::Index(_, id)) = version.name.parse() else {
            continue;
        };
        let (VersionKind::Data, Some(object)) = (version.kind, version.object_ref()) else {
            continue;
        };
        let limit = ObjectKind::Index.bytes_max();
        let body = objects.block_on(objects.store().get(
            &object.key,
            Some(&object.version),
            None,
            limit,
        ));
        match body {
            Ok(body) if ObjectId::of(&body) == id => old.intact.push(id),
            Ok(_) => old.junk.push(version),
            Err(error) if error.kind == StoreErrorKind::Unavailable => return Err(error.into()),
            // Whatever it is, it was not read: nobody can say that it is junk.
            Err(_) => {}
        }
    }
    Ok(old)
}

/// Removes junk as far as the store lets it go: the rest stays and does no harm.
fn remove(repository: &Repository, junk: &[VersionInfo], observer: &dyn Observer) {
    let objects = &repository.objects;
    for version in junk {
        let Some(object) = version.object_ref() else {
            continue;
        };
        match objects.block_on(objects.store().delete_version(&object)) {
            Ok(()) => observer.notice(&format!("removed the damaged {}", version.name)),
            Err(error) => observer.notice(&format!("a damaged object stays: {}", chain(&error))),
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
