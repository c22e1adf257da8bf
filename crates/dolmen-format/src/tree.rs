//! File trees: content-defined B-trees over path keys (§8).

mod decode;
mod encode;

use std::sync::Arc;

use crate::error::FormatError;
use crate::ids::BlobId;
use crate::limits::{NAME_BYTES_MAX, PATH_KEY_BYTES_MAX};
use crate::list::Chunk;
use crate::time::Timestamp;

pub use encode::{InnerWriter, LeafWriter};

/// The name of a user or a group; shared by the entries of a node.
pub type Name = Arc<[u8]>;

/// A tree node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// Level 0.
    Leaf(Vec<Entry>),
    /// A level above, and its children.
    Inner(u8, Vec<TreeChild>),
}

/// A child of an inner node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChild {
    /// The first key below.
    pub first: Vec<u8>,
    /// The child's blob.
    pub id: BlobId,
}

/// A path and what lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path's components, joined by 0x00.
    pub key: Vec<u8>,
    /// What lies there.
    pub node: Node,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The kind with what only it has.
    pub kind: NodeKind,
    /// The low 12 bits of `st_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name where known.
    pub user: Option<Name>,
    /// Group's name where known.
    pub group: Option<Name>,
    /// Time of the last change of content.
    pub mtime: Timestamp,
    /// Set where a file has several names.
    pub hard_link: Option<HardLink>,
    /// Extended attributes, ascending by name.
    pub xattrs: Vec<Xattr>,
}

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(File),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A FIFO.
    Fifo,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
}

/// A device's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its length in bytes.
    pub size: u64,
    /// Where the content lies; `None`: everywhere.
    pub extents: Option<Vec<Extent>>,
    /// The content.
    pub content: Content,
}

/// A range of a sparse file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From the file's start.
    pub offset: u64,
    /// Not 0.
    pub length: u64,
}

/// A file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The chunks themselves.
    Chunks(Vec<Chunk>),
    /// The root of a tree of list nodes.
    List {
        /// The root's level.
        level: u8,
        /// The root.
        id: BlobId,
    },
}

/// A file with several names: equal device and inode are one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardLink {
    /// Device number on the source machine.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
    /// How many names it had, in or outside of the backup.
    pub links: u64,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// With its namespace: `user.…`.
    pub name: Vec<u8>,
    /// Any bytes.
    pub value: Vec<u8>,
}

const FLAG_HARD_LINK: u64 = 1;
const FLAG_XATTRS: u64 = 2;
const FLAG_EXTENTS: u64 = 4;
const FLAG_LIST: u64 = 8;
const FLAGS: u64 = FLAG_HARD_LINK | FLAG_XATTRS | FLAG_EXTENTS | FLAG_LIST;

impl NodeKind {
    const fn code(&self) -> u8 {
        match self {
            Self::Directory => 1,
            Self::File(_) => 2,
            Self::Symlink(_) => 3,
            Self::Fifo => 4,
            Self::CharDevice(_) => 5,
            Self::BlockDevice(_) => 6,
        }
    }
}

/// Refuses keys that could name anything but a place below the root.
pub fn validate_key(key: &[u8]) -> Result<(), FormatError> {
    let valid = |name: &[u8]| {
        !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name != b"."
            && name != b".."
            && !name.contains(&b'/')
    };
    if key.len() <= PATH_KEY_BYTES_MAX && key.split(|byte| *byte == 0).all(valid) {
        Ok(())
    } else {
        Err(FormatError::Invalid { field: "key" })
    }
}

/// What a boundary is decided by: the keyed hash of this, with [`ends_after`].
pub fn boundary_input(level: u8, key: &[u8]) -> Vec<u8> {
    let mut input = Vec::with_capacity(key.len().saturating_add(1));
    input.push(level);
    input.extend_from_slice(key);
    input
}

/// Whether a node ends after an entry with this keyed hash of [`boundary_input`].
pub const fn ends_after(hash: &[u8; 32]) -> bool {
    hash[0] == 0
}

impl Content {
    /// No content at all.
    pub const EMPTY: Self = Self::Chunks(Vec::new());
}
