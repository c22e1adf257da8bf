//! Stores with Object Lock: what lives is locked, and only what nothing needs lapses.

use dolmen_core::prune::Tally;
use dolmen_core::snapshots::protected_until;
use dolmen_format::Timestamp;
use dolmen_format::ledger::Fact;
use dolmen_store::fault::{Effect, When};
use dolmen_store::{
    Fault, FaultPlan, LockStatus, Operation, Place, Store as _, StoreErrorKind, StoreKey,
    VersionInfo,
};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, LEASE_DAYS, World, policy};

const HOME: Client = Client("home");

/// Every version that the store holds.
fn versions(world: &World) -> Vec<VersionInfo> {
    let objects = &world.repository.objects;
    let listed = world.store.list_versions("").try_collect();
    objects.block_on(listed).unwrap()
}

fn until(line: &VersionInfo) -> Timestamp {
    match line.lock {
        LockStatus::Until(lock) => lock.until,
        LockStatus::None | LockStatus::Unknown | LockStatus::Held { .. } => {
            panic!("{} is not locked", line.name)
        }
    }
}

/// Seconds that the least locked version has left.
fn least_left(world: &World) -> i64 {
    let now = world.store.clock().seconds;
    let left = versions(world)
        .iter()
        .map(|line| until(line).seconds - now)
        .min();
    left.unwrap()
}

#[test]
fn a_snapshot_says_until_when_it_is_protected_and_never_more_than_is_true() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    let made = world.backup(HOME);
    let protected = |world: &World| {
        let now = world.store.clock();
        protected_until(&world.repository, &world.list().snapshots[0], now)
    };
    let least = |world: &World| {
        let ends = versions(world);
        ends.iter().map(until).min().unwrap()
    };
    let first = protected(&world).unwrap();
    assert!(first <= least(&world));
    let promised = made.stored_at.saturating_add_seconds(30 * DAY - 1);
    assert!(first >= promised, "{first:?} {promised:?}");
    // A renewal makes all of it longer; what was signed stays true until it is over, and then says nothing.
    world.wait(20 * DAY);
    assert!(world.renew(HOME).is_protected);
    assert!(protected(&world) <= Some(least(&world)));
    world.wait(25 * DAY);
    assert!(world.renew(HOME).is_protected);
    assert_eq!(protected(&world), None);
    // Where no locks are, none is stated.
    let plain = World::new();
    plain.write(HOME, "a", 1, 1000);
    plain.backup(HOME);
    assert_eq!(protected(&plain), None);
}

/// Puts garbage on top of every object.
fn overwrite_all(world: &World) {
    for line in versions(world) {
        let key = StoreKey::try_from(line.name.as_str()).unwrap();
        let put = world
            .store
            .put(&key, vec![7; 100].into(), None, Place::OnTop);
        world.repository.objects.block_on(put).unwrap();
    }
}

#[test]
fn everything_that_a_backup_puts_is_locked_for_the_whole_period() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    assert!(least_left(&world) >= (LEASE_DAYS - 1) * DAY);
    let objects = &world.repository.objects;
    for line in versions(&world) {
        let object = line.object_ref().unwrap();
        let deleted = objects.block_on(world.store.delete_version(&object));
        let error = deleted.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Locked, "{}", line.name);
    }
}

#[test]
fn renewal_keeps_what_lives_protected_for_a_year_with_few_calls() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    let objects = i64::try_from(versions(&world).len()).unwrap();
    let mut calls = 0;
    for day in 0..365 {
        world.wait(DAY);
        // A run in five is missed.
        if day % 5 != 0 {
            let report = world.renew(HOME);
            calls += i64::try_from(report.renewed).unwrap();
            assert!(report.is_protected, "day {day}: {report:?}");
            assert_eq!(i64::try_from(report.examined).unwrap(), objects);
        }
        assert!(least_left(&world) >= 30 * DAY, "day {day}");
    }
    assert!(calls <= objects * (365 / 7 + 1), "{calls} calls");
    world.assert_whole();
}

#[test]
fn a_renewal_lands_on_the_authentic_version_and_not_on_an_impostor() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    let authentic = versions(&world);
    overwrite_all(&world);
    for _ in 0..60 {
        world.wait(DAY);
        assert!(world.renew(HOME).is_protected);
    }
    let now = world.store.clock().seconds;
    for line in versions(&world) {
        let is_authentic = authentic.iter().any(|known| known.version == line.version);
        match (is_authentic, line.lock) {
            (true, _) => assert!(until(&line).seconds - now >= 30 * DAY, "{}", line.name),
            (false, lock) => assert_eq!(lock, LockStatus::None, "{}", line.name),
        }
    }
    world.assert_whole();
}

