//! The promises of a store.

use std::fmt;
use std::num::NonZeroU64;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::bucket::Bucket;
use crate::error::StoreError;
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo};

/// Versions on one page of a listing, each page being a request.
pub const LISTING_PAGE_VERSIONS: NonZeroU64 = NonZeroU64::MIN.saturating_add(999);

/// A place for objects that are written once.
///
/// Each promise here is a case of [`crate::contract`]. A store that cannot do a thing says so in its
/// [`Capabilities`] and answers [`StoreErrorKind::Unsupported`](crate::StoreErrorKind::Unsupported), having changed
/// nothing. A call whose future is dropped has an unknown outcome. There are no default bodies but one: a layer that forgets
/// to forward a call must not compile.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Puts `body` at `key`, whole, durable and under `lock`, or changes nothing.
    ///
    /// [`Place::IfAbsent`] fails with `Exists` if the key is taken, and what is there is then durable; the caller looks
    /// at its bytes and lock. A key that a marker hides is free. After `OutcomeUnknown` the object may or may not be
    /// there. No reader ever sees a part of the body. When the call returns, `body` is dropped: its memory may be on loan.
    /// Cost: one request.
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError>;

    /// Reads exactly `range`, or the whole object, of `version`, or of the current one.
    ///
    /// A shorter object is `ShortRead`, never a shorter answer. An object of more than `max_bytes` is `TooLarge` before
    /// any of its bytes are fetched, whatever the range. A marker is `NotFound`. Cost: one request.
    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError>;

    /// Lists every version of every name that starts with the text `prefix`, markers and foreign names included.
    ///
    /// Names come in byte order, the versions of one name newest first. What is put or deleted meanwhile may or may
    /// not show. After an `Err` the listing is incomplete, whatever follows. Memory stays bounded.
    /// Cost: one request for each [`LISTING_PAGE_VERSIONS`], at least one; [`VersionInfo::lock`] costs nothing more or is `Unknown`.
    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>>;

    /// Reads the lock of one version; never [`LockStatus::Unknown`]. Cost: one request, on some stores two.
    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError>;

    /// Sets the lock of one version to `lock`, which ends no earlier than the present one and is no weaker.
    ///
    /// An earlier end, or governance in place of compliance, is refused with `Locked` or `Denied` and never applied; so may
    /// be compliance in place of governance. The mode is given so that no store has to read it first. Cost: one request.
    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError>;

    /// Places or lifts a legal hold on one version; retention stays as it is. Cost: one request.
    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError>;

    /// Puts a delete marker on top of `key`, if the key exists or not, and names the marker.
    ///
    /// Afterwards a get without a version is `NotFound`; every version is still there by name, its lock unchanged.
    /// [`Store::delete_version`] of the marker shows the key again. Cost: one request.
    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError>;

    /// Deletes exactly this version, durably, or nothing.
    ///
    /// `Locked` or `Denied` while a lock or a hold is on. A version that is not there is `NotFound`, or `Ok` where the
    /// store does not tell; another version is never touched. Cost: one request.
    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError>;

    /// Moves this version of `name`, as a listing shows both, to where no call reaches it and a person finds it. Nothing
    /// is destroyed. `name` need be no key, and what has it need be no object.
    ///
    /// If it is another version by now, `NotFound`, and nothing is moved. For what is nobody's object, in a store that
    /// cannot hide it; see [`Capabilities::quarantine`]. Cost: one request.
    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError>;

    /// Reads the store's own clock. Cost: one request.
    async fn now(&self) -> Result<StoreTime, StoreError>;

    /// Says what this store can do. Claims are believed only after a probe. No request.
    fn capabilities(&self) -> Capabilities;

    /// Names this very store, so that a copy elsewhere has another name. No request.
    fn identity(&self) -> &StoreIdentity;

    /// Returns the bucket behind it, if there is one. No request.
    ///
    /// The one default body: where a layer forgets to forward it, what concerns buckets is refused and said, nothing else.
    fn bucket(&self) -> Option<&dyn Bucket> {
        None
    }
}

/// Says what a put does to a key that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Fails with `Exists`. Where [`Capabilities::conditional_put`] is false, several writers may each be told that they
    /// were first.
    IfAbsent,
    /// Becomes the current version; with versions the earlier one stays beneath, without it is replaced at once.
    /// For healing, since keys name their content.
    OnTop,
}

/// What a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own"
)]
pub struct Capabilities {
    /// Whether an overwritten object stays as an older version, and keys can be hidden.
    pub versions: bool,
    /// Whether it can set aside what is no object.
    pub quarantine: bool,
    /// Which locks it enforces.
    pub locks: LockSupport,
    /// Whether its listings state locks, so that none is [`LockStatus::Unknown`].
    pub listed_locks: bool,
    /// Whether of several concurrent [`Place::IfAbsent`] puts of one key exactly one wins.
    pub conditional_put: bool,
    /// Whose clock [`Store::now`] reads.
    pub clock: StoreClock,
}

/// Which locks a store enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockSupport {
    /// None: `lock_of`, `extend`, `hold` and a put with a lock are `Unsupported`.
    None,
    /// Retention and legal holds on versions.
    ObjectLock,
}

/// Whose clock a store reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreClock {
    /// The clock of another machine, which the client cannot set.
    Server,
    /// The clock that stamps files: this machine's, or a file server's.
    FileSystem,
}

/// The name of one very store, compared byte for byte and recorded in snapshots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIdentity(Box<str>);

impl StoreIdentity {
    /// Takes an identity as its store or a snapshot states it.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the identity as text.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
