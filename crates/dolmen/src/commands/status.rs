//! `dolmen status`

mod metrics;

use clap::Args;
use dolmen_core::audit::{Depth, Options};
use dolmen_core::prune::Tally;
use dolmen_core::status::{self, Own, Status};
use dolmen_format::ledger::LockStrategy;
use serde_json::{Value, json};

use super::App;
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Duty, Opened, open};
use crate::units::{Seconds, parse_duration};
use crate::{paths, render};

/// What to tell.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Warn, and exit with 21, if the last backup of a writer and host is older
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_age: Option<Seconds>,
    /// Print Prometheus' text format
    #[arg(long, conflicts_with = "json")]
    metrics: bool,
}

/// Tells how the repository stands.
pub(super) fn run(app: &App, args: &StatusArgs) -> Outcome {
    let opened = open(app, Duty::Look)?;
    let max_age_seconds = args.max_age.map(|Seconds(seconds)| seconds);
    let tried = format!("cannot tell how {} stands", opened.address);
    let status = look(app, &opened, max_age_seconds, &tried)?;
    if args.metrics {
        app.output.raw(metrics::text(&status).as_bytes());
    } else if app.output.is_json() {
        app.output.json(&document(&status));
    } else {
        print(app, &opened.address, &status);
    }
    let falls_short = status.warnings.iter().any(|warning| warning.falls_short);
    Ok(if falls_short {
        Exit::Unprotected
    } else {
        Exit::Done
    })
}

/// Looks how a repository stands. `tried` is what for. Cost: see [`status::run`].
pub(super) fn look(
    app: &App,
    opened: &Opened,
    max_age_seconds: Option<u64>,
    tried: &str,
) -> Outcome<Status> {
    let cancel = app.interrupt.flag();
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let compared = opened.compared()?;
    let (remembered, sightings) = opened.memory()?;
    let options = Options {
        depth: Depth::Listing,
        remembered: &remembered,
        compared: &compared,
        index_cache: index_cache.as_deref(),
        scratch: &scratch,
        cancel: &cancel,
    };
    let own = Own {
        max_age_seconds,
        maintained: opened.maintained()?,
        confirmed: opened.confirmed()?,
        sightings,
    };
    status::run(&opened.repository, &options, own).during(tried)
}

fn document(status: &Status) -> Value {
    let time = |at: Option<_>| at.map(render::rfc3339);
    let last: Vec<_> = status
        .last
        .iter()
        .map(|(source, backup)| {
            json!({
                "host": source.host,
                "writer": source.writer,
                "snapshot": backup.snapshot,
                "time": render::rfc3339(backup.received),
            })
        })
        .collect();
    let warnings: Vec<_> = status
        .warnings
        .iter()
        .map(|warning| warning.text.as_str())
        .collect();
    json!({
        "snapshots": status.snapshots,
        "last_backups": last,
        "last_maintenance": time(status.maintained),
        "protect_seconds": status.protect_seconds,
        "protected_longer": status.protected_longer,
        "protected_until": time(status.protected_until),
        "renewal_due": time(status.renewal_due),
        "bytes": {
            "live": status.space.live.bytes,
            "retired": status.space.retired.bytes,
            "locked": status.space.locked.bytes,
            "junk": status.space.junk.bytes,
        },
        "warnings": warnings,
    })
}

fn print(app: &App, address: &str, status: &Status) {
    let output = &app.output;
    output.line(format!("repository: {address}"));
    output.line(format!("protection: {}", protection(status)));
    if let Some(due) = status.renewal_due {
        output.line(format!("renewal due: {}", render::local_time(due)));
    }
    output.line(match status.maintained {
        Some(at) => format!("maintained: {} from this machine", render::local_time(at)),
        None => "maintained: never from this machine".to_owned(),
    });
    output.line(if status.protected_longer > 0 {
        format!(
            "snapshots:  {}, {} of them protected for longer by a class of the policy",
            status.snapshots, status.protected_longer
        )
    } else {
        format!("snapshots:  {}", status.snapshots)
    });
    let space = status.space;
    let show = |tally: Tally| render::bytes(tally.bytes);
    output.line(format!(
        "space:      {} live, {} retired and still kept, {} unneeded and still locked, {} junk",
        show(space.live),
        show(space.retired),
        show(space.locked),
        show(space.junk)
    ));
    let mut rows = Vec::new();
    for (source, backup) in &status.last {
        rows.push(vec![
            format!("  {}", paths::display(source.host.as_bytes())),
            format!("by {}", paths::display(source.writer.as_bytes())),
            render::local_time(backup.received),
            backup.snapshot.clone(),
        ]);
    }
    if !rows.is_empty() {
        output.line("last backups:");
        for row in render::table(&rows) {
            output.line(row);
        }
    }
    for warning in &status.warnings {
        output.line(format!("warning: {}", warning.text));
    }
}

fn protection(status: &Status) -> String {
    match (status.lock, status.protected_until) {
        (LockStrategy::None, _) => {
            "none: damage is found, not prevented; not protected from who can write here".to_owned()
        }
        (LockStrategy::Hide, _) => "hidden objects stay for the bucket's days; no dates".to_owned(),
        (LockStrategy::Attribute, _) => "the guard's, on the store's machine; no dates".to_owned(),
        (LockStrategy::Compliance | LockStrategy::Governance | LockStrategy::Hold, until) => {
            match until {
                Some(until) => format!("until {}", render::local_time(until)),
                None => "NOT PROTECTED: something that is needed is not locked".to_owned(),
            }
        }
    }
}
