//! The folder of cached blob tables. Other processes may add and remove tables at any time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::table::{Place, Table};
use crate::durable::{self, PREFIX};
use crate::error::{Operation, StateError};
use crate::seen::SeenObject;

/// Ends the name of a table; a later version that changes the format changes this too.
const TABLE: &str = ".blobs3";

/// What a folder had to offer.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Tables that cover wanted segments only, each segment once, the largest first.
    pub(super) accepted: Vec<Table>,
    /// Tables that cover a segment that is not wanted, or one that another covers already.
    pub(super) rejected: Vec<PathBuf>,
}

/// Opens the folder's tables; removes what can never be used.
///
/// Whatever cannot be read is as good as absent.
pub(super) fn scan(folder: &Path, wanted: &BTreeSet<SeenObject>) -> Found {
    durable::remove_all_abandoned(folder);
    let mut tables = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if name.ends_with(TABLE) {
            tables.extend(open_table(&path));
        }
    }
    select(tables, wanted)
}

/// Keeps the tables that can be believed together.
///
/// A table with a segment that is gone, or is not as it was, may name packs that are gone, so that a backup would rely
/// on them. Of two that overlap only one is kept, so that no pack is there twice.
fn select(mut tables: Vec<Table>, wanted: &BTreeSet<SeenObject>) -> Found {
    tables.sort_by_key(|table| {
        let counts = table.layout().counts;
        core::cmp::Reverse((counts.segments, counts.blobs))
    });
    let mut found = Found::default();
    let mut covered = BTreeSet::new();
    for table in tables {
        let mut segments = table.segments();
        let usable = segments.all(|seen| wanted.contains(&seen) && !covered.contains(&seen.id));
        drop(segments);
        if usable && table.layout().counts.segments > 0 {
            covered.extend(table.segments().map(|seen| seen.id));
            found.accepted.push(table);
        } else {
            found.rejected.extend(table.path().map(Path::to_path_buf));
        }
    }
    // Merging takes in the last ones, which should be the smallest.
    found
        .accepted
        .sort_by_key(|table| core::cmp::Reverse(table.layout().counts.blobs));
    found
}

fn open_table(path: &Path) -> Option<Table> {
    let file = File::open(path).ok()?;
    match Table::map(&file, path, 0, Place::Cached) {
        Ok(Some(table)) => Some(table),
        Ok(None) => {
            remove(path);
            None
        }
        Err(_cannot_map) => None,
    }
}

/// Removes a table. One that stays costs space and is looked at again by the next run.
pub(super) fn remove(path: &Path) {
    let _removed = fs::remove_file(path);
}

/// Makes the folder ready; `false` when tables cannot be kept in it.
pub(super) fn prepare(folder: &Path) -> bool {
    durable::create_folder(folder).is_ok() && tempfile::tempfile_in(folder).is_ok()
}

/// Makes a written table durable under a name that no other has, and maps it.
pub(super) fn publish(file: NamedTempFile, base: u32) -> Result<Option<Table>, StateError> {
    let name = file.path().with_extension(TABLE.trim_start_matches('.'));
    let again = file
        .reopen()
        .map_err(StateError::io(Operation::Open, file.path()))?;
    durable::publish(file, &name)?;
    Table::map(&again, &name, base, Place::Cached)
}
