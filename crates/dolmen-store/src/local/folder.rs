//! The folder: its name, its modes, and where keys lie in it.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::SystemTime;

use dolmen_format::Timestamp;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::fault::Fault;
use super::read::OpenObject;
use super::temp;
use crate::error::StoreErrorKind;
use crate::key::StoreKey;
use crate::object::{StoreTime, Version};
use crate::store::StoreIdentity;

/// Top folders that hold no objects: half-written files, what a guard set aside, took in, and lent.
pub(super) const RESERVED: [&str; 4] = [temp::FOLDER, "incoming", "leases", "quarantine"];

/// How folders are opened: never through a link.
pub(super) const FOLDER_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open repository folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: OwnedFd,
    pub(super) file_mode: Mode,
    subfolder_mode: Mode,
    /// Folders whose own entry this process knows to be on the disk.
    durable: Mutex<BTreeSet<String>>,
    /// False once the file system turned out to lack both ways of placing a file without replacing one.
    pub(super) atomic: AtomicBool,
    /// Held from check to rename where the file system cannot do both at once.
    pub(super) placing: Mutex<()>,
    /// Old files in `.tmp/` are looked for once.
    pub(super) cleaned: Once,
    pub(super) open_objects: Mutex<VecDeque<(StoreKey, OpenObject)>>,
}

/// What tells two files at one path apart, and what a listing says of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileState {
    inode: u64,
    modified: Timestamp,
    pub(super) size_bytes: u64,
    pub(super) kind: FileType,
    /// False for an open file that has lost its last name.
    pub(super) is_linked: bool,
}

impl FileState {
    pub(super) fn new(stat: &Stat) -> Self {
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
        Self {
            inode: stat.st_ino,
            modified: Timestamp::new(stat.st_mtime, nanos)
                .unwrap_or(Timestamp::from_seconds(stat.st_mtime)),
            size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            kind: FileType::from_raw_mode(stat.st_mode),
            is_linked: stat.st_nlink != 0,
        }
    }

    pub(super) fn version(&self) -> Version {
        let Timestamp { seconds, nanos } = self.modified;
        Version::new(format!("{}-{seconds}.{nanos:09}", self.inode))
    }

    /// A time without a fraction may come from a file system that keeps whole seconds.
    pub(super) const fn stored_at(&self) -> StoreTime {
        match self.modified {
            Timestamp { seconds, nanos: 0 } => StoreTime::within_second(seconds),
            modified => StoreTime::exact(modified),
        }
    }
}

