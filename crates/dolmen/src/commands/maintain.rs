//! `dolmen maintain`

use clap::Args;
use dolmen_core::by_policy::{self, ByPolicy};
use dolmen_core::forget::{self, Answered};
use dolmen_core::lives;
use dolmen_core::snapshots::SnapshotList;
use dolmen_format::SnapshotId;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::App;
use super::audit::{self, AuditArgs};
use super::compact::{self, CompactArgs};
use super::forget::{
    add_deadlines, entries, say_deadlines, say_set_aside, set_aside_json, take_back,
};
use super::prune::{self, PruneArgs};
use super::renew::{self, PaceArgs, RenewArgs};
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Duty, Opened, open};
use crate::render;

/// How to maintain.
#[derive(Debug, Clone, Args)]
pub(crate) struct MaintainArgs {
    /// Change nothing, only tell
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take as lost for good what the repository tells of and does not hold; without this nothing is deleted then
    #[arg(long)]
    confirm_missing: bool,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    compact: CompactArgs,
}

/// What a step came to.
struct Step {
    name: &'static str,
    document: Value,
    exit: Exit,
}

/// Does all that a repository needs from time to time: one command for cron. Renewal comes first, and no step waits for
/// another's success.
pub(super) fn run(app: &App, args: &MaintainArgs) -> Outcome {
    let mut opened = open(app, Duty::Maintain)?;
    args.pace.keep(&mut opened);
    if args.confirm_missing && !args.dry_run {
        // No step waits for it, or tells of it, any more.
        opened.memory_without_missing(false)?;
    }
    let (mut steps, mut did_all) = (Vec::new(), !args.dry_run);
    let mut run = Run {
        app,
        opened: &opened,
        args,
        repacked: None,
        supposed: BTreeSet::new(),
    };
    for (name, step) in STEPS {
        let step = match step(&mut run) {
            Ok((document, exit)) => Step {
                name,
                document,
                exit,
            },
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) => {
                app.output.failure(&failure);
                did_all = false;
                Step {
                    name,
                    document: json!({ "error": failure.message }),
                    exit: failure.exit,
                }
            }
        };
        steps.push(step);
    }
    if did_all {
        opened.note_maintained()?;
    }
    let exit = steps
        .iter()
        .map(|step| step.exit)
        .max_by_key(|exit| exit.code());
    if app.output.is_json() {
        let fields = steps
            .into_iter()
            .map(|step| (step.name.to_owned(), step.document));
        app.output.json(&Value::Object(fields.collect()));
    }
    Ok(exit.unwrap_or(Exit::Done))
}

/// What the steps share.
struct Run<'a> {
    app: &'a App,
    opened: &'a Opened,
    args: &'a MaintainArgs,
    /// What compaction did, or would do, for the prune after it.
    repacked: Option<dolmen_core::compact::Report>,
    /// What a dry run would have retired before.
    supposed: BTreeSet<SnapshotId>,
}

