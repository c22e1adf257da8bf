//! The numbers that every lease follows from.

use dolmen_format::ledger::Policy;

use super::DAY;

/// The longest protection: a century is beyond any plan, and far from where sums overflow.
pub const PROTECT_SECONDS_MAX: u64 = 100 * 365 * DAY;

/// The margin in maintenance intervals: one run that is missed, the next, and the length of a run.
pub const MISSED_INTERVALS: u64 = 3;

/// Protection period, generation and interval that fit together.
///
/// Each is a second at least, L a century at most, and G and M are not longer than L.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_field_names, reason = "a number ends in its unit")]
pub struct Terms {
    protect_seconds: u64,
    generation_seconds: u64,
    interval_seconds: u64,
}

/// What a person asked for; what is `None` follows from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// L in seconds.
    pub protect_seconds: u64,
    /// G in seconds.
    pub generation_seconds: Option<u64>,
    /// I in seconds.
    pub interval_seconds: Option<u64>,
    /// What the store asks for moving a lock.
    pub extension: ExtensionCost,
}

/// Whether a store charges for the calls that extend locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtensionCost {
    /// They cost nothing.
    Free,
    /// Each one is billed, so that longer generations pay.
    Paid,
}

impl ExtensionCost {
    /// The longest generation that nobody asked for.
    const fn generation_seconds_max(self) -> u64 {
        match self {
            Self::Free => 7 * DAY,
            Self::Paid => 14 * DAY,
        }
    }
}

/// Why numbers make no terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A number is 0.
    #[error(
        "the protection period ({protect_seconds} s), the generation ({generation_seconds} s) and the maintenance \
         interval ({interval_seconds} s) must each be a second at least"
    )]
    Zero {
        /// L in seconds.
        protect_seconds: u64,
        /// G in seconds.
        generation_seconds: u64,
        /// I in seconds.
        interval_seconds: u64,
    },
    /// L is longer than [`PROTECT_SECONDS_MAX`].
    #[error("the protection period ({protect_seconds} s) is longer than a century")]
    Protect {
        /// L in seconds.
        protect_seconds: u64,
    },
    /// G is longer than L.
    #[error(
        "the generation ({generation_seconds} s) must not be longer than the protection period ({protect_seconds} s)"
    )]
    Generation {
        /// G in seconds.
        generation_seconds: u64,
        /// L in seconds.
        protect_seconds: u64,
    },
    /// M is longer than L.
    #[error(
        "three times the maintenance interval ({interval_seconds} s), the margin for a missed run, must not be \
         longer than the protection period ({protect_seconds} s)"
    )]
    Margin {
        /// I in seconds.
        interval_seconds: u64,
        /// L in seconds.
        protect_seconds: u64,
    },
}

impl Asked {
    /// G in seconds: what was asked for, else half of L, rounded up, but at most 7 days, or 14 where extensions are billed.
    pub fn generation_or_default_seconds(&self) -> u64 {
        let longest = self.extension.generation_seconds_max();
        let derived = self.protect_seconds.div_ceil(2).clamp(1, longest);
        self.generation_seconds.unwrap_or(derived)
    }

    /// I in seconds: what was asked for, else a quarter of G, rounded up, but at most a day.
    pub fn interval_or_default_seconds(&self) -> u64 {
        let generation_seconds = self.generation_or_default_seconds();
        let derived = generation_seconds.div_ceil(4).clamp(1, DAY);
        self.interval_seconds.unwrap_or(derived)
    }
}

impl Terms {
    /// Works out what was not asked for.
    pub fn with_defaults(asked: &Asked) -> Result<Self, TermsError> {
        Self {
            protect_seconds: asked.protect_seconds,
            generation_seconds: asked.generation_or_default_seconds(),
            interval_seconds: asked.interval_or_default_seconds(),
        }
        .checked()
    }

