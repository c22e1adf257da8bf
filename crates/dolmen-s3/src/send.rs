//! Requests: so many at a time, and again where that is safe.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::time::Duration;

use dolmen_store::{StoreError, StoreErrorKind};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Attempts at one call.
const ATTEMPTS_MAX: u32 = 6;
/// After so long no further attempt begins: with one that hangs as long as it may, a minute.
const TRYING_MAX: Duration = Duration::from_secs(15);
/// The first pause at its longest; each is twice the one before.
const PAUSE_MS: u64 = 500;

/// What a call that got no answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Doing it twice is doing it once.
    Repeat,
    /// The caller looks what became of it.
    Look,
}

/// Bounds what is under way.
#[derive(Debug)]
pub(crate) struct Sender {
    permits: Semaphore,
}

impl Sender {
    /// Lets so many requests be under way.
    pub(crate) fn new(connections: NonZeroUsize) -> Self {
        Self {
            permits: Semaphore::new(connections.get()),
        }
    }

    /// Makes a call, and makes it again after pauses while the store cannot answer.
    pub(crate) async fn call<T, F>(
        &self,
        unanswered: Unanswered,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let begin = Instant::now();
        let mut attempts = 1;
        loop {
            // It is never closed.
            let permit = self.permits.acquire().await;
            let outcome = attempt().await;
            drop(permit);
            let Err(error) = outcome else {
                return outcome;
            };
            if !is_again(error.kind, unanswered, attempts, begin.elapsed()) {
                return Err(error);
            }
            sleep(pause(attempts)).await;
            attempts = attempts.saturating_add(1);
        }
    }
}

/// Whether another attempt may help and does no harm.
fn is_again(
    kind: StoreErrorKind,
    unanswered: Unanswered,
    attempts: u32,
    elapsed: Duration,
) -> bool {
    let may_help = match kind {
        StoreErrorKind::Unavailable => true,
        StoreErrorKind::OutcomeUnknown => unanswered == Unanswered::Repeat,
        StoreErrorKind::NotFound
        | StoreErrorKind::Exists
        | StoreErrorKind::Locked
        | StoreErrorKind::Denied
        | StoreErrorKind::NoSpace
        | StoreErrorKind::TooLarge
        | StoreErrorKind::ShortRead
        | StoreErrorKind::Sealed
        | StoreErrorKind::Unsupported
        | StoreErrorKind::Other => false,
    };
    may_help && attempts < ATTEMPTS_MAX && elapsed < TRYING_MAX
}

/// A pause that no two clients have in common: from half of its longest on.
fn pause(attempts: u32) -> Duration {
    let longest_ms = PAUSE_MS << attempts.saturating_sub(1).min(10);
    let half_ms = longest_ms / 2;
    // The standard library's keys of hash tables are random.
    let random = RandomState::new().hash_one(attempts);
    Duration::from_millis(half_ms.saturating_add(random % half_ms.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_help_is_tried_again_and_not_for_ever() {
        use StoreErrorKind as Kind;
        let soon = Duration::ZERO;
        for unanswered in [Unanswered::Repeat, Unanswered::Look] {
            assert!(is_again(Kind::Unavailable, unanswered, 1, soon));
            assert!(!is_again(Kind::Unavailable, unanswered, ATTEMPTS_MAX, soon));
            assert!(!is_again(Kind::Unavailable, unanswered, 1, TRYING_MAX));
            for kind in [Kind::Denied, Kind::Locked, Kind::NotFound, Kind::Other] {
                assert!(!is_again(kind, unanswered, 1, soon), "{kind:?}");
            }
        }
        assert!(is_again(Kind::OutcomeUnknown, Unanswered::Repeat, 1, soon));
        assert!(!is_again(Kind::OutcomeUnknown, Unanswered::Look, 1, soon));
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        for attempts in 1..=ATTEMPTS_MAX {
            let longest = Duration::from_millis(PAUSE_MS << (attempts - 1));
            let found = pause(attempts);
            assert!(found >= longest / 2 && found <= longest, "{found:?}");
        }
        assert!(pause(u32::MAX) <= Duration::from_millis(PAUSE_MS << 10));
    }
}
