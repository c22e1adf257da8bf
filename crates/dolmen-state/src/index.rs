//! Which blob lies where.
//!
//! A repository's index may be far larger than memory, so that it is read through sorted tables that
//! are mapped into memory, each with a filter in front. Blobs that were added since the tables were
//! written are in hash maps, of bounded size: past it they go into a temporary table.
//!
//! The tables in the cache folder say which index segments they cover. They are a cache: whatever is
//! missing, foreign or damaged is fetched again by the caller.

mod combine;
mod filter;
mod folder;
mod inner;
mod layout;
mod memory;
mod records;
mod table;
#[cfg(test)]
mod tests;
mod trust;
mod upkeep;
mod write;

use core::fmt;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dolmen_format::index::IndexedFrame;
use dolmen_format::pack::Compression;
use dolmen_format::{BlobId, BlobKind, PackId, SegmentId, WriterId};

pub use self::combine::plan_merge;
use self::inner::Inner;
pub use self::trust::PackSet;
use self::upkeep::Upkeep;
use crate::error::StateError;
use crate::seen::SeenObject;

/// Which blob lies where. Shared by threads; every call takes `&self`.
pub struct BlobIndex {
    /// Where tables are kept for later runs; `None`: nowhere.
    cache: Option<PathBuf>,
    /// Where temporary tables lie, without names.
    temporary: PathBuf,
    limits: Limits,
    inner: RwLock<Inner>,
    /// Held while tables are merged: one merge at a time, and whoever only reads or adds does not wait.
    upkeep: Mutex<Upkeep>,
}

/// Number of a pack within one [`BlobIndex`], the same for as long as that lives: to be exact, of one description of it.
/// Segments may contradict each other; each different description has a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackRef(u32);

/// A pack as its segment states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    /// The pack.
    pub pack: PackId,
    /// Who wrote it: a part of its key.
    pub writer: WriterId,
    /// Its size.
    pub pack_bytes: u32,
    /// Its table's size, without the trailer.
    pub table_bytes: u32,
}

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// What the blob is.
    pub kind: BlobKind,
    /// The pack.
    pub pack: PackRef,
    /// The frame's number in the pack.
    pub ordinal: u32,
    /// Bytes before the blob in the frame after decompression.
    pub offset: u32,
    /// The blob's length in bytes.
    pub length: u32,
}

/// Where a frame lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// Bytes before it in the pack.
    pub offset: u32,
    /// Nonce, ciphertext and tag.
    pub frame_bytes: u32,
    /// Size after decompression.
    pub raw_bytes: u32,
    /// How it is compressed.
    pub compression: Compression,
}

/// How much of what is kept; tests make it small.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Blobs and frames in memory before they go into a temporary table.
    memory_records_max: usize,
    /// Tables before some are merged; cached and temporary ones count apart.
    tables_max: usize,
}

const LIMITS: Limits = Limits {
    memory_records_max: 256 << 10,
    tables_max: 8,
};

impl PackRef {
    /// The number: below [`BlobIndex::pack_count`], for tables that a caller keeps beside the index.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl BlobIndex {
    /// Opens the tables that are cached in `folder` for the segments `wanted`, which must be all segments of the
    /// repository that count, each as the store lists it now; one that the store lists in several ways may be named as often.
    ///
    /// Returns with the index the segments that no table covers, in the order of `wanted`: the caller
    /// fetches them and calls [`BlobIndex::add_pack`] for each pack of theirs. A table that covers a
    /// segment that is not wanted, or is listed otherwise by now, is left out. Without a folder, or with one that cannot be
    /// written, nothing is kept for later runs. The folder belongs to one repository and is created
    /// if need be.
    pub fn open(
        folder: Option<&Path>,
        wanted: &[SeenObject],
    ) -> Result<(Self, Vec<SegmentId>), StateError> {
        Ok(Self::open_with(folder, wanted, LIMITS))
    }

    fn open_with(
        folder: Option<&Path>,
        wanted: &[SeenObject],
        limits: Limits,
    ) -> (Self, Vec<SegmentId>) {
        let cache = folder.filter(|folder| folder::prepare(folder));
        let listed: BTreeSet<SeenObject> = wanted.iter().copied().collect();
        let found = cache.map(|folder| folder::scan(folder, &listed));
        let found = found.unwrap_or_default();
        let mut missing: BTreeSet<SegmentId> = wanted.iter().map(|seen| seen.id).collect();
        let mut end = 0;
        let mut tables = Vec::with_capacity(found.accepted.len());
        for mut table in found.accepted {
            table.renumber(end);
            end = table.end();
            for segment in table.segments() {
                missing.remove(&segment.id);
            }
            tables.push(Arc::new(table));
        }
        let mut uncovered: Vec<_> = wanted.iter().map(|seen| seen.id).collect();
        // Removing as we go keeps a segment that is wanted twice from being fetched twice.
        uncovered.retain(|segment| missing.remove(segment));
        let index = Self {
            cache: cache.map(Path::to_path_buf),
            temporary: cache.map_or_else(std::env::temp_dir, Path::to_path_buf),
            limits,
            inner: RwLock::new(Inner::new(tables, end)),
            upkeep: Mutex::new(Upkeep {
                superfluous: found.rejected,
            }),
        };
        (index, uncovered)
    }

