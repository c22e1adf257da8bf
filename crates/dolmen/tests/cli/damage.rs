//! Damage: found, named, and told by the exit code.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::world::{World, messages};

/// Overwrites a part in the middle of a file.
fn damage(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(b"garbage garbage garbage", middle)
        .unwrap();
}

#[test]
fn a_whole_repository_checks_clean() {
    let world = World::with_files();
    world.backup(&["."]);
    let text = world.done(&["check"]);
    assert_eq!(
        text,
        "1 snapshot checked, data not read (--read-data reads it)\nno damage found\n"
    );
    for arguments in [
        &["--read-data"] as &[&str],
        &["--read-data-subset", "1/1"],
        &["--read-data-subset", "100%"],
        &["--read-data-subset", "1GiB"],
    ] {
        let text = world.done(&[&["check"], arguments].concat());
        assert!(
            text.contains("read and verified") && text.ends_with("no damage found\n"),
            "{text}"
        );
    }
    let summary = messages(&world.done(&["check", "--json"])).pop().unwrap();
    assert_eq!(summary["message_type"], "summary");
    assert_eq!(
        (&summary["num_errors"], &summary["snapshots_damaged"]),
        (&0.into(), &0.into())
    );
    assert_eq!(summary["broken_packs"], serde_json::json!([]));
    assert_eq!(summary["suggest_repair_index"], false);
}

#[test]
fn what_is_attested_is_told_and_not_read_again() {
    let world = World::with_files();
    world.backup(&["."]);
    let summary = |arguments: &[&str]| {
        let text = world.done(&[arguments, &["--json"]].concat());
        messages(&text).pop().unwrap()
    };
    let first = summary(&["check", "--attest"]);
    assert_eq!(first["packs_read"], first["packs_attested"]);
    assert!(first["packs_attested"].as_u64().unwrap() > 0, "{first}");
    let again = summary(&["check", "--attest"]);
    assert_eq!(
        (&again["packs_read"], &again["packs_attested"]),
        (&0.into(), &0.into())
    );
    // What is read for another reason is not attested once more.
    let whole = summary(&["check", "--attest", "--read-data"]);
    assert_eq!(whole["packs_read"], first["packs_read"]);
    assert_eq!(whole["packs_attested"], 0);
    assert_eq!(summary(&["check", "--read-data"])["packs_attested"], 0);
    let text = world.done(&["check", "--attest"]);
    assert!(text.contains("0 packs attested"), "{text}");
}

#[test]
fn a_damaged_pack_is_found_and_restore_gives_back_the_rest() {
    let world = World::with_repository();
    let mut seed = 7_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_le_bytes()[7]
    })
    .take(900_000)
    .collect();
    world.write("files/a-large", &noise);
    world.write("files/z-small", b"small");
    world.backup(&["."]);
    let packs = world.objects("packs");
    let largest = packs
        .iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    damage(largest);
    let ran = world.run(&["check", "--read-data", "--json"]);
    assert_eq!(ran.code, 20, "{}", ran.stderr);
    let summary = messages(&ran.stdout).pop().unwrap();
    assert!(summary["num_errors"].as_u64() >= Some(1));
    assert_eq!(summary["snapshots_damaged"], 1);
    assert_eq!(summary["broken_packs"].as_array().unwrap().len(), 1);
    let part = "latest:/";
    let ran = world.run(&["restore", part, "-t", &world.text("back")]);
    ran.says(20, "damaged in the repository");
    assert_eq!(world.read("back/z-small"), b"small");
}

#[test]
fn a_lost_index_is_rebuilt() {
    let world = World::with_files();
    world.backup(&["."]);
    for segment in world.objects("index") {
        std::fs::remove_file(segment).unwrap();
    }
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    assert_eq!(world.run(&["check"]).code, 20);
    let rebuilt = messages(&world.done(&["repair", "index", "--json"]))
        .pop()
        .unwrap();
    assert!(rebuilt["packs"].as_u64() >= Some(1) && rebuilt["blobs"].as_u64() >= Some(4));
    let part = "latest:/";
    world.done(&["restore", part, "-t", &world.text("back")]);
    assert_eq!(world.read("back/sub/b.txt"), b"second");
    world.backup(&["."]);
}

#[test]
fn a_deleted_head_is_damage() {
    let world = World::with_files();
    world.backup(&["."]);
    for snapshot in world.objects("snapshots") {
        std::fs::remove_file(snapshot).unwrap();
    }
    assert_eq!(world.run(&["check"]).code, 20);
}

#[test]
fn a_planted_snapshot_changes_nothing_but_is_named() {
    let world = World::with_files();
    world.backup(&["."]);
    let snapshot = world.objects("snapshots").pop().unwrap();
    std::fs::write(snapshot.with_file_name("ab".repeat(32)), b"junk").unwrap();
    let ran = world.run(&["snapshots", "--json"]);
    assert_eq!(ran.code, 0);
    let warning = messages(&ran.stderr).pop().unwrap();
    assert_eq!(warning["message_type"], "warning");
    assert!(
        warning["message"]
            .as_str()
            .unwrap()
            .contains(&"ab".repeat(32))
    );
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&ran.stdout)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_snapshot_linked_under_another_writers_name_hides_nothing() {
    let world = World::with_files();
    world.backup(&["."]);
    let snapshot = world.objects("snapshots").pop().unwrap();
    // The same file: by version, size and hash the two are one.
    for writer in ["00".repeat(16), "ff".repeat(16)] {
        let folder = world.path("repo/snapshots").join(writer);
        std::fs::create_dir(&folder).unwrap();
        std::fs::hard_link(&snapshot, folder.join(snapshot.file_name().unwrap())).unwrap();
    }
    // With a cache that knows it, and with one that does not.
    assert_eq!(world.snapshots().len(), 1);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    assert_eq!(world.snapshots().len(), 1);
    assert_eq!(world.snapshots().len(), 1);
}
