//! What lies beneath the plain view of a store with versions.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dolmen_format::{ObjectKey, ObjectKind, Timestamp};
use dolmen_store::{LockStatus, StoreError, Version, VersionInfo, VersionKind};
use futures_util::TryStreamExt as _;

use super::hashes::{Hashes, Verdict};
use super::{Authentic, FetchError, Objects, store_key};
use crate::error::Result;

/// Keys whose authentic version is remembered. Beyond that they are looked for again.
const REMEMBERED_MAX: usize = 1 << 16;
/// Keys of which a run tells by name that their plain view is not authentic.
const ODDITIES_MAX: usize = 1 << 16;
/// Keys whose versions are hashed at the same time: each may hold a whole pack in memory.
const SEARCHES_MAX: usize = 4;

/// An object as a listing shows it: a key with bytes beneath it, whatever the plain view shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// The versions that have bytes, oldest first, never none. Any of them may be forged.
    pub copies: Vec<StoredCopy>,
    /// Whether a marker hides the key from the plain view.
    pub is_hidden: bool,
    /// The markers on top, newest first.
    pub markers: Vec<Version>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCopy {
    /// The version.
    pub version: Version,
    /// Its size.
    pub bytes: u64,
    /// When the store received it, by the store's clock, rounded up.
    pub stored_at: Timestamp,
    /// Its lock, where the listing states it.
    pub lock: LockStatus,
}

impl Listed {
    /// What the plain view shows.
    pub fn plain(&self) -> Option<&StoredCopy> {
        self.copies.last().filter(|_| !self.is_hidden)
    }

    /// Whether some version has this size.
    pub fn has_size(&self, bytes: u64) -> bool {
        self.copies.iter().any(|copy| copy.bytes == bytes)
    }
}

/// Keys whose plain view is not authentic, as far as a run met them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oddities {
    /// A marker hides them.
    pub hidden: BTreeSet<ObjectKey>,
    /// Other bytes lie on top.
    pub overwritten: BTreeSet<ObjectKey>,
}

/// What a run learnt of the keys whose plain view is not authentic.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// The authentic version of such a key; `None`: it has none.
    authentic: Mutex<HashMap<ObjectKey, Option<StoredCopy>>>,
    oddities: Mutex<Oddities>,
    hashes: Hashes,
    searches: Searches,
}

/// Bounds the memory of searches.
#[derive(Debug)]
struct Searches(tokio::sync::Semaphore);

impl Default for Searches {
    fn default() -> Self {
        Self(tokio::sync::Semaphore::new(SEARCHES_MAX))
    }
}

impl Views {
    /// Keeps what is learnt of versions in a folder of the cache.
    pub(super) fn keep_in(&self, folder: &Path) {
        self.hashes.keep_in(folder);
    }

    /// Writes it there.
    pub(super) fn save(&self) {
        self.hashes.save();
    }

    pub(super) fn authentic(&self, key: &ObjectKey) -> Option<StoredCopy> {
        lock(&self.authentic).get(key).cloned().flatten()
    }

    fn was_searched(&self, key: &ObjectKey) -> bool {
        lock(&self.authentic).contains_key(key)
    }

    fn remember(&self, key: ObjectKey, copy: Option<StoredCopy>) {
        let mut known = lock(&self.authentic);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(key, copy);
    }

    /// Forgets what is known of a key.
    pub(super) fn forget(&self, key: &ObjectKey) {
        lock(&self.authentic).remove(key);
    }

    /// Forgets that this version of a key is the authentic one.
    pub(super) fn forget_version(&self, key: &ObjectKey, version: &Version) {
        let mut known = lock(&self.authentic);
        let copy = known.get(key).and_then(Option::as_ref);
        if copy.is_some_and(|copy| copy.version == *version) {
            known.remove(key);
        }
    }

