//! Sorting more records than memory holds.
//!
//! Records are byte strings of one width, in the order of their bytes. What is pushed is gathered in memory; when that
//! is full it is sorted, what can be said by one record is, and only if much is left it goes as a run into a temporary
//! file without a name: the system frees it with the process, however that ends. Runs are merged as they are read.

mod run;
#[cfg(test)]
mod tests;

use core::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use self::run::{Entry, Run, RunReader, RunWriter};
use crate::durable;
use crate::error::StateError;
use crate::merge::Merge;

/// Lets the first record say what the second says too, if both have the same key, and returns whether they have.
///
/// The key is the first bytes of a record, and is never changed. What becomes of the records of a key must not depend
/// on the order in which they are combined.
pub type Combine<const N: usize> = fn(&mut [u8; N], &[u8; N]) -> bool;

/// Keeps one of several equal records.
pub fn combine_equal<const N: usize>(kept: &mut [u8; N], next: &[u8; N]) -> bool {
    kept == next
}

/// Runs that are merged at a time: each costs a buffer of 32 KiB.
const RUNS_MAX: usize = 64;

/// Takes records in any order.
pub struct Sorter<const N: usize> {
    folder: PathBuf,
    combine: Combine<N>,
    records_max: usize,
    runs_max: usize,
    memory: Vec<[u8; N]>,
    spilled: Option<Spilled>,
}

/// Sorted records; no key is there twice. Each iterator reads them from the start.
pub struct Sorted<const N: usize> {
    folder: PathBuf,
    combine: Combine<N>,
    /// All of them, or none where there are runs.
    memory: Vec<[u8; N]>,
    spilled: Option<Spilled>,
}

/// Ascending records. After an error there are no more, and those before are not all.
#[derive(Debug)]
pub struct SortedRecords<'a, const N: usize> {
    merge: Merge<Source<'a, N>>,
    combine: Combine<N>,
    /// Waits for others of its key.
    pending: Option<[u8; N]>,
    failed: bool,
}

/// Runs, one behind the other in a file.
#[derive(Debug)]
struct Spilled {
    file: File,
    runs: Vec<Run>,
}

/// Where ascending records come from.
#[derive(Debug)]
enum Source<'a, const N: usize> {
    Memory(core::slice::Iter<'a, [u8; N]>),
    Run(RunReader<'a, N>),
}

impl<const N: usize> Sorter<N> {
    /// A sorter that takes about `memory_bytes` of memory, and then puts runs into a file in `folder`, which is there.
    ///
    /// Half of the memory is for records, the other half for sorting them. Merging takes 2 MiB more.
    pub fn new(folder: &Path, memory_bytes: usize, combine: Combine<N>) -> Self {
        Self {
            folder: folder.to_path_buf(),
            combine,
            // Two at least: one would be a run of its own each time.
            records_max: (memory_bytes / 2 / N.max(1)).max(2),
            runs_max: RUNS_MAX,
            memory: Vec::new(),
            spilled: None,
        }
    }

    /// Takes a record.
    ///
    /// An error means that a run could not be written: the disk is full, above all.
    pub fn push(&mut self, record: [u8; N]) -> Result<(), StateError> {
        let combine = self.combine;
        // What comes in order needs no sorting to be said once.
        if let Some(last) = self.memory.last_mut()
            && combine(last, &record)
        {
            return Ok(());
        }
        if self.memory.len() >= self.records_max {
            self.sort();
            // Less than half free would mean to sort again and again for ever fewer records.
            if self.memory.len() > self.records_max / 2 {
                self.spill()?;
            }
        }
        if self.memory.len() == self.memory.capacity() {
            // Doubling on its own would pass the limit.
            let more = self.memory.len().max(1024);
            let room = self.records_max.saturating_sub(self.memory.len());
            self.memory.reserve_exact(more.min(room));
        }
        self.memory.push(record);
        Ok(())
    }

    /// Returns the records, sorted.
    pub fn finish(mut self) -> Result<Sorted<N>, StateError> {
        self.sort();
        if self.spilled.is_some() {
            self.spill()?;
            self.memory = Vec::new();
        }
        while let Some(spilled) = self.spilled.take_if(|has| has.runs.len() > self.runs_max) {
            self.spilled = Some(self.pass(&spilled)?);
        }
        Ok(Sorted {
            folder: self.folder,
            combine: self.combine,
            memory: self.memory,
            spilled: self.spilled,
        })
    }

    #[expect(
        clippy::stable_sort_primitive,
        reason = "the stable sort uses what is in order already, and most of it is"
    )]
    fn sort(&mut self) {
        let combine = self.combine;
        self.memory.sort();
        self.memory.dedup_by(|next, kept| combine(kept, next));
    }

    /// Writes what is in memory as a run.
    fn spill(&mut self) -> Result<(), StateError> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            None => self.spilled.insert(Spilled::new(&self.folder)?),
        };
        spilled.append(&self.folder, self.memory.iter().map(|record| Ok(*record)))?;
        self.memory.clear();
        Ok(())
    }

    /// Merges runs into fewer longer ones, in a new file.
    fn pass(&self, from: &Spilled) -> Result<Spilled, StateError> {
        let mut merged = Spilled::new(&self.folder)?;
        for runs in from.runs.chunks(self.runs_max.max(2)) {
            let sources = readers(&self.folder, &from.file, runs);
            let records = SortedRecords::new(sources.collect(), self.combine);
            merged.append(&self.folder, records)?;
        }
        Ok(merged)
    }
}

