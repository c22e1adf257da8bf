//! Removing whole trees.

use super::remove_empty;
use crate::directory::{Directory, LIST};
use crate::error::{Errno, FsError, Operation};
use crate::metadata::{Kind, Metadata};
use crate::names::Names;
use rustix::fs::AtFlags;
use std::ffi::CStr;
use std::sync::Arc;

/// Removes the directory `name` in `parent` and all below it, of any depth, and follows no symbolic link.
pub(super) fn remove_tree(parent: &Arc<Directory>, name: &CStr) -> Result<(), FsError> {
    let failed = FsError::system(Operation::Remove);
    let mut buffer = Vec::new();
    let mut open = vec![Emptied::new(parent, name, &mut buffer)?];
    while let Some(last) = open.last_mut() {
        let Some(name) = last.names.get(last.next) else {
            let directory = Arc::clone(&last.directory);
            open.pop();
            if let Some(parent) = directory.parent() {
                remove_empty(&*parent.fd()?, directory.name()).map_err(failed)?;
            }
            continue;
        };
        last.next = last.next.saturating_add(1);
        match rustix::fs::unlinkat(&*last.directory.fd()?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => {
                let below = Emptied::new(&last.directory, name, &mut buffer)?;
                open.push(below);
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// A directory that is being emptied.
struct Emptied {
    directory: Arc<Directory>,
    names: Names,
    /// The place of the name to remove next.
    next: usize,
}

impl Emptied {
    fn new(parent: &Arc<Directory>, name: &CStr, buffer: &mut Vec<u8>) -> Result<Self, FsError> {
        let found = Metadata::of_name(&*parent.fd()?, name)?;
        if found.kind != Kind::Directory {
            return Err(FsError::NotDirectory { found: found.kind });
        }
        let directory = parent.child(name, found.identity(), LIST);
        match Names::read(&*directory.fd()?, buffer) {
            (names, None) => Ok(Self {
                directory,
                names: names.sorted(),
                next: 0,
            }),
            (_, Some(error)) => Err(error),
        }
    }
}
