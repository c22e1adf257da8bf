//! Restore: a walk of the tree plans windows of work, readers fetch runs of frames, workers write files.
//!
//! ```text
//! tree ──walk──▶ windows ──runs──▶ readers ──frames──▶ workers ──▶ files
//!                   └──small work──────────────────────▶ │
//!                   └──links, directories: when all of the window is written
//! ```
//!
//! A window is a bounded number of neighbouring entries. Its blobs are read in the order in which they lie in
//! the packs, each frame once. Memory is bounded by the windows under way, the runs under way and the buffers
//! of the workers, whatever the size of the snapshot.

mod after;
mod check;
mod choose;
mod dispatch;
mod entry;
mod file;
mod folder;
mod layout;
mod other;
mod place;
mod plan;
mod read;
mod session;
mod window;
mod work;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};

use dolmen_fs::PathKey;
use dolmen_fs::pattern::PatternList;

use crate::error::Result;
use crate::index::Index;
use crate::repository::Repository;
use crate::snapshots::SnapshotEntry;

/// What to restore, where to and how.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Options {
    /// The directory that everything is recreated in; it is made when it does not exist.
    pub target: PathBuf,
    /// An absolute path in the snapshot: what is below it is restored, without the directories above. A path
    /// that is no directory is restored itself.
    pub subpath: Option<Vec<u8>>,
    /// Only what matches is restored, and the directories above it; empty: everything. Patterns see the paths
    /// as they become below the target.
    pub include: PatternList,
    /// What matches is left out, with everything below it.
    pub exclude: PatternList,
    /// What happens to files that are there.
    pub overwrite: Overwrite,
    /// Whether what the snapshot does not hold is removed from the directories that are restored.
    pub delete: bool,
    /// Below the target: directories that are left alone with all that is in them, whatever the snapshot holds there, and
    /// that nothing takes the place of.
    pub protected: Vec<PathKey>,
    /// Whether long runs of zeros become holes.
    pub sparse: bool,
    /// Whether files are read back and compared: those that are written, and those that are taken to have the content
    /// already. What is left alone because the caller wants it so is not the snapshot's, and is not compared.
    pub verify: bool,
    /// Change nothing, report the same.
    pub dry_run: bool,
    /// Threads that decrypt and write.
    pub threads: usize,
}

impl Options {
    /// Restores everything, on one thread; what is there gets the snapshot's content, and nothing is removed.
    pub fn all_to(target: PathBuf) -> Self {
        Self {
            target,
            subpath: None,
            include: PatternList::default(),
            exclude: PatternList::default(),
            overwrite: Overwrite::Always,
            delete: false,
            protected: Vec::new(),
            sparse: false,
            verify: false,
            dry_run: false,
            threads: 1,
        }
    }
}

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// They get the snapshot's content; parts that are the same are not written again.
    Always,
    /// As [`Self::Always`], but a file of the same size and modification time is taken to have the same content.
    #[default]
    IfChanged,
    /// They are left alone unless the snapshot's file was modified later.
    IfNewer,
    /// They are left alone.
    Never,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was made.
    Restored,
    /// It was there, with other content.
    Updated,
    /// It was there; its content is right, or it was to be left alone.
    Unchanged,
    /// It was removed, for the snapshot does not hold it.
    Deleted,
}

/// Who is to blame for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The repository cannot give it back.
    Damage,
    /// This machine refused.
    Target,
    /// It is restored, but some of its metadata was refused.
    Attribute,
    /// Read back, it is something else than the snapshot holds.
    Differs,
}

/// What the caller sees while a restore runs. Paths are absolute, as they become below the target.
pub trait Observer: Sync {
    /// Something could not be restored, or not as it should be; the restore goes on.
    fn failed(&self, path: &[u8], reason: &str, kind: FailureKind);
    /// A path is done.
    fn done(&self, path: &[u8], action: Action, bytes: u64);
    /// Something is worth a sentence.
    fn notice(&self, text: &str);
}

/// Counters to show while a restore runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Entries done, unchanged ones among them.
    pub files: AtomicU64,
    /// Bytes of files done.
    pub bytes: AtomicU64,
    /// Entries in all. Where everything is restored, known from the beginning; else it grows with the walk.
    pub total_files: AtomicU64,
    /// Bytes of files in all, likewise.
    pub total_bytes: AtomicU64,
    /// Set by the caller to interrupt.
    pub cancel: AtomicBool,
}

/// What a restore did. Entries are files, directories, links and all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Entries that were to be restored, without those that were skipped.
    pub total_files: u64,
    /// Entries that are there now as in the snapshot.
    pub files_restored: u64,
    /// Entries whose content was right already, or that were to be left alone.
    pub files_skipped: u64,
    /// What was removed, for the snapshot does not hold it.
    pub files_deleted: u64,
    /// Bytes of the files that were to be restored, without those that were skipped.
    pub total_bytes: u64,
    /// Bytes of the files that were restored.
    pub bytes_restored: u64,
    /// Bytes of the files that were skipped.
    pub bytes_skipped: u64,
    /// Files that were read back and found right.
    pub verified_files: u64,
    /// Failures that are the repository's.
    pub damaged: u64,
    /// Files that, read back, differ from the snapshot.
    pub differing: u64,
    /// Failures of all kinds.
    pub errors: u64,
}

/// Restores a snapshot.
///
/// Damage and refusals are told to `observer` and counted; what they do not touch is restored. Fails as a whole
/// when the target cannot be used, the disk is full, the store is gone, or on interruption; what is written
/// until then stays, and running again carries on. An incomplete file never has its final modification time.
pub fn run(
    repository: &Repository,
    index: &Index,
    snapshot: &SnapshotEntry,
    options: &Options,
    observer: &dyn Observer,
    progress: &Progress,
) -> Result<Report> {
    session::Session::new(repository, index, options, observer, progress)?.run(snapshot)
}
