//! Snapshots that a stolen backup key may have made.
//!
//! Such a key can write any number of valid snapshots. If these took slots, a policy would retire the
//! good ones for them; so what looks wrong takes none and is retired by nobody but a person. To be
//! wrong here costs space, never data.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dolmen_format::certificate::Role;
use dolmen_format::{InstanceId, Label, SnapshotId, Timestamp, WriterId};

/// A snapshot may be dated this far from its receipt: as far as clocks may be apart.
pub const DATED_SECONDS_MAX: u64 = 24 * 60 * 60;

/// An instance may exceed its usual number of snapshots in an hour by so many.
pub const BURST_SNAPSHOTS_MAX: usize = 8;

/// A snapshot's files are compared with those of so many before it.
pub const FILES_COMPARED: usize = 5;

/// Seconds in an hour.
const HOUR: i64 = 60 * 60;
/// What is usual is the median of so many hours: a week.
const USUAL_HOURS: usize = 7 * 24;

/// What anyone may know of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The object.
    pub id: SnapshotId,
    /// Its signer.
    pub writer: WriterId,
    /// The signer's state folder.
    pub instance: InstanceId,
    /// Its number there.
    pub number: u64,
    /// What the signer's certificate says. Only a backup key's snapshots are ever suspicious.
    pub role: Role,
    /// Whether an admin took it for what it should be: then it is not suspicious, and tells what is usual.
    pub accepted: bool,
    /// The time that it states itself: when the backup began.
    pub time: Timestamp,
    /// Receipt time of the first checkpoint under its number, which shows how long the backup took.
    pub begun: Option<Timestamp>,
    /// Its receipt time.
    pub received: Timestamp,
    /// Its files, as the public counts state them.
    pub files: u64,
    /// The label of its host.
    pub host: Label,
    /// The label of its paths.
    pub paths: Label,
}

/// What is wrong with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Suspicion {
    /// Its own time is more than [`DATED_SECONDS_MAX`] from its receipt.
    #[error("dated {seconds} s {} its receipt", if *.ahead { "after" } else { "before" })]
    Dated {
        /// How far, in seconds.
        seconds: u64,
        /// Whether it is dated in the future.
        ahead: bool,
    },
    /// Its own time has not come: `latest` passes over it, whoever signed it, and so do rules.
    #[error("dated in the future")]
    Future,
    /// It came in an hour with more than [`BURST_SNAPSHOTS_MAX`] more than usual.
    #[error("one of {found} snapshots within an hour, where {usual} are usual")]
    Burst {
        /// Snapshots of its instance in the hour that ends with it.
        found: usize,
        /// The median of the week before.
        usual: usize,
    },
    /// It has less than half of the files that are usual.
    #[error("{files} files, where {usual} are usual")]
    FilesGone {
        /// Its files.
        files: u64,
        /// The median of those before it.
        usual: u64,
    },
    /// Numbers before it are missing, and no retirement names them.
    #[error("follows missing numbers {first} to {last}")]
    Gap {
        /// The first missing number.
        first: u64,
        /// The last one.
        last: u64,
    },
}

/// Says what is wrong with each snapshot, in the order given.
///
/// `accounted` holds the numbers that other objects bear (ledger records) or that retirements name.
///
/// - **Dated**: more than 24 h after its receipt, or more than 24 h before that and before `begun`.
/// - **Burst**: the hour up to it already holds 8 snapshots of its instance beyond the usual number,
///   which is the median of the 168 hours before that one, idle hours included. Those of a burst count
///   for neither: what is new in a flood gets 8 slots an hour, and more only after half a week of it.
/// - **Files gone**: less than half of the median of the last 5 snapshots without suspicion, of the
///   same writer, host and paths.
/// - **Gap**: the number before it is neither here nor accounted for.
pub fn suspicions(
    observed: &[Observed],
    accounted: &BTreeSet<(WriterId, InstanceId, u64)>,
) -> Vec<Vec<Suspicion>> {
    let mut numbers = accounted.clone();
    numbers.extend(
        observed
            .iter()
            .map(|one| (one.writer, one.instance, one.number)),
    );
    let mut paces: BTreeMap<_, Pace> = BTreeMap::new();
    let mut counts: BTreeMap<_, VecDeque<u64>> = BTreeMap::new();
    let mut order: Vec<_> = observed.iter().enumerate().collect();
    order.sort_by_key(|(_, one)| (one.received, one.number, one.id));

    let mut found = vec![Vec::new(); observed.len()];
    for (place, one) in order {
        let pace = paces.entry((one.writer, one.instance)).or_default();
        let before = counts.entry((one.writer, one.host, one.paths)).or_default();
        let is_judged = one.role == Role::Backup && !one.accepted;
        let burst = pace.add(one.received, is_judged);
        let all = [
            dated(one),
            burst,
            files_gone(one.files, before),
            gap(one, &numbers),
        ];
        let wrong: Vec<_> = all.into_iter().flatten().filter(|_| is_judged).collect();
        if wrong.is_empty() {
            before.push_back(one.files);
            if before.len() > FILES_COMPARED {
                before.pop_front();
            }
        }
        if let Some(slot) = found.get_mut(place) {
            *slot = wrong;
        }
    }
    found
}

