//! Damage and oddities: collected, named, never in the way.

use dolmen_format::ObjectKey;
use dolmen_store::{Operation, StoreError, StoreErrorKind};

use crate::error::Error;
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
            subject: plain(subject.into()),
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
                format!("cannot be read: {}", reason(error)),
            ),
            FetchError::Store(_) => (Nature::Damage, reason(error)),
            FetchError::Altered => (Nature::Altered, reason(error)),
        };
        Self {
            nature,
            ..Self::new(subject, problem)
        }
    }

    /// The object that it is about, where that does not verify as what lies there.
    pub(crate) fn of_stray(&self) -> Option<ObjectKey> {
        self.subject.parse().ok().filter(|_| self.is_stray())
    }

    /// Whether it is about something that does not verify as what lies there.
    pub const fn is_stray(&self) -> bool {
        matches!(self.nature, Nature::Altered | Nature::Foreign)
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

/// A name without what a terminal would take for more than text: whoever writes a store chooses names.
pub fn plain(name: String) -> String {
    if name.chars().any(char::is_control) {
        let shown = |letter: char| -> String {
            if letter.is_control() {
                letter.escape_default().collect()
            } else {
                letter.to_string()
            }
        };
        name.chars().map(shown).collect()
    } else {
        name
    }
}

/// All that was found.
pub type Findings = Vec<Finding>;

/// An error and its causes in one line. A store's failure names no object that is named before it.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    told(error, false)
}

/// As [`chain`], in a line that begins with what it is about.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    told(error, true)
}

fn told(error: &(dyn std::error::Error + 'static), is_named: bool) -> String {
    let mut text = words(error, is_named);
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = words(cause, is_named_in(&text, cause));
        // Transparent layers repeat what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Whether a text names what a store failed on, by its key or by its id.
fn is_named_in(text: &str, error: &(dyn std::error::Error + 'static)) -> bool {
    let key = failure_of_store(error).and_then(|failed| failed.key.as_deref());
    key.is_some_and(|key| {
        let id = key.parse().map(|key: ObjectKey| key.id().to_string());
        text.contains(key) || id.is_ok_and(|id| text.contains(&id))
    })
}

fn words(error: &(dyn std::error::Error + 'static), is_named: bool) -> String {
    match failure_of_store(error).filter(|_| is_named) {
        // That it is read is said, too.
        Some(failed) if failed.operation == Operation::Get => failed.kind.to_string(),
        Some(failed) => format!("{} failed: {}", failed.operation, failed.kind),
        None => error.to_string(),
    }
}

/// The failure of a store that an error is, or hands on as it is.
fn failure_of_store<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e StoreError> {
    let handed_on = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(FetchError::Store(failed)), _) | (_, Some(Error::Store(failed))) => Some(failed),
        (Some(FetchError::Altered) | None, _) => None,
    };
    handed_on.or_else(|| error.downcast_ref())
}

/// A count with its noun: `1 pack`, `2 packs`.
pub(crate) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "snapshots/00/11";

    fn refused(operation: Operation) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Denied,
            operation,
            key: Some(KEY.into()),
            source: Some("not yours".into()),
        }
    }

    #[test]
    fn what_a_line_is_about_is_named_once() {
        let unusable = |error: FetchError| Finding::unusable(KEY, &error).to_string();
        assert_eq!(
            unusable(refused(Operation::Get).into()),
            "snapshots/00/11: cannot be read: permission denied: not yours"
        );
        let gone = StoreError {
            kind: StoreErrorKind::NotFound,
            source: None,
            ..refused(Operation::Get)
        };
        assert_eq!(unusable(gone.into()), "snapshots/00/11: not found");
        assert_eq!(
            reason(&Error::Store(refused(Operation::Extend))),
            "extend lock failed: permission denied: not yours"
        );
        let damaged = Error::damaged(KEY, FetchError::from(refused(Operation::Get)));
        assert_eq!(
            chain(&damaged),
            "snapshots/00/11 is damaged: permission denied: not yours"
        );
        assert_eq!(
            chain(&refused(Operation::Get)),
            "get of snapshots/00/11 failed: permission denied: not yours"
        );
    }
}
