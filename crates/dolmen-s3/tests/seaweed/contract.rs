//! The contract of stores.

use std::time::Duration;

use dolmen_s3::{Credentials, S3Options, S3Store};
use dolmen_store::contract;
use futures_util::FutureExt as _;

use crate::server::{OWNER, Server};

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_the_contract() {
    let server = Server::start().await;
    let address = server.bucket("with-locks", true).await;
    let store = S3Store::open(&address, &options()).await.unwrap();
    contract::run(&store, "cases").await.unwrap();
    let pass_time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).boxed()
    };
    contract::run_lapse(&store, "lapse", &pass_time)
        .await
        .unwrap();
    let address = server.bucket("without", false).await;
    let store = S3Store::open(&address, &options()).await.unwrap();
    contract::run(&store, "cases").await.unwrap();
}

fn options() -> S3Options {
    S3Options {
        credentials: Some(Credentials::new(OWNER.0, OWNER.1, None, None, "test")),
        ..S3Options::default()
    }
}
