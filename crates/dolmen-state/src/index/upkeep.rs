//! Writing tables for later runs, and keeping tables few.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, TryLockError};

use dolmen_format::SegmentId;

use super::combine::{plan_merge, write_merged};
use super::records::SourceRecord;
use super::table::{Place, Table};
use super::write::WriteFailure;
use super::{BlobIndex, PackRef, folder};
use crate::durable;
use crate::error::StateError;
use crate::number::to_u32;
use crate::seen::SeenObject;

/// What whoever merges tables owns.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Files that the next table makes superfluous.
    pub(super) superfluous: Vec<PathBuf>,
}

/// The tables that become one.
#[derive(Debug)]
struct Plan {
    /// Index of the first.
    start: usize,
    tables: Vec<Arc<Table>>,
    /// What the new table covers.
    segments: Vec<SeenObject>,
    /// Number of its first pack.
    base: u32,
    relied_on: Option<PackRef>,
    /// What these segments describe of the tables' packs, as far as no table says.
    sources: Vec<SourceRecord>,
}

impl BlobIndex {
    /// Keeps what was added since the last call for later runs, as what the segments `covered` describe. Durable when it returns.
    ///
    /// Everything that was added must be in segments that are covered by now, and stored: later backups
    /// rely on it. Segments that are covered already may be named again; when there is no other, or no
    /// cache folder, nothing is kept. After an error this index is as good as before, and only the cache
    /// has not grown.
    pub fn persist(&self, covered: &[SeenObject]) -> Result<(), StateError> {
        let Some(cache) = &self.cache else {
            return Ok(());
        };
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = self.plan_persist(covered)? else {
            return Ok(());
        };
        let sources = plan.tables.iter().filter_map(|table| table.path());
        let sources: Vec<PathBuf> = sources.map(Path::to_path_buf).collect();
        let relied_on = plan.relied_on;
        if let Err(error) = self.apply_persist(cache, &plan) {
            let mut inner = self.write();
            let both = [inner.relied_on, relied_on];
            inner.relied_on = both.into_iter().flatten().min();
            if matches!(error, StateError::Damaged { .. }) {
                // The next run fetches again what they cover.
                for path in &sources {
                    folder::remove(path);
                }
            }
            return Err(error);
        }
        // Only now: until the new table was durable these were all there was.
        for path in sources.iter().chain(&upkeep.superfluous) {
            folder::remove(path);
        }
        upkeep.superfluous.clear();
        Ok(())
    }

    /// Decides what the next table takes in; `None` when it would cover nothing new.
    fn plan_persist(&self, covered: &[SeenObject]) -> Result<Option<Plan>, StateError> {
        let mut inner = self.write();
        let mut segments: BTreeMap<_, _> = covered.iter().map(|seen| (seen.id, *seen)).collect();
        for segment in inner.tables.iter().flat_map(|table| table.segments()) {
            segments.remove(&segment.id);
        }
        if segments.is_empty() {
            return Ok(None);
        }
        inner.spill(&self.temporary)?;
        let sizes: Vec<u64> = inner
            .tables
            .iter()
            .map(|table| table.blob_count())
            .collect();
        let (cached, temporary) = sizes.split_at(inner.cached());
        let mut start = plan_merge(cached, temporary.iter().sum(), self.limits.tables_max);
        let relied_on = inner.relied_on.take();
        if let Some(at) = relied_on.and_then(|pack| inner.position_of(pack)) {
            start = start.min(at);
        }
        let tables = inner.tables.get(start..).unwrap_or_default().to_vec();
        for table in &tables {
            segments.extend(table.segments().map(|seen| (seen.id, seen)));
        }
        let base = tables
            .first()
            .map_or(inner.memory.base(), |table| table.base());
        let segments: Vec<SeenObject> = segments.into_values().collect();
        let mut sources: Vec<_> = inner
            .sources
            .iter()
            .filter_map(|(pack, segment)| {
                let found = segments.binary_search_by_key(segment, |seen| seen.id);
                Some(SourceRecord {
                    pack: pack.number().checked_sub(base)?,
                    segment: to_u32(found.ok()?),
                })
            })
            .collect();
        sources.sort_unstable();
        sources.dedup();
        Ok(Some(Plan {
            start,
            tables,
            segments,
            base,
            relied_on,
            sources,
        }))
    }

    /// Writes the planned table, makes it durable and puts it in the place of the others.
    fn apply_persist(&self, cache: &Path, plan: &Plan) -> Result<(), StateError> {
        let file = durable::temporary_in(cache)?;
        write_merged(&plan.tables, &plan.segments, &plan.sources, file.as_file())
            .map_err(|failure| failure.at(cache))?;
        let table = folder::publish(file, plan.base)?
            .ok_or_else(|| WriteFailure::DamagedSource.at(cache))?;
        self.exchange(plan.start, plan.tables.len(), table);
        let covered =
            |segment: &SegmentId| plan.segments.binary_search_by_key(segment, |seen| seen.id);
        let mut inner = self.write();
        inner
            .sources
            .retain(|(pack, segment)| pack.number() < plan.base || covered(segment).is_err());
        Ok(())
    }

    /// Merges temporary tables when there are too many, unless another thread is merging now.
    pub(super) fn merge_temporary(&self) -> Result<(), StateError> {
        let _upkeep = match self.upkeep.try_lock() {
            Ok(upkeep) => upkeep,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let (start, tables) = {
            let inner = self.read();
            let cached = inner.cached();
            let temporary = inner.tables.get(cached..).unwrap_or_default();
            let sizes: Vec<u64> = temporary.iter().map(|table| table.blob_count()).collect();
            let Some((newest, older)) = sizes.split_last() else {
                return Ok(());
            };
            let first = plan_merge(older, *newest, self.limits.tables_max);
            let tables = temporary.get(first..).unwrap_or_default().to_vec();
            (cached.saturating_add(first), tables)
        };
        let Some(base) = tables.first().map(|table| table.base()) else {
            return Ok(());
        };
        if tables.len() < 2 {
            return Ok(());
        }
        let file = durable::nameless_in(&self.temporary)?;
        write_merged(&tables, &[], &[], &file).map_err(|failure| failure.at(&self.temporary))?;
        let table = Table::map(&file, &self.temporary, base, Place::Temporary)?
            .ok_or_else(|| WriteFailure::DamagedSource.at(&self.temporary))?;
        self.exchange(start, tables.len(), table);
        Ok(())
    }

    /// Puts a table in the place of those that it was made from.
    ///
    /// Their positions are still the same: others only append tables while the upkeep is locked.
    fn exchange(&self, start: usize, count: usize, table: Table) {
        let mut inner = self.write();
        let end = start.saturating_add(count).min(inner.tables.len());
        let start = start.min(end);
        drop(inner.tables.splice(start..end, [Arc::new(table)]));
    }
}
