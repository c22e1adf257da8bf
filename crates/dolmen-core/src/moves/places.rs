//! Which places of moved frames are there, and which of them must stay.

use dolmen_format::{ObjectId, ObjectKey, PackId};
use dolmen_state::state::Compared;

use super::{Claim, Moves, position_of};
use crate::error::Result;
use crate::ledger::Facts;
use crate::objects::Listed;
use crate::repository::Repository;

/// Places of one frame that are compared with each other. Honest maintenance leaves two or three; of more, which only
/// somebody with its key can claim, all stay.
const PLACES_MAX: usize = 16;

/// The claims of moves, held against a listing of packs.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    moves: &'a Moves,
    compared: &'a Compared,
    /// How many frames each claim names, by its number.
    frames: Vec<usize>,
    /// Claims by their packs.
    by_pack: Vec<(PackId, u32)>,
    /// Whether an origin is there, by its number.
    origins: Vec<bool>,
    /// Whether a claim's pack is there, of its size, by the claim's number.
    claims: Vec<bool>,
}

/// Where a frame lies: a pack, and its position in that pack's table. In its origin that is the ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FramePlace {
    /// The pack.
    pub(crate) pack: PackId,
    /// The position.
    pub(crate) position: u32,
}

/// A place, and by whose word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    place: FramePlace,
    /// What comparisons call it: the record, or the origin.
    name: ObjectId,
    is_origin: bool,
}

impl<'a> Places<'a> {
    /// Places that no listing showed yet.
    pub(crate) fn new(facts: &'a Facts) -> Self {
        Self::of(&facts.moves, &facts.compared)
    }

    fn of(moves: &'a Moves, compared: &'a Compared) -> Self {
        let numbered = (0_u32..).zip(&moves.claims);
        let mut by_pack: Vec<_> = numbered
            .map(|(number, claim)| (claim.pack.pack, number))
            .collect();
        by_pack.sort_unstable();
        let mut frames = vec![0_usize; moves.claims.len()];
        for run in &moves.runs {
            let at = usize::try_from(run.claim).unwrap_or(usize::MAX);
            if let Some(count) = frames.get_mut(at) {
                *count = count.saturating_add(usize::from(run.count));
            }
        }
        Self {
            moves,
            compared,
            frames,
            by_pack,
            origins: vec![false; moves.origins.len()],
            claims: vec![false; moves.claims.len()],
        }
    }

    /// Holds the claims against the store.
    ///
    /// Cost: one listing of packs; nothing where no frame was ever moved.
    pub(crate) fn look(repository: &Repository, facts: &'a Facts) -> Result<Self> {
        let mut places = Self::new(facts);
        if !places.is_empty() {
            repository
                .objects
                .list("packs/", |object| places.note(&object))?;
        }
        Ok(places)
    }

    /// Notes a pack that a listing shows.
    pub(crate) fn note(&mut self, object: &Listed) {
        let id = object.key.id();
        if let Some(number) = position_of(&self.moves.origins, &id) {
            set(&mut self.origins, number);
        }
        let claims: Vec<u32> = self.claims_of(&id).collect();
        for number in claims {
            let is_there = self.moves.claim(number).is_some_and(|claim| {
                object.key == ObjectKey::Pack(claim.pack.writer, id)
                    && object.has_size(u64::from(claim.pack.pack_bytes))
            });
            if is_there {
                set(&mut self.claims, number);
            }
        }
    }

