//! Walks the trees of all snapshots, each node once.

use std::collections::{BTreeMap, HashMap};

use dolmen_format::list::{Chunk, ListNode};
use dolmen_format::snapshot::TreeRoot;
use dolmen_format::tree::{Content, Entry, File, NodeKind, TreeChild, TreeNode};
use dolmen_format::{BlobId, BlobKind, PackId};
use dolmen_state::index::{Location, PackRef};

use super::Progress;
use super::nodes::{NeedsBuilder, NodeNumber, Nodes};
use super::packs::Health;
use super::sink::Sink;
use crate::error::{Error, Result};
use crate::finding::chain;
use crate::frames::{Cover, FrameNumbers};
use crate::pack::{BlobError, BlobReader};

/// Files and ranges named for each cause; more are only counted.
const NAMED_MAX: u64 = 100;
/// Files and ranges named in all.
const NAMED_IN_ALL_MAX: u64 = 10_000;

/// The walk over all trees.
pub(super) struct Trees<'a> {
    blobs: &'a BlobReader<'a>,
    health: &'a Health<'a>,
    numbers: &'a FrameNumbers,
    sink: &'a Sink<'a>,
    progress: &'a Progress,
    nodes: Nodes,
    /// Why list nodes cannot be had.
    lists: HashMap<NodeNumber, Problem>,
    causes: BTreeMap<Cause, u64>,
    named: u64,
    /// Whether something is in no segment.
    pub(super) misses_blobs: bool,
}

/// What keeps a file from being restored.
#[derive(Debug, Clone)]
struct Problem {
    cause: Cause,
    text: String,
}

/// What several files may suffer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The index does not know a blob.
    Unknown,
    /// The index knows it as something else.
    Mismatch,
    /// A pack is missing or damaged.
    Pack(PackRef),
    /// A node does not decode, or contradicts what is above it.
    Node,
}

/// The part of a tree that a node holds.
#[derive(Debug, Clone)]
struct Span {
    /// The first key, as the node above says; `None` for the root.
    first: Option<Vec<u8>>,
    /// The first key behind it.
    end: Option<Vec<u8>>,
}

/// The outer error stops the check, the inner is damage.
type Checked<T> = Result<std::result::Result<T, Problem>>;

impl<'a> Trees<'a> {
    pub(super) fn new(
        blobs: &'a BlobReader<'a>,
        health: &'a Health<'a>,
        numbers: &'a FrameNumbers,
        sink: &'a Sink<'a>,
        progress: &'a Progress,
    ) -> Self {
        Self {
            blobs,
            health,
            numbers,
            sink,
            progress,
            nodes: Nodes::default(),
            lists: HashMap::new(),
            causes: BTreeMap::new(),
            named: 0,
            misses_blobs: false,
        }
    }

    /// Walks what is new in a snapshot's tree, and again what is known to be damaged; findings name the
    /// snapshot. Returns the root and whether all of it is there.
    pub(super) fn check(&mut self, snapshot: &str, root: TreeRoot) -> Result<(NodeNumber, bool)> {
        let whole = Span {
            first: None,
            end: None,
        };
        let number = self.tree(snapshot, &whole, &root.id, root.level)?;
        Ok((number, self.is_intact(number)))
    }

    /// The frames that a tree needs and that `cover` lacks.
    pub(super) fn uncovered(&mut self, root: NodeNumber, cover: &Cover) -> Vec<u64> {
        self.nodes.uncovered(root, cover)
    }

    /// Packs for whose sake something cannot be restored.
    pub(super) fn hurting_packs(&self) -> impl Iterator<Item = PackId> {
        self.causes.keys().filter_map(|cause| match cause {
            Cause::Pack(pack) => self.blobs.index().pack(*pack).map(|info| info.pack),
            Cause::Unknown | Cause::Mismatch | Cause::Node => None,
        })
    }

    /// Says how many more files each cause takes with it than were named.
    pub(super) fn finish(&self) {
        for (cause, count) in &self.causes {
            let subject = match cause {
                Cause::Unknown => "the index".to_owned(),
                Cause::Mismatch => "the index and the trees".to_owned(),
                Cause::Pack(pack) => match self.blobs.index().pack(*pack) {
                    Some(info) => format!("pack {}", info.pack),
                    None => "a pack".to_owned(),
                },
                Cause::Node => "damaged nodes".to_owned(),
            };
            if let more @ 1.. = count.saturating_sub(NAMED_MAX) {
                self.sink
                    .finding(subject, format!("{more} more files suffer from it"));
            }
        }
    }

