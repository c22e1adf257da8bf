//! Cuts a byte stream into content-defined chunks.
//!
//! A cut depends on the 64 bytes before it and on a secret key, not on where the stream began: an insertion moves the
//! cuts near it and no others, and the sizes of chunks tell a storage provider little about known content. No I/O; the
//! caller owns the bytes.
//!
//! # The algorithm, version 1
//!
//! It is FastCDC with a secret gear table. A reader of a repository does not need it, but two writers share chunks only
//! while they agree on every line of it, so a change is a new version with a new label.
//!
//! - The **gear table** is 256 numbers of 64 bits: the first 2048 bytes of the BLAKE3 extended output, keyed with the
//!   chunker key, over the ASCII bytes `dolmen v1 gear table`, read as little-endian.
//! - The **gear hash** of a byte after hash `h` is `2 × h + gear[byte]` modulo 2⁶⁴. A byte leaves the hash after 64 more.
//!   It starts at zero with byte [`CHUNK_BYTES_MIN`]` - 64` of a chunk; no earlier byte can reach a cut, so none is read.
//! - A chunk **ends** after its first byte that makes it
//!   - [`CHUNK_BYTES_MIN`] to [`CHUNK_BYTES_TARGET`] bytes long with the top 22 bits of the hash all zero, or
//!   - longer than that with the top 18 bits all zero, or
//!   - [`CHUNK_BYTES_MAX`] bytes long, or
//!   - the last of the stream.
//!
//! The two strengths of the test ("normalised chunking, level 2", two bits either side of the 20 that stand for 1 MiB)
//! gather the lengths around the target. The test takes the top bits because the hash moves upwards: bit `n` depends on
//! the last `n + 1` bytes only, so the top 18 bits hear at least 47 bytes each and the low ones next to none; spreading
//! the mask, as early gear hashes did, would only let weaker bits in.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fmt;
use std::sync::Arc;

use zeroize::{Zeroize as _, Zeroizing};

/// Bytes in the smallest chunk, except the last of a stream.
pub const CHUNK_BYTES_MIN: usize = 256 * 1024;
/// Bytes in a chunk up to which a cut is made rarely, beyond which it is made often.
pub const CHUNK_BYTES_TARGET: usize = 1024 * 1024;
/// Bytes in the largest chunk.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that one hash depends on: a shift by one for each bit of it.
const WINDOW_BYTES: usize = 64;
/// Leading bytes of a chunk that no cut depends on.
const UNREAD_BYTES: usize = CHUNK_BYTES_MIN - WINDOW_BYTES;
/// Zero bits at the top of the hash that end a chunk of up to [`CHUNK_BYTES_TARGET`].
const ZERO_BITS_UP_TO_TARGET: u32 = 22;
/// Zero bits at the top of the hash that end a longer chunk.
const ZERO_BITS_BEYOND_TARGET: u32 = 18;
/// The stretches of a chunk: the length at which each ends, and the hash below which a byte of it ends the chunk.
const STRETCHES: [(usize, u64); 3] = [
    // The last byte of the minimum already is a candidate; those before it only warm the hash up.
    (CHUNK_BYTES_MIN - 1, 0),
    (
        CHUNK_BYTES_TARGET,
        1 << (u64::BITS - ZERO_BITS_UP_TO_TARGET),
    ),
    (CHUNK_BYTES_MAX, 1 << (u64::BITS - ZERO_BITS_BEYOND_TARGET)),
];

// Every chunk starts with bytes that the hash may skip, and each stretch is longer than none.
const _: () = assert!(WINDOW_BYTES < CHUNK_BYTES_MIN);
const _: () = assert!(CHUNK_BYTES_MIN < CHUNK_BYTES_TARGET);
const _: () = assert!(CHUNK_BYTES_TARGET < CHUNK_BYTES_MAX);
// Normalised chunking gathers lengths around the target only if the test gets easier there.
const _: () = assert!(ZERO_BITS_BEYOND_TARGET < ZERO_BITS_UP_TO_TARGET);
const _: () = assert!(CHUNK_BYTES_TARGET == 1 << 20 && ZERO_BITS_UP_TO_TARGET == 20 + 2);

