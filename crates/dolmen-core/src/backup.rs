//! Backup: the walk feeds workers, workers fill packs, the tree is assembled in the order of the walk.
//!
//! ```text
//! walk ──batches──▶ workers ──entries──▶ assembler ──▶ tree
//!                      │ frames             │ nodes
//!                      └──────▶ packs ◀─────┘ ──▶ store ──▶ segment, manifest, snapshot
//! ```
//!
//! Memory is bounded by the window of batches between walk and assembler, by the buffers of the workers
//! and by the number of packs that are filled or put at the same time.

mod assemble;
mod blobs;
mod commit;
mod entry;
mod list;
mod moved;
mod protect;
mod reader;
mod resume;
mod reuse;
mod segments;
mod select;
mod session;
mod stdin;
mod trust;
mod worker;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dolmen_format::snapshot::Summary;
use dolmen_format::{FormatError, PackId, SnapshotId, Timestamp};
use dolmen_fs::pattern::PatternList;
use dolmen_fs::{FsError, PathKey, Root};
use dolmen_state::state::Instance;

use crate::error::Result;
use crate::index::Index;
use crate::pack::Effort;
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

pub use select::{IfPresent, Selector};
pub(crate) use trust::trusts_chains;

/// What to back up and how.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Options {
    /// Absolute paths, cleaned, not UTF-8: the snapshot records them, and is told by them from others.
    pub paths: Vec<Vec<u8>>,
    /// Where these paths are found and what they are called in the tree, in the order given; none for a stream.
    pub roots: Vec<Root>,
    /// What to leave out.
    pub selector: Selector,
    /// Whether to stay in the file systems of the paths.
    pub one_file_system: bool,
    /// This machine.
    pub hostname: String,
    /// The user.
    pub username: String,
    /// The user's id.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
    /// Tags.
    pub tags: Vec<String>,
    /// Exclude patterns as given, for the record.
    pub excludes: Vec<Vec<u8>>,
    /// The snapshot's time; `None`: when the backup begins.
    pub time: Option<Timestamp>,
    /// Who writes.
    pub program_version: String,
    /// How hard to compress.
    pub effort: Effort,
    /// Threads that read files.
    pub threads: usize,
    /// Read every file, whatever the cache says.
    pub force: bool,
    /// Write no snapshot when nothing changed.
    pub skip_if_unchanged: bool,
    /// Change nothing anywhere.
    pub dry_run: bool,
    /// Build upon what live snapshots of this signer list, whoever made them; where nothing is locked that is done anyway.
    pub trust_own_history: bool,
    /// The repository's cache folder; `None` for no cache.
    pub cache: Option<PathBuf>,
    /// A folder for what does not fit into memory.
    pub scratch: PathBuf,
    /// Bytes between checkpoints.
    pub checkpoint_bytes: u64,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: u64,
}

/// DESIGN §3: a checkpoint every 10 GiB.
pub const CHECKPOINT_BYTES: u64 = 10 << 30;
/// DESIGN §3: a checkpoint every hour.
pub const CHECKPOINT_SECONDS: u64 = 3600;

/// Where a stream of bytes becomes a file.
pub struct Stdin<'a> {
    /// The file's absolute path in the snapshot.
    pub path: Vec<u8>,
    /// The bytes.
    pub reader: Box<dyn Read + Send + 'a>,
    /// Called at the end of the stream: a failed command fails the backup.
    pub finish: Box<dyn FnOnce() -> Result<()> + Send + 'a>,
}

impl std::fmt::Debug for Stdin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stdin({})", String::from_utf8_lossy(&self.path))
    }
}

/// What the caller sees while a backup runs. Paths are those of the machine, not of the tree.
pub trait Observer: Sync {
    /// A file or directory could not be saved; the backup goes on.
    fn failed(&self, path: &[u8], error: &SourceError);
    /// A file is there but is not saved, and need not be.
    fn skipped(&self, path: &[u8], reason: &str);
    /// Something was saved.
    fn saved(&self, path: &[u8], change: Change, bytes: u64);
    /// Something about the repository or this client is worth a sentence.
    fn notice(&self, text: &str);
}

