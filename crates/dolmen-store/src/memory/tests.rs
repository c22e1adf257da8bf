mod lifecycle;
mod owner;
mod rights;

use futures_util::{FutureExt as _, TryStreamExt as _};

use super::*;
use crate::contract;
use crate::lock::LockMode;

/// Every store that a memory store can honestly play.
pub(crate) fn models() -> Vec<MemoryModel> {
    let options = [
        MemoryOptions::PLAIN,
        MemoryOptions::VERSIONS,
        MemoryOptions::LOCKS,
    ];
    options
        .into_iter()
        .flat_map(|options| {
            [
                options.into(),
                MemoryModel::s3(options),
                MemoryModel::b2(options),
            ]
        })
        .collect()
}

fn key(name: &str) -> StoreKey {
    StoreKey::try_from(name).unwrap()
}

/// Memory answers at once.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().unwrap()
}

fn put(store: &MemoryStore, name: &str, lock: Option<Lock>) -> ObjectRef {
    let body = Bytes::copy_from_slice(name.as_bytes());
    at_once(store.put(&key(name), body, lock, Place::OnTop))
        .unwrap()
        .object
}

fn lines(store: &MemoryStore) -> Vec<VersionInfo> {
    at_once(store.list_versions("").try_collect()).unwrap()
}

/// A lock from now on.
fn lock_for(store: &MemoryStore, mode: LockMode, seconds: i64) -> Lock {
    let until = store.clock().saturating_add_seconds(seconds);
    Lock { mode, until }
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> StoreErrorKind {
    outcome.unwrap_err().kind
}

#[tokio::test]
async fn a_memory_store_keeps_the_contract() {
    for model in models() {
        let store = MemoryStore::new(model);
        let outcome = contract::run(&store, "canary/contract").await;
        assert!(outcome.is_ok(), "{model:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_contract_notices_every_lie() {
    for lie in Lie::ALL {
        let case = match lie {
            Lie::DeletesLocked | Lie::ForgetsLocks => "a_locked_version_cannot_be_deleted",
            Lie::DeletesHeld => "a_held_version_cannot_be_deleted",
            Lie::WeakensLocks | Lie::IgnoresExtensions => "a_lock_grows_and_never_shrinks",
            Lie::ReplacesLocked => "a_listing_shows_versions_newest_first",
            Lie::IgnoresConditions => "a_taken_key_keeps_its_first_body",
        };
        let lies = Lie::ALL.as_slice();
        let place = lies.iter().position(|&other| other == lie).unwrap();
        let model = MemoryModel::s3(MemoryOptions::LOCKS).lying(&Lie::ALL[place..=place]);
        let store = MemoryStore::new(model);
        let failure = contract::run(&store, "canary/lie").await.unwrap_err();
        assert_eq!(failure.case, case, "{lie:?}");
    }
}

#[tokio::test]
async fn locks_lapse_as_the_clock_moves() {
    let store = Arc::new(MemoryStore::new(MemoryOptions::LOCKS));
    let clock = Arc::clone(&store);
    let pass_time = move |seconds| -> futures_util::future::BoxFuture<'static, ()> {
        clock.advance_clock(seconds);
        Box::pin(std::future::ready(()))
    };
    contract::run_lapse(store.as_ref(), "canary/lapse", &pass_time)
        .await
        .expect("locks lapse");
}

#[tokio::test]
async fn the_suite_notices_a_lock_that_lapses_too_late() {
    let store = MemoryStore::new(MemoryOptions::LOCKS);
    let stand_still =
        |_| -> futures_util::future::BoxFuture<'static, ()> { Box::pin(std::future::ready(())) };
    let failure = contract::run_lapse(&store, "canary/lapse", &stand_still)
        .await
        .unwrap_err();
    assert_eq!(failure.case, "a_lapsed_lock_lets_go");
}

#[tokio::test]
async fn a_lock_ends_at_a_whole_second_and_not_before() {
    let store = MemoryStore::new(MemoryOptions::LOCKS);
    let key = StoreKey::try_from("a").unwrap();
    let until = Timestamp {
        nanos: 1,
        ..MEMORY_CLOCK_START.saturating_add_seconds(9)
    };
    let lock = Lock {
        mode: LockMode::Compliance,
        until,
    };
    let put = store
        .put(&key, Bytes::new(), Some(lock), Place::IfAbsent)
        .await
        .unwrap();
    assert_eq!(
        put.locked_until,
        Some(MEMORY_CLOCK_START.saturating_add_seconds(10))
    );

    let before = Timestamp {
        nanos: 999_999_999,
        ..MEMORY_CLOCK_START.saturating_add_seconds(9)
    };
    store.set_clock(before);
    let refused = store.delete_version(&put.object).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Locked);
    store.advance_clock(1);
    store.delete_version(&put.object).await.unwrap();
}

#[tokio::test]
async fn a_lock_in_the_past_is_refused() {
    let store = MemoryStore::new(MemoryOptions::LOCKS);
    let key = StoreKey::try_from("a").unwrap();
    let lock = Lock {
        mode: LockMode::Compliance,
        until: MEMORY_CLOCK_START,
    };
    let refused = store
        .put(&key, Bytes::new(), Some(lock), Place::IfAbsent)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Other);
    let listed: Vec<_> = store.list_versions("").collect().await;
    assert!(listed.is_empty());
}
