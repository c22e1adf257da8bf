//! A store in a folder: one file for each object, its key as the path.
//!
//! The folder has no versions, no locks, and the file system's clock. A version's name is inode and modification time,
//! so that a replaced object is never taken for the one that was planned to go.
//!
//! - A put writes a file in `.tmp/`, syncs it, moves it to its place without replacing anything, and syncs the folder.
//!   A crash leaves files in `.tmp/` at most, never a part of an object.
//! - `.tmp/`, `quarantine/`, `incoming/` and `leases/` hold no objects: keys below them are refused, listings skip them.
//! - Paths are walked one segment at a time and links are never followed, so nothing outside the folder is touched.
//! - New files are for their owner only, or for the group too where the group may read the repository's folder; the
//!   umask has the last word.

mod aside;
mod fault;
mod folder;
mod place;
mod read;
mod temp;
mod walk;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use self::fault::Fault;
use self::folder::Folder;
use self::walk::Walk;
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo};
use crate::store::{Capabilities, LockSupport, Place, Store, StoreClock, StoreIdentity};

/// A store in a folder of this machine, or of a file server that it mounts.
#[derive(Debug)]
pub struct LocalStore {
    folder: Arc<Folder>,
    identity: StoreIdentity,
}

impl LocalStore {
    /// Opens the folder at `path`, which must exist, and writes nothing. Blocks for a few system calls.
    ///
    /// The folder itself stays open: should another be mounted or moved to `path`, this store does not notice.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let opened = Folder::open(path).and_then(|folder| {
            Ok(Self {
                identity: folder.identity(path)?,
                folder: Arc::new(folder),
            })
        });
        opened.map_err(|fault| fault.at(Operation::Open, Some(&path.to_string_lossy())))
    }

    /// Makes the folder at `path`, with its parents, and opens it; one that exists is taken as it is. Blocks.
    ///
    /// On `Ok` the folder is durable. Whether a folder with other things in it will do is for the caller to decide;
    /// see [`LocalStore::is_empty`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        folder::make(path)
            .map_err(|fault| fault.at(Operation::Create, Some(&path.to_string_lossy())))?;
        Self::open(path)
    }

    /// Tells whether the folder holds nothing but `.tmp/` and the `lost+found/` of a fresh file system. Blocks.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.folder
            .is_empty()
            .map_err(|fault| fault.at(Operation::Open, None))
    }

    /// Runs blocking `work` on a thread for it.
    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        key: Option<&StoreKey>,
        work: impl FnOnce(&Folder) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = Arc::clone(&self.folder);
        let key = key.map(StoreKey::as_str);
        tokio::task::spawn_blocking(move || work(&folder))
            .await
            .unwrap_or_else(|error| Err(Fault::lost(error)))
            .map_err(|fault| fault.at(operation, key))
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        let target = key.clone();
        self.run(Operation::Put, Some(key), move |folder| {
            if lock.is_some() {
                return Err(StoreErrorKind::Unsupported.into());
            }
            let state = folder.put(&target, &body, place)?;
            Ok(PutReceipt {
                object: ObjectRef {
                    key: target,
                    version: state.version(),
                },
                stored_at: state.stored_at(),
                locked_until: None,
                checksum: None,
            })
        })
        .await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        let (target, version) = (key.clone(), version.cloned());
        self.run(Operation::Get, Some(key), move |folder| {
            folder.get(&target, version.as_ref(), range, max_bytes)
        })
        .await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        let shown_prefix = prefix.to_owned();
        let walk = Walk::new(Arc::clone(&self.folder), prefix);
        let batches = stream::unfold(Some(walk), move |walk| {
            let shown_prefix = shown_prefix.clone();
            async move {
                let mut walk = walk?;
                let step = tokio::task::spawn_blocking(move || (walk.next_batch(), walk)).await;
                match step {
                    Ok((batch, _)) if batch.is_empty() => None,
                    Ok((batch, walk)) => Some((batch, Some(walk))),
                    Err(error) => Some((vec![Err((Fault::lost(error), shown_prefix))], None)),
                }
            }
        });
        batches
            .flat_map(stream::iter)
            .map(|line| {
                line.map_err(|(fault, path)| fault.at(Operation::ListVersions, Some(&path)))
            })
            .boxed()
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        Err(unsupported(Operation::LockOf, &object.key))
    }

    async fn extend(&self, object: &ObjectRef, _lock: Lock) -> Result<(), StoreError> {
        Err(unsupported(Operation::Extend, &object.key))
    }

    async fn hold(&self, object: &ObjectRef, _hold: Hold) -> Result<(), StoreError> {
        Err(unsupported(Operation::Hold, &object.key))
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        Err(unsupported(Operation::Hide, key))
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        let target = object.clone();
        self.run(Operation::DeleteVersion, Some(&object.key), move |folder| {
            folder.delete(&target)
        })
        .await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        let (folder, path, wanted) = (Arc::clone(&self.folder), name.to_owned(), version.clone());
        tokio::task::spawn_blocking(move || folder.set_aside(&path, &wanted))
            .await
            .unwrap_or_else(|error| Err(Fault::lost(error)))
            .map_err(|fault| fault.at(Operation::SetAside, Some(name)))
    }

    /// Reads the modification time of a fresh file in `.tmp/`, so that a file server's clock counts, not the client's.
    async fn now(&self) -> Result<StoreTime, StoreError> {
        let now = self.run(Operation::Now, None, Folder::now).await;
        now.map_err(|error| StoreError {
            key: Some(".tmp/".into()),
            ..error
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            versions: false,
            quarantine: true,
            locks: LockSupport::None,
            listed_locks: true,
            conditional_put: self.folder.places_atomically(),
            clock: StoreClock::FileSystem,
        }
    }

    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }
}

fn unsupported(operation: Operation, key: &StoreKey) -> StoreError {
    Fault::from(StoreErrorKind::Unsupported).at(operation, Some(key.as_str()))
}

#[cfg(test)]
mod tests;
