mod attributes;

use super::*;
use crate::xattr::Xattr;
use dolmen_format::Timestamp;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};

fn key(path: &str) -> PathKey {
    PathKey::from_path(path.as_bytes()).unwrap()
}

fn attributes(mode: u32, xattrs: &[Xattr]) -> Attributes<'_> {
    Attributes {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Timestamp {
            seconds: -86_400 * 365,
            nanos: 1,
        },
        atime: Timestamp {
            seconds: 1_000_000_000,
            nanos: 999_999_999,
        },
        xattrs,
    }
}

/// A target in a directory of its own, beside a directory that must not change.
struct World {
    temp: tempfile::TempDir,
    target: Target,
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        fs::write(temp.path().join("outside/b"), "precious").unwrap();
        let target = Target::open_or_create(&temp.path().join("new/target")).unwrap();
        Self { temp, target }
    }

    fn path(&self, relative: &str) -> std::path::PathBuf {
        self.temp.path().join("new/target").join(relative)
    }

    fn assert_outside_is_untouched(&self) {
        let outside = self.temp.path().join("outside");
        assert_eq!(fs::read(outside.join("b")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        let b = fs::metadata(outside.join("b")).unwrap();
        assert_eq!((b.nlink(), b.mode() & 0o777), (1, 0o644));
    }
}

#[test]
fn a_link_planted_in_the_target_leads_nowhere() {
    let world = World::new();
    let target = &world.target;
    symlink(world.temp.path().join("outside"), world.path("a")).unwrap();
    symlink(world.temp.path().join("outside/b"), world.path("b")).unwrap();
    let below = key("/a/b");
    assert!(target.create_file(&below, Replace::Anything).is_err());
    assert!(
        target
            .open_existing_file_for_update(&below)
            .unwrap()
            .is_none()
    );
    assert!(
        target
            .open_existing_file_for_update(&key("/b"))
            .unwrap()
            .is_none()
    );
    assert!(
        target
            .make_directory(&key("/a/new"), Replace::Anything)
            .is_err()
    );
    assert!(target.symlink(&below, b"x", Replace::Anything).is_err());
    assert!(
        target
            .make_node(&below, Node::Fifo, Replace::Anything)
            .is_err()
    );
    assert!(
        target
            .hard_link(&below, &key("/mine"), Replace::Anything)
            .is_err()
    );
    assert!(target.list(&key("/a")).is_err());
    assert!(target.apply(&below, &attributes(0o777, &[])).is_err());
    let failed = target.apply(&key("/b"), &attributes(0o777, &[])).unwrap();
    assert_eq!(failed, [], "the link has times of its own");
    target.remove(&below).unwrap();
    assert_eq!(target.existing(&below).unwrap(), None);
    assert_eq!(
        target.existing(&key("/a")).unwrap().unwrap().kind,
        Kind::Symlink
    );
    world.assert_outside_is_untouched();

    // Replaced by a directory, the name is as good as any other.
    assert_eq!(
        target.make_directory(&key("/a"), Replace::Files).unwrap(),
        Made::New
    );
    target
        .create_file(&below, Replace::Files)
        .unwrap()
        .write_all_at(b"new", 0)
        .unwrap();
    target.create_file(&key("/b"), Replace::Files).unwrap();
    assert_eq!(fs::read(world.path("a/b")).unwrap(), b"new");
    world.assert_outside_is_untouched();
}

#[test]
fn a_link_that_takes_a_directorys_place_is_not_followed() {
    let world = World::new();
    world
        .target
        .make_directory(&key("/a"), Replace::Nothing)
        .unwrap();
    world
        .target
        .create_file(&key("/a/first"), Replace::Nothing)
        .unwrap();
    fs::rename(world.path("a"), world.path("moved")).unwrap();
    symlink(world.temp.path().join("outside"), world.path("a")).unwrap();
    // The directory that was opened is still the one that is written to.
    world
        .target
        .create_file(&key("/a/b"), Replace::Anything)
        .unwrap();
    assert!(world.path("moved/b").exists());
    world.target.remove(&key("/a")).unwrap();
    world.assert_outside_is_untouched();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let world = World::new();
    for bad in [&b".."[..], b".", b"a/../../x", b"/etc/passwd"] {
        let bad = PathKey::root().join(bad);
        assert_eq!(world.target.existing(&bad), Err(FsError::UnsafeKey));
        assert!(world.target.create_file(&bad, Replace::Anything).is_err());
        let below = bad.join(b"x");
        assert_eq!(world.target.existing(&below), Err(FsError::UnsafeKey));
        assert!(
            world
                .target
                .make_directory(&below, Replace::Anything)
                .is_err()
        );
    }
    let outside = PathKey::root()
        .join(b"..")
        .join(b"..")
        .join(b"outside")
        .join(b"b");
    assert!(world.target.remove(&outside).is_err());
    assert_eq!(
        world.target.remove(&PathKey::root()),
        Err(FsError::TargetItself)
    );
    world.assert_outside_is_untouched();
}

#[test]
fn what_is_in_the_way_is_replaced_as_far_as_allowed() {
    let world = World::new();
    let target = &world.target;
    fs::write(world.path("file"), "old").unwrap();
    fs::hard_link(world.path("file"), world.path("twin")).unwrap();
    fs::create_dir_all(world.path("full/sub")).unwrap();
    symlink(
        world.temp.path().join("outside"),
        world.path("full/sub/link"),
    )
    .unwrap();
    let in_the_way = |found| Some(FsError::InTheWay { found });
    assert_eq!(
        target.create_file(&key("/file"), Replace::Nothing).err(),
        in_the_way(Kind::File)
    );
    assert!(
        target
            .open_existing_file_for_update(&key("/file"))
            .unwrap()
            .is_none(),
        "it has two names"
    );
    target
        .create_file(&key("/file"), Replace::Files)
        .unwrap()
        .write_all_at(b"new", 0)
        .unwrap();
    assert_eq!(fs::read(world.path("twin")).unwrap(), b"old");
    let updated = target
        .open_existing_file_for_update(&key("/file"))
        .unwrap()
        .unwrap();
    updated.write_all_at(b"N", 0).unwrap();
    assert_eq!(fs::read(world.path("file")).unwrap(), b"New");

    assert_eq!(
        target
            .make_directory(&key("/full"), Replace::Nothing)
            .unwrap(),
        Made::Existing
    );
    let error = target.create_file(&key("/full"), Replace::Files).err();
    assert_eq!(error, in_the_way(Kind::Directory));
    target
        .symlink(&key("/full"), b"to", Replace::Anything)
        .unwrap();
    target
        .symlink(&key("/full"), b"to", Replace::Nothing)
        .unwrap();
    assert_eq!(target.read_link(&key("/full")).unwrap(), b"to");
    assert_eq!(
        target
            .make_directory(&key("/full"), Replace::Files)
            .unwrap(),
        Made::New
    );
    target.create_file(&key("/full"), Replace::Files).unwrap();
    world.assert_outside_is_untouched();
}

#[test]
fn hard_links_nodes_and_names_of_any_bytes_are_made() {
    let world = World::new();
    let target = &world.target;
    let odd = PathKey::root().join(b"\xff\n \x01");
    target
        .create_file(&odd, Replace::Nothing)
        .unwrap()
        .write_all_at(b"odd", 0)
        .unwrap();
    target
        .hard_link(&odd, &key("/second"), Replace::Nothing)
        .unwrap();
    target
        .hard_link(&odd, &key("/second"), Replace::Nothing)
        .unwrap();
    assert_eq!(target.existing(&odd).unwrap().unwrap().links, 2);
    assert_eq!(
        fs::read(world.path("").join(OsStr::from_bytes(b"\xff\n \x01"))).unwrap(),
        b"odd"
    );

    target
        .make_node(&key("/pipe"), Node::Fifo, Replace::Nothing)
        .unwrap();
    target
        .make_node(&key("/socket"), Node::Socket, Replace::Nothing)
        .unwrap();
    let failed = target
        .apply(&key("/pipe"), &attributes(0o640, &[]))
        .unwrap();
    assert_eq!(failed, []);
    let pipe = target.existing(&key("/pipe")).unwrap().unwrap();
    assert_eq!((pipe.kind, pipe.mode), (Kind::Fifo, 0o640));
    assert_eq!(
        pipe.mtime,
        Timestamp {
            seconds: -86_400 * 365,
            nanos: 1
        }
    );
    assert_eq!(
        target.existing(&key("/socket")).unwrap().unwrap().kind,
        Kind::Socket
    );
    let names = target.list(&PathKey::root()).unwrap();
    let expected: [&[u8]; 4] = [b"pipe", b"second", b"socket", b"\xff\n \x01"];
    assert_eq!(names.iter().collect::<Vec<_>>(), expected);

    let node = Node::CharDevice {
        major: 1,
        minor: 300,
    };
    match target.make_node(&key("/device"), node, Replace::Nothing) {
        Err(error) if error.errno() == Some(Errno::PERM) => {
            println!("skipped: no right to make devices");
        }
        made => {
            made.unwrap();
            let device = target.existing(&key("/device")).unwrap().unwrap();
            assert_eq!(
                (device.kind, device.rdev_major, device.rdev_minor),
                (Kind::CharDevice, 1, 300)
            );
        }
    }
}

#[test]
fn holes_are_made_and_read_as_zeros() {
    let world = World::new();
    let file = world
        .target
        .create_file(&key("/file"), Replace::Nothing)
        .unwrap();
    file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
    file.punch_hole(4_096..(1 << 19)).unwrap();
    file.punch_hole((1 << 20) - 10..1 << 40).unwrap();
    file.punch_hole(1 << 30..1 << 31).unwrap();
    file.write_zeros(10, 20).unwrap();
    let mut buffer = vec![9; 1 << 20];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 1 << 20);
    let ones = buffer.iter().map(|&byte| usize::from(byte)).sum::<usize>();
    assert_eq!(ones, (1 << 19) + 4_096 - 10 - 10);
    file.set_len(1 << 30).unwrap();
    file.sync().unwrap();
    let metadata = file.metadata().unwrap();
    assert!(metadata.may_have_holes());
    assert_eq!(metadata.size_bytes, 1 << 30);
}

