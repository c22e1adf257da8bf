//! `dolmen forget`

mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use dolmen_core::forget::{self, UndoOptions};
use dolmen_core::keep::{Fate, Group, GroupBy};
use dolmen_core::lives;
use dolmen_core::snapshots::{Filter, SnapshotEntry, SnapshotList};
use dolmen_format::{SnapshotId, Timestamp};
use dolmen_state::Instance;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::App;
use super::check::Reported;
use super::compact::CompactArgs;
use super::prune::{self, PruneArgs};
use super::select::{self, FilterFlags};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
use crate::{paths, render};
use rules::RuleArgs;

/// What to retire.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct ForgetArgs {
    /// Retire these snapshots: full ids, unique prefixes, `latest`, `latest~N`
    #[arg(value_name = "SNAP")]
    snapshots: Vec<String>,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    filter: FilterFlags,
    /// Apply the rules to each group of snapshots that have these in common
    #[arg(short = 'g', long, value_name = "host,paths,tags", default_value = "host,paths", value_parser = parse_group_by)]
    group_by: GroupBy,
    /// Let suspicious snapshots compete for the rules' slots like all others, and be retired by them, now and from now on
    #[arg(long, conflicts_with = "undo")]
    count_anyway: bool,
    /// Show fewer columns
    #[arg(short = 'c', long)]
    compact: bool,
    /// Bring these retired snapshots back, as long as what they need is still there
    #[arg(long, conflicts_with_all = ["prune", "group_by"])]
    undo: bool,
    /// Prune afterwards
    #[arg(long)]
    prune: bool,
    /// Change nothing, only tell
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// With --prune: take as lost for good what the repository tells of and does not hold
    #[arg(long, requires = "prune")]
    confirm_missing: bool,
    #[command(flatten)]
    repack: CompactArgs,
}

fn parse_group_by(text: &str) -> Result<GroupBy, String> {
    text.parse()
        .map_err(|error: dolmen_core::keep::KeepError| error.to_string())
}

/// Retires snapshots, or brings them back.
pub(super) fn run(app: &App, args: &ForgetArgs) -> Outcome {
    let rules = args.rules.rules();
    refuse_contradictions(args, rules.is_empty())?;
    let filter = args.filter.filter()?;
    let opened = open(app, Duty::Administer)?;
    if args.undo {
        let list = opened.load_snapshots(app)?;
        return undo(app, &opened, &list, args);
    }
    // A person ends what is gone, too.
    let mut list = opened.load_all_seen(app)?;
    let mut doubted = BTreeSet::new();
    if args.count_anyway {
        doubted.extend(std::mem::take(&mut list.suspicious).into_keys());
    }
    let (groups, chosen) = if args.snapshots.is_empty() {
        let (zone, now) = (TimeZone::system(), app.environment.clock.now());
        let planned = forget::plan(&list, &filter, &rules, args.group_by, &zone, now);
        let groups = planned.map_err(|error| Failure::usage(error.to_string()))?;
        let removed = groups.iter().flat_map(Group::removed).collect::<Vec<_>>();
        (groups, entries(&list, &removed))
    } else {
        (Vec::new(), named(app, &list, &args.snapshots)?)
    };
    let accepted = accepted(&list, &groups, &doubted);
    let has_work = !chosen.is_empty() || !accepted.is_empty();
    if has_work && !args.dry_run {
        let mut instance = opened.writer(app, &list)?;
        forget::accept(&opened.repository, &mut instance, &accepted)
            .and_then(|()| forget::retire(&opened.repository, &mut instance, &chosen, None))
            .during(&format!("cannot retire snapshots of {}", opened.address))?;
    }
    report(app, args, &list, &groups, &chosen);
    say_accepted(app, accepted.len(), args.dry_run);
    if args.prune {
        let supposed = chosen.iter().filter(|_| args.dry_run);
        return then_prune(
            app,
            &opened,
            args,
            &supposed.map(|entry| entry.id).collect(),
        );
    }
    Ok(Exit::Done)
}

/// Suspicious snapshots that competed for slots and stay.
fn accepted<'l>(
    list: &'l SnapshotList,
    groups: &[Group],
    doubted: &BTreeSet<SnapshotId>,
) -> Vec<&'l SnapshotEntry> {
    let decided = groups.iter().flat_map(|group| &group.decisions);
    let stay = decided.filter(|one| one.fate != Fate::Remove && doubted.contains(&one.id));
    entries(list, &stay.map(|one| one.id).collect::<Vec<_>>())
}

