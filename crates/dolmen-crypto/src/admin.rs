//! The admin secret, from which every other secret of a repository derives (§3.4).

use dolmen_format::root::{Epoch, Root};
use dolmen_format::{DomainId, Salt};

use crate::domain::DomainKeys;
use crate::error::CryptoError;
use crate::seal::OpenKey;
use crate::secret::Secret;
use crate::sign::SigningKey;

/// The one secret that a recovery needs.
#[derive(Debug, Clone)]
pub struct AdminSecret(Secret);

impl AdminSecret {
    /// Takes 32 random bytes, or those that a bundle held.
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The bytes, for a bundle or a recovery kit.
    pub const fn secret(&self) -> &Secret {
        &self.0
    }

    /// The admin's signing key.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::new(&self.0.derive("dolmen v1 admin signing key", &[]))
    }

    /// Opens what is sealed to the read key of an epoch.
    pub fn read_key(&self, epoch: &Salt) -> OpenKey {
        OpenKey::new(&self.0.derive("dolmen v1 read key", epoch.as_bytes()))
    }

    /// Opens what is sealed to the maintain key of an epoch.
    pub fn maintain_key(&self, epoch: &Salt) -> OpenKey {
        OpenKey::new(&self.0.derive("dolmen v1 maintain key", epoch.as_bytes()))
    }

    /// The keys of a dedup domain.
    pub fn domain(&self, domain: &DomainId) -> DomainKeys {
        DomainKeys::new(
            *domain,
            &self.0.derive("dolmen v1 domain", domain.as_bytes()),
        )
    }

    /// The epoch of public keys that belongs to a salt.
    pub fn epoch(&self, salt: Salt) -> Epoch {
        Epoch {
            salt,
            read_public: self.read_key(&salt).public().to_bytes(),
            maintain_public: self.maintain_key(&salt).public().to_bytes(),
        }
    }

    /// Checks that this secret made a root's keys.
    pub fn matches(&self, root: &Root) -> Result<(), CryptoError> {
        let same = self.signing_key().verify_key().to_bytes() == root.verify_key
            && self.epoch(root.epoch.salt) == root.epoch;
        if same {
            Ok(())
        } else {
            Err(CryptoError::PublicKey)
        }
    }
}
