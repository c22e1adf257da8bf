//! The attacker: what each stolen credential can do on a store that enforces locks.

use super::{Action, holds, maintenance};
use crate::config::{Config, Credential};
use crate::rules::Moment;
use crate::state::{By, Kind, Packs, Snapshot, State, Top, Verdict, Which};

/// A lock's end that no run of the model reaches.
const FOR_EVER: u8 = 250;

/// What the attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Puts a version of its own on top of a pack.
    Overwrite(Which),
    /// Puts a delete marker on top of a pack.
    HidePack(Which),
    /// Puts a delete marker on top of an object under `snapshots/`.
    HideSnapshot(u8),
    /// Plants a snapshot that needs packs.
    PlantSnapshot(Packs),
    /// Plants a checkpoint that claims to descend from an object under `snapshots/`.
    PlantCheckpoint(u8),
    /// Locks a pack for ever.
    Lock(Which),
    /// Retires whatever is there.
    RetireAll,
    /// Writes an undo without looking at anything.
    Undo(u8),
    /// Deletes a pack's authentic version, if the store lets it.
    DeletePack(Which),
    /// Deletes an object under `snapshots/`, if the store lets it.
    DeleteSnapshot(u8),
}

pub(super) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    let mut push = |attack| actions.push(Action::Attack(attack));
    let room = state.free_slot(config.limits.slots).is_some();
    for pack in Which::BOTH {
        if state.packs.get(pack).is_none() {
            continue;
        }
        if holds(config, &[Credential::Client, Credential::Admin]) {
            push(Attack::Overwrite(pack));
            push(Attack::HidePack(pack));
        }
        if holds(config, &[Credential::Retention, Credential::Maintenance]) {
            push(Attack::Lock(pack));
        }
        if holds(config, &[Credential::Maintenance]) {
            push(Attack::DeletePack(pack));
        }
    }
    for (slot, snapshot) in state.stored() {
        if holds(config, &[Credential::Client, Credential::Admin]) {
            push(Attack::HideSnapshot(slot));
            if room {
                push(Attack::PlantCheckpoint(slot));
            }
        }
        if holds(config, &[Credential::Admin]) && snapshot.retired != 0 {
            push(Attack::Undo(slot));
        }
        if holds(config, &[Credential::Maintenance]) {
            push(Attack::DeleteSnapshot(slot));
        }
    }
    if holds(config, &[Credential::Client]) && room {
        (1..=3).for_each(|packs| push(Attack::PlantSnapshot(packs)));
    }
    if holds(config, &[Credential::Admin, Credential::Maintenance]) {
        push(Attack::RetireAll);
    }
}

pub(super) fn act(config: &Config, state: &mut State, attack: Attack) {
    state.left.attacks = state.left.attacks.saturating_sub(1);
    let now = state.now;
    match attack {
        Attack::Overwrite(which) => {
            let lock = config.put_lock(0, Moment { now, ahead: 0 });
            cover(state, which, Top::Impostor(lock));
        }
        Attack::HidePack(which) => cover(state, which, Top::Marker),
        Attack::HideSnapshot(slot) => {
            if let Some(snapshot) = state.snapshot(slot) {
                let hidden = true;
                state.set_snapshot(slot, Some(Snapshot { hidden, ..snapshot }));
            }
        }
        Attack::PlantSnapshot(needs) => plant(config, state, Kind::Snapshot, needs),
        Attack::PlantCheckpoint(slot) => {
            if let Some(snapshot) = state.snapshot(slot) {
                let succeeded = if snapshot.succeeded == 0 {
                    now
                } else {
                    snapshot.succeeded
                };
                state.set_snapshot(
                    slot,
                    Some(Snapshot {
                        succeeded,
                        ..snapshot
                    }),
                );
                plant(config, state, Kind::Checkpoint, 0);
            }
        }
        Attack::Lock(which) => {
            if let Some(mut pack) = state.packs.get(which) {
                pack.lock = FOR_EVER;
                state.packs.set(which, Some(pack));
            }
        }
        Attack::RetireAll => state.change(|snapshot| {
            if snapshot.retired == 0 && snapshot.kind == Kind::Snapshot {
                snapshot.retired = now;
            }
        }),
        Attack::Undo(slot) => {
            if let Some(mut snapshot) = state.snapshot(slot) {
                maintenance::revive(&mut snapshot);
                // What it needs may be gone by now, and nobody was told otherwise.
                snapshot.verdict = Verdict::Incomplete;
                state.set_snapshot(slot, Some(snapshot));
            }
        }
        Attack::DeletePack(which) => maintenance::delete_pack(config, state, which),
        Attack::DeleteSnapshot(slot) => maintenance::delete_snapshot(config, state, slot),
    }
}

fn cover(state: &mut State, which: Which, top: Top) {
    if let Some(mut pack) = state.packs.get(which) {
        pack.top = top;
        state.packs.set(which, Some(pack));
    }
}

fn plant(config: &Config, state: &mut State, kind: Kind, needs: Packs) {
    let Some(slot) = state.free_slot(config.limits.slots) else {
        return;
    };
    let now = state.now;
    let planted = Snapshot {
        kind,
        by: By::Attacker,
        needs,
        lock: config.put_lock(0, Moment { now, ahead: 0 }),
        // It may claim to rely on any lock.
        verdict: Verdict::Shown,
        promise: 0,
        retired: 0,
        succeeded: 0,
        hidden: false,
        seen: false,
    };
    state.set_snapshot(slot, Some(planted));
}
