//! What must hold in every state.

use stateright::Property;

use crate::config::{Credential, Horizon, Regime};
use crate::model::Protocol;
use crate::state::{Broken, By, START, Snapshot, State, Step, Verdict, Which};
use crate::steps::{self, Action, is_owed, lives};

/// The properties, by DESIGN's promises.
pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("what was promised is there and locked", promised),
        Property::always("what lives has a protection period left", maintained),
        Property::always("nothing is deleted that a live snapshot needs", kept),
        Property::always("what nothing needs can be deleted", reclaimed),
        Property::always("an undo in time brings everything back", undone),
        Property::always("what a client was told a reader sees", shown),
        Property::sometimes("a snapshot counts", |_, state: &State| {
            state
                .stored()
                .any(|(slot, snapshot)| slot != 0 && snapshot.verdict == Verdict::Told)
        }),
        Property::sometimes("a snapshot comes too late", |_, state: &State| {
            state.stored().any(|(_, snapshot)| {
                snapshot.verdict == Verdict::Incomplete && snapshot.by != By::Attacker
            })
        }),
    ]
}

/// 1: each snapshot whose client was told success has all of it present, and locked until its promise.
fn promised(model: &Protocol, state: &State) -> bool {
    let config = &model.config;
    let holds = |snapshot: Snapshot| {
        if config.has_locks() {
            snapshot.promise == 0 || is_locked(state, &snapshot, snapshot.promise)
        } else {
            let is_over = snapshot.retired != 0 && state.now > config.undo_until(snapshot.retired);
            snapshot.verdict != Verdict::Told || is_over || state.has(snapshot.needs)
        }
    };
    state.broken != Some(Broken::Promised) && state.stored().all(|(_, snapshot)| holds(snapshot))
}

/// Whether an object under `snapshots/` and all that it needs are there and locked until a tick.
fn is_locked(state: &State, snapshot: &Snapshot, until: u8) -> bool {
    let needs = |which: &Which| snapshot.needs & which.bit() != 0;
    snapshot.lock >= until
        && Which::BOTH.into_iter().filter(needs).all(|which| {
            state
                .packs
                .get(which)
                .is_some_and(|pack| pack.lock >= until)
        })
}

/// 2: while maintenance runs, what lives has at least L left.
fn maintained(model: &Protocol, state: &State) -> bool {
    let config = &model.config;
    if !config.has_locks() || config.regime == Regime::Free {
        return true;
    }
    let until = state.now.saturating_add(config.protect());
    let is_asserted = |snapshot: &Snapshot| {
        is_owed(snapshot) && (snapshot.seen || config.horizon == Horizon::Always)
    };
    state
        .stored()
        .filter(|(_, snapshot)| is_asserted(snapshot))
        .all(|(_, snapshot)| is_locked(state, &snapshot, until))
}

/// 3: what a live snapshot needs is there, if anybody takes it as whole.
fn kept(model: &Protocol, state: &State) -> bool {
    // Whoever holds the right to delete may delete what nobody renews.
    let is_lost_anyway =
        model.config.credential == Credential::Maintenance && model.config.regime == Regime::Free;
    is_lost_anyway
        || (state.broken != Some(Broken::Live)
            && state
                .stored()
                .filter(|(_, snapshot)| is_owed(snapshot))
                .all(|(_, snapshot)| state.has(snapshot.needs)))
}

/// 4: when clients rest and maintenance runs, what nothing live needs goes. Asked where the time is over.
fn reclaimed(model: &Protocol, state: &State) -> bool {
    let config = &model.config;
    let is_over = state.now.saturating_sub(START) >= config.limits.ticks;
    let rests = Which::BOTH
        .into_iter()
        .all(|which| state.clients.get(which).step == Step::Idle);
    if !is_over || !rests || config.credential != Credential::Nothing || state.broken.is_some() {
        return true;
    }
    let lease = config.protect().saturating_add(config.margin());
    let generation = u8::try_from(config.terms.generation_seconds()).unwrap_or(u8::MAX);
    let skew = config
        .maintenance_ahead
        .unsigned_abs()
        .max(config.client_ahead.unsigned_abs());
    let longest = [lease, generation, config.delay(), skew.saturating_mul(2), 2]
        .into_iter()
        .fold(0, u8::saturating_add);
    let mut drained = State {
        undo: None,
        ..*state
    };
    for _ in 0..longest {
        for action in [Action::Renew, Action::List] {
            drained = steps::next(config, &drained, action).unwrap_or(drained);
        }
        steps::apply(config, &mut drained);
        drained = steps::next(config, &drained, Action::Tick).unwrap_or(drained);
    }
    let needed = drained
        .stored()
        .fold(0, |packs, (_, snapshot)| packs | snapshot.needs);
    let is_needed = |which: Which| needed & which.bit() != 0;
    drained
        .stored()
        .all(|(_, snapshot)| lives(config, &snapshot))
        && Which::BOTH
            .into_iter()
            .all(|which| drained.packs.get(which).is_none() || is_needed(which))
}

/// 5: an undo that begins within the grace finds everything, and what it brings back is promised anew.
fn undone(_model: &Protocol, state: &State) -> bool {
    state.broken != Some(Broken::Undo)
}

/// What a client was told is a success, a reader shows as whole.
fn shown(_model: &Protocol, state: &State) -> bool {
    state.broken != Some(Broken::Shown)
}
