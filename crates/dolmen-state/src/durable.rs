//! Private folders and files that appear whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Operation, StateError};

/// Creates a folder and those above it, for the user alone; durable when it returns. It may be there already.
pub(crate) fn create_folder(path: &Path) -> Result<(), StateError> {
    let mut above = Vec::new();
    let mut next = path;
    loop {
        match DirBuilder::new().mode(0o700).create(next) {
            Ok(()) => sync_folder(folder_of(next))?,
            // Whatever else bears the name fails later with its own error.
            Err(_) if next.is_dir() => {}
            // A file system that makes no folders says `NotFound` too, below folders that are there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder_of(next).is_dir() => {
                above.push(next);
                next = folder_of(next);
                continue;
            }
            Err(error) => return Err(StateError::io(Operation::CreateFolder, next)(error)),
        }
        match above.pop() {
            Some(below) => next = below,
            None => return Ok(()),
        }
    }
}

/// Opens a file for reading and writing, for the user alone; creates it when absent.
pub(crate) fn open_private(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StateError::io(Operation::Open, path))
}

/// Creates a file for the user alone beside `path`, with a temporary name.
pub(crate) fn temporary_beside(path: &Path) -> Result<NamedTempFile, StateError> {
    temporary_in(folder_of(path))
}

/// Creates a file for the user alone in `folder`, with a temporary name.
///
/// It is locked, so that [`remove_abandoned`] leaves it alone while this process lives.
pub(crate) fn temporary_in(folder: &Path) -> Result<NamedTempFile, StateError> {
    let file = tempfile::Builder::new()
        .prefix(PREFIX)
        .suffix(TEMPORARY)
        .rand_bytes(12)
        .tempfile_in(folder)
        .map_err(|error| StateError::io(Operation::Create, folder)(bare(error)))?;
    // Without locks on this file system nothing is ever taken for abandoned either.
    let _locked = try_lock(file.as_file());
    Ok(file)
}

/// Creates a file for the user alone in `folder`, without a name: it is gone with whoever holds it.
pub(crate) fn nameless_in(folder: &Path) -> Result<File, StateError> {
    let private = |file: File| {
        // The system makes it with the user's mask, open to others that get at it through its process.
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file)
    };
    tempfile::tempfile_in(folder)
        .and_then(private)
        .map_err(StateError::io(Operation::Create, folder))
}

/// Writes a file into `folder` and removes it again.
pub(crate) fn try_writing(folder: &Path) -> Result<(), StateError> {
    // More than a file system puts into an inode.
    let mut file = temporary_in(folder)?;
    file.write_all(&[0; 8192])
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| StateError::io(Operation::Write, folder)(bare(error)))
}

/// What the system said, without the path that `tempfile` adds: the error around it names the path too.
fn bare(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|around| around.source());
    let inner = inner.and_then(|inner| inner.downcast_ref::<io::Error>());
    match inner.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error,
    }
}

/// Begins the names of temporary files.
pub(crate) const PREFIX: &str = "dolmen-";
/// Ends the names of temporary files.
const TEMPORARY: &str = ".tmp";

/// Replaces `path` by what was written to `file`: durable when this returns, and never seen in part.
pub(crate) fn publish(file: NamedTempFile, path: &Path) -> Result<(), StateError> {
    file.as_file()
        .sync_all()
        .map_err(StateError::io(Operation::Sync, file.path()))?;
    file.persist(path)
        .map_err(|failed| StateError::io(Operation::Replace, path)(failed.error))?;
    sync_folder(folder_of(path))
}

/// Replaces the content of `path` by `bytes`: durable when this returns, and never seen in part.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let mut file = temporary_beside(path)?;
    file.write_all(bytes)
        .map_err(StateError::io(Operation::Write, file.path()))?;
    publish(file, path)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StateError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StateError::io(Operation::Sync, folder))
}

/// Locks a file for this process alone; `false` when another holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes the temporary files in a folder whose writers are gone.
pub(crate) fn remove_all_abandoned(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(TEMPORARY) {
            remove_abandoned(&entry.path());
        }
    }
}

/// Removes a temporary file whose writer is gone. Its lock tells: the system drops it with the process.
fn remove_abandoned(path: &Path) {
    let abandoned = File::open(path).is_ok_and(|file| matches!(try_lock(&file), Ok(true)));
    if abandoned {
        // Another process may have been faster.
        let _removed = std::fs::remove_file(path);
    }
}

/// The folder of a file; the current one for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