/// Says that what looked suspicious counts from now on.
fn say_accepted(app: &App, accepted: usize, dry_run: bool) {
    if accepted == 0 || app.output.is_json() || app.output.is_quiet() {
        return;
    }
    let accepted = u64::try_from(accepted).unwrap_or(u64::MAX);
    let (snapshots, verb) = (
        render::count(accepted, "suspicious snapshot"),
        if dry_run { "would take" } else { "took" },
    );
    app.output.line(format!(
        "{verb} {snapshots} for good: rules count them like all others from now on"
    ));
}

fn refuse_contradictions(args: &ForgetArgs, no_rules: bool) -> Outcome<()> {
    let wrong = match (args.snapshots.is_empty(), no_rules, args.undo) {
        (true, _, true) => "name the snapshots that --undo is to bring back",
        (false, false, true) => "--undo takes snapshots and no rules",
        (true, true, false) => {
            "say what to keep, for example --keep-daily 7, or name the snapshots to retire; an empty policy would retire \
             everything"
        }
        (false, false, false) => "give either snapshots or rules, not both",
        (false, true, _) | (true, false, false) => return Ok(()),
    };
    Err(Failure::usage(wrong))
}

pub(super) fn entries<'l>(list: &'l SnapshotList, ids: &[SnapshotId]) -> Vec<&'l SnapshotEntry> {
    let ids: BTreeSet<_> = ids.iter().collect();
    let live = list.snapshots.iter();
    live.filter(|entry| ids.contains(&entry.id)).collect()
}

/// The snapshots that are named, without those that are retired already.
fn named<'l>(
    app: &App,
    list: &'l SnapshotList,
    wanted: &[String],
) -> Outcome<Vec<&'l SnapshotEntry>> {
    let mut found = select::find_all(app, list, wanted, &Filter::default())?;
    found.retain(|entry| {
        let is_retired = list.facts.retired.contains_key(&entry.id);
        if is_retired {
            app.output
                .notice(format!("snapshot {} is retired already", entry.short_id()));
        }
        !is_retired
    });
    Ok(found)
}

fn then_prune(
    app: &App,
    opened: &Opened,
    args: &ForgetArgs,
    supposed: &BTreeSet<SnapshotId>,
) -> Outcome {
    let prune_args = PruneArgs {
        dry_run: args.dry_run,
        confirm_missing: args.confirm_missing,
        compact: args.repack.clone(),
    };
    prune::compact_and_prune(app, opened, &prune_args, supposed)
}

fn undo(app: &App, opened: &Opened, list: &SnapshotList, args: &ForgetArgs) -> Outcome {
    let now = app.environment.clock.now();
    let found = select::find_all(app, list, &args.snapshots, &Filter::default())
        .map_err(|failure| gone(list, &args.snapshots, now).unwrap_or(failure))?;
    let retired: Vec<_> = found
        .into_iter()
        .filter(|entry| list.facts.retired.contains_key(&entry.id))
        .collect();
    if retired.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "none of these snapshots is retired: there is nothing to bring back",
        )
        .hint("list the retired ones with: dolmen snapshots --retired"));
    }
    if args.dry_run {
        say_undone(app, &retired, true);
        return Ok(Exit::Done);
    }
    let missing = take_back(app, opened, list, |instance, options, reported| {
        forget::undo(
            &opened.repository,
            instance,
            list,
            &retired,
            options,
            reported,
        )
    })?;
    if missing.is_empty() {
        say_undone(app, &retired, false);
        return Ok(Exit::Done);
    }
    Err(Failure::new(
        Exit::Damage,
        "the snapshots stay retired: not everything that they need is still there",
    )
    .hint("what is left of them restores by id: dolmen restore ID --target DIR"))
}

