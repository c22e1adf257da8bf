//! The planner: it walks the tree, makes directories, and decides what becomes of everything else.

use std::collections::HashMap;
use std::sync::Arc;

use dolmen_format::snapshot::TreeRoot;
use dolmen_format::tree::{Entry, File, HardLink, Node, NodeKind};
use dolmen_fs::{FsError, Kind, Made, Metadata, PathKey, Replace};

use super::after::{After, Alone, Leave, Link};
use super::choose::{Choice, Chooser, Scope};
use super::dispatch::{Dispatcher, Lanes};
use super::file::{Failure, FileJob, Linked, Meta, Prior};
use super::folder::{Folder, Leftovers, Standing};
use super::layout::Layout;
use super::other::{Other, What};
use super::session::Session;
use super::work::Small;
use super::{Action, Overwrite, place};
use crate::content::Chunks;
use crate::error::{Error, Result};
use crate::tree::reader::is_below;
use crate::tree::{LostRange, TreeReader};

/// Plans from beginning to end.
pub(super) fn run(
    session: &Session<'_>,
    lanes: Lanes,
    root: TreeRoot,
    snapshot: &str,
) -> Result<()> {
    let mut planner = Planner {
        session,
        chooser: Chooser::new(session.options),
        scope: Scope::new(session.options)?,
        dispatcher: Dispatcher::new(session, lanes),
        folders: Vec::new(),
        links: HashMap::new(),
        left_out: None,
        is_empty: true,
    };
    planner.enter_target();
    for item in TreeReader::below(
        &session.blobs,
        root,
        planner.scope.wanted.clone().as_bytes(),
    ) {
        if session.is_over() {
            break;
        }
        match item {
            Ok(entry) => planner.take(entry)?,
            Err(lost) => planner.lose(&lost),
        }
    }
    if planner.is_empty && !session.is_over() && !planner.scope.wanted.as_bytes().is_empty() {
        return Err(Error::NoPath {
            path: String::from_utf8_lossy(&planner.scope.wanted.to_path()).into_owned(),
            snapshot: snapshot.to_owned(),
        });
    }
    planner.leave_until(None)?;
    planner.dispatcher.finish()
}

struct Planner<'s> {
    session: &'s Session<'s>,
    chooser: Chooser<'s>,
    scope: Scope,
    dispatcher: Dispatcher<'s>,
    /// The directories that the walk is in, the target first.
    folders: Vec<Folder>,
    /// Files of which more names are to come.
    links: HashMap<(u64, u64), Names>,
    /// Nothing below this directory is wanted.
    left_out: Option<PathKey>,
    /// Whether nothing was found at all.
    is_empty: bool,
}

/// A file with several names.
#[derive(Debug)]
struct Names {
    first: Arc<Linked>,
    /// Names that are to come, in or outside of the backup.
    left: u64,
}

/// What an entry that is no directory is to become.
struct Planned {
    key: PathKey,
    meta: Meta,
    prior: Prior,
    hard_link: Option<HardLink>,
}

