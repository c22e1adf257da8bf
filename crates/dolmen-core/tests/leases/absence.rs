//! Only a retirement ends a life: what maintenance has once seen goes on being kept, whatever the store shows.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use dolmen_core::check::Observer;
use dolmen_core::prune::Tally;
use dolmen_core::recall::{self, Absence, Recall};
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList};
use dolmen_core::{Finding, audit, renew, status};
use dolmen_format::ledger::{LockStrategy, Policy};
use dolmen_state::Compared;
use dolmen_state::state::{Remembered, Sightings};
use dolmen_store::{
    Fault, FaultPlan, LockStatus, MemoryOptions, Operation, Place, Store as _, StoreKey,
    VersionInfo,
};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, World, policy};

const HOME: Client = Client("home");
const OTHER: Client = Client("other");

/// A store whose owner can break locks.
pub(crate) fn locked() -> World {
    let policy = Policy {
        lock: LockStrategy::Governance,
        ..policy()
    };
    World::with(MemoryOptions::LOCKS, &policy)
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<Finding>>);

impl Observer for Told {
    fn finding(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.clone());
    }
    fn notice(&self, _: &str) {}
}

impl Told {
    fn names(&self, subject: &str) -> bool {
        let told = self.0.lock().unwrap();
        told.iter().any(|finding| finding.subject == subject)
    }
}

fn versions(world: &World) -> Vec<VersionInfo> {
    let objects = &world.repository.objects;
    let listed = world.store.list_versions("").try_collect();
    objects.block_on(listed).unwrap()
}

/// Removes every version of a name, whatever kept it.
pub(crate) fn lose(world: &World, name: &str) {
    for line in versions(world).iter().filter(|line| line.name == name) {
        world
            .store
            .delete_bypassing(&line.object_ref().unwrap())
            .unwrap();
    }
}

fn recalled(world: &World, sightings: &Sightings) -> SnapshotList {
    SnapshotList::load_recalling(&world.repository, Recall::Whatever(sightings)).unwrap()
}

/// A renewal of a client that remembers, and what it told.
fn renew(world: &World, sightings: &mut Sightings) -> (renew::Report, Told) {
    drop(world.instance(HOME));
    let (list, told) = (recalled(world, sightings), Told::default());
    let (cancel, scratch) = (AtomicBool::new(false), world.path("scratch"));
    std::fs::create_dir_all(&scratch).unwrap();
    let options = renew::Options {
        dry_run: false,
        index_cache: None,
        scratch: &scratch,
        cancel: &cancel,
    };
    let report = renew::run(&world.repository, None, &list, sightings, &options, &told);
    let report = report.unwrap();
    (report, told)
}

/// Two snapshots that share nothing, seen by maintenance. The older one's pack is named.
fn two_seen(world: &World) -> ([SnapshotEntry; 2], String, Sightings) {
    world.write(HOME, "old", 1, 500_000);
    let old = world.backup(HOME);
    let mut lines = versions(world).into_iter();
    let pack = lines.find(|line| line.name.starts_with("packs/"));
    let pack = pack.unwrap().name;
    world.remove(HOME, "old");
    world.write(HOME, "new", 2, 300_000);
    let new = world.backup(HOME);
    let mut sightings = Sightings::default();
    let (report, _) = renew(world, &mut sightings);
    assert!(report.is_protected, "{report:?}");
    ([old, new], pack, sightings)
}

/// Days of a lock that are left.
pub(crate) fn days_left(world: &World, name: &str) -> i64 {
    let line = versions(world).into_iter().find(|line| line.name == name);
    let LockStatus::Until(lock) = line.unwrap().lock else {
        panic!("{name} is not locked");
    };
    (lock.until.seconds - world.store.clock().seconds) / DAY
}

#[test]
fn what_a_snapshot_needs_that_is_gone_goes_on_being_renewed_and_the_snapshot_is_named() {
    let world = locked();
    let ([old, _], pack, mut sightings) = two_seen(&world);
    let name = old.key().to_string();
    lose(&world, &name);
    for _ in 0..60 {
        world.wait(DAY);
        let (report, told) = renew(&world, &mut sightings);
        assert_eq!((report.failed, report.is_protected), (1, false));
        assert!(told.names(&name));
        assert!(days_left(&world, &pack) >= 30);
    }
    // A client that remembers nothing lets it lapse.
    for _ in 0..45 {
        world.wait(DAY);
        world.renew(HOME);
    }
    assert!(days_left(&world, &pack) < 0);
}

