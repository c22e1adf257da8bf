//! A layer that spaces requests out, for stores that throttle or bill by the second.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::bucket::Bucket;
use crate::error::StoreError;
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo};
use crate::store::{Capabilities, LISTING_PAGE_VERSIONS, Place, Store, StoreIdentity};

/// A clock that one can wait by.
#[async_trait]
pub trait Ticker: fmt::Debug + Send + Sync {
    /// The time since some fixed moment; it never goes back.
    fn now(&self) -> Duration;

    /// Returns when the time is `at` or later.
    async fn wait_until(&self, at: Duration);
}

/// A number of requests a second that is never exceeded, not for a moment either: each waits for its own place.
#[derive(Debug)]
pub struct Pace {
    ticker: Arc<dyn Ticker>,
    gap: Duration,
    /// When the next request may be sent.
    next: Mutex<Duration>,
}

impl Pace {
    /// Lets so many requests pass in a second.
    pub fn new(ticker: Arc<dyn Ticker>, requests_per_second: NonZeroU32) -> Self {
        Self {
            ticker,
            gap: Duration::from_secs(1) / requests_per_second.get(),
            next: Mutex::default(),
        }
    }

    /// Waits until one more request may be sent.
    pub async fn pass(&self) {
        let place = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            // What was not used is not saved up: a burst is what throttles.
            let place = self.ticker.now().max(*next);
            *next = place.saturating_add(self.gap);
            place
        };
        self.ticker.wait_until(place).await;
    }
}

/// A store whose requests keep a pace. Each page of a listing is a request.
///
/// What a store sends again by itself after a failure is not seen here.
#[derive(Debug)]
pub struct PaceLayer {
    inner: Arc<dyn Store>,
    pace: Arc<Pace>,
}

impl PaceLayer {
    /// Lets the requests to `inner` keep a pace.
    pub fn new(inner: Arc<dyn Store>, pace: Arc<Pace>) -> Self {
        Self { inner, pace }
    }
}

#[async_trait]
impl Store for PaceLayer {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        self.pace.pass().await;
        self.inner.put(key, body, lock, place).await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        self.pace.pass().await;
        self.inner.get(key, version, range, max_bytes).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        let listing = (self.inner.list_versions(prefix), 0_u64);
        stream::unfold(listing, move |(mut lines, shown)| async move {
            if shown.is_multiple_of(LISTING_PAGE_VERSIONS.get()) {
                self.pace.pass().await;
            }
            let line = lines.next().await?;
            Some((line, (lines, shown.saturating_add(1))))
        })
        .boxed()
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        self.pace.pass().await;
        self.inner.lock_of(object).await
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        self.pace.pass().await;
        self.inner.extend(object, lock).await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.pace.pass().await;
        self.inner.hold(object, hold).await
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.pace.pass().await;
        self.inner.hide(key).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.pace.pass().await;
        self.inner.delete_version(object).await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        self.pace.pass().await;
        self.inner.set_aside(name, version).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        self.pace.pass().await;
        self.inner.now().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    /// The bucket itself: its few calls keep no pace.
    fn bucket(&self) -> Option<&dyn Bucket> {
        self.inner.bucket()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use futures_util::StreamExt as _;
    use futures_util::future::join_all;

    use super::*;
    use crate::api::Api;
    use crate::memory::{MemoryOptions, MemoryStore};
    use crate::record::{Detail, RecordLayer, RecordOptions};

    /// A clock on which waiting takes no time: it is set to what is waited for.
    #[derive(Debug, Default)]
    struct Leaping(Mutex<(Duration, Vec<Duration>)>);

    impl Leaping {
        fn waits(&self) -> Vec<Duration> {
            self.0.lock().unwrap().1.clone()
        }
    }

    #[async_trait]
    impl Ticker for Leaping {
        fn now(&self) -> Duration {
            self.0.lock().unwrap().0
        }

        async fn wait_until(&self, at: Duration) {
            let mut clock = self.0.lock().unwrap();
            clock.0 = clock.0.max(at);
            clock.1.push(at);
        }
    }

    fn paced(per_second: u32) -> (PaceLayer, Arc<Leaping>, Arc<RecordLayer>) {
        let record = Arc::new(RecordLayer::new(
            Arc::new(MemoryStore::new(MemoryOptions::LOCKS)),
            RecordOptions {
                api: Api::S3,
                page_versions: LISTING_PAGE_VERSIONS,
                detail: Detail::Requests,
            },
        ));
        let ticker = Arc::new(Leaping::default());
        let clock = Arc::clone(&ticker) as Arc<dyn Ticker>;
        let pace = Arc::new(Pace::new(clock, NonZeroU32::new(per_second).unwrap()));
        let inner = Arc::clone(&record) as Arc<dyn Store>;
        (PaceLayer::new(inner, pace), ticker, record)
    }

    #[tokio::test]
    async fn each_request_waits_for_its_own_place_also_when_many_are_made_at_once() {
        let (store, ticker, _) = paced(4);
        join_all((0..8).map(|_| store.now())).await;
        let places: Vec<_> = (0..8).map(|n| Duration::from_millis(250) * n).collect();
        assert_eq!(ticker.waits(), places);
    }

    #[tokio::test]
    async fn what_was_not_used_is_not_saved_up() {
        let (store, ticker, _) = paced(10);
        store.now().await.unwrap();
        ticker.0.lock().unwrap().0 = Duration::from_mins(1);
        join_all((0..2).map(|_| store.now())).await;
        let minute = Duration::from_mins(1);
        let after = [minute, minute + Duration::from_millis(100)];
        assert_eq!(ticker.waits().split_first().unwrap().1, after);
    }

    #[tokio::test]
    async fn every_kind_of_request_is_paced_and_each_page_of_a_listing() {
        let (store, ticker, record) = paced(1000);
        let key = StoreKey::try_from("canary/a").unwrap();
        let put = store.put(&key, Bytes::from_static(b"a"), None, Place::IfAbsent);
        let object = put.await.unwrap().object;
        store.get(&key, None, None, 9).await.unwrap();
        store.lock_of(&object).await.unwrap();
        let until = store.now().await.unwrap().latest.saturating_add_seconds(60);
        let mode = crate::lock::LockMode::Governance;
        store.extend(&object, Lock { mode, until }).await.unwrap();
        store.hold(&object, Hold::On).await.unwrap();
        store.hide(&key).await.unwrap();
        store.delete_version(&object).await.unwrap_err();
        store.set_aside("x", &object.version).await.unwrap_err();
        assert_eq!(ticker.waits().len(), 9);
        for number in 0..LISTING_PAGE_VERSIONS.get() {
            let key = StoreKey::try_from(format!("canary/{number}")).unwrap();
            let put = store.put(&key, Bytes::new(), None, Place::IfAbsent);
            put.await.unwrap();
        }
        record.take_requests();
        let before = ticker.waits().len();
        assert_eq!(store.list_versions("").count().await, 1002);
        let pages = u64::try_from(ticker.waits().len() - before).unwrap();
        assert_eq!(NonZeroU64::new(pages), NonZeroU64::new(2));
        assert_eq!(record.take_requests().len(), 2);
    }
}
