//! What packs tell everybody of their frames: the index of a client that knows no dedup domain.

use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::{ObjectKey, WriterId};
use dolmen_state::index::BlobIndex;

use super::info_of;
use crate::error::{Error, Result};
use crate::moves::Moves;
use crate::pack::BlobReader;
use crate::pack::describe::{READS_MAX, describe_table};
use crate::repository::Repository;

/// Describes the packs of a segment by their own tables, those that are gone by the tables of the packs to which their
/// frames were moved. One of which no table can be had is described without frames: it is kept as a whole.
///
/// Cost: one request for each pack; where some are gone what reading the ledger costs, and one for each table that tells
/// of them.
pub(super) fn describe(
    repository: &Repository,
    index: &BlobIndex,
    segment: &ObjectKey,
    packs: &[PackEntry],
) -> Result<()> {
    let writer = segment.writer().unwrap_or(WriterId([0; 16]));
    let (blobs, mut moves) = (BlobReader::new(repository, index), None);
    for batch in packs.chunks(READS_MAX) {
        let described = std::thread::scope(|scope| {
            let threads: Vec<_> = batch
                .iter()
                .map(|entry| scope.spawn(|| frames_of(&blobs, writer, entry)))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().map_err(|_panic| Error::Internal {
                    what: "a reading thread died",
                })?
            });
            joined.collect::<Result<Vec<_>>>()
        })?;
        for (entry, found) in batch.iter().zip(described) {
            let frames = match found {
                Some(frames) => frames,
                None => moved_frames(&blobs, &mut moves, entry)?,
            };
            let pack = index.add_pack(info_of(writer, entry), &frames)?;
            index.note_source(pack, segment.id());
        }
    }
    Ok(())
}

/// What a pack's own table says; `None`: it cannot be had.
fn frames_of(
    blobs: &BlobReader<'_>,
    writer: WriterId,
    entry: &PackEntry,
) -> Result<Option<Vec<IndexedFrame>>> {
    let table = match blobs.read_table(&info_of(writer, entry)) {
        Ok(table) => table,
        Err(error) => return error.outage().map_or(Ok(None), Err),
    };
    Ok(describe_table(blobs.repository(), &table).ok())
}

/// What is known of a pack that is gone, up to its last frame that was moved; nothing where none was.
fn moved_frames(
    blobs: &BlobReader<'_>,
    moves: &mut Option<Moves>,
    entry: &PackEntry,
) -> Result<Vec<IndexedFrame>> {
    let moves = match moves {
        Some(moves) => moves,
        None => moves.insert(Moves::load(blobs.repository())?),
    };
    let ordinals = 0..moves.end_of(&entry.pack);
    let frames = ordinals.map(|ordinal| {
        let found = blobs.describe_moved(&entry.pack, ordinal, moves)?;
        Ok(found.unwrap_or(IndexedFrame::UNKNOWN))
    });
    frames.collect()
}
