//! The cases that every store passes, real services included.
//!
//! Each case is one promise of [`Store`]; what a store does not claim in its
//! [`Capabilities`](crate::Capabilities) must be refused as unsupported. Cases fail with a [`ContractError`] rather than
//! a panic, so that a store which breaks a promise can be shown to fail.

mod bodies;
mod listings;
mod locks;
mod versions;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;

use crate::error::{StoreError, StoreErrorKind};
use crate::key::{KeyError, StoreKey};
use crate::lock::{Lock, LockMode};
use crate::object::{ObjectRef, PutReceipt, VersionInfo};
use crate::store::{Place, Store};

/// How far ahead the first lock of a case ends.
const LOCK_SECONDS: i64 = 60;

/// Larger than any object of the suite.
const CAP_BYTES: u64 = 1 << 26;

/// Waits until a store's clock has moved on by so many seconds: moves it, or sleeps.
pub type PassTime<'a> = &'a (dyn Fn(i64) -> BoxFuture<'static, ()> + Send + Sync);

/// Runs all cases that need no waiting, with objects below `folder`, a key that nothing lies below yet.
///
/// Unlocked objects are left behind too; locks end within two minutes.
pub async fn run(store: &dyn Store, folder: &str) -> Result<(), ContractError> {
    let bench = Bench { store, folder };
    bodies::run(&bench).await?;
    listings::run(&bench).await?;
    versions::run(&bench).await?;
    locks::run(&bench).await
}

/// Shows that a lock which has lapsed keeps nothing. Needs a store with locks, and 5 seconds of its time.
pub async fn run_lapse(
    store: &dyn Store,
    folder: &str,
    pass_time: PassTime<'_>,
) -> Result<(), ContractError> {
    let broken = locks::a_lapsed_lock_lets_go(&Bench { store, folder }, pass_time).await;
    broken.map_err(|broken| ContractError {
        case: "a_lapsed_lock_lets_go",
        broken,
    })
}

/// A case that a store does not pass.
#[derive(Debug, thiserror::Error)]
#[error("case {case} does not hold")]
pub struct ContractError {
    /// The name of the case.
    pub case: &'static str,
    /// How it failed.
    #[source]
    pub broken: Broken,
}

/// How a case fails.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A call failed that must not.
    #[error("a call failed")]
    Call(#[from] StoreError),
    /// A call succeeded that must not, or gave another answer.
    #[error("{0}")]
    Promise(String),
    /// The folder is no key, or too long a one.
    #[error("the folder given to the suite is not the start of a key")]
    Folder(#[from] KeyError),
}

/// A store under test.
struct Bench<'a> {
    store: &'a dyn Store,
    folder: &'a str,
}

impl Bench<'_> {
    fn key(&self, name: &str) -> Result<StoreKey, KeyError> {
        StoreKey::try_from(format!("{}/{name}", self.folder))
    }

    async fn put(&self, name: &str, body: &'static [u8]) -> Result<PutReceipt, Broken> {
        self.put_at(name, body, Place::IfAbsent).await
    }

    async fn put_at(
        &self,
        name: &str,
        body: &'static [u8],
        place: Place,
    ) -> Result<PutReceipt, Broken> {
        let key = self.key(name)?;
        Ok(self
            .store
            .put(&key, Bytes::from_static(body), None, place)
            .await?)
    }

    async fn put_locked(&self, name: &str, seconds: i64) -> Result<(ObjectRef, Lock), Broken> {
        let lock = self.lock(LockMode::Compliance, seconds).await?;
        let body = Bytes::from_static(b"locked");
        let receipt = self
            .store
            .put(&self.key(name)?, body, Some(lock), Place::IfAbsent)
            .await?;
        if let Some(stated) = receipt.locked_until {
            ensure(stated == lock.until, || {
                format!("put states {stated:?}, not {lock:?}")
            })?;
        }
        Ok((receipt.object, lock))
    }

    /// A lock that ends so many seconds after the store's present time.
    async fn lock(&self, mode: LockMode, seconds: i64) -> Result<Lock, Broken> {
        let now = self
            .store
            .now()
            .await?
            .latest
            .saturating_add_seconds(seconds);
        Ok(Lock {
            mode,
            until: dolmen_format::Timestamp::from_seconds(now.ceil_seconds()),
        })
    }

    async fn get(&self, key: &StoreKey) -> Result<Bytes, StoreError> {
        self.store.get(key, None, None, CAP_BYTES).await
    }

    async fn get_version(&self, object: &ObjectRef) -> Result<Bytes, StoreError> {
        self.store
            .get(&object.key, Some(&object.version), None, CAP_BYTES)
            .await
    }

    /// Lists what starts with `name` below the folder.
    async fn list(&self, name: &str) -> Result<Vec<VersionInfo>, StoreError> {
        self.store
            .list_versions(&format!("{}/{name}", self.folder))
            .try_collect()
            .await
    }
}

fn ensure(holds: bool, detail: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(Broken::Promise(detail()))
    }
}

fn ensure_body(what: &str, found: &[u8], wanted: &[u8]) -> Result<(), Broken> {
    ensure(found == wanted, || {
        let (found, wanted) = (found.len(), wanted.len());
        format!("{what}: {found} bytes came back that are not the {wanted} expected")
    })
}

/// Wants a refusal of one of these kinds.
fn ensure_refused<T>(
    what: &str,
    outcome: Result<T, StoreError>,
    kinds: &[StoreErrorKind],
) -> Result<(), Broken> {
    match outcome {
        Ok(_) => Err(Broken::Promise(format!("{what}: succeeded"))),
        Err(error) if kinds.contains(&error.kind) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Runs cases in order and names the first that fails.
macro_rules! run_cases {
    ($bench:expr, [$($case:ident),* $(,)?]) => {{
        $(
            $case($bench).await.map_err(|broken| {
                crate::contract::ContractError { case: stringify!($case), broken }
            })?;
        )*
        Ok(())
    }};
}
use run_cases;
