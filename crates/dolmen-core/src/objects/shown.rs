//! Strategy `hide`: what lives is kept in the plain view, and what nothing needs is taken out of it.
//!
//! The bucket's rules delete what is hidden or covered some days later, so the plain view is what protects.

use bytes::Bytes;
use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectKey, ObjectKind};
use dolmen_store::{ObjectRef, Place, StoreError, StoreErrorKind, Version};

use super::hashes::Verdict;
use super::{Extended, Extension, FetchError, Listed, Objects, StoredCopy, store_key};

/// How what nothing needs is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Its versions are deleted.
    Delete,
    /// It is hidden, and the bucket's rules delete it.
    Hide,
}

impl Removal {
    /// How a strategy removes.
    pub const fn of(strategy: LockStrategy) -> Self {
        match strategy {
            LockStrategy::Hide => Self::Hide,
            LockStrategy::None
            | LockStrategy::Compliance
            | LockStrategy::Governance
            | LockStrategy::Hold
            | LockStrategy::Attribute => Self::Delete,
        }
    }
}

impl Objects {
    /// Removes an object, all its versions. One that is gone, or hidden already where that is all, is no error.
    ///
    /// Cost: one request for each version; one to hide, none where it is hidden.
    pub(crate) fn remove(&self, object: &Listed, removal: Removal) -> Result<(), StoreError> {
        let key = store_key(&object.key)?;
        self.block_on(async {
            match removal {
                Removal::Hide if object.is_hidden => {}
                Removal::Hide => {
                    self.store().hide(&key).await?;
                }
                Removal::Delete => {
                    let versions = object.copies.iter().map(|copy| &copy.version);
                    self.delete_all(&object.key, versions).await?;
                }
            }
            Ok(())
        })
    }

    /// Deletes versions in the order given; those that are gone are no error.
    async fn delete_all<'v>(
        &self,
        key: &ObjectKey,
        versions: impl IntoIterator<Item = &'v Version>,
    ) -> Result<(), StoreError> {
        for version in versions {
            let object = ObjectRef {
                key: store_key(key)?,
                version: version.clone(),
            };
            match self.store().delete_version(&object).await {
                Err(error) if error.kind != StoreErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Puts authentic bytes into the plain view again where a marker hides them or other bytes cover them.
    ///
    /// Cost: nothing where the one version that there is shows; one request to remove each marker; where that is refused
    /// or other bytes lie on top, one to read each version until the authentic one, one for the top, and one put.
    pub(super) async fn show(
        &self,
        object: &Listed,
        kind: ObjectKind,
        extension: Extension,
    ) -> Result<Extended, FetchError> {
        let mut extended = Extended::default();
        let mut found: Option<Bytes> = None;
        let mut only = object.copies.first().map(|copy| copy.version.clone());
        let mut is_covered = false;
        if let [_, _, ..] = object.copies.as_slice() {
            let authentic = self.authentic_version(object, kind).await?;
            is_covered = match object.copies.last() {
                Some(top) if top.version == authentic.copy.version => false,
                Some(top) => !self.is_authentic(&object.key, top, kind).await?,
                None => true,
            };
            only = Some(authentic.copy.version);
            found = authentic.body;
        }
        if !object.is_hidden && !is_covered {
            return Ok(extended);
        }
        extended.was_out_of_view = true;
        extended.is_renewed = true;
        if extension == Extension::Plan {
            return Ok(extended);
        }
        extended.calls = 1;
        if !is_covered {
            match self.delete_all(&object.key, &object.markers).await {
                Ok(()) => return Ok(extended),
                // Who may not delete a marker may still put the bytes above it.
                Err(error)
                    if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Locked) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let body = if let Some(body) = found {
            body
        } else {
            self.fetch_version(&object.key, only.as_ref(), kind).await?
        };
        extended.calls = extended.calls.saturating_add(1);
        self.put_locked(&object.key, &body, Place::OnTop).await?;
        self.views.forget(&object.key);
        Ok(extended)
    }

    /// Whether a version has the bytes that its name says.
    async fn is_authentic(
        &self,
        key: &ObjectKey,
        copy: &StoredCopy,
        kind: ObjectKind,
    ) -> Result<bool, FetchError> {
        if copy.bytes > kind.bytes_max() {
            return Ok(false);
        }
        match self.hash_version(key, copy, kind).await {
            Ok((verdict, _)) => Ok(verdict == Verdict::Authentic),
            Err(error) if self.may_lie_beneath(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
