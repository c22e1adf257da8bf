//! Two clocks, neither of which is believed alone.

use std::cmp::Ordering;

use dolmen_format::{ObjectId, Timestamp};
use dolmen_store::StoreTime;

use super::{DAY, Terms, signed};

/// Clocks that are further apart are worth a warning.
pub const SKEW_WARNED_SECONDS: u64 = 10 * 60;
/// Clocks that are further apart are told of; signed requests of most stores fail from a quarter of an hour on.
const SKEW_TOLD_SECONDS: u64 = 5 * 60;
/// Clocks that are further apart let nothing go.
pub const SKEW_REFUSED_SECONDS: u64 = DAY;

/// What the clocks say in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The local clock.
    pub local: Timestamp,
    /// The store's clock, read in this run; a folder's is the clock that stamps its files.
    pub store: StoreTime,
    /// The latest time that this store once stated, from the state folder: the start of what it
    /// stated ([`StoreTime::earliest`]), so that a store is never behind itself.
    pub remembered_store: Option<Timestamp>,
    /// Whether a person takes the store's clock as true in this run (`--confirm-clock`).
    pub confirmed: bool,
}

/// A time as people read it.
fn stated(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_error| format!("{seconds} s since 1970"),
        |time| time.to_string(),
    )
}

/// What a person should know of clocks that are more than five minutes apart.
pub fn apart(local: Timestamp, store: StoreTime) -> Option<String> {
    are_apart(local, store, SKEW_TOLD_SECONDS).then(|| {
        let (side, seconds) = if local > store.latest {
            ("ahead of", local.seconds.saturating_sub(store.latest.seconds))
        } else {
            ("behind", store.earliest.seconds.saturating_sub(local.seconds))
        };
        let until_then = if are_apart(local, store, SKEW_REFUSED_SECONDS) {
            "locks go by the store's, and nothing is let go"
        } else {
            "what is protected goes by the later one, and what is let go by the earlier"
        };
        format!(
            "this machine's clock ({}) is {} min {side} the store's ({}): set whichever is wrong; until then {until_then}",
            stated(local.seconds),
            seconds / 60,
            stated(store.earliest.seconds)
        )
    })
}

/// How well the clocks agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skew {
    /// At most [`SKEW_WARNED_SECONDS`] apart.
    Agree,
    /// Further apart: one of them needs setting.
    Warn,
    /// More than [`SKEW_REFUSED_SECONDS`] apart: nothing is let go and locks do not follow the local
    /// clock until a person confirms the store's.
    Refuse,
}

/// Why nothing is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    /// The clocks contradict each other.
    #[error(
        "the local clock ({}) and the store's ({}) are more than a day apart",
        stated(*.local),
        stated(*.store)
    )]
    Skewed {
        /// The local clock, seconds since 1970.
        local: i64,
        /// The store's, seconds since 1970.
        store: i64,
    },
    /// The store's clock was set back, or it was wrong before.
    #[error(
        "the store's clock ({}) is behind what it once stated ({})",
        stated(*.store),
        stated(*.remembered)
    )]
    StoreBehind {
        /// The store's clock, seconds since 1970.
        store: i64,
        /// What it once stated, seconds since 1970.
        remembered: i64,
    },
    /// The local clock is behind a time that has been.
    #[error(
        "the local clock ({}) is behind what the store once stated ({})",
        stated(*.local),
        stated(*.remembered)
    )]
    LocalBehind {
        /// The local clock, seconds since 1970.
        local: i64,
        /// What the store once stated, seconds since 1970.
        remembered: i64,
    },
}

impl Clocks {
    /// How well the clocks agree.
    pub fn skew(&self) -> Skew {
        if self.is_apart(SKEW_REFUSED_SECONDS) {
            Skew::Refuse
        } else if self.is_apart(SKEW_WARNED_SECONDS) {
            Skew::Warn
        } else {
            Skew::Agree
        }
    }

    /// The time from which protection counts: the later clock, at the end of what the store states.
    ///
    /// Clocks more than 24 h apart leave the store's alone. Unconfirmed, locks may end L + M + G after
    /// its time at most, and the one grid line in reach of that is the one counted from its time;
    /// confirmed, it is the true one. What the store once stated never moves this.
    pub fn protect_from(&self) -> Timestamp {
        match self.skew() {
            Skew::Agree | Skew::Warn => self.store.latest.max(self.local),
            Skew::Refuse => self.store.latest,
        }
    }

    /// The latest date that a lock may get in this run; `None` is no limit but the terms'.
    pub fn retain_until_max(&self, terms: &Terms) -> Option<Timestamp> {
        let seconds = terms
            .lease_seconds()
            .saturating_add(terms.generation_seconds());
        let limit = self.store.latest.saturating_add_seconds(signed(seconds));
        (self.skew() == Skew::Refuse && !self.confirmed).then_some(limit)
    }