    fn tree(&mut self, snapshot: &str, span: &Span, id: &BlobId, level: u8) -> Result<NodeNumber> {
        self.progress.check_cancelled()?;
        if let Some((number, known)) = self.nodes.find(id.as_bytes()) {
            let settled = known.intact || self.named >= NAMED_IN_ALL_MAX;
            if settled && known.level == level {
                return Ok(number);
            }
        }
        let mut needs = NeedsBuilder::new(level);
        match self.read_tree(span, id, level, &mut needs)? {
            Ok(TreeNode::Leaf(entries)) => {
                for entry in &entries {
                    self.entry(snapshot, entry, &mut needs)?;
                }
            }
            Ok(TreeNode::Inner(_, children)) => {
                self.children(snapshot, span, &children, &mut needs)?;
            }
            Err(problem) => {
                needs.intact = false;
                let subject = format!("snapshot {snapshot}: {}", text_of(span));
                self.report(&subject, &problem);
            }
        }
        Ok(self.nodes.insert(id.as_bytes(), needs))
    }

    fn read_tree(
        &mut self,
        span: &Span,
        id: &BlobId,
        level: u8,
        needs: &mut NeedsBuilder,
    ) -> Checked<TreeNode> {
        let blob = match self.node_blob(id, BlobKind::Tree, needs)? {
            Ok(blob) => blob,
            Err(problem) => return Ok(Err(problem)),
        };
        let node = match TreeNode::decode(&blob, level) {
            Ok(node) => node,
            Err(error) => return Ok(Err(node_problem(id, &chain(&error)))),
        };
        let (first, last) = match &node {
            TreeNode::Leaf(entries) => (
                entries.first().map(|entry| &entry.key),
                entries.last().map(|entry| &entry.key),
            ),
            TreeNode::Inner(_, children) => (
                children.first().map(|child| &child.first),
                children.last().map(|child| &child.first),
            ),
        };
        let begins = span.first.is_none() || first == span.first.as_ref();
        let ends = span
            .end
            .as_ref()
            .is_none_or(|end| last.is_none_or(|last| last < end));
        if begins && ends {
            Ok(Ok(node))
        } else {
            Ok(Err(node_problem(id, "it lies out of its place")))
        }
    }

    fn children(
        &mut self,
        snapshot: &str,
        span: &Span,
        children: &[TreeChild],
        needs: &mut NeedsBuilder,
    ) -> Result<()> {
        let ends = children
            .iter()
            .skip(1)
            .map(|child| Some(&child.first))
            .chain([span.end.as_ref()]);
        for (child, end) in children.iter().zip(ends) {
            let below = Span {
                first: Some(child.first.clone()),
                end: end.cloned(),
            };
            let level = needs.level.saturating_sub(1);
            let number = self.tree(snapshot, &below, &child.id, level)?;
            needs.intact &= self.is_intact(number);
            needs.push_child(number);
        }
        Ok(())
    }

    fn entry(&mut self, snapshot: &str, entry: &Entry, needs: &mut NeedsBuilder) -> Result<()> {
        let NodeKind::File(file) = &entry.node.kind else {
            return Ok(());
        };
        if let Err(problem) = self.file(file, needs)? {
            needs.intact = false;
            let subject = format!("snapshot {snapshot}: {}", text_of_path(&entry.key));
            self.report(&subject, &problem);
        }
        Ok(())
    }

    fn file(&mut self, file: &File, needs: &mut NeedsBuilder) -> Checked<()> {
        match &file.content {
            Content::Chunks(chunks) => self.chunks(chunks, needs),
            Content::List { level, id } => {
                let extents = file.extents.as_ref().map(|extents| {
                    extents
                        .iter()
                        .fold(0_u64, |sum, extent| sum.saturating_add(extent.length))
                });
                self.list_child(id, *level, extents.unwrap_or(file.size), needs)
            }
        }
    }

    /// Finds places for data blobs.
    fn chunks(&mut self, chunks: &[Chunk], needs: &mut NeedsBuilder) -> Checked<()> {
        let mut outcome = Ok(());
        for chunk in chunks {
            let placed = self.place(&chunk.id, BlobKind::Data, Some(chunk.length), needs)?;
            outcome = outcome.and(placed);
        }
        Ok(outcome)
    }

    fn list_child(
        &mut self,
        id: &BlobId,
        level: u8,
        length: u64,
        needs: &mut NeedsBuilder,
    ) -> Checked<()> {
        let number = self.list(id, level)?;
        needs.push_child(number);
        let Some(list) = self.nodes.get(number) else {
            return Err(Error::Internal {
                what: "a list node vanished",
            });
        };
        if let Some(problem) = self.lists.get(&number) {
            return Ok(Err(problem.clone()));
        }
        if (list.level, list.length) != (level, length) {
            return Ok(Err(node_problem(
                id,
                "its length or level is not what is said of it",
            )));
        }
        Ok(Ok(()))
    }

