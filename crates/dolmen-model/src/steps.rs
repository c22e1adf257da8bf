//! What can happen, and what comes of it.

mod attacker;
mod client;
mod maintenance;
mod normal;
mod others;

use crate::config::{Config, Mutation, Regime};
use crate::rules::Moment;
use crate::state::{
    Client, Others, Pack, Packs, Pair, START, Snapshot, State, Step, Top, Verdict, Which, members,
};

pub use attacker::Attack;
pub use client::{Answer, Fate};
pub use maintenance::Thing;
pub(crate) use maintenance::{apply, is_owed};
pub use others::Other;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A tick goes by.
    Tick,
    /// The client lists, and decides what it builds upon.
    Begin(Packs),
    /// The client puts a pack whose grid has a phase. Where it is there already the client looks at its lock.
    PutPack(Which, u8),
    /// The client extends what it needs and is due, by version id.
    Extend,
    /// The client lists again.
    Relist,
    /// The client sends a snapshot or checkpoint.
    Send,
    /// The store receives it.
    Arrive(Fate),
    /// The client crashes, and what it has sent is lost.
    Crash,
    /// Somebody else acts.
    Other(Other),
    /// A person or the policy ends the life of the watched snapshot.
    Retire,
    /// A person looks at what the watched snapshot needs, and extends it.
    BeginUndo,
    /// That undo arrives.
    ArriveUndo,
    /// Maintenance renews what is due.
    Renew,
    /// Prune lists.
    List,
    /// Prune deletes something.
    Delete(Thing),
    /// The attacker acts.
    Attack(Attack),
}

/// Lets the states begin with something worth protecting: a snapshot that needs one pack. It is watched, or one that comes
/// later will be.
pub(crate) fn starts(config: &Config) -> Vec<State> {
    let (protect, margin) = (config.protect(), config.margin());
    let lease = protect.saturating_add(margin);
    // The lock of what is there, and when it was renewed.
    let (lock, renewed) = match (config.has_locks(), config.regime) {
        (false, _) => (0, 0),
        (true, Regime::Promised) => (START.saturating_add(lease), START),
        (true, Regime::Free) => (START.saturating_add(lease), 0),
    };
    let client = |ahead| Client {
        step: Step::Idle,
        needs: 0,
        own: 0,
        own_since: 0,
        relied: 0,
        ahead,
    };
    let pack = Pack {
        lock,
        since: START,
        phase: 0,
        top: Top::Authentic,
    };
    let watched = Snapshot {
        needs: Which::A.bit(),
        lock,
        verdict: Verdict::Told,
        promise: 0,
        retired: 0,
        ended: false,
        hidden: false,
        seen: true,
    };
    let watching = |ahead| State {
        now: START,
        packs: Pair::new(Some(pack), None),
        watched: Some(watched),
        others: Others::default(),
        client: client(ahead),
        undo: None,
        prune: None,
        renewed,
        broken: None,
    };
    let mut states = Vec::new();
    for ahead in config.clients_ahead {
        let (mut one, mut other) = (watching(ahead), watching(ahead));
        other.watched = None;
        other.others.kept = watched.needs;
        normal::normalise(config, &mut one);
        normal::normalise(config, &mut other);
        states.extend([one, other]);
    }
    states
}

/// Collects what may happen.
pub(crate) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    if state.broken.is_some() {
        return;
    }
    match renewal_due(config, state) {
        // It comes first in a run of maintenance, and such a run comes first in the last second that is left for it.
        Some(0) => return actions.push(Action::Renew),
        Some(_) | None => actions.push(Action::Tick),
    }
    client::actions(config, state, actions);
    others::actions(config, state, actions);
    person_actions(state, actions);
    maintenance::actions(config, state, actions);
    attacker::actions(config, state, actions);
}

/// Ticks until maintenance has to run, where that is promised: it runs once in M.
fn renewal_due(config: &Config, state: &State) -> Option<u8> {
    let is_promised = config.has_locks() && config.regime == Regime::Promised;
    let extra = u8::from(config.breaks(Mutation::RenewTooRarely));
    let longest = config.margin().saturating_add(extra);
    let age = state.now.saturating_sub(state.renewed);
    is_promised.then(|| longest.saturating_sub(age))
}

fn person_actions(state: &State, actions: &mut Vec<Action>) {
    if let Some(snapshot) = state.watched {
        if snapshot.retired == 0 {
            actions.push(Action::Retire);
        } else if state.undo.is_none() {
            actions.push(Action::BeginUndo);
        }
    }
    if state.undo.is_some() {
        actions.push(Action::ArriveUndo);
    }
}

/// The state after a step; `None`: the step changes nothing.
pub(crate) fn next(config: &Config, before: &State, action: Action) -> Option<State> {
    let mut state = *before;
    match action {
        Action::Tick => state.now = state.now.saturating_add(1),
        Action::Begin(packs) => client::begin(config, &mut state, packs),
        Action::PutPack(pack, phase) => client::put_pack(config, &mut state, pack, phase),
        Action::Extend => client::extend(config, &mut state),
        Action::Relist => client::relist(config, &mut state),
        Action::Send => client::send(config, &mut state),
        Action::Arrive(fate) => client::arrive(config, &mut state, fate),
        Action::Crash => client::rest(&mut state),
        Action::Other(other) => others::act(config, &mut state, other),
        Action::Retire => maintenance::retire(config, &mut state),
        Action::BeginUndo => maintenance::begin_undo(config, &mut state),
        Action::ArriveUndo => maintenance::arrive_undo(config, &mut state),
        Action::Renew => maintenance::renew(config, &mut state),
        Action::List => maintenance::list(config, &mut state),
        Action::Delete(thing) => maintenance::delete(config, &mut state, thing),
        Action::Attack(attack) => attacker::act(config, &mut state, attack),
    }
    normal::normalise(config, &mut state);
    (state != *before).then_some(state)
}

/// Whether the watched snapshot lives.
pub(crate) fn lives(config: &Config, snapshot: Snapshot) -> bool {
    let is_absent = snapshot.hidden && config.breaks(Mutation::AbsenceIsDeath);
    !is_absent && !snapshot.ended && snapshot.retired == 0
}

/// What maintenance's clock shows.
fn maintenance_moment(config: &Config, state: &State) -> Moment {
    Moment {
        now: state.now,
        ahead: config.maintenance_ahead,
    }
}

/// Extends the authentic versions of packs where they are due: by version id, or for the mutation by key. Returns the
/// earliest lock that the caller then believes in.
fn extend_packs(config: &Config, state: &mut State, packs: Packs, moment: Moment) -> u8 {
    let is_blind = config.breaks(Mutation::ExtendLatest);
    let mut believed = if state.has(packs) { u8::MAX } else { 0 };
    state.change(packs, |pack| {
        let lock = match (is_blind, pack.top) {
            (false, _) | (true, Top::Authentic) => {
                pack.lock = config.renewed_lock(pack.phase, pack.lock, moment);
                pack.lock
            }
            (true, Top::Impostor(lock)) => {
                let lock = config.renewed_lock(pack.phase, lock, moment);
                pack.top = Top::Impostor(lock);
                lock
            }
            (true, Top::Marker) => 0,
        };
        believed = believed.min(lock);
    });
    believed
}
