//! The records of a blob table, each of a fixed size, little-endian.

use dolmen_format::bytes::{take, take_u32};
use dolmen_format::limits::{BLOB_BYTES_MAX, FRAME_RAW_BYTES_MAX, PACK_FRAMES_MAX};
use dolmen_format::pack::Compression;
use dolmen_format::{BlobId, BlobKind, FormatError, PackId, SegmentId, WriterId};

use super::{FrameInfo, Location, PackInfo, PackRef};
use crate::seen::SeenObject;

/// Bytes of a [`SeenObject`]: id (32), digest of the listing (16).
pub(super) const SEGMENT_BYTES: usize = 48;
/// Bytes of a [`PackRecord`].
pub(super) const PACK_BYTES: usize = 64;
/// Bytes of a [`FrameRecord`].
pub(super) const FRAME_BYTES: usize = 12;
/// Bytes of a [`SourceRecord`].
pub(super) const SOURCE_BYTES: usize = 8;
/// Bytes of a [`BlobRecord`].
pub(super) const BLOB_BYTES: usize = 44;
/// Bits of a frame's size after decompression.
const RAW_BITS: u32 = 24;
/// Bits of a blob's length.
const LENGTH_BITS: u32 = 23;
/// Bits of a blob's offset in its frame.
const OFFSET_BITS: u32 = 22;
/// Bits of a frame's ordinal.
const ORDINAL_BITS: u32 = 12;

pub(super) fn encode_segment(seen: &SeenObject) -> [u8; SEGMENT_BYTES] {
    let mut out = [0; SEGMENT_BYTES];
    put(&mut out, &[seen.id.as_bytes(), &seen.listing]);
    out
}

pub(super) fn decode_segment(record: &[u8; SEGMENT_BYTES]) -> Option<SeenObject> {
    let mut input = record.as_slice();
    Some(SeenObject {
        id: SegmentId::from_bytes(take(&mut input).ok()?),
        listing: take(&mut input).ok()?,
    })
}

/// A pack, and where its frames are.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// | 0  | 32 | pack id |
/// | 32 | 16 | writer id |
/// | 48 |  4 | pack_bytes |
/// | 52 |  4 | table_bytes |
/// | 56 |  4 | first frame: index into the table's frames |
/// | 60 |  4 | number of frames |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackRecord {
    pub(super) info: PackInfo,
    pub(super) first_frame: u32,
    pub(super) frames: u32,
}

impl PackRecord {
    pub(super) fn encode(&self) -> [u8; PACK_BYTES] {
        let mut out = [0; PACK_BYTES];
        put(
            &mut out,
            &[
                self.info.pack.as_bytes(),
                self.info.writer.as_bytes(),
                &self.info.pack_bytes.to_le_bytes(),
                &self.info.table_bytes.to_le_bytes(),
                &self.first_frame.to_le_bytes(),
                &self.frames.to_le_bytes(),
            ],
        );
        out
    }

    pub(super) fn decode(mut input: &[u8]) -> Result<Self, FormatError> {
        let input = &mut input;
        Ok(Self {
            info: PackInfo {
                pack: PackId::from_bytes(take(input)?),
                writer: WriterId(take(input)?),
                pack_bytes: take_u32(input)?,
                table_bytes: take_u32(input)?,
            },
            first_frame: take_u32(input)?,
            frames: take_u32(input)?,
        })
    }

    /// The index of a frame of this pack among the table's frames.
    pub(super) fn frame(&self, ordinal: u32) -> Option<u32> {
        if ordinal < self.frames {
            self.first_frame.checked_add(ordinal)
        } else {
            None
        }
    }
}

/// Which segment describes a pack like this. Tables hold them in ascending order: by pack, then by segment.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// | 0 | 4 | pack: index into the table's packs |
/// | 4 | 4 | segment: index into the table's segments |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceRecord {
    pub(super) pack: u32,
    pub(super) segment: u32,
}

impl SourceRecord {
    pub(super) fn encode(self) -> [u8; SOURCE_BYTES] {
        let mut out = [0; SOURCE_BYTES];
        put(
            &mut out,
            &[&self.pack.to_le_bytes(), &self.segment.to_le_bytes()],
        );
        out
    }

    pub(super) fn decode(mut input: &[u8]) -> Result<Self, FormatError> {
        let input = &mut input;
        Ok(Self {
            pack: take_u32(input)?,
            segment: take_u32(input)?,
        })
    }
}

/// A frame; which one follows from its place behind the first frame of its pack.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// | 0  | 4 | offset in the pack |
/// | 4  | 4 | frame_bytes |
/// | 8  | 4 | raw_bytes in the low 24 bits, compression above |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameRecord {
    offset: u32,
    frame_bytes: u32,
    raw_and_compression: u32,
}

impl FrameRecord {
    /// A record of a frame; `None` when its raw size takes more than 24 bits.
    pub(super) fn new(frame: FrameInfo) -> Option<Self> {
        if frame.raw_bytes >> RAW_BITS != 0 {
            return None;
        }
        Some(Self {
            offset: frame.offset,
            frame_bytes: frame.frame_bytes,
            raw_and_compression: frame.raw_bytes | u32::from(frame.compression.code()) << RAW_BITS,
        })
    }

