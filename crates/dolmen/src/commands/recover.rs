//! `dolmen recover`

use std::sync::Arc;

use clap::Args;
use dolmen_core::audit::{self, Depth};
use dolmen_core::check::{Observer, ReadData};
use dolmen_core::objects::Source;
use dolmen_core::recall::Recall;
use dolmen_core::recover::{self, Action, Options, Report};
use dolmen_core::snapshots::History;
use dolmen_core::{Error, Finding};
use dolmen_store::StoreErrorKind;
use serde_json::json;

use super::App;
use super::select::AtArgs;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
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
    let opened = open(app, Duty::Maintain)?;
    let tried = format!("cannot recover {}", opened.address);
    let (mut remembered, sightings) = opened.memory()?;
    let seen = opened.load_recalling(app, Recall::Seen(&sightings), &remembered)?;
    let mut instance = if args.dry_run {
        None
    } else {
        Some(opened.writer(app, &seen)?)
    };
    let told = Told(Arc::clone(&app.output));
    let own = recover::put_remembered(
        &opened.repository,
        &seen,
        &sightings,
        instance.as_mut(),
        &told,
    )
    .during(&tried)?;
    let own = if args.dry_run {
        own
    } else {
        own.and(put_back(app, &opened))
    };
    let history = History::load(&opened.repository, Source::Store).during(&tried)?;
    let confirmed = opened.confirmed()?;
    let list_of = |history: History, at| {
        let mut list = history.into_list(&opened.repository, at);
        list.facts.confirmed.clone_from(&confirmed);
        list
    };
    let then = at.map(|at| list_of(history.clone(), Some(at)));
    let list = list_of(history, None);
    let cancel = app.interrupt.flag();
    // What came later than that time is no loss then.
    if at.is_some() {
        remembered.heads.clear();
        remembered.signed.clear();
    }
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let compared = opened.compared()?;
    let options = Options {
        look: audit::Options {
            depth: Depth::Hashes(ReadData::None),
            remembered: &remembered,
            compared: &compared,
            index_cache: index_cache.as_deref(),
            scratch: &scratch,
            cancel: &cancel,
        },
        list: &list,
        then: then.as_ref(),
    };
    let action = instance.as_mut().map_or(Action::Plan, Action::Apply);
    let report = recover::run(&opened.repository, &options, action, &told).during(&tried)?;
    let report = report.and(own);
    print(app, &report, args.dry_run);
    unfinished(&report, &opened.address).map_or_else(|| Ok(exit_of(&report)), Err)
}

/// Puts root and keys back from this machine's copies.
fn put_back(app: &App, opened: &Opened) -> Report {
    let mut report = Report::default();
    for (name, put) in opened.put_back_each(app) {
        match put {
            Ok(()) => report.healed = report.healed.saturating_add(1),
            Err(error) => {
                report.refuse(match &error {
                    Error::Store(error) => error.kind,
                    _ => StoreErrorKind::Other,
                });
                let failure = Failure::from(error).during(format!("cannot put {name} back"));
                app.output.warn(failure.message);
            }
        }
    }
    report
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

/// Where the store is full: what misses something now may miss nothing once there is room.
fn unfinished(report: &Report, address: &str) -> Option<Failure> {
    let steps = render::count(report.full, "step");
    let failure = || {
        Failure::new(
            Exit::Failed,
            format!(
                "{address} is not whole yet: no space is left there for {steps}; what was mended stays, and nothing was taken away"
            ),
        )
        .hint("make room there, then run dolmen recover again")
    };
    (report.full > 0).then(failure)
}

fn exit_of(report: &Report) -> Exit {
    // Junk that stays hurts nothing.
    if report.missing > 0 || report.lost > 0 {
        Exit::Damage
    } else if report.failed == 0 {
        Exit::Done
    } else if report.failed == report.denied && report.healed == 0 && report.unretired == 0 {
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
            "unretired": report.unretired,
            "lost": report.lost,
            "healed": report.healed,
            "foreign": report.foreign,
            "set_aside": report.set_aside,
            "failed": report.failed,
            "left": report.left,
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
    let (verb, brought) = if dry_run {
        ("would put", "would bring")
    } else {
        ("put", "brought")
    };
    if report.unretired > 0 {
        let snapshots = render::count(report.unretired, "retired snapshot");
        output.line(format!("{brought} {snapshots} back to life"));
    }
    output.line(format!(
        "{verb} {} back, set {} aside",
        render::count(report.healed, "object"),
        report.set_aside
    ));
    if report.failed > report.full {
        output.notice(format!(
            "{} failed: what they are about can still be read; with the right to do it, run dolmen recover again",
            render::count(report.failed.saturating_sub(report.full), "step")
        ));
    }
    if report.left > 0 {
        output.notice(format!(
            "{} could not be set aside: no command reads it",
            render::count(report.left, "foreign name")
        ));
    }
    if report.lost > 0 {
        output.notice(format!(
            "{} should live and lack something: nothing brings them back whole",
            render::count(report.lost, "retired snapshot")
        ));
    }
    if report.missing > 0 && report.full == 0 {
        output.notice("hint: dolmen check names the snapshots that this hurts; a new backup stores again what it still finds, and dolmen \
             repair index rebuilds a lost index");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_is_one_sentence_and_no_damage() {
        let mut report = Report {
            missing: 2,
            healed: 1,
            ..Report::default()
        };
        assert_eq!(unfinished(&report, "/repo"), None);
        assert_eq!(exit_of(&report), Exit::Damage);
        report.refuse(StoreErrorKind::NoSpace);
        let failure = unfinished(&report, "/repo").unwrap();
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(
            failure.message,
            "/repo is not whole yet: no space is left there for 1 step; what was mended stays, and nothing was taken away"
        );
        assert_eq!(
            failure.hints,
            ["make room there, then run dolmen recover again"]
        );
    }
}
