//! `dolmen policy …`

use clap::{Args, Subcommand};
use dolmen_core::lease::{Asked, ExtensionCost, PROTECT_SECONDS_MAX, Terms, strength};
use dolmen_core::snapshots::SnapshotList;
use dolmen_core::{ledger, lives};
use dolmen_format::ledger::{Class, Fact, Policy};

use super::App;
use super::cat::show;
use super::init::{Auto, LockName, parse_auto, record_probe, refuse_lock, refuse_unkept};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
use crate::units::{DAY, Seconds, parse_duration};

/// What to do with the policy.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Print how the repository is kept
    Show,
    /// Change it: longer protection holds at once, shorter one for what comes
    Set(Box<SetArgs>),
}

/// What is to change.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct SetArgs {
    /// How long nobody is to be able to take a snapshot away
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    protect: Option<Seconds>,
    /// How long a lock is extended at a time; `auto`: half of --protect, at most 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_auto)]
    generation: Option<Auto>,
    /// How often maintenance is promised to run; `auto`: a quarter of --generation, at most 1d
    #[arg(long, value_name = "DURATION", value_parser = parse_auto)]
    every: Option<Auto>,
    /// How snapshots are locked from now on: a stronger way at once, a weaker one after one old protection period; the store
    /// is tried out for it, also where it is the one in force
    #[arg(long, value_enum)]
    lock: Option<LockName>,
    /// Maintenance keeps the last N snapshots; 0 is no rule
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// … the last snapshot of each of the last N hours that have any
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,
    /// … of each of the last N days
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// … of each of the last N weeks
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// … of each of the last N months
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// … of each of the last N years
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,
    /// Protect what a keep rule keeps for longer, such as monthly=180d; 0s takes the class away
    #[arg(long, value_name = "RULE=DURATION", value_parser = parse_class)]
    protect_class: Vec<Class>,
}

/// The rules that a class can name.
const RULES: [&str; 6] = ["last", "hourly", "daily", "weekly", "monthly", "yearly"];

fn parse_class(text: &str) -> Result<Class, String> {
    let wrong = || {
        format!(
            "`{text}` is no class; write it as monthly=180d, with one of {}",
            RULES.join(", ")
        )
    };
    let (rule, time) = text.split_once('=').ok_or_else(wrong)?;
    if !RULES.contains(&rule) {
        return Err(wrong());
    }
    let protect_seconds = parse_duration(time)?.0;
    if protect_seconds > PROTECT_SECONDS_MAX {
        return Err(format!("`{text}` is longer than a century"));
    }
    Ok(Class {
        rule: rule.to_owned(),
        protect_seconds,
    })
}

/// Shows or changes the policy.
pub(super) fn run(app: &App, args: &PolicyArgs) -> Outcome {
    let duty = match &args.command {
        PolicyCommand::Show => Duty::Look,
        PolicyCommand::Set(_) => Duty::Administer,
    };
    let opened = open(app, duty)?;
    let list = opened.load_snapshots(app)?;
    match &args.command {
        PolicyCommand::Show => print(app, &list.facts.policy().policy),
        PolicyCommand::Set(args) => set(app, args, &opened, &list)?,
    }
    Ok(Exit::Done)
}

fn set(app: &App, args: &SetArgs, opened: &Opened, list: &SnapshotList) -> Outcome<()> {
    let current = list.facts.policy();
    let mut policy = change(args, &current.policy, app.config.address()?.extension())?;
    let locks = opened.repository.objects.store().capabilities().locks;
    let tried = format!("cannot change the policy of {}", opened.address);
    refuse_lock(args.lock, locks, opened.folder.is_some(), &tried)?;
    policy.lock = args.lock.map_or(current.policy.lock, LockName::strategy);
    let is_same = policy == current.policy && !list.facts.is_policy_in_doubt();
    policy.previous = list.facts.last_policy();
    let terms = Terms::try_from(&policy).map_err(|error| Failure::usage(error.to_string()))?;
    let repository = &opened.repository;
    let tries_out = args.lock.is_some();
    let refuse_unkept = || {
        let (objects, environment) = (&repository.objects, &repository.environment);
        refuse_unkept(objects, environment, policy.lock, &tried)
    };
    if is_same {
        if tries_out {
            refuse_unkept()?;
            let mut instance = opened.writer(app, list)?;
            record_probe(app, repository, &mut instance, &policy).during(&tried)?;
        }
        app.output
            .notice("nothing to change: that is the policy already");
        print(app, &current.policy);
        return Ok(());
    }
    let waits = lives::waits(&list.facts, &terms) || lives::classes_wait(&list.facts, &policy);
    if waits && !app.config.confirm_policy {
        return Err(Failure::usage(
            "this more than doubles the protection period, the generation, the margin or the longest protection of a class",
        )
        .hint(
            "what is locked for so long cannot be unlocked: if it is meant, add --confirm-policy",
        ));
    }
    if terms.protect_seconds() < DAY {
        app.output.warn(format!(
            "--protect {} is below 1d: fit for tests and drills, not for backups",
            Seconds(terms.protect_seconds())
        ));
    }
    // A canary stays for a day: what is refused for other reasons is refused before.
    if tries_out {
        refuse_unkept()?;
    }
    let mut instance = opened.writer(app, list)?;
    let fact = Fact::Policy(policy.clone());
    let written = ledger::write(repository, &mut instance, fact).during(&tried)?;
    if waits {
        opened.confirm(&[written.digest])?;
        app.output
            .notice("other machines go on as before until they are run once with --confirm-policy");
    }
    if tries_out {
        record_probe(app, repository, &mut instance, &policy).during(&tried)?;
    }
    say_what_waits(app, &current.policy, &policy);
    print(app, &policy);
    Ok(())
}

