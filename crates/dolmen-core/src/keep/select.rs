//! The selection itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use dolmen_format::{SnapshotId, Timestamp, WriterId};
use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{CalendarSpan, Count, Counts, GroupBy, GroupKey, KeepError, Rules, TagList};

/// What counts of a snapshot.
///
/// Host, paths and tags are bytes: names where they can be read, keyed labels where they cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The object.
    pub id: SnapshotId,
    /// Its signer.
    pub writer: WriterId,
    /// The time that counts: of receipt, not the writer's own.
    pub time: Timestamp,
    /// The host.
    pub host: Vec<u8>,
    /// The paths.
    pub paths: Vec<Vec<u8>>,
    /// The tags.
    pub tags: Vec<Vec<u8>>,
    /// Whether it competes for slots. One that does not is kept and uses no rule up: suspicious,
    /// incomplete or quarantined ones.
    pub slot: bool,
}

/// A group and what becomes of its snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// Newest first.
    pub decisions: Vec<Decision>,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// Whether it competed for slots.
    pub slot: bool,
    /// Whether it stays.
    pub fate: Fate,
}

/// Whether a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Keep {
        /// Every rule that wants it.
        reasons: Vec<Reason>,
        /// What the rules can still keep after it.
        counters: Counts,
    },
    /// No rule wants it.
    Remove,
}

/// Why a snapshot stays. Printed in restic's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It has all tags of a list.
    Tags(TagList),
    /// It is newer than this before the latest.
    Within(CalendarSpan),
    /// It is the last of its period.
    Last(Period),
    /// It is the last of its period, and newer than this before the latest.
    LastWithin(Period, CalendarSpan),
    /// It competes for no slot, so that no rule can let it go.
    NoSlot,
}

