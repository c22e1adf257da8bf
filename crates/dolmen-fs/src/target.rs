//! Writing files back, all of them below one directory.

mod attributes;
mod file;
mod parents;
mod remove;

use crate::directory::Directory;
use crate::error::{Errno, FsError, Operation};
use crate::inode::Inode;
use crate::key::{PathKey, is_file_name};
use crate::metadata::{Kind, Metadata, is_absent};
use crate::names::Names;
use crate::xattr;
use parents::Parents;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;

pub use attributes::{AttributeError, Attributes};
pub use file::OutFile;

/// A directory that files are written into, by any number of threads.
///
/// Every key is taken relative to it; `/etc/passwd` means `etc/passwd` in the target. No call follows a symbolic link or
/// leaves the target, whatever stands there and whoever changes it meanwhile.
#[derive(Debug)]
pub struct Target {
    parents: Parents,
    /// Whether the process may give files away; what only root can do is then an error when it fails.
    privileged: bool,
}

/// What may be replaced when something is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Nothing.
    Nothing,
    /// Everything but directories that hold something.
    Files,
    /// Everything, directories with all that they hold.
    Anything,
}

/// Whether a directory had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is new, and empty.
    New,
    /// It was there.
    Existing,
}

impl Target {
    /// Opens a directory; it and its parents are created when they do not exist.
    pub fn open_or_create(path: &Path) -> Result<Self, FsError> {
        let failed = FsError::system(Operation::Create);
        std::fs::create_dir_all(path)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(FsError::system(Operation::Open))?;
        Ok(Self {
            parents: Parents::new(root),
            privileged: rustix::process::geteuid().is_root(),
        })
    }

