//! Bills against numbers worked out by hand.

use super::super::{Prices, grouped, parse_change};
use super::*;

fn with<T>(provider: &str, size: u64, change: &str, then: impl FnOnce(Plan<'_>) -> T) -> T {
    let prices = Prices::built_in().unwrap();
    then(Plan {
        provider: prices.of(provider).unwrap(),
        size: Size::in_packs(size),
        change: parse_change(change).unwrap(),
        protect_seconds: 30 * DAY_SECONDS,
        interval_seconds: None,
        generations: Vec::new(),
    })
}

fn rows_of(provider: &str, size: u64, change: &str) -> Vec<Row> {
    with(provider, size, change, |plan| bills(&plan).unwrap().rows)
}

fn find<'a>(rows: &'a [Row], name: &str, days: u64) -> &'a Row {
    let found = rows
        .iter()
        .find(|row| row.way.name() == name && row.generation_seconds == days * DAY_SECONDS);
    found.unwrap_or_else(|| panic!("{name} {days}: {rows:#?}"))
}

const TB: u64 = 1_000_000_000_000;

/// The example of `docs/cost.md`, step by step: 10 TB, of which 1 % changes each day, on S3.
#[test]
fn the_example_of_the_docs_comes_out() {
    let rows = rows_of("aws", 10 * TB, "1%/d");
    let row = find(&rows, "compliance", 14);
    // 10^13 / 2^25 packs.
    assert_eq!(row.objects, 298_024);
    assert_eq!(row.renewal_calls, (298_024 * 365_u64).div_ceil(14));
    assert_eq!(row.renewal_calls, 7_769_912);
    assert_eq!(row.renewal_calls_max, 298_024 * (365 / 14 + 1));
    assert_eq!(row.renewal.to_string(), "$38.85");
    // L + M + G/2 = 30 + 3 + 7 days of 100 GB.
    assert_eq!(row.kept_bytes, 40 * TB / 10);
    assert_eq!(row.storage.to_string(), "$3,864.00");
    assert_eq!(row.kept.to_string(), "$1,104.00");
    // 3.65 times all packs, a snapshot and a segment a day.
    assert_eq!(row.put_calls, 1_087_788 + 730);
    assert_eq!(row.puts.to_string(), "$5.44");
    // 4 listings of 418 pages a day and 30 small ones; one question for each pack and generation, and for one in 32 a day.
    let questions = 7_769_912 + (298_024 * 365_u64).div_ceil(32);
    assert_eq!(questions, 11_169_249);
    assert_eq!(row.audit_calls, 365 * (4 * 418 + 30) + questions);
    assert_eq!(row.audits.to_string(), "$7.57");
    assert_eq!(row.total, row.parts().into_iter().sum());
    let shown: Usd = row.parts().into_iter().map(Usd::rounded_to_cents).sum();
    assert_eq!(shown.to_string(), "$3,915.86");
    assert_eq!(row.first_backup.to_string(), "$1.49");
    // 9,900 GB at 9 cents and the reads.
    assert_eq!(row.restore.to_string(), "$891.12");
}

#[test]
fn a_live_object_takes_at_most_a_call_a_generation_and_one() {
    for days in [7_u64, 14, 30] {
        let rows = rows_of("aws", TB, "1%/d");
        let row = find(&rows, "compliance", days);
        assert!(row.renewal_calls <= row.renewal_calls_max);
        assert_eq!(row.renewal_calls_max, row.objects * (365 / days + 1));
    }
}

#[test]
fn a_hold_takes_three_calls_for_each_object_ever() {
    let rows = rows_of("aws", TB, "1%/d");
    let row = find(&rows, "hold", 14);
    let new = row.put_calls - 730;
    assert_eq!(row.renewal_calls, 3 * new);
    assert_eq!(row.renewal.to_string(), "$1.63");
    let still = rows_of("aws", TB, "0%/d");
    assert_eq!(find(&still, "hold", 14).renewal_calls, 0);
}

#[test]
fn what_is_hidden_takes_no_renewals_and_stays_for_both_spans() {
    let rows = rows_of("b2", TB, "1%/d");
    let hide: Vec<_> = rows.iter().filter(|row| row.way.name() == "hide").collect();
    let [row] = hide.as_slice() else {
        panic!("{hide:?}")
    };
    assert_eq!(row.renewal_calls, 0);
    // L + M + L/4, then the bucket's 33 days: 73.5 days of 10 GB.
    assert_eq!(row.generation_seconds, 7 * DAY_SECONDS);
    assert_eq!(row.kept_bytes, 735 * TB / 1000);
    assert!(
        rows_of("aws", TB, "1%/d")
            .iter()
            .all(|row| row.way.name() != "hide")
    );
}

