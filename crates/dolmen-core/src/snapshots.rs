//! The snapshots of a repository: verified, ordered, selected.

mod doubts;
mod locks;

use std::collections::{BTreeMap, BTreeSet};

use dolmen_crypto::OpenKey;
use dolmen_format::certificate::Role;
use dolmen_format::ledger::LockStrategy;
use dolmen_format::snapshot::{Body, Snapshot, TreeRoot};
use dolmen_format::{
    FormatError, ObjectId, ObjectKey, ObjectKind, RepositoryId, SegmentId, SnapshotId, Timestamp,
};
use dolmen_store::{LockStatus, StoreClock, StoreError, StoreErrorKind, Version};

pub use self::locks::{ask_for_locks, protected_until};

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings};
use crate::keep::Suspicion;
use crate::ledger::{Facts, Known, Ledger, Origin, Receipts, Retired, fold, receipts};
use crate::lives;
use crate::objects::{FetchError, Listed, Source};
use crate::recall::{Recall, Recalled};
use crate::repository::Repository;
use crate::verify::{self, Refusal};

/// Where snapshots and checkpoints lie.
const PREFIX: &str = "snapshots/";

/// A verified snapshot with its body opened.
#[derive(Debug, Clone)]
pub struct SnapshotEntry {
    /// Its object id.
    pub id: SnapshotId,
    /// The public part.
    pub snapshot: Snapshot,
    /// The part for readers; `None`: this client is none.
    pub body: Option<Body>,
    /// When it was received: what a witness tells of, else the store's time; on a store whose times copies do not keep,
    /// the earlier of that and the snapshot's own.
    pub received: Timestamp,
    /// When the store received it, by the store's clock: the time from which leases are counted.
    pub stored_at: Timestamp,
    /// The same, or what a witness tells of: what is stored again does not become late by it.
    pub first_stored_at: Timestamp,
    /// The lock of this object itself, where the listing states it.
    pub lock: LockStatus,
    /// Its authentic version; `None`: the store does not give it, and this client remembers it.
    pub version: Option<Version>,
}

impl SnapshotEntry {
    /// Where it lies.
    pub const fn key(&self) -> ObjectKey {
        ObjectKey::Snapshot(self.snapshot.stamp.writer, self.id)
    }

    /// The part for readers, for whoever must be one.
    pub fn readable(&self) -> Result<&Body> {
        self.body.as_ref().ok_or(Error::Internal {
            what: "a snapshot was read without the key for it",
        })
    }

    /// The root of its tree; `None`: it is a checkpoint, or this client does not read names.
    pub fn tree(&self) -> Option<TreeRoot> {
        self.body.as_ref().and_then(|body| body.tree)
    }

    /// The machine's name, or where this client does not read names the first 8 digits of its label.
    pub fn host(&self) -> String {
        let label = || {
            self.snapshot
                .labels
                .host
                .to_string()
                .chars()
                .take(8)
                .collect()
        };
        self.body
            .as_ref()
            .map_or_else(label, |body| body.hostname.clone())
    }

    /// The first 8 digits of the id.
    pub fn short_id(&self) -> String {
        self.id.to_string().chars().take(8).collect()
    }

    /// By what snapshots are ordered, oldest first. Stores state whole seconds: within one, the writers' own times and
    /// numbers decide.
    pub fn age(&self) -> (Timestamp, Timestamp, u64, SnapshotId) {
        let Snapshot { time, stamp, .. } = &self.snapshot;
        (self.received, *time, stamp.number, self.id)
    }
}

/// Whether a snapshot's own time has not come.
fn is_future_dated(time: Timestamp, now: Timestamp) -> bool {
    time > now.saturating_add_seconds(FUTURE_SECONDS)
}

/// A writer's clock may be this much ahead before a snapshot counts as dated in the future.
const FUTURE_SECONDS: i64 = 10 * 60;

