//! The records of a blob table, each of a fixed size, little-endian.

use dolmen_format::bytes::{take, take_u32};
use dolmen_format::pack::Compression;
use dolmen_format::{BlobId, BlobKind, FormatError, PackId, WriterId};

use super::{FrameInfo, Location, PackInfo, PackRef};

/// Bytes of a [`PackRecord`].
pub(super) const PACK_BYTES: usize = 64;
/// Bytes of a [`FrameRecord`].
pub(super) const FRAME_BYTES: usize = 20;
/// Bytes of a [`BlobRecord`].
pub(super) const BLOB_BYTES: usize = 44;
/// Bits of a length that shares its field with a code.
const LENGTH_BITS: u32 = 24;

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

/// A frame.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// | 0  | 4 | pack: index into the table's packs |
/// | 4  | 4 | ordinal |
/// | 8  | 4 | offset in the pack |
/// | 12 | 4 | frame_bytes |
/// | 16 | 4 | raw_bytes in the low 24 bits, compression above |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameRecord {
    pub(super) pack: u32,
    pub(super) ordinal: u32,
    pub(super) offset: u32,
    pub(super) frame_bytes: u32,
    pub(super) raw_and_compression: u32,
}

impl FrameRecord {
    pub(super) fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut out = [0; FRAME_BYTES];
        put(
            &mut out,
            &[
                &self.pack.to_le_bytes(),
                &self.ordinal.to_le_bytes(),
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
            pack: take_u32(input)?,
            ordinal: take_u32(input)?,
            offset: take_u32(input)?,
            frame_bytes: take_u32(input)?,
            raw_and_compression: take_u32(input)?,
        })
    }

    /// What callers see; `None` when the record is damaged.
    pub(super) fn info(&self) -> Option<FrameInfo> {
        let (code, raw_bytes) = split(self.raw_and_compression);
        Some(FrameInfo {
            offset: self.offset,
            frame_bytes: self.frame_bytes,
            raw_bytes,
            compression: Compression::from_code(code).ok()?,
        })
    }
}

/// A blob. Tables hold them in ascending order: by id, then by frame.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// | 0  | 32 | blob id |
/// | 32 |  4 | frame: index into the table's frames |
/// | 36 |  4 | offset in the raw frame |
/// | 40 |  4 | length in the low 24 bits, kind above |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlobRecord {
    pub(super) id: BlobId,
    pub(super) frame: u32,
    pub(super) offset: u32,
    pub(super) length_and_kind: u32,
}

impl BlobRecord {
    pub(super) fn encode(&self) -> [u8; BLOB_BYTES] {
        let mut out = [0; BLOB_BYTES];
        put(
            &mut out,
            &[
                self.id.as_bytes(),
                &self.frame.to_le_bytes(),
                &self.offset.to_le_bytes(),
                &self.length_and_kind.to_le_bytes(),
            ],
        );
        out
    }

    pub(super) fn decode(mut input: &[u8]) -> Result<Self, FormatError> {
        let input = &mut input;
        Ok(Self {
            id: BlobId::from_bytes(take(input)?),
            frame: take_u32(input)?,
            offset: take_u32(input)?,
            length_and_kind: take_u32(input)?,
        })
    }

    /// What callers see, with the number of the pack; `None` when the record is damaged.
    pub(super) fn location(&self, frame: &FrameRecord, pack: PackRef) -> Option<Location> {
        let (code, length) = split(self.length_and_kind);
        Some(Location {
            kind: BlobKind::from_code(code).ok()?,
            pack,
            ordinal: frame.ordinal,
            offset: self.offset,
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

/// Joins a length and a code; `None` when the length takes more than 24 bits.
pub(super) fn join(length: u32, code: u8) -> Option<u32> {
    (length >> LENGTH_BITS == 0).then_some(length | u32::from(code) << LENGTH_BITS)
}

fn split(joined: u32) -> (u8, u32) {
    let [_, _, _, code] = joined.to_le_bytes();
    (code, joined & ((1 << LENGTH_BITS) - 1))
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

// The largest lengths must fit 24 bits.
const _: () = assert!(dolmen_format::limits::FRAME_RAW_BYTES_MAX < 1 << LENGTH_BITS);
const _: () = assert!(dolmen_format::limits::BLOB_BYTES_MAX < 1 << LENGTH_BITS);
