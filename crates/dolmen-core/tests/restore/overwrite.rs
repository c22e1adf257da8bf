//! What happens to files that are there.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dolmen_core::Error;
use dolmen_core::restore::{Action, Overwrite};
use dolmen_fs::{PathKey, Replace, Target};

use crate::world::{Notes, World, noise, patterns, picture};

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// A snapshot of `same`, `changed` and `large`, modified at 1000.
fn world() -> World {
    let world = World::new();
    world.write("changed", b"new");
    world.write("large", &noise(1, 8 << 20));
    world.write("same", b"same");
    for name in ["changed", "large", "same"] {
        set_time(&world.source(name), 1000);
    }
    world.backup();
    world
}

#[test]
fn only_what_differs_is_written() {
    let mut world = world();
    for overwrite in [Overwrite::Always, Overwrite::IfChanged] {
        world.options.overwrite = overwrite;
        let mut content = noise(1, 8 << 20);
        content[5_000_000] ^= 1;
        content.extend(b"longer");
        world.write_target("large", &content);
        world.write_target("changed", b"other and longer");
        world.write_target("same", b"same");
        let inode = std::fs::metadata(world.target("large")).unwrap().ino();
        let (report, notes) = world.restore();
        notes.assert_clean();
        world.assert_restored();
        assert_eq!(notes.paths(Action::Updated), ["/changed", "/large"]);
        assert_eq!(notes.paths(Action::Unchanged), ["/same"]);
        assert_eq!(
            (
                report.files_restored,
                report.files_skipped,
                report.bytes_skipped
            ),
            (2, 1, 4)
        );
        assert_eq!(
            std::fs::metadata(world.target("large")).unwrap().ino(),
            inode
        );
    }
}

#[test]
fn size_and_time_are_trusted_only_where_asked_for() {
    let mut world = world();
    world.write_target("changed", b"old");
    set_time(&world.target("changed"), 1000);
    let (_, notes) = world.restore();
    assert_eq!(notes.paths(Action::Unchanged), ["/changed"]);
    assert_eq!(std::fs::read(world.target("changed")).unwrap(), b"old");
    world.options.overwrite = Overwrite::Always;
    world.restore().1.assert_clean();
    world.assert_restored();
}

#[test]
fn newer_files_and_existing_files_are_left_alone() {
    let mut world = world();
    world.options.overwrite = Overwrite::IfNewer;
    world.write_target("changed", b"newer");
    world.write_target("same", b"older");
    set_time(&world.target("same"), 999);
    let (_, notes) = world.restore();
    assert_eq!(notes.paths(Action::Unchanged), ["/changed"]);
    assert_eq!(std::fs::read(world.target("changed")).unwrap(), b"newer");
    assert_eq!(std::fs::read(world.target("same")).unwrap(), b"same");
    world.options.overwrite = Overwrite::Never;
    world.write_target("same", b"mine");
    std::fs::remove_file(world.target("large")).unwrap();
    let (report, notes) = world.restore();
    notes.assert_clean();
    assert_eq!(notes.paths(Action::Restored), ["/large"]);
    assert_eq!((report.files_skipped, report.total_files), (2, 1));
    assert_eq!(std::fs::read(world.target("same")).unwrap(), b"mine");
}

#[test]
fn what_an_interrupted_restore_left_is_completed_and_not_taken_for_a_users_file() {
    let mut world = world();
    for overwrite in [Overwrite::Never, Overwrite::IfNewer] {
        world.options.overwrite = overwrite;
        world.write_target("mine", b"mine");
        std::fs::remove_file(world.target("large")).ok();
        let target = Target::open_or_create(&world.path("target")).unwrap();
        let key = PathKey::from_path(b"/large").unwrap();
        let begun = target.create_file(&key, Replace::Nothing).unwrap();
        begun.mark_incomplete().unwrap();
        begun.write_all_at(b"torn", 7).unwrap();
        drop(begun);
        assert!(target.is_incomplete(&key));

        let (_, notes) = world.restore();
        notes.assert_clean();
        assert!(!target.is_incomplete(&key));
        assert_eq!(
            std::fs::read(world.target("large")).unwrap(),
            std::fs::read(world.source("large")).unwrap()
        );
        assert_eq!(std::fs::read(world.target("mine")).unwrap(), b"mine");
    }
}

