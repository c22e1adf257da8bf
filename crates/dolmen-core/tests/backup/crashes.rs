//! Crashes at every call to the store, lost packs, two clients at once.

use dolmen_core::index::Index;
use dolmen_core::snapshots::SnapshotList;

use crate::world::{World, noise};

/// A crash at any store call leaves the earlier snapshot whole and lets the next backup succeed.
///
/// One run counts the calls; then each call gets a run of its own that crashes there.
#[test]
fn a_backup_survives_a_crash_at_every_store_call() {
    let counted = World::new();
    counted.write("a", b"first");
    counted.backup().unwrap();
    let before = counted.layer.calls();
    counted.write("b", &noise(9, 300_000));
    counted.backup().unwrap();
    let calls = counted.layer.calls() - before;
    assert!(calls >= 4, "{calls} calls");
    let world = World::new();
    world.write("a", b"first");
    world.backup().unwrap();
    for call in 0..calls {
        world.write(&format!("c{call}"), &noise(call, 300_000));
        let earlier = world.files("latest");
        world.crash_at_call(call);
        world.backup().expect_err("the store refuses");
        world.heal();
        assert_eq!(world.files("latest"), earlier, "crash at call {call}");
        world.backup().expect("the repository takes a new backup");
        assert_eq!(
            world.files("latest").len(),
            earlier.len() + 1,
            "crash at call {call}"
        );
    }
}

#[test]
fn what_was_stored_before_a_crash_is_not_stored_again() {
    let world = World::new();
    // Three packs and a bit.
    let content = noise(1, 110 << 20);
    world.write("large", &content);
    let before = world.put_bytes();
    // Two packs arrive, then nothing does.
    world.crash_after(2);
    world.backup().expect_err("the store refuses");
    world.heal();
    let stored = world.put_bytes() - before;
    assert!(stored > 60 << 20, "{stored} bytes arrived");
    let (_, notes) = world.backup().unwrap();
    let total = world.put_bytes() - before;
    assert!(total < 111 << 20, "{total} bytes in all");
    assert!(
        notes
            .notices
            .lock()
            .unwrap()
            .iter()
            .any(|notice| notice.contains("2 packs"))
    );
    assert_eq!(world.files("latest"), [("large".to_owned(), content)]);
}

#[test]
fn a_checkpoint_makes_an_interrupted_backup_resume_without_its_journal() {
    let mut world = World::new();
    let content = noise(1, 110 << 20);
    world.write("large", &content);
    world.write("small", b"x");
    world.options.checkpoint_bytes = 1;
    // Pack, segment, checkpoint, and once more without the checkpoint.
    let before = world.put_bytes();
    world.crash_after(5);
    world.backup().expect_err("the store refuses");
    world.heal();
    let list = SnapshotList::load(&world.repository, None).unwrap();
    assert_eq!((list.snapshots.len(), list.findings), (0, Vec::new()));
    assert!(!list.checkpoints.is_empty());
    std::fs::remove_dir_all(world.folder.path().join("state")).unwrap();
    world.backup().unwrap();
    // What was stored after the checkpoint is stored again: without the journal nothing live names it.
    let total = world.put_bytes() - before;
    assert!(total < 150 << 20, "{total} bytes in all");
    assert_eq!(world.files("latest").len(), 2);
}

#[test]
fn a_lost_pack_is_stored_again() {
    let world = World::new();
    world.write("a", &noise(5, 400_000));
    world.backup().unwrap();
    let index = Index::load(&world.repository, None).unwrap();
    let mut packs = Vec::new();
    index.blobs.for_each_pack(|_, info| packs.push(info));
    world.runtime().block_on(async {
        use dolmen_store::{ObjectRef, Store as _, StoreKey};
        use futures_util::TryStreamExt as _;
        let all: Vec<_> = world
            .store
            .list_versions("packs/")
            .try_collect()
            .await
            .unwrap();
        for version in all {
            let key = StoreKey::try_from(version.name.as_str()).unwrap();
            let object = ObjectRef {
                key,
                version: version.version,
            };
            world.store.delete_version(&object).await.unwrap();
        }
    });
    let (_, notes) = world.backup().unwrap();
    assert!(
        notes
            .notices
            .lock()
            .unwrap()
            .iter()
            .any(|notice| notice.contains("missing"))
    );
    assert_eq!(world.files("latest"), [("a".to_owned(), noise(5, 400_000))]);
}

#[test]
fn two_backups_at_the_same_time_both_succeed() {
    let world = World::new();
    for number in 0..200 {
        world.write(&format!("f{number}"), &noise(number, 5000));
    }
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| world.backup().unwrap().0))
            .collect();
        let reports: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
        assert_ne!(reports[0].snapshot, reports[1].snapshot);
    });
    assert_eq!(
        SnapshotList::load(&world.repository, None)
            .unwrap()
            .snapshots
            .len(),
        2
    );
    assert_eq!(world.files("latest").len(), 200);
    assert_eq!(world.files("latest~1").len(), 200);
}