    fn note(&self, object: &Listed, is_overwritten: bool) {
        let mut oddities = lock(&self.oddities);
        if object.is_hidden && oddities.hidden.len() < ODDITIES_MAX {
            oddities.hidden.insert(object.key);
        }
        if is_overwritten && oddities.overwritten.len() < ODDITIES_MAX {
            oddities.overwritten.insert(object.key);
        }
    }
}

impl Objects {
    /// Lists every object below `prefix`, in the order of names, and names what is none of ours.
    ///
    /// Cost: one listing.
    pub fn list(&self, prefix: &str, mut each: impl FnMut(Listed)) -> Result<Vec<String>> {
        self.block_on(async {
            let mut foreign = Vec::new();
            let mut gathered: Option<Listed> = None;
            let mut versions = self.store().list_versions(prefix);
            while let Some(version) = versions.try_next().await? {
                let key = match (version.kind, version.name.parse::<ObjectKey>()) {
                    (VersionKind::Data | VersionKind::Marker, Ok(key)) => key,
                    (VersionKind::Foreign, _) | (_, Err(_)) => {
                        if foreign.last() != Some(&version.name) {
                            foreign.push(version.name);
                        }
                        continue;
                    }
                };
                let mut object = match gathered.take() {
                    Some(object) if object.key == key => object,
                    before => {
                        before.and_then(finish).into_iter().for_each(&mut each);
                        Listed {
                            key,
                            copies: Vec::new(),
                            is_hidden: false,
                            markers: Vec::new(),
                        }
                    }
                };
                object.take(version);
                gathered = Some(object);
            }
            gathered.and_then(finish).into_iter().for_each(each);
            Ok(foreign)
        })
    }

    /// What [`Objects::read`] reads of a key by now: the version that is known to be authentic; `None`: what the plain view
    /// shows.
    pub fn view_of(&self, key: &ObjectKey) -> Option<Version> {
        self.views.authentic(key).map(|copy| copy.version)
    }

    /// Looks for the authentic version of a key whose plain view turned out to be missing or other bytes, by hashing
    /// its versions, oldest first. `seen` is what [`Objects::view_of`] was before the read that failed: another thread may
    /// have found the authentic version since. Returns whether a later [`Objects::read`] gives other bytes than that one.
    ///
    /// Cost: nothing where the store has no versions or the key was looked for before; else a listing, and one request
    /// for each version until the authentic one.
    pub fn look_beneath(
        &self,
        key: &ObjectKey,
        seen: Option<&Version>,
    ) -> std::result::Result<bool, StoreError> {
        if !self.store().capabilities().versions {
            return Ok(false);
        }
        if self.views.was_searched(key) {
            let known = self.view_of(key);
            return Ok(known.is_some() && known.as_ref() != seen);
        }
        match self.block_on(self.search(key, ObjectKind::Pack)) {
            Ok(found) => Ok(found.is_some()),
            Err(FetchError::Store(error)) => Err(error),
            Err(FetchError::Altered) => Ok(false),
        }
    }

    /// The version that [`Objects::look_beneath`] found, and that [`Objects::read`] reads.
    pub fn authentic_copy(&self, key: &ObjectKey) -> Option<StoredCopy> {
        self.views.authentic(key)
    }

    /// What this run met.
    pub fn oddities(&self) -> Oddities {
        lock(&self.views.oddities).clone()
    }

    /// Takes hidden objects for what they are: removed where removing is hiding.
    pub(crate) fn overlook_hidden(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        let mut oddities = lock(&self.views.oddities);
        for key in keys {
            oddities.hidden.remove(&key);
        }
    }

    /// Whether another version may be what the plain view is not.
    pub(super) fn may_lie_beneath(&self, error: &FetchError) -> bool {
        let is_elsewhere = match error {
            FetchError::Altered => true,
            FetchError::Store(error) => error.kind.is_about_version(),
        };
        is_elsewhere && self.store().capabilities().versions
    }

