//! `dolmen repair …`

use std::sync::Arc;

use clap::{Args, Subcommand};
use dolmen_core::repair;
use serde_json::json;

use super::App;
use super::check::Reported;
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Duty, open};
use crate::render;

/// What to rebuild.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(subcommand)]
    command: RepairCommand,
}

#[derive(Debug, Subcommand)]
enum RepairCommand {
    /// Write the index anew from what the packs say of themselves
    Index,
}

/// Rebuilds.
pub(super) fn run(app: &App, args: &RepairArgs) -> Outcome {
    match args.command {
        RepairCommand::Index => index(app),
    }
}

fn index(app: &App) -> Outcome {
    let opened = open(app, Duty::Administer)?;
    let mut instance = opened.settled(app)?;
    opened.put_back(app)?;
    let cancel = app.interrupt.flag();
    let reported = Reported(Arc::clone(&app.output));
    let report = repair::rebuild_index(&opened.repository, &mut instance, &reported, &cancel)
        .during(&format!("cannot rebuild the index of {}", opened.address))?;
    let output = &app.output;
    if output.is_json() {
        let unreadable: Vec<_> = report.unreadable.iter().map(ToString::to_string).collect();
        output.json(&json!({
            "packs": report.packs,
            "blobs": report.blobs,
            "unreadable": unreadable,
        }));
    } else if !output.is_quiet() {
        output.line(if report.packs == 0 && report.unreadable.is_empty() {
            "nothing to rebuild: the index says of every pack what it says of itself".to_owned()
        } else {
            let packs = render::count(report.packs, "pack");
            let blobs = render::count(report.blobs, "blob");
            format!("rebuilt the index: {packs}, {blobs}")
        });
    }
    Ok(if report.unreadable.is_empty() {
        Exit::Done
    } else {
        Exit::Damage
    })
}
