//! Everybody else: any number of clients, people and snapshots that nobody follows.
//!
//! They may do at any time what any of them could do at some time, so that nothing has to be known of them.

use super::{Action, client, extend_packs, maintenance, members};
use crate::config::{Config, Mutation};
use crate::rules::Moment;
use crate::state::{Pack, State, Top, Which};

/// What somebody else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// A client puts a pack whose grid has a phase, by a clock that is ahead.
    Put(Which, u8, i8),
    /// A client, maintenance or an undo extends a pack that is due, by a clock that is ahead.
    Extend(Which, i8),
    /// Without locks: a snapshot or checkpoint arrives that needs a pack, or an undo of one. That it came in time is taken
    /// for granted: if prune could still delete the pack, a run in which that one is watched would show it.
    Arrive(Which),
    /// Without locks, for a mutation: one arrives that came too late.
    ArriveLate(Which),
    /// Without locks: the last one goes that needs a pack. It is retired, has a successor, has aged or is displaced.
    End(Which),
}

pub(super) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    let mut push = |other| actions.push(Action::Other(other));
    let mut clocks = config.clients_ahead.to_vec();
    clocks.dedup();
    let phases = u8::try_from(config.terms.generation_seconds()).unwrap_or(1);
    for pack in members(!state.stored()) {
        for ahead in clocks.iter().copied() {
            (0..phases).for_each(|phase| push(Other::Put(pack, phase, ahead)));
        }
    }
    if !config.has_locks() {
        members(state.stored()).for_each(|pack| push(Other::Arrive(pack)));
        if config.breaks(Mutation::ReuseThroughLate) {
            members(state.stored()).for_each(|pack| push(Other::ArriveLate(pack)));
        }
        let kept = state.others.kept | state.others.late;
        members(kept).for_each(|pack| push(Other::End(pack)));
        return;
    }
    if !clocks.contains(&config.maintenance_ahead) {
        clocks.push(config.maintenance_ahead);
    }
    for pack in members(state.stored()) {
        for ahead in clocks.iter().copied() {
            push(Other::Extend(pack, ahead));
        }
    }
}

pub(super) fn act(config: &Config, state: &mut State, other: Other) {
    let now = state.now;
    match other {
        Other::Put(which, phase, ahead) => {
            let pack = Pack {
                lock: config.put_lock(phase, Moment { now, ahead }),
                since: now,
                phase,
                top: Top::Authentic,
            };
            state.packs.set(which, Some(pack));
        }
        Other::Extend(which, ahead) => {
            extend_packs(config, state, which.bit(), Moment { now, ahead });
        }
        Other::Arrive(which) => client::others_arrive(state, which.bit(), false),
        Other::ArriveLate(which) => client::others_arrive(state, which.bit(), true),
        Other::End(which) => {
            state.others.kept &= !which.bit();
            state.others.late &= !which.bit();
            maintenance::free(config, state, which.bit());
        }
    }
}
