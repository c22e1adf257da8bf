//! The journal: what was under way when a process ended.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use dolmen_format::bytes::{take, take_slice, take_u32};
use dolmen_format::{PackId, WriterId};
use minicbor::{Decode, Encode};

use super::record::{from_cbor, to_cbor};
use crate::checksum::checksum;
use crate::durable;
use crate::error::{Operation, StateError};
use crate::number::{to_u32, to_u64, to_usize};

/// Largest entry: a key of a store is far shorter.
const ENTRY_BYTES_MAX: u32 = 64 << 10;

/// Something that was under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum JournalEntry {
    /// A pack is about to be put.
    #[n(0)]
    PutPack {
        /// Who wrote it.
        #[n(0)]
        writer: WriterId,
        /// The pack.
        #[n(1)]
        pack: PackId,
        /// Its size.
        #[n(2)]
        pack_bytes: u32,
    },
    /// An object other than a pack is about to be put.
    #[n(1)]
    Put {
        /// Its key.
        #[n(0)]
        key: String,
    },
}

/// A journal's file. An entry is `length of the CBOR (u32) ‖ checksum (16) ‖ CBOR`.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes up to the end of the last whole entry; the next one goes there.
    valid_bytes: u64,
}

impl Journal {
    /// Opens the journal, creates it if need be, and cuts off what a crash left of a last entry.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let file = durable::open_private(path)?;
        let mut journal = Self {
            file,
            path: path.to_path_buf(),
            valid_bytes: 0,
        };
        let stored = journal.read()?;
        journal.valid_bytes = decode(&stored).1;
        if journal.valid_bytes < to_u64(stored.len()) {
            journal.truncate()?;
        }
        Ok(journal)
    }

    /// Appends an entry; durable when it returns. After an error it may be there or not.
    pub(super) fn append(&mut self, entry: &JournalEntry) -> Result<(), StateError> {
        let body = to_cbor(entry, &self.path)?;
        if to_u32(body.len()) > ENTRY_BYTES_MAX {
            return Err(StateError::TooLarge {
                what: "the journal entry size",
                found: to_u64(body.len()),
                limit: u64::from(ENTRY_BYTES_MAX),
                path: self.path.clone(),
            });
        }
        let length = to_u32(body.len()).to_le_bytes();
        let bytes = [length.as_slice(), &checksum(&body), &body].concat();
        let written = self.file.write_all_at(&bytes, self.valid_bytes);
        let synced = written
            .map_err(|error| (Operation::Write, error))
            .and_then(|()| {
                self.file
                    .sync_data()
                    .map_err(|error| (Operation::Sync, error))
            });
        if let Err((operation, error)) = synced {
            // What is left of it must not stand behind a later, shorter entry. Should this fail too,
            // the next entry overwrites it, and its checksum tells the remainder.
            let _cut = self.file.set_len(self.valid_bytes);
            return Err(StateError::io(operation, &self.path)(error));
        }
        self.valid_bytes = self.valid_bytes.saturating_add(to_u64(bytes.len()));
        Ok(())
    }

    /// Reads all whole entries.
    pub(super) fn entries(&self) -> Result<Vec<JournalEntry>, StateError> {
        Ok(decode(&self.read()?).0)
    }

    /// Removes all entries; durable when it returns.
    pub(super) fn clear(&mut self) -> Result<(), StateError> {
        self.valid_bytes = 0;
        self.truncate()
    }

    fn truncate(&self) -> Result<(), StateError> {
        self.file
            .set_len(self.valid_bytes)
            .map_err(StateError::io(Operation::Write, &self.path))?;
        self.file
            .sync_all()
            .map_err(StateError::io(Operation::Sync, &self.path))
    }

    fn read(&self) -> Result<Vec<u8>, StateError> {
        let mut file = &self.file;
        let mut stored = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_start| file.read_to_end(&mut stored))
            .map_err(StateError::io(Operation::Read, &self.path))?;
        Ok(stored)
    }
}

/// Reads whole entries, and returns where the last one ends.
///
/// Every entry was durable before the next was begun, so that a crash tears the last one only. Should the
/// disk have damaged one in between, those behind it are still found.
fn decode(stored: &[u8]) -> (Vec<JournalEntry>, u64) {
    let (mut entries, mut end) = (Vec::new(), 0);
    let mut rest = stored;
    while let Some((checked, body)) = take_entry(&mut rest) {
        if checked == checksum(body)
            && let Some(entry) = from_cbor(body)
        {
            entries.push(entry);
            end = stored.len().saturating_sub(rest.len());
        }
    }
    (entries, to_u64(end))
}

fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<([u8; 16], &'a [u8])> {
    let length = take_u32(rest).ok()?;
    if length == 0 || length > ENTRY_BYTES_MAX {
        return None;
    }
    let checksum = take(rest).ok()?;
    Some((checksum, take_slice(rest, to_usize(length)).ok()?))
}
