//! Locks and versions as somebody else sees them.

use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetentionMode};
use bytes::Bytes;
use dolmen_format::Timestamp;
use dolmen_store::{Checksum, Lock, LockMode, Place, Store as _, StoreErrorKind, VersionKind};
use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;

use crate::bucket::{key, locked_bucket};
use crate::seaweed::{OWNER, server};

const BODY: Bytes = Bytes::from_static(b"0123456789");

/// MD5 of the body.
const MD5: [u8; 16] = [
    0x78, 0x1e, 0x5e, 0x24, 0x5d, 0x69, 0xb5, 0x66, 0x97, 0x9b, 0x86, 0xe2, 0x8d, 0x23, 0xf2, 0xc7,
];

fn lock(until_seconds: i64) -> Lock {
    Lock {
        mode: LockMode::Compliance,
        until: Timestamp::from_seconds(until_seconds),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_carries_its_lock_and_an_extension_reaches_the_version_beneath() {
    let store = locked_bucket("locks").await;
    let name = key("a");
    let now = store.now().await.unwrap().latest.ceil_seconds();
    let first = lock(now + 60);
    let good = store.put(&name, BODY, Some(first), Place::IfAbsent);
    let good = good.await.unwrap().object;
    let client = server().client(OWNER);
    let request = client.put_object().bucket("locks").key("repository/a");
    let junk = request.body(b"junk".to_vec().into()).send().await.unwrap();
    let junk = junk.version_id().unwrap();
    client
        .delete_object()
        .bucket("locks")
        .key("repository/a")
        .send()
        .await
        .unwrap();

    let retention = async |version: &str| {
        let request = client.get_object_retention().bucket("locks");
        let asked = request.key("repository/a").version_id(version).send().await;
        let found = asked.ok()?.retention?;
        Some((found.mode?, found.retain_until_date?.secs()))
    };
    let compliance = ObjectLockRetentionMode::Compliance;
    let stated = retention(good.version.as_str()).await;
    assert_eq!(stated, Some((compliance.clone(), now + 60)));
    let head = client.head_object().bucket("locks").key("repository/a");
    let head = head.version_id(good.version.as_str()).send().await.unwrap();
    assert_eq!(head.object_lock_mode(), Some(&ObjectLockMode::Compliance));

    store.extend(&good, lock(now + 90)).await.unwrap();
    let stated = retention(good.version.as_str()).await;
    assert_eq!(stated, Some((compliance, now + 90)));
    assert_eq!(retention(junk).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_cannot_delete_what_is_locked() {
    let store = locked_bucket("owner").await;
    let name = key("a");
    let now = store.now().await.unwrap().latest.ceil_seconds();
    let put = store.put(&name, BODY, Some(lock(now + 60)), Place::IfAbsent);
    let object = put.await.unwrap().object;
    let client = server().client(OWNER);
    let delete = client
        .delete_object()
        .bucket("owner")
        .key("repository/a")
        .version_id(object.version.as_str())
        .bypass_governance_retention(true);
    delete.send().await.unwrap_err();
    let refused = store.delete_version(&object).await.unwrap_err();
    // SeaweedFS says of this what it says of whoever may not.
    assert_eq!(refused.kind, StoreErrorKind::Locked, "{refused:?}");
    let found = store.get(&name, Some(&object.version), None, 100);
    assert_eq!(found.await.unwrap(), BODY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_key_is_refused_and_a_listing_states_what_the_put_did() {
    let store = locked_bucket("receipts").await;
    let name = key("a");
    let receipt = store.put(&name, BODY, None, Place::IfAbsent);
    let receipt = receipt.await.unwrap();
    assert_eq!(receipt.checksum, Some(Checksum::Md5(MD5)));
    let again = store.put(&name, BODY, None, Place::IfAbsent).await;
    assert_eq!(again.unwrap_err().kind, StoreErrorKind::Exists);
    let lines: Vec<_> = store.list_versions("a").try_collect().await.unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].version, receipt.object.version);
    assert_eq!(lines[0].checksum, receipt.checksum);
    assert_eq!(lines[0].size_bytes, 10);
    assert!(lines[0].stored_at.earliest <= receipt.stored_at.latest);
}

/// SeaweedFS states another time then; see `answer::received_at`.
#[tokio::test(flavor = "multi_thread")]
async fn an_extension_leaves_the_time_of_receipt() {
    let store = locked_bucket("receipt-times").await;
    let name = key("a");
    let now = store.now().await.unwrap().latest.ceil_seconds();
    let put = store.put(&name, BODY, Some(lock(now + 60)), Place::IfAbsent);
    let receipt = put.await.unwrap();
    // Until another second has begun.
    while store.now().await.unwrap().earliest.seconds <= receipt.stored_at.latest.seconds {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    store.extend(&receipt.object, lock(now + 90)).await.unwrap();
    let lines: Vec<_> = store.list_versions("a").try_collect().await.unwrap();
    assert!(
        lines[0].stored_at.earliest <= receipt.stored_at.latest,
        "{lines:?}"
    );
}

/// More versions and markers than a page of a listing holds, in an order that no page keeps together.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_over_pages() {
    const KEYS: usize = 360;
    let store = locked_bucket("pages").await;
    let names: Vec<_> = (0..KEYS).map(|at| format!("index/{at:04}")).collect();
    futures_util::stream::iter(&names)
        .for_each_concurrent(16, |name| async {
            let name = key(name);
            store.put(&name, BODY, None, Place::IfAbsent).await.unwrap();
            store.put(&name, BODY, None, Place::OnTop).await.unwrap();
            store.hide(&name).await.unwrap();
        })
        .await;
    let lines: Vec<_> = store.list_versions("index/").try_collect().await.unwrap();
    assert_eq!(lines.len(), 3 * KEYS);
    for (name, three) in names.iter().zip(lines.chunks(3)) {
        let kinds = [VersionKind::Marker, VersionKind::Data, VersionKind::Data];
        assert!(three.iter().all(|line| line.name == *name), "{name}");
        assert!(three.iter().map(|line| line.kind).eq(kinds), "{three:?}");
        assert!(three[0].is_current && !three[1].is_current, "{three:?}");
    }
}

/// What others keep beside the repository is neither listed nor reached.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_sees_its_own_folder_alone() {
    let store = locked_bucket("folders").await;
    let client = server().client(OWNER);
    for other in ["a", "repository2/a", "other/repository/a"] {
        let request = client.put_object().bucket("folders").key(other);
        request.body(b"x".to_vec().into()).send().await.unwrap();
    }
    let lines: Vec<_> = store.list_versions("").try_collect().await.unwrap();
    assert_eq!(lines, []);
    store
        .put(&key("a"), BODY, None, Place::IfAbsent)
        .await
        .unwrap();
    let lines: Vec<_> = store.list_versions("").try_collect().await.unwrap();
    assert_eq!(lines.len(), 1);
}
