//! Manifest nodes that lie in packs of their own, and are moved by compaction like what clients store.

use std::collections::BTreeSet;
use std::sync::Mutex;

use dolmen_core::audit::{self, Counts};
use dolmen_core::backup::{self, Context};
use dolmen_core::check::ReadData;
use dolmen_core::index::Index;
use dolmen_core::pack::BlobReader;
use dolmen_core::restore::{self, Action, FailureKind};
use dolmen_core::tree::TreeReader;
use dolmen_format::pack::{PackTable, Recipient};
use dolmen_format::{ObjectKey, ObjectKind};
use dolmen_state::Compared;

use super::looking::look;
use super::world::{Client, Deaf, World};
use crate::client::noise;

const A: Client = Client("a");
const FRESH: Client = Client("fresh");
const FILE_BYTES: usize = 500;
/// Of so many packs a manifest's root cannot name all.
const PACKS_MIN: u64 = 480;

struct Silent;

impl restore::Observer for Silent {
    fn failed(&self, path: &[u8], reason: &str, _: FailureKind) {
        panic!("{}: {reason}", String::from_utf8_lossy(path));
    }
    fn done(&self, _: &[u8], _: Action, _: u64) {}
    fn notice(&self, _: &str) {}
}

/// Snapshots of so many packs that their manifests do not fit into roots: each file lies in a pack of its own. Those of
/// all but the last few times are over. The client is one process, which loads no more than it must.
fn world() -> (World, u64) {
    let world = World::new();
    let cache = world.path("cache");
    let (mut files, mut instance) = (0, Some(Mutex::new(world.instance(A))));
    while files < PACKS_MIN {
        world.write(A, &format!("file {files}"), files, FILE_BYTES);
        files += 1;
        let snapshots = world.list();
        let index = Index::load(&world.repository, Some(&cache)).unwrap();
        let context = Context {
            repository: &world.repository,
            index: &index,
            snapshots: &snapshots,
            instance: instance.as_ref().unwrap(),
        };
        let progress = backup::Progress::default();
        backup::paths(&context, &world.options(A), &Deaf, &progress).unwrap();
        if files % 6 == 0 && files + 24 < PACKS_MIN {
            drop(instance.take());
            let list = world.list();
            let (_, gone) = list.snapshots.split_last().unwrap();
            world.retire(A, &gone.iter().collect::<Vec<_>>());
            world.outlive();
            world.prune();
            instance = Some(Mutex::new(world.instance(A)));
        }
    }
    (world, files)
}

impl World {
    /// The packs of manifest nodes, and those of them that hold nodes which were written elsewhere.
    fn node_packs(&self) -> (BTreeSet<ObjectKey>, BTreeSet<ObjectKey>) {
        let mut keys = Vec::new();
        let objects = &self.repository.objects;
        objects
            .list("packs/", |object| keys.push(object.key))
            .unwrap();
        let (mut all, mut moved) = (BTreeSet::new(), BTreeSet::new());
        for key in keys {
            let stored = objects.fetch(&key, ObjectKind::Pack).unwrap();
            let table = PackTable::decode_pack(&stored).unwrap();
            if table.recipient != Recipient::Maintain {
                continue;
            }
            all.insert(key);
            if table.origins.iter().any(|origin| origin.pack.is_some()) {
                moved.insert(key);
            }
        }
        (all, moved)
    }

    /// Restores and lists the newest snapshot, and compares it with what was written.
    fn assert_restores(&self, files: u64) {
        let list = self.list();
        let entry = list.snapshots.last().unwrap();
        let mut index = Index::load(&self.repository, None).unwrap();
        index
            .complete(&self.repository, &entry.snapshot.segments)
            .unwrap();
        let blobs = BlobReader::new(&self.repository, &index.blobs);
        let listed = TreeReader::new(&blobs, entry.tree().unwrap());
        let listed = listed.map(Result::unwrap).count();
        assert!(u64::try_from(listed).unwrap() > files, "{listed}");
        let target = self.path("target");
        std::fs::create_dir(&target).unwrap();
        let options = restore::Options {
            subpath: Some(b"/a".to_vec()),
            verify: true,
            ..restore::Options::all_to(target.clone())
        };
        let progress = restore::Progress::default();
        let restored = restore::run(
            &self.repository,
            &index,
            entry,
            &options,
            &Silent,
            &progress,
        );
        assert_eq!(restored.unwrap().errors, 0);
        for file in 0..files {
            let bytes = std::fs::read(target.join(format!("file {file}"))).unwrap();
            assert!(bytes == noise(file, FILE_BYTES), "file {file}");
        }
        std::fs::remove_dir_all(target).unwrap();
    }

    fn assert_audited(&self, compared: &Compared) {
        let scratch = self.path("");
        let options = audit::Options {
            compared,
            ..look(&scratch, ReadData::All)
        };
        let view = audit::look(&self.repository, &options).unwrap();
        assert_eq!(view.counts, Counts::default(), "{:?}", view.troubles);
    }

    /// Whatever reads finds everything.
    fn assert_all_is_well(&self, files: u64, compared: &Compared) {
        self.assert_restores(files);
        self.assert_whole();
        self.assert_audited(compared);
    }
}

#[test]
fn nodes_of_manifests_are_moved_and_everything_goes_on() {
    let (mut world, mut files) = world();
    let (origins, moved) = world.node_packs();
    assert!(origins.len() > 8 && moved.is_empty(), "{origins:?}");
    let mut compared = Compared::default();
    let report = world.compact(&mut compared);
    assert_eq!(report.held, None);
    let (all, moved) = world.node_packs();
    assert_eq!((moved.len(), all.len()), (1, origins.len() + 1));
    world.assert_all_is_well(files, &compared);

    // The origins go: from here on nodes are found by the move alone.
    world.outlive();
    assert!(world.prune_knowing(&compared).deleted.objects > 400);
    let (left, _) = world.node_packs();
    assert!(origins.is_disjoint(&left), "{left:?}");
    world.assert_all_is_well(files, &compared);

    // A backup builds upon moved nodes, and one of them changes.
    let packs_before = world.packed_bytes();
    world.write(A, &format!("file {files}"), files, FILE_BYTES);
    files += 1;
    world.backup(A);
    assert!(world.packed_bytes() < packs_before + 100_000);
    world.assert_all_is_well(files, &compared);

    // So does whoever knows nothing of moves but what the store tells.
    world.reopen();
    for file in 0..files {
        world.write(FRESH, &format!("file {file}"), file, FILE_BYTES);
    }
    world.backup(FRESH);
    world.assert_whole();
    world.assert_audited(&Compared::default());
    world.outlive();
    world.prune();
    world.compact(&mut compared);
    world.prune_knowing(&compared);
    world.assert_whole();
    world.assert_audited(&compared);
}
