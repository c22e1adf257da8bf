//! `dolmen init`

mod site;

use clap::{Args, ValueEnum};
use dolmen_core::lease::{Asked, ExtensionCost};
use dolmen_core::{Environment, Objects, Repository, bucket, ledger, probe};
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_state::Instance;
use dolmen_store::LockSupport;
use serde_json::json;

use super::App;
use super::cat::show::lock_name;
use crate::config::Ask;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open;
use crate::stores;
use crate::units::{DAY, Seconds, parse_duration};
use site::Site;

/// What the repository is to be.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// How long nobody is to be able to take a snapshot away
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration)]
    protect: Seconds,
    /// How long a lock is extended at a time; `auto`: half of --protect, at most 7d, or 14d where each call is billed (AWS)
    #[arg(long, value_name = "DURATION", default_value = "auto", value_parser = parse_auto)]
    generation: Auto,
    /// How often maintenance is promised to run; `auto`: a quarter of --generation, at most 1d
    #[arg(long, value_name = "DURATION", default_value = "auto", value_parser = parse_auto)]
    every: Auto,
    /// How snapshots are protected; the best that the place can do: `compliance` in a bucket, `none` in a folder by itself
    #[arg(long, value_enum)]
    lock: Option<LockName>,
    /// Make the bucket if need be, with Object Lock; a folder is always made
    #[arg(long)]
    create_bucket: bool,
}

/// A duration, or one that follows from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auto {
    Derived,
    Given(Seconds),
}

pub(super) fn parse_auto(text: &str) -> Result<Auto, String> {
    if text == "auto" {
        Ok(Auto::Derived)
    } else {
        parse_duration(text).map(Auto::Given)
    }
}

impl Auto {
    /// What was asked for.
    pub(super) const fn given(self) -> Option<u64> {
        match self {
            Self::Derived => None,
            Self::Given(seconds) => Some(seconds.0),
        }
    }
}

/// The strategies by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LockName {
    /// Damage is found, not prevented
    None,
    /// Object Lock that nobody can shorten
    Compliance,
    /// Object Lock that a special right can shorten
    Governance,
    /// Legal holds
    Hold,
    /// Keys that can hide but not delete
    Hide,
    /// The immutable flag, set by a guard
    Attribute,
}

impl LockName {
    /// What a policy calls it.
    pub(super) const fn strategy(self) -> LockStrategy {
        match self {
            Self::None => LockStrategy::None,
            Self::Compliance => LockStrategy::Compliance,
            Self::Governance => LockStrategy::Governance,
            Self::Hold => LockStrategy::Hold,
            Self::Hide => LockStrategy::Hide,
            Self::Attribute => LockStrategy::Attribute,
        }
    }
}

/// Longest times: a century is beyond any plan, and far from where sums overflow.
const LONGEST: u64 = 100 * 365 * DAY;

/// Makes a repository.
pub(super) fn run(app: &App, args: &InitArgs) -> Outcome {
    let address = app.config.address()?;
    let secret = app.config.secret()?;
    // Where this machine could not remember the repository, none is made.
    app.config.state()?;
    // What is wrong by itself is said before anybody is asked.
    make_policy(args, LockStrategy::None, ExtensionCost::Free)?;
    let shown = address.shown();
    let tried = format!("cannot make a repository at {shown}");
    let site = Site::look(app, address, args.create_bucket)?;
    let lock = site.strategy(args.lock, &tried)?;
    site.refuse_hazards(&tried)?;
    let policy = make_policy(args, lock, address.extension())?;
    if args.protect.0 < DAY {
        app.output.warn(format!(
            "--protect {} is below 1d: fit for tests and drills, not for backups",
            args.protect
        ));
    }
    let passphrase = secret.read(&format!("new passphrase for {shown}"), Ask::Twice)?;
    // What cannot be remembered is found out before anything is made.
    open::try_state(app)?;
    let reached = stores::reached(address, site.create(app, &tried)?)?;
    let objects = Objects::new(reached.store, app.runtime.clone(), &shown);
    let environment = app.environment.clone();
    refuse_unkept(&objects, &environment, policy.lock, &tried)?;
    let repository =
        Repository::create(objects, environment, &passphrase, &policy).during(&tried)?;
    let mut instance = open::remember(app, &reached.pinned_as, &repository)?;
    record_probe(app, &repository, &mut instance, &policy)
        .map_err(|failure| {
            failure.during("the repository is made, but not what its store was found to keep")
        })
        .map_err(|failure| {
            failure.hint("record it with: dolmen policy set --lock …, naming the lock")
        })?;
    report(app, &repository, &policy, &shown, site.is_folder());
    Ok(Exit::Done)
}

