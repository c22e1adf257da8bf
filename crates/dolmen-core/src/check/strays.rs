//! What does not verify: damage, or junk that anybody who may write can leave.

use std::collections::BTreeSet;

use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind};
use dolmen_store::{ByteRange, StoreErrorKind};

use super::is_fatal;
use super::sink::Sink;
use crate::error::Result;
use crate::finding::{Finding, Nature};
use crate::objects::{FetchError, kind_of};
use crate::repository::Repository;

/// Tells one from the other.
pub(super) struct Strays<'a> {
    repository: &'a Repository,
    needed: BTreeSet<ObjectId>,
}

impl<'a> Strays<'a> {
    /// `needed` is what others name and what is not there whole, or may not be.
    pub(super) const fn new(repository: &'a Repository, needed: BTreeSet<ObjectId>) -> Self {
        Self { repository, needed }
    }

    /// Passes findings on, except that junk is only mentioned. Returns the ids of what is not junk and does not verify.
    ///
    /// Cost: at most two requests for each object that does not verify and that nothing names.
    pub(super) fn judge(
        &self,
        findings: &[Finding],
        sink: &Sink<'_>,
    ) -> Result<BTreeSet<ObjectId>> {
        let mut damaged = BTreeSet::new();
        for finding in findings {
            if self.is_junk(finding)? {
                sink.junk(finding);
                continue;
            }
            damaged.extend(finding.subject.parse().map(|key: ObjectKey| key.id()));
            sink.add(finding);
        }
        Ok(damaged)
    }

    fn is_junk(&self, finding: &Finding) -> Result<bool> {
        if !matches!(finding.nature, Nature::Unverified | Nature::Foreign) {
            return Ok(false);
        }
        let Ok(key) = finding.subject.parse::<ObjectKey>() else {
            return Ok(true);
        };
        if self.needed.contains(&key.id()) {
            return Ok(false);
        }
        Ok(finding.nature == Nature::Foreign || !self.may_be_ours(&key)?)
    }

    /// Whether it may be what a known signer stored, and has rotted since: it bears that one's name, begins as its like do,
    /// and its bytes are not what they were. The newest object of another machine is named by nothing else.
    fn may_be_ours(&self, key: &ObjectKey) -> Result<bool> {
        let is_known = |writer| self.repository.verify_key_of(writer).is_some();
        if !key.writer().is_none_or(is_known) {
            return Ok(false);
        }
        let prologue = ByteRange::FromTo {
            offset: 0,
            len: u64::try_from(PROLOGUE_BYTES).unwrap_or(u64::MAX),
        };
        match self.repository.objects.read(key, prologue) {
            Ok(stored) => match kind_of(&stored) {
                Ok(kind) if belongs(key, kind) => self.has_rotted(key, kind),
                Ok(_) | Err(_) => Ok(false),
            },
            Err(error) if is_fatal(&error) => Err(error.into()),
            Err(error) => Ok(!matches!(
                error.kind,
                StoreErrorKind::ShortRead | StoreErrorKind::NotFound
            )),
        }
    }

    /// Whether its bytes are other ones than its name says: what is whole, and signed by nobody known, was planted so.
    fn has_rotted(&self, key: &ObjectKey, kind: ObjectKind) -> Result<bool> {
        match self.repository.objects.fetch(key, kind) {
            Ok(_) => Ok(false),
            Err(FetchError::Store(error)) if is_fatal(&error) => Err(error.into()),
            Err(FetchError::Altered | FetchError::Store(_)) => Ok(true),
        }
    }
}

/// Whether an object of this kind may lie there.
const fn belongs(key: &ObjectKey, kind: ObjectKind) -> bool {
    match key {
        ObjectKey::Root(_) => matches!(kind, ObjectKind::Root),
        ObjectKey::Key(_) => matches!(kind, ObjectKind::Certificate | ObjectKind::Bundle),
        ObjectKey::Pack(..) => matches!(kind, ObjectKind::Pack),
        ObjectKey::Index(..) => matches!(kind, ObjectKind::Index),
        ObjectKey::Snapshot(..) => matches!(kind, ObjectKind::Snapshot),
        ObjectKey::Ledger(..) => matches!(kind, ObjectKind::Ledger),
        ObjectKey::Canary(_) => false,
    }
}
