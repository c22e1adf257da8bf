//! What a backup adds to the store.

use crate::world::{World, noise};

#[test]
fn an_unchanged_backup_is_one_object_and_reads_nothing() {
    let world = World::new();
    for number in 0..300 {
        world.write(&format!("d{}/f{number}", number % 7), &noise(number, 500));
    }
    world.backup().unwrap();
    let (puts, bytes) = (world.puts(), world.put_bytes());
    let (report, notes) = world.backup().unwrap();
    assert_eq!(world.puts() - puts, 1);
    assert!(
        world.put_bytes() - bytes < 64 << 10,
        "{} bytes",
        world.put_bytes() - bytes
    );
    assert_eq!(report.summary.files_unmodified, 300);
    assert_eq!(notes.read.into_inner(), 0);
}

#[test]
fn what_happens_beside_the_source_changes_no_snapshot_of_it() {
    let mut world = World::new();
    world.write("a", b"x");
    world.backup().unwrap();
    world.options.skip_if_unchanged = true;
    std::fs::write(world.folder.path().join("beside"), b"y").unwrap();
    let (report, _) = world.backup().unwrap();
    assert_eq!(report.snapshot, None);
}

#[test]
fn a_small_backup_is_three_objects() {
    let world = World::new();
    world.write("a", b"content");
    let puts = world.puts();
    world.backup().unwrap();
    assert_eq!(world.puts() - puts, 3);
}

#[test]
fn a_byte_at_the_front_of_a_large_file_costs_its_first_chunk() {
    let world = World::new();
    let mut content = noise(1, 48 << 20);
    world.write("large", &content);
    world.backup().unwrap();
    let bytes = world.put_bytes();
    content.insert(0, 7);
    world.write("large", &content);
    world.backup().unwrap();
    assert!(
        world.put_bytes() - bytes < 9 << 20,
        "{} bytes",
        world.put_bytes() - bytes
    );
    assert_eq!(world.files("latest"), [("large".to_owned(), content)]);
}

#[test]
fn a_renamed_directory_costs_metadata_only() {
    let world = World::new();
    for number in 0..50 {
        world.write(&format!("old/f{number}"), &noise(number, 40_000));
    }
    world.backup().unwrap();
    let bytes = world.put_bytes();
    std::fs::rename(world.source("old"), world.source("new")).unwrap();
    let (report, _) = world.backup().unwrap();
    assert!(
        world.put_bytes() - bytes < 64 << 10,
        "{} bytes",
        world.put_bytes() - bytes
    );
    assert_eq!(report.summary.data_blobs, 0);
}

#[test]
fn equal_files_are_stored_once() {
    let world = World::new();
    let content = noise(3, 3 << 20);
    for name in ["a", "b", "c"] {
        world.write(name, &content);
    }
    world.backup().unwrap();
    assert!(world.put_bytes() < 4 << 20);
    assert_eq!(world.files("latest").len(), 3);
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut world = World::new();
    world.write("a", &noise(1, 100_000));
    let puts = world.puts();
    world.options.dry_run = true;
    let (report, _) = world.backup().unwrap();
    assert_eq!((report.snapshot, world.puts() - puts), (None, 0));
    assert!(report.summary.data_added > 100_000);
    assert_eq!(report.summary.files_new, 1);
}

#[test]
fn nothing_changed_and_skipped_writes_no_snapshot() {
    let mut world = World::new();
    world.write("a", b"x");
    let (first, _) = world.backup().unwrap();
    world.options.skip_if_unchanged = true;
    let (second, _) = world.backup().unwrap();
    assert_eq!((second.snapshot, second.parent), (None, first.snapshot));
    world.write("a", b"y");
    let (third, _) = world.backup().unwrap();
    assert!(third.snapshot.is_some());
}
