//! What is wrong with snapshots, as far as anyone can tell.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::certificate::Role;
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::{InstanceId, SnapshotId, Timestamp, WriterId};

use super::{SnapshotEntry, SnapshotList, is_future_dated};
use crate::keep::{Observed, Suspicion, suspicions};
use crate::repository::Repository;

/// The snapshots that are suspicious, retired ones too. Quarantined ones are neither judged nor tell what is usual.
pub(super) fn suspicious(
    list: &SnapshotList,
    repository: &Repository,
) -> BTreeMap<SnapshotId, Vec<Suspicion>> {
    let begun = begun(list);
    let observed: Vec<_> = list
        .snapshots
        .iter()
        .chain(&list.retired)
        .filter(|entry| list.facts.trusts(&entry.id))
        .map(|entry| observe(entry, list, repository, &begun))
        .collect();
    let mut found = suspicions(&observed, &accounted(list));
    for (one, wrong) in observed.iter().zip(&mut found) {
        let is_told = wrong
            .iter()
            .any(|known| matches!(known, Suspicion::Dated { ahead: true, .. }));
        if is_future_dated(one.time, list.listed_at) && !one.accepted && !is_told {
            wrong.push(Suspicion::Future);
        }
    }
    let found = observed.iter().zip(found);
    found
        .filter(|(_, wrong)| !wrong.is_empty())
        .map(|(one, wrong)| (one.id, wrong))
        .collect()
}

fn observe(
    entry: &SnapshotEntry,
    list: &SnapshotList,
    repository: &Repository,
    begun: &BTreeMap<Stamp, Timestamp>,
) -> Observed {
    let snapshot = &entry.snapshot;
    let writer = snapshot.stamp.writer;
    let is_admin = repository
        .roles_of(writer)
        .any(|(role, _)| role == Role::Admin);
    Observed {
        id: entry.id,
        writer,
        instance: snapshot.stamp.instance,
        number: snapshot.stamp.number,
        role: if is_admin { Role::Admin } else { Role::Backup },
        accepted: list.facts.accepted.contains(&entry.id),
        time: snapshot.time,
        begun: begun.get(&snapshot.stamp).copied(),
        received: entry.received,
        files: snapshot.counts.files,
        host: snapshot.labels.host,
        paths: snapshot.labels.paths,
    }
}

/// When the first checkpoint under each number was received.
fn begun(list: &SnapshotList) -> BTreeMap<Stamp, Timestamp> {
    let mut begun = BTreeMap::new();
    for entry in &list.checkpoints {
        let first = begun.entry(entry.snapshot.stamp).or_insert(entry.received);
        *first = entry.received.min(*first);
    }
    begun
}

/// The numbers that something else bears, or that a retirement names.
fn accounted(list: &SnapshotList) -> BTreeSet<(WriterId, InstanceId, u64)> {
    let records = list.facts.stamps.iter().map(|(stamp, _)| *stamp);
    let incomplete = list.incomplete.iter().map(|entry| entry.snapshot.stamp);
    let borne = records.chain(incomplete);
    let borne = borne.map(|stamp| (stamp.writer, stamp.instance, stamp.number));
    let named = list.facts.retired.values().map(|retired| {
        let Reference {
            writer,
            instance,
            number,
            ..
        } = retired.snapshot;
        (writer, instance, number)
    });
    borne.chain(named).collect()
}
