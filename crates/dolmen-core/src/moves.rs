//! Where frames also lie, as signed moves claim. Nothing of it is believed: whoever reads there verifies the frame, and
//! whoever lets a place go has compared it with another.

pub mod compare;
pub(crate) mod gone;
pub(crate) mod places;

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::{ObjectId, ObjectKey, PackId, Timestamp};
use dolmen_state::index::PackInfo;

use self::places::FramePlace;
use crate::error::Result;
use crate::index::info_of;
use crate::ledger::{Entry, Ledger};
use crate::objects::Source;
use crate::repository::Repository;

/// All claims: some 90 bytes for each record, 32 for each pack that frames left, and 16 for each run of frames.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// Packs that frames left, ascending.
    origins: Vec<PackId>,
    /// In the order in which they were received, then by the ids of their records.
    claims: Vec<Claim>,
    /// Ascending by origin.
    runs: Vec<Run>,
}

/// What a record claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The record.
    pub(crate) record: ObjectId,
    /// The pack that frames came to.
    pub(crate) pack: PackInfo,
}

/// A claimed place of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The pack that it came to.
    pub(crate) pack: PackInfo,
    /// Its position in that pack's table.
    pub(crate) position: u32,
}

/// A run of frames; origins and claims by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    origin: u32,
    claim: u32,
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
        let mut claims: Vec<(Timestamp, Claim, &[MoveRun])> = records
            .iter()
            .filter_map(|(record, entry)| {
                let Fact::Moves { pack, runs } = &entry.record.fact else {
                    return None;
                };
                let pack = info_of(entry.record.stamp.writer, pack);
                let claim = Claim {
                    record: *record,
                    pack,
                };
                Some((entry.stored_at, claim, runs.as_slice()))
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
            claims: claims.iter().map(|(_, claim, _)| *claim).collect(),
            runs,
        }
    }

    /// Whether nothing was ever moved.
    pub(crate) const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether frames of a pack also lie elsewhere, as is claimed.
    pub(crate) fn names(&self, origin: &PackId) -> bool {
        position_of(&self.origins, origin).is_some()
    }

    /// Packs that frames left, ascending.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &PackId> {
        self.origins.iter()
    }

    /// The ordinal after the last one of a pack's frames that was moved.
    pub(crate) fn end_of(&self, origin: &PackId) -> u32 {
        let number = position_of(&self.origins, origin);
        let runs = number.into_iter().flat_map(|number| self.runs_of(number));
        runs.map(Run::end).max().unwrap_or(0)
    }

    /// The packs to which frames came, as records say.
    pub(crate) fn destinations(&self) -> BTreeSet<ObjectKey> {
        self.claims.iter().map(Claim::key).collect()
    }

    /// Every claimed place of a frame, the latest first.
    pub(crate) fn places(&self, origin: &PackId, ordinal: u32) -> Vec<Moved> {
        let places = self.claimed(origin, ordinal).into_iter();
        let places = places.filter_map(|(claim, position)| {
            let pack = self.claim(claim)?.pack;
            Some(Moved { pack, position })
        });
        places.collect()
    }

    /// Every claimed place of a frame: the claim's number and the position, the latest first.
    fn claimed(&self, origin: &PackId, ordinal: u32) -> Vec<(u32, u32)> {
        let Some(number) = position_of(&self.origins, origin) else {
            return Vec::new();
        };
        let mut places: Vec<_> = self
            .runs_of(number)
            .filter_map(|run| Some((run.claim, run.position_of(ordinal)?)))
            .collect();
        places.reverse();
        places
    }

    /// Every record that claims to know where a frame lies, and where.
    pub(crate) fn claims_to(
        &self,
        origin: &PackId,
        ordinal: u32,
    ) -> impl Iterator<Item = (ObjectId, FramePlace)> {
        let claimed = self.claimed(origin, ordinal).into_iter();
        claimed.filter_map(|(claim, position)| {
            let claim = self.claim(claim)?;
            let place = FramePlace {
                pack: claim.pack.pack,
                position,
            };
            Some((claim.record, place))
        })
    }

    fn runs_of(&self, origin: u32) -> impl Iterator<Item = &Run> {
        let begin = self.runs.partition_point(|run| run.origin < origin);
        let runs = self.runs.iter().skip(begin);
        runs.take_while(move |run| run.origin == origin)
    }

    fn claim(&self, number: u32) -> Option<&Claim> {
        self.claims.get(usize::try_from(number).ok()?)
    }
}

impl Claim {
    /// The pack's key.
    fn key(&self) -> ObjectKey {
        ObjectKey::Pack(self.pack.writer, self.pack.pack)
    }
}

impl Run {
    /// `None` for what the format does not let through.
    fn new(origins: &[PackId], claim: u32, run: &MoveRun) -> Option<Self> {
        Some(Self {
            origin: position_of(origins, &run.origin)?,
            claim,
            first_ordinal: u16::try_from(run.first_ordinal).ok()?,
            count: u16::try_from(run.count).ok()?,
            position: u16::try_from(run.position).ok()?,
        })
    }

    /// The ordinal after its last one.
    fn end(&self) -> u32 {
        u32::from(self.first_ordinal).saturating_add(u32::from(self.count))
    }

    /// Where a frame of the run lies.
    fn position_of(&self, ordinal: u32) -> Option<u32> {
        let within = ordinal.checked_sub(u32::from(self.first_ordinal))?;
        let is_within = within < u32::from(self.count);
        is_within.then(|| u32::from(self.position).saturating_add(within))
    }
}

fn position_of(origins: &[PackId], origin: &PackId) -> Option<u32> {
    u32::try_from(origins.binary_search(origin).ok()?).ok()
}
