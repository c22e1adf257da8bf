//! A store in memory, with a clock that only its owner moves.
//!
//! Versions, markers and locks behave as in an S3 bucket with Object Lock. Everything is ordered and numbered, so the
//! same calls give the same answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dolmen_format::Timestamp;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{
    ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo, VersionKind,
};
use crate::store::{Capabilities, LockSupport, Place, Store, StoreClock, StoreIdentity};

/// Where the clock of a new store stands: 2026-01-01 00:00:00 UTC.
pub const MEMORY_CLOCK_START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    options: MemoryOptions,
    identity: StoreIdentity,
    state: Mutex<State>,
}

/// What a [`MemoryStore`] can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryOptions {
    /// Whether older versions stay and keys can be hidden.
    pub versions: bool,
    /// Whether it enforces locks. They bring versions with them, as on S3.
    pub locks: bool,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    made_versions: u64,
    /// The versions of each key, oldest first, never none.
    keys: BTreeMap<StoreKey, Vec<Stored>>,
}

#[derive(Debug)]
struct Stored {
    version: Version,
    received_at: StoreTime,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Data {
        body: Bytes,
        retention: Option<Lock>,
        hold: Hold,
    },
    Marker,
}

impl MemoryStore {
    /// Makes an empty store whose clock stands at [`MEMORY_CLOCK_START`].
    pub fn new(options: MemoryOptions) -> Self {
        let options = MemoryOptions {
            versions: options.versions || options.locks,
            ..options
        };
        let state = State {
            now: MEMORY_CLOCK_START,
            made_versions: 0,
            keys: BTreeMap::new(),
        };
        Self {
            options,
            identity: StoreIdentity::new("memory"),
            state: Mutex::new(state),
        }
    }

    /// Gives the store another name, to tell a copy from its original.
    #[must_use]
    pub fn with_identity(self, identity: StoreIdentity) -> Self {
        Self { identity, ..self }
    }

    /// Sets the clock, backwards too.
    pub fn set_clock(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// Moves the clock on.
    pub fn advance_clock(&self, seconds: i64) {
        let mut state = self.state();
        state.now = state.now.saturating_add_seconds(seconds);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut state = self.state();
        let retention = match lock.map(in_whole_seconds) {
            Some(_) if !self.options.locks => {
                return Err(error(StoreErrorKind::Unsupported, Operation::Put, key));
            }
            Some(lock) if lock.until <= state.now => return Err(past(Operation::Put, key)),
            retention => retention,
        };
        if place == Place::IfAbsent && state.current(key).is_some_and(Stored::is_data) {
            return Err(error(StoreErrorKind::Exists, Operation::Put, key));
        }
        if !self.options.versions {
            state.keys.remove(key);
        }
        let content = Content::Data {
            // A copy: the caller's memory goes back to it.
            body: Bytes::copy_from_slice(&body),
            retention,
            hold: Hold::Off,
        };
        let (object, stored_at) = state.add(key, content);
        let locked_until = retention.map(|lock| lock.until);
        Ok(PutReceipt {
            object,
            stored_at,
            locked_until,
            checksum: None,
        })
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        let fail = |kind| error(kind, Operation::Get, key);
        let state = self.state();
        let stored = match version {
            Some(version) => state.find(key, version),
            None => state.current(key),
        };
        let Some(Stored {
            content: Content::Data { body, .. },
            ..
        }) = stored
        else {
            return Err(fail(StoreErrorKind::NotFound));
        };
        if size_of(body) > max_bytes {
            return Err(fail(StoreErrorKind::TooLarge));
        }
        let Some(range) = range else {
            return Ok(body.clone());
        };
        cut(body, range).ok_or_else(|| fail(StoreErrorKind::ShortRead))
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        let state = self.state();
        let lines: Vec<_> = state
            .keys
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix))
            .flat_map(|(key, versions)| {
                versions
                    .iter()
                    .rev()
                    .enumerate()
                    .map(|(newer_versions, stored)| Ok(stored.line(key, newer_versions == 0)))
            })
            .collect();
        stream::iter(lines).boxed()
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        require(self.options.locks, Operation::LockOf, &object.key)?;
        let state = self.state();
        match state.find(&object.key, &object.version) {
            Some(stored) => Ok(stored.lock()),
            None => Err(error(
                StoreErrorKind::NotFound,
                Operation::LockOf,
                &object.key,
            )),
        }
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        let fail = |kind| error(kind, Operation::Extend, &object.key);
        require(self.options.locks, Operation::Extend, &object.key)?;
        let mut state = self.state();
        let now = state.now;
        let (wanted, retention) = match state.find_mut(object) {
            Some(Content::Data { retention, .. }) => (in_whole_seconds(lock), retention),
            Some(Content::Marker) => return Err(fail(StoreErrorKind::Unsupported)),
            None => return Err(fail(StoreErrorKind::NotFound)),
        };
        // A lapsed lock protects nothing any more, so a weaker one may follow it.
        let binds = retention.filter(|present| present.until > now);
        if binds.is_some_and(|present| wanted.until < present.until || wanted.mode < present.mode) {
            return Err(fail(StoreErrorKind::Locked));
        }
        if wanted.until <= now {
            return Err(past(Operation::Extend, &object.key));
        }
        *retention = Some(wanted);
        Ok(())
    }

    async fn hold(&self, object: &ObjectRef, wanted: Hold) -> Result<(), StoreError> {
        let fail = |kind| error(kind, Operation::Hold, &object.key);
        require(self.options.locks, Operation::Hold, &object.key)?;
        match self.state().find_mut(object) {
            Some(Content::Data { hold, .. }) => {
                *hold = wanted;
                Ok(())
            }
            Some(Content::Marker) => Err(fail(StoreErrorKind::Unsupported)),
            None => Err(fail(StoreErrorKind::NotFound)),
        }
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        require(self.options.versions, Operation::Hide, key)?;
        Ok(self.state().add(key, Content::Marker).0)
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        let fail = |kind| error(kind, Operation::DeleteVersion, &object.key);
        let mut state = self.state();
        let now = state.now;
        match state.find(&object.key, &object.version) {
            None => return Err(fail(StoreErrorKind::NotFound)),
            Some(stored) if stored.is_locked(now) => return Err(fail(StoreErrorKind::Locked)),
            Some(_) => {}
        }
        if let Some(versions) = state.keys.get_mut(&object.key) {
            versions.retain(|stored| stored.version != object.version);
            if versions.is_empty() {
                state.keys.remove(&object.key);
            }
        }
        Ok(())
    }

    /// Reads the clock to the second, as a `Date` header states it.
    async fn now(&self) -> Result<StoreTime, StoreError> {
        Ok(StoreTime::within_second(self.state().now.seconds))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            versions: self.options.versions,
            locks: if self.options.locks {
                LockSupport::ObjectLock
            } else {
                LockSupport::None
            },
            listed_locks: true,
            conditional_put: true,
            clock: StoreClock::Server,
        }
    }

    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }
}

