//! The contract of stores.

use std::time::Duration;

use dolmen_s3::S3Store;
use dolmen_store::{ObjectRef, Place, Store as _, StoreErrorKind, VersionInfo, contract};
use futures_util::{FutureExt as _, TryStreamExt as _};

use crate::bucket::{address, key, locked_bucket, options};
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
async fn a_bucket_that_never_kept_versions_can_be_read_and_nothing_else() {
    server().bucket("contract-plain", false).await;
    let put = server().client(OWNER).put_object();
    let put = put.bucket("contract-plain").key("repository/root/a");
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"a copy");
    put.body(body).send().await.unwrap();
    let address = address(&server().endpoint(), "contract-plain");
    let store = S3Store::open(&address, &options(OWNER)).await.unwrap();
    let name = key("root/a");
    let lines: Vec<VersionInfo> = store.list_versions("").try_collect().await.unwrap();
    let [line] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert_eq!((line.name.as_str(), line.size_bytes), ("root/a", 6));
    let read = store.get(&name, Some(&line.version), None, 100).await;
    assert_eq!(read.unwrap(), "a copy");
    let object = ObjectRef {
        key: name.clone(),
        version: line.version.clone(),
    };
    let put = store.put(&name, "other".into(), None, Place::OnTop).await;
    let hidden = store.hide(&name).await;
    let deleted = store.delete_version(&object).await;
    for refused in [
        put.map(drop).unwrap_err(),
        hidden.map(drop).unwrap_err(),
        deleted.unwrap_err(),
    ] {
        assert_eq!(refused.kind, StoreErrorKind::Unsupported, "{refused}");
    }
    let read = store.get(&name, None, None, 100).await;
    assert_eq!(read.unwrap(), "a copy");
}
