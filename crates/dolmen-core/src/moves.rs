//! Where frames lie that were copied out of the packs that they were written into.
//!
//! Manifests and the index name a frame by its origin for ever; a signed move says where it now lies too. A move is a
//! claim: who reads a frame there verifies it as anywhere else.

use dolmen_format::index::PackEntry;
use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::{PackId, Timestamp, WriterId};

use crate::error::Result;
use crate::ledger::Ledger;
use crate::objects::Source;
use crate::repository::Repository;

/// All moves: for each run of frames 56 bytes in memory, for each pack what a segment states of it.
#[derive(Debug, Default)]
pub struct Moves {
    packs: Vec<MovedPack>,
    /// By origin; of an origin the one that was received last comes first.
    runs: Vec<Run>,
}

/// A pack that frames were moved into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPack {
    /// Who wrote it: a part of its key.
    pub writer: WriterId,
    /// What its writer stated of it.
    pub entry: PackEntry,
    received: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    run: MoveRun,
    /// The pack's number.
    pack: u32,
}

/// A place of a frame outside its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedPlace<'m> {
    /// The pack.
    pub pack: &'m MovedPack,
    /// The frame's position in that pack's table.
    pub position: u32,
}

impl Moves {
    /// Reads the moves of a repository.
    ///
    /// Cost: a listing, and a request for each ledger record of which this client keeps no copy.
    pub fn load(repository: &Repository) -> Result<Self> {
        Ledger::load(repository, Source::Copies).map(|ledger| Self::of(&ledger))
    }

    /// The moves of a ledger.
    pub fn of(ledger: &Ledger) -> Self {
        let mut moves = Self::default();
        for entry in ledger.records.values() {
            let Fact::Moves { pack, runs } = &entry.record.fact else {
                continue;
            };
            let Ok(number) = u32::try_from(moves.packs.len()) else {
                break;
            };
            moves.packs.push(MovedPack {
                writer: entry.record.stamp.writer,
                entry: pack.clone(),
                received: entry.stored_at,
            });
            let runs = runs.iter().map(|run| Run {
                run: *run,
                pack: number,
            });
            moves.runs.extend(runs);
        }
        let Self { packs, runs } = &mut moves;
        let age = |run: &Run| {
            let pack = usize::try_from(run.pack).ok();
            let pack = pack.and_then(|at| packs.get(at));
            std::cmp::Reverse(pack.map(|pack| (pack.received, pack.entry.pack)))
        };
        runs.sort_by_cached_key(|run| (run.run.origin, age(run), run.run.position));
        moves
    }

    /// Where a frame lies beside its origin, the place that was received last first.
    pub fn places(&self, origin: PackId, ordinal: u32) -> impl Iterator<Item = MovedPlace<'_>> {
        let first = self.runs.partition_point(|run| run.run.origin < origin);
        let of_origin = self.runs.iter().skip(first);
        of_origin
            .take_while(move |run| run.run.origin == origin)
            .filter_map(move |Run { run, pack }| {
                let within = ordinal.checked_sub(run.first_ordinal)?;
                let pack = self.packs.get(usize::try_from(*pack).ok()?)?;
                (within < run.count).then_some(MovedPlace {
                    pack,
                    position: run.position.checked_add(within)?,
                })
            })
    }
}