    /// Reads the metadata of what is at `key`, a symbolic link itself; `None` when nothing is.
    pub fn existing(&self, key: &PathKey) -> Result<Option<Metadata>, FsError> {
        let found = self
            .at(key)
            .and_then(|at| Metadata::of_name(&at.directory, &at.name));
        match found {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether [`OutFile::mark_incomplete`] marked the file at `key` and it was never completed.
    pub fn is_incomplete(&self, key: &PathKey) -> bool {
        let Ok(at) = self.at(key) else { return false };
        let inode = Inode::Named {
            directory: at.directory.as_fd(),
            name: &at.name,
        };
        xattr::value(&inode, xattr::INCOMPLETE).is_ok()
    }

    /// Lists a directory's names.
    pub fn list(&self, key: &PathKey) -> Result<Names, FsError> {
        let directory = self.parents.open(key.as_bytes())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&directory, c".", flags, Mode::empty())
            .map_err(FsError::system(Operation::Open))?;
        match Names::read(fd, &mut Vec::new()) {
            (names, None) => Ok(names.sorted()),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads a symbolic link's target.
    pub fn read_link(&self, key: &PathKey) -> Result<Vec<u8>, FsError> {
        let at = self.at(key)?;
        rustix::fs::readlinkat(&at.directory, &at.name, Vec::new())
            .map(CString::into_bytes)
            .map_err(FsError::system(Operation::ReadLink))
    }

    /// Makes a directory that only the owner can use until its attributes are applied. One that exists is fine.
    pub fn make_directory(&self, key: &PathKey, replace: Replace) -> Result<Made, FsError> {
        if key.as_bytes().is_empty() {
            return Ok(Made::Existing);
        }
        self.make(key, replace, |at| {
            match rustix::fs::mkdirat(&at.directory, &at.name, Mode::RWXU) {
                Ok(()) => Ok(Made::New),
                Err(Errno::EXIST) if at.kind() == Some(Kind::Directory) => Ok(Made::Existing),
                Err(errno) => Err(errno),
            }
        })
    }

    /// Creates an empty file that only the owner can use until its attributes are applied.
    ///
    /// A regular file in the way is replaced by a new one, never written into: it may have other names.
    pub fn create_file(&self, key: &PathKey, replace: Replace) -> Result<OutFile, FsError> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = self.make(key, replace, |at| {
            rustix::fs::openat(&at.directory, &at.name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        Ok(OutFile::new(fd, self.privileged))
    }

    /// Opens a file whose bytes can be changed in place: a regular file with no other name.
    ///
    /// `None` when nothing, or anything else, stands there, or when the file may not be written; creating it anew is
    /// then the way.
    pub fn open_existing_file_for_update(&self, key: &PathKey) -> Result<Option<OutFile>, FsError> {
        let updatable = |found: &Metadata| found.kind == Kind::File && found.links == 1;
        if !self.existing(key)?.as_ref().is_some_and(updatable) {
            return Ok(None);
        }
        let at = self.at(key)?;
        let flags =
            OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&at.directory, &at.name, flags, Mode::empty()) {
            Ok(fd) if updatable(&Metadata::of_open(&fd)?) => {
                Ok(Some(OutFile::new(fd, self.privileged)))
            }
            // It was replaced since, may not be written, or is a program that runs.
            Ok(_)
            | Err(
                Errno::NOENT
                | Errno::ISDIR
                | Errno::LOOP
                | Errno::NXIO
                | Errno::ACCESS
                | Errno::PERM
                | Errno::TXTBSY,
            ) => Ok(None),
            Err(errno) => Err(FsError::system(Operation::Open)(errno)),
        }
    }

    /// Opens a regular file to read it back, whatever its names; `None` when there is none.
    pub fn open_existing_file(&self, key: &PathKey) -> Result<Option<OutFile>, FsError> {
        let at = self.at(key)?;
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&at.directory, &at.name, flags, Mode::empty()) {
            Ok(fd) if Metadata::of_open(&fd)?.kind == Kind::File => {
                Ok(Some(OutFile::new(fd, self.privileged)))
            }
            // It was replaced since.
            Ok(_) | Err(Errno::NOENT | Errno::ISDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(errno) => Err(FsError::system(Operation::Open)(errno)),
        }
    }

    /// Makes a symbolic link. One that points to the same already is left as it is.
    pub fn symlink(&self, key: &PathKey, target: &[u8], replace: Replace) -> Result<(), FsError> {
        self.make(key, replace, |at| {
            match rustix::fs::symlinkat(target, &at.directory, &at.name) {
                Err(Errno::EXIST) if at.points_to(target) => Ok(()),
                made => made,
            }
        })
    }

    /// Gives the file at `existing` a second name. If it has that name already, all is well.
    pub fn hard_link(
        &self,
        existing: &PathKey,
        key: &PathKey,
        replace: Replace,
    ) -> Result<(), FsError> {
        let from = self.at(existing)?;
        self.make(key, replace, |at| {
            let flags = AtFlags::empty();
            match rustix::fs::linkat(&from.directory, &from.name, &at.directory, &at.name, flags) {
                Err(Errno::EXIST) if from.is_same_file(at) => Ok(()),
                made => made,
            }
        })
    }

    /// Makes a named pipe, a socket's name or a device file.
    ///
    /// A kind that is none of these is refused by the system with `EINVAL`.
    pub fn make_node(&self, key: &PathKey, node: Node, replace: Replace) -> Result<(), FsError> {
        let (file_type, major, minor) = match node {
            Node::Fifo => (FileType::Fifo, 0, 0),
            Node::Socket => (FileType::Socket, 0, 0),
            Node::CharDevice { major, minor } => (FileType::CharacterDevice, major, minor),
            Node::BlockDevice { major, minor } => (FileType::BlockDevice, major, minor),
        };
        let mode = Mode::RUSR | Mode::WUSR;
        let device = rustix::fs::makedev(major, minor);
        self.make(key, replace, |at| {
            rustix::fs::mknodat(&at.directory, &at.name, file_type, mode, device)
        })
    }

    /// Applies attributes to anything but an open file; a symbolic link is not followed.
    ///
    /// Goes on after a step that fails and returns what failed; [`OutFile::apply`] says which steps there are.
    pub fn apply(
        &self,
        key: &PathKey,
        attributes: &Attributes<'_>,
    ) -> Result<Vec<AttributeError>, FsError> {
        let at = self.at(key)?;
        let inode = Inode::Named {
            directory: at.directory.as_fd(),
            name: &at.name,
        };
        attributes::apply(&inode, attributes, self.privileged)
    }

    /// Removes what is at `key`, a directory with all that it holds. Symbolic links are removed, not followed.
    ///
    /// Nothing being there is fine.
    pub fn remove(&self, key: &PathKey) -> Result<(), FsError> {
        let at = match self.at(key) {
            Ok(at) => at,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        if key.as_bytes().is_empty() {
            return Err(FsError::TargetItself);
        }
        match rustix::fs::unlinkat(&at.directory, &at.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => self.remove_directory(key, &at),
            Err(errno) => Err(FsError::system(Operation::Remove)(errno)),
        }
    }

    fn remove_directory(&self, key: &PathKey, at: &Place) -> Result<(), FsError> {
        self.parents.forget(key);
        let parent = at.directory.try_clone().map_err(|error| {
            FsError::system(Operation::Open)(Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
        })?;
        remove::remove_tree(&Directory::from_open(parent, OFlags::PATH)?, &at.name)
    }

    /// Makes something at a key, after clearing away what is there and may be replaced.
    fn make<T>(
        &self,
        key: &PathKey,
        replace: Replace,
        create: impl Fn(&Place) -> Result<T, Errno>,
    ) -> Result<T, FsError> {
        let at = self.at(key)?;
        if key.as_bytes().is_empty() {
            return Err(FsError::TargetItself);
        }
        let failed = FsError::system(Operation::Create);
        match create(&at) {
            Err(Errno::EXIST) => {
                self.clear(key, &at, replace)?;
                create(&at).map_err(failed)
            }
            made => made.map_err(failed),
        }
    }

    /// Removes what stands at a key, if it may be replaced.
    fn clear(&self, key: &PathKey, at: &Place, replace: Replace) -> Result<(), FsError> {
        let Some(found) = at.kind() else {
            return Ok(());
        };
        match replace {
            Replace::Nothing => Err(FsError::InTheWay { found }),
            Replace::Files if found == Kind::Directory => {
                self.parents.forget(key);
                match rustix::fs::unlinkat(&at.directory, &at.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(Errno::NOTEMPTY | Errno::EXIST) => Err(FsError::InTheWay { found }),
                    Err(errno) => Err(FsError::system(Operation::Remove)(errno)),
                }
            }
            Replace::Files | Replace::Anything => self.remove(key),
        }
    }

    /// Finds the directory of a key and the name in it.
    fn at(&self, key: &PathKey) -> Result<Place, FsError> {
        let Some((parent, name)) = key.split_last() else {
            return Ok(Place {
                directory: self.parents.open(b"")?,
                name: c".".to_owned(),
            });
        };
        if !is_file_name(name) {
            return Err(FsError::UnsafeKey);
        }
        let name = CString::new(name).map_err(|_nul| FsError::UnsafeKey)?;
        Ok(Place {
            directory: self.parents.open(parent)?,
            name,
        })
    }
}

/// A file that is neither directory nor link and holds no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A Unix socket's name.
    Socket,
    /// A character device.
    CharDevice {
        /// The driver.
        major: u32,
        /// The device.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The driver.
        major: u32,
        /// The device.
        minor: u32,
    },
}

/// A name in an open directory of the target.
#[derive(Debug)]
struct Place {
    directory: Arc<OwnedFd>,
    name: CString,
}

impl Place {
    fn metadata(&self) -> Option<Metadata> {
        Metadata::of_name(&self.directory, &self.name).ok()
    }

    fn kind(&self) -> Option<Kind> {
        self.metadata().map(|found| found.kind)
    }

    fn points_to(&self, target: &[u8]) -> bool {
        rustix::fs::readlinkat(&self.directory, &self.name, Vec::new())
            .is_ok_and(|found: CString| found.as_bytes() == target)
    }

    fn is_same_file(&self, other: &Self) -> bool {
        let identity = |place: &Self| place.metadata().map(|found| found.identity());
        identity(self).is_some_and(|found| identity(other) == Some(found))
    }
}

/// Removes one empty directory.
fn remove_empty(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests;
