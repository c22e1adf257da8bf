//! `dolmen key …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::App;
use crate::config::{Ask, Secret};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::open;

/// What to do with keys.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Change the passphrase of this repository; what opened with the old one can still be opened with it
    ///
    /// Nothing in a repository is ever overwritten, so that the old key bundle stays in it beside the new one. Dolmen
    /// no longer accepts the old passphrase where it sees the new bundle, but whoever can read the store and knows the
    /// old passphrase can still open the old bundle, and with it everything, later backups too. If the old passphrase
    /// leaked, make a new repository with another one and back up there.
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

const NEW_PASSPHRASE: [&str; 1] = [
    "give the new one with --new-password-file FILE, DOLMEN_NEW_PASSWORD_FILE or DOLMEN_NEW_PASSWORD",
];

fn passwd(app: &App, args: &PasswdArgs) -> Outcome {
    let mut opened = open(app)?;
    let new = Secret::find_new(args.new_password_file.as_ref());
    let passphrase = new
        .read(
            &format!("new passphrase for {}", opened.address),
            Ask::Twice,
        )
        // The flags for the present passphrase would not help.
        .map_err(|failure| Failure {
            hints: Vec::from(NEW_PASSPHRASE.map(str::to_owned)),
            ..failure
        })?;
    drop(opened.settled(app)?);
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
        "the old key bundle stays in the repository, which never overwrites anything: whoever can read the store and \
         knows the old passphrase can still open it and read every backup in it, later ones too. If the old \
         passphrase leaked, make a new repository with another one and back up there",
    );
    Ok(Exit::Done)
}
