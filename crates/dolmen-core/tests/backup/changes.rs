//! A source that changes.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use dolmen_core::snapshots::SnapshotList;

use crate::world::{World, noise};

#[test]
fn a_change_that_keeps_size_and_mtime_is_noticed() {
    let world = World::new();
    world.write("a", b"first");
    world.backup().unwrap();
    let path = world.source("a");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    world.write("a", b"other");
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let (report, _) = world.backup().unwrap();
    assert_eq!(report.summary.files_changed, 1);
    assert_eq!(world.files("latest"), [("a".to_owned(), b"other".to_vec())]);
}

#[test]
fn a_file_dated_in_the_future_is_not_read_again_unless_it_changes() {
    let world = World::new();
    let future = std::time::UNIX_EPOCH + std::time::Duration::from_secs(5_000_000_000);
    let write = |content: &[u8]| {
        world.write("a", content);
        let file = std::fs::File::options().write(true).open(world.source("a"));
        file.unwrap().set_modified(future).unwrap();
    };
    write(b"first");
    world.backup().unwrap();
    let (report, notes) = world.backup().unwrap();
    assert_eq!(report.summary.files_unmodified, 1);
    assert_eq!(notes.read.into_inner(), 0);
    write(b"other");
    world.backup().unwrap();
    assert_eq!(world.files("latest"), [("a".to_owned(), b"other".to_vec())]);
}

#[test]
fn a_state_folder_that_was_set_back_begins_a_new_instance() {
    let world = World::new();
    world.write("a", b"1");
    assert!(!world.backup().unwrap().0.is_set_back);
    let (state, old) = (
        world.folder.path().join("state"),
        world.folder.path().join("old"),
    );
    copy(&state, &old);
    world.write("b", b"2");
    assert!(!world.backup().unwrap().0.is_set_back);
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&old, &state).unwrap();
    world.write("c", b"3");
    let (report, notes) = world.backup().unwrap();
    assert!(report.is_set_back);
    assert!(notes.notices.lock().unwrap()[0].contains("set back"));
    assert!(!world.backup().unwrap().0.is_set_back);

    let list = SnapshotList::load(&world.repository, None).unwrap();
    let stamps = list.snapshots.iter().map(|entry| {
        let stamp = entry.snapshot.stamp;
        (stamp.instance, stamp.number)
    });
    assert_eq!(stamps.collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(world.files("latest").len(), 3);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_vanished_cache_costs_a_reading_and_nothing_else() {
    let world = World::new();
    world.write("a", &noise(1, 2 << 20));
    world.backup().unwrap();
    std::fs::remove_dir_all(world.folder.path().join("cache")).unwrap();
    std::fs::create_dir_all(world.folder.path().join("cache")).unwrap();
    let bytes = world.put_bytes();
    let (report, _) = world.backup().unwrap();
    assert_eq!(report.summary.files_new, 1);
    assert!(world.put_bytes() - bytes < 64 << 10);
}

#[test]
fn hard_links_and_holes_are_stored_once() {
    let world = World::new();
    world.write("a", &noise(1, 500_000));
    std::fs::hard_link(world.source("a"), world.source("b")).unwrap();
    let sparse = std::fs::File::create(world.source("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(2, 5000), 700 << 20).unwrap();
    let (report, _) = world.backup().unwrap();
    assert!(world.put_bytes() < 700_000);
    assert_eq!(report.summary.total_files_processed, 3);
    assert!(std::fs::metadata(world.source("sparse")).unwrap().blocks() < 1000);
}

#[test]
fn a_missing_root_is_a_failure_and_the_rest_is_saved() {
    let mut world = World::new();
    world.write("a", b"x");
    let missing = dolmen_fs::Root::absolute(b"/nonexistent/path").unwrap();
    world.options.roots.push(missing);
    let (report, notes) = world.backup().unwrap();
    assert_eq!(report.errors, 1);
    assert_eq!(notes.failed.lock().unwrap().len(), 1);
    assert_eq!(world.files("latest").len(), 1);
}

#[test]
fn chunks_of_a_long_file_are_listed_in_nodes() {
    let world = World::new();
    // More chunks than an entry lists itself.
    let content = noise(1, 100 << 20);
    world.write("long", &content);
    world.backup().unwrap();
    assert_eq!(world.files("latest"), [("long".to_owned(), content)]);
    let (report, _) = world.backup().unwrap();
    assert_eq!(
        (report.summary.files_unmodified, report.summary.data_blobs),
        (1, 0)
    );
}
