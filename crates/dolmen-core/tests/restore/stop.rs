//! Stopping early.

use std::sync::atomic::Ordering;

use dolmen_core::Error;

use crate::world::{Notes, World, noise};

#[test]
fn an_interrupted_restore_is_continued_by_the_next_one() {
    let world = World::new();
    for number in 0..4000 {
        world.write(&format!("{number}"), &noise(number, 500));
    }
    world.write("large", &noise(1, 50 << 20));
    world.backup();
    for after in [1, 700, 3000] {
        let notes = Notes::default();
        notes.cancel_after.store(after, Ordering::SeqCst);
        let error = world.try_restore(&notes).unwrap_err();
        assert!(matches!(error, Error::Interrupted));
        notes.assert_clean();
    }
    let (report, notes) = world.restore();
    notes.assert_clean();
    world.assert_restored();
    assert!(report.files_skipped > 2500, "{report:?}");
}

#[test]
fn the_counters_add_up() {
    let mut world = World::new();
    for number in 0..100 {
        world.write(&format!("{number}"), &noise(number, 500));
    }
    std::fs::hard_link(world.source("1"), world.source("zz")).unwrap();
    world.backup();
    world.options.subpath = None;
    let (report, notes) = world.restore();
    let progress = &notes.progress;
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
    assert_eq!(of(&progress.files), report.files_restored);
    assert_eq!(of(&progress.total_files), report.total_files);
    assert_eq!(
        (of(&progress.bytes), report.bytes_restored),
        (50_000, 50_000)
    );
}
