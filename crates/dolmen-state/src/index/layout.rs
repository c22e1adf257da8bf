//! How a blob table's file is laid out.

use core::ops::Range;

use dolmen_format::bytes::{take, take_u32};

use super::filter;
use super::records::{BLOB_BYTES, FRAME_BYTES, PACK_BYTES, SEGMENT_BYTES, SOURCE_BYTES};
use crate::fanout;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 64;
/// Sections begin at multiples of this: a block of the filter then is one cache line.
pub(super) const ALIGNMENT: usize = 64;

const MAGIC: [u8; 8] = *b"DOLMENBT";
const VERSION: u32 = 3;

/// How many of what a table holds: all that decides where its sections lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) segments: u32,
    pub(super) packs: u32,
    pub(super) frames: u32,
    pub(super) blobs: u32,
    pub(super) sources: u32,
}

/// Where the sections of a table lie, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) counts: Counts,
    /// The [`SeenObject`](super::SeenObject)s that the table covers: id and digest.
    pub(super) segments: Range<usize>,
    /// [`super::records::PackRecord`]s, by number.
    pub(super) packs: Range<usize>,
    /// The packs' numbers (u32) in ascending order of their ids; those that describe one pack differently are neighbours.
    pub(super) order: Range<usize>,
    /// [`super::records::SourceRecord`]s, ascending.
    pub(super) sources: Range<usize>,
    /// [`super::records::FrameRecord`]s: pack after pack, by ordinal.
    pub(super) frames: Range<usize>,
    /// [`super::records::BlobRecord`]s, ascending.
    pub(super) blobs: Range<usize>,
    /// See [`fanout`], over the first four bytes of the blob ids.
    pub(super) fanout: Range<usize>,
    /// See [`filter`].
    pub(super) filter: Range<usize>,
}

impl Layout {
    /// Lays a table out; `None` when it would not fit the address space.
    pub(super) fn of(counts: Counts) -> Option<Self> {
        let mut end = HEADER_BYTES;
        let mut section = |records: u32, record_bytes: usize| {
            let start = end.checked_next_multiple_of(ALIGNMENT)?;
            let bytes = usize::try_from(records).ok()?.checked_mul(record_bytes)?;
            end = start.checked_add(bytes)?;
            Some(start..end)
        };
        Some(Self {
            counts,
            segments: section(counts.segments, SEGMENT_BYTES)?,
            packs: section(counts.packs, PACK_BYTES)?,
            order: section(counts.packs, 4)?,
            sources: section(counts.sources, SOURCE_BYTES)?,
            frames: section(counts.frames, FRAME_BYTES)?,
            blobs: section(counts.blobs, BLOB_BYTES)?,
            fanout: section(fanout::entries(counts.blobs), 4)?,
            filter: section(filter::blocks(counts.blobs), filter::BLOCK_BYTES)?,
        })
    }

    /// Bytes of the whole file.
    pub(super) const fn file_bytes(&self) -> usize {
        self.filter.end
    }
}

/// Encodes the header that begins every table.
///
/// | offset | size | field | value |
/// |-------:|-----:|---|---|
/// | 0  |  8 | magic    | `DOLMENBT` |
/// | 8  |  4 | version  | 3 |
/// | 12 |  4 | segments | how many segments the table covers |
/// | 16 |  4 | packs    | |
/// | 20 |  4 | frames   | |
/// | 24 |  4 | blobs    | |
/// | 28 |  4 | sources  | |
/// | 32 | 32 | checksum | BLAKE3 of the fields above and the segments |
pub(super) fn encode_header(counts: Counts, segments: &[u8]) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    let fields = fields(counts);
    let checksum = checksum(&fields, segments);
    let (head, tail) = out.split_at_mut(fields.len());
    head.copy_from_slice(&fields);
    tail.copy_from_slice(&checksum);
    out
}

/// Reads a whole table's header and lays it out; `None` unless header, segments and the file's size agree.
pub(super) fn decode(file: &[u8]) -> Option<Layout> {
    let mut input = file;
    let input = &mut input;
    if take::<8>(input).ok()? != MAGIC || take_u32(input).ok()? != VERSION {
        return None;
    }
    let counts = Counts {
        segments: take_u32(input).ok()?,
        packs: take_u32(input).ok()?,
        frames: take_u32(input).ok()?,
        blobs: take_u32(input).ok()?,
        sources: take_u32(input).ok()?,
    };
    let found: [u8; 32] = take(input).ok()?;
    let layout = Layout::of(counts)?;
    if layout.file_bytes() != file.len() {
        return None;
    }
    let segments = file.get(layout.segments.clone())?;
    (checksum(&fields(counts), segments) == found).then_some(layout)
}

fn fields(counts: Counts) -> [u8; 32] {
    let mut out = [0; 32];
    let (magic, numbers) = out.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    let values = [
        VERSION,
        counts.segments,
        counts.packs,
        counts.frames,
        counts.blobs,
        counts.sources,
    ];
    for (place, value) in numbers.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
    out
}

fn checksum(fields: &[u8; 32], segments: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(fields)
        .update(segments)
        .finalize()
        .as_bytes()
}
