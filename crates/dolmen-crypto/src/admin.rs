//! The admin secret, from which every other secret of a repository derives (§3.4).

use dolmen_format::root::{Epoch, Root};
use dolmen_format::{DomainId, RepositoryId, Salt, SealedBox};

use crate::domain::DomainKeys;
use crate::error::CryptoError;
use crate::role::RoleSecrets;
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
        OpenKey::new(&self.read_secret(epoch))
    }

    /// Opens what is sealed to the maintain key of an epoch.
    pub fn maintain_key(&self, epoch: &Salt) -> OpenKey {
        OpenKey::new(&self.maintain_secret(epoch))
    }

    /// The keys of a dedup domain.
    pub fn domain(&self, domain: &DomainId) -> DomainKeys {
        DomainKeys::new(*domain, &self.domain_secret(domain))
    }

    fn read_secret(&self, epoch: &Salt) -> Secret {
        self.0.derive("dolmen v1 read key", epoch.as_bytes())
    }

    fn maintain_secret(&self, epoch: &Salt) -> Secret {
        self.0.derive("dolmen v1 maintain key", epoch.as_bytes())
    }

    fn domain_secret(&self, domain: &DomainId) -> Secret {
        self.0.derive("dolmen v1 domain", domain.as_bytes())
    }

    /// What a key file of the admin's own holds.
    pub fn for_admin(&self) -> RoleSecrets {
        RoleSecrets::Admin(self.0.clone())
    }

    /// What a key holds that adds backups to a domain.
    pub fn for_backup(&self, signing: Secret, domain: DomainId) -> RoleSecrets {
        RoleSecrets::Backup {
            signing,
            domain: (domain, self.domain_secret(&domain)),
        }
    }

    /// What a key holds that keeps and lets go.
    pub fn for_maintain(&self, signing: Secret, epoch: &Salt) -> RoleSecrets {
        RoleSecrets::Maintain {
            signing,
            maintain: self.maintain_secret(epoch),
        }
    }

    /// What a key holds that reads.
    pub fn for_restore(&self, signing: Secret, root: &Root) -> RoleSecrets {
        let epoch = &root.epoch.salt;
        RoleSecrets::Restore {
            signing,
            read: self.read_secret(epoch),
            maintain: self.maintain_secret(epoch),
            domain: (root.domain, self.domain_secret(&root.domain)),
        }
    }

    /// A domain's secret for a certificate: sealed to the read key, so that only readers open it. `random` is used for
    /// nothing else.
    pub fn seal_domain(
        &self,
        repository: &RepositoryId,
        root: &Root,
        domain: &DomainId,
        random: &Secret,
    ) -> Result<SealedBox, CryptoError> {
        let secret = self.domain_secret(domain);
        let read = self.read_key(&root.epoch.salt);
        read.public().seal(
            random,
            DOMAIN_INFO,
            &domain_aad(repository, domain),
            secret.expose(),
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

/// What the box of a domain's secret is bound to.
const DOMAIN_INFO: &[u8] = b"dolmen v1 domain secret";

fn domain_aad(repository: &RepositoryId, domain: &DomainId) -> Vec<u8> {
    [repository.as_bytes().as_slice(), domain.as_bytes()].concat()
}

/// Opens a domain's secret that stands in a certificate.
pub fn open_domain(
    repository: &RepositoryId,
    read: &OpenKey,
    domain: &DomainId,
    sealed: &SealedBox,
) -> Result<DomainKeys, CryptoError> {
    let plain = read.open(sealed, DOMAIN_INFO, &domain_aad(repository, domain))?;
    let bytes = <[u8; 32]>::try_from(plain.as_slice());
    let bytes = bytes.map_err(|_error| CryptoError::Decrypt { what: "domain" })?;
    Ok(DomainKeys::new(*domain, &Secret::new(bytes)))
}
