//! What all records say together. Pure, and independent of the order in which they arrived.

mod policies;
mod probes;
mod receipts;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dolmen_format::certificate::Role;
use dolmen_format::ledger::{Fact, Policy};
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::{InstanceId, ObjectId, PackId, Timestamp, WriterId};
use dolmen_state::state::Compared;

use super::{Entry, reference};
use crate::finding::{Finding, Findings};
use crate::moves::Moves;
use policies::Chained;
use trust::Trust;

pub use probes::Probes;
pub use receipts::Receipts;

/// What the ledger says.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The root's policy.
    first: PolicyRecord,
    /// The others.
    chained: Chained,
    /// The shortest protection period of all policies that are there, whether they count or not: by it the reader's
    /// half of the commit rule judges, so that no later record makes a snapshot incomplete.
    pub shortest_protect_seconds: u64,
    /// Policies that this client's user confirmed, by their records: each more than doubles a time.
    pub confirmed: BTreeSet<ObjectId>,
    /// Snapshots whose lives have ended, by their ids.
    pub retired: BTreeMap<ObjectId, Retired>,
    /// The retirements in force that maintenance signed.
    pub by_maintenance: Vec<ByMaintenance>,
    /// Packs that a holder of the read key read in full.
    pub attested: BTreeSet<PackId>,
    /// Where frames also lie, as is claimed.
    pub moves: Arc<Moves>,
    /// What this client's maintenance found of these claims.
    pub compared: Compared,
    /// Snapshots that an admin took for what they should be.
    pub accepted: BTreeSet<ObjectId>,
    /// Stores that were tried out.
    pub probes: Probes,
    /// The numbers that records use.
    pub stamps: Vec<(Stamp, ObjectId)>,
    /// What is odd about the records together.
    pub findings: Findings,
    trust: Trust,
}

/// Where a repository begins.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The root's signer.
    pub admin: WriterId,
    /// The root's policy.
    pub policy: Policy,
    /// When the store received the root.
    pub stored_at: Timestamp,
}

/// A snapshot or checkpoint, as far as others tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub reference: Reference,
    /// 0: it is a snapshot; else the checkpoint's sub-number.
    pub checkpoint: u32,
    /// What it descends from.
    pub heads: Vec<Reference>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// Its record; `None`: it stands in the root.
    pub reference: Option<Reference>,
    /// What it says.
    pub policy: Policy,
    /// When the store received it.
    pub stored_at: Timestamp,
    /// The same, or what a witness says.
    pub received: Timestamp,
    /// Whether no other policy has its place in the chain.
    pub is_sole: bool,
}

/// A retirement in force that maintenance signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByMaintenance {
    /// The record.
    pub retirement: Reference,
    /// The policy that it names.
    pub policy: Reference,
    /// The snapshots that no undo brought back.
    pub snapshots: Vec<Reference>,
    /// When the store received it.
    pub stored_at: Timestamp,
}

/// The end of a snapshot's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The snapshot.
    pub snapshot: Reference,
    /// The retirements in force that name it.
    pub by: Vec<Reference>,
    /// When the store received the first of them.
    pub first_stored_at: Timestamp,
    /// When the store received the latest of them: what the snapshot needed is kept for its lease from then on.
    pub stored_at: Timestamp,
    /// The latest time at which one of them was signed, by its signer's clock.
    pub signed_at: Timestamp,
}

/// Between what a store's clock and a signer's say of one record: beyond that one of them is wrong (DESIGN §3).
const APART_SECONDS_MAX: i64 = 24 * 60 * 60;

impl Retired {
    /// When the snapshot's life ended. That is when the store received the latest retirement; where files tell the store's
    /// time and that is more than a day before the signed one, its clock was wrong or the time was altered, and the signed
    /// one counts from when it has come. So a date in the future keeps nothing for longer than it says.
    pub fn ended_at(&self, now: Timestamp) -> Timestamp {
        let is_early = self.stored_at.saturating_add_seconds(APART_SECONDS_MAX) < self.signed_at;
        if is_early && self.signed_at <= now {
            self.signed_at
        } else {
            self.stored_at
        }
    }
}

