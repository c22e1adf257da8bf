//! The locks that objects carry: put with them, known as the store states them, made longer by version.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use dolmen_format::{ObjectKey, ObjectKind, Timestamp};
use dolmen_store::{Hold, Lock, LockStatus, ObjectRef, StoreError, StoreErrorKind, Version};
use futures_util::StreamExt as _;

use super::dates::{Dates, Known};
use super::hashes::Verdict;
use super::locking::{Locking, Longer, Protection};
use super::versions::lock as locked;
use super::{FetchError, Listed, Objects, StoredCopy, store_key};

/// Locks that are looked at and made longer at the same time.
const EXTENSIONS_MAX: usize = 16;

/// What a client knows of locks, all of it from the store's own mouth.
#[derive(Debug, Default)]
pub(super) struct Locks {
    protection: Mutex<Protection>,
    pub(super) dates: Dates,
    /// Whether locks are left to the bucket's default, because this client may not set them.
    pub(super) are_left_to_bucket: AtomicBool,
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

    /// Keeps what is learnt of versions in a folder of the cache from now on: dates of locks, and what was hashed.
    pub fn keep_notes(&self, folder: &Path) {
        self.locks.dates.keep_in(folder);
        self.views.keep_in(folder);
    }

    /// Writes what was learnt of versions to where that is kept.
    pub fn save_notes(&self) {
        self.views.save();
        if let Some(locking) = self.locking() {
            self.locks.dates.save(locking.clocks().local);
        }
    }

    /// Whether what the plain view shows is kept, and nothing else.
    pub(crate) fn is_protected_by_view(&self) -> bool {
        matches!(*locked(&self.locks.protection), Protection::View)
    }

    /// The lock for an object that is to be put.
    pub(super) fn lock_for(&self, key: &ObjectKey) -> Option<Lock> {
        self.locking().map(|locking| locking.lock_for(&key.id()))
    }

    /// Tells `each`, in no order, until when objects of a kind are locked, as the store states it, extended first where
    /// that is due and may be; `None`: one has no lock, or is not there. The keys ascend.
    ///
    /// Cost: nothing for what is known and not due; for the rest as [`Self::extend_all`], and one listing of each folder
    /// that holds more than a few of it, else of each key.
    pub fn protect_all(
        &self,
        keys: &[ObjectKey],
        kind: ObjectKind,
        mut each: impl FnMut(&ObjectKey, Result<Option<Timestamp>, FetchError>),
    ) -> crate::error::Result<()> {
        let Some(locking) = self.locking() else {
            for key in keys {
                each(key, Ok(None));
            }
            return Ok(());
        };
        let mut unsettled = Vec::new();
        for key in keys {
            match self.known_until(key, &locking) {
                Some(until) => each(key, Ok(Some(until))),
                None => unsettled.push(*key),
            }
        }
        for (prefix, keys) in folders(&unsettled) {
            let mut found = Vec::new();
            self.list(&prefix, |object| {
                if keys.binary_search(&object.key).is_ok() {
                    found.push((object, 0));
                }
            })?;
            // A listing ascends, too.
            let is_found =
                |key| found.binary_search_by_key(key, |(object, _): &(Listed, u64)| object.key);
            for key in keys.iter().filter(|key| is_found(key).is_err()) {
                each(key, Ok(None));
            }
            self.extend_all(&found, kind, Extension::Apply, |object, extended| {
                each(&object.key, extended.map(|extended| extended.until));
                ControlFlow::Continue(())
            });
        }
        Ok(())
    }

    /// The lock of an object as the store last stated it to this client, if it did.
    pub(crate) fn known_lock(&self, key: &ObjectKey) -> LockStatus {
        let known = self.locks.dates.get(self.store().identity(), key);
        known.map_or(LockStatus::Unknown, |known| known.status)
    }

    /// The lock of a version as the store stated it to this client within this generation, if it did.
    pub(crate) fn recent_lock(
        &self,
        key: &ObjectKey,
        version: &Version,
        locking: &Locking,
    ) -> Option<LockStatus> {
        let known = self.locks.dates.get(self.store().identity(), key)?;
        let is_recent = known.is_of(version) && known.is_recent(locking);
        is_recent.then_some(known.status)
    }

    /// Asks for the lock of a version, and remembers it.
    ///
    /// Cost: one request.
    pub(crate) async fn ask_for_lock(
        &self,
        key: &ObjectKey,
        version: &Version,
        locking: &Locking,
    ) -> Result<Asked, StoreError> {
        let object = ObjectRef {
            key: store_key(key)?,
            version: version.clone(),
        };
        let status = self.store().lock_of(&object).await?;
        let (dates, store) = (&self.locks.dates, self.store().identity());
        let known = dates.get(store, key).filter(|known| known.is_of(version));
        dates.note(store, (key, version), status, locking);
        Ok(Asked {
            status,
            was_shortened: known.is_some_and(|known| known.was_longer_than(status)),
        })
    }

