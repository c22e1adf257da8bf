//! What an owner or an intruder can do, and what not even they can.

use super::*;
use crate::bucket::DefaultRetention;
use crate::object::{Checksum, VersionKind};

fn locking() -> MemoryStore {
    MemoryStore::new(MemoryModel::b2(MemoryOptions::LOCKS))
}

#[test]
fn governance_bends_to_a_bypass_and_compliance_does_not() {
    let store = locking();
    let governed = put(
        &store,
        "governed",
        Some(lock_for(&store, LockMode::Governance, 60)),
    );
    let compliant = put(
        &store,
        "compliant",
        Some(lock_for(&store, LockMode::Compliance, 60)),
    );
    let shorter = lock_for(&store, LockMode::Governance, 30);
    store.weaken(&governed, Some(shorter)).unwrap();
    let status = at_once(store.lock_of(&governed)).unwrap();
    assert_eq!(status, LockStatus::Until(shorter));
    store.weaken(&governed, None).unwrap();
    at_once(store.delete_version(&governed)).unwrap();

    let before = at_once(store.lock_of(&compliant)).unwrap();
    let earlier = lock_for(&store, LockMode::Compliance, 59);
    let softer = lock_for(&store, LockMode::Governance, 90);
    for weaker in [None, Some(earlier), Some(softer)] {
        let outcome = store.weaken(&compliant, weaker);
        assert_eq!(kind(outcome), StoreErrorKind::Locked, "{weaker:?}");
    }
    let outcome = store.delete_bypassing(&compliant);
    assert_eq!(kind(outcome), StoreErrorKind::Locked);
    assert_eq!(at_once(store.lock_of(&compliant)).unwrap(), before);

    store.advance_clock(60);
    store.weaken(&compliant, None).unwrap();
}

#[test]
fn a_bypass_deletes_what_is_governed_and_not_what_is_held() {
    let store = locking();
    let lock = lock_for(&store, LockMode::Governance, 60);
    let object = put(&store, "a", Some(lock));
    at_once(store.hold(&object, Hold::On)).unwrap();
    let outcome = store.delete_bypassing(&object);
    assert_eq!(kind(outcome), StoreErrorKind::Locked);
    at_once(store.hold(&object, Hold::Off)).unwrap();
    let outcome = at_once(store.delete_version(&object));
    assert_eq!(kind(outcome), StoreErrorKind::Locked);
    store.delete_bypassing(&object).unwrap();
    assert!(lines(&store).is_empty());
}

#[test]
fn default_retention_locks_what_brings_no_lock() {
    let store = locking();
    let earlier = put(&store, "earlier", None);
    store
        .set_default_retention(Some(DefaultRetention {
            mode: LockMode::Governance,
            days: 3,
        }))
        .unwrap();
    let client = store.with_credential(Credential::client());
    let wanted = lock_for(&store, LockMode::Governance, 3 * 86_400);
    let receipt = at_once(client.put(&key("a"), Bytes::new(), None, Place::OnTop)).unwrap();
    assert_eq!(receipt.locked_until, Some(wanted.until));
    let status = |object: &ObjectRef| at_once(client.lock_of(object)).unwrap();
    assert_eq!(status(&receipt.object), LockStatus::Until(wanted));
    assert_eq!(status(&earlier), LockStatus::None);

    let own = lock_for(&store, LockMode::Compliance, 60);
    let own_locked = put(&store, "b", Some(own));
    assert_eq!(status(&own_locked), LockStatus::Until(own));
    let copy = store.put_back(&earlier).unwrap();
    assert_eq!(status(&copy.object), LockStatus::Until(wanted));
    let foreign = store.put_foreign("a b", b"").unwrap();
    let found = lines(&store);
    let line = found.iter().find(|line| line.version == foreign).unwrap();
    assert_eq!(line.lock, LockStatus::Until(wanted));

    store.set_default_retention(None).unwrap();
    let later = put(&store, "c", None);
    assert_eq!(status(&later), LockStatus::None);
}

#[test]
fn a_bucket_without_locks_has_none_to_set_or_weaken() {
    let store = MemoryStore::new(MemoryModel::b2(MemoryOptions::VERSIONS));
    let outcome = store.set_default_retention(None);
    assert_eq!(kind(outcome), StoreErrorKind::Unsupported);
    let object = put(&store, "a", None);
    let outcome = store.weaken(&object, None);
    assert_eq!(kind(outcome), StoreErrorKind::Unsupported);
    store.delete_bypassing(&object).unwrap();
    assert!(lines(&store).is_empty());
}

