//! `dolmen cost`

mod measured;
mod show;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use measured::Measured;

use super::App;
use crate::cost::{
    Change, CostError, FILE_BYTES_MAX, Plan, Prices, Provider, Size, bills, parse_change,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::units::{DAY, Seconds, parse_duration, parse_size};

/// What to work out.
#[derive(Debug, Args)]
pub(crate) struct CostArgs {
    /// Whose prices: aws, aws-ia, b2, b2-s3, wasabi, minio, or one of --prices
    #[arg(long, value_name = "NAME", default_value = "aws")]
    provider: String,
    /// Of a repository that is planned: what its live snapshots will need, compressed and each byte once
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// How much of that is replaced, as 1%/d or 50GB/w [default: 0.5%/d, or what this repository shows]
    #[arg(long, value_name = "CHANGE", value_parser = parse_change)]
    change: Option<Change>,
    /// The protection period [default: 30d, or this repository's]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    protect: Option<Seconds>,
    /// Show this generation; may be given several times [default: 7d, 14d, 30d, as far as they fit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    generation: Vec<Seconds>,
    /// How often maintenance runs [default: a quarter of the generation, at most 1d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Seconds>,
    /// Take prices from a file in the form of the built-in ones (docs/cost.md); they stand in for those of the same names
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
}

impl CostArgs {
    fn generations(&self) -> Vec<u64> {
        self.generation.iter().map(|time| time.0).collect()
    }
}

/// The protection period of a plan that names none.
const PROTECT_SECONDS: u64 = 30 * DAY;
/// The change of a plan that names none.
const CHANGE: &str = "0.5%/d";

/// Prints the bill.
pub(super) fn run(app: &App, args: &CostArgs) -> Outcome {
    if args.size == Some(0) {
        return Err(Failure::usage(
            "a repository of no size costs nothing; name a --size",
        ));
    }
    let mut prices = Prices::built_in()?;
    if let Some(file) = &args.prices {
        let shown = file.display().to_string();
        prices.take(&read(file)?, &shown)?;
    }
    let provider = prices.of(&args.provider)?;
    let plan = if let Some(bytes) = args.size {
        planned(args, bytes, provider)?
    } else {
        let measured = measured::measure(app)?;
        measured.tell(app, args.change.is_some());
        of_repository(args, &measured, provider)
    };
    let bill = bills(&plan)?;
    if app.output.is_json() {
        app.output.json(&show::document(&args.provider, &bill));
    } else {
        for line in show::text(&plan, &bill) {
            app.output.line(line);
        }
    }
    Ok(Exit::Done)
}

/// A repository of so many bytes, with the usual numbers where the flags say nothing.
fn planned<'a>(args: &CostArgs, bytes: u64, provider: &'a Provider) -> Outcome<Plan<'a>> {
    let change = args.change.map_or_else(|| parse_change(CHANGE), Ok);
    Ok(Plan {
        provider,
        size: Size::in_packs(bytes),
        change: change.map_err(Failure::usage)?,
        protect_seconds: args.protect.map_or(PROTECT_SECONDS, |time| time.0),
        interval_seconds: args.every.map(|time| time.0),
        generations: args.generations(),
    })
}

/// The repository as it is, but for what the flags say.
fn of_repository<'a>(args: &CostArgs, measured: &Measured, provider: &'a Provider) -> Plan<'a> {
    let mut generations = args.generations();
    // Its own numbers hang together; with another protection period they need not.
    let own = measured.terms.filter(|_| args.protect.is_none());
    if generations.is_empty() {
        generations.extend(own.map(|terms| terms.generation_seconds()));
    }
    let protect = own.map_or(PROTECT_SECONDS, |terms| terms.protect_seconds());
    Plan {
        provider,
        size: measured.size,
        change: args.change.unwrap_or(measured.change),
        protect_seconds: args.protect.map_or(protect, |time| time.0),
        interval_seconds: match args.every {
            Some(time) => Some(time.0),
            None => own.map(|terms| terms.interval_seconds()),
        },
        generations,
    }
}

impl From<CostError> for Failure {
    /// All of them come from what was asked for.
    fn from(error: CostError) -> Self {
        Self::usage(error.to_string())
    }
}

fn read(file: &Path) -> Outcome<Vec<u8>> {
    let fail = |error: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "cannot use the prices in {}: {error}",
            file.display()
        ))
    };
    let mut body = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut body))
        .map_err(|error| fail(&error))?;
    if u64::try_from(body.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(fail(&"it is larger than 1 MiB"));
    }
    Ok(body)
}
