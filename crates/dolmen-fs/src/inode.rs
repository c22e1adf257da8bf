//! One way to name a file for the calls that read and change its metadata.

use crate::error::{Errno, FsError};
use crate::metadata::Metadata;
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{self as sys, AtFlags, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use std::ffi::CStr;

/// A file whose metadata is read or changed. Symbolic links are never followed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Inode<'a> {
    /// An open file.
    Open(BorrowedFd<'a>),
    /// Whatever has this name in an open directory.
    Named {
        directory: BorrowedFd<'a>,
        name: &'a CStr,
    },
}

impl Inode<'_> {
    /// Reads the metadata.
    pub(crate) fn metadata(&self) -> Result<Metadata, FsError> {
        match self {
            Self::Open(fd) => Metadata::of_open(fd),
            Self::Named { directory, name } => Metadata::of_name(directory, name),
        }
    }

    /// Sets the owner, the group or both.
    pub(crate) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(fd) => sys::fchown(fd, uid, gid),
            Self::Named { directory, name } => {
                sys::chownat(directory, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Sets the permission bits. Symbolic links have none, and refuse.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => sys::fchmod(fd, mode),
            Self::Named { directory, name } => {
                // `fchmodat` follows links. A descriptor holds on to the very file, link or not, whatever happens to
                // the name meanwhile; for a link the kernel then refuses.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = sys::openat(directory, *name, flags, Mode::empty())?;
                sys::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode)
            }
        }
    }

    /// Sets the access and the modification time.
    pub(crate) fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => sys::futimens(fd, times),
            Self::Named { directory, name } => {
                sys::utimensat(directory, *name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Lists the names of the extended attributes, each ended by NUL; returns the bytes that were filled.
    pub(crate) fn list_xattrs(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => sys::flistxattr(fd, buffer),
            Self::Named { directory, name } => sys::llistxattr(proc_path(*directory, name), buffer),
        }
    }

    /// Reads an extended attribute; returns the bytes that were filled.
    pub(crate) fn get_xattr(&self, xattr: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => sys::fgetxattr(fd, xattr, buffer),
            Self::Named { directory, name } => {
                sys::lgetxattr(proc_path(*directory, name), xattr, buffer)
            }
        }
    }

    /// Creates or replaces an extended attribute.
    pub(crate) fn set_xattr(&self, xattr: &[u8], value: &[u8]) -> Result<(), Errno> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(fd) => sys::fsetxattr(fd, xattr, value, flags),
            Self::Named { directory, name } => {
                sys::lsetxattr(proc_path(*directory, name), xattr, value, flags)
            }
        }
    }

    /// Removes an extended attribute.
    pub(crate) fn remove_xattr(&self, xattr: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => sys::fremovexattr(fd, xattr),
            Self::Named { directory, name } => {
                sys::lremovexattr(proc_path(*directory, name), xattr)
            }
        }
    }
}

/// A path to a file that is short however deep the file is.
///
/// The calls for extended attributes have no form relative to a directory before Linux 6.13; the link that the kernel
/// keeps for each descriptor stands in. Only the last component is the file's own name, so a call that does not follow
/// the last component does not leave the directory.
fn proc_path(directory: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}
