//! Whether this client's own history goes on where its state folder says that it ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use dolmen_format::certificate::{RIGHT_SHARED, Role};
use dolmen_format::ledger::LockStrategy;
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::{InstanceId, ObjectId, ObjectKey, SegmentId};
use dolmen_state::state::{Instance, InstanceRecord, JournalEntry, Signed};
use dolmen_store::StoreTime;

use crate::error::{Error, Result};
use crate::lease::{self, strength};
use crate::ledger;
use crate::lives;
use crate::objects::Protection;
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// Takes over what an interrupted run put and did not note any more, so that no number is used twice; then begins a new
/// instance where the store holds an object of this one that it never put: the state folder was set back with a
/// machine's disk, or copied to another machine that writes too. Where one machine alone should use a key, what another
/// instance of it wrote since this one began is the same alarm. Returns whether there is one.
///
/// Every verb that signs calls it first.
pub fn settle(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    notice: &dyn Fn(&str),
) -> Result<bool> {
    if list.facts.revoked().contains_key(&repository.writer()) {
        return Err(Error::Revoked);
    }
    let store = lock_by_policy(repository, list)?;
    if let Some(apart) = lease::apart(repository.environment.clock.now(), store) {
        notice(&apart);
    }
    if instance.record().since.is_none() {
        let mut record = instance.record().clone();
        record.since = Some(store.latest);
        instance.save(record)?;
    }
    let put = put_by_journal(instance)?;
    if let Some(strange) = find_strange(repository, instance, list, &put) {
        notice(&format!(
            "{strange} bears this machine's name, and this machine did not make it: its state folder was set back, or \
             is in use on another machine too; going on under a new name"
        ));
        instance.begin_anew(InstanceId(repository.environment.bytes()))?;
        return Ok(true);
    }
    adopt(repository, instance, list, &put)?;
    let other = find_other(repository, instance, list);
    if let Some(other) = &other {
        notice(&format!(
            "snapshot {other} was made with this machine's key, and not by this machine: the key was copied. If it was \
             stolen, revoke it; if several machines use it on purpose, make it with dolmen key add --shared"
        ));
    }
    Ok(other.is_some())
}

/// A snapshot or checkpoint by this client's key that the store received since this client began, and that none of its
/// instances made; `None` where several machines use the key on purpose.
fn find_other(repository: &Repository, instance: &Instance, list: &SnapshotList) -> Option<String> {
    let own = repository.certificate(repository.keys().certificate()?)?;
    let since = instance.record().since?;
    if own.role != Role::Backup || own.rights & RIGHT_SHARED != 0 {
        return None;
    }
    let siblings = instance.siblings();
    let mut entries = list.all();
    let other = entries.find(|entry| {
        let stamp = &entry.snapshot.stamp;
        stamp.writer == repository.writer()
            && entry.stored_at > since
            && !siblings.contains(&stamp.instance)
    });
    other.map(SnapshotEntry::short_id)
}

/// Locks what is put from now on as the policy in force says. Returns the store's time.
///
/// Cost: one request, or a file.
pub(crate) fn lock_by_policy(repository: &Repository, list: &SnapshotList) -> Result<StoreTime> {
    let clock = &repository.environment.clock;
    let objects = &repository.objects;
    let local = clock.now();
    // Who may not write a file to read the clock puts nothing either.
    let store = objects.time_to_look(local)?;
    let (earlier, later) = (local.min(store.earliest), local.max(store.latest));
    let terms = lives::terms_between(&list.facts, earlier, later);
    // The stronger of both: a weaker one takes effect by the earlier clock, a stronger one by the later.
    let strategies = [earlier, later].map(|at| lives::lock(&list.facts, at));
    let strategy = strategies.into_iter().max_by_key(|lock| strength(*lock));
    let strategy = strategy.unwrap_or(LockStrategy::None);
    let protection = terms.map_or(Protection::None, |terms| {
        Protection::new(strategy, terms, Arc::clone(clock), store, false)
    });
    objects.protect_with(protection);
    Ok(store)
}

