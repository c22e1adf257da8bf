//! Walking a tree.

use dolmen_format::snapshot::TreeRoot;
use dolmen_format::tree::{Entry, TreeChild, TreeNode};
use dolmen_format::{BlobId, BlobKind};

use crate::pack::{BlobError, BlobReader};

/// Yields a tree's entries in the order of their keys, node by node; a damaged node loses only what
/// is below it.
#[derive(Debug)]
pub struct TreeReader<'a> {
    blobs: &'a BlobReader<'a>,
    /// What is still to be visited, the next last.
    stack: Vec<Pending>,
    /// The rest of the current leaf, in reverse.
    leaf: Vec<Entry>,
    prefix: Vec<u8>,
    /// Nothing below this key is wanted any more.
    skipped: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Pending {
    id: BlobId,
    level: u8,
    first: Vec<u8>,
    /// The first key behind it, where there is one.
    end: Option<Vec<u8>>,
}

/// The entries that a damaged node held.
#[derive(Debug)]
pub struct LostRange {
    /// First key lost; empty: from the beginning.
    pub first: Vec<u8>,
    /// First key behind; `None`: to the end.
    pub end: Option<Vec<u8>>,
    /// The node.
    pub node: BlobId,
    /// Why.
    pub error: BlobError,
}

impl<'a> TreeReader<'a> {
    /// Walks a whole tree.
    pub fn new(blobs: &'a BlobReader<'a>, root: TreeRoot) -> Self {
        Self::below(blobs, root, &[])
    }

    /// Walks the entry with the key `prefix` and what is below it; touches no node beside.
    pub fn below(blobs: &'a BlobReader<'a>, root: TreeRoot, prefix: &[u8]) -> Self {
        let pending = Pending {
            id: root.id,
            level: root.level,
            first: Vec::new(),
            end: None,
        };
        Self {
            blobs,
            stack: vec![pending],
            leaf: Vec::new(),
            prefix: prefix.to_vec(),
            skipped: None,
        }
    }

    /// Leaves out what is below `key`, the key of the entry that came last; nodes that hold nothing else are not read.
    pub fn skip_below(&mut self, key: Vec<u8>) {
        self.skipped = Some(key);
    }

    fn is_skipped(&self, key: &[u8]) -> bool {
        self.skipped
            .as_ref()
            .is_some_and(|skipped| key != skipped && is_below(key, skipped))
    }

    /// Whether all keys of a node are skipped: the first is, and so is the first behind it.
    fn is_node_skipped(&self, pending: &Pending) -> bool {
        self.is_skipped(&pending.first)
            && pending.end.as_ref().is_some_and(|end| self.is_skipped(end))
    }

    fn read(&self, pending: &Pending) -> Result<TreeNode, BlobError> {
        let blob = self.blobs.blob(&pending.id, BlobKind::Tree)?;
        TreeNode::decode(&blob, pending.level).map_err(|source| BlobError::Node {
            id: pending.id,
            source,
        })
    }

    fn push_children(&mut self, parent: &Pending, level: u8, children: Vec<TreeChild>) {
        let ends: Vec<_> = children
            .iter()
            .skip(1)
            .map(|child| Some(child.first.clone()))
            .collect();
        let ends = ends.into_iter().chain([parent.end.clone()]);
        let mut pending: Vec<_> = children
            .into_iter()
            .zip(ends)
            .map(|(child, end)| Pending {
                id: child.id,
                level: level.saturating_sub(1),
                first: child.first,
                end,
            })
            .filter(|child| self.wants(child))
            .collect();
        pending.reverse();
        self.stack.extend(pending);
    }

    /// Whether a node's range meets the prefix and all below it.
    fn wants(&self, pending: &Pending) -> bool {
        let ends_before = pending.end.as_ref().is_some_and(|end| end <= &self.prefix);
        let head = pending
            .first
            .get(..self.prefix.len())
            .unwrap_or(&pending.first);
        !ends_before && head <= self.prefix.as_slice()
    }
}

/// Whether `key` is `ancestor` or below it. The empty key is the ancestor of all.
pub fn is_below(key: &[u8], ancestor: &[u8]) -> bool {
    ancestor.is_empty()
        || key
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == 0))
}

impl Iterator for TreeReader<'_> {
    type Item = Result<Entry, LostRange>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(entry) = self.leaf.pop() {
                if is_below(&entry.key, &self.prefix) && !self.is_skipped(&entry.key) {
                    return Some(Ok(entry));
                }
            }
            let pending = self.stack.pop()?;
            if self.is_node_skipped(&pending) {
                continue;
            }
            match self.read(&pending) {
                Ok(TreeNode::Leaf(mut entries)) => {
                    entries.reverse();
                    self.leaf = entries;
                }
                Ok(TreeNode::Inner(level, children)) => {
                    self.push_children(&pending, level, children);
                }
                Err(error) => {
                    let Pending { id, first, end, .. } = pending;
                    return Some(Err(LostRange {
                        first,
                        end,
                        node: id,
                        error,
                    }));
                }
            }
        }
    }
}
