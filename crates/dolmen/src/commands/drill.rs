//! `dolmen drill`

use clap::{Args, ValueEnum};
use dolmen_core::drill::{self, Outcome as Came, Report, Tried};
use dolmen_core::lives;
use dolmen_format::certificate::Role;
use dolmen_format::ledger::LockStrategy;
use serde_json::{Value, json};

use super::App;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, open};
use crate::render;

/// What to hold the attacks against.
#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// Whose rights the credentials at hand should be [default: what the key at hand is for]
    #[arg(long, value_enum)]
    role: Option<RoleName>,
}

/// A role, as the command line calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Everything that locks do not forbid
    #[value(alias = "owner")]
    Admin,
    /// A machine that adds backups
    Backup,
    /// Maintenance: renews, retires, deletes what has lapsed
    #[value(aliases = ["renew", "prune"])]
    Maintain,
    /// Whoever reads backups
    Restore,
}

impl RoleName {
    const fn role(self) -> Role {
        match self {
            Self::Admin => Role::Admin,
            Self::Backup => Role::Backup,
            Self::Maintain => Role::Maintain,
            Self::Restore => Role::Restore,
        }
    }
}

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Backup => "backup",
        Role::Maintain => "maintain",
        Role::Restore => "restore",
    }
}

/// Attacks the repository's store, and tells what came of it; 21 where something succeeds that should not.
pub(super) fn run(app: &App, args: &DrillArgs) -> Outcome {
    let opened = open(app, Duty::Attack)?;
    let list = opened.load_snapshots(app)?;
    let repository = &opened.repository;
    let claimed = repository.roles_of(repository.writer()).next();
    let role = args
        .role
        .map(RoleName::role)
        .or(claimed.map(|(role, _)| role));
    let Some(role) = role else {
        let message = format!(
            "cannot drill {}: the key at hand has no role",
            opened.address
        );
        return Err(
            Failure::new(Exit::Failed, message).hint("say whose rights they should be: --role")
        );
    };
    let environment = &app.environment;
    let lock = lives::lock(&list.facts, environment.clock.now());
    let report = drill::run(&repository.objects, environment, lock, role)
        .during(&format!("cannot drill {}", opened.address))?;
    if app.output.is_json() {
        app.output.json(&document(&report));
    } else {
        print(app, &report, role);
    }
    for (attack, why) in &report.left_out {
        app.output
            .notice(format!("{} was not tried: {why}", attack.name()));
    }
    if lock == LockStrategy::None {
        app.output.warn(
            "lock: none. Whoever can write here can delete and overwrite every backup; Dolmen finds such damage and \
             cannot prevent it. Keep a second copy where this machine cannot write",
        );
    }
    Ok(if report.is_ok() {
        Exit::Done
    } else {
        Exit::Unprotected
    })
}

const fn came(outcome: Came) -> &'static str {
    match outcome {
        Came::Refused => "refused",
        Came::Absorbed => "absorbed",
        Came::Succeeds => "succeeds",
    }
}

/// The report as scripts read it.
fn document(report: &Report) -> Value {
    let row = |tried: &Tried| {
        json!({
            "attack": tried.attack.name(),
            "outcome": came(tried.outcome),
            "detail": tried.detail,
            "falls_short": tried.falls_short,
        })
    };
    report.tried.iter().map(row).collect()
}

/// The report as people read it.
fn print(app: &App, report: &Report, role: Role) {
    let row = |tried: &Tried| {
        let verdict = if tried.falls_short {
            "NOT AS IT SHOULD BE: "
        } else {
            ""
        };
        vec![
            tried.attack.name().to_owned(),
            came(tried.outcome).to_owned(),
            format!("{verdict}{}", tried.detail),
        ]
    };
    let rows: Vec<_> = report.tried.iter().map(row).collect();
    for line in render::table(&rows) {
        app.output.line(line);
    }
    if app.output.is_quiet() {
        return;
    }
    let short = report.tried.iter().filter(|tried| tried.falls_short);
    let name = name_of(role);
    app.output.line(match short.count() {
        0 => format!("nothing succeeded that the role {name} should not be able to do"),
        1 => format!("1 attack succeeded that the role {name} should not be able to make"),
        more => format!("{more} attacks succeeded that the role {name} should not be able to make"),
    });
}
