//! The locks that a snapshot relies on.

use std::collections::BTreeSet;

use dolmen_format::{ObjectKey, ObjectKind, PackId, SegmentId, Timestamp};

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
    node_packs: &BTreeSet<PackId>,
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
    let needed: Vec<_> = session.needed().keys().copied().collect();
    let nodes = node_packs
        .iter()
        .filter_map(|pack| session.index.find_pack(pack));
    for pack in needed.into_iter().chain(nodes) {
        if let Some(info) = session.index.pack(pack) {
            take(ObjectKey::Pack(info.writer, info.pack), ObjectKind::Pack)?;
        }
    }
    Ok(earliest)
}

fn unprotected(key: &ObjectKey) -> Error {
    Error::Unprotected {
        object: key.to_string(),
    }
}
