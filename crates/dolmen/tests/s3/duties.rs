//! Store credentials that are for one purpose: who is asked for what, and what the server lets each do.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::machine::{Machine, noise};
use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::{ADDER, KEEPER, OWNER, PRUNER, RENEWER};
use crate::traps::bucket_that_locks;
use crate::world::{Ran, World, messages};

type Keys = (&'static str, &'static str);

/// Short locks that run out while the test waits.
const TERMS: [&str; 6] = ["--protect", "20s", "--generation", "12s", "--every", "6s"];
/// Turns until locks must have run out: each a second at least.
const TURNS_MAX: u32 = 200;

/// A machine with a repository behind a proxy that sees who asks.
async fn watched(bucket: &str, terms: &[&str]) -> (Machine, Proxy) {
    let (machine, _, proxy) = Machine::behind(bucket, terms, |_, _| Fault::None).await;
    (machine, proxy)
}

/// Variables of a purpose: the plain one has no prefix.
fn variables(prefix: &str, (id, secret): Keys) -> [(String, String); 2] {
    [
        (format!("{prefix}AWS_ACCESS_KEY_ID"), id.to_owned()),
        (format!("{prefix}AWS_SECRET_ACCESS_KEY"), secret.to_owned()),
    ]
}

/// Runs the program with these credentials and no others.
fn run_as(machine: &Machine, credentials: &[(&str, Keys)], arguments: &[&str]) -> Ran {
    let mut command = machine.command(arguments);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    for (prefix, keys) in credentials {
        command.envs(variables(prefix, *keys));
    }
    Ran::of(command.output().unwrap())
}

const ALL: [(&str, Keys); 3] = [
    ("", ADDER),
    ("DOLMEN_RENEW_", RENEWER),
    ("DOLMEN_PRUNE_", PRUNER),
];

/// Whose key signed a request.
fn signer(request: &Request) -> &str {
    let header = request.header("authorization").unwrap_or_default();
    let (_, rest) = header.split_once("Credential=").unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

/// What a request asks for, by the right that it takes.
fn asked(request: &Request) -> &'static str {
    let (_, query) = request.target.split_once('?').unwrap_or_default();
    let has = |name: &str| {
        query
            .split('&')
            .any(|part| part.split('=').next() == Some(name))
    };
    match request.method.as_str() {
        "GET" if has("versions") && query.contains("root") => "list roots",
        "GET" | "HEAD" => "look",
        "PUT" if has("retention") => "extend",
        "PUT" if !has("legal-hold") => "put",
        "DELETE" if has("versionId") => "delete",
        _ => "other",
    }
}

/// Who asked for what, since so many requests.
fn told(proxy: &Proxy, before: usize) -> BTreeSet<(String, &'static str)> {
    let requests = proxy.requests().split_off(before);
    let told = requests.iter();
    told.map(|request| (signer(request).to_owned(), asked(request)))
        .collect()
}

