//! What was planted is found, passed over, and set aside; how the repository stands.

use serde_json::Value;

use crate::world::World;

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

/// Files that look like objects, and files that do not.
fn plant(world: &World) {
    let writer = world.objects("snapshots")[0]
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let id = "ab".repeat(32);
    for name in [
        "repo/packs/xx/garbage".to_owned(),
        format!("repo/packs/{writer}/ab/{id}"),
        format!("repo/snapshots/{writer}/{id}"),
        format!("repo/snapshots/{}/{id}", "00".repeat(16)),
        format!("repo/index/{writer}/{id}"),
        "repo/index/odd name".to_owned(),
    ] {
        world.write(&name, b"garbage");
    }
}

fn assert_restores(world: &World, to: &str) -> String {
    let ran = world.run(&["restore", "latest", "-t", &world.text(to)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for name in ["a.txt", "sub/b.txt", "sub/c.log"] {
        let (wanted, found) = (format!("files/{name}"), format!("{to}/{name}"));
        assert_eq!(world.read(&wanted), world.read(&found));
    }
    ran.stderr
}

#[test]
fn what_was_planted_is_found_and_set_aside() {
    let world = World::with_files();
    world.backup(&["."]);
    let whole = document(&world.done(&["audit", "--json"]));
    assert_eq!(whole["ok"], true);
    assert_eq!(whole["findings"], serde_json::json!([]));
    let objects = whole["objects"].clone();
    let before = world.objects("");
    plant(&world);
    assert!(assert_restores(&world, "back").contains("warning: "));
    let ran = world.run(&["audit", "--json"]);
    assert_eq!(ran.code, 21, "{}", ran.stderr);
    let found = document(&ran.stdout);
    assert_eq!(
        (&found["foreign"], &found["ok"]),
        (&6.into(), &false.into())
    );
    assert_eq!(found["objects"], objects);
    for kind in [
        "locked_short",
        "missing",
        "corrupt",
        "hidden",
        "overwritten",
    ] {
        assert_eq!(found[kind], 0, "{kind}");
    }
    let ran = world.run(&["recover", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(world.run(&["audit"]).code, 21);
    let done = document(&world.done(&["recover", "--json"]));
    assert_eq!(
        (&done["set_aside"], &done["missing"]),
        (&6.into(), &0.into())
    );
    for kind in ["hidden", "overwritten", "unretired", "healed"] {
        assert_eq!(done[kind], 0, "{kind}");
    }
    let text = world.done(&["audit"]);
    assert!(text.ends_with("all of them there and shown\n"), "{text}");
    assert_eq!(world.objects("quarantine").len(), 6);
    let mut left = world.objects("");
    left.retain(|path| !path.starts_with(world.path("repo/quarantine")));
    assert_eq!(left, before);
    assert_eq!(assert_restores(&world, "again"), "");
    world.done(&["check", "--read-data"]);
}

#[test]
fn what_lies_beside_the_repository_is_told_and_stays() {
    let world = World::with_files();
    world.backup(&["."]);
    world.write("repo/README", b"whose backups these are");
    world.write("repo/lost+found/#123", b"found by fsck");
    let ran = world.run(&["audit", "--json"]);
    assert_eq!(ran.code, 21, "{}", ran.stderr);
    let found = document(&ran.stdout);
    assert_eq!(found["foreign"], 1);
    assert_eq!(found["findings"][0]["subject"], "README");
    let ran = world.run(&["recover", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(document(&ran.stdout)["set_aside"], 0);
    assert!(ran.stderr.contains("README: stays: "), "{}", ran.stderr);
    assert_eq!(world.read("repo/README"), b"whose backups these are");
    assert_eq!(world.read("repo/lost+found/#123"), b"found by fsck");
}

#[test]
fn a_garbage_pack_is_damage_until_it_is_stored_again() {
    let world = World::with_files();
    world.backup(&["."]);
    for pack in world.objects("packs") {
        std::fs::write(pack, b"garbage").unwrap();
    }
    let ran = world.run(&["audit", "--json"]);
    assert_eq!(ran.code, 20, "{}", ran.stderr);
    assert!(document(&ran.stdout)["corrupt"].as_u64() >= Some(1));
    let ran = world.run(&["recover", "--json"]);
    assert_eq!(ran.code, 20, "{}", ran.stderr);
    assert!(document(&ran.stdout)["set_aside"].as_u64() >= Some(1));
    assert_eq!(world.objects("packs").len(), 0);
    world.backup(&["."]);
    assert_restores(&world, "back");
}

#[test]
fn a_lost_root_is_put_back() {
    let world = World::with_files();
    world.backup(&["."]);
    std::fs::write(&world.objects("root")[0], b"garbage").unwrap();
    let ran = world.run(&["audit", "--json"]);
    assert_eq!(ran.code, 20, "{}", ran.stderr);
    let done = document(&world.done(&["recover", "--json"]));
    assert_eq!((&done["healed"], &done["missing"]), (&1.into(), &0.into()));
    world.done(&["audit"]);
}

#[test]
fn status_fits_on_a_screen_and_tells_what_is_wrong() {
    let world = World::with_files();
    let empty = document(&world.done(&["status", "--json"]));
    assert_eq!(empty["snapshots"], 0);
    assert_eq!(empty["bytes"]["retired"], 0);
    world.run(&["status", "--max-age", "2d"]).says(21, "");
    world.backup(&["--host", "a\"b", "."]);
    let status = document(&world.done(&["status", "--json", "--max-age", "2d"]));
    assert_eq!(
        (&status["snapshots"], &status["warnings"]),
        (&1.into(), &serde_json::json!([]))
    );
    assert_eq!(status["protected_until"], Value::Null);
    assert_eq!(status["renewal_due"], Value::Null);
    assert_eq!(status["last_maintenance"], Value::Null);
    assert_eq!(status["last_backups"][0]["writer"], "admin");
    assert!(status["bytes"]["live"].as_u64() > Some(0));
    assert_eq!(status["bytes"]["junk"], 0);
    let text = world.done(&["status"]);
    assert!(
        text.contains("not protected from who can write here"),
        "{text}"
    );
    assert!(text.lines().count() < 24);
    let metrics = world.done(&["status", "--metrics"]);
    assert!(metrics.contains("\ndolmen_snapshots 1\n"), "{metrics}");
    assert!(
        metrics.contains("dolmen_last_backup_timestamp_seconds{host=\"a\\\"b\",writer=\"admin\"} "),
        "{metrics}"
    );
    assert!(metrics.contains("\ndolmen_warnings 0\n"), "{metrics}");
    // Its latest snapshot is gone, and this machine remembers it.
    std::fs::remove_file(&world.objects("snapshots")[0]).unwrap();
    let ran = world.run(&["status"]);
    assert_eq!(ran.code, 21, "{}", ran.stderr);
    assert!(ran.stdout.contains("warning: snapshots/"), "{}", ran.stdout);
}

#[test]
fn a_lost_index_is_missed_until_it_is_rebuilt() {
    let world = World::with_files();
    world.backup(&["."]);
    for segment in world.objects("index") {
        std::fs::write(segment, b"garbage").unwrap();
    }
    assert_eq!(world.run(&["audit"]).code, 20);
    let ran = world.run(&["recover", "--json"]);
    assert_eq!(ran.code, 20, "{}", ran.stderr);
    assert_eq!(world.objects("index").len(), 0);
    assert_restores(&world, "back");
    world.run(&["renew"]).says(21, "error: index/…/");
    world.done(&["repair", "index"]);
    world.done(&["audit"]);
    world.done(&["renew"]);
    world.done(&["maintain"]);
}

#[test]
fn a_retired_snapshot_is_space_and_no_trouble() {
    let world = World::with_files();
    world.backup(&["."]);
    world.write("files/d", &vec![1; 5000]);
    world.backup(&["."]);
    let status = document(&world.done(&["status", "--json"]));
    assert_eq!(status["bytes"]["retired"], 0);
    world.done(&["forget", "latest"]);
    let status = document(&world.done(&["status", "--json"]));
    assert_eq!(status["snapshots"], 1);
    assert!(status["bytes"]["retired"].as_u64() > Some(0));
    assert_eq!(status["bytes"]["junk"], 0);
    world.done(&["audit", "--read-data-subset", "100%"]);
    world.done(&["maintain", "--dry-run", "--json"]);
    let status = document(&world.done(&["status", "--json"]));
    assert_eq!(status["last_maintenance"], Value::Null);
    let done = document(&world.done(&["maintain", "--json"]));
    assert_eq!(done["audit"]["ok"], true);
    let status = document(&world.done(&["status", "--json"]));
    assert!(status["last_maintenance"].is_string());
    assert_eq!(status["bytes"]["locked"], 0);
}

#[test]
fn what_maintenance_has_seen_and_is_gone_is_an_alarm_until_a_person_gives_it_up() {
    let world = World::with_files();
    world.backup(&["."]);
    world.write("files/more.txt", b"more");
    world.backup(&["."]);
    world.done(&["maintain"]);
    let snapshots = document(&world.done(&["snapshots", "--json"]));
    let newest = snapshots[1]["id"].as_str().unwrap().to_owned();
    let lost = world.objects("snapshots");
    let lost = lost.iter().find(|path| path.ends_with(&newest)).unwrap();
    std::fs::remove_file(lost).unwrap();
    for command in ["renew", "maintain", "status"] {
        let ran = world.run(&[command]);
        assert_eq!(ran.code, 21, "{command}: {}", ran.stderr);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        let named = format!("{newest}: gone, and no retirement names it");
        assert!(told.contains(&named), "{command}: {told}");
    }
    let held = document(&world.done(&["prune", "--json"]))["held"].clone();
    assert!(held.is_string(), "{held}");
    // What is only tried out is not remembered.
    world.done(&["prune", "--confirm-missing", "--dry-run"]);
    assert_eq!(world.run(&["renew"]).code, 21);
    world.done(&["prune", "--confirm-missing"]);
    world.done(&["renew"]);
}

#[test]
fn a_person_retires_what_is_gone() {
    let world = World::with_files();
    world.backup(&["."]);
    world.done(&["maintain"]);
    let snapshots = document(&world.done(&["snapshots", "--json"]));
    let id = snapshots[0]["id"].as_str().unwrap().to_owned();
    let lost = world.objects("snapshots").remove(0);
    std::fs::remove_file(lost).unwrap();
    assert_eq!(world.run(&["renew"]).code, 21);
    let told = world.run(&["forget", &id]);
    assert_eq!(told.code, 0);
    assert!(told.stderr.contains("cannot be undone"), "{}", told.stderr);
    assert!(!told.stdout.contains("--undo"), "{}", told.stdout);
    world.done(&["renew"]);
}

/// Makes everything an hour old: the store's times are those of its files.
fn age(world: &World) {
    for object in world.objects("") {
        let file = std::fs::File::options().append(true).open(object).unwrap();
        let stored_at = file.metadata().unwrap().modified().unwrap();
        let hour = std::time::Duration::from_secs(3600);
        file.set_modified(stored_at - hour).unwrap();
    }
}

#[test]
fn where_snapshots_are_lost_a_machine_that_knows_nothing_deletes_nothing() {
    let world = World::new();
    world.done(&["init", "--protect", "4s"]);
    world.write("files/a.txt", b"a\n");
    world.backup(&[&world.text("files")]);
    let packs = world.objects("packs");
    let snapshots = world.path("repo/snapshots");
    age(&world);
    // Lost whole, and moved to where another writer's would be.
    let away = world.path("away");
    let writer = std::fs::read_dir(&snapshots).unwrap().next().unwrap();
    let writer = writer.unwrap().path();
    let stranger = snapshots.join("11".repeat(16));
    for (from, to) in [(&snapshots, &away), (&writer, &stranger)] {
        std::fs::rename(from, to).unwrap();
        let state = world.text("state of a fresh machine");
        let ran = world.run_with(("XDG_STATE_HOME", &state), &["prune"]);
        ran.says(0, "none of its snapshots is there");
        assert_eq!(world.objects("packs"), packs);
        std::fs::rename(to, from).unwrap();
    }
    world.done(&["check", "--read-data"]);
    // A user who says that they are lost for good has the space back.
    std::fs::rename(&snapshots, &away).unwrap();
    world.done(&["prune", "--confirm-missing"]);
    assert_eq!(world.objects("packs").len(), 0);
}

#[test]
fn the_only_copy_of_a_snapshot_is_not_set_aside() {
    let world = World::with_files();
    world.backup(&["."]);
    let snapshot = world.objects("snapshots").pop().unwrap();
    let misplaced = world.path("repo/snapshots").join("11".repeat(16));
    std::fs::create_dir(&misplaced).unwrap();
    let misplaced = misplaced.join(snapshot.file_name().unwrap());
    let elsewhere = world.path("elsewhere");
    // Under another writer's name, and as a link to its bytes.
    let places = [(&misplaced, None), (&elsewhere, Some(&snapshot))];
    for (place, link) in places {
        std::fs::rename(&snapshot, place).unwrap();
        if let Some(link) = link {
            std::os::unix::fs::symlink(place, link).unwrap();
        }
        let told = document(&world.run(&["audit", "--json"]).stdout);
        assert_eq!((&told["missing"], &told["foreign"]), (&1.into(), &1.into()));
        for _ in 0..2 {
            world
                .run(&["recover"])
                .says(20, "stays: by its name it is what is missing");
        }
        assert!(!world.path("repo/quarantine").exists());
        std::fs::rename(place, &snapshot).unwrap();
        assert_eq!(world.run(&["audit"]).code, 0);
    }
}

/// A world whose newest record is gone: the undo by which a snapshot lives. Returns its place, and the snapshot.
fn without_its_undo() -> (World, std::path::PathBuf, String) {
    let world = World::with_files();
    world.backup(&["."]);
    let snapshots = document(&world.done(&["snapshots", "--json"]));
    let id = snapshots[0]["id"].as_str().unwrap().to_owned();
    world.done(&["forget", &id]);
    let before = world.objects("ledger");
    world.done(&["forget", "--undo", &id]);
    let mut records = world.objects("ledger").into_iter();
    let undo = records.find(|path| !before.contains(path)).unwrap();
    std::fs::remove_file(&undo).unwrap();
    (world, undo, id)
}

#[test]
fn the_newest_record_that_is_gone_is_missed_where_it_was_signed() {
    let (world, _, id) = without_its_undo();
    for (command, code) in [("check", 20), ("audit", 20), ("renew", 21), ("status", 21)] {
        let ran = world.run(&[command]);
        assert_eq!(ran.code, code, "{command}: {}", ran.stderr);
    }
    // By the undo that this machine remembers the snapshot lives.
    let ran = world.run(&["snapshots", "--json"]);
    assert_eq!(document(&ran.stdout)[0]["id"], id);
    assert!(
        ran.stderr.contains("which this machine signed"),
        "{}",
        ran.stderr
    );
    let held = document(&world.done(&["prune", "--json"]))["held"].clone();
    assert!(held.is_string(), "{held}");
}

#[test]
fn a_lost_record_that_this_machine_signed_is_put_back() {
    let (world, undo, id) = without_its_undo();
    let planned = document(&world.run(&["recover", "-n", "--json"]).stdout);
    assert_eq!(
        (&planned["healed"], &planned["missing"]),
        (&1.into(), &1.into())
    );
    assert!(!undo.exists());
    let done = document(&world.done(&["recover", "--json"]));
    assert_eq!((&done["healed"], &done["missing"]), (&1.into(), &0.into()));
    assert!(undo.exists());
    for command in ["check", "audit", "renew", "status"] {
        world.done(&[command]);
    }
    let elsewhere = world.path("elsewhere");
    let state = ("DOLMEN_STATE_DIR", elsewhere.to_str().unwrap());
    let ran = world.run_with(state, &["restore", &id, "--target", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn what_is_given_up_as_lost_is_told_of_no_more() {
    let (world, ..) = without_its_undo();
    // The next record makes the lost one a number that is missing.
    world.done(&["policy", "set", "--protect", "40d"]);
    world
        .run(&["check"])
        .says(20, "this client signed it as number");
    assert_eq!(world.run(&["audit"]).code, 20);
    let before = world.objects("snapshots");
    world.done(&["maintain", "--confirm-missing"]);
    for command in ["check", "audit", "renew", "status", "recover", "maintain"] {
        world.done(&[command]);
    }
    assert_eq!(world.objects("snapshots"), before);
    world.run(&["check"]).says(0, "given up on this machine");
    // What is lost later is told of.
    let newest = world.objects("ledger");
    std::fs::remove_file(&newest[0]).unwrap();
    world.run(&["check"]).says(20, "missing");
}
