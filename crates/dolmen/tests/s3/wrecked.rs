//! A bucket after somebody with all rights was in it.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use crate::machine::{Machine, PREFIX, Seen, noise, owner};
use crate::world::World;

/// Locks that are due soon after each put, and last longer than a slow machine wrecks a bucket.
const TERMS: [&str; 6] = ["--protect", "2m", "--generation", "12s", "--every", "3s"];

/// Everything covered with garbage, then hidden, then covered again; and things planted.
async fn wreck(machine: &Machine, versions: &BTreeMap<String, Seen>) {
    let client = owner();
    let put = async |key: &str, body: Vec<u8>| {
        let request = client.put_object().bucket(&machine.bucket).key(key);
        request.body(body.into()).send().await.unwrap();
    };
    for (at, seen) in (0..).zip(versions.values()) {
        put(&seen.key, noise(at, 1000)).await;
        let hide = client.delete_object().bucket(&machine.bucket);
        hide.key(&seen.key).send().await.unwrap();
        if at % 2 == 0 {
            put(
                &seen.key,
                noise(at + 1, usize::try_from(seen.bytes).unwrap()),
            )
            .await;
        }
    }
    for folder in ["root", "keys", "snapshots", "index", "ledger"] {
        let seen = versions.values().find(|seen| {
            let (_, name) = seen.key.split_once('/').unwrap();
            name.starts_with(folder)
        });
        let Some(seen) = seen else { continue };
        let (place, _) = seen.key.rsplit_once('/').unwrap();
        let body = noise(77, 300);
        put(&format!("{place}/{}", blake3::hash(&body)), body).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrecked_bucket_reads_as_before_and_is_made_whole() {
    let machine = Machine::with_repository("wrecked", &TERMS);
    machine.world.write("files/a.txt", b"first");
    machine.world.write("files/sub/noise", &noise(1, 2_000_000));
    machine.done(&["backup", "."]);
    machine.world.write("files/sub/b.txt", b"second");
    machine.done(&["backup", "."]);
    let snapshots = machine.told(&["snapshots"]);
    let listed = machine.done(&["ls", "latest"]);
    let genuine = machine.versions().await;
    wreck(&machine, &genuine).await;

    let ids = |snapshots: &serde_json::Value| -> Vec<_> {
        let snapshots = snapshots.as_array().unwrap().iter();
        snapshots.map(|one| one["id"].clone()).collect()
    };
    // What this machine keeps must not be what saves it.
    let fresh = Machine {
        world: World::new(),
        bucket: machine.bucket.clone(),
        endpoint: machine.endpoint.clone(),
    };
    for reader in [&machine, &fresh] {
        assert_eq!(ids(&reader.told(&["snapshots"])), ids(&snapshots));
        assert_eq!(reader.done(&["ls", "latest"]), listed);
        reader.done(&["check", "--read-data"]);
    }
    machine.restores("latest");
    let audit = machine.run(&["audit", "--json"]);
    assert_eq!(audit.code, 21, "{}\n{}", audit.stdout, audit.stderr);

    renews_the_genuine(&machine, &genuine).await;
    let client = owner();
    for (id, seen) in &genuine {
        let delete = client.delete_object().bucket(&machine.bucket);
        let delete = delete.key(&seen.key).version_id(id).send().await;
        delete.expect_err(&seen.key);
    }

    machine.done(&["recover"]);
    machine.done(&["audit"]);
    restores_from_a_plain_copy(&machine).await;
}

/// Each genuine version that is needed ends later after a while of renewals, and nothing that covers it has a lock.
async fn renews_the_genuine(machine: &Machine, genuine: &BTreeMap<String, Seen>) {
    let mut later = BTreeMap::new();
    for _turn in 0..100 {
        machine.done(&["renew"]);
        later = machine.versions().await;
        let is_later = |(id, seen): (&String, &Seen)| later[id].until > seen.until;
        if genuine.iter().all(is_later) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for (id, seen) in &later {
        match genuine.get(id) {
            Some(before) => assert!(seen.until > before.until, "{seen:?} {before:?}"),
            None => assert_eq!(seen.until, None, "{seen:?}"),
        }
    }
}

/// A copy of what the plain view shows, as any tool makes it, is a repository.
async fn restores_from_a_plain_copy(machine: &Machine) {
    let copy = machine.world.path("copy");
    for (key, body) in machine.plain().await {
        let path = copy.join(key.strip_prefix(PREFIX).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body).unwrap();
    }
    let target = tempfile::tempdir().unwrap();
    let fresh = World::new();
    let arguments = ["restore", "latest", "--target"];
    let arguments = [&arguments as &[&str], &[target.path().to_str().unwrap()]].concat();
    let restored = fresh
        .command(&arguments)
        .env("DOLMEN_REPOSITORY", &copy)
        .output()
        .unwrap();
    assert!(restored.status.success(), "{restored:?}");
    let files = machine.world.path("files");
    let compared = Command::new("diff")
        .arg("-r")
        .arg(&files)
        .arg(target.path())
        .output();
    assert!(compared.unwrap().status.success());
}
