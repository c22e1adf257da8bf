//! Reading tree nodes: total, bounded, canonical.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    Content, Device, Entry, Extent, FLAG_EXTENTS, FLAG_HARD_LINK, FLAG_LIST, FLAG_XATTRS, FLAGS,
    File, HardLink, Name, Node, NodeKind, TreeChild, TreeNode, Xattr, validate_key,
};
use crate::bytes::{
    finish, take, take_string, take_u8, take_varint, take_varint_count, take_varint_u32,
    take_zigzag,
};
use crate::error::FormatError;
use crate::ids::BlobId;
use crate::limits::{
    EXTENTS_MAX, INLINE_CHUNKS_MAX, LEVEL_MAX, NAME_BYTES_MAX, PATH_KEY_BYTES_MAX,
    TARGET_BYTES_MAX, TREE_NODE_ENTRIES_MAX, TREE_NODE_KEYS_BYTES_MAX, XATTRS_BYTES_MAX,
};
use crate::list::{DATA_LENGTH_MAX, decode_chunks};
use crate::signed::check_count;
use crate::time::Timestamp;

impl TreeNode {
    /// Reads a node that should be at `level`.
    pub fn decode(mut input: &[u8], level: u8) -> Result<Self, FormatError> {
        if take_u8(&mut input)? != level || level > LEVEL_MAX {
            return Err(FormatError::Invalid { field: "level" });
        }
        let mut names = Names::take(&mut input)?;
        let count = take_varint_count(&mut input, "entries", TREE_NODE_ENTRIES_MAX)?;
        let mut keys = Keys::default();
        let node = if level == 0 {
            let mut entries = Vec::with_capacity(count.min(input.len() / 12));
            for _ in 0..count {
                let key = keys.take(&mut input)?;
                entries.push(Entry {
                    key,
                    node: take_node(&mut input, &mut names)?,
                });
            }
            names.finish()?;
            Self::Leaf(entries)
        } else {
            if !names.table.is_empty() || count == 0 {
                return Err(FormatError::Invalid {
                    field: "inner node",
                });
            }
            let mut children = Vec::with_capacity(count.min(input.len() / 35));
            for _ in 0..count {
                let first = keys.take(&mut input)?;
                children.push(TreeChild {
                    first,
                    id: BlobId(take(&mut input)?),
                });
            }
            Self::Inner(level, children)
        };
        finish(input)?;
        Ok(node)
    }
}

/// The names of a leaf. The writer lists them in the order of their first use, each once; any other
/// table would be a second encoding of the same entries.
struct Names {
    table: Vec<Name>,
    used: usize,
}

impl Names {
    fn take(input: &mut &[u8]) -> Result<Self, FormatError> {
        let count = take_varint_count(input, "names", TREE_NODE_ENTRIES_MAX.saturating_mul(2))?;
        let mut table = Vec::with_capacity(count.min(input.len()));
        let mut known = BTreeSet::new();
        for _ in 0..count {
            let name = take_string(input, "name", NAME_BYTES_MAX)?;
            if !known.insert(name) {
                return Err(FormatError::NotCanonical);
            }
            table.push(Arc::from(name));
        }
        Ok(Self { table, used: 0 })
    }

    /// Reads 1 + an index, or 0.
    fn take_one(&mut self, input: &mut &[u8]) -> Result<Option<Name>, FormatError> {
        let index = take_varint_count(input, "name index", self.table.len())?;
        let Some(at) = index.checked_sub(1) else {
            return Ok(None);
        };
        if at > self.used {
            return Err(FormatError::NotCanonical);
        }
        self.used = self.used.max(index);
        Ok(self.table.get(at).map(Arc::clone))
    }

    fn finish(self) -> Result<(), FormatError> {
        if self.used == self.table.len() {
            Ok(())
        } else {
            Err(FormatError::NotCanonical)
        }
    }
}

/// The keys of a node, each written behind what it shares with the one before.
#[derive(Default)]
struct Keys {
    last: Vec<u8>,
    total_bytes: usize,
}

impl Keys {
    fn take(&mut self, input: &mut &[u8]) -> Result<Vec<u8>, FormatError> {
        let last = &mut self.last;
        let shared = take_varint_count(input, "shared", last.len())?;
        let rest = take_string(input, "key", PATH_KEY_BYTES_MAX)?;
        let before = last.get(shared..).unwrap_or_default();
        // Behind the shared bytes the key must differ at once, and upwards.
        let ascends = match (before.first(), rest.first()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => old < new,
        };
        if !ascends {
            return Err(FormatError::Invalid { field: "key order" });
        }
        last.truncate(shared);
        last.extend_from_slice(rest);
        self.total_bytes = self.total_bytes.saturating_add(last.len());
        check_count("keys", self.total_bytes, TREE_NODE_KEYS_BYTES_MAX)?;
        validate_key(last)?;
        Ok(last.clone())
    }
}