    /// Adds a pack with its frames in the order of their ordinals. One that is known like that stays as it is; one that is
    /// known otherwise gets one more description.
    ///
    /// When memory is full this writes a temporary table and may fail for it; the pack is added all the same.
    pub fn add_pack(&self, info: PackInfo, frames: &[IndexedFrame]) -> Result<PackRef, StateError> {
        let mut inner = self.write();
        if let Some(known) = inner.find_description(&info, frames) {
            inner.rely_on(known);
            return Ok(known);
        }
        let pack = inner.memory.add(info, frames)?;
        if inner.memory.records() >= self.limits.memory_records_max {
            inner.spill(&self.temporary)?;
            drop(inner);
            self.merge_temporary()?;
        }
        Ok(pack)
    }

    /// Looks a blob up; of several places any one that is not doubted, if there is one.
    pub fn lookup(&self, id: &BlobId) -> Option<Location> {
        let inner = self.read();
        inner.first_undoubted(inner.locations(id), |at| at.pack)
    }

    /// Whether a blob is in any pack.
    pub fn contains(&self, id: &BlobId) -> bool {
        self.lookup(id).is_some()
    }

    /// All places of a blob, for a reader that tries another when one is damaged; those that are doubted last.
    pub fn locations(&self, id: &BlobId) -> Vec<Location> {
        let inner = self.read();
        let mut locations: Vec<_> = inner.locations(id).collect();
        locations.sort_by_key(|at| inner.doubted.contains(at.pack));
        locations
    }

    /// The pack with this number.
    pub fn pack(&self, pack: PackRef) -> Option<PackInfo> {
        self.read().pack(pack)
    }

    /// Where a frame lies in its pack.
    pub fn frame(&self, pack: PackRef, ordinal: u32) -> Option<FrameInfo> {
        self.read().frame(pack, ordinal)
    }

    /// Looks a pack up by its id; of several descriptions the first that is not doubted, if there is one.
    pub fn find_pack(&self, id: &PackId) -> Option<PackRef> {
        let inner = self.read();
        inner.first_undoubted(inner.find_packs(id), |pack| *pack)
    }

    /// All descriptions of a pack; those that are doubted last.
    pub fn find_packs(&self, id: &PackId) -> Vec<PackRef> {
        let inner = self.read();
        let mut packs: Vec<_> = inner.find_packs(id).collect();
        packs.sort_by_key(|pack| inner.doubted.contains(*pack));
        packs
    }

    /// Visits every description of every pack once, in the order of the numbers. What is added meanwhile may be left out.
    pub fn for_each_pack(&self, mut visit: impl FnMut(PackRef, PackInfo)) {
        let (tables, base, packs) = {
            let inner = self.read();
            let packs: Vec<_> = inner.memory.packs().collect();
            (inner.tables.clone(), inner.memory.base(), packs)
        };
        for table in tables {
            let packs = table.pack_records().map(|record| record.info);
            for (number, info) in (table.base()..).zip(packs) {
                visit(PackRef(number), info);
            }
        }
        for (number, info) in (base..).zip(packs) {
            visit(PackRef(number), info);
        }
    }

    /// Visits every blob, once for each place, in no order. What is added meanwhile may be left out.
    ///
    /// `visit` may call this index.
    pub fn for_each_blob(&self, mut visit: impl FnMut(&BlobId, Location)) {
        let (tables, in_memory) = {
            let inner = self.read();
            // Bounded by the limit of memory.
            let in_memory: Vec<_> = inner.memory.blobs().collect();
            (inner.tables.clone(), in_memory)
        };
        for table in tables {
            table
                .blobs()
                .for_each(|(id, location)| visit(&id, location));
        }
        for (id, location) in in_memory {
            visit(&id, location);
        }
    }

    /// How many blobs there are, counted once for each place.
    pub fn blobs(&self) -> u64 {
        let inner = self.read();
        let tables = inner.tables.iter().map(|table| table.blob_count());
        tables
            .sum::<u64>()
            .saturating_add(inner.memory.blob_count())
    }

    /// How many packs there are, counted once for each description: their numbers are 0 to this, exclusive.
    pub fn pack_count(&self) -> u32 {
        let inner = self.read();
        inner.memory.end()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BlobIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.read();
        f.debug_struct("BlobIndex")
            .field("cache", &self.cache)
            .field("tables", &inner.tables.len())
            .field("packs", &inner.memory.end())
            .finish_non_exhaustive()
    }
}
