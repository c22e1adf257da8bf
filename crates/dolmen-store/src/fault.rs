//! A layer that breaks calls on purpose, at the places that a plan names.
//!
//! The same plan and the same calls in the same order give the same faults. Nothing here sleeps.

mod pages;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use self::pages::Pages;
pub use self::plan::{Effect, Fault, FaultPlan, SeededFaults, Tear, When};
use crate::bucket::Bucket;
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo};
use crate::store::{Capabilities, LISTING_PAGE_VERSIONS, Place, Store, StoreIdentity};

/// Makes so many seconds pass, as by moving the clock of a [`MemoryStore`](crate::MemoryStore).
pub type PassSeconds = Arc<dyn Fn(i64) + Send + Sync>;

/// A store whose calls fail as a [`FaultPlan`] says.
///
/// Calls are numbered from 0 in the order in which they come, each page of a listing being a call when it is begun.
pub struct FaultLayer {
    inner: Arc<dyn Store>,
    page_versions: NonZeroU64,
    pass_seconds: Option<PassSeconds>,
    progress: Mutex<Progress>,
}

/// A fault that fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiredFault {
    /// The number of the call.
    pub call: u64,
    /// What was called.
    pub operation: Operation,
    /// What became of it.
    pub fault: Fault,
}

#[derive(Debug, Default)]
struct Progress {
    plan: FaultPlan,
    calls: u64,
    calls_of: BTreeMap<Operation, u64>,
    crashed_at: Option<u64>,
    fired: Vec<FiredFault>,
}

impl FaultLayer {
    /// Lays `plan` over `inner`.
    pub fn new(inner: Arc<dyn Store>, plan: FaultPlan) -> Self {
        Self {
            inner,
            page_versions: LISTING_PAGE_VERSIONS,
            pass_seconds: None,
            progress: Mutex::new(Progress {
                plan,
                ..Progress::default()
            }),
        }
    }

    /// Says what a slow call does. Without, it does nothing.
    #[must_use]
    pub fn with_slowness(self, pass_seconds: PassSeconds) -> Self {
        Self {
            pass_seconds: Some(pass_seconds),
            ..self
        }
    }

    /// Sets the versions on one page of a listing.
    #[must_use]
    pub fn with_page_versions(self, page_versions: NonZeroU64) -> Self {
        Self {
            page_versions,
            ..self
        }
    }

    /// Follows another plan from now on, and ends a crash. Calls go on being counted.
    pub fn set_plan(&self, plan: FaultPlan) {
        let mut progress = self.progress();
        progress.plan = plan;
        progress.crashed_at = None;
    }

    /// Returns how many calls there were: the number of the next one.
    pub fn calls(&self) -> u64 {
        self.progress().calls
    }

    /// Returns how many calls there were of one operation.
    pub fn calls_of(&self, operation: Operation) -> u64 {
        self.progress()
            .calls_of
            .get(&operation)
            .copied()
            .unwrap_or_default()
    }

