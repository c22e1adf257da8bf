//! Status: how a repository stands, from its listing and what is signed. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectId, Timestamp};
use dolmen_state::state::Sightings;

use crate::audit::{self, Depth, Space, View};
use crate::by_policy;
use crate::error::Result;
use crate::finding::counted;
use crate::lease::Terms;
use crate::lives;
use crate::recall::{self, Recall};
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

/// Findings that become warnings of their own; more are one.
const FINDINGS_SHOWN: usize = 10;

/// How a repository stands.
#[derive(Debug)]
pub struct Status {
    /// Live snapshots.
    pub snapshots: u64,
    /// The last backup of each writer and host. Suspicious ones are none: a thief's would hide that backups stopped.
    pub last: BTreeMap<Source, LastBackup>,
    /// How what is needed is locked.
    pub lock: LockStrategy,
    /// The protection period in seconds, where a policy states one.
    pub protect_seconds: Option<u64>,
    /// The protection horizon; `None`: there is none.
    pub protected_until: Option<Timestamp>,
    /// Snapshots that a class of the policy protects for longer.
    pub protected_longer: u64,
    /// When maintenance last did all its steps from this machine, as its state folder has it: a run leaves nothing in
    /// the repository that would tell.
    pub maintained: Option<Timestamp>,
    /// When the first lock is due for renewal.
    pub renewal_due: Option<Timestamp>,
    /// What takes up how much.
    pub space: Space,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// Where backups come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The host.
    pub host: String,
    /// Its signer's name: `admin`, or what its certificate calls it.
    pub writer: String,
}

/// A source's last backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastBackup {
    /// The snapshot, shortened.
    pub snapshot: String,
    /// When it was received.
    pub received: Timestamp,
}

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// In one sentence.
    pub text: String,
    /// Whether protection falls short, or a backup is too old.
    pub falls_short: bool,
}

/// What a client knows by itself.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// A source's last backup may be so old.
    pub max_age_seconds: Option<u64>,
    /// When maintenance last did all its steps from here.
    pub maintained: Option<Timestamp>,
    /// The policies that the user confirmed.
    pub confirmed: BTreeSet<ObjectId>,
    /// What maintenance from here has seen.
    pub sightings: Sightings,
}

/// Tells how a repository stands.
///
/// Cost: what [`audit::look`] costs without hashes.
pub fn run(repository: &Repository, options: &audit::Options<'_>, own: Own) -> Result<Status> {
    let options = audit::Options {
        depth: Depth::Listing,
        ..*options
    };
    let mut list = SnapshotList::load_recalling(repository, Recall::Seen(&own.sightings))?;
    list.facts.confirmed = own.confirmed;
    list.facts.compared.clone_from(options.compared);
    let needs = audit::Needs::gather(repository, &list, &options)?;
    let view = audit::look_for(repository, &options, &list, &needs)?;
    let now = repository.environment.clock.now();
    let terms = lives::terms(&list.facts, now);
    let backups = last_backups(repository, &list);
    let mut warnings = age_warnings(&backups, own.max_age_seconds, now);
    warnings.extend(missed_maintenance(own.maintained, terms.as_ref(), now));
    warnings.extend(doubt_warnings(&list));
    warnings.extend(recall_warnings(&list, terms.as_ref(), now));
    warnings.extend(view_warnings(&view));
    let lock = lives::lock(&list.facts, now);
    warnings.extend(oddity_warning(repository, lock, &view));
    let lease = terms.map(|terms| i64::try_from(terms.lease_seconds()).unwrap_or(i64::MAX));
    let renewal_due = view.protected_until.zip(lease);
    Ok(Status {
        snapshots: count(list.snapshots.len()),
        last: backups,
        lock,
        protect_seconds: terms.as_ref().map(Terms::protect_seconds),
        protected_until: view.protected_until,
        protected_longer: count(by_policy::promises(&list, now).len()),
        maintained: own.maintained,
        renewal_due: renewal_due
            .map(|(until, lease)| until.saturating_add_seconds(lease.saturating_neg())),
        space: view.space,
        warnings,
    })
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

fn last_backups(repository: &Repository, list: &SnapshotList) -> BTreeMap<Source, LastBackup> {
    let mut backups = BTreeMap::new();
    let good = list.snapshots.iter();
    let good = good.filter(|entry| !list.suspicious.contains_key(&entry.id));
    // Oldest first: the newest stays.
    for entry in good {
        let backup = LastBackup {
            snapshot: entry.short_id(),
            received: entry.received,
        };
        let source = Source {
            host: entry.host(),
            writer: repository.name_of(entry.snapshot.stamp.writer).to_owned(),
        };
        backups.insert(source, backup);
    }
    backups
}

/// A machine that maintains tells when a run and the next one are missed; others cannot know.
fn missed_maintenance(
    maintained: Option<Timestamp>,
    terms: Option<&Terms>,
    now: Timestamp,
) -> Option<Warning> {
    let margin = i64::try_from(terms?.margin_seconds()).unwrap_or(i64::MAX);
    (maintained?.saturating_add_seconds(margin) < now).then(|| Warning {
        text: "maintenance has not run from this machine for three of the policy's intervals"
            .to_owned(),
        falls_short: false,
    })
}

/// What maintenance has seen and the store does not give.
fn recall_warnings(list: &SnapshotList, terms: Option<&Terms>, now: Timestamp) -> Vec<Warning> {
    let mut alarms = recall::alarms(list, terms, now);
    let more = alarms.len().saturating_sub(FINDINGS_SHOWN);
    alarms.truncate(FINDINGS_SHOWN);
    let alarms = alarms.into_iter().map(|alarm| alarm.to_string());
    let more = (more > 0)
        .then(|| format!("{more} more that maintenance has seen are gone, or cannot be read"));
    let texts = alarms.chain(more);
    texts
        .map(|text| Warning {
            text,
            falls_short: true,
        })
        .collect()
}

/// What makes some snapshots and records count for less.
fn doubt_warnings(list: &SnapshotList) -> Vec<Warning> {
    let warning = |text| Warning {
        text,
        falls_short: false,
    };
    let snapshots = list.snapshots.iter();
    let suspicious = snapshots.filter(|entry| list.suspicious.contains_key(&entry.id));
    let counts = [
        (
            suspicious.count(),
            "suspicious: no rule counts or retires them",
        ),
        (
            list.quarantined.len(),
            "quarantined: signed by a revoked key",
        ),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, what)| {
        warning(format!(
            "{} {what}; dolmen snapshots --all shows which",
            counted(count, "snapshot")
        ))
    });
    let odd = list.facts.findings.iter().take(FINDINGS_SHOWN);
    counts
        .chain(odd.map(|finding| warning(finding.to_string())))
        .collect()
}

