//! What objects tell of others: numbers count up, each used once, and heads are named.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::signed::Reference;
use dolmen_format::{InstanceId, ObjectId, ObjectKey, SnapshotId, WriterId};
use dolmen_state::state::{NumberRange, Remembered};

use crate::finding::{Finding, Findings};
use crate::snapshots::SnapshotList;

/// The objects that use each number of an instance.
type Numbers = BTreeMap<(WriterId, InstanceId), BTreeMap<u64, BTreeSet<ObjectId>>>;

/// What the repository, or this client, tells of and the store does not hold: it may be late, or gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Missing {
    /// Objects whose names are known.
    pub(crate) objects: BTreeMap<ObjectKey, MissingObject>,
    /// Numbers that nothing uses. They count up from 1, over snapshots and ledger records together; a retirement that names
    /// a number stands in for what had it.
    pub(crate) numbers: Vec<NumberRange>,
    /// How much of it the user gave up, and is not above.
    pub(crate) given_up: u64,
}

/// An object that is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingObject {
    /// Its own name for itself.
    pub(crate) reference: Reference,
    /// Who tells of it.
    pub(crate) problem: String,
}

impl Missing {
    /// All of it in words.
    pub(crate) fn findings(&self) -> Findings {
        let objects = self.objects.iter();
        let objects =
            objects.map(|(key, object)| Finding::new(key.to_string(), object.problem.clone()));
        objects.chain(self.numbers.iter().map(unused)).collect()
    }

    /// Whether an object whose name is known has one of these numbers.
    pub(crate) fn explains(&self, range: &NumberRange) -> bool {
        let mut objects = self.objects.values().map(|object| object.reference);
        objects.any(|one| range.has(one.writer, one.instance, one.number))
    }
}

/// Finds what is missing. While something is, nothing may be let go.
pub(crate) fn missing(list: &SnapshotList, remembered: &Remembered) -> Missing {
    let present: BTreeSet<SnapshotId> = list.all().map(|entry| entry.id).collect();
    let mut missing = Missing::default();
    let mut note = |key: ObjectKey, reference: Reference, problem: String| {
        let objects = &mut missing.objects;
        let object = MissingObject { reference, problem };
        objects.entry(key).or_insert(object);
    };
    for (head, follower) in missing_heads(list) {
        let problem = format!("missing; snapshot {follower} follows it");
        note(ObjectKey::Snapshot(head.writer, head.digest), head, problem);
    }
    for head in &remembered.heads {
        let is_known =
            present.contains(&head.digest) || list.facts.retired.contains_key(&head.digest);
        if !is_known {
            let problem = "missing; this client remembers it as its latest snapshot".to_owned();
            note(
                ObjectKey::Snapshot(head.writer, head.digest),
                *head,
                problem,
            );
        }
    }
    for own in missing_signed(list, remembered) {
        let problem = format!("missing; this client signed it as number {}", own.number);
        note(key_of(own), *own, problem);
    }
    missing.numbers = missing_ranges(list);
    let found = missing.objects.len().saturating_add(missing.numbers.len());
    let given_up = &remembered.given_up;
    missing.objects.retain(|key, _| !given_up.has(&key.id()));
    missing.numbers.retain(|range| !given_up.covers(range));
    let left = missing.objects.len().saturating_add(missing.numbers.len());
    missing.given_up = u64::try_from(found.saturating_sub(left)).unwrap_or(u64::MAX);
    missing
}

/// What this client wrote and the store holds no longer, as far as nobody retired it or gave it up.
pub fn lost(list: &SnapshotList, remembered: &Remembered) -> BTreeSet<ObjectKey> {
    let present = list.all().map(|entry| entry.id);
    let retired = list.facts.retired.keys().copied();
    let known: BTreeSet<SnapshotId> = present.chain(retired).collect();
    // One that is there and damaged is told of as such.
    let damaged: BTreeSet<ObjectKey> = list.damaged().collect();
    let heads = remembered.heads.iter();
    let heads = heads.filter(|head| !known.contains(&head.digest));
    let heads = heads.map(|head| ObjectKey::Snapshot(head.writer, head.digest));
    let heads = heads.filter(|head| !damaged.contains(head));
    let signed = remembered.signed.iter();
    let signed = signed.map(|own| key_of(&own.reference));
    let recalled = signed.filter(|key| list.recalled.is_gone(key));
    let unknown = missing_signed(list, remembered).map(key_of);
    let all = heads.chain(recalled).chain(unknown);
    all.filter(|key| !remembered.given_up.has(&key.id()))
        .collect()
}

/// Heads that are named and are neither there nor retired, and who names them.
fn missing_heads(list: &SnapshotList) -> Vec<(Reference, SnapshotId)> {
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

/// Records that this client signed and that are neither there nor told of as damaged.
fn missing_signed<'a>(
    list: &SnapshotList,
    remembered: &'a Remembered,
) -> impl Iterator<Item = &'a Reference> {
    let present: BTreeSet<ObjectId> = list.facts.stamps.iter().map(|(_, id)| *id).collect();
    let findings = list.findings.iter();
    let told: BTreeSet<String> = findings.map(|finding| finding.subject.clone()).collect();
    let signed = remembered.signed.iter().map(|signed| &signed.reference);
    signed.filter(move |own| {
        !present.contains(&own.digest) && !told.contains(&key_of(own).to_string())
    })
}

/// The name of a ledger record.
const fn key_of(record: &Reference) -> ObjectKey {
    ObjectKey::Ledger(record.writer, record.digest)
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

/// Numbers that nothing uses, in words.
pub(crate) fn unused(range: &NumberRange) -> Finding {
    let NumberRange {
        writer,
        instance,
        first,
        last,
    } = range;
    let problem = if first == last {
        format!("object number {first} is missing")
    } else {
        format!("objects number {first} to {last} are missing")
    };
    Finding::new(format!("writer {writer}, instance {instance}"), problem)
}

/// The numbers that objects use.
pub(crate) fn of_objects(list: &SnapshotList, ids: &BTreeSet<ObjectId>) -> Vec<NumberRange> {
    let mut of_these = Vec::new();
    for ((writer, instance), used) in numbers(list) {
        let used = used.into_iter().filter(|(_, by)| !by.is_disjoint(ids));
        of_these.extend(used.map(|(number, _)| NumberRange::of_one(writer, instance, number)));
    }
    of_these
}

fn missing_ranges(list: &SnapshotList) -> Vec<NumberRange> {
    let mut ranges = Vec::new();
    for ((writer, instance), used) in numbers(list) {
        let mut first = 1_u64;
        for number in used.keys() {
            if *number > first {
                ranges.push(NumberRange {
                    writer,
                    instance,
                    first,
                    last: number.saturating_sub(1),
                });
            }
            first = number.saturating_add(1);
        }
    }
    ranges
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
