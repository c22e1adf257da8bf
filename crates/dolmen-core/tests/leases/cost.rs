//! What the protocol costs, in requests.

use std::collections::BTreeMap;

use bytes::Bytes;
use dolmen_core::objects::Source;
use dolmen_core::snapshots::SnapshotList;
use dolmen_store::{Operation, Place, StoreKey};

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

#[test]
fn what_a_client_keeps_copies_of_is_not_fetched_again() {
    let world = with_snapshots(5);
    world.repository.objects.keep_bodies(&world.path("."));
    let reads = |list: &dyn Fn() -> SnapshotList| of(&world.count(list), Operation::Get);
    assert_eq!(reads(&|| world.list()), 5);
    assert_eq!(reads(&|| world.list()), 0);
    let afresh = || SnapshotList::load_from(&world.repository, None, Source::Store).unwrap();
    assert_eq!(reads(&afresh), 5);
    // A new one was read when the backup looked for it.
    world.backup(HOME);
    assert_eq!(reads(&|| world.list()), 0);
    assert_eq!(world.list().snapshots.len(), 6);
}

#[test]
fn a_copy_of_an_object_that_was_touched_since_does_not_count() {
    let world = with_snapshots(2);
    world.repository.objects.keep_bodies(&world.path("."));
    let entry = world.list().snapshots[0].clone();
    let name = format!("snapshots/{}/{}", entry.snapshot.stamp.writer, entry.id);
    let key = StoreKey::try_from(name).unwrap();
    let objects = &world.repository.objects;
    let junk = Bytes::from_static(b"junk");
    objects
        .block_on(objects.store().put(&key, junk, None, Place::OnTop))
        .unwrap();
    // The versions are looked through: the authentic one is found, and the warning is made.
    let list = world.list();
    assert_eq!(list.snapshots.len(), 2);
    assert_eq!(objects.oddities().overwritten.len(), 1);
}