    /// Walks a list node unless it is known; whether it is damaged is in `lists`.
    fn list(&mut self, id: &BlobId, level: u8) -> Result<NodeNumber> {
        self.progress.check_cancelled()?;
        if let Some((number, _)) = self.nodes.find(id.as_bytes()) {
            return Ok(number);
        }
        let mut needs = NeedsBuilder::new(level);
        let outcome = match self.node_blob(id, BlobKind::List, &mut needs)? {
            Ok(blob) => match ListNode::decode(&blob, level) {
                Ok(node) => self.list_entries(&node, &mut needs)?,
                Err(error) => Err(node_problem(id, &chain(&error))),
            },
            Err(problem) => Err(problem),
        };
        needs.intact = outcome.is_ok();
        let number = self.nodes.insert(id.as_bytes(), needs);
        if let Err(problem) = outcome {
            self.lists.insert(number, problem);
        }
        Ok(number)
    }

    fn list_entries(&mut self, node: &ListNode, needs: &mut NeedsBuilder) -> Checked<()> {
        needs.length = node
            .entries
            .iter()
            .fold(0, |sum, entry| sum.saturating_add(entry.length));
        let Some(below) = node.level.checked_sub(1) else {
            return self.chunks(&node.entries, needs);
        };
        let mut outcome = Ok(());
        for entry in &node.entries {
            let child = self.list_child(&entry.id, below, entry.length, needs)?;
            outcome = outcome.and(child);
        }
        Ok(outcome)
    }

    /// Reads a node and notes where it lies.
    fn node_blob(
        &mut self,
        id: &BlobId,
        kind: BlobKind,
        needs: &mut NeedsBuilder,
    ) -> Checked<Vec<u8>> {
        if let Err(problem) = self.place(id, kind, None, needs)? {
            return Ok(Err(problem));
        }
        match self.blobs.blob(id, kind) {
            Ok(blob) => Ok(Ok(blob)),
            Err(error) => match error.outage() {
                Some(outage) => Err(outage),
                None => Ok(Err(self.blob_problem(id, &error))),
            },
        }
    }

    fn blob_problem(&self, id: &BlobId, error: &BlobError) -> Problem {
        let cause = match self.blobs.index().lookup(id) {
            Some(at) => Cause::Pack(at.pack),
            None => Cause::Unknown,
        };
        Problem {
            cause,
            text: chain(error),
        }
    }

    /// Notes the frames in which a blob lies and can be had.
    fn place(
        &mut self,
        id: &BlobId,
        kind: BlobKind,
        length: Option<u64>,
        needs: &mut NeedsBuilder,
    ) -> Checked<()> {
        let mut places = self.blobs.index().locations(id);
        let problem = |cause, text| Ok(Err(Problem { cause, text }));
        if places.is_empty() {
            self.misses_blobs = true;
            let text = format!("needs blob {id}, which the index does not know");
            return problem(Cause::Unknown, text);
        }
        places.retain(|at| fits(at, kind, length));
        let Some(any) = places.first().map(|at| at.pack) else {
            let text = format!("the index knows blob {id} as something else");
            return problem(Cause::Mismatch, text);
        };
        let mut numbers = Vec::with_capacity(places.len());
        for at in &places {
            if self.health.has(self.blobs, at.pack, at.ordinal)? {
                numbers.push(self.numbers.number(at.pack, at.ordinal));
            }
        }
        if numbers.is_empty() {
            return problem(Cause::Pack(any), self.health.problem(any));
        }
        needs.push_places(numbers);
        Ok(Ok(()))
    }

    fn report(&mut self, subject: &str, problem: &Problem) {
        let count = self.causes.entry(problem.cause).or_default();
        *count = count.saturating_add(1);
        if *count <= NAMED_MAX && self.named < NAMED_IN_ALL_MAX {
            self.named = self.named.saturating_add(1);
            self.sink.finding(subject, &problem.text);
        }
    }

    fn is_intact(&self, number: NodeNumber) -> bool {
        self.nodes.get(number).is_some_and(|needs| needs.intact)
    }
}

fn fits(at: &Location, kind: BlobKind, length: Option<u64>) -> bool {
    at.kind == kind && length.is_none_or(|length| length == u64::from(at.length))
}

fn node_problem(id: &BlobId, text: &str) -> Problem {
    Problem {
        cause: Cause::Node,
        text: format!("node {id} is damaged: {text}"),
    }
}

fn text_of(span: &Span) -> String {
    let first = span.first.as_deref().map(text_of_path);
    match (first, span.end.as_deref().map(text_of_path)) {
        (None, None) => "everything".to_owned(),
        (None, Some(end)) => format!("everything before {end}"),
        (Some(first), None) => format!("{first} and everything behind it"),
        (Some(first), Some(end)) => format!("{first} and everything behind it, before {end}"),
    }
}

/// A path key as a user knows it.
fn text_of_path(key: &[u8]) -> String {
    let path: Vec<u8> = key
        .iter()
        .map(|byte| if *byte == 0 { b'/' } else { *byte })
        .collect();
    format!("/{}", String::from_utf8_lossy(&path))
}