impl Planner<'_> {
    fn enter_target(&mut self) {
        let mut folder = Folder::new(PathKey::root(), None);
        let made = if self.session.place.seen().is_some() {
            Made::Existing
        } else {
            Made::New
        };
        self.make(&mut folder, Ok(made));
        self.folders.push(folder);
    }

    fn take(&mut self, entry: Entry) -> Result<()> {
        self.is_empty = false;
        let Entry { key, node } = entry;
        if self.scope.is_wanted(&key) {
            if matches!(node.kind, NodeKind::Directory) {
                return Ok(());
            }
            self.scope.narrow_to_file();
        }
        let Ok(key) = self.scope.key(&key) else {
            let reason = "its name in the snapshot is none that a file can have".to_owned();
            self.session.failed(&PathKey::root(), Failure::Lost(reason));
            return Ok(());
        };
        if self
            .left_out
            .as_ref()
            .is_some_and(|left_out| key.starts_with(left_out))
        {
            return Ok(());
        }
        self.enter_parent(&key)?;
        let choice = self.chooser.choose(&key);
        let is_ready = choice == Choice::Take && self.make_folders();
        if let Some(parent) = self.folders.last_mut() {
            // After the parent is made: only then is it known what was in it.
            parent.expect(key.name());
        }
        if matches!(node.kind, NodeKind::Directory) {
            self.take_directory(key, node, choice);
            Ok(())
        } else if is_ready {
            self.plan(key, node)
        } else {
            if choice == Choice::Take {
                self.session.found(size_of(&node.kind).unwrap_or(0));
            }
            Ok(())
        }
    }

    fn take_directory(&mut self, key: PathKey, mut node: Node, choice: Choice) {
        if choice == Choice::Leave {
            self.left_out = Some(key);
            return;
        }
        self.folders
            .push(Folder::new(key, Some(Meta::take(&mut node))));
        if choice == Choice::Take {
            self.make_folders();
        }
    }

    /// Notes that a part of the tree cannot be read.
    fn lose(&mut self, lost: &LostRange) {
        let LostRange {
            first,
            end,
            node,
            error,
        } = lost;
        let first_key = self.scope.key(first).unwrap_or_default();
        let is_left_out = self.left_out.as_ref().is_some_and(|left_out| {
            let below = |key: &[u8]| {
                is_below(key, self.scope.wanted.as_bytes())
                    && self
                        .scope
                        .key(key)
                        .is_ok_and(|key| key.starts_with(left_out))
            };
            below(first) && end.as_ref().is_some_and(|end| below(end))
        });
        if is_left_out {
            return;
        }
        self.is_empty = false;
        for folder in &mut self.folders {
            folder.is_incomplete = true;
        }
        let Failure::Lost(reason) = self.session.lost(error) else {
            return;
        };
        let end = end
            .as_ref()
            .and_then(|end| self.scope.key(end).ok())
            .map_or_else(
                || "to the end of the snapshot".to_owned(),
                |end| format!("up to {}", String::from_utf8_lossy(&end.to_path())),
            );
        let reason =
            format!("all entries from here {end} are lost with tree node {node}: {reason}");
        self.session.failed(&first_key, Failure::Lost(reason));
    }

    /// Leaves the directories that do not hold `key`, and enters those that do and whose entries are lost.
    fn enter_parent(&mut self, key: &PathKey) -> Result<()> {
        self.leave_until(Some(key))?;
        let depth = key.components().count();
        while self.folders.len() < depth {
            let Some(name) = key.components().nth(self.folders.len().saturating_sub(1)) else {
                break;
            };
            let above = self
                .folders
                .last()
                .map_or_else(PathKey::root, |folder| folder.key.clone());
            let mut folder = Folder::new(above.join(name), None);
            folder.is_incomplete = true;
            self.folders.push(folder);
        }
        Ok(())
    }

    /// Leaves directories up to one that holds `key`; all of them where there is none.
    fn leave_until(&mut self, key: Option<&PathKey>) -> Result<()> {
        while let Some(last) = self.folders.last() {
            if key.is_some_and(|key| *key != last.key && key.starts_with(&last.key)) {
                return Ok(());
            }
            if let Some(folder) = self.folders.pop() {
                self.leave(folder)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self, folder: Folder) -> Result<()> {
        let Folder {
            key,
            meta,
            standing,
            leftovers,
            is_incomplete,
        } = folder;
        let Standing::Made(_) = standing else {
            return Ok(());
        };
        let mut unexpected = leftovers
            .map(Leftovers::into_unexpected)
            .unwrap_or_default();
        unexpected.retain(|name| self.chooser.choose(&key.join(name)) == Choice::Take);
        if is_incomplete && !unexpected.is_empty() {
            self.session.notice(&format!(
                "nothing is deleted in {}: it is not known what the snapshot holds there",
                String::from_utf8_lossy(&key.to_path())
            ));
            unexpected.clear();
        }
        let weight: usize = unexpected.iter().map(|name| name.len()).sum();
        let weight = weight.saturating_add(weight_bytes(&key, meta.as_ref()));
        self.dispatcher.after(
            After::Leave(Box::new(Leave {
                key,
                meta,
                unexpected,
            })),
            weight,
        )
    }

    /// Makes the directories that the walk is in, as far as they are not; false when one cannot be made.
    fn make_folders(&mut self) -> bool {
        let mut folders = std::mem::take(&mut self.folders);
        let (mut is_made, mut in_new) = (true, false);
        for folder in &mut folders {
            if !is_made {
                folder.standing = Standing::Failed;
            } else if folder.standing == Standing::Unneeded {
                if folder.meta.is_some() {
                    self.session.found(0);
                }
                let made = self.make_directory(&folder.key, in_new);
                self.make(folder, made);
            }
            is_made = folder.standing != Standing::Failed;
            in_new = folder.is_new();
        }
        self.folders = folders;
        is_made
    }

    fn make_directory(&self, key: &PathKey, in_new: bool) -> std::result::Result<Made, FsError> {
        let place = &self.session.place;
        if let Some(target) = place.writable() {
            return target.make_directory(key, place::replace_by_directory(self.session.options));
        }
        let found = if in_new { None } else { place.existing(key)? };
        let exists = found.is_some_and(|found| found.kind == Kind::Directory);
        Ok(if exists { Made::Existing } else { Made::New })
    }

    /// Notes what came of making a directory, and what was in it.
    fn make(&self, folder: &mut Folder, made: std::result::Result<Made, FsError>) {
        let made = made.and_then(|made| {
            if let (true, Made::Existing, Some(target)) =
                (self.session.options.delete, made, self.session.place.seen())
            {
                folder.leftovers = Some(Leftovers::new(&target.list(&folder.key)?));
            }
            Ok(made)
        });
        folder.standing = match made {
            Ok(made) => Standing::Made(made),
            Err(error) => {
                let failure = Failure::from(error).and("nothing below it is restored");
                self.session.failed(&folder.key, failure);
                Standing::Failed
            }
        };
    }

    /// Plans what is no directory.
    fn plan(&mut self, key: PathKey, mut node: Node) -> Result<()> {
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
        if self.folders.last().is_some_and(Folder::is_new) {
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
            Overwrite::Never => return Ok(None),
            Overwrite::IfNewer if meta.mtime <= mtime => return Ok(None),
            Overwrite::IfNewer | Overwrite::Always => false,
            Overwrite::IfChanged => size == Some(size_bytes) && meta.mtime == mtime,
        };
        Ok(Some(match (kind, size) {
            (Kind::File, Some(_)) if is_trusted => Prior::Trusted,
            (Kind::File, Some(_)) if links == 1 => Prior::Compared { size_bytes },
            (Kind::File, Some(_)) => Prior::OtherFile,
            _ => Prior::Other,
        }))
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
        let replace = self.replace();
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
        let replace = self.replace();
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

    fn replace(&self) -> Replace {
        place::replace(self.session.options)
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
const fn size_of(kind: &NodeKind) -> Option<u64> {
    match kind {
        NodeKind::File(file) => Some(file.size),
        NodeKind::Directory
        | NodeKind::Symlink(_)
        | NodeKind::Fifo
        | NodeKind::CharDevice(_)
        | NodeKind::BlockDevice(_) => None,
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
