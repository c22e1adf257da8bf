use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_store::memory::MEMORY_CLOCK_START;
use dolmen_store::*;
use futures_util::stream::BoxStream;
use tokio::runtime::Runtime;

use super::{Bytes, Objects, RepositoryId, Timestamp};
use crate::environment::{Clock, Environment, Random};
use crate::error::Error;
use crate::repository::Repository;

/// A store in which another client acts between this one's calls.
#[derive(Debug)]
struct Shared {
    inner: MemoryStore,
    other: Mutex<Option<(StoreKey, Bytes)>>,
    plan: Plan,
    /// Listings of `root/` after this client's root arrived.
    looks: AtomicUsize,
}

/// What happens when this client puts its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// The disk is full.
    Full,
    /// The other root was received a second earlier.
    OtherFirst,
    /// The other root is received a second later, and taken back after so many looks.
    OtherLater { until: usize },
    /// The same, and hidden then, because a lock keeps it.
    OtherHidden { until: usize },
}

impl Shared {
    async fn put_other(&self) -> Result<(), StoreError> {
        let other = self.other.lock().unwrap().clone();
        let (key, body) = other.unwrap();
        self.inner.put(&key, body, None, Place::IfAbsent).await?;
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        use futures_util::TryStreamExt as _;
        let listed = self.inner.list_versions("").try_collect::<Vec<_>>();
        let listed = futures_util::FutureExt::now_or_never(listed).unwrap();
        listed.unwrap().into_iter().map(|line| line.name).collect()
    }
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(MEMORY_CLOCK_START.seconds + seconds)
}

#[async_trait]
impl Store for Shared {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        if !key.as_str().starts_with("root/") {
            return self.inner.put(key, body, lock, place).await;
        }
        match self.plan {
            Plan::Full => Err(StoreError {
                kind: StoreErrorKind::NoSpace,
                operation: Operation::Put,
                key: Some(key.as_str().into()),
                source: None,
            }),
            Plan::OtherFirst => {
                self.put_other().await?;
                self.inner.set_clock(later(1));
                self.inner.put(key, body, lock, place).await
            }
            Plan::OtherLater { .. } | Plan::OtherHidden { .. } => {
                let receipt = self.inner.put(key, body, lock, place).await?;
                self.inner.set_clock(later(1));
                self.put_other().await?;
                self.looks.store(1, Ordering::SeqCst);
                Ok(receipt)
            }
        }
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
        if let (Plan::OtherHidden { until }, "root/") = (self.plan, prefix)
            && self.looks.load(Ordering::SeqCst) > 0
            && self.looks.fetch_add(1, Ordering::SeqCst) == until
        {
            let (key, _) = self.other.lock().unwrap().clone().unwrap();
            let hidden = futures_util::FutureExt::now_or_never(self.inner.hide(&key));
            hidden.unwrap().unwrap();
        }
        if let (Plan::OtherLater { until }, "root/") = (self.plan, prefix)
            && self.looks.load(Ordering::SeqCst) > 0
            && self.looks.fetch_add(1, Ordering::SeqCst) == until
        {
            let (key, _) = self.other.lock().unwrap().clone().unwrap();
            let names =
                futures_util::FutureExt::now_or_never(futures_util::TryStreamExt::try_collect::<
                    Vec<_>,
                >(
                    self.inner.list_versions(key.as_str())
                ));
            for line in names.unwrap().unwrap() {
                let object = ObjectRef {
                    key: key.clone(),
                    version: line.version,
                };
                let deleted = self.inner.delete_version(&object);
                futures_util::FutureExt::now_or_never(deleted)
                    .unwrap()
                    .unwrap();
            }
        }
        self.inner.list_versions(prefix)
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
        self.inner.now().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }
}

/// Stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        MEMORY_CLOCK_START
    }
}

/// Never the same bytes twice.
#[derive(Debug)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::SeqCst).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

fn create(runtime: &Runtime, store: Arc<dyn Store>, seed: u64) -> Result<RepositoryId, Error> {
    let environment = Environment {
        clock: Arc::new(Still),
        random: Arc::new(Counting(AtomicU64::new(seed))),
    };
    let policy = Policy {
        protect_seconds: 86400,
        generation_seconds: 3600,
        interval_seconds: 60,
        lock: LockStrategy::None,
        keep: Keep::default(),
        classes: Vec::new(),
        previous: None,
    };
    let objects = Objects::new(store, runtime.handle().clone(), "memory");
    Ok(Repository::create(objects, environment, b"secret", &policy)?.id())
}

/// Runs `create` beside another client, and returns what it came to and what the store holds then.
fn race(plan: Plan) -> (Result<RepositoryId, Error>, Vec<String>, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let elsewhere = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let other = create(&runtime, Arc::clone(&elsewhere) as Arc<dyn Store>, 1 << 32).unwrap();
    let name = format!("root/{other}");
    let key = StoreKey::try_from(name.clone()).unwrap();
    let body = runtime
        .block_on(elsewhere.get(&key, None, None, 1 << 20))
        .unwrap();
    let store = Arc::new(Shared {
        inner: MemoryStore::new(MemoryOptions {
            versions: matches!(plan, Plan::OtherHidden { .. }),
            locks: false,
        }),
        other: Mutex::new(Some((key, body))),
        plan,
        looks: AtomicUsize::new(0),
    });
    let outcome = create(&runtime, Arc::clone(&store) as Arc<dyn Store>, 1);
    (outcome, store.names(), name)
}

#[test]
fn of_two_roots_the_later_one_is_taken_back() {
    let (outcome, names, other) = race(Plan::OtherFirst);
    assert!(
        matches!(outcome, Err(Error::RepositoryExists { .. })),
        "{outcome:?}"
    );
    assert_eq!(names, [other], "its bundle is gone too");
}

#[test]
fn the_first_root_waits_until_the_later_one_is_taken_back() {
    let (outcome, names, other) = race(Plan::OtherLater { until: 3 });
    let id = outcome.unwrap();
    assert!(
        names.contains(&format!("root/{id}")) && !names.contains(&other),
        "{names:?}"
    );
    assert_eq!(names.len(), 2);
}

#[test]
fn the_first_root_waits_until_the_later_one_is_hidden() {
    let (outcome, names, other) = race(Plan::OtherHidden { until: 3 });
    let id = outcome.unwrap();
    assert!(names.contains(&format!("root/{id}")), "{names:?}");
    assert!(names.contains(&other), "a lock keeps it: {names:?}");
}

#[test]
fn the_first_root_yields_to_one_that_stays() {
    let (outcome, names, other) = race(Plan::OtherLater { until: usize::MAX });
    assert!(
        matches!(outcome, Err(Error::RepositoryExists { .. })),
        "{outcome:?}"
    );
    assert_eq!(names, [other]);
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let (outcome, names, _) = race(Plan::Full);
    let Err(Error::Store(error)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(error.kind, StoreErrorKind::NoSpace);
    assert_eq!(names, [""; 0]);
}
