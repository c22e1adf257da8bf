//! Maintenance and people: renew, retire, undo, prune.

use super::{Action, ended, extend_pack, lives, maintenance_moment};
use crate::config::{Config, Mutation, Regime};
use crate::state::{
    Broken, By, Kind, Listing, Pack, Packs, Pair, Snapshot, State, Undo, Verdict, Which,
};

pub(super) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    if config.has_locks() {
        actions.push(Action::Renew);
    }
    actions.push(Action::List);
    let Some(listing) = state.prune else {
        return;
    };
    let slots = state.stored().filter(|(slot, snapshot)| {
        listing.slots & slot_bit(*slot) != 0
            && is_over(config, state, snapshot.lock, listing.ended(*slot))
    });
    actions.extend(slots.map(|(slot, _)| Action::DeleteSnapshot(slot)));
    for which in Which::BOTH {
        let freed = listing.freed.get(which);
        let is_free = |pack: Pack| is_over(config, state, pack.lock, pack.received.max(freed));
        if may_go(state, &listing, which) && state.packs.get(which).is_some_and(is_free) {
            actions.push(Action::DeletePack(which));
        }
    }
}

/// The snapshot first, then what it needed.
fn may_go(state: &State, listing: &Listing, pack: Which) -> bool {
    // What is retired or ended, and still there, keeps what it needs.
    let waits = state.stored().any(|(_, snapshot)| {
        let is_ended = snapshot.retired != 0 || snapshot.succeeded != 0;
        is_ended && snapshot.needs & pack.bit() != 0
    });
    listing.packs & pack.bit() != 0 && !waits
}

/// Carries out all of prune's plan.
pub(crate) fn apply(config: &Config, state: &mut State) {
    let Some(listing) = state.prune else {
        return;
    };
    for slot in 0..config.limits.slots {
        if listing.slots & slot_bit(slot) != 0 {
            delete_snapshot(config, state, slot);
        }
    }
    for pack in Which::BOTH {
        if state
            .prune
            .is_some_and(|listing| may_go(state, &listing, pack))
        {
            delete_pack(config, state, pack);
        }
    }
}

const fn slot_bit(slot: u8) -> u8 {
    1 << slot
}

/// What lives, together.
pub(super) fn needed_by_live(config: &Config, state: &State) -> Packs {
    state
        .stored()
        .filter(|(_, snapshot)| lives(config, snapshot))
        .fold(0, |packs, (_, snapshot)| packs | snapshot.needs)
}

/// Extends what lives, and what that needs, where it is due.
pub(super) fn renew(config: &Config, state: &mut State) {
    let moment = maintenance_moment(config, state);
    let needed = needed_by_live(config, state);
    for pack in Which::BOTH {
        if needed & pack.bit() != 0 {
            extend_pack(config, state, pack, moment);
        }
    }
    state.change(|snapshot| {
        if lives(config, snapshot) {
            snapshot.lock = config.renewed_lock(0, snapshot.lock, moment);
            snapshot.seen = true;
        }
    });
    if config.regime == Regime::Promised {
        state.renewed = state.now;
    }
}

pub(super) fn retire(state: &mut State, slot: u8) {
    if let Some(snapshot) = state.snapshot(slot) {
        let retired = state.now;
        state.set_snapshot(
            slot,
            Some(Snapshot {
                retired,
                ..snapshot
            }),
        );
    }
}

/// Looks whether all is there, and extends it.
pub(super) fn begin_undo(config: &Config, state: &mut State, slot: u8) {
    let Some(mut snapshot) = state.snapshot(slot) else {
        return;
    };
    if !state.has(snapshot.needs) {
        let has_grace = !config.has_locks() || (snapshot.seen && config.regime == Regime::Promised);
        let was_whole = snapshot.verdict != Verdict::Incomplete;
        if has_grace && was_whole && state.now <= config.undo_until(snapshot.retired) {
            state.broken = Some(Broken::Undo);
        }
        return;
    }
    let mut known = u8::MAX;
    if config.has_locks() && !config.breaks(Mutation::UndoWithoutExtending) {
        let moment = maintenance_moment(config, state);
        snapshot.lock = config.renewed_lock(0, snapshot.lock, moment);
        known = snapshot.lock;
        for pack in Which::BOTH {
            if snapshot.needs & pack.bit() != 0 {
                known = known.min(extend_pack(config, state, pack, moment));
            }
        }
    }
    state.set_snapshot(slot, Some(snapshot));
    state.undo = Some(Undo { slot, known });
}

