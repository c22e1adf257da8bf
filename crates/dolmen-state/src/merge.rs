//! Merging sorted streams.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Yields the items of several ascending iterators in ascending order; holds one item of each.
#[derive(Debug)]
pub(crate) struct Merge<I: Iterator> {
    sources: Vec<I>,
    heads: BinaryHeap<Reverse<(I::Item, usize)>>,
}

impl<I: Iterator<Item: Ord>> Merge<I> {
    /// Begins to merge; takes the first item of each source.
    pub(crate) fn new(mut sources: Vec<I>) -> Self {
        let heads = sources
            .iter_mut()
            .enumerate()
            .filter_map(|(at, source)| source.next().map(|item| Reverse((item, at))))
            .collect();
        Self { sources, heads }
    }
}

impl<I: Iterator<Item: Ord>> Iterator for Merge<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let Reverse((item, at)) = self.heads.pop()?;
        if let Some(next) = self.sources.get_mut(at).and_then(Iterator::next) {
            self.heads.push(Reverse((next, at)));
        }
        Some(item)
    }
}