/// Records that the store was tried out, and tells of a bucket whose own locks are too short for the policy.
///
/// Cost: at most three requests and one put; none where the policy relies on nothing.
pub(super) fn record_probe(
    app: &App,
    repository: &Repository,
    instance: &mut Instance,
    policy: &Policy,
) -> Outcome<()> {
    let Some((fact, short)) = bucket::record(repository, policy)? else {
        return Ok(());
    };
    if let Some(short) = short {
        app.output.warn(format!(
            "{short}: fit only for keys that may lock by themselves; dolmen access print --role owner prints how to set it"
        ));
    }
    ledger::write(repository, instance, fact)?;
    Ok(())
}

/// Refuses a store that does not do what the lock relies on.
pub(super) fn refuse_unkept(
    objects: &Objects,
    environment: &Environment,
    lock: LockStrategy,
    tried: &str,
) -> Outcome<()> {
    let answers = probe::run(objects, environment, lock).during(tried)?;
    let unkept = answers.unkept(objects.store().identity());
    match unkept.and_then(<[_]>::first) {
        None => Ok(()),
        Some(first) => {
            let said = format!("{tried}: the store was tried out, and {first}");
            Err(Failure::new(Exit::Failed, said).hint(first.remedy()))
        }
    }
}

/// Refuses a strategy that a store cannot keep.
pub(super) fn refuse_lock(
    lock: Option<LockName>,
    locks: LockSupport,
    is_folder: bool,
    tried: &str,
) -> Outcome<()> {
    let needs = match (lock, locks) {
        (None | Some(LockName::None), _)
        | (
            Some(LockName::Compliance | LockName::Governance | LockName::Hold),
            LockSupport::ObjectLock,
        ) => return Ok(()),
        (Some(LockName::Compliance | LockName::Governance | LockName::Hold), LockSupport::None)
            if is_folder =>
        {
            "needs a store with Object Lock, and a folder has none"
        }
        (Some(LockName::Compliance | LockName::Governance | LockName::Hold), LockSupport::None) => {
            "needs a store with Object Lock, and this bucket has none"
        }
        (Some(LockName::Hide), _) if is_folder => "needs a B2 bucket, and this is a folder",
        (Some(LockName::Hide), _) => "needs a B2 bucket under its own address",
        (Some(LockName::Attribute), _) => {
            "needs a guard on the store's machine, which this version does not have"
        }
    };
    let name = lock.and_then(|lock| lock.to_possible_value());
    let name = name.as_ref().map_or("", |name| name.get_name());
    let hint = match (is_folder, locks) {
        (true, _) => "a folder by itself takes --lock none: damage is then found, not prevented",
        (false, LockSupport::None) => {
            "make a bucket with Object Lock: init with --create-bucket does"
        }
        (false, LockSupport::ObjectLock) => "this bucket takes --lock compliance",
    };
    Err(Failure::new(Exit::Failed, format!("{tried}: --lock {name} {needs}")).hint(hint))
}

/// Works the policy out (DESIGN §3): generation and interval follow from the protection period.
fn make_policy(args: &InitArgs, lock: LockStrategy, extension: ExtensionCost) -> Outcome<Policy> {
    let protect = args.protect.0;
    let asked = Asked {
        protect_seconds: protect,
        generation_seconds: args.generation.given(),
        interval_seconds: args.every.given(),
        extension,
    };
    let generation = asked.generation_or_default_seconds();
    let interval = asked.interval_or_default_seconds();
    let margin = interval.saturating_mul(3);
    let wrong = if protect > LONGEST {
        "--protect is longer than a century"
    } else if generation == 0 || interval == 0 || protect == 0 {
        "--protect, --generation and --every must each be a second at least"
    } else if generation > protect {
        "--generation must not be longer than --protect"
    } else if margin > protect {
        "three times --every, the margin for a missed run, must not be longer than --protect"
    } else {
        return Ok(Policy {
            protect_seconds: protect,
            generation_seconds: generation,
            interval_seconds: interval,
            lock,
            keep: Keep::default(),
            classes: Vec::new(),
            previous: None,
        });
    };
    Err(Failure::usage(format!(
        "{wrong} (protect {}, generation {}, every {})",
        args.protect,
        Seconds(generation),
        Seconds(interval)
    )))
}