#[test]
fn what_is_retired_lapses_and_goes_and_nothing_before() {
    let world = World::locked();
    world.write(HOME, "old", 1, 500_000);
    let first = world.backup(HOME);
    world.remove(HOME, "old");
    world.write(HOME, "new", 2, 400_000);
    world.backup(HOME);
    world.retire(HOME, &[&first]);
    let mut freed_on = None;
    for day in 0..60 {
        world.wait(DAY);
        assert!(world.renew(HOME).is_protected);
        let report = world.prune();
        if report.deleted != Tally::default() {
            freed_on.get_or_insert(day);
        }
        assert!(day >= 30 || freed_on.is_none(), "deleted on day {day}");
    }
    assert!(freed_on.is_some());
    assert_eq!(world.list().retired.len(), 0);
    world.assert_whole();
}

#[test]
fn a_retirement_has_its_grace_even_where_locks_have_lapsed_and_an_undo_extends_them() {
    let world = World::locked();
    world.write(HOME, "old", 1, 500_000);
    let first = world.backup(HOME);
    world.write(HOME, "old", 2, 400_000);
    world.backup(HOME);
    // Maintenance did not run for longer than any lock.
    world.wait(60 * DAY);
    world.retire(HOME, &[&first]);
    for _ in 0..29 {
        assert_eq!(world.prune().deleted, Tally::default());
        world.wait(DAY);
    }
    assert_eq!(world.undo(HOME, &first), []);
    let lines = versions(&world);
    let own = lines
        .iter()
        .find(|line| line.name.ends_with(&first.id.to_string()));
    let left = until(own.unwrap()).seconds - world.store.clock().seconds;
    assert!(left >= 30 * DAY, "{left}");
    world.assert_whole();
}

#[test]
fn a_policy_that_turns_locks_off_waits_for_one_period() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    world.sign(HOME, Fact::Policy(policy()));
    world.write(HOME, "b", 2, 400_000);
    world.backup(HOME);
    world.wait(29 * DAY);
    assert!(world.renew(HOME).is_protected);
    let before = versions(&world);
    assert!(least_left(&world) >= 30 * DAY);
    world.wait(31 * DAY);
    assert_eq!(world.renew(HOME).calls, 0);
    // It takes no lock away.
    assert_eq!(versions(&world), before);
}

#[test]
fn a_renewal_notices_what_is_gone() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    world.wait(60 * DAY);
    let objects = &world.repository.objects;
    for line in versions(&world)
        .iter()
        .filter(|line| line.name.starts_with("packs/"))
    {
        let object = line.object_ref().unwrap();
        objects
            .block_on(world.store.delete_version(&object))
            .unwrap();
    }
    let report = world.renew(HOME);
    assert!(!report.is_protected);
    assert_eq!(report.failed, 1);
}

/// A world of some snapshots in which every lock is due.
fn with_all_due(snapshots: u64) -> World {
    let world = World::locked();
    for seed in 0..snapshots {
        world.write(HOME, &format!("file {seed}"), seed, 20_000);
        world.backup(HOME);
    }
    world.wait(20 * DAY);
    world
}

/// Breaks a call of an operation, counted from now.
fn break_call(world: &World, operation: Operation, after: u64, fault: Fault) {
    let at = world.layer.calls_of(operation) + after;
    let plan = FaultPlan::none().at_call_of(operation, at, fault);
    world.layer.set_plan(plan);
}

#[test]
fn a_version_that_cannot_be_read_keeps_its_lock() {
    let attacked = || {
        let world = with_all_due(1);
        let mut versions = versions(&world).into_iter();
        let pack = versions.find(|line| line.name.starts_with("packs/"));
        let pack = pack.unwrap();
        world.store.put_foreign(&pack.name, &[7; 500]).unwrap();
        (world, pack)
    };
    let (world, _) = attacked();
    let before = world.layer.calls_of(Operation::Get);
    assert!(world.renew(HOME).is_protected);
    let gets = world.layer.calls_of(Operation::Get) - before;

    let (world, pack) = attacked();
    // Packs come last, and the authentic version is all that is read of it.
    let first = world.layer.calls_of(Operation::Get) + gets - 1;
    let denied = Fault::Denied(Effect::Skipped);
    let plan = FaultPlan::none().at_call_of(Operation::Get, first, denied);
    world.layer.set_plan(plan);
    let report = world.renew(HOME);
    assert_eq!((report.failed, report.is_protected), (1, false));
    assert_eq!(world.layer.fired().len(), 1);
    let object = pack.object_ref().unwrap();
    let lock = world
        .repository
        .objects
        .block_on(world.store.lock_of(&object));
    let LockStatus::Until(lock) = lock.unwrap() else {
        panic!("it has no lock");
    };
    let protected = world.store.clock().saturating_add_seconds(30 * DAY);
    assert!(lock.until >= protected);
}

#[test]
fn one_objects_failure_stops_no_other() {
    for fault in [
        Fault::Unavailable,
        Fault::Denied(Effect::Skipped),
        Fault::TimedOut(Effect::Skipped),
    ] {
        let world = with_all_due(3);
        break_call(&world, Operation::Extend, 1, fault);
        let report = world.renew(HOME);
        assert_eq!(report.failed, 1, "{fault:?}");
        assert_eq!(report.renewed, report.examined - 1, "{fault:?}");
        assert!(!report.is_protected, "{fault:?}");
        let report = world.renew(HOME);
        assert_eq!((report.renewed, report.failed), (1, 0), "{fault:?}");
        assert!(report.is_protected, "{fault:?}");
    }
}

