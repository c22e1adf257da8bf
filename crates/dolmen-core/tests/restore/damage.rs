//! What is lost with what is damaged, and what is not.

use std::collections::BTreeSet;
use std::path::Path;

use dolmen_core::restore::FailureKind;

use crate::world::{Notes, World, noise, picture};

/// Large files in packs of their own, so that each pack holds only some of them.
fn world() -> World {
    let world = World::new();
    for number in 0..6 {
        world.write(&format!("large/{number}"), &noise(number, 12 << 20));
    }
    for number in 0..50 {
        world.write(&format!("small/{number}"), &noise(1000 + number, 3000));
    }
    world.backup();
    world
}

/// Everything that is not named as lost is there and right; what is lost is not there at all.
fn assert_honest(world: &World, notes: &Notes) -> BTreeSet<String> {
    let lost = notes.lost();
    let wanted = picture(&world.path("source"));
    let found = picture(&world.path("target"));
    for (path, seen) in &wanted {
        let name = String::from_utf8(path.clone()).unwrap();
        if lost.contains(&name) {
            assert!(!found.contains_key(path), "{name} is lost and there");
        } else {
            assert_eq!(Some(seen), found.get(path), "{name}");
        }
    }
    let kinds: BTreeSet<bool> = notes
        .failed
        .lock()
        .unwrap()
        .iter()
        .map(|(.., kind)| *kind == FailureKind::Damage)
        .collect();
    assert!(
        !kinds.contains(&false),
        "{:?}",
        notes.failed.lock().unwrap()
    );
    lost
}

/// Hurts an object; what is returned heals it.
fn hurt(path: &Path, how: impl FnOnce(&mut Vec<u8>)) -> Box<dyn FnOnce()> {
    let whole = std::fs::read(path).unwrap();
    let mut body = whole.clone();
    how(&mut body);
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, body).unwrap();
    let path = path.to_owned();
    Box::new(move || {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, whole).unwrap();
    })
}

/// Hurts the bytes of a pack.
type How = fn(&mut Vec<u8>);

/// Flips a bit where the table begins, with what opens the pack.
fn flip_key(body: &mut [u8]) {
    let end = body.len() - 4;
    let table_bytes = u32::from_le_bytes(body[end..].try_into().unwrap());
    body[end - usize::try_from(table_bytes).unwrap() + 600] ^= 1;
}

#[test]
fn a_damaged_pack_loses_only_what_is_in_it() {
    let world = world();
    let pack = world.packs().pop().unwrap();
    let ways: [(&str, How, usize); 4] = [
        ("a flipped bit in a frame", |body| body[1_000_000] ^= 1, 1),
        ("a flipped bit in the sealed key", |body| flip_key(body), 2),
        ("cut short", |body| body.truncate(20_000_000), 2),
        ("emptied", Vec::clear, 2),
    ];
    for (name, how, lost_min) in ways {
        let heal = hurt(&pack, how);
        let (report, notes) = world.restore();
        let lost = assert_honest(&world, &notes);
        assert!(
            lost.len() >= lost_min && lost.len() <= 5,
            "{name}: {lost:?}"
        );
        assert_eq!(
            (report.errors, report.damaged),
            (lost.len() as u64, lost.len() as u64)
        );
        heal();
        std::fs::remove_dir_all(world.path("target")).unwrap();
    }
    std::fs::remove_file(&pack).unwrap();
    let (_, notes) = world.restore();
    assert!(assert_honest(&world, &notes).len() >= 2, "removed");
}

#[test]
fn a_file_that_is_there_is_left_alone_when_nothing_of_it_can_be_had() {
    let world = World::new();
    world.write("a", &noise(1, 200_000));
    world.backup();
    world.write_target("a", b"old");
    for pack in world.packs().iter().rev().take(1) {
        drop(hurt(pack, |body| body[5000] ^= 1));
    }
    let (report, notes) = world.restore();
    assert_eq!((report.damaged, report.files_restored), (1, 0));
    assert_eq!(notes.lost(), ["/a".to_owned()].into());
    assert!(
        notes.failed.lock().unwrap()[0]
            .1
            .contains("is left as it was")
    );
    assert_eq!(std::fs::read(world.target("a")).unwrap(), b"old");
}

