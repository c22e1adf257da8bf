//! The directories of a target, open while files are written into them.

use crate::directory::lock;
use crate::error::{Errno, FsError, Operation};
use crate::key::{PathKey, is_file_name, split};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Directories that stay open at once, at most.
const OPEN_MAX: usize = 128;

/// Bytes of path that one call resolves, at most; the kernel refuses 4096.
const PATH_BYTES_MAX: usize = 3_072;

/// Finds directories below the target.
#[derive(Debug)]
pub(super) struct Parents {
    root: Arc<OwnedFd>,
    open: Mutex<Open>,
    /// Cleared when the kernel turns out not to have `openat2`.
    has_openat2: AtomicBool,
}

/// The directories used last.
#[derive(Debug, Default)]
struct Open {
    directories: HashMap<PathKey, Used>,
    /// Counts the uses.
    clock: u64,
}

#[derive(Debug)]
struct Used {
    fd: Arc<OwnedFd>,
    at: u64,
}

impl Parents {
    /// Starts from the target's own directory.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root: Arc::new(root),
            open: Mutex::default(),
            has_openat2: AtomicBool::new(true),
        }
    }

    /// Opens the directory with these key bytes, without following any symbolic link below the target.
    pub(super) fn open(&self, key: &[u8]) -> Result<Arc<OwnedFd>, FsError> {
        if key.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        let (from, rest) = {
            let mut open = lock(&self.open);
            let (found, rest) = open.nearest(key);
            if let (Some(fd), true) = (&found, rest.is_empty()) {
                return Ok(Arc::clone(fd));
            }
            (found.unwrap_or_else(|| Arc::clone(&self.root)), rest)
        };
        let fd = self.open_below(from, rest)?;
        lock(&self.open).insert(key, &fd);
        Ok(fd)
    }

    /// Closes a directory that is about to go, and all below it.
    pub(super) fn forget(&self, key: &PathKey) {
        lock(&self.open)
            .directories
            .retain(|open, _| !open.starts_with(key));
    }

    /// Chooses how to open, for tests.
    #[cfg(test)]
    pub(super) fn set_openat2(&self, has_openat2: bool) {
        self.has_openat2.store(has_openat2, Ordering::Relaxed);
    }

    /// Opens in steps that are short enough for the kernel.
    fn open_below(&self, from: Arc<OwnedFd>, rest: &[u8]) -> Result<Arc<OwnedFd>, FsError> {
        let mut at = from;
        let mut names = split(rest).peekable();
        while names.peek().is_some() {
            let mut step = Vec::new();
            while let Some(name) = names.next_if(|name| {
                step.is_empty() || step.len().saturating_add(name.len()) < PATH_BYTES_MAX
            }) {
                if !is_file_name(name) {
                    return Err(FsError::UnsafeKey);
                }
                if !step.is_empty() {
                    step.push(b'/');
                }
                step.extend_from_slice(name);
            }
            at = Arc::new(
                self.open_step(&at, &step)
                    .map_err(FsError::system(Operation::Open))?,
            );
        }
        Ok(at)
    }

    /// Opens a relative path that has been checked to go down only.
    fn open_step(&self, from: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
        const HOW: OFlags = OFlags::PATH
            .union(OFlags::DIRECTORY)
            .union(OFlags::NOFOLLOW)
            .union(OFlags::CLOEXEC);
        const BENEATH: ResolveFlags = ResolveFlags::BENEATH
            .union(ResolveFlags::NO_SYMLINKS)
            .union(ResolveFlags::NO_MAGICLINKS);
        if self.has_openat2.load(Ordering::Relaxed) {
            match openat2(from, path, HOW, Mode::empty(), BENEATH) {
                // Filters of older containers answer `EPERM` to calls that they do not know.
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2.store(false, Ordering::Relaxed),
                opened => return opened,
            }
        }
        let mut at = None;
        for name in path.split(|&byte| byte == b'/') {
            at = Some(openat(
                at.as_ref().unwrap_or(from),
                name,
                HOW,
                Mode::empty(),
            )?);
        }
        at.ok_or(Errno::INVAL)
    }
}

impl Open {
    /// The nearest open directory at or above a key, and what is left of the key below it.
    fn nearest<'k>(&mut self, key: &'k [u8]) -> (Option<Arc<OwnedFd>>, &'k [u8]) {
        self.clock = self.clock.saturating_add(1);
        let mut end = key.len();
        loop {
            let Some((above, below)) = key.split_at_checked(end) else {
                return (None, key);
            };
            if let Some(used) = self.directories.get_mut(above) {
                used.at = self.clock;
                return (
                    Some(Arc::clone(&used.fd)),
                    below.strip_prefix(b"\0").unwrap_or(below),
                );
            }
            match above.iter().rposition(|&byte| byte == 0) {
                Some(shorter) => end = shorter,
                None => return (None, key),
            }
        }
    }

    fn insert(&mut self, key: &[u8], fd: &Arc<OwnedFd>) {
        if self.directories.len() >= OPEN_MAX
            && let Some(oldest) = self.directories.iter().min_by_key(|(_, used)| used.at)
        {
            let oldest = oldest.0.clone();
            self.directories.remove(&oldest);
        }
        self.clock = self.clock.saturating_add(1);
        let used = Used {
            fd: Arc::clone(fd),
            at: self.clock,
        };
        self.directories.insert(PathKey::joined(b"", key), used);
    }
}
