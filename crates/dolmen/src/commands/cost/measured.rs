//! What a repository tells of itself.

use dolmen_core::lease::Terms;
use dolmen_core::lives;
use dolmen_core::prune::Tally;
use dolmen_core::snapshots::SnapshotEntry;

use crate::commands::{App, status};
use crate::cost::{Change, Size};
use crate::exit::Outcome;
use crate::open::{Duty, open};
use crate::render;
use crate::units::DAY;

/// How a repository is.
#[derive(Debug)]
pub(super) struct Measured {
    /// What its live snapshots need.
    pub(super) size: Size,
    /// How much was added since its first live snapshot, as long as that is a day ago at least.
    pub(super) change: Change,
    has_history: bool,
    /// By its policy.
    pub(super) terms: Option<Terms>,
    /// What nothing live needs and is there still.
    leaving: Tally,
    address: String,
}

/// Measures the repository that flags and environment name. Cost: what `status` costs, and a listing of the snapshots.
pub(super) fn measure(app: &App) -> Outcome<Measured> {
    app.config.address().map_err(|failure| {
        failure.hint("or state how large it is to be, as in: dolmen cost --size 10TB --change 1%/d")
    })?;
    let opened = open(app, Duty::Look)?;
    let tried = format!("cannot measure {}", opened.address);
    let space = status::look(app, &opened, None, &tried)?.space;
    let list = opened.load_snapshots(app)?;
    let added = added(&list.snapshots);
    Ok(Measured {
        size: Size {
            objects: space.live.objects,
            bytes: space.live.bytes,
        },
        change: added.unwrap_or_else(|| Change::measured(0, DAY)),
        has_history: added.is_some(),
        terms: lives::terms(&list.facts, app.environment.clock.now()),
        leaving: Tally {
            objects: space.retired.objects.saturating_add(space.locked.objects),
            bytes: space.retired.bytes.saturating_add(space.locked.bytes),
        },
        address: opened.address.clone(),
    })
}

/// What was added after the first snapshot that lives, by the store's times.
fn added(snapshots: &[SnapshotEntry]) -> Option<Change> {
    let mut by_time: Vec<_> = snapshots.iter().collect();
    by_time.sort_by_key(|entry| entry.received);
    let (first, later) = by_time.split_first()?;
    let last = later.last()?;
    let span = last.received.seconds.saturating_sub(first.received.seconds);
    let span_seconds = u64::try_from(span).ok().filter(|span| *span >= DAY)?;
    let bytes = later
        .iter()
        .map(|entry| entry.snapshot.counts.added_bytes)
        .fold(0, u64::saturating_add);
    Some(Change::measured(bytes, span_seconds))
}

impl Measured {
    /// Says what the bill stands on.
    pub(super) fn tell(&self, app: &App, is_change_given: bool) {
        app.output.notice(format!(
            "{}: {} live, {} leaving",
            self.address,
            render::bytes(self.size.bytes),
            render::bytes(self.leaving.bytes)
        ));
        if !is_change_given && !self.has_history {
            app.output.notice(
                "its snapshots do not span a day yet, so that nothing is known of how much changes: name it with --change",
            );
        }
    }
}
