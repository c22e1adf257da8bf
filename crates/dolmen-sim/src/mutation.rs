//! Worlds in which Dolmen is made to err, to see that the invariants notice.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dolmen_store::{
    ByteRange, Capabilities, Hold, Lock, LockStatus, ObjectRef, Place, PutReceipt, Store,
    StoreError, StoreIdentity, StoreKey, StoreTime, Version, VersionInfo,
};
use futures_util::StreamExt as _;
use futures_util::future::ready;
use futures_util::stream::BoxStream;

/// A way to err. Each is made from outside, with what the code is told: the code itself is not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// What the plain view shows is taken as all that there is.
    TrustLatest,
    /// Leases lapse by a clock that is two months ahead, and nobody compares it with another.
    PruneByClientClock,
    /// However old a listing is, it is acted on: local clocks stand still while a process runs.
    IgnoreAgeOfListings,
    /// What a listing does not show is taken to be gone for good.
    AbsenceIsDeath,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Self; 4] = [
        Self::TrustLatest,
        Self::PruneByClientClock,
        Self::IgnoreAgeOfListings,
        Self::AbsenceIsDeath,
    ];
}

/// How far [`Mutation::PruneByClientClock`] is ahead.
pub(crate) const AHEAD_SECONDS: i64 = 60 * 86_400;

/// A store that misleads as a mutation says.
#[derive(Debug)]
pub(crate) struct Misleading {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) mutation: Mutation,
}

#[async_trait]
impl Store for Misleading {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        self.inner.put(key, body, lock, place).await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        self.inner.get(key, version, range, max_bytes).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        let all = self.inner.list_versions(prefix);
        match self.mutation {
            // What is hidden is not there; of snapshots, that no other object tells of them counts for nothing either.
            Mutation::AbsenceIsDeath if prefix != "snapshots/" => all,
            Mutation::TrustLatest | Mutation::AbsenceIsDeath => all
                .filter(|line| ready(line.as_ref().map_or(true, |line| line.is_current)))
                .boxed(),
            Mutation::PruneByClientClock | Mutation::IgnoreAgeOfListings => all,
        }
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        self.inner.lock_of(object).await
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        self.inner.extend(object, lock).await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.inner.hold(object, hold).await
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.inner.hide(key).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.inner.delete_version(object).await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        self.inner.set_aside(name, version).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        let now = self.inner.now().await?;
        Ok(match self.mutation {
            Mutation::PruneByClientClock => StoreTime {
                earliest: now.earliest.saturating_add_seconds(AHEAD_SECONDS),
                latest: now.latest.saturating_add_seconds(AHEAD_SECONDS),
            },
            Mutation::TrustLatest | Mutation::IgnoreAgeOfListings | Mutation::AbsenceIsDeath => now,
        })
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        match self.mutation {
            Mutation::TrustLatest => Capabilities {
                versions: false,
                ..capabilities
            },
            Mutation::PruneByClientClock
            | Mutation::IgnoreAgeOfListings
            | Mutation::AbsenceIsDeath => capabilities,
        }
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }
}
