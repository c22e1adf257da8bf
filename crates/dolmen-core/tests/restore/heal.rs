//! Audit and recover: what an intruder did is counted by kind, and undone.

use std::sync::Arc;

use dolmen_core::Objects;
use dolmen_core::audit::{self, Counts, View};
use dolmen_core::check::ReadData;
use dolmen_core::objects::{Oddities, Source};
use dolmen_core::recover::{self, Action, Report};
use dolmen_core::snapshots::SnapshotList;
use dolmen_format::ObjectId;
use dolmen_format::ledger::LockStrategy;
use dolmen_store::memory::Right;
use dolmen_store::{
    Credential, LocalStore, MemoryModel, MemoryOptions, MemoryStore, Store, StoreKey,
};

use super::beneath::{
    Deaf, Deed, Intruder, cut, everything_twice, garbage, hide, overwrite, overwrite_in_part,
};
use super::looking;
use super::world::{World, noise};

/// A world with two snapshots on a store with versions, and who attacks it.
fn attacked(locks: bool) -> (World, Intruder, Arc<dyn Store>) {
    let versions = true;
    let store = Arc::new(MemoryStore::new(MemoryOptions { versions, locks }));
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let world = World::in_store(|_| Arc::clone(&shared));
    world.write("a", &noise(1, 3_000_000));
    world.backup();
    world.write("b", b"second");
    world.backup();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    (world, Intruder { store, runtime }, shared)
}

fn look(world: &World, read_data: ReadData) -> View {
    let scratch = world.path("cache");
    audit::look(&world.repository, &looking::look(&scratch, read_data)).unwrap()
}

fn recover(world: &World, dry_run: bool) -> Report {
    let scratch = world.path("cache");
    let list = SnapshotList::load_from(&world.repository, None, Source::Store).unwrap();
    let options = recover::Options {
        look: looking::look(&scratch, ReadData::None),
        list: &list,
        then: None,
    };
    let mut instance = world.instance();
    let action = if dry_run {
        Action::Plan
    } else {
        Action::Apply(&mut instance)
    };
    recover::run(&world.repository, &options, action, &Deaf).unwrap()
}

fn suffer(deed: Deed) -> (World, Intruder, Arc<dyn Store>, u64) {
    let (mut world, intruder, shared) = attacked(false);
    let objects = intruder.objects();
    for (key, body) in &objects {
        deed(&intruder, key, body);
    }
    world.reopen(Arc::clone(&shared));
    let count = u64::try_from(objects.len()).unwrap();
    (world, intruder, shared, count)
}

/// The plain view alone restores, and nothing is odd about it.
fn assert_whole(world: &mut World, store: &Arc<dyn Store>) {
    world.reopen(Arc::clone(store));
    let view = look(world, ReadData::All);
    assert_eq!(view.counts, Counts::default(), "{:?}", view.findings);
    world.reopen(Arc::clone(store));
    let (report, notes) = world.restore();
    notes.assert_clean();
    assert_eq!(report.errors, 0);
    world.assert_restored();
    let objects: &Objects = &world.repository.objects;
    assert_eq!(objects.oddities(), Oddities::default());
}

#[test]
fn nothing_is_wrong_with_a_repository_that_nobody_touched() {
    let (world, intruder, _) = attacked(false);
    let view = look(&world, ReadData::All);
    assert_eq!(view.counts, Counts::default(), "{:?}", view.findings);
    assert_eq!(
        view.objects,
        u64::try_from(intruder.objects().len()).unwrap()
    );
    assert_eq!(view.space.live.objects, view.objects);
    assert_eq!(view.space.junk.bytes, 0);
    assert_eq!(recover(&world, false), Report::default());
}

#[test]
fn what_is_hidden_is_counted_and_shown_again() {
    let (mut world, intruder, shared, count) = suffer(hide);
    let hidden = Counts {
        hidden: count,
        ..Counts::default()
    };
    assert_eq!(look(&world, ReadData::None).counts, hidden);
    let planned = recover(&world, true);
    assert_eq!((planned.hidden, planned.healed), (count, count));
    // A dry run changes nothing.
    assert_eq!(look(&world, ReadData::None).counts, hidden);
    let report = recover(&world, false);
    assert_eq!(
        (report.hidden, report.healed, report.failed),
        (count, count, 0)
    );
    assert_eq!(intruder.objects().len(), usize::try_from(count).unwrap());
    assert_whole(&mut world, &shared);
    assert_eq!(recover(&world, false), Report::default());
}

