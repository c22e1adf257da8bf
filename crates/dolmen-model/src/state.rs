//! The state: small, hashable, the same for what cannot be told apart.

/// Objects under `snapshots/` that there is room for.
pub const SLOTS: usize = 4;

/// The first tick. Times before it are the past of what is there at the start.
pub(crate) const START: u8 = 40;

/// One of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// The one.
    A,
    /// The other.
    B,
}

impl Which {
    /// Both.
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::B];

    /// As a set of one.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Two of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pair<T> {
    a: T,
    b: T,
}

impl<T: Copy> Pair<T> {
    pub(crate) const fn new(a: T, b: T) -> Self {
        Self { a, b }
    }

    pub(crate) const fn get(&self, which: Which) -> T {
        match which {
            Which::A => self.a,
            Which::B => self.b,
        }
    }

    pub(crate) fn set(&mut self, which: Which, value: T) {
        match which {
            Which::A => self.a = value,
            Which::B => self.b = value,
        }
    }

    pub(crate) fn map(self, change: impl Fn(T) -> T) -> Self {
        Self::new(change(self.a), change(self.b))
    }

    const fn swapped(self) -> Self {
        Self::new(self.b, self.a)
    }
}

/// A set of packs.
pub(crate) type Packs = u8;

const fn swapped_packs(packs: Packs) -> Packs {
    ((packs & 1) << 1) | ((packs >> 1) & 1)
}

/// The newest version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Top {
    /// The authentic one.
    Authentic,
    /// The attacker's, with its lock's end.
    Impostor(u8),
    /// A delete marker.
    Marker,
}

/// A pack whose authentic version is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pack {
    /// End of the authentic version's lock; 0 where there is none or it has lapsed.
    pub lock: u8,
    /// Receipt; 0 on stores with locks, where nothing asks.
    pub received: u8,
    /// Where its grid lies.
    pub phase: u8,
    /// What lies on top.
    pub top: Top,
}

/// What an object under `snapshots/` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A snapshot.
    Snapshot,
    /// A checkpoint.
    Checkpoint,
}

/// Who put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// A client.
    Client(Which),
    /// The attacker.
    Attacker,
}

/// What is thought of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// The client was told that it is a success.
    Told,
    /// Nobody was told, and a reader shows it as whole.
    Shown,
    /// A reader shows it as incomplete.
    Incomplete,
}

/// A snapshot or checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snapshot {
    /// What it is.
    pub kind: Kind,
    /// Who put it.
    pub by: By,
    /// What it needs.
    pub needs: Packs,
    /// End of its own lock; 0 where there is none or it has lapsed.
    pub lock: u8,
    /// What is thought of it.
    pub verdict: Verdict,
    /// Until when it is promised to be restorable; 0: that is over, or never was.
    pub promise: u8,
    /// Receipt of its retirement; 0: none is in force.
    pub retired: u8,
    /// Receipt of the first object that descends from it; 0: none does.
    pub succeeded: u8,
    /// Whether a delete marker lies on top.
    pub hidden: bool,
    /// Whether a run of maintenance has renewed what it needs.
    pub seen: bool,
}

/// What a client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Nothing is under way.
    Idle,
    /// It has listed; packs may follow.
    Gathering,
    /// The snapshot's put is under way.
    Sent {
        /// Of what.
        kind: Kind,
        /// The lock in the request.
        lock: u8,
        /// What the signed part states as relied on: the earliest lock, or without locks the earliest moment at which
        /// something that it needs was known to be safe.
        relied: u8,
        /// What the commit rule said before the put, for the mutation.
        early: bool,
    },
}

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client {
    /// What it is at.
    pub step: Step,
    /// What the coming snapshot needs.
    pub needs: Packs,
    /// What of that this run has put.
    pub own: Packs,
    /// For each pack: the lock that it has read, or without locks the time from which it is known to be safe.
    pub known: Pair<u8>,
    /// Ticks by which its clock is ahead.
    pub ahead: i8,
}

/// An undo that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Undo {
    /// Of which object.
    pub slot: u8,
    /// The earliest lock of what it needs, once extended.
    pub known: u8,
}

