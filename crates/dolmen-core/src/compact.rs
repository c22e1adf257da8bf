//! Compaction: packs of which much is unneeded, and small ones, give what is needed of them to new packs.
//!
//! Frames are copied as they are and keep their identity; a signed move says where they also lie. Nothing here deletes:
//! what nothing needs where it is any more, prune lets go.

mod copy;
mod fill;
pub mod plan;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use dolmen_format::limits::{PACK_BYTES_TARGET, PROLOGUE_BYTES};
use dolmen_format::manifest::FrameSet;
use dolmen_format::pack::{PackTable, TRAILER_BYTES};
use dolmen_format::{ObjectKey, PackId, Timestamp};
use dolmen_state::index::{BlobIndex, PackInfo};
use dolmen_state::state::Instance;
use dolmen_store::LockStatus;

use self::copy::Copying;
use self::fill::Fill;
use self::plan::{Kind, Limits, MaxUnused, Mergeable, PackUse, Prices, SMALL_BYTES_MAX, plan};
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::chain;
use crate::index::Index;
use crate::lease::{Clocks, Terms};
use crate::live::{ENDED, LIVES, LiveWalk, LostNode, NeededOf, Placed, StoredNodes};
use crate::lives::{self, Life};
use crate::moves::compare;
use crate::moves::places::Places;
use crate::objects::Listed;
use crate::pack::BlobReader;
use crate::pack::describe::READS_MAX;
use crate::prune::{Tally, Verdict, judge, judge_lock};
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList, segments_of};

/// How to compact.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Write nothing, only tell.
    pub dry_run: bool,
    /// What the store charges.
    pub prices: Prices,
    /// How much may be unneeded where nothing is locked.
    pub max_unused: MaxUnused,
    /// Bytes of packs that are read for repacking at most.
    pub repack_bytes_max: u64,
    /// Bytes of packs that are read to compare what others moved, at most.
    pub compare_bytes_max: u64,
    /// The user takes the store's clock as true.
    pub confirm_clock: bool,
    /// The latest time that the store stated to this client.
    pub remembered_store: Option<Timestamp>,
    /// Where the index's tables are kept.
    pub index_cache: Option<&'a Path>,
    /// A folder for what does not fit into memory.
    pub scratch: &'a Path,
    /// Set to interrupt.
    pub cancel: &'a AtomicBool,
}

/// What a run did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Packs repacked.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Packs written; in a dry run as many as the bytes fill.
    pub packs_written: u64,
    /// Their bytes; in a dry run those that are needed of the packs repacked.
    pub bytes_written: u64,
    /// Frames copied.
    pub frames: u64,
    /// Bytes that are stored beside needed ones in packs of which something is needed, before the run.
    pub unneeded_bytes: u64,
    /// In a dry run: what of the packs repacked the prune that follows then deletes.
    pub freed: Tally,
    /// Places of frames that others moved, and that were compared.
    pub compared: u64,
    /// Why nothing was repacked, where something kept it.
    pub held: Option<String>,
}

impl Report {
    /// Counts what would be repacked, without reading it.
    fn add_planned(&mut self, sources: &[Source]) {
        for source in sources {
            self.packs_read = self.packs_read.saturating_add(1);
            let stored_bytes = u64::from(source.info.pack_bytes);
            self.bytes_read = self.bytes_read.saturating_add(stored_bytes);
            self.bytes_written = self.bytes_written.saturating_add(source.needed_bytes);
            let frames = u64::try_from(source.frames.count()).unwrap_or(u64::MAX);
            self.frames = self.frames.saturating_add(frames);
            if source.is_lapsed {
                self.freed.add(stored_bytes);
            }
        }
        let target = u64::try_from(PACK_BYTES_TARGET).unwrap_or(u64::MAX);
        self.packs_written = self.bytes_written.div_ceil(target);
    }
}

