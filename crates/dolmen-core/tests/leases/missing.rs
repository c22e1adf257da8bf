//! Packs that are needed and missing: whatever else lies there may be where the data was moved to.

use dolmen_core::prune::Tally;
use dolmen_core::recall;
use dolmen_state::Compared;
use dolmen_state::state::{Remembered, Sightings};
use dolmen_store::{Place, Store as _, StoreKey};

use super::absence::lose;
use super::compact::half_dead;
use super::world::{Client, World};

const HOME: Client = Client("a");

#[test]
fn a_lost_record_of_moves_holds_the_prune_of_who_never_saw_it() {
    let world = World::new();
    half_dead(&world);
    let before = world.names("ledger/");
    let mut compared = Compared::default();
    assert!(world.compact(&mut compared).packs_written >= 1);
    assert!(world.prune_knowing(&compared).deleted.bytes > 0);
    let mut records = world.names("ledger/");
    records.retain(|name| !before.contains(name));
    let [record] = records.as_slice() else {
        panic!("{records:?}");
    };
    let key = StoreKey::try_from(record.as_str()).unwrap();
    let objects = &world.repository.objects;
    let body = objects.block_on(world.store.get(&key, None, None, 1 << 20));
    lose(&world, record);
    world.outlive();

    let all = world.names("");
    for _ in 0..2 {
        let report = world.prune();
        assert_eq!(report.deleted, Tally::default());
        assert!(report.held.unwrap().contains("needed pack"));
        world.outlive();
    }
    assert_eq!(world.names(""), all);
    let put = world.store.put(&key, body.unwrap(), None, Place::IfAbsent);
    objects.block_on(put).unwrap();
    world.assert_whole();
    assert_eq!(world.prune_knowing(&compared).held, None);
    world.assert_whole();
}

#[test]
fn a_missing_pack_holds_what_has_lapsed_until_nothing_that_lives_needs_it() {
    let world = World::new();
    world.write(HOME, "old", 1, 400_000);
    let old = world.backup(HOME);
    world.remove(HOME, "old");
    let before = world.names("packs/");
    world.write(HOME, "new", 2, 400_000);
    let new = world.backup(HOME);
    world.retire(HOME, &[&old]);
    world.outlive();
    for pack in world.names("packs/") {
        if !before.contains(&pack) {
            lose(&world, &pack);
        }
    }
    let all = world.names("");
    let report = world.prune();
    assert_eq!((report.deleted, world.names("")), (Tally::default(), all));
    assert!(report.held.is_some());
    world.retire(HOME, &[&new]);
    let report = world.prune();
    assert_eq!(report.held, None);
    assert_ne!(report.deleted, Tally::default());
}

#[test]
fn what_was_given_up_is_no_gap_when_later_objects_tell_of_its_number() {
    let world = World::new();
    world.write(HOME, "a", 1, 1000);
    world.backup(HOME);
    world.write(HOME, "b", 2, 1000);
    let last = world.backup(HOME);
    let before = world.names("ledger/");
    world.retire(HOME, &[&last]);
    let mut records = world.names("ledger/");
    records.retain(|name| !before.contains(name));
    let remembered = || {
        let record = world.instance(HOME).record().clone();
        Remembered {
            signed: record.signed,
            heads: record.head.into_iter().collect(),
            ..Remembered::default()
        }
    };
    let mut known = remembered();
    lose(&world, &last.key().to_string());
    for record in &records {
        lose(&world, record);
    }
    let held = |remembered: &Remembered| world.prune_remembering(remembered).held.is_some();
    assert!(held(&known));
    recall::give_up(&world.repository, &mut Sightings::default(), &mut known).unwrap();
    assert!(!held(&known));
    // The next objects leave their numbers unused for all to see.
    world.write(HOME, "c", 3, 1000);
    let next = world.backup(HOME);
    world.retire(HOME, &[&next]);
    assert!(!held(&known));
    assert!(held(&Remembered::default()));
}
