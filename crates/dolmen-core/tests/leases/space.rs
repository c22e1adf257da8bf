//! When space comes back, and when not.

use dolmen_core::prune::Tally;
use dolmen_core::{lives, probe};
use dolmen_format::ledger::{Fact, LockStrategy, Policy};
use dolmen_format::signed::Stamp;
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{InstanceId, ObjectKey};
use dolmen_store::{Lock, LockMode, MemoryModel, MemoryOptions, Place, Store as _, StoreKey};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, DELAY_SECONDS, LEASE_DAYS, World, policy};

const HOME: Client = Client("home");
const OTHER: Client = Client("other");

/// Two snapshots; the second does not need the first one's file. Returns the world after the first one's retirement.
fn one_retired() -> (World, dolmen_core::snapshots::SnapshotEntry) {
    let world = World::new();
    world.write(HOME, "old", 1, 500_000);
    let first = world.backup(HOME);
    world.wait(DAY);
    world.remove(HOME, "old");
    world.write(HOME, "new", 2, 400_000);
    world.backup(HOME);
    world.wait(DAY);
    world.retire(HOME, &[&first]);
    (world, first)
}

/// A canary has no lease, and listings as S3 makes them do not state until when it is locked.
#[test]
fn what_a_probe_leaves_goes_with_its_lock_and_no_other_date_is_told() {
    let policy = Policy {
        lock: LockStrategy::Compliance,
        ..policy()
    };
    let world = World::with(MemoryModel::s3(MemoryOptions::LOCKS), &policy);
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    let (objects, environment) = (&world.repository.objects, &world.repository.environment);
    probe::run(objects, environment, LockStrategy::Compliance).unwrap();
    let early = world.prune();
    assert_eq!((early.locked.objects, early.next_unlock), (1, None));
    world.wait(DAY);
    assert_eq!(world.prune().locked.objects, 1);
    // The probe made it a second longer, and stores round up.
    world.wait(3603);
    let late = world.prune();
    assert_eq!((late.deleted.objects, late.locked.objects), (1, 0));
}

#[test]
fn nothing_goes_before_its_lease_has_lapsed_and_all_of_it_after() {
    let (world, _) = one_retired();
    // The store states whole seconds, so that it may have been received up to a second later.
    world.wait(LEASE_DAYS * DAY + DELAY_SECONDS);
    let early = world.prune();
    assert_eq!(early.deleted, Tally::default());
    assert_eq!(early.locked.objects, 2, "snapshot and pack");
    world.assert_whole();
    world.wait(1);
    let late = world.prune();
    assert_eq!(late.deleted, early.locked);
    assert_eq!(late.locked, Tally::default());
    assert_eq!(late.live, early.live);
    assert_eq!(world.list().retired.len(), 0);
    world.assert_whole();
    // A second run has nothing left to do.
    assert_eq!(world.prune().deleted, Tally::default());
}

#[test]
fn what_was_let_go_by_a_clock_that_was_ahead_is_no_loss() {
    let (world, _) = one_retired();
    world.wait(LEASE_DAYS * DAY + DELAY_SECONDS + 1);
    assert_eq!(world.prune().deleted.objects, 2);
    // Hours, and so far that nothing is let go any more.
    for hours in [5, 50] {
        world.shift_local_clock(-hours * 3600);
        let report = world.prune();
        let why = report.held.unwrap_or_default();
        assert!(!why.contains("missing"), "{hours}: {why}");
        world.shift_local_clock(hours * 3600);
    }
}

#[test]
fn what_lives_is_kept_however_old_it_is() {
    let world = World::new();
    world.write(HOME, "old", 1, 500_000);
    world.backup(HOME);
    world.wait(1000 * DAY);
    let report = world.prune();
    assert_eq!((report.deleted, report.locked), Default::default());
    assert_eq!(report.held, None);
    world.assert_whole();
}

#[test]
fn an_undo_brings_a_snapshot_back_until_its_lease_lapses() {
    let (world, first) = one_retired();
    world.wait(LEASE_DAYS * DAY - 1);
    assert_eq!(world.prune().deleted, Tally::default());
    assert_eq!(world.undo(HOME, &first), []);
    assert_eq!(world.list().snapshots.len(), 2);
    world.wait(1000 * DAY);
    assert_eq!(world.prune().deleted, Tally::default());
    world.assert_whole();
}

#[test]
fn an_undo_that_comes_too_late_says_what_is_gone_and_changes_nothing() {
    let (world, first) = one_retired();
    world.wait(LEASE_DAYS * DAY + DELAY_SECONDS + 1);
    world.prune();
    let missing = world.undo(HOME, &first);
    assert!(!missing.is_empty());
    assert_eq!(world.list().snapshots.len(), 1);
}

#[test]
fn a_dry_run_tells_and_deletes_nothing() {
    let (world, _) = one_retired();
    world.wait((LEASE_DAYS + 8) * DAY);
    let told = world.prune_with(|options| options.dry_run = true);
    assert_eq!(told.deleted.objects, 2);
    assert_eq!(world.prune().deleted, told.deleted);
}

#[test]
fn a_local_clock_that_runs_ahead_lets_nothing_go() {
    let (world, _) = one_retired();
    world.shift_local_clock((LEASE_DAYS + 8) * DAY);
    let report = world.prune();
    assert_eq!(report.deleted, Tally::default());
    assert!(report.held.unwrap().contains("clock"));
    // The store's clock, taken as true, says that it is too early.
    let confirmed = world.prune_with(|options| options.confirm_clock = true);
    assert_eq!(
        (confirmed.deleted, confirmed.held),
        (Tally::default(), None)
    );
}

