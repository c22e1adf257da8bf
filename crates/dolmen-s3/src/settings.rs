//! What a bucket does by itself: versions, Object Lock, default retention, lifecycle rules. And making one.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, ExpirationStatus,
    LifecycleRule, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRule,
    TransitionStorageClass, VersioningConfiguration,
};
use dolmen_store::{
    BucketSettings, DefaultRetention, Harm, Hazard, Operation, StoreError, StoreErrorKind,
};

use crate::address::S3Address;
use crate::answer::WithMd5;
use crate::client::S3Options;
use crate::fault;
use crate::send::Unanswered;
use crate::store::{S3Store, lock_mode};

/// AWS's first region, which alone must not be named when a bucket is made there.
const FIRST_REGION: &str = "us-east-1";

impl S3Store {
    /// Asks what the bucket does by itself. Cost: three requests.
    pub(crate) async fn ask_settings(&self) -> Result<BucketSettings, StoreError> {
        let versions = known(self.versioning().await)?;
        let locks = known(self.lock_settings().await)?;
        let rules = known(self.rules().await)?;
        let hazards = rules.map(|rules| {
            let hazards = rules.iter();
            hazards
                .filter_map(|rule| hazard(rule, &self.folder))
                .collect()
        });
        Ok(BucketSettings {
            has_versions: versions.map(|status| is_on(status.as_ref())),
            has_locks: locks.map(|(has_locks, _)| has_locks),
            default_retention: locks.map(|(_, retention)| retention),
            hazards,
        })
    }

    /// Makes a bucket with Object Lock, which brings versions; one that is the caller's already is left as it is.
    ///
    /// Cost: one request; two where the service does not turn versions on by itself.
    pub async fn create_bucket(address: &S3Address, options: &S3Options) -> Result<(), StoreError> {
        let store = Self::reach(address, options).await;
        let create = store.sender.call(Unanswered::Repeat, || store.try_create());
        create.await?;
        if known(store.versioning().await)?.is_some_and(|status| !is_on(status.as_ref())) {
            let enable = store.sender.call(Unanswered::Repeat, || {
                store.set_versioning(BucketVersioningStatus::Enabled)
            });
            enable.await?;
        }
        Ok(())
    }

    async fn try_create(&self) -> Result<(), StoreError> {
        let region = self.client.config().region().map(AsRef::as_ref);
        let region = region.filter(|region| *region != FIRST_REGION && self.is_aws);
        let place = region.map(|region| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region))
                .build()
        });
        let request = self
            .client
            .create_bucket()
            .bucket(&self.bucket)
            .object_lock_enabled_for_bucket(true)
            .set_create_bucket_configuration(place);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) => Err(fault::store_error(&error, Operation::Create, &self.bucket)),
        }
    }

    /// Sets whether the bucket keeps versions.
    pub(crate) async fn set_versioning(
        &self,
        status: BucketVersioningStatus,
    ) -> Result<(), StoreError> {
        let wanted = VersioningConfiguration::builder().status(status).build();
        let request = self.client.put_bucket_versioning().bucket(&self.bucket);
        let request = request.versioning_configuration(wanted).customize();
        let sent = request.interceptor(WithMd5).send().await;
        sent.map_err(|error| fault::store_error(&error, Operation::Configure, &self.bucket))?;
        Ok(())
    }

    /// Whether the bucket keeps versions; `None`: it never did.
    pub(crate) async fn versioning(&self) -> Result<Option<BucketVersioningStatus>, StoreError> {
        let asked = self.sender.call(Unanswered::Repeat, || async {
            let request = self.client.get_bucket_versioning().bucket(&self.bucket);
            let failed = |error| fault::store_error(&error, Operation::Open, &self.bucket);
            let answer = request.send().await.map_err(failed)?;
            Ok(answer.status().cloned())
        });
        asked.await
    }

    /// Whether the bucket has Object Lock, and its default retention.
    pub(crate) async fn lock_settings(
        &self,
    ) -> Result<(bool, Option<DefaultRetention>), StoreError> {
        let found = self.lock_configuration(Operation::Open).await?;
        let found = found.as_ref();
        let enabled = found.and_then(|found| found.object_lock_enabled());
        let rule = found.and_then(|found| found.rule());
        Ok((
            enabled == Some(&ObjectLockEnabled::Enabled),
            rule.and_then(default_retention),
        ))
    }

    /// What the bucket says of Object Lock; `None`: it has none.
    pub(crate) async fn lock_configuration(
        &self,
        operation: Operation,
    ) -> Result<Option<ObjectLockConfiguration>, StoreError> {
        let asked = self.sender.call(Unanswered::Repeat, || async {
            let request = self.client.get_object_lock_configuration();
            match request.bucket(&self.bucket).send().await {
                Ok(answer) => Ok(answer.object_lock_configuration),
                Err(error) if error.code() == Some("ObjectLockConfigurationNotFoundError") => {
                    Ok(None)
                }
                Err(error) => Err(fault::store_error(&error, operation, &self.bucket)),
            }
        });
        asked.await
    }

    pub(crate) async fn rules(&self) -> Result<Vec<LifecycleRule>, StoreError> {
        let asked = self.sender.call(Unanswered::Repeat, || async {
            let request = self.client.get_bucket_lifecycle_configuration();
            match request.bucket(&self.bucket).send().await {
                Ok(answer) => Ok(answer.rules.unwrap_or_default()),
                Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => {
                    Ok(Vec::new())
                }
                Err(error) => Err(fault::store_error(
                    &error,
                    Operation::Configure,
                    &self.bucket,
                )),
            }
        });
        asked.await
    }
}

