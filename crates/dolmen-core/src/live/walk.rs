//! Down all manifests at once, level by level.

use std::path::{Path, PathBuf};

use dolmen_format::manifest::ManifestNode;
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{ObjectKey, SnapshotId};
use dolmen_state::sort::{Sorted, Sorter};

use super::lost::{Losses, LostNode, LostPart, NodeProblem};
use super::records::{NEED_BYTES, NODE_BYTES, Need, NodeId, NodeNeed};
use super::{Live, NodePlace, NodeSource};
use crate::error::{Error, Result};
use crate::pack::BlobError;
use crate::repository::Repository;
use crate::snapshots::MANIFEST_INFO;

/// Memory for the frames that are needed.
pub(super) const NEEDS_MEMORY_BYTES: usize = 32 << 20;
/// Memory for the nodes of one level; trees of more than three are no trees of a backup.
const LEVEL_MEMORY_BYTES: usize = 8 << 20;
/// Nodes that are read at a time; each has half a MiB at most.
const READS_MAX: usize = 32;

/// Finds what snapshots need.
#[derive(Debug)]
pub struct LiveWalk {
    folder: PathBuf,
    level_memory_bytes: usize,
    snapshots: Vec<ObjectKey>,
    /// Nodes to read, by their level. Those of the level that is being read were taken off the end.
    levels: Vec<Sorter<NODE_BYTES>>,
    needs: Sorter<NEED_BYTES>,
    lost: Losses,
    nodes_read: u64,
}

/// The snapshots that need something: the first and the last, in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needers {
    pub(super) promise_seconds: u64,
    pub(super) first: u32,
    pub(super) last: u32,
}

/// A node that was looked at, in one place or several.
#[derive(Debug)]
struct Visited {
    need: NodeNeed,
    found: std::result::Result<ManifestNode, NodeProblem>,
}

impl LiveWalk {
    /// Begins a walk that puts what does not fit into memory into files without a name in `folder`, which is there.
    pub fn new(folder: &Path) -> Self {
        Self::with_memory(folder, NEEDS_MEMORY_BYTES, LEVEL_MEMORY_BYTES)
    }

    pub(super) fn with_memory(folder: &Path, needs_bytes: usize, level_bytes: usize) -> Self {
        Self {
            folder: folder.to_path_buf(),
            level_memory_bytes: level_bytes,
            snapshots: Vec::new(),
            levels: Vec::new(),
            needs: Sorter::new(folder, needs_bytes, Need::combine),
            lost: Losses::default(),
            nodes_read: 0,
        }
    }

    /// Adds a verified snapshot or checkpoint that was promised to last for `promise_seconds`.
    ///
    /// A manifest that does not open is a loss, not an error.
    pub fn add(
        &mut self,
        repository: &Repository,
        id: SnapshotId,
        snapshot: &Snapshot,
        promise_seconds: u64,
    ) -> Result<()> {
        let key = ObjectKey::Snapshot(snapshot.stamp.writer, id);
        let aad = Snapshot::box_aad(&repository.id(), &snapshot.nonce);
        let maintain = repository.keys().maintain()?;
        match maintain.open(&snapshot.manifest, MANIFEST_INFO, &aad) {
            Ok(root) => self.add_root(key, &root, promise_seconds),
            Err(error) => {
                self.add_lost(key, NodeProblem::Sealed(error));
                Ok(())
            }
        }
    }

    /// Adds a snapshot whose manifest has this root.
    pub fn add_root(&mut self, key: ObjectKey, root: &[u8], promise_seconds: u64) -> Result<()> {
        let node = match ManifestNode::decode(root) {
            Ok(node) => node,
            Err(error) => {
                self.add_lost(key, NodeProblem::Encoding(error));
                return Ok(());
            }
        };
        let number = u32::try_from(self.snapshots.len()).unwrap_or(u32::MAX);
        self.snapshots.push(key);
        while self.levels.len() < usize::from(node.level()) {
            let combine = NodeNeed::combine;
            let level = Sorter::new(&self.folder, self.level_memory_bytes, combine);
            self.levels.push(level);
        }
        self.expand(
            &node,
            Needers {
                promise_seconds,
                first: number,
                last: number,
            },
        )
    }

    /// Adds a snapshot that is live and whose manifest cannot be had.
    pub fn add_lost(&mut self, snapshot: ObjectKey, problem: NodeProblem) {
        self.lost.add(LostNode {
            first: snapshot,
            last: snapshot,
            part: LostPart::Root,
            problem,
        });
    }

    /// Reads all nodes below the roots.
    ///
    /// Cost: each distinct node is read once. A reference that does not say truly where a node belongs or lies is a
    /// finding, and costs one more read.
    pub fn finish(mut self, source: &mut dyn NodeSource) -> Result<Live> {
        while let Some(level) = self.levels.pop() {
            let nodes = level.finish()?;
            self.read_level(&nodes, source)?;
        }
        Ok(Live {
            needs: self.needs.finish()?,
            lost: self.lost,
            nodes_read: self.nodes_read,
        })
    }

