//! What the protocol costs, in requests.

use std::collections::BTreeMap;

use dolmen_store::Operation;

use super::world::{Client, DAY, World};

const HOME: Client = Client("home");

/// A world with `snapshots` snapshots of some files.
fn with_snapshots(snapshots: u64) -> World {
    let world = World::locked();
    for seed in 0..snapshots {
        world.write(HOME, &format!("file {seed}"), seed, 100_000);
        world.backup(HOME);
    }
    world
}

fn of(counts: &BTreeMap<Operation, u64>, operation: Operation) -> u64 {
    counts.get(&operation).copied().unwrap_or(0)
}

#[test]
fn an_unchanged_backup_puts_one_object_and_asks_for_no_lock() {
    let world = with_snapshots(3);
    let counts = world.count(|| world.backup(HOME));
    assert_eq!(of(&counts, Operation::Put), 1, "{counts:?}");
    for operation in [
        Operation::Extend,
        Operation::LockOf,
        Operation::Hold,
        Operation::Hide,
        Operation::DeleteVersion,
    ] {
        assert_eq!(of(&counts, operation), 0, "{operation}: {counts:?}");
    }
}

#[test]
fn a_small_backup_puts_three_objects_or_four() {
    let world = with_snapshots(3);
    world.write(HOME, "one more", 99, 50_000);
    let counts = world.count(|| world.backup(HOME));
    // Pack, segment, snapshot; a second pack where the tree is written while the first is still being filled.
    let puts = of(&counts, Operation::Put);
    assert!((3..=4).contains(&puts), "{counts:?}");
    assert_eq!(of(&counts, Operation::Extend), 0, "{counts:?}");
}

#[test]
fn a_renewal_of_what_is_not_due_asks_for_nothing_but_listings_and_what_it_reads() {
    let world = with_snapshots(3);
    let counts = world.count(|| world.renew(HOME));
    for operation in [Operation::Put, Operation::Extend, Operation::LockOf] {
        assert_eq!(of(&counts, operation), 0, "{operation}: {counts:?}");
    }
}

#[test]
fn each_object_is_extended_once_a_generation_at_most() {
    let world = with_snapshots(3);
    let report = world.renew(HOME);
    let mut extended = 0;
    for _ in 0..7 {
        world.wait(DAY);
        let counts = world.count(|| world.renew(HOME));
        extended += of(&counts, Operation::Extend);
    }
    assert!(
        extended <= report.examined,
        "{extended} of {}",
        report.examined
    );
    assert!(
        extended >= report.examined / 2,
        "{extended} of {}",
        report.examined
    );
}

#[test]
fn listings_do_not_grow_with_the_number_of_snapshots() {
    let few = with_snapshots(2);
    let many = with_snapshots(12);
    let listings = |world: &World| of(&world.count(|| world.backup(HOME)), Operation::ListVersions);
    assert_eq!(listings(&few), listings(&many));
}
