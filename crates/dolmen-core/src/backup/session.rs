//! One backup run: what its threads share, and how they are started and joined.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dolmen_crypto::DomainKeys;
use dolmen_format::index::PackEntry;
use dolmen_format::manifest::FrameSet;
use dolmen_format::pack::Recipient;
use dolmen_format::snapshot::Counts;
use dolmen_format::{BlobId, BlobKind, Timestamp};
use dolmen_state::index::{BlobIndex, Location, PackInfo, PackRef};
use dolmen_state::state::{Instance, JournalEntry, Needed};

use super::commit::{self, Checkpoints};
use super::moved::MovedFrames;
use super::reuse::Reuse;
use super::trust::{Stored, Trust, trusts_chains};
use super::{Context, Observer, Options, Progress, Report, Stdin, assemble, resume, stdin};
use crate::error::{Error, Result};
use crate::finding::counted;
use crate::index::Index;
use crate::index::segments::SegmentWriter;
use crate::own;
use crate::pack::{FinishedPack, PackListener, PackWriter};
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// Packs that are filled or on their way at the same time.
const PACK_BUFFERS: usize = 2;

/// Where the data comes from.
pub(super) enum Source<'a> {
    Paths,
    Stdin(Stdin<'a>),
}

/// What the threads of a run share.
pub(super) struct Session<'a> {
    pub(super) repository: &'a Repository,
    /// The dedup domain into which it writes.
    pub(super) domain: &'a DomainKeys,
    pub(super) index: &'a BlobIndex,
    pub(super) loaded: &'a Index,
    pub(super) snapshots: &'a SnapshotList,
    pub(super) options: &'a Options,
    pub(super) observer: &'a dyn Observer,
    pub(super) progress: &'a Progress,
    pub(super) start: Timestamp,
    pub(super) is_set_back: bool,
    pub(super) instance: &'a Mutex<Instance>,
    pub(super) segment: Mutex<SegmentWriter>,
    pub(super) counters: Counters,
    checkpoints: Mutex<Checkpoints>,
    /// Blobs that some thread has taken on and whose pack is not stored yet.
    claims: Mutex<HashSet<BlobId>>,
    /// Packs that the index names and the store lacks: what they held, and no move says to lie elsewhere, is stored again.
    absent: BTreeSet<PackRef>,
    /// What of it does.
    pub(super) moved: MovedFrames<'a>,
    /// What of the rest may be built upon.
    pub(super) reuse: Reuse,
    /// Frames that the snapshot needs so far.
    needed: Mutex<BTreeMap<PackRef, FrameSet>>,
    failure: Mutex<Option<Error>>,
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) data_blobs: AtomicU64,
    pub(super) tree_blobs: AtomicU64,
    pub(super) raw_bytes: AtomicU64,
    pub(super) packed_bytes: AtomicU64,
    /// Of what the index knows, from segments that are not believed.
    pub(super) again_bytes: AtomicU64,
}

/// Whether a blob must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is in the store, or another thread sees to it.
    Present,
    /// The caller sees to it.
    Write,
}

