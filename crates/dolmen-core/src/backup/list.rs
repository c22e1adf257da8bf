//! The list of a file's chunks: in the entry while it is short, else a tree of list nodes.

use dolmen_format::BlobKind;
use dolmen_format::limits::{INLINE_CHUNKS_MAX, LIST_NODE_ENTRIES_MAX};
use dolmen_format::list::{Chunk, ListNode};
use dolmen_format::tree::Content;

use crate::error::{Error, Result};
use crate::tree::StoredBlobs;

/// Chunks of a file that the files cache keeps: a tebibyte of content, 40 MB of memory. A longer file
/// is read again each time.
const CACHED_CHUNKS_MAX: usize = 1 << 20;

/// Takes chunks in order and makes the content of an entry; holds one node of each level.
#[derive(Debug, Default)]
pub(super) struct ListBuilder {
    /// The chunks while they are few.
    inline: Vec<Chunk>,
    levels: Vec<Level>,
    /// All chunks, for the cache; `None` once they are too many.
    all: Option<Vec<Chunk>>,
    length: u64,
}

#[derive(Debug, Default)]
struct Level {
    entries: Vec<Chunk>,
    nodes: u64,
}

/// What a builder made.
#[derive(Debug)]
pub(super) struct Listed {
    /// For the tree.
    pub(super) content: Content,
    /// For the files cache.
    pub(super) chunks: Option<Vec<Chunk>>,
    /// Bytes of content.
    pub(super) length: u64,
}

impl ListBuilder {
    pub(super) fn new() -> Self {
        Self {
            all: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Adds the next chunk.
    pub(super) fn push(&mut self, chunk: Chunk, blobs: &mut impl StoredBlobs) -> Result<()> {
        self.length = self.length.saturating_add(chunk.length);
        match &mut self.all {
            Some(all) if all.len() < CACHED_CHUNKS_MAX => all.push(chunk),
            _ => self.all = None,
        }
        if self.levels.is_empty() && self.inline.len() < INLINE_CHUNKS_MAX {
            self.inline.push(chunk);
            return Ok(());
        }
        for early in std::mem::take(&mut self.inline) {
            self.push_at(0, early, blobs)?;
        }
        self.push_at(0, chunk, blobs)
    }

    /// Writes what is left.
    pub(super) fn finish(mut self, blobs: &mut impl StoredBlobs) -> Result<Listed> {
        let (length, chunks) = (self.length, self.all.take());
        if self.levels.is_empty() {
            return Ok(Listed {
                content: Content::Chunks(self.inline),
                chunks,
                length,
            });
        }
        let mut at = 0;
        loop {
            if self
                .levels
                .get(at)
                .is_some_and(|level| !level.entries.is_empty())
            {
                self.end_node(at, blobs)?;
            }
            let Some(level) = self.levels.get(at) else {
                return Err(Error::Internal {
                    what: "a list without a root",
                });
            };
            let above = self.levels.get(at.saturating_add(1));
            if let (1, Some([root])) = (level.nodes, above.map(|above| above.entries.as_slice())) {
                let content = Content::List {
                    level: level_number(at),
                    id: root.id,
                };
                return Ok(Listed {
                    content,
                    chunks,
                    length,
                });
            }
            at = at.saturating_add(1);
        }
    }

    fn push_at(&mut self, at: usize, chunk: Chunk, blobs: &mut impl StoredBlobs) -> Result<()> {
        if self.levels.len() <= at {
            self.levels.push(Level::default());
        }
        let Some(level) = self.levels.get_mut(at) else {
            return Ok(());
        };
        level.entries.push(chunk);
        let lone = at > 0 && level.entries.len() == 1;
        let ends = ListNode::ends_after(&chunk.id) && !lone;
        if ends || level.entries.len() >= LIST_NODE_ENTRIES_MAX {
            return self.end_node(at, blobs);
        }
        Ok(())
    }

    fn end_node(&mut self, at: usize, blobs: &mut impl StoredBlobs) -> Result<()> {
        let Some(level) = self.levels.get_mut(at) else {
            return Ok(());
        };
        level.nodes = level.nodes.saturating_add(1);
        let entries = std::mem::take(&mut level.entries);
        let length = entries
            .iter()
            .fold(0_u64, |sum, entry| sum.saturating_add(entry.length));
        let node = ListNode {
            level: level_number(at),
            entries,
        };
        let id = blobs.store(BlobKind::List, &node.encode())?;
        self.push_at(at.saturating_add(1), Chunk { id, length }, blobs)
    }
}

fn level_number(at: usize) -> u8 {
    u8::try_from(at).unwrap_or(u8::MAX)
}