/// Compacts a repository. What was compared, or copied, is added to the facts; whoever runs it remembers it.
///
/// Cost: two listings, three where frames were moved, one request for each manifest node, for the table of each small pack and of
/// each moved pack that is partly needed, and for each pack that is repacked; two puts for each pack written.
pub fn run(
    repository: &Repository,
    instance: &mut Instance,
    list: &mut SnapshotList,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Report> {
    let mut report = Report::default();
    let Some((now, terms)) = time(repository, list, options, &mut report)? else {
        return Ok(report);
    };
    let (index, needed) = {
        let kept = kept(repository, list, &terms, now);
        let mut index = Index::load(repository, options.index_cache)?;
        index.complete(
            repository,
            &segments_of(kept.iter().map(|(entry, _)| *entry)),
        )?;
        let mut walk = LiveWalk::new(options.scratch);
        for (entry, promise) in &kept {
            walk.add(repository, entry.id, &entry.snapshot, *promise)?;
        }
        let blobs = BlobReader::new(repository, &index.blobs).knowing(&list.facts.moves);
        let needed = walk.finish(&mut StoredNodes::new(&blobs, options.cancel))?;
        (index, needed)
    };
    if needed.complete().is_none() {
        for lost in needed.lost().iter().map(LostNode::finding) {
            observer.finding(&lost);
        }
        report.held =
            Some("a manifest cannot be read, so that it is not known what is needed".to_owned());
        return Ok(report);
    }
    let lease_seconds = i64::try_from(terms.lease_seconds()).unwrap_or(i64::MAX);
    let whole_lease = lives::locks_what_lives(repository, &list.facts, now)
        .then(|| now.saturating_add_seconds(lease_seconds));
    let comparing = compare::Options {
        read_bytes_max: options.compare_bytes_max,
        cancel: options.cancel,
    };
    if !options.dry_run {
        let compared = compare::run(repository, &mut list.facts, &comparing)?;
        report.compared = compared.equal.saturating_add(compared.different);
    }
    let (outcome, learnt) = {
        let places = Places::look(repository, &list.facts)?;
        let lasting = needed.placed(&places, options.scratch)?;
        let view = View {
            repository,
            index: &index.blobs,
            lasting: &lasting,
            places: &places,
            whole_lease,
            terms,
        };
        let chosen = choose(&view, now, options, &mut report)?;
        if options.dry_run {
            report.add_planned(&chosen);
            return Ok(report);
        }
        let mut copying = Copying::new(repository, instance, &list.facts.moves, &places, options);
        let outcome = copying.all(&chosen, &mut report, observer);
        (outcome, copying.learnt)
    };
    // What was copied before a failure need not be read again to be compared.
    list.facts.compared.equal.extend(learnt);
    outcome?;
    Ok(report)
}

/// The time by which leases lapse, and how long they are; `None`: nothing is let go, so that nothing is worth copying.
fn time(
    repository: &Repository,
    list: &SnapshotList,
    options: &Options<'_>,
    report: &mut Report,
) -> Result<Option<(Timestamp, Terms)>> {
    let objects = &repository.objects;
    let local = repository.environment.clock.now();
    let clocks = Clocks {
        local,
        store: objects.time_of_run(local, options.dry_run)?,
        remembered_store: options.remembered_store,
        confirmed: options.confirm_clock,
    };
    let now = match clocks.let_go_at() {
        Ok(now) => now,
        Err(held) => {
            report.held = Some(chain(&held));
            return Ok(None);
        }
    };
    let terms = lives::terms(&list.facts, now);
    if terms.is_none() {
        report.held = Some("no policy says how long leases are".to_owned());
    }
    Ok(terms.map(|terms| (now, terms)))
}

/// What lives, and on stores without locks what is kept until its lease lapses: it keeps its packs as long.
fn kept<'l>(
    repository: &Repository,
    list: &'l SnapshotList,
    terms: &Terms,
    now: Timestamp,
) -> Vec<(&'l SnapshotEntry, u64)> {
    let is_locked = lives::locks_what_lives(repository, &list.facts, now);
    let lives = lives::lives(list, terms, now).into_iter();
    let kept = lives.filter_map(|(entry, life)| match life {
        Life::Live => Some((entry, LIVES)),
        Life::Ended(_) if is_locked => None,
        Life::Ended(at) => {
            let is_leased = judge(entry.stored_at, Some(at), terms, now) != Verdict::Delete;
            is_leased.then_some((entry, ENDED))
        }
    });
    kept.collect()
}

/// A pack that may be repacked.
struct Candidate {
    info: PackInfo,
    received: Timestamp,
    locked_until: Option<Timestamp>,
    /// Bytes of its needed frames; `None`: only its table tells.
    needed_bytes: Option<u64>,
    /// Positions of its needed frames, where only its table tells what they are.
    frames: Option<FrameSet>,
    mergeable: Option<Mergeable>,
}

