//! Versioned stores whose plain view an intruder changed: what lies beneath is found.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dolmen_core::check::{self, ReadData};
use dolmen_core::objects::Oddities;
use dolmen_core::snapshots::SnapshotList;
use dolmen_core::{Finding, Objects};
use dolmen_format::ObjectKey;
use dolmen_state::state::Remembered;
use dolmen_store::{MemoryOptions, MemoryStore, Place, Store, StoreKey, VersionKind};
use futures_util::TryStreamExt as _;

use super::world::World;

pub(crate) struct Deaf;

impl check::Observer for Deaf {
    fn finding(&self, _: &Finding) {}
    fn notice(&self, _: &str) {}
}

/// What an intruder does to a key whose authentic bytes these are.
pub(crate) type Deed = fn(&Intruder, &StoreKey, &Bytes);

pub(crate) struct Intruder {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Intruder {
    pub(crate) fn put(&self, key: &StoreKey, body: Bytes) {
        let put = self.store.put(key, body, None, Place::OnTop);
        self.runtime.block_on(put).unwrap();
    }

    pub(crate) fn hide(&self, key: &StoreKey) {
        self.runtime.block_on(self.store.hide(key)).unwrap();
    }

    /// All keys with their bytes.
    pub(crate) fn objects(&self) -> Vec<(StoreKey, Bytes)> {
        let listed: Vec<_> = self
            .runtime
            .block_on(self.store.list_versions("").try_collect())
            .unwrap();
        let data = listed
            .iter()
            .filter(|line: &&dolmen_store::VersionInfo| line.kind == VersionKind::Data);
        data.map(|line| {
            let key = StoreKey::try_from(line.name.as_str()).unwrap();
            let body = self.store.get(&key, None, None, u64::MAX);
            (key.clone(), self.runtime.block_on(body).unwrap())
        })
        .collect()
    }
}

pub(crate) fn garbage(len: usize) -> Bytes {
    vec![0x5a; len].into()
}

pub(crate) fn hide(intruder: &Intruder, key: &StoreKey, _: &Bytes) {
    intruder.hide(key);
}

pub(crate) fn overwrite(intruder: &Intruder, key: &StoreKey, body: &Bytes) {
    intruder.put(key, garbage(body.len()));
}

pub(crate) fn overwrite_in_part(intruder: &Intruder, key: &StoreKey, body: &Bytes) {
    let mut forged = body.to_vec();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    intruder.put(key, forged.into());
}

pub(crate) fn cut(intruder: &Intruder, key: &StoreKey, body: &Bytes) {
    intruder.put(key, body.slice(..body.len() / 2));
}

fn empty(intruder: &Intruder, key: &StoreKey, _: &Bytes) {
    intruder.put(key, Bytes::new());
}

fn inflate(intruder: &Intruder, key: &StoreKey, body: &Bytes) {
    intruder.put(key, [body.as_ref(), &[0; 1000]].concat().into());
}

pub(crate) fn everything_twice(intruder: &Intruder, key: &StoreKey, body: &Bytes) {
    for deed in [overwrite as Deed, hide, cut, overwrite_in_part, hide, hide] {
        deed(intruder, key, body);
        // The authentic bytes between, as who puts old versions back would leave them.
        intruder.put(key, body.clone());
        deed(intruder, key, body);
    }
}

/// Two backups, then the deed on every object, then a stranger with the passphrase restores and checks.
fn suffer(deed: Deed) -> Oddities {
    let store = Arc::new(MemoryStore::new(MemoryOptions {
        versions: true,
        locks: false,
    }));
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let mut world = World::in_store(|_| Arc::clone(&shared));
    world.write("a", &super::world::noise(1, 3_000_000));
    world.write("small/b", b"small");
    world.backup();
    world.write("c", &super::world::noise(2, 700_000));
    world.backup();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let intruder = Intruder { store, runtime };
    let objects = intruder.objects();
    assert!(objects.len() > 6);
    for (key, body) in &objects {
        deed(&intruder, key, body);
    }
    world.reopen(Arc::clone(&shared));
    let (report, notes) = world.restore();
    notes.assert_clean();
    assert_eq!(report.errors, 0);
    world.assert_restored();
    assert_clean_check(&mut world, &shared);
    world.repository.objects.oddities()
}

/// A check from the beginning finds nothing wrong, with every byte read.
fn assert_clean_check(world: &mut World, store: &Arc<dyn Store>) {
    world.reopen(Arc::clone(store));
    let options = check::Options {
        read_data: ReadData::All,
        threads: 2,
        cache: None,
        remembered: Remembered::default(),
        at: None,
    };
    let report = check::run(
        &world.repository,
        &options,
        &Deaf,
        &check::Progress::default(),
    );
    let report = report.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.snapshots, 2);
    // Two or more: a tree that is written while a pack is being filled takes another.
    assert_eq!(report.packs_read, packs_of(store));
}

