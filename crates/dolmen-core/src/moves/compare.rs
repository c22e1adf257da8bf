//! Holding places of moved frames against each other, so that all but one may be let go.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::pack::{FrameEntry, Origin, PackTable};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, PackId};
use dolmen_state::index::{BlobIndex, PackInfo};
use dolmen_state::state::Compared;

use super::places::Places;
use super::{Claim, Moves, Run};
use crate::error::{Error, Result};
use crate::ledger::Facts;
use crate::objects::FetchError;
use crate::repository::Repository;

/// How to compare.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Packs are read until so many bytes were.
    pub read_bytes_max: u64,
    /// Set to interrupt.
    pub cancel: &'a AtomicBool,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Places found to hold the same as another.
    pub equal: u64,
    /// Places found to hold something else.
    pub different: u64,
    /// Bytes of packs read.
    pub bytes_read: u64,
}

/// Compares what is there and was not compared yet: each claim with the origins that are there, and with the other claims
/// to the same frames. The results are added to the facts; whoever runs it remembers them. Nothing is let go by it.
///
/// Cost: a listing of packs where frames were moved, and one request for each pack that is read.
pub fn run(
    repository: &Repository,
    index: &BlobIndex,
    facts: &mut Facts,
    options: &Options<'_>,
) -> Result<Report> {
    let mut compared = facts.compared.clone();
    let (places, moves) = (Places::look(repository, facts)?, &facts.moves);
    let mut by_claim = moves.runs.clone();
    by_claim.sort_by_key(|run| run.claim);
    let mut run = Comparing {
        repository,
        moves,
        by_claim,
        index,
        places: &places,
        compared: &mut compared,
        options,
        report: Report::default(),
    };
    for (number, claim) in (0_u32..).zip(&moves.claims) {
        if !places.is_there(number) {
            continue;
        }
        if run.report.bytes_read >= options.read_bytes_max {
            break;
        }
        run.compare(number, claim)?;
    }
    let report = run.report;
    facts.compared = compared;
    Ok(report)
}

struct Comparing<'a> {
    repository: &'a Repository,
    moves: &'a Moves,
    /// All runs, by their claims.
    by_claim: Vec<Run>,
    index: &'a BlobIndex,
    places: &'a Places<'a>,
    compared: &'a mut Compared,
    options: &'a Options<'a>,
    report: Report,
}

/// A frame that two places are held against each other for.
#[derive(Debug, Clone, Copy)]
struct Shared {
    origin: PackId,
    ordinal: u32,
    position: u32,
    other_position: u32,
}

