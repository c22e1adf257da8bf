//! What every process of the world works with: the store, the time, chance, and a passphrase.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dolmen_core::lease::lock_mode;
use dolmen_core::repository::{self, Accept};
use dolmen_core::{Clock, Environment, Objects, Random, Repository};
use dolmen_crypto::{AdminSecret, Secret, SigningKey, bundle};
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_format::root::{Root, SUITE};
use dolmen_format::signed::NO_REPOSITORY;
use dolmen_format::{DomainId, Nonce, ObjectId, ObjectKey, RepositoryId, Salt, SlotId, Timestamp};
use dolmen_store::{Credential, Lock, MemoryStore, Place, Store, StoreKey};
use tokio::runtime::Handle;

use crate::dice::{self, Dice};
use crate::error::SimError;
use crate::mutation::{AHEAD_SECONDS, Claims, Misleading, Mutation, Purpose};
use crate::theft::Keeping;

/// Seconds in a day.
pub const DAY: i64 = 86_400;
/// What all processes share.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The owner's view of the store.
    pub store: Arc<MemoryStore>,
    /// The repository.
    pub id: RepositoryId,
    /// What keeps what is stored.
    pub keeping: Keeping,
    /// How Dolmen is made to err; `None`: it is not.
    pub mutation: Option<Mutation>,
    /// What an attacker claims, and a mutation may believe.
    pub(crate) claims: Arc<Mutex<Claims>>,
    /// A key that may add backups, and no honest machine uses.
    pub(crate) backup: BackupKey,
    runtime: Handle,
    passphrase: Arc<Mutex<Vec<u8>>>,
}

/// A signing key and the certificate that says what it may do.
#[derive(Debug, Clone)]
pub(crate) struct BackupKey {
    pub(crate) signing: SigningKey,
    pub(crate) certificate: ObjectId,
    pub(crate) domain: DomainId,
}

/// A machine: a name, folders and a clock.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What its owner calls it.
    pub name: String,
    /// Its folder: `state`, `scratch` and `source` lie below it.
    pub folder: PathBuf,
    /// How wrong its clock is.
    pub skew: Skew,
}

/// How wrong a clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Seconds that it was ahead when it was last set.
    pub offset_seconds: i64,
    /// Seconds that it gains in ten days, until it is five minutes off.
    pub drift_seconds: i64,
    /// When it was last set.
    pub set_at: Timestamp,
}

/// Clocks that are not broken are as much off at most.
pub(crate) const SKEW_SECONDS_MAX: i64 = 300;

impl Skew {
    /// Seconds that the clock is ahead.
    fn ahead_seconds(&self, now: Timestamp) -> i64 {
        let since = now.seconds.saturating_sub(self.set_at.seconds);
        let gained = since.saturating_mul(self.drift_seconds) / (10 * DAY);
        let limit =
            SKEW_SECONDS_MAX.saturating_sub(self.offset_seconds.abs().min(SKEW_SECONDS_MAX));
        self.offset_seconds
            .saturating_add(gained.clamp(-limit, limit))
    }
}

/// A machine's clock, as a process sees it.
#[derive(Debug)]
struct LocalClock {
    store: Arc<MemoryStore>,
    skew: Skew,
    /// A mutation's.
    ahead_seconds: i64,
}

impl Clock for LocalClock {
    fn now(&self) -> Timestamp {
        let now = self.store.clock();
        let ahead = self
            .skew
            .ahead_seconds(now)
            .saturating_add(self.ahead_seconds);
        now.saturating_add_seconds(ahead)
    }
}

/// Random bytes of one process.
#[derive(Debug)]
struct Seeded {
    seed: u64,
    draws: AtomicU64,
}

impl Random for Seeded {
    fn fill(&self, out: &mut [u8]) {
        let draw = self.draws.fetch_add(1, Ordering::Relaxed);
        dice::fill(Dice::new(self.seed ^ draw.rotate_left(32)).next(), out);
    }
}

