//! Patterns from the command line and from files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use dolmen_fs::pattern::{Case, Pattern, PatternList, parse_exclude_file};

use crate::config::variable;
use crate::exit::{Failure, Outcome};

/// Which files a restore brings back.
#[derive(Debug, Args)]
pub(super) struct PatternArgs {
    /// Only what fits a pattern
    #[arg(short, long, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// As --include, upper and lower case alike
    #[arg(long, value_name = "PATTERN")]
    iinclude: Vec<OsString>,
    /// Read --include patterns from a file
    #[arg(long, value_name = "FILE")]
    include_file: Vec<PathBuf>,
    /// Read --iinclude patterns from a file
    #[arg(long, value_name = "FILE")]
    iinclude_file: Vec<PathBuf>,
    /// All but what fits a pattern
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// As --exclude, upper and lower case alike
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<OsString>,
    /// Read --exclude patterns from a file
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// Read --iexclude patterns from a file
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
}

impl PatternArgs {
    /// Includes and excludes; both at once are refused, as restic does.
    pub(super) fn lists(&self) -> Outcome<(PatternList, PatternList)> {
        let include = [
            read_patterns(
                "--include",
                &self.include,
                &self.include_file,
                Case::Sensitive,
            )?,
            read_patterns(
                "--iinclude",
                &self.iinclude,
                &self.iinclude_file,
                Case::Insensitive,
            )?,
        ];
        let exclude = [
            read_patterns(
                "--exclude",
                &self.exclude,
                &self.exclude_file,
                Case::Sensitive,
            )?,
            read_patterns(
                "--iexclude",
                &self.iexclude,
                &self.iexclude_file,
                Case::Insensitive,
            )?,
        ];
        let list = |patterns: [Vec<Given>; 2]| {
            let patterns = patterns.into_iter().flatten();
            PatternList::new(patterns.map(|given| given.pattern).collect())
        };
        let (include, exclude) = (list(include), list(exclude));
        if !include.is_empty() && !exclude.is_empty() {
            return Err(
                Failure::usage("--include and --exclude cannot be used together")
                    .hint("restore a part with SNAP:PATH and exclude from that"),
            );
        }
        Ok((include, exclude))
    }
}

/// A pattern, and its text for the record.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) text: Vec<u8>,
    pub(crate) pattern: Pattern,
}

/// Patterns as given by `flag`, then those in files, in which `$NAME` stands for a variable. A bad one is told with
/// where it stands.
pub(crate) fn read_patterns(
    flag: &str,
    given: &[OsString],
    files: &[PathBuf],
    case: Case,
) -> Outcome<Vec<Given>> {
    let parse = |text: Vec<u8>, place: &str| match Pattern::parse(&text, case) {
        Ok(pattern) => Ok(Given { text, pattern }),
        Err(error) => Err(Failure::usage(format!("{place}: {error}"))),
    };
    let mut patterns = Vec::new();
    for text in given {
        patterns.push(parse(text.as_bytes().to_vec(), flag)?);
    }
    for file in files {
        let place = format!("{flag}-file {}", file.display());
        for text in read_file(file)? {
            patterns.push(parse(text, &place)?);
        }
    }
    Ok(patterns)
}

fn read_file(file: &Path) -> Outcome<Vec<Vec<u8>>> {
    let text = std::fs::read(file).map_err(|error| {
        Failure::usage(format!(
            "cannot read the patterns in {}: {error}",
            file.display()
        ))
    })?;
    let environment = |name: &str| variable(name).and_then(|value| value.into_string().ok());
    Ok(parse_exclude_file(&text, &environment))
}
