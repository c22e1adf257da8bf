//! What is said while a backup runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dolmen_core::backup::{Change, Observer, Progress, SourceError};
use dolmen_core::finding::chain;
use serde_json::{Value, json};

use crate::commands::App;
use crate::output::Output;
use crate::progress::{Status, Watched, seconds_left, share};
use crate::{paths, render};

/// Says what happens to each file.
#[derive(Debug)]
pub(super) struct Observed {
    output: Arc<Output>,
}

impl Observed {
    pub(super) fn new(app: &App) -> Self {
        Self {
            output: Arc::clone(&app.output),
        }
    }
}

impl Observer for Observed {
    fn failed(&self, path: &[u8], error: &SourceError) {
        self.output
            .item_error(&paths::display(path), "archival", &chain(error));
    }

    fn skipped(&self, path: &[u8], reason: &str) {
        self.output
            .notice(format!("not saved: {}: {reason}", paths::display(path)));
    }

    fn saved(&self, path: &[u8], change: Change, bytes: u64) {
        // What did not change is seldom of interest to people; restic's JSON names it with the first -v.
        let is_quiet = change == Change::Unmodified && !self.output.is_json();
        let level = if is_quiet { 2 } else { 1 };
        if !self.output.is_verbose(level) {
            return;
        }
        let action = match change {
            Change::New => "new",
            Change::Changed => "modified",
            Change::Unmodified => "unchanged",
        };
        if self.output.is_json() {
            self.output.message(&json!({
                "message_type": "verbose_status",
                "action": action,
                "item": render::lossy(path),
                "data_size": bytes,
            }));
        } else {
            self.output
                .line(format!("{action:<9} {}", paths::display(path)));
        }
    }

    fn notice(&self, text: &str) {
        self.output.notice(text);
    }
}

/// Tells how far a backup is.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Arc<Progress>);

impl Watched for Watch {
    fn status(&self) -> Status {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let known = self.0.walk_done.load(Ordering::Relaxed);
        Status {
            items: get(&self.0.files),
            total_items: known.then(|| get(&self.0.files_found)),
            bytes: get(&self.0.bytes),
            total_bytes: known.then(|| get(&self.0.bytes_found)),
        }
    }

    fn noun(&self) -> &'static str {
        "file"
    }

    fn message(&self, elapsed: Duration, status: Status) -> Value {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let reading: Vec<_> = self.0.reading.lock().map_or_else(
            |_poisoned| Vec::new(),
            |reading| {
                reading
                    .iter()
                    .map(|key| render::lossy(&key.to_path()))
                    .collect()
            },
        );
        let mut value = json!({
            "message_type": "status",
            "seconds_elapsed": elapsed.as_secs(),
            "seconds_remaining": seconds_left(elapsed, status).unwrap_or(0),
            "percent_done": share(status).unwrap_or(0.0),
            "total_files": get(&self.0.files_found),
            "files_done": status.items,
            "total_bytes": get(&self.0.bytes_found),
            "bytes_done": status.bytes,
            "error_count": get(&self.0.errors),
        });
        // As in restic, the field is there when a file is.
        if let (false, Some(object)) = (reading.is_empty(), value.as_object_mut()) {
            object.insert("current_files".to_owned(), reading.into());
        }
        value
    }
}
