//! Packs: frames and the table that describes them (§5).

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use crate::bytes::{finish, put_count, take, take_count, take_u8};
use crate::error::FormatError;
use crate::ids::{BlobId, BlobKind, DomainId, PackId, RepositoryId, Salt};
use crate::limits::{
    FRAME_BLOBS_MAX, FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES, FRAME_RAW_BYTES_MAX, PACK_BYTES_MAX,
    PACK_FRAMES_MAX, PACK_ORIGINS_MAX, PROLOGUE_BYTES, TABLE_BYTES_MAX,
};
use crate::prologue::{FORMAT, ObjectKind, Prologue};
use crate::root::SUITE;
use crate::seal::SealedBox;
use crate::signed::{check_count, from_cbor, to_cbor};

/// Bytes behind the table: its length.
pub const TRAILER_BYTES: usize = 4;

/// Whose key opens a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Recipient {
    /// The read key: data, trees and lists.
    #[n(1)]
    Read,
    /// The maintain key: manifests.
    #[n(2)]
    Maintain,
}

/// How a frame is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Compression {
    /// Not at all.
    #[n(0)]
    None,
    /// One zstd frame.
    #[n(1)]
    Zstd,
}

impl Compression {
    /// The byte that stands for this.
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
        }
    }

    /// What a byte stands for.
    pub const fn from_code(code: u8) -> Result<Self, FormatError> {
        match code {
            0 => Ok(Self::None),
            1 => Ok(Self::Zstd),
            _ => Err(FormatError::Invalid {
                field: "compression",
            }),
        }
    }
}

/// The public table at the end of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PackTable {
    /// Whose key opens the frames.
    #[n(0)]
    pub recipient: Recipient,
    /// The packs that the frames were written into; one, without id, in an original pack.
    #[n(1)]
    pub origins: Vec<Origin>,
    /// The frames, in the order in which they lie.
    #[n(2)]
    pub frames: Vec<FrameEntry>,
}

/// The pack that a frame was written into: all that its encryption depends on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// `None`: this very pack.
    #[n(0)]
    pub pack: Option<PackId>,
    /// Random.
    #[n(1)]
    pub salt: Salt,
    /// The dedup domain.
    #[n(2)]
    pub domain: DomainId,
    /// The pack key, sealed to the recipient.
    #[n(3)]
    pub sealed_key: SealedBox,
    /// The only key that may come out of the box.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub commitment: [u8; 32],
}

/// A frame in a pack's table.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct FrameEntry {
    /// Index into the origins.
    #[n(0)]
    pub origin: u32,
    /// Its number in its origin, for ever.
    #[n(1)]
    pub ordinal: u32,
    /// Nonce, ciphertext and tag.
    #[n(2)]
    pub frame_bytes: u32,
    /// BLAKE3 of those.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub hash: [u8; 32],
    /// How the plaintext is compressed.
    #[n(4)]
    pub compression: Compression,
    /// Nonce, ciphertext and tag of the [`Descriptor`].
    #[cbor(n(5), with = "minicbor::bytes")]
    pub descriptor: Vec<u8>,
}

