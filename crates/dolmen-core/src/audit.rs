//! Audit: whether the store still holds, and shows, everything that live snapshots need.
//!
//! One listing of all versions is held against what is needed. Small objects are hashed, all of them; a pack is told by
//! its size, and hashed where that does not decide or as far as the caller has it read. Nothing is changed. The result is
//! a [`View`], from which [`crate::recover`] plans what to mend.
//!
//! Memory: some dozen bytes for each pack, some hundred for each small object and for each of up to [`TROUBLES_MAX`]
//! troubles, and two parts of packs, of 8 MiB each.

mod held;
mod needs;
mod packs;
mod small;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use dolmen_format::{ObjectKey, Timestamp};
use dolmen_state::state::{Compared, Remembered};
use dolmen_store::{LockStatus, StoreError, StoreErrorKind, Version};
use futures_util::StreamExt as _;

use crate::bucket;
use crate::check::ReadData;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, reason};
use crate::lives;
use crate::moves::compare;
use crate::objects::{Locking, Objects, Source};
use crate::prune::Tally;
use crate::renew::SILENCES_MAX;
use crate::repository::Repository;
use crate::snapshots::SnapshotList;
pub(crate) use needs::Needs;

/// Troubles that one look names: what is beyond is counted, and shows in the next look once these are mended.
pub const TROUBLES_MAX: usize = 1 << 16;
/// Findings that are worded; more are only counted.
pub const FINDINGS_MAX: usize = 1000;
/// Locks that are asked for at the same time.
const LOCKS_AT_ONCE: usize = 16;

/// How to look.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// How deep.
    pub depth: Depth,
    /// What this client knows by itself: what is gone of it is missing.
    pub remembered: &'a Remembered,
    /// What this client knows of places of moved frames.
    pub compared: &'a Compared,
    /// Where the index's tables are kept.
    pub index_cache: Option<&'a Path>,
    /// A folder for what does not fit into memory.
    pub scratch: &'a Path,
    /// Set to interrupt.
    pub cancel: &'a AtomicBool,
}

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Depth {
    /// What the listing tells.
    Listing,
    /// Small objects are hashed, and these packs.
    Hashes(ReadData),
}

/// Bytes of packs that a look reads to compare places of moved frames, once for each client.
const COMPARE_BYTES_MAX: u64 = 1 << 30;

/// What a look saw.
#[derive(Debug, Default)]
pub struct View {
    /// Objects that live snapshots need, snapshots included, without those of which nothing is known.
    pub objects: u64,
    /// What is wrong, by kind.
    pub counts: Counts,
    /// What is wrong, by name; [`TROUBLES_MAX`] at most.
    pub troubles: Vec<Trouble>,
    /// What to tell, sorted; [`FINDINGS_MAX`] at most.
    pub findings: Findings,
    /// Findings beyond.
    pub findings_left_out: u64,
    /// What is not wrong, and worth to be known.
    pub notices: Vec<String>,
    /// What takes up how much.
    pub space: Space,
    /// What this client knows of places of moved frames now.
    pub compared: Compared,
    /// The least date until which the store locks what is needed; `None`: something needed is not locked.
    pub protected_until: Option<Timestamp>,
}

/// What is wrong, by kind. A key that is both hidden and overwritten counts in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Needed and less than L left.
    pub locked_short: u64,
    /// Needed, and the lock ends sooner than it did when this client read it before.
    pub shortened: u64,
    /// Needed, and no version is there.
    pub missing: u64,
    /// Needed, and every version is damaged.
    pub corrupt: u64,
    /// Needed, and a marker is the plain view.
    pub hidden: u64,
    /// Needed, and other bytes lie on top.
    pub overwritten: u64,
    /// No authentic version.
    pub foreign: u64,
    /// The store would not give what it is to be judged by: nothing is known of it.
    pub unread: u64,
    /// Settings of the bucket by which it takes away, or does not protect what comes.
    pub settings: u64,
}

impl Counts {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something could not be read, and nothing shows that anything is wrong.
    pub fn is_unread(&self) -> bool {
        let others = Self { unread: 0, ..*self };
        self.unread > 0 && others.is_ok()
    }
}

/// What takes up how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// What live snapshots need.
    pub live: Tally,
    /// What nothing live needs and whose lease has not lapsed.
    pub retired: Tally,
    /// What nothing needs any more and the store still locks.
    pub locked: Tally,
    /// What nothing needs any more and no lock keeps, what is foreign, and versions beside the authentic one.
    pub junk: Tally,
}

/// A name whose plain view is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The name as the store lists it.
    pub name: String,
    /// What is wrong.
    pub state: State,
}

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is needed, and no version is there.
    Missing,
    /// It is needed, and every version is damaged.
    Corrupt {
        /// What the plain view shows.
        plain: Version,
        /// Whether nothing in it can be read any more.
        is_useless: bool,
    },
    /// It is needed, and the plain view is not the authentic version.
    Covered(Covered),
    /// It has no authentic version.
    Foreign {
        /// What the plain view shows.
        plain: Version,
    },
}

