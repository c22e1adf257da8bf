//! `dolmen version`

use serde_json::json;

use super::App;
use crate::exit::Exit;

/// What snapshots say of who wrote them.
pub(crate) const PROGRAM_VERSION: &str = concat!("dolmen ", env!("CARGO_PKG_VERSION"));

/// Prints the version.
pub(super) fn run(app: &App) -> Exit {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if app.output.is_json() {
        app.output.json(&json!({
            "message_type": "version",
            "version": env!("CARGO_PKG_VERSION"),
            "os": os,
            "arch": arch,
        }));
    } else {
        app.output.line(format!("{PROGRAM_VERSION} on {os}/{arch}"));
    }
    Exit::Done
}
