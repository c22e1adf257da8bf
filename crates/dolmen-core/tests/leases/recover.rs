//! Recover where time passes: receipts stay what they were, and retirements are taken back.

use std::collections::BTreeSet;

use dolmen_core::Error;
use dolmen_core::audit::{self, Counts};
use dolmen_core::check::ReadData;
use dolmen_core::objects::Source;
use dolmen_core::recover::{self, Action, Report};
use dolmen_core::snapshots::{Filter, History, SnapshotEntry, SnapshotList};
use dolmen_format::ledger::{Fact, Receipt};
use dolmen_format::{SnapshotId, Timestamp};
use dolmen_store::fault::Effect;
use dolmen_store::{
    Fault, FaultPlan, Operation, Place, Store as _, StoreKey, VersionInfo, VersionKind,
};
use futures_util::TryStreamExt as _;

use super::looking::look;
use super::world::{Client, DAY, Deaf, World};

const HOME: Client = Client("home");

/// Recovers, to a time or to none.
fn recover(world: &World, at: Option<Timestamp>, is_dry: bool) -> Report {
    let repository = &world.repository;
    let mut instance = world.instance(HOME);
    let history = History::load(repository, Source::Store).unwrap();
    let then = at.map(|at| history.clone().into_list(repository, Some(at)));
    let list = history.into_list(repository, None);
    let scratch = world.path("");
    let options = recover::Options {
        look: look(&scratch, ReadData::None),
        list: &list,
        then: then.as_ref(),
    };
    let action = if is_dry {
        Action::Plan
    } else {
        Action::Apply(&mut instance)
    };
    recover::run(repository, &options, action, &Deaf).unwrap()
}

fn key_of(entry: &SnapshotEntry) -> StoreKey {
    let writer = entry.snapshot.stamp.writer;
    StoreKey::try_from(format!("snapshots/{writer}/{}", entry.id)).unwrap()
}

fn versions(world: &World, prefix: &str) -> Vec<VersionInfo> {
    let listed = world.store.list_versions(prefix).try_collect();
    world.repository.objects.block_on(listed).unwrap()
}

fn overwrite(world: &World, key: &StoreKey) {
    let put = world
        .store
        .put(key, vec![7; 100].into(), None, Place::OnTop);
    world.repository.objects.block_on(put).unwrap();
}

fn hide(world: &World, key: &StoreKey) {
    let hidden = world.store.hide(key);
    world.repository.objects.block_on(hidden).unwrap();
}

/// What a bucket's rule does in time: only the newest version of each key stays.
fn delete_older_versions(world: &World) {
    let mut seen = BTreeSet::new();
    for line in versions(world, "") {
        if !seen.insert(line.name.clone()) {
            let object = line.object_ref().unwrap();
            let deleted = world.store.delete_version(&object);
            world.repository.objects.block_on(deleted).unwrap();
        }
    }
}

/// A snapshot a day, on a store with versions.
fn three_days() -> (World, [SnapshotEntry; 3]) {
    let world = World::lockable();
    let made = [1, 2, 3].map(|day| {
        world.write(HOME, "a", day, 50_000);
        let made = world.backup(HOME);
        world.wait(DAY);
        made
    });
    (world, made)
}

fn ids(entries: &[SnapshotEntry]) -> Vec<SnapshotId> {
    entries.iter().map(|entry| entry.id).collect()
}

fn latest(world: &World, list: &SnapshotList) -> SnapshotId {
    let now = world.repository.environment.clock.now();
    let latest = list.find("latest", &Filter::default(), now);
    latest.unwrap().id
}

#[test]
fn what_is_put_again_keeps_its_place_in_time() {
    let (world, made) = three_days();
    let before = world.list();
    for line in versions(&world, "") {
        let key = StoreKey::try_from(line.name.as_str()).unwrap();
        overwrite(&world, &key);
    }
    let report = recover(&world, None, false);
    assert!(report.healed > 6, "{report:?}");
    assert_eq!((report.healed, report.failed), (report.overwritten, 0));
    delete_older_versions(&world);
    let list = world.list();
    assert_eq!(ids(&list.snapshots), ids(&made));
    assert_eq!(latest(&world, &list), made[2].id);
    for (now, then) in list.snapshots.iter().zip(&before.snapshots) {
        assert!(now.stored_at > then.stored_at, "it was put again");
        assert_eq!(now.received, then.received);
        assert_eq!(now.first_stored_at, then.first_stored_at);
    }
    let at = made[1].received.saturating_add_seconds(60);
    let earlier = SnapshotList::load(&world.repository, Some(at)).unwrap();
    assert_eq!(ids(&earlier.snapshots), ids(&made[..2]));
    world.assert_whole();
}

