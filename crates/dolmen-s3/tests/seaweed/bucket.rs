//! Buckets of the tests, and how the store reaches them.

use std::sync::Arc;

use dolmen_s3::{Credentials, Identity, S3Address, S3Options, S3Store};

use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::{OWNER, server};

/// Where a bucket of the server is.
pub(crate) fn address(endpoint: &str, bucket: &str) -> S3Address {
    S3Address {
        endpoint: Some(endpoint.to_owned()),
        bucket: bucket.to_owned(),
        prefix: "repository/".to_owned(),
    }
}

/// The options of whoever has these credentials.
pub(crate) fn options((id, secret): (&str, &str)) -> S3Options {
    S3Options {
        identity: Identity::Keys(Credentials::new(id, secret, None, None, "test")),
        ..S3Options::default()
    }
}

/// A new bucket with Object Lock, opened by its owner.
pub(crate) async fn locked_bucket(name: &str) -> S3Store {
    server().bucket(name, true).await;
    let address = address(&server().endpoint(), name);
    S3Store::open(&address, &options(OWNER)).await.unwrap()
}

/// A store of its owner behind a proxy that does what `rule` says, in a new bucket with Object Lock.
pub(crate) async fn behind(
    bucket: &str,
    rule: impl Fn(&Request, usize) -> Fault + Send + Sync + 'static,
) -> (S3Store, Proxy) {
    behind_with(bucket, &options(OWNER), rule).await
}

/// As [`behind`], with other options.
pub(crate) async fn behind_with(
    bucket: &str,
    options: &S3Options,
    rule: impl Fn(&Request, usize) -> Fault + Send + Sync + 'static,
) -> (S3Store, Proxy) {
    server().bucket(bucket, true).await;
    let proxy = Proxy::start(&server().endpoint(), Arc::new(rule)).await;
    let address = address(&proxy.endpoint, bucket);
    let store = S3Store::open(&address, options).await.unwrap();
    (store, proxy)
}

/// A key of the store.
pub(crate) fn key(text: &str) -> dolmen_store::StoreKey {
    dolmen_store::StoreKey::try_from(text).unwrap()
}
