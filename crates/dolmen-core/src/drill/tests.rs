use std::sync::Arc;

use dolmen_store::memory::{Lie, Right};
use dolmen_store::{Credential, MemoryModel, MemoryOptions, MemoryStore};
use futures_util::StreamExt as _;

use super::*;
use crate::fixture;

const S3: MemoryModel = MemoryModel::s3(MemoryOptions::LOCKS);
const B2: MemoryModel = MemoryModel::b2(MemoryOptions::LOCKS);

fn drill(
    store: &MemoryStore,
    credential: Credential,
    strategy: LockStrategy,
    role: Role,
) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let store = Arc::new(store.with_credential(credential));
    let objects = Objects::new(store, runtime.handle().clone(), "memory");
    let environment = fixture::repository(&runtime).environment;
    run(&objects, &environment, strategy, role).unwrap()
}

fn compliance(store: &MemoryStore, credential: Credential, role: Role) -> Report {
    drill(store, credential, LockStrategy::Compliance, role)
}

fn outcome(report: &Report, attack: Attack) -> Option<Outcome> {
    let mut tried = report.tried.iter();
    tried
        .find(|tried| tried.attack == attack)
        .map(|tried| tried.outcome)
}

fn succeeding(report: &Report) -> Vec<&'static str> {
    let tried = report.tried.iter();
    tried
        .filter(|tried| tried.outcome == Outcome::Succeeds)
        .map(|tried| tried.attack.name())
        .collect()
}

/// Every version in the store, with how it is locked.
fn left(store: &MemoryStore) -> Vec<(dolmen_store::VersionKind, dolmen_store::LockStatus)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let lines: Vec<_> = store.list_versions("").collect().await;
        let mut left = Vec::new();
        for line in lines {
            let line = line.unwrap();
            let object = dolmen_store::ObjectRef {
                key: dolmen_store::StoreKey::try_from(line.name).unwrap(),
                version: line.version,
            };
            left.push((line.kind, store.lock_of(&object).await.unwrap()));
        }
        left
    })
}

#[test]
fn everything_that_a_client_tries_is_refused_or_absorbed() {
    for model in [S3, B2] {
        for credential in [Credential::client(), Credential::locking_client()] {
            let report = compliance(&MemoryStore::new(model), credential, Role::Backup);
            assert!(succeeding(&report).is_empty(), "{report:#?}");
            assert!(report.is_ok());
            let overwritten = outcome(&report, Attack::Overwrite);
            assert_eq!(overwritten, Some(Outcome::Absorbed));
        }
    }
    // Whoever puts on B2 hides, which harms nothing.
    let hidden = |model| {
        let report = compliance(&MemoryStore::new(model), Credential::client(), Role::Backup);
        outcome(&report, Attack::Hide)
    };
    assert_eq!(hidden(S3), Some(Outcome::Refused));
    assert_eq!(hidden(B2), Some(Outcome::Absorbed));
}

#[test]
fn the_owner_changes_settings_and_breaks_governance_and_no_lock_in_compliance_mode() {
    let report = compliance(&MemoryStore::new(S3), Credential::everything(), Role::Admin);
    assert_eq!(
        succeeding(&report),
        [
            "bypass-governance",
            "remove-hold",
            "change-lifecycle",
            "change-default-retention",
            "suspend-versioning"
        ]
    );
    assert!(report.is_ok(), "an owner may do that");
    assert_eq!(report.left_out, [(Attack::CreateKey, UNTOLD)]);
    for attack in [Attack::DeleteVersion, Attack::ShortenLock] {
        assert_eq!(outcome(&report, attack), Some(Outcome::Refused));
    }
    let on_b2 = compliance(&MemoryStore::new(B2), Credential::everything(), Role::Admin);
    assert!(succeeding(&on_b2).contains(&"create-key"));
}

#[test]
fn an_owners_key_on_a_client_falls_short_of_what_a_client_should_be_able_to_do() {
    let store = MemoryStore::new(S3);
    let report = compliance(&store, Credential::everything(), Role::Backup);
    let short: Vec<_> = report
        .tried
        .iter()
        .filter(|tried| tried.falls_short)
        .collect();
    assert_eq!(short.len(), succeeding(&report).len());
    assert_eq!(short.len(), 5);
}

