//! Putting what may be there already: its bytes and its lock are looked at.

use bytes::Bytes;
use dolmen_format::{ObjectId, ObjectKey, Timestamp};
use dolmen_store::{
    Credential, LockStatus, MemoryOptions, Operation, Store as _, StoreKey, VersionInfo,
    VersionKind,
};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, World};

const HOME: Client = Client("home");
const BODY: Bytes = Bytes::from_static(b"an object that is put twice");

fn key() -> ObjectKey {
    ObjectKey::Canary(ObjectId::of(&BODY))
}

/// A world in which the object is there, and what its put answered.
fn with_object() -> (World, Timestamp) {
    let world = World::locked();
    drop(world.instance(HOME));
    let receipt = world.repository.objects.put(&key(), BODY).unwrap();
    (world, receipt.locked_until.unwrap())
}

fn versions(world: &World) -> Vec<VersionInfo> {
    let name = key().to_string();
    let listed = world.store.list_versions(&name).try_collect::<Vec<_>>();
    let mut lines = world.repository.objects.block_on(listed).unwrap();
    lines.retain(|line| line.kind == VersionKind::Data);
    lines
}

fn until(line: &VersionInfo) -> Timestamp {
    let LockStatus::Until(lock) = line.lock else {
        panic!("{} is not locked", line.name);
    };
    lock.until
}

#[test]
fn a_put_that_finds_nothing_is_one_request() {
    let world = World::locked();
    drop(world.instance(HOME));
    let counts = world.count(|| world.repository.objects.put(&key(), BODY).unwrap());
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [(Operation::Put, 1)]
    );
}

#[test]
fn what_is_there_and_locked_long_enough_is_left_as_it_is() {
    let (world, first) = with_object();
    let before = versions(&world);
    let receipt = world.repository.objects.put(&key(), BODY).unwrap();
    assert_eq!(versions(&world), before);
    assert_eq!(receipt.object, before[0].object_ref().unwrap());
    assert_eq!(receipt.locked_until, Some(first));
    assert_eq!(receipt.stored_at.latest, before[0].stored_at.latest);
}

#[test]
fn what_is_there_and_due_is_extended_and_who_may_not_puts_it_again() {
    let (mut world, first) = with_object();
    world.wait(20 * DAY);
    let receipt = world.repository.objects.put(&key(), BODY).unwrap();
    let lines = versions(&world);
    assert_eq!(lines.len(), 1);
    assert!(until(&lines[0]) > first);
    assert_eq!(receipt.locked_until, Some(until(&lines[0])));
    world.wait(20 * DAY);
    world.use_key(Credential::client());
    drop(world.instance(HOME));
    // No default retention locks it: the answer says so.
    let receipt = world.repository.objects.put(&key(), BODY).unwrap();
    assert_eq!(versions(&world).len(), 2);
    assert_eq!(receipt.locked_until, None);
}

#[test]
fn junk_is_covered_and_what_is_hidden_is_put() {
    let (world, _) = with_object();
    let name = key().to_string();
    // Of the right size, so that only its hash tells.
    world
        .store
        .put_foreign(&name, &vec![7; BODY.len()])
        .unwrap();
    world.repository.objects.put(&key(), BODY).unwrap();
    let lines = versions(&world);
    assert_eq!(lines.len(), 3);
    let objects = &world.repository.objects;
    let plain = |world: &World| {
        let key = StoreKey::try_from(name.as_str()).unwrap();
        objects
            .block_on(world.store.get(&key, None, None, 1 << 20))
            .unwrap()
    };
    assert_eq!(plain(&world), BODY);
    let store_key = StoreKey::try_from(name.as_str()).unwrap();
    objects.block_on(world.store.hide(&store_key)).unwrap();
    objects.put(&key(), BODY).unwrap();
    assert_eq!(plain(&world), BODY);
}

#[test]
fn a_folder_that_holds_other_bytes_gets_the_right_ones() {
    let world = World::with(MemoryOptions::PLAIN, &super::world::policy());
    let name = key().to_string();
    for garbage in [&b"torn"[..], &[7; 27]] {
        world.store.put_foreign(&name, garbage).unwrap();
        let receipt = world.repository.objects.put(&key(), BODY).unwrap();
        let lines = versions(&world);
        assert_eq!(lines.len(), 1);
        assert_eq!(receipt.object, lines[0].object_ref().unwrap());
        // And it is not written a second time.
        let counts = world.count(|| world.repository.objects.put(&key(), BODY).unwrap());
        assert_eq!(counts.get(&Operation::Put), Some(&1));
        assert_eq!(versions(&world), lines);
    }
}
