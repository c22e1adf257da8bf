//! A sorted run in a temporary file: blocks of records, each with a checksum.
//!
//! What is to be deleted may depend on these records, so that a bad disk must not turn them into others.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::checksum::{CHECKSUM_BYTES, checksum};
use crate::error::{Operation, StateError};
use crate::number::to_u64;

/// Bytes of records in a block, unless one record is longer.
const BLOCK_BYTES: usize = 32 << 10;
/// Bytes of a block's own place, which begins it: a block from elsewhere is another.
const PLACE_BYTES: usize = 8;

/// Where a run lies in its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    start: u64,
    records: u64,
    end: u64,
}

impl Run {
    /// Where the next one begins.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }
}

/// A record or why there is none; errors sort first, so that a merge yields them at once.
#[derive(Debug)]
pub(super) struct Entry<const N: usize>(pub(super) Result<[u8; N], StateError>);

impl<const N: usize> Ord for Entry<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Ok(own), Ok(other)) => own.cmp(other),
            (Ok(_), Err(_)) => Ordering::Greater,
            (Err(_), Ok(_)) => Ordering::Less,
            (Err(_), Err(_)) => Ordering::Equal,
        }
    }
}

impl<const N: usize> PartialOrd for Entry<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> PartialEq for Entry<N> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<const N: usize> Eq for Entry<N> {}

const fn block_records(record_bytes: usize) -> usize {
    match BLOCK_BYTES.checked_div(record_bytes) {
        Some(records) if records > 0 => records,
        Some(_) | None => 1,
    }
}

/// Writes a run.
#[derive(Debug)]
pub(super) struct RunWriter<'a> {
    folder: &'a Path,
    file: &'a File,
    start: u64,
    at: u64,
    records: u64,
    /// Empty or begun: its place and some records.
    block: Vec<u8>,
    in_block: usize,
}

impl<'a> RunWriter<'a> {
    pub(super) const fn new(folder: &'a Path, file: &'a File, start: u64) -> Self {
        Self {
            folder,
            file,
            start,
            at: start,
            records: 0,
            block: Vec::new(),
            in_block: 0,
        }
    }

    pub(super) fn push<const N: usize>(&mut self, record: &[u8; N]) -> Result<(), StateError> {
        if self.block.is_empty() {
            self.block.extend_from_slice(&self.at.to_le_bytes());
        }
        self.block.extend_from_slice(record);
        self.records += 1;
        self.in_block += 1;
        if self.in_block >= block_records(N) {
            self.end_block()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Run, StateError> {
        if self.in_block > 0 {
            self.end_block()?;
        }
        Ok(Run {
            start: self.start,
            records: self.records,
            end: self.at,
        })
    }

    fn end_block(&mut self) -> Result<(), StateError> {
        let sum = checksum(&self.block);
        self.block.extend_from_slice(&sum);
        self.file
            .write_all_at(&self.block, self.at)
            .map_err(StateError::io(Operation::Write, self.folder))?;
        self.at = self.at.saturating_add(to_u64(self.block.len()));
        self.block.clear();
        self.in_block = 0;
        Ok(())
    }
}

/// Reads a run, a block at a time.
#[derive(Debug)]
pub(super) struct RunReader<'a, const N: usize> {
    folder: &'a Path,
    file: &'a File,
    at: u64,
    /// Records in blocks that are still to be read.
    left: u64,
    block: Vec<u8>,
    /// The block's records that were yielded already.
    yielded: usize,
}

impl<'a, const N: usize> RunReader<'a, N> {
    pub(super) const fn new(folder: &'a Path, file: &'a File, run: Run) -> Self {
        Self {
            folder,
            file,
            at: run.start,
            left: run.records,
            block: Vec::new(),
            yielded: 0,
        }
    }

    fn record(&self) -> Option<[u8; N]> {
        let records = self.block.get(PLACE_BYTES..)?;
        records.as_chunks().0.get(self.yielded).copied()
    }

    /// Reads the next block and leaves its place and its records in `block`.
    fn read_block(&mut self) -> Result<(), StateError> {
        let records = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(block_records(N));
        let sum_at = PLACE_BYTES.saturating_add(records.saturating_mul(N));
        self.block.resize(sum_at.saturating_add(CHECKSUM_BYTES), 0);
        match self.file.read_exact_at(&mut self.block, self.at) {
            Ok(()) => {}
            // It was longer when it was written.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged());
            }
            Err(error) => return Err(StateError::io(Operation::Read, self.folder)(error)),
        }
        let (block, sum) = self
            .block
            .split_at_checked(sum_at)
            .ok_or_else(|| self.damaged())?;
        if checksum(block) != sum || !block.starts_with(&self.at.to_le_bytes()) {
            return Err(self.damaged());
        }
        self.at = self.at.saturating_add(to_u64(self.block.len()));
        self.block.truncate(sum_at);
        self.left = self.left.saturating_sub(to_u64(records));
        self.yielded = 0;
        Ok(())
    }

    fn damaged(&self) -> StateError {
        StateError::Damaged {
            what: "a temporary file",
            path: self.folder.to_path_buf(),
            remedy: "the disk or the memory is unreliable; run it again elsewhere",
        }
    }
}

impl<const N: usize> Iterator for RunReader<'_, N> {
    type Item = Entry<N>;

    fn next(&mut self) -> Option<Entry<N>> {
        if self.record().is_none() {
            if self.left == 0 {
                return None;
            }
            if let Err(error) = self.read_block() {
                self.left = 0;
                self.block.clear();
                return Some(Entry(Err(error)));
            }
        }
        let record = self.record()?;
        self.yielded = self.yielded.saturating_add(1);
        Some(Entry(Ok(record)))
    }
}
