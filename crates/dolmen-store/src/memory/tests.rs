use std::sync::Arc;

use super::*;
use crate::contract;
use crate::lock::LockMode;

fn options() -> [MemoryOptions; 3] {
    [(false, false), (true, false), (false, true)]
        .map(|(versions, locks)| MemoryOptions { versions, locks })
}

#[tokio::test]
async fn a_memory_store_keeps_the_contract() {
    for options in options() {
        let store = MemoryStore::new(options);
        contract::run(&store, "canary/contract")
            .await
            .expect("the contract holds");
    }
}

#[tokio::test]
async fn locks_lapse_as_the_clock_moves() {
    let store = Arc::new(MemoryStore::new(MemoryOptions {
        versions: true,
        locks: true,
    }));
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
    let store = MemoryStore::new(MemoryOptions {
        versions: true,
        locks: true,
    });
    let stand_still =
        |_| -> futures_util::future::BoxFuture<'static, ()> { Box::pin(std::future::ready(())) };
    let failure = contract::run_lapse(&store, "canary/lapse", &stand_still)
        .await
        .unwrap_err();
    assert_eq!(failure.case, "a_lapsed_lock_lets_go");
}

#[tokio::test]
async fn a_lock_ends_at_a_whole_second_and_not_before() {
    let store = MemoryStore::new(MemoryOptions {
        versions: true,
        locks: true,
    });
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
    let store = MemoryStore::new(MemoryOptions {
        versions: true,
        locks: true,
    });
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
