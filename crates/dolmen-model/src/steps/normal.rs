//! Makes states equal that nothing can tell apart from now on, so that few of them stand for all of time.
//!
//! - Times count from now: only where in the cycle of grid and whole seconds a state stands is left of the clock.
//! - What is over is over, however long: each rule looks back or ahead for so long and no longer.
//! - What no rule asks on this kind of store, or none but a broken one, is nothing.
//! - Packs are alike: their names do not count.

use super::{lives, members};
use crate::config::{Config, Mutation, Regime};
use crate::rules::Moment;
use crate::state::{
    Client, FOR_EVER, LONG_AGO, Listing, Others, Pack, START, Snapshot, State, Step, Top, Verdict,
};

pub(super) fn normalise(config: &Config, state: &mut State) {
    let now = state.now;
    forget_what_nobody_owes(config, state);
    state.packs = state
        .packs
        .map(|pack| pack.map(|pack| normal_pack(config, pack, now)));
    state.watched = state
        .watched
        .map(|snapshot| normal_snapshot(config, snapshot, now));
    if config.has_locks() {
        state.others = Others::default();
    }
    if !config.breaks(Mutation::ReuseThroughLate) {
        state.others.late = 0;
    }
    state.client = normal_client(config, state.client, now);
    if config.has_locks() {
        let undoing = super::maintenance_moment(config, state);
        state.undo = state.undo.map(|known| {
            let counts = config.commits(known, undoing);
            if counts { known } else { 0 }
        });
    }
    state.prune = state
        .prune
        .map(|listing| normal_listing(config, state, listing))
        .filter(|listing| config.is_fresh(listing.at, now))
        .filter(|listing| listing.packs != 0 || listing.snapshot);
    let cycle = config.ticks_per_second.max(config.generation());
    let passed = now.saturating_sub(START);
    let rest = passed.checked_rem(cycle).unwrap_or(0);
    shift(state, passed.saturating_sub(rest));
    *state = state.representative();
}

/// What is incomplete and no longer promised is kept like a checkpoint, and nobody watches those.
fn forget_what_nobody_owes(config: &Config, state: &mut State) {
    let is_owed = |snapshot: &Snapshot| {
        let is_promised = snapshot.promise > state.now || state.undo.is_some();
        is_promised || snapshot.verdict != Verdict::Incomplete
    };
    let Some(snapshot) = state.watched.filter(|snapshot| !is_owed(snapshot)) else {
        return;
    };
    if lives(config, snapshot) {
        state.others.late |= snapshot.needs;
    }
    state.watched = None;
    if let Some(listing) = &mut state.prune {
        listing.snapshot = false;
    }
}

fn normal_pack(config: &Config, pack: Pack, now: u8) -> Pack {
    let reads_newest =
        config.breaks(Mutation::TrustLatest) || config.breaks(Mutation::ExtendLatest);
    let since = if config.has_locks() {
        0
    } else {
        pack.since.max(now.saturating_sub(config.memory()))
    };
    let top = match pack.top {
        Top::Impostor(lock) if reads_newest => Top::Impostor(over(lock, now)),
        Top::Marker if reads_newest => Top::Marker,
        Top::Impostor(_) | Top::Authentic | Top::Marker => Top::Authentic,
    };
    Pack {
        lock: over(pack.lock, now),
        since,
        top,
        ..pack
    }
}

fn normal_snapshot(config: &Config, mut snapshot: Snapshot, now: u8) -> Snapshot {
    snapshot.lock = over(snapshot.lock, now);
    snapshot.promise = over(snapshot.promise, now);
    snapshot.hidden &= config.breaks(Mutation::AbsenceIsDeath);
    snapshot.ended &= config.breaks(Mutation::CheckpointEndsSnapshot);
    let has_grace = now < config.undo_until(snapshot.retired);
    if snapshot.retired != 0 && !has_grace {
        snapshot.retired = LONG_AGO;
    }
    if !config.has_locks() || config.regime == Regime::Free || snapshot.retired == LONG_AGO {
        snapshot.seen = true;
    }
    if config.has_locks() && snapshot.verdict == Verdict::Told && snapshot.promise == 0 {
        snapshot.verdict = Verdict::Shown;
    }
    snapshot
}

/// Nothing relies on what is too old to commit with and too old for a reader.
fn normal_client(config: &Config, mut client: Client, now: u8) -> Client {
    let moment = Moment {
        now,
        ahead: client.ahead,
    };
    let is_idle = client.step == Step::Idle;
    if config.has_locks() || is_idle {
        client.own = 0;
        client.own_since = 0;
    }
    if is_idle || !config.commits(client.relied, moment) && config.is_late(client.relied, now) {
        client.relied = 0;
    }
    let long_ago = now.saturating_sub(config.memory());
    client.relied = recent(client.relied, long_ago);
    client.own_since = recent(client.own_since, long_ago);
    if let Step::Sent { lock, .. } = &mut client.step
        && client.relied == 0
        && config.mutation.is_none()
    {
        // It will be kept like a checkpoint, and how long its own lock lasts is nothing to anybody.
        *lock = 0;
    }
    client
}

/// What cannot lapse before the listing is too old is not planned.
fn normal_listing(config: &Config, state: &State, mut listing: Listing) -> Listing {
    let long_ago = state.now.saturating_sub(config.memory());
    let last = if config.breaks(Mutation::StaleListing) {
        u8::MAX
    } else {
        listing.at.saturating_add(config.delay()).saturating_sub(1)
    };
    listing.at = listing.at.max(long_ago);
    let may_lapse = |one: Snapshot| config.is_over(last, one.lock, one.retired);
    listing.snapshot &= state.watched.is_some_and(may_lapse);
    for which in members(listing.packs) {
        let since = recent(listing.since.get(which), long_ago);
        let may_lapse = |pack: Pack| config.is_over(last, pack.lock, since);
        if state.packs.get(which).is_some_and(may_lapse) {
            listing.since.set(which, since);
        } else {
            listing.packs &= !which.bit();
            listing.since.set(which, 0);
        }
    }
    listing
}

/// What has ended by now has ended.
const fn over(until: u8, now: u8) -> u8 {
    if until <= now { 0 } else { until }
}

fn recent(since: u8, long_ago: u8) -> u8 {
    if since == 0 { 0 } else { since.max(long_ago) }
}

/// Lets all times count from a later start.
fn shift(state: &mut State, ticks: u8) {
    if ticks == 0 {
        return;
    }
    let earlier = |at: u8| match at {
        0 | LONG_AGO | FOR_EVER.. => at,
        _ => at.saturating_sub(ticks),
    };
    state.now = earlier(state.now);
    state.renewed = earlier(state.renewed);
    state.packs = state.packs.map(|pack| {
        pack.map(|pack| Pack {
            lock: earlier(pack.lock),
            since: earlier(pack.since),
            top: match pack.top {
                Top::Impostor(lock) => Top::Impostor(earlier(lock)),
                Top::Authentic | Top::Marker => pack.top,
            },
            ..pack
        })
    });
    state.watched = state.watched.map(|snapshot| Snapshot {
        lock: earlier(snapshot.lock),
        promise: earlier(snapshot.promise),
        retired: earlier(snapshot.retired),
        ..snapshot
    });
    if let Step::Sent { lock, .. } = &mut state.client.step {
        *lock = earlier(*lock);
    }
    state.client.own_since = earlier(state.client.own_since);
    state.client.relied = earlier(state.client.relied);
    state.undo = state.undo.map(earlier);
    state.prune = state.prune.map(|listing| Listing {
        at: earlier(listing.at),
        since: listing.since.map(earlier),
        ..listing
    });
}
