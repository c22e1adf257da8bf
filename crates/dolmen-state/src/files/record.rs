//! The records of a files cache.
//!
//! | size | field |
//! |---|---|
//! | 4 | bytes of the body |
//! | 16 | checksum of the body |
//! | 8 | device, the body's first field |
//! | 8 | inode |
//! | varints | size; mtime and ctime: seconds (zigzag), nanoseconds |
//! | 1 | flags: 1 xattrs, 2 extents, 4 list |
//! | with flag 2 | number, then each: offset, length (varints) |
//! | without flag 4 | number of chunks, then each: blob id (32), length (varint) |
//! | with flag 4 | level (1), blob id (32) |

use dolmen_format::bytes::{
    finish, put_size, put_varint, put_zigzag, take, take_slice, take_u8, take_u32, take_varint,
    take_varint_count, take_varint_u32, take_zigzag,
};
use dolmen_format::list::Chunk;
use dolmen_format::tree::{Content, Extent};
use dolmen_format::{BlobId, FormatError, Timestamp};

use super::{CachedFile, FileKey};
use crate::checksum::{CHECKSUM_BYTES, checksum};
use crate::number::{to_u32, to_u64, to_usize};

/// Largest record: the extents and the 2^20 chunks of a file of about a tebibyte take less.
pub(super) const RECORD_BYTES_MAX: usize = 48 << 20;
/// Bytes of length, checksum and key.
const HEAD_BYTES: usize = 4 + CHECKSUM_BYTES + 16;

const FLAG_XATTRS: u8 = 1;
const FLAG_EXTENTS: u8 = 2;
const FLAG_LIST: u8 = 4;
const FLAGS: u8 = FLAG_XATTRS | FLAG_EXTENTS | FLAG_LIST;

/// A record whose checksum nobody has looked at yet.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    pub(super) key: FileKey,
    /// Offset of the record behind it.
    pub(super) end: u64,
    checksum: [u8; CHECKSUM_BYTES],
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Finds the record at an offset into `records`; `None` when no whole record is there.
    pub(super) fn at(records: &'a [u8], offset: u64) -> Option<Self> {
        let mut input = records.get(usize::try_from(offset).ok()?..)?;
        let input = &mut input;
        let length = take_u32(input).ok()?;
        let checksum = take(input).ok()?;
        let body = take_slice(input, to_usize(length)).ok()?;
        let end = to_u64(records.len()).checked_sub(to_u64(input.len()))?;
        let mut body_start = body;
        Some(Self {
            key: take_key(&mut body_start).ok()?,
            end,
            checksum,
            body,
        })
    }

    /// Reads the record; `None` when it is damaged.
    pub(super) fn decode(&self) -> Option<CachedFile> {
        if checksum(self.body) != self.checksum {
            return None;
        }
        let mut input = self.body;
        let file = decode(&mut input).ok()?;
        finish(input).ok()?;
        Some(file)
    }
}

/// Writes a record in the place of what `out` held.
pub(super) fn encode(key: &FileKey, file: &CachedFile, out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEAD_BYTES - 16, 0);
    out.extend_from_slice(&key.device.to_le_bytes());
    out.extend_from_slice(&key.inode.to_le_bytes());
    put_varint(out, file.size);
    for time in [file.mtime, file.ctime] {
        put_zigzag(out, time.seconds);
        put_varint(out, u64::from(time.nanos));
    }
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let list = matches!(file.content, Content::List { .. });
    out.push(
        flag(file.has_xattrs, FLAG_XATTRS)
            | flag(file.extents.is_some(), FLAG_EXTENTS)
            | flag(list, FLAG_LIST),
    );
    if let Some(extents) = &file.extents {
        put_size(out, extents.len());
        for extent in extents {
            put_varint(out, extent.offset);
            put_varint(out, extent.length);
        }
    }
    match &file.content {
        Content::Chunks(chunks) => {
            put_size(out, chunks.len());
            for chunk in chunks {
                out.extend_from_slice(chunk.id.as_bytes());
                put_varint(out, chunk.length);
            }
        }
        Content::List { level, id } => {
            out.push(*level);
            out.extend_from_slice(id.as_bytes());
        }
    }
    if let Some((head, body)) = out.split_at_mut_checked(HEAD_BYTES - 16) {
        let (length, place) = head.split_at_mut(4);
        length.copy_from_slice(&to_u32(body.len()).to_le_bytes());
        place.copy_from_slice(&checksum(body));
    }
}

fn decode(input: &mut &[u8]) -> Result<CachedFile, FormatError> {
    take_key(input)?;
    let size = take_varint(input)?;
    let (mtime, ctime) = (take_time(input)?, take_time(input)?);
    let flags = take_u8(input)?;
    if flags & !FLAGS != 0 {
        return Err(FormatError::Invalid { field: "flags" });
    }
    Ok(CachedFile {
        size,
        mtime,
        ctime,
        has_xattrs: flags & FLAG_XATTRS != 0,
        extents: if flags & FLAG_EXTENTS == 0 {
            None
        } else {
            Some(take_extents(input)?)
        },
        content: if flags & FLAG_LIST == 0 {
            Content::Chunks(take_chunks(input)?)
        } else {
            Content::List {
                level: take_u8(input)?,
                id: BlobId::from_bytes(take(input)?),
            }
        },
    })
}

fn take_key(input: &mut &[u8]) -> Result<FileKey, FormatError> {
    Ok(FileKey {
        device: u64::from_le_bytes(take(input)?),
        inode: u64::from_le_bytes(take(input)?),
    })
}

fn take_time(input: &mut &[u8]) -> Result<Timestamp, FormatError> {
    let seconds = take_zigzag(input)?;
    let nanos = take_varint_u32(input, "nanoseconds")?;
    Timestamp::new(seconds, nanos).ok_or(FormatError::Invalid {
        field: "nanoseconds",
    })
}

fn take_extents(input: &mut &[u8]) -> Result<Vec<Extent>, FormatError> {
    let count = take_varint_count(input, "extents", RECORD_BYTES_MAX)?;
    let mut extents = Vec::with_capacity(count.min(input.len() / 2));
    for _ in 0..count {
        extents.push(Extent {
            offset: take_varint(input)?,
            length: take_varint(input)?,
        });
    }
    Ok(extents)
}

fn take_chunks(input: &mut &[u8]) -> Result<Vec<Chunk>, FormatError> {
    let count = take_varint_count(input, "chunks", RECORD_BYTES_MAX)?;
    let mut chunks = Vec::with_capacity(count.min(input.len() / 33));
    for _ in 0..count {
        chunks.push(Chunk {
            id: BlobId::from_bytes(take(input)?),
            length: take_varint(input)?,
        });
    }
    Ok(chunks)
}
