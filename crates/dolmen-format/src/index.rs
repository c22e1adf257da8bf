//! Index segments: which blob lies where (§6).

use minicbor::{Decode, Encode};

use crate::bytes::{finish, put_count, take_count, take_u8};
use crate::error::FormatError;
use crate::ids::{DomainId, InstanceId, PackId, RepositoryId, Salt, WriterId};
use crate::limits::{
    FRAME_BLOBS_MAX, FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES, PACK_BYTES_MAX, PACK_FRAMES_MAX,
    SEGMENT_BYTES_MAX, TABLE_BYTES_MAX,
};
use crate::pack::{BlobEntry, Compression, decode_blobs, encode_blobs, take_raw_bytes};
use crate::prologue::ObjectKind;
use crate::signed::{SignedBody, check_count};

/// A writer's index segment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Segment {
    /// Who wrote it.
    #[n(0)]
    pub writer: WriterId,
    /// The writer's state folder.
    #[n(1)]
    pub instance: InstanceId,
    /// The dedup domain.
    #[n(2)]
    pub domain: DomainId,
    /// Random.
    #[n(3)]
    pub salt: Salt,
    /// The packs that it describes, readable without a key.
    #[n(4)]
    pub packs: Vec<PackEntry>,
    /// The blobs in them, encrypted: see [`encode_frames`].
    #[cbor(n(5), with = "minicbor::bytes")]
    pub blobs: Vec<u8>,
}

/// A pack as its segment states it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PackEntry {
    /// The pack.
    #[n(0)]
    pub pack: PackId,
    /// Its size.
    #[n(1)]
    pub pack_bytes: u32,
    /// Its table's size, without the trailer.
    #[n(2)]
    pub table_bytes: u32,
    /// The checksum that the store states for it; empty where it has none.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub checksum: Vec<u8>,
    /// The version that the store gave it; empty where it has none.
    #[n(4)]
    pub version: String,
}

impl SignedBody for Segment {
    const KIND: ObjectKind = ObjectKind::Index;

    fn validate(&self) -> Result<(), FormatError> {
        self.packs.iter().try_for_each(PackEntry::validate)
    }
}

impl PackEntry {
    /// Sizes are within what a pack may have.
    pub(crate) fn validate(&self) -> Result<(), FormatError> {
        let table_bytes = usize::try_from(self.table_bytes).unwrap_or(usize::MAX);
        if u64::from(self.pack_bytes) > PACK_BYTES_MAX || table_bytes > TABLE_BYTES_MAX {
            return Err(FormatError::Invalid { field: "packs" });
        }
        check_count("checksum", self.checksum.len(), 64)?;
        check_count("version", self.version.len(), 1024)
    }
}

/// A frame as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedFrame {
    /// Nonce, ciphertext and tag.
    pub frame_bytes: u32,
    /// Size after decompression; 0: not known, no frame is empty.
    pub raw_bytes: u32,
    /// How it is compressed.
    pub compression: Compression,
    /// The blobs in it, in order.
    pub blobs: Vec<BlobEntry>,
}

impl IndexedFrame {
    /// Stands for a frame that nobody knows: its pack is gone, and nothing needed it when the others were moved.
    pub const UNKNOWN: Self = Self {
        frame_bytes: 0,
        raw_bytes: 0,
        compression: Compression::None,
        blobs: Vec::new(),
    };
}

/// Appends one pack's frames to the plaintext of [`Segment::blobs`].
pub fn encode_frames(frames: &[IndexedFrame], out: &mut Vec<u8>) {
    put_count(out, frames.len());
    for frame in frames {
        out.extend_from_slice(&frame.frame_bytes.to_le_bytes());
        out.extend_from_slice(&frame.raw_bytes.to_le_bytes());
        out.push(frame.compression.code());
        encode_blobs(&frame.blobs, out);
    }
}

/// Reads the plaintext of [`Segment::blobs`]: the frames of each of `packs` packs, one pack at a time.
pub fn decode_frames(
    mut input: &[u8],
    packs: usize,
    mut each: impl FnMut(usize, Vec<IndexedFrame>),
) -> Result<(), FormatError> {
    for pack in 0..packs {
        let count = take_count(&mut input, "frames", PACK_FRAMES_MAX)?;
        let mut frames = Vec::with_capacity(count);
        for _ in 0..count {
            frames.push(decode_frame(&mut input)?);
        }
        each(pack, frames);
    }
    finish(input)
}

fn decode_frame(input: &mut &[u8]) -> Result<IndexedFrame, FormatError> {
    let frame_bytes = take_count(input, "frame_bytes", FRAME_BYTES_MAX)?;
    if frame_bytes == 0 {
        return decode_unknown(input);
    }
    if frame_bytes <= FRAME_OVERHEAD_BYTES {
        return Err(FormatError::Invalid {
            field: "frame_bytes",
        });
    }
    let raw_bytes = take_raw_bytes(input)?;
    let compression = Compression::from_code(take_u8(input)?)?;
    let blobs = decode_blobs(input, raw_bytes)?;
    let frame_bytes = u32::try_from(frame_bytes).map_err(|_error| FormatError::Invalid {
        field: "frame_bytes",
    })?;
    Ok(IndexedFrame {
        frame_bytes,
        raw_bytes,
        compression,
        blobs,
    })
}

/// Nothing more is said of an unknown frame.
fn decode_unknown(input: &mut &[u8]) -> Result<IndexedFrame, FormatError> {
    let raw_bytes = take_raw_bytes(input)?;
    let compression = Compression::from_code(take_u8(input)?)?;
    let blobs = take_count(input, "blobs", FRAME_BLOBS_MAX)?;
    if (raw_bytes, compression, blobs) == (0, Compression::None, 0) {
        Ok(IndexedFrame::UNKNOWN)
    } else {
        Err(FormatError::Invalid { field: "frames" })
    }
}

/// Additional data of a segment's blobs.
pub fn segment_aad(repository: &RepositoryId, domain: &DomainId, salt: &Salt) -> Vec<u8> {
    [
        b"dolmen v1 segment".as_slice(),
        repository.as_bytes(),
        domain.as_bytes(),
        salt.as_bytes(),
    ]
    .concat()
}

// A segment closed at its target must fit its limit with room for the pack list.
#[expect(clippy::as_conversions, reason = "usize to u64 in a constant")]
const _: () = assert!(crate::limits::SEGMENT_PLAIN_BYTES_TARGET as u64 * 2 < SEGMENT_BYTES_MAX);
