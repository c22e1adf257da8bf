//! The attacker: what each stolen credential can do on a store that enforces locks, at any time and as often as it likes.

use super::{Action, maintenance};
use crate::config::{Config, Credential};
use crate::rules::Moment;
use crate::state::{FOR_EVER, Pack, Packs, SOME_PACKS, State, Top, Verdict, Which, members};

/// What the attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Puts a version of its own on top of a pack.
    Overwrite(Which),
    /// Puts a delete marker on top of a pack.
    HidePack(Which),
    /// Puts the authentic bytes of a pack that nobody has put yet, without a lock.
    PutUnlocked(Which),
    /// Puts a delete marker on top of the watched snapshot.
    HideSnapshot,
    /// Plants a snapshot that needs packs.
    PlantSnapshot(Packs),
    /// Plants a checkpoint that claims to descend from the watched snapshot.
    PlantCheckpoint,
    /// Locks a pack until a tick, or for ever.
    Lock(Which, u8),
    /// Locks the watched snapshot for ever.
    LockSnapshot,
    /// Retires whatever is there.
    RetireAll,
    /// Writes an undo without looking at anything.
    Undo,
    /// Deletes a pack's authentic version, if the store lets it.
    DeletePack(Which),
    /// Deletes the watched snapshot, if the store lets it.
    DeleteSnapshot,
}

pub(super) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    let mut push = |attack| actions.push(Action::Attack(attack));
    let (puts, locks, retires, deletes) = match config.credential {
        Credential::Nothing => return,
        Credential::Client => (true, false, false, false),
        Credential::Retention => (false, true, false, false),
        Credential::Admin => (true, false, true, false),
        Credential::Maintenance => (false, true, true, true),
    };
    let now = state.now;
    for pack in members(state.stored()) {
        if puts {
            push(Attack::Overwrite(pack));
            push(Attack::HidePack(pack));
        }
        if locks {
            let lease = config.protect().saturating_add(config.margin());
            let last = now
                .saturating_add(lease)
                .saturating_add(config.generation());
            (now.saturating_add(1)..=last).for_each(|until| push(Attack::Lock(pack, until)));
            push(Attack::Lock(pack, FOR_EVER));
        }
        if deletes {
            push(Attack::DeletePack(pack));
        }
    }
    if puts {
        members(!state.stored()).for_each(|pack| push(Attack::PutUnlocked(pack)));
        SOME_PACKS.for_each(|packs| push(Attack::PlantSnapshot(packs)));
        push(Attack::HideSnapshot);
        push(Attack::PlantCheckpoint);
    }
    if locks {
        push(Attack::LockSnapshot);
    }
    if retires {
        push(Attack::RetireAll);
    }
    if config.credential == Credential::Admin {
        push(Attack::Undo);
    }
    if deletes {
        push(Attack::DeleteSnapshot);
    }
}

pub(super) fn act(config: &Config, state: &mut State, attack: Attack) {
    let now = state.now;
    match attack {
        Attack::Overwrite(which) => {
            let lock = config.put_lock(0, Moment { now, ahead: 0 });
            state.change(which.bit(), |pack| pack.top = Top::Impostor(lock));
        }
        Attack::HidePack(which) => state.change(which.bit(), |pack| pack.top = Top::Marker),
        Attack::PutUnlocked(which) => {
            let pack = Pack {
                lock: 0,
                since: now,
                phase: 0,
                top: Top::Authentic,
            };
            state.packs.set(which, Some(pack));
        }
        // It may claim to rely on any lock, so that what it needs is kept; that may be at any time.
        Attack::PlantSnapshot(_) => {}
        Attack::Lock(which, until) => {
            state.change(which.bit(), |pack| pack.lock = pack.lock.max(until));
        }
        Attack::RetireAll => {
            if state.watched.is_some_and(|snapshot| snapshot.retired == 0) {
                maintenance::retire(config, state);
            }
        }
        Attack::DeletePack(which) => {
            let is_lapsed = |pack: Pack| config.is_lapsed(now, pack.lock);
            if state.packs.get(which).is_some_and(is_lapsed) {
                maintenance::delete(config, state, maintenance::Thing::Pack(which));
            }
        }
        Attack::HideSnapshot
        | Attack::PlantCheckpoint
        | Attack::LockSnapshot
        | Attack::Undo
        | Attack::DeleteSnapshot => act_on_snapshot(config, state, attack),
    }
}

fn act_on_snapshot(config: &Config, state: &mut State, attack: Attack) {
    let now = state.now;
    let Some(snapshot) = &mut state.watched else {
        return;
    };
    match attack {
        Attack::HideSnapshot => snapshot.hidden = true,
        Attack::PlantCheckpoint => snapshot.ended = true,
        Attack::LockSnapshot => snapshot.lock = FOR_EVER,
        Attack::Undo if snapshot.retired != 0 => {
            maintenance::revive(snapshot);
            // What it needs may be gone by now, and nobody was told otherwise.
            snapshot.verdict = Verdict::Incomplete;
        }
        Attack::DeleteSnapshot if config.is_lapsed(now, snapshot.lock) => {
            maintenance::delete_snapshot(config, state);
        }
        Attack::Undo
        | Attack::DeleteSnapshot
        | Attack::Overwrite(_)
        | Attack::HidePack(_)
        | Attack::PutUnlocked(_)
        | Attack::PlantSnapshot(_)
        | Attack::Lock(..)
        | Attack::RetireAll
        | Attack::DeletePack(_) => {}
    }
}
