//! Why a file could not be read or written.

use crate::metadata::Kind;
use std::fmt;

/// The system's error numbers, as [`FsError`] carries them.
pub use rustix::io::Errno;

/// Why a file or a directory of the user could not be read or written.
///
/// The path is not repeated here: whoever asked holds the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FsError {
    /// The system refused an operation.
    #[error("cannot {operation}")]
    System {
        /// What was tried.
        operation: Operation,
        /// Why it failed.
        source: Errno,
    },
    /// Something else took the file's place since it was found.
    #[error("expected a regular file but found a {found}")]
    NotRegular {
        /// What stands there now.
        found: Kind,
    },
    /// A parent directory of a root is no directory.
    #[error("expected a directory but found a {found}")]
    NotDirectory {
        /// What stands there.
        found: Kind,
    },
    /// The directory was renamed away and another one took its place.
    #[error("directory was replaced by another one while it was read")]
    Replaced,
    /// The root's path leads through a symbolic link that is itself inside another root.
    #[error("path leads through a symbolic link that another root contains")]
    BehindSymlink,
    /// The file's type is none that this version knows.
    #[error("unknown file type in mode {mode:#o}")]
    UnknownKind {
        /// The mode as the system reported it.
        mode: u32,
    },
    /// The names in one directory exceed what a listing holds.
    #[error("directory has more than {limit_bytes} bytes of names")]
    DirectoryTooLarge {
        /// The limit, in bytes of names.
        limit_bytes: u64,
    },
    /// Something stands where a file is to be made, and it may not be replaced.
    #[error("a {found} is in the way")]
    InTheWay {
        /// What stands there.
        found: Kind,
    },
    /// A component of the key could lead out of the target: `..`, a slash, an empty name.
    #[error("path has a component that is not a file name")]
    UnsafeKey,
    /// The target directory itself cannot be made, removed or replaced.
    #[error("path is the target directory itself")]
    TargetItself,
}

impl FsError {
    /// Makes the function that turns an error number into an error about `operation`.
    pub(crate) const fn system(operation: Operation) -> impl Fn(Errno) -> Self + Copy {
        move |source| Self::System { operation, source }
    }

    /// The error number, when the system gave one.
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::System { source, .. } => Some(*source),
            Self::NotRegular { .. }
            | Self::NotDirectory { .. }
            | Self::Replaced
            | Self::BehindSymlink
            | Self::UnknownKind { .. }
            | Self::DirectoryTooLarge { .. }
            | Self::InTheWay { .. }
            | Self::UnsafeKey
            | Self::TargetItself => None,
        }
    }

    /// Whether the file is not there: never was, or vanished after its directory was listed.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }
}

/// What was tried when the system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening a file or a directory.
    Open,
    /// Reading a directory's names.
    List,
    /// Reading a file's metadata.
    Stat,
    /// Reading a file's bytes.
    Read,
    /// Looking for a file's holes.
    FindHoles,
    /// Reading a symbolic link's target.
    ReadLink,
    /// Reading the extended attributes.
    ReadXattrs,
    /// Writing an extended attribute.
    WriteXattr,
    /// Creating a file of any kind, or a link.
    Create,
    /// Removing a file or a directory.
    Remove,
    /// Writing a file's bytes.
    Write,
    /// Changing a file's size.
    Resize,
    /// Making a hole in a file.
    PunchHole,
    /// Making sure that a file is on the disk.
    Sync,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::List => "list the directory",
            Self::Stat => "read the metadata",
            Self::Read => "read",
            Self::FindHoles => "look for holes",
            Self::ReadLink => "read the symbolic link",
            Self::ReadXattrs => "read the extended attributes",
            Self::WriteXattr => "write an extended attribute",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Write => "write",
            Self::Resize => "set the size",
            Self::PunchHole => "make a hole",
            Self::Sync => "sync",
        })
    }
}
