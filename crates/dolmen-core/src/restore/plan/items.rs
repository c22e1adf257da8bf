//! Planning what is no directory.

use std::sync::Arc;

use dolmen_format::tree::{File, HardLink, Node, NodeKind};
use dolmen_fs::{FsError, Kind, Metadata, PathKey, Replace};

use super::super::after::{After, Alone, Link};
use super::super::entry::{Failure, Linked, Meta, Prior, weight_bytes};
use super::super::file::FileJob;
use super::super::folder::Folder;
use super::super::layout::Layout;
use super::super::other::{Other, What};
use super::super::work::Small;
use super::super::{Action, Overwrite, place};
use super::{Names, Planner};
use crate::content::Chunks;
use crate::error::Result;

/// What an entry that is no directory is to become.
struct Planned {
    key: PathKey,
    meta: Meta,
    prior: Prior,
    hard_link: Option<HardLink>,
}

impl Planner<'_> {
    /// Plans what is no directory.
    pub(super) fn plan(&mut self, key: PathKey, mut node: Node) -> Result<()> {
        let meta = Meta::take(&mut node);
        let size = size_of(&node.kind);
        let prior = match self.look(&key, &meta, size) {
            Ok(Some(prior)) => prior,
            Ok(None) => {
                self.session.found(size.unwrap_or(0));
                self.session
                    .done(&key, Action::Unchanged, size.unwrap_or(0), 0);
                return Ok(());
            }
            Err(error) => {
                self.session.found(size.unwrap_or(0));
                self.session.refused(&key, error);
                return Ok(());
            }
        };
        let hard_link = node.hard_link.filter(|link| link.links > 1);
        let planned = Planned {
            key,
            meta,
            prior,
            hard_link,
        };
        match node.kind {
            NodeKind::File(file) => self.plan_file(planned, file),
            kind => What::new(kind).map_or(Ok(()), |what| self.plan_other(planned, what)),
        }
    }

    /// Decides by what is in the way; `None`: it is to be left alone.
    fn look(
        &self,
        key: &PathKey,
        meta: &Meta,
        size: Option<u64>,
    ) -> std::result::Result<Option<Prior>, FsError> {
        if self.folders.open.last().is_some_and(Folder::is_new) {
            return Ok(Some(Prior::Nothing));
        }
        let Some(found) = self.session.place.existing(key)? else {
            return Ok(Some(Prior::Nothing));
        };
        let Metadata {
            kind,
            size_bytes,
            mtime,
            links,
            ..
        } = found;
        let is_trusted = match self.session.options.overwrite {
            Overwrite::Never if !self.is_incomplete(key, kind) => return Ok(None),
            Overwrite::IfNewer if meta.mtime <= mtime && !self.is_incomplete(key, kind) => {
                return Ok(None);
            }
            Overwrite::Never | Overwrite::IfNewer | Overwrite::Always => false,
            Overwrite::IfChanged => size == Some(size_bytes) && meta.mtime == mtime,
        };
        Ok(Some(match (kind, size) {
            (Kind::File, Some(_)) if is_trusted => Prior::Trusted,
            (Kind::File, Some(_)) if links == 1 => Prior::Compared { size_bytes },
            (Kind::File, Some(_)) => Prior::OtherFile,
            _ => Prior::Other,
        }))
    }

    /// Whether an earlier restore began this file and never ended it.
    fn is_incomplete(&self, key: &PathKey, kind: Kind) -> bool {
        let target = self.session.place.seen();
        kind == Kind::File && target.is_some_and(|target| target.is_incomplete(key))
    }

    fn plan_file(&mut self, planned: Planned, file: File) -> Result<()> {
        let Planned {
            key,
            meta,
            prior,
            hard_link,
        } = planned;
        let File {
            size,
            extents,
            content,
        } = file;
        let (linked, first) = self.link(hard_link, &key);
        // A further name adds no bytes.
        self.session.found(if first.is_some() { 0 } else { size });
        let layout = Layout::new(size, extents);
        let replace = self.replace(&key);
        let job = FileJob::new(key, meta, (layout, content), (prior, replace), linked);
        let job = Arc::new(job);
        if let Some(to) = first {
            let weight_bytes = job.weight_bytes();
            let alone = Alone::File(job);
            let link = Link { to, replace, alone };
            return self
                .dispatcher
                .after(After::Link(Box::new(link)), weight_bytes);
        }
        if prior != Prior::Trusted {
            self.plan_parts(&job)?;
        }
        self.dispatcher.end_file(job)
    }

    fn plan_parts(&mut self, job: &Arc<FileJob>) -> Result<()> {
        let session = self.session;
        let mut content_offset = 0_u64;
        for chunk in Chunks::new(&session.blobs, &job.content) {
            if session.is_over() || job.has_failed() {
                return Ok(());
            }
            let located = chunk.and_then(|chunk| Ok((chunk, session.blobs.locate(&chunk.id)?)));
            let (chunk, at) = match located {
                Ok(located) => located,
                Err(error) => {
                    job.fail(session, session.lost(&error));
                    return Ok(());
                }
            };
            let offset = content_offset;
            content_offset = content_offset.saturating_add(chunk.length);
            if u64::from(at.length) != chunk.length {
                let reason = format!("blob {} has another length than the file says", chunk.id);
                job.fail(session, Failure::Lost(reason));
                return Ok(());
            }
            if content_offset > job.layout.content_bytes() {
                break;
            }
            self.dispatcher.part(job, chunk.id, at, offset)?;
        }
        if let Err(failure) = job.check_length(content_offset) {
            job.fail(session, failure);
        }
        Ok(())
    }

    fn plan_other(&mut self, planned: Planned, what: What) -> Result<()> {
        let Planned {
            key,
            meta,
            hard_link,
            ..
        } = planned;
        self.session.found(0);
        let (linked, first) = self.link(hard_link, &key);
        let replace = self.replace(&key);
        let weight_bytes = weight_bytes(&key, Some(&meta));
        let other = Other {
            key,
            meta,
            what,
            replace,
            linked,
        };
        match first {
            Some(to) => {
                let link = Link {
                    to,
                    replace,
                    alone: Alone::Other(other),
                };
                self.dispatcher
                    .after(After::Link(Box::new(link)), weight_bytes)
            }
            None => self.dispatcher.small(Small::Make(other), weight_bytes),
        }
    }

    /// What may be removed for an entry; never a directory with something in it that is left alone.
    fn replace(&self, key: &PathKey) -> Replace {
        match place::replace(self.session.options) {
            Replace::Anything if self.leads_to_protected(key) => Replace::Files,
            replace => replace,
        }
    }

    /// The link that this name is the first of, or the one that it is a further name of.
    fn link(
        &mut self,
        hard_link: Option<HardLink>,
        key: &PathKey,
    ) -> (Option<Arc<Linked>>, Option<Arc<Linked>>) {
        let Some(HardLink {
            device,
            inode,
            links,
        }) = hard_link
        else {
            return (None, None);
        };
        let identity = (device, inode);
        if let Some(names) = self.links.get_mut(&identity) {
            let first = Arc::clone(&names.first);
            names.left = names.left.saturating_sub(1);
            if names.left == 0 {
                self.links.remove(&identity);
            }
            return (None, Some(first));
        }
        let first = Arc::new(Linked::new(key.clone()));
        let names = Names {
            first: Arc::clone(&first),
            left: links.saturating_sub(1),
        };
        self.links.insert(identity, names);
        (Some(first), None)
    }
}

/// A regular file's size.
pub(super) const fn size_of(kind: &NodeKind) -> Option<u64> {
    match kind {
        NodeKind::File(file) => Some(file.size),
        NodeKind::Directory
        | NodeKind::Symlink(_)
        | NodeKind::Fifo
        | NodeKind::CharDevice(_)
        | NodeKind::BlockDevice(_) => None,
    }
}
