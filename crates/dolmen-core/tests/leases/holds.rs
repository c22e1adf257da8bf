//! Legal holds in place of extensions: three calls for an object's whole life.

use std::collections::BTreeMap;

use dolmen_format::ledger::{Fact, LockStrategy, Policy};
use dolmen_store::DefaultRetention;
use dolmen_store::memory::Right;
use dolmen_store::{
    Credential, Hold, LockMode, LockStatus, MemoryModel, MemoryOptions, Operation, Store as _,
    StoreErrorKind, VersionInfo,
};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, World, policy};

const HOME: Client = Client("home");

/// Every version with its lock, as the store's owner sees it.
fn versions(world: &World) -> Vec<(VersionInfo, LockStatus)> {
    world.repository.objects.block_on(async {
        let listed = world.store.list_versions("").try_collect::<Vec<_>>();
        let mut versions = Vec::new();
        for line in listed.await.unwrap() {
            let object = line.object_ref().unwrap();
            let lock = world.store.lock_of(&object).await.unwrap();
            versions.push((line, lock));
        }
        versions
    })
}

fn is_held(lock: LockStatus) -> bool {
    matches!(lock, LockStatus::Held { .. })
}

/// Calls that moved locks, by key and operation.
fn lock_calls(world: &World) -> BTreeMap<(String, Operation), u64> {
    let mut calls = BTreeMap::new();
    for request in world.record.take_requests() {
        if matches!(request.operation, Operation::Extend | Operation::Hold) {
            let key = request.key.unwrap().to_string();
            *calls.entry((key, request.operation)).or_default() += 1;
        }
    }
    calls
}

#[test]
fn a_first_lock_is_followed_by_a_hold_and_by_no_extension() {
    let world = World::held(MemoryOptions::LOCKS);
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    assert!(versions(&world).iter().all(|(line, lock)| {
        let until = lock.retention().unwrap().until.seconds;
        !is_held(*lock) && until >= line.stored_at.earliest.seconds + 33 * DAY
    }));
    world.record.take_requests();
    for day in 0..365 {
        world.wait(DAY);
        let report = world.renew(HOME);
        assert!(report.is_protected, "day {day}: {report:?}");
        let until = report.protected_until.unwrap().seconds;
        assert!(until >= world.store.clock().seconds + 30 * DAY, "day {day}");
    }
    let held = versions(&world);
    assert!(held.iter().all(|(_, lock)| is_held(*lock)));
    let calls = lock_calls(&world);
    assert_eq!(calls.len(), held.len());
    for ((key, operation), count) in calls {
        assert_eq!((operation, count), (Operation::Hold, 1), "{key}");
    }
    world.assert_whole();
}

#[test]
fn what_is_retired_is_released_over_a_whole_lease_in_three_calls_an_object() {
    for model in [
        MemoryModel::from(MemoryOptions::LOCKS),
        MemoryModel::s3(MemoryOptions::LOCKS),
    ] {
        let world = World::held(model);
        world.write(HOME, "old", 1, 500_000);
        let first = world.backup(HOME);
        world.record.take_requests();
        world.wait(60 * DAY);
        assert!(world.renew(HOME).is_protected);
        let before = versions(&world);
        world.remove(HOME, "old");
        world.write(HOME, "new", 2, 400_000);
        world.backup(HOME);
        world.retire(HOME, &[&first]);
        let retired_at = world.store.clock().seconds;
        for _ in 0..150 {
            world.wait(DAY);
            assert!(world.renew(HOME).is_protected);
            world.prune();
            let gone_by = world.store.clock().seconds;
            let now = versions(&world);
            let is_there =
                |old: &VersionInfo| now.iter().any(|(line, _)| line.version == old.version);
            let all_there = before.iter().all(|(old, _)| is_there(old));
            assert!(all_there || gone_by >= retired_at + 30 * DAY);
        }
        assert_eq!(world.list().retired.len(), 0);
        let packs = |lines: &[(VersionInfo, LockStatus)]| {
            let packs = lines
                .iter()
                .filter(|(line, _)| line.name.starts_with("packs/"));
            packs.map(|(line, _)| line.name.clone()).collect::<Vec<_>>()
        };
        let left = packs(&versions(&world));
        assert!(packs(&before).iter().all(|pack| !left.contains(pack)));
        let mut totals: BTreeMap<String, u64> = BTreeMap::new();
        for ((key, _), count) in lock_calls(&world) {
            *totals.entry(key).or_default() += count;
        }
        for (key, count) in totals {
            assert!(count <= 3, "{key}: {count}");
        }
        world.assert_whole();
    }
}

#[test]
fn an_undo_after_the_release_is_protected_and_held_again() {
    let world = World::held(MemoryOptions::LOCKS);
    world.write(HOME, "a", 1, 500_000);
    let first = world.backup(HOME);
    world.wait(60 * DAY);
    assert!(world.renew(HOME).is_protected);
    world.write(HOME, "a", 2, 500_000);
    world.backup(HOME);
    world.retire(HOME, &[&first]);
    world.prune();
    world.wait(29 * DAY);
    assert_eq!(world.undo(HOME, &first), []);
    assert!(world.renew(HOME).is_protected);
    for (line, lock) in versions(&world) {
        if line.name.ends_with(&first.id.to_string()) {
            assert!(is_held(lock));
        }
    }
    world.wait(60 * DAY);
    assert!(world.renew(HOME).is_protected);
    world.assert_whole();
}

