//! `dolmen backup PATH…`

mod excludes;
mod observe;
mod report;
mod sources;
mod stream;

use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use clap::{Args, ValueEnum};
use dolmen_core::backup::{self, CHECKPOINT_BYTES, CHECKPOINT_SECONDS, Context, Options, Progress};
use dolmen_core::pack::Effort;
use dolmen_fs::OwnerNames;
use jiff::tz::TimeZone;

use super::App;
use super::select::current_folder;
use super::version::PROGRAM_VERSION;
use crate::config::variable;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
use crate::progress::Shown;
use crate::units::parse_time;

use observe::{Observed, Watch};
use sources::Sources;

/// What to back up and how.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct BackupArgs {
    /// Files and folders; with --stdin-from-command, the command and its arguments
    ///
    /// A relative path is kept relative: `backup src` makes `/src` in the snapshot, `backup .` puts what the current
    /// folder holds at the top, `backup ../y` makes `/y`. An absolute path is kept whole. Where two paths of different
    /// folders begin with the same name, the later one is numbered: `src-1`.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    excludes: excludes::ExcludeArgs,
    #[command(flatten)]
    lists: sources::ListArgs,
    /// Stay in the file systems of the given paths
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Tags for the snapshot
    #[arg(long, value_name = "TAG[,TAG…]")]
    tag: Vec<String>,
    /// The host's name in the snapshot [env: DOLMEN_HOST]
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Option<String>,
    /// The snapshot's time, such as 2026-11-20 14:00
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Back up what comes in on standard input, as one file
    #[arg(long)]
    stdin: bool,
    /// That file's name
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    stdin_filename: OsString,
    /// Back up what a command prints, as one file; if it fails, so does the backup
    #[arg(long, conflicts_with = "stdin")]
    stdin_from_command: bool,
    /// Do not save anything, only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Read every file again, even if it looks unchanged
    #[arg(short, long)]
    force: bool,
    /// Write no snapshot if nothing changed
    #[arg(long)]
    skip_if_unchanged: bool,
    /// How hard to compress [env: DOLMEN_COMPRESSION] [default: auto]
    #[arg(long, value_enum)]
    compression: Option<CompressionName>,
    /// How many files to read at the same time [env: DOLMEN_READ_CONCURRENCY] [default: twice the processors, 4 to 16]
    #[arg(long, value_name = "N", value_parser = parse_threads, allow_negative_numbers = true)]
    read_concurrency: Option<usize>,
}

/// How hard to compress, in restic's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompressionName {
    Auto,
    Off,
    Fastest,
    Better,
    Max,
}

/// Files read at the same time, at most: each has buffers of its own.
const THREADS_MAX: usize = 64;

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a number of files, 1 or more".to_owned()),
        Ok(wanted) => Ok(wanted),
    }
}