fn age_warnings(
    last: &BTreeMap<Source, LastBackup>,
    max_age_seconds: Option<u64>,
    now: Timestamp,
) -> Vec<Warning> {
    let Some(max) = max_age_seconds else {
        return Vec::new();
    };
    let falls_short = |text| Warning {
        text,
        falls_short: true,
    };
    if last.is_empty() {
        return vec![falls_short("there is no backup".to_owned())];
    }
    let seconds = i64::try_from(max).unwrap_or(i64::MAX);
    let old = last
        .iter()
        .filter(|(_, backup)| backup.received.saturating_add_seconds(seconds) < now);
    old.map(|(Source { host, writer }, backup)| {
        let age = now.seconds.saturating_sub(backup.received.seconds);
        let hours = age / 3600;
        falls_short(format!(
            "the last backup of {host} by {writer} is {hours} h old, more than it may be"
        ))
    })
    .collect()
}

fn view_warnings(view: &View) -> Vec<Warning> {
    let counts = view.counts;
    let falls_short = counts.missing > 0 || counts.corrupt > 0 || counts.locked_short > 0;
    let mut warnings: Vec<_> = view
        .findings
        .iter()
        .take(FINDINGS_SHOWN)
        .map(|finding| Warning {
            text: finding.to_string(),
            falls_short,
        })
        .collect();
    let shown = u64::try_from(view.findings.len().saturating_sub(FINDINGS_SHOWN));
    let more = shown
        .unwrap_or(u64::MAX)
        .saturating_add(view.findings_left_out);
    if more > 0 {
        warnings.push(Warning {
            text: format!("{more} more findings: dolmen audit lists them"),
            falls_short,
        });
    }
    warnings
}

fn oddity_warning(repository: &Repository, lock: LockStrategy, view: &View) -> Option<Warning> {
    let oddities = repository.objects.oddities();
    let count = |met: usize, counted: u64| u64::try_from(met).unwrap_or(u64::MAX).max(counted);
    let hidden = count(oddities.hidden.len(), view.counts.hidden);
    let overwritten = count(oddities.overwritten.len(), view.counts.overwritten);
    (hidden > 0 || overwritten > 0).then(|| Warning {
        text: oddities_text(hidden, overwritten),
        // Where being shown is what protects, what is not will be gone in some days.
        falls_short: lock == LockStrategy::Hide,
    })
}

/// The one sentence about what the plain view does not show.
pub fn oddities_text(hidden: u64, overwritten: u64) -> String {
    let objects = if hidden == 1 { "object" } else { "objects" };
    format!(
        "the store shows {hidden} {objects} hidden and {overwritten} overwritten; their authentic versions were read: \
         put them back with dolmen recover"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_is_missed_after_three_intervals_and_only_where_it_once_ran() {
        let asked = crate::lease::Asked {
            protect_seconds: 1000,
            generation_seconds: Some(100),
            interval_seconds: Some(10),
            extension: crate::lease::ExtensionCost::Free,
        };
        let terms = Terms::with_defaults(&asked).unwrap();
        let missed = |maintained: Option<i64>, now| {
            let maintained = maintained.map(Timestamp::from_seconds);
            missed_maintenance(maintained, Some(&terms), Timestamp::from_seconds(now)).is_some()
        };
        assert!(!missed(None, 10_000));
        assert!(!missed(Some(100), 130));
        assert!(missed(Some(100), 131));
    }

    #[test]
    fn only_a_host_whose_backup_is_too_old_is_warned_of() {
        let at = Timestamp::from_seconds;
        let backup = |seconds| LastBackup {
            snapshot: "1a2b3c4d".to_owned(),
            received: at(seconds),
        };
        let source = |host: &str| Source {
            host: host.to_owned(),
            writer: "admin".to_owned(),
        };
        let last = BTreeMap::from([
            (source("new"), backup(9_000)),
            (source("old"), backup(1_000)),
        ]);
        assert_eq!(age_warnings(&last, None, at(10_000)), []);
        assert_eq!(age_warnings(&last, Some(9_000), at(10_000)), []);
        let warned = age_warnings(&last, Some(8_999), at(10_000));
        assert_eq!(warned.len(), 1);
        assert_eq!(
            warned[0].text,
            "the last backup of old by admin is 2 h old, more than it may be"
        );
        assert!(warned[0].falls_short);
        let none = age_warnings(&BTreeMap::new(), Some(1), at(10_000));
        assert_eq!(none[0].text, "there is no backup");
    }
}
