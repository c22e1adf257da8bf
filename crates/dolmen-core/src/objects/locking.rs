//! How a client locks: the strategy's arithmetic, without requests.

use std::sync::Arc;

use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectId, Timestamp};
use dolmen_store::{Lock, LockMode, LockStatus, StoreTime};

use super::Objects;
use crate::environment::Clock;
use crate::error::Result;
use crate::lease::{Clocks, Terms, lock_mode};

/// What keeps an object locked beyond its first lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// Its lock is extended, again and again.
    Extend,
    /// A legal hold.
    Hold,
}

/// What makes a lock last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Longer {
    /// A later end.
    Lock(Lock),
    /// A legal hold; the later end is for whoever may place none.
    Hold(Lock),
}

impl Longer {
    /// The lock that is to be set; `None`: a hold.
    pub(super) const fn lock(self) -> Option<Lock> {
        match self {
            Self::Lock(lock) => Some(lock),
            Self::Hold(_) => None,
        }
    }

    /// The lock that results.
    pub(super) const fn over(self, status: LockStatus) -> LockStatus {
        match self {
            Self::Lock(lock) => match status {
                LockStatus::Held { .. } => LockStatus::Held {
                    retention: Some(lock),
                },
                LockStatus::Unknown | LockStatus::None | LockStatus::Until(_) => {
                    LockStatus::Until(lock)
                }
            },
            Self::Hold(_) => LockStatus::Held {
                retention: status.retention(),
            },
        }
    }

    /// Whether a lock that the store states is as long.
    pub(super) fn is_done(self, status: LockStatus) -> bool {
        match self {
            Self::Lock(lock) => counted(lock.mode, status).is_some_and(|until| until >= lock.until),
            Self::Hold(_) => matches!(status, LockStatus::Held { .. }),
        }
    }
}

/// Until when a lock keeps what is to be locked in this mode: in governance mode compliance does, too, and not the other
/// way round.
fn counted(mode: LockMode, status: LockStatus) -> Option<Timestamp> {
    let lock = status.retention()?;
    let is_strong = mode == LockMode::Governance || lock.mode == LockMode::Compliance;
    is_strong.then_some(lock.until)
}

/// What protects objects.
#[derive(Debug, Default)]
pub enum Protection {
    /// Nothing.
    #[default]
    None,
    /// Locks.
    Locks(Arc<Locking>),
    /// That they are in the plain view: the bucket's rules delete what is not.
    View,
}

/// How a client locks what it puts.
#[derive(Debug)]
pub struct Locking {
    mode: LockMode,
    keeping: Keeping,
    terms: Terms,
    clock: Arc<dyn Clock>,
    /// What the clocks said when the client looked at both.
    local: Timestamp,
    store: StoreTime,
    confirmed: bool,
}

impl Locking {
    /// Locks by a strategy; `None` for one that puts no locks.
    fn new(
        strategy: LockStrategy,
        terms: Terms,
        clock: Arc<dyn Clock>,
        store: StoreTime,
        confirmed: bool,
    ) -> Option<Self> {
        let mode = lock_mode(strategy)?;
        let keeping = if strategy == LockStrategy::Hold {
            Keeping::Hold
        } else {
            Keeping::Extend
        };
        let local = clock.now();
        Some(Self {
            mode,
            keeping,
            terms,
            clock,
            local,
            store,
            confirmed,
        })
    }

    /// The terms that locks follow.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The clocks by now, the store's as far as the local one tells how much time has passed.
    pub fn clocks(&self) -> Clocks {
        let local = self.clock.now();
        let passed = local.seconds.saturating_sub(self.local.seconds).max(0);
        Clocks {
            local,
            store: StoreTime {
                earliest: self.store.earliest.saturating_add_seconds(passed),
                latest: self.store.latest.saturating_add_seconds(passed),
            },
            remembered_store: None,
            confirmed: self.confirmed,
        }
    }

    /// From when on protection counts.
    pub fn now(&self) -> Timestamp {
        self.clocks().protect_from()
    }

    /// Until when what has a lock is protected; `None`: not at all. A lock in a weaker mode does not count, a hold in force
    /// counts as a whole lease from now on where holds protect.
    pub(crate) fn protects_until(&self, status: LockStatus) -> Option<Timestamp> {
        let until = counted(self.mode, status);
        match (self.keeping, status) {
            (Keeping::Hold, LockStatus::Held { .. }) => until.max(Some(self.whole_lease())),
            _ => until,
        }
    }

