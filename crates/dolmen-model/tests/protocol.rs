//! The protocol holds, and no rule of it can be left out.

use std::time::Duration;

use dolmen_model::{Config, Horizon, Mutation, explore};

/// Longer than any exploration takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The configuration in which it shows soonest what a rule is for, by its name.
fn shown_in(mutation: Mutation) -> &'static str {
    match mutation {
        Mutation::DropCommitRule | Mutation::CommitBeforePut | Mutation::UndoWithoutExtending => {
            "locks, maintenance may be dead"
        }
        Mutation::ProtectFromStartOfSecond => "locks, coarse clock, maintenance may be dead",
        Mutation::RenewTooRarely | Mutation::ForgetMargin | Mutation::RenewPacksOnly => "locks",
        Mutation::CommitByLocalClock | Mutation::ForgetOwnLock | Mutation::RenewByLocalClock => {
            "locks, generation 2, clocks apart"
        }
        Mutation::ExtendLatest | Mutation::AbsenceIsDeath | Mutation::CheckpointEndsSnapshot => {
            "locks, client key stolen"
        }
        Mutation::TrustLatest | Mutation::PresentIsLocked => {
            "locks, client key stolen, maintenance may be dead"
        }
        Mutation::PruneByLocalClock | Mutation::ForgetDelay => {
            "no locks, δ of 2, maintenance's clock ahead"
        }
        Mutation::StaleListing
        | Mutation::ForgetCheckpoints
        | Mutation::LeaseFromReceipt
        | Mutation::UndoWithoutDeadline
        | Mutation::ReuseUnneeded
        | Mutation::OwnPacksNeverLapse
        | Mutation::ReuseThroughLate
        | Mutation::SignNoListing => "no locks",
    }
}

#[test]
fn every_mutation_is_caught() {
    let configs = [Config::short().unwrap(), Config::long().unwrap()].concat();
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let name = shown_in(mutation);
        let sound = configs.iter().find(|config| config.name == name).unwrap();
        let config = sound.breaking(mutation);
        let found = explore(config, 2, PATIENCE);
        println!("{mutation:?}: {found}");
        if found.violations.is_empty() {
            missed.push(mutation);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn the_protocol_holds_in_every_state() {
    for config in Config::short().unwrap() {
        let outcome = explore(config, 2, PATIENCE);
        println!("{outcome}");
        assert!(outcome.holds(), "{outcome}");
    }
}

/// DESIGN §1 says "no object that a live snapshot needs ever has less than L left". From the commit to the next renewal
/// it may: the commit rule asks for L at that moment and the margin is not in it.
#[test]
fn between_commit_and_renewal_less_than_a_protection_period_may_be_left() {
    let config = Config {
        horizon: Horizon::Always,
        ..Config::short().unwrap()[0]
    };
    let found = explore(config, 2, PATIENCE);
    println!("{found}");
    assert_eq!(found.violations.len(), 1);
}
