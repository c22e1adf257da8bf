//! Packs: the listing held against the index, and their bytes against both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dolmen_format::manifest::FrameSet;
use dolmen_format::{ObjectKey, PackId};
use dolmen_state::index::{BlobIndex, PackInfo, PackRef};

use super::sink::{Sink, lock};
use super::verify::{Damage, LostFrames, PackVerifier};
use super::{Options, Progress, ReadData};
use crate::error::{Error, Result};
use crate::finding::{Finding, counted};
use crate::ledger::Facts;
use crate::moves::places::Places;
use crate::pack::BlobReader;
use crate::repository::Repository;

/// Packs that no segment names are named up to this number.
const ORPHANS_NAMED_MAX: usize = 20;
/// Moved frames of which it is remembered whether they can be had.
const FOUND_MAX: usize = 1 << 16;

/// The state of all packs that the index names, and of those that frames were moved into.
#[derive(Debug)]
pub(super) struct Health<'a> {
    /// By the packs' numbers.
    packs: Vec<PackHealth>,
    places: Places<'a>,
    /// Moved packs that were read and found to be damaged.
    moved: BTreeMap<PackId, LostFrames>,
    /// Whether a moved frame can be had, by its origin: a frame holds thousands of small blobs, each of which is asked for.
    found: Mutex<HashMap<(PackRef, u32), bool>>,
    /// Whether the index and a pack contradict each other.
    pub(super) index_is_wrong: bool,
}

#[derive(Debug)]
struct PackHealth {
    pack: PackRef,
    info: PackInfo,
    state: State,
}

#[derive(Debug)]
enum State {
    Whole,
    Missing,
    /// A segment describes it otherwise than the segments that snapshots list, or than it describes itself.
    Misdescribed,
    /// Of another size: its table is not where it should be.
    Resized,
    /// Read, and found to be damaged.
    Broken(LostFrames),
}

