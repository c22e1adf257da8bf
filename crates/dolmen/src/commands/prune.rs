//! `dolmen prune`

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use dolmen_core::prune::{self, Options, Report, Tally};
use dolmen_format::SnapshotId;
use serde_json::{Value, json};

use super::App;
use super::check::Reported;
use super::compact::{self, CompactArgs};
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Opened, open};
use crate::render;

/// How to prune.
#[derive(Debug, Clone, Args)]
pub(crate) struct PruneArgs {
    /// Delete nothing, only tell
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Take as lost for good what the repository tells of and does not hold; without this nothing is deleted then
    #[arg(long)]
    pub(super) confirm_missing: bool,
    #[command(flatten)]
    pub(super) compact: CompactArgs,
}

/// Repacks what is worth it, then deletes what nothing needs any more.
pub(super) fn run(app: &App, args: &PruneArgs) -> Outcome {
    compact_and_prune(app, &open(app)?, args, &BTreeSet::new())
}

/// Does both, and tells of it. What cannot be repacked keeps nothing from being deleted. `supposed` is what a dry run takes
/// as retired.
pub(super) fn compact_and_prune(
    app: &App,
    opened: &Opened,
    args: &PruneArgs,
    supposed: &BTreeSet<SnapshotId>,
) -> Outcome {
    let repacked = match compact::compact(app, opened, &args.compact, args.dry_run, supposed) {
        Ok(report) => Ok(report),
        Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
        Err(failure) => {
            app.output.failure(&failure);
            Err(failure)
        }
    };
    let report = prune(app, opened, args, repacked.as_ref().ok(), supposed)?;
    if app.output.is_json() {
        let repacked = match &repacked {
            Ok(repacked) => compact::document(repacked),
            Err(failure) => json!({ "error": failure.message }),
        };
        let mut document = document(&report);
        if let Some(fields) = document.as_object_mut() {
            fields.insert("compact".to_owned(), repacked);
        }
        app.output.json(&document);
    } else {
        if let Ok(repacked) = &repacked {
            compact::print(app, repacked, args.dry_run);
        }
        print(app, &report, args.dry_run);
    }
    let compacted = repacked.map_or_else(|failure| failure.exit, |_report| Exit::Done);
    let exits = [compacted, exit_of(&report)];
    let worst = exits.into_iter().max_by_key(|exit| exit.code());
    Ok(worst.unwrap_or(Exit::Done))
}

/// Prunes, and remembers what time the store stated. A dry run takes in what the compaction before it would
/// have changed, and what is supposed to be retired.
pub(super) fn prune(
    app: &App,
    opened: &Opened,
    args: &PruneArgs,
    repacked: Option<&dolmen_core::compact::Report>,
    supposed: &BTreeSet<SnapshotId>,
) -> Outcome<Report> {
    let mut instance = opened.claim_instance()?;
    let cancel = app.interrupt.flag();
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let (confirmed, compared) = (opened.confirmed()?, opened.compared()?);
    let (remembered, sightings) = if args.confirm_missing {
        opened.memory_without_missing(args.dry_run)?
    } else {
        opened.memory()?
    };
    let options = Options {
        dry_run: args.dry_run,
        supposed,
        confirm_clock: app.config.confirm_clock,
        confirm_missing: args.confirm_missing,
        confirmed: &confirmed,
        compared: &compared,
        remembered: &remembered,
        sightings: &sightings,
        remembered_store: instance.record().store_time,
        index_cache: index_cache.as_deref(),
        scratch: &scratch,
        cancel: &cancel,
    };
    let reported = Reported(Arc::clone(&app.output));
    let mut report = prune::run(&opened.repository, &options, &reported)
        .during(&format!("cannot prune {}", opened.address))?;
    if let Some(planned) = repacked.filter(|_| args.dry_run) {
        report.expect(planned);
    }
    let mut record = instance.record().clone();
    record.store_time = record.store_time.max(report.store_time);
    instance
        .save(record)
        .during("cannot remember the store's time")?;
    if let Some(why) = &report.held {
        let hint = if why.contains("clock") {
            "; if the store's clock is right, run it again with --confirm-clock"
        } else if why.contains("missing") {
            "; dolmen recover puts back what this machine remembers; if the rest is junk or lost for good, run it again with \
             --confirm-missing"
        } else {
            ""
        };
        app.output.warn(format!("nothing is deleted: {why}{hint}"));
    }
    Ok(report)
}

/// 13 only where nothing at all may be deleted.
pub(super) fn exit_of(report: &Report) -> Exit {
    if report.denied > 0 && report.deleted == Tally::default() {
        Exit::NotAllowed
    } else {
        Exit::Done
    }
}

/// The report as scripts read it.
pub(super) fn document(report: &Report) -> Value {
    let tally = |tally: Tally| json!({ "objects": tally.objects, "bytes": tally.bytes });
    json!({
        "deleted": tally(report.deleted),
        "locked": {
            "objects": report.locked.objects,
            "bytes": report.locked.bytes,
            "next_unlock": report.next_unlock.map(render::rfc3339),
        },
        "live": tally(report.live),
        "junk": tally(report.junk),
        "held": report.held,
    })
}

/// The report as people read it.
pub(super) fn print(app: &App, report: &Report, dry_run: bool) {
    if app.output.is_quiet() {
        return;
    }
    let show = |tally: Tally| {
        let objects = render::count(tally.objects, "object");
        format!("{objects} ({})", render::bytes(tally.bytes))
    };
    let deleted = show(report.deleted);
    app.output.line(if dry_run {
        format!("would delete {deleted}")
    } else {
        format!("deleted {deleted}")
    });
    if report.locked != Tally::default() {
        let until = report.next_unlock.map_or_else(String::new, |until| {
            format!(", the next of them until {}", render::local_time(until))
        });
        let locked = show(report.locked);
        app.output
            .line(format!("unneeded and still kept: {locked}{until}"));
    }
    app.output.line(format!("needed: {}", show(report.live)));
    if report.junk != Tally::default() {
        let junk = show(report.junk);
        app.output.line(format!(
            "junk among snapshots and records: {junk}; dolmen recover sets it aside"
        ));
    }
}
