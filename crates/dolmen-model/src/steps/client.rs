//! A client: list, reuse or put packs, put the snapshot, look whether it counts.

use super::{Action, extend_packs, lives, members};
use crate::config::{Config, Mutation};
use crate::rules::Moment;
use crate::state::{
    Broken, Client, Pack, Packs, SOME_PACKS, Snapshot, State, Step, Top, Verdict, Which,
};

/// Whether the client learns what the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Heard,
    /// It crashed.
    Lost,
}

/// What becomes of what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is a snapshot, and watched from now on.
    Watched(Answer),
    /// It is one of the others, and the client's run is over.
    OtherAtRest,
    /// It is one of the others, and the client goes on: it was a checkpoint, or does not count.
    OtherGoingOn,
}

pub(super) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    let client = state.client;
    match client.step {
        Step::Idle => {
            let reusable = reusable(config, state);
            let sets = SOME_PACKS.filter(|packs| packs & reusable == *packs);
            actions.extend(sets.map(Action::Begin));
            if config.has_locks() {
                put_actions(config, state, actions);
            } else {
                actions.push(Action::Begin(0));
            }
        }
        Step::Gathering => gathering(config, state, actions),
        Step::Sent { .. } => {
            // On what is broken on purpose a late one may count, too.
            let is_late = config.is_late(client.relied, state.now) && config.mutation.is_none();
            if state.watched.is_none() && !is_late {
                actions.push(Action::Arrive(Fate::Watched(Answer::Heard)));
                actions.push(Action::Arrive(Fate::Watched(Answer::Lost)));
            }
            actions.push(Action::Arrive(Fate::OtherAtRest));
            actions.push(Action::Arrive(Fate::OtherGoingOn));
        }
    }
    if client.step != Step::Idle {
        actions.push(Action::Crash);
    }
}

fn gathering(config: &Config, state: &State, actions: &mut Vec<Action>) {
    put_actions(config, state, actions);
    let client = state.client;
    if client.needs == 0 {
        return;
    }
    actions.push(if config.has_locks() {
        Action::Extend
    } else {
        Action::Relist
    });
    if config.has_locks() || !config.is_aged(client.own_since, state.now) {
        actions.push(Action::Send);
    }
}

/// Without locks nobody builds upon what is there already unless a listing vouches for it.
fn put_actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    let needs = state.client.needs;
    for pack in members(!needs) {
        match state.packs.get(pack) {
            None => {
                let phases = u8::try_from(config.terms.generation_seconds()).unwrap_or(1);
                actions.extend((0..phases).map(|phase| Action::PutPack(pack, phase)));
            }
            Some(found) if config.has_locks() => {
                actions.push(Action::PutPack(pack, found.phase));
            }
            Some(_) => {}
        }
    }
}

/// What a client may build upon.
///
/// With locks, whatever is there: the lock that it reads decides. Without, what something live of its signer needs that
/// itself came in time, as this listing shows it.
fn reusable(config: &Config, state: &State) -> Packs {
    let mut found = state.stored();
    if config.breaks(Mutation::TrustLatest) {
        let is_hidden = |pack: Pack| pack.top == Top::Marker;
        let hidden = members(found).filter(|which| state.packs.get(*which).is_some_and(is_hidden));
        found &= !hidden.fold(0, |packs, which| packs | which.bit());
    }
    if config.has_locks() || config.breaks(Mutation::ReuseUnneeded) {
        return found;
    }
    let mut vouched = state.others.kept;
    if config.breaks(Mutation::ReuseThroughLate) {
        vouched |= state.others.late;
    }
    if let Some(snapshot) = state.watched
        && lives(config, snapshot)
    {
        vouched |= snapshot.needs;
    }
    found & vouched
}

pub(super) fn begin(config: &Config, state: &mut State, packs: Packs) {
    let relied = if config.has_locks() {
        members(packs)
            .map(|pack| lock_of(config, state, pack))
            .min()
            .unwrap_or(0)
    } else {
        state.now
    };
    let client = Client {
        step: Step::Gathering,
        needs: packs,
        relied,
        ..state.client
    };
    state.client = client;
}

/// The lock of a pack, as the client reads it.
fn lock_of(config: &Config, state: &State, which: Which) -> u8 {
    state.packs.get(which).map_or(0, |pack| match pack.top {
        Top::Impostor(lock) if config.breaks(Mutation::TrustLatest) => lock,
        Top::Impostor(_) | Top::Authentic | Top::Marker => pack.lock,
    })
}

