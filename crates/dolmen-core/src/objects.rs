//! Objects in a store: fetched whole and verified by their names, put once.

use std::sync::Arc;

use bytes::Bytes;
use dolmen_format::{FormatError, ObjectId, ObjectKey, ObjectKind, Timestamp};
use dolmen_store::{
    ByteRange, Place, PutReceipt, Store, StoreError, StoreErrorKind, StoreKey, Version, VersionKind,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;

use crate::error::{Error, Result};

/// Objects fetched at the same time.
const FETCHES_MAX: usize = 16;

/// A store, called from plain threads.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
    runtime: Handle,
    address: Arc<str>,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// Its version.
    pub version: Version,
    /// Its size.
    pub bytes: u64,
    /// When the store received it, by the store's clock.
    pub stored_at: Timestamp,
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
        }
    }

    /// What messages call the store.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The store itself.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Lists every object below `prefix`, and counts what is not one of ours.
    ///
    /// Cost: one listing.
    pub fn list(&self, prefix: &str, mut each: impl FnMut(Listed)) -> Result<Vec<String>> {
        let mut foreign = Vec::new();
        self.runtime.block_on(async {
            let mut versions = self.store.list_versions(prefix);
            while let Some(version) = versions.try_next().await? {
                let key = version.name.parse::<ObjectKey>();
                match (version.kind, key) {
                    (VersionKind::Data, Ok(key)) if version.is_current => each(Listed {
                        key,
                        bytes: version.size_bytes,
                        stored_at: version.stored_at.latest,
                        version: version.version,
                    }),
                    (VersionKind::Marker | VersionKind::Data, Ok(_)) => {}
                    (_, Err(_)) | (VersionKind::Foreign, _) => foreign.push(version.name),
                }
            }
            Ok(foreign)
        })
    }

    /// Fetches a whole object and verifies it by its name.
    ///
    /// Cost: one request.
    pub fn fetch(
        &self,
        key: &ObjectKey,
        kind: ObjectKind,
    ) -> std::result::Result<Bytes, FetchError> {
        self.runtime.block_on(self.fetch_async(key, kind))
    }

    /// Fetches several objects at once; `each` sees them in no order.
    ///
    /// Cost: one request each.
    pub fn fetch_all(
        &self,
        keys: &[(ObjectKey, ObjectKind)],
        mut each: impl FnMut(ObjectKey, std::result::Result<Bytes, FetchError>),
    ) {
        self.runtime.block_on(async {
            let mut fetched = futures_util::stream::iter(keys)
                .map(|(key, kind)| async move { (*key, self.fetch_async(key, *kind).await) })
                .buffer_unordered(FETCHES_MAX);
            while let Some((key, result)) = fetched.next().await {
                each(key, result);
            }
        });
    }

    async fn fetch_async(
        &self,
        key: &ObjectKey,
        kind: ObjectKind,
    ) -> std::result::Result<Bytes, FetchError> {
        let body = self
            .store
            .get(&store_key(key)?, None, None, kind.bytes_max())
            .await?;
        if ObjectId::of(&body) == key.id() {
            Ok(body)
        } else {
            Err(FetchError::Altered)
        }
    }

    /// Reads a part of an object, unverified: what decrypts it verifies it.
    ///
    /// Cost: one request.
    pub fn read(
        &self,
        key: &ObjectKey,
        range: ByteRange,
    ) -> std::result::Result<Bytes, StoreError> {
        let len = match range {
            ByteRange::FromTo { len, .. } | ByteRange::Last { len } => len,
        };
        let limit = len.max(ObjectKind::Pack.bytes_max());
        self.runtime
            .block_on(self.store.get(&store_key(key)?, None, Some(range), limit))
    }

    /// Puts an object under its name, durable on return. One that is there already with these very
    /// bytes is as good; other bytes under the name are covered.
    ///
    /// Cost: one request; three where something was there.
    pub fn put(&self, key: &ObjectKey, body: Bytes) -> Result<PutReceipt> {
        self.runtime.block_on(self.put_async(key, body))
    }

    /// As [`Self::put`], from async code.
    pub async fn put_async(&self, key: &ObjectKey, body: Bytes) -> Result<PutReceipt> {
        let name = store_key(key)?;
        match self
            .store
            .put(&name, body.clone(), None, Place::IfAbsent)
            .await
        {
            Err(StoreError {
                kind: StoreErrorKind::Exists,
                ..
            }) => {}
            outcome => return Ok(outcome?),
        }
        // Covering authentic bytes with themselves changes nothing, so no look is needed first.
        Ok(self.store.put(&name, body, None, Place::OnTop).await?)
    }

    /// Runs store calls of the caller's own.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

fn store_key(key: &ObjectKey) -> std::result::Result<StoreKey, StoreError> {
    // Every object key is a valid store key; the store says so itself should that ever change.
    StoreKey::try_from(key.to_string()).map_err(|error| StoreError {
        kind: StoreErrorKind::Other,
        operation: dolmen_store::Operation::Open,
        key: Some(key.to_string().into()),
        source: Some(Box::new(error)),
    })
}

/// Decodes the kind that an object's prologue states.
pub(crate) fn kind_of(stored: &[u8]) -> std::result::Result<ObjectKind, FormatError> {
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
