//! What a client holds of a repository's keys: all of them, or those of one role.

use std::sync::atomic::{AtomicUsize, Ordering};

use dolmen_crypto::{
    AdminSecret, DomainKeys, OpenKey, RoleKeys, RoleSecrets, SealKey, SigningKey, admin,
};
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::root::Root;
use dolmen_format::{BlobId, BlobKind, DomainId, ObjectId, RepositoryId};

use crate::error::{Error, Result};

/// The keys of a client.
#[derive(Debug)]
pub struct Keys {
    role: Role,
    /// The certificate of the signing key; `None`: it is the admin's own.
    certificate: Option<ObjectId>,
    signing: SigningKey,
    admin: Option<AdminSecret>,
    read: Option<OpenKey>,
    maintain: Option<OpenKey>,
    read_public: SealKey,
    maintain_public: SealKey,
    domains: Domains,
    /// The domain into which this client writes.
    home: Option<DomainId>,
}

/// Dedup domains whose keys a client holds.
#[derive(Debug, Default)]
struct Domains {
    keys: Vec<DomainKeys>,
    /// Which of them knew the last blob: the next one mostly belongs to the same.
    last: AtomicUsize,
}

impl Keys {
    /// All of them.
    pub(crate) fn of_admin(
        admin: AdminSecret,
        root: &Root,
        certificates: &[(ObjectId, Certificate)],
    ) -> Self {
        let epoch = &root.epoch.salt;
        let (read, maintain) = (admin.read_key(epoch), admin.maintain_key(epoch));
        let certified = certificates.iter();
        let certified = certified.filter_map(|(_, certificate)| certificate.domain);
        let mut domains = Domains::default();
        for domain in [root.domain].into_iter().chain(certified) {
            domains.add(admin.domain(&domain));
        }
        Self {
            role: Role::Admin,
            certificate: None,
            signing: admin.signing_key(),
            read_public: read.public().clone(),
            maintain_public: maintain.public().clone(),
            read: Some(read),
            maintain: Some(maintain),
            admin: Some(admin),
            domains,
            home: Some(root.domain),
        }
    }

    /// Those of a key file. Fails where they are not the ones that the repository's certificate and root name.
    pub(crate) fn of_role(
        secrets: &RoleSecrets,
        certificate: Option<ObjectId>,
        (repository, root): (&RepositoryId, &Root),
        certificates: &[(ObjectId, Certificate)],
    ) -> Result<Self> {
        let Some(keys) = secrets.keys() else {
            let RoleSecrets::Admin(secret) = secrets else {
                return Err(Error::WrongKey);
            };
            let admin = AdminSecret::new(secret.clone());
            admin.matches(root).map_err(|_error| Error::WrongKey)?;
            return Ok(Self::of_admin(admin, root, certificates));
        };
        let RoleKeys {
            signing,
            read,
            maintain,
            domain,
        } = keys;
        let named = certificates.iter().find(|(id, _)| Some(*id) == certificate);
        let (_, own) = named.ok_or_else(|| Error::NoCertificate {
            certificate: certificate.map_or_else(String::new, |id| format!("keys/{id}")),
        })?;
        let own_domain = domain.as_ref().map(DomainKeys::id);
        let fits = own.verify_key == signing.verify_key().to_bytes()
            && own.role == secrets.role()
            && (own.role != Role::Backup || own.domain == own_domain);
        let public = |bytes: &[u8]| SealKey::from_bytes(bytes).map_err(|_error| Error::WrongKey);
        let read_public = public(&root.epoch.read_public)?;
        let maintain_public = public(&root.epoch.maintain_public)?;
        let is_of = |key: &Option<OpenKey>, public: &SealKey| {
            key.as_ref()
                .is_none_or(|key| key.public().id() == public.id())
        };
        if !fits || !is_of(&read, &read_public) || !is_of(&maintain, &maintain_public) {
            return Err(Error::WrongKey);
        }
        let mut domains = Domains::default();
        if let Some(known) = domain {
            domains.add(known);
        }
        if let Some(read) = &read {
            for (_, certificate) in certificates {
                let (Some(domain), Some(sealed)) =
                    (&certificate.domain, &certificate.domain_secret)
                else {
                    continue;
                };
                // What does not open is a domain that this client cannot read, and says so when it is asked to.
                if let Ok(opened) = admin::open_domain(repository, read, domain, sealed) {
                    domains.add(opened);
                }
            }
        }
        Ok(Self {
            role: secrets.role(),
            certificate,
            signing,
            admin: None,
            read,
            maintain,
            read_public,
            maintain_public,
            domains,
            home: own.domain,
        })
    }

