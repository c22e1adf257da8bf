//! A small repository in memory, for tests of what is below the verbs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dolmen_format::index::PackEntry;
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_format::signed::Stamp;
use dolmen_format::snapshot::{Counts, Labels, Snapshot};
use dolmen_format::{InstanceId, Label, Nonce, ObjectKey, Timestamp};
use dolmen_state::index::PackInfo;
use dolmen_store::{MemoryOptions, MemoryStore, Place, StoreKey};

use crate::environment::{Clock, Environment, Random};
use crate::error::Result;
use crate::objects::Objects;
use crate::pack::{FinishedPack, PackListener};
use crate::repository::Repository;
use crate::snapshots::MANIFEST_INFO;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1)
    }
}

#[derive(Debug)]
struct Seeded(AtomicU64);

impl Random for Seeded {
    fn fill(&self, out: &mut [u8]) {
        let draw = self.0.fetch_add(1, Ordering::SeqCst);
        blake3::Hasher::new()
            .update(&draw.to_le_bytes())
            .finalize_xof()
            .fill(out);
    }
}

/// Listens to packs and does nothing.
pub(crate) struct Deaf;

impl PackListener for Deaf {
    fn before_put(&self, _: &PackInfo) -> Result<()> {
        Ok(())
    }
    fn after_put(&self, _: PackEntry, _: &FinishedPack) -> Result<()> {
        Ok(())
    }
    fn between_packs(&self) -> Result<()> {
        Ok(())
    }
}

/// A new repository.
pub(crate) fn repository(runtime: &tokio::runtime::Runtime) -> Repository {
    let store = Arc::new(MemoryStore::new(MemoryOptions {
        versions: false,
        locks: false,
    }));
    let objects = Objects::new(store, runtime.handle().clone(), "memory");
    let random = Arc::new(Seeded(AtomicU64::new(0)));
    let environment = Environment {
        clock: Arc::new(Fixed),
        random,
    };
    let policy = Policy {
        protect_seconds: 0,
        generation_seconds: 0,
        interval_seconds: 0,
        lock: LockStrategy::None,
        keep: Keep::default(),
        classes: Vec::new(),
        previous: None,
    };
    Repository::create(objects, environment, b"secret", &policy).unwrap()
}

/// A snapshot whose manifest has this root.
pub(crate) fn snapshot(repository: &Repository, root: &[u8]) -> Snapshot {
    let nonce = Nonce([3; 16]);
    let aad = Snapshot::box_aad(&repository.id(), &nonce);
    let random = repository.environment.secret();
    let sealed = repository
        .keys()
        .maintain_public()
        .seal(&random, MANIFEST_INFO, &aad, root);
    let sealed = sealed.unwrap();
    let (writer, instance) = (repository.writer(), InstanceId([1; 16]));
    Snapshot {
        stamp: Stamp {
            writer,
            instance,
            number: 2,
        },
        checkpoint: 0,
        time: Timestamp::from_seconds(1),
        nonce,
        heads: Vec::new(),
        certificate: None,
        domain: repository.keys().home().unwrap().id(),
        segments: Vec::new(),
        store: Vec::new(),
        relied_until: None,
        counts: Counts::default(),
        alarm: 0,
        labels: Labels {
            host: Label([0; 16]),
            paths: Label([0; 16]),
            tags: Vec::new(),
        },
        manifest: sealed.clone(),
        body: sealed,
    }
}

/// Flips a bit in the first frame; doing it twice heals it.
pub(crate) fn hurt(repository: &Repository, key: &ObjectKey) {
    let store = repository.objects.store();
    let name = StoreKey::try_from(key.to_string()).unwrap();
    repository.objects.block_on(async {
        let mut body = store
            .get(&name, None, None, 64 << 20)
            .await
            .unwrap()
            .to_vec();
        body[40] ^= 1;
        store
            .put(&name, body.into(), None, Place::OnTop)
            .await
            .unwrap();
    });
}
