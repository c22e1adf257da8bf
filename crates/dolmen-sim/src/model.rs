//! What must hold, told plainly: which snapshots are promised, and until when.
//!
//! The model shares no rule with the code that it judges. It reads signed facts from the raw store, remembers all that it
//! ever saw, and decides with few words: a snapshot is promised while no retirement in force names it, and for L + M after
//! the last one that does was received.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use dolmen_crypto::VerifyKey;
use dolmen_format::ledger::{Fact, Policy, Record};
use dolmen_format::signed::Stamp;
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{ObjectId, ObjectKey, SnapshotId, Timestamp, WriterId};
use dolmen_store::{MemoryStore, Store as _, StoreKey, Version, VersionInfo, VersionKind};
use futures_util::TryStreamExt as _;

use crate::error::SimError;
use crate::files::Picture;
use crate::kit::{Kit, policy};

/// A version of a key with its bytes.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its key.
    pub key: StoreKey,
    /// Its version.
    pub version: Version,
    /// When it was received.
    pub received: Timestamp,
    /// Its bytes.
    pub body: Bytes,
    /// Whether its bytes are what its name says.
    pub is_authentic: bool,
}

/// Every version that the store has, whatever is on top.
pub fn all_versions(kit: &Kit) -> Result<Vec<Stored>, SimError> {
    let store: &MemoryStore = &kit.store;
    kit.block_on(async {
        let lines: Vec<VersionInfo> = store.list_versions("").try_collect().await?;
        let mut all = Vec::new();
        for line in lines {
            let (VersionKind::Data, Some(object)) = (line.kind, line.object_ref()) else {
                continue;
            };
            let version = Some(&object.version);
            let body = store.get(&object.key, version, None, u64::MAX).await?;
            let id = line.name.parse::<ObjectKey>().ok().map(|key| key.id());
            all.push(Stored {
                is_authentic: id == Some(ObjectId::of(&body)),
                key: object.key,
                version: object.version,
                received: line.stored_at.latest,
                body,
            });
        }
        Ok(all)
    })
}

/// A snapshot that was promised.
#[derive(Debug, Clone)]
pub struct Promise {
    /// The snapshot.
    pub id: SnapshotId,
    /// How many were promised before it: an order that does not hang on hashes.
    pub number: usize,
    /// Who made it.
    pub machine: String,
    /// What was in it.
    pub picture: Arc<Picture>,
    /// The keys of all that it needs.
    pub needs: BTreeSet<String>,
    /// Its lease has lapsed: nothing is promised any more.
    pub has_lapsed: bool,
    /// When a person brought it back after that, and nothing was missing.
    pub revived_at: Option<Timestamp>,
}

/// A fact that was seen.
#[derive(Debug, Clone)]
struct Seen {
    record: Record,
    received: Timestamp,
}

/// All that is promised.
#[derive(Debug)]
pub struct Model {
    admin: VerifyKey,
    writer: WriterId,
    created: Timestamp,
    records: BTreeMap<ObjectId, Seen>,
    /// Snapshots that are in the store now, whoever made them.
    stamps: BTreeMap<ObjectId, Stamp>,
    /// By their ids.
    pub promises: BTreeMap<SnapshotId, Promise>,
}

impl Model {
    /// Nothing is promised yet.
    pub fn new(admin: VerifyKey, created: Timestamp) -> Self {
        Self {
            writer: admin.writer_id(),
            admin,
            created,
            records: BTreeMap::new(),
            stamps: BTreeMap::new(),
            promises: BTreeMap::new(),
        }
    }

