//! The index: segments of the store, gathered into the client's tables.

pub(crate) mod segments;

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use dolmen_format::index::{PackEntry, Segment, decode_frames};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, SegmentId, WriterId};
use dolmen_state::index::{BlobIndex, PackInfo, SeenSegment};
use dolmen_store::Version;

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, chain};
use crate::objects::{Listed, listing_of};
use crate::pack::describe::{READS_MAX, describe_all};
use crate::repository::Repository;

/// The index of a repository, as far as its segments are intact.
#[derive(Debug)]
pub struct Index {
    /// The tables.
    pub blobs: BlobIndex,
    /// The segments that they hold, as the store lists them.
    pub segments: Vec<SeenSegment>,
    /// What does not verify.
    pub findings: Findings,
}

impl Index {
    /// Loads every segment: from the tables in `cache` where they hold it, else from the store.
    ///
    /// Cost: one listing, and one request for each segment that is new to the cache.
    pub fn load(repository: &Repository, cache: Option<&Path>) -> Result<Self> {
        let mut listed = Vec::new();
        let foreign = repository.objects.list("index/", |object| {
            listed.push(object);
        })?;
        let mut segments: Vec<_> = listed.iter().flat_map(seen_copies).collect();
        segments.sort();
        let (blobs, missing) = BlobIndex::open(cache, &segments)?;
        let missing: BTreeSet<SegmentId> = missing.into_iter().collect();
        let mut index = Self {
            blobs,
            segments,
            findings: Vec::new(),
        };
        for name in foreign {
            index
                .findings
                .push(Finding::new(name, "not an object of this repository"));
        }
        // Of a segment with several versions it must be known which one is authentic.
        let is_wanted = |object: &Listed| missing.contains(&object.key.id());
        listed.retain(|object| is_wanted(object) || object.copies.len() > 1);
        let (mut unusable, mut usable) = (BTreeSet::new(), BTreeSet::new());
        let mut failed = None;
        let kind = ObjectKind::Index;
        repository
            .objects
            .fetch_all(&listed, kind, |object, fetched| {
                let (key, segments) = (&object.key, &mut index.segments);
                let added = fetched
                    .map_err(|error| Error::damaged(key.to_string(), error))
                    .and_then(|found| {
                        if is_wanted(object) {
                            add_segment(repository, &index.blobs, key, &found.body)?;
                        }
                        let authentic = seen(key.id(), &found.copy.version, found.copy.bytes);
                        segments.retain(|seen| seen.id != authentic.id || *seen == authentic);
                        Ok(())
                    });
                match added {
                    Ok(()) => {
                        usable.insert(key.id());
                    }
                    Err(Error::Damaged { source, .. }) => {
                        unusable.insert(key.id());
                        index
                            .findings
                            .push(Finding::new(key.to_string(), chain(source.as_ref())));
                    }
                    Err(error) => failed = Some(error),
                }
            });
        index
            .segments
            // Junk under another writer's name takes nothing from the one that is good.
            .retain(|segment| usable.contains(&segment.id) || !unusable.contains(&segment.id));
        match failed {
            Some(error) => return Err(error),
            None if !listed.is_empty() => index.blobs.persist(&index.segments)?,
            None => {}
        }
        index.findings.sort();
        Ok(index)
    }

    /// Adds what packs say of themselves, where a segment that is `wanted` is not there: the index is then good for
    /// reading, whatever became of segments. Returns how many packs it added.
    ///
    /// Nothing of it is kept: what a backup relies on must be in segments.
    /// Cost: nothing where all segments are there; else one listing, and one or two requests for each pack that no
    /// segment names.
    pub fn complete(&mut self, repository: &Repository, wanted: &[SegmentId]) -> Result<u64> {
        let known: BTreeSet<SegmentId> = self.segment_ids().collect();
        if wanted.iter().all(|id| known.contains(id)) {
            return Ok(0);
        }
        let mut unnamed = Vec::new();
        repository.objects.list("packs/", |pack| {
            if self.blobs.find_pack(&pack.key.id()).is_none() {
                unnamed.push(pack);
            }
        })?;
        let mut added = 0_u64;
        for batch in unnamed.chunks(READS_MAX) {
            for (pack, described) in batch.iter().zip(describe_all(repository, batch)?) {
                let Some(writer) = pack.key.writer() else {
                    continue;
                };
                match described {
                    Ok((entry, frames)) => {
                        self.blobs.add_pack(info_of(writer, &entry), &frames)?;
                        added = added.saturating_add(1);
                    }
                    Err(problem) => self
                        .findings
                        .push(Finding::new(pack.key.to_string(), problem)),
                }
            }
        }
        Ok(added)
    }

    /// The ids of the segments.
    pub fn segment_ids(&self) -> impl Iterator<Item = SegmentId> {
        self.segments.iter().map(|segment| segment.id)
    }
}

/// A pack as the index knows it, from what a segment or the pack itself states.
pub(crate) const fn info_of(writer: WriterId, entry: &PackEntry) -> PackInfo {
    PackInfo {
        pack: entry.pack,
        writer,
        pack_bytes: entry.pack_bytes,
        table_bytes: entry.table_bytes,
    }
}

/// What the cache remembers of a segment.
fn seen(id: SegmentId, version: &Version, bytes: u64) -> SeenSegment {
    let listing = listing_of(version, bytes);
    SeenSegment { id, listing }
}

/// What the listing shows of a segment: the table in the cache was read from one of these, or is not used.
fn seen_copies(object: &Listed) -> impl Iterator<Item = SeenSegment> {
    let id = object.key.id();
    object
        .copies
        .iter()
        .map(move |copy| seen(id, &copy.version, copy.bytes))
}

/// Verifies a segment and adds what it says.
fn add_segment(
    repository: &Repository,
    blobs: &BlobIndex,
    key: &ObjectKey,
    stored: &Bytes,
) -> Result<()> {
    let damaged =
        |error: Box<dyn std::error::Error + Send + Sync>| Error::damaged(key.to_string(), error);
    let writer = key.writer().unwrap_or(WriterId([0; 16]));
    let verify = repository
        .verify_key_of(writer)
        .ok_or_else(|| damaged("not signed by a known writer".into()))?;
    let (segment, _): (Segment, ObjectId) = verify
        .verify(&repository.id(), stored)
        .map_err(|error| damaged(error.into()))?;
    if segment.writer != writer || segment.domain != repository.domain().id() {
        return Err(damaged("made for another writer or domain".into()));
    }
    let Segment {
        salt,
        packs,
        blobs: mut sealed,
        ..
    } = segment;
    let plain = repository
        .domain()
        .open_segment(&repository.id(), &salt, &mut sealed)
        .map_err(|error| damaged(error.into()))?;
    // Once to be sure of all of it, and once to take it: a segment is added whole or not at all.
    decode_frames(plain, packs.len(), |_, _| {}).map_err(|error| damaged(error.into()))?;
    let mut failed = None;
    decode_frames(plain, packs.len(), |position, frames| {
        if let (Some(pack), None) = (packs.get(position), &failed) {
            failed = blobs.add_pack(info_of(writer, pack), &frames).err();
        }
    })
    .map_err(|error| damaged(error.into()))?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
