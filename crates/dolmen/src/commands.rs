//! The commands, one file each, and what they share.

pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod forget;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod policy;
pub(crate) mod prune;
pub(crate) mod repair;
pub(crate) mod restore;
mod select;
pub(crate) mod snapshots;
pub(crate) mod stats;
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
    let ended = start(&arguments, &output).and_then(|app| dispatch(&app, arguments.command));
    output.flush();
    ended.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    })
}

fn start(arguments: &Arguments, output: &Arc<Output>) -> Outcome<App> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
    let handle = runtime.handle().clone();
    // It runs until the process ends: nothing then waits for a call to a store that hangs.
    std::mem::forget(runtime);
    Ok(App {
        output: Arc::clone(output),
        config: Config::new(&arguments.global, &variable),
        environment: Environment {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        },
        interrupt: Interrupt::watch(&handle),
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
        Command::Policy(args) => policy::run(app, &args),
        Command::Check(args) => check::run(app, &args),
        Command::Stats(args) => stats::run(app, &args),
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
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        Output::new(Format::Text, 0).raw(error.render().to_string().as_bytes());
        return Exit::Done;
    }
    if wants_json {
        let text = error.render().to_string();
        let message = text.trim_start_matches("error: ").trim_end();
        Output::new(Format::Json, 0).failure(&Failure::usage(message));
    } else if error.print().is_err() {
        write_stderr(&error.render().to_string());
    }
    Exit::Usage
}
