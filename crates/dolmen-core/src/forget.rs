//! Forget: retires snapshots, and takes retirements back.
//!
//! A retirement deletes nothing. What the snapshots needed is kept for its lease from then on, and until that lapses an
//! undo brings them back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use dolmen_format::ledger::Fact;
use dolmen_format::signed::Reference;
use dolmen_format::{Label, ObjectKey, ObjectKind, SnapshotId, Timestamp};
use dolmen_state::state::Instance;

use crate::by_policy::Contrary;
use crate::check::Observer;
use crate::error::Result;
use crate::finding::{Finding, Findings, chain};
use crate::index::Index;
use crate::keep::{Candidate, Group, GroupBy, KeepError, Rules, select};
use crate::lease::{Terms, deletable, lapse};
use crate::ledger;
use crate::live::{LiveWalk, LostNode, StoredNodes};
use crate::lives;
use crate::moves::places::Places;
use crate::pack::BlobReader;
use crate::repository::Repository;
use crate::snapshots::{Filter, SnapshotEntry, SnapshotList, segments_of};

/// Snapshots that one record names at most: some 8 MiB.
const NAMED_MAX: usize = 80_000;

/// What rules say of the snapshots that pass a filter. Suspicious ones have no slot: they are kept, and no rule counts them.
pub fn plan(
    list: &SnapshotList,
    filter: &Filter,
    rules: &Rules,
    group_by: GroupBy,
    zone: &jiff::tz::TimeZone,
    now: Timestamp,
) -> std::result::Result<Vec<Group>, KeepError> {
    let chosen = list.snapshots.iter().filter(|entry| filter.matches(entry));
    let candidates: Vec<_> = chosen.map(|entry| candidate(list, entry)).collect();
    select(&candidates, rules, group_by, zone, now)
}

/// A snapshot as rules see it, by its names where this client reads them.
fn candidate(list: &SnapshotList, entry: &SnapshotEntry) -> Candidate {
    let labelled = labelled(list, entry);
    let Some(body) = &entry.body else {
        return labelled;
    };
    let tags = body.tags.iter().map(|tag| tag.clone().into_bytes());
    Candidate {
        host: body.hostname.clone().into_bytes(),
        paths: body.paths.iter().map(|path| path.to_vec()).collect(),
        tags: tags.collect(),
        ..labelled
    }
}

/// A snapshot as rules see it, by its labels: so whoever maintains a repository decides alike, whatever they may read.
pub(crate) fn labelled(list: &SnapshotList, entry: &SnapshotEntry) -> Candidate {
    let labels = &entry.snapshot.labels;
    let bytes = |label: &Label| label.as_bytes().to_vec();
    Candidate {
        id: entry.id,
        writer: entry.snapshot.stamp.writer,
        time: entry.received,
        host: bytes(&labels.host),
        paths: vec![bytes(&labels.paths)],
        tags: labels.tags.iter().map(bytes).collect(),
        slot: !list.suspicious.contains_key(&entry.id),
    }
}

/// Ends the lives of snapshots; `policy` is the record that asked for it, where no person did.
///
/// Cost: one put for every 80,000 snapshots.
pub fn retire(
    repository: &Repository,
    instance: &mut Instance,
    snapshots: &[&SnapshotEntry],
    policy: Option<Reference>,
) -> Result<()> {
    for part in snapshots.chunks(NAMED_MAX) {
        let fact = Fact::Retirement {
            snapshots: part.iter().copied().map(reference).collect(),
            policy,
        };
        ledger::write(repository, instance, fact)?;
    }
    Ok(())
}

/// Takes snapshots for what they should be, however suspicious they look: rules count them from now on.
///
/// Cost: one put for every 80,000 snapshots.
pub fn accept(
    repository: &Repository,
    instance: &mut Instance,
    snapshots: &[&SnapshotEntry],
) -> Result<()> {
    for part in snapshots.chunks(NAMED_MAX) {
        let fact = Fact::Acceptance {
            snapshots: part.iter().copied().map(reference).collect(),
        };
        ledger::write(repository, instance, fact)?;
    }
    Ok(())
}

