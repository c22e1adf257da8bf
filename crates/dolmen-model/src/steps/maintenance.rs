//! Maintenance and people: renew, retire, undo, prune.

use super::{Action, extend_packs, lives, maintenance_moment, members};
use crate::config::{Config, Mutation, Regime};
use crate::state::{Broken, Listing, Pack, Packs, Pair, Snapshot, State, Verdict, Which};

/// Something that prune deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// The watched snapshot's object.
    Snapshot,
    /// A pack.
    Pack(Which),
}

pub(super) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    if config.has_locks() {
        actions.push(Action::Renew);
    }
    actions.push(Action::List);
    let Some(listing) = state.prune else {
        return;
    };
    let things = [
        Thing::Snapshot,
        Thing::Pack(Which::A),
        Thing::Pack(Which::B),
    ];
    let may_go = |thing: &Thing| may_go(config, state, listing, *thing);
    actions.extend(things.into_iter().filter(may_go).map(Action::Delete));
}

/// Whether a plan lets something be deleted now. Whether its lease is over is asked again when it goes, so that the model
/// allows all that DESIGN does; the code asks at the time of the listing, and on stores with locks waits for L too.
fn may_go(config: &Config, state: &State, listing: Listing, thing: Thing) -> bool {
    match thing {
        Thing::Snapshot => {
            let is_over = |one: Snapshot| config.is_over(state.now, one.lock, one.retired);
            listing.snapshot && state.watched.is_some_and(is_over)
        }
        Thing::Pack(which) => {
            let since = listing.since.get(which);
            let is_over = |pack: Pack| config.is_over(state.now, pack.lock, since);
            // The snapshot first, then what it needed.
            let waits = state.watched.is_some_and(|snapshot| {
                !lives(config, snapshot) && snapshot.needs & which.bit() != 0
            });
            let is_planned = listing.packs & which.bit() != 0 && !waits;
            is_planned && state.packs.get(which).is_some_and(is_over)
        }
    }
}

/// Carries out all of prune's plan.
pub(crate) fn apply(config: &Config, state: &mut State) {
    for thing in [
        Thing::Snapshot,
        Thing::Pack(Which::A),
        Thing::Pack(Which::B),
    ] {
        if let Some(listing) = state.prune
            && may_go(config, state, listing, thing)
        {
            delete(config, state, thing);
        }
    }
}

/// What lives needs these.
fn needed_by_live(config: &Config, state: &State) -> Packs {
    let watched = state
        .watched
        .filter(|snapshot| lives(config, *snapshot))
        .map_or(0, |snapshot| snapshot.needs);
    watched | state.others.kept | state.others.late
}

/// Extends what lives, and what that needs, where it is due.
pub(super) fn renew(config: &Config, state: &mut State) {
    let moment = maintenance_moment(config, state);
    let needed = needed_by_live(config, state);
    extend_packs(config, state, needed, moment);
    if let Some(snapshot) = &mut state.watched
        && lives(config, *snapshot)
    {
        if !config.breaks(Mutation::RenewPacksOnly) {
            snapshot.lock = config.renewed_lock(0, snapshot.lock, moment);
        }
        snapshot.seen = true;
    }
    if config.regime == Regime::Promised {
        state.renewed = state.now;
    }
}

pub(super) fn retire(config: &Config, state: &mut State) {
    if let Some(snapshot) = &mut state.watched {
        snapshot.retired = state.now;
        let needs = snapshot.needs;
        free(config, state, needs);
    }
}

/// Something that needed these has ended.
pub(super) fn free(config: &Config, state: &mut State, packs: Packs) {
    let now = state.now;
    if config.breaks(Mutation::LeaseFromReceipt) {
        return;
    }
    state.change(packs, |pack| pack.since = now);
}

