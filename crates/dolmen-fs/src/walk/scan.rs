//! Listing directories and asking for the metadata of what they hold.

use super::look::Look;
use super::plan::Run;
use super::queue::{Queue, Slot, Taken};
use super::roots::RootNode;
use super::view::Answers;
use super::{Select, WalkOptions};
use crate::directory::Directory;
use crate::error::FsError;
use crate::key::PathKey;
use crate::metadata::Metadata;
use crate::names::{Names, NamesBuilder};
use rustix::fd::{AsFd as _, BorrowedFd};
use std::ffi::CStr;
use std::sync::Arc;

/// Files that are looked at in one go.
const BATCH_FILES: usize = 256;

/// A piece of work: a directory's names and the metadata of some of them.
pub(super) enum Task<'w> {
    /// The names and the first files.
    Open(Source<'w>),
    /// The files from `start` on.
    Continue {
        listing: Arc<Listing<'w>>,
        start: usize,
    },
}

/// A directory to scan.
pub(super) struct Source<'w> {
    pub(super) directory: Arc<Directory>,
    pub(super) contents: Contents,
    /// What leads to roots in here.
    pub(super) roots: Option<&'w RootNode>,
    /// The file system of the root that this is below.
    pub(super) device: u64,
    /// The mount that the directory is in.
    pub(super) mount: u64,
    /// The part of the walk that it belongs to.
    pub(super) run: &'w Run<'w>,
}

/// Which of a directory's files belong to the walk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    All,
    /// Only what leads to roots.
    Roots,
}

/// A directory with its names.
pub(super) struct Listing<'w> {
    pub(super) source: Source<'w>,
    pub(super) names: Names,
    /// Whether the names are all that the directory has.
    pub(super) is_complete: bool,
    pub(super) answers: Answers,
}

/// Some of a directory's files, in order.
pub(super) struct Batch<'w> {
    pub(super) listing: Arc<Listing<'w>>,
    pub(super) entries: Vec<Entry<'w>>,
    /// The files after these.
    pub(super) rest: Option<Arc<Slot<'w>>>,
    /// Why files are missing.
    pub(super) failure: Option<FsError>,
    /// Bytes of memory it takes, the names included if it is the directory's first batch.
    pub(super) memory_bytes: usize,
}

/// A file that is not left out.
pub(super) struct Entry<'w> {
    /// The place of its name in the listing.
    pub(super) name: usize,
    pub(super) finding: Finding,
    pub(super) below: Below<'w>,
}

/// What became of a file.
pub(super) enum Finding {
    Found(Metadata),
    Ancestor(Metadata, Arc<Directory>),
    Failed(FsError),
    /// Only what is below counts.
    Nothing,
}

/// What comes after a file and below it.
pub(super) enum Below<'w> {
    Nothing,
    Contents(Arc<Slot<'w>>),
    /// The roots below cannot be reached.
    Lost(&'w RootNode, FsError),
}

/// Does tasks. Each thread has its own.
pub(super) struct Scanner<'w> {
    pub(super) select: &'w dyn Select,
    pub(super) one_file_system: bool,
    queue: &'w Queue<'w>,
    /// Reused for each call for names.
    buffer: Vec<u8>,
}

impl<'w> Scanner<'w> {
    pub(super) fn new(select: &'w dyn Select, options: &WalkOptions, queue: &'w Queue<'w>) -> Self {
        Self {
            select,
            one_file_system: options.one_file_system,
            queue,
            buffer: Vec::new(),
        }
    }