pub(crate) fn reference(entry: &SnapshotEntry) -> Reference {
    entry.snapshot.reference(entry.id)
}

/// Until when a retirement can be taken back for sure, and when what it freed may be deleted.
pub fn deadlines(retired_at: Timestamp, terms: &Terms) -> (Timestamp, Timestamp) {
    let undo_until = lapse(retired_at, None, terms);
    (undo_until, deletable(undo_until, terms))
}

/// What an undo works with.
#[derive(Debug, Clone, Copy)]
pub struct UndoOptions<'a> {
    /// Where the index's tables are kept.
    pub index_cache: Option<&'a Path>,
    /// A folder for what does not fit into memory.
    pub scratch: &'a Path,
    /// Set to interrupt.
    pub cancel: &'a AtomicBool,
}

/// Brings retired snapshots back to life: one record for each retirement in force that names any of them. Nothing is
/// written when something that they need is gone; what is then missing is returned. What is locked for too short a time, and
/// may not be extended, is told: the next renewal does it.
///
/// Cost: three listings, one request for each manifest node and for the clock, one put for each retirement.
pub fn undo(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    snapshots: &[&SnapshotEntry],
    options: &UndoOptions<'_>,
    observer: &dyn Observer,
) -> Result<Findings> {
    let missing = lacking(repository, list, snapshots, options, observer)?;
    if missing.is_empty() {
        take_back(repository, instance, list, snapshots, |_| true)?;
    }
    Ok(missing)
}

/// What was brought back without anybody naming it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answered {
    /// Snapshots that live again.
    pub undone: u64,
    /// Snapshots that should be and are not whole any more: a person must look.
    pub lost: u64,
}

/// Takes back what was retired against the policy, and no other retirement of the same snapshots.
///
/// Cost: what [`undo`] costs; once more for each snapshot where something that one of them needs is gone.
pub fn answer(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    contrary: &[Contrary],
    options: &UndoOptions<'_>,
    observer: &dyn Observer,
) -> Result<Answered> {
    let records: BTreeSet<_> = contrary.iter().map(|one| one.retirement.digest).collect();
    let wanted: BTreeSet<_> = contrary.iter().flat_map(|one| &one.snapshots).collect();
    let retired = list.retired.iter();
    let all: Vec<&SnapshotEntry> = retired.filter(|entry| wanted.contains(&entry.id)).collect();
    let is_meant = |by: &Reference| records.contains(&by.digest);
    take_whole_back(
        repository, instance, list, &all, is_meant, options, observer,
    )
}

/// Brings retired snapshots back, whoever retired them, as far as they are whole.
///
/// Cost: as [`answer`].
pub fn revive(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    snapshots: &[&SnapshotEntry],
    options: &UndoOptions<'_>,
    observer: &dyn Observer,
) -> Result<Answered> {
    take_whole_back(
        repository,
        instance,
        list,
        snapshots,
        |_| true,
        options,
        observer,
    )
}

/// Takes the retirements that are meant back for those snapshots that are whole.
fn take_whole_back(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    all: &[&SnapshotEntry],
    is_meant: impl Fn(&Reference) -> bool,
    options: &UndoOptions<'_>,
    observer: &dyn Observer,
) -> Result<Answered> {
    if all.is_empty() {
        return Ok(Answered::default());
    }
    let mut whole = Vec::new();
    if lacking(repository, list, all, options, observer)?.is_empty() {
        whole.extend_from_slice(all);
    } else {
        // One that was made unreadable must not keep the others dead.
        for entry in all {
            if lacking(repository, list, &[entry], options, observer)?.is_empty() {
                whole.push(entry);
            }
        }
    }
    take_back(repository, instance, list, &whole, is_meant)?;
    let count = |entries: usize| u64::try_from(entries).unwrap_or(u64::MAX);
    Ok(Answered {
        undone: count(whole.len()),
        lost: count(all.len().saturating_sub(whole.len())),
    })
}

