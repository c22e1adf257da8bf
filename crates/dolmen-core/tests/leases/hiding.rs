//! Stores without locks that keep what is hidden for a while: what lives is in view, and what nothing needs is hidden.

use bytes::Bytes;
use dolmen_core::prune::Tally;
use dolmen_store::fault::Effect;
use dolmen_store::memory::LifecycleRule;
use dolmen_store::{
    Credential, Fault, FaultPlan, Operation, Place, Store as _, StoreKey, VersionInfo, VersionKind,
};
use futures_util::TryStreamExt as _;

use super::world::{Client, DAY, World};

const HOME: Client = Client("home");
/// D: more than L + M.
const KEPT_DAYS: u32 = 40;

fn world(credential: Credential) -> World {
    let world = World::hiding(credential);
    let rule = LifecycleRule {
        delete_noncurrent_days: Some(KEPT_DAYS),
        ..LifecycleRule::default()
    };
    world.store.set_lifecycle(vec![rule]).unwrap();
    world
}

fn versions(world: &World) -> Vec<VersionInfo> {
    let objects = &world.repository.objects;
    let listed = world.store.list_versions("").try_collect();
    objects.block_on(listed).unwrap()
}

/// Names with bytes beneath them that the plain view does not show.
fn hidden(world: &World) -> Vec<String> {
    let lines = versions(world);
    let marked = |name: &str| {
        let mut lines = lines.iter();
        lines.any(|line| line.name == name && line.is_current && line.kind == VersionKind::Marker)
    };
    let mut names: Vec<_> = lines
        .iter()
        .filter(|line| line.kind == VersionKind::Data && marked(&line.name))
        .map(|line| line.name.clone())
        .collect();
    names.dedup();
    names
}

/// An intruder's call on every key.
fn on_every_key(world: &World, call: &impl AsyncFn(&StoreKey)) {
    let mut names: Vec<_> = versions(world).into_iter().map(|line| line.name).collect();
    names.dedup();
    for name in names {
        let key = StoreKey::try_from(name.as_str()).unwrap();
        world.repository.objects.block_on(call(&key));
    }
}

fn hide_everything(world: &World) {
    on_every_key(world, &async |key| {
        world.store.hide(key).await.unwrap();
    });
}

fn cover_everything(world: &World) {
    on_every_key(world, &async |key| {
        let junk = Bytes::from_static(b"junk");
        world
            .store
            .put(key, junk, None, Place::OnTop)
            .await
            .unwrap();
    });
}

#[test]
fn what_nothing_needs_is_hidden_once_and_goes_by_the_buckets_rules() {
    let world = world(Credential::client());
    world.write(HOME, "old", 1, 500_000);
    let first = world.backup(HOME);
    let packs: Vec<_> = versions(&world)
        .into_iter()
        .filter(|line| line.name.starts_with("packs/"))
        .collect();
    world.remove(HOME, "old");
    world.write(HOME, "new", 2, 400_000);
    world.backup(HOME);
    world.retire(HOME, &[&first]);
    let mut hides = 0;
    let mut hidden_since = None;
    for day in 0..120 {
        world.wait(DAY);
        assert!(world.renew(HOME).is_protected, "day {day}");
        let counts = world.count(|| world.prune());
        assert_eq!(counts.get(&Operation::DeleteVersion), None, "day {day}");
        hides += counts.get(&Operation::Hide).copied().unwrap_or(0);
        let lines = versions(&world);
        let is_there = |pack: &VersionInfo| lines.iter().any(|line| line.version == pack.version);
        if !hidden(&world).is_empty() {
            hidden_since.get_or_insert(day);
        }
        let all_there = packs.iter().all(is_there);
        let kept_until = hidden_since.map(|since| since + i64::from(KEPT_DAYS));
        assert!(
            all_there || kept_until.is_some_and(|until| day >= until),
            "day {day}"
        );
        assert!(day >= 33 || hidden_since.is_none(), "day {day}");
    }
    // Its snapshot and its pack, each once; later snapshots list its segment.
    assert_eq!(hides, 2);
    assert_eq!(hidden(&world), Vec::<String>::new());
    let left = versions(&world);
    let is_gone = |pack: &VersionInfo| !left.iter().any(|line| line.version == pack.version);
    assert!(packs.iter().all(is_gone));
    assert_eq!(world.prune().deleted, Tally::default());
    world.assert_whole();
}

#[test]
fn a_pruned_snapshot_is_no_oddity() {
    let world = world(Credential::client());
    world.write(HOME, "a", 1, 500_000);
    let first = world.backup(HOME);
    world.write(HOME, "a", 2, 400_000);
    world.backup(HOME);
    world.retire(HOME, &[&first]);
    world.wait(50 * DAY);
    assert!(world.prune().deleted.objects > 0);
    assert_eq!(world.list().retired.len(), 1);
    assert_eq!(world.repository.objects.oddities().hidden.len(), 0);
}

