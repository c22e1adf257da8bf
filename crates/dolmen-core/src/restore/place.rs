//! The target, and what may be done to it.

use std::path::Path;

use dolmen_fs::{FsError, Metadata, PathKey, Replace, Target};

use super::{Options, Overwrite};
use crate::error::{Error, Result};

/// The directory that is restored into.
#[derive(Debug)]
pub(super) struct Place {
    /// `None`: a dry run into a directory that does not exist.
    target: Option<Target>,
    access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Look,
    Change,
}

impl Place {
    /// Opens the target; unless nothing may be changed, it is made when it does not exist.
    pub(super) fn open(options: &Options) -> Result<Self> {
        let access = if options.dry_run {
            Access::Look
        } else {
            Access::Change
        };
        let exists = options.target.is_dir();
        let target = match access {
            Access::Look if !exists => None,
            Access::Look | Access::Change => Some(Target::open_or_create(&options.target)?),
        };
        let place = Self { target, access };
        if options.delete && options.include.is_empty() && place.is_root()? {
            return Err(Error::Usage {
                reason: "--delete with the target / needs --include: it would remove everything \
                         that the snapshot does not hold"
                    .to_owned(),
            });
        }
        Ok(place)
    }

    /// The target, to look at.
    pub(super) const fn seen(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// The target, to change; `None` in a dry run.
    pub(super) fn writable(&self) -> Option<&Target> {
        self.target
            .as_ref()
            .filter(|_| self.access == Access::Change)
    }

    /// What is at a key.
    pub(super) fn existing(&self, key: &PathKey) -> std::result::Result<Option<Metadata>, FsError> {
        self.target
            .as_ref()
            .map_or(Ok(None), |target| target.existing(key))
    }

    /// Whether the target is the root directory, by whatever path.
    fn is_root(&self) -> std::result::Result<bool, FsError> {
        let root = Target::open_or_create(Path::new("/"))?.existing(&PathKey::root())?;
        let own = self.existing(&PathKey::root())?;
        let identity = |found: Metadata| (found.device, found.inode);
        Ok(own.is_some() && own.map(identity) == root.map(identity))
    }
}

/// What may be removed to make room for something else.
pub(super) const fn replace(options: &Options) -> Replace {
    match options.overwrite {
        Overwrite::Never => Replace::Nothing,
        // As restic: a full directory goes only where removing was asked for.
        Overwrite::Always | Overwrite::IfChanged | Overwrite::IfNewer => {
            if options.delete {
                Replace::Anything
            } else {
                Replace::Files
            }
        }
    }
}

/// What may be removed to make room for a directory.
pub(super) const fn replace_by_directory(options: &Options) -> Replace {
    match options.overwrite {
        Overwrite::Never => Replace::Nothing,
        Overwrite::Always | Overwrite::IfChanged | Overwrite::IfNewer => Replace::Files,
    }
}