/// What prune has decided on a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listing {
    /// When it began.
    pub at: u8,
    /// What goes, packs.
    pub packs: Packs,
    /// What goes, a set of slots.
    pub slots: u8,
    /// Since when each pack is free by the latest end of what needed it; 0 where nothing asks.
    pub freed: Pair<u8>,
    /// When the life of each object in `slots` ended; 0 where nothing asks.
    pub ended: [u8; SLOTS],
}

impl Listing {
    /// When the life of the object in a slot ended.
    pub(crate) fn ended(&self, slot: u8) -> u8 {
        self.ended.get(usize::from(slot)).copied().unwrap_or(0)
    }
}

/// How often things may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Left {
    /// Crashes.
    pub crashes: u8,
    /// Retirements.
    pub retirements: u8,
    /// Undos.
    pub undos: u8,
    /// Attacks.
    pub attacks: u8,
    /// Checkpoints.
    pub checkpoints: u8,
}

/// What went wrong in a step and does not show in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broken {
    /// A snapshot object was deleted that was promised.
    Promised,
    /// A snapshot object was deleted that lives.
    Live,
    /// An undo within the grace found something missing.
    Undo,
    /// A client was told that a snapshot is a success which a reader shows as incomplete.
    Shown,
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// The store's clock.
    pub now: u8,
    /// The packs whose authentic version is stored.
    pub packs: Pair<Option<Pack>>,
    /// What lies under `snapshots/`.
    pub snapshots: [Option<Snapshot>; SLOTS],
    /// The clients.
    pub clients: Pair<Client>,
    /// The undo that is under way.
    pub undo: Option<Undo>,
    /// Prune's listing.
    pub prune: Option<Listing>,
    /// When maintenance renewed last; 0 where nobody asks.
    pub renewed: u8,
    /// What may still happen.
    pub left: Left,
    /// What went wrong.
    pub broken: Option<Broken>,
}

impl State {
    /// The slots that are taken, with their numbers.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (u8, Snapshot)> {
        (0_u8..)
            .zip(self.snapshots)
            .filter_map(|(slot, snapshot)| Some((slot, snapshot?)))
    }

    pub(crate) fn snapshot(&self, slot: u8) -> Option<Snapshot> {
        self.snapshots.get(usize::from(slot)).copied().flatten()
    }

    pub(crate) fn set_snapshot(&mut self, slot: u8, snapshot: Option<Snapshot>) {
        if let Some(place) = self.snapshots.get_mut(usize::from(slot)) {
            *place = snapshot;
        }
    }

    /// Changes every object under `snapshots/`.
    pub(crate) fn change(&mut self, mut change: impl FnMut(&mut Snapshot)) {
        self.snapshots.iter_mut().flatten().for_each(&mut change);
    }

    /// The first free slot below a limit.
    pub(crate) fn free_slot(&self, slots: u8) -> Option<u8> {
        (0..slots).find(|slot| self.snapshot(*slot).is_none())
    }

    /// Whether all of a set of packs is stored.
    pub(crate) fn has(&self, packs: Packs) -> bool {
        let is_there = |which: Which| self.packs.get(which).is_some();
        Which::BOTH
            .into_iter()
            .all(|which| packs & which.bit() == 0 || is_there(which))
    }

    /// The same for all states that differ by the names of clients and packs.
    pub(crate) fn representative(&self) -> Self {
        let clients = self.with_clients_swapped();
        let packs = self.with_packs_swapped();
        let both = clients.with_packs_swapped();
        (*self).min(clients).min(packs).min(both)
    }

    fn with_clients_swapped(&self) -> Self {
        let mut swapped = *self;
        swapped.clients = self.clients.swapped();
        swapped.change(|snapshot| {
            if let By::Client(which) = snapshot.by {
                snapshot.by = By::Client(which.other());
            }
        });
        swapped
    }

    fn with_packs_swapped(&self) -> Self {
        let mut swapped = *self;
        swapped.packs = self.packs.swapped();
        swapped.change(|snapshot| snapshot.needs = swapped_packs(snapshot.needs));
        swapped.clients = self.clients.map(|client| Client {
            needs: swapped_packs(client.needs),
            own: swapped_packs(client.own),
            known: client.known.swapped(),
            ..client
        });
        swapped.prune = self.prune.map(|listing| Listing {
            packs: swapped_packs(listing.packs),
            freed: listing.freed.swapped(),
            ..listing
        });
        swapped
    }
}
