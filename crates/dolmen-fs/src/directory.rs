//! Directories that are reopened when needed, so that few are open at once.

use crate::error::{FsError, Operation};
use crate::metadata::{Identity, Metadata};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Directories that stay open at once, at most, for each walk.
pub const OPEN_DIRECTORIES_MAX: usize = 256;

/// Raises this process's soft limit on open files to the hard one and returns the limit that then holds.
///
/// `None` stands for no limit. A refusal leaves the limit as it was.
pub fn raise_open_files_limit() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    }
}

/// A directory known by its parent and its name.
///
/// It keeps its descriptor while it is among the [`OPEN_DIRECTORIES_MAX`] used last; then the descriptor is opened
/// again through the parents, and checked to be the same directory. Paths of any length work that way.
pub(crate) struct Directory {
    parent: Option<Arc<Self>>,
    /// The name in the parent; without one the absolute path, empty for `/` and where nobody asks for it.
    name: CString,
    identity: Identity,
    how: OFlags,
    open: Mutex<Option<Arc<OwnedFd>>>,
    /// Set at each use, cleared when eviction passes by: the second chance.
    used: AtomicBool,
    pool: Arc<Pool>,
}

/// How to open a directory: the names can be read.
pub(crate) const LIST: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW);
/// How to open a directory: needs no more than the right to pass through.
pub(crate) const PASS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);
/// How to open a directory: the name may be a symbolic link to it.
pub(crate) const PASS_FOLLOWING: OFlags = OFlags::PATH;

impl Directory {
    /// Opens a directory that the process itself can name. `path` is the absolute path it is to be known by, empty for `/`.
    pub(crate) fn open_named(name: &CStr, path: &CStr, how: OFlags) -> Result<Arc<Self>, FsError> {
        let fd = open(CWD, name, how)?;
        Self::known_as(path.to_owned(), fd, how)
    }

    /// Takes an open directory, which stays open as long as anything below it is known.
    pub(crate) fn from_open(fd: OwnedFd, how: OFlags) -> Result<Arc<Self>, FsError> {
        Self::known_as(CString::default(), fd, how)
    }

    fn known_as(path: CString, fd: OwnedFd, how: OFlags) -> Result<Arc<Self>, FsError> {
        let identity = Metadata::of_open(&fd)?.identity();
        Ok(Arc::new(Self {
            parent: None,
            name: path,
            identity,
            how,
            open: Mutex::new(Some(Arc::new(fd))),
            used: AtomicBool::new(true),
            pool: Arc::default(),
        }))
    }

    /// Notes a directory inside this one. Opens nothing.
    pub(crate) fn child(
        self: &Arc<Self>,
        name: &CStr,
        identity: Identity,
        how: OFlags,
    ) -> Arc<Self> {
        Arc::new(Self {
            parent: Some(Arc::clone(self)),
            name: name.to_owned(),
            identity,
            how,
            open: Mutex::new(None),
            used: AtomicBool::new(true),
            pool: Arc::clone(&self.pool),
        })
    }

    /// Returns the directory's descriptor, opened when it is not.
    ///
    /// Fails with [`FsError::Replaced`] when another directory has taken the place of this one or of a parent.
    pub(crate) fn fd(self: &Arc<Self>) -> Result<Arc<OwnedFd>, FsError> {
        let mut closed = Vec::new();
        let mut at = self;
        let mut fd = loop {
            if let Some(fd) = lock(&at.open).clone() {
                at.used.store(true, Ordering::Relaxed);
                break fd;
            }
            closed.push(at);
            // A directory without a parent never closes.
            at = at.parent.as_ref().ok_or(FsError::Replaced)?;
        };
        // Each one opened on the way stays open too: the way back up from a deep place will need them next.
        while let Some(directory) = closed.pop() {
            fd = directory.reopen(&fd)?;
        }
        Ok(fd)
    }

    /// The directory that holds this one, unless it was given open.
    pub(crate) fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// The name in the parent.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// The absolute path, empty for `/`: the names of the parents and its own.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(at.name.as_bytes());
            at = parent;
        }
        let names_bytes: usize = names.iter().map(|name| name.len().saturating_add(1)).sum();
        let top = at.name.as_bytes();
        let mut path = Vec::with_capacity(top.len().saturating_add(names_bytes));
        path.extend_from_slice(top);
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }

    fn reopen(self: &Arc<Self>, parent: &OwnedFd) -> Result<Arc<OwnedFd>, FsError> {
        let fd = open(parent, &self.name, self.how)?;
        if Metadata::of_open(&fd)?.identity() != self.identity {
            return Err(FsError::Replaced);
        }
        let fd = Arc::new(fd);
        *lock(&self.open) = Some(Arc::clone(&fd));
        self.used.store(true, Ordering::Relaxed);
        self.pool.add(self);
        Ok(fd)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.path().escape_ascii())
    }
}

impl Drop for Directory {
    /// Drops the parents one by one: a chain of thousands would overflow the stack if each dropped the next.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(directory) = parent {
            parent = Arc::into_inner(directory).and_then(|mut last| last.parent.take());
        }
    }
}

/// The directories that are open, oldest first.
#[derive(Default)]
struct Pool {
    open: Mutex<VecDeque<Weak<Directory>>>,
}

impl Pool {
    /// Notes that a directory was opened, and closes others above the limit.
    fn add(&self, directory: &Arc<Directory>) {
        let mut open = lock(&self.open);
        while open.len() >= OPEN_DIRECTORIES_MAX {
            let Some(oldest) = open.pop_front() else {
                break;
            };
            let Some(oldest) = oldest.upgrade() else {
                continue;
            };
            if oldest.used.swap(false, Ordering::Relaxed) {
                open.push_back(Arc::downgrade(&oldest));
            } else {
                lock(&oldest.open).take();
            }
        }
        open.push_back(Arc::downgrade(directory));
    }
}

/// Takes a lock. What a thread that panicked left behind is as good as any: every change here is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a directory, without touching its access time where that is allowed.
fn open(parent: impl AsFd, name: &CStr, how: OFlags) -> Result<OwnedFd, FsError> {
    let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open_quietly(parent, name, flags).map_err(FsError::system(Operation::Open))
}

/// Opens with `O_NOATIME`, which only the owner and root may ask for, or else without.
pub(crate) fn open_quietly(
    parent: impl AsFd,
    name: &CStr,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    if flags.contains(OFlags::PATH) {
        return rustix::fs::openat(parent, name, flags, Mode::empty());
    }
    match rustix::fs::openat(&parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(parent, name, flags, Mode::empty()),
        opened => opened,
    }
}