    pub(super) async fn fetch_listed(
        &self,
        object: &Listed,
        kind: ObjectKind,
    ) -> std::result::Result<Authentic, FetchError> {
        if let (Some(plain), [_]) = (object.plain(), object.copies.as_slice()) {
            return self.fetch_only(&object.key, plain, kind).await;
        }
        let found = self.search_listed(object, kind).await?;
        found.ok_or(FetchError::Altered)
    }

    /// The only version of a key. Where there are versions, one that was found to be junk before is not read again.
    async fn fetch_only(
        &self,
        key: &ObjectKey,
        copy: &StoredCopy,
        kind: ObjectKind,
    ) -> std::result::Result<Authentic, FetchError> {
        let (store, keeps) = (
            self.store().identity(),
            self.store().capabilities().versions,
        );
        let hashes = &self.views.hashes;
        if keeps && hashes.get(store, key, &copy.version) == Some(Verdict::Junk) {
            return Err(FetchError::Altered);
        }
        let fetched = self.fetch_plain(key, kind).await;
        if keeps && matches!(fetched, Err(FetchError::Altered)) {
            hashes.note(store, key, &copy.version, Verdict::Junk);
        }
        Ok(Authentic {
            body: fetched?,
            copy: copy.clone(),
        })
    }

    /// All versions of a key; `None`: no bytes are there.
    pub(super) async fn list_key(
        &self,
        key: &ObjectKey,
    ) -> std::result::Result<Option<Listed>, StoreError> {
        let mut object = Listed {
            key: *key,
            copies: Vec::new(),
            is_hidden: false,
            markers: Vec::new(),
        };
        let name = store_key(key)?;
        let mut versions = self.store().list_versions(name.as_str());
        while let Some(version) = versions.try_next().await? {
            if version.name == name.as_str() {
                object.take(version);
            }
        }
        Ok(finish(object))
    }

    /// Looks for the authentic version of a key among all that the store has.
    pub(super) async fn search(
        &self,
        key: &ObjectKey,
        kind: ObjectKind,
    ) -> std::result::Result<Option<Authentic>, FetchError> {
        match self.list_key(key).await? {
            Some(object) => self.search_listed(&object, kind).await,
            None => Ok(None),
        }
    }

    /// The authentic version of a listed key that has several.
    ///
    /// Cost: one request for each version until it is found.
    pub fn authentic(
        &self,
        object: &Listed,
        kind: ObjectKind,
    ) -> std::result::Result<StoredCopy, FetchError> {
        let found = self.block_on(self.search_listed(object, kind))?;
        found.map(|found| found.copy).ok_or(FetchError::Altered)
    }

    /// Looks for the authentic version of a listed key, and reads it. One version that cannot be read stops no other.
    pub(super) async fn search_listed(
        &self,
        object: &Listed,
        kind: ObjectKind,
    ) -> std::result::Result<Option<Authentic>, FetchError> {
        let Found { copy, body } = match self.authentic_version(object, kind).await {
            Err(FetchError::Altered) => return Ok(None),
            found => found?,
        };
        let body = if let Some(body) = body {
            body
        } else {
            let version = Some(&copy.version);
            self.fetch_version(&object.key, version, kind).await?
        };
        Ok(Some(Authentic { body, copy }))
    }

    /// The authentic version of a listed key, read only where that was not hashed before.
    pub(super) async fn authentic_version(
        &self,
        object: &Listed,
        kind: ObjectKind,
    ) -> std::result::Result<Found, FetchError> {
        let hashed = self.hash_versions(object, kind).await;
        match (hashed.found, hashed.unread.into_iter().next()) {
            (None, Some((_, error))) => Err(error),
            (found, _) => {
                let found = self.note_search(object, kind, found).await?;
                found.ok_or(FetchError::Altered)
            }
        }
    }

