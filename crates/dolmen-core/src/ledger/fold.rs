//! What all records say together. Pure, and independent of the order in which they arrived.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::ledger::{Fact, Policy};
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::{InstanceId, ObjectId, PackId, Timestamp, WriterId};

use super::{Entry, reference};
use crate::finding::{Finding, Findings};

/// What the ledger says.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The root's policy.
    first: PolicyRecord,
    /// Those that supersede it and count, each superseded by the next; the last is in force.
    superseding: Vec<PolicyRecord>,
    /// The shortest protection period of all policies that are there, whether they count or not: by it the reader's
    /// half of the commit rule judges, so that no later record makes a snapshot incomplete.
    pub shortest_protect_seconds: u64,
    /// Policies that this client's user confirmed, by their records: each more than doubles a time.
    pub confirmed: BTreeSet<ObjectId>,
    /// Snapshots whose lives have ended, by their ids.
    pub retired: BTreeMap<ObjectId, Retired>,
    /// Packs that a holder of the read key read in full.
    pub attested: BTreeSet<PackId>,
    /// The numbers that records use.
    pub stamps: Vec<(Stamp, ObjectId)>,
    /// What is odd about the records together.
    pub findings: Findings,
}

/// A policy that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// Its record; `None`: it stands in the root.
    pub reference: Option<Reference>,
    /// What it says.
    pub policy: Policy,
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
    /// When the store received the latest of them: what the snapshot needed is kept for its lease from then on.
    pub stored_at: Timestamp,
}

/// Folds all records. `first` is the root's policy. `others` are the numbers that snapshots use: a retirement that
/// shares its number with another object counts for nothing.
pub fn fold(
    records: &BTreeMap<ObjectId, Entry>,
    others: &[(Stamp, ObjectId)],
    first: PolicyRecord,
) -> Facts {
    let mut facts = Facts {
        shortest_protect_seconds: first.policy.protect_seconds,
        first,
        superseding: Vec::new(),
        confirmed: BTreeSet::new(),
        retired: BTreeMap::new(),
        attested: BTreeSet::new(),
        stamps: Vec::new(),
        findings: Vec::new(),
    };
    let twins = Twins::find(records, others);
    facts.stamps = records
        .iter()
        .map(|(id, entry)| (entry.record.stamp, *id))
        .collect();
    facts.superseding = superseding(records, &mut facts.findings);
    let undone = undone(records);
    for (id, entry) in records {
        match &entry.record.fact {
            Fact::Retirement { .. } if twins.voids(&entry.record.stamp, *id) => {
                facts.findings.push(Finding::new(
                    format!("retirement {id}"),
                    "another object has its number: it counts for nothing",
                ));
            }
            Fact::Retirement { snapshots, .. } => {
                let named = snapshots
                    .iter()
                    .filter(|named| !undone.contains(&(*id, named.digest)));
                for snapshot in named {
                    facts.retire(*snapshot, reference(&entry.record.stamp, *id), entry);
                }
            }
            Fact::Attestation { packs } => facts.attested.extend(packs),
            Fact::Policy(policy) => {
                let shortest = &mut facts.shortest_protect_seconds;
                *shortest = policy.protect_seconds.min(*shortest);
            }
            Fact::Undo { .. }
            | Fact::Revocation { .. }
            | Fact::Witness { .. }
            | Fact::Moves { .. } => {}
        }
    }
    facts
}

impl Facts {
    /// The policy in force.
    pub fn policy(&self) -> &PolicyRecord {
        self.superseding.last().unwrap_or(&self.first)
    }

    /// All policies that count, the root's first, the one in force last.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyRecord> {
        std::iter::once(&self.first).chain(&self.superseding)
    }

    fn retire(&mut self, snapshot: Reference, by: Reference, entry: &Entry) {
        let retired = self
            .retired
            .entry(snapshot.digest)
            .or_insert_with(|| Retired {
                snapshot,
                by: Vec::new(),
                stored_at: entry.stored_at,
            });
        retired.by.push(by);
        retired.stored_at = retired.stored_at.max(entry.stored_at);
    }
}

