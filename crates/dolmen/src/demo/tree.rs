//! The demo's files: chosen, copied, changed, compared.

use std::fs::{FileTimes, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure, Outcome};
use crate::paths;

/// Bytes that are copied at most, so that the demo stays short.
const BYTES_MAX: u64 = 96 << 20;
/// Files that are copied at most.
const FILES_MAX: u64 = 5000;
/// Names that are left out: what programs make anew.
const LEFT_OUT: [&str; 4] = [".git", "target", "node_modules", ".cache"];

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Whether there was more.
    pub(super) is_cut: bool,
    /// What could not be read, and how many of them there are.
    pub(super) unreadable: u64,
    /// The first of them.
    pub(super) examples: Vec<PathBuf>,
}

/// How many of the unreadable are named.
const EXAMPLES_MAX: usize = 3;

impl Copied {
    fn leave_out(&mut self, path: &Path) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(path.to_path_buf());
        }
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Files, folders and links of the original.
    pub(super) total: u64,
    /// Came back the same.
    pub(super) same: u64,
    /// Did not, and was said not to.
    pub(super) named: u64,
    /// Did not, and was not said not to.
    pub(super) wrong: u64,
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot {what} {}: {error}", path.display()),
    )
}

/// The folder that was given, else the sources around the current folder, else that one. It can be read.
pub(super) fn choose(given: Option<&Path>) -> Outcome<PathBuf> {
    let chosen = choose_folder(given)?;
    match std::fs::read_dir(&chosen) {
        Ok(_) => Ok(chosen),
        Err(error) => Err(
            Failure::usage(format!("cannot read {}: {error}", chosen.display()))
                .hint("name a folder that this user can read: dolmen demo DIR"),
        ),
    }
}

fn choose_folder(given: Option<&Path>) -> Outcome<PathBuf> {
    let current =
        std::env::current_dir().map_err(|error| failed("tell", Path::new("."), &error))?;
    let Some(given) = given else {
        let around = current
            .ancestors()
            .find(|folder| folder.join(".git").exists() || folder.join("Cargo.lock").exists());
        return Ok(around.unwrap_or(&current).to_path_buf());
    };
    if given.is_dir() {
        Ok(current.join(given))
    } else {
        Err(
            Failure::usage(format!("{} is not a folder", given.display()))
                .hint("name a folder that this user can read: dolmen demo DIR"),
        )
    }
}

/// Copies a folder: files, folders and links, with modes and times; what cannot be read is left out and counted.
pub(super) fn copy(from: &Path, to: &Path) -> Outcome<Copied> {
    let mut copied = Copied::default();
    copy_folder(from, to, &mut copied)?;
    Ok(copied)
}

fn copy_folder(from: &Path, to: &Path, copied: &mut Copied) -> Outcome<()> {
    std::fs::create_dir_all(to).map_err(|error| failed("make", to, &error))?;
    let Ok(entries) = std::fs::read_dir(from) else {
        copied.leave_out(from);
        return Ok(());
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let (from, to) = (from.join(&name), to.join(&name));
        let Ok(metadata) = std::fs::symlink_metadata(&from) else {
            copied.leave_out(&from);
            continue;
        };
        // The demo's own folder may lie below the one that is copied.
        if to.starts_with(&from) {
            continue;
        }
        if metadata.is_dir() {
            copy_folder(&from, &to, copied)?;
        } else if metadata.is_symlink() {
            copy_link(&from, &to)?;
        } else if metadata.is_file() {
            copy_file(&from, &to, &metadata, copied)?;
        }
    }
    Ok(())
}

fn copy_link(from: &Path, to: &Path) -> Outcome<()> {
    let Ok(target) = std::fs::read_link(from) else {
        return Ok(());
    };
    std::os::unix::fs::symlink(target, to).map_err(|error| failed("make", to, &error))
}

fn copy_file(from: &Path, to: &Path, metadata: &Metadata, copied: &mut Copied) -> Outcome<()> {
    let bytes = copied.bytes.saturating_add(metadata.len());
    if copied.files >= FILES_MAX || bytes > BYTES_MAX {
        copied.is_cut = true;
        return Ok(());
    }
    match std::fs::copy(from, to) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            return Err(failed("copy to", to, &error));
        }
        Err(_) => {
            copied.leave_out(from);
            let _removed = std::fs::remove_file(to);
            return Ok(());
        }
    }
    if let (Ok(modified), Ok(file)) = (metadata.modified(), std::fs::File::open(to)) {
        let _kept = file.set_times(FileTimes::new().set_modified(modified));
    }
    copied.files = copied.files.saturating_add(1);
    copied.bytes = bytes;
    Ok(())
}

/// Lists all files below a folder.
pub(super) fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    let entries = std::fs::read_dir(folder).map_err(|error| failed("list", folder, &error))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Changes a few files as a day's work would, and says what it did.
pub(super) fn change(folder: &Path) -> Outcome<String> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.retain(|path| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()));
    let new = folder.join("written-by-the-demo.txt");
    std::fs::write(&new, "A day's work.\n").map_err(|error| failed("write", &new, &error))?;
    let mut edited = 0_u64;
    for path in files.iter().step_by((files.len() / 3).max(1)).take(3) {
        // A file that may not be written is left as it is.
        let Ok(mut content) = std::fs::read(path) else {
            continue;
        };
        content.extend_from_slice(b"\nedited by the demo\n");
        edited = edited.saturating_add(u64::from(std::fs::write(path, content).is_ok()));
    }
    Ok(format!(
        "A day's work: one file is new, {edited} are edited."
    ))
}

/// Compares what came back with the original, byte for byte; `failed` are paths that were said to be damaged.
pub(super) fn compare(original: &Path, back: &Path, failed: &[Vec<u8>]) -> Outcome<Compared> {
    let mut compared = Compared::default();
    compare_folder(original, back, b"", failed, &mut compared)?;
    Ok(compared)
}

fn compare_folder(
    original: &Path,
    back: &Path,
    below: &[u8],
    failures: &[Vec<u8>],
    compared: &mut Compared,
) -> Outcome<()> {
    let entries = std::fs::read_dir(original).map_err(|error| failed("list", original, &error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let path = [below, b"/", name.as_bytes()].concat();
        let (original, back) = (original.join(&name), back.join(&name));
        let is_dir = std::fs::symlink_metadata(&original).is_ok_and(|metadata| metadata.is_dir());
        compared.total = compared.total.saturating_add(1);
        let was_named = || {
            failures
                .iter()
                .any(|named| paths::strip(&path, named).is_some())
        };
        if is_same(&original, &back) {
            compared.same = compared.same.saturating_add(1);
        } else if was_named() || !back.exists() {
            compared.named = compared.named.saturating_add(1);
        } else {
            compared.wrong = compared.wrong.saturating_add(1);
        }
        if is_dir {
            compare_folder(&original, &back, &path, failures, compared)?;
        }
    }
    Ok(())
}

fn is_same(original: &Path, back: &Path) -> bool {
    let (Ok(was), Ok(is)) = (original.symlink_metadata(), back.symlink_metadata()) else {
        return false;
    };
    let times = |metadata: &Metadata| (metadata.mtime(), metadata.mtime_nsec());
    if was.mode() != is.mode() || times(&was) != times(&is) {
        return false;
    }
    if was.is_symlink() {
        return std::fs::read_link(original).ok() == std::fs::read_link(back).ok();
    }
    if !was.is_file() {
        return true;
    }
    match (std::fs::read(original), std::fs::read(back)) {
        (Ok(was), Ok(is)) => was == is,
        _ => false,
    }
}
