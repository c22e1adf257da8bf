//! Measures what finding the needs of live snapshots costs.
//!
//! `cargo run --release -p dolmen-core --example liveness -- BLOBS SNAPSHOTS` makes the manifests of that many snapshots
//! and walks them in a process of its own, so that the peak is the walk's alone.
//!
//! The model: each blob has a frame of its own, as chunks of 1 MiB do, and 32 of them a pack. From one snapshot to the
//! next a hundredth of the frames, spread over all packs, is needed no more, and as many are new, in new packs. Packs are
//! spread by their ids, so that nearly every leaf changes each time: nodes are hardly shared, which is the hard case.
#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]

mod model;
mod store;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use dolmen_core::live::LiveWalk;
use dolmen_format::{ObjectKey, SnapshotId, WriterId};

use self::model::History;
use self::store::{Nodes, Roots};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["walk", folder] => walk(Path::new(folder)),
        [blobs, snapshots] => measure(blobs.parse()?, snapshots.parse()?),
        _ => Err("usage: liveness BLOBS SNAPSHOTS".into()),
    }
}

/// Makes the manifests, and has another process walk them.
fn measure(blobs: u64, snapshots: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let begun = Instant::now();
    let mut history = History::new(folder.path(), blobs)?;
    for _ in 0..snapshots {
        history.snapshot()?;
    }
    let made = history.finish()?;
    println!("{blobs} blobs in each of {snapshots} snapshots");
    println!("made in {:.1} s: {made}", begun.elapsed().as_secs_f64());
    let program = std::env::current_exe()?;
    let walked = Command::new(program)
        .arg("walk")
        .arg(folder.path())
        .output()?;
    if !walked.status.success() {
        return Err(String::from_utf8_lossy(&walked.stderr).into());
    }
    let found = String::from_utf8_lossy(&walked.stdout);
    println!("{}", found.trim_end());
    if found.lines().next() != Some(format!("found: {made}").as_str()) {
        return Err("what was found is not what was made".into());
    }
    Ok(())
}

fn walk(folder: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut walk = LiveWalk::new(folder);
    let mut promise_seconds = 0;
    for root in Roots::open(folder)? {
        promise_seconds += 1;
        let id = SnapshotId::of(&u64::to_le_bytes(promise_seconds));
        let key = ObjectKey::Snapshot(WriterId([0; 16]), id);
        walk.add_root(key, &root?, promise_seconds)?;
    }
    let live = walk.finish(&mut Nodes::open(folder)?)?;
    let complete = live.complete().ok_or("something was lost")?;
    let (mut packs, mut frames) = (0_u64, 0_usize);
    for pack in complete.packs() {
        packs += 1;
        frames += pack?.frames.count();
    }
    let nodes = live.nodes_read();
    println!("found: {packs} packs, {frames} frames, {nodes} nodes below the roots");
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap_or(" unknown").trim();
    println!(
        "walked in {:.1} s, peak {peak}",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}
