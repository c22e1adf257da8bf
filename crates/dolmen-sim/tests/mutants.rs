//! Each invariant can fail: where Dolmen is made to err, a seed notices.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not count among them"
)]

use dolmen_sim::{Failure, Mutation, Options, World};

/// Seeds that are tried for each mutant.
const SEEDS: u64 = 40;
/// Steps of each world.
const STEPS: u64 = 40;

fn is_killed(mutation: Mutation) -> bool {
    let options = Options {
        mutation: Some(mutation),
        ..Options::default()
    };
    (1..=SEEDS).any(|seed| {
        let mut world = World::new(seed, &options).expect("the world begins");
        match world.run(STEPS) {
            Ok(()) => false,
            Err(Failure::Violation(violation)) => {
                println!("{mutation:?} is noticed in seed {seed}: {violation}");
                true
            }
            Err(Failure::Sim(error)) => panic!("seed {seed}: {error}"),
        }
    })
}

#[test]
fn whoever_trusts_the_plain_view_is_noticed() {
    assert!(is_killed(Mutation::TrustLatest));
}

#[test]
fn whoever_prunes_by_the_client_clock_is_noticed() {
    assert!(is_killed(Mutation::PruneByClientClock));
}

#[test]
fn whoever_takes_absence_for_death_is_noticed() {
    assert!(is_killed(Mutation::AbsenceIsDeath));
}