    /// Reads the nodes of the level that was taken off the end.
    fn read_level(
        &mut self,
        nodes: &Sorted<NODE_BYTES>,
        source: &mut dyn NodeSource,
    ) -> Result<()> {
        let mut nodes = nodes.iter();
        let mut visited: Option<Visited> = None;
        loop {
            let batch = nodes
                .by_ref()
                .take(READS_MAX)
                .map(|node| Ok(NodeNeed::decode(&node?)))
                .collect::<Result<Vec<_>>>()?;
            if batch.is_empty() {
                break;
            }
            let mut raw = source
                .read(&first_places(visited.as_ref(), &batch))?
                .into_iter();
            for need in batch {
                self.needs
                    .push(Need::of_frame(&need.place, need.by.promise_seconds).encode())?;
                match &mut visited {
                    Some(known) if known.need.id == need.id => {
                        self.visit_again(known, &need, source)?;
                    }
                    _ => {
                        let raw = raw.next().ok_or(MISSING_ANSWER)?;
                        let next = self.visit(need, raw)?;
                        self.leave(visited.replace(next));
                    }
                }
            }
        }
        self.leave(visited);
        Ok(())
    }

    /// Looks at a node for the first time.
    fn visit(
        &mut self,
        need: NodeNeed,
        raw: std::result::Result<Vec<u8>, BlobError>,
    ) -> Result<Visited> {
        let found = self.judge(&need, raw);
        if let Ok(node) = &found {
            self.expand(node, need.by)?;
        }
        Ok(Visited { need, found })
    }

    /// Looks at a node that is said to lie elsewhere too.
    fn visit_again(
        &mut self,
        known: &mut Visited,
        need: &NodeNeed,
        source: &mut dyn NodeSource,
    ) -> Result<()> {
        let by = known.need.by.and(need.by);
        match &known.found {
            // The same node, already counted as needed for as long.
            Ok(_) if by.promise_seconds == known.need.by.promise_seconds => {}
            Ok(node) => self.expand(node, by)?,
            Err(_) => {
                let raw = source.read(&[need.place])?.into_iter().next();
                if let Ok(node) = self.judge(need, raw.ok_or(MISSING_ANSWER)?) {
                    // For those too that ask for it where it is lost.
                    self.expand(&node, by)?;
                    known.found = Ok(node);
                }
            }
        }
        known.need.by = by;
        Ok(())
    }

    /// Notes a node that was found nowhere.
    fn leave(&mut self, visited: Option<Visited>) {
        if let Some(Visited {
            need,
            found: Err(problem),
        }) = visited
        {
            let snapshot = |number: u32| {
                let at = usize::try_from(number).unwrap_or(usize::MAX);
                self.snapshots.get(at).or(self.snapshots.last()).copied()
            };
            let (Some(first), Some(last)) = (snapshot(need.by.first), snapshot(need.by.last))
            else {
                return;
            };
            self.lost.add(LostNode {
                first,
                last,
                part: LostPart::Node(need.place),
                problem,
            });
        }
    }

    /// Decodes a node of the level that is being read, and holds it against what names it.
    fn judge(
        &mut self,
        need: &NodeNeed,
        raw: std::result::Result<Vec<u8>, BlobError>,
    ) -> std::result::Result<ManifestNode, NodeProblem> {
        let raw = raw.map_err(NodeProblem::Unreadable)?;
        self.nodes_read = self.nodes_read.saturating_add(1);
        if *blake3::hash(&raw).as_bytes() != need.id.hash {
            return Err(NodeProblem::Altered);
        }
        let node = ManifestNode::decode(&raw).map_err(NodeProblem::Encoding)?;
        let first = match &node {
            ManifestNode::Leaf(entries) => entries.first().map(|entry| entry.pack),
            ManifestNode::Inner(_, children) => children.first().map(|child| child.first),
        };
        if usize::from(node.level()) != self.levels.len() || first != Some(need.id.first) {
            return Err(NodeProblem::Misplaced);
        }
        Ok(node)
    }

    /// Notes what a node names.
    fn expand(&mut self, node: &ManifestNode, by: Needers) -> Result<()> {
        match node {
            ManifestNode::Leaf(entries) => {
                for entry in entries {
                    for need in Need::of_frames(entry, by.promise_seconds) {
                        self.needs.push(need.encode())?;
                    }
                }
            }
            ManifestNode::Inner(level, children) => {
                let below = usize::from(*level).checked_sub(1);
                let below = below.and_then(|below| self.levels.get_mut(below));
                let below = below.ok_or(Error::Internal {
                    what: "a manifest's level is not there",
                })?;
                for child in children {
                    let need = NodeNeed {
                        id: NodeId {
                            first: child.first,
                            hash: child.hash,
                        },
                        place: NodePlace {
                            pack: child.pack,
                            ordinal: child.ordinal,
                        },
                        by,
                    };
                    below.push(need.encode())?;
                }
            }
        }
        Ok(())
    }
}

const MISSING_ANSWER: Error = Error::Internal {
    what: "a node was asked for and not answered",
};

/// Where the nodes of a batch are looked for at first.
fn first_places(before: Option<&Visited>, batch: &[NodeNeed]) -> Vec<NodePlace> {
    let mut last = before.map(|visited| visited.need.id);
    batch
        .iter()
        .filter(|need| last.replace(need.id) != Some(need.id))
        .map(|need| need.place)
        .collect()
}

impl Needers {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            promise_seconds: self.promise_seconds.max(other.promise_seconds),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}
