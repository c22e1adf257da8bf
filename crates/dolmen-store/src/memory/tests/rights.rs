//! Each right alone decides over its calls.

use super::*;
use crate::api::Api;
use crate::bucket::DefaultRetention;
use crate::bucket::{Bucket as _, Setting};

/// A call, and the rights that it takes on either store.
struct Case {
    call: &'static str,
    run: fn(&MemoryStore, &Stage) -> Result<(), StoreError>,
    s3: &'static [Right],
    b2: &'static [Right],
}

/// What the calls find.
struct Stage {
    owner: MemoryStore,
    locked: ObjectRef,
    free: ObjectRef,
    longer: Lock,
}

impl Stage {
    fn new(api: Api) -> Self {
        let owner = MemoryStore::new(match api {
            Api::S3 => MemoryModel::s3(MemoryOptions::LOCKS),
            Api::B2 => MemoryModel::b2(MemoryOptions::LOCKS),
        });
        let lock = lock_for(&owner, LockMode::Governance, 60);
        Self {
            locked: put(&owner, "a/locked", Some(lock)),
            free: put(&owner, "a/free", None),
            longer: lock_for(&owner, LockMode::Governance, 90),
            owner,
        }
    }

    /// Everything that a call could have changed.
    fn state(&self) -> String {
        format!("{:?}", self.owner.state())
    }
}

const CASES: [Case; 19] = [
    Case {
        call: "put",
        run: |store, stage| {
            let body = Bytes::from_static(b"new");
            at_once(store.put(&stage.free.key, body, None, Place::OnTop)).map(drop)
        },
        s3: &[Right::PutObject],
        b2: &[Right::WriteFiles],
    },
    Case {
        call: "put with a lock",
        run: |store, stage| {
            let body = Bytes::from_static(b"new");
            let lock = Some(stage.longer);
            at_once(store.put(&stage.free.key, body, lock, Place::OnTop)).map(drop)
        },
        s3: &[Right::PutObject, Right::PutObjectRetention],
        b2: &[Right::WriteFiles, Right::WriteFileRetentions],
    },
    Case {
        call: "get",
        run: |store, stage| at_once(store.get(&stage.free.key, None, None, 99)).map(drop),
        s3: &[Right::GetObject],
        b2: &[Right::ReadFiles],
    },
    Case {
        call: "get a version",
        run: |store, stage| {
            let version = Some(&stage.free.version);
            at_once(store.get(&stage.free.key, version, None, 99)).map(drop)
        },
        s3: &[Right::GetObjectVersion],
        b2: &[Right::ReadFiles],
    },
    Case {
        call: "list",
        run: |store, _| at_once(store.list_versions("a/").try_collect::<Vec<_>>()).map(drop),
        s3: &[Right::ListBucketVersions],
        b2: &[Right::ListFiles],
    },
    Case {
        call: "read a lock",
        run: |store, stage| at_once(store.lock_of(&stage.locked)).map(drop),
        s3: &[Right::GetObjectRetention],
        b2: &[Right::ListFiles, Right::ReadFileRetentions],
    },
    Case {
        call: "extend",
        run: |store, stage| at_once(store.extend(&stage.locked, stage.longer)),
        s3: &[Right::PutObjectRetention],
        b2: &[Right::WriteFileRetentions],
    },
    Case {
        call: "weaken",
        run: |store, stage| store.weaken(&stage.locked, None),
        s3: &[Right::PutObjectRetention, Right::BypassGovernanceRetention],
        b2: &[Right::WriteFileRetentions, Right::BypassGovernance],
    },
    Case {
        call: "hold",
        run: |store, stage| at_once(store.hold(&stage.free, Hold::On)),
        s3: &[Right::PutObjectLegalHold],
        b2: &[Right::WriteFileLegalHolds],
    },
    Case {
        call: "hide",
        run: |store, stage| at_once(store.hide(&stage.free.key)).map(drop),
        s3: &[Right::DeleteObject],
        b2: &[Right::WriteFiles],
    },
    Case {
        call: "delete",
        run: |store, stage| at_once(store.delete_version(&stage.free)),
        s3: &[Right::DeleteObjectVersion],
        b2: &[Right::DeleteFiles],
    },
    Case {
        call: "delete what is locked",
        run: |store, stage| store.delete_bypassing(&stage.locked),
        s3: &[Right::DeleteObjectVersion, Right::BypassGovernanceRetention],
        b2: &[Right::DeleteFiles, Right::BypassGovernance],
    },
    Case {
        call: "put a foreign name",
        run: |store, _| store.put_foreign("a/ b", b"junk").map(drop),
        s3: &[Right::PutObject],
        b2: &[Right::WriteFiles],
    },
    Case {
        call: "put back",
        run: |store, stage| store.put_back(&stage.free).map(drop),
        s3: &[Right::GetObjectVersion, Right::PutObject],
        b2: &[Right::ReadFiles, Right::WriteFiles],
    },
    Case {
        call: "set default retention",
        run: |store, _| {
            store.set_default_retention(Some(DefaultRetention {
                mode: LockMode::Compliance,
                days: 1,
            }))
        },
        s3: &[Right::PutBucketObjectLockConfiguration],
        b2: &[Right::WriteBucketRetentions],
    },
    Case {
        call: "set lifecycle rules",
        run: |store, _| store.set_lifecycle(vec![LifecycleRule::default()]),
        s3: &[Right::PutLifecycleConfiguration],
        b2: &[Right::WriteBuckets],
    },
    Case {
        call: "set default retention again",
        run: |store, _| at_once(store.set_again(Setting::DefaultRetention)),
        s3: &[Right::PutBucketObjectLockConfiguration],
        b2: &[Right::WriteBucketRetentions],
    },
    Case {
        call: "set lifecycle rules again",
        run: |store, _| at_once(store.set_again(Setting::Lifecycle)),
        s3: &[Right::PutLifecycleConfiguration],
        b2: &[Right::WriteBuckets],
    },
    Case {
        call: "read the clock",
        run: |store, _| at_once(store.now()).map(drop),
        s3: &[],
        b2: &[],
    },
];

