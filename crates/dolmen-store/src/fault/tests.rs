use std::num::NonZeroU64;

use futures_util::{FutureExt as _, TryStreamExt as _};

use super::*;
use crate::contract;
use crate::lock::LockMode;
use crate::memory::{MEMORY_CLOCK_START, MemoryModel, MemoryOptions, MemoryStore, tests::models};
use crate::record::{Detail, RecordLayer, RecordOptions};

fn key(name: &str) -> StoreKey {
    StoreKey::try_from(name).unwrap()
}

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(MemoryModel::b2(MemoryOptions::LOCKS)))
}

fn over(memory: &Arc<MemoryStore>, plan: FaultPlan) -> FaultLayer {
    FaultLayer::new(Arc::clone(memory) as Arc<dyn Store>, plan)
}

/// Neither memory nor the layer ever waits.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().unwrap()
}

fn put(store: &dyn Store, name: &str) -> Result<ObjectRef, StoreErrorKind> {
    let body = Bytes::from_static(b"body");
    let outcome = at_once(store.put(&key(name), body, None, Place::OnTop));
    outcome
        .map(|receipt| receipt.object)
        .map_err(|error| error.kind)
}

fn get(store: &dyn Store, name: &str) -> Result<Bytes, StoreErrorKind> {
    at_once(store.get(&key(name), None, None, 99)).map_err(|error| error.kind)
}

/// The lines of a listing up to its error, and that.
fn list(store: &dyn Store) -> (Vec<String>, Option<StoreErrorKind>) {
    let mut names = Vec::new();
    let outcome = at_once(store.list_versions("").try_for_each(|line| {
        names.push(line.name);
        std::future::ready(Ok(()))
    }));
    (names, outcome.err().map(|error| error.kind))
}

/// Whether a store holds anything.
fn is_empty(store: &MemoryStore) -> bool {
    list(store).0.is_empty()
}

#[tokio::test]
async fn without_faults_the_layer_keeps_the_contract() {
    for model in models() {
        let memory = Arc::new(MemoryStore::new(model));
        let store =
            over(&memory, FaultPlan::none()).with_page_versions(NonZeroU64::new(2).unwrap());
        let outcome = contract::run(&store, "canary/contract").await;
        assert!(outcome.is_ok(), "{model:?}: {outcome:?}");
        assert!(store.calls() > 100);
        assert_eq!(store.fired(), []);
    }
}

#[tokio::test]
async fn layers_lie_over_layers() {
    for model in models() {
        let memory = Arc::new(MemoryStore::new(model));
        let faulty = over(&memory, FaultPlan::none());
        let options = RecordOptions {
            api: model.api,
            page_versions: LISTING_PAGE_VERSIONS,
            detail: Detail::Requests,
        };
        let store = RecordLayer::new(Arc::new(faulty), options);
        let outcome = contract::run(&store, "canary/contract").await;
        assert!(outcome.is_ok(), "{model:?}: {outcome:?}");
    }
}

#[test]
fn a_lock_is_seen_to_lapse_through_the_layer() {
    let memory = memory();
    let store = over(&memory, FaultPlan::none());
    let pass_time = move |seconds| -> BoxFuture<'static, ()> {
        memory.advance_clock(seconds);
        Box::pin(std::future::ready(()))
    };
    at_once(contract::run_lapse(&store, "canary/lapse", &pass_time)).unwrap();
}

#[test]
fn a_call_fails_as_the_plan_says_and_took_effect_or_not() {
    use Effect::{Done, Skipped};
    use StoreErrorKind::{Denied, OutcomeUnknown, Unavailable};
    for (fault, kind, effect) in [
        (Fault::Unavailable, Unavailable, Skipped),
        (Fault::Denied(Done), Denied, Done),
        (Fault::Denied(Skipped), Denied, Skipped),
        (Fault::TimedOut(Done), OutcomeUnknown, Done),
        (Fault::TimedOut(Skipped), OutcomeUnknown, Skipped),
        (Fault::Torn(Tear::Noticed), OutcomeUnknown, Done),
        (Fault::Crash(Done), Unavailable, Done),
        (Fault::Crash(Skipped), Unavailable, Skipped),
    ] {
        let memory = memory();
        let store = over(&memory, FaultPlan::none().at(1, fault));
        let before = put(&store, "before").unwrap();
        let outcome = at_once(store.hide(&before.key));
        assert_eq!(outcome.unwrap_err().kind, kind, "{fault:?}");
        let versions = list(memory.as_ref()).0.len();
        assert_eq!(versions == 2, effect == Done, "{fault:?}");
        let operation = Operation::Hide;
        let call = 1;
        let fired = FiredFault {
            call,
            operation,
            fault,
        };
        assert_eq!(store.fired(), [fired]);
        let after = put(&store, "after");
        assert_eq!(
            after.is_err(),
            matches!(fault, Fault::Crash(_)),
            "{fault:?}"
        );
    }
}

