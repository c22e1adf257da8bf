//! How many requests a store gets, as the line to it shows them.

use std::collections::BTreeSet;

use crate::machine::Machine;
use crate::proxy::{Fault, Proxy, Request};

/// Files of an unchanged backup, tiny ones: what they hold is never asked for.
const FILES: usize = 100_000;
/// Requests of an unchanged backup, those for locks and versions aside.
const REQUESTS_MAX: usize = 10;
/// Listings of less than a page each: of root, keys, snapshots, ledger, index, and some again.
const LISTINGS_MAX: usize = 8;
/// The same of a renewal, which looks twice at most of them: once to open the repository, once for what is due.
const RENEWAL_LISTINGS_MAX: usize = 12;

fn is_listing(request: &Request) -> bool {
    request.method == "GET" && request.target.contains("versions")
}

fn asks_for_lock(request: &Request) -> bool {
    let asks = request.method == "HEAD" || request.target.contains("?retention");
    asks && request.target.contains("versionId") && request.method != "PUT"
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

fn count(requests: &[Request], is_it: fn(&Request) -> bool) -> usize {
    requests.iter().filter(|one| is_it(one)).count()
}

/// The targets of some requests, each of which must be there once.
#[track_caller]
fn distinct(requests: &[Request], is_it: fn(&Request) -> bool) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for request in requests.iter().filter(|one| is_it(one)) {
        assert!(found.insert(request.target.as_str()), "twice: {request:?}");
    }
    found
}

/// Listings state no locks here: a machine that knows none asks for those of the snapshots themselves, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_machine_sees_until_when_snapshots_are_protected() {
    let (machine, _, proxy) =
        Machine::behind("fresh-dates", &["--protect", "1h"], |_, _| Fault::None).await;
    for content in ["first", "second"] {
        machine.world.write("files/a", content.as_bytes());
        machine.done(&["backup", "."]);
    }
    let until_of = |machine: &Machine| -> Vec<String> {
        let listed = machine.done(&["snapshots", "--json"]);
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        let until = listed.iter().map(|one| one["protected_until"].as_str());
        until.map(|until| until.unwrap().to_owned()).collect()
    };
    let known = until_of(&machine);
    assert_eq!(known.len(), 2);
    let fresh = Machine::at(&machine.endpoint, &machine.bucket);
    let before = proxy.requests().len();
    assert_eq!(until_of(&fresh), known);
    let asked = proxy.requests().split_off(before);
    assert_eq!(distinct(&asked, asks_for_lock).len(), 2);
    let again = requests_of(&fresh, &proxy, &["snapshots"]);
    assert_eq!(count(&again, asks_for_lock), 0);
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
    let listings = count(&requests, is_listing);
    assert!(requests.len() - listings <= REQUESTS_MAX, "{requests:#?}");
    assert!(listings <= LISTINGS_MAX, "{requests:#?}");
    // That of the new snapshot alone.
    assert_eq!(count(&requests, asks_for_lock), 1, "{requests:#?}");

    // A machine that remembers no lock asks for that of each needed object, once.
    let tree = machine.world.tree("cache");
    let dates = tree.iter().find(|path| path.ends_with("/lock-dates"));
    std::fs::remove_file(machine.world.path(dates.unwrap())).unwrap();
    let requests = requests_of(&machine, &proxy, &["backup", "."]);
    let needed = machine.versions().await.len();
    let asked = distinct(&requests, asks_for_lock).len();
    assert!((2..=needed).contains(&asked), "{asked} of {needed}");
    let listings = count(&requests, is_listing);
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
    machine.until_all_is_due().await;
    let before = proxy.requests().len();
    let told = machine.told(&["renew"]);
    let requests = proxy.requests().split_off(before);
    let due = distinct(&requests, is_extension).len();
    assert!(due >= 15, "{told}");
    for counted in ["renewed", "examined", "calls"] {
        assert_eq!(told[counted], due, "{told}");
    }
    let listings = count(&requests, is_listing);
    assert!(listings <= RENEWAL_LISTINGS_MAX, "{requests:#?}");
    // All other objects that it reads are kept where they were read before.
    assert!(
        requests.len() - listings - due <= REQUESTS_MAX,
        "{requests:#?}"
    );

    // The next one extends what has become due meanwhile, by whole generations, and nothing else.
    let first = machine.versions().await;
    let requests = requests_of(&machine, &proxy, &["renew"]);
    let extended = distinct(&requests, is_extension);
    for (id, after) in machine.versions().await {
        let later = after.until.unwrap() - first[&id].until.unwrap();
        let is_extended = extended.iter().any(|target| target.contains(&id));
        assert_eq!(later % GENERATION_SECONDS, 0, "{after:?}");
        assert_eq!(later > 0, is_extended, "{after:?}");
    }
}
