//! The parts of a blob index, behind its lock.

use std::path::Path;
use std::sync::Arc;

use dolmen_format::PackId;

use super::PackRef;
use super::memory::Memory;
use super::table::{Place, Table};
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
}

impl Inner {
    /// Begins with the cached tables, whose packs end before number `end`.
    pub(super) fn new(tables: Vec<Arc<Table>>, end: u32) -> Self {
        Self {
            tables,
            memory: Memory::new(end),
            relied_on: None,
        }
    }

    pub(super) fn find_pack(&self, id: &PackId) -> Option<PackRef> {
        let mut tables = self.tables.iter();
        tables
            .find_map(|table| table.find_pack(id))
            .or_else(|| self.memory.find_pack(id))
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