/// Runs a backup from beginning to end.
pub(super) fn run(
    context: &Context<'_>,
    options: &Options,
    observer: &dyn Observer,
    progress: &Progress,
    source: Source<'_>,
) -> Result<Report> {
    let Context {
        repository,
        index,
        snapshots,
        instance,
    } = *context;
    let is_set_back = !options.dry_run && {
        let notice = |text: &str| observer.notice(text);
        own::settle(repository, &mut lock(instance), snapshots, &notice)?
    };
    let (trust, segment, absent) = learn_trust(context, options, observer)?;
    let session = Session {
        repository,
        domain: repository.keys().home()?,
        index: &index.blobs,
        loaded: index,
        snapshots,
        options,
        observer,
        progress,
        start: repository.environment.clock.now(),
        is_set_back,
        instance,
        segment: Mutex::new(segment),
        counters: Counters::default(),
        checkpoints: Mutex::new(Checkpoints::new(repository.environment.clock.now())),
        absent,
        moved: MovedFrames::new(repository, &snapshots.facts, &index.blobs),
        reuse: Reuse::learn(
            repository,
            &index.blobs,
            snapshots,
            trust,
            &|entry| remembered(instance, entry),
            (&options.scratch, &progress.cancel),
        )?,
        claims: Mutex::default(),
        needed: Mutex::default(),
        failure: Mutex::default(),
    };
    if !options.dry_run {
        resume::adopt_journal(&session)?;
    }
    let finished = session.run_threads(source);
    // The first failure is the cause; later ones are its echoes.
    if let Some(error) = session.take_failure() {
        return Err(error);
    }
    let finished = finished?;
    if session.progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    // Whoever keeps only the newest snapshots would lose data to empty ones.
    if finished.counts == Counts::default() {
        return Err(Error::EmptySnapshot);
    }
    let committed = commit::commit(&session, &finished);
    repository.objects.save_notes();
    committed
}

/// What a snapshot of this client's own needs, as its state folder knows it.
pub(super) fn remembered(instance: &Mutex<Instance>, entry: &SnapshotEntry) -> Option<Needed> {
    lock(instance).needed(&entry.snapshot.labels.paths, &entry.id)
}

impl Session<'_> {
    fn run_threads(&self, source: Source<'_>) -> Result<assemble::Finished> {
        let (packs, full) = PackWriter::new(self.repository, Recipient::Read, PACK_BUFFERS);
        std::thread::scope(|scope| {
            let pool = packs.pool();
            let uploader = scope.spawn(move || {
                let result = full.put_all(self.repository, self.index, &pool, self);
                if let Err(error) = result {
                    self.fail(error);
                    full.drain(&pool);
                }
            });
            let finished = match source {
                Source::Paths => assemble::run(self, &packs),
                Source::Stdin(stdin) => stdin::run(self, &packs, stdin),
            };
            let flushed = packs.flush();
            drop(packs);
            let joined = uploader.join();
            flushed?;
            joined.map_err(|_panic| Error::Internal {
                what: "the uploading thread died",
            })?;
            finished
        })
    }

    /// Decides who writes a blob, and notes that the snapshot needs it.
    pub(super) fn claim(&self, id: &BlobId) -> Claim {
        if self.need(id) {
            return Claim::Present;
        }
        if lock(&self.claims).insert(*id) {
            Claim::Write
        } else {
            Claim::Present
        }
    }

    /// Notes that the snapshot needs a blob; false when it is not stored yet.
    pub(super) fn need(&self, id: &BlobId) -> bool {
        let Some(location) = self.locate(id) else {
            return false;
        };
        if location.kind != BlobKind::Manifest {
            lock(&self.needed)
                .entry(location.pack)
                .or_default()
                .insert(location.ordinal);
        }
        true
    }

    /// Where a blob lies in a pack that the store has, and that may be built upon.
    pub(super) fn locate(&self, id: &BlobId) -> Option<Location> {
        let is_there = |at: &Location| self.reuse.allows(at) && self.has(at.pack, at.ordinal);
        let is_first_hand = |at: &Location| is_there(at) && self.reuse.is_first_hand(at.pack);
        let found = self.index.lookup(id)?;
        if is_first_hand(&found) {
            return Some(found);
        }
        let all = self.index.locations(id);
        let first_hand = all.iter().copied().find(is_first_hand);
        first_hand.or_else(|| all.into_iter().find(is_there))
    }

    /// Whether the store has a frame, in its origin or where it was moved.
    fn has(&self, pack: PackRef, ordinal: u32) -> bool {
        !self.absent.contains(&pack) || self.moved.find(pack, ordinal).is_some()
    }

    /// Whether the index knows a blob, but only from whom this client does not believe.
    pub(super) fn is_disbelieved(&self, id: &BlobId) -> bool {
        let all = self.index.locations(id);
        !all.is_empty() && !all.iter().any(|at| self.reuse.trusts(at.pack))
    }

    /// The frames that are needed so far.
    pub(super) fn needed(&self) -> MutexGuard<'_, BTreeMap<PackRef, FrameSet>> {
        lock(&self.needed)
    }

    /// Notes why the run fails; the first reason counts.
    pub(super) fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }

    /// Whether the run should end.
    pub(super) fn is_over(&self) -> bool {
        self.progress.is_cancelled() || lock(&self.failure).is_some()
    }

    /// Writes a checkpoint of what is stored.
    pub(super) fn write_checkpoint(&self) -> Result<()> {
        lock(&self.checkpoints).write(self)
    }

    fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }
}