impl Comparing<'_> {
    /// Compares a claim with all that it was not compared with.
    fn compare(&mut self, number: u32, claim: &Claim) -> Result<()> {
        let runs = self.runs_of_claim(number);
        let origins = self.open_origins(claim, &runs);
        let others = self.open_claims(number, claim, &runs);
        if origins.is_empty() && others.is_empty() {
            return Ok(());
        }
        let own = self.read(&claim.pack)?;
        for origin in origins {
            // A sound place says the same as an origin that is whole; an origin that is not says nothing.
            let Some(whole) = self.read_origin(&origin)? else {
                continue;
            };
            let shared = self.moves.shared_with_origin(&runs, &origin);
            let is_equal = own
                .as_ref()
                .is_some_and(|own| own.agrees(&whole, shared.iter()));
            self.note((claim.record, origin), is_equal);
        }
        // What is not what its name says tells nothing of others.
        let Some(own) = own else { return Ok(()) };
        for (other, pack) in others {
            let Some(whole) = self.read(&pack)? else {
                continue;
            };
            let shared = self.moves.shared_with_claim(&runs, other);
            let name = self.moves.claim(other).map(|claim| claim.record);
            let is_equal = own.agrees(&whole, shared.iter());
            if let Some(name) = name {
                self.note((claim.record, name), is_equal);
            }
        }
        Ok(())
    }

    fn runs_of_claim(&self, claim: u32) -> Vec<Run> {
        let begin = self.by_claim.partition_point(|run| run.claim < claim);
        let runs = self.by_claim.iter().skip(begin);
        runs.take_while(|run| run.claim == claim).copied().collect()
    }

    fn note(&mut self, pair: (ObjectId, ObjectId), is_equal: bool) {
        if is_equal {
            self.report.equal = self.report.equal.saturating_add(1);
            self.compared.equal.insert(pair);
        } else {
            self.report.different = self.report.different.saturating_add(1);
            self.compared.different.insert(pair);
        }
    }

    fn is_known(&self, one: ObjectId, other: ObjectId) -> bool {
        [(one, other), (other, one)].iter().any(|pair| {
            self.compared.equal.contains(pair) || self.compared.different.contains(pair)
        })
    }

    /// Origins of a claim's frames that are there and that it was not compared with.
    fn open_origins(&self, claim: &Claim, runs: &[Run]) -> BTreeSet<PackId> {
        let origins = runs.iter().filter_map(|run| self.moves.origin(run.origin));
        let open = origins.filter(|origin| {
            self.places.has_origin(origin) && !self.is_known(claim.record, **origin)
        });
        open.copied().collect()
    }

    /// Other claims to some of the same frames that are there and that it was not compared with.
    fn open_claims(&self, number: u32, claim: &Claim, runs: &[Run]) -> Vec<(u32, PackInfo)> {
        let mut open = BTreeSet::new();
        for run in runs {
            let others = self.moves.runs_of(run.origin);
            let others = others.filter(|other| other.claim != number && other.overlaps(run));
            open.extend(others.map(|other| other.claim));
        }
        let open = open
            .into_iter()
            .filter(|other| self.places.is_there(*other));
        let open = open.filter_map(|other| Some((other, self.moves.claim(other)?)));
        open.filter(|(_, other)| !self.is_known(claim.record, other.record))
            .map(|(number, other)| (number, other.pack))
            .collect()
    }

    /// Reads an origin under whichever writer the index knows it.
    fn read_origin(&mut self, origin: &PackId) -> Result<Option<Whole>> {
        let known = self.index.find_packs(origin).into_iter();
        let known: Vec<_> = known.filter_map(|pack| self.index.pack(pack)).collect();
        for info in known {
            if let Some(whole) = self.read(&info)? {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    /// Reads a pack; `None`: it is not there with the bytes that its name says.
    fn read(&mut self, info: &PackInfo) -> Result<Option<Whole>> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let key = ObjectKey::Pack(info.writer, info.pack);
        let body = match self.repository.objects.fetch(&key, ObjectKind::Pack) {
            Ok(body) => body,
            Err(FetchError::Altered) => return Ok(None),
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.report.bytes_read = self.report.bytes_read.saturating_add(bytes);
        Ok(Whole::new(info.pack, body))
    }
}

/// A pack whose bytes are what its name says.
struct Whole {
    pack: PackId,
    body: Bytes,
    table: PackTable,
    /// Where each frame begins.
    offsets: Vec<usize>,
}

impl Whole {
    /// `None`: it is no pack.
    fn new(pack: PackId, body: Bytes) -> Option<Self> {
        let table = PackTable::decode_pack(&body).ok()?;
        let mut at = PROLOGUE_BYTES;
        let mut offsets = Vec::with_capacity(table.frames.len());
        for frame in &table.frames {
            offsets.push(at);
            at = at.saturating_add(usize::try_from(frame.frame_bytes).ok()?);
        }
        Some(Self {
            pack,
            body,
            table,
            offsets,
        })
    }

    /// Whether the frames that another pack shares with this one are the same in both.
    fn agrees<'s>(&self, other: &Self, mut shared: impl Iterator<Item = &'s Shared>) -> bool {
        self.table.recipient == other.table.recipient
            && shared.all(|shared| {
                let own = self.frame(shared.position, shared);
                own.is_some() && own == other.frame(shared.other_position, shared)
            })
    }

    /// All that makes a frame, but for its place; `None` where another lies there.
    fn frame(&self, position: u32, wanted: &Shared) -> Option<(&[u8], FrameEntry, Origin)> {
        let at = usize::try_from(position).ok()?;
        let entry = self.table.frames.get(at)?;
        let origin = usize::try_from(entry.origin).ok()?;
        let origin = self.table.origins.get(origin)?;
        let is_wanted =
            entry.ordinal == wanted.ordinal && origin.pack.unwrap_or(self.pack) == wanted.origin;
        let begin = *self.offsets.get(at)?;
        let bytes = usize::try_from(entry.frame_bytes).ok()?;
        let stored = self.body.get(begin..begin.checked_add(bytes)?)?;
        let entry = FrameEntry {
            origin: 0,
            ..entry.clone()
        };
        let origin = Origin {
            pack: None,
            ..origin.clone()
        };
        is_wanted.then_some((stored, entry, origin))
    }
}

impl Moves {
    fn origin(&self, number: u32) -> Option<&PackId> {
        self.origins.get(usize::try_from(number).ok()?)
    }

    /// The frames of runs that were written into an origin.
    fn shared_with_origin(&self, runs: &[Run], origin: &PackId) -> Vec<Shared> {
        let of_origin = runs
            .iter()
            .filter(|run| self.origin(run.origin) == Some(origin));
        let frames = of_origin.flat_map(|run| {
            run.ordinals().filter_map(|ordinal| {
                Some(Shared {
                    origin: *origin,
                    ordinal,
                    position: run.position_of(ordinal)?,
                    other_position: ordinal,
                })
            })
        });
        frames.collect()
    }

    /// The frames of runs that another record claims, too, for every place where it says that they lie.
    fn shared_with_claim(&self, runs: &[Run], other: u32) -> Vec<Shared> {
        let mut shared = Vec::new();
        for run in runs {
            let Some(origin) = self.origin(run.origin) else {
                continue;
            };
            for theirs in self
                .runs_of(run.origin)
                .filter(|theirs| theirs.claim == other)
            {
                shared.extend(run.ordinals().filter_map(|ordinal| {
                    Some(Shared {
                        origin: *origin,
                        ordinal,
                        position: run.position_of(ordinal)?,
                        other_position: theirs.position_of(ordinal)?,
                    })
                }));
            }
        }
        shared
    }
}

impl Run {
    fn ordinals(&self) -> impl Iterator<Item = u32> + use<> {
        u32::from(self.first_ordinal)..self.end()
    }

    fn overlaps(&self, other: &Self) -> bool {
        u32::from(self.first_ordinal) < other.end() && u32::from(other.first_ordinal) < self.end()
    }
}
