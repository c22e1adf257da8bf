//! Whose word a backup takes, how many segments its snapshots list, and what stands in for those that are gone.

use std::collections::BTreeSet;

use dolmen_core::check::ReadData;
use dolmen_core::index::Index;
use dolmen_format::{BlobId, BlobKind, PackId};
use dolmen_store::{Fault, FaultPlan, Operation};

use super::absence::{self, days_left, lose};
use super::world::{Client, DAY, World};

const HOME: Client = Client("home");
const OTHER: Client = Client("other");
const LARGE: usize = 3_000_000;

/// Bytes that a client's next backup adds.
fn added_by(world: &World, client: Client) -> u64 {
    world.backup(client).snapshot.counts.added_bytes
}

/// Where pieces of files lie, as segments say.
fn contents(world: &World) -> BTreeSet<(BlobId, PackId)> {
    let index = Index::load(&world.repository, None).unwrap();
    let mut contents = BTreeSet::new();
    index.blobs.for_each_blob(|id, at| {
        if at.kind == BlobKind::Data {
            contents.insert((*id, index.blobs.pack(at.pack).unwrap().pack));
        }
    });
    contents
}

#[test]
fn where_all_is_locked_what_another_machine_stored_is_stored_again_until_it_is_attested() {
    let world = World::locked();
    world.write(HOME, "a", 1, LARGE);
    world.write(OTHER, "b", 1, LARGE);
    world.backup(HOME);
    assert!(added_by(&world, OTHER) > LARGE as u64 * 9 / 10);
    // The one is attested, and the other; a third builds upon either.
    let packs = world.attest(HOME);
    assert!(packs >= 2);
    let third = Client("third");
    world.write(third, "c", 1, LARGE);
    assert!(added_by(&world, third) < 100_000);
    world.assert_whole();
    // Nothing is left to attest but what came since.
    assert_eq!(world.attest(HOME), 1);
    assert_eq!(world.attest(HOME), 0);
    assert_eq!(world.check(ReadData::Unattested).packs_read, 0);
}

#[test]
fn lost_state_costs_what_is_not_attested() {
    let world = World::locked();
    world.write(HOME, "a", 1, LARGE);
    world.backup(HOME);
    world.forget_state(HOME);
    assert!(added_by(&world, HOME) > LARGE as u64 * 9 / 10);
    world.attest(HOME);
    world.forget_state(HOME);
    let entry = world.backup(HOME);
    assert!(entry.snapshot.counts.added_bytes < 100_000);
    // It says itself where that lies: no segment is listed that nobody vouches for.
    assert_eq!(entry.snapshot.segments.len(), 1);
    // And remembers it: another look at attested packs is not needed.
    assert!(added_by(&world, HOME) < 100_000);
    world.assert_whole();
}

#[test]
fn whoever_trusts_the_own_history_stores_nothing_again() {
    let world = World::locked();
    world.write(HOME, "a", 1, LARGE);
    world.backup(HOME);
    world.forget_state(HOME);
    let mut options = world.options(HOME);
    options.trust_own_history = true;
    let entry = world.backup_with(HOME, &options, || {}).unwrap();
    assert!(entry.snapshot.counts.added_bytes < 100_000);
    // From here on the own head lists it.
    assert!(added_by(&world, HOME) < 100_000);
    world.assert_whole();
}

#[test]
fn many_small_backups_end_with_few_segments() {
    let world = World::new();
    let (mut most, mut puts) = (0, 0);
    for number in 0..60 {
        world.write(HOME, "a", number, 2000);
        world.write(HOME, &format!("f{}", number % 10), number, 100);
        let counts = world.count(|| {
            let entry = world.backup(HOME);
            most = most.max(entry.snapshot.segments.len());
        });
        puts = puts.max(counts[&Operation::Put]);
    }
    // Eight small ones, and the one that is written.
    assert!(most <= 9, "{most}");
    // Pack, manifest, segment, snapshot: merging adds none.
    assert!(puts <= 4, "{puts}");
    world.assert_whole();
    // What is unchanged is one put, as ever.
    world.backup(HOME);
    let counts = world.count(|| drop(world.backup(HOME)));
    assert_eq!(counts[&Operation::Put], 1);
}

#[test]
fn a_crash_between_a_merged_segment_and_its_snapshot_costs_nothing() {
    let world = World::new();
    for number in 0..9 {
        world.write(HOME, "a", number, 2000);
        world.backup(HOME);
    }
    let before = world.backup(HOME).snapshot.segments.len();
    world.write(HOME, "a", 100, 2000);
    // Pack, segment; then nothing.
    let at = world.layer.calls_of(Operation::Put) + 2;
    let plan = FaultPlan::none().at_call_of(Operation::Put, at, Fault::Unavailable);
    world.layer.set_plan(plan);
    world.backup_after(HOME, || {}).unwrap_err();
    world.layer.set_plan(FaultPlan::none());
    world.assert_whole();
    let after = world.backup(HOME);
    assert!(after.snapshot.segments.len() <= before + 1);
    world.assert_whole();
    let known = contents(&world);
    assert_eq!(known.len(), 10);
    world.write(HOME, "a", 0, 2000);
    // All that the merged ones described is still known: whatever the backup adds, no content is stored again.
    world.backup(HOME);
    assert_eq!(contents(&world), known);
    world.assert_whole();
}

/// A locked repository with one snapshot, whose segments are gone.
fn without_index() -> World {
    let world = absence::locked();
    world.write(HOME, "a", 1, LARGE);
    world.backup(HOME);
    for segment in world.names("index/") {
        lose(&world, &segment);
    }
    world
}

#[test]
fn a_rebuilt_index_stays_locked_as_what_it_replaces() {
    let world = without_index();
    let short = world.renew(HOME);
    assert_eq!((short.failed, short.is_protected), (1, false));
    world.rebuild_index(HOME);
    let rebuilt = world.names("index/");
    // Its first lock lapses ten times over.
    for _ in 0..60 {
        world.wait(6 * DAY);
        let report = world.renew(HOME);
        assert_eq!((report.failed, report.is_protected), (0, true));
        world.prune();
    }
    assert_eq!(world.names("index/"), rebuilt);
    assert!(days_left(&world, &rebuilt[0]) >= 30);
    world.assert_whole();
}

#[test]
fn a_rebuilt_index_lapses_once_listed_segments_say_the_same() {
    let world = without_index();
    world.rebuild_index(HOME);
    let old = world.list().snapshots.remove(0);
    assert_eq!(world.attest(HOME), 1);
    let new = world.backup(HOME);
    assert!(new.snapshot.counts.added_bytes < 100_000);
    world.retire(HOME, &[&old]);
    for _ in 0..20 {
        world.wait(6 * DAY);
        assert!(world.renew(HOME).is_protected);
        world.prune();
    }
    let listed: Vec<_> = new
        .snapshot
        .segments
        .iter()
        .map(ToString::to_string)
        .collect();
    let left = world.names("index/");
    assert!(
        left.iter()
            .all(|name| listed.iter().any(|id| name.ends_with(id))),
        "{left:?}"
    );
    assert_eq!(left.len(), listed.len());
    world.assert_whole();
}