fn dated(one: &Observed) -> Option<Suspicion> {
    let limit = i64::try_from(DATED_SECONDS_MAX).unwrap_or(i64::MAX);
    let begun = one
        .begun
        .map_or(one.received, |begun| begun.min(one.received));
    let is_ahead = one.time > one.received.saturating_add_seconds(limit);
    let is_behind = one.time < begun.saturating_add_seconds(limit.saturating_neg());
    (is_ahead || is_behind).then_some(Suspicion::Dated {
        seconds: one.received.seconds.abs_diff(one.time.seconds),
        ahead: is_ahead,
    })
}

/// When the snapshots of an instance came.
#[derive(Debug, Default)]
struct Pace {
    /// Those of the last hour, bursts included.
    hour: VecDeque<Timestamp>,
    /// Those of the last hour and the week before it that are no part of a burst.
    calm: VecDeque<Timestamp>,
}

impl Pace {
    /// Takes the next snapshot in; what is not judged is no burst.
    fn add(&mut self, received: Timestamp, is_judged: bool) -> Option<Suspicion> {
        let hour_ago = received.saturating_add_seconds(-HOUR);
        let week = i64::try_from(USUAL_HOURS).unwrap_or(0).saturating_mul(HOUR);
        let week_ago = hour_ago.saturating_add_seconds(week.saturating_neg());
        drop_until(&mut self.hour, hour_ago);
        drop_until(&mut self.calm, week_ago);
        self.hour.push_back(received);
        let usual = self.usual(hour_ago);
        let in_hour = self.calm.iter().rev().take_while(|time| **time > hour_ago);
        if is_judged && in_hour.count() >= usual.saturating_add(BURST_SNAPSHOTS_MAX) {
            let found = self.hour.len();
            return Some(Suspicion::Burst { found, usual });
        }
        self.calm.push_back(received);
        None
    }

    /// The median number in the hours of the week that ended then.
    fn usual(&self, end: Timestamp) -> usize {
        let mut hours = [0_usize; USUAL_HOURS];
        for received in self.calm.iter().filter(|received| **received <= end) {
            let hours_ago = end.seconds.saturating_sub(received.seconds) / HOUR;
            let hour = usize::try_from(hours_ago)
                .ok()
                .and_then(|ago| hours.get_mut(ago));
            if let Some(count) = hour {
                *count = count.saturating_add(1);
            }
        }
        hours.sort_unstable();
        hours.get(USUAL_HOURS / 2).copied().unwrap_or(0)
    }
}

/// Drops from the front what is not after a time.
fn drop_until(times: &mut VecDeque<Timestamp>, end: Timestamp) {
    while times.front().is_some_and(|time| *time <= end) {
        times.pop_front();
    }
}

fn files_gone(files: u64, before: &VecDeque<u64>) -> Option<Suspicion> {
    let mut sorted: Vec<_> = before.iter().copied().collect();
    sorted.sort_unstable();
    let middle = sorted.len().checked_sub(1)? / 2;
    let usual = *sorted.get(middle)?;
    (files < usual.div_ceil(2)).then_some(Suspicion::FilesGone { files, usual })
}

fn gap(one: &Observed, numbers: &BTreeSet<(WriterId, InstanceId, u64)>) -> Option<Suspicion> {
    let number = |number| (one.writer, one.instance, number);
    let mut below = numbers.range(number(0)..number(one.number));
    let first = match below.next_back() {
        Some((_, _, before)) => before.saturating_add(1),
        None => 1,
    };
    (first < one.number).then(|| Suspicion::Gap {
        first,
        last: one.number.saturating_sub(1),
    })
}

#[cfg(test)]
mod tests {
    use dolmen_format::ObjectId;

    use super::*;

