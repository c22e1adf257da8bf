//! The commands, one file each, and what they share.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod check;
mod compact;
pub(crate) mod completions;
pub(crate) mod cost;
pub(crate) mod drill;
pub(crate) mod forget;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod maintain;
pub(crate) mod man;
pub(crate) mod policy;
pub(crate) mod prune;
pub(crate) mod recover;
pub(crate) mod renew;
pub(crate) mod repair;
pub(crate) mod restore;
mod select;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod status;
mod version;

use std::ffi::OsString;
use std::sync::Arc;

use clap::Parser as _;
use clap::error::ErrorKind;
use dolmen_core::Environment;
use tokio::runtime::{Builder, Handle};

use crate::arguments::{Arguments, Command};
use crate::clock::SystemClock;
use crate::config::{Config, variable};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::{Format, Output, write_stderr};
use crate::random::SystemRandom;

/// What every command works with.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Where it speaks.
    pub(crate) output: Arc<Output>,
    /// Flags and environment.
    pub(crate) config: Config,
    /// Time and randomness.
    pub(crate) environment: Environment,
    /// Runs store calls.
    pub(crate) runtime: Handle,
    /// Ctrl-C.
    pub(crate) interrupt: Interrupt,
}

/// Threads that wait for the store; the work itself has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// Does what the command line says.
pub(crate) fn run(arguments: Vec<OsString>) -> Exit {
    let wants_json = arguments.iter().any(|argument| argument == "--json");
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, wants_json),
    };
    let global = &arguments.global;
    let format = if global.json {
        Format::Json
    } else {
        Format::Text
    };
    let verbosity = if global.quiet {
        -1
    } else {
        i8::try_from(global.verbose).unwrap_or(i8::MAX)
    };
    let output = Arc::new(Output::new(format, verbosity));
    if global.insecure_tls {
        output.warn(
            "--insecure-tls: whoever answers is believed to be the server, and can hide and withhold backups; --cacert FILE \
             believes that server alone",
        );
    }
    let reports = matches!(
        arguments.command,
        Command::Init(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Forget(_)
            | Command::Prune(_)
            | Command::Repair(_)
    );
    let reports = reports || matches!(&arguments.command, Command::Key(key) if key.reports());
    let stdout = if reports && !global.json {
        Stdout::Report
    } else {
        Stdout::Product
    };
    let ended = start(&arguments, &output).and_then(|app| dispatch(&app, arguments.command));
    output.flush();
    ended
        .and_then(|exit| arrived(&output, stdout, exit))
        .unwrap_or_else(|failure| {
            output.failure(&failure);
            failure.exit
        })
}

/// What a command's stdout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdout {
    /// What the command was run for.
    Product,
    /// It tells what was done elsewhere, and that stays done.
    Report,
}

/// Fails a command whose output did not arrive.
fn arrived(output: &Output, stdout: Stdout, exit: Exit) -> Outcome {
    let Some(reason) = output.lost() else {
        return Ok(exit);
    };
    let message = format!("cannot write to stdout, and what was to be printed is lost: {reason}");
    if stdout == Stdout::Product && exit == Exit::Done {
        return Err(Failure::new(Exit::Failed, message)
            .hint("make room where the output goes, then run the same command again"));
    }
    // The exit code says more than that.
    output.warn(message);
    Ok(exit)
}

fn start(arguments: &Arguments, output: &Arc<Output>) -> Outcome<App> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
    let handle = runtime.handle().clone();
    let mut global = arguments.global.clone();
    if let Command::Key(key) = &arguments.command {
        global.recovery_kit = key.kit_to_verify().cloned().or(global.recovery_kit);
    }
    // It runs until the process ends: nothing then waits for a call to a store that hangs.
    std::mem::forget(runtime);
    Ok(App {
        output: Arc::clone(output),
        config: Config::new(&global, &variable),
        environment: Environment {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        },
        interrupt: Interrupt::watch(&handle, output.format()),
        runtime: handle,
    })
}

fn dispatch(app: &App, command: Command) -> Outcome {
    match command {
        Command::Demo(args) => crate::demo::run(app, &args),
        Command::Init(args) => init::run(app, &args),
        Command::Backup(args) => backup::run(app, &args),
        Command::Snapshots(args) => snapshots::run(app, &args),
        Command::Ls(args) => ls::run(app, &args),
        Command::Restore(args) => restore::run(app, &args),
        Command::Forget(args) => forget::run(app, &args),
        Command::Prune(args) => prune::run(app, &args),
        Command::Renew(args) => renew::run(app, &args),
        Command::Maintain(args) => maintain::run(app, &args),
        Command::Policy(args) => policy::run(app, &args),
        Command::Check(args) => check::run(app, &args),
        Command::Audit(args) => audit::run(app, &args),
        Command::Drill(args) => drill::run(app, &args),
        Command::Recover(args) => recover::run(app, &args),
        Command::Status(args) => status::run(app, &args),
        Command::Stats(args) => stats::run(app, &args),
        Command::Access(args) => access::run(app, &args),
        Command::Cost(args) => cost::run(app, &args),
        Command::Cat(args) => cat::run(app, &args),
        Command::Key(args) => key::run(app, &args),
        Command::Repair(args) => repair::run(app, &args),
        Command::Version => Ok(version::run(app)),
        Command::Completions(args) => Ok(completions::run(app, &args)),
        Command::Man(args) => man::run(app, &args),
    }
}

/// Explains a command line that cannot be read, or prints the help that was asked for.
fn refuse(error: &clap::Error, wants_json: bool) -> Exit {
    let format = if wants_json {
        Format::Json
    } else {
        Format::Text
    };
    let output = Output::new(format, 0);
    match error.kind() {
        ErrorKind::DisplayVersion if wants_json => version::print(&output),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output.raw(error.render().to_string().as_bytes());
        }
        _ if wants_json => {
            let failure = usage_failure(&error.render().to_string());
            output.failure(&failure);
            return failure.exit;
        }
        _ => {
            if error.print().is_err() {
                write_stderr(&error.render().to_string());
            }
            return Exit::Usage;
        }
    }
    output.flush();
    arrived(&output, Stdout::Product, Exit::Done).unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    })
}

/// What clap says, without what is for a terminal only: its first paragraph is the error, a tip is a hint.
fn usage_failure(text: &str) -> Failure {
    let line = |paragraph: &str| {
        let words: Vec<_> = paragraph.split_whitespace().collect();
        words.join(" ")
    };
    let mut paragraphs = text.split("\n\n");
    let first = line(paragraphs.next().unwrap_or_default());
    let failure = Failure::usage(first.trim_start_matches("error: "));
    paragraphs
        .filter_map(|paragraph| paragraph.trim_start().strip_prefix("tip: "))
        .fold(failure, |failure, tip| failure.hint(line(tip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_is_one_line_with_hints() {
        let text = "error: unexpected argument '--tags' found\n\n  tip: a similar argument exists: '--tag'\n\n\
                    Usage: dolmen backup\n\nFor more information, try '--help'.\n";
        let failure = usage_failure(text);
        assert_eq!(failure.message, "unexpected argument '--tags' found");
        assert_eq!(failure.hints, ["a similar argument exists: '--tag'"]);
        let text = "error: the following required arguments were not provided:\n  --target <DIR>\n\nUsage: x\n";
        assert_eq!(
            usage_failure(text).message,
            "the following required arguments were not provided: --target <DIR>"
        );
    }
}
