//! What a user chooses, as requests carry it.

use std::num::NonZeroUsize;

use bytes::Bytes;
use dolmen_format::Timestamp;
use dolmen_s3::{S3Options, S3Store};
use dolmen_store::{Lock, LockMode, Place, Store as _};
use futures_util::future::join_all;

use crate::bucket::{behind_with, key, options};
use crate::proxy::{Fault, Proxy};
use crate::seaweed::{OWNER, server};

const BODY: Bytes = Bytes::from_static(b"0123456789");

/// A store whose requests take a while.
async fn slow(bucket: &str, options: S3Options) -> (S3Store, Proxy) {
    behind_with(bucket, &options, |_, _| Fault::Slow).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_put_carries_body_checksum_lock_condition_and_class() {
    let class = "STANDARD_IA".to_owned();
    let (store, proxy) = slow(
        "carries",
        S3Options {
            storage_class: Some(class.clone()),
            ..options(OWNER)
        },
    )
    .await;
    let now = store.now().await.unwrap().latest.ceil_seconds();
    let lock = Lock {
        mode: LockMode::Compliance,
        until: Timestamp::from_seconds(now + 60),
    };
    let before = proxy.requests().len();
    let name = key("a");
    let put = store.put(&name, BODY, Some(lock), Place::IfAbsent);
    put.await.unwrap();
    let requests = proxy.requests().split_off(before);
    let [request] = requests.as_slice() else {
        panic!("{requests:#?}");
    };
    for (name, value) in [
        ("x-amz-storage-class", class.as_str()),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("if-none-match", "*"),
        ("content-md5", "eB5eJF1ptWaXm4bijSPyxw=="),
        ("content-length", "10"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert!(
        request
            .header("x-amz-object-lock-retain-until-date")
            .is_some()
    );
    let client = server().client(OWNER);
    let head = client.head_object().bucket("carries").key("repository/a");
    let head = head.send().await.unwrap();
    assert_eq!(head.storage_class().unwrap().as_str(), class);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_are_under_way_than_there_may_be_connections() {
    let connections = NonZeroUsize::new(2).unwrap();
    let (store, proxy) = slow(
        "connections",
        S3Options {
            connections,
            ..options(OWNER)
        },
    )
    .await;
    let put = async |name: &str| {
        store
            .put(&key(name), BODY, None, Place::IfAbsent)
            .await
            .is_ok()
    };
    let names = ["a", "b", "c", "d", "e", "f"];
    let puts = join_all(names.iter().map(|name| put(name))).await;
    assert_eq!(puts, [true; 6]);
    assert!(proxy.most_under_way() <= connections.get());
}
