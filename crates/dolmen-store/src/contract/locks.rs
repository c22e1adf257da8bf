//! Locks keep versions, grow, and never shrink.

use bytes::Bytes;

use super::{
    Bench, Broken, ContractError, LOCK_SECONDS, PassTime, ensure, ensure_body, ensure_refused,
    run_cases,
};
use crate::error::StoreErrorKind;
use crate::lock::{Hold, Lock, LockMode, LockStatus};
use crate::object::ObjectRef;
use crate::store::{LockSupport, Place};

/// A store says either that a lock is in the way or that nobody has the right.
const KEPT: [StoreErrorKind; 2] = [StoreErrorKind::Locked, StoreErrorKind::Denied];

pub(super) async fn run(bench: &Bench<'_>) -> Result<(), ContractError> {
    match bench.store.capabilities().locks {
        LockSupport::None => run_cases!(bench, [locks_are_refused_as_unsupported]),
        LockSupport::ObjectLock => run_cases!(
            bench,
            [
                a_locked_version_cannot_be_deleted,
                a_lock_grows_and_never_shrinks,
                an_unlocked_version_can_be_locked,
                a_lock_stays_with_its_version,
                a_held_version_cannot_be_deleted,
                a_listing_states_locks_or_says_that_it_does_not_know,
            ]
        ),
    }
}

async fn locks_are_refused_as_unsupported(bench: &Bench<'_>) -> Result<(), Broken> {
    let unsupported = [StoreErrorKind::Unsupported];
    let object = bench.put("lock/none", b"1").await?.object;
    let lock = bench.lock(LockMode::Compliance, LOCK_SECONDS).await?;
    ensure_refused("lock_of", bench.store.lock_of(&object).await, &unsupported)?;
    ensure_refused(
        "extend",
        bench.store.extend(&object, lock).await,
        &unsupported,
    )?;
    ensure_refused(
        "hold",
        bench.store.hold(&object, Hold::On).await,
        &unsupported,
    )?;
    let key = bench.key("lock/refused")?;
    let outcome = bench
        .store
        .put(&key, Bytes::new(), Some(lock), Place::IfAbsent)
        .await;
    ensure_refused("put with a lock", outcome, &unsupported)?;
    // Had the body been stored without its lock, the caller would believe it protected.
    ensure_refused(
        "the refused body",
        bench.get(&key).await,
        &[StoreErrorKind::NotFound],
    )
}

async fn a_locked_version_cannot_be_deleted(bench: &Bench<'_>) -> Result<(), Broken> {
    for (name, mode) in [
        ("lock/compliance", LockMode::Compliance),
        ("lock/governance", LockMode::Governance),
    ] {
        let lock = bench.lock(mode, LOCK_SECONDS).await?;
        let body = Bytes::from_static(b"locked");
        let put = bench
            .store
            .put(&bench.key(name)?, body, Some(lock), Place::IfAbsent)
            .await?;
        ensure_lock(bench, &put.object, LockStatus::Until(lock)).await?;
        ensure_refused(name, bench.store.delete_version(&put.object).await, &KEPT)?;
        ensure_body(name, &bench.get_version(&put.object).await?, b"locked")?;
    }
    Ok(())
}

async fn a_lock_grows_and_never_shrinks(bench: &Bench<'_>) -> Result<(), Broken> {
    let (object, lock) = bench.put_locked("lock/grows", LOCK_SECONDS).await?;
    let later = Lock {
        until: lock.until.saturating_add_seconds(30),
        ..lock
    };
    bench.store.extend(&object, later).await?;
    ensure_lock(bench, &object, LockStatus::Until(later)).await?;
    bench.store.extend(&object, later).await?;

    let weaker = Lock {
        mode: LockMode::Governance,
        ..later
    };
    for (what, weaker) in [("an earlier end", lock), ("a weaker mode", weaker)] {
        ensure_refused(what, bench.store.extend(&object, weaker).await, &KEPT)?;
        ensure_lock(bench, &object, LockStatus::Until(later)).await?;
    }
    ensure_refused("a delete", bench.store.delete_version(&object).await, &KEPT)
}

