//! Making and opening a repository.

pub mod certify;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use dolmen_crypto::{AdminSecret, CryptoError, RoleSecrets, VerifyKey, bundle};
use dolmen_format::bundle::Bundle;
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::keyfile::KeyFile;
use dolmen_format::ledger::Policy;
use dolmen_format::root::{Root, SUITE};
use dolmen_format::signed::NO_REPOSITORY;
use dolmen_format::{
    DomainId, ObjectId, ObjectKey, ObjectKind, RepositoryId, SlotId, Timestamp, WriterId,
};
use dolmen_store::{StoreError, StoreErrorKind};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, chain};
use crate::keys::Keys;
use crate::lease::Terms;
use crate::objects::{FetchError, Listed, Objects, kind_of, protection_of};
use crate::verify::{KEY_KINDS, Refusal};

/// A passphrase, wiped when dropped.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// An open repository: the store and the keys.
#[derive(Debug)]
pub struct Repository {
    /// The store.
    pub objects: Objects,
    /// Time and randomness.
    pub environment: Environment,
    id: RepositoryId,
    root: Root,
    root_stored_at: Timestamp,
    admin_key: VerifyKey,
    keys: Box<Keys>,
    writer: WriterId,
    /// The bundles that count, by slot.
    bundles: BTreeMap<SlotId, Bundle>,
    /// Which of them the passphrase opened; `None`: a key file or a recovery kit did.
    slot: Option<SlotId>,
    certificates: Vec<(ObjectId, Certificate)>,
    signers: Signers,
    /// Root and keys as stored, for a client to keep a copy of.
    standing: Vec<(ObjectKey, Bytes)>,
    findings: Findings,
}

impl Repository {
    /// The repository id.
    pub const fn id(&self) -> RepositoryId {
        self.id
    }

    /// The descriptor.
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Under whose name this client writes.
    pub const fn writer(&self) -> WriterId {
        self.writer
    }

    /// The admin's own name as a writer.
    pub fn admin_id(&self) -> WriterId {
        self.admin_key.writer_id()
    }

    /// When the store received the root, by its clock; in a repository that was just made, when that began.
    pub const fn root_stored_at(&self) -> Timestamp {
        self.root_stored_at
    }

    /// The keys of this client.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Who may sign, beside the admin.
    pub fn certificates(&self) -> &[(ObjectId, Certificate)] {
        &self.certificates
    }

    /// Root and keys as stored: what a client keeps a copy of.
    pub fn standing_objects(&self) -> &[(ObjectKey, Bytes)] {
        &self.standing
    }

    /// What was wrong with root and keys when it was opened.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The key that verifies what lies under a writer's name.
    pub fn verify_key_of(&self, writer: WriterId) -> Option<VerifyKey> {
        if self.admin_id() == writer {
            return Some(self.admin_key);
        }
        self.signers.get(&writer).map(|(key, _)| *key)
    }

    /// The dedup domains into which a writer may write.
    fn domains_of(&self, writer: WriterId) -> impl Iterator<Item = DomainId> {
        let roles = self.roles_of(writer);
        roles.filter_map(|(_, certificate)| match certificate {
            None => Some(self.root.domain),
            Some(id) => self.certificate(id)?.domain,
        })
    }

    /// A certificate by its id.
    pub fn certificate(&self, id: ObjectId) -> Option<&Certificate> {
        let mut certificates = self.certificates.iter();
        let found = certificates.find(|(known, _)| *known == id);
        found.map(|(_, certificate)| certificate)
    }

    /// The signers besides the admin, each with what its certificates say.
    pub fn signers(&self) -> impl Iterator<Item = (WriterId, &Certificate)> {
        self.signers.iter().flat_map(|(writer, (_, own))| {
            let own = own.iter().filter_map(|at| self.certificates.get(*at));
            own.map(|(_, certificate)| (*writer, certificate))
        })
    }