impl Candidate {
    /// Bytes of a pack that are no frames.
    fn overhead_bytes(&self) -> u64 {
        let fixed = u64::try_from(PROLOGUE_BYTES.saturating_add(TRAILER_BYTES)).unwrap_or(u64::MAX);
        u64::from(self.info.table_bytes).saturating_add(fixed)
    }

    fn is_lapsed(&self, terms: &Terms, now: Timestamp) -> bool {
        let verdict = match self.locked_until {
            Some(until) => judge_lock(Some(until), now),
            None => judge(self.received, None, terms, now),
        };
        verdict == Verdict::Delete
    }

    fn is_small(&self) -> bool {
        u64::from(self.info.pack_bytes) < SMALL_BYTES_MAX
    }

    /// What the plan goes by.
    fn as_use(&self) -> PackUse {
        let stored_bytes = u64::from(self.info.pack_bytes);
        let needed_bytes = self.needed_bytes.map_or(stored_bytes, |bytes| {
            bytes.saturating_add(self.overhead_bytes())
        });
        PackUse {
            stored_bytes,
            needed_bytes: needed_bytes.min(stored_bytes),
            received: self.received,
            locked_until: self.locked_until,
            mergeable: self.mergeable.filter(|_| self.is_small()),
        }
    }
}

/// A pack that is repacked, and what of it is needed.
#[derive(Debug)]
struct Source {
    info: PackInfo,
    received: Timestamp,
    /// Needed bytes, what is no frame included.
    needed_bytes: u64,
    frames: FrameSet,
    /// Whether nothing but what is needed of it keeps it.
    is_lapsed: bool,
}

/// What a run looks at.
#[derive(Clone, Copy)]
struct View<'a> {
    repository: &'a Repository,
    index: &'a BlobIndex,
    lasting: &'a Placed<'a>,
    places: &'a Places<'a>,
    /// Until when a hold in force, or a lock that no listing states, counts; `None`: the policy locks nothing.
    whole_lease: Option<Timestamp>,
    terms: Terms,
}

/// Chooses the packs to repack, in the order in which they were received: what was stored together stays together.
fn choose(
    view: &View<'_>,
    now: Timestamp,
    options: &Options<'_>,
    report: &mut Report,
) -> Result<Vec<Source>> {
    let (mut candidates, mut needed_bytes) = candidates(view)?;
    read_tables(view, &mut candidates)?;
    let uses: Vec<_> = candidates.iter().map(Candidate::as_use).collect();
    for pack in &uses {
        needed_bytes = needed_bytes.saturating_add(pack.needed_bytes);
        let unneeded = pack.stored_bytes.saturating_sub(pack.needed_bytes);
        report.unneeded_bytes = report.unneeded_bytes.saturating_add(unneeded);
    }
    let limits = Limits {
        max_unused: options.max_unused,
        prices: options.prices,
        repack_bytes_max: options.repack_bytes_max,
        now,
    };
    let chosen = plan(&uses, needed_bytes, &limits);
    let chosen = candidates
        .iter()
        .enumerate()
        .filter(|(at, _)| chosen.contains(at));
    let chosen: BTreeMap<PackId, &Candidate> = chosen
        .map(|(_, candidate)| (candidate.info.pack, candidate))
        .collect();
    let mut sources = Vec::with_capacity(chosen.len());
    for pack in view.lasting.packs() {
        let pack = pack?;
        if let Some(candidate) = chosen.get(&pack.pack) {
            sources.push(Source {
                info: candidate.info,
                received: candidate.received,
                needed_bytes: candidate.as_use().needed_bytes,
                frames: pack.frames,
                is_lapsed: candidate.is_lapsed(&view.terms, now),
            });
        }
    }
    sources.sort_by_key(|source| (source.info.writer, source.received));
    Ok(sources)
}