#[test]
fn what_is_overwritten_is_counted_and_covered() {
    for deed in [overwrite as Deed, overwrite_in_part, cut] {
        let (mut world, _, shared, count) = suffer(deed);
        let overwritten = Counts {
            overwritten: count,
            ..Counts::default()
        };
        assert_eq!(look(&world, ReadData::None).counts, overwritten);
        let report = recover(&world, false);
        assert_eq!((report.overwritten, report.healed), (count, count));
        assert_whole(&mut world, &shared);
    }
}

#[test]
fn a_key_that_is_both_counts_in_both() {
    let both: Deed = |intruder, key, body| {
        overwrite(intruder, key, body);
        hide(intruder, key, body);
    };
    let (mut world, _, shared, count) = suffer(both);
    let counts = look(&world, ReadData::None).counts;
    assert_eq!((counts.hidden, counts.overwritten), (count, count));
    assert_eq!(recover(&world, false).healed, count);
    assert_whole(&mut world, &shared);
    let (mut world, _, shared, _) = suffer(everything_twice);
    recover(&world, false);
    assert_whole(&mut world, &shared);
}

#[test]
fn junk_is_foreign_and_hidden_once() {
    let (mut world, intruder, shared) = attacked(false);
    let writer = world.repository.writer();
    let body = garbage(1000);
    let (wrong, right) = (ObjectId::of(b"other"), ObjectId::of(&body));
    let names = [
        format!("snapshots/{writer}/{wrong}"),
        // Its bytes hash to its name, and nobody known signed it.
        format!("snapshots/{writer}/{right}"),
        format!("index/{writer}/{wrong}"),
        format!("ledger/{writer}/{right}"),
        format!("keys/{right}"),
        format!("packs/{writer}/{:02x}/{wrong}", wrong.as_bytes()[0]),
        "packs/xx/garbage".to_owned(),
        "README".to_owned(),
    ];
    for name in &names {
        let key = StoreKey::try_from(name.as_str()).unwrap();
        intruder.put(&key, body.clone());
    }
    // An authentic snapshot under another writer's name.
    let latest = world.latest();
    let own = format!("snapshots/{writer}/{}", latest.id);
    let (_, stored) = intruder
        .objects()
        .into_iter()
        .find(|(key, _)| key.as_str() == own)
        .unwrap();
    let stranger = format!("snapshots/{}/{}", "07".repeat(16), latest.id);
    intruder.put(&StoreKey::try_from(stranger).unwrap(), stored);
    intruder.store.put_foreign("odd name", b"x").unwrap();
    world.reopen(Arc::clone(&shared));
    let foreign = Counts {
        foreign: 10,
        ..Counts::default()
    };
    let view = look(&world, ReadData::None);
    assert_eq!(view.counts, foreign, "{:?}", view.findings);
    let report = recover(&world, false);
    assert_eq!((report.foreign, report.set_aside), (10, 8));
    // What lies beside the folders of the repository stays.
    assert_eq!(look(&world, ReadData::None).counts.foreign, 2);
    let (restored, notes) = world.restore();
    notes.assert_clean();
    assert_eq!(restored.errors, 0);
}

#[test]
fn who_may_not_delete_markers_puts_the_bytes_above_them() {
    let (mut world, intruder, shared) = attacked(false);
    for (key, _) in intruder.objects() {
        intruder.hide(&key);
    }
    let client = intruder.store.with_credential(Credential::client());
    let restricted: Arc<dyn Store> = Arc::new(client);
    world.reopen(restricted);
    let report = recover(&world, false);
    assert_eq!((report.healed, report.failed), (report.hidden, 0));
    assert!(report.healed > 6);
    assert_whole(&mut world, &shared);
}

#[test]
fn what_is_gone_for_good_is_missing_and_the_rest_is_healed() {
    let (mut world, intruder, shared) = attacked(false);
    let objects = intruder.objects();
    let pack = objects
        .iter()
        .filter(|(key, _)| key.as_str().starts_with("packs/"))
        .max_by_key(|(_, body)| body.len())
        .unwrap();
    for (key, body) in &objects {
        if key == &pack.0 {
            remove(&intruder, key);
        } else {
            hide(&intruder, key, body);
        }
    }
    world.reopen(Arc::clone(&shared));
    let counts = look(&world, ReadData::None).counts;
    let rest = u64::try_from(objects.len() - 1).unwrap();
    assert_eq!((counts.missing, counts.hidden), (1, rest));
    let report = recover(&world, false);
    assert_eq!((report.missing, report.healed), (1, rest));
    let missing = Counts {
        missing: 1,
        ..Counts::default()
    };
    assert_eq!(look(&world, ReadData::None).counts, missing);
    // Garbage in its place: not missing any more, but damaged.
    intruder.put(&pack.0, garbage(pack.1.len()));
    let counts = look(&world, ReadData::All).counts;
    assert_eq!((counts.missing, counts.corrupt), (0, 1));
}

