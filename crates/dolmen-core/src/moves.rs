//! Where frames also lie, as signed moves claim. Nothing of it is believed: whoever reads there verifies the frame.

use std::collections::BTreeMap;

use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::{ObjectId, PackId, Timestamp};
use dolmen_state::index::PackInfo;

use crate::error::Result;
use crate::index::info_of;
use crate::ledger::{Entry, Ledger};
use crate::objects::Source;
use crate::repository::Repository;

/// All claims: some 60 bytes for each pack that one names, and 16 for each run of frames.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Packs that frames left, ascending.
    origins: Vec<PackId>,
    /// Packs that frames came to, in the order in which the claims were received, then by the ids of these.
    packs: Vec<PackInfo>,
    /// Ascending by origin.
    runs: Vec<Run>,
}

/// A claimed place of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The pack that it came to.
    pub(crate) pack: PackInfo,
    /// Its position in that pack's table.
    pub(crate) position: u32,
}

/// A run of frames; packs by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    origin: u32,
    pack: u32,
    first_ordinal: u16,
    count: u16,
    position: u16,
}

impl Moves {
    /// Reads what the ledger says now.
    ///
    /// Cost: as [`Ledger::load`].
    pub(crate) fn load(repository: &Repository) -> Result<Self> {
        Ok(Self::fold(
            &Ledger::load(repository, Source::Copies)?.records,
        ))
    }

    /// Gathers the claims of verified records.
    pub(crate) fn fold(records: &BTreeMap<ObjectId, Entry>) -> Self {
        let mut claims: Vec<(Timestamp, PackInfo, &[MoveRun])> = records
            .values()
            .filter_map(|entry| {
                let Fact::Moves { pack, runs } = &entry.record.fact else {
                    return None;
                };
                let pack = info_of(entry.record.stamp.writer, pack);
                Some((entry.stored_at, pack, runs.as_slice()))
            })
            .collect();
        // Stable, so that those of one time stay in the order of their records' ids.
        claims.sort_by_key(|(stored_at, ..)| *stored_at);
        let all_runs = claims.iter().flat_map(|(.., runs)| runs.iter());
        let mut origins: Vec<PackId> = all_runs.map(|run| run.origin).collect();
        origins.sort();
        origins.dedup();
        let mut runs = Vec::new();
        for (number, (.., claimed)) in (0_u32..).zip(&claims) {
            runs.extend(
                claimed
                    .iter()
                    .filter_map(|run| Run::new(&origins, number, run)),
            );
        }
        runs.sort_unstable();
        Self {
            origins,
            packs: claims.iter().map(|(_, pack, _)| *pack).collect(),
            runs,
        }
    }

    /// Every claimed place of a frame, the latest first.
    pub(crate) fn places(&self, origin: &PackId, ordinal: u32) -> Vec<Moved> {
        let Some(number) = position_of(&self.origins, origin) else {
            return Vec::new();
        };
        let begin = self.runs.partition_point(|run| run.origin < number);
        let of_origin = self.runs.iter().skip(begin);
        let of_origin = of_origin.take_while(|run| run.origin == number);
        let mut places: Vec<Moved> = of_origin
            .filter_map(|run| {
                let within = ordinal.checked_sub(u32::from(run.first_ordinal))?;
                let pack = self.packs.get(usize::try_from(run.pack).ok()?)?;
                (within < u32::from(run.count)).then(|| Moved {
                    pack: *pack,
                    position: u32::from(run.position).saturating_add(within),
                })
            })
            .collect();
        places.reverse();
        places
    }
}

impl Run {
    /// `None` for what the format does not let through.
    fn new(origins: &[PackId], pack: u32, run: &MoveRun) -> Option<Self> {
        Some(Self {
            origin: position_of(origins, &run.origin)?,
            pack,
            first_ordinal: u16::try_from(run.first_ordinal).ok()?,
            count: u16::try_from(run.count).ok()?,
            position: u16::try_from(run.position).ok()?,
        })
    }
}

fn position_of(origins: &[PackId], origin: &PackId) -> Option<u32> {
    u32::try_from(origins.binary_search(origin).ok()?).ok()
}
