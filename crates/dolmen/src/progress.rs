//! What is shown while something long runs: a line on a terminal, `status` messages with `--json`, else nothing.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::output::Output;
use crate::render;

/// How far the work is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Status {
    /// Items done, and what one is called.
    pub(crate) items: u64,
    /// All items, where that is known.
    pub(crate) total_items: Option<u64>,
    /// Bytes done.
    pub(crate) bytes: u64,
    /// All bytes, where that is known.
    pub(crate) total_bytes: Option<u64>,
}

/// Tells how far a piece of work is, and how a program is told.
pub(crate) trait Watched: Send + Sync + 'static {
    /// How far it is.
    fn status(&self) -> Status;
    /// What an item is called: `file`.
    fn noun(&self) -> &'static str;
    /// The message for programs.
    fn message(&self, elapsed: Duration, status: Status) -> Value;
}

/// Shows progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Shown {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How often a line on a terminal changes.
const REDRAW: Duration = Duration::from_millis(150);
/// How often a program is told.
const MESSAGE: Duration = Duration::from_secs(1);

impl Shown {
    /// Begins to show how far `work` is, in the way that suits `output`.
    pub(crate) fn new(output: &Arc<Output>, work: Arc<dyn Watched>) -> Self {
        let none = Self {
            stop: None,
            thread: None,
        };
        if output.is_quiet() || (!output.is_json() && !output.shows_progress()) {
            return none;
        }
        let (stop, stopped) = channel();
        let output = Arc::clone(output);
        let run = move || {
            if output.is_json() {
                send_messages(&output, work.as_ref(), &stopped);
            } else {
                draw(&output, work.as_ref(), &stopped);
            }
        };
        match std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(run)
        {
            Ok(thread) => Self {
                stop: Some(stop),
                thread: Some(thread),
            },
            Err(_) => none,
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

/// Waits; true when it is time to stop.
fn wait(stopped: &Receiver<()>, pause: Duration) -> bool {
    stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
}

fn send_messages(output: &Output, work: &dyn Watched, stopped: &Receiver<()>) {
    let start = Instant::now();
    while !wait(stopped, MESSAGE) {
        output.message(&work.message(start.elapsed(), work.status()));
    }
}

fn draw(output: &Output, work: &dyn Watched, stopped: &Receiver<()>) {
    let start = Instant::now();
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        bar.set_style(style);
    }
    output.attach(Some(bar.clone()));
    while !wait(stopped, REDRAW) {
        bar.set_message(line(start.elapsed(), work.noun(), work.status()));
    }
    output.attach(None);
    bar.finish_and_clear();
}

/// `0:07  12 of 40 files, 1.5 MiB of 9.0 MiB, 300.0 KiB/s, 0:26 left`
fn line(elapsed: Duration, noun: &str, status: Status) -> String {
    let seconds = elapsed.as_secs();
    let items = match status.total_items {
        Some(total) => format!("{} of {}", status.items, render::count(total, noun)),
        None => render::count(status.items, noun),
    };
    let bytes = match status.total_bytes {
        Some(total) => format!(
            "{} of {}",
            render::bytes(status.bytes),
            render::bytes(total)
        ),
        None => render::bytes(status.bytes),
    };
    let millis = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let rate = render::bytes(status.bytes.saturating_mul(1000) / millis);
    let left = seconds_left(elapsed, status).map_or_else(String::new, |left| {
        format!(", {} left", render::clock(left))
    });
    format!(
        "{}  {items}, {bytes}, {rate}/s{left}",
        render::clock(seconds)
    )
}

/// Seconds until the end at the rate so far; `None` while that is only a guess.
pub(crate) fn seconds_left(elapsed: Duration, status: Status) -> Option<u64> {
    let total = status.total_bytes?;
    let rest = total.checked_sub(status.bytes)?;
    if status.bytes == 0 || elapsed.as_secs() < 2 {
        return None;
    }
    let millis = u64::try_from(elapsed.as_millis()).ok()?;
    let left = u128::from(millis) * u128::from(rest) / u128::from(status.bytes) / 1000;
    u64::try_from(left).ok()
}

/// The share that is done, 0 to 1; `None` while the total is not known.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a share to look at"
)]
pub(crate) fn share(status: Status) -> Option<f64> {
    let total = status.total_bytes.filter(|total| *total > 0)?;
    Some((status.bytes as f64 / total as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_is_left() {
        let status = Status {
            items: 12,
            total_items: Some(40),
            bytes: 2 << 20,
            total_bytes: Some(8 << 20),
        };
        assert_eq!(
            line(Duration::from_secs(4), "file", status),
            "0:04  12 of 40 files, 2.0 MiB of 8.0 MiB, 512.0 KiB/s, 0:12 left"
        );
        assert_eq!(share(status), Some(0.25));
        let begun = Status {
            items: 1,
            bytes: 10,
            ..Status::default()
        };
        assert_eq!(
            line(Duration::ZERO, "file", begun),
            "0:00  1 file, 10 B, 9.8 KiB/s"
        );
    }
}
