//! The locks that objects carry: put with them, known as the store states them, made longer by version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, Timestamp};
use dolmen_store::{
    Lock, LockMode, LockStatus, ObjectRef, PutReceipt, StoreError, StoreErrorKind, StoreTime,
};

use super::versions::lock as locked;
use super::{FetchError, Listed, Objects, StoredCopy, store_key};
use crate::environment::Clock;
use crate::error::{Error, Result};
use crate::lease::{Clocks, Terms};

/// How a client locks what it puts.
#[derive(Debug)]
pub struct Locking {
    mode: LockMode,
    terms: Terms,
    clock: Arc<dyn Clock>,
    /// What the clocks said when the client looked at both.
    local: Timestamp,
    store: StoreTime,
    confirmed: bool,
}

impl Locking {
    /// Locks by a strategy; `None` for one that puts no locks.
    pub fn new(
        strategy: LockStrategy,
        terms: Terms,
        clock: Arc<dyn Clock>,
        store: StoreTime,
        confirmed: bool,
    ) -> Option<Self> {
        let mode = match strategy {
            LockStrategy::Compliance => LockMode::Compliance,
            LockStrategy::Governance => LockMode::Governance,
            LockStrategy::None
            | LockStrategy::Hold
            | LockStrategy::Hide
            | LockStrategy::Attribute => return None,
        };
        let local = clock.now();
        Some(Self {
            mode,
            terms,
            clock,
            local,
            store,
            confirmed,
        })
    }

    /// The terms that locks follow.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The clocks by now, the store's as far as the local one tells how much time has passed.
    pub fn clocks(&self) -> Clocks {
        let local = self.clock.now();
        let passed = local.seconds.saturating_sub(self.local.seconds).max(0);
        Clocks {
            local,
            store: StoreTime {
                earliest: self.store.earliest.saturating_add_seconds(passed),
                latest: self.store.latest.saturating_add_seconds(passed),
            },
            remembered_store: None,
            confirmed: self.confirmed,
        }
    }

    /// From when on protection counts.
    pub fn now(&self) -> Timestamp {
        self.clocks().protect_from()
    }

    /// The lock that an object gets when it is put.
    fn lock_for(&self, id: &ObjectId) -> Lock {
        Lock {
            mode: self.mode,
            until: self.terms.retain_until(id, self.now()),
        }
    }
}

/// What a client knows of locks, all of it from the store's own mouth.
#[derive(Debug, Default)]
pub(super) struct Locks {
    locking: OnceLock<Locking>,
    /// Ends of retention of the one version of a key. What lies under another writer's name is another key.
    known: Mutex<HashMap<ObjectKey, Timestamp>>,
}

impl Locks {
    /// Notes what a listing states of a key that has one version.
    pub(super) fn note_listed(&self, object: &Listed) {
        if let [copy] = object.copies.as_slice()
            && let Some(until) = until_of(copy.lock)
        {
            self.note(object.key, until);
        }
    }

    fn note(&self, key: ObjectKey, until: Timestamp) {
        locked(&self.known).insert(key, until);
    }

    fn known(&self, key: &ObjectKey) -> Option<Timestamp> {
        locked(&self.known).get(key).copied()
    }
}

/// The end of a retention that a status states.
fn until_of(status: LockStatus) -> Option<Timestamp> {
    status.retention().map(|lock| lock.until)
}

impl Objects {
    /// Locks what is put from now on. The first call counts.
    pub fn lock_with(&self, locking: Option<Locking>) {
        if let Some(locking) = locking {
            self.locks.locking.set(locking).ok();
        }
    }

    /// How objects are locked; `None`: not at all.
    pub fn locking(&self) -> Option<&Locking> {
        self.locks.locking.get()
    }

    /// The lock for an object that is to be put.
    pub(super) fn lock_for(&self, key: &ObjectKey) -> Option<Lock> {
        self.locking().map(|locking| locking.lock_for(&key.id()))
    }

    /// Reads the lock of what was put, where the answer did not state it.
    ///
    /// Cost: nothing where it did; else one request.
    pub(super) async fn settle_lock(
        &self,
        key: &ObjectKey,
        mut receipt: PutReceipt,
    ) -> std::result::Result<PutReceipt, StoreError> {
        if self.locking().is_none() {
            return Ok(receipt);
        }
        if receipt.locked_until.is_none() {
            let status = self.store().lock_of(&receipt.object).await?;
            receipt.locked_until = until_of(status);
        }
        if let Some(until) = receipt.locked_until {
            self.locks.note(*key, until);
        }
        Ok(receipt)
    }

