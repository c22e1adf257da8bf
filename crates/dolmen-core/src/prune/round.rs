//! One round: what is there, what is needed, what goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use dolmen_format::index::Segment;
use dolmen_format::{ObjectKey, ObjectKind, PackId, SegmentId, SnapshotId, Timestamp};
use dolmen_store::{LockStatus, StoreErrorKind};

use super::tellers::Tellers;
use super::{Options, Report, Tally, Verdict, judge, judge_lock};
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, chain, reason};
use crate::index::Index;
use crate::lease::{self, Clocks, Terms};
use crate::live::{CompleteLive, ENDED, LIVES, Live, LiveWalk, NeededOf, StoredNodes};
use crate::lives::{self, Life};
use crate::moves::places::Places;
use crate::numbers::{self, Missing};
use crate::objects::{FetchError, Listed, Removal};
use crate::pack::BlobReader;
use crate::probe::LOCK_SECONDS;
use crate::recall::{self, Recall};
use crate::release::Release;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList, segments_of};
use crate::strays::Strays;
use crate::verify;

/// A listing is acted on for so long at most, however long the protection is (DESIGN §3).
const LISTING_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Objects that a round deletes at most: they are all in memory.
const DOOMED_MAX: usize = 1 << 17;
/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was looked at.
    Done,
    /// The listing grew too old.
    Late,
}

/// A snapshot or checkpoint that is listed.
struct Judged {
    object: Listed,
    verdict: Verdict,
    /// Its life has ended, and the grace is over, too.
    is_over: bool,
}

/// Snapshots and checkpoints whose lives have ended.
#[derive(Debug, Default)]
struct Past {
    /// They go, or are gone.
    gone: BTreeSet<SnapshotId>,
    /// Their grace is over, and something keeps them.
    over: BTreeSet<SnapshotId>,
}

/// What stays, and what it needs.
struct Kept<'a> {
    entries: Vec<(&'a SnapshotEntry, Life)>,
    live: Live,
}

/// The packs of a listing.
#[derive(Default)]
struct Packs {
    /// Those that go or are released.
    doomed: Vec<(Listed, Verdict)>,
    /// There are more of these than one round deletes.
    are_more: bool,
    live: Tally,
    locked: Tally,
    next_unlock: Option<Timestamp>,
}

/// What a round knows.
struct Round<'a> {
    repository: &'a Repository,
    options: &'a Options<'a>,
    observer: &'a dyn Observer,
    list: &'a SnapshotList,
    terms: Terms,
    /// By which clock leases lapse; `None`: nothing is let go.
    now: Option<Timestamp>,
    /// The latest that it may be: what is gone may have been let go by a clock that was ahead.
    latest: Timestamp,
    /// From then on the listing is too old.
    deadline: Timestamp,
    /// How holds are lifted; `None`: none are ours.
    release: Option<Release>,
    removal: Removal,
    /// Snapshots and records that are none.
    junk: BTreeSet<ObjectKey>,
    tellers: &'a mut Tellers,
    report: Report,
}

/// Runs a round.
pub(super) fn run(
    repository: &Repository,
    options: &Options<'_>,
    tellers: &mut Tellers,
    observer: &dyn Observer,
) -> Result<(Report, End)> {
    let objects = &repository.objects;
    let local = repository.environment.clock.now();
    let store = objects.time_of_run(local, options.dry_run)?;
    let clocks = Clocks {
        local,
        store,
        remembered_store: options.remembered_store,
        confirmed: options.confirm_clock,
    };
    if let Some(apart) = lease::apart(local, store) {
        observer.notice(&apart);
    }
    let mut report = Report {
        store_time: Some(clocks.remember()),
        ..Report::default()
    };
    let mut list = SnapshotList::load_recalling(repository, Recall::Seen(options.sightings))?;
    list.facts.confirmed.clone_from(options.confirmed);
    list.facts.compared.clone_from(options.compared);
    list.suppose_retired(options.supposed, local);
    let now = match clocks.let_go_at() {
        Ok(now) => Some(now),
        Err(held) => {
            report.held = Some(chain(&held));
            None
        }
    };
    // The terms decide nothing while nothing is let go.
    let terms = lives::terms(&list.facts, now.unwrap_or(store.earliest));
    let Some(terms) = terms else {
        report.held = Some("no policy says how long leases are".to_owned());
        return Ok((report, End::Done));
    };
    let open_seconds = terms.delay_seconds().min(LISTING_SECONDS_MAX);
    tellers.hear(&list);
    let deadline = local.saturating_add_seconds(i64::try_from(open_seconds).unwrap_or(i64::MAX));
    let mut round = Round {
        repository,
        options,
        observer,
        list: &list,
        terms,
        now,
        latest: clocks.latest(),
        deadline,
        release: Release::new(&list.facts, terms, clocks),
        removal: Removal::of(lives::lock(&list.facts, now.unwrap_or(store.earliest))),
        junk: BTreeSet::new(),
        tellers,
        report,
    };
    round.hold_what_has_gaps()?;
    let end = round.look_at_everything()?;
    Ok((round.report, end))
}

