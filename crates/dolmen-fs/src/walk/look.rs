//! Deciding what one file is to the walk.

use super::Selection;
use super::queue::Slot;
use super::roots::RootNode;
use super::scan::{Below, Contents, Finding, Listing, Scanner, Source, Task, slot_key};
use super::view::DirectoryView;
use crate::directory::{LIST, PASS, PASS_FOLLOWING};
use crate::error::FsError;
use crate::metadata::{Kind, Links, Metadata, stat};
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, Statx, StatxAttributes, openat};
use std::ffi::CStr;
use std::sync::Arc;

/// A file to look at.
pub(super) struct Look<'a, 'w> {
    pub(super) scanner: &'a Scanner<'w>,
    pub(super) listing: &'a Listing<'w>,
    pub(super) fd: BorrowedFd<'a>,
    /// The directory's key bytes, when somebody needs keys.
    pub(super) key: Option<&'a [u8]>,
    /// The file's absolute path.
    pub(super) path: &'a [u8],
    pub(super) name: &'a CStr,
}

impl<'w> Look<'_, 'w> {
    /// Decides what the file is to the walk; `None` when it is left out.
    pub(super) fn run(&self) -> Option<(Finding, Below<'w>)> {
        let root = self
            .listing
            .source
            .roots
            .and_then(|roots| roots.child(self.name.to_bytes()));
        match root {
            Some(root) if !root.is_root && self.is_above_roots() => Some(self.ancestor(root)),
            root => self.member(root),
        }
    }

    /// Looks at a file that is at or below a root.
    fn member(&self, root: Option<&'w RootNode>) -> Option<(Finding, Below<'w>)> {
        let (statx, metadata) = match self.stat(Links::Keep) {
            Ok(found) => found,
            Err(error) => return Some(failed(root, error)),
        };
        if self.is_mounted_from_elsewhere(&statx, &metadata, root) {
            return None;
        }
        let leading = root.filter(|root| root.leads_on());
        let view = DirectoryView {
            listing: self.listing,
            fd: self.fd,
        };
        match self.scanner.select.select(self.path, &metadata, &view) {
            Selection::Exclude => leading.map(|root| self.ancestor(root)),
            Selection::Include if metadata.kind == Kind::Directory => {
                let below = self.contents(&statx, &metadata, root);
                Some((Finding::Found(metadata), below))
            }
            Selection::Include => {
                let error = match metadata.kind {
                    Kind::Symlink => FsError::BehindSymlink,
                    found => FsError::NotDirectory { found },
                };
                let below = leading.map_or(Below::Nothing, |root| Below::Lost(root, error));
                Some((Finding::Found(metadata), below))
            }
        }
    }

    /// Looks at a directory of which only what leads to roots belongs to the walk.
    fn ancestor(&self, root: &'w RootNode) -> (Finding, Below<'w>) {
        // Above the roots, links are followed as the system would; inside a root the link itself is what counts.
        let (links, how) = if self.is_above_roots() {
            (Links::Follow, PASS_FOLLOWING)
        } else {
            (Links::Keep, PASS)
        };
        match self.stat(links) {
            Ok((statx, metadata)) if metadata.kind == Kind::Directory => {
                let directory =
                    self.listing
                        .source
                        .directory
                        .child(self.name, metadata.identity(), how);
                let source = Source {
                    directory: Arc::clone(&directory),
                    contents: Contents::Roots,
                    roots: Some(root),
                    device: metadata.device,
                    mount: statx.stx_mnt_id,
                    run: self.listing.source.run,
                };
                (
                    Finding::Ancestor(metadata, directory),
                    self.open_later(source),
                )
            }
            Ok((_, metadata)) => (
                Finding::Nothing,
                Below::Lost(
                    root,
                    FsError::NotDirectory {
                        found: metadata.kind,
                    },
                ),
            ),
            Err(error) => (Finding::Nothing, Below::Lost(root, error)),
        }
    }

    /// What a directory at or below a root holds.
    fn contents(
        &self,
        statx: &Statx,
        metadata: &Metadata,
        root: Option<&'w RootNode>,
    ) -> Below<'w> {
        let source = &self.listing.source;
        let is_root = root.is_some_and(|root| root.is_root);
        let roots = root.filter(|root| root.leads_on());
        let stays = !self.scanner.one_file_system || is_root || metadata.device == source.device;
        if !stays && roots.is_none() {
            return Below::Nothing;
        }
        let (contents, how) = if stays {
            (Contents::All, LIST)
        } else {
            (Contents::Roots, PASS)
        };
        self.open_later(Source {
            directory: source.directory.child(self.name, metadata.identity(), how),
            contents,
            roots,
            device: if is_root {
                metadata.device
            } else {
                source.device
            },
            mount: statx.stx_mnt_id,
            run: source.run,
        })
    }

    fn open_later(&self, source: Source<'w>) -> Below<'w> {
        let key = slot_key(self.key, self.listing.tree_name(self.name));
        Below::Contents(Slot::new(key, Task::Open(source)))
    }

    /// Whether the directory is above all roots that are in it.
    fn is_above_roots(&self) -> bool {
        self.listing.source.contents == Contents::Roots
    }

    /// Whether a file was mounted over a name here and is to be left out for that.
    ///
    /// The device alone does not tell: on overlayfs files report another device than the directory they are in.
    fn is_mounted_from_elsewhere(
        &self,
        statx: &Statx,
        metadata: &Metadata,
        root: Option<&RootNode>,
    ) -> bool {
        let source = &self.listing.source;
        self.scanner.one_file_system
            && metadata.kind != Kind::Directory
            && root.is_none()
            && metadata.device != source.device
            && statx.stx_mnt_id != source.mount
    }

    fn stat(&self, links: Links) -> Result<(Statx, Metadata), FsError> {
        let mut statx = stat(self.fd, self.name, links)?;
        if statx.stx_attributes.contains(StatxAttributes::AUTOMOUNT)
            && !self.scanner.one_file_system
        {
            // Opening it mounts what belongs there, and another directory then has the name.
            let how = LIST | OFlags::DIRECTORY | OFlags::CLOEXEC;
            drop(openat(self.fd, self.name, how, Mode::empty()));
            statx = stat(self.fd, self.name, links)?;
        }
        let metadata = Metadata::from_statx(&statx)?;
        Ok((statx, metadata))
    }
}

/// A file that cannot be looked at, and with it the roots below.
fn failed(root: Option<&RootNode>, error: FsError) -> (Finding, Below<'_>) {
    match root {
        None => (Finding::Failed(error), Below::Nothing),
        Some(root) if root.is_root => (Finding::Failed(error), Below::Lost(root, error)),
        Some(root) => (Finding::Nothing, Below::Lost(root, error)),
    }
}