#[test]
fn a_snapshot_that_cannot_be_read_is_renewed_with_all_that_it_needs() {
    let world = locked();
    let ([old, _], pack, mut sightings) = two_seen(&world);
    let name = old.key().to_string();
    // Other bytes take its place.
    lose(&world, &name);
    world.store.put_foreign(&name, &[7; 500]).unwrap();
    for _ in 0..40 {
        world.wait(DAY);
        let (report, told) = renew(&world, &mut sightings);
        assert!(!report.is_protected);
        assert!(told.names(&name));
        assert!(days_left(&world, &pack) >= 30);
    }
    let list = recalled(&world, &sightings);
    assert_eq!(
        list.recalled.objects.get(&old.key()),
        Some(&Absence::Unread)
    );
}

#[test]
fn a_hidden_snapshot_is_read_beneath_its_marker_and_is_no_alarm() {
    let world = locked();
    let ([old, _], pack, mut sightings) = two_seen(&world);
    let key = StoreKey::try_from(old.key().to_string()).unwrap();
    let objects = &world.repository.objects;
    objects.block_on(world.store.hide(&key)).unwrap();
    for _ in 0..40 {
        world.wait(DAY);
        let (report, _) = renew(&world, &mut sightings);
        assert!(report.is_protected, "{report:?}");
        assert!(days_left(&world, &pack) >= 30);
    }
}

#[test]
fn a_store_that_withholds_every_snapshot_and_breaks_every_listing_of_them_ends_no_life() {
    let world = locked();
    let (_, pack, mut sightings) = two_seen(&world);
    for _ in 0..5 {
        world.wait(7 * DAY);
        drop(world.instance(HOME));
        // The ledger is listed first, then the snapshots.
        let first = world.layer.calls_of(Operation::ListVersions);
        let plan = [first, first + 1]
            .into_iter()
            .fold(FaultPlan::none(), |plan, at| {
                plan.at_call_of(Operation::ListVersions, at, Fault::Unavailable)
            });
        world.layer.set_plan(plan);
        let list = recalled(&world, &sightings);
        world.layer.set_plan(FaultPlan::none());
        assert_eq!(list.snapshots.len(), 2);
        assert_eq!(list.recalled.broke_off.len(), 2);
        let report = world.renew_seeing(&list, &mut sightings);
        assert!(!report.is_protected);
        assert!(days_left(&world, &pack) >= 30);
    }
}

#[test]
fn a_record_that_is_gone_goes_on_saying_what_it_said() {
    let world = locked();
    let ([old, _], pack, mut sightings) = two_seen(&world);
    world.retire(HOME, &[&old]);
    assert_eq!(world.undo(HOME, &old), []);
    let (report, _) = renew(&world, &mut sightings);
    assert!(report.is_protected);
    // Without the undo, the retirement would count.
    let records: Vec<_> = versions(&world)
        .into_iter()
        .filter(|line| line.name.starts_with("ledger/"))
        .collect();
    for line in &records {
        lose(&world, &line.name);
    }
    world.wait(20 * DAY);
    let (report, told) = renew(&world, &mut sightings);
    assert!(!report.is_protected);
    assert!(records.iter().all(|line| told.names(&line.name)));
    assert!(days_left(&world, &pack) >= 30);
}

#[test]
fn prune_lets_nothing_go_while_a_snapshot_that_was_seen_is_gone() {
    let world = World::new();
    let ([old, new], pack, mut sightings) = two_seen(&world);
    // The last one of its machine: no number is missing, and no head names it.
    lose(&world, &new.key().to_string());
    world.retire(OTHER, &[&old]);
    world.wait(60 * DAY);
    let report = world.prune_seeing(&sightings, |_| {});
    assert_eq!(report.deleted, Tally::default());
    assert!(report.held.is_some());
    // A client that remembers nothing takes what the other one needs for garbage.
    assert_ne!(
        world.prune_with(|options| options.dry_run = true).deleted,
        Tally::default()
    );
    // A person may say that it is lost; it is forgotten then.
    let mut remembered = Remembered::default();
    recall::give_up(&world.repository, &mut sightings, &mut remembered).unwrap();
    assert!(remembered.given_up.has(&new.id));
    assert!(sightings.get(&new.key().to_string()).is_none());
    let report = world.prune_seeing(&sightings, |_| {});
    assert_ne!(report.deleted, Tally::default());
    assert!(!versions(&world).iter().any(|line| line.name == pack));
    let (report, told) = renew(&world, &mut sightings);
    assert!(!told.names(&new.key().to_string()), "{report:?}");
}

