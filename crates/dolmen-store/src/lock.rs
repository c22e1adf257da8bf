//! What keeps a version from being deleted.

use dolmen_format::Timestamp;

/// Retention for one version: until when, and who may break it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lock {
    /// Who may break it.
    pub mode: LockMode,
    /// The first moment at which the version may go, on the store's clock. Stores keep whole seconds: callers round
    /// up with [`Timestamp::ceil_seconds`], stores round up what they are given.
    pub until: Timestamp,
}

/// Says who may break a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// Whoever holds a right to bypass it. Dolmen never does.
    Governance,
    /// Nobody, the owner of the account included.
    Compliance,
}

/// A legal hold: a lock without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// The version stays until the hold is lifted.
    On,
    /// Retention alone counts.
    Off,
}

/// The lock of one version, as its store states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockStatus {
    /// This answer does not say; [`crate::Store::lock_of`] does.
    Unknown,
    /// Neither retention nor hold.
    None,
    /// Retention, which may have lapsed.
    Until(Lock),
    /// A legal hold, and the retention beneath it.
    Held {
        /// What counts once the hold is lifted.
        retention: Option<Lock>,
    },
}

impl LockStatus {
    /// Returns the retention that the store states, under a hold too.
    pub const fn retention(self) -> Option<Lock> {
        match self {
            Self::Unknown | Self::None => None,
            Self::Until(lock) => Some(lock),
            Self::Held { retention } => retention,
        }
    }
}
