//! Worlds in which everything must hold: some that are always the same, and one that nobody saw before.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not count among them"
)]

use dolmen_sim::{Failure, Options, Tally, World};

/// Steps of each world here.
const STEPS: u64 = 30;

fn run(seed: u64) -> Tally {
    let mut world = World::new(seed, &Options::default()).expect("the world begins");
    let ran = world.run(STEPS);
    if let Err(failure) = ran {
        for line in &world.log {
            println!("{line}");
        }
        println!(
            "cargo run --release -p dolmen-sim -- --seed {seed} --seconds 0 --steps {STEPS} --verbose"
        );
        panic!("seed {seed}: {failure}");
    }
    world.tally
}

/// What happened in the worlds of some seeds.
fn run_all(seeds: impl IntoIterator<Item = u64>) {
    let tallies: Vec<_> = seeds.into_iter().map(run).collect();
    let restored: u64 = tallies.iter().map(|tally| tally.restored).sum();
    let deleted: u64 = tallies.iter().map(|tally| tally.deleted).sum();
    let attacks: u64 = tallies
        .iter()
        .flat_map(|tally| tally.attacks.values())
        .sum();
    assert!(restored > 100, "{restored} snapshots were restored");
    assert!(deleted > 50, "{deleted} objects were pruned");
    assert!(attacks > 10, "{attacks} attacks");
}

#[test]
fn everything_holds_in_the_worlds_of_these_seeds() {
    run_all(1..=5);
}

#[test]
fn everything_holds_in_the_worlds_of_the_next_seeds() {
    run_all(6..=10);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a seed that nobody saw before")]
fn everything_holds_in_a_world_that_nobody_saw_before() {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = since.expect("it is later than 1970").as_secs();
    println!("seed {seed}");
    run(seed);
}

#[test]
fn a_failure_of_the_world_is_no_violation() {
    let failure = Failure::from(std::io::Error::other("disk"));
    assert!(matches!(failure, Failure::Sim(_)));
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    for seed in [2, 4, 5] {
        let [first, second] = [(), ()].map(|()| {
            let mut world = World::new(seed, &Options::default()).expect("the world begins");
            world.run(12).expect("everything holds");
            (world.log.clone(), world.content().expect("it is listed"))
        });
        for (first, second) in first.0.iter().zip(&second.0) {
            assert_eq!(first, second, "seed {seed}");
        }
        assert!(first == second, "seed {seed}: the stores differ");
    }
}
