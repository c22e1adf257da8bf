//! The numbers that an instance signs under: each is used once, and none is left out.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::{InstanceId, ObjectId, WriterId};

use crate::finding::{Finding, Findings};
use crate::snapshots::SnapshotList;

/// The objects that use each number of an instance.
type Numbers = BTreeMap<(WriterId, InstanceId), BTreeMap<u64, BTreeSet<ObjectId>>>;

/// Finds numbers that are missing or used twice. They count up from 1, over snapshots and ledger records together; a
/// retirement that names a number stands in for what had it.
pub(crate) fn check(list: &SnapshotList) -> Findings {
    let mut findings = Vec::new();
    for ((writer, instance), used) in &numbers(list) {
        let subject = format!("writer {writer}, instance {instance}");
        let mut next = 1_u64;
        for (number, ids) in used {
            match number.checked_sub(next) {
                Some(0) | None => {}
                Some(1) => findings.push(Finding::new(
                    &subject,
                    format!("object number {next} is missing"),
                )),
                Some(_) => {
                    let before = number.saturating_sub(1);
                    let problem = format!("objects number {next} to {before} are missing");
                    findings.push(Finding::new(&subject, problem));
                }
            }
            next = number.saturating_add(1);
            if ids.len() > 1 {
                let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
                let names = names.join(", ");
                let problem = format!("number {number} is used more than once: {names}");
                findings.push(Finding::new(&subject, problem));
            }
        }
    }
    findings
}

fn numbers(list: &SnapshotList) -> Numbers {
    let mut numbers = Numbers::new();
    let mut note = |writer, instance, number, id| {
        let instance = numbers.entry((writer, instance)).or_default();
        instance.entry(number).or_default().insert(id);
    };
    for entry in list.snapshots.iter().chain(&list.retired) {
        let stamp = entry.snapshot.stamp;
        note(stamp.writer, stamp.instance, stamp.number, entry.id);
    }
    for (stamp, id) in &list.facts.stamps {
        note(stamp.writer, stamp.instance, stamp.number, *id);
    }
    for retired in list.facts.retired.values() {
        let named = retired.snapshot;
        note(named.writer, named.instance, named.number, named.digest);
    }
    numbers
}
