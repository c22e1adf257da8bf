//! Certificates: what a key may do, said by the admin (§3.3).

use minicbor::{Decode, Encode};

use crate::error::FormatError;
use crate::ids::{DomainId, Nonce};
use crate::limits::KEY_NAME_BYTES_MAX;
use crate::prologue::ObjectKind;
use crate::seal::SealedBox;
use crate::signed::{SignedBody, check_count};
use crate::time::Timestamp;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Everything.
    #[n(1)]
    Admin,
    /// Adds backups.
    #[n(2)]
    Backup,
    /// Renews, retires by policy, prunes.
    #[n(3)]
    Maintain,
    /// Reads.
    #[n(4)]
    Restore,
}

/// May sign attestations.
pub const RIGHT_ATTEST: u32 = 1;
/// Is used by several instances on purpose.
pub const RIGHT_SHARED: u32 = 2;

/// A key's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Certificate {
    /// What people call the key.
    #[n(0)]
    pub name: String,
    /// What it is for.
    #[n(1)]
    pub role: Role,
    /// Its Ed25519 verify key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub verify_key: [u8; 32],
    /// The dedup domain that a backup key writes into.
    #[n(3)]
    pub domain: Option<DomainId>,
    /// When it was made, by the admin's clock.
    #[n(4)]
    pub created: Timestamp,
    /// Bits: [`RIGHT_ATTEST`], [`RIGHT_SHARED`].
    #[n(5)]
    pub rights: u32,
    /// Random.
    #[n(6)]
    pub nonce: Nonce,
    /// The secret of the domain, sealed to the read key, so that those who read need not be told of each new machine;
    /// backup only.
    #[n(7)]
    pub domain_secret: Option<SealedBox>,
}

impl SignedBody for Certificate {
    const KIND: ObjectKind = ObjectKind::Certificate;

    fn validate(&self) -> Result<(), FormatError> {
        check_count("name", self.name.len(), KEY_NAME_BYTES_MAX)?;
        let unknown = self.rights & !(RIGHT_ATTEST | RIGHT_SHARED);
        if unknown != 0 {
            return Err(FormatError::Unknown {
                field: "rights",
                found: u64::from(unknown),
            });
        }
        if (self.role == Role::Backup) == self.domain.is_none() {
            return Err(FormatError::Invalid { field: "domain" });
        }
        match &self.domain_secret {
            Some(sealed) if self.role == Role::Backup => sealed.validate(),
            Some(_) => Err(FormatError::Invalid {
                field: "domain secret",
            }),
            None => Ok(()),
        }
    }
}
