//! What keys of other roles sign, stolen or revoked, and what becomes of it.

use std::path::PathBuf;

use dolmen_format::certificate::Role;
use dolmen_format::ledger::{Cut, Fact};
use dolmen_format::signed::Reference;
use serde_json::Value;

use crate::planted::{Planter, now};
use crate::reader::read_with_python;
use crate::world::{World, messages, noise};

fn document(stdout: &str) -> Value {
    messages(stdout).pop().unwrap()
}

/// A world with backups of its own, and somebody with a backup key.
fn with_thief() -> (World, Planter) {
    let world = World::with_files();
    world.backup(&["--host", "a", "."]);
    let thief = Planter::new(&world, Role::Backup);
    (world, thief)
}

fn id(named: &Reference) -> String {
    named.digest.to_string()
}

fn short(named: &Reference) -> String {
    id(named).chars().take(8).collect()
}

fn listed(world: &World, more: &[&str]) -> Vec<Value> {
    let shown = document(&world.done(&[&["snapshots", "--json"], more].concat()));
    shown.as_array().unwrap().clone()
}

fn find<'v>(list: &'v [Value], named: &Reference) -> Option<&'v Value> {
    list.iter().find(|one| one["id"] == id(named))
}

/// A day and more ahead of any clock.
const AHEAD_SECONDS: i64 = 3 * 86_400;

#[test]
fn a_suspicious_snapshot_takes_no_slot_and_says_why() {
    let (world, thief) = with_thief();
    let like = thief.newest();
    let good = thief.snapshot(&like, |snapshot| snapshot.counts.files = 1000);
    let empty = thief.snapshot(&like, |snapshot| snapshot.counts.files = 1);
    let list = listed(&world, &[]);
    let why = &find(&list, &empty).unwrap()["suspicious"];
    assert_eq!(why[0], "1 files, where 1000 are usual");
    assert_eq!(
        find(&list, &good).unwrap()["suspicious"],
        Value::Array(vec![])
    );
    assert!(world.done(&["snapshots"]).contains("suspicious"));

    let by_writer = ["forget", "--keep-last", "1", "--group-by", "", "--json"];
    let told = document(&world.done(&by_writer));
    assert_eq!(told[0]["set_aside"][0]["id"], id(&empty));
    assert_eq!(told[0]["set_aside"][0]["why"][0], why[0]);
    let left = listed(&world, &[]);
    assert!(find(&left, &good).is_some(), "it holds the slot");
    assert!(find(&left, &empty).is_some(), "no rule retires it");

    let text = world.done(&["forget", "--keep-last", "1", "--group-by", ""]);
    assert!(
        text.contains("set aside 1 snapshot: suspicious") && text.contains("where 1000 are usual"),
        "{text}"
    );
    // An admin who says so lets it count, and then it is the newest.
    let counted = [&by_writer[..], &["--count-anyway"]].concat();
    let records = world.objects("ledger").len();
    world.done(&[&counted[..], &["--dry-run"]].concat());
    assert_eq!(world.objects("ledger").len(), records);
    let told = document(&world.done(&counted));
    assert_eq!(told[0]["set_aside"], Value::Array(vec![]));
    assert_eq!(told[0]["remove"][0]["id"], id(&good));
    // That was said once and for all: it is suspicious no more, and maintenance counts it.
    let list = listed(&world, &[]);
    let why = &find(&list, &empty).unwrap()["suspicious"];
    assert_eq!(*why, Value::Array(vec![]));
    world.done(&["policy", "set", "--keep-last", "1"]);
    let told = document(&world.done(&["maintain", "--json"]));
    assert_eq!(told["forget"]["set_aside"], Value::Array(vec![]));
    // And by its id a person retires it at any time.
    world.done(&["forget", &id(&empty)]);
    assert_eq!(find(&listed(&world, &[]), &empty), None);
}