/// Folds all records. `known` are all snapshots and checkpoints that are there: a retirement that shares its number with
/// another object counts for nothing.
pub fn fold(records: &BTreeMap<ObjectId, Entry>, known: &[Known], origin: Origin) -> Facts {
    let mut findings = Vec::new();
    let twins = Twins::find(records, known);
    let trust = Trust::judge(records, known, &twins, origin.admin, &mut findings);
    let distrusted: BTreeSet<ObjectId> = trust.distrusted.keys().copied().collect();
    let chained = policies::chain(records, &distrusted, &mut findings);
    let stamps = records.iter();
    let stamps = stamps.map(|(id, entry)| (entry.record.stamp, *id));
    let mut facts = Facts {
        shortest_protect_seconds: origin.policy.protect_seconds,
        first: PolicyRecord {
            reference: None,
            policy: origin.policy,
            stored_at: origin.stored_at,
            received: origin.stored_at,
            is_sole: true,
        },
        chained,
        confirmed: BTreeSet::new(),
        moves: Arc::new(Moves::fold(records)),
        compared: Compared::default(),
        retired: BTreeMap::new(),
        by_maintenance: Vec::new(),
        attested: BTreeSet::new(),
        accepted: BTreeSet::new(),
        probes: Probes::default(),
        stamps: stamps.collect(),
        findings,
        trust,
    };
    let undone = Undone::find(records, &distrusted);
    for (id, entry) in records {
        facts.take(*id, entry, &twins, &undone);
    }
    facts
}

/// The receipts that witnesses tell of. Those of a revoked signer count up to its cut.
pub fn receipts(records: &BTreeMap<ObjectId, Entry>, known: &[Known], admin: WriterId) -> Receipts {
    let is_witness = |entry: &Entry| matches!(entry.record.fact, Fact::Witness { .. });
    if !records.values().any(is_witness) {
        return Receipts::default();
    }
    let twins = Twins::find(records, known);
    let trust = Trust::judge(records, known, &twins, admin, &mut Vec::new());
    let trusted = records.iter();
    let trusted = trusted.filter(|(id, _)| !trust.distrusted.contains_key(id));
    Receipts::of(trusted.map(|(_, entry)| entry))
}

impl Facts {
    /// Counts lives from the store's times alone, where a server dates what it receives and nobody dates it anew.
    pub(crate) fn trust_receipts(&mut self) {
        for retired in self.retired.values_mut() {
            retired.signed_at = retired.stored_at;
        }
    }

    /// The policy in force without doubt.
    pub fn policy(&self) -> &PolicyRecord {
        self.chained.counting.last().unwrap_or(&self.first)
    }

    /// All policies that count, the root's first, the one in force last.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyRecord> {
        std::iter::once(&self.first).chain(&self.chained.counting)
    }

    /// Twins and what follows them, with the places in the chain for which they were signed.
    pub fn doubtful_policies(&self) -> impl Iterator<Item = (usize, &PolicyRecord)> {
        let doubtful = self.chained.doubtful.iter();
        doubtful.map(|(place, record)| (*place, record))
    }

    /// Those of which each may be meant to be in force: nothing says for sure which is.
    pub fn undecided_policies(&self) -> impl Iterator<Item = &PolicyRecord> {
        let places = self.chained.counting.len();
        let beyond = self.doubtful_policies().filter(move |(place, record)| {
            let id = record.reference.map(|reference| reference.digest);
            *place > places && id.is_some_and(|id| self.trusts(&id))
        });
        beyond.map(|(_, record)| record)
    }

    /// Whether nothing says for sure which policy is in force.
    pub fn is_policy_in_doubt(&self) -> bool {
        self.undecided_policies().next().is_some()
    }

    /// The record that the next policy supersedes; `None`: the root's.
    pub const fn last_policy(&self) -> Option<ObjectId> {
        self.chained.last
    }

    /// Whether a snapshot, checkpoint or record counts for anything: its signer was not revoked, or not before it.
    pub fn trusts(&self, id: &ObjectId) -> bool {
        !self.trust.distrusted.contains_key(id)
    }

    /// The signers that were revoked, with the receipt of the first revocation.
    pub const fn revoked(&self) -> &BTreeMap<WriterId, Timestamp> {
        &self.trust.revoked
    }

    /// Takes a record in.
    fn take(&mut self, id: ObjectId, entry: &Entry, twins: &Twins, undone: &Undone) {
        let stamp = &entry.record.stamp;
        let is_trusted = self.trusts(&id);
        match &entry.record.fact {
            Fact::Retirement { .. } if twins.has(stamp, id) => {
                self.findings.push(Finding::new(
                    format!("retirement {id}"),
                    "another object has its number: it counts for nothing",
                ));
            }
            Fact::Retirement { snapshots, policy } if is_trusted => {
                let named = snapshots.iter();
                let named: Vec<Reference> = named
                    .filter(|named| !undone.by_trusted.contains(&(id, named.digest)))
                    .copied()
                    .collect();
                for snapshot in &named {
                    let mut stored_at = entry.stored_at;
                    // An undo that counts no more leaves the whole lease from when that is known.
                    if let Some(undo) = undone.by_others.get(&(id, snapshot.digest)) {
                        let known = self.trust.distrusted.get(undo);
                        stored_at = stored_at.max(known.copied().unwrap_or(stored_at));
                    }
                    let signed_at = entry.record.time;
                    self.retire(*snapshot, reference(stamp, id), [stored_at, signed_at]);
                }
                if let (Role::Maintain, Some(policy)) = (entry.signer.role, policy) {
                    self.by_maintenance.push(ByMaintenance {
                        retirement: reference(stamp, id),
                        policy: *policy,
                        snapshots: named,
                        stored_at: entry.stored_at,
                    });
                }
            }
            Fact::Attestation { packs } if is_trusted => self.attested.extend(packs),
            Fact::Acceptance { snapshots } if is_trusted => {
                let named = snapshots.iter().map(|snapshot| snapshot.digest);
                self.accepted.extend(named);
            }
            Fact::Probe(probe) if is_trusted => self.probes.take(entry.record.time, id, probe),
            Fact::Policy(policy) => {
                let shortest = &mut self.shortest_protect_seconds;
                *shortest = policy.protect_seconds.min(*shortest);
            }
            Fact::Retirement { .. }
            | Fact::Attestation { .. }
            | Fact::Acceptance { .. }
            | Fact::Probe(_)
            | Fact::Undo { .. }
            | Fact::Revocation { .. }
            | Fact::Witness { .. }
            | Fact::Moves { .. } => {}
        }
    }

    fn retire(
        &mut self,
        snapshot: Reference,
        by: Reference,
        [stored_at, signed_at]: [Timestamp; 2],
    ) {
        let retired = self
            .retired
            .entry(snapshot.digest)
            .or_insert_with(|| Retired {
                snapshot,
                by: Vec::new(),
                first_stored_at: stored_at,
                stored_at,
                signed_at,
            });
        retired.by.push(by);
        retired.first_stored_at = retired.first_stored_at.min(stored_at);
        retired.stored_at = retired.stored_at.max(stored_at);
        retired.signed_at = retired.signed_at.max(signed_at);
    }
}