/// Extends what snapshots need, and says what of it is gone or about to go.
fn lacking(
    repository: &Repository,
    list: &SnapshotList,
    snapshots: &[&SnapshotEntry],
    options: &UndoOptions<'_>,
    observer: &dyn Observer,
) -> Result<Findings> {
    let Lacking { mut missing, short } = missing(repository, list, snapshots, options)?;
    missing.extend(lapsed(repository, list, snapshots)?);
    for finding in &missing {
        observer.finding(finding);
    }
    if short > 0 && missing.is_empty() {
        // To refuse would let them lapse: what lives is renewed by whoever may.
        observer.notice(&format!(
            "{short} objects have too short a lock, which this key may not extend: what is brought back is protected once \
             dolmen renew or maintain has run with a key that may"
        ));
    }
    Ok(missing)
}

/// What an undo finds wanting.
#[derive(Debug, Default)]
struct Lacking {
    missing: Findings,
    /// Objects whose locks end before the protection period does.
    short: u64,
}

/// Writes one undo for each retirement in force that names any of the snapshots and is to be taken back.
fn take_back(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    snapshots: &[&SnapshotEntry],
    is_meant: impl Fn(&Reference) -> bool,
) -> Result<()> {
    let wanted: BTreeSet<SnapshotId> = snapshots.iter().map(|entry| entry.id).collect();
    let mut records: BTreeMap<_, (Reference, Vec<Reference>)> = BTreeMap::new();
    let retired = list.facts.retired.values();
    for retired in retired.filter(|retired| wanted.contains(&retired.snapshot.digest)) {
        for by in retired.by.iter().filter(|by| is_meant(by)) {
            let (_, named) = records
                .entry(by.digest)
                .or_insert_with(|| (*by, Vec::new()));
            named.push(retired.snapshot);
        }
    }
    for (retirement, snapshots) in records.into_values() {
        let fact = Fact::Undo {
            retirement,
            snapshots,
        };
        ledger::write(repository, instance, fact)?;
    }
    Ok(())
}

/// Snapshots whose leases have lapsed on a store without locks: what they needed may be deleted at any moment. The later
/// clock tells, and the shorter terms: to be late is to lose.
///
/// Cost: one request for the store's clock.
fn lapsed(
    repository: &Repository,
    list: &SnapshotList,
    snapshots: &[&SnapshotEntry],
) -> Result<Findings> {
    let objects = &repository.objects;
    let store = objects.block_on(objects.store().now())?;
    let now = repository.environment.clock.now().max(store.latest);
    let Some(terms) =
        lives::terms(&list.facts, now).filter(|_| !lives::promises_locks(&list.facts, now))
    else {
        return Ok(Vec::new());
    };
    let retired = |entry: &&&SnapshotEntry| {
        let retired = list.facts.retired.get(&entry.id);
        retired.is_some_and(|retired| deadlines(retired.ended_at(now), &terms).0 <= now)
    };
    let late = snapshots.iter().filter(retired);
    let late = late.map(|entry| {
        let subject = ObjectKey::Snapshot(entry.snapshot.stamp.writer, entry.id);
        Finding::new(
            subject.to_string(),
            "its lease has lapsed: restore it by its id while it is there",
        )
    });
    Ok(late.collect())
}

/// Objects whose locks are looked at together.
const PROTECT_OBJECTS: usize = 1 << 12;

/// Extends the locks of things that an undo needs; says so where they cannot be.
fn protect(
    repository: &Repository,
    mut keys: Vec<ObjectKey>,
    kind: ObjectKind,
    lacking: &mut Lacking,
) -> Result<()> {
    let objects = &repository.objects;
    let Some(wanted) = objects.locking().map(|locks| locks.protected_now()) else {
        return Ok(());
    };
    keys.sort_unstable();
    keys.dedup();
    objects.protect_all(&keys, kind, |key, until| {
        let problem = match until {
            Ok(Some(until)) => {
                lacking.short = lacking.short.saturating_add(u64::from(until < wanted));
                return;
            }
            Ok(None) => "missing, or not locked".to_owned(),
            Err(error) => chain(&error),
        };
        lacking.missing.push(Finding::new(key.to_string(), problem));
    })
}

