//! What the system tells about a file.

use crate::error::{Errno, FsError, Operation};
use dolmen_format::Timestamp;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use std::ffi::CStr;
use std::fmt;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket's name.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// A file's metadata at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What the file is.
    pub kind: Kind,
    /// The 12 permission bits: setuid, setgid, sticky, and three times rwx.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Bytes of content; of the target for a symbolic link.
    pub size_bytes: u64,
    /// Bytes that the content takes on the disk.
    pub allocated_bytes: u64,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// When anything of the file last changed.
    pub ctime: Timestamp,
    /// When the content was last read.
    pub atime: Timestamp,
    /// The file system that holds the file, as `makedev` packs major and minor.
    pub device: u64,
    /// The file's number in its file system.
    pub inode: u64,
    /// Names that lead to the file.
    pub links: u64,
    /// The major number of a device file, 0 for others.
    pub rdev_major: u32,
    /// The minor number of a device file, 0 for others.
    pub rdev_minor: u32,
}

impl Metadata {
    /// Whether the content takes less room than its size, so that looking for holes is worth its calls.
    pub const fn may_have_holes(&self) -> bool {
        self.allocated_bytes < self.size_bytes
    }

    /// What tells this file from every other one while it exists.
    pub(crate) const fn identity(&self) -> Identity {
        Identity {
            device: self.device,
            inode: self.inode,
        }
    }

    /// Reads the metadata of `name` in the directory `dir`; the last component is not followed.
    pub(crate) fn of_name(dir: impl AsFd, name: &CStr) -> Result<Self, FsError> {
        Self::from_statx(&stat(dir, name, Links::Keep)?)
    }

    /// Reads the metadata of an open file.
    pub(crate) fn of_open(file: impl AsFd) -> Result<Self, FsError> {
        let statx = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted())
            .map_err(FsError::system(Operation::Stat))?;
        Self::from_statx(&statx)
    }

    /// Takes what the system answered.
    pub(crate) fn from_statx(statx: &Statx) -> Result<Self, FsError> {
        let mode = u32::from(statx.stx_mode);
        Ok(Self {
            kind: Kind::from_mode(mode).ok_or(FsError::UnknownKind { mode })?,
            mode: mode & MODE_BITS,
            uid: statx.stx_uid,
            gid: statx.stx_gid,
            size_bytes: statx.stx_size,
            allocated_bytes: statx.stx_blocks.saturating_mul(STAT_BLOCK_BYTES),
            mtime: timestamp(statx.stx_mtime),
            ctime: timestamp(statx.stx_ctime),
            atime: timestamp(statx.stx_atime),
            device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            links: u64::from(statx.stx_nlink),
            rdev_major: statx.stx_rdev_major,
            rdev_minor: statx.stx_rdev_minor,
        })
    }
}

impl Kind {
    /// The kind in the type bits of a mode.
    fn from_mode(mode: u32) -> Option<Self> {
        Some(match FileType::from_raw_mode(mode) {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::File => "regular file",
            Self::Symlink => "symbolic link",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
        })
    }
}

/// The permission bits of a mode.
pub(crate) const MODE_BITS: u32 = 0o7777;

/// The unit in which the system counts allocated blocks, whatever the file system's own block is.
const STAT_BLOCK_BYTES: u64 = 512;

/// What tells one file from another while both exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// What becomes of a symbolic link in the last component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// The link itself is meant.
    Keep,
    /// What the link points to is meant.
    Follow,
}

/// Asks the system about `name` in the directory `dir`. Mounts nothing.
pub(crate) fn stat(dir: impl AsFd, name: &CStr, links: Links) -> Result<Statx, FsError> {
    let flags = match links {
        Links::Keep => AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW,
        Links::Follow => AtFlags::NO_AUTOMOUNT,
    };
    rustix::fs::statx(dir, name, flags, wanted()).map_err(FsError::system(Operation::Stat))
}

/// Whether an error says that nothing is at the path.
pub(crate) fn is_absent(error: &FsError) -> bool {
    // A parent that is no directory, or a link where none may be followed, means the same to whoever asks for the file.
    matches!(
        error.errno(),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
    )
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::MNT_ID
}

fn timestamp(time: StatxTimestamp) -> Timestamp {
    // A file system that reports a whole second of nanoseconds is broken; its second still counts.
    Timestamp::new(time.tv_sec, time.tv_nsec).unwrap_or(Timestamp::from_seconds(time.tv_sec))
}
