//! Batches and drills on a folder, which has neither locks nor a bucket.

use serde_json::Value;

use crate::world::World;

#[test]
fn a_manifest_for_a_folder_is_refused_in_one_sentence() {
    let world = World::with_files();
    let refused = world.run(&["renew", "--batch-manifest", "due.csv"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let why = "S3 Batch Operations work on buckets of S3 alone";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert!(!world.path("files/due.csv").exists());
    let both = ["renew", "--batch-manifest", "due.csv", "--dry-run"];
    assert_eq!(world.run(&both).code, 2);
}

#[test]
fn a_paced_maintenance_does_what_it_does_else() {
    let world = World::with_files();
    world.backup(&["."]);
    world.done(&["maintain", "--max-requests-per-second", "100000"]);
    assert_eq!(
        world.run(&["renew", "--max-requests-per-second", "0"]).code,
        2
    );
}

#[test]
fn a_drill_on_a_folder_tells_that_nothing_is_kept_and_leaves_nothing() {
    let world = World::with_files();
    world.backup(&["."]);
    let ran = world.run(&["drill", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let told: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert!(row["detail"].is_string());
            (
                row["attack"].as_str().unwrap(),
                row["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    let both = [("delete-version", "succeeds"), ("overwrite", "succeeds")];
    assert_eq!(told, both);
    let canaries = std::fs::read_dir(world.path("repo/canary"));
    assert!(canaries.map_or(0, Iterator::count) == 0);
    world.done(&["audit"]);

    let ran = world.run(&["drill"]);
    assert!(ran.stderr.contains("lock: none"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("change-lifecycle was not tried"),
        "{}",
        ran.stderr
    );
    let ran = world.run(&["drill", "--role", "backup"]);
    assert_eq!(ran.code, 21, "{}", ran.stdout);
    assert!(ran.stdout.contains("2 attacks succeeded"), "{}", ran.stdout);
    assert_eq!(world.run(&["drill", "--role", "nobody"]).code, 2);
}