    const DAY: i64 = 24 * HOUR;
    const START: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(START + seconds)
    }

    /// Nothing is wrong with this one.
    fn snapshot(number: u64, received: i64) -> Observed {
        Observed {
            id: ObjectId::of(&number.to_le_bytes()),
            writer: WriterId([1; 16]),
            instance: InstanceId([2; 16]),
            number,
            role: Role::Backup,
            accepted: false,
            time: at(received),
            begun: None,
            received: at(received),
            files: 1000,
            host: Label([3; 16]),
            paths: Label([4; 16]),
        }
    }

    fn found(observed: &[Observed]) -> Vec<Vec<Suspicion>> {
        suspicions(observed, &BTreeSet::new())
    }

    /// The places of those that are suspicious.
    fn places(observed: &[Observed]) -> Vec<usize> {
        let found = found(observed).into_iter().enumerate();
        found
            .filter(|(_, wrong)| !wrong.is_empty())
            .map(|(place, _)| place)
            .collect()
    }

    /// One after another, so many seconds apart.
    fn series(count: u64, apart: i64) -> Vec<Observed> {
        (1..=count)
            .scan(0, |received, number| {
                *received += apart;
                Some(snapshot(number, *received))
            })
            .collect()
    }

    fn dated(time: i64, begun: Option<i64>) -> Vec<Suspicion> {
        let one = Observed {
            time: at(time),
            begun: begun.map(at),
            ..snapshot(1, 0)
        };
        found(&[one]).remove(0)
    }

    #[test]
    fn a_date_far_from_receipt_is_suspicious() {
        assert_eq!(dated(DAY, None), []);
        assert_eq!(dated(-DAY, None), []);
        let (seconds, ahead) = (86_401, true);
        assert_eq!(dated(DAY + 1, None), [Suspicion::Dated { seconds, ahead }]);
        let ahead = false;
        let behind = Suspicion::Dated { seconds, ahead };
        assert_eq!(dated(-DAY - 1, None), [behind]);
        assert_eq!(behind.to_string(), "dated 86401 s before its receipt");
    }

    #[test]
    fn checkpoints_show_that_a_backup_took_long() {
        assert_eq!(dated(-40 * DAY, Some(-40 * DAY + HOUR)), []);
        assert_eq!(dated(-40 * DAY, Some(-30 * DAY)).len(), 1);
        assert_eq!(dated(DAY + 1, Some(-DAY)).len(), 1, "never for the future");
    }

    #[test]
    fn a_ninth_snapshot_within_an_hour_is_a_burst() {
        assert_eq!(places(&series(10, 60)), [8, 9]);
        assert_eq!(places(&series(10, HOUR / 8)), []);
        let burst = Suspicion::Burst { found: 9, usual: 0 };
        assert_eq!(found(&series(9, 60))[8], [burst]);
    }

    #[test]
    fn what_is_usual_is_no_burst() {
        let mut all = series(3000, 300);
        let late = |all: &[Observed]| {
            let places = places(all).into_iter();
            places.filter(|place| *place > 1100).collect::<Vec<_>>()
        };
        assert_eq!(late(&all), [], "12 an hour, for days");
        // Eight more are let pass, as ever.
        let end = all[2999].received.seconds - START;
        all.extend((0..10).map(|more| snapshot(3001 + more, end + 1)));
        assert_eq!(late(&all), [3008, 3009]);
    }

    #[test]
    fn a_flood_gets_eight_slots_an_hour_for_half_a_week() {
        let flood = series(84 * 60, 60);
        let calm = flood.len() - places(&flood).len();
        assert_eq!(calm, 84 * 8);
    }

    #[test]
    fn files_that_are_mostly_gone_are_suspicious() {
        let mut all = series(8, DAY);
        all[5].files = 500;
        assert_eq!(places(&all), []);
        all[5].files = 499;
        let (files, usual) = (499, 1000);
        assert_eq!(found(&all)[5], [Suspicion::FilesGone { files, usual }]);
        all[6].files = 499;
        all[7].files = 499;
        assert_eq!(places(&all), [5, 6, 7], "they make nothing usual");
        // What the admin itself backs up is usual, and three of the last five are.
        for one in &mut all[4..7] {
            (one.role, one.files) = (Role::Admin, 499);
        }
        assert_eq!(places(&all), []);
    }

    #[test]
    fn files_are_compared_within_writer_host_and_paths_only() {
        let mut all = series(3, DAY);
        all[2].files = 1;
        assert_eq!(places(&all), [2]);
        all[2].paths = Label([9; 16]);
        assert_eq!(places(&all), []);
        let fresh_state = InstanceId([9; 16]);
        all[2] = Observed {
            instance: fresh_state,
            files: 1,
            ..snapshot(1, 5 * DAY)
        };
        assert_eq!(places(&all), [2], "a fresh state folder is no excuse");
    }

    #[test]
    fn a_snapshot_after_missing_numbers_is_suspicious() {
        let all = [snapshot(1, 0), snapshot(4, DAY), snapshot(5, 2 * DAY)];
        let (first, last) = (2, 3);
        let gap = Suspicion::Gap { first, last };
        assert_eq!(found(&all), [vec![], vec![gap], vec![]]);
        let one = &all[0];
        let named = |number| (one.writer, one.instance, number);
        let accounted = [named(2), named(3)].into();
        assert!(suspicions(&all, &accounted).iter().all(Vec::is_empty));
        let other = [(WriterId([7; 16]), one.instance, 3), named(2)].into();
        assert_eq!(suspicions(&all, &other)[1].len(), 1);
        assert_eq!(places(&[snapshot(2, 0)]), [0], "the first is missing");
    }

    #[test]
    fn only_backup_keys_are_judged() {
        let all = [snapshot(7, 0), snapshot(9, 1)];
        assert_eq!(places(&all), [0, 1]);
        for role in [Role::Admin, Role::Maintain, Role::Restore] {
            let others = all.map(|one| Observed { role, ..one });
            assert_eq!(places(&others), [], "{role:?}");
        }
    }

    #[test]
    fn answers_stand_in_the_order_of_the_questions() {
        let mut all = series(3, DAY);
        all[2].files = 1;
        all.reverse();
        assert_eq!(places(&all), [0]);
    }
}
