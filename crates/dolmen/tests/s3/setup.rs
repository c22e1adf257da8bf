//! `init` on buckets, and addresses where nothing is.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ExpirationStatus, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter, NoncurrentVersionExpiration, VersioningConfiguration,
};

use crate::machine::{Machine, owner};
use crate::seaweed::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_makes_a_bucket_or_says_how() {
    let machine = Machine::new("made-by-init");
    machine.run(&["init"]).says(
        1,
        "there is no bucket made-by-init\nhint: make it, with Object Lock",
    );
    machine.run(&["snapshots"]).says(10, "no repository at s3:");
    let made = machine.told(&["init", "--create-bucket"]);
    assert_eq!(made["lock"], "compliance");
    assert_eq!(made["generation_seconds"], 7 * 86_400);
    machine
        .run(&["init"])
        .says(1, "a repository already exists at");
    machine.done(&["snapshots"]);
    // Beside it, in the same bucket.
    let other = Machine::new("made-by-init");
    let address = format!("s3:{}/made-by-init/other", other.endpoint);
    other.done(&["-r", &address, "init", "--protect", "1h"]);
    other
        .run(&["-r", &address.replace("other", "third"), "snapshots"])
        .says(10, "no repository at s3:");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_refuses_a_bucket_that_cannot_keep_the_promise() {
    let machine = Machine::new("without-locks");
    server().bucket("without-locks", false).await;
    machine
        .run(&["init", "--lock", "none"])
        .says(1, "the bucket keeps no versions");
    server().keep_versions("without-locks").await;
    let refused = machine.run(&["init"]);
    refused.says(1, "the bucket has no Object Lock");
    refused.says(
        1,
        "aws s3api put-object-lock-configuration --endpoint-url http://",
    );
    machine
        .run(&["init", "--lock", "compliance"])
        .says(1, "this bucket has none");
    let none = machine.run(&["init", "--lock", "none"]);
    none.says(0, "lock: none. This bucket");
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    machine.restores("latest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_refuses_a_bucket_that_keeps_versions_no_more() {
    let machine = Machine::new("suspended");
    server().bucket("suspended", false).await;
    server().keep_versions("suspended").await;
    let suspended = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended);
    let put = owner().put_bucket_versioning().bucket("suspended");
    let put = put.versioning_configuration(suspended.build());
    put.send().await.unwrap();
    for lock in ["compliance", "none"] {
        let refused = machine.run(&["init", "--lock", lock]);
        refused.says(1, "the bucket keeps no versions\nhint: ");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_refuses_a_bucket_that_takes_backups_away_by_itself() {
    let rule = |id: &str, prefix: &str| {
        let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
        let rule = LifecycleRule::builder().id(id).filter(filter);
        rule.status(ExpirationStatus::Enabled)
    };
    let old = LifecycleExpiration::builder().days(30).build();
    let beneath = NoncurrentVersionExpiration::builder().noncurrent_days(30);
    let rules = [
        (
            rule("tidy", "").expiration(old.clone()),
            Some("the bucket has a lifecycle rule, `tidy`: it expires objects"),
        ),
        (
            rule("beneath", "repository/").noncurrent_version_expiration(beneath.build()),
            Some(
                "the bucket has a lifecycle rule, `beneath`: it deletes versions that something covers or hides",
            ),
        ),
        (rule("logs", "logs/").expiration(old), None),
    ];
    for (at, (rule, refusal)) in rules.into_iter().enumerate() {
        let bucket = format!("with-a-rule-{at}");
        let machine = Machine::new(&bucket);
        server().bucket(&bucket, true).await;
        let rules = BucketLifecycleConfiguration::builder().rules(rule.build().unwrap());
        let put = owner().put_bucket_lifecycle_configuration();
        let put = put.bucket(&bucket);
        let put = put.lifecycle_configuration(rules.build().unwrap());
        put.send().await.unwrap();
        let ran = machine.run(&["init"]);
        match refusal {
            Some(said) => ran.says(1, said),
            None => assert_eq!(ran.code, 0, "{}", ran.stderr),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_no_key_and_no_server_are_told_apart() {
    let machine = Machine::with_repository("keys-apart", &["--protect", "1h"]);
    let run = |variables: &[(&str, &str)]| {
        let mut command = machine.command(&["snapshots"]);
        command.envs(variables.iter().copied());
        crate::world::Ran::of(command.output().unwrap())
    };
    run(&[("AWS_SECRET_ACCESS_KEY", "wrong")]).says(13, "permission denied");
    run(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")])
        .says(13, "no credentials were found");
    let silent = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let address = format!("s3:http://127.0.0.1:{silent}/keys-apart/repository");
    run(&[("DOLMEN_REPOSITORY", &address)]).says(1, "unavailable");
}
