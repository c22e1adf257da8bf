//! Objects that others tell of: heads that are named and numbers that are left out.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::signed::Reference;
use dolmen_format::{InstanceId, ObjectId, ObjectKey, SnapshotId, WriterId};

use super::ledger::Ledger;
use super::sink::Sink;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// The objects that use each number of an instance.
type Numbers = BTreeMap<(WriterId, InstanceId), BTreeMap<u64, BTreeSet<ObjectId>>>;

/// Finds removed snapshots by the traces that they leave; returns those that are gone or damaged
/// themselves.
pub(super) fn check(
    repository: &Repository,
    list: &SnapshotList,
    ledger: &Ledger,
    head: Option<&Reference>,
    sink: &Sink<'_>,
) -> BTreeSet<SnapshotId> {
    let mut gone: BTreeSet<SnapshotId> = list.damaged().collect();
    let present: BTreeSet<SnapshotId> = entries(list).map(|entry| entry.id).collect();
    let is_gone = |head: &Reference| {
        !present.contains(&head.digest) && !ledger.retired.contains_key(&head.digest)
    };
    for entry in entries(list) {
        for named in entry.snapshot.heads.iter().filter(|head| is_gone(head)) {
            // A checkpoint ends with the snapshot that bears its number.
            let stamp = &entry.snapshot.stamp;
            if (named.instance, named.number) == (stamp.instance, stamp.number) {
                continue;
            }
            gone.insert(named.digest);
            sink.finding(
                key_of(named),
                format!("missing; snapshot {} follows it", entry.id),
            );
        }
        check_certificate(repository, entry, sink);
    }
    if let Some(head) = head.filter(|head| is_gone(head)) {
        gone.insert(head.digest);
        sink.finding(
            key_of(head),
            "missing; this client remembers it as its latest snapshot",
        );
    }
    check_numbers(&numbers(list, ledger), sink);
    gone
}

fn entries(list: &SnapshotList) -> impl Iterator<Item = &SnapshotEntry> {
    list.snapshots.iter().chain(&list.checkpoints)
}

fn key_of(reference: &Reference) -> ObjectKey {
    ObjectKey::Snapshot(reference.writer, reference.digest)
}

fn check_certificate(repository: &Repository, entry: &SnapshotEntry, sink: &Sink<'_>) {
    let Some(id) = entry.snapshot.certificate else {
        return;
    };
    if !repository
        .certificates()
        .iter()
        .any(|(known, _)| *known == id)
    {
        let key = ObjectKey::Snapshot(entry.snapshot.stamp.writer, entry.id);
        sink.finding(
            key,
            format!("its signer's certificate keys/{id} is missing"),
        );
    }
}

fn numbers(list: &SnapshotList, ledger: &Ledger) -> Numbers {
    let mut numbers = Numbers::new();
    let mut note = |writer, instance, number, id| {
        let instance = numbers.entry((writer, instance)).or_default();
        instance.entry(number).or_default().insert(id);
    };
    for entry in &list.snapshots {
        let stamp = entry.snapshot.stamp;
        note(stamp.writer, stamp.instance, stamp.number, entry.id);
    }
    for (stamp, id) in &ledger.stamps {
        note(stamp.writer, stamp.instance, stamp.number, *id);
    }
    for retired in ledger.retired.values() {
        note(
            retired.writer,
            retired.instance,
            retired.number,
            retired.digest,
        );
    }
    numbers
}

/// Numbers count up from 1, over snapshots and ledger records together, each used once.
fn check_numbers(numbers: &Numbers, sink: &Sink<'_>) {
    for ((writer, instance), used) in numbers {
        let subject = format!("writer {writer}, instance {instance}");
        let mut next = 1_u64;
        for (number, ids) in used {
            match number.checked_sub(next) {
                Some(0) | None => {}
                Some(1) => sink.finding(&subject, format!("object number {next} is missing")),
                Some(_) => {
                    let last = number.saturating_sub(1);
                    sink.finding(
                        &subject,
                        format!("objects number {next} to {last} are missing"),
                    );
                }
            }
            next = number.saturating_add(1);
            if ids.len() > 1 {
                let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
                let names = names.join(", ");
                sink.finding(
                    &subject,
                    format!("number {number} is used more than once: {names}"),
                );
            }
        }
    }
}