    /// The passphrases that open everything.
    pub fn passphrases(&self) -> impl Iterator<Item = KnownPassphrase<'_>> {
        self.bundles.values().map(|bundle| KnownPassphrase {
            name: bundle.name.as_deref(),
            created: bundle.created,
            is_used: self.slot == Some(bundle.slot),
        })
    }

    /// Whether a writer may write into a domain.
    pub(crate) fn writes_into(&self, writer: WriterId, domain: &DomainId) -> bool {
        self.domains_of(writer).any(|own| own == *domain)
    }

    /// Whether this client can read what a writer says of its packs; what a stranger says it looks at too, to tell of it.
    pub(crate) fn reads_index_of(&self, writer: Option<WriterId>) -> bool {
        let Some(writer) = writer else { return true };
        let mut domains = self.domains_of(writer).peekable();
        self.keys.is_blind()
            || domains.peek().is_none()
            || domains.any(|own| self.keys.domain(&own).is_some())
    }

    /// The certificate that an object names, if it names one.
    pub(crate) fn certificate_of(
        &self,
        named: Option<ObjectId>,
    ) -> std::result::Result<Option<&Certificate>, Refusal> {
        let Some(id) = named else {
            return Ok(None);
        };
        let missing = || Refusal::Unknown(format!("its signer's certificate keys/{id} is missing"));
        self.certificate(id).map(Some).ok_or_else(missing)
    }

    /// What people call a writer: `admin`, or the name in its certificate, or nothing where it has none.
    pub fn name_of(&self, writer: WriterId) -> &str {
        let own = self.roles_of(writer).next();
        match own {
            Some((_, None)) => "admin",
            Some((_, Some(id))) => self.certificate(id).map_or("", |own| own.name.as_str()),
            None => "",
        }
    }

    /// What a writer may do, with the certificate that says so; `None` for the admin itself.
    pub fn roles_of(&self, writer: WriterId) -> impl Iterator<Item = (Role, Option<ObjectId>)> {
        let admin = (self.admin_id() == writer).then_some((Role::Admin, None));
        let own = self.signers.get(&writer).into_iter();
        let own = own.flat_map(|(_, own)| own);
        let certified = own.filter_map(|at| self.certificates.get(*at));
        let certified = certified.map(|(id, certificate)| (certificate.role, Some(*id)));
        admin.into_iter().chain(certified)
    }

    /// Makes a repository where no root is, hidden or not: the bundle first, then the root, because a root that nobody can
    /// open would block the address. Keys without a root are what another one left that was cut off; nothing trusts them,
    /// and they stay. What was put is taken back where that fails, or where another was made there at the
    /// same time: of several roots the one that the store received first stays, the smaller id where that is the same.
    ///
    /// Cost: two puts and two listings; against another one a listing for each look until it is gone.
    pub fn create(
        objects: Objects,
        environment: Environment,
        passphrase: &[u8],
        policy: &Policy,
    ) -> Result<Self> {
        if !list_keys(&objects, "root/")?.is_empty() {
            let address = objects.address().to_owned();
            return Err(Error::RepositoryExists { address, stays: 0 });
        }
        let admin = AdminSecret::new(environment.secret());
        let signing = admin.signing_key();
        let created = environment.clock.now();
        let (terms, clock) = (Terms::try_from(policy).ok(), Arc::clone(&environment.clock));
        objects.protect_with(protection_of(&objects, policy.lock, terms, clock, false)?);
        let root = Root {
            created,
            nonce: environment.salt(),
            suite: SUITE,
            verify_key: signing.verify_key().to_bytes(),
            epoch: admin.epoch(environment.salt()),
            domain: DomainId(environment.bytes()),
            policy: policy.clone(),
        };
        let (stored, id) = signing
            .sign(&NO_REPOSITORY, &root)
            .map_err(Error::encode("the root"))?;
        let slot = SlotId(environment.bytes());
        let bundle = make_bundle(&environment, &id, slot, 1, passphrase, &admin)?;
        let (bundle_bytes, bundle_id) = signing
            .sign(&id, &bundle)
            .map_err(Error::encode("the bundle"))?;
        let standing = vec![
            (ObjectKey::Key(bundle_id), Bytes::from(bundle_bytes)),
            (ObjectKey::Root(id), Bytes::from(stored)),
        ];
        settle::put(&objects, id, &standing)?;
        let candidate = Candidate {
            id,
            root,
            root_stored_at: created,
            bundles: BTreeMap::from([(
                slot,
                HeldBundle {
                    received: None,
                    bundle,
                },
            )]),
            replaced: Vec::new(),
            certificates: Vec::new(),
            standing,
            findings: Vec::new(),
        };
        let keys = Keys::of_admin(admin, &candidate.root, &[]);
        Self::from_candidate(objects, environment, candidate, Some(slot), keys)
    }

    /// Replaces the passphrase that opened this repository; the old one is no longer accepted.
    /// What is in copies of the store still opens with it. Where none opened it, as with a recovery kit, there is one more
    /// from then on, and the others stay.
    ///
    /// Cost: one put.
    pub fn change_passphrase(&mut self, passphrase: &[u8]) -> Result<()> {
        let replaced = self.slot.and_then(|slot| self.bundles.get(&slot));
        let (slot, number, name) = match replaced {
            Some(last) => (last.slot, last.number.saturating_add(1), last.name.clone()),
            None => (SlotId(self.environment.bytes()), 1, None),
        };
        self.put_bundle(slot, number, name, passphrase)
    }

    /// Lets one more passphrase open everything.
    ///
    /// Cost: one put.
    pub fn add_passphrase(&mut self, name: &str, passphrase: &[u8]) -> Result<()> {
        self.check_free(name)?;
        let slot = SlotId(self.environment.bytes());
        self.put_bundle(slot, 1, Some(name.to_owned()), passphrase)
    }

    fn put_bundle(
        &mut self,
        slot: SlotId,
        number: u64,
        name: Option<String>,
        passphrase: &[u8],
    ) -> Result<()> {
        let admin = self.keys.admin()?;
        let (environment, id) = (&self.environment, &self.id);
        let bundle = Bundle {
            name,
            ..make_bundle(environment, id, slot, number, passphrase, admin)?
        };
        let signing = self.keys.signing();
        let (stored, id) = signing
            .sign(&self.id, &bundle)
            .map_err(Error::encode("the bundle"))?;
        let stored = Bytes::from(stored);
        self.objects.put(&ObjectKey::Key(id), stored.clone())?;
        self.standing.push((ObjectKey::Key(id), stored));
        self.bundles.insert(slot, bundle);
        Ok(())
    }

    fn from_candidate(
        objects: Objects,
        environment: Environment,
        candidate: Candidate,
        slot: Option<SlotId>,
        keys: Keys,
    ) -> Result<Self> {
        let Candidate {
            id,
            root,
            root_stored_at,
            bundles,
            certificates,
            standing,
            findings,
            ..
        } = candidate;
        let bundles = bundles.into_iter();
        let bundles = bundles.map(|(slot, held)| (slot, held.bundle)).collect();
        // It was verified when the root was.
        let admin_key = VerifyKey::from_bytes(&root.verify_key);
        Ok(Self {
            objects,
            environment,
            id,
            writer: keys.signing().verify_key().writer_id(),
            admin_key: admin_key.map_err(|error| Error::damaged("the root", error))?,
            keys: Box::new(keys),
            root,
            root_stored_at,
            bundles,
            slot,
            signers: signers_of(&certificates),
            certificates,
            standing,
            findings,
        })
    }
}

