//! How a store call fails, by what its caller does next.

use std::error::Error;
use std::fmt;

/// A store call that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{} failed: {kind}", Tried { operation: *.operation, key: key.as_deref() })]
pub struct StoreError {
    /// What a caller does next.
    pub kind: StoreErrorKind,
    /// What was tried.
    pub operation: Operation,
    /// On which key, prefix or path; `None` where there is none.
    pub key: Option<Box<str>>,
    /// What the store or the system said.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// Sorts failures by what a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreErrorKind {
    /// No such key or version, or the key is hidden. Nothing was changed.
    #[error("not found")]
    NotFound,
    /// The key is taken. Look at its bytes and its lock.
    #[error("already exists")]
    Exists,
    /// Refused until a lock ends or a hold is lifted, or the change would weaken a lock. Retrying is useless before then.
    #[error("locked")]
    Locked,
    /// These credentials, or a read-only medium, do not allow the call.
    #[error("permission denied")]
    Denied,
    /// The disk or the quota is full. Nothing was changed.
    #[error("no space left")]
    NoSpace,
    /// The object is larger than the caller's cap, or than the store takes. Nothing was fetched or stored.
    #[error("too large")]
    TooLarge,
    /// The object is shorter than the range that was asked for. It is damaged, or the reader is mistaken.
    #[error("shorter than the range asked for")]
    ShortRead,
    /// The object is encrypted with a key of whoever put it, and the store gives it to nobody else. No object of ours is.
    #[error("encrypted by somebody else")]
    Sealed,
    /// The call may have taken effect. Look before calling again.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// The store cannot answer now. Try again later.
    #[error("unavailable")]
    Unavailable,
    /// This store can never do that.
    #[error("not supported by this store")]
    Unsupported,
    /// Anything else. The source says what; retrying is not known to help.
    #[error("error")]
    Other,
}

impl StoreErrorKind {
    /// Whether a failed read is about the version that was asked for, so that another one of the key may be had.
    pub const fn is_about_version(self) -> bool {
        !matches!(self, Self::Unavailable | Self::OutcomeUnknown)
    }
}

/// Names a store call in an error or a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Opening a store.
    Open,
    /// Making a store.
    Create,
    /// [`crate::Store::put`].
    Put,
    /// [`crate::Store::get`].
    Get,
    /// [`crate::Store::list_versions`].
    ListVersions,
    /// [`crate::Store::lock_of`].
    LockOf,
    /// [`crate::Store::extend`].
    Extend,
    /// [`crate::Store::hold`].
    Hold,
    /// [`crate::Store::hide`].
    Hide,
    /// [`crate::Store::delete_version`].
    DeleteVersion,
    /// [`crate::Store::set_aside`].
    SetAside,
    /// [`crate::Store::now`].
    Now,
    /// Changing a setting of the whole bucket.
    Configure,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Put => "put",
            Self::Get => "get",
            Self::ListVersions => "list",
            Self::LockOf => "read lock",
            Self::Extend => "extend lock",
            Self::Hold => "legal hold",
            Self::Hide => "hide",
            Self::DeleteVersion => "delete",
            Self::SetAside => "set aside",
            Self::Now => "read clock",
            Self::Configure => "configure bucket",
        })
    }
}

/// An operation and its object in one phrase.
struct Tried<'a> {
    operation: Operation,
    key: Option<&'a str>,
}

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever opens or makes a store names it.
        let is_whole = matches!(self.operation, Operation::Open | Operation::Create);
        match self.key {
            Some(key) if !key.is_empty() && !is_whole => write!(f, "{} of {key}", self.operation),
            Some(_) | None => write!(f, "{}", self.operation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_was_tried_on_what() {
        let error = |operation, key: Option<&str>, kind| StoreError {
            kind,
            operation,
            key: key.map(Into::into),
            source: Some("disk quota exceeded".into()),
        };
        assert_eq!(
            error(Operation::Put, Some("packs/a"), StoreErrorKind::NoSpace).to_string(),
            "put of packs/a failed: no space left"
        );
        assert_eq!(
            error(Operation::Now, None, StoreErrorKind::Unavailable).to_string(),
            "read clock failed: unavailable"
        );
        assert_eq!(
            error(Operation::Open, Some("/backups"), StoreErrorKind::Denied).to_string(),
            "open failed: permission denied"
        );
    }
}
