//! Where a file's content lies in it, and which zeros need not be written.

use dolmen_format::tree::Extent;
use dolmen_fs::{FsError, OutFile};

/// Zeros that fill a block of this size, at a multiple of it, become a hole.
const ZERO_BLOCK_BYTES: usize = 64 << 10;
static ZEROS: [u8; ZERO_BLOCK_BYTES] = [0; ZERO_BLOCK_BYTES];

/// Where the content of a file lies.
#[derive(Debug)]
pub(super) struct Layout {
    /// The file's length.
    pub(super) size: u64,
    /// Each extent with the bytes of content before it; `None`: the content is the file.
    extents: Option<Vec<(u64, Extent)>>,
}

/// What becomes of blocks of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeros {
    /// They are written.
    Write,
    /// They are left out: there is a hole already.
    Skip,
    /// A hole is made.
    Punch,
}

impl Layout {
    pub(super) fn new(size: u64, extents: Option<Vec<Extent>>) -> Self {
        let extents = extents.map(|extents| {
            let mut start = 0_u64;
            let with_start = |extent: Extent| {
                let before = start;
                start = start.saturating_add(extent.length);
                (before, extent)
            };
            extents.into_iter().map(with_start).collect()
        });
        Self { size, extents }
    }

    /// Whether the file has holes.
    pub(super) const fn has_holes(&self) -> bool {
        self.extents.is_some()
    }

    /// What it takes in memory, about.
    pub(super) fn weight_bytes(&self) -> usize {
        self.extents
            .as_ref()
            .map_or(0, |extents| size_of_val(extents.as_slice()))
    }

    /// Bytes of content.
    pub(super) fn content_bytes(&self) -> u64 {
        match &self.extents {
            None => self.size,
            Some(extents) => extents
                .last()
                .map_or(0, |(start, last)| start.saturating_add(last.length)),
        }
    }

    /// Where a part of the content lies: offsets in the file and lengths, in order.
    pub(super) fn segments(&self, content_offset: u64, bytes: u64) -> Segments<'_> {
        let next = self.extents.as_ref().map_or(0, |extents| {
            extents
                .partition_point(|(start, _)| *start <= content_offset)
                .saturating_sub(1)
        });
        Segments {
            layout: self,
            next,
            at: content_offset,
            left: bytes,
        }
    }

    /// The ranges that hold nothing.
    pub(super) fn holes(&self) -> impl Iterator<Item = std::ops::Range<u64>> {
        let mut end = 0_u64;
        let extents = self.extents.iter().flatten().map(|(_, extent)| *extent);
        let last = Extent {
            offset: self.size,
            length: 0,
        };
        extents
            .chain(self.extents.as_ref().map(|_| last))
            .filter_map(move |extent| {
                let hole = end..extent.offset;
                end = extent.offset.saturating_add(extent.length);
                (!hole.is_empty()).then_some(hole)
            })
    }
}

/// See [`Layout::segments`].
#[derive(Debug)]
pub(super) struct Segments<'a> {
    layout: &'a Layout,
    next: usize,
    at: u64,
    left: u64,
}

impl Iterator for Segments<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if self.left == 0 {
            return None;
        }
        let (offset, length) = match &self.layout.extents {
            None => (self.at, self.left),
            Some(extents) => {
                let (start, extent) = extents.get(self.next)?;
                self.next = self.next.saturating_add(1);
                let within = self.at.saturating_sub(*start);
                let room = extent.length.saturating_sub(within);
                (extent.offset.saturating_add(within), room.min(self.left))
            }
        };
        self.at = self.at.saturating_add(length);
        self.left = self.left.saturating_sub(length);
        Some((offset, length))
    }
}

/// Writes bytes, but for blocks of zeros that need not be.
pub(super) fn write(
    file: &OutFile,
    bytes: &[u8],
    offset: u64,
    zeros: Zeros,
) -> Result<(), FsError> {
    if zeros == Zeros::Write {
        return file.write_all_at(bytes, offset);
    }
    let mut written = 0_usize;
    for block in zero_blocks(bytes, offset) {
        if let Some(data) = bytes.get(written..block).filter(|data| !data.is_empty()) {
            file.write_all_at(data, offset.saturating_add(length(written)))?;
        }
        written = block.saturating_add(ZERO_BLOCK_BYTES);
        if zeros == Zeros::Punch {
            let start = offset.saturating_add(length(block));
            file.punch_hole(start..start.saturating_add(length(ZERO_BLOCK_BYTES)))?;
        }
    }
    match bytes.get(written..) {
        Some(rest) if !rest.is_empty() => {
            file.write_all_at(rest, offset.saturating_add(length(written)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Where in `bytes`, which lie at `offset` in the file, whole blocks of zeros begin.
fn zero_blocks(bytes: &[u8], offset: u64) -> impl Iterator<Item = usize> {
    let block = length(ZERO_BLOCK_BYTES);
    let first = offset.next_multiple_of(block).saturating_sub(offset);
    let first = usize::try_from(first)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let blocks = bytes
        .get(first..)
        .unwrap_or_default()
        .chunks_exact(ZERO_BLOCK_BYTES);
    (first..)
        .step_by(ZERO_BLOCK_BYTES)
        .zip(blocks)
        .filter(|(_, block)| *block == ZEROS)
        .map(|(at, _)| at)
}

/// A length in memory as one in a file.
pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse() -> Layout {
        let extent = |offset, length| Extent { offset, length };
        Layout::new(
            100,
            Some(vec![extent(10, 5), extent(30, 20), extent(60, 1)]),
        )
    }

    fn segments(layout: &Layout, offset: u64, bytes: u64) -> Vec<(u64, u64)> {
        layout.segments(offset, bytes).collect()
    }

    #[test]
    fn content_is_laid_into_the_extents() {
        let layout = sparse();
        assert_eq!(layout.content_bytes(), 26);
        assert_eq!(segments(&layout, 0, 26), [(10, 5), (30, 20), (60, 1)]);
        assert_eq!(segments(&layout, 4, 2), [(14, 1), (30, 1)]);
        assert_eq!(segments(&layout, 5, 20), [(30, 20)]);
        assert_eq!(segments(&layout, 25, 1), [(60, 1)]);
        assert_eq!(
            segments(&layout, 25, 9),
            [(60, 1)],
            "what has no place is left out"
        );
        assert_eq!(
            layout.holes().collect::<Vec<_>>(),
            [0..10, 15..30, 50..60, 61..100]
        );
        let whole = Layout::new(7, None);
        assert_eq!(segments(&whole, 3, 4), [(3, 4)]);
        assert_eq!(whole.holes().count(), 0);
        let hole = Layout::new(9, Some(Vec::new()));
        assert!(hole.holes().eq(std::iter::once(0..9)));
    }

    #[test]
    fn only_whole_blocks_at_their_multiples_are_zeros() {
        let mut bytes = vec![0; 4 * ZERO_BLOCK_BYTES];
        let found = |bytes: &[u8], offset| zero_blocks(bytes, offset).collect::<Vec<_>>();
        assert_eq!(found(&bytes, 0), [0, 65_536, 131_072, 196_608]);
        assert_eq!(found(&bytes, 1), [65_535, 131_071, 196_607]);
        bytes[65_536] = 1;
        assert_eq!(found(&bytes, 0), [0, 131_072, 196_608]);
        assert_eq!(found(&bytes[..65_535], 0), [0_usize; 0]);
    }
}
