//! Writing tree nodes.

use std::sync::Arc;

use super::{
    Content, Entry, FLAG_EXTENTS, FLAG_HARD_LINK, FLAG_LIST, FLAG_XATTRS, File, Name, Node,
    NodeKind, TreeChild, TreeNode,
};
use crate::bytes::{put_size, put_string, put_varint, put_zigzag, size_bytes};
use crate::error::FormatError;
use crate::ids::BlobId;
use crate::limits::{TREE_NODE_BYTES_TARGET_MAX, TREE_NODE_KEYS_BYTES_TARGET_MAX};
use crate::list::encode_chunk;

/// Writes a leaf entry by entry.
#[derive(Debug, Default)]
pub struct LeafWriter {
    names: Vec<Name>,
    names_bytes: usize,
    entries: Vec<u8>,
    count: usize,
    last_key: Vec<u8>,
    keys_bytes: usize,
}

impl LeafWriter {
    /// Adds an entry; keys must ascend, and [`Node::validate`] must accept it: nothing is checked here,
    /// and one entry that readers refuse makes the whole node unreadable.
    pub fn push(&mut self, key: &[u8], node: &Node) {
        self.keys_bytes = self.keys_bytes.saturating_add(key.len());
        put_key(&mut self.entries, &mut self.last_key, key);
        let user = self.name_index(node.user.as_ref());
        let group = self.name_index(node.group.as_ref());
        put_node(&mut self.entries, node, user, group);
        self.count = self.count.saturating_add(1);
    }

    /// Bytes of the node if it ended here.
    pub fn bytes(&self) -> usize {
        [
            1,
            size_bytes(self.names.len()),
            self.names_bytes,
            size_bytes(self.count),
            self.entries.len(),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Whether the node must end here, whatever its last key.
    pub fn is_full(&self) -> bool {
        is_full(self.bytes(), self.keys_bytes)
    }

    /// Whether nothing was added since the last [`Self::finish`].
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many entries were added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends the node's bytes to `out` and starts the next node.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.push(0);
        put_size(out, self.names.len());
        for name in &self.names {
            put_string(out, name);
        }
        put_size(out, self.count);
        out.extend_from_slice(&self.entries);
        self.names.clear();
        self.names_bytes = 0;
        self.entries.clear();
        self.last_key.clear();
        self.keys_bytes = 0;
        self.count = 0;
    }

    /// 1 + the name's index, adding it; 0 for none.
    fn name_index(&mut self, name: Option<&Name>) -> usize {
        let Some(name) = name else { return 0 };
        let found = self
            .names
            .iter()
            .position(|known| Arc::ptr_eq(known, name) || known == name);
        let index = found.unwrap_or_else(|| {
            self.names.push(Arc::clone(name));
            let bytes = size_bytes(name.len()).saturating_add(name.len());
            self.names_bytes = self.names_bytes.saturating_add(bytes);
            self.names.len().saturating_sub(1)
        });
        index.saturating_add(1)
    }
}

/// Writes an inner node child by child.
#[derive(Debug, Default)]
pub struct InnerWriter {
    entries: Vec<u8>,
    count: usize,
    last_key: Vec<u8>,
    keys_bytes: usize,
}

impl InnerWriter {
    /// Adds a child; first keys must ascend.
    pub fn push(&mut self, first: &[u8], id: &BlobId) {
        self.keys_bytes = self.keys_bytes.saturating_add(first.len());
        put_key(&mut self.entries, &mut self.last_key, first);
        self.entries.extend_from_slice(id.as_bytes());
        self.count = self.count.saturating_add(1);
    }

    /// Bytes of the node if it ended here.
    pub fn bytes(&self) -> usize {
        let head = size_bytes(self.count).saturating_add(2);
        self.entries.len().saturating_add(head)
    }

    /// Whether the node must end here, whatever its last key.
    pub fn is_full(&self) -> bool {
        is_full(self.bytes(), self.keys_bytes)
    }