/// What a strategy does not do.
fn lacks(lock: LockStrategy, is_folder: bool) -> Option<&'static str> {
    Some(match lock {
        LockStrategy::None if is_folder => {
            "lock: none. This folder does not keep anybody who can write to it from deleting or altering backups; \
             Dolmen finds such damage but cannot prevent it. Keep a second copy where this machine cannot write"
        }
        LockStrategy::None => {
            "lock: none. This bucket does not keep anybody whose key may delete from deleting backups; Dolmen finds such \
             damage but cannot prevent it. Keep a second copy where no key of this machine can delete"
        }
        LockStrategy::Governance => {
            "lock: governance. Whoever holds the right s3:BypassGovernanceRetention can delete backups; compliance keeps \
             them from everybody"
        }
        LockStrategy::Hold => {
            "lock: hold. Whoever holds the key of maintenance can lift the holds and, once the first locks have lapsed, \
             delete backups; compliance keeps them from everybody"
        }
        LockStrategy::Hide => {
            "lock: hide. An attack starts a countdown: what is hidden is deleted after the bucket's days"
        }
        LockStrategy::Attribute => {
            "lock: attribute. Root on the store's machine can delete backups"
        }
        LockStrategy::Compliance => return None,
    })
}

fn report(app: &App, repository: &Repository, policy: &Policy, shown: &str, is_folder: bool) {
    let output = &app.output;
    if let Some(warning) = lacks(policy.lock, is_folder) {
        output.warn(warning);
    }
    if output.is_json() {
        output.json(&json!({
            "message_type": "initialized",
            "id": repository.id().to_string(),
            "repository": shown,
            "lock": lock_name(policy.lock),
            "protect_seconds": policy.protect_seconds,
            "generation_seconds": policy.generation_seconds,
            "interval_seconds": policy.interval_seconds,
        }));
    } else if !output.is_quiet() {
        output.line(format!("created repository {} at {shown}", repository.id()));
        if policy.lock == LockStrategy::Compliance {
            output.line(format!(
                "Nobody can delete a backup for {} from when it was made, whatever key they hold, and you cannot either.",
                Seconds(policy.protect_seconds)
            ));
        }
        output.line(
            "Without the passphrase nobody can read it, not even you: keep it in a second place too.",
        );
        output.line(format!(
            "Print what opens it when all else is lost: dolmen key export -r {shown} --out kit.html"
        ));
        output.line(format!("Back up with: dolmen backup -r {shown} PATH…"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(protect: &str, generation: &str, every: &str) -> Outcome<(u64, u64, u64)> {
        let args = InitArgs {
            protect: parse_duration(protect).unwrap(),
            generation: parse_auto(generation).unwrap(),
            every: parse_auto(every).unwrap(),
            lock: None,
            create_bucket: false,
        };
        let policy = make_policy(&args, LockStrategy::None, ExtensionCost::Free)?;
        Ok((
            policy.protect_seconds,
            policy.generation_seconds,
            policy.interval_seconds,
        ))
    }

    #[test]
    fn generation_and_interval_follow_from_the_protection_period() {
        assert_eq!(policy("30d", "auto", "auto"), Ok((30 * DAY, 7 * DAY, DAY)));
        assert_eq!(
            policy("4d", "auto", "auto"),
            Ok((4 * DAY, 2 * DAY, DAY / 2))
        );
        assert_eq!(policy("20s", "auto", "auto"), Ok((20, 10, 3)));
        assert_eq!(
            policy("30d", "14d", "2d"),
            Ok((30 * DAY, 14 * DAY, 2 * DAY))
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (protect, generation, every) in [
            ("0s", "auto", "auto"),
            ("2s", "auto", "auto"),
            ("1d", "2d", "auto"),
            ("3d", "1d", "2d"),
            ("101y", "auto", "auto"),
            ("3d", "0s", "auto"),
        ] {
            let failure = policy(protect, generation, every).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{protect} {generation} {every}");
        }
        assert_eq!(
            policy("1d", "2d", "auto").unwrap_err().message,
            "--generation must not be longer than --protect (protect 1d, generation 2d, every 12h)"
        );
    }
}
