//! Several descriptions of one pack: who states them, and which of them come first.

use std::collections::BTreeSet;

use dolmen_format::index::IndexedFrame;
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::{PackId, SegmentId};

use super::inner::Inner;
use super::{BlobIndex, FrameInfo, Location, PackInfo, PackRef};
use crate::merge::Merge;
use crate::number::{to_u32, to_usize};

/// A bit for each pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackSet(Vec<u64>);

impl PackSet {
    /// Adds a pack.
    pub fn insert(&mut self, pack: PackRef) {
        let (word, bit) = position(pack);
        if self.0.len() <= word {
            self.0.resize(word.saturating_add(1), 0);
        }
        if let Some(slot) = self.0.get_mut(word) {
            *slot |= bit;
        }
    }

    /// Takes a pack out.
    pub fn remove(&mut self, pack: PackRef) {
        let (word, bit) = position(pack);
        if let Some(slot) = self.0.get_mut(word) {
            *slot &= !bit;
        }
    }

    /// Whether a pack is in it.
    pub fn contains(&self, pack: PackRef) -> bool {
        let (word, bit) = position(pack);
        self.0.get(word).is_some_and(|slot| slot & bit != 0)
    }
}

fn position(pack: PackRef) -> (usize, u64) {
    let number = pack.number();
    (to_usize(number / 64), 1 << (number % 64))
}

impl BlobIndex {
    /// Notes that a segment describes a pack as it is known under this number.
    pub fn note_source(&self, pack: PackRef, segment: SegmentId) {
        let mut inner = self.write();
        inner.rely_on(pack);
        inner.sources.push((pack, segment));
    }

    /// Visits, for each description, each segment that states it. What is added meanwhile may be left out.
    pub fn for_each_source(&self, mut visit: impl FnMut(PackRef, &SegmentId)) {
        let (tables, added) = {
            let inner = self.read();
            (inner.tables.clone(), inner.sources.clone())
        };
        for table in tables {
            let segments: Vec<SegmentId> = table.segments().map(|seen| seen.id).collect();
            for source in table.source_records() {
                let pack = table.base().checked_add(source.pack).map(PackRef);
                let segment = segments.get(to_usize(source.segment));
                if let (Some(pack), Some(segment)) = (pack, segment) {
                    visit(pack, segment);
                }
            }
        }
        for (pack, segment) in added {
            visit(pack, &segment);
        }
    }

    /// The descriptions that one of these segments states.
    pub fn described_by(&self, segments: &BTreeSet<SegmentId>) -> PackSet {
        let mut described = PackSet::default();
        self.for_each_source(|pack, segment| {
            if segments.contains(segment) {
                described.insert(pack);
            }
        });
        described
    }

    /// Takes what one of these segments states, and what no segment states, before what only others state.
    pub fn prefer(&self, segments: &BTreeSet<SegmentId>) {
        let preferred = self.described_by(segments);
        let mut doubted = PackSet::default();
        self.for_each_source(|pack, _| {
            if !preferred.contains(pack) {
                doubted.insert(pack);
            }
        });
        self.write().doubted = doubted;
    }

    /// Takes a description of a pack before all others of it.
    pub fn settle(&self, truth: PackRef) {
        let mut inner = self.write();
        let Some(info) = inner.pack(truth) else {
            return;
        };
        let all: Vec<_> = inner.find_packs(&info.pack).collect();
        for pack in all {
            if pack == truth {
                inner.doubted.remove(pack);
            } else {
                inner.doubted.insert(pack);
            }
        }
    }

    /// Whether others are taken before this description.
    pub fn is_doubted(&self, pack: PackRef) -> bool {
        self.read().doubted.contains(pack)
    }

    /// The packs that are described in several ways, none of which comes before the others.
    pub fn contested(&self) -> Vec<PackId> {
        let inner = self.read();
        let tables = inner.tables.iter().map(|table| {
            let base = table.base();
            let packs = table.ordered_packs();
            let packs = packs.map(move |(id, number)| (id, PackRef(base.saturating_add(number))));
            Box::new(packs) as Box<dyn Iterator<Item = (PackId, PackRef)>>
        });
        let in_memory = Box::new(inner.memory.ordered_packs().into_iter()) as Box<_>;
        let all = Merge::new(tables.chain([in_memory]).collect());
        let (mut contested, mut before) = (Vec::new(), None);
        for (id, _) in all.filter(|(_, pack)| !inner.doubted.contains(*pack)) {
            if before == Some(id) && contested.last() != Some(&id) {
                contested.push(id);
            }
            before = Some(id);
        }
        contested
    }

    /// Finds the description of a pack that says just this.
    pub fn find_description(&self, info: &PackInfo, frames: &[IndexedFrame]) -> Option<PackRef> {
        self.read().find_description(info, frames)
    }

    /// Finds a description of a pack that says just this of those of the frames that are known, wherever they lay, and
    /// whatever of others.
    pub fn find_agreeing(&self, pack: &PackId, frames: &[IndexedFrame]) -> Option<PackRef> {
        let inner = self.read();
        inner
            .find_packs(pack)
            .find(|found| inner.agrees(*found, frames))
    }
}

impl Inner {
    /// Finds the description of a pack that says just this.
    pub(super) fn find_description(
        &self,
        info: &PackInfo,
        frames: &[IndexedFrame],
    ) -> Option<PackRef> {
        self.find_packs(&info.pack)
            .find(|pack| self.pack(*pack) == Some(*info) && self.says(*pack, frames))
    }

    /// Whether a description has these frames with these blobs. Blobs fill their frame, so that none is left over where all
    /// of these are found.
    fn says(&self, pack: PackRef, frames: &[IndexedFrame]) -> bool {
        let mut offset = to_u32(PROLOGUE_BYTES);
        for (ordinal, frame) in (0_u32..).zip(frames) {
            let says = FrameInfo {
                offset,
                frame_bytes: frame.frame_bytes,
                raw_bytes: frame.raw_bytes,
                compression: frame.compression,
            };
            if self.frame(pack, ordinal) != Some(says) || !self.holds(pack, ordinal, frame) {
                return false;
            }
            offset = offset.saturating_add(frame.frame_bytes);
        }
        self.frame(pack, to_u32(frames.len())).is_none()
    }

    /// Whether a description has those of these frames that are known.
    fn agrees(&self, pack: PackRef, frames: &[IndexedFrame]) -> bool {
        let mut known = (0_u32..)
            .zip(frames)
            .filter(|(_, frame)| **frame != IndexedFrame::UNKNOWN);
        known.all(|(ordinal, frame)| {
            let found = self.frame(pack, ordinal);
            found.is_some_and(|found| {
                (found.frame_bytes, found.raw_bytes, found.compression)
                    == (frame.frame_bytes, frame.raw_bytes, frame.compression)
            }) && self.holds(pack, ordinal, frame)
        })
    }

    fn holds(&self, pack: PackRef, ordinal: u32, frame: &IndexedFrame) -> bool {
        let mut offset = 0_u32;
        frame.blobs.iter().all(|blob| {
            let place = Location {
                kind: blob.kind,
                pack,
                ordinal,
                offset,
                length: blob.length,
            };
            offset = offset.saturating_add(blob.length);
            self.locations_in_table_of(pack, &blob.id)
                .any(|at| at == place)
        })
    }
}