/// Starts streams that are all cut by one key. A clone shares the table.
#[derive(Debug, Clone)]
pub struct Chunker {
    gear: Arc<GearTable>,
}

impl Chunker {
    /// Derives the gear table from the chunker key of a dedup domain.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            gear: Arc::new(GearTable::derive(key)),
        }
    }

    /// Starts a stream.
    pub fn cutter(&self) -> Cutter {
        Cutter {
            gear: Arc::clone(&self.gear),
            position: UNREAD_BYTES,
            hash: 0,
        }
    }
}

/// Whether bytes may still follow those at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfStream {
    /// The bytes at hand are the last.
    Yes,
    /// More may come.
    No,
}

/// Finds the cuts of one stream, chunk after chunk.
#[derive(Clone)]
pub struct Cutter {
    gear: Arc<GearTable>,
    /// Bytes of the current chunk that are done with, at least [`UNREAD_BYTES`].
    position: usize,
    /// Gear hash of the bytes from [`UNREAD_BYTES`] to `position`.
    hash: u64,
}

impl Cutter {
    /// Returns the length of the chunk that `data` begins with, or `None` if that takes more bytes.
    ///
    /// After a length the next call passes the bytes that follow it; after `None` it passes the same bytes again and more
    /// behind them, and none is hashed twice. [`CHUNK_BYTES_MAX`] bytes are always enough, and so is the end of the
    /// stream, unless `data` is empty: then there is no chunk, and the cutter is ready for another stream.
    pub fn cut(&mut self, data: &[u8], end: EndOfStream) -> Option<usize> {
        let length = self.search(data).or(match end {
            EndOfStream::Yes if !data.is_empty() => Some(data.len()),
            EndOfStream::Yes | EndOfStream::No => None,
        })?;
        self.position = UNREAD_BYTES;
        self.hash = 0;
        Some(length)
    }

    fn search(&mut self, data: &[u8]) -> Option<usize> {
        for (stretch_end, hash_limit) in STRETCHES {
            // There is no such range if the stretch is done or `data` does not reach it.
            let Some(fresh) = data.get(self.position..data.len().min(stretch_end)) else {
                continue;
            };
            let cut = self.gear.roll(&mut self.hash, fresh, hash_limit);
            // No more than `data.len()`, so nothing saturates.
            self.position = self.position.saturating_add(cut.unwrap_or(fresh.len()));
            if cut.is_some() {
                return Some(self.position);
            }
        }
        (self.position == CHUNK_BYTES_MAX).then_some(CHUNK_BYTES_MAX)
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The hash is left out: with the content it tells about the key.
        f.debug_struct("Cutter")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// What each byte value adds to the hash. Secret: whoever has it can recognise content by the lengths of chunks.
struct GearTable(Zeroizing<[u64; 256]>);

impl GearTable {
    fn derive(key: &[u8; 32]) -> Self {
        let mut stream = Zeroizing::new([0; 256 * size_of::<u64>()]);
        let mut hasher = blake3::Hasher::new_keyed(key);
        let mut output = hasher.update(b"dolmen v1 gear table").finalize_xof();
        output.fill(stream.as_mut_slice());
        output.zeroize();
        hasher.zeroize();

        let mut table = Self(Zeroizing::new([0; 256]));
        let (numbers, _) = stream.as_chunks();
        for (entry, number) in table.0.iter_mut().zip(numbers) {
            *entry = u64::from_le_bytes(*number);
        }
        table
    }

    /// Adds `bytes` to `hash` until it falls below `limit`, and returns how many that took.
    ///
    /// If it never does, `hash` has taken in all of them.
    fn roll(&self, hash: &mut u64, bytes: &[u8], limit: u64) -> Option<usize> {
        let (blocks, _) = bytes.as_chunks::<4>();
        let mut now = *hash;
        let quiet_bytes = blocks
            .iter()
            .map_while(|block| {
                now = self.roll_block(now, block, limit)?;
                Some(block.len())
            })
            .sum();
        // What is left holds the cut in its first block, or is shorter than a block.
        let cut = bytes.get(quiet_bytes..)?.iter().position(|byte| {
            now = now.wrapping_shl(1).wrapping_add(self.entry(*byte));
            now < limit
        });
        *hash = now;
        cut.map(|index| quiet_bytes.saturating_add(index).saturating_add(1))
    }

    /// Returns the hash after one more block, unless that or one on the way is below `limit`.
    ///
    /// Nearly all the time goes by here. Within a block no hash waits for the one before it but all for the last of the
    /// previous block, so the processor computes them side by side; twice as fast as byte after byte, and blocks of
    /// two or eight bytes are no faster.
    #[inline]
    fn roll_block(&self, before: u64, block: &[u8], limit: u64) -> Option<u64> {
        let mut hash = before;
        // What the bytes of the block alone would hash to.
        let mut own: u64 = 0;
        let mut is_below = false;
        for (length, byte) in (1..).zip(block) {
            own = own.wrapping_shl(1).wrapping_add(self.entry(*byte));
            hash = before.wrapping_shl(length).wrapping_add(own);
            is_below |= hash < limit;
        }
        (!is_below).then_some(hash)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a byte indexes a table of 256 entries"
    )]
    fn entry(&self, byte: u8) -> u64 {
        self.0[usize::from(byte)]
    }
}

impl fmt::Debug for GearTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GearTable(secret)")
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::*;

