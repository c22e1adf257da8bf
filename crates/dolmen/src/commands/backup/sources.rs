//! Which paths are backed up: those on the command line and those in lists.

use std::fs::ReadDir;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use dolmen_format::limits::SNAPSHOT_ITEMS_MAX;
use dolmen_fs::pattern::{Case, Pattern, PatternList};
use dolmen_fs::{PathKey, Place, Root};

use super::BackupArgs;
use crate::commands::App;
use crate::commands::select::current_folder;
use crate::exit::{Exit, Failure, Outcome};
use crate::paths;

/// Lists of paths.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub(super) struct ListArgs {
    /// Read patterns of paths from a file, one on each line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    files_from: Vec<PathBuf>,
    /// Read paths from a file, one on each line, taken as they are
    #[arg(long, value_name = "FILE")]
    files_from_verbatim: Vec<PathBuf>,
    /// Read paths from a file, each ended by NUL
    #[arg(long, value_name = "FILE")]
    files_from_raw: Vec<PathBuf>,
}

impl ListArgs {
    /// The flag of a list, if one is given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let lists = [
            ("--files-from", &self.files_from),
            ("--files-from-verbatim", &self.files_from_verbatim),
            ("--files-from-raw", &self.files_from_raw),
        ];
        let given = lists.iter().find(|(_, files)| !files.is_empty());
        given.map(|(flag, _)| *flag)
    }
}

/// What is backed up.
#[derive(Debug)]
pub(super) struct Sources {
    /// Absolute, clean, sorted, each once.
    pub(super) paths: Vec<Vec<u8>>,
    /// Where they are, in the order given.
    pub(super) found: Vec<Found>,
    /// How many were named but are not there.
    pub(super) missing: usize,
}

/// A path that is backed up.
#[derive(Debug)]
pub(super) struct Found {
    /// Absolute and clean, by the text alone.
    path: Vec<u8>,
    /// As the system is asked for it: where the current folder was reached through a link, `..` is another folder to
    /// the system than by the text.
    opened: Vec<u8>,
    /// Where it lies, and what it is called in the tree.
    pub(super) root: Root,
}

/// Gathers the paths; those that are not there are warned of.
pub(super) fn gather(app: &App, args: &BackupArgs) -> Outcome<Sources> {
    let named = named(app, args)?;
    let current = current_folder()?;
    let mut sources = Sources {
        paths: Vec::new(),
        found: Vec::new(),
        missing: 0,
    };
    for path in &named {
        match Found::locate(path, &current) {
            Ok(found) => {
                sources.paths.push(found.path.clone());
                sources.found.push(found);
            }
            Err(reason) => {
                sources.missing = sources.missing.saturating_add(1);
                let path = paths::absolute(path, &current);
                app.output
                    .item_error(&paths::display(&path), "scan", &reason);
            }
        }
    }
    if sources.paths.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "cannot back up: all source paths are missing",
        ));
    }
    sources.paths.sort();
    sources.paths.dedup();
    check_record(&sources.paths)?;
    Ok(sources)
}

impl Found {
    /// Finds a path; tells why it cannot be backed up.
    fn locate(path: &[u8], current: &[u8]) -> Result<Self, String> {
        let absolute = paths::absolute(path, current);
        let (place, opened, key) = if path.starts_with(b"/") {
            (Place::top(), absolute.clone(), absolute.clone())
        } else {
            let (up, below) = paths::clean(path);
            let folder = match up {
                0 => b".".to_vec(),
                up => vec![b"..".as_slice(); up].join(&b'/'),
            };
            let known_as = paths::absolute(&folder, current);
            let place = Place::new(&folder, &known_as).map_err(|error| error.to_string())?;
            (place, [&folder, below.as_slice()].concat(), below)
        };
        std::fs::symlink_metadata(paths::as_path(&opened)).map_err(|error| error.to_string())?;
        let key = PathKey::from_path(&key).map_err(|error| error.to_string())?;
        Ok(Self {
            path: absolute,
            opened,
            root: Root {
                place: Arc::new(place),
                key,
            },
        })
    }
}

