//! A line that breaks, between the program and the server.

use std::sync::atomic::Ordering;

use crate::machine::{Machine, noise};
use crate::proxy::Fault;
use crate::world::Ran;

/// It is done, or it says in words why not.
#[track_caller]
pub(crate) fn is_clean(ran: &Ran) {
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
    let (machine, is_on, _) = Machine::behind("breaks", &terms, |_, count| {
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
    let (machine, is_on, _) = Machine::behind("storms", &["--protect", "1h"], |request, count| {
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