#[test]
fn other_kinds_make_room_and_full_directories_only_with_delete() {
    let mut world = world();
    std::fs::create_dir_all(world.target("same")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.target("changed")).unwrap();
    world.write_target("large/full", b"x");
    let (report, notes) = world.restore();
    assert_eq!(notes.lost(), ["/large".to_owned()].into());
    assert_eq!((report.errors, report.damaged), (1, 0));
    assert_eq!(std::fs::read(world.target("large/full")).unwrap(), b"x");
    world.options.delete = true;
    world.restore().1.assert_clean();
    world.assert_restored();
}

#[test]
fn another_name_of_a_replaced_file_keeps_the_old_content() {
    let world = world();
    world.write_target("changed", b"old");
    std::fs::hard_link(world.target("changed"), world.path("elsewhere")).unwrap();
    world.restore().1.assert_clean();
    world.assert_restored();
    assert_eq!(std::fs::read(world.path("elsewhere")).unwrap(), b"old");
}

#[test]
fn a_dry_run_changes_nothing_and_reports_the_same() {
    let mut world = world();
    world.options.delete = true;
    let runs = |world: &mut World| {
        world.options.dry_run = true;
        let before = world
            .target("")
            .exists()
            .then(|| picture(&world.path("target")));
        let (dry_report, dry) = world.restore();
        assert_eq!(
            before,
            world
                .target("")
                .exists()
                .then(|| picture(&world.path("target")))
        );
        world.options.dry_run = false;
        let (report, notes) = world.restore();
        assert_eq!(*dry.done.lock().unwrap(), *notes.done.lock().unwrap());
        assert_eq!(dry_report, report);
        world.assert_restored();
    };
    runs(&mut world);
    world.write_target("large", &noise(1, (8 << 20) - 1));
    world.write_target("changed", b"ne");
    world.write_target("more/deep/file", b"x");
    runs(&mut world);
}

#[test]
fn delete_removes_what_the_snapshot_does_not_hold() {
    let mut world = World::new();
    world.write("kept/b", b"x");
    world.write("kept/left out", b"x");
    world.write("other/c", b"x");
    world.backup();
    let litter = |world: &World| {
        for path in ["0", "kept/a", "kept/c/d", "kept/left out", "other/z", "zz"] {
            world.write_target(path, b"litter");
        }
        std::os::unix::fs::symlink(world.path("source"), world.target("kept/link")).unwrap();
    };
    litter(&world);
    world.options.delete = true;
    world.options.include = patterns(&["/kept"]);
    world.options.exclude = patterns(&["left out", "kept/a"]);
    let (report, notes) = world.restore();
    notes.assert_clean();
    let deleted = ["/kept/c", "/kept/c/d", "/kept/link"];
    assert_eq!(notes.paths(Action::Deleted), deleted);
    assert_eq!(report.files_deleted, 3);
    assert_eq!(
        std::fs::read(world.target("kept/left out")).unwrap(),
        b"litter"
    );
    world.options.include = patterns(&[]);
    world.options.exclude = patterns(&[]);
    let (_, notes) = world.restore();
    assert_eq!(
        notes.paths(Action::Deleted),
        ["/0", "/kept/a", "/other/z", "/zz"]
    );
    world.assert_restored();
    assert!(world.source("kept/b").exists());
}

#[test]
fn the_whole_machine_is_never_deleted() {
    let mut world = world();
    world.options.delete = true;
    // Were it not refused, it would still change nothing.
    world.options.dry_run = true;
    for root in ["/", "//", "/tmp/..", "/proc/self/root"] {
        world.options.target = root.into();
        let refused = world.try_restore(&Notes::default());
        assert!(matches!(refused, Err(Error::Usage { .. })), "{root}");
    }
}
