//! Renewal of much: paced, and carried on where it stopped.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dolmen_core::{audit, status};
use dolmen_format::ledger::{LockStrategy, Policy};
use dolmen_state::Compared;
use dolmen_state::state::Remembered;
use dolmen_store::fault::Effect;
use dolmen_store::record::{Outcome, Request};
use dolmen_store::{Fault, FaultPlan, MemoryModel, MemoryOptions, Operation, Pace, Ticker};

use super::world::{Client, DAY, World, policy};

pub(crate) const HOME: Client = Client("home");

/// Waits by being set to what is waited for.
#[derive(Debug, Default)]
struct Leaping(Mutex<Duration>);

#[async_trait::async_trait]
impl Ticker for Leaping {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn wait_until(&self, at: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = at.max(*now);
    }
}

/// A bucket like S3's with some snapshots, of which much is due.
pub(crate) fn with_much_due() -> World {
    let policy = Policy {
        lock: LockStrategy::Compliance,
        ..policy()
    };
    let world = World::with(MemoryModel::s3(MemoryOptions::LOCKS), &policy);
    for seed in 0..6 {
        world.write(HOME, &format!("file {seed}"), seed, 50_000);
        world.backup(HOME);
    }
    world.wait(8 * DAY);
    world
}

/// What was extended, as far as the store said so.
fn extended(requests: &[Request]) -> BTreeSet<&str> {
    let done = requests.iter().filter(|request| {
        request.operation == Operation::Extend && request.outcome == Outcome::Done
    });
    done.filter_map(|request| request.key.as_deref()).collect()
}

#[test]
fn a_renewal_that_broke_off_is_carried_on_and_does_only_what_is_left() {
    let world = with_much_due();
    let fifth = world.layer.calls_of(Operation::Extend) + 4;
    let crash = Fault::Crash(Effect::Skipped);
    let plan = FaultPlan::none().at_call_of(Operation::Extend, fifth, crash);
    let list = world.list();
    world.layer.set_plan(plan);
    world.record.take_requests();
    let first = world.renew_listed(&list);
    let before = world.record.take_requests();
    assert!(!first.is_protected && first.renewed > 0, "{first:?}");

    world.layer.set_plan(FaultPlan::none());
    let second = world.renew_listed(&list);
    let after = world.record.take_requests();
    let (before, after) = (extended(&before), extended(&after));
    assert!(second.is_protected, "{second:?}");
    assert!(!after.is_empty());
    assert_eq!(before.intersection(&after).count(), 0);
    let third = world.renew_listed(&list);
    assert_eq!((third.renewed, third.calls), (0, 0), "{third:?}");
    assert_eq!(third.examined, second.examined);
}

#[test]
fn every_request_of_a_paced_renewal_waits_for_its_place() {
    let mut world = with_much_due();
    let ticker = Arc::new(Leaping::default());
    let clock = Arc::clone(&ticker) as Arc<dyn Ticker>;
    let pace = Pace::new(clock, NonZeroU32::new(50).unwrap());
    world.repository.objects.keep_pace(Arc::new(pace));
    let counts = world.count(|| assert!(world.renew(HOME).renewed > 0));
    let requests: u64 = counts.values().sum();
    // The first one waits for nothing.
    let waited = Duration::from_millis(20) * u32::try_from(requests - 1).unwrap();
    assert_eq!(ticker.now(), waited, "{counts:?}");
}

#[test]
fn a_horizon_below_the_protection_period_falls_short_until_it_is_renewed() {
    let world = with_much_due();
    let look = || {
        let cancel = AtomicBool::new(false);
        let scratch = world.path(".");
        let options = audit::Options {
            depth: audit::Depth::Listing,
            remembered: Remembered::nothing(),
            compared: &Compared::default(),
            index_cache: None,
            scratch: &scratch,
            cancel: &cancel,
        };
        status::run(&world.repository, &options, status::Own::default()).unwrap()
    };
    let falls_short = |status: &status::Status| {
        let mut warnings = status.warnings.iter();
        warnings.any(|warning| warning.falls_short)
    };
    let protection = || world.store.clock().saturating_add_seconds(30 * DAY);
    world.renew(HOME);
    let renewed = look();
    assert!(renewed.protected_until.unwrap() >= protection());
    assert!(!falls_short(&renewed), "{:?}", renewed.warnings);
    // A whole generation without maintenance, and the margin.
    world.wait(11 * DAY);
    let late = look();
    assert_eq!(
        late.protected_until, renewed.protected_until,
        "as the store states it"
    );
    assert!(late.protected_until.unwrap() < protection());
    assert!(falls_short(&late));
    world.renew(HOME);
    assert!(!falls_short(&look()));
}
