//! Putting objects, with their locks, where nothing is or where they may be already.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use dolmen_format::{ObjectKey, ObjectKind};
use dolmen_store::{
    Lock, LockStatus, ObjectRef, Place, PutReceipt, StoreError, StoreErrorKind, StoreTime,
};

use super::hashes::Verdict;
use super::{Extension, FetchError, Objects, store_key};
use crate::error::Result;

impl Objects {
    /// Puts an object under its name and its lock, durable on return. One that is there already with these very bytes
    /// is as good once its lock is long enough; other bytes under the name are covered.
    ///
    /// Cost: one request, one more where locks must be asked for; where something was there what looking at it costs (a
    /// listing of the key, reading it, and what a renewal of it costs), and one more to cover it where it is no good.
    pub fn put(&self, key: &ObjectKey, body: Bytes) -> Result<PutReceipt> {
        self.runtime.block_on(self.put_async(key, body))
    }

    /// As [`Self::put`], from async code.
    pub async fn put_async(&self, key: &ObjectKey, body: Bytes) -> Result<PutReceipt> {
        let receipt = match self.put_locked(key, &body, Place::IfAbsent).await {
            Err(StoreError {
                kind: StoreErrorKind::Exists,
                ..
            }) => {
                if let Some(receipt) = self.look_at(key, &body).await? {
                    return Ok(receipt);
                }
                // Covering authentic bytes with themselves changes nothing but the lock.
                self.put_locked(key, &body, Place::OnTop).await?
            }
            outcome => outcome?,
        };
        Ok(self.settle_lock(key, receipt).await?)
    }

    /// Looks at what lies where an object was to be put: as good as a put of it if the plain view shows these very bytes
    /// and they are, or can be, locked for long enough.
    ///
    /// Cost: a listing of the key, one request to read it, and what [`Self::extend_all`] costs.
    async fn look_at(
        &self,
        key: &ObjectKey,
        body: &Bytes,
    ) -> std::result::Result<Option<PutReceipt>, FetchError> {
        let Some(listed) = self.list_key(key).await? else {
            return Ok(None);
        };
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let Some(plain) = listed.plain().filter(|plain| plain.bytes == bytes) else {
            return Ok(None);
        };
        match self.hash_version(key, plain, ObjectKind::Pack).await {
            Ok((Verdict::Authentic, _)) => {}
            Ok((Verdict::Junk, _)) => return Ok(None),
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        }
        let extended = self.extend(key, plain, 0, Extension::Apply).await?;
        let wanted = self.locking().map(|locking| locking.protected_now());
        let is_locked = wanted.is_none_or(|wanted| extended.until >= Some(wanted));
        let object = ObjectRef {
            key: store_key(key)?,
            version: plain.version.clone(),
        };
        Ok(is_locked.then(|| PutReceipt {
            object,
            stored_at: StoreTime::exact(plain.stored_at),
            locked_until: extended.until,
            checksum: None,
        }))
    }

    /// Puts an object over whatever lies there, with a lock of its own.
    ///
    /// Cost: one request, one more where the lock must be asked for.
    pub(crate) async fn put_on_top(&self, key: &ObjectKey, body: &Bytes) -> Result<PutReceipt> {
        let receipt = self.put_locked(key, body, Place::OnTop).await?;
        Ok(self.settle_lock(key, receipt).await?)
    }

    /// Puts an object that is there once more, with a lock of its own: for whoever may put and not extend. Returns its
    /// bytes, too.
    ///
    /// Cost: one request to read it, more where the plain view is not authentic, and what [`Self::put_on_top`] costs.
    pub(crate) fn put_again(&self, key: &ObjectKey, kind: ObjectKind) -> Result<(u64, PutReceipt)> {
        let body = self.fetch(key, kind)?;
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let receipt = self.block_on(self.put_on_top(key, &body))?;
        Ok((bytes, receipt))
    }

    /// Puts with a lock. Who may not set one may still put: then the bucket's default retention locks what comes, or
    /// nothing does, and the commit rule tells.
    ///
    /// Cost: one request; once in a run two where this client may not set locks.
    pub(super) async fn put_locked(
        &self,
        key: &ObjectKey,
        body: &Bytes,
        place: Place,
    ) -> std::result::Result<PutReceipt, StoreError> {
        let name = store_key(key)?;
        let are_left = &self.locks.are_left_to_bucket;
        let lock = self.lock_for(key);
        let lock = lock.filter(|_| !are_left.load(Ordering::Relaxed));
        let put = |lock| self.store().put(&name, body.clone(), lock, place);
        match put(lock).await {
            Err(error) if error.kind == StoreErrorKind::Denied && lock.is_some() => {
                let receipt = put(None).await?;
                are_left.store(true, Ordering::Relaxed);
                Ok(receipt)
            }
            outcome => outcome,
        }
    }

    /// Reads the lock of what was put, where the answer did not state it.
    ///
    /// Cost: nothing where it did; else one request.
    pub(super) async fn settle_lock(
        &self,
        key: &ObjectKey,
        mut receipt: PutReceipt,
    ) -> std::result::Result<PutReceipt, StoreError> {
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
        let version = (key, &receipt.object.version);
        let store = self.store().identity();
        self.locks.dates.note(store, version, status, &locking);
        Ok(receipt)
    }
}