#[test]
fn every_call_that_changes_something_can_fail_after_its_effect() {
    type Change = fn(&dyn Store, &ObjectRef) -> Result<(), StoreError>;
    let changes: [(Operation, Change); 5] = [
        (Operation::Put, |store, object| {
            at_once(store.put(&object.key, Bytes::new(), None, Place::OnTop)).map(drop)
        }),
        (Operation::Extend, |store, object| {
            let lock = Lock {
                mode: LockMode::Governance,
                until: MEMORY_CLOCK_START.saturating_add_seconds(60),
            };
            at_once(store.extend(object, lock))
        }),
        (Operation::Hold, |store, object| {
            at_once(store.hold(object, Hold::On))
        }),
        (Operation::Hide, |store, object| {
            at_once(store.hide(&object.key)).map(drop)
        }),
        (Operation::DeleteVersion, |store, object| {
            at_once(store.delete_version(object))
        }),
    ];
    for (operation, change) in changes {
        for effect in [Effect::Done, Effect::Skipped] {
            let memory = memory();
            let object = put(memory.as_ref(), "a").unwrap();
            let untouched = format!("{memory:?}");
            let plan = FaultPlan::none().at_call_of(operation, 0, Fault::TimedOut(effect));
            let store = over(&memory, plan);
            let error = change(&store, &object).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::OutcomeUnknown);
            assert_eq!(error.operation, operation);
            assert_eq!(
                format!("{memory:?}") == untouched,
                effect == Effect::Skipped,
                "{operation} {effect:?}"
            );
        }
    }
}

#[test]
fn what_a_reading_call_did_is_never_unknown() {
    let memory = memory();
    let object = put(memory.as_ref(), "a").unwrap();
    for (fault, kind) in [
        (Fault::Unavailable, StoreErrorKind::Unavailable),
        (Fault::TimedOut(Effect::Done), StoreErrorKind::Unavailable),
        (
            Fault::TimedOut(Effect::Skipped),
            StoreErrorKind::Unavailable,
        ),
        (Fault::Denied(Effect::Done), StoreErrorKind::Denied),
    ] {
        let plan = (0..4).fold(FaultPlan::none(), |plan, call| plan.at(call, fault));
        let store = over(&memory, plan);
        assert_eq!(get(&store, "a"), Err(kind));
        assert_eq!(list(&store), (Vec::new(), Some(kind)));
        assert_eq!(at_once(store.now()).unwrap_err().kind, kind);
        assert_eq!(at_once(store.lock_of(&object)).unwrap_err().kind, kind);
        assert_eq!(get(&store, "a").unwrap(), b"body".as_slice());
    }
}

#[test]
fn a_torn_body_is_noticed_or_short() {
    let memory = memory();
    put(memory.as_ref(), "a").unwrap();
    for (tear, wanted) in [
        (Tear::Noticed, Err(StoreErrorKind::ShortRead)),
        (Tear::Unnoticed { kept: 0 }, Ok(b"".as_slice().into())),
        (Tear::Unnoticed { kept: 2 }, Ok(b"bo".as_slice().into())),
        (Tear::Unnoticed { kept: 99 }, Ok(b"bod".as_slice().into())),
    ] {
        let store = over(&memory, FaultPlan::none().at(0, Fault::Torn(tear)));
        assert_eq!(get(&store, "a"), wanted, "{tear:?}");
        assert_eq!(get(&store, "a").unwrap(), b"body".as_slice());
    }
    let store = over(&memory, FaultPlan::none().at(0, Fault::Torn(Tear::Noticed)));
    assert_eq!(get(&store, "b"), Err(StoreErrorKind::NotFound));
}

