//! Files in `.tmp/`: not objects yet, or no longer.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use dolmen_format::Timestamp;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::fault::Fault;
use super::folder::FileState;
use super::place::Spot;
use crate::error::StoreErrorKind;
use crate::object::Version;

/// The folder's name.
pub(super) const FOLDER: &str = ".tmp";

/// A temporary file untouched for this long is a crashed process's. A put holds its whole body in memory and writes
/// without a pause, so a living file is never that old, unless its machine slept; then its lock, where the file system
/// has them, still keeps it, and at worst its put fails with nothing stored.
const STALE_SECONDS: i64 = 24 * 60 * 60;

/// How many taken names to pass over. Names start with the process id, so only another machine or container with the
/// same id, or a crash long ago, can have taken one.
const NAME_TRIES_MAX: u32 = 10_000;

/// What starts the name of an object on its way out.
const ASIDE: &str = "del";

/// Numbers the temporary names of this process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file in `.tmp/` that this process made. It goes when [`Temp::discard`] is called, or a day after a crash.
#[derive(Debug)]
pub(super) struct Temp {
    folder: OwnedFd,
    name: String,
    file: OwnedFd,
}

impl Temp {
    pub(super) fn create(folder: OwnedFd, purpose: &str, mode: Mode) -> Result<Self, Fault> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for _ in 0..NAME_TRIES_MAX {
            let name = format!("{purpose}-{}", unique());
            match rustix::fs::openat(&folder, &name, flags, mode) {
                Ok(file) => {
                    // For `remove_older` elsewhere; its age protects the file where there are no locks.
                    let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
                    return Ok(Self { folder, name, file });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Fault::new(
            StoreErrorKind::Unavailable,
            "every name tried in .tmp/ is taken",
        ))
    }

    pub(super) fn spot(&self) -> Spot<'_> {
        Spot {
            folder: self.folder.as_fd(),
            name: &self.name,
        }
    }

    pub(super) fn state(&self) -> Result<FileState, Fault> {
        Ok(FileState::new(&rustix::fs::fstat(&self.file)?))
    }

    /// Writes the whole body and makes it durable.
    pub(super) fn write(&self, body: &[u8]) -> Result<FileState, Fault> {
        let mut rest = body;
        while !rest.is_empty() {
            let written_bytes = match rustix::io::write(&self.file, rest) {
                Ok(0) => return Err(Fault::new(StoreErrorKind::Other, "a write took no bytes")),
                Ok(written_bytes) => written_bytes,
                Err(Errno::INTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            rest = rest.get(written_bytes..).unwrap_or_default();
        }
        rustix::fs::fsync(&self.file)?;
        self.state()
    }

    /// Removes the file. If that fails it is junk like a crashed process's, and goes the same way.
    pub(super) fn discard(self) {
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
    }

    /// Removes what crashes left in `.tmp/`. Nothing depends on it, so failures are left for another time.
    ///
    /// A file being written goes when it is a day old at `now`, on the clock that stamped it, and nobody holds its
    /// lock. An object on its way out goes if it is the version that was meant. Anything else stays.
    pub(super) fn remove_older(&self, now: Timestamp) {
        let Ok(entries) = Dir::read_from(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let is_junk = match name.split_once('-') {
                Some((ASIDE, rest)) => self.is_meant_to_go(name, rest),
                Some(("put" | "now", _)) => self.is_stale(name, now),
                Some(_) | None => false,
            };
            if is_junk {
                let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
            }
        }
    }

    fn is_meant_to_go(&self, name: &str, rest: &str) -> bool {
        // Process id, number, version.
        let meant = rest.splitn(3, '-').nth(2);
        let spot = Spot {
            folder: self.folder.as_fd(),
            name,
        };
        spot.state()
            .is_ok_and(|state| Some(state.version().as_str()) == meant)
    }

    fn is_stale(&self, name: &str, now: Timestamp) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.folder, name, flags, Mode::empty()) else {
            return false;
        };
        let is_old = rustix::fs::fstat(&file).is_ok_and(|stat| {
            let touched = FileState::new(&stat).stored_at().latest;
            touched.saturating_add_seconds(STALE_SECONDS) <= now
        });
        let is_held = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            == Err(Errno::WOULDBLOCK);
        is_old && !is_held
    }
}

/// Names an object on its way out, so that a later run can tell whether it was the one meant.
pub(super) fn aside_name(meant: &Version) -> String {
    format!("{ASIDE}-{}-{meant}", unique())
}

fn unique() -> String {
    let process = rustix::process::getpid().as_raw_nonzero();
    format!("{process}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
