//! Restoring a part.

use std::os::unix::fs::MetadataExt as _;

use dolmen_core::Error;

use crate::world::{Notes, World, patterns, picture};

fn world() -> World {
    let world = World::new();
    for path in ["a/b/c.txt", "a/b/d.doc", "a/x/y.doc", "e/f.txt", "g"] {
        world.write(path, path.as_bytes());
    }
    std::fs::hard_link(world.source("a/b/d.doc"), world.source("e/linked.txt")).unwrap();
    std::fs::hard_link(world.source("a/b/d.doc"), world.source("e/more.txt")).unwrap();
    std::fs::set_permissions(
        world.source("a"),
        std::os::unix::fs::PermissionsExt::from_mode(0o710),
    )
    .unwrap();
    world.backup();
    world
}

fn paths(world: &World) -> Vec<String> {
    let picture = picture(&world.path("target"));
    picture
        .into_keys()
        .map(|path| String::from_utf8(path).unwrap())
        .collect()
}

#[test]
fn what_is_included_comes_with_the_directories_above_it() {
    let mut world = world();
    world.options.include = patterns(&["*.txt"]);
    let (report, notes) = world.restore();
    notes.assert_clean();
    let expected = [
        "/a",
        "/a/b",
        "/a/b/c.txt",
        "/e",
        "/e/f.txt",
        "/e/linked.txt",
        "/e/more.txt",
    ];
    assert_eq!(paths(&world), expected);
    assert_eq!((report.total_files, report.files_restored), (7, 7));
    // The first name is not restored: the second has the content, the third is a link to it.
    assert_eq!(
        std::fs::read(world.target("e/linked.txt")).unwrap(),
        b"a/b/d.doc"
    );
    let links = std::fs::metadata(world.target("e/more.txt"))
        .unwrap()
        .nlink();
    assert_eq!(links, 2);
    for path in ["a", "a/b", "e"] {
        let (from, to) = (world.source(path).metadata(), world.target(path).metadata());
        let (from, to) = (from.unwrap(), to.unwrap());
        assert_eq!(
            (from.mode(), from.mtime_nsec()),
            (to.mode(), to.mtime_nsec()),
            "{path}"
        );
    }
}

#[test]
fn what_is_excluded_is_left_out_with_all_below() {
    let mut world = world();
    world.options.exclude = patterns(&["/a/b", "!/a/b/c.txt", "/e/*.txt", "!f.txt"]);
    world.restore().1.assert_clean();
    assert_eq!(
        paths(&world),
        ["/a", "/a/x", "/a/x/y.doc", "/e", "/e/f.txt", "/g"]
    );
}

#[test]
fn a_file_can_be_restored_alone_and_a_missing_path_is_an_error() {
    let mut world = world();
    let source = world.options.subpath.clone().unwrap();
    let below = |path: &str| Some([source.as_slice(), path.as_bytes()].concat());
    world.options.subpath = below("/a/b/c.txt");
    world.restore().1.assert_clean();
    assert_eq!(paths(&world), ["/c.txt"]);
    world.options.subpath = below("/a/b/../x");
    assert!(matches!(
        world.try_restore(&Notes::default()),
        Err(Error::Usage { .. })
    ));
    for missing in ["/a/bb", "/a/b/c.tx", "/g/h"] {
        world.options.subpath = below(missing);
        let error = world.try_restore(&Notes::default()).unwrap_err();
        assert!(matches!(error, Error::NoPath { .. }), "{missing}");
    }
}
