//! A backup builds upon what lives, and on nothing else.

use dolmen_core::Error;

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
