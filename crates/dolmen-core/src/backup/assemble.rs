//! The tree in the making: outcomes come back in any order and are put into the tree in the walk's.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use dolmen_format::snapshot::{Counts, Summary, TreeRoot};
use dolmen_format::tree::NodeKind;
use dolmen_fs::{Kind, PathKey, WalkItem, WalkOptions, walk};
use dolmen_state::StateError;
use dolmen_state::files::{FilesCache, FilesCacheWriter};

use super::blobs::BlobWriter;
use super::entry::{Outcome, Saved, SavedEntry};
use super::reader::ChunkQueue;
use super::session::Session;
use super::worker::{Batch, Channels, Found, Shared, work};
use super::{Change, Progress, SourceError, files_cache};
use crate::error::{Error, Result};
use crate::pack::PackWriter;
use crate::tree::TreeWriter;

/// Neighbours that a worker takes at once.
const BATCH_ITEMS: usize = 64;
/// Bytes of files in a batch: a larger file is alone.
const BATCH_BYTES: u64 = 4 << 20;
/// Bytes of keys after which a batch ends: a key may have a mebibyte.
const BATCH_KEY_BYTES: usize = 64 << 10;
/// Batches between the walk and the tree: what one slow file may hold up.
const WINDOW_BATCHES: usize = 64;
/// Chunks waiting for a thread.
const CHUNK_JOBS: usize = 4;

/// A finished tree and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) root: Option<TreeRoot>,
    pub(super) counts: Counts,
    pub(super) summary: Summary,
    pub(super) errors: u64,
}

/// Walks, reads and assembles.
pub(super) fn run(session: &Session<'_>, packs: &PackWriter<'_>) -> Result<Finished> {
    let options = session.options;
    let cache_file = options
        .cache
        .as_ref()
        .map(|cache| files_cache(cache, &options.paths));
    let cache = cache_file
        .as_ref()
        .filter(|_| !options.force)
        .and_then(|path| FilesCache::open(path));
    let shared = Shared::new(session, packs, cache);
    let remember = cache_file.as_ref().filter(|_| !options.dry_run);
    // A cache that cannot be written costs the next run a re-read, nothing else.
    let remember = remember.and_then(|path| FilesCacheWriter::create(path).ok());
    let mut assembler = Assembler::new(session, packs, remember);
    std::thread::scope(|scope| {
        let (batches_in, batches) = bounded(WINDOW_BATCHES);
        let (done_in, done) = unbounded();
        let (tokens_in, tokens) = bounded(WINDOW_BATCHES);
        start_workers(scope, &shared, &batches, &done_in);
        drop((batches, done_in));
        let walker = scope.spawn(move || walk_all(session, batches_in, &tokens_in));
        assembler.take_all(&done, &tokens);
        // Without the tokens' end, a walk that is still waiting for one ends.
        drop(tokens);
        let joined = walker.join();
        joined.map_err(|_panic| Error::Internal {
            what: "the walking thread died",
        })
    })?;
    assembler.finish()
}

/// Starts the threads that read and compress.
pub(super) fn start_workers<'scope, 'env: 'scope>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    shared: &'scope Shared<'_>,
    batches: &Receiver<Batch<Found>>,
    done: &Sender<Batch<Outcome>>,
) -> ChunkQueue {
    let (jobs_in, jobs) = bounded(CHUNK_JOBS);
    let queue = ChunkQueue {
        jobs: jobs_in,
        spare: bounded(CHUNK_JOBS + shared.session.options.threads),
    };
    for _ in 0..shared.session.options.threads.max(1) {
        let channels = Channels {
            batches: batches.clone(),
            done: done.clone(),
            queue: queue.clone(),
            jobs: jobs.clone(),
        };
        scope.spawn(move || work(shared, channels));
    }
    queue
}

/// Walks the roots and hands batches out, no further ahead than the window.
fn walk_all(session: &Session<'_>, batches: Sender<Batch<Found>>, tokens: &Sender<()>) {
    let options = WalkOptions {
        one_file_system: session.options.one_file_system,
        threads: 1,
    };
    let mut out = Batcher {
        batches,
        tokens,
        number: 0,
        items: Vec::new(),
        bytes: 0,
        key_bytes: 0,
    };
    let progress = session.progress;
    let (roots, selector) = (&session.options.roots, &session.options.selector);
    walk(roots, &options, selector, &mut |item| {
        if session.is_over() {
            return ControlFlow::Break(());
        }
        let found = match item {
            WalkItem::Found {
                key,
                metadata,
                handle,
            }
            | WalkItem::Ancestor {
                key,
                metadata,
                handle,
            } => Found {
                key,
                item: Ok((metadata, handle)),
            },
            WalkItem::Failed { key, path, error } => Found {
                key,
                item: Err((path, error)),
            },
        };
        let bytes = match &found.item {
            Ok((metadata, _)) if metadata.kind == Kind::File => {
                Progress::add(&progress.files_found, 1);
                Progress::add(&progress.bytes_found, metadata.size_bytes);
                metadata.size_bytes
            }
            Ok(_) | Err(_) => 0,
        };
        out.push(found, bytes)
    });
    // When the workers are gone, the run has failed and says so elsewhere.
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) = out.send();
    progress.walk_done.store(true, Ordering::Relaxed);
}

