//! Instances are for one process each.
//!
//! A test program of its own: a process that another thread starts would hold that thread's locks until it runs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dolmen_format::{InstanceId, ObjectId};
use dolmen_state::{Instance, StateFolder};

fn claim(state: &StateFolder, fresh: u8) -> Instance {
    let fresh = InstanceId([fresh; 16]);
    state
        .claim_instance(&ObjectId([7; 32]), None, fresh)
        .unwrap()
}

/// The other process is this test again: it claims, says its id and waits until its input ends.
#[test]
fn two_processes_get_two_instances() {
    const FOLDER: &str = "DOLMEN_STATE_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let instance = claim(&StateFolder::open(PathBuf::from(folder)).unwrap(), 1);
        println!("id {}", instance.id());
        std::io::stdin().lines().for_each(drop);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path().join("state")).unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes_get_two_instances", "--nocapture"])
        .env(FOLDER, state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(other.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("id ")).unwrap();
    assert!(line.contains(&InstanceId([1; 16]).to_string()), "{line}");
    assert_eq!(claim(&state, 2).id(), InstanceId([2; 16]));
    drop(other.stdin.take());
    lines.for_each(drop);
    assert!(other.wait().unwrap().success());
    assert_eq!(
        claim(&state, 3).id(),
        InstanceId([1; 16]),
        "its end frees its instance"
    );
}
