//! When a backup is a success, and how a reader tells.

use dolmen_format::Timestamp;
use dolmen_store::StoreTime;

use super::{Terms, signed};

/// What a snapshot relies on for the objects that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliance {
    /// The earliest retain-until of all of them, standing ones included, as the store stated it to
    /// this client; `None` when one of them has no lock.
    Locks(Option<Timestamp>),
    /// No locks, but a listing that showed as live what they are reused from. When it began, by the
    /// store's clock.
    Listing(StoreTime),
}

/// Whether a stored snapshot counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It does: the backup is a success.
    Committed,
    /// Some lock ends too early: extend or upload again, and write a new snapshot.
    Short {
        /// Seconds to the lock that is needed, rounded up.
        missing_seconds: u64,
    },
    /// The listing is too old: list again, and write a new snapshot.
    Late {
        /// Seconds beyond what was allowed, rounded up.
        late_seconds: u64,
    },
}

/// Applies the commit rule; `put_answer` is what the store's answer to the snapshot's own put states.
///
/// Locks must end at least L after the end of that time. A listing may be M old at most.
pub fn commit(reliance: Reliance, put_answer: StoreTime, terms: &Terms) -> Commit {
    let received = put_answer.latest;
    match reliance {
        Reliance::Locks(until) => {
            let wanted = received.saturating_add_seconds(signed(terms.protect_seconds()));
            let missing_seconds = match until {
                Some(until) => seconds_short(until, wanted),
                None => terms.protect_seconds(),
            };
            if missing_seconds == 0 {
                Commit::Committed
            } else {
                Commit::Short { missing_seconds }
            }
        }
        Reliance::Listing(begun) => {
            let margin = signed(terms.margin_seconds());
            let allowed = begun.earliest.saturating_add_seconds(margin);
            match seconds_short(allowed, received) {
                0 => Commit::Committed,
                late_seconds => Commit::Late { late_seconds },
            }
        }
    }
}

/// Applies the reader's rule: whether a snapshot was received too late for the locks that its signed
/// part relies on, and is therefore shown as incomplete.
///
/// `relied_until` is that part's, seconds since 1970; without locks there is nothing to be late for.
/// `received` is the start of the time that the store states, so that no snapshot is called incomplete
/// that [`commit`] called a success. Only the store that the signed part names may be asked: on any
/// other, a copy, a snapshot counts as committed.
pub fn is_incomplete(relied_until: Option<i64>, received: Timestamp, terms: &Terms) -> bool {
    relied_until.is_some_and(|until| {
        received.saturating_add_seconds(signed(terms.protect_seconds()))
            > Timestamp::from_seconds(until)
    })
}

/// Whole seconds from one time up to another, rounded up; 0 if it is no later.
fn seconds_short(until: Timestamp, wanted: Timestamp) -> u64 {
    if wanted <= until {
        return 0;
    }
    let whole = wanted.seconds.saturating_sub(until.seconds);
    let rest = i64::from(wanted.nanos > until.nanos);
    u64::try_from(whole.saturating_add(rest)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::terms::tests::{any_terms, terms};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn locks(until: i64, put_second: i64) -> Commit {
        let reliance = Reliance::Locks(Some(at(until)));
        let answer = StoreTime::within_second(put_second);
        commit(reliance, answer, &terms(100, 20, 10))
    }

    #[test]
    fn locks_must_last_for_the_period_from_the_end_of_the_answers_second() {
        assert_eq!(locks(1101, 1000), Commit::Committed);
        assert_eq!(locks(1100, 1000), Commit::Short { missing_seconds: 1 });
        assert_eq!(
            locks(1050, 1000),
            Commit::Short {
                missing_seconds: 51
            }
        );
        let exact = commit(
            Reliance::Locks(Some(at(1100))),
            StoreTime::exact(at(1000)),
            &terms(100, 20, 10),
        );
        assert_eq!(exact, Commit::Committed);
    }

    #[test]
    fn an_object_without_a_lock_lacks_the_whole_period() {
        let answer = StoreTime::within_second(1000);
        let short = commit(Reliance::Locks(None), answer, &terms(100, 20, 10));
        let missing_seconds = 100;
        assert_eq!(short, Commit::Short { missing_seconds });
    }

    #[test]
    fn a_listing_is_good_for_the_margin() {
        let after = |put_second| {
            let listing = Reliance::Listing(StoreTime::within_second(1000));
            let answer = StoreTime::within_second(put_second);
            commit(listing, answer, &terms(100, 20, 10))
        };
        assert_eq!(after(1029), Commit::Committed);
        assert_eq!(after(1030), Commit::Late { late_seconds: 1 });
        assert_eq!(after(1100), Commit::Late { late_seconds: 71 });
    }

    #[test]
    fn a_lid_closed_between_check_and_put_makes_a_snapshot_incomplete() {
        let terms = terms(100, 20, 10);
        assert!(!is_incomplete(Some(1100), at(1000), &terms));
        assert!(is_incomplete(Some(1100), at(1001), &terms));
        assert!(!is_incomplete(None, at(i64::MAX), &terms));
    }

    proptest! {
        #[test]
        fn readers_never_call_a_success_incomplete(
            terms in any_terms(), until in 0..i64::MAX, second in 0..5_000_000_000_i64,
        ) {
            let answer = StoreTime::within_second(second);
            let outcome = commit(Reliance::Locks(Some(at(until))), answer, &terms);
            if outcome == Commit::Committed {
                prop_assert!(!is_incomplete(Some(until), answer.earliest, &terms));
            }
        }

        #[test]
        fn the_missing_seconds_are_what_is_missing(
            terms in any_terms(), until in 0..5_000_000_000_i64, second in 0..5_000_000_000_i64,
        ) {
            let answer = StoreTime::within_second(second);
            let outcome = |until| commit(Reliance::Locks(Some(at(until))), answer, &terms);
            if let Commit::Short { missing_seconds } = outcome(until) {
                let enough = until + i64::try_from(missing_seconds).unwrap();
                prop_assert_eq!(outcome(enough), Commit::Committed);
                prop_assert_ne!(outcome(enough - 1), Commit::Committed);
            }
        }
    }
}
