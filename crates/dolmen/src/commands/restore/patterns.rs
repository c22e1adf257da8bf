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
        let include = list(
            "--include",
            &read_patterns(&self.include, &self.include_file)?,
            &read_patterns(&self.iinclude, &self.iinclude_file)?,
        )?;
        let exclude = list(
            "--exclude",
            &read_patterns(&self.exclude, &self.exclude_file)?,
            &read_patterns(&self.iexclude, &self.iexclude_file)?,
        )?;
        if !include.is_empty() && !exclude.is_empty() {
            return Err(
                Failure::usage("--include and --exclude cannot be used together")
                    .hint("restore a part with SNAP:PATH and exclude from that"),
            );
        }
        Ok((include, exclude))
    }
}

fn list(flag: &str, sensitive: &[Vec<u8>], insensitive: &[Vec<u8>]) -> Outcome<PatternList> {
    let mut patterns = Vec::new();
    for (texts, case) in [
        (sensitive, Case::Sensitive),
        (insensitive, Case::Insensitive),
    ] {
        for text in texts {
            let pattern = Pattern::parse(text, case);
            patterns.push(pattern.map_err(|error| Failure::usage(format!("{flag}: {error}")))?);
        }
    }
    Ok(PatternList::new(patterns))
}

/// Patterns as given, then those in files, in which `$NAME` stands for a variable.
pub(crate) fn read_patterns(given: &[OsString], files: &[PathBuf]) -> Outcome<Vec<Vec<u8>>> {
    let mut patterns: Vec<Vec<u8>> = given.iter().map(|text| text.as_bytes().to_vec()).collect();
    for file in files {
        patterns.extend(read_file(file)?);
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