    /// Refuses numbers that do not fit together.
    fn checked(self) -> Result<Self, TermsError> {
        let Self {
            protect_seconds,
            generation_seconds,
            interval_seconds,
        } = self;
        if protect_seconds == 0 || generation_seconds == 0 || interval_seconds == 0 {
            Err(TermsError::Zero {
                protect_seconds,
                generation_seconds,
                interval_seconds,
            })
        } else if protect_seconds > PROTECT_SECONDS_MAX {
            Err(TermsError::Protect { protect_seconds })
        } else if generation_seconds > protect_seconds {
            Err(TermsError::Generation {
                generation_seconds,
                protect_seconds,
            })
        } else if self.margin_seconds() > protect_seconds {
            Err(TermsError::Margin {
                interval_seconds,
                protect_seconds,
            })
        } else {
            Ok(self)
        }
    }

    /// L in seconds.
    pub const fn protect_seconds(&self) -> u64 {
        self.protect_seconds
    }

    /// G in seconds: the period of every object's grid.
    pub const fn generation_seconds(&self) -> u64 {
        self.generation_seconds
    }

    /// I in seconds: how often maintenance is promised to run.
    pub const fn interval_seconds(&self) -> u64 {
        self.interval_seconds
    }

    /// M in seconds.
    pub const fn margin_seconds(&self) -> u64 {
        self.interval_seconds.saturating_mul(MISSED_INTERVALS)
    }

    /// L + M in seconds: an object with less left is due.
    pub const fn lease_seconds(&self) -> u64 {
        self.protect_seconds.saturating_add(self.margin_seconds())
    }

    /// L + M + G in whole days: the longest lock that a put or an extension asks for, and what a bucket must give by itself
    /// to whoever may not ask.
    pub const fn longest_lock_days(&self) -> u64 {
        let longest = self.lease_seconds().saturating_add(self.generation_seconds);
        longest.div_ceil(DAY)
    }

    /// δ in seconds, rounded up: the wait between the lapse of a computed lease and the delete.
    pub const fn delay_seconds(&self) -> u64 {
        self.protect_seconds.div_ceil(4)
    }

    /// The same with a longer protection period, for what a protection class keeps longer. A shorter
    /// one changes nothing.
    #[must_use]
    pub fn protecting(self, protect_seconds: u64) -> Self {
        let longest = protect_seconds.min(PROTECT_SECONDS_MAX);
        Self {
            protect_seconds: self.protect_seconds.max(longest),
            ..self
        }
    }

    /// The same with a longer maintenance interval, as far as the margin still fits.
    pub(super) fn with_interval_of(self, other: &Self) -> Self {
        let interval_seconds = self.interval_seconds.max(other.interval_seconds);
        let longest = (self.protect_seconds / MISSED_INTERVALS).max(self.interval_seconds);
        Self {
            interval_seconds: interval_seconds.min(longest),
            ..self
        }
    }
}

impl TryFrom<&Policy> for Terms {
    type Error = TermsError;

