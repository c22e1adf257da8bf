//! Longer protection for what is kept longer.

use std::collections::BTreeMap;

use dolmen_format::SnapshotId;
use dolmen_format::ledger::Class;

use super::{Fate, Group, Period, Reason};

/// For how many seconds each snapshot is promised that a rule with a class keeps; of several classes the longest counts.
/// What no such rule keeps is left out, and so is what has no slot: nobody plants what is to be kept for long.
pub fn class_promises(groups: &[Group], classes: &[Class]) -> BTreeMap<SnapshotId, u64> {
    let mut promises = BTreeMap::new();
    for decision in groups.iter().flat_map(|group| &group.decisions) {
        let Fate::Keep { reasons, .. } = &decision.fate else {
            continue;
        };
        let applies = |class: &&Class| {
            reasons.iter().any(
                |reason| matches!(reason, Reason::Last(period) if rule_of(*period) == class.rule),
            )
        };
        let of_classes = classes.iter().filter(applies);
        if let Some(longest) = of_classes.map(|class| class.protect_seconds).max() {
            promises.insert(decision.id, longest);
        }
    }
    promises
}

/// The rule of a policy that keeps one snapshot of a period.
const fn rule_of(period: Period) -> &'static str {
    match period {
        Period::Snapshot => "last",
        Period::Hour => "hourly",
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
        Period::Year => "yearly",
    }
}

#[cfg(test)]
mod tests {
    use dolmen_format::{ObjectId, Timestamp, WriterId};
    use jiff::tz::TimeZone;

    use super::super::{Candidate, Count, GroupBy, Rules, select};
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn a_class_protects_what_its_rule_keeps_and_nothing_else() {
        let one = |number: u8| Candidate {
            id: ObjectId([number; 32]),
            writer: WriterId([1; 16]),
            // Ten days apart from the first of January 2026 on.
            time: Timestamp::from_seconds(1_767_225_600 + DAY * 10 * i64::from(number)),
            host: b"host".to_vec(),
            paths: Vec::new(),
            tags: Vec::new(),
            slot: number != 8,
        };
        let all: Vec<_> = (0..9).map(one).collect();
        let mut rules = Rules::default();
        rules.counts.last = Count::AtMost(2);
        rules.counts.monthly = Count::AtMost(2);
        let now = Timestamp::from_seconds(1_800_000_000);
        let groups = select(&all, &rules, GroupBy::default(), &TimeZone::UTC, now).unwrap();
        let class = |rule: &str, protect_seconds| Class {
            rule: rule.to_owned(),
            protect_seconds,
        };
        let promises = |classes: &[Class]| -> Vec<(u8, u64)> {
            let promises = class_promises(&groups, classes).into_iter();
            promises
                .map(|(id, seconds)| (id.as_bytes()[0], seconds))
                .collect()
        };
        // Number 7 is March's last with a slot, number 5 February's.
        assert_eq!(promises(&[class("monthly", 180)]), [(5, 180), (7, 180)]);
        assert_eq!(promises(&[class("yearly", 900)]), []);
        let both = [class("monthly", 180), class("last", 300)];
        assert_eq!(promises(&both), [(5, 180), (6, 300), (7, 300)]);
    }
}
