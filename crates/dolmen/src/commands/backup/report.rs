//! What a backup did.

use dolmen_core::backup::Report;
use serde_json::{Value, json};

use crate::commands::App;
use crate::output::Output;
use crate::render;

/// Prints it.
pub(super) fn print(app: &App, dry_run: bool, report: &Report) {
    if app.output.is_json() {
        app.output.json(&to_json(dry_run, report));
    } else if !app.output.is_quiet() {
        print_text(&app.output, dry_run, report);
    }
}

fn to_json(dry_run: bool, report: &Report) -> Value {
    let summary = &report.summary;
    let mut value = json!({
        "message_type": "summary",
        "dry_run": dry_run,
        "files_new": summary.files_new,
        "files_changed": summary.files_changed,
        "files_unmodified": summary.files_unmodified,
        "dirs_new": summary.dirs_new,
        "dirs_changed": summary.dirs_changed,
        "dirs_unmodified": summary.dirs_unmodified,
        "data_blobs": summary.data_blobs,
        "tree_blobs": summary.tree_blobs,
        "data_added": summary.data_added,
        "data_added_packed": summary.data_added_packed,
        "data_added_again": report.again_bytes,
        "total_files_processed": summary.total_files_processed,
        "total_bytes_processed": summary.total_bytes_processed,
        "total_duration": render::seconds_between(report.start, report.end),
        "backup_start": render::rfc3339(report.start),
        "backup_end": render::rfc3339(report.end),
        "error_count": report.errors,
        "protected_until": report.protected_until.map(render::rfc3339),
    });
    if let (Some(id), Some(object)) = (report.snapshot, value.as_object_mut()) {
        object.insert("snapshot_id".to_owned(), Value::String(id.to_string()));
    }
    value
}

fn print_text(output: &Output, dry_run: bool, report: &Report) {
    let summary = &report.summary;
    match report.snapshot {
        Some(id) => {
            let short: String = id.to_string().chars().take(8).collect();
            output.line(format!("snapshot {short} saved"));
        }
        None if dry_run => output.line("dry run: nothing was saved"),
        None => output.line("nothing changed: no snapshot was saved"),
    }
    output.line(format!(
        "files:     {} new, {} changed, {} unmodified",
        summary.files_new, summary.files_changed, summary.files_unmodified
    ));
    let verb = if dry_run { "would add" } else { "added" };
    let stored = match summary.data_added_packed {
        _ if dry_run => String::new(),
        packed => format!(", {} as stored", render::bytes(packed)),
    };
    let added = render::bytes(summary.data_added);
    output.line(format!("{verb}: {added} new to the repository{stored}"));
    output.line(format!(
        "processed: {}, {} in {:.1} s",
        render::count(summary.total_files_processed, "file"),
        render::bytes(summary.total_bytes_processed),
        render::seconds_between(report.start, report.end)
    ));
    if report.errors > 0 {
        output.line(format!(
            "could not be read: {}",
            render::count(report.errors, "item")
        ));
    }
    match (report.snapshot, report.protected_until) {
        (Some(_), Some(until)) => {
            output.line(format!("protected: until {}", render::local_time(until)));
        }
        (Some(_), None) => {
            output.line("protected: no (lock: none; whoever can write there can delete it)");
        }
        (None, _) => {}
    }
}
