//! The state: small, hashable, the same for what cannot be told apart.

/// The tick that it is where states are compared, but for where in the cycle of its clocks it stands; times before are past.
pub(crate) const START: u8 = 40;

/// A lock's end that no run reaches.
pub(crate) const FOR_EVER: u8 = 250;

/// A time that is over for all rules.
pub(crate) const LONG_AGO: u8 = 1;

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
}

/// Two of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pair<T> {
    a: T,
    b: T,
}

impl<T: Copy> Pair<T> {
    /// Of these.
    pub const fn new(a: T, b: T) -> Self {
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

    pub(crate) fn map<U>(self, change: impl Fn(T) -> U) -> Pair<U> {
        Pair {
            a: change(self.a),
            b: change(self.b),
        }
    }

    const fn swapped(self) -> Self {
        Self::new(self.b, self.a)
    }
}

/// A set of packs.
pub(crate) type Packs = u8;

/// Every set of packs but the empty one.
pub(crate) const SOME_PACKS: std::ops::RangeInclusive<Packs> = 1..=3;

/// The packs of a set.
pub(crate) fn members(packs: Packs) -> impl Iterator<Item = Which> {
    let is_in = move |which: &Which| packs & which.bit() != 0;
    Which::BOTH.into_iter().filter(is_in)
}

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
    /// The latest of its receipt and the ends of what needed it; 0 on stores with locks, where nothing asks.
    pub since: u8,
    /// Where its grid lies.
    pub phase: u8,
    /// What lies on top.
    pub top: Top,
}

/// What is thought of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// The client was told that it is a success.
    Told,
    /// Nobody was told, and a reader shows it as whole.
    Shown,
    /// A reader shows it as incomplete.
    Incomplete,
}

/// The snapshot that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snapshot {
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
    /// Whether a checkpoint says that it descends from it, where that is taken as its end.
    pub ended: bool,
    /// Whether a delete marker lies on top, where that is taken for anything.
    pub hidden: bool,
    /// Whether a run of maintenance has renewed what it needs.
    pub seen: bool,
}

/// What all other snapshots and checkpoints keep, on stores without locks. With locks nobody asks: what they keep may be
/// extended at any time, and nothing has to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Others {
    /// What those need that came in time, so that a client may build upon it.
    pub kept: Packs,
    /// What those need that came too late, where that counts for anything.
    pub late: Packs,
}

/// What a client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Nothing is under way.
    Idle,
    /// It has listed; packs may follow.
    Gathering,
    /// The put of a snapshot or checkpoint is under way.
    Sent {
        /// The lock in the request.
        lock: u8,
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
    /// What of that this run has put; nothing on stores with locks, where nothing asks.
    pub own: Packs,
    /// When it put the first of them; 0: none.
    pub own_since: u8,
    /// What the coming snapshot relies on: the earliest lock that was read, or without locks the begin of the listing. 0:
    /// that is too old for everything.
    pub relied: u8,
    /// Ticks by which its clock is ahead.
    pub ahead: i8,
}

/// What prune has decided on a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listing {
    /// When it began.
    pub at: u8,
    /// The packs that go.
    pub packs: Packs,
    /// Whether the watched snapshot goes.
    pub snapshot: bool,
    /// Since when each of the packs is free; 0 where nothing asks.
    pub since: Pair<u8>,
}

/// What went wrong in a step and does not show in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broken {
    /// A snapshot object was deleted that was promised.
    Promised,
    /// A snapshot object was deleted that lives.
    Live,
    /// An undo within the grace finds something missing.
    Undo,
    /// A client was told that a snapshot is a success which a reader shows as incomplete.
    Shown,
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// The tick that it is.
    pub now: u8,
    /// The packs whose authentic version is stored.
    pub packs: Pair<Option<Pack>>,
    /// The snapshot that is watched, if one is.
    pub watched: Option<Snapshot>,
    /// All others.
    pub others: Others,
    /// The client that is followed.
    pub client: Client,
    /// An undo of the watched snapshot that is under way: the earliest lock of what it needs, once extended.
    pub undo: Option<u8>,
    /// Prune's listing.
    pub prune: Option<Listing>,
    /// When maintenance renewed last; 0 where nobody asks.
    pub renewed: u8,
    /// What went wrong.
    pub broken: Option<Broken>,
}

impl State {
    /// The packs that are stored.
    pub(crate) fn stored(&self) -> Packs {
        let is_there = |which: &Which| self.packs.get(*which).is_some();
        Which::BOTH
            .into_iter()
            .filter(is_there)
            .fold(0, |packs, which| packs | which.bit())
    }

    /// Whether all of a set of packs is stored.
    pub(crate) fn has(&self, packs: Packs) -> bool {
        packs & self.stored() == packs
    }

    /// Changes the packs of a set that are stored.
    pub(crate) fn change(&mut self, packs: Packs, mut change: impl FnMut(&mut Pack)) {
        for which in members(packs) {
            if let Some(mut pack) = self.packs.get(which) {
                change(&mut pack);
                self.packs.set(which, Some(pack));
            }
        }
    }

    /// The same for both states that differ by the names of packs.
    pub(crate) fn representative(&self) -> Self {
        (*self).min(self.with_packs_swapped())
    }

    fn with_packs_swapped(&self) -> Self {
        let mut swapped = *self;
        swapped.packs = self.packs.swapped();
        if let Some(snapshot) = &mut swapped.watched {
            snapshot.needs = swapped_packs(snapshot.needs);
        }
        swapped.others = Others {
            kept: swapped_packs(self.others.kept),
            late: swapped_packs(self.others.late),
        };
        swapped.client.needs = swapped_packs(self.client.needs);
        swapped.client.own = swapped_packs(self.client.own);
        swapped.prune = self.prune.map(|listing| Listing {
            packs: swapped_packs(listing.packs),
            since: listing.since.swapped(),
            ..listing
        });
        swapped
    }
}
