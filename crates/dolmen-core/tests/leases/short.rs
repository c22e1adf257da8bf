//! A backup whose key may not extend locks: it leaves no row of snapshots that do not count.

use dolmen_core::Error;
use dolmen_format::ledger::{LockStrategy, Policy};
use dolmen_store::DefaultRetention;
use dolmen_store::{
    Credential, LockMode, LockStatus, MemoryModel, MemoryOptions, Store as _, VersionInfo,
    VersionKind,
};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, World, policy};

const HOME: Client = Client("home");
const LARGE: usize = 3_000_000;

fn models() -> [MemoryModel; 2] {
    [
        MemoryModel::s3(MemoryOptions::LOCKS),
        MemoryModel::b2(MemoryOptions::LOCKS),
    ]
}

/// A repository of one backup, which all has the locks that a bucket with this default retention gives. The client's key
/// may put, and neither lock nor extend.
fn world(model: MemoryModel, default_days: u32) -> World {
    let policy = Policy {
        lock: LockStrategy::Compliance,
        ..policy()
    };
    let mut world = World::with(model, &policy);
    retain(&world, default_days);
    world.use_key(Credential::client());
    world.write(HOME, "a", 1, LARGE);
    world.backup(HOME);
    world
}

fn retain(world: &World, days: u32) {
    let retention = DefaultRetention {
        mode: LockMode::Compliance,
        days,
    };
    world.store.set_default_retention(Some(retention)).unwrap();
}

fn versions(world: &World) -> Vec<VersionInfo> {
    let listed = world.store.list_versions("").try_collect::<Vec<_>>();
    let mut lines = world.repository.objects.block_on(listed).unwrap();
    lines.retain(|line| line.kind == VersionKind::Data);
    lines
}

fn count(world: &World, prefix: &str) -> usize {
    let lines = versions(world).into_iter();
    lines.filter(|line| line.name.starts_with(prefix)).count()
}

/// Every key that the newest snapshot needs has a version that is locked for the whole period.
fn assert_locked(world: &World) {
    let now = world.store.clock().seconds;
    let newest = world.list().snapshots.last().unwrap().id.to_string();
    let objects = &world.repository.objects;
    let mut left = std::collections::BTreeMap::<String, i64>::new();
    for line in versions(world) {
        let object = line.object_ref().unwrap();
        let lock = objects.block_on(world.store.lock_of(&object)).unwrap();
        let until = match lock {
            LockStatus::Until(lock) => lock.until.seconds - now,
            LockStatus::None | LockStatus::Unknown | LockStatus::Held { .. } => 0,
        };
        let longest = left.entry(line.name).or_default();
        *longest = until.max(*longest);
    }
    for (name, left) in left {
        let is_other = name.starts_with("snapshots/") && !name.ends_with(&newest);
        assert!(is_other || left >= 30 * DAY, "{name}: {} days", left / DAY);
    }
}

#[test]
fn a_key_that_may_not_lock_relies_on_the_buckets_default() {
    for model in models() {
        let world = world(model, 40);
        assert_locked(&world);
        assert_eq!(world.list().incomplete.len(), 0);
        world.assert_whole();
    }
}

#[test]
fn what_may_not_be_extended_is_stored_again_before_the_snapshot_is_put() {
    for model in models() {
        let world = world(model, 40);
        // Nobody maintains.
        world.wait(20 * DAY);
        world.write(HOME, "b", 2, 50_000);
        let packs = count(&world, "packs/");
        world.backup(HOME);
        assert_eq!(world.list().incomplete.len(), 0);
        assert_eq!(world.list().snapshots.len(), 2);
        assert_locked(&world);
        // The old pack once more, and what is new.
        assert!(count(&world, "packs/") > packs + 1);
        // That was once.
        let before = versions(&world).len();
        world.backup(HOME);
        assert_eq!(versions(&world).len(), before + 1);
        world.assert_whole();
    }
}

#[test]
fn what_was_stored_again_is_found_by_a_process_that_knows_nothing_of_it() {
    for model in models() {
        let mut world = world(model, 40);
        world.wait(20 * DAY);
        world.backup(HOME);
        let packs = count(&world, "packs/");
        world.reopen();
        world.backup(HOME);
        assert_eq!(count(&world, "packs/"), packs);
        assert_locked(&world);
    }
}

#[test]
fn where_nothing_can_be_locked_long_enough_the_run_fails_and_the_next_one_stores_nothing_twice() {
    for model in models() {
        let mut world = world(model, 40);
        // The bucket's owner errs.
        retain(&world, 5);
        world.wait(DAY);
        world.write(HOME, "b", 2, LARGE);
        for _ in 0..4 {
            let failed = world.backup_after(HOME, || {}).unwrap_err();
            assert!(matches!(failed, Error::Unprotected { .. }), "{failed}");
        }
        let list = world.list();
        assert_eq!((list.snapshots.len(), list.incomplete.len()), (1, 0));
        let packs = |world: &World| {
            let lines = versions(world).into_iter();
            let packs = lines.filter(|line| line.name.starts_with("packs/"));
            packs
                .map(|line| line.name)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let before = packs(&world);
        // Maintenance extends what the checkpoint asks for.
        world.use_key(Credential::everything());
        assert!(world.renew(HOME).is_protected);
        retain(&world, 40);
        world.use_key(Credential::client());
        world.backup(HOME);
        let list = world.list();
        assert_eq!((list.snapshots.len(), list.incomplete.len()), (2, 0));
        assert_locked(&world);
        // The manifest's own pack at most.
        assert!(packs(&world).len() <= before.len() + 1);
        world.assert_whole();
    }
}

#[test]
fn where_nothing_may_be_covered_either_the_run_waits_for_maintenance() {
    for model in models() {
        let mut world = world(model, 40);
        world.use_key(Credential::client().without_covering());
        world.wait(20 * DAY);
        world.write(HOME, "b", 2, 50_000);
        let failed = world.backup_after(HOME, || {}).unwrap_err();
        assert!(matches!(failed, Error::Unprotected { .. }), "{failed}");
        let list = world.list();
        assert_eq!((list.snapshots.len(), list.incomplete.len()), (1, 0));
        world.use_key(Credential::everything());
        assert!(world.renew(HOME).is_protected);
        world.use_key(Credential::client().without_covering());
        world.backup(HOME);
        assert_eq!(world.list().snapshots.len(), 2);
        assert_locked(&world);
    }
}
