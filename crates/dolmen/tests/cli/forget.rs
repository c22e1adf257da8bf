//! Retiring snapshots, bringing them back, giving space back, changing the policy.

use serde_json::Value;

use crate::world::{World, messages};

/// One with three snapshots of a host on three days, and one of another host.
fn with_snapshots() -> World {
    let world = World::with_files();
    for (day, host) in [(1, "a"), (2, "a"), (3, "a"), (3, "b")] {
        let time = format!("2026-11-0{day} 12:00:00");
        world.write("files/day", format!("{day}{host}").as_bytes());
        world.backup(&["--time", &time, "--host", host, "--tag", "daily", "."]);
    }
    world
}

fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
        .collect()
}

fn document(stdout: &str) -> Value {
    messages(stdout).pop().unwrap()
}

#[test]
fn forget_retires_by_restics_rules_and_tells_in_restics_json() {
    let world = with_snapshots();
    let all = world.snapshots();
    let told = document(&world.done(&["forget", "--keep-last", "1", "--json"]));
    let groups = told.as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0]["host"], "a");
    assert_eq!(groups[0]["tags"], Value::Null);
    assert_eq!(groups[0]["paths"][0], world.text("files"));
    assert_eq!(ids(&groups[0]["keep"]), [all[2]["id"].as_str().unwrap()]);
    assert_eq!(ids(&groups[0]["remove"]).len(), 2);
    assert_eq!(groups[0]["reasons"][0]["matches"][0], "last snapshot");
    assert!(
        groups[0]["undo_until"].as_str().unwrap() < groups[0]["space_returns"].as_str().unwrap()
    );
    assert_eq!(ids(&groups[1]["remove"]).len(), 0);
    assert_eq!(world.snapshots().len(), 2);
}

#[test]
fn retired_snapshots_are_listed_apart_and_restore_by_id() {
    let world = with_snapshots();
    let first = world.snapshots()[0]["id"].as_str().unwrap().to_owned();
    world.done(&["forget", &first]);
    let retired = document(&world.done(&["snapshots", "--retired", "--json"]));
    assert_eq!(ids(&retired), [first.as_str()]);
    assert_eq!(retired[0]["retired"], true);
    let all = document(&world.done(&["snapshots", "--all", "--json"]));
    assert_eq!(ids(&all).len(), 4);
    assert_eq!(world.snapshots().len(), 3);
    world.done(&["restore", &first, "--target", &world.text("back")]);
    // Before anything was received nothing was there.
    let early = world.done(&["snapshots", "--at", "2020-01-01", "--json"]);
    assert_eq!(ids(&document(&early)).len(), 0);
    let early = world.done(&["check", "--at", "2020-01-01", "--json"]);
    assert_eq!(document(&early)["snapshots"], 0);
    let told = world.run(&["cat", "snapshot", "latest", "--at", "2020-01-01"]);
    assert_eq!((told.code, told.stdout.as_str()), (1, ""));
    let packs = world.objects("packs");
    let pack = packs[0].file_name().unwrap().to_str().unwrap();
    world.done(&["cat", "pack", pack]);
    let told = world.run(&["cat", "pack", pack, "--at", "2020-01-01"]);
    told.says(1, &format!("no pack {pack} is there"));
    // What lived then, as it is now.
    let now = world.done(&["check", "--at", "2100-01-01", "--json"]);
    assert_eq!(document(&now)["snapshots"], 3);
    let told = world.run(&["check", "--attest", "--at", "2020-01-01"]);
    assert_eq!(told.code, 2);
}

#[test]
fn a_retired_snapshot_comes_back() {
    let world = with_snapshots();
    let first = world.snapshots()[0]["id"].as_str().unwrap().to_owned();
    world.done(&["forget", &first, "--prune"]);
    let undone = document(&world.done(&["forget", "--undo", &first, "--json"]));
    assert_eq!(undone["message_type"], "undone");
    assert_eq!(world.snapshots().len(), 4);
    world.done(&["check", "--read-data"]);
    world.run(&["forget", "--undo", &first]).fails(
        1,
        "dolmen: none of these snapshots is retired: there is nothing to bring back\n\
         hint: list the retired ones with: dolmen snapshots --retired\n",
    );
}