    /// Hashes versions, oldest first, until one is authentic: what an intruder wrote is younger, unless the object was put
    /// anew. What was hashed before is not read again.
    pub(super) async fn hash_versions(&self, object: &Listed, kind: ObjectKind) -> Hashed {
        let mut hashed = Hashed::default();
        for copy in &object.copies {
            if copy.bytes > kind.bytes_max() {
                continue;
            }
            match self.hash_version(&object.key, copy, kind).await {
                Ok((Verdict::Authentic, body)) => {
                    let copy = copy.clone();
                    hashed.found = Some(Found { copy, body });
                    break;
                }
                Ok((Verdict::Junk, _)) => {}
                // Deleted since the listing, or by a rule of the bucket.
                Err(error) if error.is_missing() => {}
                Err(error) => hashed.unread.push((copy.clone(), error)),
            }
        }
        hashed
    }

    /// Tells what a version is, with its bytes where they had to be read.
    pub(super) async fn hash_version(
        &self,
        key: &ObjectKey,
        copy: &StoredCopy,
        kind: ObjectKind,
    ) -> std::result::Result<(Verdict, Option<Bytes>), FetchError> {
        let (store, version) = (self.store().identity(), &copy.version);
        let (hashes, keeps) = (&self.views.hashes, self.store().capabilities().versions);
        if let Some(verdict) = hashes.get(store, key, version).filter(|_| keeps) {
            return Ok((verdict, None));
        }
        // The semaphore is never closed.
        let _permit = self.views.searches.0.acquire().await.ok();
        let (verdict, body) = match self.fetch_version(key, Some(version), kind).await {
            Ok(body) => (Verdict::Authentic, Some(body)),
            Err(FetchError::Altered) => (Verdict::Junk, None),
            Err(error) => return Err(error),
        };
        if keeps {
            hashes.note(store, key, version, verdict);
        }
        Ok((verdict, body))
    }

    /// Notes what a search found, and whether the plain view shows something else.
    pub(super) async fn note_search(
        &self,
        object: &Listed,
        kind: ObjectKind,
        found: Option<Found>,
    ) -> std::result::Result<Option<Found>, FetchError> {
        let Some(found) = found else {
            self.views.remember(object.key, None);
            return Ok(None);
        };
        let is_overwritten = match object.plain() {
            Some(plain) if plain.version == found.copy.version => false,
            // The same bytes once more do no harm.
            Some(plain) if plain.bytes == found.copy.bytes => {
                let hashed = self.hash_version(&object.key, plain, kind).await;
                matches!(hashed, Ok((Verdict::Junk, _)))
            }
            Some(_) => true,
            // What lies on top beneath the marker counts once the marker is gone.
            None => object
                .copies
                .last()
                .is_some_and(|last| last.bytes != found.copy.bytes),
        };
        self.views.note(object, is_overwritten);
        self.views.remember(object.key, Some(found.copy.clone()));
        Ok(Some(found))
    }
}

/// An authentic version.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) copy: StoredCopy,
    /// Its bytes, where they had to be read to tell.
    pub(super) body: Option<Bytes>,
}

/// What hashing the versions of a key came to.
#[derive(Debug, Default)]
pub(super) struct Hashed {
    /// The authentic one.
    pub(super) found: Option<Found>,
    /// Versions that could not be read, and why: any of them may be authentic.
    pub(super) unread: Vec<(StoredCopy, FetchError)>,
}

impl Listed {
    /// Takes a line of the listing: those of one name come newest first.
    fn take(&mut self, version: VersionInfo) {
        match version.kind {
            VersionKind::Data => self.copies.push(StoredCopy {
                version: version.version,
                bytes: version.size_bytes,
                stored_at: version.stored_at.latest,
                lock: version.lock,
            }),
            VersionKind::Marker => {
                self.is_hidden |= version.is_current;
                if self.copies.is_empty() {
                    self.markers.push(version.version);
                }
            }
            VersionKind::Foreign => {}
        }
    }
}

/// Ends a key's lines; one that has no bytes is no object.
fn finish(mut object: Listed) -> Option<Listed> {
    object.copies.reverse();
    (!object.copies.is_empty()).then_some(object)
}

/// A poisoned lock means that another thread panicked; what it guards is only a memory.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
