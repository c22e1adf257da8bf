//! `dolmen renew`

mod batch;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use dolmen_core::recall::Recall;
use dolmen_core::renew::batch::Batch;
use dolmen_core::renew::{self, Options, Report, Take};
use dolmen_core::snapshots::SnapshotList;
use dolmen_state::Instance;
use dolmen_state::state::Sightings;
use dolmen_store::Pace;
use serde_json::{Value, json};

use self::batch::Written;
use super::App;
use super::check::Reported;
use crate::clock::Stopwatch;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
use crate::render;

/// How to renew.
#[derive(Debug, Clone, Args)]
pub(crate) struct RenewArgs {
    /// Extend nothing, only tell
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Extend nothing, but write what is due as a manifest of S3 Batch Operations, and beside it FILE.job.json, the
    /// request that makes the job; more manifests (FILE-2, …) where the dates lie apart. For millions of objects on AWS
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    batch_manifest: Option<PathBuf>,
    #[command(flatten)]
    pace: PaceArgs,
}

impl RenewArgs {
    /// As part of maintenance.
    pub(super) const fn within(dry_run: bool, pace: PaceArgs) -> Self {
        Self {
            dry_run,
            batch_manifest: None,
            pace,
        }
    }
}

/// How fast to go.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PaceArgs {
    /// Send no more requests a second to the store than this; what the store's library sends again after a failure is
    /// not counted
    #[arg(long, value_name = "N")]
    max_requests_per_second: Option<NonZeroU32>,
}

impl PaceArgs {
    /// Keeps the pace from now on.
    pub(super) fn keep(self, opened: &mut Opened) {
        if let Some(requests) = self.max_requests_per_second {
            let pace = Pace::new(Arc::new(Stopwatch::start()), requests);
            opened.repository.objects.keep_pace(Arc::new(pace));
        }
    }
}

/// Extends the locks of what lives.
pub(super) fn run(app: &App, args: &RenewArgs) -> Outcome {
    let mut opened = open(app, Duty::Maintain)?;
    args.pace.keep(&mut opened);
    if let Some(file) = &args.batch_manifest {
        return write_manifests(app, &opened, args, file);
    }
    let report = renew(app, &opened, args)?;
    if app.output.is_json() {
        app.output.json(&document(&report));
    } else {
        print(app, &report, args.dry_run);
    }
    Ok(exit_of(&report))
}

/// Renews.
pub(super) fn renew(app: &App, opened: &Opened, args: &RenewArgs) -> Outcome<Report> {
    Ready::look(app, opened)?.renew(args, None)
}

/// What a renewal starts from.
struct Ready<'a> {
    app: &'a App,
    opened: &'a Opened,
    list: SnapshotList,
    sightings: Sightings,
    instance: Instance,
}

impl<'a> Ready<'a> {
    /// Looks at what there is.
    fn look(app: &'a App, opened: &'a Opened) -> Outcome<Self> {
        let (remembered, sightings) = opened.memory()?;
        let list = opened.load_recalling(app, Recall::Whatever(&sightings), &remembered)?;
        // Whoever renews follows the policy as it is now.
        let instance = opened.writer(app, &list)?;
        Ok(Self {
            app,
            opened,
            list,
            sightings,
            instance,
        })
    }

    /// Renews, or gives what is due to whoever takes it.
    fn renew(mut self, args: &RenewArgs, take: Option<Take<'_>>) -> Outcome<Report> {
        let (app, opened, before) = (self.app, self.opened, self.sightings.clone());
        let cancel = app.interrupt.flag();
        let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
        let options = Options {
            dry_run: args.dry_run,
            index_cache: index_cache.as_deref(),
            scratch: &scratch,
            cancel: &cancel,
        };
        let reported = Reported(Arc::clone(&app.output));
        let (repository, list, seen) = (&opened.repository, &self.list, &mut self.sightings);
        let report = if let Some(take) = take {
            renew::plan(repository, list, seen, &options, &reported, take)
        } else {
            let signer = Some(&mut self.instance);
            renew::run(repository, signer, list, seen, &options, &reported)
        };
        // Also what an interrupted run has seen.
        if !args.dry_run && self.sightings != before {
            opened.note_sightings(&self.sightings)?;
        }
        report.during(&format!("cannot renew {}", opened.address))
    }
}

/// Writes what is due for others to do.
fn write_manifests(app: &App, opened: &Opened, args: &RenewArgs, file: &Path) -> Outcome {
    let place = batch::place(opened)?;
    let ready = Ready::look(app, opened)?;
    let locking = batch::locking(opened)?;
    let mut make = |number| batch::part(file, number);
    let mut due = Batch::new(place, locking.terms(), &mut make);
    let report = ready.renew(args, Some(&mut |planned| due.add(planned)))?;
    let written = batch::publish(due, file).map_err(|error| {
        let message = format!("cannot write {}: {error}", file.display());
        Failure::new(Exit::Failed, message)
    })?;
    if app.output.is_json() {
        let manifests: Vec<_> = written.iter().map(Written::document).collect();
        let mut document = document(&report);
        if let Some(fields) = document.as_object_mut() {
            fields.insert("renewed".to_owned(), 0.into());
            fields.insert("due".to_owned(), report.renewed.into());
            fields.insert("manifests".to_owned(), manifests.into());
        }
        app.output.json(&document);
    } else if !app.output.is_quiet() {
        app.output.line(format!(
            "{} of {} due: nothing was extended",
            report.renewed,
            render::count(report.examined, "needed object")
        ));
        for one in &written {
            app.output.line(one.line());
        }
    }
    Ok(exit_of(&report))
}

/// 21 where something live is protected for less than the protection period.
pub(super) const fn exit_of(report: &Report) -> Exit {
    if report.is_protected {
        Exit::Done
    } else {
        Exit::Unprotected
    }
}

/// The report as scripts read it.
pub(super) fn document(report: &Report) -> Value {
    json!({
        "examined": report.examined,
        "renewed": report.renewed,
        "failed": report.failed,
        "calls": report.calls,
        "protected_until": report.protected_until.map(render::rfc3339),
    })
}

/// The report as people read it.
pub(super) fn print(app: &App, report: &Report, dry_run: bool) {
    if app.output.is_quiet() {
        return;
    }
    let verb = if dry_run { "would renew" } else { "renewed" };
    app.output.line(format!(
        "{verb} {} of {}",
        report.renewed,
        render::count(report.examined, "needed object")
    ));
    app.output.line(match report.protected_until {
        Some(until) if report.is_protected => format!(
            "everything live is locked until {}",
            render::local_time(until)
        ),
        Some(until) => format!(
            "the earliest lock that could be read ends {}",
            render::local_time(until)
        ),
        None if report.failed > 0 => "no lock could be read".to_owned(),
        None => "nothing is locked here: this store keeps no locks".to_owned(),
    });
    if report.failed > 0 {
        app.output
            .line(format!("{} failed", render::count(report.failed, "object")));
    }
}
