//! How many requests a store gets, as the line to it shows them.

use std::collections::BTreeSet;

use crate::machine::{Machine, until};
use crate::proxy::{Fault, Proxy, Request};

/// Files of an unchanged backup. With 100,000 the numbers are the same, which takes longer than a suite should.
const FILES: usize = 10_000;
/// Requests of an unchanged backup, those for locks and versions aside.
const REQUESTS_MAX: usize = 10;
/// Listings of less than a page each: of root, keys, snapshots, ledger, index, and some again.
const LISTINGS_MAX: usize = 8;

fn is_listing(request: &Request) -> bool {
    request.method == "GET" && request.target.contains("versions")
}

fn is_extension(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("retention")
}

/// What a command asks.
fn requests_of(machine: &Machine, proxy: &Proxy, arguments: &[&str]) -> Vec<Request> {
    let before = proxy.requests().len();
    machine.done(arguments);
    proxy.requests().split_off(before)
}

/// The targets of requests, each of which must be there once.
#[track_caller]
fn distinct<'r>(requests: impl Iterator<Item = &'r Request>) -> BTreeSet<&'r str> {
    let mut found = BTreeSet::new();
    for request in requests {
        assert!(found.insert(request.target.as_str()), "twice: {request:?}");
    }
    found
}

/// What an unchanged backup asks of the store does not grow with the files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_backup_makes_few_requests() {
    let (machine, _, proxy) =
        Machine::behind("few", &["--protect", "30d"], |_, _| Fault::None).await;
    for at in 0..FILES {
        let name = format!("files/{}/{}/{at}", at % 10, at / 10 % 100);
        machine.world.write(&name, at.to_string().as_bytes());
    }
    machine.done(&["backup", "."]);
    machine.done(&["backup", "."]);
    let requests = requests_of(&machine, &proxy, &["backup", "."]);
    let listings = requests.iter().filter(|one| is_listing(one)).count();
    assert!(requests.len() - listings <= REQUESTS_MAX, "{requests:#?}");
    assert!(listings <= LISTINGS_MAX, "{requests:#?}");
    assert!(
        requests.iter().all(|one| one.method != "HEAD"),
        "{requests:#?}"
    );

    // A machine that remembers no lock asks for that of each needed object, once.
    let tree = machine.world.tree("cache");
    let dates = tree.iter().find(|path| path.ends_with("/lock-dates"));
    std::fs::remove_file(machine.world.path(dates.unwrap())).unwrap();
    let needed = machine.versions().await.len();
    let requests = requests_of(&machine, &proxy, &["backup", "."]);
    let asked = distinct(requests.iter().filter(|one| one.method == "HEAD")).len();
    assert!((1..=needed).contains(&asked), "{asked} of {needed}");
    let listings = requests.iter().filter(|one| is_listing(one)).count();
    assert!(
        requests.len() - listings - asked <= REQUESTS_MAX,
        "{requests:#?}"
    );
}

/// What is due costs one request each, and listings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_extends_each_due_object_once_and_asks_for_little_else() {
    const GENERATION_SECONDS: i64 = 12;
    let terms = ["--protect", "20s", "--generation", "12s", "--every", "6s"];
    let (machine, _, proxy) = Machine::behind("due", &terms, |_, _| Fault::None).await;
    for round in 0..6 {
        machine.world.write("files/a", &[round]);
        machine.done(&["backup", "."]);
    }
    until(|| {
        let planned = machine.told(&["renew", "--dry-run"]);
        planned["renewed"] == planned["examined"]
    })
    .await;
    let before = proxy.requests().len();
    let told = machine.told(&["renew"]);
    let requests = proxy.requests().split_off(before);
    let extended = distinct(requests.iter().filter(|one| is_extension(one))).len();
    assert!(extended >= 15, "{told}");
    assert_eq!(told["renewed"], extended, "{told}");
    assert_eq!(told["examined"], extended, "{told}");
    let heads = requests.iter().filter(|one| one.method == "HEAD").count();
    let listings = requests.iter().filter(|one| is_listing(one)).count();
    println!(
        "extended {extended} heads {heads} listings {listings} all {}",
        requests.len()
    );
    for r in &requests {
        println!("{} {}", r.method, r.target);
    }
    assert!(listings <= LISTINGS_MAX, "{requests:#?}");

    // The next one extends what has become due meanwhile, by whole generations, and nothing else.
    let first = machine.versions().await;
    let before = proxy.requests().len();
    machine.done(&["renew"]);
    let requests = proxy.requests().split_off(before);
    let extended = distinct(requests.iter().filter(|one| is_extension(one)));
    for (id, after) in machine.versions().await {
        let later = after.until.unwrap() - first[&id].until.unwrap();
        let is_extended = extended.iter().any(|target| target.contains(&id));
        assert_eq!(later % GENERATION_SECONDS, 0, "{after:?}");
        assert_eq!(later > 0, is_extended, "{after:?}");
    }
}