impl Kit {
    /// Makes a repository in a new store.
    ///
    /// Its passphrase is as strong as any, but its first bundle asks for a KDF that takes no time, so that every process can
    /// begin with the passphrase alone.
    pub fn create(
        keeping: Keeping,
        runtime: Handle,
        dice: &mut Dice,
        mutation: Option<Mutation>,
    ) -> Result<Self, SimError> {
        let store = Arc::new(MemoryStore::new(keeping.model));
        store.set_lifecycle(keeping.lifecycle())?;
        let passphrase = dice.bytes(16);
        let admin = AdminSecret::new(Secret::new(dice.array()));
        let signing = admin.signing_key();
        let created = store.clock();
        let root = Root {
            created,
            nonce: Salt(dice.array()),
            suite: SUITE,
            verify_key: signing.verify_key().to_bytes(),
            epoch: admin.epoch(Salt(dice.array())),
            domain: DomainId(dice.array()),
            policy: keeping.first_policy(),
        };
        let (root, id) = signing.sign(&NO_REPOSITORY, &root)?;
        let name = bundle::BundleName {
            slot: SlotId(dice.array()),
            number: 1,
            created,
        };
        let mut kdf = bundle::default_kdf(Salt(dice.array()));
        (kdf.memory_kib, kdf.passes, kdf.lanes) = (64, 1, 1);
        let bundle = bundle::wrap(&id, name, kdf, &passphrase, &admin)?;
        let (bundle, bundle_id) = signing.sign(&id, &bundle)?;
        let backup = SigningKey::new(&Secret::new(dice.array()));
        let domain = DomainId(dice.array());
        let certificate = Certificate {
            name: "a machine".to_owned(),
            role: Role::Backup,
            verify_key: backup.verify_key().to_bytes(),
            domain: Some(domain),
            created,
            rights: 0,
            nonce: Nonce(dice.array()),
            domain_secret: None,
        };
        let (certificate, certificate_id) = signing.sign(&id, &certificate)?;
        let kit = Self {
            backup: BackupKey {
                signing: backup,
                certificate: certificate_id,
                domain,
            },
            store,
            id,
            keeping,
            mutation,
            claims: Arc::default(),
            runtime,
            passphrase: Arc::new(Mutex::new(passphrase)),
        };
        let lock = keeping.first_lock(created);
        for (key, body) in [
            (ObjectKey::Key(bundle_id), bundle),
            (ObjectKey::Root(id), root),
            (ObjectKey::Key(certificate_id), certificate),
        ] {
            if let Ok(key) = StoreKey::try_from(key.to_string()) {
                let put = kit
                    .store
                    .put(&key, Bytes::from(body), lock, Place::IfAbsent);
                kit.block_on(put)?;
            }
        }
        Ok(kit)
    }

    /// A view of the store for who holds a credential, as misleading as the mutation has it.
    pub fn view(&self, credential: Credential, purpose: Purpose) -> Arc<dyn Store> {
        let inner: Arc<dyn Store> = Arc::new(self.store.with_credential(credential));
        Misleading::over(inner, self.mutation, purpose, self.now(), &self.claims)
    }

    /// Opens the repository as a process of a machine that knows nothing but id and passphrase.
    pub fn open(
        &self,
        store: Arc<dyn Store>,
        machine: &Machine,
        seed: u64,
    ) -> Result<Repository, dolmen_core::Error> {
        let is = |mutation| self.mutation == Some(mutation);
        let environment = Environment {
            clock: Arc::new(LocalClock {
                store: Arc::clone(&self.store),
                skew: machine.skew,
                ahead_seconds: if is(Mutation::PruneByClientClock) {
                    AHEAD_SECONDS
                } else {
                    0
                },
            }),
            random: Arc::new(Seeded {
                seed,
                draws: AtomicU64::new(0),
            }),
        };
        let located = repository::locate(self.objects(store), environment, Some(self.id), &[])?;
        // A thief who knows the passphrase may have changed it.
        located.unlock(&self.passphrase(), Accept::Replaced)
    }

    /// Everybody uses another passphrase from now on.
    pub fn set_passphrase(&self, passphrase: Vec<u8>) {
        *self
            .passphrase
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = passphrase;
    }

    /// The store's clock.
    pub fn now(&self) -> Timestamp {
        self.store.clock()
    }

    /// Runs calls to the store.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// What everybody uses now, the attacker that stole it too.
    pub(crate) fn passphrase(&self) -> Vec<u8> {
        self.passphrase
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn objects(&self, store: Arc<dyn Store>) -> Objects {
        Objects::new(store, self.runtime.clone(), "memory")
    }
}

impl Keeping {
    /// The policy that stands in the root.
    pub(crate) fn first_policy(&self) -> Policy {
        policy(self.first_days(), self.lock, None)
    }

    /// What the first objects are locked with.
    fn first_lock(&self, now: Timestamp) -> Option<Lock> {
        let [protect, generation, interval] = self.first_days();
        let days = i64::try_from(protect + generation + 3 * interval).unwrap_or(0);
        let mode = lock_mode(self.lock)?;
        let until = now.saturating_add_seconds(days.saturating_mul(DAY));
        Some(Lock { mode, until })
    }
}

/// A policy of so many days of L, G and I.
pub(crate) fn policy(days: [u64; 3], lock: LockStrategy, previous: Option<ObjectId>) -> Policy {
    let [protect_seconds, generation_seconds, interval_seconds] = days.map(|days| days * 86_400);
    Policy {
        protect_seconds,
        generation_seconds,
        interval_seconds,
        lock,
        keep: Keep::default(),
        classes: Vec::new(),
        previous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_clock_stays_within_its_bound_and_a_broken_one_keeps_its_error() {
        let set_at = Timestamp::from_seconds(0);
        let skew = |offset_seconds, drift_seconds| Skew {
            offset_seconds,
            drift_seconds,
            set_at,
        };
        let later = Timestamp::from_seconds(1000 * DAY);
        assert_eq!(skew(100, 50).ahead_seconds(set_at), 100);
        assert_eq!(skew(100, 50).ahead_seconds(later), SKEW_SECONDS_MAX);
        assert_eq!(skew(-100, -50).ahead_seconds(later), -SKEW_SECONDS_MAX);
        assert_eq!(skew(5 * DAY, 50).ahead_seconds(later), 5 * DAY);
    }
}
