//! How much maintenance may retire by itself.

use std::collections::BTreeSet;

use dolmen_format::SnapshotId;

use super::Group;

/// The newest snapshots with a slot of a group that no policy takes.
pub const NEWEST_KEPT: usize = 3;

/// More than one in so many of a group at once is an alarm.
const ALARM_PART: usize = 4;

/// What is left of a retirement under the limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limited {
    /// What may be retired, newest first.
    pub retire: Vec<SnapshotId>,
    /// What must not be, newest first. In a retirement that is already signed each calls for an undo.
    pub spared: Vec<(SnapshotId, Spared)>,
    /// Whether what may be retired is a lot.
    pub alarm: Option<Alarm>,
}

/// Why a snapshot must not be retired by maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spared {
    /// It is one of the [`NEWEST_KEPT`].
    Newest,
    /// It is suspicious, or else without a slot: only a person retires it, by name.
    NoSlot,
}

/// More than a quarter of a group is retired at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alarm {
    /// Snapshots to be retired.
    pub retired: usize,
    /// Snapshots with a slot in the group.
    pub of: usize,
}

/// Limits a retirement that maintenance signs to what it may take of a group.
///
/// `asked` are the snapshots that a policy or a record wants retired, usually [`Group::removed`]; those
/// of other groups are passed over. Snapshots without a slot count for nothing, so that a flood of them
/// neither replaces the newest good ones nor hides how many go. A person's own retirements have no limits.
pub fn limit(group: &Group, asked: &BTreeSet<SnapshotId>) -> Limited {
    let mut limited = Limited::default();
    let mut with_slot: usize = 0;
    for decision in &group.decisions {
        let is_newest = decision.slot && with_slot < NEWEST_KEPT;
        with_slot = with_slot.saturating_add(usize::from(decision.slot));
        if !asked.contains(&decision.id) {
            continue;
        }
        if !decision.slot {
            limited.spared.push((decision.id, Spared::NoSlot));
        } else if is_newest {
            limited.spared.push((decision.id, Spared::Newest));
        } else {
            limited.retire.push(decision.id);
        }
    }
    let retired = limited.retire.len();
    limited.alarm = (retired.saturating_mul(ALARM_PART) > with_slot).then_some(Alarm {
        retired,
        of: with_slot,
    });
    limited
}

#[cfg(test)]
mod tests {
    use dolmen_format::ObjectId;

    use super::super::{Decision, Fate, GroupKey};
    use super::*;

    fn id(number: u8) -> SnapshotId {
        ObjectId([number; 32])
    }

    /// A group of so many, newest first, of which these have no slot.
    fn group(size: u8, slotless: &[u8]) -> Group {
        let decision = |number| Decision {
            id: id(number),
            slot: !slotless.contains(&number),
            fate: Fate::Remove,
        };
        Group {
            key: GroupKey {
                host: None,
                paths: None,
                tags: None,
                writer: None,
            },
            decisions: (0..size).map(decision).collect(),
        }
    }

    fn asked(numbers: &[u8]) -> BTreeSet<SnapshotId> {
        numbers.iter().copied().map(id).collect()
    }

    #[test]
    fn the_newest_three_stay() {
        let limited = limit(&group(20, &[]), &asked(&[0, 2, 3, 19]));
        assert_eq!(limited.retire, [id(3), id(19)]);
        let spared = [(id(0), Spared::Newest), (id(2), Spared::Newest)];
        assert_eq!(limited.spared, spared);
    }

    #[test]
    fn suspicious_ones_stay_and_are_none_of_the_three() {
        let limited = limit(&group(20, &[0, 1, 7]), &asked(&[1, 4, 5, 7]));
        assert_eq!(limited.retire, [id(5)]);
        let spared = [
            (id(1), Spared::NoSlot),
            (id(4), Spared::Newest),
            (id(7), Spared::NoSlot),
        ];
        assert_eq!(limited.spared, spared);
    }

    #[test]
    fn more_than_a_quarter_of_those_with_a_slot_is_an_alarm() {
        let quarter = asked(&[10, 11, 12, 13, 14]);
        assert_eq!(limit(&group(20, &[]), &quarter).alarm, None);
        let alarm = Alarm { retired: 5, of: 19 };
        assert_eq!(limit(&group(20, &[6]), &quarter).alarm, Some(alarm));
    }

    #[test]
    fn other_groups_snapshots_are_passed_over() {
        let limited = limit(&group(5, &[]), &asked(&[77]));
        assert_eq!(limited, Limited::default());
    }
}