#[test]
fn a_backup_relies_on_holds_that_are_in_force() {
    let world = World::held(MemoryOptions::LOCKS);
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    world.wait(60 * DAY);
    assert!(world.renew(HOME).is_protected);
    world.record.take_requests();
    world.write(HOME, "b", 2, 500_000);
    let second = world.backup(HOME);
    assert_eq!(lock_calls(&world), BTreeMap::new());
    let relied = second.snapshot.relied_until.unwrap();
    assert!(relied >= world.store.clock().seconds + 33 * DAY);
}

#[test]
fn a_hold_that_no_policy_asked_for_is_none_of_ours() {
    let world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    let first = world.backup(HOME);
    let objects = &world.repository.objects;
    for (line, _) in versions(&world) {
        let object = line.object_ref().unwrap();
        objects
            .block_on(world.store.hold(&object, Hold::On))
            .unwrap();
    }
    world.write(HOME, "a", 2, 500_000);
    world.backup(HOME);
    world.retire(HOME, &[&first]);
    world.wait(100 * DAY);
    world.renew(HOME);
    world.prune();
    let held = versions(&world);
    assert!(held.iter().filter(|(_, lock)| is_held(*lock)).count() > 0);
    for (line, lock) in held {
        if is_held(lock) {
            let object = line.object_ref().unwrap();
            let deleted = objects.block_on(world.store.delete_version(&object));
            assert_eq!(deleted.unwrap_err().kind, StoreErrorKind::Locked);
        }
    }
}

#[test]
fn locks_follow_a_policy_at_once() {
    let world = World::held(MemoryOptions::LOCKS);
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    world.wait(40 * DAY);
    assert!(world.renew(HOME).is_protected);
    let compliance = Policy {
        lock: LockStrategy::Compliance,
        ..policy()
    };
    world.sign(HOME, Fact::Policy(compliance));
    // A hold can be lifted by whoever placed it: locks take its place.
    assert!(world.renew(HOME).is_protected);
    for (line, lock) in versions(&world) {
        let until = lock.retention().unwrap().until.seconds;
        assert!(
            until >= world.store.clock().seconds + 33 * DAY,
            "{}",
            line.name
        );
    }
}

/// What a client of a bucket with holds may: it sees them and places none.
fn client() -> Credential {
    Credential::locking_client()
        .with(Right::GetObjectLegalHold)
        .with(Right::ReadFileLegalHolds)
}

/// Everything that the newest snapshot needs is locked for the whole period.
fn assert_locked(world: &World) {
    let now = world.store.clock().seconds;
    let list = world.list();
    let (_, older) = list.snapshots.split_last().unwrap();
    let older: Vec<_> = older.iter().map(|entry| entry.id.to_string()).collect();
    for (line, lock) in versions(world) {
        let until = lock.retention().unwrap().until.seconds;
        let is_other = older.iter().any(|id| line.name.ends_with(id));
        assert!(
            is_other || until >= now + 30 * DAY,
            "{}: {until} at {now}",
            line.name
        );
    }
}

#[test]
fn a_record_that_an_intruder_leaves_unlocked_stops_no_backup() {
    for (model, may_extend) in [
        (MemoryModel::s3(MemoryOptions::LOCKS), true),
        (MemoryModel::b2(MemoryOptions::LOCKS), true),
        (MemoryModel::s3(MemoryOptions::LOCKS), false),
    ] {
        let mut world = World::held(model);
        world.write(HOME, "a", 1, 500_000);
        world.backup(HOME);
        // Whoever has the passphrase signs what they like, and puts it without a lock.
        world.use_key(Credential::client());
        world.sign(
            HOME,
            Fact::Witness {
                receipts: Vec::new(),
            },
        );
        let is_locked = |world: &World| {
            let all = versions(world);
            let mut records = all
                .iter()
                .filter(|(line, _)| line.name.starts_with("ledger/"));
            records.any(|(_, lock)| lock.retention().is_some())
        };
        assert!(!is_locked(&world));
        if may_extend {
            world.use_key(client());
        } else {
            let retention = DefaultRetention {
                mode: LockMode::Compliance,
                days: 40,
            };
            world.store.set_default_retention(Some(retention)).unwrap();
            world.use_key(Credential::client());
        }
        world.write(HOME, "b", 2, 500_000);
        world.backup(HOME);
        assert!(is_locked(&world));
        world.assert_whole();
    }
}

#[test]
fn whoever_may_place_no_holds_makes_locks_longer() {
    let mut world = World::held(MemoryModel::s3(MemoryOptions::LOCKS));
    world.write(HOME, "a", 1, 500_000);
    let first = world.backup(HOME);
    world.use_key(client());
    // Nobody maintains.
    world.wait(25 * DAY);
    world.write(HOME, "b", 2, 500_000);
    let before = versions(&world).len();
    world.backup(HOME);
    assert_locked(&world);
    // New packs and what names them: nothing is stored again for its lock.
    assert!(versions(&world).len() <= before + 4);
    world.retire(HOME, &[&first]);
    world.wait(25 * DAY);
    assert_eq!(world.undo(HOME, &first), []);
    world.assert_whole();
    assert!(world.renew(HOME).is_protected);
}
