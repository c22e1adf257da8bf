//! `dolmen check`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use dolmen_core::check::{self, Observer, Options, Progress, ReadData, Report};
use dolmen_core::{Finding, own};
use dolmen_state::Instance;
use serde_json::{Value, json};

use super::App;
use super::select::AtArgs;
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Duty, Opened, open};
use crate::output::Output;
use crate::progress::{Shown, Status, Watched, seconds_left, share};
use crate::render;
use crate::units::{parse_percent, parse_size};

/// How thoroughly.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Read and verify all data, too
    #[arg(long, conflicts_with = "read_data_subset")]
    read_data: bool,
    /// Read and verify a part: the n-th of t parts, a share, or as much as SIZE
    #[arg(long, value_name = "N/T|X%|SIZE", value_parser = parse_subset)]
    read_data_subset: Option<ReadData>,
    /// Attest the packs that were read and are whole: other machines, and this one should it lose its state, may build upon
    /// them. Without another choice it reads those that snapshots rely on and nobody has attested
    #[arg(long, conflicts_with = "at")]
    attest: bool,
    #[command(flatten)]
    at: AtArgs,
}

/// Reads `2/5`, `10%` or `5GiB`.
pub(super) fn parse_subset(text: &str) -> Result<ReadData, String> {
    let wrong = || format!("`{text}` is no part; write it as 1/5, 10% or 5GiB");
    if let Some((n, t)) = text.split_once('/') {
        let n: u64 = n.trim().parse().map_err(|_error| wrong())?;
        let t: u64 = t.trim().parse().map_err(|_error| wrong())?;
        return if n >= 1 && n <= t {
            Ok(ReadData::Part { n, t })
        } else {
            Err(wrong())
        };
    }
    if text.ends_with('%') {
        return parse_percent(text).map(ReadData::Percent).ok_or_else(wrong);
    }
    parse_size(text)
        .ok()
        .filter(|bytes| *bytes > 0)
        .map(ReadData::Bytes)
        .ok_or_else(wrong)
}

/// Verifies the repository.
pub(super) fn run(app: &App, args: &CheckArgs) -> Outcome {
    dolmen_fs::raise_open_files_limit();
    let at = args.at.time(app)?;
    let opened = open(app, Duty::Read)?;
    let mut instance = opened.claim_instance()?;
    let read_data = match args.read_data_subset {
        Some(subset) => subset,
        None if args.read_data => ReadData::All,
        None if args.attest => ReadData::Unattested,
        None => ReadData::None,
    };
    let options = Options {
        read_data,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        cache: opened.index_cache(),
        remembered: opened.remembered()?,
        at,
    };
    let progress = Arc::new(Progress::default());
    let told = Arc::clone(&progress);
    app.interrupt
        .tell(move || told.cancel.store(true, Ordering::Relaxed));
    let reported = Reported(Arc::clone(&app.output));
    let shown = Shown::new(&app.output, Arc::new(Watch(Arc::clone(&progress))));
    let outcome = check::run(&opened.repository, &options, &reported, &progress);
    drop(shown);
    let report = outcome.during(&format!("cannot check {}", opened.address))?;
    if args.attest {
        attest(app, &opened, &mut instance, &report)?;
    }
    print(app, args.attest, &report);
    opened.warn_of_oddities(app);
    Ok(if report.findings.is_empty() {
        Exit::Done
    } else if report.is_unread {
        Exit::Failed
    } else {
        Exit::Damage
    })
}

/// Attests what was found to be whole.
fn attest(app: &App, opened: &Opened, instance: &mut Instance, report: &Report) -> Outcome<()> {
    let tried = format!("cannot attest packs in {}", opened.address);
    let list = opened.load_snapshots(app)?;
    let notice = |text: &str| app.output.notice(text);
    own::settle(&opened.repository, instance, &list, &notice).during(&tried)?;
    check::attest(&opened.repository, instance, &report.attestable).during(&tried)
}

/// Says what is wrong as soon as it is found.
#[derive(Debug)]
pub(super) struct Reported(pub(super) Arc<Output>);

