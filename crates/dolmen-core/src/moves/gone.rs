//! Packs that are gone, described by the tables of the packs that their frames were moved to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use dolmen_format::PackId;
use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_state::index::BlobIndex;

use super::Moves;
use crate::error::{Error, Result};
use crate::pack::BlobReader;
use crate::repository::Repository;

/// Describes each origin as far as anybody still knows it; one of which nothing is known is left out.
///
/// Cost: one request for the table of each pack that frames of these came to.
pub(crate) fn describe(
    repository: &Repository,
    index: &BlobIndex,
    moves: &Moves,
    origins: &BTreeSet<PackId>,
    cancel: &AtomicBool,
    mut each: impl FnMut(PackEntry, Vec<IndexedFrame>) -> Result<()>,
) -> Result<()> {
    let blobs = BlobReader::new(repository, index);
    for origin in origins {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let mut frames = Vec::new();
        for ordinal in 0..moves.end_of(origin) {
            let frame = blobs.describe_moved(origin, ordinal, moves)?;
            frames.push(frame.unwrap_or(IndexedFrame::UNKNOWN));
        }
        if frames.iter().all(|frame| *frame == IndexedFrame::UNKNOWN) {
            continue;
        }
        let entry = PackEntry {
            pack: *origin,
            pack_bytes: 0,
            table_bytes: 0,
            checksum: Vec::new(),
            version: String::new(),
        };
        each(entry, frames)?;
    }
    Ok(())
}
