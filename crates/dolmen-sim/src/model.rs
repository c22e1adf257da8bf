//! What must hold, told plainly: which snapshots are promised, and until when.
//!
//! The model shares no rule with the code that it judges. It reads signed facts from the raw store, remembers all that it
//! ever saw, and decides with few words. Where nothing is locked, a snapshot is promised while no retirement in force names
//! it, and for L + M after the last one that does was received. Where locks are kept, it is promised for L after its backup
//! reported success, and for L + M after each renewal that found it alive; whatever it needs is locked for as long. A hold
//! in force has no end. Where the bucket deletes what is hidden, that takes the place of the lock's end: D after it was hidden
//! or covered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use dolmen_crypto::VerifyKey;
use dolmen_format::ledger::{Fact, LockStrategy, Policy, Record};
use dolmen_format::signed::Stamp;
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{ObjectId, ObjectKey, SnapshotId, Timestamp, WriterId};
use dolmen_store::{
    LockStatus, MemoryStore, Store as _, StoreKey, Version, VersionInfo, VersionKind,
};
use futures_util::TryStreamExt as _;

use crate::error::SimError;
use crate::files::Picture;
use crate::kit::{DAY, Kit};
use crate::needs::{Needs, Places};
use crate::theft::{HIDDEN_DAYS, Keeping};

/// A version of a key with its bytes.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its key.
    pub key: StoreKey,
    /// Its version.
    pub version: Version,
    /// When it was received at the latest.
    pub received: Timestamp,
    /// When it was received at the earliest: clocks of stores are coarse.
    pub earliest: Timestamp,
    /// Its bytes.
    pub body: Bytes,
    /// Whether its bytes are what its name says.
    pub is_authentic: bool,
    /// Whether the plain view shows it.
    pub is_plain: bool,
    /// Until when the store keeps it, [`EVER`] while it is held or shown; `None`: it does not.
    pub locked_until: Option<Timestamp>,
}

/// No end is known.
pub const EVER: Timestamp = Timestamp::from_seconds(i64::MAX);

/// Every version that the store has, whatever is on top.
pub fn all_versions(kit: &Kit) -> Result<Vec<Stored>, SimError> {
    let store: &MemoryStore = &kit.store;
    kit.block_on(async {
        let lines: Vec<VersionInfo> = store.list_versions("").try_collect().await?;
        let mut all = Vec::new();
        for line in &lines {
            let (VersionKind::Data, Some(object)) = (line.kind, line.object_ref()) else {
                continue;
            };
            let version = Some(&object.version);
            let body = store.get(&object.key, version, None, u64::MAX).await?;
            let id = line.name.parse::<ObjectKey>().ok().map(|key| key.id());
            let locked_until = if kit.keeping.has_locks() {
                match store.lock_of(&object).await? {
                    LockStatus::Held { .. } => Some(EVER),
                    status => status.retention().map(|lock| lock.until),
                }
            } else if kit.keeping.is_renewed() {
                Some(shown_until(&lines, line))
            } else {
                None
            };
            all.push(Stored {
                is_authentic: id == Some(ObjectId::of(&body)),
                is_plain: line.is_current,
                locked_until,
                key: object.key,
                version: object.version,
                received: line.stored_at.latest,
                earliest: line.stored_at.earliest,
                body,
            });
        }
        Ok(all)
    })
}

