//! Damage and oddities: collected, named, never in the way.

use dolmen_format::ObjectKey;
use dolmen_store::{StoreError, StoreErrorKind};

use crate::objects::FetchError;
use crate::verify::Refusal;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Nature {
    /// Something that is not as it should be.
    #[default]
    Damage,
    /// An object whose bytes are not what its name says: damage where something needs it, or where it may be what one of
    /// ours rotted to.
    Altered,
    /// A whole object that one of ours signed and that this version makes nothing of, or not before something else is
    /// there: it may be worth as much as any.
    Unknown,
    /// What was never ours: a name, something that is no file, or a whole object that counts for nothing where it lies.
    /// Damage where something needs it, else junk.
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

    /// Notes an object that could not be fetched.
    pub(crate) fn unusable(subject: impl Into<String>, error: &FetchError) -> Self {
        let (nature, problem) = match error {
            FetchError::Store(StoreError {
                kind: StoreErrorKind::Denied,
                ..
            }) => (
                Nature::Unreadable,
                "cannot be read: permission denied".to_owned(),
            ),
            FetchError::Store(_) => (Nature::Damage, chain(error)),
            FetchError::Altered => (Nature::Altered, chain(error)),
        };
        Self {
            nature,
            ..Self::new(subject, problem)
        }
    }

    /// The object that it is about, where that does not verify as what lies there.
    pub(crate) fn of_stray(&self) -> Option<ObjectKey> {
        let is_stray = matches!(self.nature, Nature::Altered | Nature::Foreign);
        self.subject.parse().ok().filter(|_| is_stray)
    }

    /// Notes an object that is what its name says, and does not count.
    pub(crate) fn refused(subject: impl Into<String>, refusal: Refusal) -> Self {
        let (nature, problem) = match refusal {
            Refusal::Foreign(problem) => (Nature::Foreign, problem),
            Refusal::Unknown(problem) => (Nature::Unknown, problem),
        };
        Self {
            nature,
            ..Self::new(subject, problem)
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

/// A count with its noun: `1 pack`, `2 packs`.
pub(crate) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}
