//! Junk that somebody with the client's rights leaves among the objects: nothing changes by it.

use std::time::Duration;

use crate::machine::{Machine, PREFIX, noise, owner};

/// Short locks that run out while the test waits.
const TERMS: [&str; 6] = ["--protect", "20s", "--generation", "12s", "--every", "6s"];
/// Turns of prune until what was retired must be gone: each a second at least, locks end after 50 at most.
const TURNS_MAX: u32 = 200;
/// More than a snapshot or record has, and more than a program should take into memory for one.
const LARGE_BYTES: usize = 20 << 20;

/// Leaves junk of every kind under the names of this repository's objects; returns the keys.
async fn plant(machine: &Machine) -> Vec<String> {
    let genuine = machine.plain().await;
    let found = |folder: &str| {
        let folder = format!("{PREFIX}{folder}/");
        let mut keys = genuine.iter().filter(|(key, _)| key.starts_with(&folder));
        let (key, body) = keys.next_back().unwrap();
        let (place, id) = key.rsplit_once('/').unwrap();
        (place.to_owned(), id.to_owned(), body.clone())
    };
    let mut planted = Vec::new();
    let hashed = |body: &[u8]| blake3::hash(body).to_string();
    for (seed, folder) in (0..).zip(["root", "keys", "snapshots", "index", "ledger"]) {
        let (place, id, body) = found(folder);
        // What begins as a genuine object does, and goes on otherwise.
        let mut like = body.to_vec();
        like.truncate(16);
        like.extend(noise(seed, body.len().saturating_sub(16)));
        let large = noise(seed, LARGE_BYTES);
        planted.extend([
            (format!("{place}/{}", hashed(b"no")), b"other".to_vec()),
            (format!("{place}/{}", hashed(b"junk")), b"junk".to_vec()),
            (format!("{place}/{}", hashed(b"large")), large.clone()),
            (format!("{place}/{}", hashed(&large)), large),
            (format!("{place}/{}", hashed(b"like")), like.clone()),
            (format!("{place}/{}", hashed(&like)), like),
            (format!("{place}/{}", hashed(b"same")), body.to_vec()),
        ]);
        for other in ["snapshots", "index", "ledger"] {
            if other != folder {
                // Signed, and elsewhere.
                let (place, _, _) = found(other);
                planted.push((format!("{place}/{id}"), body.to_vec()));
            }
        }
        if !matches!(folder, "root" | "keys") {
            let stranger = format!("{PREFIX}{folder}/{}", "5a".repeat(16));
            planted.push((format!("{stranger}/{id}"), body.to_vec()));
        }
    }
    let (place, id, body) = found("keys");
    let root = place.replace("keys", "root");
    planted.push((format!("{root}/{id}"), body.to_vec()));
    for (key, body) in &planted {
        let put = owner().put_object().bucket(&machine.bucket).key(key);
        put.body(body.clone().into()).send().await.unwrap();
    }
    let mut keys: Vec<_> = planted.into_iter().map(|(key, _)| key).collect();
    for folder in ["root", "keys", "snapshots", "index", "ledger"] {
        let (place, _, _) = found(folder);
        let key = format!("{place}/{}", hashed(b"sealed"));
        seal_over(machine, &key).await;
        keys.push(key);
    }
    keys
}

/// Puts what only the thief's own key opens.
async fn seal_over(machine: &Machine, key: &str) {
    let put = owner().put_object().bucket(&machine.bucket).key(key);
    put.sse_customer_algorithm("AES256")
        .sse_customer_key("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
        .sse_customer_key_md5("mT2HRsMGJ5IX5C+0rreZ8Q==")
        .body(vec![7; 100].into())
        .send()
        .await
        .unwrap();
}

/// As garbage in the clear: what lies beneath is read, and what lies alone is none of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_thief_encrypts_over_everything_changes_nothing() {
    let terms = ["--protect", "2m", "--generation", "12s", "--every", "3s"];
    let machine = Machine::with_repository("sealed", &terms);
    machine.world.write("files/noise", &noise(1, 2_000_000));
    machine.done(&["backup", "."]);
    machine.world.write("files/b", b"more");
    machine.done(&["backup", "."]);
    for seen in machine.versions().await.values() {
        seal_over(&machine, &seen.key).await;
    }
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
    machine.done(&["renew"]);
    assert_eq!(machine.run(&["audit"]).code, 21);
    machine.done(&["recover"]);
    machine.done(&["audit"]);
    machine.done(&["backup", "."]);
    machine.restores("latest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_junk_holds_nothing_and_is_no_damage() {
    let machine = Machine::with_repository("planted", &TERMS);
    machine.world.write("files/kept.txt", b"kept");
    machine.world.write("files/gone", &noise(1, 3_000_000));
    let old = machine.told(&["backup", "."]);
    std::fs::remove_file(machine.world.path("files/gone")).unwrap();
    machine.done(&["backup", "."]);
    machine.done(&["forget", old["snapshot_id"].as_str().unwrap()]);
    let planted = plant(&machine).await;

    let checked = machine.told(&["check", "--read-data"]);
    assert_eq!(
        (&checked["num_errors"], &checked["snapshots_damaged"]),
        (&0.into(), &0.into()),
        "{checked}"
    );
    let mut is_gone = false;
    for _turn in 0..TURNS_MAX {
        let renewed = machine.told(&["renew"]);
        assert_eq!(renewed["failed"], 0, "{renewed}");
        let status = machine.told(&["status"]);
        assert!(status["protected_until"].is_string(), "{status}");
        let pruned = machine.told(&["prune"]);
        assert!(pruned["held"].is_null(), "{pruned}");
        assert_ne!(pruned["junk"]["objects"], 0, "{pruned}");
        is_gone = pruned["deleted"]["bytes"].as_u64().unwrap() >= 3_000_000;
        if is_gone {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(is_gone, "the retired data did not go");
    machine.restores("latest");
    // Nothing of it was locked in all that time.
    for seen in machine.versions().await.values() {
        let is_planted = planted.contains(&seen.key);
        assert!(!is_planted || seen.until.is_none(), "{seen:?}");
    }

    let audit = machine.run(&["audit", "--json"]);
    assert_eq!(audit.code, 21, "{}\n{}", audit.stdout, audit.stderr);
    machine.done(&["recover"]);
    machine.done(&["audit"]);
    let plain = machine.plain().await;
    assert!(planted.iter().all(|key| !plain.contains_key(key)));
    machine.done(&["maintain"]);
    machine.restores("latest");
}
