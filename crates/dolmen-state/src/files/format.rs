//! The fixed parts of a files cache: header and index.

use core::ops::Range;

use dolmen_format::bytes::{take, take_u32};

use super::FileKey;
use crate::checksum::{CHECKSUM_BYTES, checksum};
use crate::fanout;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes of a [`Pair`].
pub(super) const PAIR_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"DOLMENFC";
const VERSION: u32 = 1;
/// Bytes that the header's checksum covers.
const FIELDS_BYTES: usize = HEADER_BYTES - CHECKSUM_BYTES;

/// Begins the file.
///
/// | offset | size | field | value |
/// |-------:|-----:|---|---|
/// | 0  |  8 | magic    | `DOLMENFC` |
/// | 8  |  4 | version  | 1 |
/// | 12 |  4 | files    | |
/// | 16 |  8 | records_end | offset of the byte behind the last record |
/// | 24 | 24 | reserved | 0 |
/// | 48 | 16 | checksum | of the bytes before |
///
/// The index begins at the first multiple of 64 from `records_end` on; the fan-out follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) files: u32,
    pub(super) records_end: u64,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&VERSION.to_le_bytes());
        fields.extend_from_slice(&self.files.to_le_bytes());
        fields.extend_from_slice(&self.records_end.to_le_bytes());
        fields.resize(FIELDS_BYTES, 0);
        let checksum = checksum(&fields);
        fields.extend_from_slice(&checksum);
        fields.first_chunk().copied().unwrap_or([0; HEADER_BYTES])
    }

    /// Reads the header of a whole cache; `None` unless the file's size agrees with it.
    pub(super) fn decode(file: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_BYTES] = file.first_chunk()?;
        let mut input = head.as_slice();
        let input = &mut input;
        if take::<8>(input).ok()? != MAGIC || take_u32(input).ok()? != VERSION {
            return None;
        }
        let header = Self {
            files: take_u32(input).ok()?,
            records_end: u64::from_le_bytes(take(input).ok()?),
        };
        let sound = header.encode() == *head
            && header.records_end >= header.records_start()
            && header.fanout()?.end == file.len();
        sound.then_some(header)
    }

    /// Offset of the first record.
    #[expect(clippy::unused_self, reason = "it belongs to the other offsets")]
    pub(super) const fn records_start(self) -> u64 {
        64
    }

    /// Offset behind the last record.
    pub(super) fn records_end(self) -> Option<usize> {
        usize::try_from(self.records_end).ok()
    }

    /// Where the index lies.
    pub(super) fn index(self) -> Option<Range<usize>> {
        let start = self.records_end()?.checked_next_multiple_of(HEADER_BYTES)?;
        let bytes = usize::try_from(self.files).ok()?.checked_mul(PAIR_BYTES)?;
        Some(start..start.checked_add(bytes)?)
    }

    /// Where the fan-out lies.
    pub(super) fn fanout(self) -> Option<Range<usize>> {
        let start = self.index()?.end;
        let entries = usize::try_from(fanout::entries(self.files)).ok()?;
        Some(start..start.checked_add(entries.checked_mul(4)?)?)
    }
}

/// An entry of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) hash: u64,
    /// Offset of the record in the file.
    pub(super) offset: u64,
}

impl Pair {
    pub(super) fn encode(self) -> [u8; PAIR_BYTES] {
        let joined = u128::from(self.offset) << u64::BITS | u128::from(self.hash);
        joined.to_le_bytes()
    }

    pub(super) fn decode(bytes: &[u8; PAIR_BYTES]) -> Self {
        let joined = u128::from_le_bytes(*bytes);
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        Self {
            hash: half(joined),
            offset: half(joined >> u64::BITS),
        }
    }
}

/// Spreads keys evenly. Nobody gains from collisions: they only make this user's lookups miss.
pub(super) fn hash(key: &FileKey) -> u64 {
    mix(mix(key.inode) ^ key.device.rotate_left(32))
}

/// The bits of a hash that choose its bucket: the highest, as the index is sorted by hash.
pub(super) fn prefix(hash: u64) -> u32 {
    u32::try_from(hash >> u32::BITS).unwrap_or(u32::MAX)
}

/// The finisher of SplitMix64: a bijection in which every bit depends on every other.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
