//! `dolmen completions SHELL`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::App;
use crate::arguments::Arguments;
use crate::exit::Exit;

/// Which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the shell's completion script.
pub(super) fn run(app: &App, args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "dolmen", &mut script);
    app.output.raw(&script);
    Exit::Done
}
