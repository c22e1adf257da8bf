//! Finding the files below some roots, in the order of their keys.

mod look;
mod place;
mod plan;
mod queue;
mod roots;
mod scan;
mod view;

use crate::directory::Directory;
use crate::error::FsError;
use crate::key::{self, PathKey};
use crate::metadata::Metadata;
use crate::read::{FileHandle, path_in};
use plan::{Plan, Top};
use queue::{Queue, Slot, dismantle};
use scan::{Batch, Below, Entry, Finding, Listing, Scanner, Task};
use std::ffi::CStr;
use std::ops::ControlFlow;
use std::sync::Arc;

pub use place::{Place, Root};
pub use view::DirectoryView;

/// How to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkOptions {
    /// Whether to stay in the file systems that the roots are in. The directory where another one is mounted is
    /// still found, its contents are not.
    pub one_file_system: bool,
    /// Threads that look ahead of the calling one. With 0 the calling thread does all the work.
    pub threads: usize,
}

/// What a walk hands out. Keys are paths in the tree and ascend; a directory that cannot be listed comes twice, first found, then failed.
#[derive(Debug)]
pub enum WalkItem {
    /// A file at or below a root.
    Found {
        /// Its path.
        key: PathKey,
        /// Its metadata; of a symbolic link itself, not of what it points to.
        metadata: Metadata,
        /// The way to its bytes.
        handle: FileHandle,
    },
    /// A directory between a place and a root. Of its contents only what leads to roots follows.
    ///
    /// Symbolic links on the way to a root are followed, so this is always a directory.
    Ancestor {
        /// Its path, as the root names it.
        key: PathKey,
        /// Its metadata.
        metadata: Metadata,
        /// The way to its attributes.
        handle: FileHandle,
    },
    /// Something could not be looked at: a root that is not there, a file that vanished, a directory that cannot be
    /// listed, in which case some of its contents may follow nevertheless.
    Failed {
        /// Its path in the tree, empty for a place itself.
        key: PathKey,
        /// Its absolute path.
        path: Vec<u8>,
        /// Why.
        error: FsError,
    },
}

/// Decides what a walk leaves out. Called from several threads, once for each file at or below a root.
pub trait Select: Send + Sync {
    /// Decides about one file. `path` is absolute; `directory` is the one that holds it.
    ///
    /// A directory that is excluded is not opened.
    fn select(&self, path: &[u8], metadata: &Metadata, directory: &DirectoryView<'_>) -> Selection;
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// It is found, and if it is a directory so are its contents.
    Include,
    /// It is passed over, and if it is a directory so are its contents. Roots below it are found still.
    Exclude,
}

/// Walks the roots and calls `sink` in the calling thread with everything found, in the order of the keys.
///
/// Roots may overlap; nothing is found twice. A root that is a symbolic link is found as a link. The walk ends early
/// when `sink` breaks. Memory is bounded: the names of the directories on the path to the current one, and a few MiB
/// ahead of it. Nothing is found twice in one place; the same file can be found from two, each time with its own key.
pub fn walk(
    roots: &[Root],
    options: &WalkOptions,
    select: &dyn Select,
    sink: &mut dyn FnMut(WalkItem) -> ControlFlow<()>,
) {
    let all = Top::all(roots);
    let mut tops = Vec::with_capacity(all.len());
    let mut failed = Vec::new();
    for top in &all {
        match top.open() {
            Ok(open) => tops.push(open),
            Err(error) => failed.push((top.path(), error)),
        }
    }
    let plan = Plan::new(&tops, roots);
    for (path, error) in failed.into_iter().chain(plan.failed) {
        let key = PathKey::root();
        if sink(WalkItem::Failed { key, path, error }).is_break() {
            return;
        }
    }
    let tasks = plan.runs.iter().zip(plan.names);
    let queue = Queue::new(options.threads);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| queue.work(&mut Scanner::new(select, options, &queue)));
        }
        let scanner = Scanner::new(select, options, &queue);
        let mut consumer = Consumer {
            scanner,
            key: Vec::new(),
            frames: Vec::new(),
            sink,
        };
        // Breaking is the caller's wish, and all that is left to do is the same either way.
        let (ControlFlow::Break(()) | ControlFlow::Continue(())) = tasks
            .map(|(run, names)| run.task(names))
            .try_for_each(|task| consumer.run(task));
        queue.stop();
        dismantle(
            consumer
                .frames
                .into_iter()
                .flat_map(Frame::into_slots)
                .collect(),
        );
    });
}

