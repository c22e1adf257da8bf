//! Buckets: made, and asked what they do by themselves.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter,
};
use dolmen_s3::S3Store;
use dolmen_store::{Bucket as _, Harm, LockSupport, Store as _};

use crate::bucket::{address, options};
use crate::seaweed::{OWNER, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_made_with_versions_and_locks_and_making_it_again_changes_nothing() {
    let address = address(&server().endpoint(), "made-here");
    for _ in 0..2 {
        S3Store::create_bucket(&address, &options(OWNER))
            .await
            .unwrap();
        let store = S3Store::open(&address, &options(OWNER)).await.unwrap();
        assert_eq!(store.capabilities().locks, LockSupport::ObjectLock);
        assert!(store.capabilities().versions);
    }
    let bucket = S3Store::reach(&address, &options(OWNER)).await;
    let settings = bucket.settings().await.unwrap();
    assert_eq!(settings.has_versions, Some(true));
    assert_eq!(settings.has_locks, Some(true));
    assert_eq!(settings.default_retention, Some(None));
    assert_eq!(settings.hazards, Some(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_bucket_and_a_rule_that_expires_objects_are_told() {
    server().bucket("expires", false).await;
    let rule = LifecycleRule::builder()
        .id("old")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("repository/").build())
        .expiration(LifecycleExpiration::builder().days(30).build())
        .build()
        .unwrap();
    let rules = BucketLifecycleConfiguration::builder().rules(rule).build();
    server()
        .client(OWNER)
        .put_bucket_lifecycle_configuration()
        .bucket("expires")
        .lifecycle_configuration(rules.unwrap())
        .send()
        .await
        .unwrap();
    let address = address(&server().endpoint(), "expires");
    let bucket = S3Store::reach(&address, &options(OWNER)).await;
    let settings = bucket.settings().await.unwrap();
    assert_eq!(settings.has_versions, Some(false));
    assert_eq!(settings.has_locks, Some(false));
    let hazards = settings.hazards.unwrap();
    let harms: Vec<_> = hazards.iter().map(|hazard| hazard.harm).collect();
    assert_eq!(harms, [Harm::Expires]);
}
