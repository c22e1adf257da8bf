//! Objects that others tell of: heads that are named and numbers that are left out.

use std::collections::BTreeSet;

use dolmen_format::{ObjectKey, SnapshotId};

use super::sink::Sink;
use crate::finding::{Nature, counted};
use crate::numbers::{self, Missing};
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// Finds removed snapshots by the traces that they leave; returns them and those that are damaged.
pub(super) fn check(
    repository: &Repository,
    list: &SnapshotList,
    damaged: BTreeSet<SnapshotId>,
    missing: &Missing,
    sink: &Sink<'_>,
) -> BTreeSet<SnapshotId> {
    let mut gone = damaged;
    for entry in list.all() {
        check_certificate(repository, entry, sink);
    }
    let snapshots = missing.objects.keys();
    let snapshots = snapshots.filter(|key| matches!(key, ObjectKey::Snapshot(..)));
    gone.extend(snapshots.map(ObjectKey::id));
    let unread = list.findings.iter();
    let unread = unread.filter(|finding| finding.nature == Nature::Unreadable);
    let unread: BTreeSet<_> = unread.map(|finding| finding.subject.as_str()).collect();
    // What may not be read is there, and was told.
    let mut told = missing.findings();
    told.retain(|finding| !unread.contains(finding.subject.as_str()));
    sink.findings(&told);
    sink.findings(&numbers::twins(list));
    if missing.given_up > 0 {
        let objects = counted(missing.given_up, "missing object");
        sink.notice(&format!("{objects} given up on this machine"));
    }
    gone
}

fn check_certificate(repository: &Repository, entry: &SnapshotEntry, sink: &Sink<'_>) {
    let Some(id) = entry.snapshot.certificate else {
        return;
    };
    if repository.certificate(id).is_none() {
        let key = ObjectKey::Snapshot(entry.snapshot.stamp.writer, entry.id);
        sink.finding(
            key,
            format!("its signer's certificate keys/{id} is missing"),
        );
    }
}
