//! Each snapshot: its segments, its manifest, its tree.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::signed::Stamp;
use dolmen_format::{ObjectKey, SegmentId, SnapshotId};

use super::manifests::{Manifests, Named};
use super::packs::Health;
use super::sink::Sink;
use super::trees::Trees;
use super::{Progress, Report};
use crate::error::Result;
use crate::finding::counted;
use crate::frames::FrameNumbers;
use crate::index::Index;
use crate::pack::BlobReader;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// What was read of the repository.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) list: &'a SnapshotList,
}

/// Checks every live snapshot, the newest first, and every checkpoint that is still of use.
pub(super) fn check(
    context: &Context<'_>,
    health: &Health<'_>,
    mut damaged: BTreeSet<SnapshotId>,
    sink: &Sink<'_>,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let moves = &context.list.facts.moves;
    let blobs = BlobReader::new(context.repository, &context.index.blobs).knowing(moves);
    let numbers = FrameNumbers::new(&context.index.blobs);
    let mut trees = Trees::new(&blobs, health, &numbers, sink, progress);
    let mut manifests = Manifests::new(&blobs, health, &numbers, progress);
    let mut segments = Segments::new(context.index);
    let lost = count(damaged.len());
    for entry in context.list.snapshots.iter().rev() {
        report.snapshots = report.snapshots.saturating_add(1);
        let subject = key_of(entry);
        let (root, mut whole) = match entry.tree() {
            Some(root) => {
                let (number, whole) = trees.check(&entry.short_id(), root)?;
                (Some(number), whole)
            }
            None => (None, true),
        };
        match manifests.read(&entry.snapshot)? {
            Ok(named) => {
                if let Some(root) = root {
                    let missing = trees.uncovered(root, &named.cover);
                    whole &= check_cover(&subject, &missing, &numbers, sink);
                }
                whole &= check_named(&subject, &named, sink);
            }
            Err(problem) => {
                sink.finding(subject, format!("its manifest cannot be read: {problem}"));
                whole = false;
            }
        }
        segments.note(entry, whole);
        if !whole {
            damaged.insert(entry.id);
        }
    }
    trees.finish();
    segments.report(sink);
    check_checkpoints(context, &mut manifests, sink)?;
    let needed = trees.hurting_packs().chain(manifests.missing()).collect();
    health.report_missing(&needed, sink);
    let retired = context.list.retired.len();
    if retired > 0 {
        sink.notice(&format!("{retired} retired snapshots were not looked into"));
    }
    let quarantined = context.list.quarantined.len();
    if quarantined > 0 {
        sink.notice(&format!(
            "{quarantined} quarantined snapshots were not looked into"
        ));
    }
    report.suggest_repair_index |= trees.misses_blobs;
    report.snapshots = report.snapshots.saturating_add(lost);
    report.snapshots_damaged = count(damaged.len());
    Ok(())
}

fn key_of(entry: &SnapshotEntry) -> ObjectKey {
    ObjectKey::Snapshot(entry.snapshot.stamp.writer, entry.id)
}

/// A frame that is needed and not named would not be renewed.
fn check_cover(
    subject: &ObjectKey,
    missing: &[u64],
    numbers: &FrameNumbers,
    sink: &Sink<'_>,
) -> bool {
    let Some(first) = missing.first() else {
        return true;
    };
    let place = match numbers.place(*first) {
        Some((info, ordinal)) => format!("frame {ordinal} of pack {}", info.pack),
        None => "a frame".to_owned(),
    };
    let count = counted(missing.len(), "frame");
    sink.finding(
        subject,
        format!(
            "its manifest lacks {count} that it needs, the first {place}: that would not be renewed"
        ),
    );
    false
}

/// What a manifest names must be known and there, were it only for the sake of its renewal.
fn check_named(subject: &ObjectKey, named: &Named, sink: &Sink<'_>) -> bool {
    for (packs, problem) in [
        (&named.unknown, "unknown to the index"),
        (&named.missing, "missing from the store"),
    ] {
        if let Some(first) = packs.first() {
            let count = counted(packs.len(), "pack");
            sink.finding(
                subject,
                format!("its manifest names {count} {problem}, the first {first}"),
            );
        }
    }
    named.unknown.is_empty() && named.missing.is_empty()
}

/// A checkpoint is of use until something follows it: the next backup carries on from it.
fn check_checkpoints(
    context: &Context<'_>,
    manifests: &mut Manifests<'_>,
    sink: &Sink<'_>,
) -> Result<()> {
    let list = context.list;
    let snapshots = || list.snapshots.iter().chain(&list.retired);
    let all = || snapshots().chain(&list.checkpoints);
    let heads = all().flat_map(|entry| {
        let Stamp {
            writer, instance, ..
        } = entry.snapshot.stamp;
        let heads = entry.snapshot.heads.iter();
        // What another signer claims to follow is still of use.
        heads.filter(move |head| (head.writer, head.instance) == (writer, instance))
    });
    let followed: BTreeSet<SnapshotId> = heads.map(|head| head.digest).collect();
    let finished: BTreeSet<_> = snapshots().map(|entry| entry.snapshot.stamp).collect();
    for entry in &list.checkpoints {
        if followed.contains(&entry.id) || finished.contains(&entry.snapshot.stamp) {
            continue;
        }
        let subject = key_of(entry);
        match manifests.read(&entry.snapshot)? {
            Ok(named) => {
                check_named(&subject, &named, sink);
            }
            Err(problem) => {
                sink.finding(subject, format!("its manifest cannot be read: {problem}"));
            }
        }
    }
    Ok(())
}

/// Segments that snapshots list and that are not there.
struct Segments {
    present: BTreeSet<SegmentId>,
    /// How many snapshots list each, and whether one of them is not whole.
    missing: BTreeMap<SegmentId, (u64, bool)>,
}

impl Segments {
    fn new(index: &Index) -> Self {
        Self {
            present: index.segment_ids().collect(),
            missing: BTreeMap::new(),
        }
    }

    fn note(&mut self, entry: &SnapshotEntry, whole: bool) {
        for segment in entry
            .snapshot
            .segments
            .iter()
            .filter(|id| !self.present.contains(id))
        {
            let (snapshots, hurts) = self.missing.entry(*segment).or_default();
            *snapshots = snapshots.saturating_add(1);
            *hurts |= !whole;
        }
    }

    /// A missing segment is damage only where something is missing with it: a rebuilt index has other ones.
    fn report(&self, sink: &Sink<'_>) {
        for (segment, (snapshots, hurts)) in &self.missing {
            let verb = if *snapshots == 1 { "lists" } else { "list" };
            let snapshots = counted(*snapshots, "snapshot");
            let text = format!("missing or damaged; {snapshots} {verb} it");
            if *hurts {
                sink.finding(format!("index segment {segment}"), text);
            } else {
                sink.notice(&format!(
                    "index segment {segment}: {text}, and others hold what it held"
                ));
            }
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
