//! Files mapped into memory: the only unsafe code of this crate.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// A whole file, mapped for reading.
#[derive(Debug)]
pub(crate) struct Map(Mmap);

impl Map {
    /// Maps a finished file.
    ///
    /// The caller vouches that the file is one of ours: written whole under a temporary name or without
    /// a name, and from then on only read, renamed or unlinked, but never written or truncated.
    #[expect(
        unsafe_code,
        reason = "a map is sound while the file does not change below it. These files lie in a folder \
                  of mode 0700, are written once before they are mapped, and every writer of this \
                  crate makes a new file and renames it, so that the inode below a map stays as it is"
    )]
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: nothing writes to or truncates the file after this; see above.
        unsafe { Mmap::map(file) }.map(Self)
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