    /// The end of an object's lock as the store states it, extended first where it is due and may be. `None`: it has none,
    /// or is not there.
    ///
    /// Cost: nothing where it is known and not due; else a listing of the key, at most one request for the lock, one to
    /// extend it, and what a search costs where the key has several versions.
    pub fn protect(
        &self,
        key: &ObjectKey,
        kind: ObjectKind,
    ) -> std::result::Result<Option<Timestamp>, FetchError> {
        let Some(locking) = self.locking() else {
            return Ok(None);
        };
        if let Some(until) = self.locks.known(key)
            && !locking.terms.is_due(until, locking.now())
        {
            return Ok(Some(until));
        }
        let mut listed = None;
        self.list(&key.to_string(), |object| {
            if object.key == *key {
                listed = Some(object);
            }
        })
        .map_err(|error| match error {
            Error::Store(error) => FetchError::Store(error),
            // A listing fails of the store alone.
            other => FetchError::Store(StoreError {
                kind: StoreErrorKind::Other,
                operation: dolmen_store::Operation::ListVersions,
                key: None,
                source: Some(Box::new(other)),
            }),
        })?;
        let copy = match listed {
            // The only version there is needs no reading to be the right one.
            Some(object) if object.copies.len() == 1 => object.copies.into_iter().next(),
            Some(object) => Some(self.authentic(&object, kind)?),
            None => None,
        };
        match copy {
            Some(copy) => Ok(self.extend_if_due(key, &copy, 0)?.until),
            None => Ok(None),
        }
    }

    /// What [`Self::extend_if_due`] would do, without doing it.
    ///
    /// Cost: at most one request for the lock.
    pub fn would_extend(
        &self,
        key: &ObjectKey,
        copy: &StoredCopy,
        promise_seconds: u64,
    ) -> std::result::Result<Extended, StoreError> {
        let mut extended = self.look_at_lock(key, copy)?;
        if let Some(locking) = self.locking() {
            let terms = locking.terms.protecting(promise_seconds);
            let next = locking.clocks().next(&terms, &key.id(), extended.until);
            extended.is_renewed = next.is_some();
            extended.until = next.or(extended.until);
        }
        Ok(extended)
    }

    /// The lock of a version: as listed, else as the store says when asked.
    fn look_at_lock(
        &self,
        key: &ObjectKey,
        copy: &StoredCopy,
    ) -> std::result::Result<Extended, StoreError> {
        let mut extended = Extended::default();
        let status = match copy.lock {
            LockStatus::Unknown => {
                extended.calls = 1;
                let object = ObjectRef {
                    key: store_key(key)?,
                    version: copy.version.clone(),
                };
                self.block_on(self.store().lock_of(&object))?
            }
            stated => stated,
        };
        extended.until = until_of(status);
        Ok(extended)
    }

    /// Extends the lock of one version where it is due, by the terms or by a longer promise.
    ///
    /// Cost: at most one request for the lock, one to extend it, and one to read it back where that was refused.
    pub fn extend_if_due(
        &self,
        key: &ObjectKey,
        copy: &StoredCopy,
        promise_seconds: u64,
    ) -> std::result::Result<Extended, StoreError> {
        let Some(locking) = self.locking() else {
            return Ok(Extended::default());
        };
        let object = ObjectRef {
            key: store_key(key)?,
            version: copy.version.clone(),
        };
        let mut extended = self.look_at_lock(key, copy)?;
        let terms = locking.terms.protecting(promise_seconds);
        let clocks = locking.clocks();
        if let Some(until) = clocks.next(&terms, &key.id(), extended.until) {
            let until = clocks
                .retain_until_max(&terms)
                .map_or(until, |most| until.min(most));
            let lock = Lock {
                mode: locking.mode,
                until,
            };
            extended.calls = extended.calls.saturating_add(1);
            match self.block_on(self.store().extend(&object, lock)) {
                Ok(()) => {
                    extended.until = Some(until);
                    extended.is_renewed = true;
                }
                // Somebody may have made it longer meanwhile: the store's word counts.
                Err(error)
                    if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Locked) =>
                {
                    extended.calls = extended.calls.saturating_add(1);
                    extended.until = until_of(self.block_on(self.store().lock_of(&object))?);
                    extended.refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(until) = extended.until {
            self.locks.note(*key, until);
        }
        Ok(extended)
    }
}

/// What became of a lock.
#[derive(Debug, Default)]
pub struct Extended {
    /// Its end now.
    pub until: Option<Timestamp>,
    /// Whether it was made longer.
    pub is_renewed: bool,
    /// Requests.
    pub calls: u64,
    /// Why it was not, where it should have been.
    pub refused: Option<StoreError>,
}

/// What a repository's policy says of locks, as far as the store can keep it.
pub fn locking_of(
    objects: &Objects,
    strategy: LockStrategy,
    terms: Option<Terms>,
    clock: Arc<dyn Clock>,
    confirmed: bool,
) -> Result<Option<Locking>> {
    let Some(terms) = terms else { return Ok(None) };
    let store = objects.block_on(objects.store().now())?;
    Ok(Locking::new(strategy, terms, clock, store, confirmed))
}
