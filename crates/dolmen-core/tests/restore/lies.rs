//! Index segments with a good signature that lie: whoever holds a copy of the passphrase can sign them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use dolmen_core::check::{self, ReadData};
use dolmen_core::index::Index;
use dolmen_core::pack::BlobReader;
use dolmen_core::repair::rebuild_index;
use dolmen_core::tree::TreeReader;
use dolmen_format::index::{IndexedFrame, PackEntry, Segment, decode_frames, encode_frames};
use dolmen_format::ledger::LockStrategy;
use dolmen_format::{InstanceId, ObjectKey, ObjectKind, PackId, Salt, SegmentId, Timestamp};
use dolmen_state::state::Remembered;
use dolmen_store::{MemoryOptions, MemoryStore, ObjectRef, Store, StoreKey};

use super::beneath::Deaf;
use super::moves;
use super::world::{Notes, World, noise};

/// A pack as a segment describes it.
type Described = (PackEntry, Vec<IndexedFrame>);

/// What a lying segment makes of the packs that an honest one describes.
type Lie = fn(&mut [Described]);

/// Each frame is said to hold what the next one holds.
fn in_wrong_frames(packs: &mut [Described]) {
    for (_, frames) in packs {
        let mut blobs: Vec<_> = frames.iter().map(|frame| frame.blobs.clone()).collect();
        blobs.rotate_left(1);
        for (frame, blobs) in frames.iter_mut().zip(blobs) {
            frame.raw_bytes = blobs.iter().map(|blob| blob.length).sum();
            frame.blobs = blobs;
        }
    }
}

/// The blobs of a frame in another order.
fn at_wrong_offsets(packs: &mut [Described]) {
    for frame in packs.iter_mut().flat_map(|(_, frames)| frames) {
        frame.blobs.reverse();
    }
}

/// Frames of other sizes, in a pack of another size.
fn of_wrong_sizes(packs: &mut [Described]) {
    for (entry, frames) in packs {
        entry.pack_bytes += 7;
        entry.table_bytes += 1;
        for frame in frames {
            frame.frame_bytes += 1;
        }
    }
}

/// A pack's last frames are not told of.
fn with_frames_left_out(packs: &mut [Described]) {
    for (_, frames) in packs {
        frames.truncate(1);
    }
}

/// All is in packs that do not exist.
fn in_packs_that_are_not_there(packs: &mut [Described]) {
    for (entry, _) in packs {
        entry.pack = PackId::of(entry.pack.as_bytes());
    }
}

/// Each pack is said to hold what another one holds.
fn in_one_anothers_packs(packs: &mut [Described]) {
    let mut all: Vec<_> = packs.iter().map(|(_, frames)| frames.clone()).collect();
    all.rotate_left(1);
    for ((_, frames), others) in packs.iter_mut().zip(all) {
        *frames = others;
    }
}

const LIES: [Lie; 6] = [
    in_wrong_frames,
    at_wrong_offsets,
    of_wrong_sizes,
    with_frames_left_out,
    in_packs_that_are_not_there,
    in_one_anothers_packs,
];

fn segments(world: &World) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    let objects = &world.repository.objects;
    objects
        .list("index/", |object| keys.push(object.key))
        .unwrap();
    keys
}

/// One segment that says of all packs in `honest` what `lie` makes of the truth.
fn forge(world: &World, honest: &[ObjectKey], lie: Lie) -> (Bytes, SegmentId) {
    let repository = &world.repository;
    let (id, domain) = (repository.id(), repository.keys().home().unwrap());
    let (mut packs, mut any) = (Vec::new(), None);
    for key in honest {
        let stored = repository.objects.fetch(key, ObjectKind::Index).unwrap();
        let mut segment = dolmen_format::signed::decode::<Segment>(&stored)
            .unwrap()
            .body;
        let plain = domain.open_segment(&id, &segment.salt, &mut segment.blobs);
        let entries = segment.packs.clone();
        decode_frames(plain.unwrap(), entries.len(), |at, frames| {
            packs.push((entries[at].clone(), frames));
        })
        .unwrap();
        any = Some(segment);
    }
    lie(&mut packs);
    let mut segment = any.unwrap();
    let mut plain = Vec::new();
    for (_, frames) in &packs {
        encode_frames(frames, &mut plain);
    }
    segment.packs = packs.into_iter().map(|(entry, _)| entry).collect();
    segment.salt = Salt(repository.environment.bytes());
    segment.blobs = domain.seal_segment(&id, &segment.salt, plain).unwrap();
    let (stored, forged) = repository.keys().signing().sign(&id, &segment).unwrap();
    (Bytes::from(stored), forged)
}