#[test]
fn paths_longer_than_the_kernel_takes_are_written_with_and_without_openat2() {
    for has_openat2 in [true, false] {
        let world = World::new();
        world.target.parents.set_openat2(has_openat2);
        let mut deep = PathKey::root();
        for _ in 0..700 {
            deep = deep.join(b"directory");
            world
                .target
                .make_directory(&deep, Replace::Nothing)
                .unwrap();
        }
        let file = deep.join(b"file");
        world
            .target
            .create_file(&file, Replace::Nothing)
            .unwrap()
            .write_all_at(b"deep", 0)
            .unwrap();
        let again = Target::open_or_create(&world.path("")).unwrap();
        again.parents.set_openat2(has_openat2);
        assert_eq!(again.existing(&file).unwrap().unwrap().size_bytes, 4);
        assert_eq!(again.apply(&file, &attributes(0o600, &[])).unwrap(), []);
        assert_eq!(again.list(&deep).unwrap().len(), 1);
        again.remove(&key("/directory")).unwrap();
        assert!(again.list(&PathKey::root()).unwrap().is_empty());
        assert_eq!(again.existing(&file).unwrap(), None);
    }
}

#[test]
fn leaving_a_deep_tree_does_not_open_each_way_down_anew() {
    let world = World::new();
    let mut folders = vec![PathKey::root().join(&[b'n'; 250])];
    while folders.len() < 400 {
        let next = folders[folders.len() - 1].join(&[b'n'; 250]);
        folders.push(next);
    }
    for folder in &folders {
        let made = world.target.make_directory(folder, Replace::Nothing);
        assert_eq!(made.unwrap(), Made::New);
    }
    let again = Target::open_or_create(&world.path("")).unwrap();
    for folder in folders.iter().rev() {
        assert_eq!(again.apply(folder, &attributes(0o700, &[])).unwrap(), []);
    }
    // One for each, and the ways down from the target; each way anew would be nearly seven thousand.
    let steps = again.parents.steps();
    assert!(steps < 600, "{steps}");
    again.remove(&folders[0]).unwrap();
    assert_eq!(again.existing(&folders[0]).unwrap(), None);
}

#[test]
fn many_threads_write_at_once() {
    let world = World::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let target = &world.target;
            scope.spawn(move || {
                for index in 0..200 {
                    let directory = key(&format!("/{}", (index + thread) % 150));
                    target.make_directory(&directory, Replace::Nothing).unwrap();
                    let name = directory.join(format!("{thread} {index}").as_bytes());
                    target.create_file(&name, Replace::Nothing).unwrap();
                }
            });
        }
    });
    let names = world.target.list(&PathKey::root()).unwrap();
    assert_eq!(names.len(), 150);
}
