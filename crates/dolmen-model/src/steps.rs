//! What can happen, and what comes of it.

mod attacker;
mod client;
mod maintenance;

use crate::config::{Config, Credential, Flavour, Mutation, Regime};
use crate::rules::Moment;
use crate::state::{
    By, Client, Kind, Left, Pack, Packs, Pair, START, Snapshot, State, Step, Top, Verdict, Which,
};

pub use attacker::Attack;
pub(crate) use maintenance::{apply, is_owed};

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A second goes by.
    Tick,
    /// A client lists, and decides what it builds upon.
    Begin(Which, Packs),
    /// A client puts a pack whose grid has a phase.
    PutPack(Which, Which, u8),
    /// A client extends what it needs and is due, by version id.
    Extend(Which),
    /// A client lists again.
    Relist(Which),
    /// A client sends a snapshot or checkpoint.
    Send(Which, Kind),
    /// The store receives it, and the client its answer.
    Arrive(Which),
    /// The store receives it, and the client crashes.
    ArriveUnheard(Which),
    /// A client crashes, and what it has sent is lost.
    Crash(Which),
    /// A person or the policy ends the life of an object under `snapshots/`.
    Retire(u8),
    /// A person looks at what a retired one needs, and extends it.
    BeginUndo(u8),
    /// The undo arrives.
    ArriveUndo,
    /// Maintenance renews what is due.
    Renew,
    /// Prune lists.
    List,
    /// Prune deletes an object under `snapshots/`.
    DeleteSnapshot(u8),
    /// Prune deletes a pack.
    DeletePack(Which),
    /// The attacker acts.
    Attack(Attack),
}

/// Lets the states begin with something worth protecting: a snapshot of one client that needs one pack.
pub(crate) fn starts(config: &Config) -> Vec<State> {
    let (protect, margin) = (config.protect(), config.margin());
    let lease = protect.saturating_add(margin);
    // The lock of what is there, and when it was renewed.
    let locks: &[(u8, u8)] = match (config.flavour, config.regime) {
        (Flavour::None, _) => &[(0, 0)],
        (Flavour::Compliance, Regime::Promised) => &[
            (START.saturating_add(protect), START.saturating_sub(margin)),
            (START.saturating_add(lease), START),
        ],
        (Flavour::Compliance, Regime::Free) => &[
            (0, 0),
            (START.saturating_add(1), 0),
            (START.saturating_add(lease), 0),
        ],
    };
    let client = |ahead| Client {
        step: Step::Idle,
        needs: 0,
        own: 0,
        known: Pair::default(),
        ahead,
    };
    locks
        .iter()
        .map(|(lock, renewed)| {
            let pack = Pack {
                lock: *lock,
                received: 0,
                phase: 0,
                top: Top::Authentic,
            };
            let mut state = State {
                now: START,
                packs: Pair::new(Some(pack), None),
                snapshots: [None; crate::SLOTS],
                clients: Pair::new(client(0), client(config.client_ahead)),
                undo: None,
                prune: None,
                renewed: *renewed,
                left: Left {
                    crashes: config.limits.crashes,
                    retirements: config.limits.retirements,
                    undos: config.limits.undos,
                    attacks: config.limits.attacks,
                    checkpoints: config.limits.checkpoints,
                },
                broken: None,
            };
            let snapshot = Snapshot {
                kind: Kind::Snapshot,
                by: By::Client(Which::A),
                needs: Which::A.bit(),
                lock: *lock,
                verdict: Verdict::Told,
                promise: 0,
                retired: 0,
                succeeded: 0,
                hidden: false,
                seen: true,
            };
            state.set_snapshot(0, Some(snapshot));
            state
        })
        .flat_map(|state| histories(config, state))
        .collect()
}

/// Without locks all takes a lease: so it may also begin where most of one is over.
fn histories(config: &Config, state: State) -> Vec<State> {
    let mut histories = vec![state];
    if config.has_locks() {
        return histories;
    }
    let lease = config.protect().saturating_add(config.margin());
    let since = START.saturating_sub(lease.saturating_sub(2));
    // A client has crashed after it put a pack.
    let mut orphan = state;
    let pack = Pack {
        lock: 0,
        received: since,
        phase: 0,
        top: Top::Authentic,
    };
    orphan.packs.set(Which::B, Some(pack));
    histories.push(orphan);
    // The same, but it sleeps.
    let mut sleeping = orphan;
    let client = Client {
        step: Step::Gathering,
        needs: Which::B.bit(),
        own: Which::B.bit(),
        ..state.clients.get(Which::A)
    };
    sleeping.clients.set(Which::A, client);
    histories.push(sleeping);
    // A client sleeps that was about to build upon a snapshot which has been retired since.
    let mut retired = state;
    let client = Client {
        needs: Which::A.bit(),
        own: 0,
        ..client
    };
    retired.clients.set(Which::A, client);
    if let Some(snapshot) = state.snapshot(0) {
        let retired_at = Snapshot {
            retired: since,
            ..snapshot
        };
        retired.set_snapshot(0, Some(retired_at));
    }
    histories.push(retired);
    histories
}

