//! A machine of its own for each test: home, files, a repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program.
pub(crate) const DOLMEN: &str = env!("CARGO_BIN_EXE_dolmen");

/// A folder with `repo`, `files`, `cache` and `state`.
pub(crate) struct World {
    folder: TempDir,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// An empty machine.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        Self { folder }
    }

    /// One with a repository.
    pub(crate) fn with_repository() -> Self {
        let world = Self::new();
        assert_eq!(world.run(&["init"]).code, 0);
        world
    }

    /// One with a repository and a few files.
    pub(crate) fn with_files() -> Self {
        let world = Self::with_repository();
        world.write("files/a.txt", b"first");
        world.write("files/sub/b.txt", b"second");
        world.write("files/sub/c.log", &vec![7; 300_000]);
        std::os::unix::fs::symlink("a.txt", world.path("files/link")).unwrap();
        world
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Reads a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The program with this machine's environment alone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DOLMEN);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("TZ", "UTC")
            .env("DOLMEN_REPOSITORY", self.path("repo"))
            .env("DOLMEN_PASSWORD", "secret")
            .current_dir(self.path("files"))
            .stdin(Stdio::null());
        command
    }

    /// The same as a user who may not do everything, with a state and a cache of its own; it can read this machine.
    pub(crate) fn command_as_nobody(&self, arguments: &[&str]) -> Command {
        use std::os::unix::fs::PermissionsExt as _;
        use std::os::unix::process::CommandExt as _;
        const NOBODY: u32 = 65534;
        let own = self.path("nobody");
        let mut command = self.command(arguments);
        if rustix::process::geteuid().is_root() {
            // The program may lie where only root can go.
            let program = self.path("nobody-dolmen");
            if !program.exists() {
                // By another process: a child that another test starts meanwhile would inherit the open file, and
                // what is open for writing cannot be run.
                let copied = Command::new("cp").arg(DOLMEN).arg(&program).status();
                assert!(copied.unwrap().success());
                std::fs::create_dir_all(&own).unwrap();
                std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
                let open = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(self.folder.path(), open).unwrap();
            }
            command = Command::new(program);
            command
                .args(arguments)
                .env_clear()
                .env("TZ", "UTC")
                .env("DOLMEN_PASSWORD", "secret")
                .env("DOLMEN_REPOSITORY", self.path("repo"))
                .current_dir(self.path("files"))
                .stdin(Stdio::null())
                .uid(NOBODY)
                .gid(NOBODY);
        }
        command
            .env("HOME", &own)
            .env("XDG_CACHE_HOME", own.join("cache"))
            .env("XDG_STATE_HOME", own.join("state"))
            .env("TMPDIR", &own);
        command
    }

    /// Gives a folder and all that is in it to whoever [`World::command_as_nobody`] runs as.
    pub(crate) fn give_to_nobody(&self, name: &str) {
        if rustix::process::geteuid().is_root() {
            let path = self.path(name);
            let status = Command::new("chown")
                .args(["-R", "65534:65534"])
                .arg(path)
                .status();
            assert!(status.unwrap().success());
        }
    }

    /// Runs the program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs it with one more variable.
    pub(crate) fn run_with(&self, variable: (&str, &str), arguments: &[&str]) -> Ran {
        Ran::of(
            self.command(arguments)
                .env(variable.0, variable.1)
                .output()
                .unwrap(),
        )
    }

    /// Runs it and expects that it is done; returns stdout.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Backs `files` up and returns the summary.
    pub(crate) fn backup(&self, arguments: &[&str]) -> Value {
        let arguments = [&["backup", "--json"], arguments].concat();
        let stdout = self.done(&arguments);
        messages(&stdout).pop().unwrap()
    }

    /// The snapshots as JSON.
    pub(crate) fn snapshots(&self) -> Vec<Value> {
        let stdout = self.done(&["snapshots", "--json"]);
        serde_json::from_str::<Value>(&stdout)
            .unwrap()
            .as_array()
            .unwrap()
            .clone()
    }

    /// The paths that `ls` lists.
    pub(crate) fn ls(&self, arguments: &[&str]) -> Vec<String> {
        let stdout = self.done(&[&["ls", "-q"], arguments].concat());
        stdout.lines().map(str::to_owned).collect()
    }

    /// All files below a folder, with its name in front.
    pub(crate) fn tree(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.path(name), &mut found);
        let root = self.path("");
        let mut names: Vec<_> = found
            .iter()
            .map(|path| {
                path.strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// The objects of the repository below a folder.
    pub(crate) fn objects(&self, below: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.path("repo").join(below), &mut found);
        found.sort();
        found
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Expects this exit code and these lines on stderr.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, stderr: &str) {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (code, stderr),
            "{}",
            self.stdout
        );
    }

    /// Expects this exit code and this text somewhere on stderr.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, part: &str) {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(part), "{}", self.stderr);
    }
}

/// JSON lines.
pub(crate) fn messages(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// Bytes that no other seed has, and that do not compress.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}