    /// The date for a lock that is missing or due, by these clocks. See [`Terms::next`].
    pub fn next(
        &self,
        terms: &Terms,
        id: &ObjectId,
        known_until: Option<Timestamp>,
    ) -> Option<Timestamp> {
        terms.next(id, known_until, self.protect_from())
    }

    /// The time that counts for letting go (deletes, lifted holds, policies, revocations): the earlier
    /// clock, at the start of what the store states; or why nothing is let go.
    ///
    /// A person who confirms the store's clock against one that is more than 24 h off sets the local
    /// clock aside, here and in the comparison with what the store once stated. Nothing excuses a
    /// store that is behind what it stated itself.
    pub fn let_go_at(&self) -> Result<Timestamp, Held> {
        let (store, local) = (self.store.earliest, self.local);
        let is_set_aside = match (self.skew(), self.confirmed) {
            (Skew::Refuse, false) => {
                return Err(Held::Skewed {
                    local: local.seconds,
                    store: store.seconds,
                });
            }
            (Skew::Refuse, true) => true,
            (Skew::Agree | Skew::Warn, _) => false,
        };
        let Some(remembered) = self.remembered_store else {
            return Ok(if is_set_aside {
                store
            } else {
                store.min(local)
            });
        };
        if is_behind(self.store.latest, remembered) {
            return Err(Held::StoreBehind {
                store: store.seconds,
                remembered: remembered.seconds,
            });
        }
        if is_set_aside {
            return Ok(store);
        }
        if is_behind(local, remembered) {
            return Err(Held::LocalBehind {
                local: local.seconds,
                remembered: remembered.seconds,
            });
        }
        Ok(store.min(local))
    }

    /// The latest that it may be by any of the clocks: what has not lapsed by then has not lapsed.
    pub fn latest(&self) -> Timestamp {
        let latest = self.store.latest.max(self.local);
        self.remembered_store
            .map_or(latest, |once| once.max(latest))
    }

    /// What to remember of the store's clock after this run: never less than before.
    pub fn remember(&self) -> Timestamp {
        let before = self.remembered_store.unwrap_or(self.store.earliest);
        before.max(self.store.earliest)
    }

    /// Whether the local clock is more than `seconds` outside what the store states.
    fn is_apart(&self, seconds: u64) -> bool {
        are_apart(self.local, self.store, seconds)
    }
}

/// Whether two clocks are further apart than so many seconds, from the ends of what the store states.
fn are_apart(local: Timestamp, store: StoreTime, seconds: u64) -> bool {
    let seconds = signed(seconds);
    local > store.latest.saturating_add_seconds(seconds)
        || local.saturating_add_seconds(seconds) < store.earliest
}

/// Whether a clock stands below a time that has been.
///
/// Clocks that count as agreeing may differ by [`SKEW_WARNED_SECONDS`], so that much behind is not
/// below: a store answers from many machines, and a local clock a second slow would else let nothing
/// go for a second after every call. What goes is judged by the earlier clock all the same.
fn is_behind(clock: Timestamp, remembered: Timestamp) -> bool {
    let tolerated = clock.saturating_add_seconds(signed(SKEW_WARNED_SECONDS));
    tolerated.cmp(&remembered) == Ordering::Less
}

#[cfg(test)]
mod tests {
    use super::super::terms::tests::terms;
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY_SECONDS: i64 = 24 * 60 * 60;
    const WARNED: i64 = 10 * 60;

    /// A store that states the second [`NOW`], and a local clock that is ahead by so much.
    fn ahead(seconds: i64) -> Clocks {
        Clocks {
            local: Timestamp::from_seconds(NOW + seconds),
            store: StoreTime::within_second(NOW),
            remembered_store: None,
            confirmed: false,
        }
    }

    fn confirmed(clocks: Clocks) -> Clocks {
        Clocks {
            confirmed: true,
            ..clocks
        }
    }

    fn remembering(clocks: Clocks, seconds: i64) -> Clocks {
        Clocks {
            remembered_store: Some(Timestamp::from_seconds(NOW + seconds)),
            ..clocks
        }
    }

    fn store_second() -> StoreTime {
        StoreTime::within_second(NOW)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(NOW + seconds)
    }

    #[test]
    fn skew_is_counted_from_the_ends_of_the_stated_second() {
        for (seconds, skew) in [
            (0, Skew::Agree),
            (WARNED, Skew::Agree),
            (WARNED + 1, Skew::Warn),
            (DAY_SECONDS, Skew::Warn),
            (DAY_SECONDS + 1, Skew::Refuse),
            (-WARNED, Skew::Agree),
            (-WARNED - 1, Skew::Warn),
            (-DAY_SECONDS, Skew::Warn),
            (-DAY_SECONDS - 1, Skew::Refuse),
        ] {
            assert_eq!(ahead(seconds).skew(), skew, "{seconds} s ahead");
        }
    }

