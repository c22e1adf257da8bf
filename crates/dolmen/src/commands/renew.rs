//! `dolmen renew`

use std::num::NonZeroU32;
use std::sync::Arc;

use clap::Args;
use dolmen_core::recall::Recall;
use dolmen_core::renew::{self, Options, Report};
use dolmen_store::Pace;
use serde_json::{Value, json};

use super::App;
use super::check::Reported;
use crate::clock::Stopwatch;
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Opened, open};
use crate::render;

/// How to renew.
#[derive(Debug, Clone, Args)]
pub(crate) struct RenewArgs {
    /// Extend nothing, only tell
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) pace: PaceArgs,
}

/// How fast to go.
#[derive(Debug, Clone, Args)]
pub(crate) struct PaceArgs {
    /// Send no more requests a second to the store than this; what the store's library sends again after a failure is
    /// not counted
    #[arg(long, value_name = "N")]
    max_requests_per_second: Option<NonZeroU32>,
}

impl PaceArgs {
    /// Keeps the pace from now on.
    pub(super) fn keep(&self, opened: &mut Opened) {
        if let Some(requests) = self.max_requests_per_second {
            let pace = Pace::new(Arc::new(Stopwatch::start()), requests);
            opened.repository.objects.keep_pace(Arc::new(pace));
        }
    }
}

/// Extends the locks of what lives.
pub(super) fn run(app: &App, args: &RenewArgs) -> Outcome {
    let mut opened = open(app)?;
    args.pace.keep(&mut opened);
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
    let (remembered, mut sightings) = opened.memory()?;
    let before = sightings.clone();
    let list = opened.load_recalling(app, Recall::Whatever(&sightings), &remembered)?;
    // Whoever renews follows the policy as it is now.
    let mut instance = opened.writer(app, &list)?;
    let cancel = app.interrupt.flag();
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let options = Options {
        dry_run: args.dry_run,
        index_cache: index_cache.as_deref(),
        scratch: &scratch,
        cancel: &cancel,
    };
    let reported = Reported(Arc::clone(&app.output));
    let repository = &opened.repository;
    let report = renew::run(
        repository,
        Some(&mut instance),
        &list,
        &mut sightings,
        &options,
        &reported,
    );
    // Also what an interrupted run has seen.
    if !args.dry_run && sightings != before {
        opened.note_sightings(&sightings)?;
    }
    report.during(&format!("cannot renew {}", opened.address))
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