    const KEY: [u8; 32] = *b"the chunker key of the unit test";
    const MIB: usize = 1024 * 1024;

    /// The first bytes of the unkeyed BLAKE3 extended output over `label`.
    fn noise(label: &str, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        blake3::Hasher::new()
            .update(label.as_bytes())
            .finalize_xof()
            .fill(&mut data);
        data
    }

    /// Cuts `data` as a reader does that gets `read_bytes` at a time.
    fn lengths(key: &[u8; 32], data: &[u8], read_bytes: usize) -> Vec<usize> {
        let mut cutter = Chunker::new(key).cutter();
        let mut lengths = Vec::new();
        let (mut start, mut filled) = (0, 0);
        loop {
            let end = if filled == data.len() {
                EndOfStream::Yes
            } else {
                EndOfStream::No
            };
            match (cutter.cut(&data[start..filled], end), end) {
                (Some(length), _) => {
                    lengths.push(length);
                    start += length;
                }
                (None, EndOfStream::No) => {
                    assert!(filled - start < CHUNK_BYTES_MAX, "a full buffer has a cut");
                    filled = data.len().min(filled + read_bytes);
                }
                (None, EndOfStream::Yes) => {
                    assert_eq!(start, data.len(), "the chunks make up the stream");
                    return lengths;
                }
            }
        }
    }

    #[test]
    fn cuts_are_where_version_1_of_the_algorithm_puts_them() {
        let data = noise("golden", 16 * MIB);
        assert_eq!(lengths(&KEY, &data, MIB), GOLDEN);
    }

    /// Computed by a separate program in Python, written from the crate documentation.
    const GOLDEN: [usize; 13] = [
        1_208_987, 1_192_548, 1_211_657, 1_489_155, 1_262_761, 1_695_365, 1_686_549, 1_267_613,
        1_096_085, 1_448_714, 1_142_288, 1_412_986, 662_508,
    ];

    #[test]
    fn the_gear_table_is_the_keyed_blake3_stream() {
        let table = GearTable::derive(&KEY);
        assert_eq!(table.entry(0), 0x0e30_d842_d497_9f76);
        assert_eq!(table.entry(255), 0x93b7_2896_9d4f_1deb);
    }

