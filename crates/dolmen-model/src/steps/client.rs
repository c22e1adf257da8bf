//! A client: list, reuse or put packs, put the snapshot, look whether it counts.

use super::{Action, extend_pack, lives};
use crate::config::{Config, Mutation};
use crate::rules::Moment;
use crate::state::{
    Broken, By, Client, Kind, Pack, Packs, Pair, Snapshot, State, Step, Top, Verdict, Which,
};

/// Whether the client learns what the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Heard,
    /// It crashed.
    Lost,
}

pub(super) fn actions(config: &Config, state: &State, which: Which, actions: &mut Vec<Action>) {
    let client = state.clients.get(which);
    match client.step {
        Step::Idle => {
            if state.free_slot(config.limits.slots).is_some() {
                let reusable = reusable(config, state);
                actions.push(Action::Begin(which, 0));
                let sets = (1..=3).filter(|packs| packs & reusable == *packs);
                actions.extend(sets.map(|packs| Action::Begin(which, packs)));
            }
        }
        Step::Gathering => gathering(config, state, which, actions),
        Step::Sent { .. } => {
            actions.push(Action::Arrive(which));
            if state.left.crashes > 0 {
                actions.push(Action::ArriveUnheard(which));
            }
        }
    }
    if client.step != Step::Idle && state.left.crashes > 0 {
        actions.push(Action::Crash(which));
    }
}

fn gathering(config: &Config, state: &State, which: Which, actions: &mut Vec<Action>) {
    let client = state.clients.get(which);
    let free = Which::BOTH
        .into_iter()
        .find(|pack| state.packs.get(*pack).is_none() && client.needs & pack.bit() == 0);
    if let Some(pack) = free {
        let phases = u8::try_from(config.terms.generation_seconds()).unwrap_or(1);
        actions.extend((0..phases).map(|phase| Action::PutPack(which, pack, phase)));
    }
    if client.needs == 0 {
        return;
    }
    actions.push(if config.has_locks() {
        Action::Extend(which)
    } else {
        Action::Relist(which)
    });
    if state.free_slot(config.limits.slots).is_some() {
        actions.push(Action::Send(which, Kind::Snapshot));
        if state.left.checkpoints > 0 {
            actions.push(Action::Send(which, Kind::Checkpoint));
        }
    }
}

/// What a client may build upon.
///
/// With locks, whatever is there: the lock that it reads decides. Without, what something live of its signer needs that
/// itself came in time, as this listing shows it.
fn reusable(config: &Config, state: &State) -> Packs {
    let mut found = 0;
    for which in Which::BOTH {
        let Some(pack) = state.packs.get(which) else {
            continue;
        };
        let is_hidden = pack.top == Top::Marker && config.breaks(Mutation::TrustLatest);
        let is_free = config.has_locks() || config.breaks(Mutation::ReuseUnneeded);
        if !is_hidden && (is_free || is_vouched_for(config, state, which)) {
            found |= which.bit();
        }
    }
    found
}

fn is_vouched_for(config: &Config, state: &State, pack: Which) -> bool {
    let is_late = |snapshot: &Snapshot| {
        snapshot.verdict == Verdict::Incomplete && !config.breaks(Mutation::ReuseThroughLate)
    };
    state.stored().any(|(_, snapshot)| {
        lives(config, &snapshot)
            && snapshot.needs & pack.bit() != 0
            && snapshot.by != By::Attacker
            && !is_late(&snapshot)
    })
}

pub(super) fn begin(config: &Config, state: &mut State, which: Which, packs: Packs) {
    let mut client = Client {
        step: Step::Gathering,
        needs: packs,
        ..state.clients.get(which)
    };
    for pack in Which::BOTH {
        if packs & pack.bit() != 0 {
            client.known.set(pack, known(config, state, pack));
        }
    }
    state.clients.set(which, client);
}

/// What this moment's listing tells of a pack: its lock, or where there are none that it is safe as of now.
fn known(config: &Config, state: &State, which: Which) -> u8 {
    match state.packs.get(which) {
        Some(_) if !config.has_locks() => state.now,
        Some(pack) => match pack.top {
            Top::Impostor(lock) if config.breaks(Mutation::TrustLatest) => lock,
            Top::Impostor(_) | Top::Authentic | Top::Marker => pack.lock,
        },
        None => 0,
    }
}

fn moment(state: &State, client: &Client) -> Moment {
    Moment {
        now: state.now,
        ahead: client.ahead,
    }
}

