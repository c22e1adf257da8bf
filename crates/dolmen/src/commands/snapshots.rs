//! `dolmen snapshots`

use std::collections::BTreeMap;

use clap::Args;
use dolmen_core::lives;
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList, ask_for_locks, protected_until};
use dolmen_format::Timestamp;

use super::App;
use super::select::{self, FilterArgs};
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Duty, open};
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
    #[arg(long, value_name = "N", value_parser = parse_count)]
    latest: Option<usize>,
    /// Retired snapshots only
    #[arg(long, conflicts_with = "all")]
    retired: bool,
    /// Retired snapshots too, and quarantined ones
    #[arg(long)]
    all: bool,
    /// Quarantined snapshots too: what revoked keys signed beyond their cuts
    #[arg(long)]
    include_revoked: bool,
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a number, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Lists them.
pub(super) fn run(app: &App, args: &SnapshotsArgs) -> Outcome {
    let (filter, at) = (args.filter.filter()?, args.filter.at(app)?);
    let opened = open(app, Duty::Look)?;
    let list = opened.load_snapshots_at(app, at)?;
    let mut found = select::find_all(app, &list, &args.snapshots, &filter)?;
    let is_retired = |entry: &SnapshotEntry| list.facts.retired.contains_key(&entry.id);
    if args.snapshots.is_empty() {
        let retired = list.retired.iter().filter(|_| args.retired || args.all);
        let wants_quarantined = args.include_revoked || args.all;
        let quarantined = list.quarantined.iter().filter(|_| wants_quarantined);
        let more = retired.chain(quarantined);
        found.extend(more.filter(|entry| filter.matches(entry)));
        found.sort_by_key(|entry| entry.age());
    }
    if args.retired {
        found.retain(|entry| is_retired(entry));
    }
    if let Some(count) = args.latest {
        found = newest_of_each(found, count);
    }
    let now = app.environment.clock.now();
    let tried = format!("cannot list the snapshots of {}", opened.address);
    ask_for_locks(&opened.repository, &list, &found, now).during(&tried)?;
    if app.output.is_json() {
        app.output.json(
            &found
                .iter()
                .map(|entry| {
                    let mut shown = render::snapshot_json(entry);
                    if let Some(fields) = shown.as_object_mut() {
                        let until = protected_until(&opened.repository, entry, now);
                        let until = until.map(render::rfc3339);
                        fields.insert("protected_until".to_owned(), until.into());
                        fields.insert("retired".to_owned(), is_retired(entry).into());
                        let is_quarantined = !list.facts.trusts(&entry.id);
                        fields.insert("quarantined".to_owned(), is_quarantined.into());
                        let suspicious = render::suspicions(&list, entry.id);
                        fields.insert("suspicious".to_owned(), suspicious.into());
                    }
                    shown
                })
                .collect::<Vec<_>>(),
        );
    } else {
        let until = |entry: &SnapshotEntry| protected_until(&opened.repository, entry, now);
        print_table(app, &list, &found, &until);
    }
    opened.warn_of_oddities(app);
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

/// How a snapshot stands, in a word or two.
fn standing(list: &SnapshotList, entry: &SnapshotEntry, until: Option<Timestamp>) -> String {
    let word = if list.facts.retired.contains_key(&entry.id) {
        "retired"
    } else if !list.facts.trusts(&entry.id) {
        "quarantined"
    } else if list.suspicious.contains_key(&entry.id) {
        "suspicious"
    } else if let Some(until) = until {
        return render::local_time(until);
    } else if lives::promises_locks(&list.facts, list.listed_at) {
        // Renewed since: status sees until when.
        "see status"
    } else {
        "not protected"
    };
    word.to_owned()
}

fn print_table(
    app: &App,
    list: &SnapshotList,
    found: &[&SnapshotEntry],
    until: &dyn Fn(&SnapshotEntry) -> Option<Timestamp>,
) {
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
        rows.push(vec![
            entry.short_id(),
            render::local_time(entry.snapshot.time),
            paths::display(entry.host().as_bytes()),
            render::shown_tags(entry),
            render::bytes(entry.snapshot.counts.bytes),
            standing(list, entry, until(entry)),
            render::shown_paths(entry),
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