fn each_case(check: impl Fn(Api, &Case, &[Right])) {
    for case in &CASES {
        check(Api::S3, case, case.s3);
        check(Api::B2, case, case.b2);
    }
}

#[test]
fn the_rights_of_a_call_are_enough_for_it() {
    each_case(|api, case, rights| {
        let stage = Stage::new(api);
        let store = stage.owner.with_credential(Credential::of(rights));
        let outcome = (case.run)(&store, &stage);
        assert!(outcome.is_ok(), "{api:?}, {}: {outcome:?}", case.call);
    });
}

#[test]
fn a_call_that_lacks_one_right_is_denied_and_changes_nothing() {
    each_case(|api, case, rights| {
        for &right in rights {
            let stage = Stage::new(api);
            let before = stage.state();
            let credential = Credential::everything().without(right);
            let outcome = (case.run)(&stage.owner.with_credential(credential), &stage);
            let what = format!("{api:?}, {} without {right:?}", case.call);
            assert_eq!(kind(outcome), StoreErrorKind::Denied, "{what}");
            assert_eq!(stage.state(), before, "{what}");
        }
    });
}

#[test]
fn no_other_right_is_asked_for() {
    each_case(|api, case, rights| {
        for right in Right::ALL {
            let stage = Stage::new(api);
            let credential = Credential::everything().without(right);
            let outcome = (case.run)(&stage.owner.with_credential(credential), &stage);
            assert_eq!(
                outcome.is_err(),
                rights.contains(&right),
                "{api:?}, {} without {right:?}: {outcome:?}",
                case.call
            );
        }
    });
}

#[test]
fn every_right_is_asked_for_by_some_call_or_shows_something() {
    let asked = |right| {
        CASES
            .iter()
            .any(|case| case.s3.contains(&right) || case.b2.contains(&right))
    };
    let others: Vec<_> = Right::ALL
        .into_iter()
        .filter(|&right| !asked(right))
        .collect();
    assert_eq!(
        others,
        [
            // Tested below, since they need a bucket without locks, or refuse nothing.
            Right::GetObjectLegalHold,
            Right::PutBucketVersioning,
            Right::ReadFileLegalHolds,
            Right::WriteKeys,
        ]
    );
}

#[test]
fn a_setting_is_set_again_as_it_is_by_whoever_may_set_it() {
    let owner = MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS));
    let week = DefaultRetention {
        mode: LockMode::Compliance,
        days: 7,
    };
    owner.set_default_retention(Some(week)).unwrap();
    at_once(owner.set_again(Setting::DefaultRetention)).unwrap();
    at_once(owner.set_again(Setting::Versioning)).unwrap();
    let key = StoreKey::try_from("canary/a").unwrap();
    let put = at_once(owner.put(&key, Bytes::new(), None, Place::IfAbsent)).unwrap();
    let until = owner.clock().saturating_add_seconds(7 * 86_400);
    assert_eq!(put.locked_until, None, "S3 does not state it");
    assert_eq!(
        at_once(owner.lock_of(&put.object)).unwrap().retention(),
        Some(Lock {
            mode: LockMode::Compliance,
            until
        })
    );
    let lacking = Credential::everything().without(Right::PutBucketVersioning);
    let refused = at_once(
        owner
            .with_credential(lacking)
            .set_again(Setting::Versioning),
    );
    assert_eq!(kind(refused), StoreErrorKind::Denied);
    let b2 = MemoryStore::new(MemoryModel::b2(MemoryOptions::LOCKS));
    let unknown = at_once(b2.set_again(Setting::Versioning));
    assert_eq!(kind(unknown), StoreErrorKind::Unsupported);
}

