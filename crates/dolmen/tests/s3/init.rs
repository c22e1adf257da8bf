//! What an `init` leaves that does not come to its end, and what the next one makes of it.

use std::sync::Arc;

use crate::machine::{Machine, owner};
use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::server;
use crate::world::Ran;

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
const TERMS: [&str; 3] = ["init", "--protect", "1h"];

fn puts_root(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("/repository/root/")
}

/// What lies below a folder of the repository, hidden or not.
async fn below(machine: &Machine, folder: &str) -> usize {
    let versions = machine.versions().await;
    let folder = format!("/{folder}/");
    versions
        .values()
        .filter(|seen| seen.key.contains(&folder))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_was_cut_off_is_made_again_at_the_same_address() {
    server().bucket("cut-off", true).await;
    // As if it had died before its root: nothing more of what it asks for is done.
    let rule = |request: &Request, _: usize| {
        if puts_root(request) || request.method == "DELETE" && !request.target.contains("/canary/")
        {
            Fault::Say(403, DENIED)
        } else {
            Fault::None
        }
    };
    let proxy = Proxy::start(&server().endpoint(), Arc::new(rule)).await;
    Machine::at(&proxy.endpoint, "cut-off")
        .run(&TERMS)
        .says(13, "root/");
    let machine = Machine::new("cut-off");
    assert_eq!(
        (below(&machine, "keys").await, below(&machine, "root").await),
        (1, 0)
    );

    let made = machine.run(&TERMS);
    made.says(0, "an init that was cut off left keys there");
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    // What it left is junk that is in nobody's way.
    let fresh = Machine::new("cut-off");
    for arguments in [&["snapshots"] as &[&str], &["renew"], &["prune"]] {
        for machine in [&machine, &fresh] {
            let ran = machine.run(arguments);
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        }
    }
    machine
        .run(&["check"])
        .says(0, "junk that nothing needs; dolmen recover sets it aside");
    let audited = machine.run(&["audit"]);
    assert_eq!(audited.code, 21, "{}", audited.stdout);
    assert!(audited.stdout.contains("1 foreign"), "{}", audited.stdout);
    audited.says(21, "hint: dolmen recover");
    machine.done(&["recover"]);
    machine.done(&["audit"]);
    for arguments in [&["check"] as &[&str], &["snapshots"]] {
        let ran = machine.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    machine.restores("latest");
}

/// Two machines at one bucket: the `init` of the second lets the first's begin after it and be done before its own root
/// arrives.
async fn two_at_once(bucket: &str) -> (Arc<Machine>, Machine, Proxy) {
    server().bucket(bucket, true).await;
    let first = Arc::new(Machine::new(bucket));
    let (made, once) = (Arc::clone(&first), std::sync::Once::new());
    let rule = move |request: &Request, _: usize| {
        if puts_root(request) {
            once.call_once(|| assert_eq!(made.run(&TERMS).code, 0));
        }
        Fault::None
    };
    let proxy = Proxy::start(&server().endpoint(), Arc::new(rule)).await;
    let late = Machine::at(&proxy.endpoint, bucket);
    (first, late, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_inits_at_once_one_makes_the_repository_that_every_machine_opens() {
    let (first, late, _proxy) = two_at_once("at-once").await;
    let late = late.run(&TERMS);
    late.says(1, "a repository already exists at");
    late.says(
        1,
        "hint: another init made it at the same moment; what this one put stays hidden",
    );
    assert_eq!(below(&first, "root").await, 2);

    first.world.write("files/a", b"first");
    first.done(&["backup", "."]);
    first.done(&["audit"]);
    let fresh = Machine::new("at-once");
    for arguments in [&["snapshots"] as &[&str], &["check"], &["audit"]] {
        let ran = fresh.run(arguments);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (0, ""),
            "{arguments:?}\n{}",
            ran.stdout
        );
    }
    let listed: serde_json::Value =
        serde_json::from_str(&fresh.done(&["snapshots", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

/// It would else write into what the other one sets aside and lets go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_passphrase_of_an_init_that_lost_opens_nothing() {
    let (_first, late, _proxy) = two_at_once("lost-race").await;
    late.world.write("files/a", b"late");
    let run = |arguments: &[&str]| {
        let mut command = late.command(arguments);
        Ran::of(command.env("DOLMEN_PASSWORD", "another").output().unwrap())
    };
    run(&TERMS).says(1, "a repository already exists at");
    run(&["backup", "."]).says(12, "wrong passphrase");
    run(&["snapshots"]).says(12, "wrong passphrase");
    late.done(&["backup", "."]);
}

/// A root is a repository, also beneath a marker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_touches_no_repository_that_somebody_hid() {
    let machine = Machine::with_repository("hidden-root", &TERMS[1..]);
    for seen in machine.versions().await.into_values() {
        let hide = owner().delete_object().bucket("hidden-root").key(seen.key);
        hide.send().await.unwrap();
    }
    let before = machine.versions().await;
    machine
        .run(&TERMS)
        .says(1, "a repository already exists at");
    assert_eq!(machine.versions().await, before);
}
