//! The grid that every object's retain-until dates lie on.
//!
//! Dates on a grid of period G move once in G however often maintenance runs; a phase that follows
//! from the object's id spreads the calls evenly, and every client works out the same date.

use dolmen_format::{ObjectId, Timestamp};

use super::{Terms, signed};

/// Where an object's grid lies: the last 8 bytes of its id as a little-endian number, modulo G.
///
/// Grid lines are the seconds since 1970 that leave this remainder. Ids are hashes, so phases are
/// spread evenly; the last bytes are taken because listings and key prefixes go by the first ones,
/// and neighbours in a listing should not fall due together.
fn phase(id: &ObjectId, generation_seconds: u64) -> u64 {
    let tail = id.as_bytes().last_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(tail)
        .checked_rem(generation_seconds)
        .unwrap_or_default()
}

impl Terms {
    /// The date that a put or an extension at `now` sets: the first line of the object's grid that is
    /// not before `now` + L + M. A whole second; earlier than `now` + L + M + G + 1 s.
    pub fn retain_until(&self, id: &ObjectId, now: Timestamp) -> Timestamp {
        let earliest = self.due_until(now).ceil_seconds();
        let period = signed(self.generation_seconds());
        let phase = signed(phase(id, self.generation_seconds()));
        // Remainders before the subtraction: nothing can overflow but the last sum.
        let ahead = phase.saturating_sub(earliest.checked_rem_euclid(period).unwrap_or_default());
        let wait = ahead.checked_rem_euclid(period).unwrap_or_default();
        Timestamp::from_seconds(earliest.saturating_add(wait))
    }

    /// Whether a lock until `until` has less than L + M left.
    pub fn is_due(&self, until: Timestamp, now: Timestamp) -> bool {
        until < self.due_until(now)
    }

    /// The date to extend a lock to, if it is due. `None` is no lock known, so that one is set.
    ///
    /// Never a date that is not later than the known one.
    pub fn next(
        &self,
        id: &ObjectId,
        known_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        match known_until {
            Some(known) if !self.is_due(known, now) => None,
            Some(known) => Some(self.retain_until(id, now)).filter(|next| *next > known),
            None => Some(self.retain_until(id, now)),
        }
    }

