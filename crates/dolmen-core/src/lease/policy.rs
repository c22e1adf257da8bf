//! What is in force while policies change.

use dolmen_format::Timestamp;
use dolmen_format::ledger::LockStrategy;
use dolmen_store::LockMode;

use super::{Terms, signed};

/// What an admin-signed policy states, and when the store received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Received {
    /// The terms.
    pub terms: Terms,
    /// How objects are locked.
    pub lock: LockStrategy,
    /// Receipt time of the policy.
    pub received: Timestamp,
    /// Whether no other policy has its place in the chain.
    pub is_sole: bool,
}

/// All policies that protect.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Those that count, by number, lowest first, without those that wait for a confirmation.
    pub chain: Vec<Received>,
    /// Twins and what follows twins, with the numbers that they would have: in doubt until one with a higher number
    /// has its place alone. They only protect.
    pub doubtful: Vec<(usize, Received)>,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InForce {
    /// The terms.
    pub terms: Terms,
    /// How objects are locked.
    pub lock: LockStrategy,
}

/// Protection that outlives the policy that set it.
#[derive(Debug, Clone, Copy)]
struct Promise {
    holds: InForce,
    until: Timestamp,
}

impl Promise {
    /// What was in force when another policy came holds for one old L more.
    fn made(holds: InForce, at: Timestamp) -> Self {
        Self {
            holds,
            until: at.saturating_add_seconds(signed(holds.terms.protect_seconds())),
        }
    }
}

/// What is in force at a time, which is the earlier clock's ([`super::Clocks::let_go_at`]).
///
/// A policy supersedes lower numbers from its receipt on, whichever came first. One that shortens L or weakens the lock
/// takes effect one old L after its receipt; until then both are the old ones and I the longer of the two. Every other
/// policy takes effect at once. What `at` precedes does not count, except that the first policy always does. While
/// policies are in doubt, the longest L and the strongest lock of them and of the one before count. `None`: there is no
/// policy.
pub fn effective(policies: &Policies, at: Timestamp) -> Option<InForce> {
    let (first, later) = policies.chain.split_first()?;
    let mut numbered: Vec<_> = later
        .iter()
        .zip(1_usize..)
        .filter(|(policy, _)| policy.received <= at)
        .collect();
    numbered.sort_by_key(|(policy, number)| (policy.received, *number));

    let mut newest = first.in_force();
    let mut highest = 0;
    let mut promises: Vec<Promise> = Vec::new();
    for (policy, number) in numbered {
        if number < highest {
            continue;
        }
        let before = in_force(policies, newest, &promises, policy.received);
        promises.push(Promise::made(before, policy.received));
        newest = policy.in_force();
        highest = number;
    }
    Some(in_force(policies, newest, &promises, at))
}

impl Received {
    const fn in_force(&self) -> InForce {
        InForce {
            terms: self.terms,
            lock: self.lock,
        }
    }
}

impl Policies {
    /// What policies that are in doubt at a time protect, with the ones before them.
    fn in_doubt(&self, at: Timestamp) -> impl Iterator<Item = InForce> {
        let settles = |number: usize| {
            let sole = self.chain.iter().enumerate().skip(number.saturating_add(1));
            let sole = sole.filter(|(_, policy)| policy.is_sole);
            sole.map(|(_, policy)| policy.received).min()
        };
        let open = self.doubtful.iter().filter(move |(number, policy)| {
            policy.received <= at && settles(*number).is_none_or(|settled| at <= settled)
        });
        open.flat_map(|(number, policy)| {
            // The last one that has no twin, and whatever followed it: the first is the root's.
            let before = self.chain.get(..*number).unwrap_or(&self.chain);
            let sole = before.iter().rposition(|policy| policy.is_sole);
            let since = sole.and_then(|place| before.get(place..)).unwrap_or(before);
            since.iter().chain([policy]).map(Received::in_force)
        })
    }
}

/// The newest policy, strengthened by what is in doubt and by the promises that still hold.
fn in_force(policies: &Policies, newest: InForce, promises: &[Promise], at: Timestamp) -> InForce {
    let holding = promises.iter().filter(|promise| promise.until > at);
    holding
        .map(|promise| promise.holds)
        .chain(policies.in_doubt(at))
        .fold(newest, InForce::with)
}

impl InForce {
    /// The longer L and the stronger lock of two; a longer L brings its I along.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (terms, others) = (self.terms, other.terms);
        let terms = if others.protect_seconds() > terms.protect_seconds() {
            terms
                .protecting(others.protect_seconds())
                .with_interval_of(&others)
        } else {
            terms
        };
        let lock = if strength(other.lock) > strength(self.lock) {
            other.lock
        } else {
            self.lock
        };
        Self { terms, lock }
    }
}

/// How much a strategy promises: of two on one store the higher one keeps what the other keeps.
pub const fn strength(lock: LockStrategy) -> u8 {
    match lock {
        LockStrategy::None => 0,
        LockStrategy::Hide => 1,
        LockStrategy::Hold => 2,
        LockStrategy::Governance => 3,
        LockStrategy::Attribute => 4,
        LockStrategy::Compliance => 5,
    }
}

