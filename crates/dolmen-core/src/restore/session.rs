//! One restore: what its threads share, and how they are started and joined.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Sender, bounded};
use dolmen_format::FormatError;
use dolmen_fs::{AttributeError, Errno, FsError, Kind, OutFile, PathKey};
use dolmen_store::{StoreError, StoreErrorKind};

use super::dispatch::Lanes;
use super::entry::Failure;
use super::file::OpenFiles;
use super::place::Place;
use super::window::{WINDOWS_MAX, Window};
use super::{
    Action, FailureKind, Observer, Options, Overwrite, Progress, Report, plan, read, work,
};
use crate::error::{Error, Result};
use crate::finding::chain;
use crate::index::Index;
use crate::pack::{BlobError, BlobReader};
use crate::repository::Repository;
use crate::snapshots::SnapshotEntry;

/// Runs that are fetched at the same time.
const READERS: usize = 4;

/// What the threads of a restore share.
pub(super) struct Session<'a> {
    pub(super) blobs: BlobReader<'a>,
    pub(super) options: &'a Options,
    pub(super) place: Place,
    pub(super) open: OpenFiles,
    /// Windows under way, in their order.
    pub(super) windows: Mutex<VecDeque<Arc<Window>>>,
    progress: &'a Progress,
    observer: &'a dyn Observer,
    counters: Counters,
    failure: Mutex<Option<Error>>,
    /// Set with the failure.
    is_stopped: AtomicBool,
    has_read: AtomicBool,
    /// Set when the target's file system turned out to keep no marks.
    has_no_marks: AtomicBool,
}

#[derive(Debug, Default)]
struct Counters {
    found: AtomicU64,
    found_bytes: AtomicU64,
    restored: AtomicU64,
    restored_bytes: AtomicU64,
    skipped: AtomicU64,
    skipped_bytes: AtomicU64,
    deleted: AtomicU64,
    verified: AtomicU64,
    damaged: AtomicU64,
    differing: AtomicU64,
    errors: AtomicU64,
}

impl<'a> Session<'a> {
    /// Opens the target.
    pub(super) fn new(
        repository: &'a Repository,
        index: &'a Index,
        options: &'a Options,
        observer: &'a dyn Observer,
        progress: &'a Progress,
    ) -> Result<Self> {
        Ok(Self {
            blobs: BlobReader::new(repository, &index.blobs),
            options,
            place: Place::open(options)?,
            open: OpenFiles::default(),
            windows: Mutex::default(),
            progress,
            observer,
            counters: Counters::default(),
            failure: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            has_read: AtomicBool::new(false),
            has_no_marks: AtomicBool::new(false),
        })
    }

    /// Restores from beginning to end.
    pub(super) fn run(&self, snapshot: &SnapshotEntry) -> Result<Report> {
        let root = snapshot.tree().ok_or_else(|| {
            let object = format!("snapshot {}", snapshot.id);
            Error::damaged(object, FormatError::Invalid { field: "tree" })
        })?;
        let all = self.options.subpath.is_none()
            && self.options.include.is_empty()
            && self.options.exclude.is_empty();
        if all {
            let counts = &snapshot.snapshot.counts;
            let entries = counts
                .files
                .saturating_add(counts.directories)
                .saturating_add(counts.others);
            self.progress.total_files.store(entries, Ordering::Relaxed);
            self.progress
                .total_bytes
                .store(counts.bytes, Ordering::Relaxed);
        }
        let workers = self.options.threads.max(1);
        let (runs, runs_to_fetch) = bounded(READERS);
        let (works, works_to_do) = bounded(workers);
        let (finished, windows_finished) = bounded(WINDOWS_MAX);
        let planned = std::thread::scope(|scope| {
            for _ in 0..READERS {
                let (runs_to_fetch, works) = (runs_to_fetch.clone(), works.clone());
                scope.spawn(move || read::serve(self, &runs_to_fetch, &works));
            }
            for _ in 0..workers {
                let (works_to_do, finished) = (works_to_do.clone(), finished.clone());
                scope.spawn(move || work::serve(self, &works_to_do, &finished));
            }
            let lanes = Lanes {
                runs,
                works,
                finished,
                windows_finished,
            };
            plan::run(self, lanes, root, &snapshot.short_id())
        });
        // The first failure is the cause; later ones are its echoes.
        if let Some(error) = lock(&self.failure).take() {
            return Err(error);
        }
        planned?;
        if self.is_cancelled() {
            return Err(Error::Interrupted);
        }
        Ok(self.report())
    }