#[test]
fn what_is_listed_and_cannot_be_read_is_not_given_up() {
    let world = World::new();
    let ([old, new], _, mut sightings) = two_seen(&world);
    let name = new.key().to_string();
    lose(&world, &name);
    world.store.put_foreign(&name, &[7; 500]).unwrap();
    world.retire(HOME, &[&old]);
    world.wait(60 * DAY);
    let before = versions(&world).len();
    world.prune_seeing(&sightings, |options| options.confirm_missing = true);
    let mut remembered = Remembered::default();
    recall::give_up(&world.repository, &mut sightings, &mut remembered).unwrap();
    assert!(!remembered.given_up.has(&new.id));
    assert!(versions(&world).len() < before);
    // What it needs is all there: its own bytes, put back, make it whole.
    let body = sightings.get(&name).unwrap().body.clone();
    lose(&world, &name);
    let key = StoreKey::try_from(name).unwrap();
    let put = world.store.put(&key, body.into(), None, Place::IfAbsent);
    world.repository.objects.block_on(put).unwrap();
    world.assert_whole();
}

#[test]
fn a_retirement_ends_also_what_is_gone_and_then_it_is_forgotten() {
    let world = locked();
    let ([old, _], _, mut sightings) = two_seen(&world);
    lose(&world, &old.key().to_string());
    let list = recalled(&world, &sightings);
    let gone = list.snapshots.iter().find(|entry| entry.id == old.id);
    world.retire(HOME, &[gone.unwrap()]);
    let (report, _) = renew(&world, &mut sightings);
    assert!(report.is_protected, "{report:?}");
    assert_eq!(sightings.get(&old.key().to_string()), None);
}

#[test]
fn what_is_retired_and_pruned_by_another_machine_is_no_alarm() {
    let world = locked();
    let ([old, _], pack, mut sightings) = two_seen(&world);
    world.retire(HOME, &[&old]);
    for _ in 0..60 {
        world.wait(DAY);
        world.renew(HOME);
        world.prune();
    }
    assert!(!versions(&world).iter().any(|line| line.name == pack));
    // Neither prune nor status waits for what it needed.
    assert_eq!(world.prune_seeing(&sightings, |_| {}).held, None);
    assert!(alarms(&world, &sightings).is_empty());
    let (report, _) = renew(&world, &mut sightings);
    assert!(report.is_protected, "{report:?}");
    assert_eq!(sightings.get(&old.key().to_string()), None);
}

/// What a status warns of that falls short.
fn alarms(world: &World, sightings: &Sightings) -> Vec<String> {
    let (cancel, scratch) = (AtomicBool::new(false), world.path("scratch"));
    let options = audit::Options {
        depth: audit::Depth::Listing,
        remembered: Remembered::nothing(),
        compared: &Compared::default(),
        index_cache: None,
        scratch: &scratch,
        cancel: &cancel,
    };
    let own = status::Own {
        sightings: sightings.clone(),
        ..status::Own::default()
    };
    let status = status::run(&world.repository, &options, own).unwrap();
    let short = status.warnings.into_iter().filter(|one| one.falls_short);
    short.map(|one| one.text).collect()
}

#[test]
fn a_status_names_what_was_seen_and_is_gone() {
    let world = locked();
    let ([_, new], _, sightings) = two_seen(&world);
    assert!(alarms(&world, &sightings).is_empty());
    let name = new.key().to_string();
    lose(&world, &name);
    let told = alarms(&world, &sightings);
    assert!(told.iter().any(|text| text.contains(&name)), "{told:?}");
    assert!(alarms(&world, &Sightings::default()).is_empty());
}

#[test]
fn keeping_the_record_costs_nothing_for_what_is_in_it() {
    let world = locked();
    let (_, _, mut sightings) = two_seen(&world);
    let list = recalled(&world, &sightings);
    let mut known = sightings.clone();
    let first = world.count(|| world.renew_seeing(&list, &mut Sightings::default()));
    let second = world.count(|| world.renew_seeing(&list, &mut known));
    assert_eq!(known, sightings);
    // Two snapshots: this client keeps no copies.
    let gets =
        |counts: &std::collections::BTreeMap<Operation, u64>| counts.get(&Operation::Get).copied();
    assert_eq!(gets(&first), gets(&second).map(|gets| gets + 2));
    let (report, _) = renew(&world, &mut sightings);
    assert!(report.is_protected);
}