/// The paths as they are named. Those in lists come first, as restic has it: of two that would have the same name in the
/// tree the first one keeps it.
fn named(app: &App, args: &BackupArgs) -> Outcome<Vec<Vec<u8>>> {
    let mut named: Vec<Vec<u8>> = Vec::new();
    for file in &args.lists.files_from {
        for line in pattern_lines(&read_list(file)?) {
            let found = expand(line)?;
            if found.is_empty() {
                let pattern = paths::display(line);
                app.output.warn(format!("pattern {pattern} fits no file"));
            }
            named.extend(found);
        }
    }
    for file in &args.lists.files_from_verbatim {
        let list = read_list(file)?;
        let lines = list
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        named.extend(lines.map(<[u8]>::to_vec));
    }
    for file in &args.lists.files_from_raw {
        named.extend(raw_names(file, &read_list(file)?)?);
    }
    named.extend(args.paths.iter().map(|path| path.as_bytes().to_vec()));
    if named.is_empty() {
        return Err(Failure::usage("nothing to back up: no path is given")
            .hint("name files or folders: dolmen backup PATH…"));
    }
    if named.iter().any(Vec::is_empty) {
        return Err(Failure::usage("one of the given paths is empty"));
    }
    Ok(named)
}

/// Bytes of all paths together: a snapshot records them, and has 1 MiB for everything, half of which may be
/// the ids of segments.
const PATHS_BYTES_MAX: usize = 256 << 10;

/// Refuses more paths than a snapshot can record, before anything is read.
fn check_record(paths: &[Vec<u8>]) -> Outcome<()> {
    let bytes: usize = paths.iter().map(Vec::len).sum();
    if paths.len() <= SNAPSHOT_ITEMS_MAX && bytes <= PATHS_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "cannot back up {} paths of {bytes} bytes in one snapshot: at most {SNAPSHOT_ITEMS_MAX} paths and \
         {PATHS_BYTES_MAX} bytes can be recorded",
        paths.len()
    ))
    .hint("name the folders that hold them, with --exclude for the rest, or make several backups"))
}

fn read_list(file: &Path) -> Outcome<Vec<u8>> {
    let read = if file == Path::new("-") {
        let mut list = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut list)
            .map(|_bytes| list)
    } else {
        std::fs::read(file)
    };
    read.map_err(|error| {
        Failure::usage(format!(
            "cannot read the list of paths {}: {error}",
            file.display()
        ))
    })
}

/// The lines without white space around them, empty lines and comments.
fn pattern_lines(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let list = list.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(list);
    list.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

fn raw_names(file: &Path, list: &[u8]) -> Outcome<Vec<Vec<u8>>> {
    let wrong = |why| Failure::usage(format!("the list of paths {} {why}", file.display()));
    match list.strip_suffix(b"\0") {
        None if list.is_empty() => Ok(Vec::new()),
        None => Err(wrong(
            "does not end with NUL: it is cut, or no NUL-separated list",
        )),
        Some(list) => {
            let names: Vec<_> = list.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            if names.iter().any(Vec::is_empty) {
                return Err(wrong("holds an empty path"));
            }
            Ok(names)
        }
    }
}

/// Expands a pattern as Go's `filepath.Glob` does. A path without wildcards stands for itself, there or not.
fn expand(pattern: &[u8]) -> Outcome<Vec<Vec<u8>>> {
    if !has_wildcard(pattern) {
        return Ok(vec![pattern.to_vec()]);
    }
    let mut found: Vec<Vec<u8>> = vec![if pattern.starts_with(b"/") {
        b"/".to_vec()
    } else {
        Vec::new()
    }];
    for name in pattern
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        let mut next = Vec::new();
        if has_wildcard(name) {
            // One that a name in a folder fits; `**` has no special meaning here.
            let name = if name == b"**" { b"*" } else { name };
            let one = Pattern::parse(&[b"/", name].concat(), Case::Sensitive)
                .map_err(|error| Failure::usage(format!("--files-from: {error}")))?;
            let one = PatternList::new(vec![one]);
            for folder in &found {
                let here = if folder.is_empty() {
                    b"."
                } else {
                    folder.as_slice()
                };
                let names = std::fs::read_dir(paths::as_path(here)).map(sorted_names);
                for name in names.unwrap_or_default() {
                    if one.matches(&[b"/", name.as_slice()].concat()) {
                        next.push(join(folder, &name));
                    }
                }
            }
        } else {
            next.extend(found.iter().map(|folder| join(folder, name)));
        }
        found = next;
    }
    found.retain(|path| std::fs::symlink_metadata(paths::as_path(path)).is_ok());
    Ok(found)
}