/// Says what of a change takes effect only after one old protection period.
fn say_what_waits(app: &App, before: &Policy, after: &Policy) {
    if after.protect_seconds < before.protect_seconds {
        app.output.notice(
            "what is stored keeps its old protection; the shorter one takes effect when the old protection period has \
             passed once",
        );
    }
    if strength(after.lock) < strength(before.lock) {
        app.output.notice(format!(
            "what is stored keeps its locks, and new objects get --lock {} until the old protection period has passed \
             once",
            show::lock_name(before.lock)
        ));
    }
}

/// The generation that follows from a policy's protection period, and the interval that follows from its generation.
fn derived(policy: &Policy, extension: ExtensionCost) -> [Option<u64>; 2] {
    let asked = Asked {
        protect_seconds: policy.protect_seconds,
        generation_seconds: None,
        interval_seconds: None,
        extension,
    };
    let generation = Terms::with_defaults(&asked);
    let interval = Terms::with_defaults(&Asked {
        generation_seconds: Some(policy.generation_seconds),
        ..asked
    });
    [
        generation.map(|terms| terms.generation_seconds()).ok(),
        interval.map(|terms| terms.interval_seconds()).ok(),
    ]
}

/// The policy with what the flags change. Generation and interval that follow from the protection period follow it.
fn change(args: &SetArgs, current: &Policy, extension: ExtensionCost) -> Outcome<Policy> {
    let mut policy = current.clone();
    let given = |auto: Option<Auto>, now: u64, derived: Option<u64>| match auto {
        None if derived == Some(now) => None,
        None => Some(now),
        Some(auto) => auto.given(),
    };
    let [generation, interval] = derived(current, extension);
    let asked = Asked {
        protect_seconds: args.protect.map_or(current.protect_seconds, |time| time.0),
        generation_seconds: given(args.generation, current.generation_seconds, generation),
        interval_seconds: given(args.every, current.interval_seconds, interval),
        extension,
    };
    let terms = Terms::with_defaults(&asked).map_err(|error| Failure::usage(error.to_string()))?;
    policy.protect_seconds = terms.protect_seconds();
    policy.generation_seconds = terms.generation_seconds();
    policy.interval_seconds = terms.interval_seconds();
    let keep = &mut policy.keep;
    for (rule, wanted) in [
        (&mut keep.last, args.keep_last),
        (&mut keep.hourly, args.keep_hourly),
        (&mut keep.daily, args.keep_daily),
        (&mut keep.weekly, args.keep_weekly),
        (&mut keep.monthly, args.keep_monthly),
        (&mut keep.yearly, args.keep_yearly),
    ] {
        *rule = wanted.unwrap_or(*rule);
    }
    for class in &args.protect_class {
        policy.classes.retain(|known| known.rule != class.rule);
        if class.protect_seconds > 0 {
            policy.classes.push(class.clone());
        }
    }
    policy.classes.sort_by(|a, b| a.rule.cmp(&b.rule));
    Ok(policy)
}

fn print(app: &App, policy: &Policy) {
    let document = show::policy(policy);
    if app.output.is_json() {
        app.output.json(&document);
        return;
    }
    let keep = policy.keep;
    let rules = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    let rules = rules.into_iter().filter(|(_, count)| *count > 0);
    let rules: Vec<_> = rules
        .map(|(rule, count)| format!("{rule} {count}"))
        .collect();
    let kept = if rules.is_empty() {
        "everything: maintenance retires nothing by itself".to_owned()
    } else {
        rules.join(", ")
    };
    let mut lines = vec![
        format!("protect     {}", Seconds(policy.protect_seconds)),
        format!("generation  {}", Seconds(policy.generation_seconds)),
        format!("every       {}", Seconds(policy.interval_seconds)),
        format!("lock        {}", show::lock_name(policy.lock)),
        format!("keep        {kept}"),
    ];
    for class in &policy.classes {
        lines.push(format!(
            "{:<11} protected for {}",
            class.rule,
            Seconds(class.protect_seconds)
        ));
    }
    for line in lines {
        app.output.line(line);
    }
}