    /// How many children were added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends the node's bytes to `out` and starts the next node.
    pub fn finish(&mut self, level: u8, out: &mut Vec<u8>) {
        out.push(level);
        put_size(out, 0);
        put_size(out, self.count);
        out.extend_from_slice(&self.entries);
        self.entries.clear();
        self.last_key.clear();
        self.keys_bytes = 0;
        self.count = 0;
    }
}

impl TreeNode {
    /// The node's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Leaf(entries) => {
                let mut writer = LeafWriter::default();
                for Entry { key, node } in entries {
                    writer.push(key, node);
                }
                writer.finish(&mut out);
            }
            Self::Inner(level, children) => {
                let mut writer = InnerWriter::default();
                for TreeChild { first, id } in children {
                    writer.push(first, id);
                }
                writer.finish(*level, &mut out);
            }
        }
        out
    }
}

impl Node {
    /// Refuses an entry that readers would refuse: a name, a target, attributes or extents beyond the
    /// format's limits. Writers call it before [`LeafWriter::push`] and leave such an entry out with a
    /// warning.
    pub fn validate(&self, key: &[u8]) -> Result<(), FormatError> {
        let (mut writer, mut out) = (LeafWriter::default(), Vec::new());
        writer.push(key, self);
        writer.finish(&mut out);
        // A reader's own word: no second list of rules that could differ from it.
        match TreeNode::decode(&out, 0)? {
            TreeNode::Leaf(entries) if matches!(entries.as_slice(), [entry] if entry.key == key && entry.node == *self) => {
                Ok(())
            }
            TreeNode::Leaf(_) | TreeNode::Inner(..) => Err(FormatError::NotCanonical),
        }
    }
}

const fn is_full(bytes: usize, keys_bytes: usize) -> bool {
    bytes > TREE_NODE_BYTES_TARGET_MAX || keys_bytes > TREE_NODE_KEYS_BYTES_TARGET_MAX
}

fn put_key(out: &mut Vec<u8>, last: &mut Vec<u8>, key: &[u8]) {
    let shared = last.iter().zip(key).take_while(|(a, b)| a == b).count();
    let rest = key.get(shared..).unwrap_or_default();
    put_size(out, shared);
    put_string(out, rest);
    last.truncate(shared);
    last.extend_from_slice(rest);
}

fn put_node(out: &mut Vec<u8>, node: &Node, user: usize, group: usize) {
    let flags = [
        (node.hard_link.is_some(), FLAG_HARD_LINK),
        (!node.xattrs.is_empty(), FLAG_XATTRS),
        (
            matches!(&node.kind, NodeKind::File(file) if file.extents.is_some()),
            FLAG_EXTENTS,
        ),
        (
            matches!(
                &node.kind,
                NodeKind::File(File {
                    content: Content::List { .. },
                    ..
                })
            ),
            FLAG_LIST,
        ),
    ];
    out.push(node.kind.code());
    put_varint(
        out,
        flags
            .iter()
            .filter(|(set, _)| *set)
            .fold(0, |all, (_, flag)| all | flag),
    );
    put_varint(out, u64::from(node.mode));
    put_varint(out, u64::from(node.uid));
    put_varint(out, u64::from(node.gid));
    put_size(out, user);
    put_size(out, group);
    put_zigzag(out, node.mtime.seconds);
    put_varint(out, u64::from(node.mtime.nanos));
    if let Some(link) = &node.hard_link {
        put_varint(out, link.device);
        put_varint(out, link.inode);
        put_varint(out, link.links);
    }
    if !node.xattrs.is_empty() {
        put_size(out, node.xattrs.len());
        for xattr in &node.xattrs {
            put_string(out, &xattr.name);
            put_string(out, &xattr.value);
        }
    }
    match &node.kind {
        NodeKind::Directory | NodeKind::Fifo => {}
        NodeKind::Symlink(target) => put_string(out, target),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
            put_varint(out, u64::from(device.major));
            put_varint(out, u64::from(device.minor));
        }
        NodeKind::File(file) => put_file(out, file),
    }
}

fn put_file(out: &mut Vec<u8>, file: &File) {
    put_varint(out, file.size);
    if let Some(extents) = &file.extents {
        put_size(out, extents.len());
        let mut end = 0_u64;
        for extent in extents {
            put_varint(out, extent.offset.saturating_sub(end));
            put_varint(out, extent.length);
            end = extent.offset.saturating_add(extent.length);
        }
    }
    match &file.content {
        Content::Chunks(chunks) => {
            put_size(out, chunks.len());
            for chunk in chunks {
                encode_chunk(chunk, out);
            }
        }
        Content::List { level, id } => {
            put_varint(out, u64::from(*level));
            out.extend_from_slice(id.as_bytes());
        }
    }
}
