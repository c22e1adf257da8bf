//! Holes.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::world::{World, noise};

fn blocks(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks()
}

fn make_sparse(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(&noise(1, 5_000_000), 700 << 20).unwrap();
    file.write_all_at(b"beginning", 1 << 20).unwrap();
}

#[test]
fn holes_come_back_as_holes() {
    let world = World::new();
    make_sparse(&world.source("sparse"));
    File::create(world.source("hole"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    world.backup();
    // A terabyte would be a long time to read.
    let hole = world.source("hole");
    world.restore().1.assert_clean();
    assert_eq!(
        std::fs::metadata(world.target("hole")).unwrap().len(),
        1 << 40
    );
    assert_eq!(blocks(&world.target("hole")), 0);
    for path in [&hole, &world.target("hole")] {
        std::fs::remove_file(path).unwrap();
    }
    let same_mtime = std::fs::metadata(world.path("source"))
        .unwrap()
        .modified()
        .unwrap();
    File::open(world.path("target"))
        .unwrap()
        .set_modified(same_mtime)
        .unwrap();
    world.assert_restored();
    assert!(blocks(&world.target("sparse")) <= blocks(&world.source("sparse")) + 16);
}

#[test]
fn a_file_that_is_there_gets_the_holes() {
    let mut world = World::new();
    make_sparse(&world.source("sparse"));
    world.backup();
    let content = noise(7, 8 << 20);
    world.write_target("sparse", &content);
    world.options.verify = true;
    let (report, notes) = world.restore();
    notes.assert_clean();
    assert_eq!(report.verified_files, 1);
    world.assert_restored();
    assert!(blocks(&world.target("sparse")) <= blocks(&world.source("sparse")) + 16);
}

#[test]
fn zeros_become_holes_where_asked_for() {
    let mut world = World::new();
    let mut content = vec![0; 10 << 20];
    content[4 << 20..5 << 20].copy_from_slice(&noise(1, 1 << 20));
    content[(9 << 20) + 1] = 1;
    world.write("zeros", &content);
    world.write("only zeros", &vec![0; 1 << 20]);
    world.backup();
    world.restore().1.assert_clean();
    assert!(blocks(&world.target("zeros")) * 512 >= 10 << 20);
    world.options.sparse = true;
    // In place, over other content, and anew.
    for name in ["zeros", "only zeros"] {
        world.write_target(name, &noise(3, 11 << 20));
    }
    world.restore().1.assert_clean();
    world.assert_restored();
    assert!(blocks(&world.target("zeros")) * 512 < 2 << 20);
    std::fs::remove_dir_all(world.path("target")).unwrap();
    world.restore().1.assert_clean();
    world.assert_restored();
    assert!(blocks(&world.target("zeros")) * 512 < 2 << 20);
    assert_eq!(blocks(&world.target("only zeros")), 0);
}
