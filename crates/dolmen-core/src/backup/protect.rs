//! The locks that a snapshot relies on.

use std::collections::BTreeMap;

use dolmen_format::manifest::FrameSet;
use dolmen_format::{ObjectKey, ObjectKind, PackId, SegmentId, Timestamp};
use dolmen_state::index::{PackInfo, PackRef};
use dolmen_store::StoreErrorKind;

use super::session::Session;
use crate::error::{Error, Result};
use crate::objects::FetchError;

/// What becomes of objects whose locks are too short and may not be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooShort {
    /// They are put again, up to [`AGAIN_BYTES_MAX`].
    PutAgain,
    /// They are left: what is written asks for their renewal.
    Leave,
}

/// Packs that a run puts again because their locks are too short. What is beyond is for maintenance, or the next run.
const AGAIN_BYTES_MAX: u64 = 10 << 30;

/// What a snapshot relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relied {
    /// The earliest end of all locks; `None` where something has none.
    pub(super) until: Option<Timestamp>,
    /// An object whose lock ends too early.
    pub(super) short: Option<ObjectKey>,
}

/// Sees that everything is locked that a snapshot needs, standing objects included, extending what is due and may be.
///
/// Cost: see [`crate::Objects::protect_all`]; where this client may not extend, two requests for each object that is put again.
pub(super) fn protect(
    session: &Session<'_>,
    segments: &[SegmentId],
    node_packs: &BTreeMap<PackId, FrameSet>,
    too_short: TooShort,
) -> Result<Relied> {
    let objects = &session.repository.objects;
    let mut ends = Ends::new(session);
    for (kind, mut keys) in needed_objects(session, segments, node_packs) {
        keys.sort_unstable();
        keys.dedup();
        let mut failed = None;
        objects.protect_all(&keys, kind, |key, until| match until {
            Ok(until) => ends.take(*key, kind, until),
            Err(FetchError::Altered) => {
                failed.get_or_insert(unprotected(key));
            }
            Err(FetchError::Store(error)) => {
                failed.get_or_insert(Error::Store(error));
            }
        })?;
        failed.map_or(Ok(()), Err)?;
    }
    if too_short == TooShort::PutAgain {
        ends.put_again(session)?;
    }
    Ok(ends.finish())
}

/// Until when objects are locked.
struct Ends {
    /// What ends before is too short.
    wanted: Timestamp,
    /// Of what is locked for long enough.
    earliest: Option<Timestamp>,
    short: Vec<(ObjectKey, ObjectKind, Option<Timestamp>)>,
}

impl Ends {
    fn new(session: &Session<'_>) -> Self {
        let locking = session.repository.objects.locking();
        let wanted = locking.map(|locking| locking.protected_now());
        Self {
            wanted: wanted.unwrap_or_default(),
            earliest: None,
            short: Vec::new(),
        }
    }

    fn take(&mut self, key: ObjectKey, kind: ObjectKind, until: Option<Timestamp>) {
        match until {
            Some(until) if until >= self.wanted => {
                self.earliest = self.earliest.into_iter().chain([until]).min();
            }
            until => self.short.push((key, kind, until)),
        }
    }

    /// Puts again what is too short. What was put stays, however the run ends.
    fn put_again(&mut self, session: &Session<'_>) -> Result<()> {
        let short = std::mem::take(&mut self.short);
        let (mut again, mut again_bytes) = (0_u64, 0);
        for (key, kind, until) in short {
            if session.progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if again_bytes >= AGAIN_BYTES_MAX {
                self.short.push((key, kind, until));
                continue;
            }
            match session.repository.objects.put_again(&key, kind) {
                Ok((bytes, receipt)) => {
                    again = again.saturating_add(1);
                    again_bytes = again_bytes.saturating_add(bytes);
                    self.take(key, kind, receipt.locked_until);
                }
                // A policy can refuse to cover what is there, as the one does that `access print` prints for AWS: then
                // maintenance has to make it longer.
                Err(Error::Store(error)) if error.kind == StoreErrorKind::Denied => {
                    self.short.push((key, kind, until));
                }
                Err(error) => return Err(error),
            }
        }
        if again > 0 {
            session.observer.notice(&format!(
                "{} too short a lock, which this key may not extend: {again_bytes} bytes were stored again with locks of \
                 their own; run dolmen renew or maintain with a key that may",
                match again {
                    1 => "1 object has".to_owned(),
                    again => format!("{again} objects have"),
                }
            ));
        }
        Ok(())
    }

    fn finish(self) -> Relied {
        let shortest = self.short.iter().min_by_key(|(_, _, until)| *until);
        Relied {
            until: match shortest {
                Some((_, _, until)) => *until,
                None => self.earliest,
            },
            short: shortest.map(|(key, _, _)| *key),
        }
    }
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

pub(super) fn unprotected(key: &ObjectKey) -> Error {
    Error::Unprotected {
        object: key.to_string(),
    }
}
