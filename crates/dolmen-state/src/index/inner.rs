//! The parts of a blob index, behind its lock.

use std::path::Path;
use std::sync::Arc;

use dolmen_format::{BlobId, PackId, SegmentId};

use super::memory::Memory;
use super::table::{Place, Table};
use super::trust::PackSet;
use super::{FrameInfo, Location, PackInfo, PackRef};
use crate::durable;
use crate::error::StateError;

/// Tables, then memory: the packs' numbers ascend through all of them without a gap.
#[derive(Debug)]
pub(super) struct Inner {
    /// First the cached tables, then the temporary ones.
    pub(super) tables: Vec<Arc<Table>>,
    pub(super) memory: Memory,
    /// The first pack of a cached table that was added once more, for a segment that no table covers yet.
    ///
    /// The table that will cover it must hold the pack too, or it would lack it once the other is gone.
    pub(super) relied_on: Option<PackRef>,
    /// Which segments describe which packs, as far as no table says.
    pub(super) sources: Vec<(PackRef, SegmentId)>,
    /// Descriptions that come after all others.
    pub(super) doubted: PackSet,
}

impl Inner {
    /// Begins with the cached tables, whose packs end before number `end`.
    pub(super) fn new(tables: Vec<Arc<Table>>, end: u32) -> Self {
        Self {
            tables,
            memory: Memory::new(end),
            relied_on: None,
            sources: Vec::new(),
            doubted: PackSet::default(),
        }
    }

    /// The descriptions of a pack, the first one first.
    pub(super) fn find_packs(&self, id: &PackId) -> impl Iterator<Item = PackRef> {
        let tables = self.tables.iter().flat_map(|table| table.find_packs(id));
        tables.chain(self.memory.find_packs(id))
    }

    /// The places of a blob, the first one first.
    pub(super) fn locations(&self, id: &BlobId) -> impl Iterator<Item = Location> {
        let tables = self.tables.iter().flat_map(|table| table.locations(id));
        tables.chain(self.memory.locations(id))
    }

    /// The first whose pack is not doubted, else the first.
    pub(super) fn first_undoubted<T>(
        &self,
        mut all: impl Iterator<Item = T>,
        pack_of: impl Fn(&T) -> PackRef,
    ) -> Option<T> {
        let first = all.next()?;
        if !self.doubted.contains(pack_of(&first)) {
            return Some(first);
        }
        let is_undoubted = |one: &T| !self.doubted.contains(pack_of(one));
        all.find(is_undoubted).or(Some(first))
    }

    /// The places of a blob in the table or the memory that holds a pack.
    pub(super) fn locations_in_table_of(
        &self,
        pack: PackRef,
        id: &BlobId,
    ) -> impl Iterator<Item = Location> {
        let table = self.table_of(pack);
        let in_memory = table.is_none().then(|| self.memory.locations(id));
        let in_table = table.map(|table| table.locations(id));
        in_table
            .into_iter()
            .flatten()
            .chain(in_memory.into_iter().flatten())
    }

    pub(super) fn pack(&self, pack: PackRef) -> Option<PackInfo> {
        match self.table_of(pack) {
            Some(table) => table.pack(pack),
            None => self.memory.pack(pack),
        }
    }

    pub(super) fn frame(&self, pack: PackRef, ordinal: u32) -> Option<FrameInfo> {
        match self.table_of(pack) {
            Some(table) => table.frame(pack, ordinal),
            None => self.memory.frame(pack, ordinal),
        }
    }

    /// The index of the table that holds a pack; `None`: it is in memory, or nowhere.
    pub(super) fn position_of(&self, pack: PackRef) -> Option<usize> {
        if pack.number() >= self.memory.base() {
            return None;
        }
        let behind = self
            .tables
            .partition_point(|table| table.base() <= pack.number());
        behind.checked_sub(1)
    }

    /// The table that holds a pack; `None`: it is in memory, or nowhere.
    pub(super) fn table_of(&self, pack: PackRef) -> Option<&Table> {
        let table = self.tables.get(self.position_of(pack)?)?;
        Some(table)
    }

    /// Notes that a pack which is known was added again.
    pub(super) fn rely_on(&mut self, pack: PackRef) {
        if self
            .table_of(pack)
            .is_some_and(|table| table.path().is_some())
        {
            self.relied_on = Some(self.relied_on.map_or(pack, |first| first.min(pack)));
        }
    }

    /// Moves what is in memory to a temporary table in `folder`; on an error it stays in memory.
    pub(super) fn spill(&mut self, folder: &Path) -> Result<(), StateError> {
        if self.memory.is_empty() {
            return Ok(());
        }
        let file = durable::nameless_in(folder)?;
        let written = self.memory.write(&file);
        written.map_err(|failure| failure.at(folder))?;
        let base = self.memory.base();
        let table = Table::map(&file, folder, base, Place::Temporary)?
            .ok_or_else(|| super::write::WriteFailure::DamagedSource.at(folder))?;
        self.memory = Memory::new(table.end());
        self.tables.push(Arc::new(table));
        Ok(())
    }

    /// How many of the tables are cached.
    pub(super) fn cached(&self) -> usize {
        self.tables.partition_point(|table| table.path().is_some())
    }
}
