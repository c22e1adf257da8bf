//! A blocked Bloom filter: says "not here" at the price of one cache line.

use dolmen_format::BlobId;

use crate::number::to_usize;

/// Bytes of a block: one cache line.
pub(super) const BLOCK_BYTES: usize = 64;
/// Bits of the filter for each blob.
const BLOB_BITS: u64 = 10;
/// Bits that a blob sets in its block. With 10 bits for each blob about 1 of 80 absent blobs passes.
const HASHES: u32 = 7;
/// Bits that number a bit in a block.
const HASH_BITS: u32 = 9;

const _: () = assert!(1 << HASH_BITS == BLOCK_BYTES * 8);
const _: () = assert!(HASHES * HASH_BITS <= u64::BITS);

/// Blocks in the filter of so many blobs.
pub(super) fn blocks(blobs: u32) -> u32 {
    let blocks = (u64::from(blobs) * BLOB_BITS).div_ceil(512).max(1);
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

/// Whether the blob may be in the table; `true` when the filter is damaged.
pub(super) fn may_contain(filter: &[[u8; BLOCK_BYTES]], id: &BlobId) -> bool {
    let Ok(count) = u32::try_from(filter.len()) else {
        return true;
    };
    let Some(block) = filter.get(block_of(id, count)) else {
        return true;
    };
    bits_of(id).all(|(byte, mask)| block.get(byte).is_none_or(|bits| bits & mask != 0))
}

/// Collects blobs into a filter; in memory, 10 bits for each.
#[derive(Debug)]
pub(super) struct FilterWriter {
    blocks: Vec<[u8; BLOCK_BYTES]>,
}

impl FilterWriter {
    /// Begins the filter of so many blobs.
    pub(super) fn new(blobs: u32) -> Self {
        Self {
            blocks: vec![[0; BLOCK_BYTES]; to_usize(blocks(blobs))],
        }
    }

    /// Adds a blob.
    pub(super) fn add(&mut self, id: &BlobId) {
        let count = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        if let Some(block) = self.blocks.get_mut(block_of(id, count)) {
            for (byte, mask) in bits_of(id) {
                if let Some(bits) = block.get_mut(byte) {
                    *bits |= mask;
                }
            }
        }
    }

    /// Returns the blocks.
    pub(super) fn finish(self) -> impl Iterator<Item = [u8; BLOCK_BYTES]> {
        self.blocks.into_iter()
    }
}

/// A blob's block. Ids are hashes, so that their bytes will do; the first four choose the bucket.
fn block_of(id: &BlobId, blocks: u32) -> usize {
    let [.., a, b, c, d] = *id.as_bytes();
    let scaled = u64::from(u32::from_le_bytes([a, b, c, d])) * u64::from(blocks);
    to_usize(u32::try_from(scaled >> u32::BITS).unwrap_or(0))
}

/// A blob's bits in its block: byte and mask.
fn bits_of(id: &BlobId) -> impl Iterator<Item = (usize, u8)> {
    let second = id.as_bytes().as_chunks().0.get(1);
    let hash = second.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (0..HASHES).map(move |at| {
        let [low, high, ..] = (hash >> (at * HASH_BITS)).to_le_bytes();
        let bit = u16::from_le_bytes([low, high & 1]);
        (usize::from(bit >> 3), 1 << (bit & 7))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> BlobId {
        BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn a_filter_passes_what_it_holds_and_little_else() {
        let mut writer = FilterWriter::new(10_000);
        (0..10_000).for_each(|number| writer.add(&id(number)));
        let filter: Vec<_> = writer.finish().collect();
        assert!((0..10_000).all(|number| may_contain(&filter, &id(number))));
        let passed = (10_000..110_000).filter(|number| may_contain(&filter, &id(*number)));
        let passed = passed.count();
        assert!(passed < 2_000, "{passed} of 100000 absent blobs passed");
    }
}