/// What undos take back: retirement and snapshot.
fn undone(records: &BTreeMap<ObjectId, Entry>) -> BTreeSet<(ObjectId, ObjectId)> {
    let mut undone = BTreeSet::new();
    for entry in records.values() {
        if let Fact::Undo {
            retirement,
            snapshots,
        } = &entry.record.fact
        {
            let pairs = snapshots
                .iter()
                .map(|snapshot| (retirement.digest, snapshot.digest));
            undone.extend(pairs);
        }
    }
    undone
}

/// The longest chain of policies that starts from the root's. Where two are the longest, neither of the two counts
/// until one is superseded.
fn superseding(records: &BTreeMap<ObjectId, Entry>, findings: &mut Findings) -> Vec<PolicyRecord> {
    let policy_of = |id: &ObjectId| {
        let entry = records.get(id)?;
        if let Fact::Policy(policy) = &entry.record.fact {
            Some((entry, policy))
        } else {
            None
        }
    };
    let mut levels: BTreeMap<usize, BTreeSet<ObjectId>> = BTreeMap::new();
    let mut known: BTreeMap<ObjectId, Option<usize>> = BTreeMap::new();
    for id in records.keys().filter(|id| policy_of(id).is_some()) {
        let previous = |id: &ObjectId| policy_of(id).map(|(_, policy)| policy.previous);
        match length(*id, &previous, &mut known) {
            Some(length) => {
                levels.entry(length).or_default().insert(*id);
            }
            None => findings.push(Finding::new(
                format!("policy {id}"),
                "the policy that it supersedes is missing: it counts for nothing",
            )),
        }
    }
    let mut last = None;
    for ids in levels.values().rev() {
        let mut ids = ids.iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => {
                last = Some(*id);
                break;
            }
            (Some(id), Some(other)) => findings.push(Finding::new(
                format!("policy {id}"),
                format!("another, {other}, supersedes the same one: neither counts"),
            )),
            (None, _) => {}
        }
    }
    let mut chain = Vec::new();
    while let Some((id, (entry, policy))) = last.and_then(|id| Some((id, policy_of(&id)?))) {
        chain.push(PolicyRecord {
            reference: Some(reference(&entry.record.stamp, id)),
            policy: policy.clone(),
            stored_at: entry.stored_at,
        });
        last = policy.previous;
    }
    chain.reverse();
    chain
}

/// The length of the chain from the root's policy; `None`: a link is missing. A chain has no circle, since each names the hash
/// of the one before.
fn length(
    id: ObjectId,
    previous: &dyn Fn(&ObjectId) -> Option<Option<ObjectId>>,
    known: &mut BTreeMap<ObjectId, Option<usize>>,
) -> Option<usize> {
    let (mut path, mut at) = (Vec::new(), id);
    let mut below = loop {
        if let Some(length) = known.get(&at) {
            break *length;
        }
        path.push(at);
        match previous(&at) {
            None => {
                path.pop();
                break None;
            }
            Some(None) => {
                path.pop();
                known.insert(at, Some(1));
                break Some(1);
            }
            Some(Some(before)) => at = before,
        }
    };
    for id in path.into_iter().rev() {
        below = below.map(|length| length.saturating_add(1));
        known.insert(id, below);
    }
    below
}

/// Numbers that several objects use.
struct Twins(BTreeMap<(WriterId, InstanceId, u64), BTreeSet<ObjectId>>);

impl Twins {
    fn find(records: &BTreeMap<ObjectId, Entry>, others: &[(Stamp, ObjectId)]) -> Self {
        let own = records.iter().map(|(id, entry)| (entry.record.stamp, *id));
        let mut numbers: BTreeMap<_, BTreeSet<ObjectId>> = BTreeMap::new();
        for (stamp, id) in own.chain(others.iter().copied()) {
            let number = (stamp.writer, stamp.instance, stamp.number);
            numbers.entry(number).or_default().insert(id);
        }
        numbers.retain(|_, ids| ids.len() > 1);
        Self(numbers)
    }

    fn voids(&self, stamp: &Stamp, id: ObjectId) -> bool {
        let number = (stamp.writer, stamp.instance, stamp.number);
        self.0.get(&number).is_some_and(|ids| ids.contains(&id))
    }
}

#[cfg(test)]
mod tests;
