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
/// Cost: nothing for what the store stated to this run and is not due; else up to three requests each.
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
    let mut take = |key: ObjectKey, kind: ObjectKind| {
        let until = objects.protect(&key, kind).map_err(|error| match error {
            FetchError::Store(error) => Error::Store(error),
            FetchError::Altered => unprotected(&key),
        })?;
        let until = until.ok_or_else(|| unprotected(&key))?;
        earliest = earliest.into_iter().chain([until]).min();
        Ok::<(), Error>(())
    };
    for (key, _) in session.repository.standing_objects() {
        take(*key, ObjectKind::Root)?;
    }
    for (stamp, id) in &session.snapshots.facts.stamps {
        take(ObjectKey::Ledger(stamp.writer, *id), ObjectKind::Ledger)?;
    }
    for segment in segments {
        let key = ObjectKey::Index(session.repository.writer(), *segment);
        take(key, ObjectKind::Index)?;
    }
    for info in relied_packs(session, node_packs) {
        take(ObjectKey::Pack(info.writer, info.pack), ObjectKind::Pack)?;
    }
    Ok(earliest)
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
