//! The index: segments of the store, gathered into the client's tables.

pub(crate) mod segments;
mod stand_ins;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use dolmen_format::index::{IndexedFrame, PackEntry, Segment, decode_frames};
use dolmen_format::{ObjectKey, ObjectKind, PackId, SegmentId, WriterId};
use dolmen_state::SeenObject;
use dolmen_state::index::{BlobIndex, PackInfo};

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings};
use crate::moves::{Moves, gone};
use crate::objects::{Listed, seen};
use crate::pack::describe::{READS_MAX, describe_all};
use crate::repository::Repository;
use crate::verify::{self, Refusal};
pub(crate) use stand_ins::StandIns;

/// The index of a repository, as far as its segments are intact.
#[derive(Debug)]
pub struct Index {
    /// The tables.
    pub blobs: BlobIndex,
    /// The segments that they hold, as the store lists them.
    pub segments: Vec<SeenObject>,
    /// The sizes of the segments in the store.
    pub segment_bytes: BTreeMap<SegmentId, u64>,
    /// Under whose name each segment lies that is of use: elsewhere it is none.
    pub(crate) writers: BTreeMap<SegmentId, WriterId>,
    /// What does not verify.
    pub findings: Findings,
    /// Packs with a smaller number are described by segments, the others by themselves alone.
    described: u32,
}

impl Index {
    /// Loads every segment of the domains that this client knows: from the tables in `cache` where they hold it, else from the store.
    ///
    /// Cost: one listing, and one request for each segment that is new to the cache; for a client that knows no domain one
    /// more for each pack of such a segment.
    pub fn load(repository: &Repository, cache: Option<&Path>) -> Result<Self> {
        let mut listed = Vec::new();
        let foreign = repository.objects.list("index/", |object| {
            if repository.reads_index_of(object.key.writer()) {
                listed.push(object);
            }
        })?;
        let mut segments: Vec<_> = listed.iter().flat_map(seen_copies).collect();
        segments.sort();
        let (blobs, missing) = BlobIndex::open(cache, &segments)?;
        let missing: BTreeSet<SegmentId> = missing.into_iter().collect();
        let mut index = Self {
            blobs,
            segments,
            segment_bytes: listed.iter().flat_map(sizes).collect(),
            writers: listed.iter().filter_map(place).collect(),
            findings: Vec::new(),
            described: 0,
        };
        for name in foreign {
            index.findings.push(Finding::foreign(name));
        }
        // Of a segment with several versions, or under several names, it must be known which one is authentic.
        let is_wanted = |object: &Listed| missing.contains(&object.key.id());
        let copied = copied(&listed);
        listed.retain(|object| {
            is_wanted(object) || object.copies.len() > 1 || copied.contains(&object.key.id())
        });
        for object in &listed {
            index.writers.remove(&object.key.id());
        }
        index.read(repository, &listed, is_wanted)?;
        index.findings.sort();
        index.described = index.blobs.pack_count();
        Ok(index)
    }

    /// Reads segments, and adds what those say that are wanted.
    fn read(
        &mut self,
        repository: &Repository,
        listed: &[Listed],
        is_wanted: impl Fn(&Listed) -> bool,
    ) -> Result<()> {
        let (mut unusable, mut usable) = (BTreeSet::new(), BTreeSet::new());
        let (mut failed, mut outside) = (None, Vec::new());
        let kind = ObjectKind::Index;
        repository
            .objects
            .fetch_all(listed, kind, |object, fetched| {
                let key = &object.key;
                let read = match fetched {
                    Err(error) => Err(Finding::unusable(key.to_string(), &error)),
                    Ok(found) => open_segment(repository, key, &found.body)
                        .map(|opened| (opened, found.copy))
                        .map_err(|refusal| Finding::refused(key.to_string(), refusal)),
                };
                match read {
                    Err(finding) => {
                        unusable.insert(key.id());
                        self.findings.push(finding);
                    }
                    Ok((opened, copy)) => {
                        let added = is_wanted(object).then(|| opened.add_to(&self.blobs, key));
                        if opened.frames.is_none() && is_wanted(object) {
                            outside.push((*key, opened.packs));
                        }
                        failed = added.and_then(Result::err).or(failed.take());
                        let authentic = seen(key.id(), &copy.version, copy.bytes);
                        let segments = &mut self.segments;
                        segments.retain(|seen| seen.id != authentic.id || *seen == authentic);
                        self.writers.extend(place(object));
                        usable.insert(key.id());
                    }
                }
            });
        self.segments
            // Junk under another writer's name takes nothing from the one that is good.
            .retain(|segment| usable.contains(&segment.id) || !unusable.contains(&segment.id));
        for (segment, packs) in outside {
            tables::describe(repository, &self.blobs, &segment, &packs)?;
        }
        match failed {
            Some(error) => return Err(error),
            None if !listed.is_empty() => self.blobs.persist(&self.segments)?,
            None => {}
        }
        Ok(())
    }

