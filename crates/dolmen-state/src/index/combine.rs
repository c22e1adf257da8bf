//! Merging blob tables into one: streaming, with one record of each in memory.

use std::fs::File;
use std::sync::Arc;

use super::layout::Counts;
use super::records::{BlobRecord, FrameRecord, PackRecord, SourceRecord};
use super::table::Table;
use super::write::{Contents, WriteFailure};
use crate::merge::Merge;
use crate::number::{to_u32, to_usize};
use crate::seen::SeenObject;

/// Decides which tables, or segments, a new one takes in: those from the returned index on.
///
/// `sizes` are the sizes of those that may stay, in order; the new one holds `new` of its own.
/// Nothing is taken in while there is room for one more. Then whatever is at most twice as large as
/// all behind it is: so each entry is written again only a logarithmic number of times.
pub fn plan_merge(sizes: &[u64], new: u64, tables_max: usize) -> usize {
    let mut start = sizes.len();
    if start < tables_max {
        return start;
    }
    let mut total = new;
    for size in sizes.iter().rev() {
        if start < tables_max && *size > total.saturating_mul(2) {
            break;
        }
        start -= 1;
        total = total.saturating_add(*size);
    }
    start
}

/// Writes one table with everything in `tables`, whose packs keep their order, that covers `segments`, which ascend.
/// `sources`, ascending, are those that no table knows.
pub(super) fn write_merged(
    tables: &[Arc<Table>],
    segments: &[SeenObject],
    sources: &[SourceRecord],
    file: &File,
) -> Result<(), WriteFailure> {
    let mut counts = Counts {
        segments: to_u32(segments.len()),
        sources: to_u32(sources.len()),
        ..Counts::default()
    };
    let mut parts = Vec::with_capacity(tables.len());
    for table in tables {
        parts.push(Part {
            table,
            packs_before: counts.packs,
            frames_before: counts.frames,
        });
        let more = table.layout().counts;
        let add = |sum: u32, more: u32| sum.checked_add(more).ok_or(WriteFailure::TooLarge);
        counts.packs = add(counts.packs, more.packs)?;
        counts.frames = add(counts.frames, more.frames)?;
        counts.blobs = add(counts.blobs, more.blobs)?;
        counts.sources = add(counts.sources, more.sources)?;
    }
    let order = Merge::new(parts.iter().map(Part::ordered_packs).collect());
    let known: Vec<SourceRecord> = parts
        .iter()
        .flat_map(|part| part.sources(segments))
        .collect();
    let new = sources.to_vec();
    Contents {
        counts,
        segments,
        packs: parts.iter().flat_map(Part::packs),
        order: order.map(|(_, number)| number),
        sources: Merge::new(vec![known.into_iter(), new.into_iter()]),
        frames: parts.iter().flat_map(Part::frames),
        blobs: Merge::new(parts.iter().map(Part::blobs).collect()),
    }
    .write(file)
}

/// A table and what its numbers move by.
///
/// A number of a damaged record may overflow; it then becomes [`u32::MAX`], which no table has.
struct Part<'a> {
    table: &'a Table,
    packs_before: u32,
    frames_before: u32,
}

impl<'a> Part<'a> {
    fn packs(&self) -> impl Iterator<Item = PackRecord> + use<'a> {
        let frames_before = self.frames_before;
        self.table.pack_records().map(move |pack| PackRecord {
            first_frame: pack.first_frame.saturating_add(frames_before),
            ..pack
        })
    }

    fn ordered_packs(&self) -> impl Iterator<Item = (dolmen_format::PackId, u32)> + use<'a> {
        let packs_before = self.packs_before;
        let packs = self.table.ordered_packs();
        packs.map(move |(id, number)| (id, number.saturating_add(packs_before)))
    }

    /// The sources, by the positions of their segments in `segments`.
    fn sources(&self, segments: &[SeenObject]) -> Vec<SourceRecord> {
        let position = |seen: SeenObject| {
            let found = segments.binary_search_by_key(&seen.id, |other| other.id);
            found.map_or(u32::MAX, to_u32)
        };
        let positions: Vec<u32> = self.table.segments().map(position).collect();
        let moved = self.table.source_records().map(|source| SourceRecord {
            pack: source.pack.saturating_add(self.packs_before),
            segment: positions
                .get(to_usize(source.segment))
                .copied()
                .unwrap_or(u32::MAX),
        });
        let mut sources: Vec<_> = moved.collect();
        // Positions need not keep their order; packs do.
        sources.sort_unstable();
        sources
    }

    fn frames(&self) -> impl Iterator<Item = FrameRecord> + use<'a> {
        self.table.frame_records()
    }

    fn blobs(&self) -> impl Iterator<Item = BlobRecord> + use<'a> {
        let packs_before = self.packs_before;
        self.table.blob_records().map(move |blob| BlobRecord {
            pack: blob.pack.saturating_add(packs_before),
            ..blob
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_merged_only_when_there_are_too_many() {
        assert_eq!(plan_merge(&[], 5, 8), 0);
        assert_eq!(plan_merge(&[9, 9, 9, 9, 9, 9, 9], 5, 8), 7);
        assert_eq!(plan_merge(&[1000, 9, 9, 9, 9, 9, 9, 9], 5, 8), 1);
        assert_eq!(plan_merge(&[900, 800, 700, 60, 50, 40, 3, 2], 1, 8), 6);
        assert_eq!(plan_merge(&[1; 12], 1, 8), 0);
    }

    #[test]
    fn a_small_table_behind_large_ones_is_still_taken_in() {
        let sizes = [256, 128, 64, 32, 16, 8, 4, 3];
        assert_eq!(plan_merge(&sizes, 1, 8), 0);
        let steeper = sizes.map(|size| size * size * 9);
        assert_eq!(plan_merge(&steeper, 1, 8), 6);
    }
}