/// The mode in which a strategy locks what is put; `None`: it locks nothing.
pub const fn lock_mode(lock: LockStrategy) -> Option<LockMode> {
    match lock {
        LockStrategy::Compliance | LockStrategy::Hold => Some(LockMode::Compliance),
        LockStrategy::Governance => Some(LockMode::Governance),
        LockStrategy::None | LockStrategy::Hide | LockStrategy::Attribute => None,
    }
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
            lock: LockStrategy::None,
            received: Timestamp::from_seconds(at),
            is_sole: true,
        }
    }

    fn locked(lock: LockStrategy, protect: u64, at: i64) -> Received {
        Received {
            lock,
            ..received(protect, at)
        }
    }

    fn alone(chain: &[Received]) -> Policies {
        Policies {
            chain: chain.to_vec(),
            doubtful: Vec::new(),
        }
    }

    fn protect_at(policies: &Policies, seconds: i64) -> u64 {
        let found = effective(policies, Timestamp::from_seconds(seconds));
        found.unwrap().terms.protect_seconds()
    }

    fn lock_at(policies: &Policies, seconds: i64) -> LockStrategy {
        let found = effective(policies, Timestamp::from_seconds(seconds));
        found.unwrap().lock
    }

    /// L and I at a time.
    fn at(chain: &[Received], seconds: i64) -> (u64, u64) {
        let found = effective(&alone(chain), Timestamp::from_seconds(seconds));
        let terms = found.unwrap().terms;
        (terms.protect_seconds(), terms.interval_seconds())
    }

    #[test]
    fn the_first_policy_counts_even_before_its_receipt() {
        assert_eq!(effective(&alone(&[]), Timestamp::default()), None);
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
    fn a_stronger_lock_counts_at_once_and_a_weaker_one_after_one_old_period() {
        use LockStrategy::{Compliance, Governance, None};
        let chain = alone(&[
            locked(None, 30, 0),
            locked(Compliance, 30, 100),
            locked(Governance, 60, 200),
        ]);
        assert_eq!(lock_at(&chain, 99), None);
        assert_eq!(lock_at(&chain, 100), Compliance);
        assert_eq!(lock_at(&chain, 229), Compliance);
        assert_eq!(lock_at(&chain, 230), Governance);
    }

    #[test]
    fn while_policies_are_in_doubt_the_longest_of_them_and_of_the_one_before_counts() {
        let twins = |one, other| Policies {
            chain: vec![received(30, 0), received(20, 50)],
            doubtful: vec![(2, received(one, 100)), (2, received(other, 110))],
        };
        assert_eq!(protect_at(&twins(5, 6), 99), 20);
        assert_eq!(protect_at(&twins(5, 6), 1000), 20);
        assert_eq!(protect_at(&twins(5, 40), 109), 20);
        assert_eq!(protect_at(&twins(5, 40), 110), 40);
        assert_eq!(protect_at(&twins(5, 40), 1000), 40);
        let mut strong = twins(5, 6);
        strong.doubtful[0].1.lock = LockStrategy::Compliance;
        assert_eq!(lock_at(&strong, 1000), LockStrategy::Compliance);
    }

    #[test]
    fn what_was_in_doubt_is_promised_for_one_more_period_once_that_is_settled() {
        let twin = Received {
            is_sole: false,
            ..received(5, 100)
        };
        let mut settled = Policies {
            chain: vec![received(30, 0), twin, received(10, 1000)],
            doubtful: vec![(1, received(8, 110))],
        };
        // The one before, 30, counted all the time.
        for seconds in 110..1030 {
            assert_eq!(protect_at(&settled, seconds), 30, "at {seconds}");
        }
        assert_eq!(protect_at(&settled, 1030), 10);
        // A twin of what was superseded long ago changes nothing any more.
        settled.doubtful.push((1, received(90, 2000)));
        assert_eq!(protect_at(&settled, 2000), 10);
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
                .map(|(terms, at)| Received {
                    terms,
                    lock: LockStrategy::None,
                    received: Timestamp::from_seconds(at),
                    is_sole: true,
                })
                .collect();
            chain.sort_by_key(|policy| policy.received);
            let (chain, at) = (alone(&chain), Timestamp::from_seconds(now));
            let found = effective(&chain, at).unwrap().terms;
            prop_assert!(found.margin_seconds() <= found.protect_seconds());
            prop_assert!(found.generation_seconds() <= found.protect_seconds());
            // Whatever was in force at an earlier moment is kept for as long as it said.
            for earlier in chain.chain.iter().map(|policy| policy.received) {
                let then = effective(&chain, earlier.min(at)).unwrap().terms;
                let end = earlier.saturating_add_seconds(signed(then.protect_seconds()));
                prop_assert!(at >= end || found.protect_seconds() >= then.protect_seconds());
            }
        }
    }
}
