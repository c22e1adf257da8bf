//! Bringing files back.

use crate::world::{World, messages};

#[test]
fn paths_are_recreated_whole_below_the_target() {
    let world = World::with_files();
    world.backup(&[&world.text("files")]);
    let text = world.done(&[
        "restore",
        "latest",
        "--target",
        &world.text("back"),
        "--verify",
    ]);
    assert!(
        text.contains("3 files read back and found right\n"),
        "{text}"
    );
    let inside = format!("back{}", world.text("files"));
    for name in ["a.txt", "sub/b.txt", "sub/c.log", "link"] {
        assert_eq!(
            world.read(&format!("{inside}/{name}")),
            world.read(&format!("files/{name}"))
        );
    }
    assert!(world.path(&format!("{inside}/link")).is_symlink());
}

#[test]
fn a_backup_of_the_current_folder_comes_back_as_the_target() {
    let world = World::with_files();
    world.backup(&["."]);
    world.done(&["restore", "latest", "--target", &world.text("back")]);
    assert_eq!(
        world.tree("back"),
        [
            "back/a.txt",
            "back/link",
            "back/sub/b.txt",
            "back/sub/c.log"
        ]
    );
    assert_eq!(world.read("back/a.txt"), world.read("files/a.txt"));
}

#[test]
fn a_restore_never_removes_what_it_reads_from() {
    let world = World::with_files();
    world.backup(&["."]);
    let everything = world.path("");
    world.write("stranger", b"x");
    let text = world.done(&[
        "restore",
        "latest:/",
        "--target",
        everything.to_str().unwrap(),
        "--delete",
    ]);
    assert!(text.contains(" deleted\n"), "{text}");
    assert!(!world.path("stranger").exists());
    assert!(!world.path("files").exists());
    std::fs::create_dir_all(world.path("files")).unwrap();
    world.done(&["check", "--read-data"]);

    for inside in ["repo", "repo/packs/new", "state/dolmen", "cache/dolmen/x"] {
        world
            .run(&["restore", "latest", "--target", &world.text(inside)])
            .says(2, "it lies in this ");
    }
}

#[test]
fn no_way_leads_a_restore_into_its_repository() {
    let world = World::with_files();
    world.backup(&["."]);
    let before = world.objects("");
    for delete in [&[] as &[&str], &["--delete"]] {
        let target = world.text("nope/../repo");
        let arguments = [&["restore", "latest", "--target", &target], delete].concat();
        world.run(&arguments).says(2, "cannot tell where");
        std::os::unix::fs::symlink(world.path("repo"), world.path("alias")).unwrap();
        let target = world.text("alias/new");
        let arguments = [&["restore", "latest", "--target", &target], delete].concat();
        world.run(&arguments).says(2, "it lies in this repository");
        std::fs::remove_file(world.path("alias")).unwrap();
    }
    assert_eq!(world.objects(""), before);
}

/// A snapshot may hold something at the very place of the repository, or above it.
#[test]
fn nothing_in_a_snapshot_takes_the_place_of_its_repository() {
    for name in ["repo", "repo/packs/junk"] {
        let world = World::with_files();
        // The sources have, at the repository's place below the target, a file or a folder.
        world.write(&format!("files/place/{name}"), b"other");
        world.backup(&["."]);
        let part = "latest:/place";
        let before = world.objects("");
        let target = world.text("");
        for options in [&["--dry-run"] as &[&str], &[], &["--delete"]] {
            let arguments = [&["restore", part, "--target", &target], options].concat();
            world.run(&arguments).says(0, "/repo stays as it is");
            assert_eq!(world.objects(""), before, "{name} {options:?}");
        }
        std::fs::create_dir_all(world.path("files")).unwrap();
        world.done(&["check", "--read-data"]);
    }
}

#[test]
fn a_file_never_takes_the_place_of_a_folder_that_holds_the_repository() {
    let world = World::with_files();
    world.write("files/place/disk", b"a file");
    world.backup(&["."]);
    std::fs::create_dir_all(world.path("target/disk")).unwrap();
    std::fs::rename(world.path("repo"), world.path("target/disk/repo")).unwrap();
    let repo = world.text("target/disk/repo");
    let part = "latest:/place";
    let target = world.text("target");
    world
        .run(&["restore", "-r", &repo, part, "-t", &target, "--delete"])
        .says(1, "/disk");
    world.done(&["check", "-r", &repo, "--read-data"]);
}

