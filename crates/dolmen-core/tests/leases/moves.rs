//! Where moved frames must stay: in every claimed place until that was compared with another, then in the latest.

use std::sync::atomic::AtomicBool;

use dolmen_core::audit::{self, Counts, Depth};
use dolmen_core::check::ReadData;
use dolmen_core::moves::compare;
use dolmen_format::{ObjectKey, ObjectKind, Timestamp};
use dolmen_state::Compared;
use dolmen_state::state::Remembered;
use dolmen_store::{LockStatus, Operation, Store as _};
use futures_util::TryStreamExt as _;

use super::copied::{Copied, by_recipient, copy};
use super::world::{Client, DAY, DELAY_SECONDS, LEASE_DAYS, World};

const A: Client = Client("a");
const M: Client = Client("maintenance");

/// One snapshot, whose packs nothing keeps but that they are needed.
fn fill(world: &World) -> Vec<ObjectKey> {
    world.write(A, "large", 1, 3_000_000);
    world.write(A, "small", 2, 3000);
    world.backup(A);
    world.wait(LEASE_DAYS * DAY + DELAY_SECONDS + 1);
    world.packs()
}

impl World {
    fn packs(&self) -> Vec<ObjectKey> {
        let mut packs = Vec::new();
        let objects = &self.repository.objects;
        objects
            .list("packs/", |object| packs.push(object.key))
            .unwrap();
        packs
    }

    /// Copies of packs, those of each recipient in one.
    fn copies(&self, packs: &[ObjectKey]) -> Vec<Copied> {
        let fetch = |key| self.repository.objects.fetch(key, ObjectKind::Pack);
        let stored = packs.iter().map(|key| (*key, fetch(key).unwrap().to_vec()));
        let groups = by_recipient(stored.collect()).into_iter();
        let copies = groups.map(|group| copy(group.iter().map(|(_, pack)| pack.as_slice())));
        copies.collect()
    }

    /// Copies packs and says so. Returns the new ones.
    fn move_packs(&self, packs: &[ObjectKey]) -> Vec<ObjectKey> {
        let copies = self.copies(packs);
        let mut moved: Vec<_> = copies.iter().map(|copied| self.publish(copied)).collect();
        moved.sort();
        moved
    }

    fn publish(&self, copied: &Copied) -> ObjectKey {
        copied.publish(&self.repository, &mut self.instance(M)).0
    }

    /// What a maintainer knows after it compared places, and before that `compared`.
    fn compare(&self, compared: &Compared) -> Compared {
        let options = compare::Options {
            read_bytes_max: u64::MAX,
            cancel: &AtomicBool::new(false),
        };
        let mut facts = self.list().facts;
        facts.compared.clone_from(compared);
        compare::run(&self.repository, &mut facts, &options).unwrap();
        facts.compared
    }

    fn delete(&self, packs: &[ObjectKey]) {
        let objects = &self.repository.objects;
        for key in packs {
            let listed = self.store.list_versions(&key.to_string());
            let versions: Vec<_> = objects.block_on(listed.try_collect()).unwrap();
            for version in &versions {
                let object = version.object_ref().unwrap();
                objects
                    .block_on(self.store.delete_version(&object))
                    .unwrap();
            }
        }
    }

    fn lock_of(&self, key: &ObjectKey) -> Timestamp {
        let mut until = None;
        let take = |object: dolmen_core::objects::Listed| {
            if let LockStatus::Until(lock) = object.copies[0].lock {
                until = Some(lock.until);
            }
        };
        let objects = &self.repository.objects;
        objects.list(&key.to_string(), take).unwrap();
        until.unwrap()
    }

    fn audit(&self, compared: &Compared) -> Counts {
        let options = audit::Options {
            depth: Depth::Listing,
            remembered: Remembered::nothing(),
            compared,
            index_cache: None,
            scratch: &self.path(""),
            cancel: &AtomicBool::new(false),
        };
        audit::look(&self.repository, &options).unwrap().counts
    }

    /// As long as moved packs have a lease of their own.
    fn outlive_leases(&self) {
        self.wait(LEASE_DAYS * DAY + DELAY_SECONDS + 1);
    }
}

#[test]
fn every_claimed_place_stays_until_it_was_compared_and_then_the_latest() {
    let world = World::new();
    let origins = fill(&world);
    let moved = world.move_packs(&origins);
    world.outlive_leases();
    world.prune_knowing(&Compared::default());
    assert_eq!(world.packs().len(), origins.len() + moved.len());

    let compared = world.compare(&Compared::default());
    assert!(compared.different.is_empty());
    world.prune_knowing(&compared);
    assert_eq!(world.packs(), moved);
    world.assert_whole();
    assert_eq!(world.audit(&compared), Counts::default());
    // Another maintainer, who never compared anything, has one place of each left.
    assert_eq!(world.audit(&Compared::default()), Counts::default());
    world.prune_knowing(&Compared::default());
    assert_eq!(world.packs(), moved);
}