#[test]
fn a_hidden_live_object_is_an_alarm_and_shown_again_by_who_may_delete_markers() {
    let world = world(Credential::pruner());
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    hide_everything(&world);
    // Hidden twice is hidden.
    hide_everything(&world);
    let counts = world.count(|| {
        let report = world.renew(HOME);
        assert!(!report.is_protected);
        assert_eq!((report.renewed, report.failed), (report.examined, 0));
    });
    // The witness alone: it comes before anything tells whether markers may be deleted.
    assert_eq!(counts.get(&Operation::Put), Some(&1));
    assert_eq!(hidden(&world), Vec::<String>::new());
    assert!(world.renew(HOME).is_protected);
    world.wait(100 * DAY);
    world.assert_whole();
}

#[test]
fn who_may_not_delete_markers_puts_the_bytes_on_top() {
    let world = world(Credential::client());
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    let received = world.list().snapshots[0].received;
    // Put by then for the first time, it would not count.
    world.wait(37 * DAY);
    hide_everything(&world);
    let report = world.renew(HOME);
    assert!(!report.is_protected);
    assert_eq!((report.renewed, report.failed), (report.examined, 0));
    assert_eq!(hidden(&world), Vec::<String>::new());
    let counts = world.count(|| assert!(world.renew(HOME).is_protected));
    assert_eq!(counts.get(&Operation::Put), None);
    world.wait(100 * DAY);
    assert_eq!(world.list().snapshots[0].received, received);
    world.assert_whole();
}

#[test]
fn what_is_covered_is_put_on_top_before_the_bucket_deletes_it() {
    for hides_too in [false, true] {
        let world = world(Credential::client());
        world.write(HOME, "a", 1, 500_000);
        world.backup(HOME);
        cover_everything(&world);
        if hides_too {
            hide_everything(&world);
        }
        let report = world.renew(HOME);
        assert!(!report.is_protected);
        assert_eq!((report.renewed, report.failed), (report.examined, 0));
        assert!(world.renew(HOME).is_protected);
        world.wait(100 * DAY);
        assert!(world.renew(HOME).is_protected);
        world.assert_whole();
    }
}

#[test]
fn a_backup_builds_upon_nothing_that_is_hidden() {
    let world = world(Credential::client());
    world.write(HOME, "a", 1, 500_000);
    world.backup(HOME);
    on_every_key(&world, &async |key| {
        if key.as_str().starts_with("packs/") {
            world.store.hide(key).await.unwrap();
        }
    });
    let second = world.backup(HOME);
    assert!(second.readable().unwrap().summary.data_added_packed >= 500_000);
    assert!(world.renew(HOME).failed == 0);
    let third = world.backup(HOME);
    assert_eq!(third.readable().unwrap().summary.data_added_packed, 0);
}

#[test]
fn what_was_shown_again_goes_on_counting_though_its_writers_clock_was_ahead() {
    for ahead in [60, 2 * DAY] {
        let world = world(Credential::everything());
        world.write(HOME, "a", 1, 100_000);
        // Longer than the backup takes, and longer than clocks may be apart for anything to be let go.
        world.shift_local_clock(ahead);
        world.backup(HOME);
        cover_everything(&world);
        assert!(world.renew(HOME).renewed > 0);
        // The bucket's rules delete what was covered, and with it the time at which the store received it.
        for _ in 0..20 {
            world.wait(5 * DAY);
            world.renew(HOME);
        }
        let list = world.list();
        assert_eq!((list.snapshots.len(), list.incomplete.len()), (1, 0));
        world.assert_whole();
    }
}

#[test]
fn a_backup_does_not_carry_on_with_what_is_hidden() {
    let world = world(Credential::client());
    world.write(HOME, "a", 1, 500_000);
    let put = world.layer.calls_of(Operation::Put);
    // The pack is there, and nothing that names it.
    world.layer.set_plan(FaultPlan::none().at_call_of(
        Operation::Put,
        put + 1,
        Fault::Crash(Effect::Skipped),
    ));
    world.backup_after(HOME, || {}).unwrap_err();
    world.layer.set_plan(FaultPlan::none());
    hide_everything(&world);
    assert_eq!(world.renew(HOME).failed, 0);
    let entry = world.backup(HOME);
    assert!(entry.readable().unwrap().summary.data_added_packed >= 500_000);
    assert!(hidden(&world).iter().any(|name| name.starts_with("packs/")));
}