/// Backs up.
pub(super) fn run(app: &App, args: &BackupArgs) -> Outcome {
    dolmen_fs::raise_open_files_limit();
    let is_stream = args.stdin || args.stdin_from_command;
    let mut options = make_options(app, args)?;
    let sources = if is_stream {
        stream::source(args)?
    } else {
        sources::gather(app, args)?
    };
    options.paths.clone_from(&sources.paths);
    let roots = sources.found.iter().map(|found| found.root.clone());
    options.roots = roots.collect();
    let opened = open(app, Duty::Backup)?;
    if !is_stream {
        options.selector.own_folders = own_folders(app, &opened, &sources)?;
    }
    options.cache.clone_from(&opened.cache);
    options.scratch = opened.scratch();
    if !args.dry_run {
        opened.put_back(app)?;
    }
    let snapshots = opened.load_snapshots(app)?;
    let index = opened.load_index(app)?;
    let instance = Mutex::new(opened.claim_instance()?);
    let progress = Arc::new(Progress::default());
    if !is_stream {
        // A stream may never end, and whoever feeds it may not listen: then the process ends as it stands.
        let told = Arc::clone(&progress);
        app.interrupt
            .tell(move || told.cancel.store(true, Ordering::Relaxed));
    }
    let observed = Observed::new(app);
    let shown = Shown::new(&app.output, Arc::new(Watch(Arc::clone(&progress))));
    let context = Context {
        repository: &opened.repository,
        index: &index,
        snapshots: &snapshots,
        instance: &instance,
    };
    let outcome = if is_stream {
        let stdin = stream::begin(args)?;
        backup::stdin(&context, &options, &observed, &progress, stdin)
    } else {
        backup::paths(&context, &options, &observed, &progress)
    };
    drop(shown);
    let tried = format!("cannot back up to {}", opened.address);
    let report = outcome
        .during(&tried)
        .map_err(|failure| match failure.exit {
            Exit::Interrupted => {
                failure.hint("what is stored stays; the same command carries on from there")
            }
            _ => failure,
        })?;
    opened.note_read_whole(&report.read_whole)?;
    report::print(app, args.dry_run, &report);
    let complete = report.errors == 0 && sources.missing == 0;
    Ok(if report.is_set_back {
        Exit::Unprotected
    } else if complete {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

/// All options but the paths.
fn make_options(app: &App, args: &BackupArgs) -> Outcome<Options> {
    let now = app.environment.clock.now();
    let time = args.time.as_deref();
    let time = time.map(|text| parse_time(text, now, &TimeZone::system()).map_err(Failure::usage));
    let time = time.transpose()?;
    if time.is_some_and(|time| time > now) {
        app.output.warn(
            "--time lies in the future: until then `latest` passes over this snapshot, name it by its id",
        );
    }
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let username = OwnerNames::default().user(uid);
    let (selector, excludes) = args.excludes.selector()?;
    let excludes = excludes::recorded(app, excludes);
    let tags = args.tag.iter().flat_map(|list| list.split(','));
    let tags = tags.map(str::trim).filter(|tag| !tag.is_empty());
    Ok(Options {
        paths: Vec::new(),
        roots: Vec::new(),
        selector,
        one_file_system: args.one_file_system,
        hostname: hostname(args)?,
        username: username.map_or_else(|| uid.to_string(), |name| name.to_string()),
        uid,
        gid,
        tags: tags.map(str::to_owned).collect(),
        excludes,
        time,
        program_version: PROGRAM_VERSION.to_owned(),
        effort: effort(args)?,
        threads: threads(args)?,
        force: args.force,
        skip_if_unchanged: args.skip_if_unchanged,
        dry_run: args.dry_run,
        trust_own_history: app.config.trust_own_history,
        cache: None,
        scratch: std::env::temp_dir(),
        checkpoint_bytes: CHECKPOINT_BYTES,
        checkpoint_seconds: CHECKPOINT_SECONDS,
    })
}

fn hostname(args: &BackupArgs) -> Outcome<String> {
    if let Some(host) = args.host.clone().filter(|host| !host.is_empty()) {
        return Ok(host);
    }
    if let Some(host) = variable("DOLMEN_HOST") {
        return host.into_string().map_err(|host| {
            Failure::usage(format!(
                "DOLMEN_HOST is `{}`, which is not UTF-8",
                host.display()
            ))
            .hint("give the host's name with --host, or unset the variable")
        });
    }
    let name = rustix::system::uname();
    Ok(name.nodename().to_string_lossy().into_owned())
}

fn effort(args: &BackupArgs) -> Outcome<Effort> {
    let name = match (args.compression, variable("DOLMEN_COMPRESSION")) {
        (Some(name), _) => name,
        (None, Some(text)) => {
            let text = text.to_string_lossy();
            CompressionName::from_str(&text, false).map_err(|_error| {
                Failure::usage(format!(
                    "DOLMEN_COMPRESSION is `{text}`; it can be auto, off, fastest, better or max"
                ))
            })?
        }
        (None, None) => CompressionName::Auto,
    };
    Ok(match name {
        CompressionName::Auto => Effort::Auto,
        CompressionName::Off => Effort::Off,
        CompressionName::Fastest => Effort::Fastest,
        CompressionName::Better => Effort::Better,
        CompressionName::Max => Effort::Max,
    })
}

fn threads(args: &BackupArgs) -> Outcome<usize> {
    let wanted = match (args.read_concurrency, variable("DOLMEN_READ_CONCURRENCY")) {
        (Some(wanted), _) => Some(wanted),
        (None, Some(text)) => {
            let text = text.to_string_lossy();
            let number = parse_threads(&text).map_err(|wanted| {
                Failure::usage(format!("DOLMEN_READ_CONCURRENCY is `{text}`: {wanted}"))
            });
            Some(number?)
        }
        (None, None) => None,
    };
    match wanted {
        Some(wanted) => Ok(wanted.min(THREADS_MAX)),
        // Twice the processors: a thread that waits for the disk leaves its processor to another.
        None => Ok(std::thread::available_parallelism()
            .map_or(4, |count| count.get().saturating_mul(2).clamp(4, 16))),
    }
}

/// Refuses a source that is the repository or lies in it: each backup would hold what the one before it wrote.
fn refuse_repository(opened: &Opened, sources: &Sources) -> Outcome<()> {
    let Some(folder) = &opened.folder else {
        return Ok(());
    };
    for source in &sources.paths {
        let real = crate::paths::as_path(source).canonicalize();
        if real.is_ok_and(|real| real.starts_with(folder)) {
            return Err(Failure::usage(format!(
                "cannot back up {}: it lies in the repository {}",
                crate::paths::display(source),
                opened.address
            ))
            .hint("copy a repository with a tool that copies files, while no backup runs"));
        }
    }
    Ok(())
}

/// The client's own folders as the walk will meet them; those that lie in a source are left out with a notice.
fn own_folders(app: &App, opened: &Opened, sources: &Sources) -> Outcome<Vec<Vec<u8>>> {
    let current = current_folder()?;
    refuse_repository(opened, sources)?;
    let mut met = Vec::new();
    for (what, folder) in opened.own_folders(app) {
        for path in sources::as_met(&folder, &sources.found, &current) {
            if sources.paths.contains(&path) {
                // Whoever names such a folder wants it.
                continue;
            }
            app.output.notice(format!(
                "leaving out {}: it is this backup's own {what}",
                crate::paths::display(&path)
            ));
            met.push(path);
        }
    }
    Ok(met)
}