/// Until when the bucket's rules leave a version that is hidden or covered.
fn shown_until(lines: &[VersionInfo], line: &VersionInfo) -> Timestamp {
    let number = |line: &VersionInfo| line.version.as_str().parse::<u64>().unwrap_or(0);
    let of_name = lines.iter().filter(|other| other.name == line.name);
    let later = of_name.filter(|other| number(other) > number(line));
    let cover = later.min_by_key(|other| number(other));
    cover.map_or(EVER, |cover| {
        let kept_seconds = DAY.saturating_mul(i64::from(HIDDEN_DAYS));
        cover
            .stored_at
            .earliest
            .saturating_add_seconds(kept_seconds)
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
    /// What it needs.
    pub needs: Needs,
    /// Its lease has lapsed: nothing is promised any more.
    pub has_lapsed: bool,
    /// Something that it needs was destroyed, or lost its lock, by whom nothing is promised against.
    pub is_broken: bool,
    /// When a person brought it back after that, and nothing was missing.
    pub revived_at: Option<Timestamp>,
    /// When the store received it.
    pub received: Timestamp,
    /// Until when it is promised at least, where locks are kept.
    pub until: Timestamp,
}

/// A fact that was seen.
#[derive(Debug, Clone)]
struct Seen {
    record: Record,
    received: Timestamp,
    earliest: Timestamp,
}

/// What counts of the policies at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// L in seconds.
    pub protect_seconds: i64,
    /// I in seconds.
    pub interval_seconds: i64,
    /// Whether what is stored is kept by locks, or by what the plain view shows.
    pub is_kept: bool,
}

impl Terms {
    fn of(policy: &Policy) -> Self {
        let seconds = |seconds| i64::try_from(seconds).unwrap_or(i64::MAX);
        Self {
            protect_seconds: seconds(policy.protect_seconds),
            interval_seconds: seconds(policy.interval_seconds),
            is_kept: policy.lock != LockStrategy::None,
        }
    }

    /// L + M in seconds.
    fn lease_seconds(&self) -> i64 {
        let margin = self.interval_seconds.saturating_mul(3);
        self.protect_seconds.saturating_add(margin)
    }
}

/// All that is promised.
#[derive(Debug)]
pub struct Model {
    admin: VerifyKey,
    writer: WriterId,
    created: Timestamp,
    first: Policy,
    is_renewed: bool,
    /// What is renewed like what lives, by keys, and until when it is promised.
    standing: BTreeMap<String, Timestamp>,
    records: BTreeMap<ObjectId, Seen>,
    /// Snapshots that are in the store now, whoever made them.
    stamps: BTreeMap<ObjectId, Stamp>,
    /// Where this world's own machines moved frames to.
    pub places: Places,
    /// By their ids.
    pub promises: BTreeMap<SnapshotId, Promise>,
}

impl Model {
    /// Nothing is promised yet.
    pub fn new(admin: VerifyKey, created: Timestamp, keeping: &Keeping) -> Self {
        Self {
            first: keeping.first_policy(),
            is_renewed: keeping.is_renewed(),
            standing: BTreeMap::new(),
            writer: admin.writer_id(),
            admin,
            created,
            records: BTreeMap::new(),
            stamps: BTreeMap::new(),
            places: Places::default(),
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
                        self.note(id, record, stored);
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
        if self.is_renewed {
            return self.promises.get(id).is_some_and(|one| one.until <= now);
        }
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
        self.terms_at(now).lease_seconds()
    }

    fn note(&mut self, id: ObjectId, record: Record, stored: &Stored) {
        if record.stamp.writer != self.writer || record.certificate.is_some() {
            return;
        }
        let (received, earliest) = (stored.received, stored.earliest);
        let seen = self.records.entry(id).or_insert(Seen {
            record,
            received,
            earliest,
        });
        seen.received = received.min(seen.received);
        seen.earliest = earliest.min(seen.earliest);
    }

    /// Notes where a record that an honest machine wrote says that frames now lie.
    pub fn note_moves(&mut self, record: &ObjectId) {
        if let Some(seen) = self.records.get(record)
            && let Fact::Moves { pack, runs } = &seen.record.fact
        {
            self.places.note(self.writer, pack.pack, runs);
        }
    }

    /// Whether an object can be what its place says: a record of the ledger bears its writer's signature.
    pub fn is_valid(&self, kit: &Kit, stored: &Stored) -> bool {
        let is_record = matches!(stored.key.as_str().parse(), Ok(ObjectKey::Ledger(..)));
        let is_signed = || self.admin.verify::<Record>(&kit.id, &stored.body).is_ok();
        stored.is_authentic && (!is_record || is_signed())
    }

    /// The records that were ever seen.
    pub fn record_ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.records.keys().copied()
    }

    /// The keys of the records that the store had received by a time.
    pub fn records_at(&self, at: Timestamp) -> Vec<String> {
        let seen = self.records.iter().filter(|(_, seen)| seen.received <= at);
        seen.map(|(id, _)| ObjectKey::Ledger(self.writer, *id).to_string())
            .collect()
    }

    /// The records that say something of what is promised, in the order in which they were received.
    pub fn facts(&self) -> Vec<(ObjectId, &Record)> {
        let mut seen: Vec<_> = self.records.iter().collect();
        seen.sort_by_key(|(id, seen)| (seen.received, **id));
        seen.into_iter()
            .map(|(id, seen)| (*id, &seen.record))
            .collect()
    }

    /// All snapshots that were ever promised, in the order in which they were.
    pub fn ids(&self) -> Vec<SnapshotId> {
        let mut promises: Vec<_> = self.promises.values().collect();
        promises.sort_by_key(|promise| promise.number);
        promises.into_iter().map(|promise| promise.id).collect()
    }

    /// The promises that hold.
    pub fn held(&self) -> impl Iterator<Item = &Promise> {
        let all = self.promises.values();
        all.filter(|promise| !promise.has_lapsed && !promise.is_broken)
    }

    /// Snapshots that live, be it that something was destroyed that they need.
    pub fn living(&self) -> impl Iterator<Item = &Promise> {
        let all = self.promises.values();
        all.filter(|promise| self.lives(&promise.id))
    }

    /// Notes that nothing is promised any more of what lacks something, or a lock for as long: against whoever may bypass
    /// governance or lift holds nothing is promised (`docs/threats.md`). What only lost its locks is promised again once it
    /// was renewed.
    pub fn note_destroyed(&mut self, all: &[Stored]) {
        let mut kept: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for stored in all.iter().filter(|stored| stored.is_authentic) {
            let until = stored.locked_until.unwrap_or_default();
            let latest = kept.entry(stored.key.as_str()).or_insert(until);
            *latest = until.max(*latest);
        }
        for promise in self.promises.values_mut() {
            let is_kept = |key: &str| kept.get(key).is_some_and(|until| *until >= promise.until);
            promise.is_broken |= self.places.lacks(&promise.needs, is_kept).is_some();
        }
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

    /// Whether a snapshot lived at a time, as far as retirements tell that the store had then.
    pub fn lived_at(&self, id: &SnapshotId, at: Timestamp) -> bool {
        let Some(promise) = self.promises.get(id) else {
            return false;
        };
        let ends = self.records.iter().any(|(record, seen)| {
            let names = matches!(&seen.record.fact, Fact::Retirement { snapshots, .. }
                if snapshots.iter().any(|named| named.digest == *id));
            // What ends a life within the same second may have come first.
            let counts = names && seen.earliest <= at && !self.has_twin(record, &seen.record.stamp);
            counts && self.undone_at(record, id).is_none_or(|undone| undone > at)
        });
        promise.received <= at && !ends
    }

    /// Notes that everything that lived and stands was renewed at a time, as far as the store holds it.
    pub fn renewed(
        &mut self,
        at: Timestamp,
        standing: impl IntoIterator<Item = String>,
        all: &[Stored],
    ) {
        let terms = self.terms_at(at);
        if !terms.is_kept {
            return;
        }
        let until = at.saturating_add_seconds(terms.lease_seconds());
        self.stand(standing, until);
        let authentic = all.iter().filter(|stored| stored.is_authentic);
        let present: BTreeSet<_> = authentic.map(|stored| stored.key.as_str()).collect();
        for id in self.ids() {
            let lived = self.lived_at(&id, at);
            if let Some(promise) = self.promises.get_mut(&id)
                && lived
            {
                promise.until = promise.until.max(until);
                let is_present = |key: &str| present.contains(key);
                promise.is_broken &= self.places.lacks(&promise.needs, is_present).is_some();
            }
        }
    }

    /// Notes until when standing objects are promised.
    pub fn stand(&mut self, keys: impl IntoIterator<Item = String>, until: Timestamp) {
        for key in keys {
            let known = self.standing.entry(key).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Standing objects and until when they are promised.
    pub fn standing(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.standing.iter().map(|(key, at)| (key.as_str(), *at))
    }

    /// Until when at least something is locked that is put or brought back at a time; 1970 where the policy in force locks
    /// nothing: whoever has the passphrase may make it so, one old L before.
    pub fn locked_at_least(&self, at: Timestamp) -> Timestamp {
        let terms = self.terms_at(at);
        if terms.is_kept {
            at.saturating_add_seconds(terms.protect_seconds)
        } else {
            Timestamp::default()
        }
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
        let terms = self.terms_at(now);
        let delay = terms.protect_seconds.saturating_add(3) / 4;
        let lease = terms.lease_seconds();
        let ended = self.promises.keys().filter_map(|id| self.ended_at(id));
        let stored = all.iter().map(|stored| stored.received);
        let lapses = ended
            .chain(stored)
            .map(|at| at.seconds.saturating_add(lease));
        let promised = self.promises.values().map(|promise| promise.until.seconds);
        let locked = all.iter().filter_map(|stored| stored.locked_until);
        let locked = locked
            .filter(|until| *until < EVER)
            .map(|until| until.seconds);
        lapses
            .flat_map(|at| [at, at.saturating_add(delay)])
            .chain(promised)
            .chain(locked)
            .collect()
    }

    fn is_undone(&self, retirement: &ObjectId, id: &SnapshotId) -> bool {
        self.undone_at(retirement, id).is_some()
    }

    /// When a retirement was first taken back for a snapshot.
    fn undone_at(&self, retirement: &ObjectId, id: &SnapshotId) -> Option<Timestamp> {
        let undos = self.records.values().filter(|seen| {
            matches!(&seen.record.fact, Fact::Undo { retirement: named, snapshots }
                if named.digest == *retirement && snapshots.iter().any(|one| one.digest == *id))
        });
        undos.map(|seen| seen.received).min()
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

    /// What counts at a time: what the newest policy says, or one before it that protects for longer or by a lock, for as
    /// long again as that said. A longer L brings its I along.
    pub fn terms_at(&self, now: Timestamp) -> Terms {
        let mut chain = vec![(self.created, self.first.clone())];
        let later = self.policies().into_iter();
        chain.extend(later.filter(|(received, _)| *received <= now));
        let Some((_, newest)) = chain.last() else {
            return Terms::default();
        };
        let mut terms = Terms::of(newest);
        let superseded = chain.iter().skip(1).map(|(at, _)| *at);
        for ((_, policy), at) in chain.iter().zip(superseded) {
            let held = Terms::of(policy);
            if at.saturating_add_seconds(held.protect_seconds) <= now {
                continue;
            }
            if held.protect_seconds > terms.protect_seconds {
                terms.protect_seconds = held.protect_seconds;
                terms.interval_seconds = terms.interval_seconds.max(held.interval_seconds);
            }
            terms.is_kept |= held.is_kept;
        }
        terms
    }

    /// Whether the newest policy is one that the owner would have made: it locks as the first one did.
    pub fn is_policy_owned(&self) -> bool {
        let policies = self.policies();
        let newest = policies.last().map_or(&self.first, |(_, policy)| policy);
        newest.lock == self.first.lock
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