fn has_wildcard(text: &[u8]) -> bool {
    text.iter().any(|byte| b"*?[\\".contains(byte))
}

fn sorted_names(folder: ReadDir) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = folder
        .flatten()
        .map(|entry| entry.file_name().as_bytes().to_vec())
        .collect();
    names.sort();
    names
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        [] => name.to_vec(),
        [.., b'/'] => [folder, name].concat(),
        _ => [folder, b"/", name].concat(),
    }
}

/// How a walk of `sources` meets a folder: by its own name, and by each source that leads to it another way.
pub(super) fn as_met(folder: &Path, sources: &[Found], current: &[u8]) -> Vec<Vec<u8>> {
    let Ok(real) = folder.canonicalize() else {
        return Vec::new();
    };
    let real = paths::bytes_of(&real);
    let named = paths::absolute(paths::bytes_of(folder), current);
    let mut met = Vec::new();
    for Found { path, opened, .. } in sources {
        for own in [real, named.as_slice()] {
            if paths::strip(own, path).is_some() {
                met.push(own.to_vec());
            }
        }
        let led = paths::as_path(opened).canonicalize();
        if let Ok(led) = led
            && let Some(rest) = paths::strip(real, paths::bytes_of(&led))
        {
            met.push(if rest.is_empty() {
                path.clone()
            } else {
                join(path, rest)
            });
        }
    }
    met.sort();
    met.dedup();
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_in_a_list_are_expanded() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            folder
                .path()
                .join(name)
                .into_os_string()
                .as_bytes()
                .to_vec()
        };
        std::fs::create_dir(folder.path().join("d")).unwrap();
        for name in ["a1", "a2", "b", "d/a3"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        assert_eq!(expand(&at("a*")).unwrap(), [at("a1"), at("a2")]);
        assert_eq!(expand(&at("*/a?")).unwrap(), [at("d/a3")]);
        assert_eq!(
            expand(&at("**")).unwrap(),
            [at("a1"), at("a2"), at("b"), at("d")]
        );
        assert_eq!(expand(&at("none")).unwrap(), [at("none")]);
        assert!(expand(&at("x*")).unwrap().is_empty());
        assert_eq!(expand(b"/x[").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn lines_and_names_are_read() {
        let lines: Vec<_> = pattern_lines(b"\xEF\xBB\xBF# x\n a b \r\n\n/c\n").collect();
        assert_eq!(lines, [b"a b".as_slice(), b"/c"]);
        let file = Path::new("list");
        assert_eq!(
            raw_names(file, b"a\nb\0c\0").unwrap(),
            [b"a\nb".to_vec(), b"c".to_vec()]
        );
        assert_eq!(raw_names(file, b"").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(
            raw_names(file, b"a").unwrap_err().message,
            "the list of paths list does not end with NUL: it is cut, or no NUL-separated list"
        );
        assert!(raw_names(file, b"a\0\0").is_err());
    }

    #[test]
    fn an_own_folder_is_met_through_links_too() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("data/sub/repo")).unwrap();
        std::os::unix::fs::symlink(root.join("data"), root.join("link")).unwrap();
        let at = |name: &str| root.join(name).into_os_string().as_bytes().to_vec();
        let found = |name: &str| [Found::locate(&at(name), b"/").unwrap()];
        let met = as_met(&root.join("data/sub/repo"), &found("link/sub"), b"/");
        assert_eq!(met, [at("link/sub/repo")]);
        let met = as_met(&root.join("data/sub/repo"), &found("data"), b"/");
        assert_eq!(met, [at("data/sub/repo")]);
        std::fs::create_dir(root.join("other")).unwrap();
        assert!(as_met(&root.join("data/sub/repo"), &found("other"), b"/").is_empty());
    }
}
