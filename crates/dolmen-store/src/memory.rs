//! A store in memory, with a clock that only its owner moves, and with all that an adversary can do to a bucket.
//!
//! Versions, markers and locks behave as in an S3 bucket with Object Lock, or a B2 bucket: see [`MemoryModel`]. One bucket
//! has many views, each with the rights of its [`Credential`]. Everything is ordered and numbered, so the same calls give
//! the same answers.

mod asked;
mod bucket;
mod credential;
mod lifecycle;
mod model;
mod owner;
mod refusal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dolmen_format::Timestamp;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use self::bucket::{Binding, Bucket, Content, Data, Made, in_whole_seconds, size_of};
use self::credential::Call;
pub use self::credential::{Credential, Right};
pub use self::lifecycle::LifecycleRule;
pub use self::model::{Lie, MemoryModel, MemoryOptions, StatedChecksum};
pub use self::owner::Versioning;
use self::owner::is_weaker;
use self::refusal::{Refusal, require};
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo};
use crate::store::{Capabilities, LockSupport, Place, Store, StoreClock, StoreIdentity};

/// Where the clock of a new store stands: 2026-01-01 00:00:00 UTC.
pub const MEMORY_CLOCK_START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// A view of a bucket in memory.
#[derive(Debug)]
pub struct MemoryStore {
    model: MemoryModel,
    credential: Credential,
    identity: StoreIdentity,
    bucket: Arc<Mutex<Bucket>>,
}

impl MemoryStore {
    /// Makes an empty bucket whose clock stands at [`MEMORY_CLOCK_START`], and its owner's view of it.
    pub fn new(model: impl Into<MemoryModel>) -> Self {
        let mut model = model.into();
        model.options.versions |= model.options.locks;
        Self {
            model,
            credential: Credential::everything(),
            identity: StoreIdentity::new("memory"),
            bucket: Arc::new(Mutex::new(Bucket::new(model, MEMORY_CLOCK_START))),
        }
    }

    /// Gives this view of the store another name, to tell a copy from its original.
    #[must_use]
    pub fn with_identity(self, identity: StoreIdentity) -> Self {
        Self { identity, ..self }
    }

    /// Makes another view of the same bucket. What `credential` does not allow is `Denied` and changes nothing.
    #[must_use]
    pub fn with_credential(&self, credential: Credential) -> Self {
        Self {
            model: self.model,
            credential,
            identity: self.identity.clone(),
            bucket: Arc::clone(&self.bucket),
        }
    }

