//! The contract of stores.

use std::time::Duration;

use dolmen_s3::S3Store;
use dolmen_store::{StoreErrorKind, contract};
use futures_util::FutureExt as _;

use crate::bucket::{address, locked_bucket, options};
use crate::seaweed::{OWNER, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_object_lock_keeps_the_contract() {
    let store = locked_bucket("contract-locked").await;
    contract::run(&store, "cases").await.unwrap();
    let pass_time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).boxed()
    };
    contract::run_lapse(&store, "lapse", &pass_time)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_versions_alone_keeps_the_contract() {
    server().bucket("contract-versions", false).await;
    server().keep_versions("contract-versions").await;
    let address = address(&server().endpoint(), "contract-versions");
    let store = S3Store::open(&address, &options(OWNER)).await.unwrap();
    contract::run(&store, "cases").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_never_kept_versions_is_not_opened() {
    server().bucket("contract-plain", false).await;
    let address = address(&server().endpoint(), "contract-plain");
    let opened = S3Store::open(&address, &options(OWNER)).await;
    assert_eq!(opened.unwrap_err().kind, StoreErrorKind::Unsupported);
}