/// Looks whether all is there, and extends it.
pub(super) fn begin_undo(config: &Config, state: &mut State) {
    let Some(mut snapshot) = state.watched else {
        return;
    };
    if !state.has(snapshot.needs) {
        if has_grace(config, state, snapshot) {
            state.broken = Some(Broken::Undo);
        }
        return;
    }
    let mut known = u8::MAX;
    if config.has_locks() && !config.breaks(Mutation::UndoWithoutExtending) {
        let moment = maintenance_moment(config, state);
        snapshot.lock = config.renewed_lock(0, snapshot.lock, moment);
        known = extend_packs(config, state, snapshot.needs, moment).min(snapshot.lock);
    }
    state.watched = Some(snapshot);
    state.undo = Some(known);
}

/// Whether all that a retired snapshot needs is to be there still.
fn has_grace(config: &Config, state: &State, snapshot: Snapshot) -> bool {
    let is_renewed = !config.has_locks() || (snapshot.seen && config.regime == Regime::Promised);
    is_renewed
        && snapshot.retired != 0
        && snapshot.verdict != Verdict::Incomplete
        && state.now < config.undo_until(snapshot.retired)
}

/// The undo is stored: the snapshot lives again. It counts if it came in time for what it relies on: with locks those that it
/// has extended, whatever the snapshot relied on and whoever has written an undo meanwhile.
pub(super) fn arrive_undo(config: &Config, state: &mut State) {
    let (Some(known), Some(mut snapshot)) = (state.undo.take(), state.watched) else {
        return;
    };
    let counts = if config.has_locks() {
        config.commits(known, maintenance_moment(config, state))
    } else {
        config.breaks(Mutation::UndoWithoutDeadline)
            || state.now < config.undo_until(snapshot.retired)
    };
    revive(&mut snapshot);
    if counts {
        snapshot.verdict = Verdict::Told;
        if config.has_locks() {
            let promise = state.now.saturating_add(config.protect());
            snapshot.promise = snapshot.promise.max(promise);
        }
    } else {
        snapshot.verdict = Verdict::Incomplete;
    }
    state.watched = Some(snapshot);
}

/// Takes a retirement back, whatever is left.
pub(super) fn revive(snapshot: &mut Snapshot) {
    snapshot.retired = 0;
    snapshot.seen = false;
}

/// Prune's plan: what nothing needs that is kept.
pub(super) fn list(config: &Config, state: &mut State) {
    let mut kept = needed_by_live(config, state);
    if config.breaks(Mutation::ForgetCheckpoints) {
        kept &= !(state.others.kept | state.others.late);
    }
    let is_free = |snapshot: Snapshot| !lives(config, snapshot);
    let mut listing = Listing {
        at: state.now,
        packs: 0,
        snapshot: state.watched.is_some_and(is_free),
        since: Pair::default(),
    };
    for which in members(!kept) {
        let Some(pack) = state.packs.get(which) else {
            continue;
        };
        listing.packs |= which.bit();
        listing.since.set(which, pack.since);
    }
    state.prune = Some(listing);
}

pub(super) fn delete(config: &Config, state: &mut State, thing: Thing) {
    match thing {
        Thing::Snapshot => delete_snapshot(config, state),
        Thing::Pack(which) => {
            state.packs.set(which, None);
            if let Some(listing) = &mut state.prune {
                listing.packs &= !which.bit();
                listing.since.set(which, 0);
            }
        }
    }
}

/// Deletes the watched snapshot's object, and says what that breaks.
pub(super) fn delete_snapshot(config: &Config, state: &mut State) {
    let Some(snapshot) = state.watched.take() else {
        return;
    };
    if snapshot.promise > state.now {
        state.broken = Some(Broken::Promised);
    } else if is_owed(snapshot) {
        state.broken = Some(Broken::Live);
    } else if has_grace(config, state, snapshot) {
        state.broken = Some(Broken::Undo);
    }
    state.undo = None;
    if let Some(listing) = &mut state.prune {
        listing.snapshot = false;
    }
}

/// Whether what it needs must be there: it lives, and somebody takes it as whole.
pub(crate) fn is_owed(snapshot: Snapshot) -> bool {
    snapshot.retired == 0 && snapshot.verdict != Verdict::Incomplete
}