fn pairs(expected: &[(Keys, &'static str)]) -> BTreeSet<(String, &'static str)> {
    let pairs = expected.iter();
    pairs
        .map(|(keys, what)| (keys.0.to_owned(), *what))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_asks_for_each_call_under_the_least_credential() {
    let (machine, proxy) = watched("three-keys", &TERMS).await;
    let mut snapshots = Vec::new();
    for round in 0..2 {
        machine.world.write("files/kept.txt", b"kept");
        machine.world.write("files/changes", &noise(round, 300_000));
        let summary = machine.told(&["backup", "."]);
        snapshots.push(summary["snapshot_id"].as_str().unwrap().to_owned());
    }
    machine.done(&["forget", &snapshots[0]]);
    let before = proxy.requests().len();
    let (mut renewed, mut deleted, mut denied) = (0, 0, false);
    for _turn in 0..TURNS_MAX {
        // Nobody who may delete is there: what may go is counted.
        let ran = run_as(&machine, &ALL[..2], &["prune", "--json"]);
        let report = messages(&ran.stdout).pop().unwrap();
        assert_eq!(report["deleted"]["objects"], 0, "{report}");
        if ran.code == 13 {
            denied = true;
            let locked = report["locked"]["objects"].as_u64();
            assert!(locked.is_some_and(|locked| locked > 0), "{report}");
        }
        let ran = run_as(&machine, &ALL, &["renew", "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        renewed += messages(&ran.stdout).pop().unwrap()["renewed"]
            .as_u64()
            .unwrap();
        if denied {
            let ran = run_as(&machine, &ALL, &["maintain", "--json"]);
            let report = messages(&ran.stdout).pop().unwrap();
            deleted += report["prune"]["deleted"]["objects"].as_u64().unwrap();
            renewed += report["renew"]["renewed"].as_u64().unwrap();
        }
        if renewed > 0 && deleted > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(
        renewed > 0 && deleted > 0 && denied,
        "{renewed} renewed, {deleted} deleted, {denied}"
    );
    let told = told(&proxy, before);
    let mut allowed = pairs(&[
        (ADDER, "look"),
        (ADDER, "list roots"),
        (ADDER, "put"),
        (RENEWER, "extend"),
        (RENEWER, "list roots"),
        (PRUNER, "delete"),
        (PRUNER, "list roots"),
        // Where nobody else may: the server refuses.
        (ADDER, "delete"),
    ]);
    // What the pruner's key is told of a version that is still locked.
    allowed.insert((PRUNER.0.to_owned(), "look"));
    let beyond: Vec<_> = told.difference(&allowed).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
    for one in pairs(&[(RENEWER, "extend"), (PRUNER, "delete"), (ADDER, "look")]) {
        assert!(told.contains(&one), "{one:?} in {told:?}");
    }
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_is_put_under_the_plain_credential() {
    bucket_that_locks("plain-puts").await;
    let (machine, proxy) = watched("plain-puts", &["--protect", "1h"]).await;
    machine.world.write("files/a", b"first");
    let before = proxy.requests().len();
    let ran = run_as(&machine, &ALL, &["backup", "."]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let expected = [
        (ADDER, "look"),
        (ADDER, "list roots"),
        (ADDER, "put"),
        (RENEWER, "list roots"),
        (PRUNER, "list roots"),
    ];
    assert_eq!(told(&proxy, before), pairs(&expected));
    machine.restores("latest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_for_renewing_alone_reads_and_renews() {
    let (machine, proxy) = watched("renewer-alone", &["--protect", "1h"]).await;
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    let before = proxy.requests().len();
    let alone = [("DOLMEN_RENEW_", RENEWER)];
    for arguments in [&["renew"] as &[_], &["snapshots"], &["audit"]] {
        let ran = run_as(&machine, &alone, arguments);
        assert_eq!(ran.code, 0, "{arguments:?} {}", ran.stderr);
    }
    let told = told(&proxy, before);
    assert!(told.iter().all(|(who, _)| who == RENEWER.0), "{told:?}");
    run_as(&machine, &[], &["snapshots"]).says(13, "no credentials were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_for_renewing_and_pruning_maintain_without_a_plain_one() {
    bucket_that_locks("two-keys").await;
    let (machine, proxy) = watched("two-keys", &["--protect", "1h"]).await;
    for round in 0..2 {
        machine.world.write("files/changes", &noise(round, 300_000));
        machine.done(&["backup", "."]);
    }
    let before = proxy.requests().len();
    let two = [("DOLMEN_RENEW_", RENEWER), ("DOLMEN_PRUNE_", KEEPER)];
    for arguments in [&["forget", "--keep-last", "1"] as &[_], &["maintain"]] {
        let ran = run_as(&machine, &two, arguments);
        assert_eq!(ran.code, 0, "{arguments:?} {}", ran.stderr);
    }
    let both = told(&proxy, before);
    let expected = [
        (RENEWER, "look"),
        (RENEWER, "list roots"),
        (KEEPER, "put"),
        (KEEPER, "list roots"),
    ];
    for one in pairs(&expected) {
        assert!(both.contains(&one), "{one:?} in {both:?}");
    }
    let mut allowed = pairs(&expected);
    allowed.extend(pairs(&[(RENEWER, "extend"), (KEEPER, "delete")]));
    assert!(both.is_subset(&allowed), "{both:?}");
    let before = proxy.requests().len();
    let ran = run_as(&machine, &two[1..], &["prune"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let alone = told(&proxy, before);
    assert!(alone.iter().all(|(who, _)| who == KEEPER.0), "{alone:?}");
    machine.restores("latest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_credential_is_named_and_keeps_nobody_from_reading() {
    let (machine, proxy) = watched("wrong-keys", &["--protect", "1h"]).await;
    let with = |prefix: &'static str, keys: Keys| [("", OWNER), (prefix, keys)];
    for (prefix, said) in [
        (
            "DOLMEN_RENEW_",
            "cannot use the store credentials of DOLMEN_RENEW_AWS_…",
        ),
        (
            "DOLMEN_PRUNE_",
            "cannot use the store credentials of DOLMEN_PRUNE_AWS_…",
        ),
    ] {
        for command in ["renew", "prune", "maintain", "drill"] {
            run_as(&machine, &with(prefix, ("owner", "wrong")), &[command]).says(13, said);
        }
        let ran = run_as(&machine, &with(prefix, ("owner", "wrong")), &["snapshots"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let mut half = machine.command(&["renew"]);
        half.env(format!("{prefix}AWS_ACCESS_KEY_ID"), "id");
        let said = format!("{prefix}AWS_SECRET_ACCESS_KEY is not: a store credential needs both");
        Ran::of(half.output().unwrap()).says(2, &said);
    }
    // A profile is one, too.
    machine.world.write(
        "profiles",
        b"[pruner]\naws_access_key_id = pruner\naws_secret_access_key = pruner-secret\n",
    );
    let profile = |name: &str| {
        let mut command = machine.command(&["prune"]);
        command.env("DOLMEN_PRUNE_AWS_PROFILE", name).env(
            "DOLMEN_PRUNE_AWS_SHARED_CREDENTIALS_FILE",
            machine.world.path("profiles"),
        );
        Ran::of(command.output().unwrap())
    };
    let before = proxy.requests().len();
    assert_eq!(profile("pruner").code, 0);
    assert!(told(&proxy, before).contains(&(PRUNER.0.to_owned(), "list roots")));
    let nobody = profile("nobody");
    nobody.says(13, "cannot use the store credentials of DOLMEN_PRUNE_AWS_…");
    assert!(nobody.stderr.contains("nobody"), "{}", nobody.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_prints_beats_the_environment() {
    let (machine, proxy) = watched("by-command", &["--protect", "1h"]).await;
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    let lines = |sets: &[(&str, Keys)]| {
        let lines = sets
            .iter()
            .flat_map(|(prefix, keys)| variables(prefix, *keys));
        let lines = lines.map(|(name, value)| format!("{name}={value}\n"));
        lines.collect::<String>()
    };
    let run = |printed: &str, arguments: &[&str]| {
        machine.world.write("printed", printed.as_bytes());
        let mut command = machine.command(arguments);
        command
            .env("AWS_SECRET_ACCESS_KEY", "wrong")
            .envs(variables("DOLMEN_RENEW_", ("owner", "wrong")))
            .env(
                "DOLMEN_CREDENTIALS_COMMAND",
                format!("cat '{}'", machine.world.text("printed")),
            );
        Ran::of(command.output().unwrap())
    };
    let before = proxy.requests().len();
    let ran = run(&lines(&ALL), &["renew"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = told(&proxy, before);
    let expected = [
        (ADDER, "look"),
        (ADDER, "list roots"),
        (RENEWER, "list roots"),
        (PRUNER, "list roots"),
    ];
    assert_eq!(told, pairs(&expected));
    // What it says nothing of is the environment's.
    run(&lines(&ALL[..1]), &["renew"]).says(13, "of DOLMEN_RENEW_AWS_…");
    for (printed, said) in [
        (
            "AWS_ACCESS_KEY_ID=a\nDOLMEN_RENEW_KEY=b-secret\n",
            "has DOLMEN_RENEW_KEY in line 2, which is no variable of store credentials",
        ),
        ("b-secret\n", "has no VARIABLE=value in line 1"),
        (
            "AWS_ACCESS_KEY_ID=a\nAWS_ACCESS_KEY_ID=b-secret\n",
            "has AWS_ACCESS_KEY_ID twice",
        ),
    ] {
        let ran = run(printed, &["snapshots"]);
        ran.says(2, said);
        assert!(!ran.stderr.contains("b-secret"), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_expire_are_asked_for_again() {
    let (machine, _) = watched("expiring", &["--protect", "1h"]).await;
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    let (count, script) = (machine.world.path("count"), machine.world.path("print"));
    let text = format!(
        "#!/bin/sh\necho >>'{}'\necho AWS_ACCESS_KEY_ID={}\necho AWS_SECRET_ACCESS_KEY={}\n\
         echo AWS_CREDENTIAL_EXPIRATION=2020-01-01T00:00:00Z\n",
        count.display(),
        ADDER.0,
        ADDER.1
    );
    machine.world.write("print", text.as_bytes());
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = machine.world.text("print");
    let ran = run_as(
        &machine,
        &[],
        &["snapshots", "--credentials-command", &script],
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let times = std::fs::read_to_string(count).unwrap().lines().count();
    assert!(times > 1, "{times}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrapped_key_file_brings_its_store_credentials() {
    let (machine, proxy) = watched("carried-keys", &["--protect", "1h"]).await;
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    let world = &machine.world;
    world.write("new", b"file's own");
    let lines = variables("", ADDER).map(|(name, value)| format!("{name}={value}\n"));
    world.write("lines", lines.concat().as_bytes());
    let from = format!("--with-store-credentials={}", world.text("lines"));
    let (out, new) = (world.text("reader.key"), world.text("new"));
    let add = [
        "key", "add", "--role", "restore", "reader", "--out", &out, &from,
    ];
    machine.run(&add).says(
        2,
        "--with-store-credentials needs --passphrase: in a file that is not wrapped",
    );
    let wrapped = ["--passphrase", "--new-password-file", &new];
    machine.done(&[&add as &[_], &wrapped].concat());
    let holder = World::new();
    let run = |more: &[(String, String)]| {
        let mut command = holder.command(&["snapshots"]);
        command
            .env_remove("DOLMEN_REPOSITORY")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("DOLMEN_PASSWORD", "file's own")
            .env("DOLMEN_KEY_FILE", &out)
            .envs(more.iter().cloned());
        let before = proxy.requests().len();
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let told = told(&proxy, before);
        told.into_iter()
            .map(|(who, _)| who)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(run(&[]), BTreeSet::from([ADDER.0.to_owned()]));
    let by_environment = run(&variables("", OWNER));
    assert_eq!(by_environment, BTreeSet::from([OWNER.0.to_owned()]));
    // From the environment: the owner's own.
    let out = world.text("more.key");
    let add = ["key", "add", "--role", "restore", "more", "--out", &out];
    let added = machine.run(&[&add as &[_], &wrapped, &["--with-store-credentials"]].concat());
    added.says(0, "the file gets AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_attacks_under_all_credentials_at_hand() {
    let (machine, proxy) = watched("drilled-by-three", &["--protect", "1h"]).await;
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    let before = proxy.requests().len();
    let credentials = [("", OWNER), ALL[1], ALL[2]];
    let ran = run_as(
        &machine,
        &credentials,
        &["drill", "--role", "maintain", "--json"],
    );
    let told_by = told(&proxy, before);
    for one in pairs(&[(RENEWER, "extend"), (PRUNER, "delete"), (OWNER, "put")]) {
        assert!(told_by.contains(&one), "{one:?} in {told_by:?}");
    }
    let rows: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
    let outcome = |attack: &str| {
        let row = rows.iter().find(|row| row["attack"] == attack);
        row.map(|row| row["outcome"].as_str().unwrap().to_owned())
    };
    for attack in ["delete-version", "shorten-lock"] {
        assert_eq!(outcome(attack).as_deref(), Some("refused"), "{rows:?}");
    }
    // The plain key is the owner's, who may change the bucket, be it that neither of the others may.
    assert_eq!(
        outcome("suspend-versioning").as_deref(),
        Some("succeeds"),
        "{rows:?}"
    );
    assert_eq!(ran.code, 21);
}