fn moment(state: &State, client: Client) -> Moment {
    Moment {
        now: state.now,
        ahead: client.ahead,
    }
}

pub(super) fn put_pack(config: &Config, state: &mut State, place: Which, phase: u8) {
    let mut client = state.client;
    let wanted = config.put_lock(phase, moment(state, client));
    let is_new = state.packs.get(place).is_none();
    if is_new {
        let pack = Pack {
            lock: wanted,
            since: state.now,
            phase,
            top: Top::Authentic,
        };
        state.packs.set(place, Some(pack));
    }
    if config.has_locks() {
        let lock = if config.breaks(Mutation::PresentIsLocked) {
            wanted
        } else {
            lock_of(config, state, place)
        };
        client.relied = if client.needs == 0 {
            lock
        } else {
            client.relied.min(lock)
        };
    }
    client.step = Step::Gathering;
    client.needs |= place.bit();
    client.own |= place.bit();
    if client.own_since == 0 {
        client.own_since = state.now;
    }
    state.client = client;
}

pub(super) fn extend(config: &Config, state: &mut State) {
    let mut client = state.client;
    let moment = moment(state, client);
    client.relied = extend_packs(config, state, client.needs, moment);
    state.client = client;
}

/// Looks again whether something live needs what is needed; of what this run has put itself only the age counts.
pub(super) fn relist(config: &Config, state: &mut State) {
    let mut client = state.client;
    let known = reusable(config, state) | client.own;
    if client.needs & known == client.needs {
        client.relied = state.now;
        state.client = client;
    }
}

pub(super) fn send(config: &Config, state: &mut State) {
    let mut client = state.client;
    let lock = config.put_lock(0, moment(state, client));
    if config.has_locks() && !config.breaks(Mutation::ForgetOwnLock) {
        client.relied = client.relied.min(lock);
    }
    client.step = Step::Sent {
        lock,
        early: config.breaks(Mutation::CommitBeforePut)
            && config.commits(client.relied, moment(state, client)),
    };
    state.client = client;
}

/// The put arrives, and its answer decides.
pub(super) fn arrive(config: &Config, state: &mut State, fate: Fate) {
    let mut client = state.client;
    let Step::Sent { lock, early } = client.step else {
        return;
    };
    let now = state.now;
    let counts = early
        || config.breaks(Mutation::DropCommitRule)
        || (!config.breaks(Mutation::CommitBeforePut)
            && config.commits(client.relied, moment(state, client)));
    let is_told = counts && fate == Fate::Watched(Answer::Heard);
    let is_late = config.is_late(client.relied, now);
    // On what is broken on purpose the promise itself is to fail, not this.
    if is_told && is_late && config.mutation.is_none() {
        state.broken = Some(Broken::Shown);
    }
    let verdict = match (is_told, is_late) {
        (true, _) => Verdict::Told,
        (false, false) => Verdict::Shown,
        (false, true) => Verdict::Incomplete,
    };
    match fate {
        Fate::Watched(_) if verdict != Verdict::Incomplete => {
            let promise = if is_told && config.has_locks() {
                now.saturating_add(config.protect())
            } else {
                0
            };
            state.watched = Some(Snapshot {
                needs: client.needs,
                lock,
                verdict,
                promise,
                retired: 0,
                ended: false,
                hidden: false,
                seen: false,
            });
        }
        Fate::Watched(_) | Fate::OtherAtRest | Fate::OtherGoingOn => {
            others_arrive(state, client.needs, is_late);
        }
    }
    let goes_on = match fate {
        Fate::Watched(Answer::Heard) => !counts,
        Fate::Watched(Answer::Lost) | Fate::OtherAtRest => false,
        Fate::OtherGoingOn => true,
    };
    if !goes_on {
        return rest(state);
    }
    client.step = Step::Gathering;
    state.client = client;
}

/// Something else arrives that needs these. Prune's plan lets them be: of all runs in which a snapshot loses something, in
/// the shortest the watched one does, not this.
pub(super) fn others_arrive(state: &mut State, needs: Packs, is_late: bool) {
    if is_late {
        state.others.late |= needs;
        return;
    }
    state.others.kept |= needs;
    if let Some(listing) = &mut state.prune {
        listing.packs &= !needs;
        members(needs).for_each(|pack| listing.since.set(pack, 0));
    }
}

/// Nothing is under way any more.
pub(super) fn rest(state: &mut State) {
    let client = Client {
        step: Step::Idle,
        needs: 0,
        own: 0,
        own_since: 0,
        relied: 0,
        ahead: state.client.ahead,
    };
    state.client = client;
}