#[test]
fn a_receipt_is_witnessed_once() {
    let (world, made) = three_days();
    let records = |world: &World| versions(world, "ledger/").len();
    // Nothing is put again where a marker may be removed.
    hide(&world, &key_of(&made[0]));
    assert_eq!(recover(&world, None, false).healed, 1);
    assert_eq!(records(&world), 0);
    overwrite(&world, &key_of(&made[0]));
    assert_eq!(recover(&world, None, true).healed, 1);
    assert_eq!(records(&world), 0);
    for _ in 0..2 {
        overwrite(&world, &key_of(&made[0]));
        assert_eq!(recover(&world, None, false).healed, 1);
        assert_eq!(records(&world), 1);
    }
}

#[test]
fn without_its_witness_a_snapshot_stays_beneath_and_the_rest_is_put_back() {
    let (world, made) = three_days();
    let pack = versions(&world, "packs/").remove(0);
    overwrite(&world, &StoreKey::try_from(pack.name.as_str()).unwrap());
    overwrite(&world, &key_of(&made[0]));
    let next = world.layer.calls_of(Operation::Put);
    let denied = Fault::Denied(Effect::Skipped);
    let plan = FaultPlan::none().at_call_of(Operation::Put, next, denied);
    world.layer.set_plan(plan);
    let report = recover(&world, None, false);
    assert_eq!((report.overwritten, report.healed), (2, 1));
    assert_eq!((report.failed, report.denied), (2, 1));
    let again = recover(&world, None, false);
    assert_eq!((again.overwritten, again.healed), (1, 1));
}

#[test]
fn one_objects_failure_stops_no_other() {
    let (world, _) = three_days();
    let lines = versions(&world, "packs/");
    for line in &lines {
        overwrite(&world, &StoreKey::try_from(line.name.as_str()).unwrap());
    }
    let next = world.layer.calls_of(Operation::Put);
    let plan = FaultPlan::none().at_call_of(Operation::Put, next, Fault::Unavailable);
    world.layer.set_plan(plan);
    let report = recover(&world, None, false);
    let packs = u64::try_from(lines.len()).unwrap();
    assert_eq!((report.overwritten, report.healed), (packs, packs - 1));
    assert_eq!(report.failed, 1);
    assert_eq!(recover(&world, None, false).healed, 1);
    world.assert_whole();
}

#[test]
fn a_store_that_answers_nothing_more_ends_the_run_with_a_report() {
    let world = World::lockable();
    for day in 0..24 {
        world.write(HOME, "a", day, 50_000);
        world.backup(HOME);
    }
    for line in versions(&world, "packs/") {
        overwrite(&world, &StoreKey::try_from(line.name.as_str()).unwrap());
    }
    // Two calls put an object back.
    let first = world.layer.calls_of(Operation::Put) + 4;
    let gone = (first..first + 100).fold(FaultPlan::none(), |plan, at| {
        plan.at_call_of(Operation::Put, at, Fault::Unavailable)
    });
    world.layer.set_plan(gone);
    let report = recover(&world, None, false);
    assert!(report.overwritten >= 24, "{report:?}");
    // Sixteen in a row are no hiccups; the store itself is the seventeenth.
    assert_eq!(report.failed, 17);
    world.layer.set_plan(FaultPlan::none());
    let rest = recover(&world, None, false);
    assert_eq!(rest.healed, report.overwritten - report.healed);
    world.assert_whole();
}

#[test]
fn going_back_to_a_time_brings_back_what_was_retired_since() {
    let (world, made) = three_days();
    world.retire(HOME, &[&made[0]]);
    world.wait(DAY);
    let then = world.store.clock();
    world.wait(60);
    world.retire(HOME, &[&made[1]]);
    world.retire(HOME, &[&made[1], &made[2]]);
    hide(&world, &key_of(&made[1]));
    world.wait(DAY);
    assert_eq!(recover(&world, None, false).unretired, 0);
    let records = versions(&world, "ledger/").len();
    let planned = recover(&world, Some(then), true);
    assert_eq!((planned.unretired, planned.lost), (2, 0));
    assert_eq!(versions(&world, "ledger/").len(), records);
    assert_eq!(world.list().snapshots.len(), 0);
    let report = recover(&world, Some(then), false);
    assert_eq!((report.unretired, report.lost, report.failed), (2, 0, 0));
    // What had ended before stays ended.
    assert_eq!(ids(&world.list().snapshots), ids(&made[1..]));
    let shown = versions(&world, key_of(&made[1]).as_str());
    assert_eq!(shown[0].kind, VersionKind::Data);
    assert_eq!(recover(&world, Some(then), false).unretired, 0);
    world.assert_whole();
}

