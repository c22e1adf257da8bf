//! Frames that were moved are found where they lie now, and a false move changes nothing.

use std::path::PathBuf;

use dolmen_core::index::Index;
use dolmen_core::pack::BlobReader;
use dolmen_core::snapshots::SnapshotList;
use dolmen_core::tree::TreeReader;
use dolmen_core::{Repository, ledger, own};
use dolmen_format::index::PackEntry;
use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::pack::{Origin, PackTable, TRAILER_BYTES};
use dolmen_format::{InstanceId, ObjectId, ObjectKey, ObjectKind, PackId, Prologue};
use dolmen_state::StateFolder;

use super::world::{World, noise};

/// Frames and the pack that they are written into.
struct Copied {
    bytes: Vec<u8>,
    table: PackTable,
    runs: Vec<MoveRun>,
}

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

/// Copies all frames of some packs of one recipient, as they are, the last of each pack first.
fn copy(packs: &[PathBuf]) -> Copied {
    let (mut bytes, mut runs) = (vec![0; 16], Vec::new());
    let (mut origins, mut frames): (Vec<Origin>, Vec<_>) = Default::default();
    let mut recipient = None;
    for path in packs {
        let stored = std::fs::read(path).unwrap();
        let own = ObjectId::of(&stored);
        let table = PackTable::decode_pack(&stored).unwrap();
        recipient = Some(table.recipient);
        let first_origin = u32::try_from(origins.len()).unwrap();
        origins.extend(table.origins.iter().map(|origin| Origin {
            pack: Some(origin.pack.unwrap_or(own)),
            ..origin.clone()
        }));
        let mut ends: Vec<usize> = vec![16];
        for frame in &table.frames {
            ends.push(ends[ends.len() - 1] + usize::try_from(frame.frame_bytes).unwrap());
        }
        for (at, frame) in table.frames.iter().enumerate().rev() {
            bytes.extend_from_slice(&stored[ends[at]..ends[at + 1]]);
            let mut frame = frame.clone();
            frame.origin += first_origin;
            runs.push(MoveRun {
                origin: origins[usize::try_from(frame.origin).unwrap()]
                    .pack
                    .unwrap(),
                first_ordinal: frame.ordinal,
                count: 1,
                position: u32::try_from(frames.len()).unwrap(),
            });
            frames.push(frame);
        }
    }
    let recipient = recipient.unwrap();
    let table = PackTable {
        recipient,
        origins,
        frames,
    };
    Copied { bytes, table, runs }
}

impl Copied {
    /// The pack as stored, and what a move says of it.
    fn seal(&self) -> (Vec<u8>, PackEntry) {
        let mut bytes = self.bytes.clone();
        let table = self.table.encode().unwrap();
        bytes.extend_from_slice(&table);
        let prologue = Prologue {
            kind: ObjectKind::Pack,
            body_bytes: u32::try_from(bytes.len() - 16).unwrap(),
        };
        bytes[..16].copy_from_slice(&prologue.encode());
        let entry = PackEntry {
            pack: PackId::of(&bytes),
            pack_bytes: u32::try_from(bytes.len()).unwrap(),
            table_bytes: u32::try_from(table.len() - TRAILER_BYTES).unwrap(),
            checksum: Vec::new(),
            version: String::new(),
        };
        (bytes, entry)
    }

    /// Puts the pack and signs the move. Returns where the pack lies.
    fn publish(&self, world: &World) -> PathBuf {
        let (bytes, entry) = self.seal();
        let key = ObjectKey::Pack(world.repository.writer(), entry.pack);
        world.repository.objects.put(&key, bytes.into()).unwrap();
        self.sign(world, entry);
        world.path("store").join(key.to_string())
    }

    fn sign(&self, world: &World, pack: PackEntry) {
        let repository: &Repository = &world.repository;
        let state = StateFolder::open(world.path("state")).unwrap();
        let fresh = InstanceId(repository.environment.bytes());
        let mut instance = state.claim_instance(&repository.id(), fresh).unwrap();
        let list = SnapshotList::load(repository, None).unwrap();
        own::settle(repository, &mut instance, &list, &|_| {}).unwrap();
        let runs = self.runs.clone();
        ledger::write(repository, &mut instance, Fact::Moves { pack, runs }).unwrap();
    }
}

/// The packs by their recipients: each can only be moved together with its like.
fn by_recipient(packs: &[PathBuf]) -> Vec<Vec<PathBuf>> {
    let recipient = |path: &PathBuf| {
        let stored = std::fs::read(path).unwrap();
        format!("{:?}", PackTable::decode_pack(&stored).unwrap().recipient)
    };
    let mut packs = packs.to_vec();
    packs.sort_by_key(recipient);
    let groups = packs.chunk_by(|a, b| recipient(a) == recipient(b));
    groups.map(<[PathBuf]>::to_vec).collect()
}

/// Moves everything and removes it where it was. Returns where it lies now.
fn move_all(world: &World, packs: &[PathBuf]) -> Vec<PathBuf> {
    let groups = by_recipient(packs);
    let moved = groups.iter().map(|group| copy(group).publish(world));
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
    for group in by_recipient(&origins) {
        copy(&group).publish(&world);
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
    let honest = copy(std::slice::from_ref(data));
    // Other bytes in the right place.
    let mut garbage = copy(std::slice::from_ref(data));
    garbage.bytes[16..].fill(7);
    garbage.publish(&world);
    // Frames that pass for each other.
    let mut swapped = copy(std::slice::from_ref(data));
    let count = swapped.runs.len();
    for at in 0..count {
        swapped.runs[at].position = u32::try_from((at + 1) % count).unwrap();
    }
    swapped.publish(&world);
    // A whole frame of the same writer that is called another one.
    let mut renamed = copy(std::slice::from_ref(data));
    let entries = &mut renamed.table.frames;
    let names: Vec<_> = entries.iter().map(|frame| frame.ordinal).collect();
    for (at, frame) in entries.iter_mut().enumerate() {
        frame.ordinal = names[(at + 1) % count];
    }
    renamed.runs.clone_from(&honest.runs);
    for (run, frame) in renamed.runs.iter_mut().zip(&renamed.table.frames) {
        run.first_ordinal = frame.ordinal;
    }
    renamed.publish(&world);
    // A pack that is not there, and runs that overlap.
    let (_, mut entry) = honest.seal();
    entry.pack = PackId::of(b"nothing");
    honest.sign(&world, entry.clone());
    let mut overlapping = copy(std::slice::from_ref(data));
    for run in &mut overlapping.runs {
        (run.first_ordinal, run.count, run.position) = (0, 4096, 0);
    }
    overlapping.sign(&world, entry);
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
        let tree = world.latest().body.tree.unwrap();
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
