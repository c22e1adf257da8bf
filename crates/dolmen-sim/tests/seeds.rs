//! Worlds in which everything must hold: some that are always the same, and one that nobody saw before.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not count among them"
)]

use std::collections::BTreeSet;

use dolmen_format::ledger::LockStrategy;
use dolmen_sim::attack::Attack;
use dolmen_sim::theft::Stolen;
use dolmen_sim::{Failure, Options, Tally, World};

/// Steps of each world here.
const STEPS: u64 = 18;
/// Worlds where nothing is locked.
const UNLOCKED: [u64; 5] = [3, 8, 13, 14, 18];
/// Worlds where locks keep what lives.
const LOCKED: [u64; 8] = [5, 7, 11, 15, 17, 19, 51, 57];
/// Worlds where holds do.
const HELD: [u64; 4] = [4, 12, 22, 102];
/// Worlds where the bucket deletes what is hidden.
const HIDING: [u64; 4] = [6, 10, 21, 40_150];
/// Worlds of which attackers of three kinds try all that they can.
const BESIEGED: [u64; 3] = [27, 12, 11];

fn run(seed: u64) -> World {
    run_with(seed, Options::default())
}

fn run_with(seed: u64, options: Options) -> World {
    let mut world = World::new(seed, &options).expect("the world begins");
    let ran = world.run(STEPS);
    if let Err(failure) = ran {
        for line in &world.log {
            println!("{line}");
        }
        let siege = if options.is_siege { " --siege" } else { "" };
        println!(
            "cargo run --release -p dolmen-sim -- --seed {seed} --seconds 0 --steps {STEPS}{siege} --verbose"
        );
        panic!("seed {seed}: {failure}");
    }
    world
}

/// What happened in the worlds of some seeds.
fn run_all(seeds: impl IntoIterator<Item = u64>) {
    let worlds: Vec<_> = seeds.into_iter().map(run).collect();
    let tallies: Vec<&Tally> = worlds.iter().map(|world| &world.tally).collect();
    let restored: u64 = tallies.iter().map(|tally| tally.restored).sum();
    let deleted: u64 = tallies.iter().map(|tally| tally.deleted).sum();
    assert!(restored > 100, "{restored} snapshots were restored");
    assert!(deleted > 50, "{deleted} objects were pruned");
}

#[test]
fn everything_holds_where_nothing_is_locked() {
    run_all(UNLOCKED);
}

#[test]
fn everything_holds_where_locks_keep_what_lives() {
    run_all(LOCKED);
}

#[test]
fn everything_holds_where_holds_keep_what_lives() {
    run_all(HELD);
}

#[test]
fn everything_holds_where_the_bucket_deletes_what_is_hidden() {
    run_all(HIDING);
}

#[test]
fn everything_holds_whatever_is_tried() {
    let options = Options {
        is_siege: true,
        ..Options::default()
    };
    let mut tried = BTreeSet::new();
    for seed in BESIEGED {
        let world = run_with(seed, options);
        tried.extend(world.tally.attacks.into_keys());
    }
    for attack in Attack::all() {
        assert!(tried.contains(&attack), "{attack}");
    }
}

#[test]
fn the_seeds_make_worlds_of_every_kind() {
    let all = UNLOCKED.iter().chain(&LOCKED).chain(&HELD).chain(&HIDING);
    let kind = |seed: &u64| {
        World::new(*seed, &Options::default())
            .expect("it begins")
            .kind()
    };
    let kinds: Vec<_> = all.map(kind).collect();
    for lock in [
        LockStrategy::None,
        LockStrategy::Compliance,
        LockStrategy::Governance,
        LockStrategy::Hold,
        LockStrategy::Hide,
    ] {
        assert!(kinds.iter().any(|kind| kind.0 == lock), "{lock:?}");
    }
    for stolen in [
        None,
        Some(Stolen::ClientKey),
        Some(Stolen::Passphrase),
        Some(Stolen::BackupKey),
        Some(Stolen::RenewerKey),
        Some(Stolen::PrunerKey),
        Some(Stolen::AllButTheAccount),
        Some(Stolen::Breaker),
    ] {
        assert!(kinds.iter().any(|kind| kind.1 == stolen), "{stolen:?}");
    }
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