fn remove(intruder: &Intruder, key: &StoreKey) {
    use futures_util::TryStreamExt as _;
    let listed = intruder.store.list_versions(key.as_str());
    let listed: Vec<_> = intruder.runtime.block_on(listed.try_collect()).unwrap();
    for line in listed {
        let object = line.object_ref().unwrap();
        let delete = intruder.store.delete_version(&object);
        intruder.runtime.block_on(delete).unwrap();
    }
}

#[test]
fn a_removed_snapshot_is_missing_by_what_others_tell_of_it() {
    let (mut world, intruder, shared) = attacked(false);
    let oldest = {
        let list = SnapshotList::load(&world.repository, None).unwrap();
        let first = &list.snapshots[0];
        format!("snapshots/{}/{}", first.snapshot.stamp.writer, first.id)
    };
    remove(&intruder, &StoreKey::try_from(oldest).unwrap());
    world.reopen(shared);
    assert_eq!(look(&world, ReadData::None).counts.missing, 1);
}

#[test]
fn locks_are_counted_where_the_policy_asks_for_them() {
    let store = Arc::new(MemoryStore::new(MemoryOptions::LOCKS));
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let world = World::with_lock(LockStrategy::Compliance, |_| shared);
    let begun = store.clock();
    world.write("a", b"a");
    world.backup();
    let view = look(&world, ReadData::None);
    assert_eq!(view.counts, Counts::default());
    // L + M, up to the next grid line.
    let days = (view.protected_until.unwrap().seconds - begun.seconds) / 86_400;
    assert!((33..=40).contains(&days), "{days}");
    // Less than the 30 days of the policy are left.
    store.advance_clock(11 * 86_400);
    let view = look(&world, ReadData::None);
    assert_eq!(view.counts.locked_short, view.objects);
    // What the policy does not lock is not counted.
    let (unlocked, _, _) = attacked(true);
    let view = look(&unlocked, ReadData::None);
    assert_eq!((view.counts.locked_short, view.protected_until), (0, None));
}

#[test]
fn a_lock_that_cannot_be_read_counts_as_none() {
    let store = Arc::new(MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS)));
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let mut world = World::with_lock(LockStrategy::Compliance, |_| shared);
    world.write("a", b"a");
    world.backup();
    let view = look(&world, ReadData::None);
    assert_eq!(view.counts, Counts::default(), "{:?}", view.findings);
    let blind = Credential::everything().without(Right::GetObjectRetention);
    world.reopen(Arc::new(store.with_credential(blind)));
    let view = look(&world, ReadData::None);
    assert_eq!(view.counts.locked_short, view.objects);
    assert_eq!(view.protected_until, None);
}

#[test]
fn a_folder_moves_junk_to_quarantine_and_keeps_what_can_be_read() {
    let mut world = World::new();
    world.write("a", &noise(1, 3_000_000));
    world.backup();
    let store: Arc<dyn Store> = Arc::new(LocalStore::open(world.path("store")).unwrap());
    let planted = world.path("store/packs/xx");
    std::fs::create_dir_all(&planted).unwrap();
    std::fs::write(planted.join("junk"), b"junk").unwrap();
    world.reopen(Arc::clone(&store));
    assert_eq!(look(&world, ReadData::All).counts.foreign, 1);
    assert_eq!(recover(&world, false).set_aside, 1);
    assert_whole(&mut world, &store);
    // One byte of the largest pack is another: the rest of it still counts for something.
    let pack = world.packs().pop().unwrap();
    let mut body = std::fs::read(&pack).unwrap();
    body[1000] ^= 1;
    std::fs::write(&pack, &body).unwrap();
    assert_eq!(look(&world, ReadData::None).counts, Counts::default());
    assert_eq!(look(&world, ReadData::All).counts.corrupt, 1);
    recover(&world, false);
    assert!(pack.exists());
    // All of it is garbage.
    std::fs::write(&pack, garbage(77)).unwrap();
    let report = recover(&world, false);
    assert_eq!((report.missing, report.set_aside), (1, 1));
    assert!(!pack.exists());
    assert_eq!(look(&world, ReadData::None).counts.missing, 1);
}

#[test]
fn the_same_bytes_once_more_are_nothing() {
    let (mut world, intruder, shared) = attacked(false);
    for (key, body) in intruder.objects() {
        intruder.put(&key, body);
    }
    assert_whole(&mut world, &shared);
}
