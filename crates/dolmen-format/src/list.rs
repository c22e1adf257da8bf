//! List nodes: the chunks of a long file (§8).

use crate::bytes::{finish, put_size, put_varint, take, take_u8, take_varint, take_varint_count};
use crate::error::FormatError;
use crate::ids::BlobId;
use crate::limits::{BLOB_BYTES_MAX, LEVEL_MAX, LIST_NODE_ENTRIES_MAX};

/// A chunk of content, or a list node with all the content below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The blob.
    pub id: BlobId,
    /// Bytes of content in or below it.
    pub length: u64,
}

/// A list node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListNode {
    /// 0: the entries are data blobs.
    pub level: u8,
    /// In the order of the content.
    pub entries: Vec<Chunk>,
}

impl ListNode {
    /// Whether a node ends after this entry, by its id.
    pub fn ends_after(id: &BlobId) -> bool {
        let [a, b, ..] = id.0;
        u16::from_le_bytes([a, b]).trailing_zeros() >= 9
    }

    /// The blob.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len().saturating_mul(35).saturating_add(4));
        out.push(self.level);
        put_size(&mut out, self.entries.len());
        for entry in &self.entries {
            encode_chunk(entry, &mut out);
        }
        out
    }

    /// Reads a blob that should be at `level`.
    pub fn decode(mut input: &[u8], level: u8) -> Result<Self, FormatError> {
        if take_u8(&mut input)? != level || level > LEVEL_MAX {
            return Err(FormatError::Invalid { field: "level" });
        }
        let length_max = if level == 0 {
            DATA_LENGTH_MAX
        } else {
            u64::MAX
        };
        let entries = decode_chunks(&mut input, LIST_NODE_ENTRIES_MAX, length_max)?;
        finish(input)?;
        if entries.is_empty() {
            return Err(FormatError::Invalid { field: "entries" });
        }
        Ok(Self { level, entries })
    }
}

/// Writes an id and a length.
pub(crate) fn encode_chunk(chunk: &Chunk, out: &mut Vec<u8>) {
    out.extend_from_slice(chunk.id.as_bytes());
    put_varint(out, chunk.length);
}

/// The length of a data blob at most.
#[expect(clippy::as_conversions, reason = "usize to u64 in a constant")]
pub(crate) const DATA_LENGTH_MAX: u64 = BLOB_BYTES_MAX as u64;

/// Reads a number of chunks and the chunks, whose lengths have a sum.
pub(crate) fn decode_chunks(
    input: &mut &[u8],
    limit: usize,
    length_max: u64,
) -> Result<Vec<Chunk>, FormatError> {
    let count = take_varint_count(input, "chunks", limit)?;
    let mut chunks = Vec::with_capacity(count.min(input.len() / 33));
    let mut total = 0_u64;
    for _ in 0..count {
        let chunk = Chunk {
            id: BlobId(take(input)?),
            length: take_varint(input)?,
        };
        let sum = total.checked_add(chunk.length);
        let Some(sum) = sum.filter(|_| (1..=length_max).contains(&chunk.length)) else {
            return Err(FormatError::Invalid { field: "length" });
        };
        total = sum;
        chunks.push(chunk);
    }
    Ok(chunks)
}