#[test]
fn b2_tells_a_key_whether_it_makes_others_and_s3_does_not() {
    let b2 = MemoryStore::new(MemoryModel::b2(MemoryOptions::LOCKS));
    assert!(at_once(b2.may_create_keys()).unwrap());
    let client = b2.with_credential(Credential::client());
    assert!(!at_once(client.may_create_keys()).unwrap());
    let s3 = MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS));
    let untold = at_once(s3.may_create_keys());
    assert_eq!(kind(untold), StoreErrorKind::Unsupported);
}

#[test]
fn versioning_takes_a_right_of_its_own() {
    let owner = MemoryStore::new(MemoryModel::s3(MemoryOptions::VERSIONS));
    let lacking = Credential::everything().without(Right::PutBucketVersioning);
    let outcome = owner
        .with_credential(lacking)
        .set_versioning(Versioning::Suspended);
    assert_eq!(kind(outcome), StoreErrorKind::Denied);
    let enough = Credential::of(&[Right::PutBucketVersioning]);
    owner
        .with_credential(enough)
        .set_versioning(Versioning::Suspended)
        .unwrap();
}

#[test]
fn a_restricted_key_reaches_its_names_and_no_setting() {
    let stage = Stage::new(Api::S3);
    each_case(|api, case, rights| {
        let stage = Stage::new(api);
        let outside = Credential::everything().within(&["b/", "a/locker"]);
        let outcome = (case.run)(&stage.owner.with_credential(outside), &stage);
        assert_eq!(outcome.is_err(), !rights.is_empty(), "{}", case.call);

        let inside = Credential::everything().within(&["b/", "a/"]);
        let outcome = (case.run)(&stage.owner.with_credential(inside), &stage);
        let is_setting = case.call.starts_with("set ");
        assert_eq!(outcome.is_err(), is_setting, "{}: {outcome:?}", case.call);
    });
    let one = stage
        .owner
        .with_credential(Credential::everything().within(&["a/locked"]));
    let listed: Result<Vec<_>, _> = at_once(one.list_versions("a/").try_collect());
    assert_eq!(kind(listed), StoreErrorKind::Denied);
}

#[test]
fn a_client_can_neither_lock_nor_delete() {
    for api in [Api::S3, Api::B2] {
        let stage = Stage::new(api);
        let client = stage.owner.with_credential(Credential::client());
        let denied: Vec<_> = CASES
            .iter()
            .filter(|case| (case.run)(&client, &stage).is_err())
            .map(|case| case.call)
            .collect();
        let mut wanted = vec![
            "put with a lock",
            "extend",
            "weaken",
            "hold",
            "hide",
            "delete",
            "delete what is locked",
            "set default retention",
            "set lifecycle rules",
            "set default retention again",
            "set lifecycle rules again",
        ];
        // Whoever puts on B2 can hide.
        wanted.retain(|&call| api == Api::S3 || call != "hide");
        assert_eq!(denied, wanted, "{api:?}");
    }
}

#[test]
fn a_renewer_only_lists_and_extends() {
    for api in [Api::S3, Api::B2] {
        let stage = Stage::new(api);
        let renewer = stage.owner.with_credential(Credential::renewer());
        let allowed: Vec<_> = CASES
            .iter()
            .filter(|case| (case.run)(&renewer, &stage).is_ok())
            .map(|case| case.call)
            .collect();
        let wanted = ["list", "read a lock", "extend", "read the clock"];
        assert_eq!(allowed, wanted, "{api:?}");
    }
}

#[test]
fn a_key_without_the_right_to_see_locks_lists_them_as_unknown() {
    let stage = Stage::new(Api::B2);
    let lacking = Credential::everything().without(Right::ReadFileRetentions);
    let blind = stage.owner.with_credential(lacking);
    assert!(!blind.capabilities().listed_locks);
    assert!(
        lines(&blind)
            .iter()
            .all(|line| line.lock == LockStatus::Unknown)
    );
    assert!(
        lines(&stage.owner)
            .iter()
            .all(|line| line.lock != LockStatus::Unknown)
    );
}

#[test]
fn a_hold_shows_only_to_those_who_may_see_holds() {
    for (api, right) in [
        (Api::S3, Right::GetObjectLegalHold),
        (Api::B2, Right::ReadFileLegalHolds),
    ] {
        let stage = Stage::new(api);
        at_once(stage.owner.hold(&stage.locked, Hold::On)).unwrap();
        at_once(stage.owner.hold(&stage.free, Hold::On)).unwrap();
        let lacking = Credential::everything().without(right);
        let blind = stage.owner.with_credential(lacking);
        let status = |store: &MemoryStore, object| at_once(store.lock_of(object)).unwrap();
        assert!(matches!(
            status(&blind, &stage.locked),
            LockStatus::Until(_)
        ));
        assert_eq!(status(&blind, &stage.free), LockStatus::None);
        assert!(matches!(
            status(&stage.owner, &stage.locked),
            LockStatus::Held { retention: Some(_) }
        ));
    }
}