    /// The numbers of the claims that name a pack.
    fn claims_of(&self, pack: &PackId) -> impl Iterator<Item = u32> + '_ {
        let begin = self.by_pack.partition_point(|(known, _)| known < pack);
        let claims = self.by_pack.iter().skip(begin);
        let pack = *pack;
        let claims = claims.take_while(move |(known, _)| *known == pack);
        claims.map(|(_, number)| *number)
    }

    /// Whether nothing was ever moved.
    pub(crate) const fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// Whether frames of a pack also lie elsewhere, as is claimed.
    pub(crate) fn names(&self, origin: &PackId) -> bool {
        self.moves.names(origin)
    }

    /// Whether the pack of a claim is there, by the claim's number.
    pub(super) fn is_there(&self, claim: u32) -> bool {
        is_set(&self.claims, claim)
    }

    /// Whether a pack that frames left is there.
    pub(super) fn has_origin(&self, origin: &PackId) -> bool {
        position_of(&self.moves.origins, origin).is_some_and(|number| is_set(&self.origins, number))
    }

    /// The claims that are there, each pack once.
    pub(crate) fn packs(&self) -> impl Iterator<Item = &Claim> {
        let mut last = None;
        self.by_pack.iter().filter_map(move |(pack, number)| {
            let claim = self.moves.claim(*number)?;
            (is_set(&self.claims, *number) && last.replace(*pack) != Some(*pack)).then_some(claim)
        })
    }

    /// Whether a frame of an origin must stay in several places, because they differ or were not compared.
    pub(crate) fn is_contested(&self, origin: &PackId, ordinal: u32) -> bool {
        self.names(origin) && self.kept(origin, ordinal).len() > 1
    }

    /// Frames that are claimed to lie in a pack: the most that any record names.
    pub(crate) fn frames_in(&self, pack: &PackId) -> usize {
        let claims = self.claims_of(pack);
        let counts = claims.filter_map(|claim| self.frames.get(usize::try_from(claim).ok()?));
        counts.max().copied().unwrap_or(0)
    }

    /// The places of a frame that must stay: of those that were found to hold the same, the latest; of those that were
    /// found to hold something else than the origin, none while there is another; of a frame that is nowhere, its origin.
    pub(crate) fn kept(&self, origin: &PackId, ordinal: u32) -> Vec<FramePlace> {
        let all = self.present(origin, ordinal);
        let is_refuted = |one: &&Candidate| {
            let pair = (one.name, *origin);
            !one.is_origin && self.compared.different.contains(&pair)
        };
        let mut candidates: Vec<_> = all.iter().filter(|one| !is_refuted(one)).copied().collect();
        if candidates.is_empty() {
            candidates = all;
        }
        if candidates.is_empty() {
            return vec![FramePlace {
                pack: *origin,
                position: ordinal,
            }];
        }
        if candidates.len() > PLACES_MAX {
            return places_of(&candidates);
        }
        self.latest_of_each(&candidates)
    }

    /// The places of a frame that are there, the latest first and the origin last.
    fn present(&self, origin: &PackId, ordinal: u32) -> Vec<Candidate> {
        let claimed = self.moves.claimed(origin, ordinal).into_iter();
        let claimed = claimed.filter(|(claim, _)| is_set(&self.claims, *claim));
        let mut present: Vec<_> = claimed
            .filter_map(|(claim, position)| {
                let Claim { record, pack } = self.moves.claim(claim)?;
                let place = FramePlace {
                    pack: pack.pack,
                    position,
                };
                Some(Candidate {
                    place,
                    name: *record,
                    is_origin: false,
                })
            })
            .collect();
        let number = position_of(&self.moves.origins, origin);
        if number.is_none_or(|number| is_set(&self.origins, number)) {
            present.push(Candidate {
                place: FramePlace {
                    pack: *origin,
                    position: ordinal,
                },
                name: *origin,
                is_origin: true,
            });
        }
        present
    }

    /// The first of each class of candidates that hold the same.
    fn latest_of_each(&self, candidates: &[Candidate]) -> Vec<FramePlace> {
        // Each begins in a class of its own, named after the first in it.
        let mut classes: Vec<usize> = (0..candidates.len()).collect();
        for (at, one) in candidates.iter().enumerate() {
            for (earlier, other) in candidates.iter().enumerate().take(at) {
                if self.is_equal(one, other) {
                    join(&mut classes, earlier, at);
                }
            }
        }
        let firsts = candidates.iter().zip(&classes).enumerate();
        let firsts = firsts.filter(|(at, (_, class))| *at == **class);
        let firsts: Vec<_> = firsts.map(|(_, (one, _))| *one).collect();
        places_of(&firsts)
    }

    fn is_equal(&self, one: &Candidate, other: &Candidate) -> bool {
        let equal = &self.compared.equal;
        one.place == other.place
            || equal.contains(&(one.name, other.name))
            || equal.contains(&(other.name, one.name))
    }
}

/// Makes one class of two.
fn join(classes: &mut [usize], one: usize, other: usize) {
    let of = |at: usize| classes.get(at).copied().unwrap_or(at);
    let (one, other) = (of(one), of(other));
    let (first, last) = (one.min(other), one.max(other));
    for class in classes.iter_mut().filter(|class| **class == last) {
        *class = first;
    }
}

fn places_of(candidates: &[Candidate]) -> Vec<FramePlace> {
    let mut places: Vec<_> = candidates.iter().map(|one| one.place).collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn set(flags: &mut [bool], number: u32) {
    if let Some(flag) = usize::try_from(number)
        .ok()
        .and_then(|at| flags.get_mut(at))
    {
        *flag = true;
    }
}

fn is_set(flags: &[bool], number: u32) -> bool {
    usize::try_from(number)
        .ok()
        .and_then(|at| flags.get(at))
        .copied()
        .unwrap_or(false)
}
