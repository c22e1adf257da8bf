//! Compaction frees space and changes nothing about what comes back.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use dolmen_core::Error;
use dolmen_core::compact::plan::{MaxUnused, Prices};
use dolmen_core::compact::{self, Report};
use dolmen_core::ledger::Ledger;
use dolmen_core::objects::{Listed, Source};
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList};
use dolmen_format::ledger::Fact;
use dolmen_state::Compared;
use dolmen_store::fault::Effect;
use dolmen_store::{Fault, FaultLayer, FaultPlan, Operation};

use super::world::{Client, DAY, DELAY_SECONDS, Deaf, LEASE_DAYS, World};

const A: Client = Client("a");
const M: Client = Client("maintenance");

impl World {
    fn compact_with(
        &self,
        compared: &mut Compared,
        change: impl FnOnce(&mut compact::Options<'_>),
    ) -> Result<Report, Error> {
        self.compact_under(compared, |_| FaultPlan::none(), change)
    }

    /// A run that crashes at a call.
    fn compact_until(&self, compared: &mut Compared, call: u64) -> Result<Report, Error> {
        let plan = |layer: &FaultLayer| {
            let call = layer.calls().saturating_add(call);
            FaultPlan::none().at(call, Fault::Crash(Effect::Done))
        };
        self.compact_under(compared, plan, |_| {})
    }

    /// A run with faults.
    fn compact_under(
        &self,
        compared: &mut Compared,
        plan: impl FnOnce(&FaultLayer) -> FaultPlan,
        change: impl FnOnce(&mut compact::Options<'_>),
    ) -> Result<Report, Error> {
        let cancel = AtomicBool::new(false);
        let scratch = self.path("");
        let mut options = compact::Options {
            dry_run: false,
            prices: Prices::OWN,
            max_unused: MaxUnused::Share(50),
            repack_bytes_max: u64::MAX,
            compare_bytes_max: u64::MAX,
            confirm_clock: false,
            remembered_store: None,
            index_cache: None,
            scratch: &scratch,
            cancel: &cancel,
        };
        change(&mut options);
        let mut list = SnapshotList::load(&self.repository, None)?;
        list.facts.compared.clone_from(compared);
        let mut instance = self.instance(M);
        self.layer.set_plan(plan(&self.layer));
        let report = compact::run(&self.repository, &mut instance, &mut list, &options, &Deaf);
        self.layer.set_plan(FaultPlan::none());
        compared.clone_from(&list.facts.compared);
        report
    }

    pub(super) fn compact(&self, compared: &mut Compared) -> Report {
        self.compact_with(compared, |_| {}).unwrap()
    }

    /// Bytes of packs.
    pub(super) fn packed_bytes(&self) -> u64 {
        let mut bytes = 0;
        let objects = &self.repository.objects;
        objects
            .list("packs/", |object| {
                bytes += object.copies.iter().map(|copy| copy.bytes).sum::<u64>();
            })
            .unwrap();
        bytes
    }

    pub(super) fn outlive(&self) {
        self.wait(LEASE_DAYS * DAY + DELAY_SECONDS + 1);
    }
}

/// A snapshot of which half of every pack is needed by nothing any more, and whose lease has lapsed.
pub(super) fn half_dead(world: &World) -> SnapshotEntry {
    for number in 0..6 {
        world.write(A, &format!("file {number}"), number, 700_000);
    }
    let first = world.backup(A);
    for number in 0..3 {
        world.remove(A, &format!("file {}", number * 2));
    }
    let second = world.backup(A);
    world.retire(A, &[&first]);
    world.outlive();
    second
}

/// The packs into which frames were moved, by the ledger.
fn moved_into(world: &World) -> BTreeSet<String> {
    let ledger = Ledger::load(&world.repository, Source::Store).unwrap();
    let facts = ledger.records.values().map(|entry| &entry.record.fact);
    let packs = facts.filter_map(|fact| match fact {
        Fact::Moves { pack, .. } => Some(pack.pack.to_string()),
        _ => None,
    });
    packs.collect()
}

fn restored(world: &World) {
    world.assert_whole();
}

#[test]
fn dead_bytes_go_in_one_run_after_the_lease() {
    let world = World::new();
    half_dead(&world);
    let before = world.packed_bytes();
    let mut compared = Compared::default();
    let report = world.compact(&mut compared);
    assert!(report.packs_read >= 1 && report.packs_written >= 1);
    assert_eq!((report.held.as_deref(), report.compared), (None, 0));
    assert!(report.unneeded_bytes > 2_000_000);
    let pruned = world.prune_knowing(&compared);
    assert!(pruned.deleted.bytes >= 4_000_000);
    let after = world.packed_bytes();
    assert!(after * 100 < before * 55, "{after} of {before}");
    restored(&world);
    // Nothing new, nothing to do; nothing was learnt by reading again.
    world.outlive();
    assert_eq!(world.compact(&mut compared).packs_read, 0);
    assert_eq!(world.prune_knowing(&compared).deleted.bytes, 0);
    restored(&world);
    // The next backup builds upon what was moved.
    world.write(A, "new", 77, 1000);
    world.backup(A);
    assert!(world.packed_bytes() < after + 100_000);
    restored(&world);
}

#[test]
fn what_is_only_leased_is_not_copied() {
    let world = World::new();
    for number in 0..4 {
        world.write(A, &format!("file {number}"), number, 700_000);
    }
    let first = world.backup(A);
    world.remove(A, "file 0");
    world.backup(A);
    world.retire(A, &[&first]);
    assert_eq!(world.compact(&mut Compared::default()).packs_read, 0);
    assert_eq!(world.undo(A, &first), []);
    restored(&world);
}

#[test]
fn a_dry_run_writes_nothing_and_a_budget_is_kept() {
    let world = World::new();
    half_dead(&world);
    let mut compared = Compared::default();
    let before = world.store.clock();
    let mut planned = Report::default();
    let counts = world.count(|| {
        let report = world.compact_with(&mut compared, |options| options.dry_run = true);
        planned = report.unwrap();
    });
    assert!(planned.packs_read >= 1);
    assert_eq!(counts.get(&Operation::Put), None);
    assert_eq!(
        (&compared, world.store.clock()),
        (&Compared::default(), before)
    );
    let none = world.compact_with(&mut compared, |options| options.repack_bytes_max = 0);
    assert_eq!(none.unwrap().packs_read, 0);
    let unlimited = world.compact_with(&mut compared, |options| {
        options.max_unused = MaxUnused::Unlimited;
    });
    assert_eq!(unlimited.unwrap().packs_read, 0);
    // It told what a run does.
    let done = world.compact(&mut compared);
    let read = |report: &Report| (report.packs_read, report.bytes_read, report.frames);
    assert_eq!(read(&planned), read(&done));
    assert_eq!(planned.packs_written, done.packs_written);
    assert!(planned.bytes_written >= done.bytes_written);
    assert!(planned.bytes_written < planned.bytes_read / 2 + 200_000);
}

#[test]
fn small_packs_are_merged_nodes_and_data_apart_and_again_when_they_have_grown() {
    let world = World::new();
    let mut compared = Compared::default();
    for round in 0..12_u64 {
        world.write(A, &format!("file {round}"), round, 20_000);
        world.backup(A);
        world.compact(&mut compared);
        // Origins of this round are under their lease; those of the rounds before are not.
        world.outlive();
        world.prune_knowing(&compared);
        restored(&world);
    }
    let mut packs = 0;
    let objects = &world.repository.objects;
    objects.list("packs/", |_| packs += 1).unwrap();
    assert!(packs <= 6, "{packs}");
}

#[test]
fn what_was_copied_before_a_crash_is_known_after_it() {
    let world = World::new();
    // More than one pack takes.
    for round in 0..5_u64 {
        world.write(A, &format!("file {round}"), round, 7_000_000);
        world.backup(A);
    }
    let mut compared = Compared::default();
    // After a pack and its record.
    let second_pack = |layer: &FaultLayer| {
        let put = layer.calls_of(Operation::Put).saturating_add(2);
        FaultPlan::none().at_call_of(Operation::Put, put, Fault::Crash(Effect::Done))
    };
    let outcome = world.compact_under(&mut compared, second_pack, |_| {});
    assert!(outcome.is_err(), "{outcome:?}");
    assert_eq!(compared.equal.len(), 5, "the record, with each origin");
    assert_eq!(world.compact(&mut compared).compared, 0);
    restored(&world);
}

#[test]
fn two_maintainers_agree_on_what_stays() {
    let world = World::new();
    half_dead(&world);
    let (mut one, mut other) = (Compared::default(), Compared::default());
    world.compact(&mut one);
    world.compact(&mut other);
    world.outlive();
    // Each learns what the other did.
    world.compact(&mut one);
    world.compact(&mut other);
    world.prune_knowing(&one);
    let left = world.packed_bytes();
    world.prune_knowing(&other);
    assert_eq!(world.packed_bytes(), left);
    restored(&world);
    assert!(left < 3_000_000, "{left}");
}

#[test]
fn a_crash_at_any_call_leaves_everything_whole() {
    for call in 0.. {
        let world = World::new();
        half_dead(&world);
        let mut compared = Compared::default();
        let outcome = world.compact_until(&mut compared, call);
        world.prune_knowing(&compared);
        restored(&world);
        world.compact(&mut compared);
        world.outlive();
        world.compact(&mut compared);
        world.prune_knowing(&compared);
        restored(&world);
        assert!(world.packed_bytes() < 3_000_000, "call {call}");
        if outcome.is_ok() {
            assert!(call > 8);
            return;
        }
    }
}

#[test]
fn what_a_crash_left_is_taken_over_by_the_next_run() {
    for put in 0.. {
        let world = World::new();
        half_dead(&world);
        let before = world.names("packs/");
        let plan = |layer: &FaultLayer| {
            let call = layer.calls_of(Operation::Put).saturating_add(put);
            let fault = Fault::Crash(Effect::Done);
            FaultPlan::none().at_call_of(Operation::Put, call, fault)
        };
        let mut compared = Compared::default();
        let outcome = world.compact_under(&mut compared, plan, |_| {});
        if outcome.is_ok() {
            assert!(put >= 2);
            return;
        }
        world.compact(&mut compared);
        // Each pack that came is one into which a record says that frames were moved.
        let mut came = world.names("packs/");
        came.retain(|name| !before.contains(name));
        let moved = moved_into(&world);
        let is_named = |name: &String| moved.iter().any(|pack| name.ends_with(pack));
        assert!(came.iter().all(is_named), "put {put}: {came:?} {moved:?}");
        assert_eq!(came.len(), moved.len(), "put {put}");
        restored(&world);
    }
}

#[test]
fn on_a_store_with_locks_an_old_half_dead_pack_is_repacked_and_its_origin_lapses() {
    let world = World::locked();
    for number in 0..6 {
        world.write(A, &format!("file {number}"), number, 700_000);
    }
    let first = world.backup(A);
    for number in 0..5 {
        world.remove(A, &format!("file {number}"));
    }
    world.backup(A);
    world.retire(A, &[&first]);
    let mut compared = Compared::default();
    let mut repacked_on = None;
    let before = world.packed_bytes();
    for day in 0..60 {
        world.wait(5 * DAY);
        let mut list = world.list();
        list.facts.compared.clone_from(&compared);
        drop(world.instance(M));
        let renewed = world.renew_listed(&list);
        assert!(renewed.is_protected, "{renewed:?}");
        let report = world.compact(&mut compared);
        if report.packs_read > 0 && repacked_on.is_none() {
            repacked_on = Some(day * 5);
        }
        world.prune_knowing(&compared);
        restored(&world);
    }
    // Not at once, since its lock keeps it anyway.
    assert!(repacked_on.is_some_and(|day| day > 30), "{repacked_on:?}");
    assert!(world.packed_bytes() * 4 < before);
    world.write(A, "new", 77, 1000);
    world.backup(A);
    restored(&world);
}

#[test]
fn a_damaged_source_stays_and_stops_no_other() {
    let world = World::new();
    half_dead(&world);
    let (mut packs, mut compared) = (Vec::new(), Compared::default());
    let objects = &world.repository.objects;
    let take = |object: Listed| packs.push((object.copies[0].bytes, object.key));
    objects.list("packs/", take).unwrap();
    packs.sort();
    let (bytes, key) = packs.pop().unwrap();
    let junk = vec![7; usize::try_from(bytes).unwrap()];
    world.store.put_foreign(&key.to_string(), &junk).unwrap();
    // The store keeps no versions: the pack is lost.
    let report = world.compact(&mut compared);
    assert_eq!((report.held, report.packs_written), (None, 0));
    assert!(compared.equal.is_empty());
}
