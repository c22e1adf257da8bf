//! What policies and witnesses come to on a store: which locks, for how long, from when on.

use std::collections::BTreeMap;

use dolmen_core::snapshots::SnapshotList;
use dolmen_core::{by_policy, lives};
use dolmen_format::ledger::{Class, Fact, Keep, LockStrategy, Policy, Receipt};
use dolmen_format::{ObjectKey, Timestamp};
use dolmen_store::{LockMode, LockStatus, MemoryOptions, Place, Store as _, StoreKey};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, World, policy};

const HOME: Client = Client("home");

/// The ends of all locks, by the names of the objects.
fn locks(world: &World) -> BTreeMap<String, Option<i64>> {
    let listed = world.store.list_versions("").try_collect::<Vec<_>>();
    let listed = world.repository.objects.block_on(listed).unwrap();
    let until = |lock| match lock {
        LockStatus::Until(lock) => Some(lock.until.seconds),
        LockStatus::None | LockStatus::Unknown | LockStatus::Held { .. } => None,
    };
    let lines = listed.into_iter();
    lines.map(|line| (line.name, until(line.lock))).collect()
}

fn supersede(world: &World, change: impl FnOnce(&mut Policy)) {
    let list = world.list();
    let mut next = list.facts.policy().policy.clone();
    change(&mut next);
    next.previous = list.facts.last_policy();
    world.sign(HOME, Fact::Policy(next));
}

fn at(world: &World, seconds: i64) -> Timestamp {
    world.store.clock().saturating_add_seconds(seconds)
}

#[test]
fn a_stronger_lock_counts_at_once_and_a_weaker_one_after_one_protection_period() {
    let world = World::lockable();
    world.write(HOME, "a", 1, 300_000);
    world.backup(HOME);
    assert!(locks(&world).values().all(Option::is_none));
    supersede(&world, |policy| policy.lock = LockStrategy::Compliance);
    // What is there is locked by the next renewal, what comes is locked as it is put.
    let report = world.renew(HOME);
    assert!(report.is_protected && report.renewed > 0, "{report:?}");
    world.write(HOME, "b", 2, 300_000);
    world.backup(HOME);
    let least = locks(&world).values().min().copied().unwrap();
    assert!(least >= Some(at(&world, 30 * DAY).seconds));
    supersede(&world, |policy| policy.lock = LockStrategy::None);
    let facts = world.list().facts;
    let lock_in = |seconds| lives::lock(&facts, at(&world, seconds));
    assert_eq!(lock_in(30 * DAY - 1), LockStrategy::Compliance);
    assert_eq!(lock_in(30 * DAY + 1), LockStrategy::None);
}

#[test]
fn a_weaker_lock_protects_nothing_by_a_stronger_policy_and_becomes_a_stronger_one() {
    let governance = Policy {
        lock: LockStrategy::Governance,
        ..policy()
    };
    let world = World::with(MemoryOptions::LOCKS, &governance);
    world.write(HOME, "a", 1, 300_000);
    world.backup(HOME);
    let ends = locks(&world);
    supersede(&world, |policy| policy.lock = LockStrategy::Compliance);
    // None of the locks was due by its date.
    let report = world.renew(HOME);
    assert!(report.is_protected && report.renewed > 0, "{report:?}");
    let listed = world.store.list_versions("").try_collect::<Vec<_>>();
    for line in world.repository.objects.block_on(listed).unwrap() {
        let lock = line.lock.retention().unwrap();
        assert_eq!(lock.mode, LockMode::Compliance, "{}", line.name);
        let before = ends.get(&line.name).copied().flatten();
        assert!(before <= Some(lock.until.seconds), "{}", line.name);
    }
    assert_eq!(world.renew(HOME).renewed, 0);
}

#[test]
fn what_a_class_keeps_is_locked_for_its_promise_from_the_first_renewal_on() {
    let keep = Keep {
        last: 1,
        monthly: 1,
        ..Keep::default()
    };
    let world = World::locked_with(&Policy {
        keep,
        classes: vec![Class {
            rule: "monthly".to_owned(),
            protect_seconds: 60 * 86_400,
        }],
        ..policy()
    });
    world.write(HOME, "old", 1, 500_000);
    let old = world.backup(HOME);
    let old_objects = locks(&world);
    world.wait(DAY);
    world.remove(HOME, "old");
    world.write(HOME, "new", 2, 500_000);
    let new = world.backup(HOME);
    let promises = by_policy::promises(&world.list(), at(&world, 0));
    assert_eq!(promises, BTreeMap::from([(new.id, 60 * 86_400)]));
    let report = world.renew(HOME);
    assert!(report.is_protected && report.failed == 0, "{report:?}");
    let whole = |days: i64| Some(at(&world, days * DAY).seconds);
    let after = locks(&world);
    let until = |name: &str| *after.get(name).unwrap();
    // Its own objects and what stands; not what the old one alone needs.
    let name_of = |entry: &dolmen_core::snapshots::SnapshotEntry| {
        ObjectKey::Snapshot(entry.snapshot.stamp.writer, entry.id).to_string()
    };
    assert!(until(&name_of(&new)) >= whole(63));
    assert!(until(&name_of(&old)) < whole(45));
    let packs = |is_old: bool| {
        let names = after.keys().filter(|name| name.starts_with("packs/"));
        let names = names.filter(|name| old_objects.contains_key(*name) == is_old);
        names.map(|name| until(name)).collect::<Vec<_>>()
    };
    assert!(packs(false).iter().all(|until| *until >= whole(63)));
    assert!(packs(true).iter().any(|until| *until < whole(45)));
    let roots = after.iter().filter(|(name, _)| name.starts_with("root/"));
    assert!(roots.map(|(_, until)| *until).min().unwrap() >= whole(63));
}

