//! Runs worlds, one seed after the other, until the time is over or something does not hold.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use dolmen_sim::attack::Attack;
use dolmen_sim::{Failure, Mutation, Options, Tally, World};

/// Worlds from seeds: clients, a maintainer and an attacker, and what must hold after every step.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// No world is begun after so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Steps in each world.
    #[arg(long, default_value_t = 40)]
    steps: u64,
    /// Tells what happens.
    #[arg(long)]
    verbose: bool,
    /// Goes on after a violation.
    #[arg(long)]
    keep_going: bool,
    /// Makes Dolmen err: the number of a mutation, from 0.
    #[arg(long)]
    mutation: Option<usize>,
    /// Half of the steps are attacks, several at once, each kind in its turn.
    #[arg(long)]
    siege: bool,
    /// The world in which a mutation shows, without it: its number.
    #[arg(long, conflicts_with = "mutation")]
    stage: Option<usize>,
}

/// The sums over all worlds.
#[derive(Debug, Default)]
struct Sums {
    seeds: u64,
    steps: u64,
    restored: u64,
    deleted: u64,
    violations: u64,
    attacks: BTreeMap<Attack, u64>,
}

impl Sums {
    fn add(&mut self, tally: &Tally) {
        self.seeds += 1;
        self.steps += tally.steps;
        self.restored += tally.restored;
        self.deleted += tally.deleted;
        for (attack, count) in &tally.attacks {
            *self.attacks.entry(*attack).or_default() += count;
        }
    }
}

#[expect(clippy::print_stdout, reason = "the binary talks")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let mut sums = Sums::default();
    let mut seed = arguments.seed;
    loop {
        if let Err(failure) = run(seed, &arguments, &mut sums) {
            sums.violations += 1;
            println!("seed {seed}: {failure}");
            println!(
                "replay: cargo run --release -p dolmen-sim -- --seed {seed} --seconds 0 --steps {} --verbose",
                arguments.steps
            );
            if !arguments.keep_going {
                break;
            }
        }
        if began.elapsed() >= Duration::from_secs(arguments.seconds) {
            break;
        }
        seed = seed.wrapping_add(1);
    }
    for (attack, count) in &sums.attacks {
        println!("{attack}: {count}");
    }
    println!(
        "snapshots restored: {}; objects pruned: {}",
        sums.restored, sums.deleted
    );
    let attacks: u64 = sums.attacks.values().sum();
    println!(
        "seeds {} · steps {} · attacks {attacks} · violations {}",
        sums.seeds, sums.steps, sums.violations
    );
    ExitCode::from(u8::from(sums.violations > 0))
}

#[expect(clippy::print_stdout, reason = "the binary talks")]
fn run(seed: u64, arguments: &Arguments, sums: &mut Sums) -> Result<(), Failure> {
    let numbered = |number: usize| Mutation::ALL.get(number).copied();
    let mutation = arguments.mutation.and_then(numbered);
    let options = Options {
        stage: mutation.or_else(|| arguments.stage.and_then(numbered)),
        mutation,
        is_siege: arguments.siege,
    };
    let mut world = World::new(seed, &options)?;
    let ran = world.run(arguments.steps);
    sums.add(&world.tally);
    if arguments.verbose {
        for line in &world.log {
            println!("{line}");
        }
    }
    if ran.is_err() {
        println!("step {}", world.tally.steps);
    }
    ran
}
