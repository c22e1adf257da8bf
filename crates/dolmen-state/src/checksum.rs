//! Short checksums of records.

/// Bytes of a [`checksum`].
pub(crate) const CHECKSUM_BYTES: usize = 16;

/// The first 16 bytes of a record's BLAKE3: enough that damage never passes, small beside the record.
pub(crate) fn checksum(record: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::hash(record);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}
