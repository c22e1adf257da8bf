//! The protocol holds within the bounds, and no rule of it can be left out.

use std::time::Duration;

use dolmen_model::{Config, Horizon, Mutation, Outcome, explore, refute};

/// Some configuration in which it shows what a rule is for, the quickest first.
fn refutation(mutation: Mutation, mut configs: Vec<Config>) -> Option<Outcome> {
    configs.sort_by_key(|config| match mutation {
        Mutation::PruneByLocalClock | Mutation::ForgetDelay => !config.name.contains("δ"),
        Mutation::ForgetOwnLock | Mutation::RenewByLocalClock => !config.name.contains("apart"),
        Mutation::TrustLatest => !config.name.contains("client key stolen, maintenance"),
        Mutation::ExtendLatest | Mutation::AbsenceIsDeath | Mutation::CheckpointEndsSnapshot => {
            config.name != "locks, client key stolen"
        }
        Mutation::UndoWithoutDeadline | Mutation::StaleListing => {
            config.name != "no locks, forget and undo"
        }
        Mutation::ReuseUnneeded
        | Mutation::OwnPacksNeverLapse
        | Mutation::ReuseThroughLate
        | Mutation::SignNoListing => config.name != "no locks, two clients and a crash",
        Mutation::DropCommitRule
        | Mutation::CommitBeforePut
        | Mutation::UndoWithoutExtending
        | Mutation::RenewTooRarely
        | Mutation::ForgetMargin => config.name != "locks, forget and undo",
    });
    let config = configs.swap_remove(0);
    let outcome = refute(config.breaking(mutation), 2, Duration::from_secs(60));
    (!outcome.violations.is_empty()).then_some(outcome)
}

#[test]
fn every_mutation_is_caught() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        match refutation(mutation, Config::all().unwrap()) {
            Some(found) => println!("{mutation:?}: {found}"),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn the_protocol_holds_within_the_bounds() {
    for config in Config::all().unwrap() {
        let outcome = explore(config, 2, Duration::from_secs(120));
        println!("{outcome}");
        assert!(outcome.violations.is_empty(), "{outcome}");
        assert!(outcome.is_complete, "{outcome}");
    }
}

/// DESIGN §1 says "no object that a live snapshot needs ever has less than L left". From the commit to the next renewal
/// it may: the commit rule asks for L at that moment and the margin is not in it.
#[test]
fn between_commit_and_renewal_less_than_a_protection_period_may_be_left() {
    let config = Config::all().unwrap().swap_remove(2);
    let config = Config {
        horizon: Horizon::Always,
        ..config
    };
    let found = refute(config, 2, Duration::from_secs(20));
    println!("{found}");
    assert_eq!(found.violations.len(), 1);
}