/// A passphrase of a repository, as far as it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPassphrase<'r> {
    /// What people call it; the first of a repository has no name.
    pub name: Option<&'r str>,
    /// When it was chosen, by its maker's clock.
    pub created: Timestamp,
    /// Whether it opened this repository.
    pub is_used: bool,
}

/// The keys of signers besides the admin, and where their certificates stand: a look-up for every object must decode no key.
type Signers = BTreeMap<WriterId, (VerifyKey, Vec<usize>)>;

/// Reads the keys out of certificates; one that is none signs nothing.
fn signers_of(certificates: &[(ObjectId, Certificate)]) -> Signers {
    let mut signers = Signers::new();
    for (at, (_, certificate)) in certificates.iter().enumerate() {
        if let Ok(key) = VerifyKey::from_bytes(&certificate.verify_key) {
            let (_, own) = signers.entry(key.writer_id()).or_insert((key, Vec::new()));
            own.push(at);
        }
    }
    signers
}

/// A repository that was found but not opened yet.
#[derive(Debug)]
struct Candidate {
    id: RepositoryId,
    root: Root,
    root_stored_at: Timestamp,
    /// The newest of each slot.
    bundles: BTreeMap<SlotId, HeldBundle>,
    /// The others.
    replaced: Vec<HeldBundle>,
    certificates: Vec<(ObjectId, Certificate)>,
    standing: Vec<(ObjectKey, Bytes)>,
    findings: Findings,
}

