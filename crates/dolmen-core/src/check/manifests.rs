//! Manifests: opened, read down to the leaves, each node once.

use std::collections::{BTreeSet, HashMap};

use dolmen_format::PackId;
use dolmen_format::manifest::{ManifestChild, ManifestNode};
use dolmen_format::snapshot::Snapshot;

use super::Progress;
use super::packs::Health;
use crate::error::Result;
use crate::finding::chain;
use crate::frames::{Cover, FrameNumbers, Run, runs};
use crate::pack::reader::FrameOpener;
use crate::pack::{BlobError, BlobReader};
use crate::snapshots::MANIFEST_INFO;

/// Reads the manifests of all snapshots.
pub(super) struct Manifests<'a> {
    blobs: &'a BlobReader<'a>,
    health: &'a Health<'a>,
    numbers: &'a FrameNumbers,
    progress: &'a Progress,
    opener: FrameOpener,
    /// Nodes below the roots, by the hashes of their bytes.
    known: HashMap<[u8; 32], Summary>,
    /// Packs that are named, or hold a node, and are not there.
    missing: BTreeSet<PackId>,
}

/// What a manifest names.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) cover: Cover,
    /// Packs that the index does not know.
    pub(super) unknown: Vec<PackId>,
    /// Packs that are not there.
    pub(super) missing: Vec<PackId>,
}

/// What is kept of a node.
#[derive(Debug, Clone)]
struct Summary {
    level: u8,
    first: Option<PackId>,
    children: Vec<ManifestChild>,
    runs: Box<[Run]>,
    unknown: Vec<PackId>,
    missing: Vec<PackId>,
}

/// The outer error stops the check, the inner says what is damaged.
type Checked<T> = Result<std::result::Result<T, String>>;

impl<'a> Manifests<'a> {
    pub(super) fn new(
        blobs: &'a BlobReader<'a>,
        health: &'a Health<'a>,
        numbers: &'a FrameNumbers,
        progress: &'a Progress,
    ) -> Self {
        let (opener, known, missing) = (FrameOpener::new(), HashMap::new(), BTreeSet::new());
        Self {
            blobs,
            health,
            numbers,
            progress,
            opener,
            known,
            missing,
        }
    }

    /// Packs that manifests need and that are not there.
    pub(super) fn missing(&self) -> impl Iterator<Item = PackId> {
        self.missing.iter().copied()
    }

    /// Reads a whole manifest.
    ///
    /// Cost: up to two requests for each node that was not read before.
    pub(super) fn read(&mut self, snapshot: &Snapshot) -> Checked<Named> {
        let repository = self.blobs.repository();
        let aad = Snapshot::box_aad(&repository.id(), &snapshot.nonce);
        let maintain = repository.keys().maintain()?;
        let plain = match maintain.open(&snapshot.manifest, MANIFEST_INFO, &aad) {
            Ok(plain) => plain,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let root = match ManifestNode::decode(&plain) {
            Ok(root) => self.summarize(root)?,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let (cover, unknown, missing) = (self.numbers.cover(), Vec::new(), Vec::new());
        let mut named = Named {
            cover,
            unknown,
            missing,
        };
        // What is still to be read, with its parent's level.
        let mut stack: Vec<(ManifestChild, u8)> = Vec::new();
        named.take(&root, &mut stack);
        while let Some((child, above)) = stack.pop() {
            self.progress.check_cancelled()?;
            let node = match self.node(&child)? {
                Ok(node) => node,
                Err(problem) => return Ok(Err(problem)),
            };
            if node.level.checked_add(1) != Some(above) || node.first != Some(child.first) {
                return Ok(Err("a node lies out of its place".to_owned()));
            }
            named.take(node, &mut stack);
        }
        self.missing.extend(&named.missing);
        Ok(Ok(named))
    }

    fn node(&mut self, child: &ManifestChild) -> Checked<&Summary> {
        if !self.known.contains_key(&child.hash) {
            let raw = match self.read_node(child)? {
                Ok(raw) => raw,
                Err(error) => {
                    return match error.outage() {
                        Some(outage) => Err(outage),
                        None => Ok(Err(chain(&error))),
                    };
                }
            };
            if *blake3::hash(&raw).as_bytes() != child.hash {
                return Ok(Err(format!("a node in pack {} is another", child.pack)));
            }
            match ManifestNode::decode(&raw) {
                Ok(node) => {
                    let summary = self.summarize(node)?;
                    self.known.insert(child.hash, summary);
                }
                Err(error) => return Ok(Err(chain(&error))),
            }
        }
        Ok(self
            .known
            .get(&child.hash)
            .ok_or_else(|| "a node vanished".to_owned()))
    }

    /// Reads the frame that holds a node alone.
    fn read_node(
        &mut self,
        child: &ManifestChild,
    ) -> Result<std::result::Result<Vec<u8>, BlobError>> {
        let lost = BlobError::Frame {
            pack: child.pack,
            ordinal: child.ordinal,
        };
        let Some(pack) = self.blobs.index().find_pack(&child.pack) else {
            return Ok(Err(lost));
        };
        if !self.health.has(self.blobs, pack, child.ordinal)? {
            self.missing.insert(child.pack);
            return Ok(Err(lost));
        }
        let mut raw = Vec::new();
        let opened = self
            .blobs
            .open_frame(pack, child.ordinal, &mut self.opener, &mut raw);
        Ok(opened.map(|()| raw))
    }

    fn summarize(&self, node: ManifestNode) -> Result<Summary> {
        let index = self.blobs.index();
        let mut summary = Summary {
            level: node.level(),
            first: None,
            children: Vec::new(),
            runs: Box::default(),
            unknown: Vec::new(),
            missing: Vec::new(),
        };
        match node {
            ManifestNode::Inner(_, children) => {
                summary.first = children.first().map(|child| child.first);
                summary.children = children;
            }
            ManifestNode::Leaf(entries) => {
                summary.first = entries.first().map(|entry| entry.pack);
                let mut frames = Vec::new();
                for entry in &entries {
                    let Some(pack) = index.find_pack(&entry.pack) else {
                        summary.unknown.push(entry.pack);
                        continue;
                    };
                    if !self.health.is_present(self.blobs, pack, &entry.frames)? {
                        summary.missing.push(entry.pack);
                    }
                    // A bit without a frame would count as the next pack's.
                    let known = entry
                        .frames
                        .iter()
                        .filter(|at| index.frame(pack, *at).is_some());
                    frames.extend(known.map(|ordinal| self.numbers.number(pack, ordinal)));
                }
                summary.runs = runs(frames);
            }
        }
        Ok(summary)
    }
}

impl Named {
    fn take(&mut self, node: &Summary, stack: &mut Vec<(ManifestChild, u8)>) {
        for run in &node.runs {
            self.cover.insert(*run);
        }
        self.unknown.extend(&node.unknown);
        self.missing.extend(&node.missing);
        stack.extend(node.children.iter().map(|child| (*child, node.level)));
    }
}

#[cfg(test)]
mod tests;
