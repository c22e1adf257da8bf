//! Taking trust from a key: what its signer wrote up to a moment stays, what came later counts for nothing.

use std::collections::BTreeMap;

use dolmen_format::ledger::{Cut, Fact};
use dolmen_format::signed::Reference;
use dolmen_format::{InstanceId, Timestamp, WriterId};
use dolmen_state::state::Instance;

use crate::error::{Error, Result};
use crate::ledger::{self, Ledger};
use crate::objects::Source;
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

/// What a revocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The signer.
    pub writer: WriterId,
    /// Snapshots of it that stay trusted.
    pub trusted: u64,
    /// Snapshots of it that are quarantined from now on.
    pub quarantined: u64,
}

/// The signer that a key's name is of.
pub fn find(repository: &Repository, name: &str) -> Result<WriterId> {
    let mut signers = repository.signers();
    let found = signers.find(|(_, certificate)| certificate.name == name);
    let unknown = || Error::NoKey {
        name: name.to_owned(),
    };
    found.map(|(writer, _)| writer).ok_or_else(unknown)
}

/// Signs that a key is not trusted beyond what the store received of it up to `since`, by the store's own times.
///
/// Cost: one put, and a listing.
pub fn revoke(
    repository: &Repository,
    instance: &mut Instance,
    list: &SnapshotList,
    name: &str,
    since: Timestamp,
) -> Result<Revoked> {
    let writer = find(repository, name)?;
    let mut newest: BTreeMap<InstanceId, (Reference, Rank)> = BTreeMap::new();
    let mut take = |reference: Reference, rank: Rank| {
        let known = newest
            .entry(reference.instance)
            .or_insert((reference, rank));
        if known.1 < rank {
            *known = (reference, rank);
        }
    };
    let (mut trusted, mut quarantined) = (0_u64, 0_u64);
    for entry in list.all() {
        let Reference {
            writer: signer,
            number,
            ..
        } = entry.snapshot.reference(entry.id);
        if signer != writer {
            continue;
        }
        let checkpoint = entry.snapshot.checkpoint;
        let is_before = entry.stored_at <= since;
        let count = if is_before {
            &mut trusted
        } else {
            &mut quarantined
        };
        *count = count.saturating_add(u64::from(checkpoint == 0));
        if is_before {
            // A snapshot comes after its own checkpoints.
            let rank = (number, checkpoint.wrapping_sub(1));
            take(entry.snapshot.reference(entry.id), rank);
        }
    }
    for (id, entry) in &Ledger::load(repository, Source::Copies)?.records {
        let stamp = &entry.record.stamp;
        if stamp.writer == writer && entry.stored_at <= since {
            take(ledger::reference(stamp, *id), (stamp.number, u32::MAX));
        }
    }
    let cuts = newest.into_iter().map(|(instance, (reference, _))| Cut {
        instance,
        number: reference.number,
        digest: reference.digest,
    });
    let cuts = cuts.collect();
    ledger::write(repository, instance, Fact::Revocation { writer, cuts })?;
    Ok(Revoked {
        writer,
        trusted,
        quarantined,
    })
}

/// What comes later in an instance ranks higher.
type Rank = (u64, u32);
