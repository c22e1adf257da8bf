//! What does not verify: damage, or junk that anybody who may write can leave.

use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::{ObjectKey, ObjectKind};
use dolmen_store::{ByteRange, StoreErrorKind};

use crate::error::Result;
use crate::finding::{Finding, Nature};
use crate::objects::kind_of;
use crate::repository::Repository;

/// Tells one from the other.
pub(crate) struct Strays<'a> {
    repository: &'a Repository,
    is_needed: Box<dyn Fn(&ObjectKey) -> bool + 'a>,
}

impl<'a> Strays<'a> {
    /// What others name, as lying there, and what is nowhere whole, `is_needed`.
    pub(crate) fn new(
        repository: &'a Repository,
        is_needed: impl Fn(&ObjectKey) -> bool + 'a,
    ) -> Self {
        Self {
            repository,
            is_needed: Box::new(is_needed),
        }
    }

    /// Whether a finding is about what never was of use.
    ///
    /// Cost: on a store without versions one request where the bytes under a known signer's name are not what it says and
    /// nothing names them; else none.
    pub(crate) fn is_junk(&self, finding: &Finding) -> Result<bool> {
        let Ok(key) = finding.subject.parse::<ObjectKey>() else {
            return Ok(finding.nature == Nature::Foreign);
        };
        if (self.is_needed)(&key) {
            return Ok(false);
        }
        match finding.nature {
            Nature::Foreign => Ok(true),
            Nature::Altered => Ok(!self.may_have_rotted(&key)?),
            Nature::Damage | Nature::Unknown | Nature::Unreadable => Ok(false),
        }
    }

    /// Whether what is not what its name says may be what a known signer stored, and has rotted since: it bears that one's
    /// name and begins as its like do. The newest object of another machine is named by nothing else. Where there are
    /// versions, no put takes away the one that was good: it would be there.
    fn may_have_rotted(&self, key: &ObjectKey) -> Result<bool> {
        let is_known = |writer| self.repository.verify_key_of(writer).is_some();
        let objects = &self.repository.objects;
        if objects.store().capabilities().versions || !key.writer().is_none_or(is_known) {
            return Ok(false);
        }
        let prologue = ByteRange::FromTo {
            offset: 0,
            len: u64::try_from(PROLOGUE_BYTES).unwrap_or(u64::MAX),
        };
        match objects.read(key, prologue) {
            Ok(stored) => Ok(kind_of(&stored).is_ok_and(|kind| belongs(key, kind))),
            Err(error) if error.kind == StoreErrorKind::Unavailable => Err(error.into()),
            Err(error) => Ok(!matches!(
                error.kind,
                StoreErrorKind::ShortRead | StoreErrorKind::NotFound
            )),
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