/// A bundle, and when the store received it; `None`: it has only a copy that this client keeps.
#[derive(Debug)]
struct HeldBundle {
    received: Option<Timestamp>,
    bundle: Bundle,
}

/// Which passphrases open a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Those that nobody has changed since.
    Current,
    /// Those that somebody has changed, too: a thief who knows one could else lock its owner out.
    Replaced,
}

/// Replaced bundles that are tried in order to tell a changed passphrase from a wrong one; each costs a KDF.
const REPLACED_MAX: usize = 16;

/// The repositories behind an address, before any passphrase is asked for.
#[derive(Debug)]
pub struct Located {
    objects: Objects,
    environment: Environment,
    candidates: Vec<Candidate>,
    /// Roots and keys that are whole, of whatever repository.
    found: Vec<ObjectKey>,
    /// Why others may not be read.
    withheld: Option<StoreError>,
}

/// Looks what is behind an address. `pinned` is the repository that this client knows there, and
/// `kept` the copies of its root and keys that it keeps, which stand in for what the store lost.
///
/// Cost: two listings, one request for each object below `root/` and `keys/`.
pub fn locate(
    objects: Objects,
    environment: Environment,
    pinned: Option<RepositoryId>,
    kept: &[(ObjectKey, Bytes)],
) -> Result<Located> {
    let mut gathered = gather(&objects, kept)?;
    let (mut candidates, mut others) = (Vec::new(), Vec::new());
    for key in gathered.roots_oldest_first() {
        let body = gathered.found.get(&key).cloned().unwrap_or_default();
        match open_root(&body) {
            Ok(root) if pinned.is_none_or(|pin| pin == key.id()) => {
                candidates.push(make_candidate(key.id(), root, &gathered));
            }
            Ok(_) => others.push(key.id()),
            Err(error) => gathered.findings.push(Finding::refused(
                key.to_string(),
                Refusal::Foreign(chain(&error)),
            )),
        }
    }
    if !candidates.is_empty() {
        for candidate in &mut candidates {
            candidate
                .findings
                .splice(0..0, gathered.findings.iter().cloned());
        }
        return Ok(Located {
            objects,
            environment,
            candidates,
            found: gathered.found.into_keys().collect(),
            withheld: gathered.withheld,
        });
    }
    if let Some(withheld) = gathered.withheld {
        return Err(withheld.into());
    }
    let address = objects.address().to_owned();
    Err(match (pinned, others.first(), gathered.findings.first()) {
        (Some(wanted), Some(found), _) => Error::OtherRepository {
            address,
            wanted,
            found: *found,
        },
        (
            _,
            _,
            Some(Finding {
                subject, problem, ..
            }),
        ) => Error::damaged(format!("the repository's {subject}"), problem.clone()),
        (_, _, None) if !gathered.found.is_empty() => {
            Error::damaged("the repository", "its root object is missing".to_owned())
        }
        (_, _, None) => Error::NoRepository { address },
    })
}

/// Root and keys of every repository behind an address.
#[derive(Debug, Default)]
struct Gathered {
    found: BTreeMap<ObjectKey, Bytes>,
    stored_at: BTreeMap<ObjectKey, Timestamp>,
    findings: Findings,
    /// Why some of it may not be read.
    withheld: Option<StoreError>,
}

impl Gathered {
    fn roots_oldest_first(&self) -> Vec<ObjectKey> {
        let is_root = |key: &&ObjectKey| matches!(key, ObjectKey::Root(_));
        let mut roots: Vec<_> = self.found.keys().filter(is_root).copied().collect();
        roots.sort_by_key(|key| (self.stored_at.get(key).copied().unwrap_or_default(), *key));
        roots
    }
}