#[test]
fn of_two_maintainers_copies_both_keep_the_later() {
    let world = World::new();
    let origins = fill(&world);
    let first = world.move_packs(&origins);
    let known = world.compare(&Compared::default());
    world.wait(1);
    // The other one's packs differ: their frames lie in another order.
    let second = world.move_packs(&first);
    assert!(second != first && origins != first);
    world.outlive_leases();
    // Who has not seen the second ones keeps both.
    world.prune_knowing(&known);
    for kept in first.iter().chain(&second) {
        assert!(world.packs().contains(kept));
    }
    let compared = world.compare(&known);
    world.prune_knowing(&compared);
    assert_eq!(world.packs(), second);
    world.assert_whole();
    assert_eq!(world.compare(&compared), compared);
}

#[test]
fn a_false_place_lets_nothing_go_and_lapses() {
    let world = World::new();
    let origins = fill(&world);
    let honest = world.move_packs(&origins);
    world.wait(1);
    let mut false_packs = Vec::new();
    for mut copied in world.copies(&origins) {
        // Other bytes in the right place.
        copied.bytes[16..].fill(7);
        false_packs.push(world.publish(&copied));
    }
    for mut copied in world.copies(&origins) {
        // A frame that passes for another.
        let count = copied.runs.len();
        let positions: Vec<_> = copied.runs.iter().map(|run| run.position).collect();
        for (at, run) in copied.runs.iter_mut().enumerate() {
            run.position = positions[(at + 1) % count];
        }
        world.publish(&copied);
    }
    world.outlive_leases();
    let compared = world.compare(&Compared::default());
    assert!(!compared.different.is_empty());
    world.prune_knowing(&compared);
    let left = world.packs();
    assert!(honest.iter().all(|pack| left.contains(pack)));
    assert!(!false_packs.iter().any(|pack| left.contains(pack)));
    world.assert_whole();
}

#[test]
fn where_the_origin_is_gone_contradicting_places_all_stay() {
    let world = World::new();
    let origins = fill(&world);
    let honest = world.move_packs(&origins);
    let mut false_packs = Vec::new();
    for mut copied in world.copies(&origins) {
        copied.bytes[16..].fill(7);
        false_packs.push(world.publish(&copied));
    }
    world.delete(&origins);
    world.outlive_leases();
    let compared = world.compare(&Compared::default());
    world.prune_knowing(&compared);
    let left = world.packs();
    assert!(
        honest
            .iter()
            .chain(&false_packs)
            .all(|pack| left.contains(pack))
    );
    world.assert_whole();
}

#[test]
fn a_move_whose_pack_is_gone_or_was_never_there_counts_for_nothing() {
    let world = World::new();
    let origins = fill(&world);
    let moved = world.move_packs(&origins);
    let compared = world.compare(&Compared::default());
    world.delete(&moved);
    world.outlive_leases();
    world.prune_knowing(&compared);
    assert_eq!(world.packs(), origins);
    assert_eq!(world.audit(&compared), Counts::default());
    world.assert_whole();
}

#[test]
fn what_is_nowhere_is_missing_once() {
    let world = World::new();
    let origins = fill(&world);
    let moved = world.move_packs(&origins);
    let compared = world.compare(&Compared::default());
    world.delete(&origins);
    world.delete(&moved);
    let missing = u64::try_from(origins.len()).unwrap();
    assert_eq!(world.audit(&compared).missing, missing);
}

#[test]
fn renewal_follows_frames_and_lets_origins_lapse() {
    let world = World::locked();
    world.write(A, "large", 1, 300_000);
    world.backup(A);
    let origins = world.packs();
    let moved = world.move_packs(&origins);
    let compared = world.compare(&Compared::default());
    let before: Vec<_> = origins.iter().map(|pack| world.lock_of(pack)).collect();
    for _ in 0..8 {
        world.wait(5 * DAY);
        let mut list = world.list();
        list.facts.compared.clone_from(&compared);
        drop(world.instance(M));
        let report = world.renew_listed(&list);
        assert_eq!((report.failed, report.is_protected), (0, true));
        assert_eq!(world.audit(&compared), Counts::default());
    }
    let after: Vec<_> = origins.iter().map(|pack| world.lock_of(pack)).collect();
    assert_eq!(before, after);
    assert!(moved.iter().all(|pack| world.lock_of(pack) > before[0]));
    world.prune_knowing(&compared);
    assert_eq!(world.packs(), moved);
    world.assert_whole();
    world.backup(A);
    world.assert_whole();
}

