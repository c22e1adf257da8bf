//! What the strictest service insists on, as requests show it, and what services say in different words.

use bytes::Bytes;
use dolmen_format::Timestamp;
use dolmen_store::{Hold, Lock, LockMode, LockStatus, Place, Store as _};

use crate::bucket::{behind, key};
use crate::proxy::{Fault, Request};

const BODY: Bytes = Bytes::from_static(b"0123456789");

fn asks_for_retention(request: &Request) -> bool {
    request.method == "GET" && request.target.contains("retention")
}

/// Without a version some services extend whatever is on top, be it an intruder's, and one locks a marker. AWS refuses a lock
/// without a checksum, and others check no other than MD5.
#[tokio::test(flavor = "multi_thread")]
async fn extensions_and_holds_name_their_version_and_carry_md5() {
    let (store, proxy) = behind("names-versions", |_, _| Fault::None).await;
    let now = store.now().await.unwrap().latest.ceil_seconds();
    let lock = |until| Lock {
        mode: LockMode::Compliance,
        until: Timestamp::from_seconds(until),
    };
    let name = key("a");
    let put = store.put(&name, BODY, Some(lock(now + 10)), Place::IfAbsent);
    let object = put.await.unwrap().object;
    let before = proxy.requests().len();
    store.extend(&object, lock(now + 20)).await.unwrap();
    store.hold(&object, Hold::On).await.unwrap();
    store.hold(&object, Hold::Off).await.unwrap();
    let changes = proxy.requests().split_off(before);
    assert_eq!(changes.len(), 3, "{changes:#?}");
    let named = format!("versionId={}", object.version.as_str());
    for request in changes {
        assert!(request.target.contains(&named), "{request:?}");
        assert!(request.header("content-md5").is_some(), "{request:?}");
    }
}

/// A put in parts may lose its lock on the way, and a copy may not say which version it made.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_one_put_however_large() {
    let (store, proxy) = behind("one-put", |_, _| Fault::None).await;
    let before = proxy.requests().len();
    let body = Bytes::from(vec![7; 64 << 20]);
    let name = key("packs/a");
    let put = store.put(&name, body, None, Place::IfAbsent);
    put.await.unwrap();
    let requests = proxy.requests().split_off(before);
    let [put] = requests.as_slice() else {
        panic!("{requests:#?}");
    };
    assert_eq!(put.method, "PUT");
    assert_eq!(put.header("content-length"), Some("67108864"));
    assert_eq!(put.header("x-amz-copy-source"), None);
    assert!(!put.target.contains("uploadId"), "{put:?}");
}

/// A service may cut off what is less than a second: a lock never ends earlier than it must.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_asked_for_in_whole_seconds_rounded_up() {
    let (store, proxy) = behind("rounded-up", |_, _| Fault::None).await;
    let now = store.now().await.unwrap().latest.ceil_seconds();
    let until = Timestamp {
        seconds: now + 10,
        nanos: 1,
    };
    let lock = Lock {
        mode: LockMode::Compliance,
        until,
    };
    let name = key("a");
    let put = store.put(&name, BODY, Some(lock), Place::IfAbsent);
    let object = put.await.unwrap().object;
    let asked = proxy.requests().pop().unwrap();
    let asked = asked.header("x-amz-object-lock-retain-until-date").unwrap();
    assert!(!asked.contains('.'), "{asked}");
    let LockStatus::Until(found) = store.lock_of(&object).await.unwrap() else {
        panic!("it is not locked");
    };
    assert_eq!(found.until, Timestamp::from_seconds(now + 11));
}

/// The lock of an object that has none, from a service that says this of it.
async fn lock_as_said(bucket: &str, status: u16, said: &'static str) -> LockStatus {
    let (store, _) = behind(bucket, move |request, _| {
        if asks_for_retention(request) {
            Fault::Say(status, said)
        } else {
            Fault::None
        }
    })
    .await;
    let put = store.put(&key("a"), BODY, None, Place::IfAbsent).await;
    let object = put.unwrap().object;
    store.lock_of(&object).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_a_lock_has_none_in_whatever_words_that_is_said() {
    const WORDS: [&str; 3] = [
        "<Error><Code>NoSuchObjectLockConfiguration</Code></Error>",
        "<Error><Code>ObjectLockConfigurationNotFoundError</Code><Message>m</Message></Error>",
        "",
    ];
    for (at, words) in WORDS.into_iter().enumerate() {
        let found = lock_as_said(&format!("words-{at}"), 404, words).await;
        assert_eq!(found, LockStatus::None, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_lock_is_read_with_any_fraction_of_a_second() {
    const TIMES: [(&str, u32); 4] = [
        (
            "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2040-01-01T00:00:00Z</RetainUntilDate></Retention>",
            0,
        ),
        (
            "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2040-01-01T00:00:00.000Z</RetainUntilDate></Retention>",
            0,
        ),
        (
            "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2040-01-01T00:00:00.25Z</RetainUntilDate></Retention>",
            250_000_000,
        ),
        (
            "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2040-01-01T00:00:00.123456789Z</RetainUntilDate></Retention>",
            123_456_789,
        ),
    ];
    for (at, (said, nanos)) in TIMES.into_iter().enumerate() {
        let until = Timestamp {
            seconds: 2_208_988_800,
            nanos,
        };
        let wanted = Lock {
            mode: LockMode::Compliance,
            until,
        };
        let found = lock_as_said(&format!("fractions-{at}"), 200, said).await;
        assert_eq!(found, LockStatus::Until(wanted), "{said}");
    }
}