    /// Takes a slot's batch, or makes it if no worker has begun.
    pub(super) fn take(&mut self, slot: &Slot<'w>) -> Batch<'w> {
        loop {
            match slot.take() {
                Taken::Batch(batch) => {
                    self.queue.caught_up(&batch);
                    return batch;
                }
                Taken::Task(task) => {
                    self.queue.withdraw(slot);
                    return self.scan(task);
                }
                // Sleeping and waking takes longer than most directories do.
                Taken::Busy => match self.queue.next_now() {
                    Some(next) => self.queue.do_ahead(&next, self),
                    None => slot.wait(),
                },
            }
        }
    }

    /// Does a task, and offers the tasks that follow from it to the workers.
    pub(super) fn scan(&mut self, task: Task<'w>) -> Batch<'w> {
        let (listing, start, failure) = match task {
            Task::Open(source) => {
                let (names, failure) = self.list(&source);
                (Arc::new(Listing::whole(source, names)), 0, failure)
            }
            Task::Continue { listing, start } => (listing, start, None),
        };
        let memory_bytes = if start == 0 {
            listing.names.memory_bytes()
        } else {
            0
        };
        let listed = Arc::clone(&listing);
        let mut batch = Batch {
            listing: listed,
            entries: Vec::new(),
            rest: None,
            failure,
            memory_bytes,
        };
        match listing.source.directory.fd() {
            Ok(fd) => self.look(&listing, fd.as_fd(), start, &mut batch),
            Err(error) => batch.failure = batch.failure.or(Some(error)),
        }
        let entries_bytes = batch
            .entries
            .capacity()
            .saturating_mul(size_of::<Entry<'_>>());
        // Keys as long as paths are: the slot has one, and the queue.
        let keys_bytes: usize = batch.slots().map(|slot| slot.key_bytes()).sum();
        batch.memory_bytes = batch
            .memory_bytes
            .saturating_add(entries_bytes)
            .saturating_add(keys_bytes.saturating_mul(2))
            .saturating_add(BATCH_BYTES);
        if self.queue.has_workers() {
            self.queue.push(batch.slots().cloned().collect());
        }
        batch
    }

    /// Reads a directory's names, or takes those that lead to roots.
    fn list(&mut self, source: &Source<'w>) -> (Names, Option<FsError>) {
        let (mut names, mut failure) = match source.contents {
            Contents::Roots => (NamesBuilder::default(), None),
            Contents::All => match source.directory.fd() {
                Ok(fd) => Names::read(&*fd, &mut self.buffer),
                Err(error) => (NamesBuilder::default(), Some(error)),
            },
        };
        // A root that is not in its directory is looked for like the others, and so is found missing.
        for name in source.roots.into_iter().flat_map(RootNode::names) {
            failure = failure.or(names.add(name).err());
        }
        (names.sorted(), failure)
    }

    /// Looks at a batch of files.
    fn look(
        &self,
        listing: &Arc<Listing<'w>>,
        fd: BorrowedFd<'_>,
        start: usize,
        batch: &mut Batch<'w>,
    ) {
        let end = listing.names.len().min(start.saturating_add(BATCH_FILES));
        let mut path = listing.source.directory.path();
        let keys_matter = self.queue.has_workers();
        let key = keys_matter.then(|| listing.source.run.key_bytes(&path));
        let key = key.as_deref();
        path.push(b'/');
        let directory_bytes = path.len();
        batch.entries.reserve_exact(end.saturating_sub(start));
        for index in start..end {
            let Some(name) = listing.names.get(index) else {
                break;
            };
            path.truncate(directory_bytes);
            path.extend_from_slice(name.to_bytes());
            let look = Look {
                scanner: self,
                listing,
                fd,
                key,
                path: &path,
                name,
            };
            if let Some((finding, below)) = look.run() {
                batch.entries.push(Entry {
                    name: index,
                    finding,
                    below,
                });
            }
        }
        if let Some(name) = listing.names.get(end) {
            let key = slot_key(key, listing.tree_name(name));
            batch.rest = Some(Slot::new(
                key,
                Task::Continue {
                    listing: Arc::clone(listing),
                    start: end,
                },
            ));
        }
    }
}

impl<'w> Listing<'w> {
    /// Takes all names of a directory that belong to the walk.
    fn whole(source: Source<'w>, names: Names) -> Self {
        Self {
            is_complete: source.contents == Contents::All,
            source,
            names,
            answers: Answers::default(),
        }
    }

    /// Takes some of them.
    pub(super) fn partial(source: Source<'w>, names: Names) -> Self {
        Self {
            is_complete: false,
            ..Self::whole(source, names)
        }
    }

    /// What a file is called in the tree.
    pub(super) fn tree_name<'a>(&'a self, name: &'a CStr) -> &'a [u8] {
        let is_top = self.source.directory.parent().is_none();
        let renamed = is_top.then(|| self.source.run.tree_name()).flatten();
        renamed.unwrap_or_else(|| name.to_bytes())
    }
}

impl<'w> Batch<'w> {
    /// The tasks that follow from it.
    fn slots(&self) -> impl Iterator<Item = &Arc<Slot<'w>>> {
        let below = self.entries.iter().filter_map(|entry| match &entry.below {
            Below::Contents(slot) => Some(slot),
            Below::Nothing | Below::Lost(..) => None,
        });
        below.chain(&self.rest)
    }

    /// The tasks that follow from it, alone.
    pub(super) fn into_slots(self) -> impl Iterator<Item = Arc<Slot<'w>>> {
        self.entries
            .into_iter()
            .filter_map(|entry| entry.below.into_slot())
            .chain(self.rest)
    }
}

impl<'w> Below<'w> {
    /// The task that it is, if it is one.
    pub(super) fn into_slot(self) -> Option<Arc<Slot<'w>>> {
        match self {
            Self::Contents(slot) => Some(slot),
            Self::Nothing | Self::Lost(..) => None,
        }
    }
}

/// Bytes that a batch, its directory and their bookkeeping take beside entries and names; an estimate.
const BATCH_BYTES: usize = 768;

/// The key of the slot for a name in a directory, when somebody needs keys.
pub(super) fn slot_key(directory: Option<&[u8]>, name: &[u8]) -> PathKey {
    directory.map_or_else(PathKey::root, |directory| PathKey::joined(directory, name))
}
