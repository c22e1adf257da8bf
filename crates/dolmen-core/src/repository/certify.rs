//! Keys for machines that do one thing: certificates, and what their files hold.

use bytes::Bytes;
use dolmen_crypto::{RoleSecrets, SigningKey};
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::keyfile::KeyFile;
use dolmen_format::{DomainId, ObjectKey, RepositoryId};

use super::Repository;
use crate::error::{Error, Result};

/// A key that is asked for.
#[derive(Debug, Clone)]
pub struct AskedKey {
    /// What people will call it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The name of the dedup domain of a backup key; `None`: one of its own.
    pub domain: Option<String>,
    /// Bits of [`Certificate::rights`].
    pub rights: u32,
    /// Where the repository lies, for the file.
    pub address: String,
}

/// The domain that a backup key is put into with this name: that of the admin's own backups.
pub const ADMIN_DOMAIN: &str = "admin";

impl Repository {
    /// Makes a key: signs and puts its certificate, and returns its file without the secrets, and the secrets. An admin's
    /// key has no certificate: its file holds the admin secret.
    ///
    /// Cost: one put; none for an admin's.
    pub fn add_key(&mut self, asked: AskedKey) -> Result<(KeyFile, RoleSecrets)> {
        let admin = self.keys.admin()?;
        let created = self.environment.clock.now();
        let mut file = KeyFile {
            repository: self.id,
            address: asked.address,
            name: asked.name,
            role: asked.role,
            certificate: None,
            created,
            wrapping: None,
            secrets: Vec::new(),
        };
        if asked.role == Role::Admin {
            return Ok((file, admin.for_admin()));
        }
        self.check_free(&file.name)?;
        let signing = self.environment.secret();
        let verify_key = SigningKey::new(&signing).verify_key().to_bytes();
        let domain = match asked.domain.as_deref() {
            Some(ADMIN_DOMAIN) => self.root.domain,
            Some(name) => named_domain(&self.id, name),
            None => DomainId(self.environment.bytes()),
        };
        let domain = (asked.role == Role::Backup).then_some(domain);
        let seal = |domain| {
            let random = self.environment.secret();
            admin.seal_domain(&self.id, &self.root, &domain, &random)
        };
        let sealed = domain.map(seal).transpose();
        let epoch = &self.root.epoch.salt;
        let secrets = match (asked.role, domain) {
            (Role::Backup, Some(domain)) => admin.for_backup(signing, domain),
            (Role::Restore, _) => admin.for_restore(signing, &self.root),
            _ => admin.for_maintain(signing, epoch),
        };
        let certificate = Certificate {
            name: file.name.clone(),
            role: asked.role,
            verify_key,
            domain,
            created,
            rights: asked.rights,
            nonce: self.environment.nonce(),
            domain_secret: sealed.map_err(Error::encode("the certificate"))?,
        };
        let signed = self.keys.signing().sign(&self.id, &certificate);
        let (stored, id) = signed.map_err(Error::encode("the certificate"))?;
        let stored = Bytes::from(stored);
        self.objects.put(&ObjectKey::Key(id), stored.clone())?;
        self.standing.push((ObjectKey::Key(id), stored));
        self.certificates.push((id, certificate));
        self.signers = super::signers_of(&self.certificates);
        file.certificate = Some(id);
        Ok((file, secrets))
    }

    /// Refuses a name that a key or passphrase has.
    pub(super) fn check_free(&self, name: &str) -> Result<()> {
        let mut certificates = self.certificates.iter();
        let is_taken = name == ADMIN_DOMAIN
            || certificates.any(|(_, known)| known.name == name)
            || self.passphrases().any(|known| known.name == Some(name));
        if is_taken {
            return Err(Error::KeyExists {
                name: name.to_owned(),
            });
        }
        Ok(())
    }
}

/// The domain of a name: keys that are given the same name share it.
fn named_domain(repository: &RepositoryId, name: &str) -> DomainId {
    let mut hasher = blake3::Hasher::new_derive_key("dolmen v1 domain name");
    hasher.update(repository.as_bytes()).update(name.as_bytes());
    let mut id = [0; DomainId::BYTES];
    hasher.finalize_xof().fill(&mut id);
    DomainId(id)
}