/// What undos take back: retirement and snapshot.
struct Undone {
    by_trusted: BTreeSet<(ObjectId, ObjectId)>,
    /// And what those of a revoked signer would, with the undo.
    by_others: BTreeMap<(ObjectId, ObjectId), ObjectId>,
}

impl Undone {
    fn find(records: &BTreeMap<ObjectId, Entry>, distrusted: &BTreeSet<ObjectId>) -> Self {
        let mut undone = Self {
            by_trusted: BTreeSet::new(),
            by_others: BTreeMap::new(),
        };
        for (id, entry) in records {
            let Fact::Undo {
                retirement,
                snapshots,
            } = &entry.record.fact
            else {
                continue;
            };
            let named = snapshots.iter();
            let pairs = named.map(|snapshot| (retirement.digest, snapshot.digest));
            if distrusted.contains(id) {
                undone.by_others.extend(pairs.map(|pair| (pair, *id)));
            } else {
                undone.by_trusted.extend(pairs);
            }
        }
        undone
    }
}

/// Numbers that several objects use, as far as these are there or a retirement tells of them: what a retirement names
/// may be deleted, and what its deletion would bring to force again would end lives at once.
struct Twins(BTreeMap<(WriterId, InstanceId, u64), BTreeSet<ObjectId>>);

impl Twins {
    fn find(records: &BTreeMap<ObjectId, Entry>, known: &[Known]) -> Self {
        let mut numbers: BTreeMap<_, BTreeSet<ObjectId>> = BTreeMap::new();
        let mut note = |named: Reference| {
            let number = (named.writer, named.instance, named.number);
            numbers.entry(number).or_default().insert(named.digest);
        };
        for (id, entry) in records {
            note(reference(&entry.record.stamp, *id));
            if let Fact::Retirement { snapshots, .. } = &entry.record.fact {
                snapshots.iter().copied().for_each(&mut note);
            }
        }
        // Checkpoints use no numbers.
        let snapshots = known.iter().filter(|one| one.checkpoint == 0);
        snapshots.map(|one| one.reference).for_each(&mut note);
        numbers.retain(|_, ids| ids.len() > 1);
        Self(numbers)
    }

    /// Whether another object has the number of this one.
    fn has(&self, stamp: &Stamp, id: ObjectId) -> bool {
        self.has_reference(&reference(stamp, id))
    }

    fn has_reference(&self, named: &Reference) -> bool {
        let number = (named.writer, named.instance, named.number);
        self.0
            .get(&number)
            .is_some_and(|ids| ids.iter().any(|id| *id != named.digest))
    }
}

#[cfg(test)]
mod tests;
