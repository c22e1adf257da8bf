//! The ledger: signed facts about the repository, verified, and what they say together.

mod fold;

use std::collections::BTreeMap;

use bytes::Bytes;
use dolmen_format::certificate::{RIGHT_ATTEST, Role};
use dolmen_format::ledger::{Fact, Record};
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, Timestamp};
use dolmen_state::state::{Instance, JournalEntry, Sighting, Signed};
use dolmen_store::{StoreError, StoreErrorKind};

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings};
use crate::objects::{FetchError, Listed, Source};
use crate::recall::{Recall, Recalled};
use crate::repository::Repository;
use crate::verify::{self, Refusal};

pub use fold::{
    ByMaintenance, Facts, Known, Origin, PolicyRecord, Probes, Receipts, Retired, fold, receipts,
};

/// Where records lie.
const PREFIX: &str = "ledger/";

/// All records that verify, and what does not.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// By their ids.
    pub records: BTreeMap<ObjectId, Entry>,
    /// What does not verify.
    pub findings: Findings,
    /// What this client remembers and the store does not give.
    pub recalled: Recalled,
}

/// A verified record.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What was signed.
    pub record: Record,
    /// What its signer may do.
    pub signer: Signer,
    /// When the store received it, by the store's clock: the time from which leases are counted.
    pub stored_at: Timestamp,
    /// When it was received, as it is shown: what a witness tells of, else see [`crate::Objects::received`].
    pub received: Timestamp,
}

/// What a signer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer {
    /// Its role.
    pub role: Role,
    /// Whether it may attest packs.
    pub may_attest: bool,
}

impl Signer {
    /// The admin itself.
    pub const ADMIN: Self = Self {
        role: Role::Admin,
        may_attest: true,
    };

    /// Whether a fact may come from this signer.
    pub const fn may_state(self, fact: &Fact) -> bool {
        match fact {
            // Maintenance retires under the admin's policy alone, lets nothing suspicious count, and says of no store that
            // it keeps its word.
            Fact::Policy(_)
            | Fact::Probe(_)
            | Fact::Revocation { .. }
            | Fact::Acceptance { .. }
            | Fact::Retirement { policy: None, .. } => matches!(self.role, Role::Admin),
            // A backup key that could witness would date its own snapshots before its theft.
            Fact::Retirement { .. }
            | Fact::Undo { .. }
            | Fact::Moves { .. }
            | Fact::Witness { .. } => matches!(self.role, Role::Admin | Role::Maintain),
            Fact::Attestation { .. } => self.may_attest,
        }
    }
}

impl Ledger {
    /// Reads every record.
    ///
    /// Cost: one listing and one request for each record that this client keeps no copy of.
    pub fn load(repository: &Repository, source: Source) -> Result<Self> {
        Self::load_recalling(repository, source, Recall::Nothing)
    }

    /// As [`Self::load`], with what this client remembers of it.
    pub(crate) fn load_recalling(
        repository: &Repository,
        source: Source,
        recall: Recall<'_>,
    ) -> Result<Self> {
        let mut ledger = Self::default();
        let (objects, mut listed) = (&repository.objects, Vec::new());
        let foreign = recall.list(objects, PREFIX, &mut ledger.recalled, |object| {
            listed.push(object);
        })?;
        for name in foreign {
            let finding = Finding::foreign(name);
            ledger.findings.push(finding);
        }
        let (kind, mut outage) = (ObjectKind::Ledger, None);
        objects.fetch_small(&listed, kind, source, |object, fetched| {
            let key = &object.key;
            let verified = match fetched {
                // A store that does not answer is no damage.
                Err(FetchError::Store(error)) if is_outage(&error) && !recall.has_body(key) => {
                    outage = Some(error);
                    return;
                }
                Err(error) => Err(Finding::unusable(key.to_string(), &error)),
                Ok(found) => verify(repository, key, &found.body, found.copy.stored_at)
                    .map_err(|refusal| Finding::refused(key.to_string(), refusal)),
            };
            match verified {
                Ok(entry) => {
                    ledger.records.insert(key.id(), entry);
                }
                Err(finding) => ledger.findings.push(finding),
            }
        });
        ledger.recall(repository, recall, &listed);
        ledger.findings.sort();
        outage.map_or(Ok(ledger), |error| Err(error.into()))
    }

