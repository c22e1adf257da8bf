//! What is kept of each node that was seen: the frames that it uses, and the nodes below it.

use std::collections::HashMap;

use crate::frames::{Cover, Run, runs};

/// A node's number within [`Nodes`].
pub(super) type NodeNumber = u32;

/// The first half of an id: enough to tell the nodes of a repository apart, since ids are keyed hashes that
/// nobody can aim at.
type Prefix = [u8; 16];

/// Nodes by their ids, shared by all snapshots that hold them.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    known: HashMap<Prefix, NodeNumber>,
    needs: Vec<Needs>,
    /// In which round each node was last visited.
    visited: Vec<u32>,
    round: u32,
}

/// What a node needs of the store.
#[derive(Debug)]
pub(super) struct Needs {
    pub(super) level: u8,
    /// Whether it and all below it can be had.
    pub(super) intact: bool,
    /// Bytes of content below a list node.
    pub(super) length: u64,
    children: Box<[NodeNumber]>,
    /// Frames that are needed, all of them.
    runs: Box<[Run]>,
    /// For blobs that lie in several places: of each of these, one frame is needed.
    choices: Box<[Box<[u64]>]>,
}

/// Gathers what a node needs.
#[derive(Debug)]
pub(super) struct NeedsBuilder {
    pub(super) level: u8,
    pub(super) intact: bool,
    pub(super) length: u64,
    children: Vec<NodeNumber>,
    frames: Vec<u64>,
    choices: Vec<Box<[u64]>>,
}

impl NeedsBuilder {
    pub(super) fn new(level: u8) -> Self {
        let (children, frames, choices) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            level,
            intact: true,
            length: 0,
            children,
            frames,
            choices,
        }
    }

    pub(super) fn push_child(&mut self, child: NodeNumber) {
        self.children.push(child);
    }

    /// Adds a blob that lies in one of these frames.
    pub(super) fn push_places(&mut self, mut places: Vec<u64>) {
        places.sort_unstable();
        places.dedup();
        match places.as_slice() {
            [] => {}
            [only] => self.frames.push(*only),
            _ => self.choices.push(places.into_boxed_slice()),
        }
        // A file of many small pieces uses few frames.
        if self.frames.len() >= FRAMES_MAX && self.frames.len() == self.frames.capacity() {
            self.frames.sort_unstable();
            self.frames.dedup();
        }
    }

    fn build(mut self) -> Needs {
        self.choices.sort_unstable();
        self.choices.dedup();
        Needs {
            level: self.level,
            intact: self.intact,
            length: self.length,
            children: self.children.into_boxed_slice(),
            runs: runs(self.frames),
            choices: self.choices.into_boxed_slice(),
        }
    }
}

/// Frames gathered before duplicates are thrown out.
const FRAMES_MAX: usize = 1 << 16;

impl Nodes {
    pub(super) fn find(&self, id: &[u8; 32]) -> Option<(NodeNumber, &Needs)> {
        let number = *self.known.get(&prefix(id))?;
        Some((number, self.get(number)?))
    }

    pub(super) fn get(&self, number: NodeNumber) -> Option<&Needs> {
        self.needs.get(usize::try_from(number).ok()?)
    }

    /// Keeps a node, in the place of what was known of it before.
    pub(super) fn insert(&mut self, id: &[u8; 32], needs: NeedsBuilder) -> NodeNumber {
        let end = u32::try_from(self.needs.len()).unwrap_or(u32::MAX);
        let number = *self.known.entry(prefix(id)).or_insert(end);
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(known) = self.needs.get_mut(at) {
            *known = needs.build();
        } else {
            self.needs.push(needs.build());
            self.visited.push(0);
        }
        number
    }

    /// Frames that a node and all below it need and that are not in `cover`; of a choice, its first one.
    pub(super) fn uncovered(&mut self, root: NodeNumber, cover: &Cover) -> Vec<u64> {
        self.round = self.round.saturating_add(1);
        let (mut stack, mut missing) = (vec![root], Vec::new());
        while let Some(number) = stack.pop() {
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            let (Some(needs), Some(visited)) = (self.needs.get(at), self.visited.get_mut(at))
            else {
                continue;
            };
            if std::mem::replace(visited, self.round) == self.round {
                continue;
            }
            let frames = needs.runs.iter().flat_map(|run| run.numbers());
            missing.extend(frames.filter(|frame| !cover.contains(*frame)));
            for choice in &needs.choices {
                if !choice.iter().any(|frame| cover.contains(*frame)) {
                    missing.extend(choice.first());
                }
            }
            stack.extend(needs.children.iter());
        }
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}

fn prefix(id: &[u8; 32]) -> Prefix {
    id.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_node_is_asked_for_by_everyone_above_it() {
        let mut nodes = Nodes::default();
        let mut leaf = NeedsBuilder::new(0);
        leaf.push_places(vec![1]);
        leaf.push_places(vec![5, 6]);
        let leaf = nodes.insert(&[1; 32], leaf);
        let mut root = NeedsBuilder::new(1);
        root.push_child(leaf);
        root.push_places(vec![2]);
        let root = nodes.insert(&[2; 32], root);
        assert!(nodes.find(&[1; 32]).is_some() && nodes.find(&[3; 32]).is_none());

        let mut cover = crate::frames::tests_cover(64);
        assert_eq!(nodes.uncovered(root, &cover), [1, 2, 5]);
        cover.insert(Run { first: 1, count: 2 });
        cover.insert(Run { first: 6, count: 1 });
        assert_eq!(nodes.uncovered(root, &cover), []);
        assert_eq!(nodes.uncovered(leaf, &cover), []);
    }
}