/// The undo is stored: the snapshot lives again. It counts if it came in time for what it relies on.
pub(super) fn arrive_undo(config: &Config, state: &mut State) {
    let Some(undo) = state.undo.take() else {
        return;
    };
    let Some(mut snapshot) = state.snapshot(undo.slot) else {
        return;
    };
    let counts = if config.has_locks() {
        config.commits(undo.known, state.now)
    } else {
        config.breaks(Mutation::UndoWithoutDeadline)
            || state.now <= config.undo_until(snapshot.retired)
    };
    revive(&mut snapshot);
    if counts && snapshot.verdict != Verdict::Incomplete {
        snapshot.verdict = Verdict::Told;
        if config.has_locks() {
            let promise = state.now.saturating_add(config.protect());
            snapshot.promise = snapshot.promise.max(promise);
        }
    } else {
        snapshot.verdict = Verdict::Incomplete;
    }
    state.set_snapshot(undo.slot, Some(snapshot));
}

/// Takes a retirement back, whatever is left.
pub(super) fn revive(snapshot: &mut Snapshot) {
    snapshot.retired = 0;
    snapshot.seen = false;
}

/// Prune's plan: what nothing needs that is kept. Whether its lease is over is asked again when it goes, so that the model
/// allows all that DESIGN does; the code asks at the time of the listing, which is later by δ.
pub(super) fn list(config: &Config, state: &mut State) {
    let mut listing = Listing {
        at: state.now,
        packs: 0,
        slots: 0,
        freed: Pair::default(),
        ended: [0; crate::SLOTS],
    };
    // What cannot lapse before the listing is too old need not be remembered.
    let last = if config.breaks(Mutation::StaleListing) {
        u8::MAX
    } else {
        state.now.saturating_add(config.delay()).saturating_sub(1)
    };
    let then = State {
        now: last,
        ..*state
    };
    let mut kept = 0;
    for (slot, snapshot) in state.stored() {
        if lives(config, &snapshot) {
            kept |= snapshot.needs;
        } else {
            if is_over(config, &then, snapshot.lock, ended(&snapshot)) {
                listing.slots |= slot_bit(slot);
            }
            if let Some(place) = listing.ended.get_mut(usize::from(slot))
                && listing.slots & slot_bit(slot) != 0
                && !config.has_locks()
            {
                *place = ended(&snapshot);
            }
            let freed = Which::BOTH
                .into_iter()
                .filter(|which| snapshot.needs & which.bit() != 0);
            for which in freed.filter(|_| !config.has_locks()) {
                let since = listing.freed.get(which).max(ended(&snapshot));
                listing.freed.set(which, since);
            }
        }
    }
    for which in Which::BOTH {
        let since = listing.freed.get(which);
        let may_lapse = |pack: Pack| is_over(config, &then, pack.lock, pack.received.max(since));
        if kept & which.bit() == 0 && state.packs.get(which).is_some_and(may_lapse) {
            listing.packs |= which.bit();
        }
    }
    for which in Which::BOTH {
        if listing.packs & which.bit() == 0 {
            listing.freed.set(which, 0);
        }
    }
    state.prune = Some(listing);
}

/// Whether a lease is over, by the time that counts for letting go; the store looks too, where it enforces.
fn is_over(config: &Config, state: &State, lock: u8, since: u8) -> bool {
    let Some(let_go_at) = config.let_go_at(state.now) else {
        return false;
    };
    if config.has_locks() {
        lock < let_go_at && lock < state.now
    } else {
        config.is_free(since, let_go_at)
    }
}

pub(super) fn delete_snapshot(config: &Config, state: &mut State, slot: u8) {
    let mut ended = 0;
    if let Some(listing) = &mut state.prune {
        listing.slots &= !slot_bit(slot);
        ended = listing.ended(slot);
    }
    let stored = state.snapshot(slot);
    let may_go = |snapshot: &Snapshot| is_over(config, state, snapshot.lock, ended);
    let Some(snapshot) = stored.filter(may_go) else {
        return;
    };
    if snapshot.promise != 0 {
        state.broken = Some(Broken::Promised);
    } else if is_owed(&snapshot) {
        state.broken = Some(Broken::Live);
    }
    state.set_snapshot(slot, None);
    if state.undo.is_some_and(|undo| undo.slot == slot) {
        state.undo = None;
    }
}

pub(super) fn delete_pack(config: &Config, state: &mut State, which: Which) {
    let mut freed = 0;
    if let Some(listing) = &mut state.prune {
        listing.packs &= !which.bit();
        freed = listing.freed.get(which);
    }
    let may_go = |pack: Pack| is_over(config, state, pack.lock, pack.received.max(freed));
    if state.packs.get(which).is_some_and(may_go) {
        state.packs.set(which, None);
    }
}

/// Whether what it needs must be there: an honest snapshot that lives and that somebody takes as whole.
pub(crate) fn is_owed(snapshot: &Snapshot) -> bool {
    snapshot.retired == 0
        && snapshot.by != By::Attacker
        && snapshot.verdict != Verdict::Incomplete
        && snapshot.kind == Kind::Snapshot
}
