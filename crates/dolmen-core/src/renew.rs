//! Renew: extends the locks of everything that lives, where they are due.
//!
//! It comes first in maintenance and depends on nothing that a bad snapshot, a hidden pack or an unreadable manifest could
//! break: what is known to be needed is renewed, the rest is told.

pub mod batch;
mod note;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dolmen_format::ledger::{Fact, Receipt};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, SegmentId, SnapshotId, Timestamp};
use dolmen_state::Instance;
use dolmen_state::state::Sightings;
use dolmen_store::StoreErrorKind;

use crate::by_policy;
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, counted, reason};
use crate::index::{Index, StandIns};
use crate::ledger::{self, Receipts};
use crate::live::{Live, LiveWalk, LostNode, NeededOf, Placed, StoredNodes};
use crate::lives::{self, Life};
use crate::moves::Moves;
use crate::moves::places::Places;
use crate::objects::{Extended, Extension, FetchError, Listed, Planned};
use crate::pack::BlobReader;
use crate::recall;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};
use wanted::{Promise, Promised, Wanted};

/// Needed objects in memory while their locks are looked at.
const BATCH_OBJECTS: usize = 1 << 12;
/// Objects in a row of which the store answers nothing before it counts as gone; a listing counts as half of them. Fewer are
/// hiccups.
pub(crate) const SILENCES_MAX: u32 = 16;

/// How to renew.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Extend nothing, only count.
    pub dry_run: bool,
    /// Where the index's tables are kept.
    pub index_cache: Option<&'a Path>,
    /// A folder for what does not fit into memory.
    pub scratch: &'a Path,
    /// Set to interrupt.
    pub cancel: &'a AtomicBool,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Objects that live snapshots need.
    pub examined: u64,
    /// Locks made longer; in a dry run, those that would be.
    pub renewed: u64,
    /// Objects that are not there, or whose lock could not be made long enough, and listings that broke off.
    pub failed: u64,
    /// Requests for locks.
    pub calls: u64,
    /// The protection horizon: the earliest end of all locks, as the store states them. `None` where nothing is locked.
    pub protected_until: Option<Timestamp>,
    /// Whether every needed object is protected for the whole period from now on.
    pub is_protected: bool,
}