/// Takes what the scanners found, in order, and hands it out.
struct Consumer<'w, 's> {
    scanner: Scanner<'w>,
    /// The key bytes of the last frame's directory.
    key: Vec<u8>,
    /// The directories on the path to the current one.
    frames: Vec<Frame<'w>>,
    sink: &'s mut dyn FnMut(WalkItem) -> ControlFlow<()>,
}

/// What is left of a directory that is being handed out.
struct Frame<'w> {
    listing: Arc<Listing<'w>>,
    entries: std::vec::IntoIter<Entry<'w>>,
    rest: Option<Arc<Slot<'w>>>,
    /// Length of the directory's key.
    key_bytes: usize,
}

impl<'w> Consumer<'w, '_> {
    /// Hands out what the task finds and everything below.
    fn run(&mut self, task: Task<'w>) -> ControlFlow<()> {
        self.key.clear();
        self.enter(&Slot::new(PathKey::root(), task))?;
        while let Some(frame) = self.frames.last_mut() {
            self.key.truncate(frame.key_bytes);
            let Some(entry) = frame.entries.next() else {
                let rest = frame.rest.take();
                self.frames.pop();
                if let Some(slot) = rest {
                    self.enter(&slot)?;
                }
                continue;
            };
            let listing = &frame.listing;
            let directory = &listing.source.directory;
            let name = listing.names.get(entry.name).unwrap_or_default();
            let tree_name = listing.tree_name(name);
            let key = PathKey::joined(&self.key, tree_name);
            if let Some(item) = entry.finding.into_item(key, directory, name) {
                (self.sink)(item)?;
            }
            match entry.below {
                Below::Nothing => {}
                Below::Contents(slot) => {
                    key::push(&mut self.key, tree_name);
                    self.enter(&slot)?;
                }
                Below::Lost(roots, error) => {
                    let parent = PathKey::joined(&self.key, tree_name);
                    let top = path_in(directory, name);
                    for key in roots.named_below(&parent) {
                        let below = key.as_bytes().strip_prefix(parent.as_bytes());
                        let path = key::appended(&top, below.unwrap_or_default());
                        (self.sink)(WalkItem::Failed { key, path, error })?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Starts on a batch of the directory that `key` names.
    fn enter(&mut self, slot: &Slot<'w>) -> ControlFlow<()> {
        let batch = self.scanner.take(slot);
        let key_bytes = self.key.len();
        let Batch {
            listing,
            entries,
            rest,
            failure,
            ..
        } = batch;
        let source = Arc::clone(&listing);
        self.frames.push(Frame {
            listing,
            entries: entries.into_iter(),
            rest,
            key_bytes,
        });
        match failure {
            Some(error) => {
                let key = PathKey::joined(&[], &self.key);
                let path = path_in(&source.source.directory, c".");
                (self.sink)(WalkItem::Failed { key, path, error })
            }
            None => ControlFlow::Continue(()),
        }
    }
}

impl<'w> Frame<'w> {
    /// The work that nobody will ask for any more.
    fn into_slots(self) -> impl Iterator<Item = Arc<Slot<'w>>> {
        self.entries
            .filter_map(|entry| entry.below.into_slot())
            .chain(self.rest)
    }
}

impl Finding {
    /// What the sink gets for it, if anything.
    fn into_item(self, key: PathKey, directory: &Arc<Directory>, name: &CStr) -> Option<WalkItem> {
        Some(match self {
            Self::Found(metadata) => {
                let handle = FileHandle::new(directory, name.to_owned());
                WalkItem::Found {
                    key,
                    metadata,
                    handle,
                }
            }
            Self::Ancestor(metadata, ancestor) => {
                // The name may be a symbolic link, which stands for the directory here.
                let handle = FileHandle::new(&ancestor, c".".to_owned());
                WalkItem::Ancestor {
                    key,
                    metadata,
                    handle,
                }
            }
            Self::Failed(error) => WalkItem::Failed {
                key,
                path: path_in(directory, name),
                error,
            },
            Self::Nothing => return None,
        })
    }
}

#[cfg(test)]
mod tests;
