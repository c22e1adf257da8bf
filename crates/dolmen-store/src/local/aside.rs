//! What lies in the folder and is no object of anybody: moved to `quarantine/`, where no call reaches it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::fault::Fault;
use super::folder::{FOLDER_FLAGS, FileState, Folder, RESERVED, lock, sync_folder};
use crate::error::StoreErrorKind;
use crate::key::{StoreKey, is_segment};
use crate::object::Version;

/// The folder's name.
const QUARANTINE: &str = "quarantine";

/// Bytes of the old path that the new name keeps: with version and number it stays a name that file systems take.
const PATH_BYTES_MAX: usize = 160;

/// Numbers to try where the new name is taken.
const NAME_TRIES_MAX: u32 = 1000;

/// What a listing writes for bytes that are no text.
const REPLACED: char = char::REPLACEMENT_CHARACTER;

impl Folder {
    /// Moves what a listing called `name` into `quarantine/`, if it still is `version`. Its new name is the old path with
    /// `_` for `/`, and the version.
    pub(super) fn set_aside(&self, name: &str, version: &Version) -> Result<(), Fault> {
        let path = name.strip_suffix('/').unwrap_or(name);
        let (folders, leaf) = path.rsplit_once('/').unwrap_or(("", path));
        let first = path.split('/').next().unwrap_or_default();
        if RESERVED.contains(&first) || matches!(leaf, "" | "." | "..") {
            return Err(StoreErrorKind::Unsupported.into());
        }
        let parent = self.walk_to(folders)?;
        let leaf = real_name(parent.as_fd(), leaf, version)?;
        let state = state_of(parent.as_fd(), &leaf)?;
        if state.version() != *version {
            return Err(StoreErrorKind::NotFound.into());
        }
        let quarantine = self.child(self.root()?.as_fd(), QUARANTINE)?;
        let moved = self.move_aside(&parent, &leaf, &quarantine, &new_name(path, version))?;
        if let Ok(key) = StoreKey::try_from(name) {
            self.forget(&key);
        }
        // Another file may have taken the name since it was looked at; a folder's time may change with its place.
        let found = state_of(quarantine.as_fd(), &moved)?;
        if state.kind != FileType::Directory && found.version() != *version {
            self.rename(quarantine.as_fd(), &moved, parent.as_fd(), &leaf)?;
            return Err(StoreErrorKind::NotFound.into());
        }
        sync_folder(quarantine.as_fd())
            .and_then(|()| sync_folder(parent.as_fd()))
            .map_err(|fault| fault.meaning(StoreErrorKind::OutcomeUnknown))
    }

    fn walk_to(&self, folders: &str) -> Result<OwnedFd, Fault> {
        let mut folder = self.root()?;
        for segment in folders.split_terminator('/') {
            if !is_segment(segment) {
                return Err(StoreErrorKind::NotFound.into());
            }
            folder = rustix::fs::openat(&folder, segment, FOLDER_FLAGS, Mode::empty())?;
        }
        Ok(folder)
    }

    /// Moves to the first free name and returns it.
    fn move_aside(
        &self,
        parent: &OwnedFd,
        leaf: &[u8],
        quarantine: &OwnedFd,
        wanted: &str,
    ) -> Result<Vec<u8>, Fault> {
        for number in 0..NAME_TRIES_MAX {
            let name = match number {
                0 => wanted.to_owned(),
                number => format!("{wanted}.{number}"),
            };
            match self.rename(parent.as_fd(), leaf, quarantine.as_fd(), name.as_bytes()) {
                Err(Errno::EXIST) => {}
                Ok(()) => return Ok(name.into_bytes()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Fault::new(
            StoreErrorKind::Other,
            "every name tried in quarantine/ is taken",
        ))
    }

    /// Renames without replacing anything; a folder cannot be linked, so that this is all there is.
    fn rename(
        &self,
        from: BorrowedFd<'_>,
        name: &[u8],
        to: BorrowedFd<'_>,
        new: &[u8],
    ) -> Result<(), Errno> {
        match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            moved => return moved,
        }
        let _placing = lock(&self.placing);
        match rustix::fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rustix::fs::renameat(from, name, to, new),
            Err(errno) => Err(errno),
        }
    }
}

fn state_of(folder: BorrowedFd<'_>, name: &[u8]) -> Result<FileState, Errno> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileState::new(&stat))
}

/// The bytes of a name that a listing may have had to replace: the one that reads the same and is this version.
fn real_name(folder: BorrowedFd<'_>, listed: &str, version: &Version) -> Result<Vec<u8>, Fault> {
    if !listed.contains(REPLACED) {
        return Ok(listed.as_bytes().to_vec());
    }
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if String::from_utf8_lossy(&name) == listed
            && state_of(folder, &name).is_ok_and(|state| state.version() == *version)
        {
            return Ok(name);
        }
    }
    Err(StoreErrorKind::NotFound.into())
}

/// The end of the path, where the id stands, and the version.
fn new_name(path: &str, version: &Version) -> String {
    let flat = path.replace('/', "_");
    let mut start = flat.len().saturating_sub(PATH_BYTES_MAX);
    while !flat.is_char_boundary(start) {
        start = start.saturating_add(1);
    }
    let kept = flat.get(start..).unwrap_or_default();
    format!("{kept}-{version}")
}
