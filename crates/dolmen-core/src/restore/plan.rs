//! The planner: it walks the tree, makes directories, and decides what becomes of everything else.

mod items;

use std::collections::HashMap;
use std::sync::Arc;

use dolmen_format::snapshot::TreeRoot;
use dolmen_format::tree::{Entry, Node, NodeKind};
use dolmen_fs::{FsError, Kind, Made, PathKey, Replace};

use super::after::{After, Leave};
use super::choose::{Choice, Chooser, Scope};
use super::dispatch::{Dispatcher, Lanes};
use super::entry::{Failure, Linked, Meta, weight_bytes};
use super::folder::{Folder, Folders, Leftovers, Standing};
use super::place;
use super::session::Session;
use crate::error::{Error, Result};
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
        folders: Folders::default(),
        links: HashMap::new(),
        is_empty: true,
    };
    planner.enter_target();
    let mut entries = TreeReader::below(
        &session.blobs,
        root,
        planner.scope.wanted.clone().as_bytes(),
    );
    while let Some(item) = entries.next() {
        if session.is_over() {
            break;
        }
        match item {
            Ok(entry) => {
                if let Some(left_out) = planner.take(entry)? {
                    entries.skip_below(left_out);
                }
            }
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
    folders: Folders,
    /// Files of which more names are to come.
    links: HashMap<(u64, u64), Names>,
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

impl Planner<'_> {
    fn enter_target(&mut self) {
        let root = PathKey::root();
        self.folders.enter(root.clone(), None);
        let made = if self.session.place.seen().is_some() {
            Made::Existing
        } else {
            Made::New
        };
        if let Some(target) = self.folders.open.last_mut() {
            make(self.session, &root, target, Ok(made));
        }
    }

    /// Takes an entry; returns the key of a directory below which nothing is wanted.
    fn take(&mut self, entry: Entry) -> Result<Option<Vec<u8>>> {
        self.is_empty = false;
        self.session.note_read();
        let Entry { key: stored, node } = entry;
        if self.scope.is_wanted(&stored) {
            if matches!(node.kind, NodeKind::Directory) {
                return Ok(None);
            }
            self.scope.narrow_to_file();
        }
        let Ok(key) = self.scope.key(&stored) else {
            let reason = "its name in the snapshot is none that a file can have".to_owned();
            self.session.failed(&PathKey::root(), Failure::Lost(reason));
            return Ok(None);
        };
        self.enter_parent(&key)?;
        let choice = if self.is_protected(&key) {
            Choice::Leave
        } else {
            self.chooser.choose(&key)
        };
        let is_ready = choice == Choice::Take && self.make_folders();
        if let Some(parent) = self.folders.open.last_mut() {
            // After the parent is made: only then is it known what was in it.
            parent.expect(key.name());
        }
        if matches!(node.kind, NodeKind::Directory) {
            if choice == Choice::Leave {
                return Ok(Some(stored));
            }
            self.take_directory(key, node, choice);
        } else if is_ready {
            self.plan(key, node)?;
        } else if choice == Choice::Take {
            self.session.found(items::size_of(&node.kind).unwrap_or(0));
        }
        Ok(None)
    }

    fn take_directory(&mut self, key: PathKey, mut node: Node, choice: Choice) {
        self.folders.enter(key, Some(Meta::take(&mut node)));
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
        self.is_empty = false;
        for folder in &mut self.folders.open {
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
        let kept_bytes = self.folders.shared_bytes(key);
        self.leave_until(Some(kept_bytes))?;
        self.folders.enter_lost(key);
        Ok(())
    }

    /// Leaves directories up to one whose key has no more bytes; all of them where there is none.
    fn leave_until(&mut self, kept_bytes: Option<usize>) -> Result<()> {
        while let Some((key, folder)) = self.folders.leave(kept_bytes) {
            self.leave(key, folder)?;
        }
        Ok(())
    }

    fn leave(&mut self, key: PathKey, folder: Folder) -> Result<()> {
        let Folder {
            meta,
            standing,
            leftovers,
            is_incomplete,
            ..
        } = folder;
        let Standing::Made(_) = standing else {
            return Ok(());
        };
        let mut unexpected = leftovers
            .map(Leftovers::into_unexpected)
            .unwrap_or_default();
        unexpected.retain(|name| {
            let key = key.join(name);
            self.chooser.choose(&key) == Choice::Take && !self.leads_to_protected(&key)
        });
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

    /// Whether a key is, or lies in, what is left alone; says so.
    fn is_protected(&self, key: &PathKey) -> bool {
        let mut protected = self.session.options.protected.iter();
        let found = protected.find(|protected| key.starts_with(protected));
        self.say_that_it_stays(found)
    }

    /// Whether what is left alone is at or below a key; says so.
    fn leads_to_protected(&self, key: &PathKey) -> bool {
        let mut protected = self.session.options.protected.iter();
        let found = protected.find(|protected| protected.starts_with(key));
        self.say_that_it_stays(found)
    }

    fn say_that_it_stays(&self, protected: Option<&PathKey>) -> bool {
        if let Some(key) = protected {
            self.session.notice(&format!(
                "{} stays as it is: it belongs to this repository",
                String::from_utf8_lossy(&key.to_path())
            ));
        }
        protected.is_some()
    }

    /// Makes the directories that the walk is in, as far as they are not; false when one cannot be made.
    fn make_folders(&mut self) -> bool {
        let mut folders = std::mem::take(&mut self.folders);
        let (mut is_made, mut in_new) = (true, false);
        for folder in &mut folders.open {
            if !is_made {
                folder.standing = Standing::Failed;
            } else if folder.standing == Standing::Unneeded {
                if folder.meta.is_some() {
                    self.session.found(0);
                }
                let key = folder.key(&folders.deepest);
                let made = self.make_directory(&key, in_new);
                make(self.session, &key, folder, made);
            }
            is_made = folder.standing != Standing::Failed;
            in_new = folder.is_new();
        }
        self.folders = folders;
        is_made
    }

    fn make_directory(&self, key: &PathKey, in_new: bool) -> std::result::Result<Made, FsError> {
        let replace = place::replace_by_directory(self.session.options);
        let place = &self.session.place;
        if let Some(target) = place.writable() {
            return target.make_directory(key, replace);
        }
        let found = if in_new { None } else { place.existing(key)? };
        match (found.map(|found| found.kind), replace) {
            (Some(Kind::Directory), _) => Ok(Made::Existing),
            (Some(found), Replace::Nothing) => Err(FsError::InTheWay { found }),
            (Some(_) | None, _) => Ok(Made::New),
        }
    }
}

/// Notes what came of making a directory, and what was in it.
fn make(
    session: &Session<'_>,
    key: &PathKey,
    folder: &mut Folder,
    made: std::result::Result<Made, FsError>,
) {
    let made = made.and_then(|made| {
        if let (true, Made::Existing, Some(target)) =
            (session.options.delete, made, session.place.seen())
        {
            folder.leftovers = Some(Leftovers::new(&target.list(key)?));
        }
        Ok(made)
    });
    folder.standing = match made {
        Ok(made) => Standing::Made(made),
        Err(error) => {
            let failure = Failure::from(error).and("nothing below it is restored");
            session.failed(key, failure);
            Standing::Failed
        }
    };
}