    /// The algorithm in the shape of its description, a test of the fast one.
    fn plain_length(gear: &GearTable, data: &[u8]) -> usize {
        let mut hash: u64 = 0;
        for (length, byte) in (1..).zip(data) {
            hash = hash.wrapping_mul(2).wrapping_add(gear.entry(*byte));
            let zero_bits = if length <= CHUNK_BYTES_TARGET { 22 } else { 18 };
            let is_cut = length >= CHUNK_BYTES_MIN && hash.leading_zeros() >= zero_bits;
            if is_cut || length == CHUNK_BYTES_MAX {
                return length;
            }
        }
        data.len()
    }

    #[test]
    fn the_skipped_bytes_and_the_blocks_change_no_cut() {
        let data = noise("plain", 24 * MIB);
        let gear = GearTable::derive(&KEY);
        let mut rest = data.as_slice();
        for length in lengths(&KEY, &data, MIB) {
            assert_eq!(length, plain_length(&gear, rest));
            rest = &rest[length..];
        }
    }

    #[test]
    fn cuts_do_not_depend_on_the_sizes_of_reads() {
        let data = noise("reads", 6 * MIB + 12_345);
        let whole = lengths(&KEY, &data, data.len());
        for read_bytes in [4097, 65_535, CHUNK_BYTES_MIN - 1, CHUNK_BYTES_MIN, MIB + 1] {
            assert_eq!(
                lengths(&KEY, &data, read_bytes),
                whole,
                "reads of {read_bytes}"
            );
        }
    }

    #[test]
    fn lengths_are_within_their_bounds_and_gather_around_the_target() {
        let lengths = lengths(&KEY, &noise("bounds", 64 * MIB), 4 * MIB);
        let (_, all_but_last) = lengths.split_last().unwrap();
        assert!(
            all_but_last
                .iter()
                .all(|l| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(l))
        );
        let mean = 64 * MIB / lengths.len();
        assert!((MIB * 9 / 10..MIB * 13 / 10).contains(&mean), "mean {mean}");
    }

    #[test]
    fn a_byte_put_in_front_changes_only_the_first_chunks() {
        let data = noise("insert", 24 * MIB);
        let ends = |data: &[u8]| {
            let mut end = 0;
            lengths(&KEY, data, MIB)
                .into_iter()
                .map(move |l| {
                    end += l;
                    end
                })
                .collect::<Vec<_>>()
        };
        let before = ends(&data);
        let after = ends(&[b"x", data.as_slice()].concat());
        let moved = |end: &usize| end + 1;
        let kept = before
            .iter()
            .map(moved)
            .filter(|end| after.contains(end))
            .count();
        assert!(
            kept + 4 >= before.len(),
            "{kept} of {} cuts kept",
            before.len()
        );
    }

    #[test]
    fn uniform_bytes_are_cut_at_the_maximum() {
        let zeros = vec![0; 9 * MIB];
        assert_eq!(lengths(&KEY, &zeros, MIB), [4 * MIB, 4 * MIB, MIB]);
    }

    #[test]
    fn another_key_cuts_elsewhere() {
        let data = noise("keys", 8 * MIB);
        let other = lengths(b"another chunker key, not that it", &data, MIB);
        assert_ne!(lengths(&KEY, &data, MIB)[0], other[0]);
    }

    #[test]
    fn an_empty_stream_has_no_chunk() {
        let mut cutter = Chunker::new(&KEY).cutter();
        assert_eq!(cutter.cut(&[], EndOfStream::No), None);
        assert_eq!(cutter.cut(&[], EndOfStream::Yes), None);
    }

    #[test]
    fn a_stream_below_the_minimum_is_one_chunk() {
        for bytes in [
            1,
            63,
            CHUNK_BYTES_MIN - 64,
            CHUNK_BYTES_MIN - 1,
            CHUNK_BYTES_MIN,
        ] {
            assert_eq!(lengths(&KEY, &vec![7; bytes], 100_000), [bytes]);
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let chunker = Chunker::new(&KEY);
        assert_eq!(
            format!("{chunker:?}"),
            "Chunker { gear: GearTable(secret) }"
        );
        assert_eq!(
            format!("{:?}", chunker.cutter()),
            "Cutter { position: 262080, .. }"
        );
    }
}