impl<'a> Round<'a> {
    /// Lets nothing go while the repository tells of something that is not there: it may only be late.
    fn hold_what_has_gaps(&mut self) -> Result<()> {
        let missing = numbers::missing(self.list, self.options.remembered);
        let mut gaps = missing.findings();
        for retired in self.list.facts.retired.values() {
            let is_there = |entry: &SnapshotEntry| {
                entry.id == retired.snapshot.digest && !self.list.recalled.is_gone(&entry.key())
            };
            let lapses = if lives::promises_locks(&self.list.facts, self.latest) {
                self.judge_grace(retired.ended_at(self.latest), self.latest)
            } else {
                judge(
                    retired.ended_at(self.latest),
                    None,
                    &self.terms,
                    self.latest,
                )
            };
            if lapses != Verdict::Delete && !self.list.retired.iter().any(is_there) {
                gaps.push(Finding::new(
                    format!("snapshot {}", retired.snapshot.digest),
                    "retired, and gone before its lease has lapsed",
                ));
            }
        }
        gaps.extend(self.unreadable(&missing)?);
        let now = self.now.unwrap_or(self.latest);
        gaps.extend(recall::alarms(self.list, Some(&self.terms), now));
        if gaps.is_empty() || self.options.confirm_missing {
            return Ok(());
        }
        for gap in &gaps {
            self.observer.finding(gap);
        }
        self.hold("something is missing, or cannot be read, that no retirement names".to_owned());
        Ok(())
    }

    /// What lies under a known writer's name and may be a snapshot that lives, or an undo. Junk is only noted: whoever may
    /// write can plant it.
    fn unreadable(&mut self, missing: &Missing) -> Result<Findings> {
        let recalled = &self.list.recalled.objects;
        let strays = Strays::new(self.repository, |key| {
            recalled.contains_key(key) || missing.objects.contains_key(key)
        });
        let standing = self.repository.findings().iter();
        self.junk.extend(standing.filter_map(Finding::of_stray));
        let mut unreadable = Findings::new();
        for finding in &self.list.findings {
            let Ok(key @ (ObjectKey::Snapshot(..) | ObjectKey::Ledger(..))) =
                finding.subject.parse::<ObjectKey>()
            else {
                continue;
            };
            let writer = key.writer();
            if strays.is_junk(finding)? {
                self.junk.insert(key);
            } else if writer.is_some_and(|writer| self.repository.verify_key_of(writer).is_some()) {
                unreadable.push(finding.clone());
            }
        }
        Ok(unreadable)
    }

    fn hold(&mut self, why: String) {
        self.now = None;
        self.report.held.get_or_insert(why);
    }

    /// Looks at everything before anything goes: what is found missing on the way holds all of it.
    fn look_at_everything(&mut self) -> Result<End> {
        let mut junk_here = Vec::new();
        for prefix in ["root/", "keys/", "ledger/"] {
            let (report, junk) = (&mut self.report, &self.junk);
            self.repository.objects.list(prefix, |object| {
                if junk.contains(&object.key) {
                    junk_here.push(object);
                } else {
                    report.live.add(bytes_of(&object));
                }
            })?;
        }
        let snapshots = self.judge_snapshots()?;
        let mut past = Past::of(&snapshots);
        let mut kept = self.keep(&past)?;
        let mut packs = self.judge_packs(&kept.live)?;
        let Some(stays) = self.let_snapshots_go(&snapshots)? else {
            return Ok(End::Late);
        };
        if self.now.is_some() && !stays.is_empty() {
            // What could not be deleted keeps what it needs.
            past.gone.retain(|id| !stays.contains(id));
            past.over.extend(stays);
            kept = self.keep(&past)?;
            packs = self.judge_packs(&kept.live)?;
        }
        if self.let_segments_go(&kept)? == End::Late {
            return Ok(End::Late);
        }
        for object in &junk_here {
            if self.let_junk_go(object)? == Done::Late {
                return Ok(End::Late);
            }
        }
        self.let_packs_go(&packs)
    }

