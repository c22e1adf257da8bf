//! What a thief of these credentials could do to the bucket: asked in forms that change nothing.

use async_trait::async_trait;
use aws_sdk_s3::types::BucketLifecycleConfiguration;
use dolmen_store::{
    Api, Bucket, BucketSettings, ObjectRef, Operation, Setting, StoreError, StoreErrorKind,
};

use crate::answer::WithMd5;
use crate::fault;
use crate::send::Unanswered;
use crate::store::S3Store;

#[async_trait]
impl Bucket for S3Store {
    fn api(&self) -> Api {
        Api::S3
    }

    fn name(&self) -> &str {
        &self.bucket
    }

    fn prefix(&self) -> &str {
        &self.folder
    }

    async fn settings(&self) -> Result<BucketSettings, StoreError> {
        self.ask_settings().await
    }

    async fn delete_bypassing(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.delete(object, Some(true)).await
    }

    async fn set_again(&self, setting: Setting) -> Result<(), StoreError> {
        match setting {
            Setting::Versioning => self.set_versioning_again().await,
            Setting::DefaultRetention => self.set_retention_again().await,
            Setting::Lifecycle => self.set_rules_again().await,
        }
    }

    /// S3 does not tell; who may make keys is a matter of IAM.
    async fn may_create_keys(&self) -> Result<bool, StoreError> {
        Err(self.unset("S3 does not tell who may make keys"))
    }
}

impl S3Store {
    fn unset(&self, why: &'static str) -> StoreError {
        fault::own(
            StoreErrorKind::Unsupported,
            Operation::Configure,
            &self.bucket,
            why,
        )
    }

    async fn set_versioning_again(&self) -> Result<(), StoreError> {
        let Some(status) = self.versioning().await? else {
            return Err(self.unset("the bucket keeps no versions"));
        };
        let set = self
            .sender
            .call(Unanswered::Repeat, || self.set_versioning(status.clone()));
        set.await
    }

    async fn set_retention_again(&self) -> Result<(), StoreError> {
        let Some(same) = self.lock_configuration(Operation::Configure).await? else {
            return Err(self.unset("the bucket has no Object Lock"));
        };
        let set = self.sender.call(Unanswered::Repeat, || async {
            let request = self.client.put_object_lock_configuration();
            let request = request.bucket(&self.bucket);
            let request = request.object_lock_configuration(same.clone()).customize();
            let failed = |error| fault::store_error(&error, Operation::Configure, &self.bucket);
            request.interceptor(WithMd5).send().await.map_err(failed)
        });
        set.await.map(|_| ())
    }

    async fn set_rules_again(&self) -> Result<(), StoreError> {
        let rules = self.rules().await?;
        if rules.is_empty() {
            // To set none again would be to remove them: what came meanwhile would be gone.
            return Err(self.unset("the bucket has no lifecycle rules"));
        }
        let same = BucketLifecycleConfiguration::builder()
            .set_rules(Some(rules))
            .build()
            .map_err(|_error| self.unset("the service's own lifecycle rules make no sense"))?;
        let set = self.sender.call(Unanswered::Repeat, || async {
            let request = self.client.put_bucket_lifecycle_configuration();
            let request = request.bucket(&self.bucket);
            let request = request.lifecycle_configuration(same.clone()).customize();
            let failed = |error| fault::store_error(&error, Operation::Configure, &self.bucket);
            request.interceptor(WithMd5).send().await.map_err(failed)
        });
        set.await.map(|_| ())
    }
}
