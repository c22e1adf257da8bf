//! Arguments and environment.

use crate::world::{World, messages};

#[test]
fn help_is_a_command() {
    let world = World::new();
    for (arguments, part) in [
        (["help"].as_slice(), "Make a repository"),
        (&["help", "backup"], "--exclude-file"),
        (&["help", "key", "passwd"], "--new-password-file"),
    ] {
        let text = world.done(arguments);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn arguments_that_cannot_be_read_exit_with_2() {
    let world = World::with_repository();
    for arguments in [
        &[] as &[&str],
        &["frobnicate"],
        &["forget"],
        &["backup"],
        &["restore", "latest"],
        &["restore", "--target", "x"],
        &["init", "--protect", "soon"],
        &["init", "--protect", "1d", "--generation", "2d"],
        &["check", "--read-data-subset", "6/5"],
        &["check", "--read-data", "--read-data-subset", "1/5"],
        &["snapshots", "-q", "-v"],
        &["snapshots", "-o", "novalue"],
        &["snapshots", "--repository-id", "xyz"],
        &["backup", "x", "--exclude", "["],
        &["backup", "x", "--exclude-file", "none"],
        &["backup", "x", "--exclude-larger-than", "big"],
        &["backup", "x", "--time", "soon"],
        &["backup", "x", "--read-concurrency", "0"],
        &["snapshots", "-o", "foo=bar"],
        &["snapshots", "--latest", "0"],
        &["backup", "--stdin", "x"],
        &["backup", "--stdin-from-command"],
        &[
            "restore",
            "latest",
            "-t",
            "x",
            "--include",
            "a",
            "--exclude",
            "b",
        ],
        &["restore", "latest", "-t", "/", "--delete"],
        &["-r", "/a", "--repository-file", "/b", "snapshots"],
        &[
            "--password-file",
            "/a",
            "--password-command",
            "b",
            "snapshots",
        ],
        &["-r", "s3:bucket", "snapshots"],
        &["-r", "b2:bucket", "snapshots"],
        &["-r", "sftp:user@host:/path", "snapshots"],
        &["ls", "latest", "relative"],
        &["cat", "nothing"],
        &["key"],
        &["repair", "everything"],
        &["completions", "tcsh"],
        &["demo", "/no/such/folder"],
    ] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.is_empty(), "{arguments:?}: {}", ran.stdout);
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let world = World::new();
    assert!(world.done(&["--help"]).contains("Exit codes: 0 done;"));
    assert!(
        world
            .done(&["backup", "--help"])
            .contains("--exclude-if-present <NAME[:HEADER]>")
    );
    assert_eq!(
        world.done(&["--version"]),
        concat!("dolmen ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for arguments in [["version", "--json"], ["--version", "--json"]] {
        let version = messages(&world.done(&arguments)).pop().unwrap();
        assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(version["os"], "linux");
    }
    let text = world.done(&["key", "passwd", "--help"]);
    assert!(text.contains("the old key bundle stays in it"), "{text}");
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            world.done(&["completions", shell]).contains("snapshots"),
            "{shell}"
        );
    }
    assert!(world.done(&["man"]).contains(".TH dolmen 1"));
    world.done(&["man", &world.text("pages")]);
    assert!(world.path("pages/dolmen-backup.1").exists());
}

#[test]
fn other_stores_are_refused_by_name() {
    World::new().run(&["-r", "b2:bucket", "snapshots"]).fails(
        2,
        "dolmen: cannot use b2:bucket: B2 stores are not supported by this version\n\
         hint: give a folder, as /path, or a bucket, as s3:https://host/bucket\n",
    );
    World::new().run(&["-r", "s3:bucket", "snapshots"]).fails(
        2,
        "dolmen: cannot use s3:bucket: write it as s3:https://host/bucket/prefix or, on AWS, s3://bucket/prefix\n",
    );
}

#[test]
fn errors_are_json_when_that_is_asked_for() {
    let world = World::new();
    let ran = world.run(&["snapshots", "--json"]);
    let error = messages(&ran.stderr).pop().unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (10, ""));
    assert_eq!(error["message_type"], "exit_error");
    assert_eq!(error["code"], 10);
    assert_eq!(
        error["message"],
        format!("no repository at {}", world.text("repo"))
    );
    let ran = world.run(&["--json", "frobnicate"]);
    let error = messages(&ran.stderr).pop().unwrap();
    assert_eq!((ran.code, &error["code"]), (2, &2.into()));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("unrecognized subcommand")
    );
    let ran = world.run(&["--json", "restore", "latest"]);
    let error = messages(&ran.stderr).pop().unwrap();
    assert_eq!(
        error["message"],
        "the following required arguments were not provided: --target <DIR>"
    );
    let ran = world.run(&["backup", "x", "--read-concurrency", "-1"]);
    ran.says(
        2,
        "error: invalid value '-1' for '--read-concurrency <N>': give a number of files, 1 or more\n",
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let world = World::with_files();
    world
        .run_with(("DOLMEN_REPOSITORY", ""), &["snapshots"])
        .fails(
            2,
            "dolmen: no repository given\n\
         hint: name it with -r ADDRESS, or set DOLMEN_REPOSITORY\n\
         hint: `dolmen demo` shows what Dolmen does without one\n",
        );
    assert_eq!(
        world
            .run_with(("DOLMEN_PASSWORD_FILE", ""), &["snapshots"])
            .code,
        0
    );
    assert_eq!(
        world
            .run_with(("DOLMEN_COMPRESSION", ""), &["backup", "."])
            .code,
        0
    );
}

#[test]
fn a_variable_is_read_like_its_flag() {
    let world = World::with_repository();
    world
        .run_with(("DOLMEN_COMPRESSION", "zip"), &["backup", "."])
        .fails(
            2,
            "dolmen: DOLMEN_COMPRESSION is `zip`; it can be auto, off, fastest, better or max\n",
        );
    let both = ("DOLMEN_REPOSITORY_FILE", "/x");
    world.run_with(both, &["snapshots"]).fails(
        2,
        "dolmen: DOLMEN_REPOSITORY and DOLMEN_REPOSITORY_FILE are both set; keep one of them\n",
    );
    world.write("address", format!("  {}\n", world.text("repo")).as_bytes());
    let file = world.text("address");
    assert_eq!(
        world
            .run_with(
                ("DOLMEN_REPOSITORY", "/x"),
                &["--repository-file", &file, "snapshots"]
            )
            .code,
        0
    );
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    let world = World::with_repository();
    let elsewhere = ("DOLMEN_REPOSITORY", "/nowhere");
    let repo = world.text("repo");
    for arguments in [
        ["-r", &repo, "snapshots", "--json"],
        ["--json", "snapshots", "--repo", &repo],
        ["snapshots", "--json", "-r", &repo],
    ] {
        let ran = world.run_with(elsewhere, &arguments);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "[]\n"),
            "{}",
            ran.stderr
        );
    }
    let relative = world.run(&["-r", "local:../repo", "snapshots", "-o", "s3.connections=5"]);
    assert_eq!(
        (relative.code, relative.stdout.as_str()),
        (0, "0 snapshots\n")
    );
}
