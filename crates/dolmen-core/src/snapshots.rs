//! The snapshots of a repository: verified, ordered, selected.

use std::collections::BTreeMap;

use dolmen_format::snapshot::{Body, Snapshot};
use dolmen_format::{FormatError, ObjectKey, ObjectKind, SnapshotId, Timestamp};
use dolmen_store::{StoreClock, StoreError, StoreErrorKind};

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, chain};
use crate::objects::FetchError;
use crate::repository::Repository;

/// A verified snapshot with its body opened.
#[derive(Debug, Clone)]
pub struct SnapshotEntry {
    /// Its object id.
    pub id: SnapshotId,
    /// The public part.
    pub snapshot: Snapshot,
    /// The part for readers.
    pub body: Body,
    /// When it was received: the store's time; on a store whose times copies do not keep, the
    /// earlier of that and the snapshot's own.
    pub received: Timestamp,
}

impl SnapshotEntry {
    /// The first 8 digits of the id.
    pub fn short_id(&self) -> String {
        self.id.to_string().chars().take(8).collect()
    }

    /// Whether it claims to be from after it was received.
    fn is_future_dated(&self, now: Timestamp) -> bool {
        self.snapshot.time > now.saturating_add_seconds(FUTURE_SECONDS)
    }
}

/// A clock may be this much ahead before a snapshot counts as dated in the future.
const FUTURE_SECONDS: i64 = 10 * 60;

/// All snapshots and checkpoints that verify.
#[derive(Debug, Default)]
pub struct SnapshotList {
    /// Oldest first.
    pub snapshots: Vec<SnapshotEntry>,
    /// Checkpoints, oldest first.
    pub checkpoints: Vec<SnapshotEntry>,
    /// What does not verify, and what is missing.
    pub findings: Findings,
}

impl SnapshotList {
    /// Reads every snapshot object.
    ///
    /// Cost: one listing and one request for each.
    pub fn load(repository: &Repository) -> Result<Self> {
        let mut listed = BTreeMap::new();
        let foreign = repository.objects.list("snapshots/", |object| {
            listed.insert(object.key, object.stored_at);
        })?;
        let keys: Vec<_> = listed
            .keys()
            .map(|key| (*key, ObjectKind::Snapshot))
            .collect();
        let mut list = Self::default();
        for name in foreign {
            list.findings
                .push(Finding::new(name, "not an object of this repository"));
        }
        let mut outage = None;
        repository.objects.fetch_all(&keys, |key, fetched| {
            let stored_at = listed.get(&key).copied().unwrap_or_default();
            // A store that does not answer is no damage.
            if let Err(FetchError::Store(StoreError {
                kind: StoreErrorKind::Unavailable,
                ..
            })) = fetched
            {
                outage = fetched.err();
                return;
            }
            let opened = fetched
                .map_err(|error| chain(&error))
                .and_then(|stored| open(repository, &key, &stored, stored_at));
            match opened {
                Ok(entry) if entry.snapshot.checkpoint == 0 => list.snapshots.push(entry),
                Ok(entry) => list.checkpoints.push(entry),
                Err(problem) => list.findings.push(Finding::new(key.to_string(), problem)),
            }
        });
        if let Some(error) = outage {
            return Err(error.into());
        }
        for entries in [&mut list.snapshots, &mut list.checkpoints] {
            // Stores state whole seconds: within one, the writers' own times and numbers decide.
            entries.sort_by_key(|entry| {
                let Snapshot { time, stamp, .. } = &entry.snapshot;
                (entry.received, *time, stamp.number, entry.id)
            });
        }
        list.findings.sort();
        Ok(list)
    }

    /// Those that are there and cannot be used.
    pub fn damaged(&self) -> impl Iterator<Item = SnapshotId> {
        let subjects = self.findings.iter();
        let keys = subjects.filter_map(|finding| finding.subject.parse().ok());
        keys.filter(|key| matches!(key, ObjectKey::Snapshot(..)))
            .map(|key| key.id())
    }

