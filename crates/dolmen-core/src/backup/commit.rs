//! The end of a backup: segment, manifest, snapshot, in this order; and checkpoints on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use dolmen_crypto::domain::LabelKind;
use dolmen_format::manifest::FrameSet;
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::snapshot::{Body, Labels, Snapshot, Summary};
use dolmen_format::{BlobId, ObjectKey, PackId, SegmentId, SnapshotId, Timestamp};
use dolmen_state::state::{JournalEntry, Needed};

use super::Report;
use super::assemble::Finished;
use super::protect::{TooShort, protect, unprotected};
use super::reuse::Listing;
use super::segments::{Merging, list_segments};
use super::session::{Session, lock, remembered};
use crate::error::{Error, Result};
use crate::lease::{self, Commit, Reliance};
use crate::manifest::write_manifest;
use crate::own::Note as _;
use crate::snapshots::{BODY_INFO, MANIFEST_INFO, SnapshotEntry, store_digest};

/// Writes the snapshot.
pub(super) fn commit(session: &Session<'_>, finished: &Finished) -> Result<Report> {
    let end = session.repository.environment.clock.now();
    let mut summary = finished.summary;
    fill_summary(session, finished, &mut summary);
    let parent = parent_of(session);
    let mut report = Report {
        snapshot: None,
        protected_until: None,
        parent: parent.map(|entry| entry.id),
        summary,
        errors: finished.errors,
        read_whole: BTreeSet::new(),
        is_set_back: session.is_set_back,
        start: session.start,
        end,
        again_bytes: session.counters.again_bytes.load(Ordering::Relaxed),
    };
    tell_of_disbelief(session, report.again_bytes);
    let unchanged =
        parent.is_some_and(|entry| entry.body.is_some() && entry.tree() == finished.root);
    if session.options.dry_run || (session.options.skip_if_unchanged && unchanged) {
        return Ok(report);
    }
    let written = write_snapshot(session, finished, summary, 0, end);
    if let Err(Error::Unprotected { .. }) = written {
        // Asks maintenance for what this key may not do, and the next run carries on from it.
        session.write_checkpoint()?;
    }
    let written = written?;
    report.snapshot = Some(written.id);
    report.protected_until = written.protected_until;
    report.read_whole = session.moved.read_whole();
    Ok(report)
}

/// Says what it costs that this client does not believe everybody.
fn tell_of_disbelief(session: &Session<'_>, again_bytes: u64) {
    if again_bytes > 0 {
        session.observer.notice(&format!(
            "{again_bytes} bytes were stored again: they are in the repository, but nothing that this machine remembers \
             vouches for them. `check --attest` does so for every machine; --trust-own-history believes the \
             snapshots that are there"
        ));
    }
}

fn fill_summary(session: &Session<'_>, finished: &Finished, summary: &mut Summary) {
    let counters = &session.counters;
    summary.data_blobs = counters.data_blobs.load(Ordering::Relaxed);
    summary.tree_blobs = counters.tree_blobs.load(Ordering::Relaxed);
    summary.data_added = counters.raw_bytes.load(Ordering::Relaxed);
    summary.data_added_packed = counters.packed_bytes.load(Ordering::Relaxed);
    summary.total_files_processed = finished.counts.files;
    summary.total_bytes_processed = finished.counts.bytes;
}

/// The newest snapshot of the same host and paths, by their labels: not every client reads names.
fn parent_of<'s>(session: &Session<'s>) -> Option<&'s SnapshotEntry> {
    let own = make_labels(session);
    session.snapshots.snapshots.iter().rev().find(|entry| {
        let labels = &entry.snapshot.labels;
        (labels.host, labels.paths) == (own.host, own.paths)
    })
}

/// How often a snapshot is written anew because locks ended too early for the one before.
const COMMITS_MAX: usize = 3;