struct Batcher<'t> {
    batches: Sender<Batch<Found>>,
    tokens: &'t Sender<()>,
    number: u64,
    items: Vec<Found>,
    bytes: u64,
    key_bytes: usize,
}

impl Batcher<'_> {
    fn push(&mut self, found: Found, bytes: u64) -> ControlFlow<()> {
        if self.bytes.saturating_add(bytes) > BATCH_BYTES {
            self.send()?;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.key_bytes = self.key_bytes.saturating_add(found.key.as_bytes().len());
        self.items.push(found);
        if self.items.len() >= BATCH_ITEMS || self.key_bytes >= BATCH_KEY_BYTES {
            self.send()
        } else {
            ControlFlow::Continue(())
        }
    }

    fn send(&mut self) -> ControlFlow<()> {
        if self.items.is_empty() {
            return ControlFlow::Continue(());
        }
        let items = std::mem::take(&mut self.items);
        let batch = Batch {
            number: self.number,
            items,
        };
        self.number = self.number.saturating_add(1);
        (self.bytes, self.key_bytes) = (0, 0);
        if self.tokens.send(()).is_ok() && self.batches.send(batch).is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}

/// Puts outcomes into the tree.
pub(super) struct Assembler<'s> {
    session: &'s Session<'s>,
    tree: TreeWriter,
    blobs: BlobWriter<'s>,
    remember: Option<FilesCacheWriter>,
    finished: Finished,
}

impl<'s> Assembler<'s> {
    pub(super) fn new(
        session: &'s Session<'s>,
        packs: &'s PackWriter<'s>,
        remember: Option<FilesCacheWriter>,
    ) -> Self {
        Self {
            session,
            tree: TreeWriter::default(),
            blobs: BlobWriter::new(session, packs),
            remember,
            finished: Finished::default(),
        }
    }

    /// Takes batches until the workers are gone; failures go to the session.
    fn take_all(&mut self, done: &Receiver<Batch<Outcome>>, tokens: &Receiver<()>) {
        let mut early = BTreeMap::new();
        let mut next = 0_u64;
        for batch in done {
            early.insert(batch.number, batch.items);
            while let Some(items) = early.remove(&next) {
                next = next.saturating_add(1);
                // One token for each batch that left the window.
                tokens.try_recv().ok();
                if self.session.is_over() {
                    continue;
                }
                for outcome in items {
                    if let Err(error) = self.take(outcome) {
                        self.session.fail(error);
                        break;
                    }
                }
            }
        }
    }

    pub(super) fn take(&mut self, outcome: Outcome) -> Result<()> {
        let Outcome { key, path, result } = outcome;
        match result {
            Saved::Entry(entry) => self.push(&key, &path, *entry),
            Saved::Failed(error) => {
                self.note_failure(&path, &error);
                Ok(())
            }
            Saved::Skipped(reason) => {
                self.session.observer.skipped(&path, reason);
                Ok(())
            }
        }
    }

    fn note_failure(&mut self, path: &[u8], error: &SourceError) {
        self.finished.errors += 1;
        Progress::add(&self.session.progress.errors, 1);
        self.session.observer.failed(path, error);
    }

    fn push(&mut self, key: &PathKey, path: &[u8], entry: SavedEntry) -> Result<()> {
        let SavedEntry {
            node,
            change,
            cache,
            flaw,
        } = entry;
        if let Some(flaw) = flaw {
            self.note_failure(path, &flaw);
        }
        let (counts, summary) = (&mut self.finished.counts, &mut self.finished.summary);
        let mut bytes = 0;
        match &node.kind {
            NodeKind::File(file) => {
                bytes = file.size;
                counts.files += 1;
                counts.bytes = counts.bytes.saturating_add(bytes);
                *match change {
                    Change::New => &mut summary.files_new,
                    Change::Changed => &mut summary.files_changed,
                    Change::Unmodified => &mut summary.files_unmodified,
                } += 1;
                Progress::add(&self.session.progress.files, 1);
            }
            NodeKind::Directory => {
                counts.directories += 1;
                *match change {
                    Change::New => &mut summary.dirs_new,
                    Change::Changed => &mut summary.dirs_changed,
                    Change::Unmodified => &mut summary.dirs_unmodified,
                } += 1;
            }
            NodeKind::Symlink(_)
            | NodeKind::Fifo
            | NodeKind::CharDevice(_)
            | NodeKind::BlockDevice(_) => counts.others += 1,
        }
        self.session.observer.saved(path, change, bytes);
        if let (Some(writer), Some((file, known))) = (&mut self.remember, &cache)
            && let Err(error) = writer.insert(file, known)
            && !matches!(error, StateError::TooLarge { .. })
        {
            self.remember = None;
        }
        self.tree.push(key.as_bytes(), &node, &mut self.blobs)
    }

    /// Closes the tree.
    pub(super) fn finish(mut self) -> Result<Finished> {
        if self.session.is_over() {
            return Ok(self.finished);
        }
        self.finished.root = Some(self.tree.finish(&mut self.blobs)?);
        self.blobs.flush()?;
        if let Some(writer) = self.remember {
            // Losing the cache costs a re-read.
            writer.finish().ok();
        }
        Ok(self.finished)
    }
}