/// Packs that are small or partly unneeded, some 200 bytes for each, and the needed bytes of the others.
fn candidates(view: &View<'_>) -> Result<(Vec<Candidate>, u64)> {
    let moved: BTreeMap<PackId, PackInfo> = view
        .places
        .packs()
        .map(|claim| (claim.pack.pack, claim.pack))
        .collect();
    let mut needed = NeededOf::new(view.lasting);
    let (mut candidates, mut others_bytes, mut failed) = (Vec::new(), 0_u64, None);
    view.repository.objects.list("packs/", |object| {
        let pack = match needed.pack(&object.key) {
            Ok(Some(pack)) => pack,
            Ok(None) => return,
            Err(error) => {
                failed.get_or_insert(error);
                return;
            }
        };
        let known = view.index.find_pack(&pack.pack);
        let described = known.and_then(|known| view.index.pack(known));
        let info = described.or_else(|| moved.get(&pack.pack).copied());
        let candidate = info.and_then(|info| Candidate::of(&object, info, view.whole_lease));
        let Some(mut candidate) = candidate else {
            return;
        };
        let frames = || pack.frames.iter();
        let known = known.filter(|known| view.index.frame(*known, 0).is_some());
        candidate.needed_bytes = known.map(|known| {
            let bytes = frames().filter_map(|ordinal| view.index.frame(known, ordinal));
            bytes.map(|frame| u64::from(frame.frame_bytes)).sum()
        });
        let is_whole = match candidate.needed_bytes {
            Some(bytes) => {
                bytes.saturating_add(candidate.overhead_bytes())
                    >= u64::from(candidate.info.pack_bytes)
            }
            None => frames().count() >= view.places.frames_in(&pack.pack),
        };
        // What is kept for a lease alone is not worth a copy.
        let is_ended = pack.promise_seconds == ENDED;
        let is_contested = frames().any(|ordinal| view.places.is_contested(&pack.pack, ordinal));
        if is_ended || is_contested || (is_whole && !candidate.is_small()) {
            others_bytes = others_bytes.saturating_add(u64::from(candidate.info.pack_bytes));
            return;
        }
        if known.is_none() {
            candidate.frames = Some(pack.frames.clone());
        }
        candidates.push(candidate);
    })?;
    failed.map_or(Ok((candidates, others_bytes)), Err)
}

impl Candidate {
    /// `None`: what is listed is not the pack that is described.
    fn of(object: &Listed, info: PackInfo, whole_lease: Option<Timestamp>) -> Option<Self> {
        let is_described = object.key == ObjectKey::Pack(info.writer, info.pack);
        let copy = object
            .copies
            .iter()
            .find(|copy| copy.bytes == u64::from(info.pack_bytes))
            .filter(|_| is_described)?;
        Some(Self {
            info,
            received: copy.stored_at,
            locked_until: match copy.lock {
                LockStatus::Until(lock) => Some(lock.until),
                LockStatus::Held { .. } | LockStatus::Unknown => whole_lease,
                LockStatus::None => None,
            },
            needed_bytes: None,
            frames: None,
            mergeable: None,
        })
    }
}

/// Reads the tables of small packs, and of moved ones of which a part is needed. A pack whose table cannot be read stays
/// as it is.
fn read_tables(view: &View<'_>, candidates: &mut Vec<Candidate>) -> Result<()> {
    let blobs = BlobReader::new(view.repository, view.index);
    for part in candidates.chunks_mut(READS_MAX) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = part
                .iter_mut()
                .filter(|candidate| candidate.is_small() || candidate.frames.is_some())
                .map(|candidate| scope.spawn(|| read_table(&blobs, candidate)))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().map_err(|_panic| Error::Internal {
                    what: "a reading thread died",
                })?
            });
            joined.collect::<Result<()>>()
        })?;
    }
    candidates.retain(|candidate| candidate.needed_bytes.is_some());
    Ok(())
}

fn read_table(blobs: &BlobReader<'_>, candidate: &mut Candidate) -> Result<()> {
    let table = match blobs.read_table(&candidate.info) {
        Ok(table) => table,
        Err(error) => {
            candidate.needed_bytes = None;
            return error.outage().map_or(Ok(()), Err);
        }
    };
    candidate.mergeable = mergeable(&table);
    if let Some(frames) = &candidate.frames {
        let entries = frames.iter().filter_map(|position| {
            let at = usize::try_from(position).ok()?;
            table.frames.get(at)
        });
        let bytes = entries.map(|entry| u64::from(entry.frame_bytes)).sum();
        candidate.needed_bytes = Some(bytes);
    }
    Ok(())
}

/// `None`: its frames belong to several domains.
fn mergeable(table: &PackTable) -> Option<Mergeable> {
    let domain = table.origins.first()?.domain;
    let is_one = table.origins.iter().all(|origin| origin.domain == domain);
    is_one.then(|| Mergeable {
        kind: Kind {
            recipient: table.recipient,
            domain,
        },
        fill_bytes: u64::try_from(Fill::of(table).as_bytes()).unwrap_or(u64::MAX),
    })
}
