//! Backing up, and listing what was.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::world::{Ran, World, messages};

#[test]
fn a_summary_has_restics_fields() {
    let world = World::with_files();
    let summary = world.backup(&["."]);
    assert_eq!(summary["message_type"], "summary");
    assert_eq!(summary["files_new"], 3);
    assert_eq!(summary["files_changed"], 0);
    assert_eq!(summary["total_files_processed"], 3);
    assert_eq!(summary["total_bytes_processed"], 300_011);
    assert_eq!(summary["snapshot_id"].as_str().unwrap().len(), 64);
    assert!(summary["protected_until"].is_null());
    for field in [
        "data_added",
        "data_added_packed",
        "data_blobs",
        "tree_blobs",
    ] {
        assert!(summary[field].as_u64().unwrap() > 0, "{field}");
    }
    assert!(summary["total_duration"].as_f64().unwrap() >= 0.0);
    world.write("files/a.txt", b"another");
    let summary = world.backup(&["."]);
    assert_eq!(summary["files_changed"], 1);
    assert_eq!(summary["files_unmodified"], 2);
}

#[test]
fn a_summary_in_words_says_what_was_saved() {
    let world = World::with_files();
    let text = world.done(&["backup", "."]);
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("snapshot ") && lines[0].ends_with(" saved"),
        "{text}"
    );
    assert_eq!(lines[1], "files:     3 new, 0 changed, 0 unmodified");
    assert!(
        lines[3].starts_with("processed: 3 files, 293.0 KiB in "),
        "{text}"
    );
    assert_eq!(
        lines[4],
        "protected: no (lock: none; whoever can write there can delete it)"
    );
    assert_eq!(world.done(&["backup", "-q", "."]), "");
}