#[test]
fn a_retirement_that_is_dated_back_is_taken_back_too() {
    let (world, made) = three_days();
    let then = world.store.clock();
    world.wait(DAY);
    // Its signer's clock was set back, and it signs a witness for itself.
    world.shift_local_clock(-2 * DAY);
    world.retire(HOME, &[&made[1]]);
    let record = world.list().facts.retired[&made[1].id].by[0];
    let received = then.saturating_add_seconds(-600);
    let receipts = vec![Receipt {
        object: record.digest,
        received,
    }];
    world.sign(HOME, Fact::Witness { receipts });
    world.shift_local_clock(2 * DAY);
    let earlier = SnapshotList::load(&world.repository, Some(then)).unwrap();
    assert_eq!(ids(&earlier.snapshots), ids(&made));
    assert_eq!(recover(&world, Some(then), false).unretired, 1);
    assert_eq!(ids(&world.list().snapshots), ids(&made));
}

#[test]
fn a_pack_is_hashed_in_parts() {
    let world = World::new();
    world.write(HOME, "a", 1, 20_000_000);
    world.backup(HOME);
    let scratch = world.path("");
    let options = look(&scratch, ReadData::All);
    let pack = versions(&world, "packs/")
        .into_iter()
        .max_by_key(|line| line.size_bytes)
        .unwrap();
    let hashed = || {
        world.record.take_requests();
        let view = audit::look(&world.repository, &options).unwrap();
        let asked = world.record.take_requests();
        let of_pack = asked
            .iter()
            .filter(|request| request.key.as_deref() == Some(pack.name.as_str()));
        let read: Vec<_> = of_pack.map(|request| request.received_bytes).collect();
        (view.counts.corrupt, read)
    };
    let (corrupt, read) = hashed();
    assert_eq!(corrupt, 0);
    assert_eq!(read.len(), 3);
    assert_eq!(read.iter().sum::<u64>(), pack.size_bytes);
    assert!(read.iter().all(|bytes| *bytes <= 8 << 20), "{read:?}");
    // A flipped bit in its last part shows.
    let key = StoreKey::try_from(pack.name.as_str()).unwrap();
    let objects = &world.repository.objects;
    let body = objects.block_on(world.store.get(&key, None, None, u64::MAX));
    let mut body = body.unwrap().to_vec();
    let at = body.len() - 1_000_000;
    body[at] ^= 1;
    let put = world.store.put(&key, body.into(), None, Place::OnTop);
    objects.block_on(put).unwrap();
    assert_eq!(hashed().0, 1);
}

#[test]
fn what_the_store_does_not_give_stops_no_audit_until_it_gives_nothing_more() {
    let world = World::lockable();
    for day in 0..16 {
        world.write(HOME, "a", day, 50_000);
        world.backup(HOME);
    }
    let scratch = world.path("");
    let options = look(&scratch, ReadData::None);
    let asked = || world.layer.calls_of(Operation::Get);
    let before = asked();
    let whole = audit::look(&world.repository, &options).unwrap();
    assert!(whole.counts.is_ok());
    let gets = asked() - before;
    // Small objects are read last.
    let look_without_last = |count: u64| {
        let end = asked() + gets;
        let plan = (end - count..end).fold(FaultPlan::none(), |plan, at| {
            plan.at_call_of(Operation::Get, at, Fault::Unavailable)
        });
        world.layer.set_plan(plan);
        let view = audit::look(&world.repository, &options);
        world.layer.set_plan(FaultPlan::none());
        view
    };
    for count in [1, 15] {
        let view = look_without_last(count).unwrap();
        let unread = Counts {
            unread: count,
            ..Counts::default()
        };
        assert_eq!(view.counts, unread, "{:?}", view.findings);
        assert_eq!(view.objects, whole.objects - count);
    }
    let error = look_without_last(16).unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error}");
}

#[test]
fn snapshots_are_listed_once() {
    let (world, made) = three_days();
    overwrite(&world, &key_of(&made[0]));
    let mut instance = world.instance(HOME);
    let count = |work: &mut dyn FnMut()| {
        world.record.take_requests();
        work();
        let asked = world.record.take_requests();
        let of_snapshots = asked.iter().filter(|request| {
            let prefix = request.key.as_deref().unwrap_or_default();
            request.operation == Operation::ListVersions && prefix.starts_with("snapshots/")
        });
        of_snapshots.count()
    };
    let repository = &world.repository;
    let mut history = None;
    let loaded = count(&mut || history = Some(History::load(repository, Source::Store).unwrap()));
    assert_eq!(loaded, 1);
    let list = history.unwrap().into_list(repository, None);
    let scratch = world.path("");
    let options = recover::Options {
        look: look(&scratch, ReadData::None),
        list: &list,
        then: None,
    };
    let listed = count(&mut || {
        let action = Action::Apply(&mut instance);
        let report = recover::run(repository, &options, action, &Deaf).unwrap();
        assert_eq!(report.healed, 1);
    });
    assert_eq!(listed, 0);
}
