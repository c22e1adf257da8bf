//! The ledger: every record verified, and what the retirements say.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::ledger::{Fact, Record};
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind};

use super::is_fatal;
use super::sink::Sink;
use crate::error::Result;
use crate::finding::chain;
use crate::objects::FetchError;
use crate::repository::Repository;

/// What the ledger says, as far as a check needs it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Which numbers its records use.
    pub(super) stamps: Vec<(Stamp, ObjectId)>,
    /// Snapshots whose lives have ended.
    pub(super) retired: BTreeMap<ObjectId, Reference>,
}

/// Verifies every record.
///
/// Cost: a listing and one request for each record.
pub(super) fn check(repository: &Repository, sink: &Sink<'_>) -> Result<Ledger> {
    let mut keys = Vec::new();
    let foreign = repository.objects.list("ledger/", |object| {
        keys.push((object.key, ObjectKind::Ledger));
    })?;
    for name in foreign {
        sink.finding(name, "not an object of this repository");
    }
    let (mut records, mut failed) = (BTreeMap::new(), None);
    repository
        .objects
        .fetch_all(&keys, |key, fetched| match fetched {
            Ok(stored) => match verify(repository, &key, &stored) {
                Ok(record) => {
                    records.insert(key.id(), record);
                }
                Err(problem) => sink.finding(key, problem),
            },
            Err(FetchError::Store(error)) if is_fatal(&error) => failed = Some(error),
            Err(error) => sink.finding(key, chain(&error)),
        });
    if let Some(error) = failed {
        return Err(error.into());
    }
    if !records
        .values()
        .any(|record| matches!(record.fact, Fact::Policy(_)))
    {
        sink.finding("ledger/", "no policy is there");
    }
    Ok(fold(&records))
}

fn verify(
    repository: &Repository,
    key: &ObjectKey,
    stored: &[u8],
) -> std::result::Result<Record, String> {
    let signer = key
        .writer()
        .ok_or_else(|| "not under a signer's name".to_owned())?;
    let verify = repository
        .verify_key_of(signer)
        .ok_or_else(|| "not signed by a known signer".to_owned())?;
    let (record, _) = verify
        .verify::<Record>(&repository.id(), stored)
        .map_err(|error| chain(&error))?;
    if record.stamp.writer != signer {
        return Err("signed for another signer".to_owned());
    }
    match record.certificate {
        Some(id)
            if !repository
                .certificates()
                .iter()
                .any(|(known, _)| *known == id) =>
        {
            Err(format!("its signer's certificate keys/{id} is missing"))
        }
        Some(_) | None => Ok(record),
    }
}

/// A snapshot is retired while some retirement names it that no undo takes back for it.
fn fold(records: &BTreeMap<ObjectId, Record>) -> Ledger {
    let mut undone = BTreeSet::new();
    for record in records.values() {
        if let Fact::Undo {
            retirement,
            snapshots,
        } = &record.fact
        {
            undone.extend(
                snapshots
                    .iter()
                    .map(|snapshot| (retirement.digest, snapshot.digest)),
            );
        }
    }
    let mut ledger = Ledger::default();
    for (id, record) in records {
        ledger.stamps.push((record.stamp, *id));
        if let Fact::Retirement { snapshots, .. } = &record.fact {
            let ended = snapshots
                .iter()
                .filter(|named| !undone.contains(&(*id, named.digest)));
            ledger
                .retired
                .extend(ended.map(|named| (named.digest, *named)));
        }
    }
    ledger
}