    /// Until when an object is locked, where that is known and not due.
    fn known_until(&self, key: &ObjectKey, locking: &Locking) -> Option<Timestamp> {
        let known = self.locks.dates.get(self.store().identity(), key)?;
        let is_enough = known.counts(locking);
        let is_enough = is_enough && locking.next(&key.id(), known.status, 0).is_none();
        is_enough.then(|| locking.protects_until(known.status))?
    }

    /// Extends the locks of listed objects where they are due, by the terms or by a longer promise in seconds, each by the
    /// version that is authentic and several at once; `each` sees them in the order given, and may end it.
    ///
    /// Cost: at most three requests each (four for whoever may place no holds, under holds), none for what the listing shows
    /// not to be due, and for a key with several versions one for each until the authentic one.
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
            let mut extended = extended.await?;
            if extended.refused.is_some() {
                self.look_for_longer(object, &copy, kind, &mut extended)
                    .await?;
            }
            return Ok(extended);
        }
        // Only its hash drops a version: what cannot be read now must not lapse until it can.
        let mut failed = FetchError::Altered;
        for (copy, error) in hashed.unread {
            let extended = self.extend(&object.key, &copy, promise_seconds, extension);
            failed = extended.await.err().map_or(error, FetchError::Store);
        }
        Err(failed)
    }

    /// Looks for another authentic version whose lock lasts longer: who may not extend one puts the object again.
    ///
    /// Cost: one request for each version of the same size where listings state no locks, and one to read it.
    async fn look_for_longer(
        &self,
        object: &Listed,
        tried: &StoredCopy,
        kind: ObjectKind,
        extended: &mut Extended,
    ) -> Result<(), FetchError> {
        let Some(locking) = self.locking() else {
            return Ok(());
        };
        let others = object.copies.iter().rev();
        let others = others.filter(|copy| copy.version != tried.version);
        for copy in others.filter(|copy| copy.bytes == tried.bytes) {
            let status = match copy.lock {
                LockStatus::Unknown => {
                    extended.calls = extended.calls.saturating_add(1);
                    let (key, version) = (store_key(&object.key)?, copy.version.clone());
                    self.store().lock_of(&ObjectRef { key, version }).await?
                }
                stated => stated,
            };
            let until = locking.protects_until(status);
            if until <= extended.until {
                continue;
            }
            let (verdict, _) = self.hash_version(&object.key, copy, kind).await?;
            if verdict == Verdict::Authentic {
                (extended.status, extended.until) = (status, until);
                let (store, version) = (self.store().identity(), (&object.key, &copy.version));
                self.locks.dates.note(store, version, status, &locking);
            }
        }
        Ok(())
    }

    /// Extends the lock of one version where it is due, by the terms or by a longer promise.
    ///
    /// Cost: at most one request for the lock, none where it was read in this generation and is not due, or was ever read in
    /// compliance mode and is renewed; one to extend it (two for whoever may place no holds, under holds), and one to read it
    /// back where that was refused or had no answer.
    pub(super) async fn extend(
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
        let (dates, store) = (&self.locks.dates, self.store().identity());
        let known = dates.get(store, key);
        let known = known.filter(|known| known.is_of(&copy.version));
        let is_enough = |known: &Known| {
            let next = locking.next(&key.id(), known.status, promise_seconds);
            known.counts(&locking) && next.is_none()
        };
        let is_lasting = |known: &Known| {
            extension == Extension::Renew && locking.may_extend_unseen(known.status)
        };
        let status = match (copy.lock, known) {
            (LockStatus::Unknown, Some(known)) if is_enough(&known) => {
                extended.status = known.status;
                extended.until = locking.protects_until(known.status);
                return Ok(extended);
            }
            (LockStatus::Unknown, Some(known)) if is_lasting(&known) => known.status,
            (LockStatus::Unknown, _) => {
                extended.calls = 1;
                self.store().lock_of(&object).await?
            }
            (stated, _) => stated,
        };
        extended.status = status;
        extended.was_shortened = known.is_some_and(|known| known.was_longer_than(status));
        if let Some(longer) = locking.next(&key.id(), status, promise_seconds) {
            match extension {
                Extension::Apply | Extension::Renew => {
                    self.lengthen(&object, longer, &mut extended).await?;
                }
                Extension::Plan => {
                    let lock = longer.lock();
                    let present = locking.protects_until(status);
                    extended.planned = Some(Planned {
                        object,
                        lock,
                        present,
                    });
                    extended.status = longer.over(status);
                    extended.is_renewed = true;
                    extended.until = locking.protects_until(extended.status);
                    return Ok(extended);
                }
            }
        }
        extended.until = locking.protects_until(extended.status);
        // What listings state and nobody shortens need not be remembered.
        if extended.calls > 0 || extended.was_shortened || locking.may_be_shortened() {
            dates.note(store, (key, &copy.version), extended.status, &locking);
        }
        Ok(extended)
    }

    /// Asks for a longer lock. Clients may place no holds and make locks longer instead: else an object that an intruder put
    /// without a lock would stop them until maintenance holds it. Where that was refused, too, somebody may have made the lock
    /// longer meanwhile; where no answer came, it may have been done: what the store then states counts.
    async fn lengthen(
        &self,
        object: &ObjectRef,
        mut longer: Longer,
        extended: &mut Extended,
    ) -> Result<(), StoreError> {
        let mut done = self.ask_for(object, longer, extended).await;
        if let (Longer::Hold(lock), Err(error)) = (longer, &done)
            && error.kind == StoreErrorKind::Denied
        {
            longer = Longer::Lock(lock);
            done = self.ask_for(object, longer, extended).await;
        }
        let Err(error) = done else {
            extended.status = longer.over(extended.status);
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

    async fn ask_for(
        &self,
        object: &ObjectRef,
        longer: Longer,
        extended: &mut Extended,
    ) -> Result<(), StoreError> {
        extended.calls = extended.calls.saturating_add(1);
        match longer {
            Longer::Lock(lock) => self.store().extend(object, lock).await,
            Longer::Hold(_) => self.store().hold(object, Hold::On).await,
        }
    }
}

/// What a store stated of a lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) status: LockStatus,
    /// Whether it ended later when this client read it before.
    pub(crate) was_shortened: bool,
}