impl PackListener for Session<'_> {
    fn before_put(&self, info: &PackInfo) -> Result<()> {
        let PackInfo {
            pack,
            writer,
            pack_bytes,
            ..
        } = *info;
        lock(self.instance)
            .journal_append(&JournalEntry::PutPack {
                writer,
                pack,
                pack_bytes,
            })
            .map_err(Error::from)
    }

    fn after_put(&self, entry: PackEntry, pack: &FinishedPack) -> Result<()> {
        self.reuse.note_own(self.repository.environment.clock.now());
        self.counters
            .packed_bytes
            .fetch_add(u64::from(entry.pack_bytes), Ordering::Relaxed);
        if let Some(stored) = self.index.find_pack(&pack.id) {
            let mut needed = lock(&self.needed);
            for (ordinal, frame) in (0_u32..).zip(&pack.frames) {
                if frame
                    .blobs
                    .iter()
                    .all(|blob| blob.kind != BlobKind::Manifest)
                {
                    needed.entry(stored).or_default().insert(ordinal);
                }
            }
        }
        let mut claims = lock(&self.claims);
        for blob in pack.frames.iter().flat_map(|frame| &frame.blobs) {
            claims.remove(&blob.id);
        }
        drop(claims);
        lock(&self.segment).push(self.repository, entry, &pack.frames)
    }

    fn between_packs(&self) -> Result<()> {
        lock(&self.checkpoints).write_if_due(self)
    }
}

/// Learns whose word is taken, takes attested packs over, and finds the packs that are believed and not there.
///
/// Cost: one listing of packs; see [`Trust::learn`] and [`Trust::adopt_attested`].
fn learn_trust(
    context: &Context<'_>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<(Arc<Trust>, SegmentWriter, BTreeSet<PackRef>)> {
    let Context {
        repository,
        index,
        snapshots,
        instance,
    } = *context;
    let instance = lock(instance);
    let chains = options.trust_own_history || trusts_chains(repository);
    let mut trust = Trust::learn(repository, index, snapshots, instance.record(), chains)?;
    let stored = trust.list_packs(repository, &index.blobs, snapshots)?;
    let mut segment = SegmentWriter::new(instance.id());
    let adopted = trust.adopt_attested(repository, &index.blobs, &stored, |entry, frames| {
        if options.dry_run {
            return Ok(());
        }
        segment.push(repository, entry, frames)
    })?;
    if adopted > 0 {
        observer.notice(&format!(
            "building upon {} that this client did not make and that somebody with the read key has attested",
            counted(adopted, "pack")
        ));
    }
    let Stored { absent, .. } = stored;
    let moves = &snapshots.facts.moves;
    let is_lost = |pack: &&PackRef| {
        let info = index.blobs.pack(**pack);
        info.is_none_or(|info| !moves.names(&info.pack))
    };
    let lost = absent.iter().filter(is_lost).count();
    if lost > 0 {
        observer.notice(&format!(
            "missing or cut short in the store: {}; what was in there is stored again where it is found, run \
             check to see what is lost",
            counted(lost, "pack")
        ));
    }
    Ok((Arc::new(trust), segment, absent))
}

/// A poisoned lock means that a thread of ours panicked, which ends the run with an error of its own.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