fn gather(objects: &Objects, kept: &[(ObjectKey, Bytes)]) -> Result<Gathered> {
    let mut gathered = Gathered::default();
    for prefix in ["root/", "keys/"] {
        let listed = list_keys(objects, prefix)?;
        gathered.stored_at.extend(
            listed
                .iter()
                .map(|object| (object.key, Timestamp::default())),
        );
        objects.fetch_all(&listed, ObjectKind::Root, |object, result| match result {
            Ok(found) => {
                gathered.stored_at.insert(object.key, found.copy.stored_at);
                gathered.found.insert(object.key, found.body);
            }
            Err(error) => {
                gathered
                    .findings
                    .push(Finding::unusable(object.key.to_string(), &error));
                if let FetchError::Store(error) = error
                    && error.kind == StoreErrorKind::Denied
                {
                    gathered.withheld.get_or_insert(error);
                }
            }
        });
    }
    for (key, body) in kept {
        if ObjectId::of(body) != key.id() || gathered.found.contains_key(key) {
            continue;
        }
        if !gathered.stored_at.contains_key(key) {
            gathered
                .findings
                .push(Finding::new(key.to_string(), "missing from the store"));
        }
        gathered.found.insert(*key, body.clone());
    }
    Ok(gathered)
}

/// Opens a candidate; what else is `found` of roots and keys at its address is none of its own.
fn open_candidate(
    (objects, environment, found): (Objects, Environment, Vec<ObjectKey>),
    candidate: Candidate,
    slot: Option<SlotId>,
    keys: Keys,
) -> Result<Repository> {
    let standing: BTreeSet<_> = candidate.standing.iter().map(|(key, _)| *key).collect();
    let others = found.into_iter().filter(|key| !standing.contains(key));
    objects.overlook_hidden(others);
    Repository::from_candidate(objects, environment, candidate, slot, keys)
}

/// A candidate's position, the slot that opened, and what was in it.
type Opened = (usize, SlotId, AdminSecret);

impl Candidate {
    fn current(&self) -> Vec<&Bundle> {
        oldest_first(self.bundles.values(), usize::MAX)
    }

    /// As many as are tried to tell a changed passphrase from a wrong one.
    fn replaced(&self) -> Vec<&Bundle> {
        oldest_first(&self.replaced, REPLACED_MAX)
    }

    fn any(&self) -> Vec<&Bundle> {
        oldest_first(self.bundles.values().chain(&self.replaced), usize::MAX)
    }

    /// Opens a bundle; one of another repository's secret is as good as a wrong passphrase.
    fn open(
        &self,
        bundle: &Bundle,
        passphrase: &[u8],
    ) -> std::result::Result<AdminSecret, CryptoError> {
        let admin = bundle::unwrap(&self.id, bundle, passphrase)?;
        match admin.matches(&self.root) {
            Ok(()) => Ok(admin),
            Err(_) => Err(CryptoError::Passphrase),
        }
    }
}

impl Located {
    /// Opens with a passphrase: each slot's newest bundle, the oldest root first; with [`Accept::Replaced`] any bundle.
    /// Those that the store received first are tried first: however many a thief adds, the owner's come before them.
    ///
    /// Cost: no request, or where several open two listings for each; one KDF (64 MiB, a fifth of a second) for each
    /// passphrase that the repository has, and for a wrong one 16 more at most; with [`Accept::Replaced`] one for each
    /// bundle until one opens.
    pub fn unlock(self, passphrase: &[u8], accept: Accept) -> Result<Repository> {
        let (mut opened, damaged) = match accept {
            Accept::Current => self.open(passphrase, Candidate::current),
            Accept::Replaced => self.open(passphrase, Candidate::any),
        };
        if opened.is_empty() && accept == Accept::Current {
            let (replaced, _) = self.open(passphrase, Candidate::replaced);
            if !replaced.is_empty() {
                return Err(Error::ReplacedPassphrase);
            }
        }
        self.leave_out_unused(&mut opened)?;
        let ids = opened.iter().map(|(position, ..)| self.id_at(*position));
        let ids: Vec<_> = ids.flatten().collect();
        let Some((position, slot, admin)) = opened.pop() else {
            // What opens may be among them.
            if let Some(withheld) = self.withheld {
                return Err(withheld.into());
            }
            let no_bundle = self
                .candidates
                .iter()
                .all(|candidate| candidate.bundles.is_empty());
            return Err(match damaged {
                Some(error) => Error::damaged("the passphrase bundle", error),
                None if no_bundle => Error::damaged(
                    "the repository",
                    "no passphrase bundle in keys/ is intact; its recovery kit opens it all the same"
                        .to_owned(),
                ),
                None => Error::WrongPassphrase,
            });
        };
        if !opened.is_empty() {
            let address = self.objects.address().to_owned();
            return Err(Error::ManyRepositories {
                address,
                found: ids,
            });
        }
        let candidate = self.candidates.into_iter().nth(position);
        let candidate = candidate.ok_or(Error::Internal {
            what: "a candidate vanished",
        })?;
        let keys = Keys::of_admin(admin, &candidate.root, &candidate.certificates);
        let place = (self.objects, self.environment, self.found);
        open_candidate(place, candidate, Some(slot), keys)
    }

