//! The locks that objects carry: put with them, known as the store states them, made longer by version.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};

use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, Timestamp};
use dolmen_store::{
    Lock, LockMode, LockStatus, ObjectRef, PutReceipt, StoreError, StoreErrorKind, StoreTime,
};
use futures_util::StreamExt as _;

use super::versions::lock as locked;
use super::{FetchError, Listed, Objects, StoredCopy, store_key};
use crate::environment::Clock;
use crate::error::{Error, Result};
use crate::lease::{Clocks, Terms};

/// Locks that are looked at and made longer at the same time.
const EXTENSIONS_MAX: usize = 16;

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

    /// The lock that an object is to get whose lock ends at `until`; `None`: it is not due.
    fn next(&self, id: &ObjectId, until: Option<Timestamp>, promise_seconds: u64) -> Option<Lock> {
        let (clocks, terms) = (self.clocks(), self.terms.protecting(promise_seconds));
        let next = clocks.next(&terms, id, until)?;
        let most = clocks.retain_until_max(&terms);
        Some(Lock {
            mode: self.mode,
            until: most.map_or(next, |most| next.min(most)),
        })
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
            Some(copy) => {
                let extended = self.block_on(self.extend(key, &copy, 0, Extension::Apply))?;
                Ok(extended.until)
            }
            None => Ok(None),
        }
    }

    /// Extends the locks of listed objects where they are due, by the terms or by a longer promise in seconds, each by the
    /// version that is authentic and several at once; `each` sees them in the order given, and may end it.
    ///
    /// Cost: at most three requests each, none for what the listing shows not to be due, and for a key with several
    /// versions one for each until the authentic one.
    pub fn extend_all(
        &self,
        promised: &[(Listed, u64)],
        kind: ObjectKind,
        extension: Extension,
        mut each: impl FnMut(&Listed, std::result::Result<Extended, FetchError>) -> ControlFlow<()>,
    ) {
        self.block_on(async {
            let mut extended = futures_util::stream::iter(promised)
                .map(|(object, promise_seconds)| async move {
                    let extended = self.extend_listed(object, kind, *promise_seconds, extension);
                    (object, extended.await)
                })
                .buffered(EXTENSIONS_MAX);
            while let Some((object, result)) = extended.next().await {
                if each(object, result).is_break() {
                    break;
                }
            }
        });
    }

    async fn extend_listed(
        &self,
        object: &Listed,
        kind: ObjectKind,
        promise_seconds: u64,
        extension: Extension,
    ) -> std::result::Result<Extended, FetchError> {
        if self.locking().is_none() {
            return Ok(Extended::default());
        }
        // The only version there is needs no reading to be the right one.
        let copy = if let [copy] = object.copies.as_slice() {
            copy.clone()
        } else {
            let found = self.search_listed(object, kind).await?;
            found.ok_or(FetchError::Altered)?.copy
        };
        Ok(self
            .extend(&object.key, &copy, promise_seconds, extension)
            .await?)
    }

    /// Extends the lock of one version where it is due, by the terms or by a longer promise.
    ///
    /// Cost: at most one request for the lock, one to extend it, and one to read it back where that was refused or had no
    /// answer.
    async fn extend(
        &self,
        key: &ObjectKey,
        copy: &StoredCopy,
        promise_seconds: u64,
        extension: Extension,
    ) -> std::result::Result<Extended, StoreError> {
        let Some(locking) = self.locking() else {
            return Ok(Extended::default());
        };
        let object = ObjectRef {
            key: store_key(key)?,
            version: copy.version.clone(),
        };
        let mut extended = Extended::default();
        let status = match copy.lock {
            LockStatus::Unknown => {
                extended.calls = 1;
                self.store().lock_of(&object).await?
            }
            stated => stated,
        };
        extended.until = until_of(status);
        if let Some(lock) = locking.next(&key.id(), extended.until, promise_seconds) {
            match extension {
                Extension::Apply => self.lengthen(&object, lock, &mut extended).await?,
                Extension::Plan => {
                    extended.until = Some(lock.until);
                    extended.is_renewed = true;
                    return Ok(extended);
                }
            }
        }
        if let Some(until) = extended.until {
            self.locks.note(*key, until);
        }
        Ok(extended)
    }

    /// Asks for a longer lock. Where that was refused, somebody may have made it longer meanwhile; where no answer came, it
    /// may have been done: the date that the store then states counts.
    async fn lengthen(
        &self,
        object: &ObjectRef,
        lock: Lock,
        extended: &mut Extended,
    ) -> std::result::Result<(), StoreError> {
        extended.calls = extended.calls.saturating_add(1);
        let Err(error) = self.store().extend(object, lock).await else {
            extended.until = Some(lock.until);
            extended.is_renewed = true;
            return Ok(());
        };
        let is_unanswered = error.kind == StoreErrorKind::OutcomeUnknown;
        if !is_unanswered && !matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Locked)
        {
            return Err(error);
        }
        extended.calls = extended.calls.saturating_add(1);
        let Ok(status) = self.store().lock_of(object).await else {
            return Err(error);
        };
        extended.until = until_of(status);
        extended.is_renewed =
            is_unanswered && extended.until.is_some_and(|until| until >= lock.until);
        extended.refused = Some(error);
        Ok(())
    }
}

/// Whether locks are made longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// They are.
    Apply,
    /// It is only said which would be.
    Plan,
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