    /// Whether a lock that was read some time ago may be relied on: in compliance mode nobody shortens one; any other is
    /// read again in each generation.
    pub(super) fn still_counts(&self, status: LockStatus, read_at: Timestamp) -> bool {
        lasts(status) || self.is_of_this_generation(read_at)
    }

    /// Whether not a whole generation has passed since a local time.
    pub(super) fn is_of_this_generation(&self, read_at: Timestamp) -> bool {
        let age = self.clocks().local.seconds.saturating_sub(read_at.seconds);
        u64::try_from(age).is_ok_and(|age| age < self.terms.generation_seconds())
    }

    /// Whether a lock that was read before can be extended without reading it again: nobody has shortened it, and where
    /// somebody has made it longer, the store refuses an earlier date.
    pub(super) fn may_extend_unseen(&self, status: LockStatus) -> bool {
        lasts(status) && self.mode == LockMode::Compliance && self.keeping == Keeping::Extend
    }

    /// Whether who has the right to can make locks end sooner.
    pub(super) fn may_be_shortened(&self) -> bool {
        self.mode == LockMode::Governance
    }

    /// L from now on: what ends before is too short to be built upon.
    pub fn protected_now(&self) -> Timestamp {
        let protect_seconds = i64::try_from(self.terms.protect_seconds()).unwrap_or(i64::MAX);
        self.now().saturating_add_seconds(protect_seconds)
    }

    /// L + M from now on.
    fn whole_lease(&self) -> Timestamp {
        let lease_seconds = i64::try_from(self.terms.lease_seconds()).unwrap_or(i64::MAX);
        self.now().saturating_add_seconds(lease_seconds)
    }

    /// What an object with a lock is to get; `None`: it is not due, by the terms or by a longer promise.
    pub(super) fn next(
        &self,
        id: &ObjectId,
        status: LockStatus,
        promise_seconds: u64,
    ) -> Option<Longer> {
        if let (Keeping::Hold, LockStatus::Held { .. }) = (self.keeping, status) {
            return None;
        }
        let until = counted(self.mode, status);
        let (clocks, terms) = (self.clocks(), self.terms.protecting(promise_seconds));
        let next = clocks.next(&terms, id, until)?;
        let until = limited(&clocks, &terms, next);
        let lock = Lock {
            mode: self.mode,
            // A date that a weaker lock has is not made earlier.
            until: status
                .retention()
                .map_or(until, |lock| until.max(lock.until)),
        };
        Some(match self.keeping {
            Keeping::Hold => Longer::Hold(lock),
            Keeping::Extend => Longer::Lock(lock),
        })
    }

    /// The lock that an object gets when it is put.
    pub(super) fn lock_for(&self, id: &ObjectId) -> Lock {
        Lock {
            mode: self.mode,
            until: self.terms.retain_until(id, self.now()),
        }
    }
}

/// Whether a lock ends when it was said to end, or later: nobody shortens one in compliance mode. What a hold covers counts
/// once that is lifted.
const fn lasts(status: LockStatus) -> bool {
    matches!(
        status,
        LockStatus::Until(Lock {
            mode: LockMode::Compliance,
            ..
        })
    )
}

/// A date that locks may get, however far apart the clocks are.
pub(crate) fn limited(clocks: &Clocks, terms: &Terms, until: Timestamp) -> Timestamp {
    let most = clocks.retain_until_max(terms);
    most.map_or(until, |most| until.min(most))
}

impl Protection {
    /// Protects by a strategy.
    pub fn new(
        strategy: LockStrategy,
        terms: Terms,
        clock: Arc<dyn Clock>,
        store: StoreTime,
        confirmed: bool,
    ) -> Self {
        match Locking::new(strategy, terms, clock, store, confirmed) {
            Some(locking) => Self::Locks(Arc::new(locking)),
            None if strategy == LockStrategy::Hide => Self::View,
            None => Self::None,
        }
    }
}

/// What a repository's policy says of protection, by the store's clock.
///
/// Cost: one request.
pub fn protection_of(
    objects: &Objects,
    strategy: LockStrategy,
    terms: Option<Terms>,
    clock: Arc<dyn Clock>,
    confirmed: bool,
) -> Result<Protection> {
    let Some(terms) = terms else {
        return Ok(Protection::None);
    };
    let store = objects.block_on(objects.store().now())?;
    Ok(Protection::new(strategy, terms, clock, store, confirmed))
}
