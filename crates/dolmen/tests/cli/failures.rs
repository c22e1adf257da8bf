//! How commands fail: what is said, and with which exit code.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::world::{Ran, World, messages};

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn output_that_is_lost_fails_the_command_that_was_run_for_it() {
    let world = World::with_files();
    world.backup(&["."]);
    let into_full = |arguments: &[&str]| {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        Ran::of(world.command(arguments).stdout(full).output().unwrap())
    };
    for arguments in [
        ["ls", "latest"].as_slice(),
        &["snapshots"],
        &["snapshots", "--json"],
        &["stats"],
        &["cat", "root"],
        &["check"],
        &["man"],
        &["completions", "bash"],
        &["version"],
        &["--help"],
        &["--version"],
        &["backup", "--json", "."],
    ] {
        into_full(arguments).says(
            1,
            "cannot write to stdout, and what was to be printed is lost:",
        );
    }
    // The backup is made, whatever becomes of its report.
    let before = world.snapshots().len();
    into_full(&["backup", "."]).says(0, "warning: cannot write to stdout");
    assert_eq!(world.snapshots().len(), before + 1);
}

#[test]
fn an_interrupt_is_always_told() {
    let world = World::with_repository();
    for (arguments, told) in [
        (["backup", "--stdin"].as_slice(), "dolmen: interrupted\n"),
        (
            &["backup", "--stdin", "--json"],
            "{\"code\":130,\"hints\":[],\"message\":\"interrupted\",\"message_type\":\"exit_error\"}\n",
        ),
    ] {
        let mut command = world.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than a pipe holds: the program is reading.
        stdin.write_all(&vec![0; 4 << 20]).unwrap();
        interrupt(&child);
        let ran = Ran::of(child.wait_with_output().unwrap());
        ran.fails(130, told);
    }
    // While the repository is being opened, too.
    let fifo = world.path("password");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let mut command = world.command(&["snapshots", "-p", fifo.to_str().unwrap()]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    // The program waits for the passphrase as soon as this opens, and it never comes.
    let passphrase = OpenOptions::new().write(true).open(&fifo).unwrap();
    interrupt(&child);
    let ran = Ran::of(child.wait_with_output().unwrap());
    drop(passphrase);
    ran.fails(130, "dolmen: interrupted\n");
}

#[test]
fn a_stream_and_a_list_of_files_exclude_each_other() {
    let world = World::with_repository();
    world.write("list", b"a\n");
    let list = world.text("list");
    for stream in ["--stdin", "--stdin-from-command"] {
        for flag in ["--files-from", "--files-from-verbatim", "--files-from-raw"] {
            world.run(&["backup", stream, flag, &list, "--", "true"]).fails(
                2,
                &format!(
                    "dolmen: {stream} and {flag} cannot be used together: a snapshot holds a stream or files\n\
                     hint: make two backups, one of each\n"
                ),
            );
        }
    }
    assert!(world.snapshots().is_empty());
}

#[test]
fn what_a_failed_init_leaves_does_not_block_the_next() {
    let world = World::new();
    for folder in ["repo/.tmp", "repo/keys", "repo/root"] {
        std::fs::create_dir_all(world.path(folder)).unwrap();
    }
    world.write("repo/keys/other", b"");
    world.run(&["init"]).says(1, "the folder is not empty");
    std::fs::remove_file(world.path("repo/keys/other")).unwrap();
    world.done(&["init"]);
}

#[test]
fn init_tries_the_state_folder_before_it_makes_anything() {
    let world = World::new();
    world.write("blocked", b"a file");
    let state = world.text("blocked/state");
    let ran = world.run(&["init", "--state-dir", &state]);
    ran.says(
        1,
        "dolmen: cannot use the state folder: cannot create the folder ",
    );
    ran.says(1, "name other folders with --state-dir (DOLMEN_STATE_DIR)");
    assert!(!world.path("repo").exists());
    world.write("file", b"");
    let file = world.text("file");
    world.run(&["init", "-r", &file]).fails(
        1,
        &format!(
            "dolmen: cannot make a repository at {file}: {file} is not a folder\n\
             hint: name an empty or a new folder\n"
        ),
    );
}

#[test]
fn a_state_folder_that_cannot_be_written_is_found_before_anything_is_made() {
    let world = World::new();
    std::fs::create_dir(world.path("closed")).unwrap();
    let closed = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(world.path("closed"), closed).unwrap();
    let mut command = world.command_as_nobody(&["init", "--state-dir", &world.text("closed")]);
    let ran = Ran::of(
        command
            .env("DOLMEN_REPOSITORY", world.path("nobody/repo"))
            .output()
            .unwrap(),
    );
    ran.says(1, "cannot use the state folder: cannot create ");
    assert!(!world.path("nobody/repo").exists());
}

#[test]
fn of_two_inits_at_once_at_most_one_makes_a_repository() {
    for _ in 0..3 {
        let world = World::new();
        let init = || {
            let mut command = world.command(&["init"]);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let runs = [init(), init()].map(|child| Ran::of(child.wait_with_output().unwrap()));
        let done = runs.iter().filter(|ran| ran.code == 0).count();
        assert_eq!(world.objects("root").len(), done);
        assert!(done <= 1);
        for ran in runs.iter().filter(|ran| ran.code != 0) {
            ran.says(1, "a repository already exists at");
        }
    }
}

#[test]
fn a_partial_restore_exits_with_20_and_names_the_place() {
    let world = World::with_files();
    world.write("files/dir", b"a file");
    world.backup(&["."]);
    let part = "latest:/".to_owned();
    world.write("back/dir/inside", b"mine");
    let ran = world.run(&["restore", &part, "-t", &world.text("back")]);
    ran.fails(
        20,
        &format!(
            "error: {}: a directory is in the way; --delete removes it with all that is in it\n",
            world.text("back/dir")
        ),
    );
    assert!(ran.stdout.contains("\n1 error in all\n"), "{}", ran.stdout);
    assert_eq!(world.read("back/a.txt"), b"first");
    // Where nothing can be done at all, nothing was restored.
    let one = "latest:/dir".to_owned();
    world
        .run(&["restore", &one, "-t", &world.text("back")])
        .says(
            1,
            &format!(
                "dolmen: nothing could be restored to {}",
                world.text("back")
            ),
        );
    let file = world.text("back/a.txt");
    world.run(&["restore", &part, "-t", &file]).fails(
        1,
        &format!(
            "dolmen: cannot restore to {file}: {file} is not a directory\n\
             hint: name a directory, there or not, with --target\n"
        ),
    );
}

#[test]
fn a_target_that_may_not_be_written_is_named() {
    let world = World::with_files();
    world.backup(&["."]);
    world.give_to_nobody("repo");
    std::fs::create_dir(world.path("closed")).unwrap();
    let closed = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(world.path("closed"), closed).unwrap();
    let part = "latest:/".to_owned();
    let mut command = world.command_as_nobody(&["restore", &part, "-t", &world.text("closed")]);
    let ran = Ran::of(command.output().unwrap());
    ran.says(
        1,
        &format!("error: {}: cannot create", world.text("closed/a.txt")),
    );
    ran.says(1, "dolmen: nothing could be restored to ");
}

#[test]
fn verify_reads_what_was_left_as_it_was() {
    let world = World::with_files();
    world.backup(&["."]);
    let part = "latest:/".to_owned();
    let target = world.text("back");
    world.done(&["restore", &part, "-t", &target]);
    let changed = world.path("back/a.txt");
    let modified = changed.metadata().unwrap().modified().unwrap();
    std::fs::write(&changed, b"other").unwrap();
    let file = OpenOptions::new().write(true).open(&changed).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    let restore = |more: &[&str]| {
        let arguments = [
            "restore",
            &part,
            "-t",
            &target,
            "--overwrite",
            "if-changed",
            "--json",
        ];
        world.run(&[&arguments, more].concat())
    };
    assert_eq!(restore(&[]).code, 0, "same size and time");
    let ran = restore(&["--verify"]);
    ran.says(20, "verify: read back, the content differs from byte 0 on");
    let summary = messages(&ran.stdout).pop().unwrap();
    assert_eq!(
        (
            &summary["files_verified"],
            &summary["files_differing"],
            &summary["errors"]
        ),
        (&2.into(), &1.into(), &1.into())
    );
    // One file by itself is no less damage.
    let one = "latest:/a.txt".to_owned();
    let arguments = [
        "restore",
        &one,
        "-t",
        &target,
        "--overwrite",
        "if-changed",
        "--verify",
    ];
    world
        .run(&arguments)
        .says(20, "the file that was there is left as it was");
    world.done(&["restore", &part, "-t", &target, "--verify"]);
    assert_eq!(world.read("back/a.txt"), b"first");
}

#[test]
fn a_dry_run_says_what_would_be_deleted() {
    let world = World::with_files();
    world.backup(&["."]);
    let part = "latest:/".to_owned();
    let target = world.text("back");
    world.write("back/foreign", b"mine");
    let text = world.done(&["restore", &part, "-t", &target, "--delete", "-n", "-v"]);
    assert!(text.contains("\nwould delete  /foreign\n"), "{text}");
    assert!(text.contains("\n1 item would be deleted\n"), "{text}");
    assert!(
        !text.contains("deleted /") && !text.contains("removed"),
        "{text}"
    );
}

#[test]
fn a_host_that_is_not_utf8_is_refused() {
    let world = World::with_files();
    let host = std::ffi::OsStr::from_bytes(b"h\xff");
    let mut command = world.command(&["backup", "."]);
    let ran = Ran::of(command.env("DOLMEN_HOST", host).output().unwrap());
    ran.fails(
        2,
        "dolmen: DOLMEN_HOST is `h\u{fffd}`, which is not UTF-8\n\
         hint: give the host's name with --host, or unset the variable\n",
    );
    let mut command = world.command(&["backup", ".", "-H"]);
    assert_eq!(Ran::of(command.arg(host).output().unwrap()).code, 2);
}

#[test]
fn a_folder_that_cannot_be_listed_is_named() {
    let world = World::with_files();
    world.backup(&["."]);
    world.give_to_nobody("repo");
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(world.path("repo/packs"), closed).unwrap();
    let ran = Ran::of(world.command_as_nobody(&["check"]).output().unwrap());
    ran.says(13, "list of packs/ failed: permission denied");
    let open = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(world.path("repo/packs"), open).unwrap();
}

#[test]
fn whoever_may_only_read_may_look() {
    let world = World::with_files();
    world.backup(&["."]);
    world.give_to_nobody("repo");
    let set_mode = |mode| {
        for folder in folders(&world.path("repo")) {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set_mode(0o500);
    for command in [
        &["audit"][..],
        &["status"],
        &["check"],
        &["prune", "-n"],
        &["recover", "-n"],
    ] {
        let ran = Ran::of(world.command_as_nobody(command).output().unwrap());
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
    }
    set_mode(0o700);
}

/// A folder and all folders in it.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    let mut at = 0;
    while let Some(folder) = found.get(at).cloned() {
        let entries = std::fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| path.is_dir()));
        at += 1;
    }
    found
}

#[test]
fn a_bad_pattern_is_told_with_its_file() {
    let world = World::with_files();
    world.backup(&["."]);
    world.write("patterns", b"fine\n[\n");
    let file = world.text("patterns");
    for (flag, place) in [
        ("--exclude-file", "--exclude-file"),
        ("--iexclude-file", "--iexclude-file"),
    ] {
        world
            .run(&["backup", ".", flag, &file])
            .says(2, &format!("dolmen: {place} {file}: "));
    }
    let target = world.text("back");
    world
        .run(&["restore", "latest", "-t", &target, "--include-file", &file])
        .says(2, &format!("dolmen: --include-file {file}: "));
}

#[test]
fn a_manual_page_that_cannot_be_written_is_named() {
    let world = World::new();
    world.write("file", b"");
    let file = world.text("file");
    world
        .run(&["man", &file])
        .says(1, &format!("cannot write the manual pages into {file}: "));
}

#[test]
fn a_snapshot_of_the_future_is_warned_of() {
    let world = World::with_files();
    world.run(&["backup", "--time", "2100-01-01", "."]).says(
        0,
        "warning: --time lies in the future: until then `latest` passes over this snapshot",
    );
    assert_eq!(
        world.run(&["backup", "--time", "2020-01-01", "."]).stderr,
        ""
    );
}

#[test]
fn rules_pass_over_what_latest_passes_over() {
    let world = World::with_files();
    let old = world.backup(&["--time", "2020-01-01", "."]);
    let future = world.backup(&["--time", "2099-01-01", "."]);
    world.done(&["ls", "-q", "latest"]);
    let planned = world.done(&["forget", "-l", "1", "--json"]);
    let groups = messages(&planned).remove(0);
    let group = &groups[0];
    assert_eq!(group["remove"], serde_json::json!([]), "{planned}");
    let why = |id: &serde_json::Value| {
        let reasons = group["reasons"].as_array().unwrap().iter();
        let mut of = reasons.filter(|reason| reason["snapshot"]["id"] == *id);
        of.next().unwrap()["matches"][0].clone()
    };
    assert_eq!(why(&old["snapshot_id"]), "last snapshot");
    assert_eq!(why(&future["snapshot_id"]), "takes no slot");
    assert_eq!(group["set_aside"][0]["id"], future["snapshot_id"]);
    assert_eq!(group["set_aside"][0]["why"][0], "dated in the future");
    assert_eq!(world.snapshots().len(), 2);
}

#[test]
fn status_names_the_files_under_way() {
    let world = World::with_repository();
    let mut command = world.command(&["backup", "--stdin", "--json"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let status = messages(&lines.next().unwrap().unwrap()).pop().unwrap();
    assert_eq!(status["message_type"], "status");
    assert_eq!(status["current_files"], serde_json::json!(["/stdin"]));
    assert!(status["seconds_elapsed"].as_u64() < Some(Duration::from_mins(1).as_secs()));
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
