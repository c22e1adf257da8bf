//! Explores configurations and prints what was found.
//!
//! `dolmen-model [--short 1] [--threads N] [--seconds N] [--only N]`: those alone that are explored at every change; a bound
//! of time for each configuration; the number of the only one.

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
    let wanted = Wanted {
        is_short: number("--short").is_some_and(|short| short > 0),
        threads: number("--threads").map_or(2, |threads| usize::try_from(threads).unwrap_or(2)),
        timeout: Duration::from_secs(number("--seconds").unwrap_or(3600)),
        only: number("--only").and_then(|only| usize::try_from(only).ok()),
    };
    match run(&wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

struct Wanted {
    /// Leave out what takes minutes.
    is_short: bool,
    threads: usize,
    /// For each configuration.
    timeout: Duration,
    /// Of all configurations the one with this number.
    only: Option<usize>,
}

fn run(wanted: &Wanted) -> Result<bool, Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    let mut configs = Config::short()?;
    if !wanted.is_short {
        configs.extend(Config::long()?);
    }
    let (begun, mut holds, mut states, mut count) = (Instant::now(), true, 0_usize, 0_usize);
    for (number, config) in configs.into_iter().enumerate() {
        if wanted.only.is_some_and(|only| only != number) {
            continue;
        }
        let outcome = explore(config, wanted.threads, wanted.timeout);
        writeln!(out, "{outcome}")?;
        out.flush()?;
        holds &= outcome.holds();
        states = states.saturating_add(outcome.states);
        count = count.saturating_add(1);
    }
    let memory = peak_mebibytes().map_or_else(String::new, |peak| format!(", {peak} MiB at most"));
    writeln!(
        out,
        "{count} configurations, 2 packs, any number of ticks, clients, crashes and attacks: {states} states in {:.1} s{memory}; {}",
        begun.elapsed().as_secs_f64(),
        if holds { "all hold" } else { "NOT all hold" }
    )?;
    Ok(holds)
}

/// The most memory that this process has had, where the system tells.
fn peak_mebibytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.div_ceil(1024))
}
