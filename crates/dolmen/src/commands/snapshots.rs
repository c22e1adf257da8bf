//! `dolmen snapshots`

use std::collections::BTreeMap;

use clap::Args;
use dolmen_core::snapshots::SnapshotEntry;

use super::App;
use super::select::{self, FilterArgs};
use crate::exit::{Exit, Outcome};
use crate::open::open;
use crate::{paths, render};

/// Which ones.
#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    /// Only these snapshots: full ids, unique prefixes, `latest`, `latest~N`
    #[arg(value_name = "SNAP")]
    snapshots: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only the newest N of each host and set of paths
    #[arg(long, value_name = "N")]
    latest: Option<usize>,
    /// Retired snapshots only; this version retires none
    #[arg(long, conflicts_with = "all")]
    retired: bool,
    /// Retired snapshots too
    #[arg(long)]
    all: bool,
    /// Snapshots of revoked keys too; this version revokes none
    #[arg(long)]
    include_revoked: bool,
}

/// Lists them.
pub(super) fn run(app: &App, args: &SnapshotsArgs) -> Outcome {
    let filter = args.filter.filter()?;
    let opened = open(app)?;
    let list = opened.load_snapshots(app)?;
    let mut found = select::find_all(app, &list, &args.snapshots, &filter)?;
    if args.retired {
        found.clear();
    }
    if let Some(count) = args.latest {
        found = newest_of_each(found, count);
    }
    if app.output.is_json() {
        app.output.json(
            &found
                .iter()
                .map(|entry| render::snapshot_json(entry))
                .collect::<Vec<_>>(),
        );
    } else {
        print_table(app, &found);
    }
    Ok(Exit::Done)
}

/// Keeps the newest `count` of each host and set of paths, in their order.
fn newest_of_each(found: Vec<&SnapshotEntry>, count: usize) -> Vec<&SnapshotEntry> {
    let mut taken: BTreeMap<_, usize> = BTreeMap::new();
    let mut kept: Vec<_> = found
        .into_iter()
        .rev()
        .filter(|entry| {
            let labels = &entry.snapshot.labels;
            let taken = taken.entry((labels.host, labels.paths)).or_default();
            *taken = taken.saturating_add(1);
            *taken <= count
        })
        .collect();
    kept.reverse();
    kept
}

fn print_table(app: &App, found: &[&SnapshotEntry]) {
    let heads = [
        "ID",
        "Time",
        "Host",
        "Tags",
        "Size",
        "Protected until",
        "Paths",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for entry in found {
        let body = &entry.body;
        let paths: Vec<_> = body.paths.iter().map(|path| paths::display(path)).collect();
        rows.push(vec![
            entry.short_id(),
            render::local_time(entry.snapshot.time),
            paths::display(body.hostname.as_bytes()),
            paths::display(body.tags.join(",").as_bytes()),
            render::bytes(entry.snapshot.counts.bytes),
            "not protected".to_owned(),
            paths.join(", "),
        ]);
    }
    if !found.is_empty() {
        for line in render::table(&rows) {
            app.output.line(line);
        }
    }
    if !app.output.is_quiet() {
        let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
        app.output.line(render::count(count, "snapshot"));
    }
}
