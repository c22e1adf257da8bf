//! What the store lost and this machine has the bytes of.

use bytes::Bytes;
use dolmen_format::ledger::{Fact, Receipt};
use dolmen_format::{ObjectId, ObjectKey, Timestamp};
use dolmen_state::state::{Instance, Sightings};
use dolmen_store::StoreErrorKind;

use super::Report;
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, reason};
use crate::ledger;
use crate::recall;
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

/// Puts back snapshots, checkpoints and ledger records that live, that the store holds no longer or damaged, and that
/// this machine remembers. First it says when they were received: the store would tell of today. `list` has what is
/// remembered in it; without an instance it is only counted.
///
/// Cost: one put for each object and one more for all of them; none where nothing is lost.
pub fn put_remembered(
    repository: &Repository,
    list: &SnapshotList,
    sightings: &Sightings,
    instance: Option<&mut Instance>,
    observer: &dyn Observer,
) -> Result<Report> {
    let mut report = Report::default();
    let bodies = lost(repository, list, sightings);
    let Some(instance) = instance.filter(|_| !bodies.is_empty()) else {
        report.healed = u64::try_from(bodies.len()).unwrap_or(u64::MAX);
        return Ok(report);
    };
    let receipts = bodies.iter().map(|(key, received, _)| Receipt {
        object: key.id(),
        received: *received,
    });
    let receipts = list.receipts.unsaid(receipts);
    if !receipts.is_empty() {
        ledger::write(repository, instance, Fact::Witness { receipts })?;
    }
    for (key, _, body) in bodies {
        let objects = &repository.objects;
        match objects.block_on(objects.put_on_top(&key, &body)) {
            Ok(_) => {
                observer.notice(&format!("put {key} back from this machine's memory"));
                report.healed = report.healed.saturating_add(1);
            }
            Err(Error::Store(error)) if error.kind != StoreErrorKind::Unavailable => {
                observer.finding(&Finding::new(key.to_string(), reason(&error)));
                report.refuse(error.kind);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// What is remembered whole and should be there, with when it was received.
fn lost(
    repository: &Repository,
    list: &SnapshotList,
    sightings: &Sightings,
) -> Vec<(ObjectKey, Timestamp, Bytes)> {
    let alive = recall::alive(repository, list).into_iter();
    let bytes = alive.filter_map(|key| {
        let seen = sightings.get(&key.to_string())?;
        let body = Bytes::from(seen.body.clone());
        (ObjectId::of(&body) == key.id()).then_some((key, seen.stored_at, body))
    });
    bytes.collect()
}