    /// Opens as the admin, whatever passphrases there are: the secret tells which root is its own.
    ///
    /// Cost: no request.
    pub fn open_as_admin(self, admin: AdminSecret) -> Result<Repository> {
        let address = self.objects.address().to_owned();
        let own = self.candidates.into_iter();
        let mut own: Vec<_> = own
            .filter(|candidate| admin.matches(&candidate.root).is_ok())
            .collect();
        let Some(candidate) = own.pop() else {
            // Its own may be among those that may not be read.
            return Err(self.withheld.map_or(Error::WrongKey, Error::from));
        };
        if !own.is_empty() {
            let found = own.iter().chain([&candidate]).map(|one| one.id).collect();
            return Err(Error::ManyRepositories { address, found });
        }
        let keys = Keys::of_admin(admin, &candidate.root, &candidate.certificates);
        let place = (self.objects, self.environment, self.found);
        open_candidate(place, candidate, None, keys)
    }

    /// Opens the repository of a key file with its secrets.
    pub fn open_with(self, file: &KeyFile, secrets: &RoleSecrets) -> Result<Repository> {
        let address = self.objects.address().to_owned();
        let found = self.candidates.first().map(|candidate| candidate.id);
        let mut candidates = self.candidates.into_iter();
        let candidate = candidates.find(|candidate| candidate.id == file.repository);
        let candidate = match (candidate, found) {
            (Some(candidate), _) => candidate,
            (None, Some(found)) => {
                return Err(Error::OtherRepository {
                    address,
                    wanted: file.repository,
                    found,
                });
            }
            (None, None) => return Err(Error::NoRepository { address }),
        };
        let named = (&candidate.id, &candidate.root);
        let keys = Keys::of_role(secrets, file.certificate, named, &candidate.certificates)?;
        let place = (self.objects, self.environment, self.found);
        open_candidate(place, candidate, None, keys)
    }

    fn id_at(&self, position: usize) -> Option<RepositoryId> {
        self.candidates.get(position).map(|candidate| candidate.id)
    }

    /// Of several repositories at an address, leaves out those in which nothing was ever written, whether others open or
    /// not: what of two inits at the same moment one could not take back. Where all are so, none is left out.
    ///
    /// Cost: for each of several two listings, for one none.
    fn leave_out_unused(&self, opened: &mut Vec<Opened>) -> Result<()> {
        if self.candidates.len() < 2 || opened.is_empty() {
            return Ok(());
        }
        let mut used = BTreeSet::new();
        for (position, candidate) in self.candidates.iter().enumerate() {
            let Ok(admin) = VerifyKey::from_bytes(&candidate.root.verify_key) else {
                continue;
            };
            let has_certificates = !candidate.certificates.is_empty();
            if has_certificates || has_written(&self.objects, admin.writer_id())? {
                used.insert(position);
            }
        }
        if !used.is_empty() {
            opened.retain(|(position, ..)| used.contains(position));
        }
        Ok(())
    }

    /// The roots of which one of the chosen bundles opens with a passphrase, and why one that is damaged does not open.
    fn open(
        &self,
        passphrase: &[u8],
        chosen: fn(&Candidate) -> Vec<&Bundle>,
    ) -> (Vec<Opened>, Option<CryptoError>) {
        let (mut opened, mut damaged) = (Vec::new(), None);
        for (position, candidate) in self.candidates.iter().enumerate() {
            for bundle in chosen(candidate) {
                match candidate.open(bundle, passphrase) {
                    Ok(admin) => {
                        opened.push((position, bundle.slot, admin));
                        break;
                    }
                    Err(CryptoError::Passphrase) => {}
                    Err(error) => damaged = Some(error),
                }
            }
        }
        (opened, damaged)
    }
}