/// All snapshots and checkpoints that verify, and what the ledger says of them.
#[derive(Debug)]
pub struct SnapshotList {
    /// Those that live, oldest first.
    pub snapshots: Vec<SnapshotEntry>,
    /// Those that are retired and still there, oldest first.
    pub retired: Vec<SnapshotEntry>,
    /// Those of revoked signers from beyond their cuts, oldest first: they live until they are retired by name, and count
    /// for nothing.
    pub quarantined: Vec<SnapshotEntry>,
    /// Those that came too late for the locks that they rely on, oldest first: kept like checkpoints.
    pub incomplete: Vec<SnapshotEntry>,
    /// Checkpoints, oldest first.
    pub checkpoints: Vec<SnapshotEntry>,
    /// What is wrong with some of those that live or are retired: no rule counts them.
    pub suspicious: BTreeMap<SnapshotId, Vec<Suspicion>>,
    /// What the ledger says.
    pub facts: Facts,
    /// The times of receipt that witnesses tell of.
    pub receipts: Receipts,
    /// When reading began, by the local clock.
    pub listed_at: Timestamp,
    /// What does not verify, and what is missing.
    pub findings: Findings,
    /// What this client remembers and the store does not give: it is among the others all the same.
    pub recalled: Recalled,
}

impl SnapshotList {
    /// Reads every snapshot object and the ledger, as far as they were received up to `at`.
    ///
    /// Cost: two listings and one request for each object that this client keeps no copy of.
    pub fn load(repository: &Repository, at: Option<Timestamp>) -> Result<Self> {
        Self::load_from(repository, at, Source::Copies)
    }

    /// As [`Self::load`], with what this client remembers of it: for whoever keeps and lets go.
    pub fn load_recalling(repository: &Repository, recall: Recall<'_>) -> Result<Self> {
        let history = History::load_recalling(repository, Source::Copies, recall)?;
        Ok(history.into_list(repository, None))
    }

    /// As [`Self::load`]; with [`Source::Store`] every object is fetched.
    pub fn load_from(
        repository: &Repository,
        at: Option<Timestamp>,
        source: Source,
    ) -> Result<Self> {
        Ok(History::load(repository, source)?.into_list(repository, at))
    }

    /// Snapshots, whatever became of them, and checkpoints.
    pub fn all(&self) -> impl Iterator<Item = &SnapshotEntry> {
        let snapshots = self.snapshots.iter().chain(&self.retired);
        snapshots
            .chain(&self.quarantined)
            .chain(&self.incomplete)
            .chain(&self.checkpoints)
    }

    /// Those that are there and cannot be used.
    pub fn damaged(&self) -> impl Iterator<Item = ObjectKey> {
        let subjects = self.findings.iter();
        let keys = subjects.filter_map(|finding| finding.subject.parse().ok());
        keys.filter(|key| matches!(key, ObjectKey::Snapshot(..)))
    }

    /// Takes snapshots as retired at a time, as a dry run does with those that it would retire.
    pub fn suppose_retired(&mut self, ids: &BTreeSet<SnapshotId>, at: Timestamp) {
        let all = std::mem::take(&mut self.snapshots);
        let (retired, live): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|entry| ids.contains(&entry.id));
        self.snapshots = live;
        for entry in retired {
            let supposed = Retired {
                snapshot: crate::forget::reference(&entry),
                by: Vec::new(),
                first_stored_at: at,
                stored_at: at,
                signed_at: at,
            };
            self.facts.retired.insert(entry.id, supposed);
            self.retired.push(entry);
        }
    }

    /// Finds `latest`, `latest~N`, a full id or a unique prefix. `filter` limits `latest` alone, and retired and
    /// quarantined ones are found by their ids alone.
    pub fn find(&self, wanted: &str, filter: &Filter, now: Timestamp) -> Result<&SnapshotEntry> {
        let none = || Error::NoSnapshot {
            wanted: wanted.to_owned(),
        };
        if let Some(back) = places_back(wanted) {
            return self.newest_first(filter, now).nth(back).ok_or_else(none);
        }
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if wanted.is_empty() || !wanted.bytes().all(is_hex) {
            return Err(none());
        }
        let listed = self.snapshots.iter().chain(&self.retired);
        let mut matching = listed
            .chain(&self.quarantined)
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

    /// What a person should know who asked for `latest` or `latest~N` and gets this one: what is wrong with it, and which
    /// one before it is not suspicious.
    pub fn doubt(&self, wanted: &str, filter: &Filter, now: Timestamp) -> Option<Doubt<'_>> {
        let back = places_back(wanted)?;
        let mut eligible = self.newest_first(filter, now).skip(back);
        let taken = eligible.next()?;
        let suspicions = self.suspicious.get(&taken.id)?;
        let before = eligible.find(|entry| !self.suspicious.contains_key(&entry.id));
        Some(Doubt {
            taken,
            suspicions,
            before,
        })
    }

    fn newest_first<'l, 'f>(
        &'l self,
        filter: &'f Filter,
        now: Timestamp,
    ) -> impl Iterator<Item = &'l SnapshotEntry> + use<'l, 'f> {
        let newest_first = self.snapshots.iter().rev();
        newest_first.filter(move |entry| {
            filter.matches(entry) && !is_future_dated(entry.snapshot.time, now)
        })
    }
}