    /// Prefers what the segments that are `wanted` say, and adds what packs say of themselves, where such a segment is not
    /// there: the index is then good for reading, whatever became of segments, and whatever others say. Returns how many
    /// packs it added.
    ///
    /// Nothing of it is kept: what a backup relies on must be in segments.
    /// Cost: nothing where all segments are there and none of them contradicts another; what [`Self::prefer`] costs; and
    /// where one is missing two listings, one or two requests for each pack that no wanted segment describes, and one for
    /// each table that tells of packs that are gone.
    pub fn complete(&mut self, repository: &Repository, wanted: &[SegmentId]) -> Result<u64> {
        let wanted: BTreeSet<SegmentId> = wanted.iter().copied().collect();
        self.prefer(repository, &wanted)?;
        let known: BTreeSet<SegmentId> = self.segment_ids().collect();
        if wanted.is_subset(&known) {
            return Ok(0);
        }
        let believed = self.blobs.described_by(&wanted);
        let is_described = |pack: &PackId| {
            let described = self.blobs.find_packs(pack);
            described.iter().any(|pack| believed.contains(*pack))
        };
        let moves = Moves::load(repository)?;
        let destinations = moves.destinations();
        let mut gone: BTreeSet<PackId> = moves.origins().copied().collect();
        gone.retain(|origin| !is_described(origin));
        let mut unnamed = Vec::new();
        repository.objects.list("packs/", |pack| {
            gone.remove(&pack.key.id());
            if !repository.reads_index_of(pack.key.writer()) {
                return;
            }
            if !is_described(&pack.key.id()) {
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
                        let info = info_of(writer, &entry);
                        let is_known = self.blobs.find_description(&info, &frames).is_some();
                        let truth = self.blobs.add_pack(info, &frames)?;
                        self.blobs.settle(truth);
                        added = added.saturating_add(u64::from(!is_known));
                    }
                    // What frames were moved to tells of their origins. A claim alone makes no pack one.
                    Err(wrong) if wrong.is_gone || destinations.contains(&pack.key) => {}
                    Err(wrong) => self
                        .findings
                        .push(Finding::new(pack.key.to_string(), wrong.problem)),
                }
            }
        }
        let (index, go_on) = (&self.blobs, AtomicBool::new(false));
        gone::describe(repository, index, &moves, &gone, &go_on, |entry, frames| {
            let truth = if let Some(known) = index.find_agreeing(&entry.pack, &frames) {
                known
            } else {
                added = added.saturating_add(1);
                index.add_pack(info_of(repository.writer(), &entry), &frames)?
            };
            index.settle(truth);
            Ok(())
        })?;
        Ok(added)
    }

    /// Takes what these segments say before what others say; where they contradict each other, what the pack says of
    /// itself. A wrong description hides nothing: it is tried last.
    ///
    /// Cost: nothing where none contradicts another; else one listing and one or two requests for each pack over which
    /// they differ.
    pub fn prefer(&self, repository: &Repository, segments: &BTreeSet<SegmentId>) -> Result<()> {
        self.blobs.prefer(segments);
        for batch in self.blobs.contested().chunks(READS_MAX) {
            let mut packs = Vec::new();
            for key in batch.iter().flat_map(|pack| self.keys_of(pack)) {
                repository.objects.list(&key.to_string(), |object| {
                    if object.key == key {
                        packs.push(object);
                    }
                })?;
            }
            for (pack, described) in packs.iter().zip(describe_all(repository, &packs)?) {
                if let (Some(writer), Ok((entry, frames))) = (pack.key.writer(), described) {
                    let truth = self.blobs.add_pack(info_of(writer, &entry), &frames)?;
                    self.blobs.settle(truth);
                }
            }
        }
        Ok(())
    }

    /// Where descriptions say that a pack lies: a key for each writer.
    fn keys_of(&self, pack: &PackId) -> BTreeSet<ObjectKey> {
        let described = self.blobs.find_packs(pack).into_iter();
        let infos = described.filter_map(|pack| self.blobs.pack(pack));
        infos
            .map(|info| ObjectKey::Pack(info.writer, info.pack))
            .collect()
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

/// What the listing shows of a segment: the table in the cache was read from one of these, or is not used.
fn seen_copies(object: &Listed) -> impl Iterator<Item = SeenObject> {
    let id = object.key.id();
    object
        .copies
        .iter()
        .map(move |copy| seen(id, &copy.version, copy.bytes))
}

/// A segment, and under whose name it lies.
fn place(object: &Listed) -> Option<(SegmentId, WriterId)> {
    Some((object.key.id(), object.key.writer()?))
}

/// Segments that lie under several names.
fn copied(listed: &[Listed]) -> BTreeSet<SegmentId> {
    let (mut seen, mut copied) = (BTreeSet::new(), BTreeSet::new());
    for object in listed {
        if !seen.insert(object.key.id()) {
            copied.insert(object.key.id());
        }
    }
    copied
}

/// A segment's size, once for each version of it.
fn sizes(object: &Listed) -> impl Iterator<Item = (SegmentId, u64)> {
    let id = object.key.id();
    object.copies.iter().map(move |copy| (id, copy.bytes))
}

/// What a segment says, verified.
pub(crate) struct OpenedSegment {
    packs: Vec<PackEntry>,
    /// `None`: this client knows no domain.
    frames: Option<Vec<u8>>,
}

/// Verifies and decrypts a segment.
pub(crate) fn open_segment(
    repository: &Repository,
    key: &ObjectKey,
    stored: &Bytes,
) -> std::result::Result<OpenedSegment, Refusal> {
    let (segment, _) = verify::verify(repository, key, stored, |body: &Segment| body.writer)?;
    let foreign = || Refusal::foreign("made for another domain");
    if !repository.writes_into(segment.writer, &segment.domain) {
        return Err(foreign());
    }
    let keys = repository.keys();
    let Segment {
        salt,
        packs,
        mut blobs,
        ..
    } = segment;
    if keys.is_blind() {
        let frames = None;
        return Ok(OpenedSegment { packs, frames });
    }
    let domain = keys.domain(&segment.domain).ok_or_else(foreign)?;
    let plain = domain
        .open_segment(&repository.id(), &salt, &mut blobs)
        .map_err(|error| Refusal::unknown(&error))?;
    // Once to be sure of all of it, and once to take it: a segment is taken whole or not at all.
    decode_frames(plain, packs.len(), |_, _| {}).map_err(|error| Refusal::unknown(&error))?;
    let frames = Some(plain.to_vec());
    Ok(OpenedSegment { packs, frames })
}

impl OpenedSegment {
    /// Adds what it says to tables.
    fn add_to(&self, blobs: &BlobIndex, key: &ObjectKey) -> Result<()> {
        let writer = key.writer().unwrap_or(WriterId([0; 16]));
        self.for_each_pack(|entry, frames| {
            let pack = blobs.add_pack(info_of(writer, entry), &frames)?;
            blobs.note_source(pack, key.id());
            Ok(())
        })
    }

    /// Visits each pack with its frames.
    pub(crate) fn for_each_pack(
        &self,
        mut visit: impl FnMut(&PackEntry, Vec<IndexedFrame>) -> Result<()>,
    ) -> Result<()> {
        let mut outcome = Ok(());
        let Some(frames) = &self.frames else {
            return Ok(());
        };
        decode_frames(frames, self.packs.len(), |position, frames| {
            if let (Some(pack), Ok(())) = (self.packs.get(position), &outcome) {
                outcome = visit(pack, frames);
            }
        })
        .map_err(Error::encode_format("an index segment"))?;
        outcome
    }
}
