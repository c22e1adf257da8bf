//! What goes wrong on the way, and how it is told.

use bytes::Bytes;
use dolmen_format::Timestamp;
use dolmen_s3::{S3Address, S3Store, Trust};
use dolmen_store::{
    ByteRange, Lock, LockMode, LockStatus, Place, Store as _, StoreError, StoreErrorKind,
};
use futures_util::TryStreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::bucket::{address, behind, key, locked_bucket, options};
use crate::proxy::{Fault, Request};
use crate::seaweed::{OWNER, READER, server};

const BODY: Bytes = Bytes::from_static(b"0123456789");
const CAP_BYTES: u64 = 1 << 20;

fn is_body(request: &Request) -> bool {
    request.method == "PUT" && !request.target.contains('?') || request.target.contains("PutObject")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_answer_is_lost_is_found_and_not_put_twice() {
    let (store, proxy) = behind("lost-put", |request, _| {
        if is_body(request) {
            Fault::Lose
        } else {
            Fault::None
        }
    })
    .await;
    let put = store.put(&key("a"), BODY, None, Place::IfAbsent).await;
    assert_eq!(put.unwrap_err().kind, StoreErrorKind::Exists);
    let puts = proxy.requests().iter().filter(|one| is_body(one)).count();
    assert_eq!(puts, 1);
    let lines: Vec<_> = store.list_versions("a").try_collect().await.unwrap();
    assert_eq!(lines.len(), 1);
    let found = store.get(&key("a"), None, None, CAP_BYTES).await.unwrap();
    assert_eq!(found, BODY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stumbles_is_asked_again() {
    // Three of four requests fail, each in another way; what changes something is not lost or torn here.
    let (store, _) = behind("stumbles", |request, count| {
        let faults = [Fault::Busy, Fault::Slow, Fault::Busy, Fault::None];
        match faults[count % faults.len()] {
            Fault::Slow if request.method == "GET" => Fault::Tear,
            fault => fault,
        }
    })
    .await;
    let until = store.now().await.unwrap().latest.saturating_add_seconds(30);
    let lock = Lock {
        mode: LockMode::Compliance,
        until: Timestamp::from_seconds(until.ceil_seconds()),
    };
    let object = store
        .put(&key("a"), BODY, Some(lock), Place::IfAbsent)
        .await
        .unwrap()
        .object;
    let longer = Lock {
        until: lock.until.saturating_add_seconds(30),
        ..lock
    };
    store.extend(&object, longer).await.unwrap();
    let found = store.lock_of(&object).await.unwrap();
    assert_eq!(found, LockStatus::Until(longer));
    let range = ByteRange::FromTo { offset: 2, len: 3 };
    let found = store
        .get(&key("a"), None, Some(range), CAP_BYTES)
        .await
        .unwrap();
    assert_eq!(found, "234");
    let lines: Vec<_> = store.list_versions("").try_collect().await.unwrap();
    assert_eq!(lines.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_changes_nothing_that_is_not_looked_for() {
    let (store, _) = behind("cut", |request, count| {
        let changes = request.method == "PUT" || request.method == "DELETE";
        match count % 3 {
            0 if changes => Fault::Lose,
            1 if changes => Fault::Cut,
            _ => Fault::None,
        }
    })
    .await;
    let put = store.put(&key("a"), BODY, None, Place::OnTop).await;
    let object = put.unwrap().object;
    // Whichever of the two requests was lost, one marker is named, and the key shows again without it and its twin.
    let marker = store.hide(&key("a")).await.unwrap();
    let lines: Vec<_> = store.list_versions("a").try_collect().await.unwrap();
    assert_eq!(lines[0].version, marker.version);
    store.delete_version(&marker).await.unwrap();
    store.delete_version(&object).await.unwrap();
    let gone = store
        .get(&key("a"), Some(&object.version), None, CAP_BYTES)
        .await;
    assert_eq!(gone.unwrap_err().kind, StoreErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_that_does_not_end_is_unavailable_and_nothing_was_stored() {
    let (store, _) = behind("storm", |request, _| {
        if request.method == "PUT" {
            Fault::Busy
        } else {
            Fault::None
        }
    })
    .await;
    let put = store.put(&key("a"), BODY, None, Place::IfAbsent).await;
    assert_eq!(put.unwrap_err().kind, StoreErrorKind::Unavailable);
    let lines: Vec<_> = store.list_versions("").try_collect().await.unwrap();
    assert_eq!(lines, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_says_which_right_is_missing() {
    let store = locked_bucket("rights").await;
    let put = store.put(&key("a"), BODY, None, Place::IfAbsent).await;
    let object = put.unwrap().object;
    let address = address(&server().endpoint(), "rights");
    let reader = S3Store::open(&address, &options(READER)).await.unwrap();
    let found = reader.get(&key("a"), None, None, CAP_BYTES).await.unwrap();
    assert_eq!(found, BODY);
    let denied = |error: StoreError, right: &str| {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error:?}");
        let source = error.source.unwrap().to_string();
        assert!(source.contains(right), "{source}");
    };
    let put = reader.put(&key("b"), BODY, None, Place::IfAbsent).await;
    denied(put.unwrap_err(), "s3:PutObject");
    let hidden = reader.hide(&key("a")).await;
    denied(hidden.unwrap_err(), "s3:DeleteObject");
    let deleted = reader.delete_version(&object).await;
    denied(deleted.unwrap_err(), "s3:DeleteObjectVersion");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_a_missing_bucket_and_a_silent_port_are_told_apart() {
    locked_bucket("told-apart").await;
    let open = async |endpoint: &str, bucket: &str, secret: &str| {
        let address = address(endpoint, bucket);
        let options = options((OWNER.0, secret));
        S3Store::open(&address, &options).await.map(drop)
    };
    let endpoint = server().endpoint();
    open(&endpoint, "told-apart", OWNER.1).await.unwrap();
    let missing = open(&endpoint, "nobodys-bucket", OWNER.1).await;
    assert_eq!(missing.unwrap_err().kind, StoreErrorKind::NotFound);
    // What a bucket says of itself may be withheld from a good key too; what is in it tells.
    let address = address(&endpoint, "told-apart");
    let wrong = S3Store::open(&address, &options((OWNER.0, "wrong"))).await;
    let denied = match wrong {
        Ok(store) => store
            .put(&key("a"), BODY, None, Place::IfAbsent)
            .await
            .map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(denied.unwrap_err().kind, StoreErrorKind::Denied);
    let silent = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let silent = open(&format!("http://127.0.0.1:{silent}"), "told-apart", OWNER.1).await;
    assert_eq!(silent.unwrap_err().kind, StoreErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_gone_is_no_missing_object() {
    let store = locked_bucket("vanishes").await;
    let client = server().client(OWNER);
    client
        .delete_bucket()
        .bucket("vanishes")
        .send()
        .await
        .unwrap();
    let read = store.get(&key("a"), None, None, CAP_BYTES).await;
    assert_eq!(read.unwrap_err().kind, StoreErrorKind::Other);
    let lines: Result<Vec<_>, _> = store.list_versions("").try_collect().await;
    assert_eq!(lines.unwrap_err().kind, StoreErrorKind::Other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_no_tls_is_not_tried_again() {
    let plain = server().endpoint();
    let address = S3Address {
        endpoint: Some(plain.replace("http:", "https:")),
        ..address(&plain, "any-bucket")
    };
    let opened = S3Store::open(&address, &options(OWNER)).await;
    assert_eq!(opened.unwrap_err().kind, StoreErrorKind::Other);
}

/// moto 5.2 answers so.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_kind_than_was_asked_for_is_said_to_be_unreadable() {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n<Other/>";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // A client that is gone is answered in vain.
            let _read = client.read(&mut request).await;
            let _answered = client.write_all(ANSWER).await;
        }
    });
    let opened = S3Store::open(&address(&endpoint, "any-bucket"), &options(OWNER)).await;
    let error = opened.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    let said = error.source.unwrap().to_string();
    assert!(said.starts_with("its answer cannot be read: "), "{said}");
    assert!(said.contains("VersioningConfiguration"), "{said}");
}

#[test]
fn a_file_without_certificates_vouches_for_nobody() {
    assert_eq!(Trust::only(Vec::new()), None);
    assert_eq!(Trust::only(b"no certificate".to_vec()), None);
}
