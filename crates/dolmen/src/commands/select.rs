//! Choosing snapshots: `SNAP[:PATH]` and the filters.

use clap::Args;
use dolmen_core::snapshots::{Filter, SnapshotEntry, SnapshotList};
use dolmen_format::Timestamp;
use jiff::tz::TimeZone;

use super::App;
use crate::exit::{Exit, Failure, Outcome};
use crate::units::parse_time;
use crate::{paths, render};

/// Which snapshots count.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only snapshots of this host (several: of any of them)
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Vec<String>,
    #[command(flatten)]
    rest: RestArgs,
    #[command(flatten)]
    at: AtArgs,
}

/// Which snapshots count, where `-H` is another flag.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterFlags {
    /// Only snapshots of this host (several: of any of them)
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    #[command(flatten)]
    rest: RestArgs,
}

#[derive(Debug, Clone, Default, Args)]
struct RestArgs {
    /// Only snapshots with all these tags (several: with any of the lists)
    #[arg(long, value_name = "TAG[,TAG…]")]
    tag: Vec<String>,
    /// Only snapshots of this path (several: of all of them)
    #[arg(long, value_name = "PATH")]
    path: Vec<std::path::PathBuf>,
}

impl FilterArgs {
    /// As of when the repository is looked at.
    pub(crate) fn at(&self, app: &App) -> Outcome<Option<Timestamp>> {
        self.at.time(app)
    }

    /// The filter that they make.
    pub(crate) fn filter(&self) -> Outcome<Filter> {
        self.rest.filter(&self.host)
    }
}

impl FilterFlags {
    /// The filter that they make.
    pub(crate) fn filter(&self) -> Outcome<Filter> {
        self.rest.filter(&self.host)
    }
}

impl RestArgs {
    fn filter(&self, hosts: &[String]) -> Outcome<Filter> {
        let mut filter = Filter {
            hosts: hosts.to_vec(),
            tags: self.tag.clone(),
            paths: Vec::new(),
        };
        if !self.path.is_empty() {
            let current = current_folder()?;
            let absolute = |path| paths::absolute(paths::bytes_of(path), &current);
            filter.paths = self
                .path
                .iter()
                .map(|path| absolute(path.as_path()))
                .collect();
        }
        Ok(filter)
    }
}

/// As of when.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AtArgs {
    /// See the repository as it was then, by the times at which the store received what is in it
    #[arg(long, value_name = "TIME", global = true)]
    at: Option<String>,
}

impl AtArgs {
    /// The time.
    pub(crate) fn time(&self, app: &App) -> Outcome<Option<Timestamp>> {
        let now = app.environment.clock.now();
        let at = self.at.as_deref();
        at.map(|text| parse_time(text, now, &TimeZone::system()))
            .transpose()
            .map_err(Failure::usage)
    }
}

/// The current folder, for relative paths.
pub(crate) fn current_folder() -> Outcome<Vec<u8>> {
    paths::current_folder().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot tell the current folder: {error}"),
        )
    })
}

/// Splits `SNAP:PATH`; the path is absolute and clean, `/` when none is given.
pub(crate) fn split_path(wanted: &[u8]) -> Outcome<(String, Vec<u8>)> {
    let (snapshot, path) = match wanted.iter().position(|byte| *byte == b':') {
        Some(at) => wanted.split_at_checked(at).unwrap_or((wanted, b"")),
        None => (wanted, b"".as_slice()),
    };
    let path = path.strip_prefix(b":").unwrap_or(path);
    let snapshot = std::str::from_utf8(snapshot).map_err(|_error| {
        Failure::usage(format!(
            "`{}` is no snapshot",
            String::from_utf8_lossy(snapshot)
        ))
    })?;
    Ok((snapshot.to_owned(), paths::absolute(path, b"/")))
}

/// Finds one snapshot. A suspicious one that was asked for by its place is taken with a warning.
pub(crate) fn find<'s>(
    app: &App,
    snapshots: &'s SnapshotList,
    wanted: &str,
    filter: &Filter,
) -> Outcome<&'s SnapshotEntry> {
    let now = app.environment.clock.now();
    let found = snapshots.find(wanted, filter, now)?;
    if let Some(doubt) = snapshots.doubt(wanted, filter, now) {
        let before = match doubt.before {
            Some(entry) => format!("the one before it is {}", entry.short_id()),
            None => "there is none before it that is not".to_owned(),
        };
        let why = render::suspicions(snapshots, doubt.taken.id).join(", ");
        app.output.warn(format!(
            "snapshot {} is suspicious ({why}); {before}",
            doubt.taken.short_id()
        ));
    }
    Ok(found)
}

/// Finds all that are named, or all that pass the filter when none is.
pub(crate) fn find_all<'s>(
    app: &App,
    snapshots: &'s SnapshotList,
    wanted: &[String],
    filter: &Filter,
) -> Outcome<Vec<&'s SnapshotEntry>> {
    if wanted.is_empty() {
        return Ok(snapshots
            .snapshots
            .iter()
            .filter(|entry| filter.matches(entry))
            .collect());
    }
    let mut found: Vec<&SnapshotEntry> = Vec::new();
    for wanted in wanted {
        let entry = find(app, snapshots, wanted, filter)?;
        if found.iter().all(|known| known.id != entry.id) {
            found.push(entry);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_may_name_a_path_in_it() {
        for (text, snapshot, path) in [
            ("latest", "latest", "/"),
            ("latest:/a//b/", "latest", "/a/b"),
            ("ab12:a/b", "ab12", "/a/b"),
            ("latest~2:/a:b", "latest~2", "/a:b"),
            ("ab12:", "ab12", "/"),
        ] {
            let split = split_path(text.as_bytes()).unwrap();
            assert_eq!(
                split,
                (snapshot.to_owned(), path.as_bytes().to_vec()),
                "{text}"
            );
        }
    }
}
