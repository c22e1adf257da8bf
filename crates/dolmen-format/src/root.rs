//! The root: what a repository is (§3.1).

use minicbor::{Decode, Encode};

use crate::error::FormatError;
use crate::ids::{DomainId, Salt};
use crate::ledger::Policy;
use crate::limits::SEAL_PUBLIC_BYTES;
use crate::prologue::ObjectKind;
use crate::signed::SignedBody;
use crate::time::Timestamp;

/// The only suite: X-Wing, HKDF-SHA256, AES-256-GCM, Ed25519, BLAKE3, zstd, and this page's rules.
pub const SUITE: u16 = 1;

/// A repository's descriptor. Its id is the repository id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Root {
    /// When the repository was made, by its maker's clock.
    #[n(0)]
    pub created: Timestamp,
    /// Makes two repositories of one admin differ.
    #[n(1)]
    pub nonce: Salt,
    /// [`SUITE`].
    #[n(2)]
    pub suite: u16,
    /// The admin's Ed25519 verify key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub verify_key: [u8; 32],
    /// The keys that everything is sealed to at first.
    #[n(4)]
    pub epoch: Epoch,
    /// The admin's own dedup domain.
    #[n(5)]
    pub domain: DomainId,
    /// How the repository is kept until another policy supersedes this one. It lies here, where nobody can put a
    /// second one beside it.
    #[n(6)]
    pub policy: Policy,
}

/// A pair of seals: what is readable with the read key and what with the maintain key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Epoch {
    /// From which, with the admin secret, the secret keys derive.
    #[n(0)]
    pub salt: Salt,
    /// X-Wing public key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub read_public: Vec<u8>,
    /// X-Wing public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub maintain_public: Vec<u8>,
}

impl SignedBody for Root {
    const KIND: ObjectKind = ObjectKind::Root;

    fn validate(&self) -> Result<(), FormatError> {
        if self.suite != SUITE {
            return Err(FormatError::Unknown {
                field: "suite",
                found: u64::from(self.suite),
            });
        }
        if self.epoch.read_public.len() != SEAL_PUBLIC_BYTES
            || self.epoch.maintain_public.len() != SEAL_PUBLIC_BYTES
        {
            return Err(FormatError::Invalid { field: "epoch" });
        }
        if self.policy.previous.is_some() {
            return Err(FormatError::Invalid { field: "policy" });
        }
        self.policy.validate()
    }
}
