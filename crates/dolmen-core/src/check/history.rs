//! Objects that others tell of: heads that are named and numbers that are left out.

use std::collections::BTreeSet;

use dolmen_format::signed::Reference;
use dolmen_format::{ObjectKey, SnapshotId};

use super::sink::Sink;
use crate::numbers;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// Finds removed snapshots by the traces that they leave; returns them and those that are damaged.
pub(super) fn check(
    repository: &Repository,
    list: &SnapshotList,
    damaged: BTreeSet<SnapshotId>,
    head: Option<&Reference>,
    sink: &Sink<'_>,
) -> BTreeSet<SnapshotId> {
    let mut gone = damaged;
    let present: BTreeSet<SnapshotId> = list.all().map(|entry| entry.id).collect();
    let retired = &list.facts.retired;
    let is_gone =
        |head: &Reference| !present.contains(&head.digest) && !retired.contains_key(&head.digest);
    for (named, follower) in numbers::missing_heads(list) {
        gone.insert(named.digest);
        let problem = format!("missing; snapshot {follower} follows it");
        sink.finding(key_of(&named), problem);
    }
    for entry in list.all() {
        check_certificate(repository, entry, sink);
    }
    if let Some(head) = head.filter(|head| is_gone(head)) {
        gone.insert(head.digest);
        sink.finding(
            key_of(head),
            "missing; this client remembers it as its latest snapshot",
        );
    }
    sink.findings(&numbers::missing_numbers(list));
    sink.findings(&numbers::twins(list));
    gone
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
