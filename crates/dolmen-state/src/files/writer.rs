//! Writing a files cache.

use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::format::{HEADER_BYTES, Header, PAIR_BYTES, Pair, hash, prefix};
use super::record::{self, RECORD_BYTES_MAX};
use super::{CachedFile, FileKey};
use crate::durable;
use crate::error::{Operation, StateError};
use crate::fanout::FanoutWriter;
use crate::map::Map;
use crate::merge::Merge;
use crate::number::to_u64;

/// Pairs in memory before they are sorted and set aside: 16 MiB.
const PAIRS_MAX: usize = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Writes a new cache in the place of the one before. Dropped without [`FilesCacheWriter::finish`] it changes nothing.
#[derive(Debug)]
pub struct FilesCacheWriter {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
    /// Bytes written so far.
    at: u64,
    files: u32,
    pairs: Vec<Pair>,
    pairs_max: usize,
    /// Sorted pairs in files without names.
    runs: Vec<Map>,
    /// The record being written.
    buffer: Vec<u8>,
}

impl FilesCacheWriter {
    /// Begins a cache that will lie at `path`; creates the folder if need be.
    pub fn create(path: &Path) -> Result<Self, StateError> {
        Self::create_with(path, PAIRS_MAX)
    }

    pub(super) fn create_with(path: &Path, pairs_max: usize) -> Result<Self, StateError> {
        let folder = durable::folder_of(path);
        durable::create_folder(folder)?;
        durable::remove_all_abandoned(folder);
        let file = durable::temporary_beside(path)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        // The header is written last, over these.
        out.write_all(&[0; HEADER_BYTES])
            .map_err(StateError::io(Operation::Write, path))?;
        Ok(Self {
            path: path.to_path_buf(),
            out,
            at: to_u64(HEADER_BYTES),
            files: 0,
            pairs: Vec::new(),
            pairs_max,
            runs: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Adds a file. In the order in which the next backup will ask is best; each file once.
    pub fn insert(&mut self, key: &FileKey, file: &CachedFile) -> Result<(), StateError> {
        record::encode(key, file, &mut self.buffer);
        let too_large = |what, found, limit| StateError::TooLarge {
            what,
            found,
            limit,
            path: self.path.clone(),
        };
        if self.buffer.len() > RECORD_BYTES_MAX {
            let (found, limit) = (to_u64(self.buffer.len()), to_u64(RECORD_BYTES_MAX));
            return Err(too_large("the size of a file's record", found, limit));
        }
        if self.files == u32::MAX {
            let limit = u64::from(u32::MAX);
            return Err(too_large("the number of files", limit + 1, limit));
        }
        if self.pairs.len() >= self.pairs_max {
            self.set_aside()?;
        }
        self.out
            .write_all(&self.buffer)
            .map_err(StateError::io(Operation::Write, &self.path))?;
        self.pairs.push(Pair {
            hash: hash(key),
            offset: self.at,
        });
        self.at = self.at.saturating_add(to_u64(self.buffer.len()));
        self.files += 1;
        Ok(())
    }

    /// Puts the new cache in the place of the one before: durable when it returns, and never seen in part.
    pub fn finish(self) -> Result<(), StateError> {
        let path = self.path.clone();
        let file = self
            .finish_file()
            .map_err(StateError::io(Operation::Write, &path))?;
        durable::publish(file, &path)
    }

    fn finish_file(mut self) -> io::Result<NamedTempFile> {
        let header = Header {
            files: self.files,
            records_end: self.at,
        };
        let start = self.at.next_multiple_of(to_u64(HEADER_BYTES));
        for _ in self.at..start {
            self.out.write_all(&[0])?;
        }
        self.write_index()?;
        self.out.flush()?;
        let mut file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header.encode())?;
        Ok(file)
    }

    fn write_index(&mut self) -> io::Result<()> {
        self.pairs.sort_unstable();
        let runs = self.runs.iter().map(|run| Pairs::Run(run.bytes()));
        let sources = runs.chain([Pairs::Memory(&self.pairs)]).collect();
        let mut fanout = FanoutWriter::new(self.files);
        for pair in Merge::new(sources) {
            fanout.add(prefix(pair.hash));
            self.out.write_all(&pair.encode())?;
        }
        for entry in fanout.finish() {
            self.out.write_all(&entry)?;
        }
        Ok(())
    }

    /// Sorts the pairs in memory and writes them to a file without a name.
    fn set_aside(&mut self) -> Result<(), StateError> {
        self.pairs.sort_unstable();
        let folder = durable::folder_of(&self.path);
        let run =
            tempfile::tempfile_in(folder).map_err(StateError::io(Operation::Create, folder))?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &run);
        let written = self
            .pairs
            .iter()
            .try_for_each(|pair| out.write_all(&pair.encode()))
            .and_then(|()| out.flush());
        written.map_err(StateError::io(Operation::Write, folder))?;
        drop(out);
        self.runs
            .push(Map::of(&run).map_err(StateError::io(Operation::Map, folder))?);
        self.pairs.clear();
        Ok(())
    }
}

/// Sorted pairs, still encoded or not.
#[derive(Debug)]
enum Pairs<'a> {
    Run(&'a [u8]),
    Memory(&'a [Pair]),
}

impl Iterator for Pairs<'_> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        match self {
            Self::Run(bytes) => {
                let (pair, rest) = bytes.split_first_chunk::<PAIR_BYTES>()?;
                *bytes = rest;
                Some(Pair::decode(pair))
            }
            Self::Memory(pairs) => {
                let (pair, rest) = pairs.split_first()?;
                *pairs = rest;
                Some(*pair)
            }
        }
    }
}