impl PackTable {
    /// Encodes the table with the trailer that ends a pack.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        self.validate()?;
        let mut out = to_cbor(self)?;
        check_count("table", out.len(), TABLE_BYTES_MAX)?;
        let count = out.len();
        put_count(&mut out, count);
        Ok(out)
    }

    /// Decodes the end of a pack of `pack_bytes`: `tail` is its last bytes, at least table and trailer.
    ///
    /// When `tail` is too short the error is [`FormatError::Truncated`] and says how many bytes it takes.
    pub fn decode_tail(tail: &[u8], pack_bytes: u64) -> Result<Self, FormatError> {
        if pack_bytes > PACK_BYTES_MAX {
            return Err(FormatError::TooLarge {
                field: "pack",
                found: pack_bytes,
                limit: PACK_BYTES_MAX,
            });
        }
        let (rest, trailer) =
            tail.split_last_chunk::<TRAILER_BYTES>()
                .ok_or(FormatError::Truncated {
                    wanted_bytes: TRAILER_BYTES,
                    found_bytes: tail.len(),
                })?;
        let table_bytes = take_count(&mut trailer.as_slice(), "table", TABLE_BYTES_MAX)?;
        let start = rest
            .len()
            .checked_sub(table_bytes)
            .ok_or(FormatError::Truncated {
                wanted_bytes: table_bytes.saturating_add(TRAILER_BYTES),
                found_bytes: tail.len(),
            })?;
        let table: Self = from_cbor(rest.get(start..).unwrap_or_default())?;
        table.validate()?;
        let frames: u64 = table
            .frames
            .iter()
            .map(|frame| u64::from(frame.frame_bytes))
            .sum();
        let rest_bytes = u64::try_from(
            PROLOGUE_BYTES
                .saturating_add(table_bytes)
                .saturating_add(TRAILER_BYTES),
        )
        .unwrap_or(u64::MAX);
        if frames.checked_add(rest_bytes) == Some(pack_bytes) {
            Ok(table)
        } else {
            Err(FormatError::Invalid {
                field: "frame_bytes",
            })
        }
    }

    /// Decodes a whole pack's prologue and table.
    pub fn decode_pack(stored: &[u8]) -> Result<Self, FormatError> {
        let mut input = stored;
        Prologue::decode_whole(ObjectKind::Pack, &mut input)?;
        Self::decode_tail(stored, u64::try_from(stored.len()).unwrap_or(u64::MAX))
    }

    fn validate(&self) -> Result<(), FormatError> {
        check_count("origins", self.origins.len(), PACK_ORIGINS_MAX)?;
        check_count("frames", self.frames.len(), PACK_FRAMES_MAX)?;
        if self.frames.is_empty() {
            return Err(FormatError::Invalid { field: "frames" });
        }
        let mut packs = BTreeSet::new();
        for origin in &self.origins {
            origin.sealed_key.validate()?;
            // Two keys for the frames of one pack: whoever copies them would have to guess.
            if !packs.insert(origin.pack) {
                return Err(FormatError::Invalid { field: "origins" });
            }
        }
        for (position, frame) in self.frames.iter().enumerate() {
            let origin = usize::try_from(frame.origin)
                .ok()
                .and_then(|at| self.origins.get(at));
            let origin = origin.ok_or(FormatError::Invalid { field: "origin" })?;
            if origin.pack.is_none() && usize::try_from(frame.ordinal) != Ok(position) {
                return Err(FormatError::Invalid { field: "ordinal" });
            }
            let ordinal = usize::try_from(frame.ordinal).unwrap_or(usize::MAX);
            check_count("ordinal", ordinal, PACK_FRAMES_MAX.saturating_sub(1))?;
            let bytes = usize::try_from(frame.frame_bytes).unwrap_or(usize::MAX);
            check_count("frame_bytes", bytes, FRAME_BYTES_MAX)?;
            if bytes <= FRAME_OVERHEAD_BYTES || frame.descriptor.len() <= FRAME_OVERHEAD_BYTES {
                return Err(FormatError::Invalid { field: "frame" });
            }
        }
        Ok(())
    }
}

/// A blob in a descriptor or an index segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobEntry {
    /// What it is.
    pub kind: BlobKind,
    /// Its id.
    pub id: BlobId,
    /// Its length in bytes.
    pub length: u32,
}

/// What a frame holds, for the holder of the domain's index key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// BLAKE3 of the frame as stored.
    pub frame_hash: [u8; 32],
    /// [`SealedBox::digest`] of the origin's pack key.
    pub sealed_key_digest: [u8; 32],
    /// The frame's size after decompression.
    pub raw_bytes: u32,
    /// The blobs in it, in order.
    pub blobs: Vec<BlobEntry>,
}

