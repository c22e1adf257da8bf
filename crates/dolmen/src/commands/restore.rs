//! `dolmen restore SNAP[:PATH] --target DIR`

pub(crate) mod patterns;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use dolmen_core::restore::{
    self, Action, FailureKind, Observer, Options, Overwrite, Progress, Report,
};
use dolmen_fs::PathKey;
use serde_json::{Value, json};

use super::App;
use super::select::{self, FilterArgs};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
use crate::output::Output;
use crate::progress::{Shown, Status, Watched, seconds_left, share};
use crate::{paths, render};

/// What to bring back, where to and how.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct RestoreArgs {
    /// The snapshot: full id, unique prefix, `latest`, `latest~N`; `SNAP:PATH` brings what is below PATH
    #[arg(value_name = "SNAP[:PATH]")]
    snapshot: OsString,
    /// The folder below which everything is recreated
    #[arg(short, long, value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    patterns: patterns::PatternArgs,
    /// What happens to files that are there already
    #[arg(long, value_enum, default_value = "always")]
    overwrite: OverwriteName,
    /// Remove from restored folders what the snapshot does not hold
    #[arg(long)]
    delete: bool,
    /// Make long runs of zeros holes
    #[arg(long)]
    sparse: bool,
    /// Read everything back and compare, files that are left as they were too; not those that --overwrite never or
    /// if-newer keeps
    #[arg(long)]
    verify: bool,
    /// Change nothing, only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OverwriteName {
    /// They get the snapshot's content
    Always,
    /// Those of the same size and time are left alone
    IfChanged,
    /// Only older ones get the snapshot's content
    IfNewer,
    /// They are left alone
    Never,
}

/// Brings files back.
pub(super) fn run(app: &App, args: &RestoreArgs) -> Outcome {
    dolmen_fs::raise_open_files_limit();
    let (wanted, below) = select::split_path(args.snapshot.as_bytes())?;
    let (filter, at) = (args.filter.filter()?, args.filter.at(app)?);
    let mut options = make_options(args, below)?;
    let opened = open(app, Duty::Read)?;
    // Written to is the very path that was looked at.
    options.target = resolve(&options.target)?;
    refuse_file(&options.target)?;
    options.protected = protected(app, &opened, &options.target)?;
    let snapshots = opened.load_snapshots_at(app, at)?;
    let entry = select::find(app, &snapshots, &wanted, &filter)?;
    let index = opened.load_index_for(app, &[entry])?;
    if !app.output.is_json() && !app.output.is_quiet() {
        app.output.line(format!(
            "restoring {} to {}",
            render::snapshot_line(entry),
            paths::display(paths::bytes_of(&options.target))
        ));
        app.output.flush();
    }
    let progress = Arc::new(Progress::default());
    let told = Arc::clone(&progress);
    app.interrupt
        .tell(move || told.cancel.store(true, Ordering::Relaxed));
    let observed = Observed {
        output: Arc::clone(&app.output),
        target: options.target.clone(),
        is_dry: args.dry_run,
    };
    let start = Instant::now();
    let shown = Shown::new(&app.output, Arc::new(Watch(Arc::clone(&progress))));
    let outcome = restore::run(
        &opened.repository,
        &index,
        entry,
        &options,
        &observed,
        &progress,
    );
    drop(shown);
    let report = outcome
        .during(&format!("cannot restore to {}", options.target.display()))
        .map_err(|failure| match failure.exit {
            Exit::Interrupted => {
                failure.hint("what is restored stays; the same command carries on from there")
            }
            _ => failure,
        })?;
    print(app, args, &report, start.elapsed());
    opened.warn_of_oddities(app);
    ended(&report, &options.target)
}

/// Damage is damage however little of it there is; where this machine refused everything, nothing was done.
fn ended(report: &Report, target: &Path) -> Outcome {
    match report {
        Report { errors: 0, .. } => Ok(Exit::Done),
        Report {
            damaged: 0,
            differing: 0,
            files_restored: 0,
            files_skipped: 0,
            ..
        } => Err(Failure::new(
            Exit::Failed,
            format!("nothing could be restored to {}", target.display()),
        )
        .hint("the errors above say why, each for its item; see that this user may write there")),
        _ => Ok(Exit::Damage),
    }
}