#[test]
fn a_fault_hits_the_second_page_of_a_listing() {
    let memory = memory();
    for name in ["1", "2", "3", "4"] {
        put(memory.as_ref(), name).unwrap();
    }
    let unavailable = Some(StoreErrorKind::Unavailable);
    for (fault, lines, error) in [
        (Fault::Unavailable, 2, unavailable),
        (Fault::Crash(Effect::Done), 2, unavailable),
        (Fault::Torn(Tear::Noticed), 3, unavailable),
        (Fault::Torn(Tear::Unnoticed { kept: 0 }), 2, None),
        (Fault::Torn(Tear::Unnoticed { kept: 1 }), 3, None),
        (Fault::Torn(Tear::Unnoticed { kept: 9 }), 4, None),
    ] {
        let plan = FaultPlan::none().at_call_of(Operation::ListVersions, 1, fault);
        let store = over(&memory, plan).with_page_versions(NonZeroU64::new(2).unwrap());
        let (names, failure) = list(&store);
        assert_eq!((names.len(), failure), (lines, error), "{fault:?}");
        assert_eq!(store.calls(), 2, "{fault:?}");
    }
    let torn = FaultPlan::none().at(0, Fault::Torn(Tear::Noticed));
    let empty = Arc::new(MemoryStore::new(MemoryOptions::PLAIN));
    assert_eq!(list(&over(&empty, torn)), (Vec::new(), unavailable));
}

#[test]
fn as_many_pages_are_calls_as_versions_fill() {
    let memory = memory();
    let store = over(&memory, FaultPlan::none()).with_page_versions(NonZeroU64::new(2).unwrap());
    for (versions, pages) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)] {
        while list(memory.as_ref()).0.len() < versions {
            put(memory.as_ref(), "a").unwrap();
        }
        let before = store.calls_of(Operation::ListVersions);
        assert_eq!(list(&store).0.len(), versions);
        let asked = store.calls_of(Operation::ListVersions) - before;
        assert_eq!(asked, pages, "{versions} versions");
    }
}

#[test]
fn after_a_crash_nothing_works_until_another_plan() {
    let memory = memory();
    let object = put(memory.as_ref(), "a").unwrap();
    let crash = FaultPlan::none().at(1, Fault::Crash(Effect::Skipped));
    let store = over(&memory, crash);
    put(&store, "b").unwrap();
    for _ in 0..3 {
        assert_eq!(put(&store, "c"), Err(StoreErrorKind::Unavailable));
        assert_eq!(get(&store, "a"), Err(StoreErrorKind::Unavailable));
        assert!(list(&store).1.is_some());
        assert!(at_once(store.lock_of(&object)).is_err());
        let error = at_once(store.now()).unwrap_err();
        let source = error.source.unwrap().to_string();
        assert_eq!(source, "the plan has a fault at call 1");
    }
    assert_eq!(store.calls(), 16);
    assert_eq!(store.fired().len(), 1);
    store.set_plan(FaultPlan::none());
    put(&store, "c").unwrap();
    assert_eq!(list(&store).0, ["a", "b", "c"]);
}

#[test]
fn a_slow_call_passes_time_before_or_after_its_effect() {
    for (when, late_seconds) in [(When::BeforeEffect, 30), (When::AfterEffect, 0)] {
        let memory = memory();
        let clock = Arc::clone(&memory);
        let slow = Fault::Slow { seconds: 30, when };
        let plan = FaultPlan::none().at(0, slow).at(1, slow).at(2, slow);
        let store = over(&memory, plan)
            .with_slowness(Arc::new(move |seconds| clock.advance_clock(seconds)));
        let started = memory.clock();
        put(&store, "a").unwrap();
        let (names, error) = list(&store);
        assert_eq!((names.len(), error), (1, None));
        get(&store, "a").unwrap();
        assert_eq!(memory.clock(), started.saturating_add_seconds(90));
        let listed: Vec<_> = at_once(memory.list_versions("").try_collect()).unwrap();
        let late = listed[0].stored_at.earliest.seconds - started.seconds;
        assert_eq!(late, late_seconds, "{when:?}");
    }
}

