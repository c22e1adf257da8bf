//! Batches and drills on a folder, which has neither locks nor a bucket.

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