/// Renews a repository, and notes in `sightings` what lives. What is noted there already and the store does not give
/// goes on being needed as long as `list` recalls it. Where the store stops answering, the report tells what was done
/// until then. `signer` says when the store first received what may
/// have to be put again, which happens where only the plain view protects.
///
/// Cost: five listings (six where frames were moved), one request for each snapshot, ledger record and manifest node, one for each lock that is due,
/// on stores whose listings state no locks one for each needed object whose lock was not read in this generation (in compliance mode: was never read), and one for each snapshot and record that was
/// not noted before and of which this client keeps no copy.
pub fn run(
    repository: &Repository,
    signer: Option<&mut Instance>,
    list: &SnapshotList,
    sightings: &mut Sightings,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Report> {
    renew(
        repository,
        signer,
        list,
        sightings,
        (options, observer),
        None,
    )
}

/// Gives `take` every lock that is due instead of making it longer, and notes what lives as [`run`] does. What `take`
/// refuses is told, and counts as failed. The report counts what was given as renewed, and states the locks as they are.
///
/// Cost: as [`run`], without the requests that make locks longer.
pub fn plan(
    repository: &Repository,
    list: &SnapshotList,
    sightings: &mut Sightings,
    options: &Options<'_>,
    observer: &dyn Observer,
    take: Take<'_>,
) -> Result<Report> {
    let how = (options, observer);
    renew(repository, None, list, sightings, how, Some(take))
}

/// Takes what is due; where it cannot, it says why.
pub type Take<'a> = &'a mut dyn FnMut(&Planned) -> std::result::Result<(), Refused>;

/// Why something that is due was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// This one cannot be; others can.
    #[error("{0}")]
    One(&'static str),
    /// Nothing more can be.
    #[error(transparent)]
    All(#[from] std::io::Error),
}

fn renew<'a>(
    repository: &'a Repository,
    signer: Option<&'a mut Instance>,
    list: &'a SnapshotList,
    sightings: &'a mut Sightings,
    (options, observer): (&'a Options<'a>, &'a dyn Observer),
    take: Option<Take<'a>>,
) -> Result<Report> {
    let now = repository.environment.clock.now();
    let mut renewal = Renewal {
        repository,
        signer,
        receipts: &list.receipts,
        options,
        observer,
        report: Report {
            // Where locks were promised, none is no protection.
            is_protected: repository.objects.locking().is_some()
                || !lives::promises_locks(&list.facts, now),
            ..Report::default()
        },
        sightings,
        silences: 0,
        take,
    };
    match renewal.everything(list, now) {
        Err(Error::Store(error)) => {
            renewal.tell(repository.objects.address(), &reason(&error));
        }
        outcome => outcome?,
    }
    repository.objects.save_notes();
    let forgotten = renewal.sightings.trim();
    if forgotten > 0 {
        observer.notice(&format!(
            "{} more than this machine remembers; they are kept for as long as the store shows them",
            counted(forgotten, "object")
        ));
    }
    Ok(renewal.report)
}

struct Renewal<'a> {
    repository: &'a Repository,
    signer: Option<&'a mut Instance>,
    receipts: &'a Receipts,
    options: &'a Options<'a>,
    observer: &'a dyn Observer,
    report: Report,
    sightings: &'a mut Sightings,
    /// Objects in a row of which the store answered nothing.
    silences: u32,
    /// What takes what is due, instead of the store.
    take: Option<Take<'a>>,
}

impl Renewal<'_> {
    /// Renews what each kind of object comes to, packs last: only they need anything read.
    fn everything(&mut self, list: &SnapshotList, now: Timestamp) -> Result<()> {
        let repository = self.repository;
        let terms = lives::terms(&list.facts, now);
        for alarm in recall::alarms(list, terms.as_ref(), now) {
            self.fail(&alarm.subject, &alarm.problem);
        }
        recall::forget_ended(self.sightings, list, terms.as_ref(), now);
        let lives = terms.map(|terms| lives::lives(list, &terms, now));
        let lives = lives.unwrap_or_default();
        let promises = by_policy::promises(list, now);
        let wanted = Wanted::gather(repository, list, self.sightings, &lives, &promises);
        self.those("root/", ObjectKind::Root, &wanted.roots, &wanted.told)?;
        self.those("keys/", ObjectKind::Root, &wanted.keys, &wanted.told)?;
        self.those("ledger/", ObjectKind::Ledger, &wanted.records, &wanted.told)?;
        self.those(
            "snapshots/",
            ObjectKind::Snapshot,
            &wanted.snapshots,
            &wanted.told,
        )?;
        let missing = self.found("index/", ObjectKind::Index, &wanted.segments)?;
        let segments: Vec<_> = wanted.segments.keys().copied().collect();
        let looked = self.look_into_manifests(&list.facts.moves, &lives, &promises, &segments);
        let excused = looked
            .as_ref()
            .ok()
            .map(|(_, stand_ins)| &stand_ins.excused);
        let is_excused = |id: &ObjectId| excused.is_some_and(|excused| excused.contains(id));
        for id in missing.iter().filter(|id| !wanted.told.contains(*id)) {
            if !is_excused(id) {
                self.fail(&format!("index/…/{id}"), "missing");
            }
        }
        let (live, stand_ins) = looked?;
        if !stand_ins.needed.is_empty() {
            let longest = promises.values().copied().max().unwrap_or(0);
            let needed = stand_ins.needed.into_iter();
            let needed = needed.map(|id| (id, Promise::anywhere(longest))).collect();
            self.those("index/", ObjectKind::Index, &needed, &wanted.told)?;
        }
        let places = Places::look(repository, &list.facts)?;
        self.packs(&live.placed(&places, self.options.scratch)?)
    }

    /// Finds what live snapshots need of packs, and what stands in for segments that are gone. Tells of what cannot be read.
    fn look_into_manifests(
        &mut self,
        moves: &Arc<Moves>,
        lives: &[(&SnapshotEntry, Life)],
        promises: &BTreeMap<SnapshotId, u64>,
        segments: &[SegmentId],
    ) -> Result<(Live, StandIns)> {
        let repository = self.repository;
        let mut index = Index::load(repository, self.options.index_cache)?;
        index.complete(repository, segments)?;
        let blobs = BlobReader::new(repository, &index.blobs).knowing(moves);
        let mut walk = LiveWalk::new(self.options.scratch);
        for (entry, _) in lives.iter().filter(|(_, life)| *life == Life::Live) {
            let promise = promises.get(&entry.id).copied().unwrap_or(0);
            walk.add(repository, entry.id, &entry.snapshot, promise)?;
        }
        let live = walk.finish(&mut StoredNodes::new(&blobs, self.options.cancel))?;
        for part in live.lost().iter().map(LostNode::finding) {
            self.fail(&part.subject, &part.problem);
        }
        let stand_ins = index.stand_ins(segments, &live, 0)?;
        Ok((live, stand_ins))
    }

    /// Renews the objects below a prefix that are needed, and tells of those that are missing.
    fn those(
        &mut self,
        prefix: &str,
        kind: ObjectKind,
        needed: &Promised,
        told: &BTreeSet<ObjectId>,
    ) -> Result<()> {
        let missing = self.found(prefix, kind, needed)?;
        for id in missing.iter().filter(|id| !told.contains(*id)) {
            self.fail(&format!("{prefix}…/{id}"), "missing");
        }
        Ok(())
    }

    /// Renews the objects below a prefix that are needed. Returns those that are missing; none where the listing broke off.
    fn found(
        &mut self,
        prefix: &str,
        kind: ObjectKind,
        needed: &Promised,
    ) -> Result<BTreeSet<ObjectId>> {
        let (mut found, mut missing) = (Vec::new(), needed.clone());
        let repository = self.repository;
        let is_known = |writer| repository.verify_key_of(writer).is_some();
        let listed = repository.objects.list(prefix, |object| {
            // What lies under a stranger's name is of no use to anybody.
            let is_ours = object.key.writer().is_none_or(is_known);
            let promise = needed.get(&object.key.id()).filter(|_| is_ours);
            if let Some(promise) = promise.filter(|promise| promise.is_for(&object.key)) {
                missing.remove(&object.key.id());
                found.push((object, promise.seconds));
            }
        });
        if !self.options.dry_run {
            note::note(self.repository, self.sightings, &found, kind);
        }
        self.witness(&found, kind)?;
        self.renew(&found, kind)?;
        if self.broke_off(prefix, listed)?.is_break() {
            return Ok(BTreeSet::new());
        }
        Ok(missing.into_keys().collect())
    }

    /// Says when the store first received what may have to be put again: the older version goes when the bucket's rules
    /// delete it, and the time with it.
    ///
    /// Cost: one put, unless all of it was said before.
    fn witness(&mut self, found: &[(Listed, u64)], kind: ObjectKind) -> Result<()> {
        let is_dated = matches!(kind, ObjectKind::Snapshot | ObjectKind::Ledger);
        let objects = &self.repository.objects;
        if self.options.dry_run
            || self.take.is_some()
            || !is_dated
            || !objects.is_protected_by_view()
        {
            return Ok(());
        }
        let out_of_view = found
            .iter()
            .filter(|(object, _)| object.is_hidden || object.copies.len() > 1);
        let receipts = out_of_view.filter_map(|(object, _)| {
            let received = object.copies.first()?.stored_at;
            let object = object.key.id();
            Some(Receipt { object, received })
        });
        let receipts = self.receipts.unsaid(receipts);
        if receipts.is_empty() {
            return Ok(());
        }
        let Some(signer) = self.signer.as_deref_mut() else {
            return Ok(());
        };
        match ledger::write(self.repository, signer, Fact::Witness { receipts }) {
            Ok(_) => Ok(()),
            // To be seen again is worth more than a date.
            Err(Error::Store(error)) => {
                let why = reason(&error);
                self.fail(
                    "ledger/",
                    &format!("it is not witnessed what is shown again: {why}"),
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Renews the packs that are needed, in batches: no lock is asked for while the listing runs.
    fn packs(&mut self, placed: &Placed<'_>) -> Result<()> {
        let (mut after, mut found) = (None, 0_u64);
        loop {
            let mut batch = Vec::new();
            let listed = self.next_packs(placed, after, &mut batch);
            found = found.saturating_add(u64::try_from(batch.len()).unwrap_or(u64::MAX));
            after = batch.last().map(|(object, _)| object.key).or(after);
            self.renew(&batch, ObjectKind::Pack)?;
            match self.broke_off("packs/", listed)? {
                ControlFlow::Continue(Batch::Last) => break,
                ControlFlow::Continue(Batch::More) => {}
                ControlFlow::Break(()) => return Ok(()),
            }
        }
        let mut needed = 0_u64;
        for pack in placed.packs() {
            pack?;
            needed = needed.saturating_add(1);
        }
        if found < needed {
            let missing = needed.saturating_sub(found);
            self.fail("packs/", &format!("{missing} needed packs are missing"));
        }
        Ok(())
    }

    /// Gathers the needed packs after a key.
    fn next_packs(
        &self,
        placed: &Placed<'_>,
        after: Option<ObjectKey>,
        batch: &mut Vec<(Listed, u64)>,
    ) -> Result<Batch> {
        let mut needed = NeededOf::new(placed);
        let (mut which, mut failed) = (Batch::Last, None);
        self.repository.objects.list("packs/", |object| {
            let promise = match needed.pack(&object.key) {
                Ok(pack) => pack.map(|pack| pack.promise_seconds),
                Err(error) => {
                    failed.get_or_insert(error);
                    return;
                }
            };
            if let Some(promise) = promise
                && after.is_none_or(|after| object.key > after)
            {
                if batch.len() < BATCH_OBJECTS {
                    batch.push((object, promise));
                } else {
                    which = Batch::More;
                }
            }
        })?;
        failed.map_or(Ok(which), Err)
    }

    /// What a listing came to; one that broke off is told, and what it did not show remains for the next run.
    fn broke_off<T>(&mut self, prefix: &str, listed: Result<T>) -> Result<ControlFlow<(), T>> {
        match listed {
            Ok(listed) => {
                self.silences = 0;
                Ok(ControlFlow::Continue(listed))
            }
            Err(Error::Store(error)) => {
                self.fail(prefix, &reason(&error));
                // Whoever waits for each listing of a store that is gone waits for minutes.
                if is_silent(error.kind) && self.is_gone(SILENCES_MAX / 2) {
                    return Err(error.into());
                }
                Ok(ControlFlow::Break(()))
            }
            Err(error) => Err(error),
        }
    }

    /// Renews the authentic version of each object. One object's failure never stops the others; that the store is gone
    /// does, with its last answer.
    fn renew(&mut self, objects: &[(Listed, u64)], kind: ObjectKind) -> Result<()> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let repository = self.repository;
        let extension = if self.options.dry_run || self.take.is_some() {
            Extension::Plan
        } else {
            Extension::Renew
        };
        let mut ended = Ok(());
        repository
            .objects
            .extend_all(objects, kind, extension, |object, extended| {
                ended = self.took(object, extended);
                match ended {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
        ended
    }

    /// Counts what became of an object.
    fn took(
        &mut self,
        object: &Listed,
        extended: std::result::Result<Extended, FetchError>,
    ) -> Result<()> {
        self.report.examined = self.report.examined.saturating_add(1);
        match extended {
            Ok(mut extended) => {
                self.silences = 0;
                self.hand_over(&object.key, &mut extended)?;
                self.count(&object.key, &extended);
            }
            Err(error) => {
                self.fail(&object.key.to_string(), &reason(&error));
                if !is_silence(&error) {
                    self.silences = 0;
                } else if self.is_gone(1) {
                    return Err(error.into());
                }
            }
        }
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Whether the store counts as gone after as many silences more.
    fn is_gone(&mut self, silences: u32) -> bool {
        self.silences = self.silences.saturating_add(silences);
        self.silences >= SILENCES_MAX
    }

    /// Gives what is due to whoever takes it.
    fn hand_over(&mut self, key: &ObjectKey, extended: &mut Extended) -> Result<()> {
        if let Some(planned) = &extended.planned
            && let Some(take) = &mut self.take
        {
            // It counts once the store says so.
            extended.until = planned.present;
            match take(planned) {
                Ok(()) => {}
                Err(Refused::One(why)) => {
                    extended.is_renewed = false;
                    self.fail(&key.to_string(), why);
                }
                Err(Refused::All(error)) => return Err(Error::Batch { source: error }),
            }
        }
        Ok(())
    }

    /// Counts a lock, and tells of one that is too short.
    fn count(&mut self, key: &ObjectKey, extended: &Extended) {
        if extended.was_out_of_view {
            let done = if self.options.dry_run {
                "hidden or overwritten, where only what is shown is kept"
            } else {
                "was hidden or overwritten, where only what is shown is kept; it is shown again"
            };
            self.tell(&key.to_string(), done);
        }
        if extended.was_shortened {
            self.fail(&key.to_string(), "somebody made its lock end sooner");
        }
        let report = &mut self.report;
        report.calls = report.calls.saturating_add(extended.calls);
        report.renewed = report
            .renewed
            .saturating_add(u64::from(extended.is_renewed));
        let Some(locking) = self.repository.objects.locking() else {
            return;
        };
        let report = &mut self.report;
        report.protected_until = report
            .protected_until
            .into_iter()
            .chain(extended.until)
            .min();
        let wanted = locking.protected_now();
        if extended.until.is_none_or(|until| until < wanted) {
            let why = extended.refused.as_ref().map_or_else(
                || "its lock ends before the protection period does".to_owned(),
                |error| reason(error),
            );
            self.fail(&key.to_string(), &why);
        }
    }

    fn fail(&mut self, subject: &str, problem: &str) {
        self.report.failed = self.report.failed.saturating_add(1);
        self.tell(subject, problem);
    }

    fn tell(&mut self, subject: &str, problem: &str) {
        self.report.is_protected = false;
        self.observer.finding(&Finding::new(subject, problem));
    }
}

/// Whether more needed packs follow a batch.
enum Batch {
    /// No.
    Last,
    /// Yes.
    More,
}

/// Whether a store did not answer.
fn is_silence(error: &FetchError) -> bool {
    matches!(error, FetchError::Store(error) if is_silent(error.kind))
}

const fn is_silent(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
    )
}
