//! Damage and oddities: collected, named, never in the way.

use dolmen_store::{Operation, StoreError, StoreErrorKind};

use crate::objects::FetchError;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Nature {
    /// Something that is not as it should be.
    #[default]
    Damage,
    /// An object that does not verify: damage where something needs it, or where it may be what one of ours rotted to.
    Unverified,
    /// A name that is none of ours, or no file: damage where something needs it, else junk.
    Foreign,
    /// An object that this user may not read: whether it is whole is not known.
    Unreadable,
}

/// Something wrong with one object or path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The object's key or the path.
    pub subject: String,
    /// What is wrong, in one clause.
    pub problem: String,
    /// What it is about.
    pub nature: Nature,
}

impl Finding {
    /// Notes a problem.
    pub fn new(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            problem: problem.into(),
            nature: Nature::Damage,
        }
    }

    /// Notes a name that is none of ours.
    pub(crate) fn foreign(name: impl Into<String>) -> Self {
        Self {
            nature: Nature::Foreign,
            ..Self::new(name, "not an object of this repository")
        }
    }

    /// Notes an object that does not verify, and why.
    pub(crate) fn unverified(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            nature: Nature::Unverified,
            ..Self::new(subject, problem)
        }
    }

    /// Notes an object that could not be fetched, or that does not verify.
    pub(crate) fn unusable(
        subject: impl Into<String>,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        match error.downcast_ref::<FetchError>() {
            Some(FetchError::Store(StoreError {
                kind: StoreErrorKind::Denied,
                ..
            })) => Self {
                nature: Nature::Unreadable,
                ..Self::new(subject, format!("cannot be read: {}", reason(error)))
            },
            Some(FetchError::Store(_)) => Self::new(subject, chain(error)),
            Some(FetchError::Altered) | None => Self::unverified(subject, chain(error)),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

/// All that was found.
pub type Findings = Vec<Finding>;

/// An error and its causes in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent layers repeat what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// As [`chain`], in a line that begins with what it is about: a store's failure does not name that again, nor that it read.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let fetched = error.downcast_ref::<FetchError>();
    let fetched = fetched.and_then(|error| match error {
        FetchError::Store(error) => Some(error),
        FetchError::Altered => None,
    });
    let Some(failed) = fetched.or_else(|| error.downcast_ref::<StoreError>()) else {
        return chain(error);
    };
    let (kind, operation) = (failed.kind, failed.operation);
    let what = if operation == Operation::Get {
        kind.to_string()
    } else {
        format!("{operation} failed: {kind}")
    };
    match &failed.source {
        Some(said) => format!("{what}: {}", chain(said.as_ref())),
        None => what,
    }
}

/// A count with its noun: `1 pack`, `2 packs`.
pub(crate) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}
