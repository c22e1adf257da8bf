//! What a selection may ask about the directory that holds a file.

use super::scan::Listing;
use crate::directory::lock;
use crate::metadata::{Links, stat};
use crate::read::FileHandle;
use rustix::fd::BorrowedFd;
use std::ffi::CString;
use std::fmt;
use std::sync::Mutex;

/// The directory that holds the file to decide about.
pub struct DirectoryView<'a> {
    pub(super) listing: &'a Listing<'a>,
    pub(super) fd: BorrowedFd<'a>,
}

impl DirectoryView<'_> {
    /// Whether the directory has a file of this name. Costs no call, except in a directory above the roots.
    pub fn contains(&self, name: &[u8]) -> bool {
        if self.listing.is_complete {
            return self.listing.names.contains(name);
        }
        CString::new(name).is_ok_and(|name| stat(self.fd, &name, Links::Keep).is_ok())
    }

    /// Whether the directory has a regular file of this name that starts with `header`.
    ///
    /// Each question is answered once per directory and remembered. A file that cannot be read starts with nothing.
    pub fn file_starts_with(&self, name: &[u8], header: &[u8]) -> bool {
        if !self.contains(name) {
            return false;
        }
        let known = lock(&self.listing.answers.0)
            .iter()
            .find(|known| known.is_about(name, header))
            .map(|known| known.holds);
        known.unwrap_or_else(|| {
            let holds = self
                .read_start(name, header.len())
                .is_some_and(|start| start == header);
            let answer = Answer {
                name: name.into(),
                header: header.into(),
                holds,
            };
            lock(&self.listing.answers.0).push(answer);
            holds
        })
    }

    fn read_start(&self, name: &[u8], length_bytes: usize) -> Option<Vec<u8>> {
        let handle = FileHandle::new(&self.listing.source.directory, CString::new(name).ok()?);
        let mut file = handle.open().ok()?;
        let mut start = vec![0; length_bytes];
        let count = file.read(&mut start).ok()?;
        start.truncate(count);
        Some(start)
    }
}

impl fmt::Debug for DirectoryView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirectoryView")
            .field(&self.listing.source.directory)
            .finish()
    }
}

/// What was asked about one directory so far.
#[derive(Default)]
pub(super) struct Answers(Mutex<Vec<Answer>>);

struct Answer {
    name: Box<[u8]>,
    header: Box<[u8]>,
    holds: bool,
}

impl Answer {
    fn is_about(&self, name: &[u8], header: &[u8]) -> bool {
        *self.name == *name && *self.header == *header
    }
}