/// Why something could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It is not what it was when the reading began; what was read is saved.
    #[error("changed while it was read")]
    Changed,
    /// Its attributes are too large to be kept with it; it is saved without them.
    #[error("extended attributes of more than {limit} bytes")]
    Xattrs {
        /// The limit.
        limit: usize,
    },
    /// Its name or attributes are beyond what the format keeps.
    #[error("cannot be kept")]
    Format(#[from] FormatError),
}

/// How a file differs from when it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Not seen before.
    New,
    /// Seen, and different.
    Changed,
    /// Seen, and the same.
    Unmodified,
}

/// Counters to show while a backup runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files done.
    pub files: AtomicU64,
    /// Bytes of files done.
    pub bytes: AtomicU64,
    /// Files found by the walk so far.
    pub files_found: AtomicU64,
    /// Bytes found by the walk so far.
    pub bytes_found: AtomicU64,
    /// Whether the walk is over, and the totals are whole.
    pub walk_done: AtomicBool,
    /// Things that could not be saved.
    pub errors: AtomicU64,
    /// Large files, and streams, that are being read.
    pub reading: Mutex<Vec<PathKey>>,
    /// Set by the caller to interrupt.
    pub cancel: AtomicBool,
}

impl Progress {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Runs `read` while `key` is shown as being read.
    fn while_reading<T>(&self, key: &PathKey, read: impl FnOnce() -> T) -> T {
        session::lock(&self.reading).push(key.clone());
        let outcome = read();
        let mut reading = session::lock(&self.reading);
        if let Some(at) = reading.iter().position(|shown| shown == key) {
            reading.swap_remove(at);
        }
        outcome
    }
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct Report {
    /// The new snapshot; `None` for a dry run, or where nothing changed and that was to be skipped.
    pub snapshot: Option<SnapshotId>,
    /// Until when everything that the snapshot needs is locked, as the store states it; `None`: it locks nothing.
    pub protected_until: Option<Timestamp>,
    /// The snapshot that this one follows.
    pub parent: Option<SnapshotId>,
    /// Counters.
    pub summary: Summary,
    /// Things that could not be saved.
    pub errors: u64,
    /// Bytes that were stored again, because nothing that this client believes says that they are there.
    pub again_bytes: u64,
    /// Packs that frames were moved into and that were read whole, to be remembered.
    pub read_whole: BTreeSet<PackId>,
    /// Whether this client's state folder was set back or copied; it went on as a new instance.
    pub is_set_back: bool,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
}

/// What a backup works with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// Its index.
    pub index: &'a Index,
    /// Its snapshots.
    pub snapshots: &'a SnapshotList,
    /// This client's state.
    pub instance: &'a Mutex<Instance>,
}

/// Backs up paths.
pub fn paths(
    context: &Context<'_>,
    options: &Options,
    observer: &dyn Observer,
    progress: &Progress,
) -> Result<Report> {
    session::run(context, options, observer, progress, session::Source::Paths)
}

/// Backs up a stream as one file.
pub fn stdin(
    context: &Context<'_>,
    options: &Options,
    observer: &dyn Observer,
    progress: &Progress,
    stdin: Stdin<'_>,
) -> Result<Report> {
    session::run(
        context,
        options,
        observer,
        progress,
        session::Source::Stdin(stdin),
    )
}

/// The selector of a backup without any exclusion.
pub fn select_everything() -> Selector {
    Selector::new(PatternList::default())
}

/// The file of the files cache for these paths.
fn files_cache(cache: &Path, paths: &[Vec<u8>]) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        hasher.update(path).update(&[0]);
    }
    let hash = hasher.finalize().to_hex();
    cache.join(format!("files-{}", hash.get(..16).unwrap_or_default()))
}
