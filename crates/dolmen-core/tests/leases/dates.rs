//! What is remembered of versions: each date is asked for once in a generation at most, and nothing is hashed twice.

use std::collections::BTreeMap;

use dolmen_core::audit::{self, Counts, View};
use dolmen_core::check::ReadData;
use dolmen_format::ledger::{LockStrategy, Policy};
use dolmen_store::{
    Lock, LockMode, LockStatus, MemoryModel, MemoryOptions, ObjectRef, Operation, Store as _,
    VersionKind,
};
use futures_util::TryStreamExt as _;

use super::looking::look;
use super::world::{Client, DAY, World, policy};

const HOME: Client = Client("home");

fn world(lock: LockStrategy) -> World {
    let policy = Policy { lock, ..policy() };
    let mut world = World::with(MemoryModel::s3(MemoryOptions::LOCKS), &policy);
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    world.write(HOME, "b", 2, 300_000);
    world.backup(HOME);
    // Another machine of the same owner, which put none of it.
    world.reopen();
    keep_dates(&world);
    world
}

fn keep_dates(world: &World) {
    let cache = world.path("cache");
    std::fs::create_dir_all(&cache).unwrap();
    world.repository.objects.keep_notes(&cache);
}

/// Goes on as the next process of the same machine.
fn next_process(world: &mut World) {
    world.reopen();
    keep_dates(world);
}

fn asked(counts: &BTreeMap<Operation, u64>) -> [u64; 2] {
    [Operation::LockOf, Operation::Extend].map(|of| counts.get(&of).copied().unwrap_or(0))
}

fn objects(world: &World) -> Vec<ObjectRef> {
    let listed = world.store.list_versions("").try_collect::<Vec<_>>();
    let lines = world.repository.objects.block_on(listed).unwrap();
    let bodies = lines.iter().filter(|line| line.kind == VersionKind::Data);
    bodies.map(|line| line.object_ref().unwrap()).collect()
}

fn count(world: &World) -> u64 {
    u64::try_from(objects(world).len()).unwrap()
}

#[test]
fn a_second_renewal_in_a_generation_asks_for_nothing_that_is_not_due() {
    for lock in [LockStrategy::Compliance, LockStrategy::Governance] {
        let mut world = world(lock);
        let counts = world.count(|| assert!(world.renew(HOME).is_protected));
        assert_eq!(asked(&counts), [count(&world), 0], "{lock:?}");
        let before = objects(&world);
        next_process(&mut world);
        let counts = world.count(|| assert!(world.renew(HOME).is_protected));
        assert_eq!(asked(&counts), [0, 0], "{lock:?}");
        assert_eq!(objects(&world), before);
    }
}

#[test]
fn what_is_due_is_extended_without_being_asked_for_again_and_never_to_an_earlier_date() {
    let mut world = world(LockStrategy::Compliance);
    assert!(world.renew(HOME).is_protected);
    let everything = objects(&world);
    let first = everything.first().unwrap();
    // Somebody else's longer promise.
    let far = Lock {
        mode: LockMode::Compliance,
        until: world.store.clock().saturating_add_seconds(365 * DAY),
    };
    let extended = world.store.extend(first, far);
    world.repository.objects.block_on(extended).unwrap();
    world.wait(8 * DAY);
    next_process(&mut world);
    let counts = world.count(|| assert!(world.renew(HOME).is_protected));
    // The store refuses one, and is asked for its date.
    assert_eq!(asked(&counts), [1, count(&world)]);
    let found = world.store.lock_of(first);
    let found = world.repository.objects.block_on(found).unwrap();
    assert_eq!(found, LockStatus::Until(far));
}