/// Whether a writer has snapshots or records, hidden ones, too.
fn has_written(objects: &Objects, writer: WriterId) -> Result<bool> {
    for folder in ["ledger", "snapshots"] {
        if !list_keys(objects, &format!("{folder}/{writer}/"))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The bundles that the store received first, as many as are wanted.
fn oldest_first<'h>(
    held: impl IntoIterator<Item = &'h HeldBundle>,
    count_max: usize,
) -> Vec<&'h Bundle> {
    let mut held: Vec<_> = held.into_iter().collect();
    held.sort_by_key(|held| (held.received, held.bundle.number));
    held.truncate(count_max);
    held.into_iter().map(|held| &held.bundle).collect()
}

/// Verifies a root by its own key.
fn open_root(body: &[u8]) -> std::result::Result<Root, CryptoError> {
    let unverified = dolmen_format::signed::decode::<Root>(body)?;
    let key = VerifyKey::from_bytes(&unverified.body.verify_key)?;
    Ok(key.verify::<Root>(&NO_REPOSITORY, body)?.0)
}

/// Gathers what belongs to a root: what in `keys/` its admin signed.
fn make_candidate(id: RepositoryId, root: Root, gathered: &Gathered) -> Candidate {
    // Kept copies stand in for a root that the store lost; its own time is as early as it can be.
    let stored_at = gathered.stored_at.get(&ObjectKey::Root(id)).copied();
    let root_stored_at = stored_at.unwrap_or(root.created);
    let mut candidate = Candidate {
        id,
        root,
        root_stored_at,
        bundles: BTreeMap::new(),
        replaced: Vec::new(),
        certificates: Vec::new(),
        standing: Vec::new(),
        findings: Vec::new(),
    };
    let Ok(admin) = VerifyKey::from_bytes(&candidate.root.verify_key) else {
        return candidate;
    };
    for (key, body) in &gathered.found {
        let taken = match key {
            ObjectKey::Root(root_id) if *root_id == id => Ok(()),
            ObjectKey::Key(key_id) => {
                let received = gathered.stored_at.get(key).copied();
                take_key(&mut candidate, &admin, *key_id, received, body)
            }
            _ => continue,
        };
        match taken {
            Ok(()) => candidate.standing.push((*key, body.clone())),
            Err(error) => {
                let refusal = Refusal::of(&error, &KEY_KINDS, &admin, &id, body);
                let finding = Finding::refused(key.to_string(), refusal);
                candidate.findings.push(finding);
            }
        }
    }
    candidate
}

fn take_key(
    candidate: &mut Candidate,
    admin: &VerifyKey,
    key_id: ObjectId,
    received: Option<Timestamp>,
    body: &[u8],
) -> std::result::Result<(), CryptoError> {
    if kind_of(body)? == ObjectKind::Bundle {
        let (bundle, _) = admin.verify::<Bundle>(&candidate.id, body)?;
        let (slot, number) = (bundle.slot, bundle.number);
        let held = HeldBundle { received, bundle };
        let newest = candidate.bundles.get(&slot);
        let older = if newest.is_none_or(|newest| number > newest.bundle.number) {
            candidate.bundles.insert(slot, held)
        } else {
            Some(held)
        };
        candidate.replaced.extend(older);
    } else {
        let (certificate, _) = admin.verify::<Certificate>(&candidate.id, body)?;
        candidate.certificates.push((key_id, certificate));
    }
    Ok(())
}

fn make_bundle(
    environment: &Environment,
    id: &RepositoryId,
    slot: SlotId,
    number: u64,
    passphrase: &[u8],
    admin: &AdminSecret,
) -> Result<Bundle> {
    let name = bundle::BundleName {
        slot,
        number,
        created: environment.clock.now(),
    };
    let kdf = bundle::default_kdf(environment.salt());
    bundle::wrap(id, name, kdf, passphrase, admin).map_err(Error::encode("the bundle"))
}

fn list_keys(objects: &Objects, prefix: &str) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    objects.list(prefix, |object| listed.push(object))?;
    Ok(listed)
}