/// An authentic version that the plain view does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The authentic version.
    pub authentic: Version,
    /// Its size.
    pub bytes: u64,
    /// When the store received it.
    pub stored_at: Timestamp,
    /// The markers above all bytes, newest first: the plain view is hidden where there are any.
    pub markers: Vec<Version>,
    /// Whether the newest bytes are others.
    pub is_overwritten: bool,
}

/// Looks at everything. What the store does not give is counted and stops nothing else, until it gives nothing any more.
///
/// Cost: what loading the snapshots and the index costs, one request for each manifest node and each small object, one
/// listing, at most three requests for the bucket's settings, and one request for each 8 MiB of packs that are hashed. Where
/// listings state no locks, one more for each needed object once in a generation, and for one in [`SAMPLES`] each time.
pub fn look(repository: &Repository, options: &Options<'_>) -> Result<View> {
    let mut list = SnapshotList::load_from(repository, None, Source::Store)?;
    list.facts.compared.clone_from(options.compared);
    compare_places(repository, &mut list, options)?;
    let mut view = look_at(repository, &list, options)?;
    view.judge_bucket(repository, &list)?;
    view.findings.sort();
    view.compared = list.facts.compared;
    Ok(view)
}

impl View {
    /// Holds the bucket's settings against what the policy relies on.
    ///
    /// Cost: at most three requests.
    fn judge_bucket(&mut self, repository: &Repository, list: &SnapshotList) -> Result<()> {
        let now = repository.environment.clock.now();
        let relied = bucket::Relied {
            lock: lives::lock(&list.facts, now),
            terms: lives::terms(&list.facts, now),
            probes: &list.facts.probes,
        };
        let judgement = match bucket::look(repository, &relied) {
            Ok(judgement) => judgement,
            Err(Error::Store(error)) => {
                self.counts.unread = self.counts.unread.saturating_add(1);
                let problem = format!("its settings cannot be read: {}", reason(&error));
                self.findings.push(Finding::new("bucket", problem));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for weakness in judgement.weaknesses {
            self.counts.settings = self.counts.settings.saturating_add(1);
            let problem = weakness.to_string();
            self.findings.push(Finding::new("bucket", problem));
        }
        let short = judgement.short.map(|short| short.to_string());
        self.notices.extend(short);
        if !judgement.untold.is_empty() {
            let untold = judgement.untold.join(", ");
            self.notices.push(format!(
                "these credentials may not ask the bucket for its {untold}: not looked at"
            ));
        }
        Ok(())
    }
}

/// Where objects are locked, compares what compaction moved with where it was, as far as this client did not yet: the lock
/// of a place that nothing needs any more is no lock that ends too soon.
fn compare_places(
    repository: &Repository,
    list: &mut SnapshotList,
    options: &Options<'_>,
) -> Result<()> {
    let now = repository.environment.clock.now();
    if options.depth == Depth::Listing || !lives::promises_locks(&list.facts, now) {
        return Ok(());
    }
    let comparing = compare::Options {
        read_bytes_max: COMPARE_BYTES_MAX,
        cancel: options.cancel,
    };
    compare::run(repository, &mut list.facts, &comparing).map(|_report| ())
}

/// As [`look`], with a list that was read from the store.
pub(crate) fn look_at(
    repository: &Repository,
    list: &SnapshotList,
    options: &Options<'_>,
) -> Result<View> {
    let needs = Needs::gather(repository, list, options)?;
    look_for(repository, options, list, &needs)
}

pub(crate) fn look_for(
    repository: &Repository,
    options: &Options<'_>,
    list: &SnapshotList,
    needs: &Needs,
) -> Result<View> {
    let mut look = Look {
        objects: &repository.objects,
        needs,
        cancel: options.cancel,
        view: View::default(),
        least: Least::Everything,
        unasked: Vec::new(),
        sample: Sample::choose(&repository.environment),
        silences: 0,
    };
    let mut packs = packs::Packs::new(repository, needs, options.depth);
    let mut small = Vec::new();
    let mut failed = None;
    held::each(&repository.objects, "", |held| {
        let outcome = look.check_cancelled().and_then(|()| {
            if held.is_small() {
                small.push(held);
                return Ok(());
            }
            packs.take(&mut look, held)
        });
        failed = outcome.err();
        failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut seen = small::check(repository, &mut look, small, options.depth)?;
    if options.depth == Depth::Listing {
        seen.extend(list.damaged());
    }
    look.note_history(list, &seen);
    packs.finish(&mut look)?;
    look.ask_for_locks()?;
    look.view.notices.extend(needs.apart.clone());
    Ok(look.finish())
}

/// A look under way.
pub(crate) struct Look<'a> {
    objects: &'a Objects,
    needs: &'a Needs,
    cancel: &'a AtomicBool,
    view: View,
    least: Least,
    /// Needed versions whose locks no listing states, and this client has not read in this generation.
    unasked: Vec<(ObjectKey, Version)>,
    /// Which locks are read anew all the same.
    sample: Sample,
    /// Objects in a row of which the store answered nothing.
    silences: u32,
}

/// The part of all objects whose locks one run reads anew, so that nobody knows which: a store that lets locks be shortened
/// is noticed before a generation has passed.
#[derive(Debug, Clone, Copy)]
struct Sample(u8);

/// One object in so many is in a sample: each run asks for the locks of these anew.
pub const SAMPLES: u8 = 32;

impl Sample {
    fn choose(environment: &Environment) -> Self {
        let [chosen] = environment.bytes::<1>();
        Self(chosen % SAMPLES)
    }

    /// Whether an object belongs to it, by the last byte of its hash.
    fn has(self, key: &ObjectKey) -> bool {
        let id = key.id();
        let last = id.as_bytes().last().copied().unwrap_or_default();
        last % SAMPLES == self.0
    }
}

/// The least lock so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Least {
    /// Nothing was seen yet.
    Everything,
    Until(Timestamp),
    /// Something has no lock.
    Unlocked,
}

impl Look<'_> {
    fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    fn tell(&mut self, subject: impl Into<String>, problem: impl Into<String>) {
        if self.view.findings.len() < FINDINGS_MAX {
            self.view.findings.push(Finding::new(subject, problem));
        } else {
            self.view.findings_left_out = self.view.findings_left_out.saturating_add(1);
        }
    }

    /// Notes an object of which the store did not say what it is; fails where the store does not answer any more.
    fn unread(&mut self, name: &str, error: StoreError) -> Result<()> {
        self.unknown(name, format!("cannot be read: {}", reason(&error)));
        self.hear(error)
    }

    /// Notes what is not there, or could be explained by what may not be read.
    fn doubt(&mut self, subject: &str, problem: &str) {
        let problem = format!("{problem}; what cannot be read may tell of its end");
        self.unknown(subject, problem);
    }

    /// Notes something of which nothing is known, for want of a right or because this version cannot tell what it is.
    fn unknown(&mut self, name: impl Into<String>, problem: String) {
        let counts = &mut self.view.counts;
        counts.unread = counts.unread.saturating_add(1);
        self.tell(name, problem);
    }

    /// Counts objects in a row of which nothing was heard.
    fn hear(&mut self, error: StoreError) -> Result<()> {
        if error.kind != StoreErrorKind::Unavailable {
            self.silences = 0;
            return Ok(());
        }
        self.silences = self.silences.saturating_add(1);
        if self.silences < SILENCES_MAX {
            Ok(())
        } else {
            Err(error.into())
        }
    }

    /// Notes what is wrong with a name.
    fn trouble(&mut self, name: &str, state: State, problem: &str) {
        let counts = &mut self.view.counts;
        let (first, second) = match &state {
            State::Missing => (&mut counts.missing, None),
            State::Corrupt { .. } => (&mut counts.corrupt, None),
            State::Foreign { .. } => (&mut counts.foreign, None),
            State::Covered(covered) => match (covered.markers.is_empty(), covered.is_overwritten) {
                (false, true) => (&mut counts.hidden, Some(&mut counts.overwritten)),
                (false, false) => (&mut counts.hidden, None),
                (true, _) => (&mut counts.overwritten, None),
            },
        };
        for count in std::iter::once(first).chain(second) {
            *count = count.saturating_add(1);
        }
        self.tell(name, problem);
        if self.view.troubles.len() < TROUBLES_MAX {
            let name = name.to_owned();
            self.view.troubles.push(Trouble { name, state });
        }
    }

    /// Notes a needed object that has an authentic version.
    fn whole(&mut self, held: &held::Held, authentic: &held::Copy, is_overwritten: bool) {
        self.view.objects = self.view.objects.saturating_add(1);
        self.view.space.live.add(authentic.bytes);
        let beside = held.bytes().saturating_sub(authentic.bytes);
        if beside > 0 {
            self.view.space.junk.add(beside);
        }
        if is_overwritten || !held.markers.is_empty() {
            let problem = match (held.markers.is_empty(), is_overwritten) {
                (false, true) => "a delete marker hides it, and other bytes lie beneath that",
                (false, false) => "a delete marker hides it",
                (true, _) => "other bytes lie on top of it",
            };
            let covered = Covered {
                authentic: authentic.version.clone(),
                bytes: authentic.bytes,
                stored_at: authentic.stored_at,
                markers: held.markers.clone(),
                is_overwritten,
            };
            self.trouble(&held.name, State::Covered(covered), problem);
        }
        let Some((locking, key)) = self.needs.locking.as_deref().zip(held.key) else {
            return;
        };
        let stated = match authentic.lock {
            LockStatus::Unknown if self.sample.has(&key) => None,
            LockStatus::Unknown => self.objects.recent_lock(&key, &authentic.version, locking),
            stated => Some(stated),
        };
        match stated {
            Some(lock) => self.note_lock(locking, &held.name, lock),
            None => self.unasked.push((key, authentic.version.clone())),
        }
    }

    /// Notes a needed object without an authentic version.
    fn lost(&mut self, held: &held::Held, is_useless: bool, problem: &str) {
        self.view.objects = self.view.objects.saturating_add(1);
        match held.newest() {
            None => self.trouble(&held.name, State::Missing, "only delete markers are left"),
            Some(newest) => {
                let plain = newest.version.clone();
                let state = State::Corrupt { plain, is_useless };
                self.trouble(&held.name, state, problem);
            }
        }
    }

    /// Notes what has no authentic version; what a marker hides is set aside already.
    fn foreign(&mut self, held: &held::Held, problem: &str) {
        self.view.space.junk.add(held.bytes());
        if let (Some(newest), true) = (held.newest(), held.markers.is_empty()) {
            let plain = newest.version.clone();
            self.trouble(&held.name, State::Foreign { plain }, problem);
        }
    }

    /// Notes what is authentic and not needed.
    fn unneeded(&mut self, held: &held::Held, is_kept: bool) {
        let newest = held.copies.iter().map(|copy| copy.stored_at).max();
        let now = self.needs.now();
        let is_locked = held.copies.iter().any(|copy| match copy.lock {
            LockStatus::Held { .. } => true,
            LockStatus::Until(lock) => lock.until > now,
            LockStatus::None | LockStatus::Unknown => false,
        });
        let is_junk = held.key.is_some_and(|key| self.needs.is_junk(&key));
        let space = &mut self.view.space;
        if is_junk {
            space.junk.add(held.bytes());
        } else if is_kept || self.needs.is_leased(newest.unwrap_or_default()) {
            space.retired.add(held.bytes());
        } else if is_locked {
            space.locked.add(held.bytes());
        } else {
            space.junk.add(held.bytes());
        }
    }

    fn note_lock(&mut self, locking: &Locking, name: &str, lock: LockStatus) {
        let until = locking.protects_until(lock);
        self.least = match (self.least, until) {
            (Least::Unlocked, _) | (_, None) => Least::Unlocked,
            (Least::Everything, Some(until)) => Least::Until(until),
            (Least::Until(least), Some(until)) => Least::Until(least.min(until)),
        };
        if until.is_none_or(|until| until < self.needs.protect_until) {
            let counts = &mut self.view.counts;
            counts.locked_short = counts.locked_short.saturating_add(1);
            self.tell(
                name,
                match (until, lock) {
                    (Some(_), _) => "its lock ends too soon",
                    (None, LockStatus::Until(_) | LockStatus::Held { .. }) => {
                        "its lock is weaker than the policy's"
                    }
                    (None, LockStatus::None | LockStatus::Unknown) => "it is not locked",
                },
            );
        }
    }

    fn ask_for_locks(&mut self) -> Result<()> {
        let Some(locking) = self.needs.locking.as_deref() else {
            return Ok(());
        };
        let (unasked, objects) = (std::mem::take(&mut self.unasked), self.objects);
        objects.block_on(async {
            let mut asked = futures_util::stream::iter(unasked)
                .map(|(key, version)| async move {
                    (key, objects.ask_for_lock(&key, &version, locking).await)
                })
                .buffer_unordered(LOCKS_AT_ONCE);
            while let Some((key, asked)) = asked.next().await {
                let name = key.to_string();
                match asked {
                    Ok(asked) => {
                        self.silences = 0;
                        if asked.was_shortened {
                            let counts = &mut self.view.counts;
                            counts.shortened = counts.shortened.saturating_add(1);
                            self.tell(&*name, "its lock ends sooner than it did");
                        }
                        self.note_lock(locking, &name, asked.status);
                    }
                    // A lock counts that was read, and no other.
                    Err(error) => {
                        self.tell(
                            &*name,
                            format!("its lock cannot be read: {}", reason(&error)),
                        );
                        self.note_lock(locking, &name, LockStatus::Unknown);
                        self.hear(error)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn finish(mut self) -> View {
        if let (Some(_), Least::Until(until)) = (&self.needs.locking, self.least) {
            self.view.protected_until = Some(until);
        }
        self.view.findings.sort();
        self.view
    }
}

/// Whether a store would not say what the bytes of an object are: they may be as they should.
fn is_withheld(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::Unavailable | StoreErrorKind::Denied
    )
}