pub(super) fn put_pack(config: &Config, state: &mut State, which: Which, place: Which, phase: u8) {
    let mut client = state.clients.get(which);
    let pack = Pack {
        lock: config.put_lock(phase, moment(state, &client)),
        received: state.now,
        phase,
        top: Top::Authentic,
    };
    state.packs.set(place, Some(pack));
    client.needs |= place.bit();
    client.own |= place.bit();
    client.known.set(place, known(config, state, place));
    state.clients.set(which, client);
}

pub(super) fn extend(config: &Config, state: &mut State, which: Which) {
    let mut client = state.clients.get(which);
    let moment = moment(state, &client);
    for pack in Which::BOTH {
        if client.needs & pack.bit() != 0 {
            let lock = extend_pack(config, state, pack, moment);
            client.known.set(pack, lock);
        }
    }
    state.clients.set(which, client);
}

/// Looks again at what is needed. What nobody vouches for any more, and what this run has put itself, stays as old as it was.
pub(super) fn relist(config: &Config, state: &mut State, which: Which) {
    let mut client = state.clients.get(which);
    let reusable = reusable(config, state);
    let believes = config.breaks(Mutation::OwnPacksNeverLapse);
    for pack in Which::BOTH {
        let is_own = believes && client.own & pack.bit() != 0;
        if client.needs & pack.bit() != 0 && (is_own || reusable & pack.bit() != 0) {
            client.known.set(pack, state.now);
        }
    }
    state.clients.set(which, client);
}

pub(super) fn send(config: &Config, state: &mut State, which: Which, kind: Kind) {
    let mut client = state.clients.get(which);
    let lock = config.put_lock(0, moment(state, &client));
    let needed = Which::BOTH
        .into_iter()
        .filter(|pack| client.needs & pack.bit() != 0)
        .map(|pack| client.known.get(pack));
    let counts_own = config.has_locks() && !config.breaks(Mutation::ForgetOwnLock);
    let relied = needed.chain(counts_own.then_some(lock)).min().unwrap_or(0);
    client.step = Step::Sent {
        kind,
        lock,
        relied,
        early: config.breaks(Mutation::CommitBeforePut) && config.commits(relied, state.now),
    };
    if kind == Kind::Checkpoint {
        state.left.checkpoints = state.left.checkpoints.saturating_sub(1);
    }
    state.clients.set(which, client);
}

/// The put arrives, and its answer decides.
pub(super) fn arrive(config: &Config, state: &mut State, which: Which, answer: Answer) {
    let mut client = state.clients.get(which);
    let (
        Step::Sent {
            kind,
            lock,
            relied,
            early,
        },
        Some(slot),
    ) = (client.step, state.free_slot(config.limits.slots))
    else {
        return rest(state, which);
    };
    let now = state.now;
    let counts = early
        || config.breaks(Mutation::DropCommitRule)
        || (!config.breaks(Mutation::CommitBeforePut) && config.commits(relied, now));
    let is_told = counts && kind == Kind::Snapshot && answer == Answer::Heard;
    let verdict = match (is_told, config.is_late(relied, now)) {
        (true, _) => Verdict::Told,
        (false, false) => Verdict::Shown,
        (false, true) => Verdict::Incomplete,
    };
    // On what is broken on purpose the promise itself is to fail, not this.
    if is_told && config.mutation.is_none() && config.is_late(relied, now) {
        state.broken = Some(Broken::Shown);
    }
    state.change(|older| {
        if older.by == By::Client(which) && older.succeeded == 0 {
            let ends = older.kind == Kind::Checkpoint || older.verdict == Verdict::Incomplete;
            older.succeeded = if ends { now } else { 0 };
        }
    });
    let promised = is_told && config.has_locks();
    let snapshot = Snapshot {
        kind,
        by: By::Client(which),
        needs: client.needs,
        lock,
        verdict,
        promise: if promised {
            now.saturating_add(config.protect())
        } else {
            0
        },
        retired: 0,
        succeeded: 0,
        hidden: false,
        seen: false,
    };
    state.set_snapshot(slot, Some(snapshot));
    if answer == Answer::Lost || (counts && kind == Kind::Snapshot) {
        return rest(state, which);
    }
    client.step = Step::Gathering;
    state.clients.set(which, client);
}

/// Nothing is under way any more.
pub(super) fn rest(state: &mut State, which: Which) {
    let client = Client {
        step: Step::Idle,
        needs: 0,
        own: 0,
        known: Pair::default(),
        ahead: state.clients.get(which).ahead,
    };
    state.clients.set(which, client);
}
