//! What credentials could do to a bucket, tried out.

use std::collections::BTreeMap;

use crate::machine::Machine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_tells_what_an_owner_could_do_and_harms_nothing() {
    let machine = Machine::new("drilled");
    machine.done(&["init", "--create-bucket"]);
    machine.world.write("files/a", b"first");
    machine.done(&["backup", "."]);
    // The key of a machine that is backed up should not be the owner's.
    let ran = machine.run(&["drill", "--role", "backup", "--json"]);
    let told: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
    let outcomes: BTreeMap<_, _> = told
        .iter()
        .map(|one| (one["attack"].as_str(), one["outcome"].as_str()))
        .collect();
    let outcome = |attack| outcomes.get(&Some(attack)).copied().flatten();
    assert_eq!(outcome("delete-version"), Some("refused"), "{told:?}");
    assert_eq!(outcome("shorten-lock"), Some("refused"), "{told:?}");
    assert_eq!(outcome("overwrite"), Some("absorbed"), "{told:?}");
    assert_eq!(outcome("hide"), Some("absorbed"), "{told:?}");
    assert_eq!(ran.code, 21, "{told:?}");
    machine.restores("latest");
    machine.done(&["check", "--read-data"]);
}