#[test]
fn a_half_updated_file_keeps_what_the_snapshot_cannot_give_back() {
    let world = World::new();
    let content = noise(1, 30 << 20);
    world.write("a", &content);
    world.backup();
    let mut old = content;
    for at in (0..old.len()).step_by(100_000) {
        old[at] ^= 1;
    }
    world.write_target("a", &old);
    let pack = world.packs().pop().unwrap();
    drop(hurt(&pack, |body| body[10_000_000] ^= 1));
    let (_, notes) = world.restore();
    assert_eq!(notes.lost(), ["/a".to_owned()].into());
    assert!(notes.failed.lock().unwrap()[0].1.contains("INCOMPLETE"));
    let found = std::fs::read(world.target("a")).unwrap();
    let wanted = std::fs::read(world.source("a")).unwrap();
    let strange = found.iter().zip(&wanted).zip(&old);
    let strange = strange.filter(|((found, wanted), old)| found != wanted && found != old);
    assert_eq!((found.len(), strange.count()), (wanted.len(), 0));
}

#[test]
fn another_copy_of_a_blob_stands_in() {
    let world = World::new();
    world.write("a", &noise(1, 200_000));
    world.backup();
    let first: BTreeSet<_> = world.packs().into_iter().collect();
    // Without its index, the next backup stores everything again.
    let hidden = world.path("hidden");
    std::fs::rename(world.path("store/index"), &hidden).unwrap();
    world.backup();
    for writer in std::fs::read_dir(&hidden).unwrap() {
        let writer = writer.unwrap();
        for segment in std::fs::read_dir(writer.path()).unwrap() {
            let segment = segment.unwrap();
            let to = world
                .path("store/index")
                .join(writer.file_name())
                .join(segment.file_name());
            std::fs::rename(segment.path(), to).unwrap();
        }
    }
    let all: BTreeSet<_> = world.packs().into_iter().collect();
    assert!(all.len() > first.len());
    for packs in [&first, &all.difference(&first).cloned().collect()] {
        let heals: Vec<_> = packs
            .iter()
            .map(|pack| hurt(pack, |body| body[2000..2100].fill(7)))
            .collect();
        world.restore().1.assert_clean();
        world.assert_restored();
        std::fs::remove_dir_all(world.path("target")).unwrap();
        for heal in heals {
            heal();
        }
    }
}

#[test]
fn a_lost_tree_node_loses_a_range_that_is_named_and_deletes_nothing() {
    let mut world = World::new();
    // Each directory has several leaves.
    for number in 0..3000 {
        world.write(&format!("{}/{number}", number % 3), b"x");
    }
    world.backup();
    world.write_target("1/not in the snapshot", b"x");
    world.options.delete = true;
    // Nodes are in frames of their own kind; damaging all frames of one pack in turn hits them.
    let pack = world.packs().pop().unwrap();
    let length = usize::try_from(std::fs::metadata(&pack).unwrap().len()).unwrap();
    let mut ranges = 0;
    for at in (1000..length - 1000).step_by(length / 12) {
        let heal = hurt(&pack, |body| body[at] ^= 1);
        let (report, notes) = world.restore();
        let failed = notes.failed.lock().unwrap();
        let lost = failed
            .iter()
            .filter(|(_, reason, _)| reason.contains("all entries from here"));
        ranges += lost.count();
        assert!(report.damaged > 0 || report.errors == 0);
        if failed
            .iter()
            .any(|(path, ..)| path.starts_with("/1/") || path == "/")
        {
            assert!(world.target("1/not in the snapshot").exists());
        }
        drop(failed);
        heal();
        world.write_target("1/not in the snapshot", b"x");
    }
    assert!(ranges > 0, "no node was hit");
}
