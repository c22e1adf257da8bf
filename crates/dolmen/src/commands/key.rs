//! `dolmen key …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::App;
use crate::config::{Ask, Secret};
use crate::exit::{During as _, Exit, Outcome};
use crate::open::open;

/// What to do with keys.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Change the passphrase
    Passwd(PasswdArgs),
}

/// Where the new passphrase comes from.
#[derive(Debug, Args)]
struct PasswdArgs {
    /// Read the new passphrase from a file [env: DOLMEN_NEW_PASSWORD_FILE, DOLMEN_NEW_PASSWORD]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

/// Manages keys.
pub(super) fn run(app: &App, args: &KeyArgs) -> Outcome {
    match &args.command {
        KeyCommand::Passwd(args) => passwd(app, args),
    }
}

fn passwd(app: &App, args: &PasswdArgs) -> Outcome {
    let mut opened = open(app)?;
    let new = Secret::find_new(args.new_password_file.as_ref());
    let passphrase = new
        .read(
            &format!("new passphrase for {}", opened.address),
            Ask::Twice,
        )
        .map_err(|failure| {
            failure.hint("the new one: --new-password-file FILE, DOLMEN_NEW_PASSWORD")
        })?;
    opened
        .repository
        .change_passphrase(&passphrase)
        .during(&format!(
            "cannot change the passphrase of {}",
            opened.address
        ))?;
    if let Err(error) = opened.keep_copies() {
        app.output.warn(format!(
            "cannot keep copies of the repository's keys: {error}"
        ));
    }
    let output = &app.output;
    if output.is_json() {
        output.json(&json!({
            "message_type": "passphrase_changed",
            "id": opened.repository.id().to_string(),
        }));
    } else if !output.is_quiet() {
        output.line(format!("changed the passphrase of {}", opened.address));
    }
    output.notice(
        "copies of the repository that were made before still open with the old passphrase, and whoever \
         knows it and has such a copy can still read what is in both",
    );
    Ok(Exit::Done)
}
