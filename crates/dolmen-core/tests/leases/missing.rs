//! Packs that are needed and missing: whatever else lies there may be where the data was moved to.

use dolmen_core::check::ReadData;
use dolmen_core::prune::Tally;
use dolmen_core::{audit, recall};
use dolmen_format::prologue::ObjectKind;
use dolmen_format::signed::SignedBody;
use dolmen_format::{FormatError, ObjectId};
use dolmen_state::Compared;
use dolmen_state::state::{Remembered, Sightings};
use dolmen_store::{Place, Store as _, StoreKey};

use minicbor::{Decode, Encode};

use super::absence::{locked, lose};
use super::compact::half_dead;
use super::looking::look;
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

/// A snapshot in words of a later version.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Later {
    #[n(99)]
    news: u64,
}

impl SignedBody for Later {
    const KIND: ObjectKind = ObjectKind::Snapshot;

    fn validate(&self) -> Result<(), FormatError> {
        Ok(())
    }
}

/// Puts bytes under the name of the repository's writer; returns what an audit leaves unread, and whether prune waits.
fn plant(world: &World, folder: &str, id: ObjectId, body: &[u8]) -> (u64, bool) {
    let name = format!("{folder}/{}/{id}", world.repository.writer());
    let key = StoreKey::try_from(name.clone()).unwrap();
    let body = body.to_vec().into();
    let put = world.store.put(&key, body, None, Place::IfAbsent);
    world.repository.objects.block_on(put).unwrap();
    let scratch = world.path("");
    let look = look(&scratch, ReadData::None);
    let counts = audit::look(&world.repository, &look).unwrap().counts;
    let unread = counts.unread;
    let held = world.prune().held.is_some();
    lose(world, &name);
    (unread, held)
}

#[test]
fn only_what_may_be_a_snapshot_holds_and_none_can_plant_that_without_the_key() {
    for world in [World::new(), locked()] {
        world.write(HOME, "a", 1, 1000);
        let entry = world.backup(HOME);
        world.retire(HOME, &[&entry]);
        let objects = &world.repository.objects;
        let get = |name: &str| {
            let key = StoreKey::try_from(name).unwrap();
            let got = objects.block_on(world.store.get(&key, None, None, 1 << 20));
            got.unwrap()
        };
        let snapshot = get(&entry.key().to_string());
        let record = get(&world.names("ledger/")[0]);
        let plant = |folder: &str, id, body: &[u8]| plant(&world, folder, id, body);

        let (later, id) = {
            let (signing, id) = (world.repository.signing_key(), world.repository.id());
            signing.sign(&id, &Later { news: 1 }).unwrap()
        };
        assert_eq!(plant("snapshots", id, &later), (1, true));
        // The same of a format that this version does not read, and by nobody.
        let mut newer = later.clone();
        newer[8] = 2;
        assert_eq!(plant("snapshots", ObjectId::of(&newer), &newer), (0, false));
        // What was signed to lie elsewhere.
        for (folder, body) in [("snapshots", &record), ("ledger", &snapshot)] {
            assert_eq!(plant(folder, ObjectId::of(body), body), (0, false));
        }
        let other = ObjectId::of(b"another");
        assert_eq!(plant("snapshots", other, b"junk"), (0, false));
        // One flipped bit, or planted: only where a put takes away what was there it may be the former.
        let may_have_rotted = !world.store.capabilities().versions;
        assert_eq!(plant("snapshots", other, &snapshot), (0, may_have_rotted));
        assert_eq!(plant("ledger", other, &record), (0, may_have_rotted));
        assert_eq!(world.prune().held, None);
    }
}