#[test]
fn an_extension_that_the_store_made_and_did_not_own_up_to_is_read_back() {
    for (fault, by_us) in [
        (Fault::Denied(Effect::Done), 0),
        (Fault::TimedOut(Effect::Done), 1),
    ] {
        let world = with_all_due(1);
        break_call(&world, Operation::Extend, 1, fault);
        let report = world.renew(HOME);
        assert_eq!(report.failed, 0, "{fault:?}");
        assert!(report.is_protected, "{fault:?}");
        assert_eq!(report.renewed, report.examined - 1 + by_us, "{fault:?}");
        assert_eq!(report.calls, report.examined + 1, "{fault:?}");
        assert!(least_left(&world) >= 30 * DAY, "{fault:?}");
    }
}

#[test]
fn a_store_that_no_longer_answers_ends_a_renewal_with_a_report() {
    let world = with_all_due(24);
    let list = world.list();
    drop(world.instance(HOME));
    let begun = world.layer.calls_of(Operation::Extend);
    let gone = Fault::Crash(Effect::Skipped);
    break_call(&world, Operation::Extend, 5, gone);
    let report = world.renew_listed(&list);
    assert_eq!((report.renewed, report.examined), (5, 5 + report.failed));
    assert!(!report.is_protected);
    // Those that were under way when it was noticed, and no more.
    let calls = world.layer.calls_of(Operation::Extend) - begun;
    assert!(calls <= 5 + 2 * 16, "{calls}");
    world.layer.set_plan(FaultPlan::none());
    let report = world.renew(HOME);
    assert_eq!((report.renewed, report.failed), (report.examined - 5, 0));
    assert!(report.is_protected);
}

#[test]
fn a_listing_that_breaks_off_stops_no_other() {
    let world = with_all_due(3);
    drop(world.instance(HOME));
    let list = world.list();
    break_call(&world, Operation::ListVersions, 0, Fault::Unavailable);
    let report = world.renew_listed(&list);
    assert_eq!(report.failed, 1);
    assert!(report.renewed > 0 && !report.is_protected);
    // Only the root itself was not seen.
    let report = world.renew(HOME);
    assert_eq!((report.renewed, report.failed), (1, 0));
    assert!(report.is_protected);
}

#[test]
fn a_store_that_answers_no_listing_is_not_asked_for_each() {
    let world = with_all_due(3);
    drop(world.instance(HOME));
    let list = world.list();
    let begun = world.layer.calls_of(Operation::ListVersions);
    let gone = Fault::Crash(Effect::Skipped);
    break_call(&world, Operation::ListVersions, 0, gone);
    let report = world.renew_listed(&list);
    assert_eq!((report.renewed, report.failed), (0, 2));
    assert!(!report.is_protected);
    assert_eq!(world.layer.calls_of(Operation::ListVersions) - begun, 2);
    world.layer.set_plan(FaultPlan::none());
    let report = world.renew(HOME);
    assert_eq!((report.renewed, report.failed), (report.examined, 0));
}

#[test]
fn a_snapshot_that_comes_too_late_for_its_locks_does_not_count_and_is_written_again() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    // A laptop's lid is closed between the look at the locks and the put.
    let at = world.layer.calls_of(Operation::Put);
    let slow = Fault::Slow {
        seconds: 20 * DAY,
        when: When::BeforeEffect,
    };
    world
        .layer
        .set_plan(FaultPlan::none().at_call_of(Operation::Put, at, slow));
    let committed = world.backup(HOME);
    let list = world.list();
    assert_eq!(list.incomplete.len(), 1);
    assert_eq!(
        list.snapshots.last().map(|entry| entry.id),
        Some(committed.id)
    );
    assert!(least_left_beneath(&world) >= 30 * DAY);
    world.assert_whole();
}

/// As [`least_left`], without the earlier snapshots themselves, which maintenance renews and no other snapshot needs.
fn least_left_beneath(world: &World) -> i64 {
    let now = world.store.clock().seconds;
    let lines = versions(world);
    let beneath = lines
        .iter()
        .filter(|line| !line.name.starts_with("snapshots/"));
    beneath.map(|line| until(line).seconds - now).min().unwrap()
}

#[test]
fn what_a_backup_builds_upon_is_extended_with_it() {
    let world = World::locked();
    world.write(HOME, "a", 1, 3_000_000);
    world.backup(HOME);
    // No maintenance runs for a month.
    world.wait(32 * DAY);
    world.write(HOME, "b", 1, 3_000_000);
    world.backup(HOME);
    assert!(least_left_beneath(&world) >= 30 * DAY);
    world.assert_whole();
}