#[test]
fn versioning_cannot_be_suspended_under_locks_nor_on_b2() {
    let suspend = |model| MemoryStore::new(model).set_versioning(Versioning::Suspended);
    let locked = suspend(MemoryModel::s3(MemoryOptions::LOCKS)).unwrap_err();
    assert_eq!(locked.to_string(), "configure bucket failed: locked");
    assert_eq!(locked.kind, StoreErrorKind::Locked);
    for model in [
        MemoryModel::s3(MemoryOptions::PLAIN),
        MemoryModel::b2(MemoryOptions::VERSIONS),
    ] {
        assert_eq!(kind(suspend(model)), StoreErrorKind::Unsupported);
    }
}

#[test]
fn a_suspended_bucket_replaces_one_version_and_keeps_the_old_ones() {
    let store = MemoryStore::new(MemoryModel::s3(MemoryOptions::VERSIONS));
    let old = put(&store, "a", None);
    store.set_versioning(Versioning::Suspended).unwrap();
    let first = put(&store, "a", None);
    let second = put(&store, "a", None);
    assert_eq!(first, second, "both are named null");
    let left = |store: &MemoryStore| -> Vec<_> {
        lines(store).into_iter().map(|line| line.version).collect()
    };
    assert_eq!(left(&store), [second.version.clone(), old.version.clone()]);
    at_once(store.hide(&old.key)).unwrap();
    assert_eq!(lines(&store)[0].kind, VersionKind::Marker);
    assert_eq!(left(&store), [second.version, old.version]);
}

#[test]
fn a_foreign_name_is_listed_and_cannot_be_reached() {
    let store = locking();
    put(&store, "a/1", None);
    let names = ["", "a//b", "a/\u{e4}", "../x", "a/1 "];
    for name in names {
        store.put_foreign(name, b"junk").unwrap();
    }
    let found: Vec<_> = lines(&store)
        .into_iter()
        .map(|line| (line.name.clone(), line.object_ref().is_some()))
        .collect();
    let wanted = [
        ("", false),
        ("../x", false),
        ("a//b", false),
        ("a/1", true),
        ("a/1 ", false),
        ("a/\u{e4}", false),
    ];
    assert_eq!(
        found,
        wanted.map(|(name, is_key)| (name.to_owned(), is_key))
    );
}

#[test]
fn an_old_version_put_back_is_a_new_one_without_its_lock() {
    let store = locking();
    let lock = lock_for(&store, LockMode::Compliance, 60);
    let old = put(&store, "a", Some(lock));
    store.put_foreign("a", b"impostor").unwrap();
    let copy = store.put_back(&old).unwrap();
    assert_ne!(copy.object.version, old.version);
    let body = at_once(store.get(&old.key, None, None, 99)).unwrap();
    assert_eq!(body, b"a".as_slice());
    let status = at_once(store.lock_of(&copy.object)).unwrap();
    assert_eq!(status, LockStatus::None);
    assert_eq!(lines(&store).len(), 3);
}

#[test]
fn views_share_a_bucket_and_a_duplicate_does_not() {
    let store = locking();
    put(&store, "a", None);
    let view = store.with_credential(Credential::client());
    let copy = store.duplicate();
    put(&view, "b", None);
    store.advance_clock(9);
    assert_eq!(lines(&store).len(), 2);
    assert_eq!(view.clock(), store.clock());
    assert_eq!(lines(&copy).len(), 1);
    assert_eq!(copy.clock(), MEMORY_CLOCK_START);
}

#[test]
fn either_store_states_its_own_checksum() {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    };
    for (model, wanted) in [
        (
            MemoryModel::s3(MemoryOptions::LOCKS),
            "900150983cd24fb0d6963f7d28e17f72",
        ),
        (
            MemoryModel::b2(MemoryOptions::LOCKS),
            "a9993e364706816aba3e25717850c26c9cd0d89d",
        ),
    ] {
        let store = MemoryStore::new(model);
        let receipt = at_once(store.put(&key("k"), "abc".into(), None, Place::IfAbsent)).unwrap();
        assert_eq!(lines(&store)[0].checksum, receipt.checksum);
        let stated = match receipt.checksum.unwrap() {
            Checksum::Md5(md5) => hex(&md5),
            Checksum::Sha1(sha1) => hex(&sha1),
            Checksum::Sha256(sha256) => hex(&sha256),
        };
        assert_eq!(stated, wanted);
    }
}

#[test]
fn s3_states_locks_only_when_asked_about_one_version() {
    let store = MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS));
    let lock = lock_for(&store, LockMode::Compliance, 60);
    let receipt = at_once(store.put(&key("a"), Bytes::new(), Some(lock), Place::IfAbsent)).unwrap();
    assert_eq!(receipt.locked_until, None);
    assert_eq!(lines(&store)[0].lock, LockStatus::Unknown);
    let status = at_once(store.lock_of(&receipt.object)).unwrap();
    assert_eq!(status, LockStatus::Until(lock));
}