    #[test]
    fn protection_counts_from_the_later_clock() {
        assert_eq!(ahead(30).protect_from(), at(30));
        assert_eq!(ahead(DAY_SECONDS).protect_from(), at(DAY_SECONDS));
        assert_eq!(ahead(0).protect_from(), store_second().latest);
        assert_eq!(ahead(-30).protect_from(), store_second().latest);
    }

    #[test]
    fn letting_go_counts_from_the_earlier_clock() {
        assert_eq!(ahead(30).let_go_at(), Ok(store_second().earliest));
        assert_eq!(ahead(-30).let_go_at(), Ok(at(-30)));
        assert_eq!(ahead(-DAY_SECONDS).let_go_at(), Ok(at(-DAY_SECONDS)));
    }

    #[test]
    fn clocks_a_day_apart_let_nothing_go_until_confirmed() {
        for seconds in [DAY_SECONDS + 1, -DAY_SECONDS - 1] {
            let clocks = ahead(seconds);
            let held = Held::Skewed {
                local: NOW + seconds,
                store: NOW,
            };
            assert_eq!(clocks.let_go_at(), Err(held));
            let time = confirmed(clocks).let_go_at();
            assert_eq!(time, Ok(store_second().earliest), "the store's is true");
        }
    }

    #[test]
    fn confirming_clocks_that_agree_changes_nothing() {
        for clocks in [ahead(-30), ahead(3000), remembering(ahead(0), 3600)] {
            assert_eq!(confirmed(clocks).let_go_at(), clocks.let_go_at());
            assert_eq!(confirmed(clocks).protect_from(), clocks.protect_from());
        }
    }

    #[test]
    fn locks_follow_the_store_when_the_clocks_are_a_day_apart() {
        let terms = terms(100, 50, 10);
        for seconds in [DAY_SECONDS + 1, 300 * 365 * DAY_SECONDS, -DAY_SECONDS - 1] {
            let clocks = ahead(seconds);
            let limit = store_second().latest.saturating_add_seconds(180);
            assert_eq!(clocks.retain_until_max(&terms), Some(limit));
            for id in 0..=255 {
                let until = clocks.next(&terms, &ObjectId([id; 32]), None).unwrap();
                assert!(until <= limit, "{seconds} s ahead");
                assert!(until >= store_second().latest.saturating_add_seconds(130));
            }
            assert_eq!(confirmed(clocks).retain_until_max(&terms), None);
            assert_eq!(confirmed(clocks).protect_from(), store_second().latest);
        }
        assert_eq!(ahead(DAY_SECONDS).retain_until_max(&terms), None);
    }

    #[test]
    fn a_clock_below_what_the_store_once_stated_lets_nothing_go() {
        assert_eq!(remembering(ahead(5), -1).let_go_at(), Ok(at(0)));
        assert_eq!(
            remembering(ahead(WARNED + 60), WARNED + 30).let_go_at(),
            Err(Held::StoreBehind {
                store: NOW,
                remembered: NOW + WARNED + 30,
            })
        );
        assert_eq!(
            remembering(ahead(-2 * WARNED), -30).let_go_at(),
            Err(Held::LocalBehind {
                local: NOW - 2 * WARNED,
                remembered: NOW - 30,
            })
        );
    }

    #[test]
    fn a_clock_that_is_a_little_slow_is_not_below() {
        assert_eq!(remembering(ahead(-2), 0).let_go_at(), Ok(at(-2)));
        assert_eq!(remembering(ahead(0), 3).let_go_at(), Ok(at(0)));
    }

    #[test]
    fn no_confirmation_excuses_a_store_that_went_back() {
        let clocks = remembering(confirmed(ahead(5 * DAY_SECONDS)), DAY_SECONDS);
        assert!(matches!(clocks.let_go_at(), Err(Held::StoreBehind { .. })));
    }

    #[test]
    fn a_confirmed_store_sets_a_local_clock_from_1970_aside() {
        let clocks = confirmed(remembering(ahead(-NOW), -30));
        assert_eq!(clocks.let_go_at(), Ok(at(0)));
    }

    #[test]
    fn memory_never_lengthens_a_lock_and_never_shrinks() {
        let clocks = remembering(ahead(0), 50 * DAY_SECONDS);
        assert_eq!(clocks.protect_from(), ahead(0).protect_from());
        assert_eq!(clocks.remember(), at(50 * DAY_SECONDS));
        assert_eq!(remembering(ahead(0), -5).remember(), at(0));
        assert_eq!(ahead(0).remember(), at(0));
    }

    #[test]
    fn times_at_the_ends_of_the_range_do_not_overflow() {
        for (local, store) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
            let clocks = Clocks {
                local: Timestamp::from_seconds(local),
                store: StoreTime::within_second(store),
                remembered_store: Some(Timestamp::from_seconds(store)),
                confirmed: false,
            };
            assert_eq!(clocks.skew(), Skew::Refuse);
        }
    }
}