/// Refuses a target that is a file, or lies below one.
fn refuse_file(target: &Path) -> Outcome<()> {
    let there = target
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    match there {
        Some(path) if !path.is_dir() => Err(Failure::new(
            Exit::Failed,
            format!(
                "cannot restore to {}: {} is not a directory",
                target.display(),
                path.display()
            ),
        )
        .hint("name a directory, there or not, with --target")),
        Some(_) | None => Ok(()),
    }
}

fn make_options(args: &RestoreArgs, below: Vec<u8>) -> Outcome<Options> {
    let (include, exclude) = args.patterns.lists()?;
    let target = std::path::absolute(&args.target).map_err(|error| {
        Failure::usage(format!(
            "cannot use the target {}: {error}",
            args.target.display()
        ))
    })?;
    let chooses = !include.is_empty() || !exclude.is_empty();
    if args.delete && !chooses && target == Path::new("/") {
        return Err(Failure::usage(
            "--delete with --target / would remove all that is not in the snapshot",
        )
        .hint("say with --include or --exclude which part is meant"));
    }
    Ok(Options {
        target,
        subpath: (below != b"/").then_some(below),
        include,
        exclude,
        overwrite: match args.overwrite {
            OverwriteName::Always => Overwrite::Always,
            OverwriteName::IfChanged => Overwrite::IfChanged,
            OverwriteName::IfNewer => Overwrite::IfNewer,
            OverwriteName::Never => Overwrite::Never,
        },
        delete: args.delete,
        protected: Vec::new(),
        sparse: args.sparse,
        verify: args.verify,
        dry_run: args.dry_run,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
    })
}

/// What of this client's own lies below the target: the repository, its state, its cache. A target within one of them
/// is refused.
fn protected(app: &App, opened: &Opened, target: &Path) -> Outcome<Vec<PathKey>> {
    let mut protected = Vec::new();
    for (what, folder) in opened.own_folders(app) {
        let folder = resolve(&folder)?;
        if target.starts_with(&folder) || target.ancestors().any(|above| is_same(above, &folder)) {
            return Err(Failure::usage(format!(
                "cannot restore to {}: it lies in this {what}",
                target.display()
            ))
            .hint("name a folder of its own with --target"));
        }
        if let Ok(rest) = folder.strip_prefix(target)
            && let Ok(key) = PathKey::from_path(paths::bytes_of(&Path::new("/").join(rest)))
        {
            protected.push(key);
        }
    }
    Ok(protected)
}

/// The path without links, as far as it exists. What does not exist yet must lead downwards: `..` behind a folder that
/// is made only later would lead somewhere else than it seems to.
fn resolve(path: &Path) -> Outcome<PathBuf> {
    for ancestor in path.ancestors() {
        let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) else {
            continue;
        };
        if rest.as_os_str().is_empty() {
            return Ok(real);
        }
        let is_plain = |part| matches!(part, Component::Normal(_));
        if rest.components().all(is_plain) {
            return Ok(real.join(rest));
        }
        break;
    }
    Err(
        Failure::usage(format!("cannot tell where {} leads to", path.display()))
            .hint("name a folder without .. in its path, or make it first"),
    )
}

/// Whether two paths are one directory, a bind mount's too.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let found = path.metadata().ok()?;
        Some((found.dev(), found.ino()))
    };
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