#[test]
fn a_latest_snapshot_that_is_gone_is_missed() {
    let world = World::with_files();
    world.backup(&["."]);
    let gone = world.backup(&["--force", "."])["snapshot_id"].clone();
    let gone = gone.as_str().unwrap();
    let path = world.objects("snapshots").into_iter();
    std::fs::remove_file(path.into_iter().find(|path| path.ends_with(gone)).unwrap()).unwrap();
    for command in [["ls", "latest"].as_slice(), &["snapshots"]] {
        world
            .run(command)
            .says(0, &format!("snapshot {gone} is gone"));
    }
}

#[test]
fn a_part_is_restored_without_what_is_above_it() {
    let world = World::with_files();
    world.backup(&["."]);
    let part = "latest:/sub";
    let summary = messages(&world.done(&["restore", "--json", part, "-t", &world.text("back")]));
    let summary = summary.last().unwrap();
    assert_eq!(summary["message_type"], "summary");
    assert_eq!(
        (&summary["bytes_restored"], &summary["errors"]),
        (&300_006.into(), &0.into())
    );
    assert!(summary["files_restored"].as_u64() >= Some(2));
    assert!(summary["total_files"].as_u64() >= Some(2));
    assert_eq!(world.tree("back"), ["back/b.txt", "back/c.log"]);
    world
        .run(&["restore", "latest:/none", "-t", &world.text("back")])
        .says(1, "/none");
}

#[test]
fn patterns_choose_what_is_restored() {
    let world = World::with_files();
    world.backup(&["."]);
    let part = "latest:/";
    world.done(&[
        "restore",
        part,
        "-t",
        &world.text("in"),
        "--include",
        "*.txt",
    ]);
    assert_eq!(world.tree("in"), ["in/a.txt", "in/sub/b.txt"]);
    world.write("patterns", b"*.TXT\nlink\n");
    let patterns = world.text("patterns");
    world.done(&[
        "restore",
        part,
        "-t",
        &world.text("out"),
        "--iexclude-file",
        &patterns,
    ]);
    assert_eq!(world.tree("out"), ["out/sub/c.log"]);
}

#[test]
fn what_is_there_is_treated_as_asked() {
    let world = World::with_files();
    world.backup(&["."]);
    let part = "latest:/";
    let target = world.text("back");
    world.write("back/a.txt", b"mine");
    world.write("back/foreign", b"mine");
    world.done(&["restore", part, "-t", &target, "--overwrite", "never"]);
    assert_eq!(world.read("back/a.txt"), b"mine");
    world.done(&["restore", part, "-t", &target, "--dry-run", "--delete"]);
    assert_eq!(world.read("back/a.txt"), b"mine");
    world.done(&["restore", part, "-t", &target]);
    assert_eq!(world.read("back/a.txt"), b"first");
    assert_eq!(world.read("back/foreign"), b"mine");
    world.done(&["restore", part, "-t", &target, "--delete", "--sparse"]);
    assert!(!world.path("back/foreign").exists());
    let text = world.done(&["restore", part, "-t", &target, "-vv"]);
    assert!(text.contains("unchanged /a.txt\n"), "{text}");
}

#[test]
fn a_snapshot_is_chosen_by_filters() {
    let world = World::with_files();
    world.backup(&["--host", "one", "."]);
    world.write("files/a.txt", b"changed");
    world.backup(&["--host", "two", "."]);
    let part = "latest:/";
    world.done(&["restore", part, "-t", &world.text("one"), "--host", "one"]);
    assert_eq!(world.read("one/a.txt"), b"first");
    let part = "latest~1:/";
    world.done(&["restore", part, "-t", &world.text("before")]);
    assert_eq!(world.read("before/a.txt"), b"first");
    world
        .run(&["restore", "latest", "-t", "x", "--host", "three"])
        .fails(
            1,
            "dolmen: no snapshot matches latest\nhint: list what there is with: dolmen snapshots\n",
        );
}