    /// Returns the faults that fired, in order. Of a crash it shows the call at which it happened, not those after it.
    pub fn fired(&self) -> Vec<FiredFault> {
        self.progress().fired.clone()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and says what is to become of it.
    fn begin(&self, operation: Operation) -> (u64, Option<Fault>) {
        self.progress().begin(operation)
    }

    fn pass_seconds(&self, seconds: i64) {
        if let Some(pass) = &self.pass_seconds {
            pass(seconds);
        }
    }

    /// Makes a call that may change something.
    async fn change<T: Send>(
        &self,
        operation: Operation,
        name: &str,
        call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (number, fault) = self.begin(operation);
        let (kind, effect) = match fault {
            None => return call.await,
            Some(Fault::Slow { seconds, when }) => return self.slowly(seconds, when, call).await,
            Some(Fault::Unavailable) => (Some(StoreErrorKind::Unavailable), Effect::Skipped),
            Some(Fault::Crash(effect)) => (Some(StoreErrorKind::Unavailable), effect),
            Some(Fault::Denied(effect)) => (Some(StoreErrorKind::Denied), effect),
            Some(Fault::TimedOut(effect)) => (Some(StoreErrorKind::OutcomeUnknown), effect),
            Some(Fault::Torn(_)) => (Some(StoreErrorKind::OutcomeUnknown), Effect::Done),
            Some(Fault::Silent(effect)) => (None, effect),
        };
        match effect {
            Effect::Done => drop(call.await),
            Effect::Skipped => drop(call),
        }
        match kind {
            Some(kind) => Err(failed(kind, operation, Some(name), number)),
            None => pending().await,
        }
    }

    /// Makes a call that only reads.
    async fn read<T: Send>(
        &self,
        operation: Operation,
        key: Option<&StoreKey>,
        call: BoxFuture<'_, Result<T, StoreError>>,
        tear: fn(&T, Tear) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let (number, fault) = self.begin(operation);
        let failed = |kind| failed(kind, operation, key.map(StoreKey::as_str), number);
        match fault {
            None => call.await,
            // What a reading call does is known, whether it is done or not.
            Some(Fault::Unavailable | Fault::TimedOut(_) | Fault::Crash(_)) => {
                Err(failed(StoreErrorKind::Unavailable))
            }
            Some(Fault::Denied(_)) => Err(failed(StoreErrorKind::Denied)),
            Some(Fault::Silent(_)) => pending().await,
            Some(Fault::Torn(how)) => tear(&call.await?, how).map_err(failed),
            Some(Fault::Slow { seconds, when }) => self.slowly(seconds, when, call).await,
        }
    }

    async fn slowly<T: Send>(
        &self,
        seconds: i64,
        when: When,
        call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match when {
            When::BeforeEffect => {
                self.pass_seconds(seconds);
                call.await
            }
            When::AfterEffect => {
                let answer = call.await;
                self.pass_seconds(seconds);
                answer
            }
        }
    }
}

impl Progress {
    fn begin(&mut self, operation: Operation) -> (u64, Option<Fault>) {
        let number = self.calls;
        self.calls += 1;
        let of_operation = self.calls_of.entry(operation).or_default();
        let number_of_operation = *of_operation;
        *of_operation += 1;
        if let Some(crash) = self.crashed_at {
            return (crash, Some(Fault::Crash(Effect::Skipped)));
        }
        let fault = self.plan.fault_at(number, operation, number_of_operation);
        if let Some(fault) = fault {
            if let Fault::Crash(_) = fault {
                self.crashed_at = Some(number);
            }
            self.fired.push(FiredFault {
                call: number,
                operation,
                fault,
            });
        }
        (number, fault)
    }
}

fn failed(
    kind: StoreErrorKind,
    operation: Operation,
    key: Option<&str>,
    number: u64,
) -> StoreError {
    StoreError {
        kind,
        operation,
        key: key.map(Into::into),
        source: Some(format!("the plan has a fault at call {number}").into()),
    }
}

/// Breaks a body off, so that at least its last byte is lost.
fn tear_body(body: &Bytes, how: Tear) -> Result<Bytes, StoreErrorKind> {
    match how {
        Tear::Noticed => Err(StoreErrorKind::ShortRead),
        Tear::Unnoticed { kept } => {
            let kept = usize::try_from(kept).unwrap_or(usize::MAX);
            Ok(body.slice(..kept.min(body.len().saturating_sub(1))))
        }
    }
}

/// A small answer comes whole or not at all.
fn lose<T>(_: &T, _: Tear) -> Result<T, StoreErrorKind> {
    Err(StoreErrorKind::Unavailable)
}

impl fmt::Debug for FaultLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultLayer")
            .field("inner", &self.inner)
            .field("page_versions", &self.page_versions)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for FaultLayer {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        let call = self.inner.put(key, body, lock, place);
        self.change(Operation::Put, key.as_str(), call).await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        let call = self.inner.get(key, version, range, max_bytes);
        self.read(Operation::Get, Some(key), call, tear_body).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        Pages::new(self, prefix).into_stream()
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        let call = self.inner.lock_of(object);
        self.read(Operation::LockOf, Some(&object.key), call, lose)
            .await
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        let call = self.inner.extend(object, lock);
        self.change(Operation::Extend, object.key.as_str(), call)
            .await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        let call = self.inner.hold(object, hold);
        self.change(Operation::Hold, object.key.as_str(), call)
            .await
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.change(Operation::Hide, key.as_str(), self.inner.hide(key))
            .await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        let call = self.inner.delete_version(object);
        self.change(Operation::DeleteVersion, object.key.as_str(), call)
            .await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        let call = self.inner.set_aside(name, version);
        self.change(Operation::SetAside, name, call).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        self.read(Operation::Now, None, self.inner.now(), lose)
            .await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    fn bucket(&self) -> Option<&dyn Bucket> {
        self.inner.bucket()
    }
}

#[cfg(test)]
mod tests;
