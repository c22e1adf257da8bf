//! How the program ends: exit codes, and failures in words.

use std::io::ErrorKind;

use dolmen_core::Error;
use dolmen_core::finding::chain;
use dolmen_fs::Errno;
use dolmen_store::StoreErrorKind;

use crate::output;

/// The exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All done.
    Done,
    /// Failed, nothing usable made.
    Failed,
    /// Missing, contradictory or unreadable arguments.
    Usage,
    /// Done, but some source files could not be read.
    Incomplete,
    /// No repository there.
    NoRepository,
    /// Wrong passphrase or key.
    WrongKey,
    /// The key's role or the store credential may not do that.
    NotAllowed,
    /// Damage found.
    Damage,
    /// Protection falls short, or a key was cloned.
    Unprotected,
    /// Interrupted.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::NoRepository => 10,
            Self::WrongKey => 12,
            Self::NotAllowed => 13,
            Self::Damage => 20,
            Self::Unprotected => 21,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command failed, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// One sentence: what was tried, on what, and why it failed.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hints: Vec<String>,
}

/// What a command comes to.
pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// Arguments that cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what was being done.
    #[must_use]
    pub(crate) fn during(mut self, tried: impl AsRef<str>) -> Self {
        self.message = format!("{}: {}", tried.as_ref(), self.message);
        self
    }
}

/// Says what was being done when something failed.
pub(crate) trait During<T> {
    /// Puts `tried`, as in "cannot list the snapshots", in front of the reason.
    fn during(self, tried: &str) -> Outcome<T>;
}

impl<T, E: Into<Failure>> During<T> for Result<T, E> {
    fn during(self, tried: &str) -> Outcome<T> {
        self.map_err(|error| {
            let failure: Failure = error.into();
            // These say all that there is to say.
            match failure.exit {
                Exit::Interrupted | Exit::Usage | Exit::NoRepository => failure,
                Exit::Done
                | Exit::Failed
                | Exit::Incomplete
                | Exit::WrongKey
                | Exit::NotAllowed
                | Exit::Damage
                | Exit::Unprotected => failure.during(tried),
            }
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::new(exit_of(&error), chain(&error));
        match &error {
            Error::NoRepository { address } => failure
                .hint(format!("make one with: dolmen init -r {address}"))
                .hint("if it lies on another disk or machine, see that this is mounted"),
            Error::WrongPassphrase => {
                failure.hint("check --password-file, --password-command and DOLMEN_PASSWORD")
            }
            Error::WrongKey => failure.hint(
                "name the key file that was made for this repository with --key-file; dolmen key list shows which keys it has",
            ),
            Error::NoCertificate { .. } => failure
                .hint("if it was made just now, see that this store is the one it was made in, or wait for the copy")
                .hint("dolmen recover, with the passphrase, shows again what was hidden"),
            Error::RoleMayNot { .. } => failure.hint(
                "use the passphrase, or the key file of a role that may: docs/keys.md says which role does what",
            ),
            Error::NoKey { .. } => failure.hint("list them with: dolmen key list"),
            Error::Revoked => failure.hint("if that was a mistake, have another made with dolmen key add"),
            Error::KeyExists { .. } => failure.hint("give another name; dolmen key list shows those that are taken"),
            Error::ReplacedPassphrase => failure
                .hint("use the new one")
                .hint(
                    "if nobody of yours changed it, somebody did who knew it: open the repository with \
                     --replaced-passphrase, restore, and make a new one with another passphrase",
                ),
            Error::OtherRepository { found, wanted, .. } => failure
                .hint("somebody may have put another repository in its place; nothing was changed")
                .hint(format!(
                    "if you did that yourself, accept it with: --trust-repository {found}"
                ))
                .hint(format!(
                    "if not, insist on the known one with: --repository-id {wanted}"
                )),
            Error::ManyRepositories { .. } => {
                failure.hint("name the one that is meant with: --repository-id ID")
            }
            Error::RepositoryExists { address, stays } => {
                let failure = failure.hint(format!("use it as it is: dolmen snapshots -r {address}"));
                match stays {
                    0 => failure.hint("or give another address"),
                    _ => failure.hint(
                        "another init made it at the same moment; what this one put stays hidden until its lock ends, and is \
                         in nobody's way",
                    ),
                }
            }
            Error::NoSnapshot { .. } | Error::AmbiguousSnapshot { .. } => {
                failure.hint("list what there is with: dolmen snapshots")
            }
            Error::NoPath { .. } => failure.hint("list what there is with: dolmen ls SNAPSHOT"),
            Error::Damaged { .. } => failure.hint("see what is whole with: dolmen check"),
            Error::Unprotected { .. } => failure
                .hint("what was stored stays; the snapshot counts once its locks are long enough")
                .hint("run dolmen renew with a key that may extend locks, then the same backup again"),
            Error::ReuseEnded { .. } | Error::OwnPacksAged => failure.hint(
                "run the same backup again: it looks at the repository anew, and what it stored is not stored twice",
            ),
            Error::Internal { .. } => failure.hint(BUG),
            Error::Store(error) => store_hint(failure, error.kind),
            Error::State(error) => state_hint(failure, error.io_kind()),
            Error::Fs(error) => target_hint(failure, error.errno()),
            Error::Encode { .. }
            | Error::Command { .. }
            | Error::Batch { .. }
            | Error::EmptySnapshot
            | Error::Interrupted
            | Error::Usage { .. } => failure,
        }
    }
}

impl From<dolmen_store::StoreError> for Failure {
    fn from(error: dolmen_store::StoreError) -> Self {
        Error::from(error).into()
    }
}

impl From<dolmen_state::StateError> for Failure {
    fn from(error: dolmen_state::StateError) -> Self {
        Error::from(error).into()
    }
}

fn store_hint(failure: Failure, kind: StoreErrorKind) -> Failure {
    match kind {
        StoreErrorKind::NoSpace => failure.hint("make room there, then run the same command again"),
        StoreErrorKind::Denied => {
            failure.hint("give this user the right that the message names, or run as another user")
        }
        StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown => {
            failure.hint("run the same command again: it carries on where this one stopped")
        }
        StoreErrorKind::NotFound
        | StoreErrorKind::Exists
        | StoreErrorKind::Locked
        | StoreErrorKind::TooLarge
        | StoreErrorKind::ShortRead
        | StoreErrorKind::Sealed
        | StoreErrorKind::Unsupported
        | StoreErrorKind::Other => failure,
    }
}

fn state_hint(failure: Failure, kind: Option<ErrorKind>) -> Failure {
    const ELSEWHERE: &str = "or name other folders with --state-dir (DOLMEN_STATE_DIR) and --cache-dir (DOLMEN_CACHE_DIR)";
    match kind {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            failure.hint("make room there").hint(ELSEWHERE)
        }
        Some(_) => failure
            .hint("see that this user may write there")
            .hint(ELSEWHERE),
        // The message says what to do.
        None => failure,
    }
}

fn target_hint(failure: Failure, errno: Option<Errno>) -> Failure {
    match errno {
        Some(Errno::NOSPC | Errno::DQUOT) => failure.hint(
            "make room there, then run the same command again: it carries on where this one stopped",
        ),
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            failure.hint("name a folder in which this user may write")
        }
        _ => failure,
    }
}

