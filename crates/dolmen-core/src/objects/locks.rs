//! The locks that objects carry: put with them, known as the store states them, made longer by version.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use dolmen_format::{ObjectKey, ObjectKind, Timestamp};
use dolmen_store::{Hold, Lock, LockStatus, ObjectRef, PutReceipt, StoreError, StoreErrorKind};
use futures_util::StreamExt as _;

use super::locking::{Locking, Longer, Protection};
use super::versions::lock as locked;
use super::{FetchError, Listed, Objects, StoredCopy, store_key};
use crate::error::Error;

/// Locks that are looked at and made longer at the same time.
const EXTENSIONS_MAX: usize = 16;

/// What a client knows of locks, all of it from the store's own mouth.
#[derive(Debug, Default)]
pub(super) struct Locks {
    protection: Mutex<Protection>,
    /// Locks of the one version of a key. What lies under another writer's name is another key.
    known: Mutex<HashMap<ObjectKey, LockStatus>>,
}

impl Locks {
    /// Notes what a listing states of a key that has one version.
    pub(super) fn note_listed(&self, object: &Listed) {
        if let [copy] = object.copies.as_slice() {
            self.note(object.key, copy.lock);
        }
    }

    fn note(&self, key: ObjectKey, status: LockStatus) {
        if !matches!(status, LockStatus::Unknown | LockStatus::None) {
            locked(&self.known).insert(key, status);
        }
    }

    fn known(&self, key: &ObjectKey) -> Option<LockStatus> {
        locked(&self.known).get(key).copied()
    }
}

impl Objects {
    /// Protects what is put and renewed from now on like this.
    pub fn protect_with(&self, protection: Protection) {
        *locked(&self.locks.protection) = protection;
    }

    /// How objects are locked; `None`: not at all.
    pub fn locking(&self) -> Option<Arc<Locking>> {
        match &*locked(&self.locks.protection) {
            Protection::Locks(locking) => Some(Arc::clone(locking)),
            Protection::None | Protection::View => None,
        }
    }

    fn is_protected_by_view(&self) -> bool {
        matches!(*locked(&self.locks.protection), Protection::View)
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
    ) -> Result<PutReceipt, StoreError> {
        let Some(locking) = self.locking() else {
            return Ok(receipt);
        };
        let status = match receipt.locked_until {
            Some(until) => LockStatus::Until(Lock {
                until,
                ..locking.lock_for(&key.id())
            }),
            None => self.store().lock_of(&receipt.object).await?,
        };
        receipt.locked_until = locking.protects_until(status);
        self.locks.note(*key, status);
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
    ) -> Result<Option<Timestamp>, FetchError> {
        let Some(locking) = self.locking() else {
            return Ok(None);
        };
        if let Some(status) = self.locks.known(key)
            && locking.next(&key.id(), status, 0).is_none()
        {
            return Ok(locking.protects_until(status));
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
        mut each: impl FnMut(&Listed, Result<Extended, FetchError>) -> ControlFlow<()>,
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
    ) -> Result<Extended, FetchError> {
        if self.is_protected_by_view() {
            return self.show(object, kind, extension).await;
        }
        if self.locking().is_none() {
            return Ok(Extended::default());
        }
        // The only version there is needs no reading to be the right one.
        if let [copy] = object.copies.as_slice() {
            let extended = self.extend(&object.key, copy, promise_seconds, extension);
            return Ok(extended.await?);
        }
        let hashed = self.hash_versions(object, kind).await;
        if hashed.found.is_some() || hashed.unread.is_empty() {
            let found = self.note_search(object, kind, hashed.found).await?;
            let copy = found.ok_or(FetchError::Altered)?.copy;
            let extended = self.extend(&object.key, &copy, promise_seconds, extension);
            return Ok(extended.await?);
        }
        // Only its hash drops a version: what cannot be read now must not lapse until it can.
        let mut failed = FetchError::Altered;
        for (copy, error) in hashed.unread {
            let extended = self.extend(&object.key, &copy, promise_seconds, extension);
            failed = extended.await.err().map_or(error, FetchError::Store);
        }
        Err(failed)
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
    ) -> Result<Extended, StoreError> {
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
        extended.status = status;
        if let Some(longer) = locking.next(&key.id(), status, promise_seconds) {
            match extension {
                Extension::Apply => self.lengthen(&object, longer, &mut extended).await?,
                Extension::Plan => {
                    extended.status = longer.over(status);
                    extended.is_renewed = true;
                    extended.until = locking.protects_until(extended.status);
                    return Ok(extended);
                }
            }
        }
        extended.until = locking.protects_until(extended.status);
        self.locks.note(*key, extended.status);
        Ok(extended)
    }

    /// Asks for a longer lock. Where that was refused, somebody may have made it longer meanwhile; where no answer came, it
    /// may have been done: what the store then states counts.
    async fn lengthen(
        &self,
        object: &ObjectRef,
        longer: Longer,
        extended: &mut Extended,
    ) -> Result<(), StoreError> {
        extended.calls = extended.calls.saturating_add(1);
        let wanted = longer.over(extended.status);
        let done = match longer {
            Longer::Lock(lock) => self.store().extend(object, lock).await,
            Longer::Hold => self.store().hold(object, Hold::On).await,
        };
        let Err(error) = done else {
            extended.status = wanted;
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
        extended.status = status;
        extended.is_renewed = is_unanswered && longer.is_done(status);
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
#[derive(Debug)]
pub struct Extended {
    /// The lock now.
    pub status: LockStatus,
    /// Until when it protects.
    pub until: Option<Timestamp>,
    /// Whether it was made longer, or the object was put into view again.
    pub is_renewed: bool,
    /// Whether the object was hidden or covered where the plain view is what protects.
    pub was_out_of_view: bool,
    /// Requests.
    pub calls: u64,
    /// Why it was not, where it should have been.
    pub refused: Option<StoreError>,
}

impl Default for Extended {
    fn default() -> Self {
        Self {
            status: LockStatus::None,
            until: None,
            is_renewed: false,
            was_out_of_view: false,
            calls: 0,
            refused: None,
        }
    }
}
