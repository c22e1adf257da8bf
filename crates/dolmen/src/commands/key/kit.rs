//! `dolmen key export` and `dolmen key verify-kit`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use dolmen_core::repository::certify::AskedKey;
use dolmen_format::certificate::Role;
use serde_json::json;
use zeroize::Zeroizing;

use super::{create_private, write};
use crate::commands::App;
use crate::config::GivenKey;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::kit::{self, Kit};
use crate::open::{Duty, open};

/// Where the recovery kit goes; nowhere named: as plain text to stdout, unless that is a terminal.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Write the page as HTML, with a QR code, to be opened in a browser and printed; the file must not be there yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the page as plain text; the file must not be there yet
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Show the plain text even on a terminal, whose scrollback then holds the secret
    #[arg(long)]
    show: bool,
}

/// The recovery kit to be verified.
#[derive(Debug, Args)]
pub(super) struct VerifyKitArgs {
    /// The page as text or HTML, the text of its QR code, or the words alone, typed again
    #[arg(value_name = "FILE")]
    pub(super) kit: PathBuf,
}

const WHAT: &str = "recovery kit";

pub(super) fn export(app: &App, args: &ExportArgs) -> Outcome {
    let goes_to_stdout = args.show || (args.out.is_none() && args.text.is_none());
    if goes_to_stdout {
        refuse_stdout(app, args)?;
    }
    let mut opened = open(app, Duty::Administer)?;
    let tried = format!("cannot make the recovery kit of {}", opened.address);
    let address = opened.lasting_address();
    if address.is_empty() {
        let problem = "the path of its folder is not UTF-8, and cannot be printed";
        return Err(Failure::new(Exit::Failed, format!("{tried}: {problem}"))
            .hint("give the folder another name"));
    }
    let asked = AskedKey {
        name: kit::NAME.to_owned(),
        role: Role::Admin,
        domain: None,
        rights: 0,
        address,
    };
    let (file, secrets) = opened.repository.add_key(asked).during(&tried)?;
    let kit = Kit::new(file, &secrets).during(&tried)?;
    let pages = [
        args.out.as_deref().map(|path| (path, kit::html(&kit))),
        args.text.as_deref().map(|path| (path, kit::text(&kit))),
    ];
    let pages: Vec<_> = pages.into_iter().flatten().collect();
    write_all(&pages)?;
    if goes_to_stdout {
        app.output.raw(kit::text(&kit).as_bytes());
    } else {
        tell_exported(app, &pages);
    }
    app.output.notice(
        "whoever holds the kit can do everything, and it cannot be revoked: print it, try the paper out with dolmen key \
         verify-kit, delete the file",
    );
    Ok(Exit::Done)
}

/// Refuses to show a secret where it stays by accident, or where something else is expected.
fn refuse_stdout(app: &App, args: &ExportArgs) -> Outcome<()> {
    const HINT: &str = "write the page into a file with --out FILE.html or --text FILE.txt";
    if app.output.is_json() {
        return Err(Failure::usage("a recovery kit on stdout is no JSON").hint(HINT));
    }
    if std::io::stdout().is_terminal() && !args.show {
        return Err(Failure::usage(
            "a recovery kit opens everything, and what a terminal shows stays in its scrollback",
        )
        .hint(HINT)
        .hint("pipe it to a printer, as in: dolmen key export | lp; or show it all the same with --show"));
    }
    Ok(())
}

/// Writes the pages into files that are not there yet: all of them, or none.
fn write_all(pages: &[(&Path, Zeroizing<String>)]) -> Outcome<()> {
    let mut made = Vec::new();
    let written = pages.iter().try_for_each(|(path, page)| {
        let mut file = create_private(path, WHAT)?;
        made.push(path);
        write(&mut file, page, path, WHAT)
    });
    if written.is_err() {
        for path in made {
            drop(std::fs::remove_file(path));
        }
    }
    written
}

fn tell_exported(app: &App, pages: &[(&Path, Zeroizing<String>)]) {
    let files = pages.iter().map(|(path, _)| path.display().to_string());
    let files: Vec<_> = files.collect();
    if app.output.is_json() {
        app.output
            .json(&json!({ "message_type": "kit_exported", "files": files }));
    } else if !app.output.is_quiet() {
        app.output
            .line(format!("wrote the recovery kit to {}", files.join(" and ")));
    }
}

/// Tells of the kit by which the repository opens: it was put into the configuration.
pub(super) fn verify(app: &App) -> Outcome {
    let opened = open(app, Duty::Administer)?;
    let Some(GivenKey::Kit(given)) = app.config.key()? else {
        return Err(Failure::usage("no recovery kit given"));
    };
    let (id, path) = (opened.repository.id(), given.path().display());
    let printed = given.kit.address.as_deref();
    let is_there = printed
        .is_none_or(|printed| printed == opened.lasting_address() || printed == opened.address);
    if app.output.is_json() {
        app.output.json(&json!({
            "message_type": "kit_verified",
            "id": id.to_string(),
            "address": opened.lasting_address(),
            "kit_address": printed,
            "kit_id": given.kit.repository.map(|id| id.to_string()),
        }));
    } else if !app.output.is_quiet() {
        app.output.line(format!(
            "the recovery kit {path} opens repository {id} at {}",
            opened.address
        ));
    }
    if !is_there {
        app.output.warn(format!(
            "the kit says that the repository lies at {}, and it was opened at {}: if it moved, print a new kit",
            printed.unwrap_or_default().escape_debug(),
            opened.address
        ));
    }
    if printed.is_none() || given.kit.repository.is_none() {
        app.output
            .notice("the file lacks the address or the id: see that both stand on the paper, too");
    }
    Ok(Exit::Done)
}