    /// What this client may do.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The certificate that says so; `None` for the admin itself.
    pub const fn certificate(&self) -> Option<ObjectId> {
        self.certificate
    }

    /// Signs what this client writes.
    pub const fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The secret from which all others derive.
    pub fn admin(&self) -> Result<&AdminSecret> {
        let what = "change keys, policies or passphrases";
        self.admin.as_ref().ok_or_else(|| self.refuse(what))
    }

    /// Opens contents and names.
    pub fn read(&self) -> Result<&OpenKey> {
        self.read.as_ref().ok_or_else(|| self.refuse(READ))
    }

    /// Opens contents and names, where this client may.
    pub const fn read_if_any(&self) -> Option<&OpenKey> {
        self.read.as_ref()
    }

    /// Opens manifests.
    pub fn maintain(&self) -> Result<&OpenKey> {
        let what = "see what snapshots need";
        self.maintain.as_ref().ok_or_else(|| self.refuse(what))
    }

    /// Opens manifests, where this client may.
    pub const fn maintain_if_any(&self) -> Option<&OpenKey> {
        self.maintain.as_ref()
    }

    /// Seals contents and names.
    pub const fn read_public(&self) -> &SealKey {
        &self.read_public
    }

    /// Seals manifests.
    pub const fn maintain_public(&self) -> &SealKey {
        &self.maintain_public
    }

    /// The domain into which this client writes.
    pub fn home(&self) -> Result<&DomainKeys> {
        let home = self.home.and_then(|home| self.domain(&home));
        home.ok_or_else(|| self.refuse("make backups"))
    }

    /// The keys of a domain, where this client has them.
    pub fn domain(&self, id: &DomainId) -> Option<&DomainKeys> {
        self.domains.keys.iter().find(|known| known.id() == *id)
    }

    /// Whether this client knows no domain at all: of packs it sees only what their tables tell everybody.
    pub const fn is_blind(&self) -> bool {
        self.domains.keys.is_empty()
    }

    /// Whether these bytes have this id in any domain that this client knows.
    pub fn is_blob(&self, id: &BlobId, kind: BlobKind, plain: &[u8]) -> bool {
        self.domains.knows(id, kind, plain)
    }

    fn refuse(&self, what: &'static str) -> Error {
        Error::RoleMayNot {
            role: self.role,
            what,
        }
    }
}

/// What only readers may.
const READ: &str = "read contents or names";

impl Domains {
    fn add(&mut self, keys: DomainKeys) {
        if self.keys.iter().all(|known| known.id() != keys.id()) {
            self.keys.push(keys);
        }
    }

    fn knows(&self, id: &BlobId, kind: BlobKind, plain: &[u8]) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let fits = |at: usize| {
            let keys = self.keys.get(at);
            keys.is_some_and(|keys| keys.blob_id(kind, plain) == *id)
        };
        if fits(last) {
            return true;
        }
        let mut others = (0..self.keys.len()).filter(|at| *at != last);
        let found = others.find(|at| fits(*at));
        if let Some(at) = found {
            self.last.store(at, Ordering::Relaxed);
        }
        found.is_some()
    }
}
