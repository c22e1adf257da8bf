//! Damage: found, named, and told by the exit code.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::world::{Ran, World, messages};

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

#[test]
fn junk_that_nothing_needs_is_mentioned_and_is_no_damage() {
    let world = World::with_files();
    world.backup(&["."]);
    let writer = world.objects("snapshots").pop().unwrap();
    let writer = writer.parent().unwrap().file_name().unwrap();
    let (writer, id) = (writer.to_str().unwrap(), "ab".repeat(32));
    let stranger = "5a".repeat(16);
    let planted = [
        "snapshots/note.txt".to_owned(),
        format!("snapshots/{writer}/{id}"),
        format!("snapshots/{stranger}/{id}"),
        format!("index/{writer}/{id}"),
        format!("ledger/{writer}/{id}"),
        format!("packs/{writer}/ab/{id}"),
        "packs/junk".to_owned(),
        "keys/junk".to_owned(),
        format!("keys/{id}"),
    ];
    for name in &planted {
        world.write(&format!("repo/{name}"), b"garbage garbage garbage");
    }
    let mut planted = planted.to_vec();
    // What is no file was never ours either, and what another repository signed is whole.
    let id = "cd".repeat(32);
    for name in [
        format!("root/{id}"),
        format!("keys/{id}"),
        format!("snapshots/{writer}/{id}"),
        format!("ledger/{writer}/{id}"),
    ] {
        let link = world.path(&format!("repo/{name}"));
        std::os::unix::fs::symlink("/nowhere", link).unwrap();
        planted.push(name);
    }
    let other = World::with_files();
    other.backup(&["."]);
    for kind in ["root", "keys", "snapshots"] {
        let object = other.objects(kind).pop().unwrap();
        let id = object.file_name().unwrap().to_str().unwrap();
        let name = match kind {
            "snapshots" => format!("{kind}/{writer}/{id}"),
            _ => format!("{kind}/{id}"),
        };
        std::fs::copy(&object, world.path(&format!("repo/{name}"))).unwrap();
        planted.push(name);
    }
    let ran = world.run(&["check", "--read-data", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let summary = messages(&ran.stdout).pop().unwrap();
    assert_eq!(
        (
            &summary["num_errors"],
            &summary["snapshots"],
            &summary["snapshots_damaged"],
            &summary["suggest_repair_index"],
        ),
        (&0.into(), &1.into(), &0.into(), &false.into())
    );
    for name in &planted {
        assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
    }
    assert_eq!(world.run(&["audit"]).code, 21);
    world.done(&["recover"]);
    world.done(&["audit"]);
}

#[test]
fn a_snapshot_of_another_machine_that_has_rotted_is_damage() {
    let world = World::with_files();
    world.backup(&["."]);
    damage(&world.objects("snapshots").pop().unwrap());
    // Nothing here remembers it, and nothing follows it.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    let ran = world.run(&["check", "--json"]);
    let summary = messages(&ran.stdout).pop().unwrap();
    assert_eq!((ran.code, &summary["snapshots_damaged"]), (20, &1.into()));
}

#[test]
fn what_may_not_be_read_is_no_damage() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::with_files();
    world.backup(&["."]);
    world.write("files/sub/more", b"more");
    world.backup(&["."]);
    world.done(&["policy", "set", "--keep-daily", "7"]);
    world.give_to_nobody("repo");
    let close = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let check = || {
        let arguments = ["check", "--read-data"];
        Ran::of(world.command_as_nobody(&arguments).output().unwrap())
    };
    assert_eq!(check().code, 0);
    for kind in ["packs", "index", "snapshots", "ledger", "keys"] {
        for path in world.objects(kind) {
            close(&path, 0);
            let ran = check();
            assert_eq!(ran.code, 1, "{kind}: {}", ran.stderr);
            let name = path.file_name().unwrap().to_str().unwrap();
            let told = format!("{name}: cannot be read: permission denied");
            assert!(ran.stderr.contains(&told), "{kind}: {}", ran.stderr);
            assert!(ran.stderr.contains("hint: permission to read is missing"));
            close(&path, 0o644);
        }
    }
    // Damage beside it is damage.
    let packs = world.objects("packs");
    close(packs.first().unwrap(), 0);
    damage(packs.last().unwrap());
    assert_eq!(check().code, 20);
}
