//! Frames that were moved: whoever reads finds them by what a signed move says, and believes none of it.

use std::path::Path;

use bytes::Bytes;
use dolmen_core::ledger;
use dolmen_format::index::PackEntry;
use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::pack::{FrameEntry, Origin, PackTable};
use dolmen_format::{InstanceId, ObjectId, ObjectKey, ObjectKind, PackId, Prologue};
use dolmen_state::state::StateFolder;

use super::world::{World, noise};

/// A world whose content is in several packs.
fn world() -> World {
    let world = World::new();
    for number in 0..3 {
        world.write(&format!("large/{number}"), &noise(number, 20 << 20));
    }
    for number in 0..40 {
        world.write(&format!("small/{number}"), &noise(100 + number, 9000));
    }
    world.backup();
    world
}

/// A frame with its bytes, as it lies in a pack.
struct Frame {
    origin: PackId,
    entry: FrameEntry,
    bytes: Vec<u8>,
}

/// A pack's frames, and its origin under its own name.
fn take_apart(path: &Path) -> (PackTable, Origin, Vec<Frame>) {
    let stored = std::fs::read(path).unwrap();
    let id = ObjectId::of(&stored);
    let table = PackTable::decode_pack(&stored).unwrap();
    let mut offset = 16;
    let mut frames = Vec::new();
    for entry in &table.frames {
        let end = offset + entry.frame_bytes as usize;
        frames.push(Frame {
            origin: id,
            entry: entry.clone(),
            bytes: stored[offset..end].to_vec(),
        });
        offset = end;
    }
    let pack = Some(id);
    let origin = Origin {
        pack,
        ..table.origins[0].clone()
    };
    (table, origin, frames)
}

/// Puts frames into a new pack, and says so.
fn put(world: &World, table: &PackTable, origins: Vec<Origin>, frames: Vec<Frame>) -> PackId {
    let runs = frames
        .iter()
        .zip(0..)
        .map(|(frame, position)| MoveRun {
            origin: frame.origin,
            first_ordinal: frame.entry.ordinal,
            count: 1,
            position,
        })
        .collect();
    let number = |origin: &PackId| {
        let is_it = |from: &Origin| from.pack == Some(*origin);
        u32::try_from(origins.iter().position(is_it).unwrap()).unwrap()
    };
    let mut body = Vec::new();
    let mut entries = Vec::new();
    for frame in frames {
        body.extend_from_slice(&frame.bytes);
        entries.push(FrameEntry {
            origin: number(&frame.origin),
            ..frame.entry
        });
    }
    let moved = PackTable {
        recipient: table.recipient,
        origins,
        frames: entries,
    };
    let tail = moved.encode().unwrap();
    body.extend_from_slice(&tail);
    let prologue = Prologue {
        kind: ObjectKind::Pack,
        body_bytes: u32::try_from(body.len()).unwrap(),
    };
    let stored: Vec<u8> = prologue.encode().into_iter().chain(body).collect();
    let (pack, pack_bytes) = (ObjectId::of(&stored), stored.len());
    let key = ObjectKey::Pack(world.repository.writer(), pack);
    let objects = &world.repository.objects;
    objects.put(&key, Bytes::from(stored)).unwrap();
    let entry = PackEntry {
        pack,
        pack_bytes: u32::try_from(pack_bytes).unwrap(),
        table_bytes: u32::try_from(tail.len() - 4).unwrap(),
        checksum: Vec::new(),
        version: String::new(),
    };
    say(world, entry, runs);
    pack
}

fn say(world: &World, pack: PackEntry, runs: Vec<MoveRun>) {
    let state = StateFolder::open(world.path("state")).unwrap();
    let fresh = InstanceId(world.repository.environment.bytes());
    let mut instance = state.claim_instance(&world.repository.id(), fresh).unwrap();
    ledger::write(&world.repository, &mut instance, Fact::Moves { pack, runs }).unwrap();
}

/// Moves what is in all packs of a recipient into one, in another order, and removes them.
fn move_all(world: &World) {
    let mut by_recipient: Vec<(PackTable, Vec<Origin>, Vec<Frame>)> = Vec::new();
    for path in world.packs() {
        let (table, origin, frames) = take_apart(&path);
        let same = by_recipient
            .iter_mut()
            .find(|(known, origins, _)| known.recipient == table.recipient && origins.len() < 2);
        match same {
            Some((_, origins, all)) => {
                origins.push(origin);
                all.extend(frames);
            }
            None => by_recipient.push((table, vec![origin], frames)),
        }
        std::fs::remove_file(path).unwrap();
    }
    for (table, origins, mut frames) in by_recipient {
        frames.reverse();
        put(world, &table, origins, frames);
    }
}

#[test]
fn what_was_moved_is_restored() {
    let world = world();
    move_all(&world);
    let (_, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
}

#[test]
fn what_was_moved_twice_is_restored_from_where_it_is() {
    let world = world();
    for path in world.packs() {
        let (table, origin, mut frames) = take_apart(&path);
        let copies = take_apart(&path).2;
        let first = put(&world, &table, vec![origin.clone()], copies);
        frames.reverse();
        put(&world, &table, vec![origin], frames);
        std::fs::remove_file(&path).unwrap();
        let gone = world.packs();
        let gone = gone.iter().find(|path| path.ends_with(first.to_string()));
        std::fs::remove_file(gone.unwrap()).unwrap();
    }
    let (_, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
}

#[test]
fn a_move_that_lies_changes_nothing() {
    let world = world();
    for path in world.packs() {
        let (table, origin, mut frames) = take_apart(&path);
        // The frames under each other's ordinals, other bytes under the right ones, and a pack that is not there.
        let count = frames.len();
        for (at, frame) in frames.iter_mut().enumerate() {
            frame.entry.ordinal = u32::try_from((at + 1) % count).unwrap();
        }
        put(&world, &table, vec![origin.clone()], frames);
        let mut frames = take_apart(&path).2;
        for frame in &mut frames {
            frame.bytes.reverse();
        }
        put(&world, &table, vec![origin.clone()], frames);
        let absent = PackEntry {
            pack: ObjectId::of(b"absent"),
            pack_bytes: 1000,
            table_bytes: 100,
            checksum: Vec::new(),
            version: String::new(),
        };
        let run = MoveRun {
            origin: origin.pack.unwrap(),
            first_ordinal: 0,
            count: 4095,
            position: 0,
        };
        say(&world, absent, vec![run]);
        // One that is right, and older than none of the lies.
        let frames = take_apart(&path).2;
        put(&world, &table, vec![origin], frames);
        std::fs::remove_file(path).unwrap();
    }
    let (_, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
}

#[test]
fn what_is_there_is_read_where_it_was_written() {
    let world = world();
    for path in world.packs() {
        let (table, origin, mut frames) = take_apart(&path);
        for frame in &mut frames {
            frame.bytes.reverse();
        }
        put(&world, &table, vec![origin], frames);
    }
    let (_, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
}