#[test]
fn no_whole_day_makes_a_cheaper_generation_than_the_one_marked() {
    for (provider, change, days) in [
        ("aws", "1%/d", 7),
        ("aws", "0.2%/d", 15),
        ("b2", "1%/d", 4),
        ("aws", "0%/d", 30),
    ] {
        let rows = rows_of(provider, 10 * TB, change);
        let best: Vec<_> = rows
            .iter()
            .filter(|row| row.is_best && row.way.name() == "compliance")
            .collect();
        let [best] = best.as_slice() else {
            panic!("{best:?}")
        };
        assert_eq!(
            best.generation_seconds,
            days * DAY_SECONDS,
            "{provider} {change}"
        );
        for other in 4..=30 {
            let row = with(provider, 10 * TB, change, |plan| {
                let generations = vec![other * DAY_SECONDS];
                let bill = bills(&Plan {
                    generations,
                    ..plan
                })
                .unwrap();
                find(&bill.rows, "compliance", other).clone()
            });
            assert!(best.total <= row.total, "{provider} {change}: {other}");
        }
    }
}

/// The numbers that are known of tools which set every lock anew.
#[test]
fn relocking_everything_costs_what_is_known_of_it() {
    let rows = rows_of("aws", TB, "1%/d");
    for (name, days, objects, calls, renewal) in [
        ("relock-packs-daily", 1, 47_684, 17_404_660, "$87.02"),
        ("relock-packs-weekly", 7, 47_684, 2_486_380, "$12.43"),
        ("relock-chunks-daily", 1, 238_419, 87_022_935, "$435.11"),
        ("relock-chunks-weekly", 7, 238_419, 12_431_848, "$62.16"),
    ] {
        let row = find(&rows, name, days);
        assert_eq!((row.objects, row.renewal_calls), (objects, calls), "{name}");
        assert_eq!(row.renewal.to_string(), renewal, "{name}");
    }
}

#[test]
fn a_provider_that_bills_for_months_is_paid_for_what_is_gone() {
    // What is new lives 10 days and is kept for 36.5: wasabi bills 90.
    let rows = rows_of("wasabi", 10 * TB, "10%/d");
    let row = find(&rows, "compliance", 7);
    let billed = 10 * TB + TB * 365 / 10 + TB * (900 - 465) / 10;
    assert_eq!(row.kept_bytes, TB * 365 / 10);
    assert_eq!(row.storage.to_string(), format!("${}", dollars(billed)));
    // A tenth of that lives for 100 days in any case.
    let slow = rows_of("wasabi", 10 * TB, "1%/d");
    let row = find(&slow, "compliance", 7);
    assert_eq!(
        row.storage.to_string(),
        format!("${}", dollars(10 * TB + TB * 365 / 100))
    );
    // And less than a terabyte costs as much as one.
    let small = rows_of("wasabi", TB / 1000, "0%/d");
    assert_eq!(find(&small, "compliance", 7).storage.to_string(), "$95.88");
}

/// 7.99 for a TB and month, in cents of a year.
fn dollars(bytes: u64) -> String {
    let cents = (u128::from(bytes) * 12 * 799 + u128::from(TB) / 2) / u128::from(TB);
    format!("{}.{:02}", grouped(cents / 100), cents % 100)
}

#[test]
fn terms_that_do_not_fit_and_numbers_that_are_too_large_are_refused() {
    with("aws", TB, "1%/d", |plan| {
        let generations = vec![31 * DAY_SECONDS];
        let refused = bills(&Plan {
            generations,
            ..plan.clone()
        })
        .unwrap_err();
        assert!(
            refused.to_string().contains("must not be longer"),
            "{refused}"
        );
        let protect_seconds = 101 * YEAR_SECONDS;
        let refused = bills(&Plan {
            protect_seconds,
            ..plan
        })
        .unwrap_err();
        assert!(refused.to_string().contains("century"), "{refused}");
    });
    with("aws", u64::MAX, "100%/d", |plan| {
        let protect_seconds = 99 * YEAR_SECONDS;
        assert_eq!(
            bills(&Plan {
                protect_seconds,
                ..plan
            })
            .unwrap_err(),
            CostError::TooMuch
        );
    });
    with("aws", TB, "101%/d", |plan| {
        assert_eq!(bills(&plan).unwrap_err(), CostError::Change);
    });
}

#[test]
fn a_repository_of_nothing_costs_no_renewals() {
    let rows = with("aws", 0, "0%/d", |plan| bills(&plan).unwrap().rows);
    let row = find(&rows, "compliance", 7);
    assert_eq!((row.objects, row.renewal_calls), (0, 0));
    assert_eq!(row.storage, Usd::default());
}

#[test]
fn short_protection_has_a_bill_too() {
    with("aws", TB, "1%/d", |plan| {
        let protect_seconds = 20;
        let rows = bills(&Plan {
            protect_seconds,
            ..plan
        })
        .unwrap()
        .rows;
        let own: Vec<_> = rows.iter().filter(|row| row.way.is_ours()).collect();
        assert!(
            own.iter().all(|row| row.generation_seconds == 10),
            "{own:?}"
        );
    });
}