#[test]
fn snapshots_are_listed_with_restics_fields() {
    let world = World::with_files();
    world.backup(&[
        "--tag",
        "a,b",
        "--host",
        "h",
        "--time",
        "2026-01-02 03:04:05",
        ".",
    ]);
    world.backup(&["--exclude", "*.log", "."]);
    let list = world.snapshots();
    assert_eq!(list.len(), 2);
    let first = &list[0];
    assert_eq!(first["time"], "2026-01-02T03:04:05Z");
    assert_eq!(first["hostname"], "h");
    assert_eq!(first["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(first["paths"], serde_json::json!([world.text("files")]));
    assert_eq!(first["retired"], false);
    assert!(first["protected_until"].is_null());
    assert!(
        first["id"]
            .as_str()
            .unwrap()
            .starts_with(first["short_id"].as_str().unwrap())
    );
    for field in ["tree", "username", "program_version", "writer", "stored"] {
        assert!(first[field].is_string(), "{field}");
    }
    assert!(first["uid"].is_u64() && first["summary"]["files_new"] == 3);
    assert_eq!(list[1]["excludes"], serde_json::json!(["*.log"]));
    let count = |arguments: &[&str]| {
        let stdout = world.done(&[&["snapshots", "--json"], arguments].concat());
        serde_json::from_str::<serde_json::Value>(&stdout)
            .unwrap()
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count(&["--host", "h"]), 1);
    assert_eq!(count(&["--tag", "b,a"]), 1);
    assert_eq!(count(&["--tag", "c"]), 0);
    assert_eq!(count(&["--path", "."]), 2);
    assert_eq!(count(&["--latest", "1"]), 2);
    assert_eq!(count(&["latest"]), 1);
    let table = world.done(&["snapshots"]);
    assert!(
        table.starts_with("ID        Time                 Host"),
        "{table}"
    );
    assert!(table.ends_with("\n2 snapshots\n"), "{table}");
    world.run(&["snapshots", "ffff"]).fails(
        1,
        "dolmen: no snapshot matches ffff\nhint: list what there is with: dolmen snapshots\n",
    );
}

#[test]
fn missing_paths_are_named() {
    let world = World::with_files();
    let missing = world.text("files/none");
    let ran = world.run(&["backup", "none"]);
    ran.fails(
        1,
        &format!(
            "error: {missing}: No such file or directory (os error 2)\n\
             dolmen: cannot back up: all source paths are missing\n"
        ),
    );
    assert!(world.snapshots().is_empty());
    let ran = world.run(&["backup", "--json", "a.txt", "none"]);
    assert_eq!(ran.code, 3);
    let error = messages(&ran.stderr).remove(0);
    assert_eq!(error["message_type"], "error");
    assert_eq!(error["item"], missing);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("No such file")
    );
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn excludes_leave_out_what_they_fit() {
    let world = World::with_files();
    world.write(
        "files/cache/CACHEDIR.TAG",
        b"Signature: 8a477f597d28d172789f06886806bc55",
    );
    world.write("files/cache/x", b"");
    world.write("files/skip/.nobackup", b"");
    world.write("files/skip/x", b"");
    world.write("files/Big.ISO", &vec![1; 120_000]);
    world.write("list", b"# comment\n\n$WHAT\n");
    let list = world.text("list");
    let mut command = world.command(&[
        "backup",
        ".",
        "--exclude",
        "link",
        "--iexclude",
        "*.iso",
        "--exclude-caches",
        "--exclude-if-present",
        ".nobackup",
        "--exclude-larger-than",
        "100K",
        "--exclude-file",
        &list,
    ]);
    let ran = Ran::of(command.env("WHAT", "b.txt").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let below = "latest:/";
    assert_eq!(
        world.ls(&[below]),
        [
            "/a.txt",
            "/cache",
            "/cache/CACHEDIR.TAG",
            "/skip",
            "/skip/.nobackup",
            "/sub"
        ]
    );
}

#[test]
fn paths_come_from_lists_too() {
    let world = World::with_files();
    world.write("lines", b"# all logs\nsub/*.log\n\nnone*\n");
    world.write("raw", b"a.txt\0");
    let ran = world.run(&[
        "backup",
        "--files-from",
        &world.text("lines"),
        "--files-from-raw",
        &world.text("raw"),
    ]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (0, "warning: pattern none* fits no file\n")
    );
    let below = "latest:/";
    assert_eq!(world.ls(&[below]), ["/a.txt", "/sub", "/sub/c.log"]);
}

/// What is in the snapshot that a backup of these arguments makes.
fn saved(world: &World, arguments: &[&str]) -> Vec<String> {
    world.backup(arguments);
    world.ls(&["latest"])
}

#[test]
fn relative_paths_stay_relative() {
    let world = World::with_files();
    world.write("other/deep/x", b"x");
    let whole = ["/sub", "/sub/b.txt", "/sub/c.log"];
    assert_eq!(saved(&world, &["sub"]), whole);
    assert_eq!(
        saved(&world, &["../files/./sub/../sub/b.txt"]),
        ["/files", "/files/sub", "/files/sub/b.txt"]
    );
    assert_eq!(
        saved(&world, &["../other"]),
        ["/other", "/other/deep", "/other/deep/x"]
    );
    assert_eq!(
        saved(&world, &["sub/b.txt", "./a.txt"]),
        ["/a.txt", "/sub", "/sub/b.txt"]
    );
    assert_eq!(
        saved(&world, &[".", "sub/b.txt"]),
        ["/a.txt", "/link", "/sub", "/sub/b.txt", "/sub/c.log"]
    );
    // The snapshot is still told by absolute paths.
    let paths = world.snapshots().pop().unwrap()["paths"].clone();
    assert_eq!(
        paths,
        serde_json::json!([world.text("files"), world.text("files/sub/b.txt")])
    );
    let mixed = saved(&world, &[&world.text("files/a.txt"), "a.txt"]);
    assert!(mixed.contains(&world.text("files/a.txt")) && mixed.contains(&"/a.txt".to_owned()));
}

#[test]
fn equal_names_of_different_folders_are_numbered_and_none_is_lost() {
    let world = World::with_repository();
    for name in ["files/s/here", "files/s-1/own", "s/there"] {
        world.write(name, b"x");
    }
    assert_eq!(
        saved(&world, &["s", "../s"]),
        ["/s", "/s/here", "/s-1", "/s-1/there"]
    );
    assert_eq!(
        saved(&world, &["../s", "s/here"]),
        ["/s", "/s/there", "/s-1", "/s-1/here"]
    );
    assert_eq!(
        saved(&world, &[".", "../s"]),
        ["/s", "/s/here", "/s-1", "/s-1/own", "/s-2", "/s-2/there"]
    );
    // restic loses one of them here.
    assert_eq!(
        saved(&world, &["../s", "."]),
        [
            "/s",
            "/s/there",
            "/s-1",
            "/s-1/here",
            "/s-1-1",
            "/s-1-1/own"
        ]
    );
    world.write("list", b"../s\n");
    assert_eq!(
        saved(&world, &["s", "--files-from-verbatim", &world.text("list")]),
        ["/s", "/s/there", "/s-1", "/s-1/here"],
        "lists come first"
    );
    let summary = world.backup(&["s", "../s"]);
    assert_eq!(
        (&summary["files_new"], &summary["files_unmodified"]),
        (&0.into(), &2.into())
    );
}

#[test]
fn patterns_fit_the_absolute_paths_of_relative_ones() {
    let world = World::with_files();
    let file = world.text("files/sub/b.txt");
    for pattern in [file.as_str(), "files/sub/b.txt", "b.*"] {
        assert_eq!(
            saved(&world, &["sub", "-e", pattern]),
            ["/sub", "/sub/c.log"],
            "{pattern}"
        );
    }
    assert_eq!(saved(&world, &["sub", "-e", "/sub/b.txt"]).len(), 3);
    world.write("files/.nobackup", b"");
    let marked = ["--exclude-if-present", ".nobackup"];
    assert_eq!(saved(&world, &[".", marked[0], marked[1]]), ["/.nobackup"]);
}

#[test]
fn a_backup_of_nothing_makes_no_snapshot() {
    let world = World::with_repository();
    world
        .run(&["backup", "."])
        .says(1, "the snapshot would be empty");
    assert!(world.snapshots().is_empty());
}

#[test]
fn above_a_linked_current_folder_lies_what_the_system_finds_there() {
    let world = World::with_repository();
    world.write("far/real/in", b"x");
    world.write("far/y/real", b"x");
    world.write("near/y/lexical", b"x");
    let link = world.path("near/link");
    std::os::unix::fs::symlink(world.path("far/real"), &link).unwrap();
    let mut command = world.command(&["backup", "../y", "in"]);
    let ran = Ran::of(
        command
            .current_dir(&link)
            .env("PWD", &link)
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(world.ls(&["latest"]), ["/in", "/y", "/y/real"]);
    let paths = world.snapshots().pop().unwrap()["paths"].clone();
    assert_eq!(
        paths,
        serde_json::json!([world.text("near/link/in"), world.text("near/y")])
    );
}

#[test]
fn a_stream_becomes_a_file() {
    let world = World::with_repository();
    let mut command = world.command(&["backup", "--stdin", "--stdin-filename", "dumps/db.sql"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"select 1;").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(world.ls(&["latest"]), ["/dumps", "/dumps/db.sql"]);
    world.done(&[
        "backup",
        "--stdin-from-command",
        "--",
        "sh",
        "-c",
        "echo hello",
    ]);
    assert_eq!(world.ls(&["latest"]), ["/stdin"]);
    let repo = world.text("repo");
    world.run(&["backup", "--stdin-from-command", "--", "sh", "-c", "echo x; exit 3"]).fails(
        1,
        &format!("dolmen: cannot back up to {repo}: the command failed: sh ended with exit status: 3\n"),
    );
    assert_eq!(world.snapshots().len(), 2);
    world
        .run(&["backup", "--stdin-from-command", "--", "/no/such"])
        .says(1, "cannot run /no/such");
}

#[test]
fn very_many_paths_are_refused_at_once_and_very_many_patterns_count() {
    let world = World::with_files();
    let mut list = Vec::new();
    for number in 0..16_385 {
        world.write(&format!("many/{number}"), b"x");
        list.extend(world.text(&format!("many/{number}")).into_bytes());
        list.push(0);
    }
    world.write("list", &list);
    let before = world.objects("");
    world
        .run(&["backup", "--files-from-raw", &world.text("list")])
        .says(2, "in one snapshot: at most");
    assert_eq!(world.objects(""), before);

    let patterns: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    world.write("patterns", patterns.join("\n").as_bytes());
    let ran = world.run(&[
        "backup",
        "--exclude-file",
        &world.text("patterns"),
        &world.text("many"),
    ]);
    ran.says(
        0,
        "all 20000 exclude patterns count; the snapshot records the first 15329",
    );
    assert!(
        !world
            .ls(&["latest"])
            .iter()
            .any(|path| path.ends_with("/16384"))
    );
}

#[test]
fn what_is_not_saved_is_said() {
    let world = World::with_files();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("files/socket")).unwrap();
    world.run(&["backup", "."]).says(0, "files/socket");
}

#[test]
fn a_dry_run_and_an_unchanged_backup_write_no_snapshot() {
    let world = World::with_files();
    let before = world.objects("");
    let summary = world.backup(&["-n", "."]);
    assert_eq!(
        (&summary["dry_run"], summary.get("snapshot_id")),
        (&true.into(), None)
    );
    assert_eq!(world.objects(""), before);
    world.backup(&["."]);
    // As in restic, the folders above count, and other tests make folders beside this one.
    let mut tries = 0..20;
    let skipped = tries.find(|_| {
        let summary = world.backup(&["--skip-if-unchanged", "."]);
        summary.get("snapshot_id").is_none()
    });
    let written = skipped.expect("nothing changes for a moment");
    assert_eq!(world.snapshots().len(), written + 1);
    assert_eq!(world.backup(&["--force", "."])["files_new"], 3);
}

#[test]
fn own_folders_are_left_out() {
    let world = World::with_files();
    let ran = world.run(&["backup", ".."]);
    assert_eq!(ran.code, 0);
    let repo = world.text("repo");
    assert!(ran.stderr.contains(&format!(
        "leaving out {repo}: it is this backup's own repository"
    )));
    let listed = world.ls(&["latest"]);
    assert!(listed.contains(&"/files/a.txt".to_owned()));
    let own = ["/repo", "/state/dolmen"];
    assert!(
        !listed
            .iter()
            .any(|path| own.iter().any(|own| path.starts_with(own)))
    );
    let packs = world.text("repo/packs");
    for inside in [&repo, &packs] {
        world.run(&["backup", inside]).fails(
            2,
            &format!(
                "dolmen: cannot back up {inside}: it lies in the repository {repo}\n\
                 hint: copy a repository with a tool that copies files, while no backup runs\n"
            ),
        );
    }
}

#[test]
fn files_are_named_with_v() {
    let world = World::with_files();
    let text = world.done(&["backup", "-v", "."]);
    assert!(
        text.contains(&format!("new       {}\n", world.text("files/a.txt"))),
        "{text}"
    );
    let messages = messages(&world.done(&["backup", "--json", "-vv", "."]));
    let unchanged = messages
        .iter()
        .find(|message| message["item"] == world.text("files/a.txt"));
    // As in restic, programs are told of all with the first -v.
    let once = world.done(&["backup", "--json", "-v", "."]);
    assert!(once.contains("\"action\":\"unchanged\""), "{once}");
    assert_eq!(unchanged.unwrap()["action"], "unchanged");
    assert_eq!(unchanged.unwrap()["message_type"], "verbose_status");
}

#[test]
fn listings_follow_restic() {
    let world = World::with_files();
    world.backup(&["."]);
    assert_eq!(
        world.ls(&["latest", "/sub"]),
        ["/sub", "/sub/b.txt", "/sub/c.log"]
    );
    assert_eq!(world.ls(&["latest", "--recursive", "/sub"]).len(), 3);
    let lines = messages(&world.done(&["ls", "--json", "latest:/"]));
    assert_eq!(lines[0]["message_type"], "snapshot");
    let file = lines
        .iter()
        .find(|line| line["path"] == "/sub/c.log")
        .unwrap();
    assert_eq!(file["message_type"], "node");
    assert_eq!(
        (&file["type"], &file["size"], &file["name"]),
        (&"file".into(), &300_000.into(), &"c.log".into())
    );
    let file = "latest:/sub/c.log";
    assert_eq!(world.ls(&[file]), ["/c.log"], "a file stands for itself");
    world
        .run(&["ls", "latest", "/none"])
        .says(1, "dolmen: path /none is not in snapshot ");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::with_repository();
    for number in 0..3000 {
        world.write(&format!("files/a-rather-long-name-{number}"), b"");
    }
    world.backup(&["."]);
    let mut command = world.command(&["ls", "latest"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_interrupted_backup_exits_with_130() {
    let world = World::with_repository();
    let mut command = world.command(&["backup", "--stdin"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds: the program is reading.
    stdin.write_all(&vec![0; 4 << 20]).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let begun = Instant::now();
    let status = child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(status.code(), Some(130));
    drop(stdin);
    assert!(world.snapshots().is_empty());
}
