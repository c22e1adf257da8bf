//! Explores every configuration and prints what was found.
//!
//! `dolmen-model [--ticks N] [--threads N] [--seconds N] [--only N]`: a bound of time for each configuration, and the
//! number of the only one. Each tick more takes some two to three times as long.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dolmen_model::{Config, explore};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let mut pairs = arguments.windows(2);
        pairs.find_map(|pair| match pair {
            [key, value] if key == name => value.parse::<u64>().ok(),
            _ => None,
        })
    };
    let threads = number("--threads").and_then(|threads| usize::try_from(threads).ok());
    // Of all configurations the one with this number.
    let seconds = number("--seconds").unwrap_or(3600);
    let only = number("--only").and_then(|only| usize::try_from(only).ok());
    match run(
        threads.unwrap_or(2),
        Duration::from_secs(seconds),
        only,
    ) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn run(
    threads: usize,
    timeout: Duration,
    only: Option<usize>,
) -> Result<bool, Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    let (begun, mut holds, mut states) = (Instant::now(), true, 0_usize);
    for (number, config) in Config::all()?.into_iter().enumerate() {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let outcome = explore(config, threads, timeout);
        writeln!(out, "{outcome}")?;
        out.flush()?;
        holds &= outcome.is_complete && outcome.never.is_empty();
        states = states.saturating_add(outcome.states);
    }
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(
        out,
        "{states} states in {seconds:.1} s; {}",
        if holds { "all hold" } else { "NOT all hold" }
    )?;
    Ok(holds)
}
