//! What waits until the files of a window are written: further names of files, and directories that are left.

use std::sync::Arc;

use dolmen_fs::{FsError, Kind, PathKey, Replace, Target};

use super::Action;
use super::entry::{Linked, Meta};
use super::file::FileJob;
use super::other::Other;
use super::session::Session;
use super::work::Worker;

/// Done in the order of the walk.
#[derive(Debug)]
pub(super) enum After {
    /// A further name of a file.
    Link(Box<Link>),
    /// A directory all of whose content is there.
    Leave(Box<Leave>),
}

/// A further name of a file.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) to: Arc<Linked>,
    pub(super) replace: Replace,
    /// Restored by itself when the first name could not be.
    pub(super) alone: Alone,
}

/// See [`Link`].
#[derive(Debug)]
pub(super) enum Alone {
    File(Arc<FileJob>),
    Other(Other),
}

/// A directory that is left.
#[derive(Debug)]
pub(super) struct Leave {
    pub(super) key: PathKey,
    /// `None`: what it is to have is unknown, or the user's.
    pub(super) meta: Option<Meta>,
    /// Names in it that are to go.
    pub(super) unexpected: Vec<Box<[u8]>>,
}

/// Finishes a window.
pub(super) fn finish(session: &Session<'_>, after: &[After]) {
    for item in after {
        if session.is_over() {
            return;
        }
        match item {
            After::Link(link) => link.make(session),
            After::Leave(leave) => leave.apply(session),
        }
    }
}

impl Link {
    fn key(&self) -> &PathKey {
        match &self.alone {
            Alone::File(job) => &job.key,
            Alone::Other(other) => &other.key,
        }
    }

    fn make(&self, session: &Session<'_>) {
        if !self.to.is_whole() {
            return match &self.alone {
                Alone::File(job) => Worker::new(session).restore_alone(job),
                Alone::Other(other) => other.make(session),
            };
        }
        let made = session.place.writable().map_or(Ok(()), |target| {
            target.hard_link(&self.to.key, self.key(), self.replace)
        });
        match made {
            Ok(()) => session.done(self.key(), Action::Restored, 0, 0),
            Err(error) => session.refused(self.key(), error),
        }
    }
}

impl Leave {
    fn apply(&self, session: &Session<'_>) {
        for name in &self.unexpected {
            let key = self.key.join(name);
            if let Err(error) = remove(session, &key) {
                session.refused(&key, error);
            }
        }
        let Some(meta) = &self.meta else { return };
        let applied = session.place.writable().map_or(Ok(Vec::new()), |target| {
            target.apply(&self.key, &meta.attributes())
        });
        match applied {
            Ok(failed) => {
                session.attributes_failed(&self.key, &failed);
                session.done(&self.key, Action::Restored, 0, 0);
            }
            Err(error) => session.refused(&self.key, error),
        }
    }
}

/// Removes what the snapshot does not hold, with all that is in it, and names each.
fn remove(session: &Session<'_>, key: &PathKey) -> Result<(), FsError> {
    let Some(seen) = session.place.seen() else {
        return Ok(());
    };
    let mut all = Vec::new();
    list_all(seen, key, &mut all)?;
    if let Some(target) = session.place.writable() {
        target.remove(key)?;
    }
    for gone in &all {
        session.done(gone, Action::Deleted, 0, 0);
    }
    Ok(())
}

/// Lists what is at a key and below it.
fn list_all(target: &Target, key: &PathKey, all: &mut Vec<PathKey>) -> Result<(), FsError> {
    let mut pending = vec![key.clone()];
    while let Some(key) = pending.pop() {
        let Some(found) = target.existing(&key)? else {
            continue;
        };
        if found.kind == Kind::Directory {
            let names = target.list(&key)?;
            pending.extend(names.iter().map(|name| key.join(name)));
        }
        all.push(key);
    }
    Ok(())
}
