//! Frames that were moved are found where they lie now, and a false move changes nothing.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use dolmen_core::index::Index;
use dolmen_core::own;
use dolmen_core::pack::BlobReader;
use dolmen_core::repair::rebuild_index;
use dolmen_core::snapshots::SnapshotList;
use dolmen_core::tree::TreeReader;
use dolmen_format::{InstanceId, PackId};
use dolmen_state::{Instance, StateFolder};

use super::beneath::Deaf;
use super::copied::{Copied, by_recipient, copy};
use super::world::{Notes, World, noise};

fn world() -> World {
    let world = World::new();
    for number in 0..3 {
        world.write(&format!("large/{number}"), &noise(number, 3_000_000));
    }
    for number in 0..50 {
        world.write(&format!("small/{number}"), &noise(1000 + number, 3000));
    }
    world.backup();
    world
}

pub(super) fn instance(world: &World) -> Instance {
    let repository = &world.repository;
    let state = StateFolder::open(world.path("state")).unwrap();
    let fresh = InstanceId(repository.environment.bytes());
    let mut instance = state.claim_instance(&repository.id(), None, fresh).unwrap();
    let list = SnapshotList::load(repository, None).unwrap();
    own::settle(repository, &mut instance, &list, &|_| {}).unwrap();
    instance
}

/// Puts a pack and signs its move. Returns where it lies.
fn publish(world: &World, copied: &Copied) -> PathBuf {
    let (key, _) = copied.publish(&world.repository, &mut instance(world));
    world.path("store").join(key.to_string())
}

/// Some packs as they are stored, by their recipients.
fn groups(packs: &[PathBuf]) -> Vec<Vec<(PathBuf, Vec<u8>)>> {
    let read = packs.iter();
    by_recipient(
        read.map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect(),
    )
}

fn copy_all(group: &[(PathBuf, Vec<u8>)]) -> Copied {
    copy(group.iter().map(|(_, stored)| stored.as_slice()))
}

/// Moves everything and removes it where it was. Returns where it lies now.
fn move_all(world: &World, packs: &[PathBuf]) -> Vec<PathBuf> {
    let groups = groups(packs);
    let moved = groups.iter().map(|group| publish(world, &copy_all(group)));
    let moved = moved.collect();
    for path in packs {
        std::fs::remove_file(path).unwrap();
    }
    moved
}

fn assert_exact(world: &World) {
    let (_, notes) = world.restore();
    assert_eq!(notes.lost(), std::collections::BTreeSet::new());
    world.assert_restored();
    std::fs::remove_dir_all(world.path("target")).unwrap();
}

#[test]
fn a_restore_finds_frames_where_they_were_moved() {
    let world = world();
    let moved = move_all(&world, &world.packs());
    assert_eq!(world.packs().len(), moved.len());
    assert_exact(&world);
    // What was moved can be moved again.
    move_all(&world, &moved);
    assert_exact(&world);
}

#[test]
fn a_damaged_origin_is_read_where_it_was_moved() {
    let world = world();
    let origins = world.packs();
    for group in groups(&origins) {
        publish(&world, &copy_all(&group));
    }
    for path in &origins {
        let bytes = std::fs::metadata(path).unwrap().len();
        std::fs::write(path, noise(9, usize::try_from(bytes).unwrap())).unwrap();
    }
    assert_exact(&world);
}

#[test]
fn false_moves_change_nothing() {
    let world = world();
    let moved = move_all(&world, &world.packs());
    let data = moved
        .iter()
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap();
    let stored = std::fs::read(data).unwrap();
    let again = || copy([stored.as_slice()]);
    let honest = again();
    // Other bytes in the right place.
    let mut garbage = again();
    garbage.bytes[16..].fill(7);
    publish(&world, &garbage);
    // Frames that pass for each other.
    let mut swapped = again();
    let count = swapped.runs.len();
    for at in 0..count {
        swapped.runs[at].position = u32::try_from((at + 1) % count).unwrap();
    }
    publish(&world, &swapped);
    // A whole frame of the same writer that is called another one.
    let mut renamed = again();
    let entries = &mut renamed.table.frames;
    let names: Vec<_> = entries.iter().map(|frame| frame.ordinal).collect();
    for (at, frame) in entries.iter_mut().enumerate() {
        frame.ordinal = names[(at + 1) % count];
    }
    renamed.runs.clone_from(&honest.runs);
    for (run, frame) in renamed.runs.iter_mut().zip(&renamed.table.frames) {
        run.first_ordinal = frame.ordinal;
    }
    publish(&world, &renamed);
    // A pack that is not there, and runs that overlap.
    let (_, mut entry) = honest.seal();
    entry.pack = PackId::of(b"nothing");
    honest.sign(&world.repository, &mut instance(&world), entry.clone());
    let mut overlapping = again();
    for run in &mut overlapping.runs {
        (run.first_ordinal, run.count, run.position) = (0, 4096, 0);
    }
    overlapping.sign(&world.repository, &mut instance(&world), entry);
    assert_exact(&world);
}

