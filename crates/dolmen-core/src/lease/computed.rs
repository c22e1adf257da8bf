//! Leases on stores that keep no locks: computed from receipt times, recorded nowhere.

use dolmen_format::Timestamp;

use super::{Terms, signed};

/// When an object's lease lapses that no live snapshot or checkpoint needs: L + M after the latest of
/// its own receipt and the receipts of the retirements and successors that freed it. A whole second,
/// rounded up. What something live needs has no lapse at all.
pub fn lapse(
    received: Timestamp,
    freed: impl IntoIterator<Item = Timestamp>,
    terms: &Terms,
) -> Timestamp {
    let latest = freed.into_iter().fold(received, Timestamp::max);
    Timestamp::from_seconds(latest.ceil_seconds())
        .saturating_add_seconds(signed(terms.lease_seconds()))
}

/// When an object may be deleted whose lease lapses then: δ later.
pub fn deletable(lapse: Timestamp, terms: &Terms) -> Timestamp {
    lapse.saturating_add_seconds(signed(terms.delay_seconds()))
}

#[cfg(test)]
mod tests {
    use super::super::terms::tests::terms;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_lease_counts_from_the_last_of_receipt_and_releases() {
        let terms = terms(100, 20, 10);
        assert_eq!(lapse(at(1000), [], &terms), at(1130));
        assert_eq!(lapse(at(1000), [at(500)], &terms), at(1130));
        assert_eq!(lapse(at(1000), [at(3000), at(2000)], &terms), at(3130));
    }

    #[test]
    fn a_started_second_counts_whole() {
        let terms = terms(100, 20, 10);
        let freed = Timestamp {
            seconds: 3000,
            nanos: 1,
        };
        assert_eq!(lapse(at(1000), [freed], &terms), at(3131));
    }

    #[test]
    fn a_lapsed_object_stays_for_a_quarter_of_the_period() {
        assert_eq!(deletable(at(1130), &terms(100, 20, 10)), at(1155));
        assert_eq!(deletable(at(1130), &terms(101, 20, 10)), at(1156));
    }
}
