//! Who tells what of all that was stored is needed.

use std::collections::BTreeSet;

use dolmen_format::{ObjectKey, WriterId};

use crate::snapshots::SnapshotList;

/// Writers with snapshots or checkpoints, be they retired, and the packs that records of moves name.
///
/// A writer that stored packs and has no snapshot was interrupted in its first backup, or its snapshots are gone: an
/// empty folder is no proof of death.
#[derive(Debug, Default)]
pub(super) struct Tellers {
    writers: BTreeSet<WriterId>,
    moved_into: BTreeSet<ObjectKey>,
    told: BTreeSet<WriterId>,
}

impl Tellers {
    /// Takes in what a list shows. What an earlier round of the same run showed stays: it deletes snapshots first.
    pub(super) fn hear(&mut self, list: &SnapshotList) {
        let writers = list.all().map(|entry| entry.snapshot.stamp.writer);
        self.writers.extend(writers);
        self.moved_into.extend(list.facts.moves.destinations());
    }

    /// Whether something tells if what a writer stored is needed.
    pub(super) fn tell(&self, writer: WriterId, key: &ObjectKey) -> bool {
        self.writers.contains(&writer) || self.moved_into.contains(key)
    }

    /// Whether a writer is met for the first time: it is told of once.
    pub(super) fn is_first_of(&mut self, writer: WriterId) -> bool {
        self.told.insert(writer)
    }
}
