//! Backups that are killed, the independent reader, and the golden repository.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

#[cfg(test)]
#[path = "cli/reader.rs"]
mod reader;

use reader::read_with_python;

/// A machine with a repository: folders of its own and a passphrase.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("source")).unwrap();
        let machine = Self { folder };
        machine.run(&["init"]);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dolmen"));
        command
            .args(arguments)
            .env("DOLMEN_REPOSITORY", self.repository())
            .env("DOLMEN_PASSWORD", "a long passphrase")
            .env("DOLMEN_STATE_DIR", self.path("state"))
            .env("DOLMEN_CACHE_DIR", self.path("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "dolmen {arguments:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    fn backup(&self) -> Output {
        self.run(&["backup", self.path("source").to_str().unwrap()])
    }

    fn restore(&self, snapshot: &str, target: &str) {
        self.run(&[
            "restore",
            snapshot,
            "--target",
            self.path(target).to_str().unwrap(),
        ]);
    }

    /// Where the source lies below a restore target.
    fn restored(&self, target: &str) -> PathBuf {
        let source = self.path("source");
        self.path(target).join(source.strip_prefix("/").unwrap())
    }

    fn pack_bytes(&self) -> u64 {
        walk(&self.repository().join("packs"))
            .iter()
            .filter(|path| path.is_file())
            .map(|path| fs::metadata(path).unwrap().len())
            .sum()
    }

    fn packs(&self) -> usize {
        walk(&self.repository().join("packs"))
            .iter()
            .filter(|path| path.is_file())
            .count()
    }
}

/// All paths below a directory, itself not, sorted. A directory that is not there has none.
fn walk(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            // A file that is renamed while it is listed is listed later.
            let Ok(entry) = entry else { continue };
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// What a restore must bring back of each file.
fn describe(top: &Path) -> BTreeMap<Vec<u8>, String> {
    walk(top)
        .into_iter()
        .map(|path| {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() {
                blake3_of(&fs::read(&path).unwrap())
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                String::new()
            };
            // A directory's size is the file system's affair.
            let size = if metadata.is_dir() { 0 } else { metadata.len() };
            let mtime = (metadata.mtime(), metadata.mtime_nsec());
            let owner = (metadata.uid(), metadata.gid());
            let key = path
                .strip_prefix(top)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            let links = if metadata.is_dir() {
                0
            } else {
                metadata.nlink()
            };
            (
                key,
                format!(
                    "{:o} {size} {mtime:?} {owner:?} {links} {content}",
                    metadata.mode()
                ),
            )
        })
        .collect()
}

fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// A tree with what ordinary users can make of everything.
fn make_tree(source: &Path) {
    use std::ffi::OsStr;
    fs::create_dir_all(source.join("directory/below")).unwrap();
    fs::write(source.join("empty"), b"").unwrap();
    fs::write(source.join("one"), b"x").unwrap();
    fs::write(source.join("text"), "the same line\n".repeat(20_000)).unwrap();
    fs::write(source.join("large"), noise(1, 9 << 20)).unwrap();
    fs::hard_link(source.join("one"), source.join("directory/linked")).unwrap();
    std::os::unix::fs::symlink("../nowhere\u{e9}", source.join("directory/link")).unwrap();
    fs::write(source.join(OsStr::from_bytes(b"not\xffutf8 \n\t")), b"odd").unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 17 << 20).unwrap();
    for number in 0..200 {
        let path = source.join(format!("directory/below/file{number}"));
        fs::write(&path, noise(number, usize::try_from(number * 37).unwrap())).unwrap();
    }
    fs::set_permissions(source.join("one"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(source.join("text"), fs::Permissions::from_mode(0o000)).unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::new(86_400 * 365 * 20, 123_456_789);
    let file = fs::File::options()
        .write(true)
        .open(source.join("empty"))
        .unwrap();
    file.set_modified(old).unwrap();
}

/// Waits until `done`, or until the child has ended by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "a killed process is another process"
)]
fn wait_until(child: &mut Child, done: impl Fn() -> bool) {
    while !done() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn a_backup_killed_at_any_moment_costs_at_most_a_pack() {
    let machine = Machine::new();
    fs::write(machine.path("source/first"), b"first").unwrap();
    machine.backup();
    let mut size = machine.pack_bytes();
    for round in 0..6_u64 {
        let name = format!("source/round{round}");
        let bytes = 75 << 20;
        fs::write(machine.path(&name), noise(round + 100, bytes)).unwrap();
        let before = machine.packs();
        // Killed before the first pack, between packs, and while the last is written.
        let wanted = before + usize::try_from(round % 3).unwrap();
        let source = machine.path("source");
        let mut child = machine
            .command(&["backup", source.to_str().unwrap()])
            .spawn()
            .unwrap();
        let temporary = machine.repository().join(".tmp");
        wait_until(&mut child, || {
            machine.packs() >= wanted
                && fs::read_dir(&temporary).is_ok_and(|mut all| all.next().is_some())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        machine.run(&["check"]);
        machine.backup();
        let added = machine.pack_bytes() - size;
        assert!(
            added < (bytes as u64) + (38 << 20),
            "round {round} added {added} bytes"
        );
        size = machine.pack_bytes();
    }
    machine.run(&["check", "--read-data"]);
    machine.restore("latest", "back");
    assert_eq!(
        describe(&machine.restored("back")),
        describe(&machine.path("source"))
    );
}

#[test]
fn a_restored_tree_is_the_tree() {
    let machine = Machine::new();
    make_tree(&machine.path("source"));
    machine.backup();
    machine.restore("latest", "back");
    assert_eq!(
        describe(&machine.restored("back")),
        describe(&machine.path("source"))
    );
    let blocks = fs::metadata(machine.restored("back").join("sparse"))
        .unwrap()
        .blocks();
    assert!(blocks < 1024, "{blocks} blocks");
}

#[test]
fn the_independent_reader_restores_byte_for_byte() {
    let machine = Machine::new();
    make_tree(&machine.path("source"));
    machine.backup();
    fs::write(machine.path("source/later"), b"later").unwrap();
    machine.backup();
    let (repository, target) = (machine.repository(), machine.path("python"));
    let listed = read_with_python(&["list".as_ref(), repository.as_ref()], "a long passphrase");
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 2);
    let arguments = [
        "restore".as_ref(),
        repository.as_ref(),
        "latest".as_ref(),
        target.as_ref(),
    ];
    let restored = read_with_python(&arguments, "a long passphrase");
    assert_eq!(String::from_utf8_lossy(&restored.stderr), "");
    assert!(restored.status.success());
    assert_eq!(
        describe(&machine.restored("python")),
        describe(&machine.path("source"))
    );
    assert_eq!(
        read_with_python(&arguments, "wrong").status.code(),
        Some(12)
    );
}

#[test]
fn the_independent_reader_knows_which_snapshots_are_retired() {
    let machine = Machine::new();
    make_tree(&machine.path("source"));
    machine.backup();
    fs::write(machine.path("source/later"), b"later").unwrap();
    machine.backup();
    let repository = machine.repository();
    let listed = || {
        let arguments = ["list".as_ref(), repository.as_ref()];
        let output = read_with_python(&arguments, "a long passphrase");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    };
    let before = listed();
    let newest = before.lines().last().unwrap().split(' ').next().unwrap();
    let forget = |arguments: &[&str]| {
        assert!(
            machine
                .command(arguments)
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    forget(&["forget", newest]);
    let after = listed();
    assert_eq!(after.lines().count(), 1);
    assert!(!after.contains(newest));
    forget(&["forget", "--undo", newest]);
    assert_eq!(listed(), before);
}

/// What the golden repository of format 1 holds, whoever restores it: content, mode and times.
fn golden_lines(top: &Path) -> String {
    walk(top)
        .into_iter()
        .map(|path| {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() {
                blake3_of(&fs::read(&path).unwrap())
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                String::new()
            };
            let name = path
                .strip_prefix(top)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .escape_ascii();
            let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
            let links = if metadata.is_dir() {
                0
            } else {
                metadata.nlink()
            };
            let line = format!(
                "{name} {:o} {seconds}.{nanos:09} {links} {content}",
                metadata.mode()
            );
            line.trim_end().to_owned() + "\n"
        })
        .collect()
}

#[test]
fn the_golden_repository_of_format_1_restores() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let expected = fs::read_to_string(testdata.join("repository-v1.txt")).unwrap();
    let machine = Machine::new();
    // A copy: opening may leave temporary files beside the objects.
    let copy = machine.path("golden");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&testdata.join("repository-v1"), &copy])
        .status();
    assert!(copied.unwrap().success());
    let golden = |arguments: &[&str]| {
        let mut command = machine.command(arguments);
        let output = command
            .env("DOLMEN_PASSWORD", "golden")
            .env("DOLMEN_REPOSITORY", &copy)
            .output();
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    };
    golden(&["check", "--read-data"]);
    golden(&[
        "restore",
        "latest",
        "--target",
        machine.path("back").to_str().unwrap(),
    ]);
    assert_eq!(
        golden_lines(&machine.path("back/tmp/golden/source")),
        expected
    );
    let target = machine.path("python");
    let arguments = [
        "restore".as_ref(),
        copy.as_ref(),
        "latest".as_ref(),
        target.as_ref(),
    ];
    let restored = read_with_python(&arguments, "golden");
    assert_eq!(String::from_utf8_lossy(&restored.stderr), "");
    assert_eq!(
        golden_lines(&machine.path("python/tmp/golden/source")),
        expected
    );
}
