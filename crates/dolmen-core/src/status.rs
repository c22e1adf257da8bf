//! Status: how a repository stands, from its listing and what is signed. Nothing is changed.

use std::collections::BTreeMap;

use dolmen_format::Timestamp;
use dolmen_format::ledger::LockStrategy;

use crate::audit::{self, Depth, Space, View};
use crate::error::Result;
use crate::lease::Terms;
use crate::lives;
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

/// Findings that become warnings of their own; more are one.
const FINDINGS_SHOWN: usize = 10;

/// How a repository stands.
#[derive(Debug)]
pub struct Status {
    /// Live snapshots.
    pub snapshots: u64,
    /// The last backup of each host.
    pub last: BTreeMap<String, LastBackup>,
    /// How what is needed is locked.
    pub lock: LockStrategy,
    /// The protection period in seconds, where a policy states one.
    pub protect_seconds: Option<u64>,
    /// The protection horizon; `None`: there is none.
    pub protected_until: Option<Timestamp>,
    /// When the first lock is due for renewal.
    pub renewal_due: Option<Timestamp>,
    /// What takes up how much.
    pub space: Space,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// A host's last backup.
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

/// Tells how a repository stands. `max_age_seconds`: a host's last backup may be so old.
///
/// Cost: what [`audit::look`] costs without hashes.
pub fn run(
    repository: &Repository,
    options: &audit::Options<'_>,
    max_age_seconds: Option<u64>,
) -> Result<Status> {
    let options = audit::Options {
        depth: Depth::Listing,
        ..*options
    };
    let list = SnapshotList::load(repository, options.at)?;
    let needs = audit::Needs::gather(repository, &list, &options)?;
    let view = audit::look_for(repository, &options, &list, &needs)?;
    let now = repository.environment.clock.now();
    let terms = lives::terms(&list.facts, now);
    let backups = last_backups(&list);
    let mut warnings = age_warnings(&backups, max_age_seconds, now);
    warnings.extend(view_warnings(&view));
    warnings.extend(oddity_warning(repository, &view));
    let lease = terms.map(|terms| i64::try_from(terms.lease_seconds()).unwrap_or(i64::MAX));
    let renewal_due = view.protected_until.zip(lease);
    Ok(Status {
        snapshots: u64::try_from(list.snapshots.len()).unwrap_or(u64::MAX),
        last: backups,
        lock: lives::lock(&list.facts, now),
        protect_seconds: terms.as_ref().map(Terms::protect_seconds),
        protected_until: view.protected_until,
        renewal_due: renewal_due
            .map(|(until, lease)| until.saturating_add_seconds(lease.saturating_neg())),
        space: view.space,
        warnings,
    })
}

fn last_backups(list: &SnapshotList) -> BTreeMap<String, LastBackup> {
    let mut backups = BTreeMap::new();
    // Oldest first: the newest stays.
    for entry in &list.snapshots {
        let backup = LastBackup {
            snapshot: entry.short_id(),
            received: entry.received,
        };
        backups.insert(entry.body.hostname.clone(), backup);
    }
    backups
}

fn age_warnings(
    last: &BTreeMap<String, LastBackup>,
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
    old.map(|(host, backup)| {
        let age = now.seconds.saturating_sub(backup.received.seconds);
        let hours = age / 3600;
        falls_short(format!(
            "the last backup of {host} is {hours} h old, more than it may be"
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

fn oddity_warning(repository: &Repository, view: &View) -> Option<Warning> {
    let oddities = repository.objects.oddities();
    let count = |met: usize, counted: u64| u64::try_from(met).unwrap_or(u64::MAX).max(counted);
    let hidden = count(oddities.hidden.len(), view.counts.hidden);
    let overwritten = count(oddities.overwritten.len(), view.counts.overwritten);
    (hidden > 0 || overwritten > 0).then(|| Warning {
        text: oddities_text(hidden, overwritten),
        falls_short: false,
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
    fn only_a_host_whose_backup_is_too_old_is_warned_of() {
        let at = Timestamp::from_seconds;
        let backup = |seconds| LastBackup {
            snapshot: "1a2b3c4d".to_owned(),
            received: at(seconds),
        };
        let last = BTreeMap::from([
            ("new".to_owned(), backup(9_000)),
            ("old".to_owned(), backup(1_000)),
        ]);
        assert_eq!(age_warnings(&last, None, at(10_000)), []);
        assert_eq!(age_warnings(&last, Some(9_000), at(10_000)), []);
        let warned = age_warnings(&last, Some(8_999), at(10_000));
        assert_eq!(warned.len(), 1);
        assert_eq!(
            warned[0].text,
            "the last backup of old is 2 h old, more than it may be"
        );
        assert!(warned[0].falls_short);
        let none = age_warnings(&BTreeMap::new(), Some(1), at(10_000));
        assert_eq!(none[0].text, "there is no backup");
    }
}
