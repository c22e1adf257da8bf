use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dolmen_format::index::PackEntry;
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_format::manifest::FrameSet;
use dolmen_format::signed::Stamp;
use dolmen_format::snapshot::{Counts, Labels};
use dolmen_format::{InstanceId, Label, Nonce, ObjectKey, Timestamp};
use dolmen_state::index::{BlobIndex, PackInfo};
use dolmen_store::{MemoryOptions, MemoryStore};

use super::*;
use crate::check::{Observer, packs, sink::Sink};
use crate::environment::{Clock, Environment, Random};
use crate::finding::Finding;
use crate::manifest::write_manifest;
use crate::objects::Objects;
use crate::pack::{FinishedPack, PackListener};
use crate::repository::Repository;

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

struct Deaf;

impl Observer for Deaf {
    fn finding(&self, _: &Finding) {}
    fn notice(&self, _: &str) {}
}

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

fn repository(runtime: &tokio::runtime::Runtime) -> Repository {
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

fn snapshot(repository: &Repository, root: &[u8]) -> Snapshot {
    let nonce = Nonce([3; 16]);
    let aad = Snapshot::box_aad(&repository.id(), &nonce);
    let random = repository.environment.secret();
    let sealed = repository
        .maintain_key()
        .public()
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
        domain: repository.domain().id(),
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

/// Reads a snapshot's manifest with all that was stored in view.
fn read(repository: &Repository, index: &BlobIndex, snapshot: &Snapshot) -> Checked<Named> {
    let (sink, progress) = (Sink::new(&Deaf), Progress::default());
    let health = packs::compare(repository, index, &sink)?;
    let (blobs, numbers) = (BlobReader::new(repository, index), FrameNumbers::new(index));
    Manifests::new(&blobs, &health, &numbers, &progress).read(snapshot)
}

#[test]
fn a_large_manifest_is_read_down_to_its_leaves() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let repository = repository(&runtime);
    let (index, _) = BlobIndex::open(None, &[]).unwrap();
    let mut frames = FrameSet::default();
    assert!(frames.insert(5));
    // Packs that the index does not know: enough for three levels.
    let packs = (0_u64..60_000).map(|number| PackId::of(&number.to_le_bytes()));
    let needed: BTreeMap<_, _> = packs.map(|pack| (pack, frames.clone())).collect();
    let root = write_manifest(&repository, &index, &needed, &Deaf).unwrap();
    assert!(ManifestNode::decode(&root).unwrap().level() >= 1);
    let snapshot = snapshot(&repository, &root);
    let found = read(&repository, &index, &snapshot).unwrap().unwrap();
    let mut unknown = found.unknown;
    unknown.sort();
    assert!(unknown.iter().eq(needed.keys()));
    assert_eq!(found.missing, []);

    // One byte of one pack of nodes.
    let mut packs = Vec::new();
    repository
        .objects
        .list("packs/", |object| packs.push(object.key))
        .unwrap();
    assert!(!packs.is_empty());
    for key in packs {
        hurt(&repository, &key);
        assert!(
            read(&repository, &index, &snapshot).unwrap().is_err(),
            "{key}"
        );
        hurt(&repository, &key);
    }
    assert!(read(&repository, &index, &snapshot).unwrap().is_ok());
}

/// Flips a bit in the first frame; doing it twice heals it.
fn hurt(repository: &Repository, key: &ObjectKey) {
    use dolmen_store::{Place, StoreKey};
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
