//! Where roots lie: the directories whose contents stand at the top of the tree.

use crate::key::{PathKey, PathKeyError};
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// A directory that roots are named from. It has no entry in the tree; what it holds stands at the top.
///
/// Two places are one only when they are both opened and known alike: `/` and a current directory `/` are two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    opened: CString,
    /// Clean, and empty for `/`.
    path: CString,
}

impl Place {
    /// Takes the path to open, which may be relative to the process's current directory and must be no symbolic
    /// link, and the absolute path by which selections and messages know the directory.
    pub fn new(opened: &[u8], path: &[u8]) -> Result<Self, PathKeyError> {
        let mut path = PathKey::from_path(path)?.to_path();
        if path == b"/" {
            path.clear();
        }
        Ok(Self {
            opened: c_string(opened)?,
            path: c_string(&path)?,
        })
    }

    /// The place that absolute paths are named from.
    pub fn top() -> Self {
        Self {
            opened: c"/".to_owned(),
            path: CString::default(),
        }
    }

    pub(super) fn opened(&self) -> &CStr {
        &self.opened
    }

    /// The absolute path, empty for `/`.
    pub(super) fn path(&self) -> &CStr {
        &self.path
    }
}

fn c_string(path: &[u8]) -> Result<CString, PathKeyError> {
    CString::new(path).map_err(|_nul| PathKeyError::Name {
        name: path.to_vec(),
    })
}

/// A file to walk, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is named from.
    pub place: Arc<Place>,
    /// Its path in the tree, and in the place; all that the place holds if empty.
    ///
    /// When files of different places have the same name at the top, those that come later in the list of roots are
    /// numbered: `name-1`, `name-2`.
    pub key: PathKey,
}

impl Root {
    /// Takes an absolute path, which is kept whole.
    pub fn absolute(path: &[u8]) -> Result<Self, PathKeyError> {
        PathKey::from_path(path).map(Self::from)
    }
}

impl From<PathKey> for Root {
    fn from(key: PathKey) -> Self {
        Self {
            place: Arc::new(Place::top()),
            key,
        }
    }
}