    fn try_from(policy: &Policy) -> Result<Self, TermsError> {
        Self {
            protect_seconds: policy.protect_seconds,
            generation_seconds: policy.generation_seconds,
            interval_seconds: policy.interval_seconds,
        }
        .checked()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use dolmen_format::ledger::{Keep, LockStrategy};
    use proptest::prelude::*;

    use super::*;

    /// Terms of these numbers, which must fit together.
    pub(in crate::lease) fn terms(protect: u64, generation: u64, interval: u64) -> Terms {
        derived(protect, Some(generation), Some(interval)).unwrap()
    }

    fn derived(
        protect_seconds: u64,
        generation_seconds: Option<u64>,
        interval_seconds: Option<u64>,
    ) -> Result<Terms, TermsError> {
        Terms::with_defaults(&Asked {
            protect_seconds,
            generation_seconds,
            interval_seconds,
            extension: ExtensionCost::Free,
        })
    }

    /// Any terms, short ones as likely as long ones.
    pub(in crate::lease) fn any_terms() -> impl Strategy<Value = Terms> {
        let protect = prop_oneof![
            3..100_u64,
            100..1_000_000_u64,
            1_000_000..=PROTECT_SECONDS_MAX
        ];
        let parts = protect.prop_flat_map(|protect| (Just(protect), 1..=protect, 1..=protect / 3));
        parts.prop_map(|(protect, generation, interval)| terms(protect, generation, interval))
    }

    #[test]
    fn generation_and_interval_follow_from_the_protection_period() {
        for (protect, expected) in [
            (30 * DAY, terms(30 * DAY, 7 * DAY, DAY)),
            (4 * DAY, terms(4 * DAY, 2 * DAY, DAY / 2)),
            (20, terms(20, 10, 3)),
            (11, terms(11, 6, 2)),
            (3, terms(3, 2, 1)),
        ] {
            assert_eq!(derived(protect, None, None), Ok(expected));
        }
        // What rounding up adds always fits.
        for protect in 3..1000 {
            assert!(derived(protect, None, None).is_ok(), "{protect}");
        }
    }

    #[test]
    fn generations_are_longer_where_extensions_are_billed() {
        let asked = |protect_days| Asked {
            protect_seconds: protect_days * DAY,
            generation_seconds: None,
            interval_seconds: None,
            extension: ExtensionCost::Paid,
        };
        let generation = |days| {
            let terms = Terms::with_defaults(&asked(days)).unwrap();
            terms.generation_seconds()
        };
        assert_eq!(generation(30), 14 * DAY);
        assert_eq!(generation(20), 10 * DAY);
    }

    #[test]
    fn what_was_asked_for_is_taken_as_it_is() {
        let asked = derived(30 * DAY, Some(14 * DAY), Some(2 * DAY));
        assert_eq!(asked, Ok(terms(30 * DAY, 14 * DAY, 2 * DAY)));
        assert_eq!(terms(30 * DAY, 14 * DAY, 2 * DAY).margin_seconds(), 6 * DAY);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_with_the_reason() {
        let refused = |protect, generation, interval| {
            derived(protect, Some(generation), Some(interval)).unwrap_err()
        };
        for (refused, sentence) in [
            (
                refused(10, 0, 1),
                "the protection period (10 s), the generation (0 s) and the maintenance interval (1 s) \
                 must each be a second at least",
            ),
            (
                refused(PROTECT_SECONDS_MAX + 1, 1, 1),
                "the protection period (3153600001 s) is longer than a century",
            ),
            (
                refused(10, 11, 1),
                "the generation (11 s) must not be longer than the protection period (10 s)",
            ),
            (
                refused(10, 10, 4),
                "three times the maintenance interval (4 s), the margin for a missed run, must not be \
                 longer than the protection period (10 s)",
            ),
        ] {
            assert_eq!(refused.to_string(), sentence);
        }
        assert!(derived(2, None, None).is_err(), "no margin fits");
        assert!(derived(10, Some(10), Some(u64::MAX)).is_err());
    }

    #[test]
    fn a_policy_states_terms_or_is_refused() {
        let policy = |protect_seconds| Policy {
            protect_seconds,
            generation_seconds: 10,
            interval_seconds: 2,
            lock: LockStrategy::Compliance,
            keep: Keep::default(),
            classes: Vec::new(),
            previous: None,
        };
        assert_eq!(Terms::try_from(&policy(20)), Ok(terms(20, 10, 2)));
        let generation = TermsError::Generation {
            generation_seconds: 10,
            protect_seconds: 9,
        };
        assert_eq!(Terms::try_from(&policy(9)), Err(generation));
    }

    #[test]
    fn the_delay_is_a_quarter_rounded_up() {
        assert_eq!(terms(30 * DAY, DAY, DAY).delay_seconds(), 30 * DAY / 4);
        assert_eq!(terms(3, 1, 1).delay_seconds(), 1);
        assert_eq!(terms(5, 1, 1).delay_seconds(), 2);
    }

    #[test]
    fn a_class_only_lengthens() {
        let monthly = terms(30, 10, 5).protecting(180);
        assert_eq!(monthly, terms(180, 10, 5));
        assert_eq!(monthly.protecting(60), monthly);
        let longest = monthly.protecting(u64::MAX);
        assert_eq!(longest.protect_seconds(), PROTECT_SECONDS_MAX);
    }
}
