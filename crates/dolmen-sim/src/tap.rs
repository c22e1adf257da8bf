//! A layer that lets others act between two calls, and notes what was put and deleted.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dolmen_store::{
    Bucket, ByteRange, Capabilities, Hold, Lock, LockStatus, ObjectRef, Place, PutReceipt, Store,
    StoreError, StoreIdentity, StoreKey, StoreTime, Version, VersionInfo,
};
use futures_util::stream::BoxStream;
use std::sync::Arc;

/// What others do meanwhile.
pub type Meanwhile = Box<dyn FnOnce() + Send>;

/// When others act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the call of this number.
    Call(u64),
    /// Before the first put of a key that begins so.
    PutBelow(&'static str),
}

/// A store through which one process works.
///
/// Calls are numbered from 0 in the order in which they come. What happens meanwhile runs on a thread of its own to its
/// end before the call goes on: a process sees the world change between two calls, and the same seed changes it alike.
pub struct Tap {
    inner: Arc<dyn Store>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    calls: u64,
    meanwhile: Option<(Moment, Meanwhile)>,
    puts: Vec<String>,
    deletes: Vec<String>,
}

impl Tap {
    /// Lays the layer over `inner`; `meanwhile` happens at its moment.
    pub fn new(inner: Arc<dyn Store>, meanwhile: Option<(Moment, Meanwhile)>) -> Self {
        let noted = Noted {
            meanwhile,
            ..Noted::default()
        };
        Self {
            inner,
            noted: Mutex::new(noted),
        }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.noted().calls
    }

    /// The keys that were to be put, in order, whatever came of it.
    pub fn puts(&self) -> Vec<String> {
        self.noted().puts.clone()
    }

    /// The keys of which a version was deleted, in order.
    pub fn deletes(&self) -> Vec<String> {
        self.noted().deletes.clone()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        self.tick_at(None);
    }

    fn tick_at(&self, put: Option<&StoreKey>) {
        let due = {
            let mut noted = self.noted();
            let call = noted.calls;
            noted.calls = call.saturating_add(1);
            noted.meanwhile.take_if(|(at, _)| match at {
                Moment::Call(at) => *at <= call,
                Moment::PutBelow(prefix) => {
                    put.is_some_and(|key| key.as_str().starts_with(*prefix))
                }
            })
        };
        if let Some((_, act)) = due {
            // A thread of its own: this one runs async code, in which no other can be waited for.
            let joined = std::thread::spawn(act).join();
            debug_assert!(joined.is_ok(), "what happened meanwhile panicked");
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("inner", &self.inner)
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Tap {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        self.tick_at(Some(key));
        self.noted().puts.push(key.to_string());
        self.inner.put(key, body, lock, place).await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        self.tick();
        self.inner.get(key, version, range, max_bytes).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        self.tick();
        self.inner.list_versions(prefix)
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        self.tick();
        self.inner.lock_of(object).await
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        self.tick();
        self.inner.extend(object, lock).await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.tick();
        self.inner.hold(object, hold).await
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.tick();
        self.inner.hide(key).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.tick();
        let deleted = self.inner.delete_version(object).await;
        if deleted.is_ok() {
            self.noted().deletes.push(object.key.to_string());
        }
        deleted
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        self.tick();
        self.inner.set_aside(name, version).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        self.tick();
        self.inner.now().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    fn bucket(&self) -> Option<&dyn Bucket> {
        self.inner.bucket()
    }
}

#[cfg(test)]
mod tests {
    use dolmen_store::{MemoryOptions, MemoryStore};

    use super::*;

    #[test]
    fn others_act_once_before_the_call_of_that_number() {
        let store = Arc::new(MemoryStore::new(MemoryOptions::PLAIN));
        let shared = Arc::clone(&store);
        let before = store.clock();
        let tap = Tap::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Some((Moment::Call(1), Box::new(move || shared.advance_clock(60)))),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let stated = [(); 3].map(|()| runtime.block_on(tap.now()).unwrap().earliest);
        let later = before.saturating_add_seconds(60);
        assert_eq!(stated, [before, later, later]);
        assert_eq!(tap.calls(), 3);
    }
}