/// Collects what may happen.
pub(crate) fn actions(config: &Config, state: &State, actions: &mut Vec<Action>) {
    if state.broken.is_some() {
        return;
    }
    if may_tick(config, state) {
        actions.push(Action::Tick);
    }
    for which in Which::BOTH
        .into_iter()
        .take(usize::from(config.limits.clients))
    {
        client::actions(config, state, which, actions);
    }
    person_actions(state, actions);
    maintenance::actions(config, state, actions);
    if state.left.attacks > 0 {
        attacker::actions(config, state, actions);
    }
}

/// Whether time may go on: where maintenance is promised, it runs once in M.
fn may_tick(config: &Config, state: &State) -> bool {
    let is_promised = config.has_locks() && config.regime == Regime::Promised;
    let extra = u8::from(config.breaks(Mutation::RenewTooRarely));
    let longest = config.margin().saturating_add(extra);
    let age = state.now.saturating_add(1).saturating_sub(state.renewed);
    let is_over = state.now.saturating_sub(START) >= config.limits.ticks;
    !is_over && (!is_promised || age <= longest)
}

fn person_actions(state: &State, actions: &mut Vec<Action>) {
    let may_undo = state.left.undos > 0 && state.undo.is_none();
    for (slot, snapshot) in state.stored() {
        if snapshot.kind != Kind::Snapshot || snapshot.by == By::Attacker {
            continue;
        }
        if snapshot.retired == 0 && state.left.retirements > 0 {
            actions.push(Action::Retire(slot));
        }
        if snapshot.retired != 0 && may_undo {
            actions.push(Action::BeginUndo(slot));
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
        Action::Begin(which, packs) => client::begin(config, &mut state, which, packs),
        Action::PutPack(which, pack, phase) => {
            client::put_pack(config, &mut state, which, pack, phase);
        }
        Action::Extend(which) => client::extend(config, &mut state, which),
        Action::Relist(which) => client::relist(config, &mut state, which),
        Action::Send(which, kind) => client::send(config, &mut state, which, kind),
        Action::Arrive(which) => client::arrive(config, &mut state, which, client::Answer::Heard),
        Action::ArriveUnheard(which) => {
            state.left.crashes = state.left.crashes.saturating_sub(1);
            client::arrive(config, &mut state, which, client::Answer::Lost);
        }
        Action::Crash(which) => {
            state.left.crashes = state.left.crashes.saturating_sub(1);
            client::rest(&mut state, which);
        }
        Action::Retire(slot) => {
            state.left.retirements = state.left.retirements.saturating_sub(1);
            maintenance::retire(&mut state, slot);
        }
        Action::BeginUndo(slot) => {
            state.left.undos = state.left.undos.saturating_sub(1);
            maintenance::begin_undo(config, &mut state, slot);
        }
        Action::ArriveUndo => maintenance::arrive_undo(config, &mut state),
        Action::Renew => maintenance::renew(config, &mut state),
        Action::List => maintenance::list(config, &mut state),
        Action::DeleteSnapshot(slot) => maintenance::delete_snapshot(config, &mut state, slot),
        Action::DeletePack(pack) => maintenance::delete_pack(config, &mut state, pack),
        Action::Attack(attack) => attacker::act(config, &mut state, attack),
    }
    normalise(config, &mut state);
    (state != *before).then_some(state)
}

/// Makes states equal that nothing can tell apart from now on: what is over is over, however long, and what no rule asks
/// on this kind of store is nothing.
fn normalise(config: &Config, state: &mut State) {
    let now = state.now;
    let long_ago = now.saturating_sub(config.memory());
    state.packs = state.packs.map(|pack| {
        pack.map(|pack| Pack {
            lock: over(pack.lock, now),
            received: if config.has_locks() {
                0
            } else {
                pack.received.max(long_ago)
            },
            top: match pack.top {
                Top::Impostor(lock) => Top::Impostor(over(lock, now)),
                Top::Authentic | Top::Marker => pack.top,
            },
            ..pack
        })
    });
    let may_be_undone = state.left.undos > 0 || state.undo.is_some();
    state.change(|snapshot| {
        snapshot.lock = over(snapshot.lock, now);
        snapshot.promise = over(snapshot.promise, now);
        if !may_be_succeeded(config, snapshot) {
            snapshot.succeeded = 0;
        }
        if !config.has_locks() || config.regime == Regime::Free {
            snapshot.seen = true;
        }
        if config.has_locks() {
            // Only whether matters, and of a retirement whether it is within its grace.
            snapshot.succeeded = snapshot.succeeded.min(1);
            let has_grace = may_be_undone && now <= config.undo_until(snapshot.retired);
            snapshot.retired = if has_grace {
                snapshot.retired
            } else {
                snapshot.retired.min(1)
            };
            if snapshot.verdict == Verdict::Told && snapshot.promise == 0 {
                snapshot.verdict = Verdict::Shown;
            }
        } else {
            for since in [&mut snapshot.retired, &mut snapshot.succeeded] {
                *since = if *since == 0 {
                    0
                } else {
                    (*since).max(long_ago)
                };
            }
        }
    });
    state.clients = state
        .clients
        .map(|client| normal_client(config, client, now));
    if let Some(listing) = &mut state.prune {
        let recent = |since: u8| if since == 0 { 0 } else { since.max(long_ago) };
        listing.freed = listing.freed.map(recent);
        listing.ended = listing.ended.map(recent);
    }
    state.prune = state
        .prune
        .filter(|listing| config.is_fresh(listing.at, now) && (listing.packs | listing.slots) != 0);
}

/// What has ended before now has ended.
const fn over(until: u8, now: u8) -> u8 {
    if until < now { 0 } else { until }
}

/// Of locks only the earliest counts, and nothing does that is too old to commit with.
fn normal_client(config: &Config, client: Client, now: u8) -> Client {
    let usable = |relied: u8| {
        if config.commits(relied, now) {
            relied
        } else {
            0
        }
    };
    let mut normal = client;
    if let Step::Sent { relied, .. } = &mut normal.step {
        *relied = usable(*relied);
    }
    if !config.breaks(Mutation::OwnPacksNeverLapse) {
        normal.own = 0;
    }
    let needed = Which::BOTH
        .into_iter()
        .filter(|which| client.needs & which.bit() != 0);
    let earliest = needed
        .map(|which| client.known.get(which))
        .min()
        .unwrap_or(0);
    for which in Which::BOTH {
        let known = match client.needs & which.bit() {
            0 => 0,
            _ if config.has_locks() => usable(earliest),
            _ => usable(client.known.get(which)),
        };
        normal.known.set(which, known);
    }
    normal
}

/// Whether an object under `snapshots/` lives. The model's own: [`dolmen_core::lease::standings`] decides the same for
/// checkpoints, a test says, as far as nothing ages within the bounds.
pub(crate) fn lives(config: &Config, snapshot: &Snapshot) -> bool {
    let is_absent = snapshot.hidden && config.breaks(Mutation::AbsenceIsDeath);
    !is_absent
        && snapshot.retired == 0
        && (snapshot.succeeded == 0 || !may_be_succeeded(config, snapshot))
}

/// Whether it ends when something descends from it.
fn may_be_succeeded(config: &Config, snapshot: &Snapshot) -> bool {
    snapshot.kind == Kind::Checkpoint
        || snapshot.verdict == Verdict::Incomplete
        || config.breaks(Mutation::CheckpointEndsSnapshot)
}

/// When a life ended.
fn ended(snapshot: &Snapshot) -> u8 {
    snapshot.retired.max(snapshot.succeeded)
}

/// What maintenance's clock shows.
fn maintenance_moment(config: &Config, state: &State) -> Moment {
    Moment {
        now: state.now,
        ahead: config.maintenance_ahead,
    }
}

/// Whether an attacker is there who can do a thing.
fn holds(config: &Config, credentials: &[Credential]) -> bool {
    credentials.contains(&config.credential)
}

/// Extends an authentic pack's lock: by version id, or for the mutation by key. The lock that the caller believes in.
fn extend_pack(config: &Config, state: &mut State, which: Which, moment: Moment) -> u8 {
    let Some(mut pack) = state.packs.get(which) else {
        return 0;
    };
    let is_blind = config.breaks(Mutation::ExtendLatest);
    let believed = match (is_blind, pack.top) {
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
    state.packs.set(which, Some(pack));
    believed
}
