//! Keys of other roles, and what they sign, put straight into the repository of a world.

use std::cell::Cell;
use std::sync::Arc;

use dolmen_core::repository::{self, Accept};
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList};
use dolmen_core::{Clock, Environment, Objects, Random, Repository};
use dolmen_crypto::{Secret, SigningKey};
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::ledger::{Fact, Policy, Record};
use dolmen_format::signed::{Reference, SignedBody, Stamp};
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{InstanceId, Nonce, ObjectId, ObjectKey, Timestamp};
use dolmen_store::LocalStore;
use tokio::runtime::Runtime;

use crate::world::World;

/// Somebody with a key of a role.
pub(crate) struct Planter {
    repository: Repository,
    key: SigningKey,
    certificate: ObjectId,
    number: Cell<u64>,
    _runtime: Runtime,
}

#[derive(Debug)]
struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        now()
    }
}

impl Random for System {
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).unwrap();
    }
}

/// The time of this machine.
pub(crate) fn now() -> Timestamp {
    let now = jiff::Timestamp::now();
    Timestamp::from_seconds(now.as_second())
}

impl Planter {
    /// Certifies a new key.
    pub(crate) fn new(world: &World, role: Role) -> Self {
        let runtime = Runtime::new().unwrap();
        let store = Arc::new(LocalStore::open(world.path("repo")).unwrap());
        let objects = Objects::new(store, runtime.handle().clone(), "repo");
        let environment = Environment {
            clock: Arc::new(System),
            random: Arc::new(System),
        };
        let located = repository::locate(objects, environment, None, &[]).unwrap();
        let repository = located.unlock(b"secret", Accept::Current).unwrap();
        let domain = repository.keys().home().unwrap().id();
        let key = SigningKey::new(&Secret::new([role_byte(role); 32]));
        let certificate = Certificate {
            name: "other".to_owned(),
            role,
            verify_key: key.verify_key().to_bytes(),
            domain: (role == Role::Backup).then_some(domain),
            created: now(),
            rights: 0,
            nonce: Nonce([7; 16]),
            domain_secret: None,
        };
        let admin = repository.keys().signing();
        let (stored, certificate) = admin.sign(&repository.id(), &certificate).unwrap();
        let key_object = ObjectKey::Key(certificate);
        repository.objects.put(&key_object, stored.into()).unwrap();
        Self {
            repository,
            key,
            certificate,
            number: Cell::new(1),
            _runtime: runtime,
        }
    }

    /// The same key with the certificate of somebody else.
    pub(crate) fn claiming(self, other: &Self) -> Self {
        Self {
            certificate: other.certificate,
            ..self
        }
    }

    /// The newest snapshot of the repository.
    pub(crate) fn newest(&self) -> SnapshotEntry {
        let list = SnapshotList::load(&self.repository, None).unwrap();
        list.snapshots.last().unwrap().clone()
    }

    /// All live snapshots, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<Reference> {
        let list = SnapshotList::load(&self.repository, None).unwrap();
        let live = list.snapshots.iter();
        live.map(|entry| entry.snapshot.reference(entry.id))
            .collect()
    }

    /// The policy in force and its record.
    pub(crate) fn newest_policy(&self) -> (Reference, Policy) {
        let list = SnapshotList::load(&self.repository, None).unwrap();
        let record = list.facts.policy();
        (record.reference.unwrap(), record.policy.clone())
    }

    /// Whose name is on what it signs next.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            writer: self.key.verify_key().writer_id(),
            instance: InstanceId([5; 16]),
            number: self.number.get(),
        }
    }

    /// Plants a snapshot that is like another but for a change; returns its name.
    pub(crate) fn snapshot(
        &self,
        like: &SnapshotEntry,
        change: impl FnOnce(&mut Snapshot),
    ) -> Reference {
        let mut snapshot = Snapshot {
            stamp: self.stamp(),
            certificate: Some(self.certificate),
            heads: Vec::new(),
            // A clock a little ahead, so that receipt is told by the store.
            time: now().saturating_add_seconds(30),
            ..like.snapshot.clone()
        };
        change(&mut snapshot);
        let stamp = snapshot.stamp;
        self.put(&snapshot, stamp, |id| ObjectKey::Snapshot(stamp.writer, id))
    }

    /// Plants a record; returns its name.
    pub(crate) fn record(&self, fact: Fact) -> Reference {
        let record = Record {
            stamp: self.stamp(),
            time: now(),
            nonce: self.repository.environment.nonce(),
            certificate: Some(self.certificate),
            fact,
        };
        let stamp = record.stamp;
        self.put(&record, stamp, |id| ObjectKey::Ledger(stamp.writer, id))
    }

    /// Has the admin sign a record, from a state folder of its own.
    pub(crate) fn record_of_admin(&self, fact: Fact) {
        let record = Record {
            stamp: Stamp {
                writer: self.repository.admin_id(),
                instance: InstanceId(self.repository.environment.bytes()),
                number: 1,
            },
            time: now(),
            nonce: self.repository.environment.nonce(),
            certificate: None,
            fact,
        };
        let admin = self.repository.keys().signing();
        let (stored, id) = admin.sign(&self.repository.id(), &record).unwrap();
        let key = ObjectKey::Ledger(record.stamp.writer, id);
        self.repository.objects.put(&key, stored.into()).unwrap();
    }

    fn put<T: SignedBody>(
        &self,
        body: &T,
        stamp: Stamp,
        key: impl FnOnce(ObjectId) -> ObjectKey,
    ) -> Reference {
        let (stored, digest) = self.key.sign(&self.repository.id(), body).unwrap();
        self.repository
            .objects
            .put(&key(digest), stored.into())
            .unwrap();
        self.number.set(stamp.number + 1);
        Reference {
            writer: stamp.writer,
            instance: stamp.instance,
            number: stamp.number,
            digest,
        }
    }
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Admin => 1,
        Role::Backup => 2,
        Role::Maintain => 3,
        Role::Restore => 4,
    }
}