    /// `now` + L + M.
    fn due_until(&self, now: Timestamp) -> Timestamp {
        now.saturating_add_seconds(signed(self.lease_seconds()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::DAY;
    use super::super::terms::tests::{any_terms, terms};
    use super::*;

    fn any_id() -> impl Strategy<Value = ObjectId> {
        any::<[u8; 32]>().prop_map(ObjectId)
    }

    /// Any time within a few millennia.
    fn any_time() -> impl Strategy<Value = Timestamp> {
        (-100_000_000_000..100_000_000_000_i64, 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// An id whose grid has the lines n·G + `phase`.
    fn id_of_phase(phase: u8) -> ObjectId {
        let mut bytes = [0xee; 32];
        bytes[24..].copy_from_slice(&[phase, 0, 0, 0, 0, 0, 0, 0]);
        ObjectId(bytes)
    }

    #[test]
    fn the_phase_is_the_last_eight_bytes_little_endian() {
        let mut bytes = [0xff; 32];
        bytes[24..].copy_from_slice(&[0x07, 0x01, 0, 0, 0, 0, 0, 0]);
        assert_eq!(phase(&ObjectId(bytes), 1000), 0x107);
        assert_eq!(phase(&ObjectId(bytes), 256), 7);
    }

    #[test]
    fn dates_are_the_first_line_with_room_for_period_and_margin() {
        // L + M = 26, lines at 3, 13, 23, …
        let terms = terms(20, 10, 2);
        let id = id_of_phase(3);
        assert_eq!(terms.retain_until(&id, at(1000)), at(1033));
        assert_eq!(terms.retain_until(&id, at(1007)), at(1033));
        assert_eq!(terms.retain_until(&id, at(1008)), at(1043));
        let fraction = Timestamp {
            seconds: 1007,
            nanos: 1,
        };
        assert_eq!(terms.retain_until(&id, fraction), at(1043));
    }

    #[test]
    fn a_lock_is_due_below_period_and_margin_only() {
        let terms = terms(20, 10, 2);
        assert!(!terms.is_due(at(1026), at(1000)));
        assert!(terms.is_due(at(1025), at(1000)));
        let fraction = Timestamp {
            seconds: 1000,
            nanos: 1,
        };
        assert!(terms.is_due(at(1026), fraction));
        let id = id_of_phase(3);
        assert_eq!(terms.next(&id, Some(at(1026)), at(1000)), None);
        assert_eq!(terms.next(&id, Some(at(1025)), at(1000)), Some(at(1033)));
        assert_eq!(terms.next(&id, None, at(1000)), Some(at(1033)));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let terms = terms(100 * 365 * DAY, 100 * 365 * DAY, DAY);
        for now in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX] {
            let until = terms.retain_until(&ObjectId([0xff; 32]), at(now));
            assert!(until >= at(now), "{now}");
        }
        let last = at(i64::MAX);
        assert_eq!(terms.next(&ObjectId([0xff; 32]), Some(last), last), None);
    }

    #[test]
    fn phases_are_spread_evenly() {
        let mut hours = [0_u32; 168];
        for number in 0..16_800_u32 {
            let id = ObjectId::of(&number.to_le_bytes());
            hours[usize::try_from(phase(&id, 7 * DAY) / 3600).unwrap()] += 1;
        }
        // 100 are expected in every hour of the week; 5 standard deviations are 50.
        let (least, most) = (hours.iter().min(), hours.iter().max());
        assert!(least > Some(&50) && most < Some(&150), "{hours:?}");
    }

    proptest! {
        #[test]
        fn a_date_leaves_at_least_the_lease_and_less_than_a_generation_more(
            terms in any_terms(), id in any_id(), now in any_time(),
        ) {
            let until = terms.retain_until(&id, now);
            let earliest = now.saturating_add_seconds(signed(terms.lease_seconds()));
            prop_assert_eq!(until.nanos, 0);
            prop_assert!(until >= earliest);
            let wait = until.seconds - earliest.ceil_seconds();
            prop_assert!(wait < signed(terms.generation_seconds()));
            prop_assert_eq!(
                until.seconds.rem_euclid(signed(terms.generation_seconds())),
                signed(phase(&id, terms.generation_seconds()))
            );
        }

        #[test]
        fn later_never_means_earlier(
            terms in any_terms(), id in any_id(), one in any_time(), other in any_time(),
        ) {
            let (earlier, later) = (one.min(other), one.max(other));
            prop_assert!(terms.retain_until(&id, earlier) <= terms.retain_until(&id, later));
        }

        #[test]
        fn an_extension_is_always_later_and_never_due_again_at_once(
            terms in any_terms(), id in any_id(), known in any_time(), now in any_time(),
        ) {
            match terms.next(&id, Some(known), now) {
                Some(next) => {
                    prop_assert!(next > known && terms.is_due(known, now));
                    prop_assert_eq!(terms.next(&id, Some(next), now), None);
                }
                None => prop_assert!(!terms.is_due(known, now)),
            }
        }

        /// A year of maintenance, each run late by up to a missed one and its own length.
        #[test]
        fn a_live_object_keeps_its_period_at_few_calls(
            protect in 3..60_u64,
            parts in (1..=100_u64, 1..=33_u64),
            id in any_id(),
            start in any_time(),
            lates in prop::collection::vec((any::<bool>(), 0..=100_i64), 1..50),
        ) {
            let protect = protect * DAY;
            let terms = terms(protect, protect * parts.0 / 100, protect * parts.1 / 100);
            let interval = signed(terms.interval_seconds());
            let left_min = signed(terms.protect_seconds());
            let year = signed(365 * DAY);
            let mut now = start;
            let mut until = terms.next(&id, None, now).unwrap();
            let mut calls = 0;
            for (missed, late_percent) in lates.iter().cycle() {
                let runs = if *missed { 2 } else { 1 };
                let length = interval * late_percent / 100;
                // The run begins after one or two intervals and reaches the object later still.
                now = now.saturating_add_seconds(interval * runs + length);
                if now > start.saturating_add_seconds(year) {
                    break;
                }
                prop_assert!(until >= now.saturating_add_seconds(left_min), "less than L left");
                if let Some(next) = terms.next(&id, Some(until), now) {
                    until = next;
                    calls += 1;
                }
            }
            let calls_max = year / signed(terms.generation_seconds()) + 1;
            prop_assert!(calls <= calls_max, "{calls} calls, at most {calls_max}");
        }
    }
}