    fn recall(&mut self, repository: &Repository, recall: Recall<'_>, listed: &[Listed]) {
        let (mut found, given) = (Vec::new(), &self.records);
        let is_given = |id: &ObjectId| given.contains_key(id);
        recall.missing(PREFIX, listed, &mut self.recalled, is_given, |key, seen| {
            if let Ok(entry) = verify(repository, key, &seen.body, seen.stored_at) {
                found.push((key.id(), entry));
            }
        });
        self.records.extend(found);
    }

    /// Dates records as witnesses tell, but no retirement: its own signer could date it back, and a look at an earlier time
    /// would not find what it ended since.
    pub(crate) fn date(&mut self, receipts: &Receipts) {
        for (id, entry) in &mut self.records {
            if matches!(entry.record.fact, Fact::Retirement { .. }) {
                continue;
            }
            entry.received = receipts.received(id, entry.record.time, entry.received);
        }
    }
}

fn is_outage(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::Unavailable
}

fn verify(
    repository: &Repository,
    key: &ObjectKey,
    body: &[u8],
    stored_at: Timestamp,
) -> std::result::Result<Entry, Refusal> {
    let (record, _) = verify::verify(repository, key, body, |record: &Record| record.stamp.writer)?;
    let signer = signer_of(repository, &record)?;
    if !signer.may_state(&record.fact) {
        return Err(Refusal::foreign(
            "its signer may not state this: it counts for nothing",
        ));
    }
    Ok(Entry {
        received: repository.objects.received(stored_at, record.time),
        stored_at,
        signer,
        record,
    })
}

fn signer_of(repository: &Repository, record: &Record) -> std::result::Result<Signer, Refusal> {
    let (Some(id), Some(certificate)) = (
        record.certificate,
        repository.certificate_of(record.certificate)?,
    ) else {
        let is_admin = record.stamp.writer == repository.admin_id();
        return is_admin
            .then_some(Signer::ADMIN)
            .ok_or_else(|| Refusal::foreign("names no certificate"));
    };
    // Else any key could name the certificate of one that may do more.
    let mut own = repository.roles_of(record.stamp.writer);
    if !own.any(|(_, named)| named == Some(id)) {
        let problem = format!("keys/{id} is another signer's certificate");
        return Err(Refusal::Foreign(problem));
    }
    Ok(Signer {
        role: certificate.role,
        may_attest: certificate.role == Role::Admin || certificate.rights & RIGHT_ATTEST != 0,
    })
}

/// Names a record in others.
pub(crate) const fn reference(stamp: &Stamp, digest: ObjectId) -> Reference {
    Reference {
        writer: stamp.writer,
        instance: stamp.instance,
        number: stamp.number,
        digest,
    }
}

/// Signs a fact under this client's next number and puts it. The journal names it before it is put, so that a run that
/// dies in between does not use the number twice. Once it is put, the instance remembers it with its bytes: nothing that
/// follows would tell that the newest is gone.
///
/// Cost: one put.
pub fn write(repository: &Repository, instance: &mut Instance, fact: Fact) -> Result<Reference> {
    let mut state = instance.record().clone();
    let record = Record {
        stamp: Stamp {
            writer: repository.writer(),
            instance: instance.id(),
            number: state.next_number,
        },
        time: repository.environment.clock.now(),
        nonce: repository.environment.nonce(),
        certificate: None,
        fact,
    };
    let signed = repository.signing_key().sign(&repository.id(), &record);
    let (stored, id) = signed.map_err(Error::encode("a ledger record"))?;
    let key = ObjectKey::Ledger(repository.writer(), id);
    instance.journal_append(&JournalEntry::Put {
        key: key.to_string(),
    })?;
    let stored = Bytes::from(stored);
    let receipt = repository.objects.put(&key, stored.clone())?;
    let reference = reference(&record.stamp, id);
    state.next_number = state.next_number.saturating_add(1);
    state.note_signed(Signed {
        reference,
        sighting: Some(Sighting {
            stored_at: receipt.stored_at.earliest,
            body: stored.to_vec(),
        }),
    });
    instance.save(state)?;
    Ok(reference)
}
