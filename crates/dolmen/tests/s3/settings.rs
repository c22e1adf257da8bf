//! What `audit` makes of the bucket itself.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration,
};

use crate::machine::{Machine, owner};
use crate::seaweed::server;
use crate::world::messages;

/// A machine with one backup in a bucket of its own.
fn backed_up(bucket: &str) -> Machine {
    let machine = Machine::with_repository(bucket, &["--protect", "1d"]);
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    let told = machine.told(&["audit"]);
    assert_eq!((&told["ok"], &told["settings"]), (&true.into(), &0.into()));
    machine
}

/// Runs `audit` somewhere and expects so many weak settings, nothing missing, and exit code 21.
#[track_caller]
fn assert_weak(machine: &Machine, address: &str, weak: u64, said: &str) {
    let ran = machine.run(&["-r", address, "audit", "--json"]);
    assert_eq!(ran.code, 21, "{}\n{}", ran.stdout, ran.stderr);
    let told = messages(&ran.stdout).pop().unwrap();
    assert_eq!(told["settings"], weak, "{told}");
    assert_eq!(told["ok"], false, "{told}");
    assert_eq!(told["missing"], 0, "{told}");
    assert!(told["findings"].to_string().contains(said), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_tells_of_a_rule_that_deletes_what_somebody_covered() {
    let machine = backed_up("ruled-later");
    let beneath = NoncurrentVersionExpiration::builder().noncurrent_days(1);
    let rule = LifecycleRule::builder()
        .id("tidy")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .noncurrent_version_expiration(beneath.build());
    let rules = BucketLifecycleConfiguration::builder().rules(rule.build().unwrap());
    let put = owner().put_bucket_lifecycle_configuration();
    let put = put.bucket("ruled-later");
    let put = put.lifecycle_configuration(rules.build().unwrap());
    put.send().await.unwrap();
    let said = "lifecycle rule `tidy`: it deletes versions";
    assert_weak(&machine, &machine.address(), 1, said);
    let taken_off = owner().delete_bucket_lifecycle().bucket("ruled-later");
    taken_off.send().await.unwrap();
    machine.done(&["audit"]);
}

/// Copies what the plain view of a machine's bucket shows.
async fn copy(machine: &Machine, to: &str) {
    for (key, body) in machine.plain().await {
        let put = owner().put_object().bucket(to).key(key);
        put.body(ByteStream::from(body)).send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_not_believed_to_keep_locks_until_it_was_tried_out_itself() {
    let machine = backed_up("original");
    server().bucket("copied", true).await;
    copy(&machine, "copied").await;
    let address = machine.address().replace("/original/", "/copied/");
    assert_weak(&machine, &address, 1, "tried out at another address");
    machine.done(&["-r", &address, "policy", "set", "--lock", "compliance"]);
    machine.done(&["-r", &address, "renew"]);
    machine.done(&["-r", &address, "audit"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_a_bucket_without_versions_can_be_restored_and_nothing_else() {
    let machine = backed_up("versioned");
    server().bucket("unversioned", false).await;
    copy(&machine, "unversioned").await;
    let address = machine.address().replace("/versioned/", "/unversioned/");
    assert_weak(&machine, &address, 3, "keeps no versions");
    let target = tempfile::tempdir().unwrap();
    let restored = target.path().to_str().unwrap();
    machine.done(&["-r", &address, "restore", "latest", "--target", restored]);
    let read = std::fs::read(target.path().join("a")).unwrap();
    assert_eq!(read, b"first");
    machine
        .run(&["-r", &address, "backup", "."])
        .says(1, "the bucket has no Object Lock");
}