/// Puts a segment that was forged.
fn put(world: &World, (stored, forged): (Bytes, SegmentId)) -> SegmentId {
    let repository = &world.repository;
    let key = ObjectKey::Index(repository.writer(), forged);
    repository.objects.put(&key, stored).unwrap();
    forged
}

/// Puts a lie about all that the store's segments describe.
fn plant(world: &World, lie: Lie) -> SegmentId {
    put(world, forge(world, &segments(world), lie))
}

/// What a client with only the passphrase reads, and what a check says of it.
fn assert_exact(world: &mut World, store: &Arc<dyn Store>) {
    world.reopen(Arc::clone(store));
    let mut index = Index::load(&world.repository, None).unwrap();
    let snapshot = world.latest();
    index
        .complete(&world.repository, &snapshot.snapshot.segments)
        .unwrap();
    if let Some(root) = snapshot.tree() {
        let blobs = BlobReader::new(&world.repository, &index.blobs);
        let read = TreeReader::new(&blobs, root).flatten();
        let counts = snapshot.snapshot.counts;
        assert!(read.count() as u64 >= counts.files + counts.directories);
    }
    let notes = Notes::default();
    let report = world.restore_through(&index, &notes).unwrap();
    notes.assert_clean();
    assert_eq!(report.errors, 0);
    world.assert_restored();
    std::fs::remove_dir_all(world.path("target")).unwrap();
    let options = check::Options {
        read_data: ReadData::All,
        threads: 2,
        cache: None,
        remembered: Remembered::default(),
        at: None,
    };
    let progress = check::Progress::default();
    let report = check::run(&world.repository, &options, &Deaf, &progress).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.snapshots_damaged, 0);
    assert!(!report.suggest_repair_index);
}

/// Two backups.
fn begin(strategy: LockStrategy) -> (World, Arc<dyn Store>) {
    let options = match strategy {
        LockStrategy::None => MemoryOptions::PLAIN,
        _ => MemoryOptions::LOCKS,
    };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(options));
    let world = World::with_lock(strategy, |_| Arc::clone(&store));
    for small in 0..12_u64 {
        world.write(&format!("small/{small}"), &noise(small, 90_000));
    }
    world.write("large", &noise(100, 3_000_000));
    world.backup();
    world.write("more", &noise(101, 700_000));
    world.backup();
    (world, store)
}

/// Lies before and between backups; after each step everything is exact.
fn suffer(lie: Lie, strategy: LockStrategy) {
    let (mut world, store) = begin(strategy);
    let planted = plant(&world, lie);
    assert_exact(&mut world, &store);
    // A client that was there, and one that has lost its state, build upon what is true.
    for state_is_lost in [false, true] {
        if state_is_lost {
            std::fs::remove_dir_all(world.path("state")).unwrap();
        }
        world.write("another", &noise(u64::from(state_is_lost), 400_000));
        world.write("small/3", &noise(u64::from(state_is_lost), 90_000));
        world.backup();
        let listed = world.latest().snapshot.segments;
        assert!(!listed.contains(&planted));
        assert_exact(&mut world, &store);
    }
}

#[test]
fn lies_change_nothing_where_nothing_is_locked() {
    for lie in LIES {
        suffer(lie, LockStrategy::None);
    }
}

#[test]
fn lies_change_nothing_where_all_is_locked() {
    for lie in LIES {
        suffer(lie, LockStrategy::Compliance);
    }
}