/// Writes a snapshot, or with a sub-number a checkpoint, of what is stored so far. Whether it counts is decided by the
/// answer to its own put: where a lock ends too early by then, it is written once more. What can be told before is not
/// put at all. A checkpoint asks for locks and promises none.
///
/// Cost: one put, one for a new segment and what [`list_segments`] costs, those of the manifest, and those of locks that are due.
fn write_snapshot(
    session: &Session<'_>,
    finished: &Finished,
    summary: Summary,
    checkpoint: u32,
    end: Timestamp,
) -> Result<Written> {
    let repository = session.repository;
    assure(session, Listing::AsItIs)?;
    let needed = needed_packs(session);
    let stored = |id: &BlobId| session.locate(id);
    let (manifest, node_packs) =
        write_manifest(repository, session.index, &stored, &needed, session)?;
    // Whoever opens manifests need not remember what they name.
    let is_blind = repository.keys().maintain_if_any().is_none();
    let remembered = is_blind.then(|| with_nodes(needed, &node_packs));
    let (merging, too_short) = if checkpoint == 0 {
        (Merging::WhereTooMany, TooShort::PutAgain)
    } else {
        (Merging::Never, TooShort::Leave)
    };
    for _ in 0..COMMITS_MAX {
        let ids = list_segments(session, &node_packs, merging)?;
        let relied_until = match repository.objects.locking() {
            Some(_) => {
                let relied = protect(session, &ids, &node_packs, too_short)?;
                if let (0, Some(short)) = (checkpoint, &relied.short) {
                    return Err(unprotected(short));
                }
                // A checkpoint that asks for longer locks relies on none.
                relied.until.filter(|_| relied.short.is_none())
            }
            None => session.reuse.relied_until(),
        };
        let parts = Parts {
            stamp: next_stamp(session),
            checkpoint,
            heads: heads(session),
            segments: ids,
            manifest: manifest.clone(),
            remembered: remembered.as_ref(),
            relied_until,
            finished,
            summary,
            end,
        };
        let (written, committed) = put_snapshot(session, &parts)?;
        match committed {
            Commit::Committed => {
                session.reuse.own_are_named();
                return Ok(written);
            }
            Commit::Short { .. } if checkpoint > 0 => return Ok(written),
            Commit::Short { .. } => {}
            Commit::Late { .. } => assure(session, Listing::TooOld)?,
        }
    }
    Err(Error::Unprotected {
        object: "what the snapshot needs".to_owned(),
    })
}

/// A snapshot that was put.
struct Written {
    id: SnapshotId,
    /// The earliest end of the locks on it and on what it needs; `None`: not everything is locked.
    protected_until: Option<Timestamp>,
}

/// Puts a snapshot, notes it as the head, and says whether it counts.
fn put_snapshot(session: &Session<'_>, parts: &Parts<'_>) -> Result<(Written, Commit)> {
    let repository = session.repository;
    let snapshot = make_snapshot(session, parts)?;
    let (stored, id) = repository
        .keys()
        .signing()
        .sign(&repository.id(), &snapshot)
        .map_err(Error::encode("the snapshot"))?;
    let key = ObjectKey::Snapshot(repository.writer(), id);
    lock(session.instance).journal_append(&JournalEntry::Put {
        key: key.to_string(),
    })?;
    let receipt = repository.objects.put(&key, Bytes::from(stored))?;
    // On the way, packs join the index that no segment names yet: only the end may be remembered.
    if parts.checkpoint == 0 {
        let mut covered = session.loaded.segments.clone();
        let builder = lock(&session.segment);
        covered.extend(builder.written().iter().map(|segment| segment.seen));
        drop(builder);
        session.index.persist(&covered)?;
    }
    let mut instance = lock(session.instance);
    let mut record = instance.record().clone();
    record.note(
        snapshot.reference(id),
        parts.checkpoint,
        parts.segments.clone(),
    );
    instance.save(record)?;
    if let Some(needed) = parts.remembered {
        instance.keep_needed(&snapshot.labels.paths, &id, needed)?;
    }
    if parts.checkpoint == 0 {
        instance.journal_clear()?;
    }
    let (protected_until, committed) = match repository.objects.locking() {
        Some(locking) => {
            let until = parts.relied_until.min(receipt.locked_until);
            let relied = Reliance::Locks(until);
            let committed = lease::commit(relied, receipt.stored_at, locking.terms());
            (until, committed)
        }
        None => (None, session.reuse.judge(receipt.stored_at)),
    };
    let written = Written {
        id,
        protected_until,
    };
    Ok((written, committed))
}

fn next_stamp(session: &Session<'_>) -> Stamp {
    let instance = lock(session.instance);
    Stamp {
        writer: session.repository.writer(),
        instance: instance.id(),
        number: instance.record().next_number,
    }
}

fn heads(session: &Session<'_>) -> Vec<Reference> {
    let instance = lock(session.instance);
    let record = instance.record();
    record.checkpoint.or(record.head).into_iter().collect()
}

fn assure(session: &Session<'_>, listing: Listing) -> Result<()> {
    session.reuse.assure(
        session.repository,
        session.index,
        &*session.needed(),
        listing,
        &|entry| remembered(session.instance, entry),
        (&session.options.scratch, &session.progress.cancel),
    )
}

/// What is needed, and the manifest's own nodes.
fn with_nodes(
    mut needed: BTreeMap<PackId, FrameSet>,
    node_packs: &BTreeMap<PackId, FrameSet>,
) -> Needed {
    for (pack, nodes) in node_packs {
        let frames = needed.entry(*pack).or_default();
        for ordinal in nodes.iter() {
            frames.insert(ordinal);
        }
    }
    needed.into_iter().collect()
}

/// The frames needed, by pack ids instead of this run's numbers.
fn needed_packs(session: &Session<'_>) -> BTreeMap<PackId, FrameSet> {
    let mut packs: BTreeMap<PackId, FrameSet> = BTreeMap::new();
    for (pack, frames) in session.needed().iter() {
        if let Some(info) = session.index.pack(*pack) {
            let needed = packs.entry(info.pack).or_default();
            for ordinal in frames.iter() {
                needed.insert(ordinal);
            }
        }
    }
    packs
}