    /// Looks at what the store holds, and lets promises lapse whose time is over.
    pub fn look(&mut self, kit: &Kit, all: &[Stored]) {
        self.stamps.clear();
        for stored in all.iter().filter(|stored| stored.is_authentic) {
            match stored.key.as_str().parse::<ObjectKey>() {
                Ok(ObjectKey::Ledger(writer, id)) if writer == self.writer => {
                    let verified = self.admin.verify::<Record>(&kit.id, &stored.body);
                    if let Ok((record, _)) = verified {
                        self.note(id, record, stored.received);
                    }
                }
                Ok(ObjectKey::Snapshot(writer, id)) if writer == self.writer => {
                    let verified = self.admin.verify::<Snapshot>(&kit.id, &stored.body);
                    if let Ok((snapshot, _)) = verified
                        && snapshot.checkpoint == 0
                    {
                        self.stamps.insert(id, snapshot.stamp);
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
        let now = kit.now();
        let over: Vec<_> = self
            .promises
            .keys()
            .filter(|id| self.is_over(id, now))
            .copied()
            .collect();
        for id in over {
            if let Some(promise) = self.promises.get_mut(&id) {
                promise.has_lapsed = true;
            }
        }
    }

    /// Whether the lease of a snapshot lapsed, be it that it was brought back later.
    fn is_over(&self, id: &SnapshotId, now: Timestamp) -> bool {
        let is_past = self
            .promised_until(id, now)
            .is_some_and(|until| until < now);
        let revived_at = self.promises.get(id).and_then(|one| one.revived_at);
        is_past
            || self
                .late_undo(id)
                .is_some_and(|at| revived_at.is_none_or(|since| since < at))
    }

    /// When a retirement was last taken back whose lease had lapsed by then.
    fn late_undo(&self, id: &SnapshotId) -> Option<Timestamp> {
        let undos = self
            .records
            .values()
            .filter_map(|seen| match &seen.record.fact {
                Fact::Undo {
                    retirement,
                    snapshots,
                } if snapshots.iter().any(|named| named.digest == *id) => Some((
                    self.records.get(&retirement.digest)?.received,
                    seen.received,
                )),
                _ => None,
            });
        let late = undos.filter(|(retired, undone)| {
            retired.saturating_add_seconds(self.lease_at(*undone)) < *undone
        });
        late.map(|(_, undone)| undone).max()
    }

    fn lease_at(&self, now: Timestamp) -> i64 {
        let (protect, interval) = self.terms_at(now);
        i64::try_from(protect + 3 * interval).unwrap_or(i64::MAX)
    }

    fn note(&mut self, id: ObjectId, record: Record, received: Timestamp) {
        if record.stamp.writer != self.writer || record.certificate.is_some() {
            return;
        }
        let seen = self.records.entry(id).or_insert(Seen { record, received });
        seen.received = received.min(seen.received);
    }

    /// The records that were ever seen.
    pub fn record_ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.records.keys().copied()
    }

    /// All snapshots that were ever promised, in the order in which they were.
    pub fn ids(&self) -> Vec<SnapshotId> {
        let mut promises: Vec<_> = self.promises.values().collect();
        promises.sort_by_key(|promise| promise.number);
        promises.into_iter().map(|promise| promise.id).collect()
    }

    /// The promises that hold.
    pub fn held(&self) -> impl Iterator<Item = &Promise> {
        self.promises.values().filter(|promise| !promise.has_lapsed)
    }

    /// Whether this is a snapshot that is in the store now, and no checkpoint.
    pub fn is_snapshot(&self, id: &ObjectId) -> bool {
        self.stamps.contains_key(id)
    }

    /// Whether a snapshot lives: it is promised and no retirement in force names it.
    pub fn lives(&self, id: &SnapshotId) -> bool {
        let held = self.promises.get(id).is_some_and(|one| !one.has_lapsed);
        held && self.ended_at(id).is_none()
    }

    /// When the last retirement in force was received that names a snapshot.
    pub fn ended_at(&self, id: &SnapshotId) -> Option<Timestamp> {
        let in_force = self.records.iter().filter(|(record, seen)| {
            let names = matches!(&seen.record.fact, Fact::Retirement { snapshots, .. }
                if snapshots.iter().any(|named| named.digest == *id));
            names && !self.has_twin(record, &seen.record.stamp) && !self.is_undone(record, id)
        });
        in_force.map(|(_, seen)| seen.received).max()
    }

    /// Until when a retired snapshot is promised; `None`: no end is known.
    pub fn promised_until(&self, id: &SnapshotId, now: Timestamp) -> Option<Timestamp> {
        let lease = self.lease_at(now);
        self.ended_at(id).map(|at| at.saturating_add_seconds(lease))
    }

    /// Moments at which something may change for what was retired or stored: its lapse, and when it may be deleted.
    pub fn edges(&self, all: &[Stored], now: Timestamp) -> BTreeSet<i64> {
        let (protect, _) = self.terms_at(now);
        let delay = i64::try_from(protect.div_ceil(4)).unwrap_or(i64::MAX);
        let lease = self.lease_at(now);
        let ended = self.promises.keys().filter_map(|id| self.ended_at(id));
        let stored = all.iter().map(|stored| stored.received);
        let lapses = ended
            .chain(stored)
            .map(|at| at.seconds.saturating_add(lease));
        lapses
            .flat_map(|at| [at, at.saturating_add(delay)])
            .collect()
    }

    fn is_undone(&self, retirement: &ObjectId, id: &SnapshotId) -> bool {
        self.records.values().any(|seen| {
            matches!(&seen.record.fact, Fact::Undo { retirement: named, snapshots }
                if named.digest == *retirement && snapshots.iter().any(|one| one.digest == *id))
        })
    }

    /// Whether another object has the same number, be it that a retirement tells of it.
    fn has_twin(&self, id: &ObjectId, stamp: &Stamp) -> bool {
        let records = self
            .records
            .iter()
            .map(|(id, seen)| (id, &seen.record.stamp));
        let mut all = records.chain(&self.stamps);
        all.any(|(other, used)| other != id && used == stamp)
    }

    /// L and I that count at a time, in seconds: the newest policy's, or a longer L that was promised within it.
    pub fn terms_at(&self, now: Timestamp) -> (u64, u64) {
        let mut chain = vec![(self.created, policy(crate::kit::FIRST_DAYS, None))];
        chain.extend(self.policies());
        let seconds = |policy: &Policy| i64::try_from(policy.protect_seconds).unwrap_or(i64::MAX);
        let (mut protect, mut interval) = (0, 0);
        for (place, (received, policy)) in chain.iter().enumerate() {
            if place > 0 && *received > now {
                break;
            }
            let next = chain.get(place.saturating_add(1));
            let superseded = next.map(|(at, _)| *at).filter(|at| *at <= now);
            // What was in force holds for as long again as it said.
            let counts =
                superseded.is_none_or(|at| now < at.saturating_add_seconds(seconds(policy)));
            if counts {
                protect = protect.max(policy.protect_seconds);
                interval = interval.max(policy.interval_seconds);
            }
        }
        (protect, interval)
    }

    /// The policies that supersede the root's, in their order: of two at one place neither counts, until one is superseded.
    fn policies(&self) -> Vec<(Timestamp, Policy)> {
        let policies: BTreeMap<_, _> = self
            .records
            .iter()
            .filter_map(|(id, seen)| match &seen.record.fact {
                Fact::Policy(policy) => Some((*id, (seen.received, policy.clone()))),
                _ => None,
            })
            .collect();
        let chain_of = |id: ObjectId| {
            let (mut chain, mut next) = (Vec::new(), Some(id));
            while let Some(id) = next {
                let (received, policy) = policies.get(&id)?.clone();
                next = policy.previous;
                chain.push((received, policy));
            }
            chain.reverse();
            Some(chain)
        };
        let mut chains: Vec<_> = policies.keys().filter_map(|id| chain_of(*id)).collect();
        chains.sort_by_key(Vec::len);
        while let Some(chain) = chains.pop() {
            let is_twin = |other: &Vec<_>| other.len() == chain.len();
            if !chains.last().is_some_and(is_twin) {
                return chain;
            }
            chains.retain(|other| !is_twin(other));
        }
        Vec::new()
    }

    /// The record of the policy in force that an attacker would supersede.
    pub fn newest_policy(&self) -> Option<ObjectId> {
        let policies = self.policies();
        let (_, newest) = policies.last()?;
        let is_newest =
            |seen: &Seen| matches!(&seen.record.fact, Fact::Policy(policy) if policy == newest);
        let mut found = self.records.iter().filter(|(_, seen)| is_newest(seen));
        found.next().map(|(id, _)| *id)
    }

    /// Stamps that records and snapshots use now.
    pub fn used_stamps(&self) -> Vec<(ObjectId, Stamp)> {
        let records = self
            .records
            .iter()
            .map(|(id, seen)| (*id, seen.record.stamp));
        records
            .chain(self.stamps.iter().map(|(id, stamp)| (*id, *stamp)))
            .collect()
    }
}
