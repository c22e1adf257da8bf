//! Which terms are in force while policies change.

use dolmen_format::Timestamp;

use super::{Terms, signed};

/// Terms as an admin-signed policy states them, and when the store received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Received {
    /// The terms.
    pub terms: Terms,
    /// Receipt time of the policy.
    pub received: Timestamp,
}

/// A protection period that outlives the policy that set it.
#[derive(Debug, Clone, Copy)]
struct Promise {
    terms: Terms,
    until: Timestamp,
}

impl Promise {
    /// What was in force when another policy came holds for one old L more.
    fn made(terms: Terms, at: Timestamp) -> Self {
        Self {
            terms,
            until: at.saturating_add_seconds(signed(terms.protect_seconds())),
        }
    }
}

/// The terms in force at a time, which is the earlier clock's ([`super::Clocks::let_go_at`]).
///
/// `chain` holds the policies by number, lowest first, without those that wait for a confirmation. A
/// policy supersedes lower numbers from its receipt on, whichever came first. One that shortens L
/// takes effect one old L after its receipt; until then L is the old one and I the longer of the two.
/// Every other policy takes effect at once. What `at` precedes does not count, except that the first
/// policy always does. `None`: there is no policy.
pub fn effective(chain: &[Received], at: Timestamp) -> Option<Terms> {
    let (first, later) = chain.split_first()?;
    let mut numbered: Vec<_> = later
        .iter()
        .enumerate()
        .filter(|(_, policy)| policy.received <= at)
        .collect();
    numbered.sort_by_key(|(number, policy)| (policy.received, *number));

    let mut newest = first.terms;
    let mut highest = None;
    let mut promises: Vec<Promise> = Vec::new();
    for (number, policy) in numbered {
        if highest.is_some_and(|highest| number < highest) {
            continue;
        }
        let before = in_force(newest, &promises, policy.received);
        promises.push(Promise::made(before, policy.received));
        newest = policy.terms;
        highest = Some(number);
    }
    Some(in_force(newest, &promises, at))
}

/// The newest terms, lengthened by the longest promise that still holds.
fn in_force(newest: Terms, promises: &[Promise], at: Timestamp) -> Terms {
    promises
        .iter()
        .filter(|promise| promise.until > at)
        .map(|promise| promise.terms)
        .filter(|terms| terms.protect_seconds() > newest.protect_seconds())
        .fold(newest, |longest, terms| {
            longest
                .protecting(terms.protect_seconds())
                .with_interval_of(&terms)
        })
}

/// Whether a policy waits at each client for `--confirm-policy`: it more than doubles L, G or M, so
/// that a stolen passphrase could lock junk for a century.
pub fn needs_confirmation(old: &Terms, new: &Terms) -> bool {
    let more_than_doubles = |part: fn(&Terms) -> u64| part(new) > part(old).saturating_mul(2);
    more_than_doubles(Terms::protect_seconds)
        || more_than_doubles(Terms::generation_seconds)
        || more_than_doubles(Terms::margin_seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::terms::tests::{any_terms, terms};
    use super::*;

    fn received(protect: u64, at: i64) -> Received {
        with_interval(protect, 1, at)
    }

    fn with_interval(protect: u64, interval: u64, at: i64) -> Received {
        Received {
            terms: terms(protect, 1, interval),
            received: Timestamp::from_seconds(at),
        }
    }

    /// L and I at a time.
    fn at(chain: &[Received], seconds: i64) -> (u64, u64) {
        let terms = effective(chain, Timestamp::from_seconds(seconds)).unwrap();
        (terms.protect_seconds(), terms.interval_seconds())
    }

    #[test]
    fn the_first_policy_counts_even_before_its_receipt() {
        assert_eq!(effective(&[], Timestamp::default()), None);
        assert_eq!(at(&[received(30, 100)], 0).0, 30);
    }

    #[test]
    fn a_longer_period_takes_effect_at_once() {
        let chain = [received(30, 0), received(60, 100)];
        assert_eq!(at(&chain, 99).0, 30);
        assert_eq!(at(&chain, 100).0, 60);
    }

    #[test]
    fn a_shorter_period_waits_for_one_old_period() {
        let chain = [received(30, 0), received(10, 100)];
        assert_eq!(at(&chain, 100).0, 30);
        assert_eq!(at(&chain, 129).0, 30);
        assert_eq!(at(&chain, 130).0, 10);
    }

    #[test]
    fn each_shortening_waits_for_the_period_in_force_at_its_receipt() {
        let chain = [received(30, 0), received(10, 100), received(5, 129)];
        assert_eq!(at(&chain, 158).0, 30);
        assert_eq!(at(&chain, 159).0, 5);
        // The middle one alone would have been in force from 130 on.
        let chain = [received(30, 0), received(10, 100), received(5, 130)];
        assert_eq!(at(&chain, 130).0, 10);
        assert_eq!(at(&chain, 140).0, 5);
    }

    #[test]
    fn a_period_lengthened_again_never_dips() {
        let chain = [received(30, 0), received(10, 100), received(20, 110)];
        for seconds in 0..300 {
            assert!(at(&chain, seconds).0 >= 20, "at {seconds}");
        }
        assert_eq!(at(&chain, 300).0, 20);
    }

    #[test]
    fn maintenance_that_comes_less_often_counts_at_once() {
        let chain = [with_interval(30, 2, 0), with_interval(20, 5, 100)];
        assert_eq!(at(&chain, 100), (30, 5));
        let chain = [with_interval(30, 5, 0), with_interval(20, 2, 100)];
        assert_eq!(at(&chain, 100), (30, 5));
        assert_eq!(at(&chain, 130), (20, 2));
    }

    #[test]
    fn a_policy_that_comes_late_under_a_lower_number_changes_nothing() {
        let chain = [received(30, 0), received(90, 200), received(40, 100)];
        assert_eq!(at(&chain, 250).0, 40);
    }

    #[test]
    fn what_more_than_doubles_needs_a_confirmation() {
        let old = terms(100, 20, 5);
        for (new, needed) in [
            (terms(200, 40, 10), false),
            (terms(201, 20, 5), true),
            (terms(100, 41, 5), true),
            (terms(100, 20, 11), true),
            (terms(10, 2, 1), false),
        ] {
            assert_eq!(needs_confirmation(&old, &new), needed, "{new:?}");
        }
    }

    proptest! {
        #[test]
        fn terms_in_force_are_valid_and_never_below_a_period_promised_within_it(
            policies in prop::collection::vec((any_terms(), 0..10_000_000_i64), 1..6),
            now in 0..20_000_000_i64,
        ) {
            let mut chain: Vec<_> = policies
                .into_iter()
                .map(|(terms, at)| Received { terms, received: Timestamp::from_seconds(at) })
                .collect();
            chain.sort_by_key(|policy| policy.received);
            let at = Timestamp::from_seconds(now);
            let found = effective(&chain, at).unwrap();
            prop_assert!(found.margin_seconds() <= found.protect_seconds());
            prop_assert!(found.generation_seconds() <= found.protect_seconds());
            // Whatever was in force at an earlier moment is kept for as long as it said.
            for earlier in chain.iter().map(|policy| policy.received) {
                let then = effective(&chain, earlier.min(at)).unwrap();
                let end = earlier.saturating_add_seconds(signed(then.protect_seconds()));
                prop_assert!(at >= end || found.protect_seconds() >= then.protect_seconds());
            }
        }
    }
}
