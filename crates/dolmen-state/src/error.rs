//! What can go wrong with a client's own files.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use dolmen_format::PackId;

/// Why a file of the state or cache folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system refused. [`StateError::io_kind`] tells a full disk from a missing permission.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: Operation,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A durable record cannot be believed. Nothing was changed.
    #[error("{what} in {} is damaged; {remedy}", path.display())]
    Damaged {
        /// What the file holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the user can do, and what it costs.
        remedy: &'static str,
    },
    /// So many processes use one repository's state at once that something must be wrong.
    #[error("all {tried} instances in {} are in use", path.display())]
    InstancesInUse {
        /// The repository's folder.
        path: PathBuf,
        /// How many locks were tried.
        tried: u32,
    },
    /// A value is larger than what its file can hold. Nothing was written.
    #[error("{what} of {found} is over the limit of {limit} in {}", path.display())]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size or number.
        found: u64,
        /// The most there may be.
        limit: u64,
        /// The file.
        path: PathBuf,
    },
    /// The description of a pack contradicts itself. It was not added.
    #[error("the index describes pack {pack} with an impossible {field}")]
    PackDescription {
        /// The pack.
        pack: PackId,
        /// What is impossible.
        field: &'static str,
    },
}

/// What was tried when an [`StateError::Io`] came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Creating a folder.
    CreateFolder,
    /// Creating a file.
    Create,
    /// Opening a file or folder.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making durable.
    Sync,
    /// Putting a new file in the place of an old one.
    Replace,
    /// Removing.
    Remove,
    /// Locking.
    Lock,
    /// Mapping into memory.
    Map,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateFolder => "create the folder",
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "make durable",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::Map => "map",
        })
    }
}

impl StateError {
    /// The kind of the operating system's error: `StorageFull`, `PermissionDenied`…
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            Self::Damaged { .. }
            | Self::InstancesInUse { .. }
            | Self::TooLarge { .. }
            | Self::PackDescription { .. } => None,
        }
    }

    /// Makes the closure for `map_err` that says what was tried on which path.
    pub(crate) fn io(operation: Operation, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
