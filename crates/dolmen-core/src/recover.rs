//! Recover: makes the plain view whole again, and takes back what retired snapshots against the policy, or since a time.
//!
//! Reading needs none of this: it finds authentic versions wherever they lie. This is tidying, so that other tools and the
//! next listing see what is so. Nothing is destroyed: markers go, authentic bytes come back on top, and what is nobody's
//! object is hidden or, in a folder, moved to `quarantine/`.

mod plan;
mod remembered;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use dolmen_format::ledger::{Fact, Receipt};
use dolmen_format::{ObjectId, ObjectKey, SnapshotId};
use dolmen_state::state::Instance;
use dolmen_store::{ObjectRef, StoreError, StoreErrorKind, StoreKey, Version};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use crate::audit::{self, TROUBLES_MAX, View};
use crate::by_policy::{self, Contrary};
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, counted, reason};
use crate::forget::{self, UndoOptions};
use crate::ledger;
use crate::lives;
use crate::objects::{Objects, Source};
use crate::renew::SILENCES_MAX;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

pub use plan::{Beneath, Plan, Step, plan};
pub use remembered::put_remembered;

/// Steps that are carried out at the same time.
const STEPS_AT_ONCE: usize = 8;
/// Objects that are put back at the same time, each whole in memory.
const BODIES_AT_ONCE: usize = 2;

/// What to mend.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// How to look.
    pub look: audit::Options<'a>,
    /// The repository as it is, read from the store.
    pub list: &'a SnapshotList,
    /// As it was at the time to which it goes back; `None`: it goes back to none.
    pub then: Option<&'a SnapshotList>,
}

/// What is done about it.
#[derive(Debug)]
pub enum Action<'a> {
    /// It is only told.
    Plan,
    /// It is mended, under this client's name.
    Apply(&'a mut Instance),
}

/// What was found and done, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Needed objects that a marker hid.
    pub hidden: u64,
    /// Needed objects with other bytes on top.
    pub overwritten: u64,
    /// Needed objects without an authentic version.
    pub missing: u64,
    /// Names without an authentic version.
    pub foreign: u64,
    /// Snapshots that live again: retired against the policy or, where a time is gone back to, since then.
    pub unretired: u64,
    /// Snapshots that should live again and are not whole any more.
    pub lost: u64,
    /// Needed objects whose plain view is authentic again.
    pub healed: u64,
    /// Names that are hidden, or moved to `quarantine/`.
    pub set_aside: u64,
    /// What the store refused and something live would need, and what it would not show.
    pub failed: u64,
    /// How much of that for want of a right.
    pub denied: u64,
    /// How much of that because the store is full.
    pub full: u64,
    /// Names that the store would not set aside.
    pub left: u64,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Healed,
    SetAside,
    /// It was gone, or another, by the time that its turn came: the next look decides.
    Passed,
}

/// Looks, plans, and carries the plan out. One object's failure never stops the others; where the store stops answering,
/// the report tells what was done until then, and running it again finishes the work.
///
/// Cost: what [`audit::look`] costs without its list; one request for each marker and each name that is set aside, two for
/// each object that is put back, one record where any of these is a snapshot or a record; what [`forget::answer`] costs
/// where snapshots are brought back.
pub fn run(
    repository: &Repository,
    options: &Options<'_>,
    action: Action<'_>,
    observer: &dyn Observer,
) -> Result<Report> {
    let mut recovery = Recovery {
        repository,
        options,
        observer,
        report: Report::default(),
        silences: 0,
    };
    match action {
        Action::Plan => recovery.tell()?,
        Action::Apply(instance) => recovery.mend(instance)?,
    }
    Ok(recovery.report)
}

/// A run under way.
struct Recovery<'a> {
    repository: &'a Repository,
    options: &'a Options<'a>,
    observer: &'a dyn Observer,
    report: Report,
    /// Steps in a row to which the store answered nothing.
    silences: u32,
}

/// Signs for this client as long as nothing that it signed failed to be put: that may yet have arrived, and its number
/// must not be used twice.
struct Signer<'a>(Option<&'a mut Instance>);