#[test]
fn a_reader_goes_on_while_frames_move_again_and_again() {
    let world = world();
    let index = Index::load(&world.repository, None).unwrap();
    let blobs = BlobReader::new(&world.repository, &index.blobs);
    let mut packs = world.packs();
    assert!(!packs.is_empty());
    for _ in 0..4 {
        let tree = world.latest().tree().unwrap();
        // Other frames than those that are still in memory.
        let blobs_again = BlobReader::new(&world.repository, &index.blobs);
        for reader in [&blobs, &blobs_again] {
            let mut raw = Vec::new();
            let mut opener = dolmen_core::pack::reader::FrameOpener::new();
            index.blobs.for_each_pack(|pack, _| {
                reader.open_frame(pack, 0, &mut opener, &mut raw).unwrap();
            });
            assert!(TreeReader::new(reader, tree).all(|entry| entry.is_ok()));
        }
        packs = move_all(&world, &packs);
    }
}

#[test]
fn an_index_is_rebuilt_though_packs_are_gone_whose_frames_moved() {
    let world = world();
    move_all(&world, &world.packs());
    std::fs::remove_dir_all(world.path("store").join("index")).unwrap();
    let mut writer = instance(&world);
    let cancel = AtomicBool::new(false);
    let report = rebuild_index(&world.repository, &mut writer, &Deaf, &cancel).unwrap();
    assert_eq!(report.unreadable, []);
    assert!(report.packs > 0 && report.blobs > 53);
    drop(writer);
    assert_exact(&world);
    // Once is enough.
    let mut writer = instance(&world);
    let again = rebuild_index(&world.repository, &mut writer, &Deaf, &cancel).unwrap();
    assert_eq!((again.packs, again.blobs), (0, 0));
    // Reading finds nothing missing any more.
    let segments = world.latest().snapshot.segments;
    let mut index = Index::load(&world.repository, None).unwrap();
    assert_eq!(index.complete(&world.repository, &segments).unwrap(), 0);
    assert_eq!(index.findings, []);
}

#[test]
fn an_index_that_was_rebuilt_before_frames_moved_misses_nothing() {
    let world = world();
    std::fs::remove_dir_all(world.path("store").join("index")).unwrap();
    let cancel = AtomicBool::new(false);
    let rebuild = || {
        let mut writer = instance(&world);
        rebuild_index(&world.repository, &mut writer, &Deaf, &cancel).unwrap()
    };
    assert!(rebuild().packs > 0);
    move_all(&world, &world.packs());
    let segments = world.latest().snapshot.segments;
    let mut index = Index::load(&world.repository, None).unwrap();
    assert_eq!(index.complete(&world.repository, &segments).unwrap(), 0);
    assert_eq!(rebuild().packs, 0);
    assert_exact(&world);
}

#[test]
fn a_pack_that_a_false_move_names_is_described_all_the_same() {
    let world = world();
    let packs = world.packs();
    for group in groups(&packs) {
        let copied = copy_all(&group);
        for (path, stored) in &group {
            let (_, mut entry) = copied.seal();
            let name = path.file_name().unwrap().to_str().unwrap();
            entry.pack = name.parse().unwrap();
            entry.pack_bytes = u32::try_from(stored.len()).unwrap();
            copied.sign(&world.repository, &mut instance(&world), entry);
        }
    }
    std::fs::remove_dir_all(world.path("store").join("index")).unwrap();
    let segments = world.latest().snapshot.segments;
    let mut index = Index::load(&world.repository, None).unwrap();
    let told = index.complete(&world.repository, &segments).unwrap();
    assert_eq!(told, u64::try_from(packs.len()).unwrap());
    let (mut writer, cancel) = (instance(&world), AtomicBool::new(false));
    let report = rebuild_index(&world.repository, &mut writer, &Deaf, &cancel).unwrap();
    assert_eq!(report.packs, told);
    drop(writer);
    assert_exact(&world);
}

#[test]
fn a_restore_needs_no_index_though_packs_are_gone_whose_frames_moved() {
    let world = world();
    move_all(&world, &world.packs());
    std::fs::remove_dir_all(world.path("store").join("index")).unwrap();
    let segments = world.latest().snapshot.segments;
    let mut index = Index::load(&world.repository, None).unwrap();
    index.complete(&world.repository, &segments).unwrap();
    assert_eq!(index.findings, []);
    let notes = Notes::default();
    world.restore_through(&index, &notes).unwrap();
    assert_eq!(notes.lost(), std::collections::BTreeSet::new());
    world.assert_restored();
}
