//! A backup builds upon what lives, and on nothing else.

use dolmen_core::Error;
use dolmen_store::fault::When;
use dolmen_store::{Fault, FaultPlan, Operation};

use super::world::{Client, DAY, LEASE_DAYS, World};

const HOME: Client = Client("home");
const OTHER: Client = Client("other");
const LARGE: usize = 3_000_000;

fn bytes(world: &World) -> u64 {
    let report = world.prune_with(|options| options.dry_run = true);
    report.live.bytes + report.locked.bytes + report.deleted.bytes
}

#[test]
fn what_another_machine_stored_is_not_stored_again() {
    let world = World::new();
    world.write(HOME, "a", 1, LARGE);
    world.backup(HOME);
    let before = bytes(&world);
    world.write(OTHER, "b", 1, LARGE);
    world.backup(OTHER);
    assert!(bytes(&world) - before < 100_000);
    world.assert_whole();
}

#[test]
fn what_only_retired_snapshots_need_is_stored_again() {
    let world = World::new();
    world.write(HOME, "a", 1, LARGE);
    let first = world.backup(HOME);
    world.remove(HOME, "a");
    world.write(HOME, "b", 2, 1000);
    world.backup(HOME);
    world.retire(HOME, &[&first]);
    let before = bytes(&world);
    world.write(HOME, "a", 1, LARGE);
    world.backup(HOME);
    assert!(bytes(&world) - before > LARGE as u64 * 9 / 10);
    // And so the old copy can go without any harm.
    world.wait((LEASE_DAYS + 8) * DAY);
    assert!(world.prune().deleted.bytes > LARGE as u64 * 9 / 10);
    world.assert_whole();
}

#[test]
fn a_retirement_during_a_backup_takes_nothing_from_it() {
    let world = World::new();
    world.write(HOME, "a", 1, LARGE);
    let first = world.backup(HOME);
    world.write(OTHER, "b", 1, LARGE);
    world
        .backup_after(OTHER, || world.retire(HOME, &[&first]))
        .unwrap();
    world.wait((LEASE_DAYS + 8) * DAY);
    world.prune();
    world.assert_whole();
}

#[test]
fn a_backup_that_outlasts_what_it_builds_upon_fails_and_the_next_one_is_whole() {
    let world = World::new();
    world.write(HOME, "a", 1, LARGE);
    let first = world.backup(HOME);
    world.write(OTHER, "b", 1, LARGE);
    let late = world.backup_after(OTHER, || {
        world.retire(HOME, &[&first]);
        world.wait((LEASE_DAYS + 8) * DAY);
        assert!(world.prune().deleted.objects > 0);
    });
    // The packs are gone, as the listing at the start of the run shows, or the look before the commit.
    if let Err(error) = late {
        assert!(matches!(error, Error::ReuseEnded { .. }), "{error}");
        world.backup(OTHER);
    }
    world.assert_whole();
}

/// Lets the `nth` put from now on take so many days.
fn slow_put(world: &World, nth: u64, days: i64) {
    let at = world.layer.calls_of(Operation::Put) + nth;
    let slow = Fault::Slow {
        seconds: days * DAY,
        when: When::BeforeEffect,
    };
    let plan = FaultPlan::none().at_call_of(Operation::Put, at, slow);
    world.layer.set_plan(plan);
}

#[test]
fn a_snapshot_that_outlasts_its_listing_does_not_count_and_is_written_again() {
    let world = World::new();
    world.write(HOME, "a", 1, LARGE);
    world.backup(HOME);
    // Three days are the margin.
    slow_put(&world, 0, 4);
    let committed = world.backup(HOME);
    let list = world.list();
    assert_eq!(list.incomplete.len(), 1);
    assert_eq!(
        list.snapshots.last().map(|entry| entry.id),
        Some(committed.id)
    );
    world.assert_whole();
    // Years later the number of the late one is not missed.
    world.wait(1000 * DAY);
    assert_eq!(world.prune().held, None);
    world.assert_whole();
}

#[test]
fn a_backup_that_slept_for_longer_than_its_packs_are_kept_fails_and_leaves_no_snapshot() {
    let world = World::new();
    world.write(HOME, "a", 1, LARGE);
    // Pack, then the segment.
    slow_put(&world, 1, 31);
    let error = world.backup_after(HOME, || {}).unwrap_err();
    assert!(matches!(error, Error::OwnPacksAged), "{error}");
    assert_eq!(world.list().snapshots.len(), 0);
    // What the late one named may go, and the next one vouches for itself.
    world.wait((LEASE_DAYS + 8) * DAY);
    world.backup(HOME);
    world.prune();
    assert_eq!(world.list().snapshots.len(), 1);
    world.assert_whole();
}

#[test]
fn what_an_interrupted_run_left_is_taken_over_while_neither_clock_lets_it_go() {
    const HOUR: i64 = 3600;
    // 30 days less or more two hours by the store's clock, and how far the local one is behind.
    let cases = [
        (30 * DAY - 2 * HOUR, 0, 1),
        (30 * DAY + 2 * HOUR, 4 * HOUR, 2),
        (30 * DAY - 2 * HOUR, -4 * HOUR, 2),
    ];
    for (passed, behind, packs) in cases {
        let world = World::new();
        world.write(HOME, "a", 1, LARGE);
        // Its pack is stored; the segment is not.
        let at = world.layer.calls_of(Operation::Put) + 1;
        let plan = FaultPlan::none().at_call_of(Operation::Put, at, Fault::Unavailable);
        world.layer.set_plan(plan);
        world.backup_after(HOME, || {}).unwrap_err();
        world.layer.set_plan(FaultPlan::none());
        world.wait(passed);
        world.shift_local_clock(-behind);
        world.backup(HOME);
        let objects = &world.repository.objects;
        let mut large = 0;
        objects
            .list("packs/", |object| {
                large += usize::from(object.copies[0].bytes > 500_000);
            })
            .unwrap();
        assert_eq!(large, packs, "{passed} s, {behind} s behind");
        world.assert_whole();
    }
}