fn put_by_journal(instance: &Instance) -> Result<BTreeSet<ObjectId>> {
    let put = instance
        .journal()?
        .into_iter()
        .filter_map(|entry| match entry {
            JournalEntry::Put { key } => key.parse::<ObjectKey>().ok().map(|key| key.id()),
            JournalEntry::PutPack { .. } => None,
        });
    Ok(put.collect())
}

/// What this client is said to have signed and knows nothing of.
fn find_strange(
    repository: &Repository,
    instance: &Instance,
    list: &SnapshotList,
    put: &BTreeSet<ObjectId>,
) -> Option<String> {
    let record = instance.record();
    let own = (repository.writer(), instance.id());
    let is_strange = |stamp: &Stamp, id: ObjectId| {
        (stamp.writer, stamp.instance) == own
            && stamp.number >= record.next_number
            && record.checkpoint.is_none_or(|known| known.digest != id)
            && !put.contains(&id)
    };
    let mut entries = list.all();
    let snapshot = entries.find(|entry| is_strange(&entry.snapshot.stamp, entry.id));
    if let Some(entry) = snapshot {
        return Some(format!("snapshot {}", entry.short_id()));
    }
    let mut stamps = list.facts.stamps.iter();
    let (_, id) = stamps.find(|(stamp, id)| is_strange(stamp, *id))?;
    Some(format!("ledger record {id}"))
}

/// Takes over what was put and not noted before a crash, in the order of the numbers.
fn adopt(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    put: &BTreeSet<ObjectId>,
) -> Result<()> {
    let own = (repository.writer(), instance.id());
    let mut record = instance.record().clone();
    let is_new = |stamp: &Stamp, id: &ObjectId, record: &InstanceRecord| {
        (stamp.writer, stamp.instance) == own
            && stamp.number >= record.next_number
            && put.contains(id)
    };
    let mut snapshots: Vec<&SnapshotEntry> = list
        .all()
        .filter(|entry| is_new(&entry.snapshot.stamp, &entry.id, &record))
        .collect();
    snapshots.sort_by_key(|entry| {
        let Stamp { number, .. } = entry.snapshot.stamp;
        // A snapshot comes after its own checkpoints.
        (number, entry.snapshot.checkpoint.wrapping_sub(1))
    });
    for entry in snapshots {
        let segments = entry.snapshot.segments.clone();
        let reference = entry.snapshot.reference(entry.id);
        record.note(reference, entry.snapshot.checkpoint, segments);
    }
    let facts = list.facts.stamps.iter();
    let mut signed: Vec<_> = facts
        .filter(|(stamp, id)| is_new(stamp, id, &record))
        .map(|(stamp, id)| ledger::reference(stamp, *id))
        .collect();
    signed.sort_by_key(|reference| reference.number);
    for reference in signed {
        record.next_number = record.next_number.max(reference.number.saturating_add(1));
        record.note_signed(Signed {
            reference,
            // Renewal will have seen its bytes before long.
            sighting: None,
        });
    }
    if record != *instance.record() {
        instance.save(record)?;
    }
    Ok(())
}

/// How a client's record follows what it wrote.
pub(crate) trait Note {
    /// Notes a snapshot or checkpoint of ours as the head.
    fn note(&mut self, reference: Reference, checkpoint: u32, segments: Vec<SegmentId>);
}

impl Note for InstanceRecord {
    fn note(&mut self, reference: Reference, checkpoint: u32, segments: Vec<SegmentId>) {
        self.segments = segments;
        if checkpoint > 0 {
            self.checkpoint = Some(reference);
            return;
        }
        self.head = Some(reference);
        self.checkpoint = None;
        self.next_number = self.next_number.max(reference.number.saturating_add(1));
    }
}
