//! Which entries are wanted, and what they are called below the target.

use dolmen_fs::{PathKey, PathKeyError};

use super::Options;
use crate::error::{Error, Result};
use crate::tree::reader::is_below;

/// Decides by paths as they become below the target.
pub(super) struct Chooser<'a> {
    options: &'a Options,
    /// Nothing is asked where there is no pattern.
    has_patterns: bool,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// It is restored.
    Take,
    /// It is not, but something below it may be.
    Enter,
    /// Neither it nor anything below it is.
    Leave,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        let has_patterns = !options.include.is_empty() || !options.exclude.is_empty();
        Self {
            options,
            has_patterns,
        }
    }

    pub(super) fn choose(&self, key: &PathKey) -> Choice {
        if !self.has_patterns {
            return Choice::Take;
        }
        let Options {
            include, exclude, ..
        } = self.options;
        let path = key.to_path();
        if exclude.matches(&path) {
            Choice::Leave
        } else if include.is_empty() || include.matches(&path) {
            Choice::Take
        } else if include.child_may_match(&path) {
            Choice::Enter
        } else {
            Choice::Leave
        }
    }
}

/// The part of the tree that is restored, and what is cut off its keys.
#[derive(Debug)]
pub(super) struct Scope {
    /// Key of the directory or file that was asked for; empty: everything.
    pub(super) wanted: PathKey,
    /// Key bytes that are cut off: the wanted directory, or the directory of the wanted file.
    base: Vec<u8>,
}

impl Scope {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let wanted = match &options.subpath {
            None => PathKey::root(),
            Some(path) => PathKey::from_path(path).map_err(|error| Error::Usage {
                reason: format!("cannot restore {}: {error}", String::from_utf8_lossy(path)),
            })?,
        };
        let base = wanted.as_bytes().to_vec();
        Ok(Self { wanted, base })
    }

    /// Whether the key is the very one that was asked for.
    pub(super) fn is_wanted(&self, key: &[u8]) -> bool {
        !self.base.is_empty() && key == self.wanted.as_bytes()
    }

    /// What was asked for turns out to be no directory: it is restored under its own name.
    pub(super) fn narrow_to_file(&mut self) {
        self.base = self.wanted.parent().unwrap_or_default().as_bytes().to_vec();
    }

    /// The key below the target.
    pub(super) fn key(&self, key: &[u8]) -> std::result::Result<PathKey, PathKeyError> {
        let rest = if is_below(key, &self.base) {
            key.get(self.base.len()..).unwrap_or_default()
        } else {
            key
        };
        PathKey::from_bytes(rest.strip_prefix(b"\0").unwrap_or(rest))
    }
}
