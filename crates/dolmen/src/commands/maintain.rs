//! `dolmen maintain`

use clap::Args;
use dolmen_core::forget;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::App;
use super::audit::{self, AuditArgs};
use super::forget::{entries, writer};
use super::prune::{self, PruneArgs};
use super::renew::{self, RenewArgs};
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Opened, open};
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
    let opened = open(app)?;
    let mut steps = Vec::new();
    for (name, step) in STEPS {
        let step = match step(app, &opened, args) {
            Ok((document, exit)) => Step {
                name,
                document,
                exit,
            },
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) => {
                app.output.failure(&failure);
                Step {
                    name,
                    document: json!({ "error": failure.message }),
                    exit: failure.exit,
                }
            }
        };
        steps.push(step);
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

/// Does one thing.
type DoStep = fn(&App, &Opened, &MaintainArgs) -> Outcome<(Value, Exit)>;

/// In this order.
const STEPS: [(&str, DoStep); 4] = [
    ("renew", renew),
    ("forget", forget),
    ("prune", prune),
    ("audit", audit),
];

fn say(app: &App, text: &str) {
    if !app.output.is_json() && !app.output.is_quiet() {
        app.output.line(text);
    }
}

fn renew(app: &App, opened: &Opened, args: &MaintainArgs) -> Outcome<(Value, Exit)> {
    let renew_args = RenewArgs {
        dry_run: args.dry_run,
    };
    let report = renew::renew(app, opened, &renew_args)?;
    if !app.output.is_json() {
        renew::print(app, &report, args.dry_run);
    }
    Ok((renew::document(&report), renew::exit_of(&report)))
}

/// Retires by the signed policy; without rules nothing.
fn forget(app: &App, opened: &Opened, args: &MaintainArgs) -> Outcome<(Value, Exit)> {
    let list = opened.load_snapshots(app)?;
    let (zone, now) = (TimeZone::system(), app.environment.clock.now());
    let Some(planned) = forget::plan_by_policy(&list, &zone, now) else {
        say(app, "the policy has no keep rules: nothing is retired");
        return Ok((Value::Null, Exit::Done));
    };
    let chosen = entries(&list, &planned.retire);
    if !args.dry_run && !chosen.is_empty() {
        let mut instance = writer(app, opened, &list)?;
        let repository = &opened.repository;
        forget::retire(repository, &mut instance, &chosen, planned.policy)
            .during(&format!("cannot retire snapshots of {}", opened.address))?;
    }
    let retired = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
    let verb = if args.dry_run {
        "would retire"
    } else {
        "retired"
    };
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
    let document = json!({
        "retired": retired,
        "spared": planned.spared,
        "alarms": planned.alarms.len(),
    });
    Ok((document, Exit::Done))
}

fn prune(app: &App, opened: &Opened, args: &MaintainArgs) -> Outcome<(Value, Exit)> {
    let prune_args = PruneArgs {
        dry_run: args.dry_run,
        confirm_missing: args.confirm_missing,
    };
    let report = prune::prune(app, opened, &prune_args)?;
    if !app.output.is_json() {
        prune::print(app, &report, args.dry_run);
    }
    // What may not be deleted is merely kept: maintenance goes on.
    Ok((prune::document(&report), Exit::Done))
}

/// A light one: no pack is read that need not be.
fn audit(app: &App, opened: &Opened, _args: &MaintainArgs) -> Outcome<(Value, Exit)> {
    let read_data_subset = None;
    let view = audit::audit(app, opened, &AuditArgs { read_data_subset })?;
    if !app.output.is_json() {
        audit::print(app, &view);
    }
    Ok((audit::document(&view), audit::exit_of(&view)))
}