/// Makes the folder at `path`, its parents and its `.tmp/`, and syncs what is new.
pub(super) fn make(path: &Path) -> Result<(), Fault> {
    let path = std::path::absolute(path)?;
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)?;
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        sync_folder(File::open(parent)?.as_fd())?;
    }
    Folder::open(&path)?.temp_folder()?;
    Ok(())
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        // The user may well name the repository by a link; below it none is followed.
        let root = rustix::fs::open(
            path,
            FOLDER_FLAGS.difference(OFlags::NOFOLLOW),
            Mode::empty(),
        )?;
        let group_reads =
            Mode::from_raw_mode(rustix::fs::fstat(&root)?.st_mode).contains(Mode::RGRP);
        let (file_mode, subfolder_mode) = if group_reads {
            (
                Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP,
                Mode::RWXU | Mode::RWXG,
            )
        } else {
            (Mode::RUSR | Mode::WUSR, Mode::RWXU)
        };
        Ok(Self {
            root,
            file_mode,
            subfolder_mode,
            durable: Mutex::default(),
            atomic: AtomicBool::new(true),
            placing: Mutex::default(),
            cleaned: Once::new(),
            open_objects: Mutex::default(),
        })
    }

    /// Names this very folder by inode and time of birth. A file-level copy has others, and neither a reboot nor
    /// another mount point changes them, as they would a device number or a path. An image of the whole file system is
    /// the same store. Where births are not recorded, the path stands in.
    pub(super) fn identity(&self, path: &Path) -> Result<StoreIdentity, Fault> {
        let inode = rustix::fs::fstat(&self.root)?.st_ino;
        let born = File::from(self.root.try_clone()?)
            .metadata()?
            .created()
            .ok()
            .and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
        Ok(StoreIdentity::new(match born {
            Some(born) => {
                format!(
                    "folder:{inode}-{}.{:09}",
                    born.as_secs(),
                    born.subsec_nanos()
                )
            }
            None => format!("folder:{inode}:{}", path.canonicalize()?.display()),
        }))
    }

    pub(super) fn is_empty(&self) -> Result<bool, Fault> {
        for entry in rustix::fs::Dir::read_from(&self.root)? {
            let name = entry?.file_name().to_bytes().to_owned();
            let ignored: [&[u8]; 4] = [b".", b"..", temp::FOLDER.as_bytes(), b"lost+found"];
            if !ignored.contains(&name.as_slice()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn places_atomically(&self) -> bool {
        self.atomic.load(Ordering::Relaxed)
    }

    pub(super) fn root(&self) -> Result<OwnedFd, Fault> {
        Ok(rustix::fs::openat(
            &self.root,
            ".",
            FOLDER_FLAGS,
            Mode::empty(),
        )?)
    }

    /// Opens `.tmp/`, making it if need be.
    pub(super) fn temp_folder(&self) -> Result<OwnedFd, Fault> {
        self.child(self.root.as_fd(), temp::FOLDER)
    }

    /// Opens the folder in which `key` lies.
    pub(super) fn parent<'k>(&self, key: &'k StoreKey) -> Result<(OwnedFd, &'k str), Fault> {
        let (folders, name) = split(key)?;
        let mut folder = self.root()?;
        for segment in folders.split_terminator('/') {
            folder = rustix::fs::openat(&folder, segment, FOLDER_FLAGS, Mode::empty())?;
        }
        Ok((folder, name))
    }

    /// Opens the folder in which `key` will lie, making what is missing; each folder's own entry is durable.
    pub(super) fn make_parent<'k>(&self, key: &'k StoreKey) -> Result<(OwnedFd, &'k str), Fault> {
        let (folders, name) = split(key)?;
        let mut folder = self.root()?;
        let mut path = String::new();
        for segment in folders.split_terminator('/') {
            path.push_str(segment);
            path.push('/');
            let child = self.child(folder.as_fd(), segment)?;
            // One that was there already may be another process's, made a moment ago and not synced yet.
            if !lock(&self.durable).contains(&path) {
                sync_folder(folder.as_fd())?;
                lock(&self.durable).insert(path.clone());
            }
            folder = child;
        }
        Ok((folder, name))
    }

    /// Opens a folder in `parent`, making it if need be. A folder made anew is synced by itself.
    pub(super) fn child(&self, parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Fault> {
        match rustix::fs::openat(parent, name, FOLDER_FLAGS, Mode::empty()) {
            Err(Errno::NOENT) => {}
            opened => return Ok(opened?),
        }
        match rustix::fs::mkdirat(parent, name, self.subfolder_mode) {
            Ok(()) => sync_folder(parent)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(rustix::fs::openat(
            parent,
            name,
            FOLDER_FLAGS,
            Mode::empty(),
        )?)
    }
}

/// Takes a lock whose data is sound whatever the thread that held it was doing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the entries of a folder durable, where the file system can.
pub(super) fn sync_folder(folder: BorrowedFd<'_>) -> Result<(), Fault> {
    match rustix::fs::fsync(folder) {
        // Some network and FUSE file systems know no sync of folders.
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Splits a key into its folders, empty for none, and its name.
fn split(key: &StoreKey) -> Result<(&str, &str), Fault> {
    let text = key.as_str();
    if key
        .segments()
        .next()
        .is_some_and(|first| RESERVED.contains(&first))
    {
        return Err(Fault::new(
            StoreErrorKind::Unsupported,
            "the folder keeps this name for other things than objects",
        ));
    }
    Ok(match text.rsplit_once('/') {
        Some((folders, name)) => (folders, name),
        None => ("", text),
    })
}