impl State {
    fn current(&self, key: &StoreKey) -> Option<&Stored> {
        self.keys.get(key)?.last()
    }

    fn find(&self, key: &StoreKey, version: &Version) -> Option<&Stored> {
        self.keys
            .get(key)?
            .iter()
            .find(|stored| stored.version == *version)
    }

    fn find_mut(&mut self, object: &ObjectRef) -> Option<&mut Content> {
        let versions = self.keys.get_mut(&object.key)?;
        let stored = versions
            .iter_mut()
            .find(|stored| stored.version == object.version)?;
        Some(&mut stored.content)
    }

    fn add(&mut self, key: &StoreKey, content: Content) -> (ObjectRef, StoreTime) {
        self.made_versions += 1;
        let version = Version::new(self.made_versions.to_string());
        let stored_at = StoreTime::within_second(self.now.seconds);
        let stored = Stored {
            version: version.clone(),
            received_at: stored_at,
            content,
        };
        self.keys.entry(key.clone()).or_default().push(stored);
        (
            ObjectRef {
                key: key.clone(),
                version,
            },
            stored_at,
        )
    }
}

impl Stored {
    const fn is_data(&self) -> bool {
        matches!(self.content, Content::Data { .. })
    }

    const fn lock(&self) -> LockStatus {
        match self.content {
            Content::Data {
                retention,
                hold: Hold::On,
                ..
            } => LockStatus::Held { retention },
            Content::Data {
                retention: Some(lock),
                ..
            } => LockStatus::Until(lock),
            Content::Data {
                retention: None, ..
            }
            | Content::Marker => LockStatus::None,
        }
    }

    fn is_locked(&self, now: Timestamp) -> bool {
        match self.lock() {
            LockStatus::Held { .. } => true,
            LockStatus::Until(lock) => now < lock.until,
            LockStatus::None | LockStatus::Unknown => false,
        }
    }

    fn line(&self, key: &StoreKey, is_current: bool) -> VersionInfo {
        let (kind, size_bytes) = match &self.content {
            Content::Data { body, .. } => (VersionKind::Data, size_of(body)),
            Content::Marker => (VersionKind::Marker, 0),
        };
        VersionInfo {
            name: key.to_string(),
            version: self.version.clone(),
            size_bytes,
            stored_at: self.received_at,
            kind,
            is_current,
            lock: self.lock(),
            checksum: None,
        }
    }
}

fn error(kind: StoreErrorKind, operation: Operation, key: &StoreKey) -> StoreError {
    StoreError {
        kind,
        operation,
        key: Some(key.as_str().into()),
        source: None,
    }
}

fn require(supported: bool, operation: Operation, key: &StoreKey) -> Result<(), StoreError> {
    if supported {
        Ok(())
    } else {
        Err(error(StoreErrorKind::Unsupported, operation, key))
    }
}

fn past(operation: Operation, key: &StoreKey) -> StoreError {
    let source = Some("the lock would end in the past".into());
    StoreError {
        source,
        ..error(StoreErrorKind::Other, operation, key)
    }
}

const fn in_whole_seconds(lock: Lock) -> Lock {
    Lock {
        until: Timestamp::from_seconds(lock.until.ceil_seconds()),
        ..lock
    }
}

fn size_of(body: &Bytes) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

fn cut(body: &Bytes, range: ByteRange) -> Option<Bytes> {
    let (offset, len) = range.within(size_of(body))?;
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    Some(body.slice(start..end))
}

#[cfg(test)]
mod tests;