#[test]
fn each_date_is_asked_for_and_made_later_once_a_generation_at_most() {
    for (lock, asked_max) in [
        (LockStrategy::Compliance, 1),
        (LockStrategy::Governance, 2 * 53),
    ] {
        let mut world = world(lock);
        let mut all = [0; 2];
        for day in 0..365 {
            world.wait(DAY);
            if day % 50 == 0 {
                next_process(&mut world);
            }
            let counts = world.count(|| assert!(world.renew(HOME).is_protected));
            let [dates, extended] = asked(&counts);
            all = [all[0] + dates, all[1] + extended];
        }
        let objects = count(&world);
        assert!(all[0] <= objects * asked_max, "{lock:?}: {all:?}");
        assert!(all[1] <= objects * 53, "{lock:?}: {all:?}");
    }
}

#[test]
fn a_backup_of_unchanged_files_asks_for_each_lock_once() {
    let mut world = world(LockStrategy::Compliance);
    // Snapshots need no other snapshots.
    let snapshots = u64::try_from(world.list().snapshots.len()).unwrap();
    let needed = count(&world) - snapshots;
    let counts = world.count(|| world.backup(HOME));
    assert_eq!(asked(&counts)[1], 0);
    // One more for its own put, whose answer states no lock.
    assert_eq!(asked(&counts)[0], needed + 1);
    for _ in 0..3 {
        next_process(&mut world);
        let counts = world.count(|| world.backup(HOME));
        assert_eq!(asked(&counts), [1, 0], "{counts:?}");
    }
    world.assert_whole();
}

/// Lets the lock of a pack end soon.
fn shorten(world: &World) {
    let objects = objects(world);
    let packs = objects.iter();
    let mut packs = packs.filter(|object| object.key.as_str().starts_with("packs/"));
    let lock = Lock {
        mode: LockMode::Governance,
        until: world.store.clock().saturating_add_seconds(DAY),
    };
    world
        .store
        .weaken(packs.next().unwrap(), Some(lock))
        .unwrap();
}

fn least_left(world: &World) -> i64 {
    let store = &world.repository.objects;
    let now = world.store.clock().seconds;
    let left = objects(world).into_iter().map(|object| {
        let lock = store.block_on(world.store.lock_of(&object)).unwrap();
        let LockStatus::Until(lock) = lock else {
            panic!("{} is not locked", object.key);
        };
        lock.until.seconds - now
    });
    left.min().unwrap()
}

#[test]
fn a_lock_that_somebody_shortened_is_an_alarm_and_made_longer_again() {
    let mut world = world(LockStrategy::Governance);
    assert!(world.renew(HOME).is_protected);
    shorten(&world);
    world.wait(7 * DAY);
    next_process(&mut world);
    let report = world.renew(HOME);
    assert_eq!((report.failed, report.is_protected), (1, false));
    assert!(least_left(&world) >= 30 * DAY);
    let report = world.renew(HOME);
    assert!(report.is_protected, "{report:?}");
    // Where listings state it, it is seen at once.
    let policy = Policy {
        lock: LockStrategy::Governance,
        ..policy()
    };
    let world = World::with(MemoryModel::b2(MemoryOptions::LOCKS), &policy);
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    assert!(world.renew(HOME).is_protected);
    shorten(&world);
    let report = world.renew(HOME);
    assert_eq!((report.failed, report.is_protected), (1, false));
    assert!(least_left(&world) >= 30 * DAY);
}

#[test]
fn a_backup_asks_again_in_the_next_generation_where_locks_may_be_shortened() {
    let mut world = world(LockStrategy::Governance);
    world.backup(HOME);
    shorten(&world);
    world.wait(7 * DAY);
    next_process(&mut world);
    let before = count(&world);
    world.backup(HOME);
    assert_eq!(count(&world), before + 1);
    let lists = world.list();
    let newest = lists.snapshots.last().unwrap();
    let needed = objects(&world).into_iter().filter(|object| {
        let name = object.key.as_str();
        !name.starts_with("snapshots/") || name.ends_with(&newest.id.to_string())
    });
    let store = &world.repository.objects;
    for object in needed {
        let lock = store.block_on(world.store.lock_of(&object)).unwrap();
        let until = lock.retention().unwrap().until.seconds;
        assert!(
            until - world.store.clock().seconds >= 30 * DAY,
            "{}",
            object.key
        );
    }
}

