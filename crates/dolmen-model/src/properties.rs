//! What must hold in every state.

use stateright::Property;

use crate::config::{Credential, Horizon, Regime};
use crate::model::Protocol;
use crate::state::{Broken, Snapshot, State, Step, Verdict, members};
use crate::steps::{self, Action, is_owed, lives};

/// The properties, by DESIGN's promises. What they say of every snapshot is asked of the watched one.
pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("what was promised is there and locked", promised),
        Property::always("what lives has a protection period left", maintained),
        Property::always("nothing is deleted that a live snapshot needs", kept),
        Property::always("what nothing needs can be deleted", reclaimed),
        Property::always("an undo in time brings everything back", undone),
        Property::always("what a client was told a reader sees", shown),
        Property::sometimes("a snapshot of both packs counts", |_, state: &State| {
            let counts = |one: Snapshot| one.verdict == Verdict::Told && one.needs == 3;
            state.watched.is_some_and(counts)
        }),
        Property::sometimes("a snapshot comes too late", |_, state: &State| {
            let is_sent = matches!(state.client.step, Step::Sent { .. });
            is_sent && state.client.relied == 0
        }),
        Property::sometimes("everything goes", |_, state: &State| {
            state.stored() == 0 && state.watched.is_none()
        }),
    ]
}

/// 1: a snapshot whose client was told success has all of it present, and locked until its promise.
fn promised(model: &Protocol, state: &State) -> bool {
    let config = &model.config;
    let holds = |snapshot: Snapshot| {
        if config.has_locks() {
            snapshot.promise == 0 || is_locked(state, snapshot, snapshot.promise)
        } else {
            let is_over = snapshot.retired != 0 && state.now >= config.undo_until(snapshot.retired);
            snapshot.verdict != Verdict::Told || is_over || state.has(snapshot.needs)
        }
    };
    state.broken != Some(Broken::Promised) && state.watched.is_none_or(holds)
}

/// Whether a snapshot's object and all that it needs are there and locked until a tick.
fn is_locked(state: &State, snapshot: Snapshot, until: u8) -> bool {
    let is_pack_locked = |which| {
        state
            .packs
            .get(which)
            .is_some_and(|pack| pack.lock >= until)
    };
    snapshot.lock >= until && members(snapshot.needs).all(is_pack_locked)
}

/// 2: while maintenance runs, what lives has at least L left.
fn maintained(model: &Protocol, state: &State) -> bool {
    let config = &model.config;
    if !config.has_locks() || config.regime == Regime::Free {
        return true;
    }
    let until = state.now.saturating_add(config.protect());
    let is_asserted = |snapshot: &Snapshot| {
        is_owed(*snapshot) && (snapshot.seen || config.horizon == Horizon::Always)
    };
    let snapshot = state.watched.filter(is_asserted);
    snapshot.is_none_or(|snapshot| is_locked(state, snapshot, until))
}

/// 3: what a live snapshot needs is there, if anybody takes it as whole.
fn kept(model: &Protocol, state: &State) -> bool {
    // Whoever holds the right to delete may delete what nobody renews.
    let is_lost_anyway =
        model.config.credential == Credential::Maintenance && model.config.regime == Regime::Free;
    is_lost_anyway
        || (state.broken != Some(Broken::Live)
            && state
                .watched
                .filter(|snapshot| is_owed(*snapshot))
                .is_none_or(|snapshot| state.has(snapshot.needs)))
}

/// 4: when clients rest and maintenance runs, what nothing live needs goes.
fn reclaimed(model: &Protocol, state: &State) -> bool {
    let config = &model.config;
    let rests = state.client.step == Step::Idle;
    let is_asked = rests && state.undo.is_none() && state.broken.is_none();
    if !is_asked || config.credential != Credential::Nothing {
        return true;
    }
    let lease = config.protect().saturating_add(config.margin());
    let skew = config
        .clients_ahead
        .into_iter()
        .chain([config.maintenance_ahead])
        .map(i8::unsigned_abs)
        .fold(0, u8::max);
    let longest = [
        lease,
        config.generation(),
        config.delay(),
        skew.saturating_mul(2),
        config.ticks_per_second,
        1,
    ]
    .into_iter()
    .fold(0, u8::saturating_add);
    let mut drained = *state;
    for _ in 0..longest {
        for action in [Action::Renew, Action::List] {
            drained = steps::next(config, &drained, action).unwrap_or(drained);
        }
        steps::apply(config, &mut drained);
        drained = steps::next(config, &drained, Action::Tick).unwrap_or(drained);
    }
    let needed = drained.watched.map_or(0, |snapshot| snapshot.needs)
        | drained.others.kept
        | drained.others.late;
    drained
        .watched
        .is_none_or(|snapshot| lives(config, snapshot))
        && drained.stored() & !needed == 0
}

/// 5: an undo that begins within the grace finds everything, and what it brings back is promised anew.
fn undone(_model: &Protocol, state: &State) -> bool {
    state.broken != Some(Broken::Undo)
}

/// What a client was told is a success, a reader shows as whole.
fn shown(_model: &Protocol, state: &State) -> bool {
    state.broken != Some(Broken::Shown)
}