/// Says of the first that is retired and gone when that was.
fn gone(list: &SnapshotList, wanted: &[String], now: Timestamp) -> Option<Failure> {
    let present: BTreeSet<_> = list.all().map(|entry| entry.id).collect();
    wanted.iter().find_map(|wanted| {
        let mut retired = list.facts.retired.iter();
        let is_meant = |id: &SnapshotId| id.to_string().starts_with(wanted.as_str());
        let (id, retired) =
            retired.find(|(id, _)| is_meant(id) && !present.contains(id) && !wanted.is_empty())?;
        let ended_at = retired.ended_at(now);
        let at = render::local_time(ended_at);
        let ended = lives::terms(&list.facts, ended_at)
            .map(|terms| forget::deadlines(ended_at, &terms).0)
            .map_or_else(String::new, |until| {
                format!(
                    ", could be brought back until {}",
                    render::local_time(until)
                )
            });
        Some(Failure::new(
            Exit::Failed,
            format!(
                "snapshot {id} was retired at {at}{ended}, and is deleted: nothing brings it back"
            ),
        ))
    })
}

/// Brings snapshots back by `work`, as this machine's instance.
pub(super) fn take_back<T>(
    app: &App,
    opened: &Opened,
    list: &SnapshotList,
    work: impl FnOnce(&mut Instance, &UndoOptions<'_>, &Reported) -> Result<T, dolmen_core::Error>,
) -> Outcome<T> {
    let mut instance = opened.writer(app, list)?;
    let cancel = app.interrupt.flag();
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let options = UndoOptions {
        index_cache: index_cache.as_deref(),
        scratch: &scratch,
        cancel: &cancel,
    };
    let reported = Reported(Arc::clone(&app.output));
    work(&mut instance, &options, &reported).during(&format!(
        "cannot bring snapshots of {} back",
        opened.address
    ))
}

fn say_undone(app: &App, undone: &[&SnapshotEntry], dry_run: bool) {
    if app.output.is_json() {
        let ids: Vec<_> = undone.iter().map(|entry| entry.id.to_string()).collect();
        app.output
            .json(&json!({ "message_type": "undone", "snapshots": ids }));
        return;
    }
    let verb = if dry_run {
        "would bring back"
    } else {
        "brought back"
    };
    for entry in undone {
        app.output
            .line(format!("{verb} {}", render::snapshot_line(entry)));
    }
}

/// When what was just retired can no longer be brought back, and when its space returns.
fn deadlines(app: &App, list: &SnapshotList) -> Option<(Timestamp, Timestamp)> {
    let now = app.environment.clock.now();
    let terms = lives::terms(&list.facts, now)?;
    Some(forget::deadlines(now, &terms))
}

fn report(
    app: &App,
    args: &ForgetArgs,
    list: &SnapshotList,
    groups: &[Group],
    chosen: &[&SnapshotEntry],
) {
    if app.output.is_json() {
        let mut documents: Vec<_> = groups.iter().map(|group| document(list, group)).collect();
        if groups.is_empty() {
            let removed: Vec<_> = chosen
                .iter()
                .map(|entry| render::snapshot_json(entry))
                .collect();
            documents.push(json!({ "keep": null, "remove": removed, "reasons": null }));
        }
        for document in &mut documents {
            add_deadlines(app, list, document);
        }
        app.output.json(&documents);
        return;
    }
    if app.output.is_quiet() {
        return;
    }
    for group in groups {
        print_group(app, args, list, group);
    }
    let set_aside: Vec<_> = groups.iter().flat_map(Group::set_aside).collect();
    say_set_aside(app, list, &set_aside);
    let verb = if args.dry_run {
        "would retire"
    } else {
        "retired"
    };
    let count = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
    app.output
        .line(format!("{verb} {}", render::count(count, "snapshot")));
    let gone = chosen.iter();
    let gone = gone.filter(|entry| list.recalled.is_gone(&entry.key()));
    let gone = u64::try_from(gone.count()).unwrap_or(u64::MAX);
    if gone < count {
        say_deadlines(app, list);
    }
    if gone > 0 && !args.dry_run {
        app.output.warn(format!(
            "{gone} of them {} gone from the store: that cannot be undone",
            if gone == 1 { "is" } else { "are" }
        ));
    }
}

/// The same for programs.
pub(super) fn add_deadlines(app: &App, list: &SnapshotList, document: &mut Value) {
    if let (Some((undo, space)), Some(fields)) = (deadlines(app, list), document.as_object_mut()) {
        fields.insert("undo_until".to_owned(), render::rfc3339(undo).into());
        fields.insert("space_returns".to_owned(), render::rfc3339(space).into());
    }
}

/// Says how long what was just retired can be brought back, and when its space returns.
pub(super) fn say_deadlines(app: &App, list: &SnapshotList) {
    if let Some((undo, space)) = deadlines(app, list) {
        app.output.line(format!(
            "until {} `dolmen forget --undo` brings them back; `dolmen prune` gives their space back from {} on",
            render::local_time(undo),
            render::local_time(space)
        ));
    }
}

/// Says which snapshots no rule counted, and why.
pub(super) fn say_set_aside(app: &App, list: &SnapshotList, ids: &[SnapshotId]) {
    if ids.is_empty() || app.output.is_json() || app.output.is_quiet() {
        return;
    }
    let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    app.output.line(format!(
        "set aside {}: suspicious, so that no rule counts or retires them",
        render::count(count, "snapshot")
    ));
    for id in ids {
        let why = render::suspicions(list, *id).join(", ");
        let short: String = id.to_string().chars().take(8).collect();
        app.output.line(format!("  {short}  {why}"));
    }
    app.output.line(
        "  retire one by its id: dolmen forget ID; or count them like all others: dolmen forget --keep-… --count-anyway",
    );
}

/// The same for programs.
pub(super) fn set_aside_json(list: &SnapshotList, ids: impl Iterator<Item = SnapshotId>) -> Value {
    ids.map(|id| json!({ "id": id.to_string(), "why": render::suspicions(list, id) }))
        .collect()
}

/// A group in restic's form.
fn document(list: &SnapshotList, group: &Group) -> Value {
    let find = |id: SnapshotId| list.snapshots.iter().find(|entry| entry.id == id);
    let texts = |names: &Option<Vec<Vec<u8>>>| {
        let names = names.as_ref()?;
        Some(
            names
                .iter()
                .map(|name| render::lossy(name))
                .collect::<Vec<_>>(),
        )
    };
    let (mut keep, mut remove, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for decision in &group.decisions {
        let Some(snapshot) = find(decision.id).map(render::snapshot_json) else {
            continue;
        };
        match &decision.fate {
            Fate::Remove => remove.push(snapshot),
            Fate::Keep {
                reasons: why,
                counters,
            } => {
                let matches: Vec<_> = why.iter().map(ToString::to_string).collect();
                reasons.push(json!({
                    "snapshot": snapshot,
                    "matches": matches,
                    "counters": rules::counters(counters),
                }));
                keep.push(snapshot);
            }
        }
    }
    json!({
        "tags": texts(&group.key.tags),
        "host": group.key.host.as_ref().map(|host| render::lossy(host)),
        "paths": texts(&group.key.paths),
        "keep": keep,
        "remove": remove,
        "reasons": reasons,
        "set_aside": set_aside_json(list, group.set_aside()),
    })
}

fn print_group(app: &App, args: &ForgetArgs, list: &SnapshotList, group: &Group) {
    let names = |names: &[Vec<u8>]| {
        let shown: Vec<_> = names.iter().map(|name| paths::display(name)).collect();
        shown.join(", ")
    };
    let key = &group.key;
    let parts = [
        key.host
            .as_ref()
            .map(|host| format!("host {}", paths::display(host))),
        key.paths
            .as_ref()
            .map(|paths| format!("paths [{}]", names(paths))),
        key.tags
            .as_ref()
            .map(|tags| format!("tags [{}]", names(tags))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        app.output
            .line(format!("snapshots of {}:", parts.join(", ")));
    }
    for (wants_kept, title) in [(true, "keep"), (false, "remove")] {
        let mut rows = Vec::new();
        for decision in &group.decisions {
            let why = match &decision.fate {
                Fate::Keep { reasons, .. } if wants_kept => reasons
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                Fate::Remove if !wants_kept => String::new(),
                Fate::Keep { .. } | Fate::Remove => continue,
            };
            let Some(entry) = list.snapshots.iter().find(|entry| entry.id == decision.id) else {
                continue;
            };
            rows.push(row(args, entry, why));
        }
        if !rows.is_empty() {
            app.output.line(format!(
                "{title} {}:",
                render::count(count(&rows), "snapshot")
            ));
            for line in render::table(&rows) {
                app.output.line(line);
            }
        }
    }
}

fn row(args: &ForgetArgs, entry: &SnapshotEntry, why: String) -> Vec<String> {
    let mut row = vec![
        entry.short_id(),
        render::local_time(entry.received),
        paths::display(entry.host().as_bytes()),
        render::shown_tags(entry),
        why,
    ];
    if !args.compact {
        row.push(render::shown_paths(entry));
    }
    row
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}