impl Recovery<'_> {
    /// Says what would be done.
    fn tell(&mut self) -> Result<()> {
        self.report.unretired = match self.options.then {
            Some(then) => count(self.retired_since(then).len()),
            None => self
                .contrary()
                .iter()
                .map(|one| count(one.snapshots.len()))
                .sum(),
        };
        let looked = self.options.then.unwrap_or(self.options.list);
        let view = self.look(looked)?;
        self.take_in(&view);
        let plan = self.plan(&view);
        for step in &plan.steps {
            self.report.count(match step {
                Step::Unhide { .. } | Step::PutBack(_) => Done::Healed,
                Step::Hide { .. } | Step::SetAside { .. } => Done::SetAside,
            });
        }
        Ok(())
    }

    /// Brings back first, since what lives again is then mended with the rest.
    fn mend(&mut self, instance: &mut Instance) -> Result<()> {
        let mut signer = Signer(Some(instance));
        self.bring_back(&mut signer)?;
        let again;
        let looked = match self.options.then {
            Some(then) => then,
            None if self.report.unretired > 0 => {
                let mut list = SnapshotList::load_from(self.repository, None, Source::Store)?;
                let confirmed = &self.options.list.facts.confirmed;
                list.facts.confirmed.clone_from(confirmed);
                again = list;
                &again
            }
            None => self.options.list,
        };
        let mut is_first = true;
        loop {
            let view = match self.look(looked) {
                Err(Error::Store(error)) if !is_first => {
                    self.refuse(self.repository.objects.address(), &error);
                    return Ok(());
                }
                view => view?,
            };
            if std::mem::take(&mut is_first) {
                self.take_in(&view);
            }
            let plan = self.plan(&view);
            let before = self.report;
            self.apply(plan, &mut signer)?;
            let did_nothing =
                (self.report.healed, self.report.set_aside) == (before.healed, before.set_aside);
            if view.troubles.len() < TROUBLES_MAX || did_nothing || self.is_gone() {
                return Ok(());
            }
        }
    }

    fn look(&self, list: &SnapshotList) -> Result<View> {
        audit::look_at(self.repository, list, &self.options.look)
    }

    fn take_in(&mut self, view: &View) {
        let (report, counts) = (&mut self.report, view.counts);
        report.hidden = counts.hidden;
        report.overwritten = counts.overwritten;
        report.missing = counts.missing.saturating_add(counts.corrupt);
        report.foreign = counts.foreign;
        report.failed = report.failed.saturating_add(counts.unread);
        for finding in &view.findings {
            self.observer.finding(finding);
        }
    }

    fn plan(&self, view: &View) -> Plan {
        let store = self.repository.objects.store().capabilities();
        let plan = plan(&view.troubles, store);
        for left in &plan.left {
            self.observer.finding(left);
        }
        plan
    }

    /// What maintenance retired against the policy.
    fn contrary(&self) -> Vec<Contrary> {
        let now = self.repository.environment.clock.now();
        let list = self.options.list;
        let terms = lives::terms(&list.facts, now);
        let contrary = terms.map(|terms| by_policy::contrary(list, &terms, now));
        let contrary = contrary.unwrap_or_default();
        for one in &contrary {
            let snapshots = counted(count(one.snapshots.len()), "snapshot");
            self.observer.finding(&Finding::new(
                format!("retirement {}", one.retirement.digest),
                format!(
                    "names {snapshots} that the policy keeps: somebody misuses the maintenance key"
                ),
            ));
        }
        contrary
    }

    /// What lived then and is retired now.
    fn retired_since(&self, then: &SnapshotList) -> Vec<&SnapshotEntry> {
        let lived = then.snapshots.iter().chain(&then.quarantined);
        let lived: BTreeSet<SnapshotId> = lived.map(|entry| entry.id).collect();
        let retired = self.options.list.retired.iter();
        let retired: Vec<_> = retired.filter(|entry| lived.contains(&entry.id)).collect();
        for entry in &retired {
            let key = ObjectKey::Snapshot(entry.snapshot.stamp.writer, entry.id);
            let since = Finding::new(key.to_string(), "was retired since");
            self.observer.finding(&since);
        }
        retired
    }

    /// Brings back what should live.
    fn bring_back(&mut self, signer: &mut Signer<'_>) -> Result<()> {
        let Some(instance) = signer.0.as_deref_mut() else {
            return Ok(());
        };
        let (repository, list, look) = (self.repository, self.options.list, &self.options.look);
        let (options, observer) = (
            UndoOptions {
                index_cache: look.index_cache,
                scratch: look.scratch,
                cancel: look.cancel,
            },
            self.observer,
        );
        let answered = if let Some(then) = self.options.then {
            let since = self.retired_since(then);
            forget::revive(repository, instance, list, &since, &options, observer)
        } else {
            let contrary = self.contrary();
            forget::answer(repository, instance, list, &contrary, &options, observer)
        };
        match answered {
            Ok(answered) => {
                self.report.unretired = answered.undone;
                self.report.lost = answered.lost;
            }
            Err(Error::Store(error)) => {
                signer.0 = None;
                self.refuse(repository.objects.address(), &error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Carries a plan out: first what needs no witness.
    fn apply(&mut self, plan: Plan, signer: &mut Signer<'_>) -> Result<()> {
        let steps = plan.steps.into_iter();
        let (mut put_back, others): (Vec<_>, Vec<_>) =
            steps.partition(|step| matches!(step, Step::PutBack(_)));
        put_back.extend(self.carry_out(others)?);
        if self.is_gone() {
            return Ok(());
        }
        let put_back = self.witness(put_back, signer)?;
        self.carry_out(put_back)?;
        Ok(())
    }

    /// Says when the store first received what is to be put again: the older version goes when its lock has ended, and the
    /// time with it. Returns what may be put.
    ///
    /// Cost: one put, unless all of it was said before.
    fn witness(&mut self, steps: Vec<Step>, signer: &mut Signer<'_>) -> Result<Vec<Step>> {
        let told = &self.options.list.receipts;
        let receipts = told.unsaid(steps.iter().filter_map(receipt));
        if receipts.is_empty() {
            return Ok(steps);
        }
        if let Some(instance) = signer.0.as_deref_mut() {
            match ledger::write(self.repository, instance, Fact::Witness { receipts }) {
                Ok(_) => return Ok(steps),
                Err(Error::Store(error)) => {
                    signer.0 = None;
                    self.refuse(self.repository.objects.address(), &error);
                }
                Err(error) => return Err(error),
            }
        }
        let (dated, others): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| receipt(step).is_some());
        for step in dated {
            self.fail(step.name(), "stays: its witness could not be written");
        }
        Ok(others)
    }

    /// Carries steps out until all are done or the store is gone. Returns those that come to putting bytes on top instead.
    fn carry_out(&mut self, steps: Vec<Step>) -> Result<Vec<Step>> {
        let repository = self.repository;
        let objects = &repository.objects;
        let bodies = Semaphore::new(BODIES_AT_ONCE);
        let bodies = &bodies;
        let mut instead = Vec::new();
        objects.block_on(async {
            let mut done = futures_util::stream::iter(steps)
                .map(|step| async move {
                    let outcome = step.carry_out(objects, bodies).await;
                    (step, outcome)
                })
                .buffer_unordered(STEPS_AT_ONCE);
            while let Some((step, outcome)) = done.next().await {
                if self.options.look.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                instead.extend(self.took(step, outcome)?);
                if self.is_gone() {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(instead)
    }

    /// Counts what became of a step.
    fn took(&mut self, step: Step, outcome: Result<Done>) -> Result<Option<Step>> {
        let error = match outcome {
            Ok(done) => {
                self.silences = 0;
                self.report.count(done);
                return Ok(None);
            }
            Err(Error::Store(error)) => error,
            Err(error) => return Err(error),
        };
        match step {
            // Who may not delete a marker may still put the bytes above it.
            Step::Unhide { beneath, .. }
                if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Locked) =>
            {
                return Ok(Some(Step::PutBack(beneath)));
            }
            Step::Unhide { .. } | Step::PutBack(_) => self.refuse(step.name(), &error),
            Step::Hide { .. } | Step::SetAside { .. } => {
                self.report.left = self.report.left.saturating_add(1);
                self.hear(step.name(), &error);
            }
        }
        Ok(None)
    }

    /// Tells of a failure of the store that something live would need undone.
    fn refuse(&mut self, subject: &str, error: &StoreError) {
        self.report.refuse(error.kind);
        self.hear(subject, error);
    }

    fn hear(&mut self, subject: &str, error: &StoreError) {
        self.observer.finding(&Finding::new(subject, reason(error)));
        self.silences = match error.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown => {
                self.silences.saturating_add(1)
            }
            _ => 0,
        };
        if self.silences == SILENCES_MAX {
            let rest = "does not answer any more: the rest is left for the next run";
            self.fail(self.repository.objects.address(), rest);
        }
    }

    fn fail(&mut self, subject: &str, problem: &str) {
        self.report.failed = self.report.failed.saturating_add(1);
        self.observer.finding(&Finding::new(subject, problem));
    }

    const fn is_gone(&self) -> bool {
        self.silences >= SILENCES_MAX
    }
}

impl Report {
    /// Counts what the store refused.
    pub const fn refuse(&mut self, kind: StoreErrorKind) {
        self.failed = self.failed.saturating_add(1);
        match kind {
            StoreErrorKind::Denied => self.denied = self.denied.saturating_add(1),
            StoreErrorKind::NoSpace => self.full = self.full.saturating_add(1),
            _ => {}
        }
    }

    /// What was done, or would not be done, with what another step came to.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.healed = self.healed.saturating_add(other.healed);
        self.failed = self.failed.saturating_add(other.failed);
        self.denied = self.denied.saturating_add(other.denied);
        self.full = self.full.saturating_add(other.full);
        self
    }

    fn count(&mut self, done: Done) {
        let count = match done {
            Done::Healed => &mut self.healed,
            Done::SetAside => &mut self.set_aside,
            Done::Passed => return,
        };
        *count = count.saturating_add(1);
    }
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

/// When the store received what a step puts again, where that says something: of snapshots and records.
fn receipt(step: &Step) -> Option<Receipt> {
    let Step::PutBack(beneath) = step else {
        return None;
    };
    let key = beneath.name.parse::<ObjectKey>().ok()?;
    let is_dated = matches!(key, ObjectKey::Snapshot(..) | ObjectKey::Ledger(..));
    is_dated.then_some(Receipt {
        object: key.id(),
        received: beneath.stored_at,
    })
}

impl Step {
    async fn carry_out(&self, objects: &Objects, bodies: &Semaphore) -> Result<Done> {
        match self {
            Self::Unhide { markers, beneath } => {
                remove(objects, &beneath.name, markers).await?;
                Ok(Done::Healed)
            }
            Self::PutBack(beneath) => put_back(objects, bodies, beneath).await,
            Self::Hide { name } => {
                let Ok(key) = StoreKey::try_from(name.as_str()) else {
                    return Ok(Done::Passed);
                };
                objects.store().hide(&key).await?;
                Ok(Done::SetAside)
            }
            Self::SetAside { name, version } => {
                match objects.store().set_aside(name, version).await {
                    Ok(()) => Ok(Done::SetAside),
                    Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Done::Passed),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

/// Removes markers, newest first.
async fn remove(
    objects: &Objects,
    name: &str,
    markers: &[Version],
) -> std::result::Result<(), StoreError> {
    let Ok(key) = StoreKey::try_from(name) else {
        return Ok(());
    };
    for marker in markers {
        let marker = ObjectRef {
            key: key.clone(),
            version: marker.clone(),
        };
        match objects.store().delete_version(&marker).await {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Puts authentic bytes on top, once more hashed, under a lock of their own where there are locks. The version that they
/// are read from keeps its lock beneath.
async fn put_back(objects: &Objects, bodies: &Semaphore, beneath: &Beneath) -> Result<Done> {
    let name = beneath.name.as_str();
    let (Ok(key), Ok(object)) = (StoreKey::try_from(name), name.parse::<ObjectKey>()) else {
        return Ok(Done::Passed);
    };
    // The semaphore is never closed.
    let _permit = bodies.acquire().await.ok();
    let body = objects
        .store()
        .get(&key, Some(&beneath.authentic), None, beneath.bytes)
        .await?;
    if ObjectId::of(&body) != object.id() {
        return Ok(Done::Passed);
    }
    objects.put_on_top(&object, &body).await?;
    Ok(Done::Healed)
}
