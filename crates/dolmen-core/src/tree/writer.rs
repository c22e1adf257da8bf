//! Writing a tree: entries in the order of their keys, nodes cut where their keys say so.

use dolmen_format::snapshot::TreeRoot;
use dolmen_format::tree::{InnerWriter, LeafWriter, Node, ends_after};
use dolmen_format::{BlobId, BlobKind};

use crate::error::Result;

/// Where the nodes of a tree or a list go.
pub trait StoredBlobs {
    /// Stores a blob unless it is there already; returns its id.
    fn store(&mut self, kind: BlobKind, blob: &[u8]) -> Result<BlobId>;
    /// What decides whether a node ends after a key: see `docs/format.md` §8.
    fn boundary(&self, level: u8, key: &[u8]) -> [u8; 32];
}

/// Builds a tree from the leaves up; holds one node of each level.
#[derive(Debug, Default)]
pub struct TreeWriter {
    leaf: LeafWriter,
    leaf_first: Vec<u8>,
    /// Inner levels, 1 first.
    inner: Vec<InnerLevel>,
    node: Vec<u8>,
}

#[derive(Debug, Default)]
struct InnerLevel {
    writer: InnerWriter,
    first: Vec<u8>,
    /// The child that was pushed last.
    last_child: Option<BlobId>,
    /// Children of all nodes of this level.
    children: u64,
}

impl TreeWriter {
    /// Adds an entry; keys must ascend.
    pub fn push(&mut self, key: &[u8], node: &Node, blobs: &mut impl StoredBlobs) -> Result<()> {
        if self.leaf.is_empty() {
            self.leaf_first = key.to_vec();
        }
        self.leaf.push(key, node);
        if ends_after(&blobs.boundary(0, key)) || self.leaf.is_full() {
            self.end_leaf(blobs)?;
        }
        Ok(())
    }

    /// Writes what is left and returns the root.
    pub fn finish(mut self, blobs: &mut impl StoredBlobs) -> Result<TreeRoot> {
        if !self.leaf.is_empty() || self.inner.is_empty() {
            self.end_leaf(blobs)?;
        }
        let mut below = 0_u8;
        loop {
            let at = usize::from(below);
            let Some(level) = self.inner.get(at) else {
                return Err(crate::Error::Internal {
                    what: "a tree without a root",
                });
            };
            if let (1, Some(id)) = (level.children, level.last_child) {
                return Ok(TreeRoot { id, level: below });
            }
            if level.writer.count() > 0 {
                self.end_inner(at, blobs)?;
            }
            below = below.saturating_add(1);
        }
    }

    fn end_leaf(&mut self, blobs: &mut impl StoredBlobs) -> Result<()> {
        self.node.clear();
        self.leaf.finish(&mut self.node);
        let id = blobs.store(BlobKind::Tree, &self.node)?;
        let first = std::mem::take(&mut self.leaf_first);
        self.push_child(0, first, id, blobs)
    }

    /// Adds a child to the inner level at position `at`, whose level is one more.
    fn push_child(
        &mut self,
        at: usize,
        first: Vec<u8>,
        id: BlobId,
        blobs: &mut impl StoredBlobs,
    ) -> Result<()> {
        if self.inner.len() <= at {
            self.inner.push(InnerLevel::default());
        }
        let level_number = level_of(at);
        let Some(level) = self.inner.get_mut(at) else {
            return Err(crate::Error::Internal {
                what: "a tree level is missing",
            });
        };
        level.writer.push(&first, &id);
        level.children += 1;
        level.last_child = Some(id);
        let ends = ends_after(&blobs.boundary(level_number, &first)) || level.writer.is_full();
        let is_lone = level.writer.count() == 1;
        if is_lone {
            level.first = first;
        }
        // A lone child is no reason for a node: it may be the root.
        if ends && !is_lone {
            self.end_inner(at, blobs)
        } else {
            Ok(())
        }
    }

    fn end_inner(&mut self, at: usize, blobs: &mut impl StoredBlobs) -> Result<()> {
        let Some(level) = self.inner.get_mut(at) else {
            return Ok(());
        };
        self.node.clear();
        level.writer.finish(level_of(at), &mut self.node);
        let first = std::mem::take(&mut level.first);
        let id = blobs.store(BlobKind::Tree, &self.node)?;
        self.push_child(at.saturating_add(1), first, id, blobs)
    }
}

/// The level of the node that is built at a position of the inner levels.
fn level_of(at: usize) -> u8 {
    u8::try_from(at).unwrap_or(u8::MAX).saturating_add(1)
}