fn take_node(input: &mut &[u8], names: &mut Names) -> Result<Node, FormatError> {
    let code = take_u8(input)?;
    let flags = take_varint(input)?;
    let senseless = match code {
        // A directory has one name; as another name of a file it would mislead a restore.
        1 => FLAG_HARD_LINK | FLAG_EXTENTS | FLAG_LIST,
        2 => 0,
        _ => FLAG_EXTENTS | FLAG_LIST,
    };
    if flags & (!FLAGS | senseless) != 0 {
        return Err(FormatError::Invalid { field: "flags" });
    }
    let mode = u16::try_from(take_varint(input)?)
        .ok()
        .filter(|mode| *mode < 1 << 12)
        .ok_or(FormatError::Invalid { field: "mode" })?;
    let (uid, gid) = (
        take_varint_u32(input, "uid")?,
        take_varint_u32(input, "gid")?,
    );
    let (user, group) = (names.take_one(input)?, names.take_one(input)?);
    let (seconds, nanos) = (take_zigzag(input)?, take_varint_u32(input, "nanoseconds")?);
    let mtime = Timestamp::new(seconds, nanos).ok_or(FormatError::Invalid { field: "mtime" })?;
    let hard_link = if flags & FLAG_HARD_LINK == 0 {
        None
    } else {
        Some(HardLink {
            device: take_varint(input)?,
            inode: take_varint(input)?,
            links: take_varint(input)?,
        })
    };
    let xattrs = if flags & FLAG_XATTRS == 0 {
        Vec::new()
    } else {
        take_xattrs(input)?
    };
    let kind = match code {
        1 => NodeKind::Directory,
        2 => NodeKind::File(take_file(input, flags)?),
        3 => NodeKind::Symlink(take_string(input, "target", TARGET_BYTES_MAX)?.to_vec()),
        4 => NodeKind::Fifo,
        5 => NodeKind::CharDevice(take_device(input)?),
        6 => NodeKind::BlockDevice(take_device(input)?),
        _ => return Err(FormatError::Invalid { field: "kind" }),
    };
    Ok(Node {
        kind,
        mode,
        uid,
        gid,
        user,
        group,
        mtime,
        hard_link,
        xattrs,
    })
}

fn take_device(input: &mut &[u8]) -> Result<Device, FormatError> {
    Ok(Device {
        major: take_varint_u32(input, "major")?,
        minor: take_varint_u32(input, "minor")?,
    })
}

fn take_xattrs(input: &mut &[u8]) -> Result<Vec<Xattr>, FormatError> {
    let before = input.len();
    let count = take_varint_count(input, "xattrs", XATTRS_BYTES_MAX)?;
    let mut xattrs: Vec<Xattr> = Vec::new();
    for _ in 0..count {
        let name = take_string(input, "xattr name", NAME_BYTES_MAX)?;
        let value = take_string(input, "xattr value", XATTRS_BYTES_MAX)?;
        let ascends = xattrs.last().is_none_or(|last| last.name.as_slice() < name);
        let used = before.saturating_sub(input.len());
        if name.is_empty() || name.contains(&0) || !ascends || used > XATTRS_BYTES_MAX {
            return Err(FormatError::Invalid { field: "xattrs" });
        }
        xattrs.push(Xattr {
            name: name.to_vec(),
            value: value.to_vec(),
        });
    }
    if xattrs.is_empty() {
        return Err(FormatError::NotCanonical);
    }
    Ok(xattrs)
}

fn take_file(input: &mut &[u8], flags: u64) -> Result<File, FormatError> {
    let size = take_varint(input)?;
    let extents = if flags & FLAG_EXTENTS == 0 {
        None
    } else {
        Some(take_extents(input, size)?)
    };
    let content = if flags & FLAG_LIST == 0 {
        Content::Chunks(decode_chunks(input, INLINE_CHUNKS_MAX, DATA_LENGTH_MAX)?)
    } else {
        let level = take_varint_count(input, "level", usize::from(LEVEL_MAX))?;
        let level =
            u8::try_from(level).map_err(|_error| FormatError::Invalid { field: "level" })?;
        Content::List {
            level,
            id: BlobId(take(input)?),
        }
    };
    let stored = extents.as_ref().map_or(size, |extents| {
        extents
            .iter()
            .fold(0_u64, |sum, extent| sum.saturating_add(extent.length))
    });
    if let Content::Chunks(chunks) = &content {
        let total = chunks
            .iter()
            .fold(0_u64, |sum, chunk| sum.saturating_add(chunk.length));
        if total != stored {
            return Err(FormatError::Invalid {
                field: "content length",
            });
        }
    }
    Ok(File {
        size,
        extents,
        content,
    })
}

fn take_extents(input: &mut &[u8], size: u64) -> Result<Vec<Extent>, FormatError> {
    const INVALID: FormatError = FormatError::Invalid { field: "extents" };
    let count = take_varint_count(input, "extents", EXTENTS_MAX)?;
    let mut extents = Vec::with_capacity(count.min(input.len() / 2));
    let mut end = 0_u64;
    for position in 0..count {
        let (gap, length) = (take_varint(input)?, take_varint(input)?);
        let offset = end.checked_add(gap).ok_or(INVALID)?;
        end = offset
            .checked_add(length)
            .filter(|end| *end <= size)
            .ok_or(INVALID)?;
        // Neighbours without a gap would be a second way to write one extent.
        if length == 0 || (position > 0 && gap == 0) {
            return Err(INVALID);
        }
        extents.push(Extent { offset, length });
    }
    Ok(extents)
}