/// All that a repository holds of snapshots and records, as it was read once: a list can be made of it for any time.
#[derive(Debug, Clone)]
pub struct History {
    ledger: Ledger,
    read: Read,
    receipts: Receipts,
    listed_at: Timestamp,
}

impl History {
    /// Reads every snapshot object and the ledger.
    ///
    /// Cost: two listings and one request for each object; with [`Source::Copies`] none for what this client keeps a copy of.
    pub fn load(repository: &Repository, source: Source) -> Result<Self> {
        Self::load_recalling(repository, source, Recall::Nothing)
    }

    fn load_recalling(repository: &Repository, source: Source, recall: Recall<'_>) -> Result<Self> {
        let listed_at = repository.environment.clock.now();
        let mut ledger = Ledger::load_recalling(repository, source, recall)?;
        let mut read = Read::default();
        read.load(repository, source, recall)?;
        let receipts = receipts(&ledger.records, &read.known(), repository.admin_id());
        ledger.date(&receipts);
        read.date(&receipts);
        Ok(Self {
            ledger,
            read,
            receipts,
            listed_at,
        })
    }

    /// What it comes to, as far as it was received up to `at`.
    pub fn into_list(self, repository: &Repository, at: Option<Timestamp>) -> SnapshotList {
        let Self {
            mut ledger,
            mut read,
            receipts,
            listed_at,
        } = self;
        if let Some(at) = at {
            ledger.records.retain(|_, entry| entry.received <= at);
            read.retain_received(at);
        }
        let origin = Origin {
            admin: repository.admin_id(),
            policy: repository.root().policy.clone(),
            stored_at: repository.root_stored_at(),
        };
        let mut facts = fold(&ledger.records, &read.known(), origin);
        if repository.objects.store().capabilities().clock == StoreClock::Server {
            facts.trust_receipts();
        }
        let is_retired = |entry: &SnapshotEntry| facts.retired.contains_key(&entry.id);
        let (retired, live): (Vec<_>, Vec<_>) = read.snapshots.into_iter().partition(is_retired);
        let is_trusted = |entry: &SnapshotEntry| facts.trusts(&entry.id);
        let (trusted, quarantined): (Vec<_>, Vec<_>) = live.into_iter().partition(is_trusted);
        let is_late = |entry: &SnapshotEntry| is_incomplete(repository, &facts, entry);
        let (incomplete, snapshots) = trusted.into_iter().partition(is_late);
        let mut findings = read.findings;
        findings.extend(ledger.findings);
        findings.extend(facts.findings.iter().cloned());
        let mut recalled = read.recalled;
        recalled.objects.extend(ledger.recalled.objects);
        recalled.broke_off.extend(ledger.recalled.broke_off);
        findings.extend(recalled.broke_off.iter().cloned());
        findings.sort();
        let mut list = SnapshotList {
            snapshots,
            retired,
            quarantined,
            incomplete,
            checkpoints: read.checkpoints,
            suspicious: BTreeMap::new(),
            listed_at,
            facts,
            receipts,
            findings,
            recalled,
        };
        list.suspicious = doubts::suspicious(&list, repository);
        if lives::lock(&list.facts, listed_at) == LockStrategy::Hide {
            // Hidden is what prune leaves of them.
            let retired = list.retired.iter().map(SnapshotEntry::key);
            repository.objects.overlook_hidden(retired);
        }
        list
    }
}

