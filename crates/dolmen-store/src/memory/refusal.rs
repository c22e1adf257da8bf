//! Why a bucket refuses a call, before it is said what was tried.

use crate::error::{Operation, StoreError, StoreErrorKind};

/// A refused call, which changed nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: StoreErrorKind,
    pub(super) says: Option<&'static str>,
}

impl Refusal {
    /// A lock that would end in the past.
    pub(super) const PAST: Self = Self {
        kind: StoreErrorKind::Other,
        says: Some("the lock would end in the past"),
    };

    /// Says what was tried on what.
    pub(super) fn at(self, operation: Operation, name: &str) -> StoreError {
        StoreError {
            key: Some(name.into()),
            operation,
            ..self.of_bucket()
        }
    }

    /// Says that the bucket itself was to be changed.
    pub(super) fn of_bucket(self) -> StoreError {
        StoreError {
            kind: self.kind,
            operation: Operation::Configure,
            key: None,
            source: self.says.map(Into::into),
        }
    }
}

impl From<StoreErrorKind> for Refusal {
    fn from(kind: StoreErrorKind) -> Self {
        Self { kind, says: None }
    }
}

/// Refuses what the store can never do, whoever asks.
pub(super) fn require(supported: bool) -> Result<(), Refusal> {
    if supported {
        Ok(())
    } else {
        Err(StoreErrorKind::Unsupported.into())
    }
}
