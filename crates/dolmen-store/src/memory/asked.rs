//! The bucket as whoever tries its own credentials out asks it.

use async_trait::async_trait;

use super::MemoryStore;
use super::credential::{Call, Right};
use super::lifecycle::LifecycleRule;
use super::owner::Versioning;
use super::refusal::{Refusal, require};
use crate::api::Api;
use crate::bucket::{Bucket, BucketSettings, Hazard, Setting};
use crate::error::{StoreError, StoreErrorKind};
use crate::object::ObjectRef;

#[async_trait]
impl Bucket for MemoryStore {
    fn api(&self) -> Api {
        self.model.api
    }

    fn name(&self) -> &str {
        self.identity.as_str()
    }

    /// The repository fills it.
    fn prefix(&self) -> &'static str {
        ""
    }

    /// The owner of the bucket wrote its rules: they have no names, and everybody is told.
    async fn settings(&self) -> Result<BucketSettings, StoreError> {
        let options = self.model.options;
        let bucket = self.state();
        let harms = bucket.lifecycle.iter().filter_map(LifecycleRule::harm);
        let hazards = harms.map(|harm| Hazard {
            rule: "without a name".to_owned(),
            harm,
        });
        Ok(BucketSettings {
            has_versions: Some(options.versions && bucket.versioning == Versioning::Enabled),
            has_locks: Some(options.locks),
            default_retention: Some(bucket.default_retention),
            hazards: Some(hazards.collect()),
        })
    }

    async fn delete_bypassing(&self, object: &ObjectRef) -> Result<(), StoreError> {
        Self::delete_bypassing(self, object)
    }

    /// Setting what is set changes nothing, so the right is all that is asked for.
    async fn set_again(&self, setting: Setting) -> Result<(), StoreError> {
        let (call, has_setting) = match setting {
            Setting::Lifecycle => (Call::SetLifecycle, true),
            Setting::DefaultRetention => (Call::SetDefaultRetention, self.model.options.locks),
            Setting::Versioning => (Call::SetVersioning, self.model.api == Api::S3),
        };
        require(has_setting)
            .and_then(|()| self.enter(call, ""))
            .map(drop)
            .map_err(Refusal::of_bucket)
    }

    /// B2 tells each key its rights. On S3 keys are another service's.
    async fn may_create_keys(&self) -> Result<bool, StoreError> {
        match self.model.api {
            Api::B2 => Ok(self.credential.has(Right::WriteKeys)),
            Api::S3 => Err(Refusal::from(StoreErrorKind::Unsupported).of_bucket()),
        }
    }
}
