//! Reading one file: its bytes, its holes, its attributes.

use crate::directory::{Directory, open_quietly};
use crate::error::{Errno, FsError, Operation};
use crate::inode::Inode;
use crate::metadata::{Kind, Metadata};
use crate::xattr::{self, Xattr};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Advice, OFlags, SeekFrom};
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// A file that a walk found. Holds no descriptor; works for paths of any length.
///
/// What it opens is whatever has the name by then: look at [`ReadFile::opened`].
#[derive(Debug, Clone)]
pub struct FileHandle {
    directory: Arc<Directory>,
    name: CString,
}

impl FileHandle {
    /// Names a file in a directory.
    pub(crate) fn new(directory: &Arc<Directory>, name: CString) -> Self {
        Self {
            directory: Arc::clone(directory),
            name,
        }
    }

    /// Returns the absolute path by which the walk found it.
    pub fn path(&self) -> Vec<u8> {
        path_in(&self.directory, &self.name)
    }

    /// Opens a regular file. Fails with [`FsError::NotRegular`] if something else stands there by now.
    ///
    /// The access time is left alone where the system allows it. No pipe is waited for.
    pub fn open(&self) -> Result<ReadFile, FsError> {
        let directory = self.directory.fd()?;
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match open_quietly(&directory, &self.name, flags) {
            Ok(fd) => fd,
            Err(Errno::LOOP) => {
                return Err(FsError::NotRegular {
                    found: Kind::Symlink,
                });
            }
            Err(errno) => return Err(FsError::system(Operation::Open)(errno)),
        };
        let opened = Metadata::of_open(&fd)?;
        if opened.kind != Kind::File {
            return Err(FsError::NotRegular { found: opened.kind });
        }
        if opened.size_bytes > READAHEAD_BYTES {
            // Advice only: a file system that takes none reads as well without.
            rustix::fs::fadvise(&fd, 0, None, Advice::Sequential).ok();
        }
        Ok(ReadFile {
            fd,
            opened,
            offset: 0,
        })
    }

    /// Reads a symbolic link's target.
    pub fn read_link(&self) -> Result<Vec<u8>, FsError> {
        let directory = self.directory.fd()?;
        rustix::fs::readlinkat(&directory, &self.name, Vec::new())
            .map(CString::into_bytes)
            .map_err(FsError::system(Operation::ReadLink))
    }

    /// Reads the extended attributes, sorted by name, without opening the file and without following it.
    pub fn xattrs(&self) -> Result<Vec<Xattr>, FsError> {
        let directory = self.directory.fd()?;
        xattr::read_all(&Inode::Named {
            directory: directory.as_fd(),
            name: &self.name,
        })
    }

    /// Reads the metadata again.
    pub fn metadata(&self) -> Result<Metadata, FsError> {
        Metadata::of_name(&*self.directory.fd()?, &self.name)
    }
}

/// The absolute path of a name in a directory; `.` is the directory itself.
pub(crate) fn path_in(directory: &Directory, name: &CStr) -> Vec<u8> {
    let mut path = directory.path();
    if name != c"." {
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
    } else if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// An open regular file of the user.
#[derive(Debug)]
pub struct ReadFile {
    fd: OwnedFd,
    opened: Metadata,
    offset: u64,
}

impl ReadFile {
    /// Returns the metadata at the moment of opening, of the very file that is read.
    pub fn opened(&self) -> &Metadata {
        &self.opened
    }

    /// Reads the metadata as it is now; compared with [`Self::opened`] it tells whether the file changed meanwhile.
    pub fn metadata(&self) -> Result<Metadata, FsError> {
        Metadata::of_open(&self.fd)
    }

    /// Reads the next bytes, fewer than asked for only at the end of the file; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FsError> {
        let count = self.read_at(buffer, self.offset)?;
        self.offset = self
            .offset
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    /// Reads bytes at an offset, fewer than asked for only at the end of the file. Does not move [`Self::read`].
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        read_at(&self.fd, buffer, offset).map_err(FsError::system(Operation::Read))
    }

    /// Finds the parts of the file that hold data, in order; what lies between them reads as zeros.
    ///
    /// A file system that knows no holes has one extent of the size at opening. Costs two calls for each extent:
    /// [`Metadata::may_have_holes`] tells when to bother.
    pub fn data_extents(&self) -> DataExtents<'_> {
        DataExtents {
            file: self,
            next: Some(0),
        }
    }

    /// Reads the extended attributes, sorted by name.
    pub fn xattrs(&self) -> Result<Vec<Xattr>, FsError> {
        xattr::read_all(&Inode::Open(self.fd.as_fd()))
    }
}

/// A part of a file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes before it in the file.
    pub offset: u64,
    /// Bytes in it, at least 1.
    pub length_bytes: u64,
}

/// Iterates over a file's extents; made by [`ReadFile::data_extents`].
#[derive(Debug)]
pub struct DataExtents<'a> {
    file: &'a ReadFile,
    /// Where to look on; `None` after the end.
    next: Option<u64>,
}

impl Iterator for DataExtents<'_> {
    type Item = Result<Extent, FsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.next.take()?;
        match find_extent(&self.file.fd, from) {
            Ok(extent) => {
                self.next = Some(extent.offset.saturating_add(extent.length_bytes));
                Some(Ok(extent))
            }
            // Nothing but a hole follows.
            Err(Errno::NXIO) => None,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                let length_bytes = self.file.opened.size_bytes.saturating_sub(from);
                (length_bytes > 0).then_some(Ok(Extent {
                    offset: from,
                    length_bytes,
                }))
            }
            Err(errno) => Some(Err(FsError::system(Operation::FindHoles)(errno))),
        }
    }
}

/// Up to this size a file is read ahead whole anyway, and advice would only cost a call.
const READAHEAD_BYTES: u64 = 128 * 1024;

/// Fills the buffer from an offset on, as far as the file goes.
pub(crate) fn read_at(fd: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0_usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match rustix::io::pread(fd, rest, at) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

/// Finds the first extent at or after an offset. The descriptor's own offset serves nothing else here.
fn find_extent(fd: &OwnedFd, from: u64) -> Result<Extent, Errno> {
    let offset = rustix::fs::seek(fd, SeekFrom::Data(from))?;
    let end = rustix::fs::seek(fd, SeekFrom::Hole(offset))?;
    match end.checked_sub(offset) {
        // The file was cut between the two calls: its end has come before the data.
        None | Some(0) => Err(Errno::NXIO),
        Some(length_bytes) => Ok(Extent {
            offset,
            length_bytes,
        }),
    }
}

#[cfg(test)]
mod tests;
