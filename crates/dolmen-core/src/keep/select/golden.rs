//! Compares with what restic decided about 160 snapshots under 39 policies.

use dolmen_format::ObjectId;

use super::*;

const TABLE: &str = include_str!("../restic-0.14.0.txt");

/// When the table was made: 2026-11-26 03:00 UTC. Two snapshots are later.
const MADE: Timestamp = Timestamp::from_seconds(1_795_662_000);

/// The zone of the table, as a POSIX string, which needs no zone files.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// A policy of the table with the lines that follow it.
struct Policy {
    flags: &'static str,
    reasons: Vec<(char, &'static str)>,
    groups: Vec<&'static str>,
}

#[test]
fn decisions_are_restics() {
    let zone = TimeZone::posix(BERLIN).unwrap();
    let (snapshots, policies) = read_table();
    assert_eq!((snapshots.len(), policies.len()), (160, 39));
    for policy in &policies {
        let (rules, group_by) = read_flags(policy.flags);
        let groups = select(&snapshots, &rules, group_by, &zone, MADE).unwrap();
        let mut lines: Vec<_> = groups.iter().map(|group| print(group, policy)).collect();
        lines.sort();
        assert_eq!(lines, policy.groups, "{}", policy.flags);
    }
}

fn read_table() -> (Vec<Candidate>, Vec<Policy>) {
    let (mut snapshots, mut policies) = (Vec::new(), Vec::<Policy>::new());
    for line in TABLE.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        match kind {
            "#" => {}
            "snapshot" => snapshots.push(read_snapshot(snapshots.len(), rest)),
            "policy" => policies.push(Policy {
                flags: rest,
                reasons: Vec::new(),
                groups: Vec::new(),
            }),
            "reason" => {
                let (letter, wording) = rest.split_once(' ').unwrap();
                let reasons = &mut policies.last_mut().unwrap().reasons;
                reasons.push((letter.parse().unwrap(), wording));
            }
            "group" => policies.last_mut().unwrap().groups.push(rest),
            _ => panic!("{line}"),
        }
    }
    (snapshots, policies)
}

fn read_snapshot(number: usize, line: &str) -> Candidate {
    let fields: Vec<_> = line.split(' ').collect();
    let [seconds, host, paths, tags] = fields[..] else {
        panic!("{line}");
    };
    Candidate {
        id: ObjectId([u8::try_from(number).unwrap(); 32]),
        writer: WriterId([0; 16]),
        time: Timestamp::from_seconds(seconds.parse().unwrap()),
        host: host.as_bytes().to_vec(),
        paths: read_names(paths),
        tags: read_names(tags),
        slot: true,
    }
}

fn read_names(text: &str) -> Vec<Vec<u8>> {
    let names = text.split('+').filter(|name| *name != "-");
    names.map(|name| name.as_bytes().to_vec()).collect()
}

/// Flags with their values; `--group-by` at the end has none and `""` is empty.
fn read_flags(flags: &str) -> (Rules, GroupBy) {
    let (mut rules, mut group_by) = (Rules::default(), GroupBy::default());
    let mut words = flags.split(' ');
    while let Some(flag) = words.next() {
        let value = words.next().unwrap_or("").trim_matches('"');
        let span = || value.parse().unwrap();
        let count = || value.parse().unwrap();
        match flag {
            "--keep-last" => rules.counts.last = count(),
            "--keep-hourly" => rules.counts.hourly = count(),
            "--keep-daily" => rules.counts.daily = count(),
            "--keep-weekly" => rules.counts.weekly = count(),
            "--keep-monthly" => rules.counts.monthly = count(),
            "--keep-yearly" => rules.counts.yearly = count(),
            "--keep-within" => rules.within = span(),
            "--keep-within-hourly" => rules.withins.hourly = span(),
            "--keep-within-daily" => rules.withins.daily = span(),
            "--keep-within-weekly" => rules.withins.weekly = span(),
            "--keep-within-monthly" => rules.withins.monthly = span(),
            "--keep-within-yearly" => rules.withins.yearly = span(),
            "--keep-tag" => rules.tags.push(TagList::parse(value)),
            "--group-by" => group_by = value.parse().unwrap(),
            _ => panic!("{flag}"),
        }
    }
    (rules, group_by)
}

/// Prints a group as the table does.
fn print(group: &Group, policy: &Policy) -> String {
    let key = &group.key;
    let host = key
        .host
        .as_deref()
        .map_or("-".into(), String::from_utf8_lossy);
    let size = group.decisions.len();
    let (paths, tags) = (
        print_names(key.paths.as_deref()),
        print_names(key.tags.as_deref()),
    );
    let kept = group.decisions.iter().filter_map(|decision| {
        let Fate::Keep { reasons, counters } = &decision.fate else {
            return None;
        };
        let number = decision.id.as_bytes()[0];
        let letters: String = reasons
            .iter()
            .map(|reason| letter(reason, policy))
            .collect();
        Some(format!(" {number}:{letters}{}", print_counters(counters)))
    });
    format!("{host} {paths} {tags} {size}") + &kept.collect::<String>()
}

fn print_names(names: Option<&[Vec<u8>]>) -> String {
    match names {
        None | Some([]) => "-".to_owned(),
        Some(names) => String::from_utf8(names.join(&b'+')).unwrap(),
    }
}

fn letter(reason: &Reason, policy: &Policy) -> char {
    let wording = reason.to_string();
    let known = policy.reasons.iter().find(|(_, known)| *known == wording);
    known
        .unwrap_or_else(|| panic!("{wording}: {}", policy.flags))
        .0
}

fn print_counters(counters: &Counts) -> String {
    let Counts {
        last,
        hourly,
        daily,
        weekly,
        monthly,
        yearly,
    } = *counters;
    let counts =
        [last, hourly, daily, weekly, monthly, yearly].map(|count| count.restic().to_string());
    let joined = counts.join(",");
    if joined == "0,0,0,0,0,0" {
        String::new()
    } else {
        format!(":{joined}")
    }
}