    /// Makes a bucket of its own out of everything that this one holds, its clock and settings included.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            bucket: Arc::new(Mutex::new(self.state().clone())),
            ..self.with_credential(self.credential.clone())
        }
    }

    /// Reads the clock exactly.
    pub fn clock(&self) -> Timestamp {
        self.state().now
    }

    /// Sets the clock, backwards too, and runs what lifecycle rules make of it.
    pub fn set_clock(&self, now: Timestamp) {
        let mut bucket = self.state();
        let before = std::mem::replace(&mut bucket.now, now);
        bucket.run_lifecycle(before);
    }

    /// Moves the clock on, and runs what lifecycle rules make of it.
    pub fn advance_clock(&self, seconds: i64) {
        let mut bucket = self.state();
        let before = bucket.now;
        bucket.now = before.saturating_add_seconds(seconds);
        bucket.run_lifecycle(before);
    }

    fn state(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the bucket for a call on `name`, if the credential allows it.
    fn enter(&self, call: Call, name: &str) -> Result<MutexGuard<'_, Bucket>, Refusal> {
        if self.credential.allows(self.model.api, call, name) {
            Ok(self.state())
        } else {
            Err(StoreErrorKind::Denied.into())
        }
    }

    /// Whether listings and answers to puts state retention to this view.
    fn states_locks(&self) -> bool {
        self.model.listed_locks && self.credential.sees_retention(self.model.api)
    }

    /// Leaves a hold out that this view does not see, as stores do.
    fn seen(&self, lock: LockStatus) -> LockStatus {
        match lock {
            LockStatus::Held { retention } if !self.credential.sees_holds(self.model.api) => {
                retention.map_or(LockStatus::None, LockStatus::Until)
            }
            lock => lock,
        }
    }

    fn receipt(&self, key: &StoreKey, made: Made) -> PutReceipt {
        PutReceipt {
            object: ObjectRef {
                key: key.clone(),
                version: made.version,
            },
            stored_at: made.stored_at,
            locked_until: made.locked_until.filter(|_| self.states_locks()),
            checksum: made.checksum,
        }
    }

    fn put_now(
        &self,
        key: &StoreKey,
        body: &Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, Refusal> {
        require(lock.is_none() || self.model.options.locks)?;
        if place == Place::OnTop && !self.credential.may_cover() {
            return Err(StoreErrorKind::Denied.into());
        }
        let call = match lock {
            Some(_) => Call::PutLocked,
            None => Call::Put,
        };
        let made = self
            .enter(call, key.as_str())?
            .put(key.as_str(), body, lock, place)?;
        Ok(self.receipt(key, made))
    }

    fn get_now(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, Refusal> {
        let name = key.as_str();
        let call = if version.is_some() {
            Call::GetVersion
        } else {
            Call::Get
        };
        let bucket = self.enter(call, name)?;
        let stored = match version {
            Some(version) => bucket.find(name, version),
            None => bucket.current(name),
        };
        let Some(Content::Data(Data { body, .. })) = stored.map(|stored| &stored.content) else {
            return Err(StoreErrorKind::NotFound.into());
        };
        if size_of(body) > max_bytes {
            return Err(StoreErrorKind::TooLarge.into());
        }
        match range {
            None => Ok(body.clone()),
            Some(range) => cut(body, range).ok_or_else(|| StoreErrorKind::ShortRead.into()),
        }
    }

    fn list_now(&self, prefix: &str) -> Result<Vec<VersionInfo>, Refusal> {
        let bucket = self.enter(Call::List, prefix)?;
        let states_locks = self.states_locks();
        let mut lines = Vec::new();
        for (name, versions) in bucket.below(prefix) {
            for (newer_versions, stored) in versions.iter().rev().enumerate() {
                let lock = if states_locks {
                    self.seen(stored.lock())
                } else {
                    LockStatus::Unknown
                };
                lines.push(stored.line(name, newer_versions == 0, lock));
            }
        }
        Ok(lines)
    }

    fn lock_now(&self, object: &ObjectRef) -> Result<LockStatus, Refusal> {
        require(self.model.options.locks)?;
        let name = object.key.as_str();
        let bucket = self.enter(Call::ReadLock, name)?;
        match bucket.find(name, &object.version) {
            Some(stored) => Ok(self.seen(stored.lock())),
            None => Err(StoreErrorKind::NotFound.into()),
        }
    }

    fn extend_now(&self, object: &ObjectRef, lock: Lock) -> Result<(), Refusal> {
        require(self.model.options.locks)?;
        let name = object.key.as_str();
        let mut bucket = self.enter(Call::Extend, name)?;
        let now = bucket.now;
        let wanted = in_whole_seconds(lock);
        let data = bucket.find_data(name, &object.version)?;
        // A lapsed lock protects nothing any more, so a weaker one may follow it.
        let binds = data.retention.filter(|present| now < present.until);
        if is_weaker(wanted, binds) && !self.model.lies_about(Lie::WeakensLocks) {
            return Err(StoreErrorKind::Locked.into());
        }
        if wanted.until <= now {
            return Err(Refusal::PAST);
        }
        if !self.model.lies_about(Lie::IgnoresExtensions) {
            data.retention = Some(wanted);
        }
        Ok(())
    }

    fn hold_now(&self, object: &ObjectRef, hold: Hold) -> Result<(), Refusal> {
        require(self.model.options.locks)?;
        let name = object.key.as_str();
        self.enter(Call::Hold, name)?
            .find_data(name, &object.version)?
            .hold = hold;
        Ok(())
    }

    fn hide_now(&self, key: &StoreKey) -> Result<ObjectRef, Refusal> {
        require(self.model.options.versions)?;
        let mut bucket = self.enter(Call::Hide, key.as_str())?;
        let received_at = bucket.time();
        Ok(ObjectRef {
            key: key.clone(),
            version: bucket.add(key.as_str(), received_at, Content::Marker),
        })
    }

    fn delete_now(&self, object: &ObjectRef) -> Result<(), Refusal> {
        let name = object.key.as_str();
        let mut bucket = self.enter(Call::Delete, name)?;
        let stored = bucket
            .find(name, &object.version)
            .ok_or(StoreErrorKind::NotFound)?;
        match bucket.binding(stored) {
            Binding::Held | Binding::Retained(_) => Err(StoreErrorKind::Locked.into()),
            Binding::Free => {
                bucket.remove(name, &object.version);
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        self.put_now(key, &body, lock, place)
            .map_err(|refusal| refusal.at(Operation::Put, key.as_str()))
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        self.get_now(key, version, range, max_bytes)
            .map_err(|refusal| refusal.at(Operation::Get, key.as_str()))
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        let lines = match self.list_now(prefix) {
            Ok(lines) => lines.into_iter().map(Ok).collect(),
            Err(refusal) => vec![Err(refusal.at(Operation::ListVersions, prefix))],
        };
        stream::iter(lines).boxed()
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        self.lock_now(object)
            .map_err(|refusal| refusal.at(Operation::LockOf, object.key.as_str()))
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        self.extend_now(object, lock)
            .map_err(|refusal| refusal.at(Operation::Extend, object.key.as_str()))
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.hold_now(object, hold)
            .map_err(|refusal| refusal.at(Operation::Hold, object.key.as_str()))
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.hide_now(key)
            .map_err(|refusal| refusal.at(Operation::Hide, key.as_str()))
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.delete_now(object)
            .map_err(|refusal| refusal.at(Operation::DeleteVersion, object.key.as_str()))
    }

    /// A bucket hides; it moves nothing.
    async fn set_aside(&self, name: &str, _version: &Version) -> Result<(), StoreError> {
        Err(Refusal::from(StoreErrorKind::Unsupported).at(Operation::SetAside, name))
    }

    /// Reads the clock to the second, as a `Date` header states it: every answer has one, so no right is needed.
    async fn now(&self) -> Result<StoreTime, StoreError> {
        Ok(self.state().time())
    }

    /// Says what the store claims, which is more than it does where it lies.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            versions: self.model.options.versions,
            quarantine: false,
            locks: if self.model.options.locks {
                LockSupport::ObjectLock
            } else {
                LockSupport::None
            },
            listed_locks: self.states_locks(),
            conditional_put: self.model.conditional_put,
            clock: StoreClock::Server,
        }
    }

    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    /// One without versions plays a folder.
    fn bucket(&self) -> Option<&dyn crate::Bucket> {
        self.model.options.versions.then_some(self)
    }
}

fn cut(body: &Bytes, range: ByteRange) -> Option<Bytes> {
    let (offset, len) = range.within(size_of(body))?;
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    Some(body.slice(start..end))
}

#[cfg(test)]
pub(crate) mod tests;