impl Health<'_> {
    /// Whether a frame can be had, as far as is known, from its origin or from where it was moved.
    ///
    /// Cost: nothing where the origin has it; else as [`BlobReader::find_moved`].
    pub(super) fn has(&self, blobs: &BlobReader<'_>, pack: PackRef, ordinal: u32) -> Result<bool> {
        if self.has_at_origin(pack, ordinal) {
            return Ok(true);
        }
        let is_named = self
            .get(pack)
            .is_some_and(|known| self.places.names(&known.info.pack));
        if !is_named {
            return Ok(false);
        }
        if let Some(found) = lock(&self.found).get(&(pack, ordinal)) {
            return Ok(*found);
        }
        let has = self.is_moved(blobs, pack, ordinal)?;
        let mut found = lock(&self.found);
        if found.len() >= FOUND_MAX {
            found.clear();
        }
        found.insert((pack, ordinal), has);
        Ok(has)
    }

    /// Whether a frame can be had from where it was moved.
    fn is_moved(&self, blobs: &BlobReader<'_>, pack: PackRef, ordinal: u32) -> Result<bool> {
        let may_hold = |info: &PackInfo, position| match self.moved.get(&info.pack) {
            None | Some(LostFrames::None) => true,
            Some(LostFrames::Some(lost)) => !lost.contains(position),
            Some(LostFrames::All) => false,
        };
        match blobs.find_moved(pack, ordinal, may_hold) {
            Ok(found) => Ok(found.is_some()),
            Err(error) => error.outage().map_or(Ok(false), Err),
        }
    }

    fn has_at_origin(&self, pack: PackRef, ordinal: u32) -> bool {
        match self.get(pack).map(|known| &known.state) {
            Some(State::Whole | State::Broken(LostFrames::None)) => true,
            Some(State::Broken(LostFrames::Some(lost))) => !lost.contains(ordinal),
            Some(
                State::Missing
                | State::Misdescribed
                | State::Resized
                | State::Broken(LostFrames::All),
            )
            | None => false,
        }
    }

    /// Why a frame of a pack cannot be had.
    pub(super) fn problem(&self, pack: PackRef) -> String {
        let Some(known) = self.get(pack) else {
            return "needs a pack that is not known".to_owned();
        };
        let id = known.info.pack;
        match known.state {
            State::Missing => format!("needs pack {id}, which is missing"),
            State::Whole | State::Misdescribed | State::Resized | State::Broken(_) => {
                format!("needs pack {id}, which is damaged or cannot be read")
            }
        }
    }

    /// Tells of the packs that are gone: damage where something needs them; else the next backup passes
    /// over them by itself.
    pub(super) fn report_missing(&self, needed: &BTreeSet<PackId>, sink: &Sink<'_>) {
        for known in &self.packs {
            let PackInfo { pack, writer, .. } = known.info;
            match known.state {
                State::Missing if needed.contains(&pack) => {
                    sink.finding(ObjectKey::Pack(writer, pack), "missing");
                }
                // What moved need not be where it was.
                State::Missing if self.places.names(&pack) => {}
                State::Missing => {
                    let key = ObjectKey::Pack(writer, pack);
                    sink.notice(&format!("{key} is missing, and no snapshot needs it"));
                }
                State::Whole | State::Misdescribed | State::Resized | State::Broken(_) => {}
            }
        }
    }

    /// Whether everything that is named of a pack is there at all, be it elsewhere.
    ///
    /// Cost: as [`Self::has`].
    pub(super) fn is_present(
        &self,
        blobs: &BlobReader<'_>,
        pack: PackRef,
        frames: &FrameSet,
    ) -> Result<bool> {
        let is_missing = |known: &PackHealth| matches!(known.state, State::Missing);
        if self.get(pack).is_some_and(|known| !is_missing(known)) {
            return Ok(true);
        }
        for ordinal in frames.iter() {
            if !self.has(blobs, pack, ordinal)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Packs that are missing or are not what they should be.
    pub(super) fn broken_packs(&self) -> Vec<PackId> {
        let broken = |known: &&PackHealth| match known.state {
            State::Whole | State::Misdescribed => false,
            State::Missing => !self.places.names(&known.info.pack),
            State::Resized | State::Broken(_) => true,
        };
        let mut packs: Vec<_> = self
            .packs
            .iter()
            .filter(broken)
            .map(|known| known.info.pack)
            .collect();
        packs.sort();
        packs
    }

    fn get(&self, pack: PackRef) -> Option<&PackHealth> {
        self.packs.get(usize::try_from(pack.number()).ok()?)
    }
}

/// Holds the listing of packs against the index.
///
/// Cost: one listing.
pub(super) fn compare<'a>(
    repository: &Repository,
    index: &BlobIndex,
    facts: &'a Facts,
    sink: &Sink<'_>,
) -> Result<Health<'a>> {
    let mut listed = BTreeMap::new();
    let mut places = Places::new(facts);
    let foreign = repository.objects.list("packs/", |object| {
        places.note(&object);
        let sizes: Vec<_> = object.copies.iter().map(|copy| copy.bytes).collect();
        listed.insert(object.key, sizes);
    })?;
    for name in foreign {
        sink.junk(&Finding::foreign(name));
    }
    let (mut packs, mut misdescribed) = (Vec::new(), 0_usize);
    index.for_each_pack(|pack, info| {
        let key = ObjectKey::Pack(info.writer, info.pack);
        let is_doubted = index.is_doubted(pack);
        let first = index.find_pack(&info.pack);
        let state = match listed.get(&key) {
            _ if is_doubted && first.is_some_and(|first| !index.is_doubted(first)) => {
                misdescribed = misdescribed.saturating_add(1);
                State::Misdescribed
            }
            Some(sizes) if sizes.contains(&u64::from(info.pack_bytes)) => State::Whole,
            Some(_) if is_doubted => {
                misdescribed = misdescribed.saturating_add(1);
                State::Misdescribed
            }
            Some(sizes) => {
                let (found, wanted) = (sizes.last().copied().unwrap_or_default(), info.pack_bytes);
                sink.finding(key, format!("has {found} bytes instead of {wanted}"));
                State::Resized
            }
            None => State::Missing,
        };
        packs.push(PackHealth { pack, info, state });
    });
    if misdescribed > 0 {
        let count = counted(misdescribed, "description");
        sink.notice(&format!(
            "ignored {count} of packs in index segments that other segments or the packs themselves contradict"
        ));
    }
    let known = packs.iter().map(|known| known.info);
    for info in known.chain(places.packs().map(|claim| claim.pack)) {
        listed.remove(&ObjectKey::Pack(info.writer, info.pack));
    }
    for key in listed.keys().take(ORPHANS_NAMED_MAX) {
        sink.notice(&format!(
            "{key} is in no index segment: what an interrupted backup leaves, or where data was moved to if the record \
             of that is lost"
        ));
    }
    if listed.len() > ORPHANS_NAMED_MAX {
        let more = listed.len().saturating_sub(ORPHANS_NAMED_MAX);
        sink.notice(&format!("{more} more packs are in no index segment"));
    }
    Ok(Health {
        packs,
        places,
        moved: BTreeMap::new(),
        found: Mutex::default(),
        index_is_wrong: false,
    })
}