    fn report(&self) -> Report {
        let Counters {
            restored,
            restored_bytes,
            deleted,
            verified,
            damaged,
            differing,
            errors,
            ..
        } = &self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (skipped, skipped_bytes) =
            (of(&self.counters.skipped), of(&self.counters.skipped_bytes));
        Report {
            total_files: of(&self.counters.found).saturating_sub(skipped),
            files_restored: of(restored),
            files_skipped: skipped,
            files_deleted: of(deleted),
            total_bytes: of(&self.counters.found_bytes).saturating_sub(skipped_bytes),
            bytes_restored: of(restored_bytes),
            bytes_skipped: skipped_bytes,
            verified_files: of(verified),
            damaged: of(damaged),
            differing: of(differing),
            errors: of(errors),
        }
    }

    /// Whether nothing is to be changed.
    pub(super) const fn is_dry(&self) -> bool {
        self.options.dry_run
    }

    /// Whether the threads should come to an end.
    pub(super) fn is_over(&self) -> bool {
        self.is_cancelled() || self.is_stopped.load(Ordering::Relaxed)
    }

    fn is_cancelled(&self) -> bool {
        self.progress.cancel.load(Ordering::Relaxed)
    }

    /// Notes why the restore fails as a whole; the first reason counts.
    pub(super) fn stop(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Counts an entry that is to be restored.
    pub(super) fn found(&self, bytes: u64) {
        let found = add(&self.counters.found, 1);
        let found_bytes = add(&self.counters.found_bytes, bytes);
        self.progress
            .total_files
            .fetch_max(found, Ordering::Relaxed);
        self.progress
            .total_bytes
            .fetch_max(found_bytes, Ordering::Relaxed);
    }

    /// Counts bytes on their way to be done; see [`Self::done`].
    pub(super) fn advance(&self, bytes: u64) {
        add(&self.progress.bytes, bytes);
    }

    /// Tells that a path is done; `advanced` of its bytes are counted in the progress already.
    pub(super) fn done(&self, key: &PathKey, action: Action, bytes: u64, advanced: u64) {
        let (count, sum) = match action {
            Action::Restored | Action::Updated => {
                (&self.counters.restored, &self.counters.restored_bytes)
            }
            Action::Unchanged => (&self.counters.skipped, &self.counters.skipped_bytes),
            Action::Deleted => {
                add(&self.counters.deleted, 1);
                return self.observer.done(&key.to_path(), action, bytes);
            }
        };
        add(count, 1);
        add(sum, bytes);
        add(&self.progress.files, 1);
        self.advance(bytes.saturating_sub(advanced));
        self.observer.done(&key.to_path(), action, bytes);
    }

    /// Counts a file that was read back.
    pub(super) fn verified(&self) {
        add(&self.counters.verified, 1);
    }

    /// Says something about the restore as a whole.
    pub(super) fn notice(&self, text: &str) {
        self.observer.notice(text);
    }

    /// Marks a file that is begun, where a later run could otherwise take what an interrupted one left for a file that
    /// it must leave alone.
    pub(super) fn mark_incomplete(&self, file: &OutFile) {
        match self.options.overwrite {
            Overwrite::Always | Overwrite::IfChanged => return,
            Overwrite::IfNewer | Overwrite::Never => {}
        }
        if file.mark_incomplete().is_err() && !self.has_no_marks.swap(true, Ordering::Relaxed) {
            self.notice(
                "the target's file system has no extended attributes: should this restore be interrupted, \
                 run it again with --overwrite always",
            );
        }
    }

    /// Tells that a path could not be restored, unless that stops the whole restore.
    pub(super) fn failed(&self, key: &PathKey, failure: Failure) {
        match failure {
            Failure::Lost(reason) => self.tell(key, &reason, FailureKind::Damage),
            Failure::Refused(error) => self.refused(key, error),
            Failure::Target(reason) => self.tell(key, &reason, FailureKind::Target),
            Failure::Differs(reason) => self.tell(key, &reason, FailureKind::Differs),
        }
    }

    /// Stops the whole restore if a failure would come again for every other file.
    pub(super) fn stop_for(&self, failure: &Failure) {
        if let Failure::Refused(error) = failure
            && is_fatal(error)
        {
            self.stop(Error::Fs(*error));
        }
    }

    /// Tells that this machine refused something. A full disk would refuse everything else too.
    pub(super) fn refused(&self, key: &PathKey, error: FsError) {
        if is_fatal(&error) {
            self.stop(Error::Fs(error));
        } else {
            let mut reason = chain(&error);
            let is_folder = matches!(
                error,
                FsError::InTheWay {
                    found: Kind::Directory
                }
            );
            if is_folder && !self.options.delete {
                reason.push_str("; --delete removes it with all that is in it");
            }
            self.tell(key, &reason, FailureKind::Target);
        }
    }

    /// Tells which attributes were refused.
    pub(super) fn attributes_failed(&self, key: &PathKey, failed: &[AttributeError]) {
        if !failed.is_empty() {
            let reasons: Vec<_> = failed.iter().map(|error| chain(error)).collect();
            self.tell(key, &reasons.join("; "), FailureKind::Attribute);
        }
    }

    /// Tells that a blob cannot be had: why the path fails, unless the store as a whole refuses.
    pub(super) fn lost(&self, error: &BlobError) -> Failure {
        if let BlobError::Store { source, .. } = error
            && self.refuses_all(source.kind)
        {
            self.stop(Error::Store(StoreError {
                kind: source.kind,
                operation: source.operation,
                key: source.key.clone(),
                source: source.source.as_ref().map(|cause| cause.to_string().into()),
            }));
        }
        Failure::Lost(chain(error))
    }

    /// Notes that something could be read: what is denied later is one object, not the store.
    pub(super) fn note_read(&self) {
        self.has_read.store(true, Ordering::Relaxed);
    }

    fn refuses_all(&self, kind: StoreErrorKind) -> bool {
        kind == StoreErrorKind::Unavailable
            || (kind == StoreErrorKind::Denied && !self.has_read.load(Ordering::Relaxed))
    }

    fn tell(&self, key: &PathKey, reason: &str, kind: FailureKind) {
        // Once the restore stops, what fails fails because of that.
        if self.is_over() {
            return;
        }
        add(&self.counters.errors, 1);
        match kind {
            FailureKind::Damage => {
                add(&self.counters.damaged, 1);
            }
            FailureKind::Differs => {
                add(&self.counters.differing, 1);
            }
            FailureKind::Target | FailureKind::Attribute => {}
        }
        self.observer.failed(&key.to_path(), reason, kind);
    }

    /// Ends a task of a window. Whoever ends the last one finishes the window, and those after it that waited.
    pub(super) fn end_task(&self, window: &Window, finished: &Sender<()>) {
        if !window.end_task() {
            return;
        }
        // Held throughout: windows finish in their order.
        let mut windows = lock(&self.windows);
        while let Some(first) = windows.front()
            && first.is_done()
        {
            super::after::finish(self, &first.take_after());
            windows.pop_front();
            // There is room for every window under way, and who plans may be gone.
            finished.try_send(()).ok();
        }
    }
}

/// Whether an error would come again for every other file.
pub(super) fn is_fatal(error: &FsError) -> bool {
    matches!(
        error.errno(),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS)
    )
}

/// Adds and returns the sum.
fn add(counter: &AtomicU64, count: u64) -> u64 {
    counter
        .fetch_add(count, Ordering::Relaxed)
        .saturating_add(count)
}

/// A poisoned lock means that a thread of ours panicked, which ends the run by itself.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