fn print(app: &App, args: &RestoreArgs, report: &Report, elapsed: Duration) {
    let output = &app.output;
    if output.is_json() {
        output.json(&json!({
            "message_type": "summary",
            "dry_run": args.dry_run,
            "seconds_elapsed": elapsed.as_secs(),
            "total_files": report.total_files,
            "files_restored": report.files_restored,
            "files_skipped": report.files_skipped,
            "files_deleted": report.files_deleted,
            "total_bytes": report.total_bytes,
            "bytes_restored": report.bytes_restored,
            "bytes_skipped": report.bytes_skipped,
            "files_verified": report.verified_files,
            "damaged": report.damaged,
            "files_differing": report.differing,
            "errors": report.errors,
        }));
        return;
    }
    if report.damaged > 0 {
        output.warn(format!(
            "{} could not be given back: the repository is damaged there",
            render::count(report.damaged, "item")
        ));
        output.notice("hint: dolmen check tells what is damaged; an earlier snapshot may hold it");
    }
    if output.is_quiet() {
        return;
    }
    let verb = if args.dry_run {
        "would restore"
    } else {
        "restored"
    };
    output.line(format!(
        "{verb} {} of {}, {} in {:.1} s",
        report.files_restored,
        render::count(report.total_files, "item"),
        render::bytes(report.bytes_restored),
        elapsed.as_secs_f64()
    ));
    let (left, deleted) = if args.dry_run {
        ("would be left as it is", "would be deleted")
    } else {
        ("left as it was", "deleted")
    };
    for (count, noun, text) in [
        (report.files_skipped, "item", left),
        (report.files_deleted, "item", deleted),
        (report.verified_files, "file", "read back and found right"),
        (report.differing, "file", "read back and found different"),
        (report.errors, "error", "in all"),
    ] {
        if count > 0 {
            output.line(format!("{} {text}", render::count(count, noun)));
        }
    }
}

/// Says what happens to each file.
struct Observed {
    output: Arc<Output>,
    target: PathBuf,
    is_dry: bool,
}

impl Observer for Observed {
    fn failed(&self, path: &[u8], reason: &str, kind: FailureKind) {
        let (place, reason) = match kind {
            FailureKind::Damage => (
                path.to_vec(),
                format!("damaged in the repository: {reason}"),
            ),
            // Where it was refused, not what it is in the snapshot.
            FailureKind::Target | FailureKind::Attribute | FailureKind::Differs => {
                let below = path.strip_prefix(b"/").unwrap_or(path);
                let place = self.target.join(paths::as_path(below));
                (paths::bytes_of(&place).to_vec(), reason.to_owned())
            }
        };
        // Programs know an item by its path in the snapshot.
        let item = if self.output.is_json() { path } else { &place };
        self.output
            .item_error(&paths::display(item), "restore", &reason);
    }

    fn done(&self, path: &[u8], action: Action, bytes: u64) {
        // What did not change is seldom of interest.
        let level = if action == Action::Unchanged && !self.output.is_json() {
            2
        } else {
            1
        };
        if !self.output.is_verbose(level) {
            return;
        }
        let (action, would) = match action {
            Action::Restored => ("restored", "would restore"),
            Action::Updated => ("updated", "would update"),
            Action::Unchanged => ("unchanged", "unchanged"),
            Action::Deleted => ("deleted", "would delete"),
        };
        if self.output.is_json() {
            self.output.message(&json!({
                "message_type": "verbose_status",
                "action": action,
                "item": render::lossy(path),
                "size": bytes,
            }));
        } else {
            let path = paths::display(path);
            self.output.line(if self.is_dry {
                format!("{would:<13} {path}")
            } else {
                format!("{action:<9} {path}")
            });
        }
    }

    fn notice(&self, text: &str) {
        self.output.notice(text);
    }
}

/// Tells how far a restore is.
#[derive(Debug)]
struct Watch(Arc<Progress>);

impl Watched for Watch {
    fn status(&self) -> Status {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            items: get(&self.0.files),
            total_items: Some(get(&self.0.total_files)),
            bytes: get(&self.0.bytes),
            total_bytes: Some(get(&self.0.total_bytes)),
        }
    }

    fn noun(&self) -> &'static str {
        "item"
    }

    fn message(&self, elapsed: Duration, status: Status) -> Value {
        json!({
            "message_type": "status",
            "seconds_elapsed": elapsed.as_secs(),
            "seconds_remaining": seconds_left(elapsed, status).unwrap_or(0),
            "percent_done": share(status).unwrap_or(0.0),
            "total_files": status.total_items.unwrap_or(0),
            "files_restored": status.items,
            "total_bytes": status.total_bytes.unwrap_or(0),
            "bytes_restored": status.bytes,
        })
    }
}
