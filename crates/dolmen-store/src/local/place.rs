//! How files get to their place and leave it.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::fault::Fault;
use super::folder::{FileState, Folder, lock, sync_folder};
use super::temp::{self, Temp};
use crate::error::StoreErrorKind;
use crate::key::StoreKey;
use crate::object::{ObjectRef, StoreTime};
use crate::store::Place;

/// A name in an open folder. No link is followed, not even at the name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) folder: BorrowedFd<'a>,
    pub(super) name: &'a str,
}

impl Spot<'_> {
    pub(super) fn state(self) -> Result<FileState, Errno> {
        Ok(FileState::new(&self.stat()?))
    }

    fn exists(self) -> Result<bool, Errno> {
        match self.stat() {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn is_same_file(self, other: Spot<'_>) -> Result<bool, Errno> {
        let (a, b) = (self.stat()?, other.stat()?);
        Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    fn stat(self) -> Result<Stat, Errno> {
        rustix::fs::statat(self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl Folder {
    pub(super) fn put(
        &self,
        key: &StoreKey,
        body: &[u8],
        place: Place,
    ) -> Result<FileState, Fault> {
        let (parent, name) = self.make_parent(key).map_err(vanished)?;
        let target = Spot {
            folder: parent.as_fd(),
            name,
        };
        // Spares the writing; the move decides.
        if place == Place::IfAbsent && target.exists()? {
            return Err(taken(target));
        }
        let temp = Temp::create(self.temp_folder()?, "put", self.file_mode)?;
        let placed = temp.write(body).and_then(|state| {
            self.cleaned
                .call_once(|| temp.remove_older(state.stored_at().earliest));
            self.place(temp.spot(), target, place)?;
            Ok(state)
        });
        match placed {
            Ok(state) => {
                self.forget(key);
                sync_folder(parent.as_fd())
                    .map_err(|fault| fault.meaning(StoreErrorKind::OutcomeUnknown))?;
                Ok(state)
            }
            Err(fault) => {
                temp.discard();
                let is_taken = fault.kind == StoreErrorKind::Exists;
                Err(if is_taken {
                    taken(target)
                } else {
                    vanished(fault)
                })
            }
        }
    }

    fn place(&self, from: Spot<'_>, to: Spot<'_>, place: Place) -> Result<(), Fault> {
        match place {
            Place::IfAbsent => self.move_new(from, to),
            Place::OnTop => Ok(rustix::fs::renameat(
                from.folder,
                from.name,
                to.folder,
                to.name,
            )?),
        }
    }

    /// Moves a file to a name that is free; a name that is taken is `Exists` and both files stay.
    ///
    /// By `renameat2`, else by `linkat` (NFS), both atomic. A file system with neither (FAT through some drivers) gets
    /// a check and a rename, atomic within this store only: two processes may then both place a file, and since keys
    /// name content, both wrote the same bytes. [`Folder::places_atomically`] is false from then on.
    fn move_new(&self, from: Spot<'_>, to: Spot<'_>) -> Result<(), Fault> {
        match rename_new(from, to) {
            Err(errno) if is_lacking(errno) => {}
            moved => return Ok(moved?),
        }
        match link_new(from, to) {
            Err(errno) if is_lacking(errno) => {}
            moved => return Ok(moved?),
        }
        let _placing = lock(&self.placing);
        check_and_rename(from, to)?;
        // A refusal in earnest, as for an immutable file, comes this far too, but not past the rename.
        self.atomic.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Moves the object into `.tmp/`, looks whether it is the one that was meant, and removes it or puts it back.
    ///
    /// Its name there says which version was meant: after a crash in between, or when the key was taken meanwhile, a
    /// file that is another version stays in `.tmp/` for ever, and its bytes still name its key.
    pub(super) fn delete(&self, object: &ObjectRef) -> Result<(), Fault> {
        let (parent, name) = self.parent(&object.key)?;
        let place = Spot {
            folder: parent.as_fd(),
            name,
        };
        if place.state()?.version() != object.version {
            return Err(StoreErrorKind::NotFound.into());
        }
        self.set_aside_and_remove(object, place)
    }

    pub(super) fn set_aside_and_remove(
        &self,
        object: &ObjectRef,
        place: Spot<'_>,
    ) -> Result<(), Fault> {
        let temp = self.temp_folder()?;
        let name = temp::aside_name(&object.version);
        let aside = Spot {
            folder: temp.as_fd(),
            name: &name,
        };
        self.move_new(place, aside)?;
        self.forget(&object.key);
        if aside.state()?.version() != object.version {
            return Err(match self.move_new(aside, place) {
                Err(fault) if fault.kind != StoreErrorKind::Exists => fault,
                Ok(()) | Err(_) => match sync_folder(place.folder) {
                    Ok(()) => StoreErrorKind::NotFound.into(),
                    Err(fault) => fault,
                },
            });
        }
        // The caller's next delete may rest on this one.
        sync_folder(place.folder).map_err(|fault| fault.meaning(StoreErrorKind::OutcomeUnknown))?;
        match rustix::fs::unlinkat(aside.folder, aside.name, AtFlags::empty()) {
            // Another process tidied up.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn now(&self) -> Result<StoreTime, Fault> {
        let temp = Temp::create(self.temp_folder()?, "now", self.file_mode)?;
        let state = temp.state();
        // Whoever only lets go puts nothing.
        if let Ok(state) = &state {
            self.cleaned
                .call_once(|| temp.remove_older(state.stored_at().earliest));
        }
        temp.discard();
        Ok(state?.stored_at())
    }
}

pub(super) fn rename_new(from: Spot<'_>, to: Spot<'_>) -> Result<(), Errno> {
    let flags = RenameFlags::NOREPLACE;
    rustix::fs::renameat_with(from.folder, from.name, to.folder, to.name, flags)
}

pub(super) fn link_new(from: Spot<'_>, to: Spot<'_>) -> Result<(), Errno> {
    match rustix::fs::linkat(from.folder, from.name, to.folder, to.name, AtFlags::empty()) {
        Ok(()) => {}
        // A file server whose answer got lost is asked again, and finds the link that it has just made.
        Err(Errno::EXIST) if from.is_same_file(to)? => {}
        Err(errno) => return Err(errno),
    }
    match rustix::fs::unlinkat(from.folder, from.name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

pub(super) fn check_and_rename(from: Spot<'_>, to: Spot<'_>) -> Result<(), Errno> {
    if to.exists()? {
        return Err(Errno::EXIST);
    }
    rustix::fs::renameat(from.folder, from.name, to.folder, to.name)
}

/// Tells whether a file system may mean "I have no such call". A refusal in earnest comes back from the next one.
const fn is_lacking(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::MLINK
    )
}

/// The key is taken, and what is there is durable: its writer synced the bytes, and the name is synced here.
fn taken(target: Spot<'_>) -> Fault {
    match sync_folder(target.folder) {
        Ok(()) => StoreErrorKind::Exists.into(),
        Err(fault) => fault,
    }
}

/// In a put nothing is looked up, so what is missing is a folder or a file in `.tmp/` that was taken away meanwhile.
fn vanished(fault: Fault) -> Fault {
    if fault.kind == StoreErrorKind::NotFound {
        fault.meaning(StoreErrorKind::Unavailable)
    } else {
        fault
    }
}
