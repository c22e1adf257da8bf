//! The locks that a snapshot relies on.

use std::collections::BTreeMap;

use dolmen_format::manifest::FrameSet;
use dolmen_format::{ObjectKey, ObjectKind, PackId, SegmentId, Timestamp};
use dolmen_state::index::{PackInfo, PackRef};

use super::session::Session;
use crate::error::{Error, Result};
use crate::objects::FetchError;

/// Sees that everything is locked that a snapshot needs, standing objects included, extending what is due and may be.
/// Returns the earliest end; `None` where nothing is locked at all.
///
/// Cost: see [`crate::Objects::protect_all`].
pub(super) fn protect(
    session: &Session<'_>,
    segments: &[SegmentId],
    node_packs: &BTreeMap<PackId, FrameSet>,
) -> Result<Option<Timestamp>> {
    let objects = &session.repository.objects;
    if objects.locking().is_none() {
        return Ok(None);
    }
    let mut earliest: Option<Timestamp> = None;
    for (kind, mut keys) in needed_objects(session, segments, node_packs) {
        keys.sort_unstable();
        keys.dedup();
        let mut failed = None;
        objects.protect_all(&keys, kind, |key, until| match until {
            Ok(Some(until)) => earliest = earliest.into_iter().chain([until]).min(),
            Ok(None) | Err(FetchError::Altered) => {
                failed.get_or_insert(unprotected(key));
            }
            Err(FetchError::Store(error)) => {
                failed.get_or_insert(Error::Store(error));
            }
        })?;
        failed.map_or(Ok(()), Err)?;
    }
    Ok(earliest)
}

/// Everything that must be locked, by kind.
fn needed_objects(
    session: &Session<'_>,
    segments: &[SegmentId],
    node_packs: &BTreeMap<PackId, FrameSet>,
) -> [(ObjectKind, Vec<ObjectKey>); 4] {
    let repository = session.repository;
    let standing = repository.standing_objects().iter();
    let records = session.snapshots.facts.stamps.iter();
    let records = records.map(|(stamp, id)| ObjectKey::Ledger(stamp.writer, *id));
    let segments = segments.iter();
    let segments = segments.map(|segment| ObjectKey::Index(repository.writer(), *segment));
    let packs = relied_packs(session, node_packs).into_iter();
    let packs = packs.map(|info| ObjectKey::Pack(info.writer, info.pack));
    [
        (ObjectKind::Root, standing.map(|(key, _)| *key).collect()),
        (ObjectKind::Ledger, records.collect()),
        (ObjectKind::Index, segments.collect()),
        (ObjectKind::Pack, packs.collect()),
    ]
}

/// The packs that must be locked: for those whose frames were all moved, where these lie now. Compaction lets an origin
/// go, and whoever went on extending it would keep its dead bytes for ever.
fn relied_packs(session: &Session<'_>, node_packs: &BTreeMap<PackId, FrameSet>) -> Vec<PackInfo> {
    let mut relied: BTreeMap<PackId, PackInfo> = BTreeMap::new();
    let mut rely = |pack: PackRef, frames: &FrameSet| {
        let Some(origin) = session.index.pack(pack) else {
            return;
        };
        let moved = frames
            .iter()
            .map(|ordinal| session.moved.find(pack, ordinal));
        let moved = session.moved.names(pack).then(|| moved.collect()).flatten();
        for info in moved.unwrap_or_else(|| vec![origin]) {
            relied.insert(info.pack, info);
        }
    };
    let needed: Vec<PackRef> = session.needed().keys().copied().collect();
    for pack in needed {
        let frames = session.needed().get(&pack).cloned();
        rely(pack, &frames.unwrap_or_default());
    }
    for (pack, frames) in node_packs {
        if let Some(pack) = session.index.find_pack(pack) {
            rely(pack, frames);
        }
    }
    relied.into_values().collect()
}

fn unprotected(key: &ObjectKey) -> Error {
    Error::Unprotected {
        object: key.to_string(),
    }
}