/// What there is one snapshot of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "restic's own names")]
pub enum Period {
    Snapshot,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Group {
    /// Those that no rule wants, newest first.
    pub fn removed(&self) -> impl Iterator<Item = SnapshotId> {
        let removed = |decision: &&Decision| decision.fate == Fate::Remove;
        self.decisions.iter().filter(removed).map(|one| one.id)
    }

    /// Those that have no slot: no rule counts them.
    pub fn set_aside(&self) -> impl Iterator<Item = SnapshotId> {
        let slotless = self.decisions.iter().filter(|one| !one.slot);
        slotless.map(|one| one.id)
    }
}

/// Decides which snapshots stay, group by group, in the order of the groups' keys.
///
/// Rules go from the newest snapshot to the oldest; of equal times the later in `candidates` is the
/// newer. Hours, days and so on are those of `zone`. Spans count back from the latest snapshot with a
/// slot that is before `now`; if all are later, everything is within.
///
/// As in restic 0.14.0, a rule with room left does not also keep the oldest snapshot, which later ones do.
pub fn select(
    candidates: &[Candidate],
    rules: &Rules,
    group_by: GroupBy,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Vec<Group>, KeepError> {
    if rules.is_empty() {
        return Err(KeepError::Empty);
    }
    let mut groups: BTreeMap<GroupKey, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates.iter().rev() {
        let members = groups.entry(group_by.key(candidate)).or_default();
        members.push(candidate);
    }
    let decided = groups.into_iter().map(|(key, mut members)| {
        members.sort_by_key(|member| Reverse(member.time));
        let decisions = decide(&members, rules, zone, now);
        Group { key, decisions }
    });
    Ok(decided.collect())
}

/// Decides on the members of one group, newest first.
fn decide(
    newest_first: &[&Candidate],
    rules: &Rules,
    zone: &TimeZone,
    now: Timestamp,
) -> Vec<Decision> {
    let with_slot = || newest_first.iter().filter(|candidate| candidate.slot);
    let latest = with_slot().find(|candidate| candidate.time < now);
    let latest = latest.map(|candidate| instant(candidate.time));
    let since = |span: CalendarSpan| match latest {
        _ if span.is_zero() => None,
        Some(latest) => Some((span, span.before(latest, zone))),
        None => Some((span, Instant::MIN)),
    };
    let mut slots = Slots {
        within: since(rules.within),
        counted: counted(&rules.counts),
        within_each: within_each(rules, since),
    };
    let decisions = newest_first.iter().map(|candidate| {
        let fate = if candidate.slot {
            slots.take(candidate, &rules.tags, zone)
        } else {
            slots.keep(vec![Reason::NoSlot])
        };
        Decision {
            id: candidate.id,
            slot: candidate.slot,
            fate,
        }
    });
    decisions.collect()
}

/// The rules of a group with what they have left.
struct Slots {
    within: Option<(CalendarSpan, Instant)>,
    counted: [Counted; 6],
    within_each: Vec<WithinEach>,
}

/// A rule that keeps so many of a period.
struct Counted {
    period: Period,
    left: Count,
    taken: Option<Bucket>,
}

/// A rule that keeps one of each period within a span.
struct WithinEach {
    period: Period,
    span: CalendarSpan,
    since: Instant,
    taken: Option<Bucket>,
}

fn counted(counts: &Counts) -> [Counted; 6] {
    let rule = |period, left| Counted {
        period,
        left,
        taken: None,
    };
    [
        rule(Period::Snapshot, counts.last),
        rule(Period::Hour, counts.hourly),
        rule(Period::Day, counts.daily),
        rule(Period::Week, counts.weekly),
        rule(Period::Month, counts.monthly),
        rule(Period::Year, counts.yearly),
    ]
}

fn within_each(
    rules: &Rules,
    since: impl Fn(CalendarSpan) -> Option<(CalendarSpan, Instant)>,
) -> Vec<WithinEach> {
    let withins = &rules.withins;
    let spans = [
        (Period::Hour, withins.hourly),
        (Period::Day, withins.daily),
        (Period::Week, withins.weekly),
        (Period::Month, withins.monthly),
        (Period::Year, withins.yearly),
    ];
    let rule = |(period, span)| {
        let (span, since) = since(span)?;
        Some(WithinEach {
            period,
            span,
            since,
            taken: None,
        })
    };
    spans.into_iter().filter_map(rule).collect()
}

impl Slots {
    /// Decides on the next older snapshot.
    fn take(&mut self, candidate: &Candidate, tags: &[TagList], zone: &TimeZone) -> Fate {
        let time = instant(candidate.time);
        let local = zone.to_datetime(time);
        let listed = tags.iter().filter(|list| list.matches(&candidate.tags));
        let mut reasons: Vec<_> = listed.cloned().map(Reason::Tags).collect();
        if let Some((span, since)) = self.within
            && is_within(time, since)
        {
            reasons.push(Reason::Within(span));
        }
        let counted = self.counted.iter_mut();
        reasons.extend(counted.filter_map(|rule| rule.take(local)));
        let within = self
            .within_each
            .iter_mut()
            .filter(|rule| is_within(time, rule.since));
        reasons.extend(within.filter_map(|rule| rule.take(local)));
        if reasons.is_empty() {
            Fate::Remove
        } else {
            self.keep(reasons)
        }
    }

    /// Keeps a snapshot.
    fn keep(&self, reasons: Vec<Reason>) -> Fate {
        let [last, hourly, daily, weekly, monthly, yearly] =
            self.counted.each_ref().map(|rule| rule.left);
        let counters = Counts {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        };
        Fate::Keep { reasons, counters }
    }
}

impl Counted {
    /// Keeps the newest of a period that has none yet.
    fn take(&mut self, local: DateTime) -> Option<Reason> {
        let bucket = self.period.bucket(local);
        let is_new = bucket.is_none() || bucket != self.taken;
        if !self.left.has_room() || !is_new {
            return None;
        }
        self.taken = bucket;
        self.left = self.left.used();
        Some(Reason::Last(self.period))
    }
}

impl WithinEach {
    /// Keeps the newest of a period that has none yet.
    fn take(&mut self, local: DateTime) -> Option<Reason> {
        let bucket = self.period.bucket(local);
        if bucket == self.taken {
            return None;
        }
        self.taken = bucket;
        Some(Reason::LastWithin(self.period, self.span))
    }
}

/// Whether a time is after the start of a span; everything is after the beginning of time.
fn is_within(time: Instant, since: Instant) -> bool {
    time > since || since == Instant::MIN
}

/// Equal for times of the same hour, day and so on.
type Bucket = [i16; 4];

impl Period {
    /// Which one a time lies in; `None`: every snapshot is one of its own.
    fn bucket(self, local: DateTime) -> Option<Bucket> {
        let (year, month, day) = (local.year(), local.month().into(), local.day().into());
        match self {
            Self::Snapshot => None,
            Self::Hour => Some([year, month, day, local.hour().into()]),
            Self::Day => Some([year, month, day, 0]),
            Self::Week => {
                let week = local.date().iso_week_date();
                Some([week.year(), week.week().into(), 0, 0])
            }
            Self::Month => Some([year, month, 0, 0]),
            Self::Year => Some([year, 0, 0, 0]),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tags(list) => write!(f, "has tags {list}"),
            Self::Within(span) => write!(f, "within {span}"),
            Self::Last(period) => write!(f, "{period} snapshot"),
            Self::LastWithin(period, span) => write!(f, "{period} within {span}"),
            Self::NoSlot => f.write_str("takes no slot"),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        })
    }
}

/// The time for the calendar, which ends in the year 9999.
fn instant(time: Timestamp) -> Instant {
    let end = if time.seconds < 0 {
        Instant::MIN
    } else {
        Instant::MAX
    };
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    Instant::new(time.seconds, nanos).unwrap_or(end)
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use dolmen_format::ObjectId;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;
    const NOW: Timestamp = Timestamp::from_seconds(2_000_000_000);

    fn id(number: u8) -> SnapshotId {
        ObjectId([number; 32])
    }

    /// Snapshots a day apart up to yesterday, oldest first, numbered from 0.
    fn daily(count: u8) -> Vec<Candidate> {
        let one = |number: u8| Candidate {
            id: id(number),
            writer: WriterId([number % 2; 16]),
            time: NOW.saturating_add_seconds(DAY * (i64::from(number) - i64::from(count))),
            host: b"host".to_vec(),
            paths: vec![b"/b".to_vec(), b"/a".to_vec()],
            tags: Vec::new(),
            slot: true,
        };
        (0..count).map(one).collect()
    }

    fn keep_last(count: u32) -> Rules {
        let mut rules = Rules::default();
        rules.counts.last = Count::AtMost(count);
        rules
    }

    fn groups(candidates: &[Candidate], rules: &Rules, group_by: GroupBy) -> Vec<Group> {
        select(candidates, rules, group_by, &TimeZone::UTC, NOW).unwrap()
    }

    /// The numbers of those removed from the only group, newest first.
    fn removed(candidates: &[Candidate], rules: &Rules) -> Vec<u8> {
        let groups = groups(candidates, rules, GroupBy::default());
        assert_eq!(groups.len(), 1);
        groups[0].removed().map(|id| id.as_bytes()[0]).collect()
    }

    #[test]
    fn without_a_rule_nothing_is_decided() {
        let decide = |rules| {
            let group_by = GroupBy::default();
            select(&daily(3), &rules, group_by, &TimeZone::UTC, NOW)
        };
        assert_eq!(decide(Rules::default()), Err(KeepError::Empty));
        let zeros = Rules {
            within: "0d".parse().unwrap(),
            ..keep_last(0)
        };
        assert_eq!(decide(zeros), Err(KeepError::Empty));
    }

    #[test]
    fn what_has_no_slot_is_kept_and_uses_nothing_up() {
        let mut all = daily(6);
        assert_eq!(removed(&all, &keep_last(2)), [3, 2, 1, 0]);
        all[5].slot = false;
        all[2].slot = false;
        assert_eq!(removed(&all, &keep_last(2)), [1, 0]);
        let groups = groups(&all, &keep_last(2), GroupBy::default());
        let newest = &groups[0].decisions[0];
        let counters = keep_last(2).counts;
        let reasons = vec![Reason::NoSlot];
        assert_eq!((newest.id, newest.slot), (id(5), false));
        assert_eq!(newest.fate, Fate::Keep { reasons, counters });
    }

    #[test]
    fn what_has_no_slot_does_not_move_the_end_of_a_span() {
        let mut all = daily(6);
        all[5].slot = false;
        let rules = Rules {
            within: "2d".parse().unwrap(),
            ..Rules::default()
        };
        // The latest is number 4; number 2 is two days older, which is not newer than that.
        assert_eq!(removed(&all, &rules), [2, 1, 0]);
    }

    #[test]
    fn nothing_is_removed_by_age_while_every_snapshot_is_later_than_now() {
        let mut all = daily(3);
        for one in &mut all {
            one.time = one.time.saturating_add_seconds(10 * DAY);
        }
        let rules = Rules {
            within: "1d".parse().unwrap(),
            ..Rules::default()
        };
        assert_eq!(removed(&all, &rules), [0_u8; 0]);
    }

    #[test]
    fn unlimited_keeps_all_and_says_so() {
        let mut rules = Rules::default();
        rules.counts.daily = "unlimited".parse().unwrap();
        assert_eq!(removed(&daily(9), &rules), [0_u8; 0]);
        let groups = groups(&daily(1), &rules, GroupBy::default());
        let Fate::Keep { counters, .. } = &groups[0].decisions[0].fate else {
            panic!("kept");
        };
        assert_eq!(counters.daily.restic(), -1);
    }

    #[test]
    fn of_equal_times_the_later_in_the_list_is_the_newer() {
        let mut all = daily(3);
        for one in &mut all {
            one.time = NOW;
        }
        assert_eq!(removed(&all, &keep_last(1)), [1, 0]);
    }

    #[test]
    fn maintenance_groups_by_writer_too() {
        let group_by = GroupBy {
            writer: true,
            ..GroupBy::default()
        };
        let groups = groups(&daily(6), &keep_last(1), group_by);
        let writers: Vec<_> = groups.iter().map(|group| group.key.writer).collect();
        let expected = [0, 1].map(|number| Some(WriterId([number; 16])));
        assert_eq!(writers, expected);
        assert_eq!(groups[0].decisions.len(), 3);
    }

    #[test]
    fn times_beyond_the_calendar_are_taken_for_its_ends() {
        let mut all = daily(4);
        all[0].time = Timestamp::from_seconds(i64::MIN);
        all[3].time = Timestamp::from_seconds(i64::MAX);
        let mut rules = keep_last(1);
        rules.counts.weekly = Count::AtMost(1);
        rules.withins.yearly = "20000y".parse().unwrap();
        assert_eq!(removed(&all, &rules), [1]);
    }
}