#[test]
fn what_was_hashed_is_not_read_again_by_the_next_process_and_junk_neither() {
    let mut world = World::locked();
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    let gets = |world: &World| {
        let counts = world.count(|| assert!(world.renew(HOME).is_protected));
        counts.get(&Operation::Get).copied().unwrap_or(0)
    };
    next_process(&mut world);
    let clean = gets(&world);
    // Junk of the right size: only its hash tells.
    let packs: Vec<_> = objects(&world)
        .into_iter()
        .filter(|object| object.key.as_str().starts_with("packs/"))
        .collect();
    for pack in &packs {
        let key = &pack.key;
        let read = world.store.get(key, Some(&pack.version), None, 1 << 30);
        let bytes = world.repository.objects.block_on(read).unwrap().len();
        world
            .store
            .put_foreign(key.as_str(), &vec![7; bytes])
            .unwrap();
    }
    let packs = u64::try_from(packs.len()).unwrap();
    assert_eq!(gets(&world), clean + 2 * packs);
    next_process(&mut world);
    assert_eq!(gets(&world), clean);
    assert!(!world.repository.objects.oddities().overwritten.is_empty());
    world.wait(60 * DAY);
    assert_eq!(gets(&world), clean);
    world.assert_whole();
}

fn audit(world: &World) -> (View, u64) {
    let scratch = world.path("");
    let mut view = View::default();
    let counts = world.count(|| {
        view = audit::look(&world.repository, &look(&scratch, ReadData::None)).unwrap();
    });
    world.repository.objects.save_notes();
    (view, asked(&counts)[0])
}

#[test]
fn an_audit_asks_for_each_lock_once_a_generation_and_for_a_sample_each_time() {
    for lock in [LockStrategy::Compliance, LockStrategy::Governance] {
        let mut world = world(lock);
        let (first, locks) = audit(&world);
        assert_eq!((locks, first.counts), (count(&world), Counts::default()));
        for _ in 0..3 {
            next_process(&mut world);
            let (again, asked_again) = audit(&world);
            assert!(asked_again <= locks / 2, "{asked_again} of {locks}");
            assert_eq!(again.protected_until, first.protected_until);
            assert_eq!(again.counts, first.counts);
        }
        world.wait(7 * DAY);
        assert!(world.renew(HOME).is_protected);
        world.wait(7 * DAY);
        next_process(&mut world);
        let (_, asked_later) = audit(&world);
        assert_eq!(asked_later, locks, "{lock:?}");
    }
}

#[test]
fn an_audit_tells_of_a_lock_that_somebody_shortened() {
    let mut world = world(LockStrategy::Governance);
    audit(&world);
    shorten(&world);
    world.wait(7 * DAY);
    next_process(&mut world);
    let (view, _) = audit(&world);
    // Others have less than the whole period left by now, too: nobody renewed them.
    assert_eq!(view.counts.shortened, 1, "{:?}", view.findings);
    assert!(view.counts.locked_short >= 1, "{:?}", view.findings);
}

#[test]
fn a_lock_in_a_weaker_mode_than_the_policys_does_not_count() {
    let policy = Policy {
        lock: LockStrategy::Governance,
        ..policy()
    };
    let world = World::with(MemoryModel::s3(MemoryOptions::LOCKS), &policy);
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    let (view, _) = audit(&world);
    assert_eq!(view.counts, Counts::default());
    let stronger = Policy {
        lock: LockStrategy::Compliance,
        ..policy
    };
    world.sign(HOME, dolmen_format::ledger::Fact::Policy(stronger));
    let (view, _) = audit(&world);
    assert!(view.counts.locked_short > 0, "{:?}", view.counts);
    assert_eq!(view.protected_until, None);
    assert!(world.renew(HOME).is_protected);
    let (view, _) = audit(&world);
    assert_eq!(view.counts, Counts::default(), "{:?}", view.findings);
}
