//! Recover: makes the plain view whole again.
//!
//! Reading needs none of this: it finds authentic versions wherever they lie. This is tidying, so that other tools and the
//! next listing see what is so. Nothing is destroyed: markers go, authentic bytes come back on top, and what is nobody's
//! object is hidden or, in a folder, moved to `quarantine/`.

mod plan;

use dolmen_format::{ObjectId, ObjectKey};
use dolmen_store::{ObjectRef, StoreError, StoreErrorKind, StoreKey, Version};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use crate::audit::{self, TROUBLES_MAX};
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, chain};
use crate::objects::Objects;
use crate::repository::Repository;

pub use plan::{Plan, Step, plan};

/// Steps that are carried out at the same time.
const STEPS_AT_ONCE: usize = 8;
/// Objects that are put back at the same time, each whole in memory.
const BODIES_AT_ONCE: usize = 2;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// How to look.
    pub look: audit::Options<'a>,
    /// Change nothing, only tell.
    pub dry_run: bool,
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
    /// Needed objects whose plain view is authentic again.
    pub healed: u64,
    /// Names that are hidden, or moved to `quarantine/`.
    pub set_aside: u64,
    /// Steps that the store refused.
    pub failed: u64,
    /// How many of these for want of a right.
    pub denied: u64,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Healed,
    SetAside,
    /// It was gone, or another, by the time that its turn came: the next look decides.
    Passed,
}

/// Looks, plans, and carries the plan out.
///
/// Cost: what [`audit::look`] costs; one request for each marker and each name that is set aside, two for each object that
/// is put back.
pub fn run(
    repository: &Repository,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Report> {
    let mut report = Report::default();
    let mut is_first = true;
    loop {
        let view = audit::look(repository, &options.look)?;
        if std::mem::take(&mut is_first) {
            let counts = view.counts;
            report.hidden = counts.hidden;
            report.overwritten = counts.overwritten;
            report.missing = counts.missing.saturating_add(counts.corrupt);
            report.foreign = counts.foreign;
            for finding in &view.findings {
                observer.finding(finding);
            }
        }
        let plan = plan(&view.troubles, repository.objects.store().capabilities());
        for left in &plan.left {
            observer.finding(left);
        }
        let is_all = view.troubles.len() < TROUBLES_MAX;
        if options.dry_run {
            report.count_planned(&plan);
            return Ok(report);
        }
        let before = report;
        plan.apply(repository, options, observer, &mut report)?;
        if is_all || (report.healed, report.set_aside) == (before.healed, before.set_aside) {
            return Ok(report);
        }
    }
}

impl Report {
    fn count_planned(&mut self, plan: &Plan) {
        for step in &plan.steps {
            match step {
                Step::Unhide { .. } | Step::PutBack { .. } => self.count(Done::Healed),
                Step::Hide { .. } | Step::SetAside { .. } => self.count(Done::SetAside),
            }
        }
    }

    fn count(&mut self, done: Done) {
        let count = match done {
            Done::Healed => &mut self.healed,
            Done::SetAside => &mut self.set_aside,
            Done::Passed => return,
        };
        *count = count.saturating_add(1);
    }

    fn refuse(&mut self, error: &StoreError) {
        self.failed = self.failed.saturating_add(1);
        if error.kind == StoreErrorKind::Denied {
            self.denied = self.denied.saturating_add(1);
        }
    }
}

impl Plan {
    /// Carries the plan out. One object's failure never stops the others; running it again after a crash finishes the work.
    fn apply(
        self,
        repository: &Repository,
        options: &Options<'_>,
        observer: &dyn Observer,
        report: &mut Report,
    ) -> Result<()> {
        let objects = &repository.objects;
        let bodies = Semaphore::new(BODIES_AT_ONCE);
        let bodies = &bodies;
        objects.block_on(async {
            let mut done = futures_util::stream::iter(self.steps)
                .map(|step| async move {
                    let outcome = step.carry_out(objects, bodies).await;
                    (step, outcome)
                })
                .buffer_unordered(STEPS_AT_ONCE);
            while let Some((step, outcome)) = done.next().await {
                if options
                    .look
                    .cancel
                    .load(std::sync::atomic::Ordering::Relaxed)
                {
                    return Err(Error::Interrupted);
                }
                match outcome {
                    Ok(done) => report.count(done),
                    Err(Error::Store(error)) if error.kind != StoreErrorKind::Unavailable => {
                        report.refuse(&error);
                        observer.finding(&Finding::new(step.name(), chain(&error)));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }
}

impl Step {
    async fn carry_out(&self, objects: &Objects, bodies: &Semaphore) -> Result<Done> {
        match self {
            Self::Unhide {
                name,
                markers,
                authentic,
                bytes,
            } => match remove(objects, name, markers).await {
                // Who may not delete a marker may still put the bytes above it.
                Err(error)
                    if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Locked) =>
                {
                    put_back(objects, bodies, name, authentic, *bytes).await
                }
                outcome => Ok(outcome.map(|()| Done::Healed)?),
            },
            Self::PutBack {
                name,
                authentic,
                bytes,
            } => put_back(objects, bodies, name, authentic, *bytes).await,
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
async fn put_back(
    objects: &Objects,
    bodies: &Semaphore,
    name: &str,
    authentic: &Version,
    bytes: u64,
) -> Result<Done> {
    let (Ok(key), Ok(object)) = (StoreKey::try_from(name), name.parse::<ObjectKey>()) else {
        return Ok(Done::Passed);
    };
    // The semaphore is never closed.
    let _permit = bodies.acquire().await.ok();
    let body = objects
        .store()
        .get(&key, Some(authentic), None, bytes)
        .await?;
    if ObjectId::of(&body) != object.id() {
        return Ok(Done::Passed);
    }
    objects.put_async(&object, body).await?;
    Ok(Done::Healed)
}