#[test]
fn prune_tells_what_is_still_leased() {
    let world = with_snapshots();
    world.done(&["forget", "--keep-last", "1", "--host", "a"]);
    let told = document(&world.done(&["prune", "--json"]));
    assert_eq!(told["deleted"]["objects"], 0);
    assert!(told["locked"]["objects"].as_u64().unwrap() >= 2);
    assert!(told["locked"]["next_unlock"].is_string());
    assert!(told["live"]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(told["held"], Value::Null);
}

#[test]
fn a_dry_run_retires_nothing() {
    let world = with_snapshots();
    let told = world.done(&["forget", "--keep-last", "1", "--dry-run", "--group-by", ""]);
    assert!(told.contains("would retire 3 snapshots"), "{told}");
    assert_eq!(world.snapshots().len(), 4);
}

#[test]
fn a_quiet_forget_says_nothing() {
    let world = with_snapshots();
    assert_eq!(world.done(&["forget", "--keep-last", "1", "--quiet"]), "");
    assert_eq!(world.snapshots().len(), 2);
}

#[test]
fn what_forget_cannot_mean_is_refused() {
    let world = with_snapshots();
    for (arguments, text) in [
        (&["forget"][..], "say what to keep"),
        (&["forget", "--keep-last", "0"], "say what to keep"),
        (&["forget", "latest", "--keep-last", "1"], "not both"),
        (&["forget", "--undo"], "name the snapshots"),
        (&["forget", "--keep-last", "x"], "is no number of snapshots"),
        (&["forget", "--keep-within", "x"], "is no duration"),
        (
            &["forget", "--keep-last", "1", "--group-by", "moon"],
            "nothing to group by",
        ),
    ] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?} {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{arguments:?} {}", ran.stderr);
    }
    assert_eq!(world.snapshots().len(), 4);
}

#[test]
fn a_policy_is_shown_and_changed() {
    let world = World::with_repository();
    let shown = document(&world.done(&["policy", "show", "--json"]));
    assert_eq!(shown["protect_seconds"], 30 * 86400);
    let arguments = ["policy", "set", "--protect", "40d", "--keep-daily", "7"];
    world.done(&arguments);
    // What does not follow from the protection period stays as it was set.
    let other = World::new();
    other.done(&["init", "--generation", "4d", "--every", "12h"]);
    let longer = ["policy", "set", "--protect", "40d", "--json"];
    let policy = document(&other.done(&longer));
    assert_eq!(policy["generation_seconds"], 4 * 86_400);
    assert_eq!(policy["interval_seconds"], 43_200);
    let class = ["policy", "set", "--protect-class", "monthly=180d", "--json"];
    // Nobody can undo so long a lock.
    world.run(&class).says(2, "--confirm-policy");
    for century in ["monthly=1000y", "monthly=101y"] {
        world
            .run(&["policy", "set", "--protect-class", century])
            .says(2, "is longer than a century");
    }
    let ran = world.run(&[&class[..], &["--confirm-policy"]].concat());
    let set = document(&ran.stdout);
    assert_eq!(set["protect_seconds"], 40 * 86400);
    assert_eq!(set["keep"]["daily"], 7);
    assert_eq!(set["classes"][0]["rule"], "monthly");
    let shown = document(&world.done(&["policy", "show", "--json"]));
    assert_eq!(shown, set);
    let too_long = world.run(&["policy", "set", "--protect", "200d"]);
    assert_eq!(too_long.code, 2);
    assert!(too_long.stderr.contains("--confirm-policy"));
    world.run(&["policy", "set"]).says(2, "--protect");
    let records = world.objects("ledger");
    for arguments in [
        &["policy", "set", "--keep-daily", "7", "--json"][..],
        &["policy", "set", "--protect", "40d", "--json"],
    ] {
        let ran = world.run(arguments);
        ran.says(0, "nothing to change");
        assert_eq!(document(&ran.stdout), set);
    }
    assert_eq!(world.objects("ledger"), records);
    world.done(&["check"]);
}

#[test]
fn a_lock_that_the_store_cannot_keep_is_refused() {
    let world = World::with_repository();
    let shown = world.text("repo");
    world.run(&["policy", "set", "--lock", "compliance"]).fails(
        1,
        &format!(
            "dolmen: cannot change the policy of {shown}: --lock compliance needs a store with Object Lock, and a folder \
             has none\n\
             hint: a folder by itself takes --lock none: damage is then found, not prevented\n"
        ),
    );
    world
        .run(&["policy", "set", "--lock", "none"])
        .says(0, "nothing to change");
}

