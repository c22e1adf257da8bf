//! Putting root and keys of a new repository where another may be made at the same moment.

use std::time::Duration;

use bytes::Bytes;
use dolmen_format::{ObjectKey, RepositoryId, Timestamp};
use dolmen_store::ObjectRef;

use super::list_keys;
use crate::error::{Error, Result};
use crate::objects::{Listed, Objects, store_key};

/// How often the first of several roots looks whether the others are taken back.
const LOOKS_MAX: usize = 40;
/// What passes between two looks: another client takes its root back within a few of them.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 50 });

/// Puts all of it, or leaves nothing of it where the store lets go of it. What it keeps is hidden where another repository
/// is there; else it is the beginning of one, or all of it.
pub(super) fn put(
    objects: &Objects,
    id: RepositoryId,
    standing: &[(ObjectKey, Bytes)],
) -> Result<()> {
    let put = standing
        .iter()
        .try_for_each(|(key, body)| objects.put(key, body.clone()).map(drop))
        .and_then(|()| settle(objects, id));
    // The root first: one without keys would block the address.
    put.map_err(|failed| {
        let standing = standing.iter().rev();
        let stay: Vec<_> = standing
            .filter(|(key, _)| !take_back(objects, key))
            .collect();
        let Error::RepositoryExists { address, .. } = failed else {
            return failed;
        };
        for (key, _) in &stay {
            hide(objects, key);
        }
        let stays = stay.len();
        Error::RepositoryExists { address, stays }
    })
}

/// Comes back when this root is the only one; fails when another one has precedence.
///
/// Both clients put before they list, so that one of them at least sees the other. The times of the roots decide which
/// of two stays, but not whether the other client saw this one: it may have listed before this root was visible, and be
/// done. So the first one, too, is only done when the others are gone, or hidden where locks keep them.
fn settle(objects: &Objects, id: RepositoryId) -> Result<()> {
    for look in 0..LOOKS_MAX {
        let roots = list_keys(objects, "root/")?;
        let (mine, others): (Vec<_>, Vec<_>) = roots
            .iter()
            .filter(|root| root.key == ObjectKey::Root(id) || !root.is_hidden)
            .map(precedence)
            .partition(|(_, key)| *key == ObjectKey::Root(id));
        let Some(first_other) = others.iter().min() else {
            return Ok(());
        };
        if mine.first().is_none_or(|mine| first_other < mine) {
            break;
        }
        if look.saturating_add(1) < LOOKS_MAX {
            // Made inside: a timer belongs to the runtime that drives it.
            objects.block_on(async { tokio::time::sleep(PAUSE).await });
        }
    }
    let address = objects.address().to_owned();
    Err(Error::RepositoryExists { address, stays: 0 })
}

fn precedence(root: &Listed) -> (Timestamp, ObjectKey) {
    let received = root.copies.first().map(|copy| copy.stored_at);
    (received.unwrap_or_default(), root.key)
}

/// Deletes what this client put a moment ago; whether it is gone.
fn take_back(objects: &Objects, key: &ObjectKey) -> bool {
    let (Ok(name), Ok(listed)) = (store_key(key), list_keys(objects, &key.to_string())) else {
        return false;
    };
    // Why the put failed is what the user is told.
    let mut copies = listed.into_iter().flat_map(|object| object.copies);
    copies.all(|copy| {
        let object = ObjectRef {
            key: name.clone(),
            version: copy.version,
        };
        let deleted = objects.block_on(objects.store().delete_version(&object));
        deleted.is_ok()
    })
}

/// Hides what a lock keeps, as far as this client may.
fn hide(objects: &Objects, key: &ObjectKey) {
    if let Ok(name) = store_key(key) {
        let _hidden = objects.block_on(objects.store().hide(&name));
    }
}

#[cfg(test)]
mod tests;