/// Whether what is put from now on gets a version of its own.
fn is_on(status: Option<&BucketVersioningStatus>) -> bool {
    status == Some(&BucketVersioningStatus::Enabled)
}

/// Leaves open what the service does not know, or does not tell these credentials.
pub(crate) fn known<T>(asked: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if matches!(
                error.kind,
                StoreErrorKind::Unsupported | StoreErrorKind::Denied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn default_retention(rule: &ObjectLockRule) -> Option<DefaultRetention> {
    let found = rule.default_retention()?;
    let years = found.years().unwrap_or(0).max(0).unsigned_abs();
    let days = found.days().unwrap_or(0).max(0).unsigned_abs();
    Some(DefaultRetention {
        mode: lock_mode(found.mode()?.as_str())?,
        days: days.saturating_add(years.saturating_mul(365)),
    })
}

/// What a rule does to objects below `folder`.
fn hazard(rule: &LifecycleRule, folder: &str) -> Option<Hazard> {
    if rule.status() != &ExpirationStatus::Enabled || !concerns(rule, folder) {
        return None;
    }
    let expires = rule
        .expiration()
        .is_some_and(|when| when.days().is_some() || when.date().is_some());
    let archive = |class: Option<&TransitionStorageClass>| {
        matches!(
            class,
            Some(TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive)
        )
    };
    let archives = rule
        .transitions()
        .iter()
        .any(|when| archive(when.storage_class()))
        || rule
            .noncurrent_version_transitions()
            .iter()
            .any(|when| archive(when.storage_class()));
    let harm = if expires {
        Harm::Expires
    } else if rule.noncurrent_version_expiration().is_some() {
        Harm::DeletesBeneath
    } else if archives {
        Harm::Archives
    } else {
        return None;
    };
    Some(Hazard {
        rule: rule.id().unwrap_or("without a name").to_owned(),
        harm,
    })
}

/// Whether a rule is for objects below `folder`, or for some of them. What it asks of tags and sizes is not relied on.
fn concerns(rule: &LifecycleRule, folder: &str) -> bool {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    #[expect(deprecated, reason = "old rules have their prefix there")]
    let prefix = rule.prefix();
    let prefix = prefix
        .or(filter.and_then(|filter| filter.prefix()))
        .or(and.and_then(|and| and.prefix()))
        .unwrap_or_default();
    folder.starts_with(prefix) || prefix.starts_with(folder)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{
        LifecycleExpiration, LifecycleRuleFilter, NoncurrentVersionExpiration, Transition,
    };

    use super::*;

    fn rule() -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
        LifecycleRule::builder()
            .id("r")
            .status(ExpirationStatus::Enabled)
    }

    fn harm(rule: aws_sdk_s3::types::builders::LifecycleRuleBuilder) -> Option<Harm> {
        hazard(&rule.build().unwrap(), "repository/").map(|hazard| hazard.harm)
    }

    #[test]
    fn a_rule_that_takes_objects_away_is_a_hazard_and_a_tidy_one_is_none() {
        let expires = LifecycleExpiration::builder().days(30).build();
        let tidies = LifecycleExpiration::builder()
            .expired_object_delete_marker(true)
            .build();
        let beneath = NoncurrentVersionExpiration::builder()
            .noncurrent_days(1)
            .build();
        let archives = Transition::builder()
            .days(1)
            .storage_class(TransitionStorageClass::DeepArchive)
            .build();
        let cools = Transition::builder()
            .days(1)
            .storage_class(TransitionStorageClass::StandardIa)
            .build();
        assert_eq!(
            harm(rule().expiration(expires.clone())),
            Some(Harm::Expires)
        );
        assert_eq!(
            harm(rule().noncurrent_version_expiration(beneath)),
            Some(Harm::DeletesBeneath)
        );
        assert_eq!(harm(rule().transitions(archives)), Some(Harm::Archives));
        assert_eq!(harm(rule().transitions(cools)), None);
        assert_eq!(harm(rule().expiration(tidies)), None);
        let off = rule()
            .expiration(expires)
            .status(ExpirationStatus::Disabled);
        assert_eq!(harm(off), None);
    }

    #[test]
    fn a_rule_for_another_folder_is_no_hazard() {
        let expires = LifecycleExpiration::builder().days(30).build();
        for (prefix, found) in [
            ("", Some(Harm::Expires)),
            ("repo", Some(Harm::Expires)),
            ("repository/packs/", Some(Harm::Expires)),
            ("logs/", None),
        ] {
            let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
            let rule = rule().expiration(expires.clone()).filter(filter);
            assert_eq!(harm(rule), found, "{prefix}");
        }
    }
}
