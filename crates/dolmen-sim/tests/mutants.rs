//! Each invariant can fail: where Dolmen is made to err, a seed notices, and the same world holds where it is not.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not count among them"
)]

use dolmen_sim::invariants::Invariant;
use dolmen_sim::{Failure, Mutation, Options, World};

/// Runs a world until a mutation is noticed there, and the same without it for as many steps.
fn is_noticed(mutation: Mutation, seed: u64, by: Invariant) {
    let mut options = Options {
        stage: Some(mutation),
        mutation: Some(mutation),
        is_siege: false,
    };
    let mut world = World::new(seed, &options).expect("the world begins");
    let violation = match world.run(STEPS) {
        Ok(()) => panic!("{mutation:?} is not noticed in seed {seed}"),
        Err(Failure::Violation(violation)) => violation,
        Err(Failure::Sim(error)) => panic!("seed {seed}: {error}"),
    };
    println!("{mutation:?} is noticed in seed {seed}: {violation}");
    assert_eq!(violation.invariant, by, "{violation}");
    options.mutation = None;
    let mut control = World::new(seed, &options).expect("the world begins");
    if world.tally.steps == STEPS {
        control.run(STEPS).expect("everything holds without it");
    }
    while control.tally.steps < world.tally.steps {
        control.step().expect("everything holds without it");
    }
}

/// Steps of each world, before its end.
const STEPS: u64 = 40;
#[test]
fn whoever_trusts_the_plain_view_is_noticed() {
    is_noticed(
        Mutation::TrustLatest,
        1,
        Invariant::PromisedSnapshotsRestore,
    );
}

#[test]
fn whoever_prunes_by_the_client_clock_is_noticed() {
    is_noticed(
        Mutation::PruneByClientClock,
        1,
        Invariant::NothingNeededIsGone,
    );
}

#[test]
fn whoever_takes_absence_for_death_is_noticed() {
    is_noticed(Mutation::AbsenceIsDeath, 1, Invariant::NothingNeededIsGone);
}

#[test]
fn whoever_drops_the_commit_rule_is_noticed() {
    is_noticed(
        Mutation::DropTheCommitRule,
        1,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_decides_before_the_put_is_noticed() {
    is_noticed(
        Mutation::DecideBeforeThePut,
        2,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_extends_without_the_version_is_noticed() {
    is_noticed(
        Mutation::ExtendWithoutVersion,
        1,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_lets_the_first_claim_pick_the_version_is_noticed() {
    is_noticed(
        Mutation::FirstClaimPicksTheVersion,
        1,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_lets_a_witness_backdate_is_noticed() {
    is_noticed(
        Mutation::WitnessBackdates,
        2,
        Invariant::NothingNeededIsGone,
    );
}

#[test]
fn whoever_lets_a_number_void_an_object_is_noticed() {
    is_noticed(
        Mutation::NumberVoidsObjects,
        1,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_ends_a_life_by_a_planted_checkpoint_is_noticed() {
    is_noticed(
        Mutation::CheckpointEndsLives,
        1,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_forgets_standing_objects_is_noticed() {
    is_noticed(
        Mutation::ForgetStandingObjects,
        1,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_takes_a_twin_encoding_for_another_record_is_noticed() {
    is_noticed(
        Mutation::AcceptTwinEncodings,
        7,
        Invariant::NothingNeededIsGone,
    );
}

#[test]
fn whoever_undoes_without_extending_is_noticed() {
    is_noticed(
        Mutation::UndoWithoutExtending,
        2,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_counts_planted_snapshots_is_noticed() {
    is_noticed(Mutation::CountPlanted, 2, Invariant::RulesKeepTheirNumber);
}

#[test]
fn whoever_believes_a_move_is_noticed() {
    is_noticed(Mutation::BelieveMoves, 1, Invariant::NothingNeededIsGone);
}

#[test]
fn whoever_lifts_a_hold_before_extending_is_noticed() {
    is_noticed(
        Mutation::LiftBeforeExtending,
        8,
        Invariant::EverythingNeededIsLocked,
    );
}

#[test]
fn whoever_takes_what_is_hidden_for_dead_is_noticed() {
    is_noticed(
        Mutation::HiddenIsDead,
        1,
        Invariant::EverythingNeededIsLocked,
    );
}
