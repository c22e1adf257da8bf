//! Commands that are asked for secrets.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::split::split_words;
use crate::exit::{Exit, Failure, Outcome};

/// What messages call a command, and what names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedCommand {
    pub(super) what: &'static str,
    pub(super) named_by: &'static str,
}

impl AskedCommand {
    /// Runs a command line without a shell; returns what it prints. The line is never shown: it may hold a secret.
    pub(super) fn run(self, line: &OsStr) -> Outcome<Zeroizing<Vec<u8>>> {
        let Self { what, named_by } = self;
        let remedy = format!(
            "try it by itself: {named_by} take a program and its arguments, and use no shell"
        );
        let wrong =
            |why: &str| Failure::usage(format!("cannot use {what}: {why}")).hint(remedy.as_str());
        let words = split_words(line.as_bytes()).map_err(wrong)?;
        let mut words = words.iter().map(|word| OsStr::from_bytes(word));
        let program = words.next().ok_or_else(|| wrong("it is empty"))?;
        let shown = program.display();
        let failed = |problem: String| Failure::new(Exit::Failed, problem).hint(remedy.as_str());
        // The user may have to answer it, so that it keeps the terminal.
        let output = Command::new(program)
            .args(words)
            .stdin(Stdio::inherit())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(format!("cannot run {what} {shown}: {error}")))?;
        let text = Zeroizing::new(output.stdout);
        if output.status.success() {
            Ok(text)
        } else {
            Err(failed(format!("{what} {shown} failed: {}", output.status)))
        }
    }
}
