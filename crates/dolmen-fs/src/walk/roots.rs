//! The roots of a walk as a tree.

use crate::key::PathKey;
use std::collections::BTreeMap;

/// A directory that is a root or leads to roots.
#[derive(Debug, Default)]
pub(super) struct RootNode {
    /// Whether the path to here is itself a root.
    pub(super) is_root: bool,
    children: BTreeMap<Box<[u8]>, Self>,
}

impl RootNode {
    /// Joins the roots of one place to a tree that starts there.
    pub(super) fn new<'k>(roots: impl IntoIterator<Item = &'k PathKey>) -> Self {
        let mut top = Self::default();
        for root in roots {
            let mut node = &mut top;
            for name in root.components() {
                node = node.children.entry(name.into()).or_default();
            }
            node.is_root = true;
        }
        top
    }

    /// The root or the way to roots that `name` in this directory is.
    pub(super) fn child(&self, name: &[u8]) -> Option<&Self> {
        self.children.get(name)
    }

    /// Whether there are roots further down.
    pub(super) fn leads_on(&self) -> bool {
        !self.children.is_empty()
    }

    /// The names that lead on, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.children.keys().map(|name| &**name)
    }

    /// The keys of all roots below this node, in order, where `key` is its own.
    pub(super) fn named_below(&self, key: &PathKey) -> Vec<PathKey> {
        let mut found = Vec::new();
        let mut open: Vec<(PathKey, &Self)> = self.children_last_first(key).collect();
        while let Some((key, node)) = open.pop() {
            open.extend(node.children_last_first(&key));
            if node.is_root {
                found.push(key);
            }
        }
        found
    }

    fn children_last_first<'a>(
        &'a self,
        key: &PathKey,
    ) -> impl Iterator<Item = (PathKey, &'a Self)> {
        self.children
            .iter()
            .rev()
            .map(|(name, child)| (key.join(name), child))
    }
}
