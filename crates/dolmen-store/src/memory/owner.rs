//! What an owner or an intruder does to a bucket, and Dolmen never: all that [`Store`](crate::Store) has no call for.

use super::MemoryStore;
use super::bucket::{Binding, in_whole_seconds};
use super::credential::Call;
use super::lifecycle::LifecycleRule;
use super::refusal::{Refusal, require};
use crate::api::Api;
use crate::bucket::DefaultRetention;
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::lock::{Lock, LockMode};
use crate::object::{ObjectRef, PutReceipt, Version};
use crate::store::Place;

/// Whether a bucket keeps what is put over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Every put makes a version.
    Enabled,
    /// Puts and markers replace the version named `null`; the others stay.
    Suspended,
}

/// Each call is allowed or not by this view's credential, as the calls of the trait are.
impl MemoryStore {
    /// Sets the lock of one version to `lock`, or drops it, with the right to bypass governance.
    ///
    /// What compliance still binds is `Locked`, as long as `lock` is weaker. A legal hold stays as it is.
    pub fn weaken(&self, object: &ObjectRef, lock: Option<Lock>) -> Result<(), StoreError> {
        self.weaken_now(object, lock)
            .map_err(|refusal| refusal.at(Operation::Extend, object.key.as_str()))
    }

    fn weaken_now(&self, object: &ObjectRef, lock: Option<Lock>) -> Result<(), Refusal> {
        let name = object.key.as_str();
        require(self.model.options.locks)?;
        let mut bucket = self.enter(Call::Weaken, name)?;
        let now = bucket.now;
        let wanted = lock.map(in_whole_seconds);
        if wanted.is_some_and(|wanted| wanted.until <= now) {
            return Err(Refusal::PAST);
        }
        let data = bucket.find_data(name, &object.version)?;
        let bound = data
            .retention
            .is_some_and(|lock| lock.mode == LockMode::Compliance && now < lock.until);
        if bound && wanted.is_none_or(|wanted| is_weaker(wanted, data.retention)) {
            return Err(StoreErrorKind::Locked.into());
        }
        data.retention = wanted;
        Ok(())
    }

    /// Deletes exactly this version, breaking a lock in governance mode; never one in compliance mode, nor a hold.
    pub fn delete_bypassing(&self, object: &ObjectRef) -> Result<(), StoreError> {
        let name = object.key.as_str();
        self.enter(Call::DeleteBypassing, name)
            .and_then(|mut bucket| {
                let stored = bucket
                    .find(name, &object.version)
                    .ok_or(StoreErrorKind::NotFound)?;
                match bucket.binding(stored) {
                    Binding::Held | Binding::Retained(LockMode::Compliance) => {
                        Err(StoreErrorKind::Locked.into())
                    }
                    Binding::Free | Binding::Retained(LockMode::Governance) => {
                        bucket.remove(name, &object.version);
                        Ok(())
                    }
                }
            })
            .map_err(|refusal| refusal.at(Operation::DeleteVersion, name))
    }

    /// Sets the lock of puts that bring none, or that there is none.
    pub fn set_default_retention(
        &self,
        retention: Option<DefaultRetention>,
    ) -> Result<(), StoreError> {
        require(self.model.options.locks)
            .and_then(|()| self.enter(Call::SetDefaultRetention, ""))
            .map(|mut bucket| bucket.default_retention = retention)
            .map_err(Refusal::of_bucket)
    }

    /// Sets the rules by which the bucket tidies itself, in place of those it has. They run when the clock is set.
    pub fn set_lifecycle(&self, rules: Vec<LifecycleRule>) -> Result<(), StoreError> {
        self.enter(Call::SetLifecycle, "")
            .map(|mut bucket| bucket.lifecycle = rules)
            .map_err(Refusal::of_bucket)
    }

    /// Suspends or resumes versioning. `Locked` while the bucket has locks, `Unsupported` on B2 and without versions.
    pub fn set_versioning(&self, versioning: Versioning) -> Result<(), StoreError> {
        self.set_versioning_now(versioning)
            .map_err(Refusal::of_bucket)
    }

    fn set_versioning_now(&self, versioning: Versioning) -> Result<(), Refusal> {
        require(self.model.options.versions && self.model.api == Api::S3)?;
        let mut bucket = self.enter(Call::SetVersioning, "")?;
        if self.model.options.locks && versioning == Versioning::Suspended {
            return Err(Refusal {
                kind: StoreErrorKind::Locked,
                says: Some("object lock is on"),
            });
        }
        bucket.versioning = versioning;
        Ok(())
    }

    /// Puts `body` on top of any name whatever, which need be no [`StoreKey`](crate::StoreKey).
    pub fn put_foreign(&self, name: &str, body: &[u8]) -> Result<Version, StoreError> {
        self.enter(Call::Put, name)
            .and_then(|mut bucket| bucket.put(name, body, None, Place::OnTop))
            .map(|made| made.version)
            .map_err(|refusal| refusal.at(Operation::Put, name))
    }

    /// Copies the bytes of an old version to the top of its key, as a new version without the old one's lock.
    pub fn put_back(&self, object: &ObjectRef) -> Result<PutReceipt, StoreError> {
        let name = object.key.as_str();
        self.enter(Call::Copy, name)
            .and_then(|mut bucket| {
                let body = bucket.find_data(name, &object.version)?.body.clone();
                bucket.put(name, &body, None, Place::OnTop)
            })
            .map(|made| self.receipt(&object.key, made))
            .map_err(|refusal| refusal.at(Operation::Put, name))
    }
}

/// Tells whether `wanted` is less than the lock that there is.
pub(super) fn is_weaker(wanted: Lock, present: Option<Lock>) -> bool {
    present.is_some_and(|present| wanted.until < present.until || wanted.mode < present.mode)
}
