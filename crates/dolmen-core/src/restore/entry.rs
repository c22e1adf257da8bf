//! What all entries have, and how one fails.

use std::sync::atomic::{AtomicBool, Ordering};

use dolmen_format::Timestamp;
use dolmen_format::tree::Node;
use dolmen_fs::{Attributes, FsError, PathKey, Xattr};

use super::session::is_fatal;
use crate::finding::chain;

/// The metadata that an entry is to have.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) xattrs: Vec<Xattr>,
}

impl Meta {
    /// Takes the metadata out of a node.
    pub(super) fn take(node: &mut Node) -> Self {
        let xattrs = std::mem::take(&mut node.xattrs);
        let xattr = |xattr: dolmen_format::tree::Xattr| Xattr {
            name: xattr.name,
            value: xattr.value,
        };
        Self {
            mode: u32::from(node.mode),
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
            xattrs: xattrs.into_iter().map(xattr).collect(),
        }
    }

    /// As the target takes it. Access times are not kept; the modification time stands in.
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            atime: self.mtime,
            xattrs: &self.xattrs,
        }
    }
}

/// Why something could not be restored.
#[derive(Debug)]
pub(super) enum Failure {
    /// The repository cannot give it back.
    Lost(String),
    /// The system refused.
    Refused(FsError),
    /// Something else about this machine.
    Target(String),
    /// Read back, the content is another.
    Differs(String),
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self::Refused(error)
    }
}

/// What stood in a file's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prior {
    /// Nothing.
    Nothing,
    /// A regular file that cannot be changed in place.
    OtherFile,
    /// Something else.
    Other,
    /// A regular file whose parts are compared, and changed in place.
    Compared {
        /// Its size.
        size_bytes: u64,
    },
    /// A regular file that is taken to have the content already.
    Trusted,
}

/// The outcome of the first of a file's several names.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) key: PathKey,
    is_whole: AtomicBool,
}

impl Linked {
    pub(super) const fn new(key: PathKey) -> Self {
        Self {
            key,
            is_whole: AtomicBool::new(false),
        }
    }

    /// Notes that the file is there, complete.
    pub(super) fn set_whole(&self) {
        self.is_whole.store(true, Ordering::Release);
    }

    /// Whether it is there, complete.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }
}

impl Failure {
    /// Adds what became of the file.
    pub(super) fn and(self, more: &str) -> Self {
        match self {
            Self::Lost(reason) => Self::Lost(format!("{reason}; {more}")),
            Self::Target(reason) => Self::Target(format!("{reason}; {more}")),
            Self::Differs(reason) => Self::Differs(format!("{reason}; {more}")),
            // A full disk stops everything, and the error is told as it is.
            Self::Refused(error) if is_fatal(&error) => Self::Refused(error),
            Self::Refused(error) => Self::Target(format!("{}; {more}", chain(&error))),
        }
    }
}

/// What an entry takes in memory, about.
pub(super) fn weight_bytes(key: &PathKey, meta: Option<&Meta>) -> usize {
    let xattrs = meta.iter().flat_map(|meta| &meta.xattrs);
    let xattrs: usize = xattrs
        .map(|xattr| xattr.name.len().saturating_add(xattr.value.len()))
        .sum();
    key.as_bytes().len().saturating_add(xattrs)
}
