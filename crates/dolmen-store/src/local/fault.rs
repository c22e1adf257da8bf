//! Failures below the level at which the call and its key are known.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use crate::error::{Operation, StoreError, StoreErrorKind};

/// A [`StoreError`] that does not know its call yet.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// Keeps the source and says what it means to the caller here.
    pub(super) fn new(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// Says what the failure means to this caller.
    pub(super) fn meaning(self, kind: StoreErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// A blocking task ended without an answer: it panicked, or the runtime is going away.
    pub(super) fn lost(error: tokio::task::JoinError) -> Self {
        Self::new(StoreErrorKind::OutcomeUnknown, error)
    }

    /// Names call and key.
    pub(super) fn at(self, operation: Operation, key: Option<&str>) -> StoreError {
        StoreError {
            kind: self.kind,
            operation,
            key: key.map(Into::into),
            source: self.source,
        }
    }
}

impl From<StoreErrorKind> for Fault {
    fn from(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::new(kind_of(errno), errno)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let kind = Errno::from_io_error(&error).map_or(StoreErrorKind::Other, kind_of);
        Self::new(kind, error)
    }
}

const fn kind_of(errno: Errno) -> StoreErrorKind {
    match errno {
        Errno::NOENT | Errno::NOTDIR => StoreErrorKind::NotFound,
        Errno::EXIST => StoreErrorKind::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreErrorKind::Denied,
        Errno::NOSPC | Errno::DQUOT => StoreErrorKind::NoSpace,
        Errno::FBIG => StoreErrorKind::TooLarge,
        Errno::AGAIN
        | Errno::BUSY
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::INTR
        | Errno::MFILE
        | Errno::NETUNREACH
        | Errno::NFILE
        | Errno::NOMEM
        | Errno::STALE
        | Errno::TIMEDOUT => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}