/// Objects of a folder that are worth listing all of it.
const FOLDER_OBJECTS_MIN: usize = 16;
/// Objects of a writer that are listed at a time: beyond that the folders of its packs are listed one by one.
const LISTED_OBJECTS_MAX: usize = 1 << 12;

/// What to list to find keys, which ascend, with those that it shows: folders, and single keys where there are few.
fn folders(keys: &[ObjectKey]) -> Vec<(String, &[ObjectKey])> {
    let mut folders = Vec::new();
    let (of_writer, of_packs) = (2, 3);
    for keys in keys.chunk_by(|one, next| folder(one, of_writer) == folder(next, of_writer)) {
        let depth = if keys.len() > LISTED_OBJECTS_MAX {
            of_packs
        } else {
            of_writer
        };
        for keys in keys.chunk_by(|one, next| folder(one, depth) == folder(next, depth)) {
            match keys {
                [first, ..] if keys.len() >= FOLDER_OBJECTS_MIN => {
                    folders.push((folder(first, depth), keys));
                }
                few => {
                    let single = few.chunks(1).zip(few);
                    folders.extend(single.map(|(one, key)| (key.to_string(), one)));
                }
            }
        }
    }
    folders
}

/// The first parts of a key's name, as many as there are up to `depth`, without the last.
fn folder(key: &ObjectKey, depth: usize) -> String {
    let name = key.to_string();
    let ends = name.match_indices('/').map(|(at, _)| at.saturating_add(1));
    let end = ends.take(depth).last().unwrap_or(0);
    name.get(..end).unwrap_or_default().to_owned()
}

/// Whether locks are made longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// They are, where the store states that they are due: whoever maintains the repository may have been there before.
    Apply,
    /// They are, where this client knows that they were due.
    Renew,
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
    /// Whether it ended later when this client last read it.
    pub was_shortened: bool,
    /// Whether the object was hidden or covered where the plain view is what protects.
    pub was_out_of_view: bool,
    /// Requests.
    pub calls: u64,
    /// Why it was not, where it should have been.
    pub refused: Option<StoreError>,
    /// What would have to be done, where nothing is.
    pub planned: Option<Planned>,
}

/// What is to be done to one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The version, by its store's names.
    pub object: ObjectRef,
    /// The lock that it is to get; `None`: a legal hold.
    pub lock: Option<Lock>,
    /// Until when it is protected as it is.
    pub present: Option<Timestamp>,
}

impl Default for Extended {
    fn default() -> Self {
        Self {
            status: LockStatus::None,
            until: None,
            is_renewed: false,
            was_shortened: false,
            was_out_of_view: false,
            calls: 0,
            refused: None,
            planned: None,
        }
    }
}
