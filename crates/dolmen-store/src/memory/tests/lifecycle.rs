//! Lifecycle rules take what is covered, and never what is locked.

use super::*;
use crate::object::VersionKind;

const DAY: i64 = 86_400;

fn store(options: MemoryOptions, rule: LifecycleRule) -> MemoryStore {
    let store = MemoryStore::new(MemoryModel::s3(options));
    store.set_lifecycle(vec![rule]).unwrap();
    store
}

fn expire_after_two_days() -> LifecycleRule {
    LifecycleRule {
        prefix: "a/".to_owned(),
        expire_current_days: Some(2),
        delete_noncurrent_days: None,
    }
}

fn delete_after_three_days() -> LifecycleRule {
    LifecycleRule {
        prefix: "a/".to_owned(),
        expire_current_days: None,
        delete_noncurrent_days: Some(3),
    }
}

/// Names and kinds in the order of the listing.
fn shown(store: &MemoryStore) -> Vec<(String, VersionKind)> {
    lines(store)
        .into_iter()
        .map(|line| (line.name, line.kind))
        .collect()
}

#[test]
fn an_expired_key_is_hidden_locked_or_not() {
    let store = store(MemoryOptions::LOCKS, expire_after_two_days());
    let lock = lock_for(&store, LockMode::Compliance, 9 * DAY);
    put(&store, "a/locked", Some(lock));
    put(&store, "b/elsewhere", None);
    store.advance_clock(2 * DAY - 1);
    assert_eq!(lines(&store).len(), 2);
    store.advance_clock(1);
    assert_eq!(
        shown(&store),
        [
            ("a/locked".to_owned(), VersionKind::Marker),
            ("a/locked".to_owned(), VersionKind::Data),
            ("b/elsewhere".to_owned(), VersionKind::Data),
        ]
    );
    store.advance_clock(9 * DAY);
    assert_eq!(lines(&store).len(), 3, "a marker is not expired again");
}

#[test]
fn a_covered_version_goes_and_the_current_one_stays() {
    let store = store(MemoryOptions::VERSIONS, delete_after_three_days());
    put(&store, "a/one", None);
    store.advance_clock(9 * DAY);
    assert_eq!(lines(&store).len(), 1, "nothing covers it");
    let newer = put(&store, "a/one", None);
    store.advance_clock(3 * DAY - 1);
    assert_eq!(lines(&store).len(), 2);
    store.advance_clock(1);
    let left: Vec<_> = lines(&store).into_iter().map(|line| line.version).collect();
    assert_eq!(left, [newer.version]);
}

#[test]
fn what_is_locked_or_held_stays_until_that_ends() {
    let store = store(MemoryOptions::LOCKS, delete_after_three_days());
    let lock = lock_for(&store, LockMode::Governance, 5 * DAY);
    let locked = put(&store, "a/locked", Some(lock));
    let held = put(&store, "a/held", None);
    at_once(store.hold(&held, Hold::On)).unwrap();
    for object in [&locked, &held] {
        at_once(store.hide(&object.key)).unwrap();
    }
    store.advance_clock(4 * DAY);
    assert_eq!(lines(&store).len(), 4);
    store.advance_clock(DAY);
    let left: Vec<_> = lines(&store)
        .iter()
        .filter_map(VersionInfo::object_ref)
        .map(|object| object.version)
        .collect();
    assert!(left.contains(&held.version));
    assert!(!left.contains(&locked.version));
    at_once(store.hold(&held, Hold::Off)).unwrap();
    store.advance_clock(0);
    assert_eq!(lines(&store).len(), 2, "two markers are left");
}

#[test]
fn one_long_step_of_the_clock_does_what_many_short_ones_do() {
    let rule = LifecycleRule {
        prefix: String::new(),
        expire_current_days: Some(2),
        delete_noncurrent_days: Some(3),
    };
    let long = store(MemoryOptions::LOCKS, rule);
    put(&long, "a/one", None);
    let lock = lock_for(&long, LockMode::Compliance, 30 * DAY);
    put(&long, "a/two", Some(lock));
    let short = long.duplicate();
    long.advance_clock(6 * DAY);
    for _ in 0..6 * 24 {
        short.advance_clock(DAY / 24);
    }
    assert_eq!(lines(&long), lines(&short));
    assert_eq!(lines(&long).len(), 3);
}

#[test]
fn without_versions_an_expired_object_is_gone() {
    let store = store(MemoryOptions::PLAIN, expire_after_two_days());
    put(&store, "a/one", None);
    store.advance_clock(2 * DAY);
    assert!(lines(&store).is_empty());
}

#[test]
fn a_rule_that_comes_late_does_not_date_its_markers_back() {
    let store = store(MemoryOptions::VERSIONS, LifecycleRule::default());
    put(&store, "a/one", None);
    store.advance_clock(100 * DAY);
    let set_at = store.clock();
    let rule = LifecycleRule {
        delete_noncurrent_days: Some(3),
        ..expire_after_two_days()
    };
    store.set_lifecycle(vec![rule]).unwrap();
    store.set_clock(set_at.saturating_add_seconds(DAY));
    let all = lines(&store);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].stored_at, StoreTime::within_second(set_at.seconds));
}

#[test]
fn a_store_that_lies_about_locks_lets_its_rules_take_what_is_locked() {
    let model = MemoryModel::s3(MemoryOptions::LOCKS).lying(&[Lie::DeletesLocked]);
    let store = MemoryStore::new(model);
    store
        .set_lifecycle(vec![delete_after_three_days()])
        .unwrap();
    let lock = lock_for(&store, LockMode::Compliance, 30 * DAY);
    let locked = put(&store, "a/one", Some(lock));
    let status = at_once(store.lock_of(&locked)).unwrap();
    assert_eq!(status, LockStatus::Until(lock), "it says that all is well");
    at_once(store.hide(&locked.key)).unwrap();
    store.advance_clock(3 * DAY);
    let outcome = at_once(store.get(&locked.key, Some(&locked.version), None, 99));
    assert_eq!(kind(outcome), StoreErrorKind::NotFound);
}
