//! The content of a file: its chunks in order, lists expanded on the way.

use dolmen_format::list::{Chunk, ListNode};
use dolmen_format::tree::Content;
use dolmen_format::{BlobId, BlobKind};

use crate::pack::{BlobError, BlobReader};

/// Yields the data chunks of a content, reading list nodes one at a time.
#[derive(Debug)]
pub struct Chunks<'a> {
    blobs: &'a BlobReader<'a>,
    /// What is left, the next last, each with its level: 0 is a data chunk.
    stack: Vec<(Chunk, u8)>,
}

impl<'a> Chunks<'a> {
    /// The chunks of a content.
    pub fn new(blobs: &'a BlobReader<'a>, content: &Content) -> Self {
        let stack = match content {
            Content::Chunks(chunks) => chunks.iter().rev().map(|chunk| (*chunk, 0)).collect(),
            // The length of a root is what its entries add up to.
            Content::List { level, id } => {
                vec![(Chunk { id: *id, length: 0 }, level.saturating_add(1))]
            }
        };
        Self { blobs, stack }
    }

    fn list(&self, id: &BlobId, level: u8) -> Result<ListNode, BlobError> {
        let blob = self.blobs.blob(id, BlobKind::List)?;
        ListNode::decode(&blob, level).map_err(|source| BlobError::Node { id: *id, source })
    }
}

impl Iterator for Chunks<'_> {
    /// A damaged list node ends the content: what follows it has no known place.
    type Item = Result<Chunk, BlobError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (chunk, level) = self.stack.pop()?;
            let Some(below) = level.checked_sub(1) else {
                return Some(Ok(chunk));
            };
            match self.list(&chunk.id, below) {
                Ok(node) => {
                    self.stack
                        .extend(node.entries.into_iter().rev().map(|entry| (entry, below)));
                }
                Err(error) => {
                    self.stack.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