    /// Finds what stays and what that needs; what cannot be read of it holds everything.
    fn keep(&mut self, past: &Past) -> Result<Kept<'a>> {
        let lives = lives::lives(self.list, &self.terms, self.now.unwrap_or_default());
        let mut entries: Vec<_> = lives
            .into_iter()
            .filter(|(entry, _)| !past.gone.contains(&entry.id))
            .collect();
        let index = self.load_index(&entries)?;
        let moves = &self.list.facts.moves;
        let blobs = BlobReader::new(self.repository, &index.blobs).knowing(moves);
        let live = self.walk_readable(&mut entries, &past.over, &blobs)?;
        if live.complete().is_none() {
            for lost in live.lost() {
                self.observer.finding(&lost.finding());
            }
            self.hold(
                "a manifest cannot be read, so that it is not known what is needed".to_owned(),
            );
        }
        Ok(Kept { entries, live })
    }

    /// Walks what is needed. What is over and cannot be read keeps nothing: else whoever locks a planted snapshot for ever
    /// would stop every prune for as long.
    fn walk_readable(
        &self,
        kept: &mut Vec<(&SnapshotEntry, Life)>,
        over: &BTreeSet<SnapshotId>,
        blobs: &BlobReader<'_>,
    ) -> Result<Live> {
        let mut live = self.walk(kept, blobs)?;
        // Of those that need a lost node only the first is told: the second time all are left out.
        for are_all_dropped in [false, true] {
            let is_over = |entry: &SnapshotEntry| over.contains(&entry.id);
            if live.complete().is_some() || !kept.iter().any(|(entry, _)| is_over(entry)) {
                break;
            }
            let lost = live.lost().iter().map(|lost| lost.first.id());
            let lost: BTreeSet<_> = lost.collect();
            kept.retain(|(entry, _)| {
                !is_over(entry) || !(are_all_dropped || lost.contains(&entry.id))
            });
            live = self.walk(kept, blobs)?;
        }
        Ok(live)
    }

    fn walk(&self, kept: &[(&SnapshotEntry, Life)], blobs: &BlobReader<'_>) -> Result<Live> {
        let mut walk = LiveWalk::new(self.options.scratch);
        for (entry, life) in kept {
            let promise = if *life == Life::Live { LIVES } else { ENDED };
            walk.add(self.repository, entry.id, &entry.snapshot, promise)?;
        }
        walk.finish(&mut StoredNodes::new(blobs, self.options.cancel))
    }

    fn load_index(&self, kept: &[(&SnapshotEntry, Life)]) -> Result<Index> {
        let mut index = Index::load(self.repository, self.options.index_cache)?;
        let wanted = segments_of(kept.iter().map(|(entry, _)| *entry));
        index.complete(self.repository, &wanted)?;
        Ok(index)
    }

    /// Judges all snapshots and checkpoints that are listed.
    fn judge_snapshots(&self) -> Result<Vec<Judged>> {
        let mut listed = Vec::new();
        self.repository
            .objects
            .list("snapshots/", |object| listed.push(object))?;
        let now = self.now.unwrap_or_default();
        let lives = lives::lives(self.list, &self.terms, now).into_iter();
        let ends: BTreeMap<_, _> = lives
            .filter_map(|(entry, life)| match life {
                Life::Live => None,
                Life::Ended(at) => Some((entry.key(), (entry.stored_at, at))),
            })
            .collect();
        let judged = listed.into_iter().map(|object| {
            // What is live, came after the list was loaded, or is none of ours, stays.
            let ended = ends.get(&object.key);
            let grace = ended.map(|(_, ended)| self.judge_grace(*ended, now));
            let verdict = match (ended, grace) {
                (Some((stored_at, ended)), Some(grace)) => match self.judge_by_lock(&object) {
                    Some(by_lock) => later(by_lock, grace),
                    None => judge(*stored_at, Some(*ended), &self.terms, now),
                },
                _ => Verdict::Live,
            };
            Judged {
                object,
                verdict,
                is_over: grace == Some(Verdict::Delete),
            }
        });
        Ok(judged.collect())
    }

    /// Deletes snapshots and checkpoints whose lives have ended and whose leases have lapsed, before what they needed.
    /// Returns those that were to go and stay; `None`: too late.
    fn let_snapshots_go(&mut self, snapshots: &[Judged]) -> Result<Option<BTreeSet<SnapshotId>>> {
        let incomplete: BTreeSet<SnapshotId> =
            self.list.incomplete.iter().map(|entry| entry.id).collect();
        let mut stays = BTreeSet::new();
        for Judged {
            object, verdict, ..
        } in snapshots
        {
            if self.junk.contains(&object.key) {
                if self.let_junk_go(object)? == Done::Late {
                    return Ok(None);
                }
                continue;
            }
            let id = object.key.id();
            if *verdict == Verdict::Delete && incomplete.contains(&id) && self.now.is_some() {
                // What it needed is free; itself it stays, because it bears a number that would be missed.
                self.report.live.add(bytes_of(object));
                continue;
            }
            match self.carry_out(object, *verdict)? {
                Done::Stays if *verdict == Verdict::Delete => {
                    stays.insert(id);
                }
                Done::Gone | Done::Stays => {}
                Done::Late => return Ok(None),
            }
        }
        Ok(Some(stays))
    }

    /// Deletes what is junk under a known writer's name once its own lease, or lock, has lapsed. Under other names it stays:
    /// what makes them known may be late.
    fn let_junk_go(&mut self, object: &Listed) -> Result<Done> {
        let writer = object.key.writer();
        let is_ours = writer.is_some_and(|one| self.repository.verify_key_of(one).is_some());
        let may_go = is_ours && self.now.is_some() && !self.is_removed(object);
        if may_go && self.judge_unneeded(object) == Verdict::Delete {
            return self.delete(object);
        }
        self.report.junk.add(bytes_of(object));
        Ok(Done::Stays)
    }

    /// Deletes segments that no kept snapshot lists and that describe nothing that only they describe.
    fn let_segments_go(&mut self, kept: &Kept<'_>) -> Result<End> {
        let (needed, live) = (kept.segments(), kept.live.complete());
        let mut listed = Vec::new();
        self.repository
            .objects
            .list("index/", |object| listed.push(object))?;
        let mut described = None;
        for object in &listed {
            let mut verdict = self.judge_unneeded(object);
            if verdict == Verdict::Delete && self.is_untold(object) {
                verdict = Verdict::Live;
            }
            if let Some(by) = needed.get(&object.key.id()) {
                // What ended snapshots alone need is kept for its lease, and no hold longer.
                if verdict != Verdict::Held || *by == Life::Live {
                    verdict = Verdict::Live;
                }
            } else if let (Verdict::Delete, Some(live)) = (verdict, live) {
                if described.is_none() {
                    described = Some(self.described_by(&listed, &needed)?);
                }
                let others = described.as_ref();
                if self.describes_alone(object, others, live)? {
                    verdict = Verdict::Live;
                }
            }
            if self.carry_out(object, verdict)? == Done::Late {
                return Ok(End::Late);
            }
        }
        Ok(End::Done)
    }

    /// The packs that the segments among `needed` describe.
    fn described_by(
        &self,
        listed: &[Listed],
        needed: &BTreeMap<SegmentId, Life>,
    ) -> Result<BTreeSet<PackId>> {
        let is_needed = |object: &&Listed| needed.contains_key(&object.key.id());
        let mut described = BTreeSet::new();
        for object in listed.iter().filter(is_needed) {
            described.extend(self.packs_of(object)?.into_iter().flatten());
        }
        Ok(described)
    }

    /// Whether a segment describes a pack that is needed and that no other segment describes. What cannot be read may
    /// describe anything.
    fn describes_alone(
        &self,
        object: &Listed,
        others: Option<&BTreeSet<PackId>>,
        live: CompleteLive<'_>,
    ) -> Result<bool> {
        let Some(packs) = self.packs_of(object)? else {
            // Its bytes are not what its name says, or nobody known signed it: it describes nothing.
            return Ok(false);
        };
        let is_elsewhere = |pack: &PackId| others.is_some_and(|others| others.contains(pack));
        let mut alone: Vec<_> = packs
            .into_iter()
            .filter(|pack| !is_elsewhere(pack))
            .collect();
        if alone.is_empty() {
            return Ok(false);
        }
        alone.sort();
        for pack in live.packs() {
            if alone.binary_search(&pack?.pack).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The packs that a segment describes; `None` where it is no segment of this repository, or gone.
    fn packs_of(&self, object: &Listed) -> Result<Option<Vec<PackId>>> {
        let fetched = self
            .repository
            .objects
            .fetch(&object.key, ObjectKind::Index);
        let stored = match fetched {
            Ok(stored) => stored,
            Err(FetchError::Altered) => return Ok(None),
            // Another prune was quicker.
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let signed_for = |segment: &Segment| segment.writer;
        let segment = verify::verify(self.repository, &object.key, &stored, signed_for).ok();
        let packs = |segment: Segment| segment.packs.iter().map(|entry| entry.pack).collect();
        Ok(segment.map(|(segment, _)| packs(segment)))
    }

    /// Deletes packs that no kept snapshot needs, and what probes left.
    fn let_packs_go(&mut self, packs: &Packs) -> Result<End> {
        let report = &mut self.report;
        report.live = report.live.with(packs.live);
        report.locked = report.locked.with(packs.locked);
        report.next_unlock = earlier(report.next_unlock, packs.next_unlock);
        for (object, verdict) in &packs.doomed {
            if self.carry_out(object, *verdict)? == Done::Late {
                return Ok(End::Late);
            }
        }
        let mut canaries = Vec::new();
        self.repository.objects.list("canary/", |object| {
            canaries.push(object);
            canaries.truncate(DOOMED_MAX);
        })?;
        for object in &canaries {
            let Some(verdict) = self.judge_canary(object) else {
                self.keep_leased(bytes_of(object), None);
                continue;
            };
            if self.carry_out(object, verdict)? == Done::Late {
                return Ok(End::Late);
            }
        }
        Ok(if packs.are_more { End::Late } else { End::Done })
    }

    /// Judges all packs; one that is needed and missing holds everything: what tells where its frames lie now may be lost.
    fn judge_packs(&mut self, live: &Live) -> Result<Packs> {
        let places = Places::look(self.repository, &self.list.facts)?;
        let lasting = live.placed(&places, self.options.scratch)?;
        let mut needed = NeededOf::new(&lasting);
        let mut packs = Packs::default();
        let (mut failed, leased_until) = (None, self.next_end());
        let repository = self.repository;
        repository.objects.list("packs/", |object| {
            let promise = match needed.pack(&object.key) {
                Ok(pack) => pack.map(|pack| pack.promise_seconds),
                Err(error) => {
                    failed.get_or_insert(error);
                    return;
                }
            };
            self.judge_pack(object, promise, leased_until, &mut packs);
        })?;
        failed.map_or(Ok(()), Err)?;
        let (count, first) = needed.missing()?;
        if count > 0 && !self.options.confirm_missing {
            for pack in first {
                let problem = "a live snapshot needs it, and it is missing";
                self.observer
                    .finding(&Finding::new(format!("pack {pack}"), problem));
            }
            self.hold(format!(
                "{count} needed {} missing, or what tells where the data lies now",
                if count == 1 { "pack is" } else { "packs are" }
            ));
        }
        Ok(packs)
    }

    fn judge_pack(
        &mut self,
        object: Listed,
        promise: Option<u64>,
        leased_until: Timestamp,
        packs: &mut Packs,
    ) {
        let bytes = bytes_of(&object);
        let mut keep_leased = |until: Option<Timestamp>| {
            packs.locked.add(bytes);
            packs.next_unlock = earlier(packs.next_unlock, until);
        };
        match (promise, self.judge_unneeded(&object)) {
            (None, Verdict::Delete) if self.is_untold(&object) => packs.live.add(bytes),
            (None, verdict @ Verdict::Delete) | (None | Some(ENDED), verdict @ Verdict::Held)
                if self.now.is_some() && !self.is_removed(&object) =>
            {
                if packs.doomed.len() < DOOMED_MAX {
                    packs.doomed.push((object, verdict));
                } else {
                    packs.are_more = true;
                }
            }
            (None, Verdict::Leased(until)) => keep_leased(Some(until)),
            (Some(ENDED), _) => keep_leased(Some(leased_until)),
            (Some(_), _) => packs.live.add(bytes),
            (None, Verdict::Delete | Verdict::Live | Verdict::Held) => keep_leased(None),
        }
    }

    /// Whether nothing tells why an object is unneeded: its writer has no snapshot at all, so that they may be gone.
    fn is_untold(&mut self, object: &Listed) -> bool {
        let Some(writer) = object.key.writer() else {
            return false;
        };
        let is_told = self.tellers.tell(writer, &object.key);
        // What strangers stored is junk.
        let is_junk = self.repository.verify_key_of(writer).is_none();
        if self.options.confirm_missing || is_told || is_junk {
            return false;
        }
        if self.tellers.is_first_of(writer) {
            self.observer.finding(&Finding::new(
                format!("writer {writer}"),
                "none of its snapshots is there, retired or not: what it stored stays; if they are gone for good, run it \
                 again with --confirm-missing",
            ));
        }
        true
    }

    /// When the first of the snapshots lapses that are kept for their leases alone.
    fn next_end(&self) -> Timestamp {
        let now = self.now.unwrap_or_default();
        let lives = lives::lives(self.list, &self.terms, now);
        let ends = lives.into_iter().filter_map(|(entry, life)| match life {
            Life::Live => None,
            Life::Ended(at) => match judge(entry.stored_at, Some(at), &self.terms, now) {
                Verdict::Leased(until) => Some(until),
                Verdict::Live | Verdict::Held | Verdict::Delete => None,
            },
        });
        ends.min().unwrap_or(now)
    }

    /// Judges an object that nothing needs by its own receipt.
    fn judge_unneeded(&self, object: &Listed) -> Verdict {
        if let Some(verdict) = self.judge_by_lock(object) {
            return verdict;
        }
        let newest = object.copies.iter().map(|copy| copy.stored_at).max();
        judge(
            newest.unwrap_or_default(),
            None,
            &self.terms,
            self.now.unwrap_or_default(),
        )
    }

    /// Judges what a probe or a drill left: it has no lease, only a short lock. `None`: that may last still, and the listing
    /// does not state until when.
    fn judge_canary(&self, object: &Listed) -> Option<Verdict> {
        if let Some(verdict) = self.judge_by_lock(object) {
            return Some(verdict);
        }
        let newest = object.copies.iter().map(|copy| copy.stored_at).max();
        let lapsed = newest
            .unwrap_or_default()
            .saturating_add_seconds(LOCK_SECONDS);
        self.now
            .filter(|now| lapsed <= *now)
            .map(|_| Verdict::Delete)
    }

    /// The grace of what ended, on a store with locks: L from then on, however long the lock was.
    fn judge_grace(&self, ended: Timestamp, now: Timestamp) -> Verdict {
        let protect_seconds = i64::try_from(self.terms.protect_seconds()).unwrap_or(i64::MAX);
        let until = ended.saturating_add_seconds(protect_seconds);
        judge_lock(Some(until), now)
    }

    /// Judges an object by its lock, where the listing states it.
    fn judge_by_lock(&self, object: &Listed) -> Option<Verdict> {
        let mut latest = None;
        for copy in &object.copies {
            match copy.lock {
                LockStatus::Until(lock) => latest = latest.max(Some(lock.until)),
                // Only lifting a hold lets it go.
                LockStatus::Held { .. } => return Some(Verdict::Held),
                LockStatus::None | LockStatus::Unknown => return None,
            }
        }
        let until = latest?;
        Some(judge_lock(Some(until), self.now.unwrap_or_default()))
    }

    /// Does what a verdict says, and counts it.
    fn carry_out(&mut self, object: &Listed, verdict: Verdict) -> Result<Done> {
        let bytes = bytes_of(object);
        match verdict {
            Verdict::Live => self.report.live.add(bytes),
            Verdict::Leased(until) => self.keep_leased(bytes, Some(until)),
            Verdict::Held | Verdict::Delete if self.now.is_none() => self.keep_leased(bytes, None),
            Verdict::Held => return self.lift(object),
            Verdict::Delete => return self.delete(object),
        }
        Ok(Done::Stays)
    }

    fn keep_leased(&mut self, bytes: u64, until: Option<Timestamp>) {
        let report = &mut self.report;
        report.locked.add(bytes);
        report.next_unlock = earlier(report.next_unlock, until);
    }

    /// Lifts the holds of what nothing live needs.
    fn lift(&mut self, object: &Listed) -> Result<Done> {
        let Some(release) = self.release.filter(|_| !self.options.dry_run) else {
            self.keep_leased(bytes_of(object), None);
            return Ok(Done::Stays);
        };
        if self.repository.environment.clock.now() >= self.deadline {
            return Ok(Done::Late);
        }
        match release.apply(&self.repository.objects, object) {
            Ok(until) => self.keep_leased(bytes_of(object), until),
            Err(error) if error.kind == StoreErrorKind::Unavailable => return Err(error.into()),
            Err(error) => self.refuse(object, &error),
        }
        Ok(Done::Stays)
    }

    fn delete(&mut self, object: &Listed) -> Result<Done> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if self.is_removed(object) {
            self.keep_leased(bytes_of(object), None);
            return Ok(Done::Gone);
        }
        if !self.options.dry_run {
            if self.repository.environment.clock.now() >= self.deadline {
                return Ok(Done::Late);
            }
            match self.repository.objects.remove(object, self.removal) {
                Ok(()) => {}
                Err(error) if error.kind == StoreErrorKind::Unavailable => {
                    return Err(error.into());
                }
                // A listing that states no locks does not tell what holds it.
                Err(error) if error.kind == StoreErrorKind::Locked && self.may_be_held(object) => {
                    return self.lift(object);
                }
                // Locked, or not ours to delete: that means later, and never stops the others.
                Err(error) => {
                    self.refuse(object, &error);
                    return Ok(Done::Stays);
                }
            }
        }
        self.report.deleted.add(bytes_of(object));
        Ok(Done::Gone)
    }

    /// Whether an object is hidden where removing is hiding: the bucket's rules do the rest.
    fn is_removed(&self, object: &Listed) -> bool {
        self.removal == Removal::Hide && object.is_hidden
    }

    fn may_be_held(&self, object: &Listed) -> bool {
        let mut copies = object.copies.iter();
        self.release.is_some() && copies.any(|copy| copy.lock == LockStatus::Unknown)
    }

    fn refuse(&mut self, object: &Listed, error: &dolmen_store::StoreError) {
        if error.kind == StoreErrorKind::Denied {
            self.report.denied = self.report.denied.saturating_add(1);
        } else if error.kind != StoreErrorKind::Locked {
            self.observer
                .notice(&format!("{} stays: {}", object.key, reason(error)));
        }
        self.keep_leased(bytes_of(object), None);
    }
}

impl Past {
    /// What goes if nothing keeps it.
    fn of(snapshots: &[Judged]) -> Self {
        let mut past = Self::default();
        for judged in snapshots {
            if judged.verdict == Verdict::Delete {
                past.gone.insert(judged.object.key.id());
            } else if judged.is_over {
                past.over.insert(judged.object.key.id());
            }
        }
        past
    }
}

impl Kept<'_> {
    /// The segments that are listed, and whether by what lives.
    fn segments(&self) -> BTreeMap<SegmentId, Life> {
        let mut needed: BTreeMap<SegmentId, Life> = BTreeMap::new();
        for (entry, life) in &self.entries {
            for segment in &entry.snapshot.segments {
                let by = needed.entry(*segment).or_insert(*life);
                if *life == Life::Live {
                    *by = Life::Live;
                }
            }
        }
        needed
    }
}

/// The earlier of two times, where there are any.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// The verdict that keeps for longer.
fn later(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Live, _) | (_, Verdict::Live) => Verdict::Live,
        (Verdict::Held, _) | (_, Verdict::Held) => Verdict::Held,
        (Verdict::Leased(one), Verdict::Leased(other)) => Verdict::Leased(one.max(other)),
        (leased @ Verdict::Leased(_), Verdict::Delete)
        | (Verdict::Delete, leased @ Verdict::Leased(_)) => leased,
        (Verdict::Delete, Verdict::Delete) => Verdict::Delete,
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Stays,
    Gone,
    /// The listing is too old.
    Late,
}

/// All that a key takes up.
fn bytes_of(object: &Listed) -> u64 {
    object
        .copies
        .iter()
        .fold(0, |sum, copy| sum.saturating_add(copy.bytes))
}
