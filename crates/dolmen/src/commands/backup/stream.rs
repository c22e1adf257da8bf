//! Backing up a stream: standard input, or what a command prints.

use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use dolmen_core::Error;
use dolmen_core::backup::Stdin;

use super::BackupArgs;
use super::sources::Sources;
use crate::exit::{Exit, Failure, Outcome};
use crate::paths;

/// The one file that the stream becomes.
pub(super) fn source(args: &BackupArgs) -> Outcome<Sources> {
    let flag = if args.stdin {
        "--stdin"
    } else {
        "--stdin-from-command"
    };
    if let Some(list) = args.lists.given() {
        return Err(Failure::usage(format!(
            "{flag} and {list} cannot be used together: a snapshot holds a stream or files"
        ))
        .hint("make two backups, one of each"));
    }
    if args.stdin && !args.paths.is_empty() {
        return Err(Failure::usage("--stdin takes no PATH")
            .hint("make two backups, one of standard input and one of the paths"));
    }
    if args.stdin_from_command && args.paths.is_empty() {
        return Err(Failure::usage("--stdin-from-command needs a command")
            .hint("dolmen backup --stdin-from-command -- COMMAND ARGS…"));
    }
    let path = paths::absolute(args.stdin_filename.as_bytes(), b"/");
    if path == b"/" {
        return Err(Failure::usage("--stdin-filename must name a file"));
    }
    Ok(Sources {
        paths: vec![path],
        found: Vec::new(),
        missing: 0,
    })
}

/// Opens the stream; starts the command if it comes from one.
pub(super) fn begin(args: &BackupArgs) -> Outcome<Stdin<'static>> {
    let path = paths::absolute(args.stdin_filename.as_bytes(), b"/");
    if !args.stdin_from_command {
        return Ok(Stdin {
            path,
            reader: Box::new(std::io::stdin()),
            finish: Box::new(|| Ok(())),
        });
    }
    let (program, arguments) = args
        .paths
        .split_first()
        .ok_or_else(|| Failure::usage("--stdin-from-command needs a command"))?;
    let shown = program.display().to_string();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot run {shown}: {error}")))?;
    let reader = child
        .stdout
        .take()
        .ok_or_else(|| Failure::new(Exit::Failed, format!("cannot read what {shown} prints")))?;
    let finish = move || match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Command {
            reason: format!("{shown} ended with {status}"),
        }),
        Err(error) => Err(Error::Command {
            reason: format!("cannot wait for {shown}: {error}"),
        }),
    };
    Ok(Stdin {
        path,
        reader: Box::new(reader),
        finish: Box::new(finish),
    })
}
