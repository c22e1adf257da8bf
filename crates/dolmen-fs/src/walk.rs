//! Finding the files below some roots, in the order of their keys.

mod look;
mod queue;
mod roots;
mod scan;
mod view;

use crate::directory::Directory;
use crate::error::FsError;
use crate::key::{self, PathKey};
use crate::metadata::Metadata;
use crate::read::FileHandle;
use queue::{Queue, Slot, dismantle};
use roots::RootNode;
use scan::{Batch, Below, Entry, Finding, Listing, Scanner, Source, Task};
use std::ffi::CStr;
use std::ops::ControlFlow;
use std::sync::Arc;

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

/// What a walk hands out. Keys ascend; a directory that cannot be listed comes twice, first found, then failed.
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
    /// A directory above a root, `/` first. Of its contents only what leads to roots follows.
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
        /// Its path.
        key: PathKey,
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
/// ahead of it. Fails only when `/` cannot be opened.
pub fn walk(
    roots: &[PathKey],
    options: &WalkOptions,
    select: &dyn Select,
    sink: &mut dyn FnMut(WalkItem) -> ControlFlow<()>,
) -> Result<(), FsError> {
    let roots = RootNode::new(roots);
    let source = Source::top(&roots)?;
    let metadata = source.metadata()?;
    let handle = FileHandle::new(&source.directory, c".".to_owned());
    let first = if roots.is_root {
        WalkItem::Found {
            key: PathKey::root(),
            metadata,
            handle,
        }
    } else {
        WalkItem::Ancestor {
            key: PathKey::root(),
            metadata,
            handle,
        }
    };
    if sink(first).is_break() {
        return Ok(());
    }
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
        let (ControlFlow::Break(()) | ControlFlow::Continue(())) = consumer.run(Task::Open(source));
        queue.stop();
        dismantle(
            consumer
                .frames
                .into_iter()
                .flat_map(Frame::into_slots)
                .collect(),
        );
    });
    Ok(())
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
            let name = frame.listing.names.get(entry.name).unwrap_or_default();
            let key = PathKey::joined(&self.key, name.to_bytes());
            if let Some(item) = entry
                .finding
                .into_item(key, &frame.listing.source.directory, name)
            {
                (self.sink)(item)?;
            }
            match entry.below {
                Below::Nothing => {}
                Below::Contents(slot) => {
                    key::push(&mut self.key, name.to_bytes());
                    self.enter(&slot)?;
                }
                Below::Lost(roots, error) => {
                    let parent = PathKey::joined(&self.key, name.to_bytes());
                    for key in roots.named_below(&parent) {
                        (self.sink)(WalkItem::Failed { key, error })?;
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
        self.frames.push(Frame {
            listing,
            entries: entries.into_iter(),
            rest,
            key_bytes,
        });
        match failure {
            Some(error) => {
                let key = PathKey::joined(&[], &self.key);
                (self.sink)(WalkItem::Failed { key, error })
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
            Self::Failed(error) => WalkItem::Failed { key, error },
            Self::Nothing => return None,
        })
    }
}

#[cfg(test)]
mod tests;