#[test]
fn a_class_counts_where_it_was_set_and_waits_on_other_machines() {
    let world = with_snapshots();
    let set = [
        "policy",
        "set",
        "--keep-last",
        "2",
        "--protect-class",
        "last=90d",
        "--confirm-policy",
    ];
    let ran = world.run(&set);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("last        protected for 90d"));
    assert!(ran.stderr.contains("other machines"), "{}", ran.stderr);
    let status = document(&world.done(&["status", "--json"]));
    // Two of the one host, and the only one of the other.
    assert_eq!(status["protected_longer"], 3);
    let other = world.text("other-state");
    let on_other = world.run_with(("XDG_STATE_HOME", &other), &["status", "--json"]);
    assert_eq!(document(&on_other.stdout)["protected_longer"], 0);
    let told = world.run_with(("XDG_STATE_HOME", &other), &["snapshots"]);
    assert!(told.stderr.contains("--confirm-policy"), "{}", told.stderr);
}

#[test]
fn a_policy_that_more_than_doubles_a_time_waits_on_other_machines() {
    let world = World::with_repository();
    let century = ["policy", "set", "--protect", "100y", "--confirm-policy"];
    world.done(&century);
    assert_eq!(world.run(&["snapshots"]).stderr, "");
    let other = world.text("other-state");
    let on_other = |arguments: &[&str]| world.run_with(("XDG_STATE_HOME", &other), arguments);
    let told = on_other(&["snapshots"]);
    assert_eq!(told.code, 0);
    assert!(
        told.stderr.contains("does not count on this machine yet"),
        "{}",
        told.stderr
    );
    assert_eq!(on_other(&["snapshots", "--confirm-policy"]).code, 0);
    assert_eq!(on_other(&["snapshots"]).stderr, "");
}

#[test]
fn maintenance_renews_retires_by_the_signed_policy_and_prunes() {
    let world = with_snapshots();
    let first = document(&world.done(&["maintain", "--json"]));
    assert_eq!(first["forget"], Value::Null, "no rules, nothing retired");
    assert_eq!(first["renew"]["failed"], 0);
    assert_eq!(first["prune"]["deleted"]["objects"], 0);
    world.done(&["policy", "set", "--keep-last", "1"]);
    // The newest three of a group are never taken by a policy.
    let spared = document(&world.done(&["maintain", "--json"]));
    assert_eq!(spared["forget"]["retired"], 0);
    assert_eq!(spared["forget"]["spared"], 2);
    for day in 4..7 {
        world.write("files/day", format!("{day}").as_bytes());
        let time = format!("2026-11-0{day} 12:00:00");
        world.backup(&["--time", &time, "--host", "a", "."]);
    }
    let retired = document(&world.done(&["maintain", "--json"]));
    assert_eq!(retired["forget"]["retired"], 3);
    assert_eq!(world.snapshots().len(), 4);
    world.done(&["check"]);
}

#[test]
fn renew_says_that_a_folder_keeps_no_locks() {
    let world = with_snapshots();
    let told = document(&world.done(&["renew", "--json"]));
    assert_eq!(told["protected_until"], Value::Null);
    assert_eq!(told["renewed"], 0);
    assert!(told["examined"].as_u64().unwrap() > 5);
}

#[test]
fn an_undo_of_what_is_gone_says_when_it_was_retired() {
    let world = with_snapshots();
    let id = world.snapshots()[0]["id"].as_str().unwrap().to_owned();
    world.done(&["forget", &id]);
    let gone = world.objects("snapshots").into_iter();
    let gone = gone.filter(|path| path.ends_with(&id));
    for path in gone {
        std::fs::remove_file(path).unwrap();
    }
    let prefix: String = id.chars().take(10).collect();
    for wanted in [&id, &prefix] {
        let ran = world.run(&["forget", "--undo", wanted]);
        ran.says(1, &format!("snapshot {id} was retired at "));
        assert!(ran.stderr.contains(", could be brought back until "));
    }
    world
        .run(&["forget", "--undo", &"0".repeat(64)])
        .says(1, "no snapshot matches");
}
