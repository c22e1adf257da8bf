//! Objects that may be attacked.

use std::collections::BTreeSet;

use bytes::Bytes;
use dolmen_format::{ObjectId, ObjectKey, Timestamp};
use dolmen_store::{
    Lock, LockMode, ObjectRef, Place, Store, StoreError, StoreErrorKind, StoreKey, VersionKind,
};
use futures_util::StreamExt as _;

use crate::environment::Environment;
use crate::error::Result;
use crate::objects::store_key;
use crate::probe::LOCK_SECONDS;

/// Versions that are looked at to find a canary of somebody else's: a page of a listing.
const LOOKED_AT_MAX: usize = 1000;
const CANARY_BYTES: usize = 32;

/// A version that may be attacked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) object: ObjectRef,
    /// The lock that was put with it.
    pub(super) lock: Option<Lock>,
}

/// Canaries of this run.
pub(super) struct Canaries<'a> {
    store: &'a dyn Store,
    environment: &'a Environment,
    /// The keys that it put or attacks.
    put: BTreeSet<StoreKey>,
}

impl<'a> Canaries<'a> {
    pub(super) const fn new(store: &'a dyn Store, environment: &'a Environment) -> Self {
        Self {
            store,
            environment,
            put: BTreeSet::new(),
        }
    }

    /// A canary of its own under a lock: a new one, without a lock where these credentials may set none, else one that is
    /// there already.
    pub(super) async fn target(&mut self, mode: Option<LockMode>) -> Result<Option<Target>> {
        let lock = match mode {
            None => None,
            Some(mode) => {
                let from = self.store.now().await?.latest.ceil_seconds();
                let until = Timestamp::from_seconds(from.saturating_add(LOCK_SECONDS));
                Some(Lock { mode, until })
            }
        };
        let body = Bytes::copy_from_slice(&self.environment.bytes::<CANARY_BYTES>());
        let key = store_key(&ObjectKey::Canary(ObjectId::of(&body)))?;
        self.put.insert(key.clone());
        for lock in [lock, None] {
            let put = self.store.put(&key, body.clone(), lock, Place::IfAbsent);
            match put.await {
                Ok(receipt) => {
                    let object = receipt.object;
                    return Ok(Some(Target { object, lock }));
                }
                Err(error) if error.kind == StoreErrorKind::Denied => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.put.remove(&key);
        let found = self.found().await?;
        // A marker that gets over it must go again.
        self.put
            .extend(found.iter().map(|target| target.object.key.clone()));
        Ok(found)
    }

    /// A canary that a probe or another drill left.
    async fn found(&self) -> std::result::Result<Option<Target>, StoreError> {
        let mut versions = self.store.list_versions("canary/").take(LOOKED_AT_MAX);
        while let Some(version) = versions.next().await {
            let version = match version {
                Ok(version) => version,
                Err(error) if error.kind == StoreErrorKind::Denied => return Ok(None),
                Err(error) => return Err(error),
            };
            let is_canary = matches!(version.name.parse(), Ok(ObjectKey::Canary(_)));
            if is_canary
                && version.kind == VersionKind::Data
                && let Ok(key) = StoreKey::try_from(version.name)
            {
                let version = version.version;
                let object = ObjectRef { key, version };
                return Ok(Some(Target { object, lock: None }));
            }
        }
        Ok(None)
    }

    /// The retention of a canary; `None`: it has none, or these credentials do not see it.
    pub(super) async fn lock_of(&self, target: &Target) -> Result<Option<Lock>> {
        match self.store.lock_of(&target.object).await {
            Ok(status) => Ok(status.retention()),
            Err(error) if is_unseen(error.kind) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the version is there, be it hidden; `None`: these credentials do not see it.
    pub(super) async fn is_there(&self, target: &Target) -> Result<Option<bool>> {
        let ObjectRef { key, version } = &target.object;
        let mut versions = self.store.list_versions(key.as_str());
        loop {
            match versions.next().await {
                Some(Ok(line)) if line.name == key.as_str() && line.version == *version => {
                    return Ok(Some(line.kind == VersionKind::Data));
                }
                Some(Ok(_)) => {}
                None => return Ok(Some(false)),
                Some(Err(error)) if error.kind == StoreErrorKind::Denied => break,
                Some(Err(error)) => return Err(error.into()),
            }
        }
        let bytes = u64::try_from(CANARY_BYTES).unwrap_or(u64::MAX);
        match self.store.get(key, Some(version), None, bytes).await {
            Ok(_) => Ok(Some(true)),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Some(false)),
            Err(error) if is_unseen(error.kind) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes what this run put or attacked and what it put over it, as far as that may be. What stays, its locks hold, or these
    /// credentials may not delete; prune takes it.
    pub(super) async fn clear(&self) {
        for key in &self.put {
            let versions: Vec<_> = self.store.list_versions(key.as_str()).collect().await;
            let versions = versions.into_iter().flatten();
            for line in versions.filter(|line| line.name == key.as_str()) {
                let object = ObjectRef {
                    key: key.clone(),
                    version: line.version,
                };
                let _refused = self.store.delete_version(&object).await;
            }
        }
    }
}

/// Whether it may be there all the same.
const fn is_unseen(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Denied | StoreErrorKind::Unsupported | StoreErrorKind::NotFound
    )
}
