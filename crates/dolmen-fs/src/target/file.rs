//! A file that is being written.

use super::attributes::{self, AttributeError, Attributes};
use crate::error::{Errno, FsError, Operation};
use crate::inode::Inode;
use crate::metadata::Metadata;
use crate::read::read_at;
use crate::xattr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FallocateFlags;
use std::ops::Range;

/// An open regular file in a target. Threads may write to different places at once.
#[derive(Debug)]
pub struct OutFile {
    fd: OwnedFd,
    privileged: bool,
}

impl OutFile {
    pub(super) fn new(fd: OwnedFd, privileged: bool) -> Self {
        Self { fd, privileged }
    }

    /// Writes all bytes at an offset. A gap between them and the old end becomes a hole.
    pub fn write_all_at(&self, buffer: &[u8], offset: u64) -> Result<(), FsError> {
        write_all_at(&self.fd, buffer, offset).map_err(FsError::system(Operation::Write))
    }

    /// Reads bytes at an offset, fewer than asked for only at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        read_at(&self.fd, buffer, offset).map_err(FsError::system(Operation::Read))
    }

    /// Cuts the file, or lengthens it by a hole.
    pub fn set_len(&self, size_bytes: u64) -> Result<(), FsError> {
        rustix::fs::ftruncate(&self.fd, size_bytes).map_err(FsError::system(Operation::Resize))
    }

    /// Makes bytes read as zeros and frees the room they take; where the file system cannot, zeros are written.
    ///
    /// The file keeps its size: bytes after its end are left out.
    pub fn punch_hole(&self, range: Range<u64>) -> Result<(), FsError> {
        let end = range.end.min(self.metadata()?.size_bytes);
        let Some(length_bytes) = end.checked_sub(range.start).filter(|&length| length > 0) else {
            return Ok(());
        };
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.fd, how, range.start, length_bytes) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(range.start, end),
            Err(errno) => Err(FsError::system(Operation::PunchHole)(errno)),
        }
    }

    /// Marks the file as one whose content is not complete; [`OutFile::apply`] ends that. What a process leaves behind
    /// when it is killed can then be told from a file of the user's. Not every file system keeps such a mark.
    pub fn mark_incomplete(&self) -> Result<(), FsError> {
        Inode::Open(self.fd.as_fd())
            .set_xattr(xattr::INCOMPLETE, &[])
            .map_err(FsError::system(Operation::WriteXattr))
    }

    /// Makes the bytes and the attributes durable. The name is durable when its directory is.
    pub fn sync(&self) -> Result<(), FsError> {
        rustix::fs::fsync(&self.fd).map_err(FsError::system(Operation::Sync))
    }

    /// Reads the file's metadata.
    pub fn metadata(&self) -> Result<Metadata, FsError> {
        Metadata::of_open(&self.fd)
    }

    /// Applies attributes: owner, then extended attributes, then mode, then times, because each undoes some of those
    /// after it. Extended attributes that are not given are removed, but for the labels of security modules.
    ///
    /// Goes on after a step that fails and returns what failed. Without privileges an owner that cannot be set is no
    /// failure; setuid and setgid are left out then, for they would lend the wrong owner's rights.
    pub fn apply(&self, attributes: &Attributes<'_>) -> Result<Vec<AttributeError>, FsError> {
        attributes::apply(&Inode::Open(self.fd.as_fd()), attributes, self.privileged)
    }

    pub(super) fn write_zeros(&self, start: u64, end: u64) -> Result<(), FsError> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let mut at = start;
        while at < end {
            let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..wanted).unwrap_or(&ZEROS);
            self.write_all_at(zeros, at)?;
            at = at.saturating_add(u64::try_from(zeros.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

impl AsFd for OutFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn write_all_at(fd: &OwnedFd, buffer: &[u8], offset: u64) -> Result<(), Errno> {
    let mut written = 0_usize;
    while let Some(rest) = buffer.get(written..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        match rustix::io::pwrite(fd, rest, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => written = written.saturating_add(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