#[test]
fn a_renewal_that_compared_nothing_renews_every_place() {
    let world = World::locked();
    world.write(A, "large", 1, 300_000);
    world.backup(A);
    let origins = world.packs();
    let moved = world.move_packs(&origins);
    for _ in 0..8 {
        world.wait(5 * DAY);
        assert!(world.renew(M).is_protected);
    }
    let protected = Timestamp::from_seconds(world.store.clock().seconds + 30 * DAY);
    for pack in origins.iter().chain(&moved) {
        assert!(world.lock_of(pack) >= protected);
    }
}

/// Bytes of packs that a backup puts.
fn stored_by_backup(world: &World) -> usize {
    let before = world.packs().len();
    world.backup(A);
    world.packs().len() - before
}

#[test]
fn a_backup_builds_upon_moved_frames() {
    for world in [World::new(), World::locked()] {
        world.write(A, "large", 1, 300_000);
        world.backup(A);
        let origins = world.packs();
        let moved = world.move_packs(&origins);
        if world.repository.objects.locking().is_none() {
            world.delete(&origins);
        } else {
            let compared = world.compare(&Compared::default());
            for _ in 0..8 {
                world.wait(5 * DAY);
                let mut list = world.list();
                list.facts.compared.clone_from(&compared);
                drop(world.instance(M));
                world.renew_listed(&list);
            }
            world.prune_knowing(&compared);
        }
        assert_eq!(world.packs(), moved);
        world.write(A, "new", 3, 3000);
        // One of trees and data, one of nodes at most.
        assert!(stored_by_backup(&world) <= 2);
        world.assert_whole();
        world.write(A, "newer", 4, 3000);
        assert!(stored_by_backup(&world) <= 2);
        world.assert_whole();
    }
}

#[test]
fn a_backup_builds_upon_no_rubbish_that_claims_to_be_moved_frames() {
    let world = World::locked();
    world.write(A, "large", 1, 300_000);
    world.backup(A);
    let origins = world.packs();
    for mut copied in world.copies(&origins) {
        // The table is right: only whoever reads the frames finds out.
        copied.bytes[16..].fill(7);
        world.publish(&copied);
    }
    // Maintenance failed for so long that the origins went.
    world.wait(45 * DAY);
    world.delete(&origins);
    world.backup(A);
    let latest = world.list().snapshots.pop().unwrap();
    let retired = world.list().snapshots;
    let retired: Vec<_> = retired
        .iter()
        .filter(|entry| entry.id != latest.id)
        .collect();
    world.retire(A, &retired);
    world.assert_whole();
}

#[test]
fn an_undo_asks_for_frames_where_they_lie() {
    let world = World::new();
    world.write(A, "large", 1, 300_000);
    let snapshot = world.backup(A);
    let origins = world.packs();
    let moved = world.move_packs(&origins);
    world.delete(&origins);
    world.retire(A, &[&snapshot]);
    assert_eq!(world.undo(A, &snapshot), []);
    world.assert_whole();
    world.retire(A, &[&snapshot]);
    world.delete(&moved[..1]);
    assert_ne!(world.undo(A, &snapshot), []);
}

#[test]
fn nothing_is_listed_twice_where_nothing_was_moved() {
    let world = World::new();
    fill(&world);
    let before = world.count(|| world.prune());
    world.move_packs(&world.packs());
    let after = world.count(|| world.prune());
    let listings = |counts: &std::collections::BTreeMap<Operation, u64>| {
        counts.get(&Operation::ListVersions).copied()
    };
    assert_eq!(listings(&after), listings(&before).map(|count| count + 1));
}

#[test]
fn an_index_that_is_gone_is_missed_until_something_says_what_was_moved() {
    let world = World::new();
    let origins = fill(&world);
    world.move_packs(&origins);
    world.delete(&origins);
    let segments = world.names("index/");
    let segments: Vec<_> = segments.iter().map(|name| name.parse().unwrap()).collect();
    world.delete(&segments);
    let lost = u64::try_from(segments.len()).unwrap();
    assert_eq!(world.renew(M).failed, lost);
    assert_eq!(world.audit(&Compared::default()).missing, lost);
    world.rebuild_index(M);
    assert_eq!(world.renew(M).failed, 0);
    assert_eq!(world.audit(&Compared::default()), Counts::default());
    world.assert_whole();
}

#[test]
fn whoever_knows_the_ledger_reads_moved_frames_without_listing_it_again() {
    let world = World::new();
    let origins = fill(&world);
    let listings = || {
        world.record.take_requests();
        world.check(ReadData::None);
        assert_eq!(world.audit(&Compared::default()), Counts::default());
        assert_eq!(world.renew(M).failed, 0);
        let requests = world.record.take_requests().into_iter();
        let of_ledger = requests.filter(|request| {
            request.operation == Operation::ListVersions
                && request.key.as_deref() == Some("ledger/")
        });
        of_ledger.count()
    };
    let before = listings();
    assert!(before >= 2);
    world.move_packs(&origins);
    world.delete(&origins);
    assert_eq!(listings(), before);
}
