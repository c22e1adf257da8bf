//! Credentials that may list and not read: what they are not given is neither missing nor damaged.

use std::sync::atomic::Ordering;

use crate::machine::Machine;
use crate::proxy::{Fault, Request};
use crate::world::messages;

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>not authorized to perform s3:GetObject</Message></Error>";

/// Whether an object of the repository is asked for, and not a listing.
fn reads(request: &Request, folder: &str) -> bool {
    let path = request.target.split('?').next().unwrap();
    matches!(request.method.as_str(), "GET" | "HEAD")
        && path.contains(&format!("/repository/{folder}"))
}

/// Nobody may read below a folder.
fn withhold(folder: &'static str) -> impl Fn(&Request, usize) -> Fault + Send + Sync + 'static {
    move |request, _| {
        if reads(request, folder) {
            Fault::Say(403, DENIED)
        } else {
            Fault::None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_read_is_neither_missing_nor_damaged() {
    for (bucket, folder) in [("withheld-all", ""), ("withheld-packs", "packs/")] {
        let terms = ["--protect", "1h"];
        let (machine, is_on, _proxy) = Machine::behind(bucket, &terms, withhold(folder)).await;
        machine.world.write("files/a", b"first");
        machine.done(&["backup", "."]);
        machine.done(&["audit"]);
        is_on.store(true, Ordering::SeqCst);
        let audit = ["audit", "--read-data-subset", "100%"];
        let audited = machine.run(&[&audit as &[&str], &["--json"]].concat());
        assert_eq!(audited.code, 1, "{}\n{}", audited.stdout, audited.stderr);
        let told: serde_json::Value = serde_json::from_str(&audited.stdout).unwrap();
        assert_eq!(told["ok"], false);
        for none in ["missing", "corrupt", "foreign", "locked_short"] {
            assert_eq!(told[none], 0, "{none} of {told}");
        }
        assert!(told["unread"].as_u64().unwrap() > 0, "{told}");
        let problems = told["findings"].as_array().unwrap().iter();
        for problem in problems.map(|finding| finding["problem"].as_str().unwrap()) {
            assert!(
                problem.contains("right: s3:GetObject, s3:GetObjectVersion"),
                "{problem}"
            );
        }
        machine.run(&audit).says(
            1,
            "hint: it is not known whether what was not read is whole",
        );
        let checked = machine.run(&["check", "--read-data", "--json"]);
        assert_eq!(checked.code, 1, "{}\n{}", checked.stdout, checked.stderr);
        assert!(
            messages(&checked.stderr).iter().any(|error| {
                error["problem"]
                    .as_str()
                    .is_some_and(|problem| problem.contains("right: s3:GetObject"))
            }),
            "{}",
            checked.stderr
        );
        assert!(!checked.stderr.contains("missing;"), "{}", checked.stderr);
        if folder.is_empty() {
            // It has no copies of root and keys.
            let fresh = Machine::at(&machine.endpoint, bucket).run(&["audit"]);
            fresh.says(13, "right: s3:GetObject, s3:GetObjectVersion");
        }
        is_on.store(false, Ordering::SeqCst);
        machine.done(&["audit"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_machine_that_may_not_read_the_keys_says_so() {
    let terms = ["--protect", "1h"];
    let (machine, is_on, _proxy) =
        Machine::behind("withheld-keys", &terms, withhold("keys/")).await;
    is_on.store(true, Ordering::SeqCst);
    let fresh = Machine::at(&machine.endpoint, "withheld-keys");
    for command in ["snapshots", "check", "audit"] {
        fresh.run(&[command]).says(13, "permission denied");
    }
}