/// A suspicious snapshot that was asked for by its place.
#[derive(Debug, Clone, Copy)]
pub struct Doubt<'l> {
    /// It.
    pub taken: &'l SnapshotEntry,
    /// What is wrong with it.
    pub suspicions: &'l [Suspicion],
    /// The newest one before it that is not suspicious.
    pub before: Option<&'l SnapshotEntry>,
}

/// How far back `latest` or `latest~N` asks.
fn places_back(wanted: &str) -> Option<usize> {
    match wanted.strip_prefix("latest")? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

/// What the store holds below `snapshots/`.
#[derive(Debug, Clone, Default)]
struct Read {
    snapshots: Vec<SnapshotEntry>,
    checkpoints: Vec<SnapshotEntry>,
    findings: Findings,
    recalled: Recalled,
}

impl Read {
    /// What others tell of them.
    fn known(&self) -> Vec<Known> {
        let all = self.snapshots.iter().chain(&self.checkpoints);
        all.map(|entry| Known {
            reference: entry.snapshot.reference(entry.id),
            checkpoint: entry.snapshot.checkpoint,
            heads: entry.snapshot.heads.clone(),
        })
        .collect()
    }

    /// Dates them as witnesses tell, and puts them in order.
    fn date(&mut self, receipts: &Receipts) {
        for entries in [&mut self.snapshots, &mut self.checkpoints] {
            for entry in entries.iter_mut() {
                let signed = entry.snapshot.time;
                entry.received = receipts.received(&entry.id, signed, entry.received);
                entry.first_stored_at = receipts.received(&entry.id, signed, entry.stored_at);
            }
            entries.sort_by_key(SnapshotEntry::age);
        }
    }

    fn retain_received(&mut self, at: Timestamp) {
        self.snapshots.retain(|entry| entry.received <= at);
        self.checkpoints.retain(|entry| entry.received <= at);
    }

    fn load(&mut self, repository: &Repository, source: Source, recall: Recall<'_>) -> Result<()> {
        let (objects, mut listed) = (&repository.objects, Vec::new());
        let foreign = recall.list(objects, PREFIX, &mut self.recalled, |object| {
            listed.push(object);
        })?;
        for name in foreign {
            self.findings.push(Finding::foreign(name));
        }
        let mut outage = None;
        let kind = ObjectKind::Snapshot;
        objects.fetch_small(&listed, kind, source, |object, fetched| {
            let key = &object.key;
            // A store that does not answer is no damage.
            if let Err(FetchError::Store(StoreError {
                kind: StoreErrorKind::Unavailable,
                ..
            })) = fetched
                && !recall.has_body(key)
            {
                outage = fetched.err();
                return;
            }
            let name = key.to_string();
            let opened = match fetched {
                Ok(found) => {
                    let (at, lock) = (found.copy.stored_at, found.copy.lock);
                    open(repository, key, &found.body, at, lock)
                        .map(|entry| SnapshotEntry {
                            version: Some(found.copy.version),
                            ..entry
                        })
                        .map_err(|refusal| Finding::refused(name, refusal))
                }
                Err(error) => Err(Finding::unusable(name, &error)),
            };
            match opened {
                Ok(entry) => self.take(entry),
                Err(finding) => self.findings.push(finding),
            }
        });
        self.recall(repository, recall, &listed);
        outage.map_or(Ok(()), |error| Err(error.into()))
    }

    fn take(&mut self, entry: SnapshotEntry) {
        if entry.snapshot.checkpoint == 0 {
            self.snapshots.push(entry);
        } else {
            self.checkpoints.push(entry);
        }
    }

    fn recall(&mut self, repository: &Repository, recall: Recall<'_>, listed: &[Listed]) {
        let given = self.snapshots.iter().chain(&self.checkpoints);
        let given: BTreeSet<_> = given.map(|entry| entry.id).collect();
        let (mut found, unstated) = (Vec::new(), LockStatus::Unknown);
        let is_given = |id: &ObjectId| given.contains(id);
        recall.missing(PREFIX, listed, &mut self.recalled, is_given, |key, seen| {
            found.extend(open(repository, key, &seen.body, seen.stored_at, unstated));
        });
        for entry in found {
            self.take(entry);
        }
    }
}

/// The reader's half of the commit rule: whether a snapshot came too late for the earliest lock that it relies on. Only
/// the store that it was made in can tell; on a copy it counts.
pub(crate) fn is_incomplete(repository: &Repository, facts: &Facts, entry: &SnapshotEntry) -> bool {
    let snapshot = &entry.snapshot;
    // The start of the second that the store states: never more than the writer was told.
    let received = Timestamp::from_seconds(entry.first_stored_at.seconds);
    let protect_seconds = i64::try_from(facts.shortest_protect_seconds).unwrap_or(i64::MAX);
    let wanted = received.saturating_add_seconds(protect_seconds);
    snapshot.store == store_digest(repository)
        && snapshot
            .relied_until
            .is_some_and(|until| wanted > Timestamp::from_seconds(until))
}

/// How a snapshot names the store that it was made in.
pub(crate) fn store_digest(repository: &Repository) -> Vec<u8> {
    let identity = repository.objects.store().identity();
    blake3::hash(identity.as_str().as_bytes())
        .as_bytes()
        .to_vec()
}

/// The index segments that snapshots list, each once, ascending.
pub fn segments_of<'e>(entries: impl IntoIterator<Item = &'e SnapshotEntry>) -> Vec<SegmentId> {
    let entries = entries.into_iter();
    let mut segments: Vec<_> = entries
        .flat_map(|entry| entry.snapshot.segments.iter().copied())
        .collect();
    segments.sort();
    segments.dedup();
    segments
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
        let is_empty = self.hosts.is_empty() && self.tags.is_empty() && self.paths.is_empty();
        let Some(body) = &entry.body else {
            // Who may not read names cannot ask for them.
            return is_empty;
        };
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
    lock: LockStatus,
) -> std::result::Result<SnapshotEntry, Refusal> {
    let (snapshot, id) =
        verify::verify(repository, key, stored, |body: &Snapshot| body.stamp.writer)?;
    let certificate = repository.certificate_of(snapshot.certificate)?;
    let may_back_up = |(role, certificate)| {
        certificate == snapshot.certificate && matches!(role, Role::Admin | Role::Backup)
    };
    if !repository.roles_of(snapshot.stamp.writer).any(may_back_up) {
        return Err(Refusal::foreign("its signer may not make snapshots"));
    }
    let domain = certificate.and_then(|certificate| certificate.domain);
    if domain.is_some_and(|domain| domain != snapshot.domain) {
        return Err(Refusal::foreign(
            "its domain is not that of its signer's certificate",
        ));
    }
    let body = match repository.keys().read_if_any() {
        Some(read) => Some(open_body(repository.id(), &snapshot, read)?),
        None => None,
    };
    let received = repository.objects.received(stored_at, snapshot.time);
    Ok(SnapshotEntry {
        id,
        snapshot,
        body,
        received,
        stored_at,
        first_stored_at: stored_at,
        lock,
        version: None,
    })
}

/// Opens what readers see of a snapshot.
fn open_body(
    repository: RepositoryId,
    snapshot: &Snapshot,
    read: &OpenKey,
) -> std::result::Result<Body, Refusal> {
    let aad = Snapshot::box_aad(&repository, &snapshot.nonce);
    let plain = read
        .open(&snapshot.body, BODY_INFO, &aad)
        .map_err(|error| Refusal::unknown(&error))?;
    let body = Body::decode(&plain).map_err(|error| Refusal::unknown(&error))?;
    if snapshot.checkpoint == 0 && body.tree.is_none() {
        return Err(Refusal::unknown(&FormatError::Invalid { field: "tree" }));
    }
    Ok(body)
}

/// What the box of a snapshot's body is bound to.
pub(crate) const BODY_INFO: &[u8] = b"dolmen v1 snapshot body";
/// What the box of a snapshot's manifest is bound to.
pub(crate) const MANIFEST_INFO: &[u8] = b"dolmen v1 manifest";