/// How many packs have bytes in a store, whatever hides them.
fn packs_of(store: &Arc<dyn Store>) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let objects = Objects::new(Arc::clone(store), runtime.handle().clone(), "memory");
    let mut packs = 0;
    objects.list("packs/", |_| packs += 1).unwrap();
    packs
}

/// The kinds of objects that a set of keys holds.
fn folders(keys: &BTreeSet<ObjectKey>) -> BTreeSet<String> {
    keys.iter()
        .map(|key| key.to_string().split('/').next().unwrap().to_owned())
        .collect()
}

fn all_folders() -> BTreeSet<String> {
    ["index", "keys", "packs", "root", "snapshots"]
        .map(str::to_owned)
        .into()
}

#[test]
fn a_hidden_repository_restores_exactly() {
    let oddities = suffer(hide);
    assert_eq!(folders(&oddities.hidden), all_folders());
    assert_eq!(oddities.overwritten, BTreeSet::new());
}

#[test]
fn an_overwritten_repository_restores_exactly() {
    for deed in [overwrite as Deed, overwrite_in_part, cut, empty, inflate] {
        let oddities = suffer(deed);
        assert_eq!(oddities.hidden, BTreeSet::new());
        assert_eq!(folders(&oddities.overwritten), all_folders());
    }
}

#[test]
fn a_repository_under_all_deeds_at_once_restores_exactly() {
    assert_eq!(folders(&suffer(everything_twice).hidden), all_folders());
}

#[test]
fn nothing_is_odd_about_a_repository_that_nobody_touched() {
    assert_eq!(suffer(|_, _, _| {}), Oddities::default());
}

#[test]
fn the_receipt_time_is_that_of_the_authentic_version() {
    let store = Arc::new(MemoryStore::new(MemoryOptions {
        versions: true,
        locks: false,
    }));
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let mut world = World::in_store(|_| Arc::clone(&shared));
    world.write("a", b"first");
    world.backup();
    let first = world.latest();
    store.advance_clock(1000);
    world.write("a", b"second");
    world.backup();
    let second = world.latest();
    store.advance_clock(1000);
    // The first one's bytes once more, so that it looks as if it had just been made.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let intruder = Intruder { store, runtime };
    let key = ObjectKey::Snapshot(first.snapshot.stamp.writer, first.id).to_string();
    let replayed = intruder
        .objects()
        .into_iter()
        .find(|(name, _)| name.as_str() == key);
    let (key, body) = replayed.unwrap();
    intruder.put(&key, body);
    world.reopen(Arc::clone(&shared));
    assert_eq!(world.latest().id, second.id);
    let list = SnapshotList::load(&world.repository, None).unwrap();
    assert_eq!(list.snapshots[0].received, first.received);
    // As the repository was before the second one came.
    let early = SnapshotList::load(&world.repository, Some(first.received)).unwrap();
    assert_eq!(early.snapshots.len(), 1);
    let objects: &Objects = &world.repository.objects;
    assert_eq!(objects.oddities(), Oddities::default());
}