/// What is read, and by what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a BlobIndex,
    pub(super) attested: &'a BTreeSet<PackId>,
    pub(super) options: &'a Options,
}

/// Reads packs in full, some at the same time, and notes what is broken. Returns those that are whole and that no
/// attestation names.
///
/// Cost: one request for each pack.
pub(super) fn read(
    context: &Context<'_>,
    health: &mut Health<'_>,
    sink: &Sink<'_>,
    progress: &Progress,
) -> Result<Vec<PackId>> {
    let Context {
        repository,
        index,
        attested,
        options,
    } = *context;
    let selected = select(context, health)?;
    let total = u64::try_from(selected.len()).unwrap_or(u64::MAX);
    progress.total_packs.store(total, Ordering::Relaxed);
    let next = AtomicUsize::new(0);
    let (broken, failure) = (Mutex::new(Vec::new()), Mutex::new(None));
    let (whole, broken_moved) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        let mut verifier = PackVerifier::new(repository, index);
        while lock(&failure).is_none() {
            progress.check_cancelled()?;
            let Some((pack, info)) = selected.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let Some(pack) = pack else {
                let damage = verifier.verify_moved(info)?;
                progress.note(&damage);
                lock(&broken_moved).extend(tell_of_moved(info, damage, sink));
                continue;
            };
            let mut damage = verifier.verify(*pack, info)?;
            // What no snapshot's segment says, nobody relies on.
            let is_told = damage.index_is_wrong && index.is_doubted(*pack);
            damage.index_is_wrong &= !is_told;
            progress.note(&damage);
            let key = ObjectKey::Pack(info.writer, info.pack);
            let text = "the index says something else of it than its own table";
            if is_told {
                sink.notice(&format!("{key}: {text}"));
            }
            if damage.index_is_wrong {
                sink.finding(key, text);
            }
            if !damage.problems.is_empty() {
                sink.add(&damage.finding(&key));
            }
            if !damage.is_missing && damage.problems.is_empty() && !attested.contains(&info.pack) {
                lock(&whole).push(info.pack);
            }
            if damage.is_missing || damage.index_is_wrong || !damage.problems.is_empty() {
                lock(&broken).push((*pack, damage));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, selected.len().max(1)) {
            scope.spawn(|| {
                let outcome: Result<()> = work();
                if let Err(error) = outcome {
                    lock(&failure).get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    health.note(std::mem::take(&mut *lock(&broken)));
    health.moved.extend(lock(&broken_moved).drain(..));
    let mut whole = std::mem::take(&mut *lock(&whole));
    whole.sort();
    whole.dedup();
    Ok(whole)
}

/// Tells of a moved pack: what it lost is damage only where it is found nowhere else.
fn tell_of_moved(info: &PackInfo, damage: Damage, sink: &Sink<'_>) -> Option<(PackId, LostFrames)> {
    if damage.is_missing {
        return Some((info.pack, LostFrames::All));
    }
    if damage.problems.is_empty() {
        return None;
    }
    let key = ObjectKey::Pack(info.writer, info.pack);
    let problems = damage.problems.join("; ");
    sink.notice(&format!("{key}, into which frames were moved: {problems}"));
    Some((info.pack, damage.frames))
}

impl Progress {
    fn note(&self, damage: &Damage) {
        self.packs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(damage.bytes, Ordering::Relaxed);
    }
}

impl Health<'_> {
    fn note(&mut self, broken: Vec<(PackRef, Damage)>) {
        for (pack, damage) in broken {
            self.index_is_wrong |= damage.index_is_wrong;
            let at = usize::try_from(pack.number()).unwrap_or(usize::MAX);
            let state = if damage.is_missing {
                State::Missing
            } else if damage.problems.is_empty() {
                continue;
            } else {
                State::Broken(damage.frames)
            };
            if let Some(known) = self.packs.get_mut(at) {
                known.state = state;
            }
        }
    }
}

/// Chooses among the packs that are there; those without a number hold moved frames.
fn select(context: &Context<'_>, health: &Health<'_>) -> Result<Vec<(Option<PackRef>, PackInfo)>> {
    let read_data = context.options.read_data;
    let mut packs: Vec<_> = health
        .packs
        .iter()
        .filter(|known| matches!(known.state, State::Whole))
        .map(|known| (Some(known.pack), known.info))
        .collect();
    packs.extend(health.places.packs().map(|claim| (None, claim.pack)));
    let of = |(_, info): &(Option<PackRef>, PackInfo)| (info.pack, u64::from(info.pack_bytes));
    if read_data == ReadData::Unattested {
        // Of several descriptions those of listed segments alone; after a repair there may be no other than that one's.
        let is_only = |pack, info: &PackInfo| context.index.find_pack(&info.pack) == Some(pack);
        packs.retain(|(pack, info)| {
            pack.is_some_and(|pack| !context.index.is_doubted(pack) || is_only(pack, info))
                && !context.attested.contains(&info.pack)
        });
    }
    choose(context.repository, &mut packs, of, read_data)?;
    Ok(packs)
}

/// Keeps the packs that are to be read; `of` tells a pack's id and size.
pub(crate) fn choose<T>(
    repository: &Repository,
    packs: &mut Vec<T>,
    of: impl Fn(&T) -> (PackId, u64),
    read_data: ReadData,
) -> Result<()> {
    match read_data {
        ReadData::None => packs.clear(),
        ReadData::All | ReadData::Unattested => {}
        ReadData::Part { n, t } => {
            if n == 0 || n > t {
                let reason = format!("there is no part {n} of {t}");
                return Err(Error::Usage { reason });
            }
            packs.retain(|pack| part(&of(pack).0, t) == n.saturating_sub(1));
        }
        ReadData::Percent(percent) => {
            if !(percent > 0.0 && percent <= 100.0) {
                let reason = format!("{percent} % of the packs cannot be read");
                return Err(Error::Usage { reason });
            }
            shuffle(repository, packs);
            packs.truncate(share(packs.len(), percent));
        }
        ReadData::Bytes(wanted) => {
            shuffle(repository, packs);
            let mut bytes = 0_u64;
            packs.retain(|pack| {
                let wants_more = bytes < wanted;
                bytes = bytes.saturating_add(of(pack).1);
                wants_more
            });
        }
    }
    Ok(())
}

/// The part, from 0, that a pack falls into.
fn part(pack: &PackId, parts: u64) -> u64 {
    let (head, _) = pack
        .as_bytes()
        .split_first_chunk::<8>()
        .unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*head) % parts.max(1)
}

/// At least one, so that a small repository is not passed over for ever.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of packs, between 0 and that number"
)]
fn share(packs: usize, percent: f64) -> usize {
    ((packs as f64 * percent / 100.0).ceil() as usize).clamp(1, packs.max(1))
}

fn shuffle<T>(repository: &Repository, packs: &mut [T]) {
    packs.sort_by_cached_key(|_pack| repository.environment.bytes::<8>());
}
