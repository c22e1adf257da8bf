//! A line that breaks, between the program and the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::machine::{Machine, noise};
use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::server;
use crate::world::Ran;

/// A machine whose requests pass a proxy that breaks them as long as `is_on`.
async fn behind(
    bucket: &str,
    terms: &[&str],
    rule: impl Fn(&Request, usize) -> Fault + Send + Sync + 'static,
) -> (Machine, Arc<AtomicBool>, Proxy) {
    let is_on = Arc::<AtomicBool>::default();
    let (on, count) = (Arc::clone(&is_on), AtomicUsize::new(0));
    let rule = move |request: &Request, _| {
        if on.load(Ordering::SeqCst) {
            rule(request, count.fetch_add(1, Ordering::SeqCst))
        } else {
            Fault::None
        }
    };
    let proxy = Proxy::start(&server().endpoint(), Arc::new(rule)).await;
    let mut machine = Machine::new(bucket);
    machine.endpoint.clone_from(&proxy.endpoint);
    machine.done(&[&["init", "--create-bucket"], terms].concat());
    (machine, is_on, proxy)
}

/// It is done, or it says in words why not.
#[track_caller]
fn is_clean(ran: &Ran) {
    assert!(
        [0, 1, 21].contains(&ran.code),
        "{}\n{}",
        ran.code,
        ran.stderr
    );
    assert!(!ran.stderr.contains("internal error"), "{}", ran.stderr);
    if ran.code == 1 {
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_breaks_in_every_way_loses_nothing() {
    let terms = ["--protect", "20s", "--generation", "12s", "--every", "6s"];
    let (machine, is_on, _) = behind("breaks", &terms, |_, count| {
        let faults = [
            Fault::Busy,
            Fault::Lose,
            Fault::Cut,
            Fault::Tear,
            Fault::Slow,
        ];
        if count % 4 == 1 {
            faults[count / 4 % faults.len()]
        } else {
            Fault::None
        }
    })
    .await;
    for round in 0..3 {
        machine.world.write("files/noise", &noise(round, 1_000_000));
        for command in [&["backup", "."] as &[&str], &["renew"], &["prune"]] {
            is_on.store(true, Ordering::SeqCst);
            is_clean(&machine.run(command));
            is_on.store(false, Ordering::SeqCst);
        }
        machine.done(&["backup", "."]);
        machine.done(&["forget", "--keep-last", "1"]);
        machine.done(&["renew"]);
        machine.restores("latest");
    }
    machine.done(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_in_the_middle_ends_a_backup_which_then_carries_on() {
    let (machine, is_on, _) = behind("storms", &["--protect", "1h"], |request, count| {
        if request.method == "PUT" && count > 12 {
            Fault::Busy
        } else {
            Fault::None
        }
    })
    .await;
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    for at in 0..3 {
        let name = format!("files/noise{at}");
        machine.world.write(&name, &noise(at, 40 << 20));
    }
    is_on.store(true, Ordering::SeqCst);
    let stopped = machine.run(&["backup", "."]);
    assert_eq!(stopped.code, 1, "{}\n{}", stopped.stdout, stopped.stderr);
    is_clean(&stopped);
    is_on.store(false, Ordering::SeqCst);
    machine.done(&["check", "--read-data"]);
    machine.done(&["backup", "."]);
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
}

/// What an unchanged backup asks of the store does not grow with the files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_backup_makes_few_requests() {
    let (machine, _, proxy) = behind("few", &["--protect", "30d"], |_, _| Fault::None).await;
    for at in 0..1000 {
        machine
            .world
            .write(&format!("files/{}/{at}", at % 10), b"small");
    }
    machine.done(&["backup", "."]);
    machine.done(&["backup", "."]);
    let before = proxy.requests().len();
    machine.done(&["backup", "."]);
    let requests = proxy.requests().split_off(before);
    let listings = requests
        .iter()
        .filter(|one| one.method == "GET" && one.target.contains("versions"))
        .count();
    assert!(requests.len() - listings <= 10, "{requests:#?}");
    assert!(listings <= 8, "{requests:#?}");
}