/// Does one thing.
type DoStep = fn(&mut Run<'_>) -> Outcome<(Value, Exit)>;

/// In this order.
const STEPS: [(&str, DoStep); 5] = [
    ("renew", renew),
    ("forget", forget),
    ("compact", compact),
    ("prune", prune),
    ("audit", audit),
];

fn say(app: &App, text: &str) {
    if !app.output.is_json() && !app.output.is_quiet() {
        app.output.line(text);
    }
}

fn renew(run: &mut Run<'_>) -> Outcome<(Value, Exit)> {
    let Run {
        app, opened, args, ..
    } = *run;
    let renew_args = RenewArgs::within(args.dry_run, args.pace);
    let report = renew::renew(app, opened, &renew_args)?;
    if !app.output.is_json() {
        renew::print(app, &report, args.dry_run);
    }
    Ok((renew::document(&report), renew::exit_of(&report)))
}

/// Answers what was retired against the signed policy, then retires by it; without rules nothing.
fn forget(run: &mut Run<'_>) -> Outcome<(Value, Exit)> {
    let Run {
        app, opened, args, ..
    } = *run;
    let mut list = opened.load_all_seen(app)?;
    let answered = answer(app, opened, args, &list)?;
    if answered.undone > 0 && !args.dry_run {
        list = opened.load_all_seen(app)?;
    }
    let exit = if answered == Answered::default() {
        Exit::Done
    } else {
        Exit::Unprotected
    };
    let now = app.environment.clock.now();
    let mut document = Value::Null;
    if let Some(planned) = by_policy::plan(&list, now) {
        document = retire(app, opened, args, &list, &planned)?;
        if args.dry_run {
            run.supposed.extend(planned.retire);
        }
    } else if list.facts.is_policy_in_doubt() {
        say(
            app,
            "policies contradict each other: nothing is retired until dolmen policy set settles it",
        );
    } else {
        say(app, "the policy has no keep rules: nothing is retired");
    }
    if answered != Answered::default() {
        if document.is_null() {
            document = json!({ "retired": 0 });
        }
        if let Some(fields) = document.as_object_mut() {
            fields.insert("undone".to_owned(), answered.undone.into());
            fields.insert("lost".to_owned(), answered.lost.into());
        }
    }
    Ok((document, exit))
}

/// Brings back what somebody with the maintenance key retired and the policy keeps.
fn answer(
    app: &App,
    opened: &Opened,
    args: &MaintainArgs,
    list: &SnapshotList,
) -> Outcome<Answered> {
    let now = app.environment.clock.now();
    let terms = lives::terms(&list.facts, now);
    let contrary = terms.map(|terms| by_policy::contrary(list, &terms, now));
    let contrary = contrary.unwrap_or_default();
    if contrary.is_empty() {
        return Ok(Answered::default());
    }
    for one in &contrary {
        app.output.warn(format!(
            "retirement {} names {} that the policy keeps: somebody misuses the maintenance key",
            one.retirement.digest,
            render::count(count(one.snapshots.len()), "snapshot")
        ));
    }
    if args.dry_run {
        let snapshots = contrary.iter().map(|one| one.snapshots.len()).sum();
        return Ok(Answered {
            undone: count(snapshots),
            lost: 0,
        });
    }
    let answered = take_back(app, opened, list, |instance, options, reported| {
        forget::answer(
            &opened.repository,
            instance,
            list,
            &contrary,
            options,
            reported,
        )
    })?;
    say(
        app,
        &format!(
            "brought back {} that the policy keeps",
            render::count(answered.undone, "snapshot")
        ),
    );
    Ok(answered)
}

/// Retires what the policy lets go.
fn retire(
    app: &App,
    opened: &Opened,
    args: &MaintainArgs,
    list: &SnapshotList,
    planned: &ByPolicy,
) -> Outcome<Value> {
    let chosen = entries(list, &planned.retire);
    if !args.dry_run && !chosen.is_empty() {
        let mut instance = opened.writer(app, list)?;
        let repository = &opened.repository;
        forget::retire(repository, &mut instance, &chosen, planned.policy)
            .during(&format!("cannot retire snapshots of {}", opened.address))?;
    }
    let retired = count(chosen.len());
    let verb = if args.dry_run {
        "would retire"
    } else {
        "retired"
    };
    say_set_aside(app, list, &planned.set_aside);
    say(
        app,
        &format!(
            "{verb} {} by the policy",
            render::count(retired, "snapshot")
        ),
    );
    for alarm in &planned.alarms {
        app.output.warn(format!(
            "{} of {} snapshots of a group are retired at once; if that is not meant: dolmen forget --undo",
            alarm.retired, alarm.of
        ));
    }
    let mut document = json!({
        "retired": retired,
        "spared": planned.spared,
        "set_aside": set_aside_json(list, planned.set_aside.iter().copied()),
        "alarms": planned.alarms.len(),
    });
    if retired > 0 {
        add_deadlines(app, list, &mut document);
        if !app.output.is_json() && !app.output.is_quiet() {
            say_deadlines(app, list);
        }
    }
    Ok(document)
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

/// What cannot be repacked now is so later.
fn compact(run: &mut Run<'_>) -> Outcome<(Value, Exit)> {
    let Run {
        app, opened, args, ..
    } = *run;
    let report = compact::compact(app, opened, &args.compact, args.dry_run, &run.supposed)?;
    if !app.output.is_json() {
        compact::print(app, &report, args.dry_run);
    }
    let document = compact::document(&report);
    run.repacked = Some(report);
    Ok((document, Exit::Done))
}

fn prune(run: &mut Run<'_>) -> Outcome<(Value, Exit)> {
    let Run {
        app, opened, args, ..
    } = *run;
    let prune_args = PruneArgs {
        dry_run: args.dry_run,
        confirm_missing: args.confirm_missing,
        compact: args.compact.clone(),
    };
    let report = prune::prune(
        app,
        opened,
        &prune_args,
        run.repacked.as_ref(),
        &run.supposed,
    )?;
    if !app.output.is_json() {
        prune::print(app, &report, args.dry_run);
    }
    // What may not be deleted is merely kept: maintenance goes on.
    Ok((prune::document(&report), Exit::Done))
}

/// A light one: no pack is read that need not be.
fn audit(run: &mut Run<'_>) -> Outcome<(Value, Exit)> {
    let Run { app, opened, .. } = *run;
    let read_data_subset = None;
    let view = audit::audit(app, opened, &AuditArgs { read_data_subset })?;
    if !app.output.is_json() {
        audit::print(app, &view);
    }
    Ok((audit::document(&view), audit::exit_of(&view)))
}