struct Parts<'f> {
    stamp: Stamp,
    checkpoint: u32,
    heads: Vec<Reference>,
    segments: Vec<SegmentId>,
    manifest: Vec<u8>,
    /// Everything that the manifest names, its own nodes included, where this client cannot open it.
    remembered: Option<&'f Needed>,
    /// The earliest lock that it relies on.
    relied_until: Option<Timestamp>,
    finished: &'f Finished,
    summary: Summary,
    end: Timestamp,
}

fn make_snapshot(session: &Session<'_>, parts: &Parts<'_>) -> Result<Snapshot> {
    let (repository, options) = (session.repository, session.options);
    let environment = &repository.environment;
    let nonce = environment.nonce();
    let aad = Snapshot::box_aad(&repository.id(), &nonce);
    let body = make_body(session, parts)
        .encode()
        .map_err(Error::encode_format("the snapshot"))?;
    let seal = |key: &dolmen_crypto::SealKey, info: &[u8], plain: &[u8]| {
        key.seal(&environment.secret(), info, &aad, plain)
            .map_err(Error::encode("the snapshot"))
    };
    let mut counts = parts.finished.counts;
    counts.added_bytes = session.counters.packed_bytes.load(Ordering::Relaxed);
    Ok(Snapshot {
        stamp: parts.stamp,
        checkpoint: parts.checkpoint,
        time: options.time.unwrap_or(session.start),
        nonce,
        heads: parts.heads.clone(),
        certificate: repository.keys().certificate(),
        domain: session.domain.id(),
        segments: parts.segments.clone(),
        store: store_digest(repository),
        relied_until: parts.relied_until.map(|until| until.seconds),
        counts,
        alarm: 0,
        labels: make_labels(session),
        manifest: seal(
            repository.keys().maintain_public(),
            MANIFEST_INFO,
            &parts.manifest,
        )?,
        body: seal(repository.keys().read_public(), BODY_INFO, &body)?,
    })
}

fn make_body(session: &Session<'_>, parts: &Parts<'_>) -> Body {
    let options = session.options;
    let bytes = |list: &[Vec<u8>]| list.iter().cloned().map(Into::into).collect();
    Body {
        hostname: options.hostname.clone(),
        username: options.username.clone(),
        uid: options.uid,
        gid: options.gid,
        paths: bytes(&options.paths),
        tags: options.tags.clone(),
        excludes: bytes(&options.excludes),
        program_version: options.program_version.clone(),
        tree: parts.finished.root,
        summary: parts.summary,
        backup_start: session.start,
        backup_end: parts.end,
    }
}

fn make_labels(session: &Session<'_>) -> Labels {
    let (domain, options) = (session.domain, session.options);
    let mut sorted = options.paths.clone();
    sorted.sort();
    let paths: Vec<u8> = sorted
        .iter()
        .flat_map(|path| path.iter().copied().chain([0]))
        .collect();
    Labels {
        host: domain.label(LabelKind::Host, options.hostname.as_bytes()),
        paths: domain.label(LabelKind::Paths, &paths),
        tags: options
            .tags
            .iter()
            .map(|tag| domain.label(LabelKind::Tag, tag.as_bytes()))
            .collect(),
    }
}

/// Writes checkpoints when they are due.
#[derive(Debug)]
pub(super) struct Checkpoints {
    packed_bytes: u64,
    at: Timestamp,
    count: u32,
}

impl Checkpoints {
    pub(super) fn new(start: Timestamp) -> Self {
        Self {
            packed_bytes: 0,
            at: start,
            count: 0,
        }
    }

    /// Writes a checkpoint if enough bytes or time have gone by since the last.
    pub(super) fn write_if_due(&mut self, session: &Session<'_>) -> Result<()> {
        let packed = session.counters.packed_bytes.load(Ordering::Relaxed);
        if packed == self.packed_bytes || session.options.dry_run {
            return Ok(());
        }
        let now = session.repository.environment.clock.now();
        let seconds = u64::try_from(now.seconds.saturating_sub(self.at.seconds)).unwrap_or(0);
        let seconds_max = session.reuse.checkpoint_seconds_max();
        let due = packed - self.packed_bytes >= session.options.checkpoint_bytes
            || seconds >= session.options.checkpoint_seconds.min(seconds_max);
        if !due {
            return Ok(());
        }
        (self.packed_bytes, self.at) = (packed, now);
        self.write(session)
    }

    /// Writes a checkpoint.
    pub(super) fn write(&mut self, session: &Session<'_>) -> Result<()> {
        let now = session.repository.environment.clock.now();
        self.count = self.count.saturating_add(1);
        let finished = Finished::default();
        write_snapshot(session, &finished, Summary::default(), self.count, now).map(|_written| ())
    }
}