/// What snapshots need and the store does not list any more. On a store with locks everything is extended first.
fn missing(
    repository: &Repository,
    list: &SnapshotList,
    snapshots: &[&SnapshotEntry],
    options: &UndoOptions<'_>,
) -> Result<Lacking> {
    let segments = segments_of(snapshots.iter().copied());
    let mut index = Index::load(repository, options.index_cache)?;
    index.complete(repository, &segments)?;
    let blobs = BlobReader::new(repository, &index.blobs).knowing(&list.facts.moves);
    let mut walk = LiveWalk::new(options.scratch);
    for entry in snapshots {
        walk.add(repository, entry.id, &entry.snapshot, 0)?;
    }
    let live = walk.finish(&mut StoredNodes::new(&blobs, options.cancel))?;
    let mut lacking = Lacking {
        missing: live.lost().iter().map(LostNode::finding).collect(),
        short: 0,
    };
    let keys = snapshots.iter().map(|entry| entry.key()).collect();
    protect(repository, keys, ObjectKind::Snapshot, &mut lacking)?;
    let keys = snapshots.iter().flat_map(|entry| {
        let writer = entry.snapshot.stamp.writer;
        let segments = entry.snapshot.segments.iter();
        segments.map(move |id| ObjectKey::Index(writer, *id))
    });
    protect(repository, keys.collect(), ObjectKind::Index, &mut lacking)?;
    let places = Places::look(repository, &list.facts)?;
    let lasting = live.placed(&places, options.scratch)?;
    let moved: BTreeMap<_, _> = places
        .packs()
        .map(|claim| (claim.pack.pack, claim.pack))
        .collect();
    let present = present_packs(repository, &index)?;
    let mut keys = Vec::new();
    for needed in lasting.packs() {
        let id = needed?.pack;
        let pack = index.blobs.find_pack(&id);
        let info = pack.and_then(|pack| index.blobs.pack(pack));
        let info = info.or_else(|| moved.get(&id).copied());
        let writer = info.map_or(repository.writer(), |info| info.writer);
        let key = ObjectKey::Pack(writer, id);
        if info.is_some() {
            keys.push(key);
        }
        if keys.len() >= PROTECT_OBJECTS {
            let keys = std::mem::take(&mut keys);
            protect(repository, keys, ObjectKind::Pack, &mut lacking)?;
        }
        let at = pack.and_then(|pack| usize::try_from(pack.number()).ok());
        let is_there = at.and_then(|at| present.get(at)).copied().unwrap_or(false);
        if !is_there && !moved.contains_key(&id) {
            let finding = Finding::new(key.to_string(), "missing or cut short");
            lacking.missing.push(finding);
        }
    }
    protect(repository, keys, ObjectKind::Pack, &mut lacking)?;
    Ok(lacking)
}

/// Which packs of the index the store lists with their sizes, by their numbers.
fn present_packs(repository: &Repository, index: &Index) -> Result<Vec<bool>> {
    let count = usize::try_from(index.blobs.pack_count()).unwrap_or(usize::MAX);
    let mut present = vec![false; count];
    repository.objects.list("packs/", |object| {
        let pack = index.blobs.find_pack(&object.key.id());
        let info = pack.and_then(|pack| Some((pack.number(), index.blobs.pack(pack)?)));
        if let Some((number, info)) = info
            && object.has_size(u64::from(info.pack_bytes))
            && let Ok(at) = usize::try_from(number)
            && let Some(slot) = present.get_mut(at)
        {
            *slot = true;
        }
    })?;
    Ok(present)
}
