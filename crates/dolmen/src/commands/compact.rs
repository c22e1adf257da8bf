//! Compaction: a step of `dolmen maintain` and of `dolmen prune`.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use dolmen_core::compact::plan::{MaxUnused, Prices};
use dolmen_core::compact::{self, Options, Report};
use dolmen_format::SnapshotId;
use serde_json::{Value, json};

use super::App;
use super::check::Reported;
use crate::exit::{During as _, Outcome};
use crate::open::Opened;
use crate::render;
use crate::units::{parse_percent, parse_size};

/// Bytes of packs that a run reads to compare what others moved.
const COMPARE_BYTES_MAX: u64 = 1 << 30;

/// How to compact.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompactArgs {
    /// Repack until at most so much of what is stored is unneeded; `unlimited`: repack nothing for that
    #[arg(long, value_name = "X%|SIZE|unlimited", default_value = "5%", value_parser = parse_max_unused)]
    pub(super) max_unused: MaxUnused,
    /// Read at most so much for repacking; 0: repack nothing
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) max_repack_size: Option<u64>,
}

fn parse_max_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    if text == "0%" {
        return Ok(MaxUnused::Share(0));
    }
    if let Some(percent) = parse_percent(text).filter(|percent| *percent < 100.0) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1000"
        )]
        return Ok(MaxUnused::Share((percent * 10.0).round() as u64));
    }
    let size = parse_size(text).map(MaxUnused::Bytes);
    size.map_err(|_error| format!("`{text}` is no limit; write it as 5%, 2GiB or unlimited"))
}

/// Compacts, and remembers where moved frames are the same. `supposed` is what a dry run takes as retired.
pub(super) fn compact(
    app: &App,
    opened: &Opened,
    args: &CompactArgs,
    dry_run: bool,
    supposed: &BTreeSet<SnapshotId>,
) -> Outcome<Report> {
    let mut list = opened.load_all_seen(app)?;
    list.suppose_retired(supposed, app.environment.clock.now());
    let mut instance = opened.writer(app, &list)?;
    let cancel = app.interrupt.flag();
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let options = Options {
        dry_run,
        prices: Prices::OWN,
        max_unused: args.max_unused,
        repack_bytes_max: args.max_repack_size.unwrap_or(u64::MAX),
        compare_bytes_max: COMPARE_BYTES_MAX,
        confirm_clock: app.config.confirm_clock,
        remembered_store: instance.record().store_time,
        index_cache: index_cache.as_deref(),
        scratch: &scratch,
        cancel: &cancel,
    };
    let reported = Reported(Arc::clone(&app.output));
    let before = list.facts.compared.clone();
    let repository = &opened.repository;
    let outcome = compact::run(repository, &mut instance, &mut list, &options, &reported);
    if list.facts.compared != before {
        opened.note_compared(&list.facts.compared)?;
    }
    let report = outcome.during(&format!("cannot compact {}", opened.address))?;
    if let Some(why) = &report.held {
        app.output.warn(format!("nothing is repacked: {why}"));
    }
    Ok(report)
}

/// The report as scripts read it.
pub(super) fn document(report: &Report) -> Value {
    json!({
        "packs_read": report.packs_read,
        "bytes_read": report.bytes_read,
        "packs_written": report.packs_written,
        "bytes_written": report.bytes_written,
        "frames": report.frames,
        "unneeded_bytes": report.unneeded_bytes,
        "compared": report.compared,
        "held": report.held,
    })
}

/// The report as people read it.
pub(super) fn print(app: &App, report: &Report, dry_run: bool) {
    if app.output.is_quiet() || report.packs_read == 0 {
        return;
    }
    let verb = if dry_run { "would repack" } else { "repacked" };
    app.output.line(format!(
        "{verb} {} ({}) into {} ({})",
        render::count(report.packs_read, "pack"),
        render::bytes(report.bytes_read),
        render::count(report.packs_written, "pack"),
        render::bytes(report.bytes_written),
    ));
}
