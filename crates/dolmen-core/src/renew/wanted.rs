//! What is renewed besides packs.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::{ObjectId, ObjectKey, SnapshotId, WriterId};
use dolmen_state::state::Sightings;

use crate::lives::Life;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// Needed objects.
pub(super) type Promised = BTreeMap<ObjectId, Promise>;

/// Why an object is renewed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    /// The longest promise in seconds of what needs it; 0 is the protection period.
    pub(super) seconds: u64,
    /// Under whose name it is of use; `None`: it has none, or that is not known before anything is read.
    writer: Option<WriterId>,
}

impl Promise {
    /// Of an object that lies wherever its like may.
    pub(super) const fn anywhere(seconds: u64) -> Self {
        Self {
            seconds,
            writer: None,
        }
    }

    const fn of(key: &ObjectKey, seconds: u64) -> Self {
        Self {
            seconds,
            writer: key.writer(),
        }
    }

    /// Whether it may be the object that lies there.
    pub(super) fn is_for(&self, key: &ObjectKey) -> bool {
        self.writer.is_none() || self.writer == key.writer()
    }
}

/// What is renewed besides packs, by where it lies: what the store shows, and what was seen.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) roots: Promised,
    pub(super) keys: Promised,
    pub(super) records: Promised,
    pub(super) snapshots: Promised,
    pub(super) segments: Promised,
    /// Objects of which it was told already that the store does not give them.
    pub(super) told: BTreeSet<ObjectId>,
}

impl Wanted {
    pub(super) fn gather(
        repository: &Repository,
        list: &SnapshotList,
        sightings: &Sightings,
        lives: &[(&SnapshotEntry, Life)],
        promises: &BTreeMap<SnapshotId, u64>,
    ) -> Self {
        // Every snapshot needs what stands.
        let longest = promises.values().copied().max().unwrap_or(0);
        let seen = |prefix| seen(sightings, prefix, longest);
        let mut wanted = Self {
            roots: seen("root/"),
            keys: seen("keys/"),
            records: seen("ledger/"),
            snapshots: seen("snapshots/"),
            segments: Promised::new(),
            told: list.recalled.objects.keys().map(ObjectKey::id).collect(),
        };
        for (key, _) in repository.standing_objects() {
            let stands = match key {
                ObjectKey::Root(_) => &mut wanted.roots,
                _ => &mut wanted.keys,
            };
            stands.insert(key.id(), Promise::of(key, longest));
        }
        for (stamp, id) in &list.facts.stamps {
            let key = ObjectKey::Ledger(stamp.writer, *id);
            wanted.records.insert(*id, Promise::of(&key, longest));
        }
        for (entry, life) in lives {
            if *life != Life::Live {
                wanted.snapshots.remove(&entry.id);
                continue;
            }
            let promise = promises.get(&entry.id).copied().unwrap_or(0);
            let own = Promise::of(&entry.key(), promise);
            wanted.snapshots.insert(entry.id, own);
            for segment in &entry.snapshot.segments {
                let segments = wanted.segments.entry(*segment);
                let longest = &mut segments.or_insert(Promise::anywhere(promise)).seconds;
                *longest = promise.max(*longest);
            }
        }
        wanted
    }
}

/// What was seen of a kind.
fn seen(sightings: &Sightings, prefix: &str, promise_seconds: u64) -> Promised {
    let seen = sightings.of_kind(prefix);
    let keys = seen.filter_map(|(key, _)| key.parse::<ObjectKey>().ok());
    keys.map(|key| (key.id(), Promise::of(&key, promise_seconds)))
        .collect()
}