#[test]
fn each_right_too_many_is_found_out() {
    for (right, attack) in [
        (Right::PutObjectLegalHold, Attack::RemoveHold),
        (Right::PutLifecycleConfiguration, Attack::ChangeLifecycle),
        (
            Right::PutBucketObjectLockConfiguration,
            Attack::ChangeDefaultRetention,
        ),
        (Right::PutBucketVersioning, Attack::SuspendVersioning),
        // What this client puts is not locked, since it may not.
        (Right::DeleteObjectVersion, Attack::DeleteVersion),
    ] {
        let credential = Credential::client().with(right);
        let report = compliance(&MemoryStore::new(S3), credential, Role::Backup);
        assert_eq!(
            outcome(&report, attack),
            Some(Outcome::Succeeds),
            "{right:?}"
        );
        assert_eq!(succeeding(&report).len(), 1, "{right:?}");
        assert!(!report.is_ok(), "{right:?}");
    }
    let bypassing = Credential::locking_client()
        .with(Right::DeleteObjectVersion)
        .with(Right::BypassGovernanceRetention);
    let report = compliance(&MemoryStore::new(S3), bypassing, Role::Maintain);
    assert_eq!(succeeding(&report), ["bypass-governance"]);
    assert!(!report.is_ok());
    let with_keys = Credential::client().with(Right::WriteKeys);
    let report = compliance(&MemoryStore::new(B2), with_keys, Role::Backup);
    assert_eq!(succeeding(&report), ["create-key"]);
}

#[test]
fn a_store_that_does_not_keep_its_locks_is_found_out_whoever_asks() {
    for (lies, attack) in [
        (
            &[Lie::DeletesLocked] as &'static [Lie],
            Attack::DeleteVersion,
        ),
        (&[Lie::WeakensLocks], Attack::ShortenLock),
        (&[Lie::ReplacesLocked], Attack::Overwrite),
    ] {
        let store = MemoryStore::new(S3.lying(lies));
        let report = compliance(&store, Credential::everything(), Role::Admin);
        assert_eq!(
            outcome(&report, attack),
            Some(Outcome::Succeeds),
            "{lies:?}"
        );
        assert!(!report.is_ok(), "{lies:?}");
    }
}

#[test]
fn whoever_may_only_read_attacks_what_others_left() {
    let store = MemoryStore::new(S3);
    let reader = Credential::client().without(Right::PutObject);
    let alone = compliance(&store, reader.clone(), Role::Restore);
    assert_eq!(outcome(&alone, Attack::DeleteVersion), None);
    assert!(alone.left_out.contains(&(Attack::Hide, NO_CANARY)));
    compliance(&store, Credential::locking_client(), Role::Backup);
    let after = compliance(&store, reader.with(Right::DeleteObject), Role::Restore);
    for attack in [
        Attack::DeleteVersion,
        Attack::Overwrite,
        Attack::ChangeLifecycle,
    ] {
        assert_eq!(
            outcome(&after, attack),
            Some(Outcome::Refused),
            "{attack:?}"
        );
    }
    assert_eq!(outcome(&after, Attack::Hide), Some(Outcome::Absorbed));
}

#[test]
fn nothing_stays_but_what_short_locks_hold() {
    let store = MemoryStore::new(S3);
    compliance(&store, Credential::everything(), Role::Admin);
    let day = store.clock().saturating_add_seconds(25 * 3600 + 1);
    let left_over = left(&store);
    assert!(!left_over.is_empty());
    for (_, lock) in left_over {
        assert!(matches!(lock, dolmen_store::LockStatus::Until(lock) if lock.until <= day));
    }
    let unlocked = MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS));
    drill(
        &unlocked,
        Credential::everything(),
        LockStrategy::None,
        Role::Admin,
    );
    assert_eq!(left(&unlocked), []);
}

#[test]
fn where_nothing_is_kept_deleting_and_overwriting_succeed_and_nothing_is_absorbed() {
    let folder = MemoryStore::new(MemoryOptions::PLAIN);
    let attacked = |role| drill(&folder, Credential::everything(), LockStrategy::None, role);
    let report = attacked(Role::Admin);
    assert_eq!(succeeding(&report), ["delete-version", "overwrite"]);
    assert_eq!(report.tried.len(), 2, "the rest does not apply");
    assert_eq!(report.left_out.len(), 8);
    assert!(report.is_ok(), "nothing else was promised to the owner");
    assert!(
        !attacked(Role::Backup).is_ok(),
        "a client should not be able to"
    );
}

#[test]
fn settings_are_what_they_were() {
    let store = MemoryStore::new(S3);
    let retention = dolmen_store::DefaultRetention {
        mode: LockMode::Compliance,
        days: 3,
    };
    store.set_default_retention(Some(retention)).unwrap();
    compliance(&store, Credential::everything(), Role::Admin);
    let put = store.put_foreign("after", b"it").unwrap();
    let key = dolmen_store::StoreKey::try_from("after").unwrap();
    let object = dolmen_store::ObjectRef { key, version: put };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let lock = runtime
        .block_on(store.lock_of(&object))
        .unwrap()
        .retention();
    let until = store.clock().saturating_add_seconds(3 * 86_400);
    assert_eq!(lock.map(|lock| lock.until), Some(until));
}