impl Descriptor {
    /// The plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.blobs.len().saturating_mul(37).saturating_add(72));
        out.extend_from_slice(&self.frame_hash);
        out.extend_from_slice(&self.sealed_key_digest);
        out.extend_from_slice(&self.raw_bytes.to_le_bytes());
        encode_blobs(&self.blobs, &mut out);
        out
    }

    /// Reads the plaintext.
    pub fn decode(mut input: &[u8]) -> Result<Self, FormatError> {
        let (frame_hash, sealed_key_digest) = (take(&mut input)?, take(&mut input)?);
        let raw_bytes = take_raw_bytes(&mut input)?;
        let blobs = decode_blobs(&mut input, raw_bytes)?;
        finish(input)?;
        Ok(Self {
            frame_hash,
            sealed_key_digest,
            raw_bytes,
            blobs,
        })
    }
}

/// Writes a number of blobs and the blobs.
pub(crate) fn encode_blobs(blobs: &[BlobEntry], out: &mut Vec<u8>) {
    put_count(out, blobs.len());
    for blob in blobs {
        out.push(blob.kind.code());
        out.extend_from_slice(blob.id.as_bytes());
        out.extend_from_slice(&blob.length.to_le_bytes());
    }
}

/// Reads blobs whose lengths add up to `raw_bytes`.
pub(crate) fn decode_blobs(
    input: &mut &[u8],
    raw_bytes: u32,
) -> Result<Vec<BlobEntry>, FormatError> {
    let count = take_count(input, "blobs", FRAME_BLOBS_MAX)?;
    let mut blobs = Vec::with_capacity(count.min(input.len() / 37));
    let mut total = 0_u64;
    for _ in 0..count {
        let kind = BlobKind::from_code(take_u8(input)?)?;
        let blob = BlobEntry {
            kind,
            id: BlobId(take(input)?),
            length: u32::from_le_bytes(take(input)?),
        };
        total = total.saturating_add(u64::from(blob.length));
        if blob.length == 0 {
            return Err(FormatError::Invalid { field: "length" });
        }
        blobs.push(blob);
    }
    if blobs.is_empty() || total != u64::from(raw_bytes) {
        return Err(FormatError::Invalid { field: "blobs" });
    }
    Ok(blobs)
}

/// Reads a frame's size after decompression.
pub(crate) fn take_raw_bytes(input: &mut &[u8]) -> Result<u32, FormatError> {
    let raw = take_count(input, "raw_bytes", FRAME_RAW_BYTES_MAX)?;
    u32::try_from(raw).map_err(|_error| FormatError::Invalid { field: "raw_bytes" })
}

/// What a frame's encryption is bound to, never its place.
#[derive(Debug, Clone, Copy)]
pub struct FrameContext<'a> {
    /// The repository.
    pub repository: &'a RepositoryId,
    /// The dedup domain.
    pub domain: &'a DomainId,
    /// The origin's salt.
    pub salt: &'a Salt,
    /// The frame's number in its origin.
    pub ordinal: u32,
}

impl FrameContext<'_> {
    /// Additional data of the frame.
    pub fn frame_aad(&self, compression: Compression) -> Vec<u8> {
        let mut aad = Vec::with_capacity(104);
        aad.extend_from_slice(b"dolmen v1 frame");
        aad.extend_from_slice(&FORMAT.to_le_bytes());
        aad.extend_from_slice(&SUITE.to_le_bytes());
        aad.push(compression.code());
        self.put(&mut aad);
        aad
    }

    /// Additional data of the frame's descriptor.
    pub fn descriptor_aad(&self) -> Vec<u8> {
        let mut aad = Vec::with_capacity(104);
        aad.extend_from_slice(b"dolmen v1 descriptor");
        self.put(&mut aad);
        aad
    }

    fn put(&self, aad: &mut Vec<u8>) {
        aad.extend_from_slice(self.repository.as_bytes());
        aad.extend_from_slice(self.domain.as_bytes());
        aad.extend_from_slice(self.salt.as_bytes());
        aad.extend_from_slice(&self.ordinal.to_le_bytes());
    }
}

/// Additional data of a sealed pack key.
pub fn sealed_key_aad(repository: &RepositoryId, domain: &DomainId, salt: &Salt) -> Vec<u8> {
    [
        repository.as_bytes().as_slice(),
        domain.as_bytes(),
        salt.as_bytes(),
    ]
    .concat()
}
