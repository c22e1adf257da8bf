//! `dolmen recover`

use std::sync::Arc;

use clap::Args;
use dolmen_core::Finding;
use dolmen_core::audit::{self, Depth};
use dolmen_core::check::{Observer, ReadData};
use dolmen_core::recover::{self, Options, Report};
use serde_json::json;

use super::App;
use super::select::AtArgs;
use crate::exit::{During as _, Exit, Outcome};
use crate::open::open;
use crate::output::Output;
use crate::render;

/// What to mend.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    at: AtArgs,
    /// Change nothing, only tell
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Makes the plain view whole again.
pub(super) fn run(app: &App, args: &RecoverArgs) -> Outcome {
    let at = args.at.time(app)?;
    let opened = open(app)?;
    let tried = format!("cannot recover {}", opened.address);
    let put_back = if args.dry_run {
        0
    } else {
        drop(opened.settled(app)?);
        opened.put_back(app)?
    };
    let cancel = app.interrupt.flag();
    // What came later than that time is no loss then.
    let heads = if at.is_none() {
        opened.heads()
    } else {
        Vec::new()
    };
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let compared = opened.compared()?;
    let options = Options {
        look: audit::Options {
            depth: Depth::Hashes(ReadData::None),
            at,
            heads: &heads,
            compared: &compared,
            index_cache: index_cache.as_deref(),
            scratch: &scratch,
            cancel: &cancel,
        },
        dry_run: args.dry_run,
    };
    let told = Told(Arc::clone(&app.output));
    let mut report = recover::run(&opened.repository, &options, &told).during(&tried)?;
    report.healed = report.healed.saturating_add(put_back);
    print(app, &report, args.dry_run);
    Ok(exit_of(&report))
}

/// Says what is found and what stays.
#[derive(Debug)]
struct Told(Arc<Output>);

impl Observer for Told {
    fn finding(&self, finding: &Finding) {
        self.0.notice(finding.to_string());
    }

    fn notice(&self, text: &str) {
        self.0.notice(text);
    }
}

fn exit_of(report: &Report) -> Exit {
    if report.missing > 0 {
        Exit::Damage
    } else if report.failed == 0 {
        Exit::Done
    } else if report.failed == report.denied && report.healed == 0 && report.set_aside == 0 {
        Exit::NotAllowed
    } else {
        Exit::Failed
    }
}

fn print(app: &App, report: &Report, dry_run: bool) {
    let output = &app.output;
    if output.is_json() {
        output.json(&json!({
            "hidden": report.hidden,
            "overwritten": report.overwritten,
            "missing": report.missing,
            // Maintenance answers contrary retirements, and `forget --undo` any other.
            "unretired": 0,
            "healed": report.healed,
            "foreign": report.foreign,
            "set_aside": report.set_aside,
            "failed": report.failed,
        }));
        return;
    }
    if output.is_quiet() {
        return;
    }
    output.line(format!(
        "found {} hidden, {} overwritten, {} without an authentic version, {} foreign",
        render::count(report.hidden, "object"),
        report.overwritten,
        report.missing,
        report.foreign
    ));
    let verb = if dry_run { "would put" } else { "put" };
    output.line(format!(
        "{verb} {} back, set {} aside",
        render::count(report.healed, "object"),
        report.set_aside
    ));
    if report.failed > 0 {
        output.notice(format!(
            "{} failed: what they are about can still be read; with the right to do it, run dolmen recover again",
            render::count(report.failed, "step")
        ));
    }
    if report.missing > 0 {
        output.notice("hint: dolmen check names the snapshots that this hurts; a new backup stores again what it still finds, and dolmen \
             repair index rebuilds a lost index");
    }
}
