//! What a pack says of itself: the index of its blobs, from its own table.

use dolmen_crypto::CryptoError;
use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::pack::{PackTable, Recipient, TRAILER_BYTES};
use dolmen_format::{BlobKind, FormatError, PackId};

use crate::repository::Repository;

/// What an original pack's table says of its frames, each descriptor verified.
pub(crate) fn describe_table(
    repository: &Repository,
    table: &PackTable,
) -> Result<Vec<IndexedFrame>, CryptoError> {
    let invalid = |field| FormatError::Invalid { field };
    let [origin] = table.origins.as_slice() else {
        return Err(invalid("origins").into());
    };
    if origin.domain != repository.domain().id() || origin.pack.is_some() {
        return Err(invalid("origins").into());
    }
    let descriptors = repository
        .domain()
        .descriptor_key(repository.id(), origin.salt)?;
    let sealed_key_digest = origin.sealed_key.digest();
    let is_manifest = table.recipient == Recipient::Maintain;
    let mut frames = Vec::with_capacity(table.frames.len());
    for frame in &table.frames {
        let descriptor = descriptors.open(frame.ordinal, &frame.descriptor)?;
        let fits = |kind: BlobKind| (kind == BlobKind::Manifest) == is_manifest;
        if descriptor.frame_hash != frame.hash
            || descriptor.sealed_key_digest != sealed_key_digest
            || !descriptor.blobs.iter().all(|blob| fits(blob.kind))
        {
            return Err(invalid("descriptor").into());
        }
        frames.push(IndexedFrame {
            frame_bytes: frame.frame_bytes,
            raw_bytes: descriptor.raw_bytes,
            compression: frame.compression,
            blobs: descriptor.blobs,
        });
    }
    Ok(frames)
}

/// What a segment states of a pack of `pack_bytes` whose last bytes are `tail`, where no store's answer
/// to its put is known any more.
pub(crate) fn entry_of(
    pack: PackId,
    pack_bytes: u64,
    tail: &[u8],
) -> Result<PackEntry, FormatError> {
    let trailer = tail.last_chunk::<TRAILER_BYTES>();
    let invalid = |field| FormatError::Invalid { field };
    Ok(PackEntry {
        pack,
        pack_bytes: u32::try_from(pack_bytes).map_err(|_error| invalid("pack"))?,
        table_bytes: u32::from_le_bytes(*trailer.ok_or_else(|| invalid("table"))?),
        checksum: Vec::new(),
        version: String::new(),
    })
}
