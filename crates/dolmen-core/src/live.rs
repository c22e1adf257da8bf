//! What live snapshots need: which frames of which packs, and for how long.
//!
//! A manifest is a tree whose nodes snapshots share. [`LiveWalk`] goes down all trees at once, level by level. The nodes
//! of a level are sorted by what names them, so that each is read once and carries the longest promise of all snapshots
//! that need it; the frames that they name are sorted by pack. Both by a [`Sorter`](dolmen_state::Sorter): memory is some 80 MiB, and about 100
//! bytes for each snapshot, whatever the number of blobs, packs and nodes.
//!
//! Nodes are read in the order of their packs, and a node's children come one after the other: most of what is said of a
//! pack is said in a row, and combined before it ever leaves memory.
//!
//! What cannot be read takes nothing else with it, but what it names is then not known: there is no [`CompleteLive`], and
//! whatever deletes asks for one.

mod listed;
mod lost;
mod placed;
mod records;
mod source;
#[cfg(test)]
mod tests;
mod walk;

use std::iter::Peekable;

use dolmen_format::PackId;
use dolmen_format::manifest::FrameSet;
use dolmen_state::sort::{Sorted, SortedRecords};

use self::lost::Losses;
use self::records::{NEED_BYTES, Need};
use crate::error::Result;
use crate::pack::BlobError;

pub(crate) use listed::NeededOf;
pub use lost::{LOST_MAX, LostNode, LostPart, NodeProblem};
pub(crate) use placed::Placed;
pub use source::StoredNodes;
pub use walk::LiveWalk;

/// Promise of what is only kept until its lease lapses, which no live snapshot needs.
pub(crate) const ENDED: u64 = 0;
/// Promise of what lives, for whoever asks of it no more than that.
pub(crate) const LIVES: u64 = 1;

/// Where a node lies: the frame that it has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodePlace {
    /// Origin pack of the frame.
    pub pack: PackId,
    /// The frame's ordinal.
    pub ordinal: u32,
}

/// Reads nodes of manifests.
pub trait NodeSource {
    /// Reads the frames at `places`, opened: one answer for each, in their order. They are not believed.
    ///
    /// The outer error stops the walk, an inner one says why this node cannot be had.
    fn read(
        &mut self,
        places: &[NodePlace],
    ) -> Result<Vec<std::result::Result<Vec<u8>, BlobError>>>;
}

/// What is known of what snapshots need.
#[derive(Debug)]
pub struct Live {
    needs: Sorted<NEED_BYTES>,
    lost: Losses,
    nodes_read: u64,
}

/// What snapshots need, all of it: what is not in here, none of them needs.
///
/// It says nothing of a snapshot that was not added: whoever deletes sees to it that all of them were.
#[derive(Debug, Clone, Copy)]
pub struct CompleteLive<'a>(&'a Live);

/// The frames of a pack that are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePack {
    /// The origin pack; of what `Live::placed` finds, the pack in which they lie.
    pub pack: PackId,
    /// Its frames that any snapshot needs, by their ordinals or by their positions.
    pub frames: FrameSet,
    /// The longest promise of the snapshots that need any of them.
    pub promise_seconds: u64,
}

/// Packs that are needed, ascending. After an error there are no more, and those before are not all.
#[derive(Debug)]
pub struct LivePacks<'a>(Peekable<SortedRecords<'a, NEED_BYTES>>);

impl Live {
    /// The proof that nothing is lost, for whoever deletes.
    pub fn complete(&self) -> Option<CompleteLive<'_>> {
        (self.lost.count == 0).then_some(CompleteLive(self))
    }

    /// What is known to be needed. There may be more: this is for keeping, never for letting go.
    pub fn known_packs(&self) -> LivePacks<'_> {
        LivePacks::of(&self.needs)
    }

    /// What could not be read: the first [`LOST_MAX`] of it.
    pub fn lost(&self) -> &[LostNode] {
        &self.lost.shown
    }

    /// How much could not be read.
    pub const fn lost_count(&self) -> u64 {
        self.lost.count
    }

    /// Nodes that were read.
    pub const fn nodes_read(&self) -> u64 {
        self.nodes_read
    }
}

impl<'a> CompleteLive<'a> {
    /// All packs that are needed.
    pub fn packs(self) -> LivePacks<'a> {
        self.0.known_packs()
    }
}

impl<'a> LivePacks<'a> {
    fn of(needs: &'a Sorted<NEED_BYTES>) -> Self {
        Self(needs.iter().peekable())
    }
}

impl Iterator for LivePacks<'_> {
    type Item = Result<LivePack>;

    fn next(&mut self) -> Option<Result<LivePack>> {
        let mut pack: Option<LivePack> = None;
        loop {
            let need = match (self.0.peek(), &pack) {
                (Some(Ok(need)), _) => Need::decode(need),
                (None, _) => return pack.map(Ok),
                // What was gathered of the pack may not be all.
                (Some(Err(_)), _) => {
                    let failed = self.0.next().and_then(std::result::Result::err);
                    return failed.map(|error| Err(error.into()));
                }
            };
            if let Some(other) = pack.take_if(|pack| pack.pack != need.pack) {
                return Some(Ok(other));
            }
            need.add_to(pack.get_or_insert_with(|| LivePack {
                pack: need.pack,
                frames: FrameSet::default(),
                promise_seconds: 0,
            }));
            self.0.next();
        }
    }
}
