//! What is promised of buckets with Object Lock.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::machine::{Machine, noise, now_seconds, owner};

const PROTECT_SECONDS: i64 = 20;

/// Short locks that run out while the test waits.
const TERMS: [&str; 6] = ["--protect", "20s", "--generation", "12s", "--every", "6s"];

/// Two of three contents of 3,000,000 bytes; but the small file that lives may share its frame, of 1 MiB at most, with the
/// end of one that does not.
const FREED_BYTES_MIN: u64 = 6_000_000 - (1 << 20);

/// Turns of maintenance until the space must have come back: each a second at least, locks end after 50 at most.
const TURNS_MAX: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn space_comes_back_and_what_lives_stays_locked() {
    let machine = Machine::with_repository("space", &TERMS);
    let mut snapshots = Vec::new();
    for round in 0..3 {
        machine.world.write("files/kept.txt", b"kept");
        machine
            .world
            .write("files/changes", &noise(round, 3_000_000));
        let summary = machine.told(&["backup", "."]);
        snapshots.push(summary["snapshot_id"].as_str().unwrap().to_owned());
        assert!(summary["protected_until"].is_string(), "{summary}");
    }
    machine.done(&["forget", &snapshots[0], &snapshots[1]]);
    let before: u64 = bytes(&machine).await;
    let mut locks = Vec::new();
    for _turn in 0..TURNS_MAX {
        let begin = now_seconds();
        machine.done(&["renew"]);
        locks.push((begin, machine.versions().await));
        machine.done(&["prune"]);
        if before.saturating_sub(bytes(&machine).await) >= FREED_BYTES_MIN {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = bytes(&machine).await;
    assert!(
        before.saturating_sub(after) >= FREED_BYTES_MIN,
        "{before} became {after}"
    );
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
    has_one_version_of_each(&machine).await;
    // What is left lived all the time, and whoever asked the store was told that it was locked for long enough.
    let live = machine.versions().await;
    for (begin, seen) in locks {
        for (id, version) in seen.iter().filter(|(id, _)| live.contains_key(*id)) {
            let until = version.until.expect(id);
            assert!(until >= begin + PROTECT_SECONDS, "{version:?} at {begin}");
        }
    }
}

/// No version piles up beneath another one, and no marker on top: no lifecycle rule has to tidy.
async fn has_one_version_of_each(machine: &Machine) {
    let list = owner().list_object_versions().bucket(&machine.bucket);
    let list = list.prefix("repository/").send().await.unwrap();
    let is_ours = |key: Option<&str>| !key.unwrap().contains("/canary/");
    let versions = list.versions().iter();
    let versions: Vec<_> = versions.filter(|one| is_ours(one.key())).collect();
    let keys: BTreeSet<_> = versions.iter().map(|one| one.key()).collect();
    assert_eq!(versions.len(), keys.len(), "{versions:#?}");
    let mut markers = list.delete_markers().iter();
    assert!(!markers.any(|one| is_ours(one.key())), "{list:#?}");
}

async fn bytes(machine: &Machine) -> u64 {
    machine
        .versions()
        .await
        .values()
        .map(|seen| seen.bytes)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_version_of_a_live_object_can_be_deleted_by_the_owner() {
    let machine = Machine::with_repository("refused", &["--protect", "1h"]);
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    let versions = machine.versions().await;
    assert!(versions.len() >= 5, "{versions:?}");
    let client = owner();
    for (id, seen) in &versions {
        let delete = client.delete_object().bucket(&machine.bucket);
        let delete = delete.key(&seen.key).version_id(id);
        let delete = delete.bypass_governance_retention(true);
        delete.send().await.expect_err(&seen.key);
    }
    assert_eq!(machine.versions().await, versions);
    machine.restores("latest");
}

/// Every command works on a bucket as it does in a folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_work_on_a_bucket() {
    let machine = Machine::with_repository("commands", &["--protect", "1h"]);
    machine.world.write("files/a.txt", b"first");
    let first = machine.told(&["backup", "."])["snapshot_id"].clone();
    machine.world.write("files/sub/b.txt", b"second");
    let id = machine.told(&["backup", "."])["snapshot_id"].clone();
    let id = id.as_str().unwrap();
    let listed = machine.told(&["snapshots"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(listed[1]["protected_until"].is_string(), "{listed}");
    assert!(machine.done(&["ls", id]).contains("sub/b.txt"));
    machine.done(&["stats"]);
    machine.done(&["cat", "snapshot", id]);
    machine.done(&["check", "--read-data"]);
    machine.done(&["audit"]);
    machine.done(&["status"]);
    assert_eq!(machine.told(&["policy", "show"])["lock"], "compliance");
    machine.done(&["repair", "index"]);
    machine.done(&["recover"]);
    machine.done(&["forget", "--keep-last", "1"]);
    machine.done(&["forget", "--undo", first.as_str().unwrap()]);
    machine.done(&["maintain"]);
    machine.restores(id);
    // A machine that has nothing but the address and the passphrase.
    let other = Machine {
        world: crate::world::World::new(),
        bucket: machine.bucket.clone(),
        endpoint: machine.endpoint.clone(),
    };
    other.world.write("files/a.txt", b"first");
    other.world.write("files/sub/b.txt", b"second");
    assert_eq!(other.told(&["snapshots"]).as_array().unwrap().len(), 2);
    other.done(&["check"]);
}
