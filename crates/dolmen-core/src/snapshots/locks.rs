//! Until when snapshots are protected, as far as that is known without asking for each of their objects.

use dolmen_format::Timestamp;
use dolmen_store::{LockStatus, StoreErrorKind};
use futures_util::TryStreamExt as _;

use super::{SnapshotEntry, SnapshotList, store_digest};
use crate::error::Result;
use crate::lives;
use crate::own;
use crate::repository::Repository;

/// Locks that are asked for at the same time.
const LOCKS_AT_ONCE: usize = 16;

/// Until when everything that a snapshot needs is locked: the earliest lock that its writer read before it signed, or the
/// snapshot's own, as the store states it now or, where its listings do not, stated it to this client before
/// ([`ask_for_locks`]), if that ends sooner. `None`: it was made in another store, this one states no lock, or that time is
/// over; a renewal may have made all of it longer since, which [`crate::status`] sees. In governance mode who may bypass
/// locks can have made them shorter.
///
/// Cost: nothing.
pub fn protected_until(
    repository: &Repository,
    entry: &SnapshotEntry,
    now: Timestamp,
) -> Option<Timestamp> {
    let relied = relied_until(repository, entry, now)?;
    let until = own_lock(repository, entry).retention()?.until.min(relied);
    (until > now).then_some(until)
}

/// Asks for those locks of snapshots that [`protected_until`] takes and that neither the listing states nor the store stated
/// to this client before. What these credentials may not ask for stays unknown.
///
/// Cost: nothing where the policy promises no locks, or all of them are known; else one request for the time, and one for
/// each snapshot whose writer's promise lasts still, once for each client.
pub fn ask_for_locks(
    repository: &Repository,
    list: &SnapshotList,
    entries: &[&SnapshotEntry],
    now: Timestamp,
) -> Result<()> {
    let unknown = entries.iter().filter(|entry| {
        relied_until(repository, entry, now).is_some()
            && own_lock(repository, entry) == LockStatus::Unknown
    });
    let unknown = unknown.filter_map(|entry| Some((entry.key(), entry.version.clone()?)));
    let unknown: Vec<_> = unknown.collect();
    if unknown.is_empty() || !lives::locks_what_lives(repository, &list.facts, now) {
        return Ok(());
    }
    own::lock_by_policy(repository, list)?;
    let objects = &repository.objects;
    let Some(locking) = objects.locking() else {
        return Ok(());
    };
    let locking = &locking;
    objects.block_on(async {
        futures_util::stream::iter(unknown.into_iter().map(Ok))
            .try_for_each_concurrent(LOCKS_AT_ONCE, |(key, version)| async move {
                match objects.ask_for_lock(&key, &version, locking).await {
                    Err(error) if error.kind == StoreErrorKind::Unavailable => Err(error.into()),
                    Ok(_) | Err(_) => Ok(()),
                }
            })
            .await
    })
}

/// The earliest lock that its writer read here before it signed, as long as that lasts.
fn relied_until(
    repository: &Repository,
    entry: &SnapshotEntry,
    now: Timestamp,
) -> Option<Timestamp> {
    let snapshot = &entry.snapshot;
    let is_made_here = snapshot.store == store_digest(repository);
    let relied = Timestamp::from_seconds(snapshot.relied_until?);
    (is_made_here && relied > now).then_some(relied)
}

/// The lock of the snapshot itself.
fn own_lock(repository: &Repository, entry: &SnapshotEntry) -> LockStatus {
    match entry.lock {
        LockStatus::Unknown => repository.objects.known_lock(&entry.key()),
        stated => stated,
    }
}