#[test]
fn maintenance_retires_nothing_suspicious_and_nothing_for_it() {
    let (world, thief) = with_thief();
    world.done(&["policy", "set", "--keep-last", "1"]);
    let like = thief.newest();
    for _ in 0..4 {
        thief.snapshot(&like, |snapshot| snapshot.counts.files = 1000);
    }
    let floods: Vec<_> = (0..5)
        .map(|_| thief.snapshot(&like, |snapshot| snapshot.counts.files = 1))
        .collect();
    let told = document(&world.done(&["maintain", "--json"]));
    assert_eq!(told["forget"]["set_aside"].as_array().unwrap().len(), 5);
    assert_eq!(told["forget"]["retired"], 1, "the newest three stay");
    assert!(told["forget"]["undo_until"].is_string());
    let left = listed(&world, &[]);
    assert!(floods.iter().all(|flood| find(&left, flood).is_some()));
}

#[test]
fn latest_is_taken_with_a_warning_where_it_is_suspicious_and_never_from_the_future() {
    let (world, thief) = with_thief();
    let like = thief.newest();
    let ahead = thief.snapshot(&like, |snapshot| {
        snapshot.time = now().saturating_add_seconds(AHEAD_SECONDS);
    });
    let stats = world.run(&["stats", "latest", "--json"]);
    assert_eq!((stats.code, stats.stderr.as_str()), (0, ""));
    assert!(find(&listed(&world, &[]), &ahead).is_some());
    // Number 3 follows a number that is missing.
    let gap = thief.snapshot(&like, |snapshot| snapshot.stamp.number = 3);
    let ran = world.run(&["ls", "latest", "-q"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.contains(&format!(
            "snapshot {} is suspicious (follows missing numbers 2 to 2); the one before it is {}",
            short(&gap),
            like.short_id()
        )),
        "{}",
        ran.stderr
    );
    assert_eq!(world.run(&["ls", &id(&gap), "-q"]).stderr, "");
}

#[test]
fn what_a_revoked_key_signed_beyond_its_cut_is_quarantined_and_kept() {
    let (world, thief) = with_thief();
    let like = thief.newest();
    let own = like.id.to_string();
    let good = thief.snapshot(&like, |_| {});
    let cut = Cut {
        instance: good.instance,
        number: good.number,
        digest: good.digest,
    };
    let planted = thief.snapshot(&like, |snapshot| {
        snapshot.heads = vec![good];
        snapshot.counts.files = 1;
    });
    thief.record_of_admin(Fact::Revocation {
        writer: good.writer,
        cuts: vec![cut],
    });
    let list = listed(&world, &[]);
    assert!(find(&list, &good).is_some() && find(&list, &planted).is_none());
    let repository = world.path("repo");
    let by_reader = read_with_python(&["list".as_ref(), repository.as_ref()], "secret");
    let by_reader = String::from_utf8(by_reader.stdout).unwrap();
    assert!(by_reader.contains(&short(&good)) && !by_reader.contains(&short(&planted)));
    assert_eq!(by_reader.lines().count(), list.len());
    for more in ["--all", "--include-revoked"] {
        let all = listed(&world, &[more]);
        let shown = find(&all, &planted).unwrap();
        assert_eq!(
            (&shown["quarantined"], &shown["retired"]),
            (&Value::Bool(true), &Value::Bool(false))
        );
    }
    assert!(world.done(&["snapshots", "--all"]).contains("quarantined"));
    // Not the newest, in no rule, and yet restorable and needed.
    let told = document(&world.done(&["forget", "--keep-last", "9", "--json"]));
    assert!(!told.to_string().contains(&id(&planted)));
    world.done(&["restore", &id(&planted), "--target", &world.text("back")]);
    world.done(&["forget", &own, &id(&good)]);
    let pruned = document(&world.done(&["prune", "--json"]));
    assert_eq!(pruned["held"], Value::Null);
    assert_eq!(
        world.run(&["ls", "latest"]).code,
        1,
        "it is never the latest"
    );
    // Retired by name it is gone from there.
    world.done(&["forget", &id(&planted)]);
    assert_eq!(
        find(&listed(&world, &["--include-revoked"]), &planted),
        None
    );
    assert!(find(&listed(&world, &["--retired"]), &planted).is_some());
}

#[test]
fn a_key_states_no_more_than_its_own_certificate_allows() {
    let (world, thief) = with_thief();
    let like = thief.newest();
    let retirement = Fact::Retirement {
        snapshots: vec![like.snapshot.reference(like.id)],
        policy: None,
    };
    thief.record(retirement);
    let maintainer = Planter::new(&world, Role::Maintain);
    let good = like.snapshot.reference(like.id);
    for liar in [&thief, &maintainer] {
        let snapshots = vec![good];
        let record = liar.record(Fact::Acceptance { snapshots });
        let ran = world.run(&["snapshots", "--json"]);
        let told = ran.stderr.lines().find(|line| line.contains(&id(&record)));
        assert!(told.unwrap().contains("may not state this"));
    }
    let planted = maintainer.snapshot(&like, |_| {});
    let ran = world.run(&["snapshots", "--json"]);
    let list = document(&ran.stdout);
    assert_eq!(list.as_array().unwrap().len(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("may not state this"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&id(&planted)), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("may not make snapshots"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_snapshot_of_another_domain_than_its_signers_counts_for_nothing() {
    let (world, thief) = with_thief();
    let like = thief.newest();
    let planted = thief.snapshot(&like, |snapshot| {
        snapshot.domain = dolmen_format::DomainId([9; 16]);
    });
    let ran = world.run(&["snapshots", "--json"]);
    let list = document(&ran.stdout);
    assert_eq!(list.as_array().unwrap().len(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains(&id(&planted)), "{}", ran.stderr);
    let why = "its domain is not that of its signer's certificate";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
}

#[test]
fn nobody_states_a_thing_under_another_signers_certificate() {
    let (world, thief) = with_thief();
    let like = thief.newest();
    let thief = thief.claiming(&Planter::new(&world, Role::Admin));
    thief.record(Fact::Retirement {
        snapshots: vec![like.snapshot.reference(like.id)],
        policy: None,
    });
    let planted = thief.snapshot(&like, |_| {});
    let ran = world.run(&["snapshots", "--json"]);
    let list = document(&ran.stdout);
    assert_eq!(list[0]["id"], like.id.to_string());
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(
        ran.stderr.contains("is another signer's certificate"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains(&id(&planted)), "{}", ran.stderr);
}

#[test]
fn maintenance_undoes_what_was_retired_against_the_policy() {
    let (world, maintainer) = {
        let world = World::with_files();
        for _ in 0..6 {
            world.backup(&["--host", "a", "."]);
        }
        let maintainer = Planter::new(&world, Role::Maintain);
        (world, maintainer)
    };
    world.done(&["policy", "set", "--keep-last", "4"]);
    let (policy, _) = maintainer.newest_policy();
    let all = maintainer.snapshots();
    // The two oldest go by the policy; the next does not, and the newest do not either.
    let named = [0, 1, 2, 5].map(|place| all[place]);
    maintainer.record(Fact::Retirement {
        snapshots: named.to_vec(),
        policy: Some(policy),
    });
    assert_eq!(world.snapshots().len(), 2);
    let dry = world.run(&["maintain", "--dry-run", "--json"]);
    assert_eq!(document(&dry.stdout)["forget"]["undone"], 2);
    assert_eq!(world.snapshots().len(), 2);
    let dry = document(&world.done(&["recover", "--dry-run", "--json"]));
    assert_eq!(dry["unretired"], 2);
    assert_eq!(world.snapshots().len(), 2);
    let ran = world.run(&["maintain", "--json"]);
    assert_eq!(ran.code, 21, "{}", ran.stderr);
    let told = document(&ran.stdout);
    assert_eq!(
        (&told["forget"]["undone"], &told["forget"]["lost"]),
        (&2.into(), &0.into())
    );
    assert!(
        ran.stderr.contains("misuses the maintenance key"),
        "{}",
        ran.stderr
    );
    let left = world.snapshots();
    assert_eq!(left.len(), 4);
    assert!(find(&left, &all[2]).is_some() && find(&left, &all[5]).is_some());
    // That was all: the next run finds nothing to answer.
    let again = document(&world.done(&["maintain", "--json"]));
    assert_eq!(again["forget"]["undone"], Value::Null);
}

#[test]
fn recover_brings_back_what_was_retired_against_the_policy_or_since_a_time() {
    let world = World::with_files();
    for _ in 0..4 {
        world.backup(&["--host", "a", "."]);
    }
    let maintainer = Planter::new(&world, Role::Maintain);
    world.done(&["policy", "set", "--keep-last", "9"]);
    let (policy, _) = maintainer.newest_policy();
    let all = maintainer.snapshots();
    maintainer.record(Fact::Retirement {
        snapshots: all.clone(),
        policy: Some(policy),
    });
    assert_eq!(world.snapshots().len(), 0);
    let ran = world.run(&["recover", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = document(&ran.stdout);
    assert_eq!((&told["unretired"], &told["lost"]), (&4.into(), &0.into()));
    assert!(ran.stderr.contains("misuses the maintenance key"));
    assert_eq!(world.snapshots().len(), 4);
    // What a person retires stays retired, unless it is gone back to a time before.
    let two: Vec<_> = all.iter().take(2).map(id).collect();
    let then = jiff::Timestamp::now().to_string();
    world.done(&["forget", &two[0], &two[1]]);
    let told = document(&world.done(&["recover", "--json"]));
    assert_eq!(told["unretired"], 0);
    assert_eq!(world.snapshots().len(), 2);
    let told = document(&world.done(&["recover", "--at", &then, "--json"]));
    assert_eq!(told["unretired"], 2);
    assert_eq!(world.snapshots().len(), 4);
}

#[test]
fn one_that_is_not_whole_keeps_no_other_from_coming_back() {
    let world = World::with_files();
    world.backup(&["--host", "a", "."]);
    let before = world.objects("packs");
    // It fills a pack by itself, in which nothing lies that others need.
    world.write("files/only", &noise(9, 40 << 20));
    world.backup(&["--host", "a", "."]);
    let mut after = world.objects("packs");
    after.retain(|pack| !before.contains(pack));
    let size = |pack: &PathBuf| pack.metadata().unwrap().len();
    let only = after.into_iter().max_by_key(size).unwrap();
    assert!(size(&only) > 30 << 20);
    std::fs::remove_file(world.path("files/only")).unwrap();
    for day in 0..4 {
        world.write("files/day", format!("{day}").as_bytes());
        world.backup(&["--host", "a", "."]);
    }
    world.done(&["policy", "set", "--keep-last", "9"]);
    let maintainer = Planter::new(&world, Role::Maintain);
    let (policy, _) = maintainer.newest_policy();
    let all = maintainer.snapshots();
    maintainer.record(Fact::Retirement {
        snapshots: all.clone(),
        policy: Some(policy),
    });
    std::fs::remove_file(only).unwrap();
    let ran = world.run(&["maintain", "--json"]);
    let told = document(&ran.stdout);
    assert_eq!(
        (&told["forget"]["undone"], &told["forget"]["lost"]),
        (&5.into(), &1.into()),
        "{}",
        ran.stderr
    );
    let left = world.snapshots();
    assert!(find(&left, &all[1]).is_none() && left.len() == 5);
}

#[test]
fn policies_that_contradict_each_other_retire_nothing_until_one_settles_it() {
    let world = World::with_files();
    for _ in 0..5 {
        world.backup(&["--host", "a", "."]);
    }
    world.done(&["policy", "set", "--keep-last", "5"]);
    let thief = Planter::new(&world, Role::Admin);
    let (_, mut twin) = thief.newest_policy();
    twin.keep.last = 1;
    thief.record_of_admin(Fact::Policy(twin));
    let ran = world.run(&["maintain", "--json"]);
    assert_eq!(document(&ran.stdout)["forget"], Value::Null);
    assert!(ran.stderr.contains("neither counts"), "{}", ran.stderr);
    assert_eq!(world.snapshots().len(), 5);
    // The next one supersedes the end of a longest chain, so that no third twin comes to be.
    let set = world.run(&["policy", "set", "--keep-last", "4"]);
    assert_eq!(set.code, 0, "{}", set.stderr);
    let told = document(&world.done(&["maintain", "--json"]));
    assert_eq!(told["forget"]["retired"], 1);
}