#[test]
fn a_store_clock_behind_what_it_once_stated_lets_nothing_go() {
    let (world, _) = one_retired();
    world.wait((LEASE_DAYS + 8) * DAY);
    let later = world.store.clock().saturating_add_seconds(2 * DAY);
    let report = world.prune_with(|options| options.remembered_store = Some(later));
    assert_eq!(report.deleted, Tally::default());
    assert!(report.held.is_some());
}

#[test]
fn while_a_number_is_missing_nothing_goes() {
    let (world, first) = one_retired();
    // Another client's only record is lost, and a later one of its tells of it.
    world.write(OTHER, "x", 3, 1000);
    let lost = world.backup(OTHER);
    world.backup(OTHER);
    let key = ObjectKey::Snapshot(lost.snapshot.stamp.writer, lost.id).to_string();
    let objects = &world.repository.objects;
    let lines: Vec<_> = objects
        .block_on(world.store.list_versions(&key).try_collect())
        .unwrap();
    let line: &dolmen_store::VersionInfo = &lines[0];
    objects
        .block_on(world.store.delete_version(&line.object_ref().unwrap()))
        .unwrap();
    world.wait((LEASE_DAYS + 8) * DAY);
    let report = world.prune();
    assert_eq!(report.deleted, Tally::default());
    assert!(report.held.unwrap().contains("missing"));
    // Unless a person takes it as lost for good.
    let confirmed = world.prune_with(|options| options.confirm_missing = true);
    assert!(confirmed.deleted.objects >= 2);
    assert!(
        world
            .list()
            .retired
            .iter()
            .all(|entry| entry.id != first.id)
    );
}

#[test]
fn a_shorter_policy_holds_for_what_comes_and_not_for_what_is() {
    let (world, _) = one_retired();
    world.sign(
        HOME,
        Fact::Policy(Policy {
            protect_seconds: 4 * 86_400,
            generation_seconds: 2 * 86_400,
            ..policy()
        }),
    );
    // By the new policy all would be over after 4 + 3 + 1 days.
    world.wait(20 * DAY);
    assert_eq!(world.prune().deleted, Tally::default());
    // One old L after its receipt the new one is in force.
    world.wait(11 * DAY);
    assert_eq!(world.prune().deleted.objects, 2);
    world.assert_whole();
}

#[test]
fn a_policy_that_more_than_doubles_a_time_waits_for_the_user() {
    let (world, _) = one_retired();
    let century = Fact::Policy(Policy {
        protect_seconds: 100 * 365 * 86_400,
        ..policy()
    });
    world.sign(HOME, century);
    let waiting: Vec<_> = lives::waiting(&world.list().facts)
        .iter()
        .map(|record| record.reference.unwrap().digest)
        .collect();
    assert_eq!(waiting.len(), 1);
    world.wait((LEASE_DAYS + 8) * DAY);
    // Confirmed, it keeps all for a century; the client of a user who did not confirm it goes on as before.
    let confirmed = waiting.into_iter().collect();
    let kept = world.prune_confirmed(&confirmed, |_| {});
    assert_eq!(kept.deleted, Tally::default());
    assert_eq!(world.prune().deleted.objects, 2);
    world.assert_whole();
}

#[test]
fn an_unfinished_backup_keeps_its_packs_for_their_lease_only() {
    let world = World::new();
    world.write(HOME, "a", 1, 1000);
    world.backup(HOME);
    let body = vec![7; 100].into();
    let id = dolmen_format::ObjectId::of(&[7; 100]);
    let key = ObjectKey::Pack(world.repository.writer(), id);
    world.repository.objects.put(&key, body).unwrap();
    world.wait(LEASE_DAYS * DAY + DELAY_SECONDS);
    assert_eq!(world.prune().locked.objects, 1);
    world.wait(1);
    assert_eq!(world.prune().deleted.objects, 1);
    world.assert_whole();
}

#[test]
fn what_is_over_and_cannot_be_read_stops_no_prune_though_it_is_locked_for_ever() {
    // A person retires one; the other came too late to count, and ends by itself.
    for relied_until in [None, Some(0)] {
        let world = World::locked();
        world.write(HOME, "old", 1, 500_000);
        let first = world.backup(HOME);
        let mut manifest = first.snapshot.manifest.clone();
        manifest.ciphertext[0] ^= 1;
        let planted = Snapshot {
            stamp: Stamp {
                instance: InstanceId([9; 16]),
                number: 1,
                ..first.snapshot.stamp
            },
            relied_until,
            manifest,
            ..first.snapshot.clone()
        };
        let repository = &world.repository;
        let signed = repository
            .keys()
            .signing()
            .sign(&repository.id(), &planted)
            .unwrap();
        let key = ObjectKey::Snapshot(planted.stamp.writer, signed.1).to_string();
        let key = StoreKey::try_from(key).unwrap();
        let lock = Lock {
            mode: LockMode::Compliance,
            until: world.store.clock().saturating_add_seconds(7300 * DAY),
        };
        let put = world
            .store
            .put(&key, signed.0.into(), Some(lock), Place::OnTop);
        repository.objects.block_on(put).unwrap();
        world.remove(HOME, "old");
        world.write(HOME, "new", 2, 400_000);
        world.backup(HOME);
        let list = world.list();
        assert_eq!(list.incomplete.len(), usize::from(relied_until.is_some()));
        let (_, gone) = list.snapshots.split_last().unwrap();
        world.retire(HOME, &gone.iter().collect::<Vec<_>>());
        let (mut deleted, mut held) = (0, None);
        for _ in 0..40 {
            world.wait(3 * DAY);
            world.renew(HOME);
            let pruned = world.prune();
            deleted += pruned.deleted.bytes;
            held = pruned.held;
        }
        assert_eq!(held, None);
        assert!(deleted > 400_000, "{deleted}");
    }
}
