//! What is restored is what was backed up.

use std::os::unix::fs::{MetadataExt as _, symlink};

use dolmen_core::restore::{Action, Report};
use dolmen_fs::{Node, PathKey, Replace, Xattr};

use crate::world::{Maker, World, is_root, noise};

fn key(path: &str) -> PathKey {
    PathKey::from_path(path.as_bytes()).unwrap()
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr {
        name: name.as_bytes().to_vec(),
        value: value.to_vec(),
    }
}

/// A tree with everything that the format carries.
fn make_hostile_tree(world: &World) {
    let maker = Maker::new(&world.path("source"));
    let odd = PathKey::root().join(b"\xff\n \x01\x1b[2J");
    maker.directory(&odd);
    maker.file(&odd.join(b"\xc3\x28"), b"not UTF-8");
    maker.file(&odd.join(&[b'n'; 255]), b"longest name");
    let mut deep = key("/deep");
    for _ in 0..600 {
        maker.directory(&deep);
        deep = deep.join(b"directory");
    }
    maker.directory(&deep);
    maker.file(&deep.join(b"file"), b"far below");
    maker.apply(&deep, 0o500, (0, 0), &[]);
    world.write("empty", b"");
    world.write("small", b"small");
    world.write("medium", &noise(1, 300_000));
    world.write("large", &noise(2, 9_000_000));
    world.write("zeros", &vec![0; 3_000_000]);
    for number in 0..3000 {
        world.write(
            &format!("many/{}/{number}", number % 13),
            &noise(number % 2000, 900),
        );
    }
    for name in ["second", "many/third", "0 first"] {
        std::fs::hard_link(world.source("large"), world.source(name)).unwrap();
    }
    symlink("../nowhere", world.source("dangling")).unwrap();
    symlink("/", world.source("many/root")).unwrap();
    std::fs::hard_link(world.source("dangling"), world.source("dangling too")).unwrap();
    maker
        .target()
        .make_node(&key("/pipe"), Node::Fifo, Replace::Nothing)
        .unwrap();
    world.write("program", b"#!/bin/sh\n");
    maker.apply(
        &key("/program"),
        0o6755,
        (0, 0),
        &[xattr("user.comment", b"\x00\xffvalue")],
    );
    world.write("private/read-only", b"x");
    // Others than root cannot read what they may not read.
    let (file_mode, mode) = if is_root() { (0, 0o1) } else { (0o400, 0o500) };
    maker.apply(&key("/private/read-only"), file_mode, (0, 0), &[]);
    maker.apply(
        &key("/private"),
        mode,
        (0, 0),
        &[xattr("user.directory", b"")],
    );
}

fn make_what_only_root_can(world: &World) {
    let maker = Maker::new(&world.path("source"));
    let device = Node::CharDevice {
        major: 5,
        minor: 300,
    };
    let made = maker
        .target()
        .make_node(&key("/device"), device, Replace::Nothing);
    if made.is_ok() {
        maker.apply(&key("/device"), 0o640, (0, 6), &[]);
    }
    world.write("owned", b"x");
    // A POSIX access control list: user::rw-, user:1234:r--, group::r--, mask::rw-, other::r--.
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in [
        (1, 6, -1_i32),
        (2, 4, 1234),
        (4, 4, -1),
        (16, 6, -1),
        (32, 4, -1),
    ] {
        list.extend([tag, 0, rights, 0]);
        list.extend(id.to_le_bytes());
    }
    let list = Xattr {
        name: b"system.posix_acl_access".to_vec(),
        value: list,
    };
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    world.write("capable", b"x");
    maker.apply(&key("/owned"), 0o664, (1234, 4_000_000_000), &[list]);
    maker.apply(
        &key("/capable"),
        0o755,
        (7, 7),
        &[xattr("security.capability", &capability)],
    );
    symlink("x", world.source("owned link")).unwrap();
    maker.apply(&key("/owned link"), 0o777, (1234, 5678), &[]);
}

#[test]
fn a_hostile_tree_comes_back_as_it_was() {
    let mut world = World::new();
    world.options.verify = true;
    make_hostile_tree(&world);
    if is_root() {
        make_what_only_root_can(&world);
    }
    world.backup();
    let (report, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
    let entries = notes.done.lock().unwrap().len() as u64;
    let Report {
        total_files,
        files_restored,
        verified_files,
        errors,
        damaged,
        ..
    } = report;
    assert_eq!(
        (total_files, files_restored, errors, damaged),
        (entries, entries, 0, 0)
    );
    assert!(verified_files > 3000);
    assert_eq!(report.bytes_restored, report.total_bytes);
    assert_eq!(notes.paths(Action::Restored).len() as u64, entries);

    // Again, over itself: nothing is written, and nothing changes.
    let (report, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
    assert_eq!(notes.paths(Action::Updated), [""; 0]);
    assert!(report.files_skipped > 3000, "{report:?}");
}

#[test]
fn whole_paths_are_recreated_below_the_target() {
    let mut world = World::new();
    world.write("a", b"x");
    std::fs::set_permissions(
        world.path("source"),
        std::os::unix::fs::PermissionsExt::from_mode(0o751),
    )
    .unwrap();
    world.backup();
    world.options.subpath = None;
    let (report, notes) = world.restore();
    notes.assert_clean();
    let below = world.path("source").strip_prefix("/").unwrap().to_owned();
    let restored = world.path("target").join(&below);
    assert_eq!(std::fs::read(restored.join("a")).unwrap(), b"x");
    let (from, to) = (
        world.path("source").metadata().unwrap(),
        restored.metadata().unwrap(),
    );
    assert_eq!(
        (from.mode(), from.mtime_nsec()),
        (to.mode(), to.mtime_nsec())
    );
    assert_eq!(report.total_files, below.components().count() as u64 + 1);
}

#[test]
fn files_of_several_windows_and_packs_come_back() {
    let world = World::new();
    // More packs than one, more chunks than an entry lists, and enough small files for several windows.
    world.write("huge", &noise(1, 120 << 20));
    for number in 0..2500 {
        world.write(&format!("d/{number}"), &noise(number, 50));
    }
    std::fs::hard_link(world.source("huge"), world.source("z")).unwrap();
    world.backup();
    let (_, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
}