async fn an_unlocked_version_can_be_locked(bench: &Bench<'_>) -> Result<(), Broken> {
    let object = bench.put("lock/late", b"1").await?.object;
    ensure_lock(bench, &object, LockStatus::None).await?;
    let lock = bench.lock(LockMode::Governance, LOCK_SECONDS).await?;
    bench.store.extend(&object, lock).await?;
    let harder = Lock {
        mode: LockMode::Compliance,
        ..lock
    };
    // On S3 a change of the mode takes the right to bypass governance.
    let outcome = bench.store.extend(&object, harder).await;
    let left = if outcome.is_ok() { harder } else { lock };
    if outcome.is_err() {
        ensure_refused("a harder mode", outcome, &KEPT)?;
    }
    ensure_lock(bench, &object, LockStatus::Until(left)).await?;
    ensure_refused("a delete", bench.store.delete_version(&object).await, &KEPT)
}

async fn a_lock_stays_with_its_version(bench: &Bench<'_>) -> Result<(), Broken> {
    let (good, lock) = bench.put_locked("lock/beneath", LOCK_SECONDS).await?;
    let junk = bench
        .put_at("lock/beneath", b"junk", Place::OnTop)
        .await?
        .object;
    let later = Lock {
        until: lock.until.saturating_add_seconds(30),
        ..lock
    };
    bench.store.extend(&good, later).await?;
    ensure_lock(bench, &good, LockStatus::Until(later)).await?;
    ensure_lock(bench, &junk, LockStatus::None).await?;

    let marker = bench.store.hide(&good.key).await?;
    ensure_lock(bench, &good, LockStatus::Until(later)).await?;
    ensure_body("by version", &bench.get_version(&good).await?, b"locked")?;
    for unlocked in [marker, junk] {
        bench.store.delete_version(&unlocked).await?;
    }
    ensure_body("healed", &bench.get(&good.key).await?, b"locked")
}

async fn a_held_version_cannot_be_deleted(bench: &Bench<'_>) -> Result<(), Broken> {
    let object = bench.put("lock/held", b"1").await?.object;
    bench.store.hold(&object, Hold::On).await?;
    ensure_lock(bench, &object, LockStatus::Held { retention: None }).await?;
    ensure_refused("a delete", bench.store.delete_version(&object).await, &KEPT)?;
    bench.store.hold(&object, Hold::Off).await?;
    ensure_lock(bench, &object, LockStatus::None).await?;
    bench.store.delete_version(&object).await?;

    let (object, lock) = bench.put_locked("lock/both", LOCK_SECONDS).await?;
    bench.store.hold(&object, Hold::On).await?;
    ensure_lock(
        bench,
        &object,
        LockStatus::Held {
            retention: Some(lock),
        },
    )
    .await?;
    bench.store.hold(&object, Hold::Off).await?;
    ensure_lock(bench, &object, LockStatus::Until(lock)).await?;
    ensure_refused("a delete", bench.store.delete_version(&object).await, &KEPT)
}

async fn a_listing_states_locks_or_says_that_it_does_not_know(
    bench: &Bench<'_>,
) -> Result<(), Broken> {
    let (_, lock) = bench.put_locked("lock/listed", LOCK_SECONDS).await?;
    let wanted = if bench.store.capabilities().listed_locks {
        LockStatus::Until(lock)
    } else {
        LockStatus::Unknown
    };
    let lines = bench.list("lock/listed").await?;
    ensure(lines.iter().map(|line| line.lock).eq([wanted]), || {
        format!("wanted {wanted:?}, listed {lines:?}")
    })
}

pub(super) async fn a_lapsed_lock_lets_go(
    bench: &Bench<'_>,
    pass_time: PassTime<'_>,
) -> Result<(), Broken> {
    let (object, _) = bench.put_locked("lapse/lock", 3).await?;
    let (held, _) = bench.put_locked("lapse/hold", 3).await?;
    bench.store.hold(&held, Hold::On).await?;
    ensure_refused("before", bench.store.delete_version(&object).await, &KEPT)?;
    pass_time(5).await;
    bench.store.delete_version(&object).await?;
    ensure_refused(
        "a get",
        bench.get(&object.key).await,
        &[StoreErrorKind::NotFound],
    )?;
    ensure_refused(
        "under a hold",
        bench.store.delete_version(&held).await,
        &KEPT,
    )?;
    bench.store.hold(&held, Hold::Off).await?;
    Ok(bench.store.delete_version(&held).await?)
}

async fn ensure_lock(
    bench: &Bench<'_>,
    object: &ObjectRef,
    wanted: LockStatus,
) -> Result<(), Broken> {
    let found = bench.store.lock_of(object).await?;
    ensure(found == wanted, || {
        format!("{} has {found:?}, not {wanted:?}", object.key)
    })
}