    pub(super) fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut out = [0; FRAME_BYTES];
        put(
            &mut out,
            &[
                &self.offset.to_le_bytes(),
                &self.frame_bytes.to_le_bytes(),
                &self.raw_and_compression.to_le_bytes(),
            ],
        );
        out
    }

    pub(super) fn decode(mut input: &[u8]) -> Result<Self, FormatError> {
        let input = &mut input;
        Ok(Self {
            offset: take_u32(input)?,
            frame_bytes: take_u32(input)?,
            raw_and_compression: take_u32(input)?,
        })
    }

    /// What callers see; `None` when the record is damaged.
    pub(super) fn info(&self) -> Option<FrameInfo> {
        let [.., code] = self.raw_and_compression.to_le_bytes();
        Some(FrameInfo {
            offset: self.offset,
            frame_bytes: self.frame_bytes,
            raw_bytes: self.raw_and_compression & ((1 << RAW_BITS) - 1),
            compression: Compression::from_code(code).ok()?,
        })
    }
}

/// A blob. Tables hold them in ascending order: by id, then by pack.
///
/// All of its place is here, so that a lookup need not follow to the frame: in a large table every
/// step is a miss of the processor's caches.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// | 0  | 32 | blob id |
/// | 32 |  4 | pack: index into the table's packs |
/// | 36 |  8 | from the lowest bit: length (23 bits), offset in the raw frame (22), ordinal (12), kind (7) |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlobRecord {
    pub(super) id: BlobId,
    pub(super) pack: u32,
    pub(super) place: u64,
}

impl BlobRecord {
    /// A record of a blob that lies there in the table's pack number `pack`; `None` when that is no possible place.
    pub(super) fn new(id: BlobId, pack: u32, at: Location) -> Option<Self> {
        let fits = at.length >> LENGTH_BITS == 0
            && at.offset >> OFFSET_BITS == 0
            && at.ordinal >> ORDINAL_BITS == 0;
        let mut place = u64::from(at.kind.code());
        for (value, bits) in [
            (at.ordinal, ORDINAL_BITS),
            (at.offset, OFFSET_BITS),
            (at.length, LENGTH_BITS),
        ] {
            place = place << bits | u64::from(value);
        }
        fits.then_some(Self { id, pack, place })
    }

    pub(super) fn encode(&self) -> [u8; BLOB_BYTES] {
        let mut out = [0; BLOB_BYTES];
        put(
            &mut out,
            &[
                self.id.as_bytes(),
                &self.pack.to_le_bytes(),
                &self.place.to_le_bytes(),
            ],
        );
        out
    }

    pub(super) fn decode(mut input: &[u8]) -> Result<Self, FormatError> {
        let input = &mut input;
        Ok(Self {
            id: BlobId::from_bytes(take(input)?),
            pack: take_u32(input)?,
            place: u64::from_le_bytes(take(input)?),
        })
    }

    /// What callers see, with the pack's number for them; `None` when the record is damaged.
    pub(super) fn location(&self, pack: PackRef) -> Option<Location> {
        let mut place = self.place;
        let mut next = |bits: u32| {
            let value = place & ((1 << bits) - 1);
            place >>= bits;
            u32::try_from(value).unwrap_or(u32::MAX)
        };
        let (length, offset, ordinal) = (next(LENGTH_BITS), next(OFFSET_BITS), next(ORDINAL_BITS));
        Some(Location {
            kind: BlobKind::from_code(u8::try_from(place).ok()?).ok()?,
            pack,
            ordinal,
            offset,
            length,
        })
    }
}

/// The id of an encoded [`BlobRecord`].
pub(super) fn blob_id(record: &[u8; BLOB_BYTES]) -> &[u8] {
    record.split_at(BlobId::BYTES).0
}

/// The first four bytes of an id as a number that sorts like the id.
pub(super) fn prefix(id: &BlobId) -> u32 {
    let [a, b, c, d, ..] = *id.as_bytes();
    u32::from_le_bytes([d, c, b, a])
}

/// Writes fields one behind the other; they fill `out` exactly.
fn put(mut out: &mut [u8], fields: &[&[u8]]) {
    for field in fields {
        let whole = core::mem::take(&mut out);
        if let Some((place, rest)) = whole.split_at_mut_checked(field.len()) {
            place.copy_from_slice(field);
            out = rest;
        }
    }
}

// Whatever the format allows must fit its bits.
const _: () = assert!(FRAME_RAW_BYTES_MAX < 1 << RAW_BITS);
const _: () = assert!(BLOB_BYTES_MAX < 1 << LENGTH_BITS);
const _: () = assert!(FRAME_RAW_BYTES_MAX <= 1 << OFFSET_BITS);
const _: () = assert!(PACK_FRAMES_MAX <= 1 << ORDINAL_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_and_the_smallest_place_survive() {
        let id = BlobId([5; 32]);
        for (kind, ordinal, offset, length) in [
            (BlobKind::Manifest, 4095, (4 << 20) - 1, 4 << 20),
            (BlobKind::Data, 0, 0, 1),
        ] {
            let place = Location {
                kind,
                pack: PackRef(9),
                ordinal,
                offset,
                length,
            };
            let record = BlobRecord::new(id, 3, place).unwrap();
            let read = BlobRecord::decode(&record.encode()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.location(PackRef(9)), Some(place));
        }
    }
}
