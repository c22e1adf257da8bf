//! Segments that stand in for those that snapshots list and that are gone: a rebuilt index has other ones.

use std::collections::BTreeSet;

use dolmen_format::SegmentId;
use dolmen_state::index::PackSet;

use super::Index;
use crate::error::Result;
use crate::live::Live;

/// What became of the segments that snapshots list.
#[derive(Debug, Default)]
pub(crate) struct StandIns {
    /// Segments that describe something needed that no listed one does which is there: as needed as those.
    pub(crate) needed: BTreeSet<SegmentId>,
    /// Listed segments that are gone and that nothing is lost with, since others describe everything that is needed.
    pub(crate) excused: BTreeSet<SegmentId>,
}

impl Index {
    /// Finds what stands in for those of the `listed` segments that are gone, in an index that was [completed](Self::complete)
    /// with them. `live` counts as needed where its promise is at least `promise_min`.
    ///
    /// Cost: no request; one look at everything that is needed where a segment is gone, else nothing.
    pub(crate) fn stand_ins(
        &self,
        listed: &[SegmentId],
        live: &Live,
        promise_min: u64,
    ) -> Result<StandIns> {
        let present: BTreeSet<SegmentId> = self.segment_ids().collect();
        let (present, gone): (BTreeSet<SegmentId>, BTreeSet<SegmentId>) =
            listed.iter().partition(|id| present.contains(*id));
        if gone.is_empty() {
            return Ok(StandIns::default());
        }
        let by_listed = self.blobs.described_by(&present);
        let (mut by_others, mut all_described) = (PackSet::default(), live.complete().is_some());
        for pack in live.known_packs() {
            let pack = pack?;
            if pack.promise_seconds < promise_min {
                continue;
            }
            match self.blobs.find_pack(&pack.pack) {
                Some(found) if found.number() >= self.described => all_described = false,
                Some(found) if by_listed.contains(found) => {}
                Some(found) => by_others.insert(found),
                None => all_described = false,
            }
        }
        let mut needed = BTreeSet::new();
        self.blobs.for_each_source(|pack, segment| {
            if by_others.contains(pack) {
                needed.insert(*segment);
            }
        });
        let excused = if all_described { gone } else { BTreeSet::new() };
        Ok(StandIns { needed, excused })
    }
}
