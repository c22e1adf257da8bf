//! `dolmen version`

use serde_json::json;

use super::App;
use crate::exit::Exit;
use crate::output::Output;

/// What snapshots say of who wrote them.
pub(crate) const PROGRAM_VERSION: &str = concat!("dolmen ", env!("CARGO_PKG_VERSION"));

/// Prints the version.
pub(super) fn run(app: &App) -> Exit {
    print(&app.output);
    Exit::Done
}

/// Prints it, as a line or as a document.
pub(super) fn print(output: &Output) {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if output.is_json() {
        output.json(&json!({
            "message_type": "version",
            "version": env!("CARGO_PKG_VERSION"),
            "os": os,
            "arch": arch,
        }));
    } else {
        output.line(format!("{PROGRAM_VERSION} on {os}/{arch}"));
    }
}
