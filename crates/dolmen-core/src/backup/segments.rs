//! Which index segments a snapshot lists, and when small ones are merged.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::limits::SEGMENT_PLAIN_BYTES_TARGET;
use dolmen_format::manifest::FrameSet;
use dolmen_format::{ObjectKey, ObjectKind, PackId, SegmentId};
use dolmen_state::index::{BlobIndex, PackSet, plan_merge};

use super::session::{Session, lock};
use crate::error::{Error, Result};
use crate::index::segments::SegmentWriter;
use crate::index::{info_of, open_segment};
use crate::objects::FetchError;

/// Small segments that a snapshot lists before some are merged with the one that is written anyway.
const SMALL_SEGMENTS_MAX: usize = 8;
/// Small segments that a snapshot lists before some are merged though none is to be written.
const IDLE_SEGMENTS_MAX: usize = 64;
/// A segment of fewer bytes is small.
const SMALL_BYTES_MAX: usize = SEGMENT_PLAIN_BYTES_TARGET / 2;

/// Whether segments may be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merging {
    /// A snapshot's: it lists what was merged instead of what it was merged from.
    WhereTooMany,
    /// A checkpoint's: the end of the run sees to it.
    Never,
}

/// Writes the last segment, and returns what the snapshot lists: the segments of its head that are of use to something
/// live, small ones merged, and those that describe the other packs that it needs. What only a
/// segment describes that nothing live lists any more is written again.
///
/// Cost: at most two puts, mostly one or none; where segments are merged one request for each, each entry being merged a logarithmic number of
/// times.
pub(super) fn list_segments(
    session: &Session<'_>,
    node_packs: &BTreeMap<PackId, FrameSet>,
    merging: Merging,
) -> Result<Vec<SegmentId>> {
    let (reuse, trust) = (&session.reuse, session.reuse.trust());
    let needed = needed_descriptions(session, node_packs);
    let mut listed = still_of_use(session, &needed);
    // What nothing live lists any more may be gone before this snapshot is there.
    listed.retain(|id| reuse.is_listed(id));
    let mut builder = lock(&session.segment);
    if merging == Merging::WhereTooMany {
        for segment in too_small(session, &listed, builder.pending_bytes()) {
            if merge(session, &mut builder, segment, &needed)? {
                listed.remove(&segment);
            }
        }
    }
    finish(session, &mut builder, &mut listed)?;
    let is_kept = |id: &SegmentId| reuse.is_listed(id);
    listed.extend(trust.segments_for(session.index, &needed, &listed, is_kept));
    for segment in trust.segments_for(session.index, &needed, &listed, |_| true) {
        merge(session, &mut builder, segment, &needed)?;
    }
    finish(session, &mut builder, &mut listed)?;
    if let Some(pack) = first_undescribed(session.index, &needed, &listed) {
        // The last segment that this client believed went meanwhile: the next run finds what is there then.
        return Err(Error::ReuseEnded { pack, ordinal: 0 });
    }
    Ok(listed.into_iter().collect())
}

/// A pack that no listed segment describes.
fn first_undescribed(
    index: &BlobIndex,
    needed: &PackSet,
    listed: &BTreeSet<SegmentId>,
) -> Option<PackId> {
    let (described, mut first) = (index.described_by(listed), None);
    index.for_each_pack(|pack, info| {
        if first.is_none() && needed.contains(pack) && !described.contains(pack) {
            first = Some(info.pack);
        }
    });
    first
}

/// Writes what was gathered, and lists it with all that this run wrote before.
fn finish(
    session: &Session<'_>,
    builder: &mut SegmentWriter,
    listed: &mut BTreeSet<SegmentId>,
) -> Result<()> {
    builder.flush(session.repository)?;
    for segment in builder.take_packs() {
        for pack in &segment.packs {
            let mut believed = session.index.find_packs(pack).into_iter();
            if let Some(pack) = believed.find(|pack| session.reuse.trusts(*pack)) {
                session.index.note_source(pack, segment.seen.id);
            }
        }
        listed.insert(segment.seen.id);
    }
    Ok(())
}

/// The descriptions of packs that the snapshot builds upon.
fn needed_descriptions(session: &Session<'_>, node_packs: &BTreeMap<PackId, FrameSet>) -> PackSet {
    let mut needed = PackSet::default();
    for pack in session.needed().keys() {
        needed.insert(*pack);
    }
    let nodes = node_packs
        .keys()
        .flat_map(|pack| session.index.find_packs(pack));
    nodes
        .filter(|pack| session.reuse.trusts(*pack))
        .for_each(|pack| needed.insert(pack));
    needed
}

/// The segments that the client's head lists, that are there, and that describe what the snapshot or another that lives
/// needs.
fn still_of_use(session: &Session<'_>, needed: &PackSet) -> BTreeSet<SegmentId> {
    let mut head: BTreeSet<SegmentId> = {
        let instance = lock(session.instance);
        instance.record().segments.iter().copied().collect()
    };
    // What this run wrote is listed anyway.
    for segment in lock(&session.segment).written() {
        head.remove(&segment.seen.id);
    }
    let live = session.reuse.live();
    let mut of_use = BTreeSet::new();
    session.index.for_each_source(|pack, segment| {
        if head.contains(segment) && (needed.contains(pack) || live.contains(pack)) {
            of_use.insert(*segment);
        }
    });
    of_use
}

/// Which of the listed segments a new one takes in, that holds `pending_bytes` of its own.
fn too_small(
    session: &Session<'_>,
    listed: &BTreeSet<SegmentId>,
    pending_bytes: usize,
) -> Vec<SegmentId> {
    let bytes = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let known = &session.loaded.segment_bytes;
    let sizes = listed.iter().filter_map(|id| Some((*known.get(id)?, *id)));
    let mut small: Vec<_> = sizes
        .filter(|(size, _)| *size < bytes(SMALL_BYTES_MAX))
        .collect();
    small.sort_by_key(|(size, id)| (Reverse(*size), *id));
    if pending_bytes == 0 && small.len() <= IDLE_SEGMENTS_MAX {
        return Vec::new();
    }
    let sizes: Vec<u64> = small.iter().map(|(size, _)| *size).collect();
    let start = plan_merge(&sizes, bytes(pending_bytes), SMALL_SEGMENTS_MAX);
    let merged = small.into_iter().skip(start);
    merged.map(|(_, id)| id).collect()
}

/// Takes over what a segment says of packs that the snapshot or something live needs, and that is believed. False where it
/// cannot be read.
///
/// Cost: one request.
fn merge(
    session: &Session<'_>,
    builder: &mut SegmentWriter,
    segment: SegmentId,
    needed: &PackSet,
) -> Result<bool> {
    let repository = session.repository;
    let key = ObjectKey::Index(repository.writer(), segment);
    let stored = match repository.objects.fetch(&key, ObjectKind::Index) {
        Ok(stored) => stored,
        Err(FetchError::Altered) => return Ok(false),
        Err(error) if error.is_missing() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let Ok(opened) = open_segment(repository, &key, &stored) else {
        return Ok(false);
    };
    let live = session.reuse.live();
    opened.for_each_pack(|entry, frames| {
        let info = info_of(repository.writer(), entry);
        let described = session.index.find_description(&info, &frames);
        let believed = described.filter(|pack| session.reuse.trusts(*pack));
        if believed.is_some_and(|pack| needed.contains(pack) || live.contains(pack)) {
            builder.push_once(repository, entry, &frames)?;
        }
        Ok(())
    })?;
    Ok(true)
}
