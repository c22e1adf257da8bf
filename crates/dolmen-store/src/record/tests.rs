use futures_util::{FutureExt as _, TryStreamExt as _};

use super::*;
use crate::api::PriceClass;
use crate::contract;
use crate::error::StoreErrorKind;
use crate::fault::{Effect, Fault, FaultLayer, FaultPlan};
use crate::lock::LockMode;
use crate::memory::{MemoryModel, MemoryOptions, MemoryStore, tests::models};
use crate::store::LISTING_PAGE_VERSIONS;

fn options(api: Api, page_versions: u64, detail: Detail) -> RecordOptions {
    RecordOptions {
        api,
        page_versions: NonZeroU64::new(page_versions).unwrap(),
        detail,
    }
}

fn over(inner: impl Store + 'static, page_versions: u64) -> RecordLayer {
    let options = options(Api::S3, page_versions, Detail::Requests);
    RecordLayer::new(Arc::new(inner), options)
}

fn key(name: &str) -> StoreKey {
    StoreKey::try_from(name).unwrap()
}

async fn put(store: &dyn Store, name: &str) -> ObjectRef {
    let body = Bytes::from_static(b"body");
    let receipt = store.put(&key(name), body, None, Place::OnTop).await;
    receipt.unwrap().object
}

async fn list(store: &dyn Store, prefix: &str) -> Result<usize, StoreErrorKind> {
    let lines: Result<Vec<_>, _> = store.list_versions(prefix).try_collect().await;
    lines.map(|lines| lines.len()).map_err(|error| error.kind)
}

#[tokio::test]
async fn a_recorded_store_keeps_the_contract() {
    for model in models() {
        for page_versions in [2, 1000] {
            let store = over(MemoryStore::new(model), page_versions);
            let outcome = contract::run(&store, "canary/contract").await;
            assert!(outcome.is_ok(), "{model:?}: {outcome:?}");
        }
    }
}

/// Makes each call of a store once, a get twice.
async fn make_every_call(store: &dyn Store) -> ObjectRef {
    let object = put(store, "a/1").await;
    let version = Some(&object.version);
    let range = Some(ByteRange::Last { len: 3 });
    store.get(&object.key, version, range, 99).await.unwrap();
    store.get(&object.key, None, None, 3).await.unwrap_err();
    let now = store.now().await.unwrap().latest;
    let lock = Lock {
        mode: LockMode::Governance,
        until: now.saturating_add_seconds(60),
    };
    store.extend(&object, lock).await.unwrap();
    store.hold(&object, Hold::On).await.unwrap();
    store.lock_of(&object).await.unwrap();
    store.delete_version(&object).await.unwrap_err();
    store.hide(&object.key).await.unwrap();
    list(store, "a/").await.unwrap();
    object
}

#[tokio::test]
async fn every_call_is_written_down_with_its_price() {
    use Operation as Op;
    use Outcome::Done;
    use PriceClass::{A, B, Free};

    let store = over(MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS)), 9);
    let object = make_every_call(&store).await;
    let found: Vec<_> = store
        .take_requests()
        .into_iter()
        .map(|request| {
            let bytes = (request.sent_bytes, request.received_bytes);
            let is_versioned = request.version.as_ref() == Some(&object.version);
            let Request { operation, key, .. } = request;
            let place = (key, is_versioned);
            (operation, place, bytes, request.outcome, request.class)
        })
        .collect();
    let (key, version) = ((Some("a/1".into()), false), (Some("a/1".into()), true));
    let too_large = Outcome::Failed(StoreErrorKind::TooLarge);
    let locked = Outcome::Failed(StoreErrorKind::Locked);
    let wanted = [
        (Op::Put, key.clone(), (4, 0), Done, A),
        (Op::Get, version.clone(), (0, 3), Done, B),
        (Op::Get, key.clone(), (0, 0), too_large, B),
        (Op::Now, (None, false), (0, 0), Done, B),
        (Op::Extend, version.clone(), (0, 0), Done, A),
        (Op::Hold, version.clone(), (0, 0), Done, A),
        (Op::LockOf, version.clone(), (0, 0), Done, B),
        (Op::DeleteVersion, version, (0, 0), locked, Free),
        (Op::Hide, key, (0, 0), Done, Free),
        (
            Op::ListVersions,
            (Some("a/".into()), false),
            (0, 0),
            Done,
            A,
        ),
    ];
    assert_eq!(found, wanted);
    assert_eq!(store.requests(), [], "they were taken");
}

#[tokio::test]
async fn totals_add_up_by_class_and_operation() {
    let memory = MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS));
    let store = over(memory, 9);
    make_every_call(&store).await;
    store.take_requests();
    let totals = store.totals();
    assert_eq!(totals.requests(), 10);
    let classes = [
        PriceClass::A,
        PriceClass::B,
        PriceClass::C,
        PriceClass::Free,
    ];
    assert_eq!(classes.map(|class| totals.billed(class)), [4, 4, 0, 2]);
    let gets = Count {
        requests: 2,
        failed: 1,
        received_bytes: 3,
        ..Count::default()
    };
    assert_eq!(totals.of(Operation::Get), gets);
    assert_eq!(totals.of(Operation::ListVersions).versions, 2);
    assert_eq!(totals.of(Operation::Open), Count::default());
}

