//! What the program says: lines on stdout, everything about the run itself on stderr.
//!
//! A reader that went away (`dolmen ls | head`) is no error: from then on stdout swallows what it is given.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroize as _;

use crate::exit::Failure;

/// Where messages go and in which form.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    /// -1 with `-q`, else the number of `-v`.
    verbosity: i8,
    closed: AtomicBool,
    /// Why what was written to stdout did not arrive, other than that nobody reads it.
    lost: Mutex<Option<String>>,
    /// What must make room while a line is written to a terminal.
    bar: Mutex<Option<ProgressBar>>,
    /// Lines that wait to be written together.
    pending: Mutex<Vec<u8>>,
}

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// Something that is worth a sentence, as a line.
    pub(crate) fn notice(self, text: &str) -> String {
        match self {
            Self::Text => text.to_owned(),
            Self::Json => json!({ "message_type": "notice", "message": text }).to_string(),
        }
    }

    /// Why the program ends, as lines.
    pub(crate) fn failure(self, failure: &Failure) -> Vec<String> {
        match self {
            Self::Text => {
                let hints = failure.hints.iter().map(|hint| format!("hint: {hint}"));
                std::iter::once(format!("dolmen: {}", failure.message))
                    .chain(hints)
                    .collect()
            }
            Self::Json => vec![
                json!({
                    "message_type": "exit_error",
                    "code": failure.exit.code(),
                    "message": failure.message,
                    "hints": failure.hints,
                })
                .to_string(),
            ],
        }
    }
}

/// Lines are gathered up to this size; long listings would otherwise cost a system call each line.
const PENDING_BYTES_MAX: usize = 32 << 10;

impl Output {
    /// Speaks in this form.
    pub(crate) fn new(format: Format, verbosity: i8) -> Self {
        Self {
            format,
            verbosity,
            closed: AtomicBool::new(false),
            lost: Mutex::default(),
            bar: Mutex::default(),
            pending: Mutex::default(),
        }
    }

    /// How messages look.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Whether programs are reading.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether `-q` was given.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.verbosity < 0
    }

    /// Whether at least so many `-v` were given.
    pub(crate) const fn is_verbose(&self, level: i8) -> bool {
        self.verbosity >= level
    }

    /// Whether a moving progress line has a place to be shown.
    pub(crate) fn shows_progress(&self) -> bool {
        self.format == Format::Text && !self.is_quiet() && std::io::stderr().is_terminal()
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Shows a bar that lines of text must not tear.
    pub(crate) fn attach(&self, bar: Option<ProgressBar>) {
        *lock(&self.bar) = bar;
    }

    /// Writes a line to stdout.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        self.line_bytes(text.as_ref().as_bytes());
    }

    /// Writes a line of any bytes to stdout; paths are not always UTF-8.
    pub(crate) fn line_bytes(&self, text: &[u8]) {
        let mut pending = lock(&self.pending);
        pending.extend_from_slice(text);
        pending.push(b'\n');
        if pending.len() >= PENDING_BYTES_MAX || lock(&self.bar).is_some() {
            self.write_pending(&mut pending);
        }
    }

    /// Writes bytes as they are to stdout.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut pending = lock(&self.pending);
        pending.extend_from_slice(bytes);
        self.write_pending(&mut pending);
    }

    /// Writes one document to stdout.
    pub(crate) fn json(&self, value: &impl Serialize) {
        // Our own values have string keys and finite numbers, which is all that serde_json asks for.
        if let Ok(text) = serde_json::to_string(value) {
            self.line(text);
        }
    }

    /// Writes one message to stdout at once: a program may be waiting for it.
    pub(crate) fn message(&self, value: &impl Serialize) {
        self.json(value);
        self.flush();
    }

    /// Writes what waits.
    pub(crate) fn flush(&self) {
        self.write_pending(&mut lock(&self.pending));
    }

    /// Tells something that is worth a sentence, on stderr.
    pub(crate) fn notice(&self, text: impl AsRef<str>) {
        if !self.is_quiet() {
            self.err(&self.format.notice(text.as_ref()));
        }
    }

    /// Warns on stderr, whatever `-q` says.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        match self.format {
            Format::Text => self.err(&format!("warning: {}", text.as_ref())),
            Format::Json => self.err_json(&json!({
                "message_type": "warning", "message": text.as_ref(),
            })),
        }
    }

    /// Tells of something that went wrong with one item, on stderr.
    pub(crate) fn item_error(&self, item: &str, during: &str, message: &str) {
        match self.format {
            Format::Text => self.err(&format!("error: {item}: {message}")),
            Format::Json => self.err_json(&json!({
                "message_type": "error",
                "error": { "message": message },
                "during": during,
                "item": item,
            })),
        }
    }

    /// Writes a JSON message to stderr.
    pub(crate) fn err_json(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            self.err(&text);
        }
    }

    /// Tells why the program ends, on stderr.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.flush();
        for line in self.format.failure(failure) {
            self.err(&line);
        }
    }

    /// Why something that was written to stdout is lost; a reader that went away is no loss.
    pub(crate) fn lost(&self) -> Option<String> {
        lock(&self.lost).clone()
    }

    fn err(&self, line: &str) {
        self.flush();
        let bar = lock(&self.bar).clone();
        let write = || write_stderr(&format!("{line}\n"));
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn write_pending(&self, pending: &mut Vec<u8>) {
        if pending.is_empty() || self.is_closed() {
            pending.zeroize();
            return;
        }
        let write = || {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(pending).and_then(|()| stdout.flush())
        };
        let bar = lock(&self.bar).clone();
        let written = match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        // It may have been a recovery kit.
        pending.zeroize();
        if let Err(error) = written {
            self.closed.store(true, Ordering::Relaxed);
            if error.kind() != ErrorKind::BrokenPipe {
                lock(&self.lost).get_or_insert_with(|| error.to_string());
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes to stderr; there is nowhere to tell that this failed.
pub(crate) fn write_stderr(text: &str) {
    let _written = std::io::stderr().lock().write_all(text.as_bytes());
}

/// What a lock here guards is whole whatever its holder was doing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
