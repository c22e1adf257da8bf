//! What a backup leaves out: restic's exclude flags.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::Args;
use dolmen_core::backup::{IfPresent, Selector};
use dolmen_format::limits::SNAPSHOT_ITEMS_MAX;
use dolmen_fs::pattern::{Case, PatternList};

use crate::commands::App;
use crate::commands::restore::patterns::read_patterns;
use crate::exit::{Failure, Outcome};
use crate::units::parse_size;

/// The flags.
#[derive(Debug, Args)]
pub(super) struct ExcludeArgs {
    /// Leave out what fits a pattern
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// As --exclude, upper and lower case alike
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<OsString>,
    /// Read patterns from a file, one on each line
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// As --exclude-file, upper and lower case alike
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
    /// Leave out what is in folders marked by a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Leave out what is in folders that hold a file of this name, which begins with HEADER
    #[arg(long, value_name = "NAME[:HEADER]")]
    exclude_if_present: Vec<OsString>,
    /// Leave out files above this size
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    exclude_larger_than: Option<u64>,
}

impl ExcludeArgs {
    /// What decides, and the patterns for the record.
    pub(super) fn selector(&self) -> Outcome<(Selector, Vec<Vec<u8>>)> {
        let (flag, files) = (&self.exclude, &self.exclude_file);
        let mut given = read_patterns("--exclude", flag, files, Case::Sensitive)?;
        let (flag, files) = (&self.iexclude, &self.iexclude_file);
        given.extend(read_patterns("--iexclude", flag, files, Case::Insensitive)?);
        let given = given.into_iter().map(|given| (given.pattern, given.text));
        let (patterns, texts): (Vec<_>, Vec<_>) = given.unzip();
        let mut selector = Selector::new(PatternList::new(patterns));
        selector.larger_than = self.exclude_larger_than;
        if self.exclude_caches {
            selector.if_present.push(IfPresent::cachedir_tag());
        }
        for mark in &self.exclude_if_present {
            selector.if_present.push(parse_mark(mark.as_bytes())?);
        }
        Ok((selector, texts))
    }
}

/// Bytes of all patterns that are recorded: a snapshot has 1 MiB for everything.
const RECORDED_BYTES_MAX: usize = 64 << 10;

/// The patterns that the snapshot records, for people: of very many the first ones.
pub(super) fn recorded(app: &App, mut patterns: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let given = patterns.len();
    let mut bytes = 0_usize;
    let fits = |pattern: &&Vec<u8>| {
        bytes = bytes.saturating_add(pattern.len());
        bytes <= RECORDED_BYTES_MAX
    };
    let count = patterns
        .iter()
        .take(SNAPSHOT_ITEMS_MAX)
        .take_while(fits)
        .count();
    patterns.truncate(count);
    if count < given {
        app.output.notice(format!(
            "all {given} exclude patterns count; the snapshot records the first {count} of them"
        ));
    }
    patterns
}

fn parse_mark(text: &[u8]) -> Outcome<IfPresent> {
    let (name, header) = match text.iter().position(|byte| *byte == b':') {
        Some(at) => (text.get(..at), text.get(at.saturating_add(1)..)),
        None => (Some(text), None),
    };
    let (name, header) = (name.unwrap_or_default(), header.unwrap_or_default());
    if name.is_empty() || name.contains(&b'/') {
        let text = String::from_utf8_lossy(text);
        return Err(Failure::usage(format!(
            "--exclude-if-present: `{text}` is no file name; write it as NAME or NAME:HEADER"
        )));
    }
    Ok(IfPresent {
        name: name.to_vec(),
        header: header.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_name_and_perhaps_a_header() {
        let mark = parse_mark(b".nobackup").unwrap();
        assert_eq!(
            (mark.name, mark.header),
            (b".nobackup".to_vec(), Vec::new())
        );
        let mark = parse_mark(b"TAG:a:b").unwrap();
        assert_eq!((mark.name, mark.header), (b"TAG".to_vec(), b"a:b".to_vec()));
        assert!(parse_mark(b":x").is_err());
        assert!(parse_mark(b"a/b").is_err());
    }
}
