//! `dolmen man [DIR]`

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::App;
use crate::arguments::Arguments;
use crate::exit::{Exit, Failure, Outcome};

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder, instead of the main one to stdout
    dir: Option<PathBuf>,
}

/// Prints the manual page.
pub(super) fn run(app: &App, args: &ManArgs) -> Outcome {
    if let Some(dir) = &args.dir {
        let failed = |error: std::io::Error| {
            let folder = dir.display();
            Failure::new(
                Exit::Failed,
                format!("cannot write the manual pages into {folder}: {error}"),
            )
            .hint("name a folder, there or not, in which this user may write")
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        clap_mangen::generate_to(Arguments::command(), dir).map_err(failed)?;
        app.output
            .notice(format!("wrote the manual pages into {}", dir.display()));
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Arguments::command().disable_help_subcommand(true))
            .render(&mut page)
            .map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot make the manual page: {error}"),
                )
            })?;
        app.output.raw(&page);
    }
    Ok(Exit::Done)
}