const fn exit_of(error: &Error) -> Exit {
    match error {
        Error::NoRepository { .. } => Exit::NoRepository,
        Error::WrongPassphrase | Error::ReplacedPassphrase | Error::WrongKey => Exit::WrongKey,
        Error::RoleMayNot { .. } | Error::Revoked => Exit::NotAllowed,
        Error::Interrupted => Exit::Interrupted,
        Error::Usage { .. } => Exit::Usage,
        Error::Damaged { .. } => Exit::Damage,
        Error::Store(error) => match error.kind {
            StoreErrorKind::Denied => Exit::NotAllowed,
            StoreErrorKind::NotFound
            | StoreErrorKind::Exists
            | StoreErrorKind::Locked
            | StoreErrorKind::NoSpace
            | StoreErrorKind::TooLarge
            | StoreErrorKind::ShortRead
            | StoreErrorKind::OutcomeUnknown
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Sealed
            | StoreErrorKind::Unsupported
            | StoreErrorKind::Other => Exit::Failed,
        },
        Error::State(_)
        | Error::Fs(_)
        | Error::Encode { .. }
        | Error::RepositoryExists { .. }
        | Error::NoCertificate { .. }
        | Error::KeyExists { .. }
        | Error::NoKey { .. }
        | Error::OtherRepository { .. }
        | Error::ManyRepositories { .. }
        | Error::NoSnapshot { .. }
        | Error::AmbiguousSnapshot { .. }
        | Error::NoPath { .. }
        | Error::Command { .. }
        | Error::Batch { .. }
        | Error::ReuseEnded { .. }
        | Error::OwnPacksAged
        | Error::Unprotected { .. }
        | Error::EmptySnapshot
        | Error::Internal { .. } => Exit::Failed,
    }
}

const BUG: &str = "this is a bug in Dolmen; please report it with this message";

/// Makes a panic one sentence.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        let place = panic
            .location()
            .map_or_else(String::new, |place| format!(" at {place}"));
        output::write_stderr(&format!(
            "dolmen: internal error{place}: {text}\nhint: {BUG}; nothing that was stored before is lost\n"
        ));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_done_and_why_it_failed() {
        let error = Error::Damaged {
            object: "index/a".to_owned(),
            source: "it is torn".into(),
        };
        let failed: Outcome<()> = Err(error).during("cannot list the snapshots");
        let failure = failed.unwrap_err();
        assert_eq!(failure.exit.code(), 20);
        assert_eq!(
            failure.message,
            "cannot list the snapshots: index/a is damaged: it is torn"
        );
        assert_eq!(failure.hints, ["see what is whole with: dolmen check"]);
    }

    #[test]
    fn nothing_is_put_before_what_says_it_all() {
        let failed: Outcome<()> = Err(Error::Interrupted).during("cannot list the snapshots");
        assert_eq!(failed.unwrap_err().message, "interrupted");
    }
}