impl<const N: usize> Sorted<N> {
    /// The records, ascending, each of them combined with all that it can be.
    ///
    /// A run that cannot be read, or is not as it was written, is an error.
    pub fn iter(&self) -> SortedRecords<'_, N> {
        let mut sources = vec![Source::Memory(self.memory.iter())];
        if let Some(Spilled { file, runs }) = &self.spilled {
            sources.extend(readers(&self.folder, file, runs));
        }
        SortedRecords::new(sources, self.combine)
    }
}

impl<'a, const N: usize> IntoIterator for &'a Sorted<N> {
    type Item = Result<[u8; N], StateError>;
    type IntoIter = SortedRecords<'a, N>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn readers<'a, const N: usize>(
    folder: &'a Path,
    file: &'a File,
    runs: &'a [Run],
) -> impl Iterator<Item = Source<'a, N>> {
    runs.iter()
        .map(move |run| Source::Run(RunReader::new(folder, file, *run)))
}

impl<'a, const N: usize> SortedRecords<'a, N> {
    fn new(sources: Vec<Source<'a, N>>, combine: Combine<N>) -> Self {
        Self {
            merge: Merge::new(sources),
            combine,
            pending: None,
            failed: false,
        }
    }
}

impl<const N: usize> Iterator for SortedRecords<'_, N> {
    type Item = Result<[u8; N], StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let combine = self.combine;
        for Entry(entry) in &mut self.merge {
            match entry {
                Ok(next) => {
                    if let Some(pending) = &mut self.pending
                        && combine(pending, &next)
                    {
                        continue;
                    }
                    if let Some(done) = self.pending.replace(next) {
                        return Some(Ok(done));
                    }
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        self.pending.take().map(Ok)
    }
}

impl<const N: usize> Iterator for Source<'_, N> {
    type Item = Entry<N>;

    fn next(&mut self) -> Option<Entry<N>> {
        match self {
            Self::Memory(records) => records.next().map(|record| Entry(Ok(*record))),
            Self::Run(records) => records.next(),
        }
    }
}

impl Spilled {
    fn new(folder: &Path) -> Result<Self, StateError> {
        Ok(Self {
            file: durable::nameless_in(folder)?,
            runs: Vec::new(),
        })
    }

    fn append<const N: usize>(
        &mut self,
        folder: &Path,
        records: impl Iterator<Item = Result<[u8; N], StateError>>,
    ) -> Result<(), StateError> {
        let start = self.runs.last().map_or(0, Run::end);
        let mut writer = RunWriter::new(folder, &self.file, start);
        for record in records {
            writer.push(&record?)?;
        }
        self.runs.push(writer.finish()?);
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Sorter<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorter")
            .field("folder", &self.folder)
            .field("in_memory", &self.memory.len())
            .field("spilled", &self.spilled)
            .finish_non_exhaustive()
    }
}

impl<const N: usize> fmt::Debug for Sorted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorted")
            .field("in_memory", &self.memory.len())
            .field("spilled", &self.spilled)
            .finish_non_exhaustive()
    }
}