impl Observer for Reported {
    fn finding(&self, finding: &Finding) {
        if self.0.is_json() {
            self.0.err_json(&json!({
                "message_type": "error",
                "message": finding.to_string(),
                "subject": finding.subject,
                "problem": finding.problem,
            }));
        } else {
            self.0
                .item_error(&finding.subject, "check", &finding.problem);
        }
    }

    fn notice(&self, text: &str) {
        self.0.notice(text);
    }
}

fn print(app: &App, is_attested: bool, report: &Report) {
    let output = &app.output;
    let attested = report.attestable.len();
    let attested = u64::try_from(attested).unwrap_or(u64::MAX) * u64::from(is_attested);
    let errors = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
    if output.is_json() {
        let broken: Vec<_> = report
            .broken_packs
            .iter()
            .map(ToString::to_string)
            .collect();
        output.json(&json!({
            "message_type": "summary",
            "num_errors": errors,
            "broken_packs": broken,
            "suggest_repair_index": report.suggest_repair_index,
            "suggest_prune": false,
            "snapshots": report.snapshots,
            "snapshots_damaged": report.snapshots_damaged,
            "packs_attested": attested,
            "packs_read": report.packs_read,
            "bytes_read": report.bytes_read,
        }));
        return;
    }
    if output.is_quiet() {
        return;
    }
    let read = match report.packs_read {
        0 => "data not read (--read-data reads it)".to_owned(),
        packs => {
            let packs = render::count(packs, "pack");
            format!(
                "{packs} read and verified ({})",
                render::bytes(report.bytes_read)
            )
        }
    };
    output.line(format!(
        "{} checked, {read}",
        render::count(report.snapshots, "snapshot")
    ));
    if is_attested {
        let packs = render::count(attested, "pack");
        output.line(format!("{packs} attested, besides those attested before"));
    }
    if report.findings.is_empty() {
        output.line("no damage found");
        return;
    }
    output.line(format!(
        "{} found, {} damaged",
        render::count(errors, "problem"),
        render::count(report.snapshots_damaged, "snapshot")
    ));
    if report.is_unread {
        output.notice(
            "hint: permission to read is missing, so that it is not known what is damaged: run dolmen check as a user who may \
             read the whole repository",
        );
        return;
    }
    if report.suggest_repair_index {
        output.notice("hint: dolmen repair index rebuilds the index from the packs");
    }
    if report.snapshots_damaged > 0 {
        output.notice(
            "hint: dolmen restore gives back all that is whole; a new backup stores again what it still finds",
        );
    }
}

/// Tells how far a check is.
#[derive(Debug)]
struct Watch(Arc<Progress>);

impl Watched for Watch {
    fn status(&self) -> Status {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let total = get(&self.0.total_packs);
        Status {
            items: get(&self.0.packs),
            total_items: (total > 0).then_some(total),
            bytes: get(&self.0.bytes),
            total_bytes: None,
        }
    }

    fn noun(&self) -> &'static str {
        "pack"
    }

    fn message(&self, elapsed: Duration, status: Status) -> Value {
        json!({
            "message_type": "status",
            "seconds_elapsed": elapsed.as_secs(),
            "seconds_remaining": seconds_left(elapsed, status).unwrap_or(0),
            "percent_done": share(status).unwrap_or(0.0),
            "total_packs": status.total_items.unwrap_or(0),
            "packs_done": status.items,
            "bytes_done": status.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_a_part_a_share_or_a_size() {
        assert!(matches!(
            parse_subset("2/5"),
            Ok(ReadData::Part { n: 2, t: 5 })
        ));
        assert!(
            matches!(parse_subset("2.5%"), Ok(ReadData::Percent(share)) if (2.4..2.6).contains(&share))
        );
        assert!(matches!(parse_subset("5GiB"), Ok(ReadData::Bytes(bytes)) if bytes == 5 << 30));
        for text in ["0/5", "6/5", "a/5", "1/", "0%", "200%", "0", "x"] {
            let wrong = format!("`{text}` is no part; write it as 1/5, 10% or 5GiB");
            assert_eq!(parse_subset(text).err(), Some(wrong), "{text}");
        }
    }
}