    /// Finds `latest`, `latest~N`, a full id or a unique prefix. `filter` limits `latest` alone.
    pub fn find(&self, wanted: &str, filter: &Filter, now: Timestamp) -> Result<&SnapshotEntry> {
        let none = || Error::NoSnapshot {
            wanted: wanted.to_owned(),
        };
        if let Some(rest) = wanted.strip_prefix("latest") {
            let back: usize = match rest.strip_prefix('~') {
                Some(count) => count.parse().map_err(|_error| none())?,
                None if rest.is_empty() => 0,
                None => return Err(none()),
            };
            let mut eligible = self
                .snapshots
                .iter()
                .rev()
                .filter(|entry| filter.matches(entry) && !entry.is_future_dated(now));
            return eligible.nth(back).ok_or_else(none);
        }
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if wanted.is_empty() || !wanted.bytes().all(is_hex) {
            return Err(none());
        }
        let mut matching = self
            .snapshots
            .iter()
            .filter(|entry| entry.id.to_string().starts_with(wanted));
        let found = matching.next().ok_or_else(none)?;
        match matching.count() {
            0 => Ok(found),
            more => Err(Error::AmbiguousSnapshot {
                wanted: wanted.to_owned(),
                count: more.saturating_add(1),
            }),
        }
    }
}

/// Limits snapshots by host, tags and paths, as restic does: each list is an "any of", a tag list
/// such as `a,b` an "all of".
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Any of these host names.
    pub hosts: Vec<String>,
    /// Any of these comma-separated lists of tags, all of whose tags must be there.
    pub tags: Vec<String>,
    /// All of these absolute paths.
    pub paths: Vec<Vec<u8>>,
}

impl Filter {
    /// Whether a snapshot passes.
    pub fn matches(&self, entry: &SnapshotEntry) -> bool {
        let body = &entry.body;
        let has_all = |list: &String| {
            list.split(',')
                .all(|tag| tag.is_empty() || body.tags.iter().any(|own| own == tag))
        };
        (self.hosts.is_empty() || self.hosts.contains(&body.hostname))
            && (self.tags.is_empty() || self.tags.iter().any(has_all))
            && self
                .paths
                .iter()
                .all(|path| body.paths.iter().any(|own| own.as_slice() == path))
    }
}

/// Verifies a snapshot object under its name and opens its body.
fn open(
    repository: &Repository,
    key: &ObjectKey,
    stored: &[u8],
    stored_at: Timestamp,
) -> std::result::Result<SnapshotEntry, String> {
    let writer = key
        .writer()
        .ok_or_else(|| "not under a writer's name".to_owned())?;
    let verify = repository
        .verify_key_of(writer)
        .ok_or_else(|| "not signed by a known writer".to_owned())?;
    let (snapshot, id) = verify
        .verify::<Snapshot>(&repository.id(), stored)
        .map_err(|error| chain(&error))?;
    if snapshot.stamp.writer != writer {
        return Err("signed for another writer".to_owned());
    }
    let aad = Snapshot::box_aad(&repository.id(), &snapshot.nonce);
    let plain = repository
        .read_key()
        .open(&snapshot.body, BODY_INFO, &aad)
        .map_err(|error| chain(&error))?;
    let body = Body::decode(&plain).map_err(|error| chain(&error))?;
    if snapshot.checkpoint == 0 && body.tree.is_none() {
        return Err(chain(&FormatError::Invalid { field: "tree" }));
    }
    let has_clock = repository.objects.store().capabilities().clock == StoreClock::Server;
    let received = if has_clock {
        stored_at
    } else {
        stored_at.min(snapshot.time)
    };
    Ok(SnapshotEntry {
        id,
        snapshot,
        body,
        received,
    })
}

/// What the box of a snapshot's body is bound to.
pub(crate) const BODY_INFO: &[u8] = b"dolmen v1 snapshot body";
/// What the box of a snapshot's manifest is bound to.
pub(crate) const MANIFEST_INFO: &[u8] = b"dolmen v1 manifest";