#[test]
fn a_class_that_more_than_doubles_the_protection_waits_for_a_confirmation() {
    let world = World::locked();
    world.write(HOME, "a", 1, 100_000);
    world.backup(HOME);
    supersede(&world, |policy| {
        policy.keep.last = 1;
        policy.classes = vec![Class {
            rule: "last".to_owned(),
            protect_seconds: 61 * 86_400,
        }];
    });
    let mut list = world.list();
    assert_eq!(by_policy::promises(&list, at(&world, 0)), BTreeMap::new());
    assert_eq!(lives::waiting(&list.facts).len(), 1);
    let record = list.facts.policy().reference.unwrap();
    list.facts.confirmed.insert(record.digest);
    assert_eq!(by_policy::promises(&list, at(&world, 0)).len(), 1);
    assert_eq!(lives::waiting(&list.facts).len(), 0);
}

#[test]
fn the_longest_class_of_policies_that_contradict_each_other_protects() {
    let world = World::locked();
    world.write(HOME, "a", 1, 100_000);
    let made = world.backup(HOME);
    let first = world.list().facts.policy().policy.clone();
    let promising = |days: u64| {
        let mut policy = first.clone();
        policy.keep.last = 1;
        policy.classes = vec![Class {
            rule: "last".to_owned(),
            protect_seconds: days * 86_400,
        }];
        world.sign(HOME, Fact::Policy(policy));
    };
    let promise = || {
        let promises = by_policy::promises(&world.list(), at(&world, 0));
        promises.get(&made.id).map(|seconds| seconds / 86_400)
    };
    promising(40);
    assert_eq!(promise(), Some(40));
    // A twin leaves nothing to go by but the root's, which promises nothing.
    promising(50);
    assert!(world.list().facts.is_policy_in_doubt());
    assert_eq!(promise(), Some(50));
    // No twin locks for longer than a policy without one would.
    promising(61);
    assert_eq!(promise(), Some(50));
    let report = world.renew(HOME);
    assert!(report.is_protected, "{report:?}");
    let least = locks(&world).values().min().copied().unwrap();
    assert!(least >= Some(at(&world, 50 * DAY).seconds));
    supersede(&world, |policy| policy.keep.last = 1);
    assert_eq!(promise(), None);
}

#[test]
fn protection_follows_the_longer_terms_of_two_clocks_and_letting_go_the_earlier() {
    let world = World::new();
    supersede(&world, |policy| policy.protect_seconds = 20 * 86_400);
    let facts = world.list().facts;
    let protect =
        |terms: Option<dolmen_core::lease::Terms>| terms.unwrap().protect_seconds() / 86_400;
    let (before, after) = (at(&world, 30 * DAY - 1), at(&world, 30 * DAY + 1));
    assert_eq!(protect(lives::terms(&facts, before)), 30);
    assert_eq!(protect(lives::terms(&facts, after)), 20);
    assert_eq!(protect(lives::terms_between(&facts, before, after)), 30);
    // A longer one counts as soon as either clock has seen it come.
    supersede(&world, |policy| policy.protect_seconds = 40 * 86_400);
    let facts = world.list().facts;
    let terms = lives::terms_between(&facts, at(&world, -5), at(&world, 5));
    assert_eq!(protect(terms), 40);
}

#[test]
fn a_witness_does_not_let_a_shorter_policy_in_early() {
    let world = World::new();
    // Signed and witnessed by somebody who has the passphrase and sets the clock back.
    world.shift_local_clock(-60 * DAY);
    supersede(&world, |policy| policy.protect_seconds = 10 * 86_400);
    let short = world.list().facts.policy().reference.unwrap();
    let received = at(&world, -59 * DAY);
    let receipts = vec![Receipt {
        object: short.digest,
        received,
    }];
    world.sign(HOME, Fact::Witness { receipts });
    world.shift_local_clock(60 * DAY);
    let facts = world.list().facts;
    assert_eq!(facts.policy().received, received);
    let terms = lives::terms(&facts, at(&world, 0)).unwrap();
    assert_eq!(terms.protect_seconds(), 30 * 86_400);
}

#[test]
fn what_is_stored_again_keeps_its_receipt_time_where_a_witness_tells_of_it() {
    let world = World::new();
    world.write(HOME, "a", 1, 100_000);
    let entry = world.backup(HOME);
    let key = ObjectKey::Snapshot(entry.snapshot.stamp.writer, entry.id);
    let name = StoreKey::try_from(key.to_string()).unwrap();
    let objects = &world.repository.objects;
    let body = objects
        .block_on(world.store.get(&name, None, None, 1 << 20))
        .unwrap();
    world.wait(5 * DAY);
    let receipts = vec![Receipt {
        object: entry.id,
        received: entry.received,
    }];
    world.sign(HOME, Fact::Witness { receipts });
    objects
        .block_on(world.store.put(&name, body, None, Place::OnTop))
        .unwrap();
    let list = world.list();
    assert_eq!(list.snapshots[0].received, entry.received);
    assert!(
        list.snapshots[0].stored_at > entry.stored_at,
        "leases go by the store"
    );
    let early = SnapshotList::load(&world.repository, Some(at(&world, -DAY))).unwrap();
    assert_eq!(early.snapshots.len(), 1);
}
