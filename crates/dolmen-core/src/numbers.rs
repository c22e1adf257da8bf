//! What objects tell of others: numbers count up, each used once, and heads are named.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::signed::Reference;
use dolmen_format::{InstanceId, ObjectId, ObjectKey, SnapshotId, WriterId};

use crate::finding::{Finding, Findings};
use crate::snapshots::SnapshotList;

/// The objects that use each number of an instance.
type Numbers = BTreeMap<(WriterId, InstanceId), BTreeMap<u64, BTreeSet<ObjectId>>>;

/// What the repository tells of and does not hold: it may be late, or gone. While something is missing, nothing may be
/// let go.
pub(crate) fn gaps(list: &SnapshotList) -> Findings {
    let heads = missing_heads(list).into_iter().map(|(head, follower)| {
        Finding::new(
            ObjectKey::Snapshot(head.writer, head.digest).to_string(),
            format!("missing; snapshot {follower} follows it"),
        )
    });
    missing_numbers(list).into_iter().chain(heads).collect()
}

/// Heads that are named and are neither there nor retired, and who names them.
pub(crate) fn missing_heads(list: &SnapshotList) -> Vec<(Reference, SnapshotId)> {
    let present: BTreeSet<SnapshotId> = list.all().map(|entry| entry.id).collect();
    let (mut missing, numbers) = (Vec::new(), numbers(list));
    // A revoked signer can tell of anything.
    let tellers = list.all().filter(|entry| list.facts.trusts(&entry.id));
    for entry in tellers {
        for head in &entry.snapshot.heads {
            // What is gone and whose number something else bears was a checkpoint, which has none of its own.
            let is_checkpoint = numbers
                .get(&(head.writer, head.instance))
                .is_some_and(|used| used.contains_key(&head.number));
            let is_known =
                present.contains(&head.digest) || list.facts.retired.contains_key(&head.digest);
            if !is_known && !is_checkpoint {
                missing.push((*head, entry.id));
            }
        }
    }
    missing
}

/// Finds numbers that several objects use.
pub(crate) fn twins(list: &SnapshotList) -> Findings {
    let mut findings = Vec::new();
    for ((writer, instance), used) in &numbers(list) {
        for (number, ids) in used.iter().filter(|(_, ids)| ids.len() > 1) {
            let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
            let names = names.join(", ");
            findings.push(Finding::new(
                format!("writer {writer}, instance {instance}"),
                format!("number {number} is used more than once: {names}"),
            ));
        }
    }
    findings
}

/// Finds numbers that nothing uses, in words.
pub(crate) fn missing_numbers(list: &SnapshotList) -> Findings {
    missing_ranges(list).iter().map(Gap::finding).collect()
}

/// Numbers of an instance that nothing uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) writer: WriterId,
    pub(crate) instance: InstanceId,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Gap {
    pub(crate) fn finding(&self) -> Finding {
        let Self {
            writer,
            instance,
            first,
            last,
        } = self;
        let problem = if first == last {
            format!("object number {first} is missing")
        } else {
            format!("objects number {first} to {last} are missing")
        };
        Finding::new(format!("writer {writer}, instance {instance}"), problem)
    }
}

/// Finds numbers that nothing uses. They count up from 1, over snapshots and ledger records together; a retirement that
/// names a number stands in for what had it.
pub(crate) fn missing_ranges(list: &SnapshotList) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for ((writer, instance), used) in numbers(list) {
        let mut first = 1_u64;
        for number in used.keys() {
            if *number > first {
                gaps.push(Gap {
                    writer,
                    instance,
                    first,
                    last: number.saturating_sub(1),
                });
            }
            first = number.saturating_add(1);
        }
    }
    gaps
}

fn numbers(list: &SnapshotList) -> Numbers {
    let mut numbers = Numbers::new();
    let mut note = |writer, instance, number, id| {
        let instance = numbers.entry((writer, instance)).or_default();
        instance.entry(number).or_default().insert(id);
    };
    let snapshots = list.all().filter(|entry| entry.snapshot.checkpoint == 0);
    for entry in snapshots.filter(|entry| list.facts.trusts(&entry.id)) {
        let stamp = entry.snapshot.stamp;
        note(stamp.writer, stamp.instance, stamp.number, entry.id);
    }
    let records = list.facts.stamps.iter();
    for (stamp, id) in records.filter(|(_, id)| list.facts.trusts(id)) {
        note(stamp.writer, stamp.instance, stamp.number, *id);
    }
    for retired in list.facts.retired.values() {
        let named = retired.snapshot;
        note(named.writer, named.instance, named.number, named.digest);
    }
    numbers
}
