//! Compaction as `prune` and `maintain` do it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::world::{Ran, World, messages};

/// One with small packs of several backups.
fn with_small_packs() -> World {
    let world = World::with_files();
    for day in 1..6 {
        let time = format!("2026-11-0{day} 12:00:00");
        world.write(&format!("files/day {day}"), format!("{day}").as_bytes());
        world.backup(&["--time", &time, "."]);
    }
    world
}

fn document(stdout: &str) -> Value {
    messages(stdout).pop().unwrap()
}

#[test]
fn prune_merges_small_packs_once_and_all_comes_back() {
    let world = with_small_packs();
    let before = world.objects("packs");
    let planned = world.done(&["prune", "--dry-run"]);
    assert!(planned.contains("would repack 5 packs ("), "{planned}");
    let off = document(&world.done(&["prune", "--max-repack-size", "0", "--json"]));
    assert_eq!(off["compact"]["packs_read"], 0);
    assert_eq!(world.objects("packs"), before);
    assert!(!world.path("repo/ledger").exists());

    let told = document(&world.done(&["prune", "--json"]));
    assert_eq!(told["compact"]["packs_read"], 5);
    assert_eq!(told["compact"]["packs_written"], 1);
    assert_eq!(told["compact"]["held"], Value::Null);
    assert_eq!(world.objects("packs").len(), before.len() + 1);
    let again = document(&world.done(&["maintain", "--json"]));
    assert_eq!(again["compact"]["packs_read"], 0);
    assert_eq!(again["compact"]["compared"], 0, "its own copies are known");

    // Without what was copied, as when its lease has lapsed.
    for origin in &before {
        std::fs::remove_file(origin).unwrap();
    }
    world.done(&["check", "--read-data"]);
    world.done(&["restore", "latest", "--target", &world.text("back")]);
    let files = world.tree("files");
    assert!(files.len() >= 5);
    for file in files {
        let restored = file.replacen("files", "back", 1);
        assert_eq!(world.read(&restored), world.read(&file), "{file}");
    }

    // An index can be made of what is left, once.
    std::fs::remove_dir_all(world.path("repo/index")).unwrap();
    let rebuilt = document(&world.done(&["repair", "index", "--json"]));
    assert!(rebuilt["packs"].as_u64() > Some(0), "{rebuilt}");
    let again = document(&world.done(&["repair", "index", "--json"]));
    assert_eq!((&again["packs"], &again["blobs"]), (&0.into(), &0.into()));
    let ran = world.run(&["restore", "latest", "--target", &world.text("again")]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    world.done(&["check", "--read-data"]);
    world.done(&["maintain"]);
}

#[test]
fn a_dry_run_tells_what_repacking_then_frees() {
    let world = with_small_packs();
    // Some are old enough to go at once, the others are kept until their leases end.
    for pack in world.objects("packs").iter().take(3) {
        let file = std::fs::File::options().append(true).open(pack).unwrap();
        let received = file.metadata().unwrap().modified().unwrap();
        let long_ago = received - std::time::Duration::from_hours(100 * 24);
        file.set_modified(long_ago).unwrap();
    }
    let planned = document(&world.done(&["prune", "--dry-run", "--json"]));
    let maintained = document(&world.done(&["maintain", "--dry-run", "--json"]));
    assert_eq!(planned["deleted"]["objects"], 3, "{planned}");
    let done = document(&world.done(&["prune", "--json"]));
    for told in [&planned, &maintained["prune"]] {
        for kind in ["objects", "bytes"] {
            assert_eq!(told["deleted"][kind], done["deleted"][kind], "{told}");
            assert_eq!(told["locked"][kind], done["locked"][kind], "{told}");
        }
    }
}

#[test]
fn dry_runs_count_what_they_would_retire() {
    let retires = ["forget", "--keep-last", "2", "--prune", "--json"];
    for work in [&["maintain", "--json"][..], &retires] {
        let world = with_small_packs();
        world.done(&["policy", "set", "--keep-last", "3"]);
        let planned = document(&world.done(&[work, &["--dry-run"]].concat()));
        let done = document(&world.done(work));
        for kind in ["packs_read", "bytes_read", "frames"] {
            assert_eq!(planned["compact"][kind], done["compact"][kind], "{kind}");
        }
        let pruned = |told: &Value| {
            let told = told.get("prune").unwrap_or(told);
            ["deleted", "locked"].map(|kind| told[kind]["objects"].clone())
        };
        assert_eq!(pruned(&planned), pruned(&done), "{planned}");
        assert_ne!(pruned(&done)[1], 0, "{done}");
    }
}

#[test]
fn what_cannot_be_repacked_keeps_nothing_from_being_deleted() {
    let world = with_small_packs();
    world.give_to_nobody("repo");
    // Then no folder for the first record can be made.
    let closed = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(world.path("repo"), mode).unwrap();
    };
    closed(0o555);
    let ran = Ran::of(
        world
            .command_as_nobody(&["prune", "--json"])
            .output()
            .unwrap(),
    );
    closed(0o755);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("cannot compact"), "{}", ran.stderr);
    let told = document(&ran.stdout);
    assert!(told["compact"]["error"].is_string());
    assert_eq!(told["held"], Value::Null);
    assert!(told["live"]["objects"].as_u64().unwrap() > 10);
}

#[test]
fn a_limit_that_is_none_is_refused() {
    let world = World::with_repository();
    for text in ["x", "100%", "-1%", "5 apples"] {
        let unused = format!("--max-unused={text}");
        world
            .run(&["prune", &unused])
            .says(2, "is no limit; write it as 5%, 2GiB or unlimited");
    }
    for text in ["0%", "2.5%", "2GiB", "unlimited"] {
        world.done(&["prune", "--max-unused", text]);
    }
}
