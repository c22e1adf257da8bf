//! Objects in a store: fetched whole and verified by their names, put once.
//!
//! On a store with versions the plain view is only the fast way. What it hides or shows with other bytes is looked for
//! among all versions of the key; the authentic one is the one whose bytes hash to the name.

mod dates;
mod hashes;
mod kept;
mod locking;
mod locks;
mod put;
mod shown;
mod versions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dolmen_format::{FormatError, ObjectId, ObjectKey, ObjectKind, Timestamp};
use dolmen_store::{
    ByteRange, Pace, PaceLayer, Store, StoreClock, StoreError, StoreErrorKind, StoreKey, StoreTime,
    Version,
};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;

use crate::error::Error;
use kept::KeptBodies;
pub use kept::Source;
pub(crate) use kept::seen;
pub(crate) use locking::limited;
pub use locking::{Locking, Protection, protection_of};
use locks::Locks;
pub use locks::{Extended, Extension, Planned};
pub use shown::Removal;
use versions::Views;
pub use versions::{Listed, Oddities, StoredCopy};

/// Objects fetched at the same time.
const FETCHES_MAX: usize = 16;

/// A store, called from plain threads.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
    runtime: Handle,
    address: Arc<str>,
    views: Arc<Views>,
    locks: Arc<Locks>,
    bodies: Arc<KeptBodies>,
    was_denied: Arc<AtomicBool>,
}

/// An authentic object.
#[derive(Debug, Clone)]
pub struct Authentic {
    /// Its bytes.
    pub body: Bytes,
    /// The version that has them, and when the store received it.
    pub copy: StoredCopy,
}

/// Why a fetched object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store failed or lacks it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its bytes are others than its name says.
    #[error("the content does not match the name")]
    Altered,
}

impl FetchError {
    /// Whether the object is not there at all.
    pub const fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError {
                kind: StoreErrorKind::NotFound,
                ..
            })
        )
    }
}

impl Objects {
    /// Wraps a store; `address` is what messages call it.
    pub fn new(store: Arc<dyn Store>, runtime: Handle, address: &str) -> Self {
        Self {
            store,
            runtime,
            address: Arc::from(address),
            views: Arc::default(),
            locks: Arc::default(),
            bodies: Arc::default(),
            was_denied: Arc::default(),
        }
    }

    /// Lets every request from now on keep a pace; clones made before go on without.
    pub fn keep_pace(&mut self, pace: Arc<Pace>) {
        self.store = Arc::new(PaceLayer::new(Arc::clone(&self.store), pace));
    }

    /// What messages call the store.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The store itself.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The store's time, or `local` for whoever may only read where a file must be written to tell it.
    ///
    /// Cost: one request.
    pub(crate) fn time_to_look(&self, local: Timestamp) -> Result<StoreTime, StoreError> {
        let is_read_by_writing = self.store.capabilities().clock == StoreClock::FileSystem;
        match self.block_on(self.store.now()) {
            Err(error) if error.kind == StoreErrorKind::Denied && is_read_by_writing => {
                Ok(StoreTime::exact(local))
            }
            told => told,
        }
    }

    /// The store's time for a run that lets go; one that only tells what it would do looks as [`Self::time_to_look`] does.
    ///
    /// Cost: one request.
    pub(crate) fn time_of_run(
        &self,
        local: Timestamp,
        dry_run: bool,
    ) -> Result<StoreTime, StoreError> {
        if dry_run {
            self.time_to_look(local)
        } else {
            self.block_on(self.store.now())
        }
    }

    /// When a signed object was received, for the eyes: the store's time, and on a store whose times copies do not
    /// keep, the earlier of that and the object's own.
    pub fn received(&self, stored_at: Timestamp, signed: Timestamp) -> Timestamp {
        match self.store.capabilities().clock {
            StoreClock::Server => stored_at,
            StoreClock::FileSystem => stored_at.min(signed),
        }
    }

    /// Fetches a whole object and verifies it by its name.
    ///
    /// Cost: one request; where the plain view is not authentic, a listing and one for each version until it is found.
    pub fn fetch(&self, key: &ObjectKey, kind: ObjectKind) -> Result<Bytes, FetchError> {
        self.runtime.block_on(async {
            match self.fetch_plain(key, kind).await {
                Err(error) if self.may_lie_beneath(&error) => {
                    let beneath = self.search(key, kind).await?;
                    beneath.map_or(Err(error), |found| Ok(found.body))
                }
                outcome => outcome,
            }
        })
    }