#[test]
fn lies_come_before_the_truth_and_change_nothing() {
    // What is found first depends on the order of the segments' names.
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(MemoryOptions::PLAIN));
    let mut world = World::in_store(|_| Arc::clone(&store));
    world.write("a", &noise(1, 3_000_000));
    world.write("b", &noise(2, 90_000));
    world.backup();
    let honest = segments(&world);
    for lie in LIES {
        // Each salt makes another name: about every second one comes first.
        let first = std::iter::repeat_with(|| forge(&world, &honest, lie))
            .find(|(_, forged)| {
                let key = ObjectKey::Index(world.repository.writer(), *forged);
                honest.iter().all(|truth| key < *truth)
            })
            .unwrap();
        put(&world, first);
    }
    assert_exact(&mut world, &store);
    world.write("c", &noise(3, 90_000));
    world.backup();
    assert_exact(&mut world, &store);
}

/// Plants a snapshot of an instance that nobody knows, which lists a segment.
fn plant_snapshot(world: &World, segment: SegmentId) {
    let repository = &world.repository;
    let mut snapshot = world.latest().snapshot;
    snapshot.stamp.instance = InstanceId(repository.environment.bytes());
    snapshot.stamp.number = 1;
    snapshot.heads.clear();
    snapshot.segments = vec![segment];
    // Older than the honest ones: the latest one is theirs.
    snapshot.time = Timestamp::from_seconds(0);
    let signed = repository
        .keys()
        .signing()
        .sign(&repository.id(), &snapshot);
    let (stored, id) = signed.unwrap();
    let key = ObjectKey::Snapshot(repository.writer(), id);
    repository.objects.put(&key, Bytes::from(stored)).unwrap();
}

#[test]
fn lies_that_a_planted_snapshot_lists_change_nothing() {
    for strategy in [LockStrategy::None, LockStrategy::Compliance] {
        for lie in LIES {
            let (mut world, store) = begin(strategy);
            let planted = plant(&world, lie);
            plant_snapshot(&world, planted);
            assert_exact(&mut world, &store);
            world.write("another", &noise(7, 400_000));
            world.backup();
            assert_exact(&mut world, &store);
            // Where nothing is locked, one that lost its state believes the chains: the packs themselves decide.
            std::fs::remove_dir_all(world.path("state")).unwrap();
            world.write("small/3", &noise(8, 90_000));
            world.backup();
            assert_exact(&mut world, &store);
        }
    }
}

#[test]
fn lies_change_nothing_where_all_that_is_true_was_deleted() {
    for lie in LIES {
        let (mut world, store) = begin(LockStrategy::None);
        let honest = segments(&world);
        plant(&world, lie);
        for key in honest {
            let objects = &world.repository.objects;
            let mut copies = Vec::new();
            let listed = |object: dolmen_core::objects::Listed| copies.extend(object.copies);
            objects.list(&key.to_string(), listed).unwrap();
            for copy in copies {
                let object = ObjectRef {
                    key: StoreKey::try_from(key.to_string().as_str()).unwrap(),
                    version: copy.version,
                };
                objects
                    .block_on(objects.store().delete_version(&object))
                    .unwrap();
            }
        }
        world.reopen(Arc::clone(&store));
        let mut index = Index::load(&world.repository, None).unwrap();
        let listed = world.latest().snapshot.segments;
        assert!(index.complete(&world.repository, &listed).unwrap() > 0);
        let notes = Notes::default();
        let report = world.restore_through(&index, &notes).unwrap();
        assert_eq!(report.errors, 0);
        world.assert_restored();
    }
}

/// The truth, but for one frame of the last pack.
fn of_the_last_pack(packs: &mut [Described]) {
    packs.last_mut().unwrap().1[0].frame_bytes += 1;
}

#[test]
fn a_rebuilt_index_says_again_what_only_a_liar_says() {
    let world = World::new();
    for number in 0..3 {
        world.write("a", &noise(number, 3_000_000));
        world.backup();
    }
    let honest = segments(&world);
    let liar = plant(&world, of_the_last_pack);
    for key in honest {
        std::fs::remove_file(world.path("store").join(key.to_string())).unwrap();
    }
    let rebuild = || {
        let (mut writer, cancel) = (moves::instance(&world), AtomicBool::new(false));
        let report = rebuild_index(&world.repository, &mut writer, &Deaf, &cancel).unwrap();
        (report.packs, writer.record().segments.clone())
    };
    let (packs, believed) = rebuild();
    assert_eq!(packs, u64::try_from(world.packs().len()).unwrap());
    assert_eq!(believed.len(), 1);
    assert!(!believed.contains(&liar));
    assert_eq!(rebuild(), (0, believed));
}
