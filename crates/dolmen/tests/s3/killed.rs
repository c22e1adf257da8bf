//! A server that is killed in the middle of something, and comes back.

use std::sync::{Arc, Mutex};

use crate::faults::is_clean;
use crate::machine::{Machine, noise, until};
use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::{Server, wait_for};

/// Whether a killed server comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    /// When the test says so.
    Later,
    /// Before the next request reaches it.
    AtOnce,
}

/// When the server is killed.
struct Trigger {
    is_it: fn(&Request) -> bool,
    /// So many such requests pass before.
    passes: usize,
    back: Back,
}

/// A machine with a server of its own, which is killed when a certain request arrives.
struct Doomed {
    machine: Machine,
    server: Arc<Server>,
    proxy: Proxy,
    trigger: Arc<Mutex<Option<Trigger>>>,
}

impl Doomed {
    /// One with a repository of these terms.
    async fn new(terms: &[&str]) -> Self {
        let server = Arc::new(Server::start(&[]).await);
        let trigger = Arc::<Mutex<Option<Trigger>>>::default();
        let (killed, armed) = (Arc::clone(&server), Arc::clone(&trigger));
        let rule = move |request: &Request, _| decide(&killed, &armed, request);
        let proxy = Proxy::start(&server.endpoint(), Arc::new(rule)).await;
        let machine = Machine::at(&proxy.endpoint, "doomed");
        machine.done(&[&["init", "--create-bucket"], terms].concat());
        Self {
            machine,
            server,
            proxy,
            trigger,
        }
    }

    fn kill_at(&self, is_it: fn(&Request) -> bool, passes: usize, back: Back) {
        *self.trigger.lock().unwrap() = Some(Trigger {
            is_it,
            passes,
            back,
        });
    }

    /// Whether the server was killed since it was last said when.
    fn was_killed(&self) -> bool {
        self.trigger.lock().unwrap().is_none()
    }
}

/// Starts a killed server again, in its folder and on its ports, and waits for it.
fn restart(server: &Server) {
    server.tell("start");
    wait_for(server.answers());
}

/// Kills the server if its time has come. While it comes back, other requests wait here.
fn decide(server: &Server, trigger: &Mutex<Option<Trigger>>, request: &Request) -> Fault {
    let mut armed = trigger.lock().unwrap();
    match &mut *armed {
        Some(trigger) if (trigger.is_it)(request) && trigger.passes > 0 => trigger.passes -= 1,
        Some(trigger) if (trigger.is_it)(request) => {
            server.tell("kill");
            if trigger.back == Back::AtOnce {
                restart(server);
            }
            *armed = None;
            return Fault::Cut;
        }
        Some(_) | None => {}
    }
    Fault::None
}

fn puts_object(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("x-id=PutObject")
}

fn extends(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("retention")
}

fn deletes(request: &Request) -> bool {
    request.method == "DELETE"
}

/// Puts of what is no small object.
fn large_puts(requests: &[Request]) -> usize {
    let length = |request: &Request| -> u64 {
        let stated = request.header("content-length").unwrap();
        stated.parse().unwrap()
    };
    let puts = requests.iter().filter(|request| puts_object(request));
    puts.filter(|request| length(request) > 1_000_000).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_of_a_backup_ends_it_and_the_next_one_carries_on() {
    let doomed = Doomed::new(&["--protect", "1h"]).await;
    let machine = &doomed.machine;
    machine.world.write("files/a", b"first");
    let first = machine.told(&["backup", "."])["snapshot_id"].clone();
    machine.world.write("files/noise", &noise(1, 3_000_000));
    // The pack is there, and what describes it is not.
    doomed.kill_at(puts_object, 1, Back::Later);
    let ended = machine.run(&["backup", "."]);
    assert!(doomed.was_killed());
    assert_eq!(ended.code, 1, "{}\n{}", ended.stdout, ended.stderr);
    is_clean(&ended);
    assert_eq!(large_puts(&doomed.proxy.requests()), 1);

    restart(&doomed.server);
    let (noise, aside) = (
        machine.world.path("files/noise"),
        machine.world.path("aside"),
    );
    std::fs::rename(&noise, &aside).unwrap();
    machine.restores(first.as_str().unwrap());
    machine.done(&["check", "--read-data"]);
    std::fs::rename(&aside, &noise).unwrap();
    machine.done(&["backup", "."]);
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
    assert_eq!(large_puts(&doomed.proxy.requests()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_outlives_a_server_that_comes_back_at_once() {
    let doomed = Doomed::new(&["--protect", "1h"]).await;
    let machine = &doomed.machine;
    for passes in 0..3 {
        let seed = u64::try_from(passes).unwrap();
        machine.world.write("files/noise", &noise(seed, 3_000_000));
        doomed.kill_at(puts_object, passes, Back::AtOnce);
        machine.done(&["backup", "."]);
        assert!(doomed.was_killed());
        machine.restores("latest");
    }
    machine.done(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_outlives_a_server_that_comes_back_at_once() {
    let terms = ["--protect", "20s", "--generation", "12s", "--every", "6s"];
    let doomed = Doomed::new(&terms).await;
    let machine = &doomed.machine;
    machine.world.write("files/noise", &noise(1, 100_000));
    machine.done(&["backup", "."]);
    until(|| machine.told(&["renew", "--dry-run"])["renewed"].as_u64() >= Some(4)).await;
    doomed.kill_at(extends, 2, Back::AtOnce);
    machine.done(&["renew"]);
    assert!(doomed.was_killed());
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_outlives_a_server_that_comes_back_at_once() {
    let terms = ["--protect", "12s", "--generation", "4s", "--every", "2s"];
    let doomed = Doomed::new(&terms).await;
    let machine = &doomed.machine;
    for seed in 0..3 {
        machine.world.write("files/noise", &noise(seed, 100_000));
        machine.done(&["backup", "."]);
    }
    machine.done(&["forget", "--keep-last", "1"]);
    let deletable = || machine.told(&["prune", "--dry-run"])["deleted"]["objects"].as_u64();
    until(|| deletable() >= Some(4)).await;
    doomed.kill_at(deletes, 2, Back::AtOnce);
    let pruned = machine.told(&["prune"]);
    assert!(doomed.was_killed(), "{pruned}");
    assert!(pruned["deleted"]["objects"].as_u64() >= Some(4), "{pruned}");
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
    machine.done(&["renew"]);
}