    /// Fetches several listed objects at once; `each` sees them in no order, and not those that were deleted since they
    /// were listed: prune may run beside every reader.
    ///
    /// Cost: one request each; for a key that is hidden or has several versions one for each until the authentic one.
    pub fn fetch_all<'l>(
        &self,
        listed: impl IntoIterator<Item = &'l Listed>,
        kind: ObjectKind,
        mut each: impl FnMut(&'l Listed, Result<Authentic, FetchError>),
    ) {
        self.runtime.block_on(async {
            let mut fetched = futures_util::stream::iter(listed)
                .map(|object| async move { (object, self.fetch_listed(object, kind).await) })
                .buffer_unordered(FETCHES_MAX);
            while let Some((object, result)) = fetched.next().await {
                if !self.was_deleted(&object.key, &result).await {
                    each(object, result);
                }
            }
        });
    }

    /// Whether the store has no version of an object, be it hidden.
    ///
    /// Cost: one listing of the key.
    pub(crate) fn is_gone(&self, key: &ObjectKey) -> Result<bool, StoreError> {
        Ok(self.block_on(self.list_key(key))?.is_none())
    }

    /// Whether an object that could not be fetched is no longer listed.
    async fn was_deleted<T>(&self, key: &ObjectKey, result: &Result<T, FetchError>) -> bool {
        match result {
            Err(error) if error.is_missing() => {
                matches!(self.search(key, ObjectKind::Pack).await, Ok(None))
            }
            Ok(_) | Err(_) => false,
        }
    }

    async fn fetch_plain(&self, key: &ObjectKey, kind: ObjectKind) -> Result<Bytes, FetchError> {
        self.fetch_version(key, None, kind).await
    }

    async fn fetch_version(
        &self,
        key: &ObjectKey,
        version: Option<&Version>,
        kind: ObjectKind,
    ) -> Result<Bytes, FetchError> {
        let name = store_key(key)?;
        let read = self.store.get(&name, version, None, kind.bytes_max());
        match self.note_denied(read.await) {
            Ok(body) if ObjectId::of(&body) == key.id() => Ok(body),
            // What is larger than any of its kind is none, nor what somebody encrypted.
            Err(error)
                if !matches!(
                    error.kind,
                    StoreErrorKind::TooLarge | StoreErrorKind::Sealed
                ) =>
            {
                Err(error.into())
            }
            Ok(_) | Err(_) => Err(FetchError::Altered),
        }
    }

    /// Reads a part of an object, unverified: what decrypts it verifies it, and where that fails
    /// [`Self::look_beneath`] may help.
    ///
    /// Cost: one request; where the plain view lacks it, what [`Self::look_beneath`] costs.
    pub fn read(&self, key: &ObjectKey, range: ByteRange) -> Result<Bytes, StoreError> {
        // Other threads may learn of the key meanwhile: each read is judged by what it read itself.
        let mut seen = self.view_of(key);
        let mut read = self.read_seen(key, seen.as_ref(), range);
        if let Err(error) = &read
            && error.kind == StoreErrorKind::NotFound
            && let Some(version) = seen.take()
        {
            // A bucket's rules delete what was covered, also what was authentic and lies on top once more.
            self.views.forget_version(key, &version);
            read = self.read_seen(key, None, range);
        }
        match read {
            Err(error)
                if error.kind.is_about_version() && self.look_beneath(key, seen.as_ref())? =>
            {
                self.read_seen(key, self.view_of(key).as_ref(), range)
            }
            outcome => outcome,
        }
    }

    /// Reads a version, or what the plain view shows.
    fn read_seen(
        &self,
        key: &ObjectKey,
        version: Option<&Version>,
        range: ByteRange,
    ) -> Result<Bytes, StoreError> {
        let len = match range {
            ByteRange::FromTo { len, .. } | ByteRange::Last { len } => len,
        };
        let limit = len.max(ObjectKind::Pack.bytes_max());
        let name = store_key(key)?;
        let read = self.store.get(&name, version, Some(range), limit);
        self.note_denied(self.runtime.block_on(read))
    }

    fn note_denied<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &read
            && error.kind == StoreErrorKind::Denied
        {
            self.was_denied.store(true, Ordering::Relaxed);
        }
        read
    }

    /// Whether the store refused to show an object to this user.
    pub(crate) fn was_denied(&self) -> bool {
        self.was_denied.load(Ordering::Relaxed)
    }

    /// Runs store calls of the caller's own.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

pub(crate) fn store_key(key: &ObjectKey) -> Result<StoreKey, StoreError> {
    // Every object key is a valid store key; the store says so itself should that ever change.
    StoreKey::try_from(key.to_string()).map_err(|error| StoreError {
        kind: StoreErrorKind::Other,
        operation: dolmen_store::Operation::Open,
        key: Some(key.to_string().into()),
        source: Some(Box::new(error)),
    })
}

/// Decodes the kind that an object's prologue states.
pub(crate) fn kind_of(stored: &[u8]) -> Result<ObjectKind, FormatError> {
    dolmen_format::Prologue::decode(&mut &*stored).map(|prologue| prologue.kind)
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Store(error) => Self::Store(error),
            FetchError::Altered => Self::damaged("object", error),
        }
    }
}
