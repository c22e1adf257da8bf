//! Snapshots of a repository in which something changes all the time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;

use dolmen_format::PackId;
use dolmen_format::limits::{MANIFEST_NODE_ENTRIES_MAX, MANIFEST_ROOT_BYTES_MAX};
use dolmen_format::manifest::{FrameSet, ManifestChild, ManifestNode, PackFrames};

use crate::Result;
use crate::store::StoreWriter;

/// Frames of a pack.
const PACK_FRAMES: u64 = 32;
/// One frame in so many changes from a snapshot to the next.
const CHANGED_ONE_IN: u64 = 100;

/// A pack's id and which of its frames are needed.
type Pack = (PackId, u32);

/// Makes manifests, one after the other.
pub(crate) struct History {
    store: StoreWriter,
    /// Nodes that are stored already.
    known: HashMap<[u8; 32], (PackId, u32)>,
    /// What the latest snapshot needs, ascending.
    packs: Vec<Pack>,
    blobs: u64,
    draws: u64,
    made: Made,
}

/// What was made.
#[derive(Default)]
pub(crate) struct Made {
    packs: u64,
    frames: u64,
    nodes: u64,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            packs,
            frames,
            nodes,
        } = self;
        write!(
            f,
            "{packs} packs, {frames} frames, {nodes} nodes below the roots"
        )
    }
}

impl History {
    pub(crate) fn new(folder: &Path, blobs: u64) -> Result<Self> {
        Ok(Self {
            store: StoreWriter::create(folder)?,
            known: HashMap::new(),
            packs: Vec::new(),
            blobs,
            draws: 0,
            made: Made::default(),
        })
    }

    /// Makes the next snapshot.
    pub(crate) fn snapshot(&mut self) -> Result<()> {
        if self.packs.is_empty() {
            self.add(self.blobs);
        } else {
            let changed = self.blobs / CHANGED_ONE_IN;
            for _ in 0..changed {
                self.drop_frame();
            }
            self.packs.retain(|(_, frames)| *frames != 0);
            self.add(changed);
        }
        let root = self.manifest()?;
        self.store.add_root(&root)
    }

    pub(crate) fn finish(mut self) -> Result<Made> {
        self.made.packs += self.store.packs();
        self.made.frames += self.made.nodes;
        self.store.finish()?;
        Ok(self.made)
    }

    fn add(&mut self, mut blobs: u64) {
        self.made.frames += blobs;
        while blobs > 0 {
            let frames = blobs.min(PACK_FRAMES);
            let pack = PackId::of(&self.made.packs.to_le_bytes());
            self.packs.push((pack, u32::MAX >> (PACK_FRAMES - frames)));
            self.made.packs += 1;
            blobs -= frames;
        }
        self.packs.sort();
    }

    fn drop_frame(&mut self) {
        loop {
            let count = u64::try_from(self.packs.len()).unwrap_or(u64::MAX);
            let at = usize::try_from(self.draw() % count).unwrap_or(0);
            let bit = 1 << (self.draw() % PACK_FRAMES);
            if let Some((_, frames)) = self.packs.get_mut(at)
                && *frames & bit != 0
            {
                *frames &= !bit;
                return;
            }
        }
    }

    /// Splitmix: the same at each run.
    fn draw(&mut self) -> u64 {
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.draws;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Stores the nodes of the latest snapshot that are new, as a backup does, and returns the root.
    fn manifest(&mut self) -> Result<Vec<u8>> {
        let mut children = Vec::new();
        let mut leaf = Vec::new();
        let packs = std::mem::take(&mut self.packs);
        self.store.begin_level();
        for (pack, frames) in &packs {
            let entry = PackFrames {
                pack: *pack,
                frames: frame_set(*frames),
            };
            leaf.push(entry);
            if ends(0, pack, leaf.len()) {
                children.push(self.put(*pack_of(&leaf), &ManifestNode::Leaf(leaf.split_off(0)))?);
            }
        }
        if !leaf.is_empty() {
            children.push(self.put(*pack_of(&leaf), &ManifestNode::Leaf(leaf))?);
        }
        self.packs = packs;
        for level in 1_u8.. {
            let encoded = ManifestNode::Inner(level, children.clone()).encode();
            let ends_within = children
                .split_last()
                .is_some_and(|(_, rest)| rest.iter().any(|child| ends(level, &child.first, 1)));
            if encoded.len() <= MANIFEST_ROOT_BYTES_MAX && !ends_within {
                return Ok(encoded);
            }
            self.store.begin_level();
            let mut above = Vec::new();
            let mut node = Vec::new();
            for child in children {
                node.push(child);
                if ends(level, &child.first, node.len()) {
                    above.push(self.put_inner(level, node.split_off(0))?);
                }
            }
            if !node.is_empty() {
                above.push(self.put_inner(level, node)?);
            }
            children = above;
        }
        Err("a manifest has no root".into())
    }

    fn put_inner(&mut self, level: u8, children: Vec<ManifestChild>) -> Result<ManifestChild> {
        let first = children.first().ok_or("an inner node is empty")?.first;
        self.put(first, &ManifestNode::Inner(level, children))
    }

    fn put(&mut self, first: PackId, node: &ManifestNode) -> Result<ManifestChild> {
        let encoded = node.encode();
        let hash = *blake3::hash(&encoded).as_bytes();
        let place = match self.known.entry(hash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.made.nodes += 1;
                *new.insert(self.store.put(&encoded)?)
            }
        };
        let (pack, ordinal) = place;
        Ok(ManifestChild {
            first,
            pack,
            ordinal,
            hash,
        })
    }
}

fn ends(level: u8, pack: &PackId, entries: usize) -> bool {
    ManifestNode::ends_after(level, pack) || entries >= MANIFEST_NODE_ENTRIES_MAX
}

fn pack_of(leaf: &[PackFrames]) -> &PackId {
    const NONE: PackId = PackId::from_bytes([0; 32]);
    leaf.first().map_or(&NONE, |entry| &entry.pack)
}

fn frame_set(frames: u32) -> FrameSet {
    let mut set = FrameSet::default();
    for ordinal in (0..u32::BITS).filter(|at| frames >> at & 1 == 1) {
        let _representable = set.insert(ordinal);
    }
    set
}