#[tokio::test]
async fn a_listing_is_billed_by_the_page_and_at_least_once() {
    let store = over(MemoryStore::new(MemoryOptions::PLAIN), 3);
    let mut put_versions = 0;
    for (versions, pages) in [(0, 1), (1, 1), (3, 1), (4, 2), (6, 2), (7, 3)] {
        while put_versions < versions {
            put(&store, &format!("{put_versions}")).await;
            put_versions += 1;
        }
        store.take_requests();
        list(&store, "").await.unwrap();
        let requests = store.take_requests();
        assert_eq!(requests.len(), pages, "{versions} versions");
        assert!(
            requests
                .iter()
                .all(|request| request.outcome == Outcome::Done)
        );
        let listed: u64 = requests.iter().map(|request| request.versions).sum();
        assert_eq!(listed, versions);
    }
}

#[tokio::test]
async fn pages_have_a_thousand_versions_on_real_stores() {
    assert_eq!(LISTING_PAGE_VERSIONS.get(), 1000);
    let memory = MemoryStore::new(MemoryOptions::VERSIONS);
    let store = over(memory, LISTING_PAGE_VERSIONS.get());
    for _ in 0..1001 {
        put(&store, "many").await;
    }
    list(&store, "many").await.unwrap();
    let count = store.totals().of(Operation::ListVersions);
    assert_eq!((count.requests, count.versions), (2, 1001));
}

#[tokio::test]
async fn what_nobody_waits_for_stays_unfinished() {
    let memory = MemoryStore::new(MemoryOptions::PLAIN);
    for name in ["1", "2", "3"] {
        put(&memory, name).await;
    }
    let store = over(memory, 2);
    let listing = store.list_versions("");
    assert_eq!(store.requests(), [], "nothing was asked yet");
    let lines: Vec<_> = listing.take(1).collect().await;
    assert_eq!(lines.len(), 1);
    let requests = store.take_requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].outcome, Outcome::Unfinished);
    assert_eq!(requests[0].versions, 1);

    let memory = Arc::new(MemoryStore::new(MemoryOptions::PLAIN));
    let plan = FaultPlan::none().at(0, Fault::Silent(Effect::Done));
    let silent = over(FaultLayer::new(memory, plan), 2);
    assert_eq!(put(&silent, "a").now_or_never(), None);
    assert_eq!(silent.requests()[0].outcome, Outcome::Unfinished);
    assert_eq!(list(&silent, "").await, Ok(1), "it was put all the same");
}

#[tokio::test]
async fn a_late_answer_is_not_mistaken_for_another_request() {
    let memory = MemoryStore::new(MemoryOptions::PLAIN);
    put(&memory, "1").await;
    put(&memory, "2").await;
    let store = over(memory, 2);
    let mut listing = store.list_versions("");
    listing.next().await.unwrap().unwrap();
    assert_eq!(store.take_requests().len(), 1);
    put(&store, "3").await;
    let rest: Vec<_> = listing.collect().await;
    assert_eq!(rest.len(), 1);
    let requests = store.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].operation, Operation::Put);
    assert_eq!(requests[0].versions, 0);
    assert_eq!(store.totals().of(Operation::ListVersions).versions, 2);
}

#[tokio::test]
async fn a_page_that_fails_is_a_request_that_failed() {
    let memory = MemoryStore::new(MemoryOptions::PLAIN);
    for name in ["1", "2", "3"] {
        put(&memory, name).await;
    }
    let two = NonZeroU64::new(2).unwrap();
    let plan = FaultPlan::none().at(1, Fault::Unavailable);
    let faulty = FaultLayer::new(Arc::new(memory), plan).with_page_versions(two);
    let store = over(faulty, 2);
    assert_eq!(list(&store, "").await, Err(StoreErrorKind::Unavailable));
    let outcomes: Vec<_> = store
        .requests()
        .iter()
        .map(|request| (request.versions, request.outcome))
        .collect();
    let failed = Outcome::Failed(StoreErrorKind::Unavailable);
    assert_eq!(outcomes, [(2, Outcome::Done), (0, failed)]);
    assert_eq!(store.totals().of(Operation::ListVersions).failed, 1);
}

#[tokio::test]
async fn totals_alone_keep_no_request() {
    let memory = MemoryStore::new(MemoryModel::b2(MemoryOptions::LOCKS));
    let options = options(Api::B2, 1000, Detail::Totals);
    let store = RecordLayer::new(Arc::new(memory), options);
    let object = put(&store, "a").await;
    store.lock_of(&object).await.unwrap();
    store.hide(&object.key).await.unwrap();
    list(&store, "").await.unwrap();
    assert_eq!(store.requests(), []);
    let totals = store.totals();
    let billed = [
        PriceClass::A,
        PriceClass::B,
        PriceClass::C,
        PriceClass::Free,
    ];
    assert_eq!(billed.map(|class| totals.billed(class)), [2, 0, 2, 0]);
    assert_eq!(totals.of(Operation::Put).sent_bytes, 4);
}
