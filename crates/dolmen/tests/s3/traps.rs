//! Traps of Object Lock that other tools fell into; `docs/s3.md` lists them all, with the tests that are elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode,
    ObjectLockRule,
};

use crate::machine::{Machine, noise, now_seconds, owner};
use crate::proxy::{Fault, Request};
use crate::seaweed::server;
use crate::world::messages;

/// Short locks that are due soon after each put.
const TERMS: [&str; 6] = ["--protect", "20s", "--generation", "12s", "--every", "6s"];

fn is_extension(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("retention")
}

/// Makes a bucket that locks for a day whatever is put into it without a lock.
pub(crate) async fn bucket_that_locks(name: &str) {
    server().bucket(name, true).await;
    let retention = DefaultRetention::builder()
        .mode(ObjectLockRetentionMode::Compliance)
        .days(1)
        .build();
    let rule = ObjectLockRule::builder().default_retention(retention);
    let settings = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(rule.build());
    let put = owner().put_object_lock_configuration().bucket(name);
    let put = put.object_lock_configuration(settings.build());
    put.send().await.unwrap();
}

/// Puts garbage on top of every key and a marker on top of that.
async fn cover_all(machine: &Machine) {
    let client = owner();
    for (at, seen) in (0..).zip(machine.versions().await.into_values()) {
        let put = client.put_object().bucket(&machine.bucket).key(&seen.key);
        put.body(noise(at, 100).into()).send().await.unwrap();
        hide(machine, &seen.key).await;
    }
}

async fn hide(machine: &Machine, key: &str) {
    let hide = owner().delete_object().bucket(&machine.bucket).key(key);
    hide.send().await.unwrap();
}

/// Tools that keep markers or locks in the bucket, and have to delete them, stop working there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_a_delete_where_the_bucket_locks_everything() {
    bucket_that_locks("locks-all").await;
    let machine = Machine::new("locks-all");
    machine.done(&[&["init"] as &[&str], &TERMS].concat());
    machine.world.write("files/a", b"first");
    let first = machine.told(&["backup", "."]);
    machine.world.write("files/a", b"second");
    machine.done(&["backup", "."]);
    let genuine = machine.versions().await;
    cover_all(&machine).await;
    // The garbage is locked for longer than everything else.
    let covers = machine.versions().await;
    let covers = covers.iter().filter(|(id, _)| !genuine.contains_key(*id));
    let day_seconds = 86_400;
    let is_locked = |until: Option<i64>| until.unwrap() > now_seconds() + day_seconds / 2;
    assert!(covers.clone().count() >= genuine.len());
    assert!(covers.clone().all(|(_, seen)| is_locked(seen.until)));

    machine.world.write("files/a", b"third");
    machine.done(&["backup", "."]);
    machine.done(&["forget", first["snapshot_id"].as_str().unwrap()]);
    machine.done(&["renew"]);
    machine.done(&["prune"]);
    machine.done(&["recover"]);
    machine.done(&["maintain"]);
    machine.done(&["check", "--read-data"]);
    machine.restores("latest");
}

/// A store may refuse to extend what it took a moment ago; and each extension costs a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_just_put_is_not_extended() {
    let terms = ["--protect", "60d", "--generation", "30d"];
    let (machine, _, proxy) = Machine::behind("fresh", &terms, |_, _| Fault::None).await;
    for content in [b"first", b"other"] {
        machine.world.write("files/a", content);
        machine.done(&["backup", "."]);
        machine.done(&["renew"]);
    }
    machine.done(&["maintain"]);
    let requests = proxy.requests();
    // What `init` tries out, it tries on canaries.
    let is_needed = |one: &&Request| is_extension(one) && !one.target.contains("/canary/");
    let extended: Vec<_> = requests.iter().filter(is_needed).collect();
    assert!(extended.is_empty(), "{extended:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_is_refused_stops_no_other_and_the_next_run_makes_it() {
    const REFUSED: usize = 3;
    let refused = AtomicUsize::new(0);
    let (machine, is_on, _) = Machine::behind("refuses", &TERMS, move |request, _| {
        if is_extension(request) && refused.fetch_add(1, Ordering::SeqCst) < REFUSED {
            Fault::Say(403, "<Error><Code>AccessDenied</Code></Error>")
        } else {
            Fault::None
        }
    })
    .await;
    for round in 0..3 {
        machine.world.write("files/a", &[round]);
        machine.done(&["backup", "."]);
    }
    machine.until_all_is_due().await;
    is_on.store(true, Ordering::SeqCst);
    let ran = machine.run(&["renew", "--json"]);
    // 21 where so much time went by that the three have less than they must.
    assert!([0, 21].contains(&ran.code), "{}", ran.stderr);
    let told = messages(&ran.stdout).pop().unwrap();
    let count = |field: &str| told[field].as_u64().unwrap();
    assert_eq!(count("renewed"), count("examined") - 3, "{told}");
    let before = machine.versions().await;
    machine.done(&["renew"]);
    let after = machine.versions().await;
    let is_later = |id: &&String| after[*id].until > before[*id].until;
    assert!(before.keys().filter(is_later).count() >= 3, "{after:#?}");
    machine.restores("latest");
}

/// A listing looks empty after an attack that hides everything, and going back in time is one flag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_looks_empty_shows_every_moment() {
    let machine = Machine::with_repository("looks-empty", &["--protect", "1h"]);
    machine.world.write("files/a", b"first");
    let first = machine.told(&["backup", "."]);
    let between = now_seconds() + 1;
    while now_seconds() <= between {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    machine.world.write("files/a", b"second");
    let second = machine.told(&["backup", "."]);
    for seen in machine.versions().await.into_values() {
        hide(&machine, &seen.key).await;
    }
    let plain = owner().list_objects_v2().bucket(&machine.bucket);
    let plain = plain.prefix("repository/").send().await.unwrap();
    let shown = plain.contents().iter();
    let shown = shown.filter(|one| !one.key().unwrap().contains("/canary/"));
    assert_eq!(shown.count(), 0);

    let stranger = Machine::new("looks-empty");
    let listed = stranger.run(&["snapshots", "--json"]);
    let ids = |stdout: &str| -> Vec<_> {
        let listed = messages(stdout).pop().unwrap();
        let listed = listed.as_array().unwrap().iter();
        listed.map(|one| one["id"].clone()).collect()
    };
    let wanted = [&first, &second].map(|one| one["snapshot_id"].clone());
    assert_eq!(ids(&listed.stdout), wanted);
    listed.says(0, "hidden");
    let at = jiff::Timestamp::from_second(between).unwrap().to_string();
    let then = stranger.done(&["snapshots", "--json", "--at", &at]);
    assert_eq!(ids(&then), wanted[..1]);
    let target = tempfile::tempdir().unwrap();
    let folder = target.path().to_str().unwrap();
    stranger.done(&["restore", "latest", "--at", &at, "--target", folder]);
    assert_eq!(std::fs::read(target.path().join("a")).unwrap(), b"first");
    stranger.done(&["recover"]);
    stranger.done(&["audit"]);
}