#[test]
fn a_silent_call_never_ends() {
    let memory = memory();
    let silent = |effect| over(&memory, FaultPlan::none().at(0, Fault::Silent(effect)));
    let name = key("a");
    let store = silent(Effect::Skipped);
    let body = Bytes::from_static(b"body");
    let put = store.put(&name, body.clone(), None, Place::OnTop);
    assert!(put.now_or_never().is_none());
    assert!(is_empty(&memory));
    let store = silent(Effect::Done);
    let put = store.put(&name, body, None, Place::OnTop);
    assert!(put.now_or_never().is_none());
    assert!(!is_empty(&memory));
    let store = silent(Effect::Done);
    assert!(store.get(&name, None, None, 99).now_or_never().is_none());
    let store = silent(Effect::Done);
    let mut listing = store.list_versions("");
    assert!(listing.try_next().now_or_never().is_none());
}

#[test]
fn a_seed_replays_its_faults() {
    let faults = vec![
        Fault::Unavailable,
        Fault::TimedOut(Effect::Done),
        Fault::Torn(Tear::Noticed),
    ];
    let fired = |seed, per_mille| {
        let faults = faults.clone();
        let plan = FaultPlan::seeded(SeededFaults {
            seed,
            per_mille,
            faults,
        });
        let store = over(&memory(), plan);
        for _ in 0..1000 {
            get(&store, "a").unwrap_err();
        }
        store.fired()
    };
    assert_eq!(fired(7, 100), fired(7, 100));
    assert_ne!(fired(7, 100), fired(8, 100));
    let count = fired(7, 100).len();
    assert!(
        (60..140).contains(&count),
        "{count} of 1000 at 100 per mille"
    );
    for fault in &faults {
        assert!(fired(7, 100).iter().any(|fired| fired.fault == *fault));
    }
    for (per_mille, calls) in [(0, 0), (1000, 100_000)] {
        let plan = FaultPlan::seeded(SeededFaults {
            seed: 7,
            per_mille,
            faults: faults.clone(),
        });
        let hit = (0..100_000)
            .filter(|&call| plan.fault_at(call, Operation::Get, call).is_some())
            .count();
        assert_eq!(hit, calls);
    }
}

#[test]
fn a_named_call_comes_before_a_drawn_fault() {
    let drawn = FaultPlan::seeded(SeededFaults {
        seed: 1,
        per_mille: 1000,
        faults: vec![Fault::Unavailable],
    });
    let timed_out = Fault::TimedOut(Effect::Skipped);
    let plan = drawn
        .at(0, timed_out)
        .at_call_of(Operation::Put, 0, Fault::Crash(Effect::Done))
        .at_call_of(Operation::Put, 1, timed_out);
    let store = over(&memory(), plan);
    for wanted in [
        StoreErrorKind::OutcomeUnknown,
        StoreErrorKind::OutcomeUnknown,
        StoreErrorKind::Unavailable,
    ] {
        assert_eq!(put(&store, "a"), Err(wanted));
    }
    let nothing = FaultPlan::seeded(SeededFaults {
        seed: 1,
        per_mille: 1000,
        faults: Vec::new(),
    });
    put(&over(&memory(), nothing), "a").unwrap();
}

/// A crash at any call leaves what was there, and the same steps then end as without it.
#[test]
fn a_small_job_survives_a_crash_at_every_call() {
    let job = |store: &dyn Store| -> Result<(), StoreErrorKind> {
        let object = put(store, "a")?;
        get(store, "a")?;
        put(store, "b")?;
        list(store).1.map_or(Ok(()), Err)?;
        at_once(store.delete_version(&object)).map_err(|error| error.kind)
    };
    let counted = over(&memory(), FaultPlan::none());
    job(&counted).unwrap();
    for call in 0..counted.calls() {
        for effect in [Effect::Done, Effect::Skipped] {
            let memory = memory();
            let crash = FaultPlan::none().at(call, Fault::Crash(effect));
            let store = over(&memory, crash);
            job(&store).unwrap_err();
            store.set_plan(FaultPlan::none());
            job(&store).unwrap();
            assert_eq!(store.fired().len(), 1, "crash at call {call}");
            assert!(get(&store, "b").is_ok(), "crash at call {call}");
        }
    }
}
