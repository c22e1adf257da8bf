//! Making a repository, opening it, knowing it again.

use std::os::unix::fs::PermissionsExt as _;

use crate::world::{World, messages};

#[test]
fn init_says_what_it_made() {
    let world = World::new();
    let ran = world.run(&["init", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let made = messages(&ran.stdout).pop().unwrap();
    assert_eq!(made["message_type"], "initialized");
    assert_eq!(made["id"].as_str().unwrap().len(), 64);
    assert_eq!(made["repository"], world.text("repo"));
    assert_eq!(made["lock"], "none");
    assert_eq!(made["protect_seconds"], 30 * 86400);
    assert_eq!(made["generation_seconds"], 7 * 86400);
    let warning = messages(&ran.stderr).pop().unwrap();
    assert!(
        warning["message"]
            .as_str()
            .unwrap()
            .starts_with("lock: none. ")
    );
    assert!(
        world
            .path("repo/root")
            .join(made["id"].as_str().unwrap())
            .exists()
    );
}

#[test]
fn init_on_a_repository_exits_with_1() {
    let world = World::with_repository();
    let repo = world.text("repo");
    world.run(&["init"]).fails(
        1,
        &format!(
            "dolmen: a repository already exists at {repo}\n\
             hint: use it as it is: dolmen snapshots -r {repo}\n\
             hint: or give another address\n"
        ),
    );
}

#[test]
fn init_refuses_what_it_cannot_keep() {
    let world = World::new();
    let repo = world.text("repo");
    world.run(&["init", "--lock", "compliance"]).fails(
        1,
        &format!(
            "dolmen: cannot make a repository at {repo}: --lock compliance needs a store with Object Lock, and a folder has none\n\
             hint: a folder by itself takes --lock none: damage is then found, not prevented\n"
        ),
    );
    assert!(!world.path("repo").exists());
    world.write("repo/something", b"");
    world.run(&["init"]).says(1, "the folder is not empty");
    std::fs::remove_file(world.path("repo/something")).unwrap();
    world
        .run(&["init", "--protect", "20s"])
        .says(0, "warning: --protect 20s is below 1d");
}

#[test]
fn a_repository_is_looked_for_before_a_passphrase() {
    let world = World::new();
    let repo = world.text("repo");
    let none = ("DOLMEN_PASSWORD", "");
    let message = format!(
        "dolmen: no repository at {repo}\n\
         hint: make one with: dolmen init -r {repo}\n\
         hint: if it lies on another disk or machine, see that this is mounted\n"
    );
    world.run_with(none, &["snapshots"]).fails(10, &message);
    std::fs::create_dir(world.path("repo")).unwrap();
    world.run_with(none, &["snapshots"]).fails(10, &message);
    std::fs::remove_dir(world.path("repo")).unwrap();
    world.write("repo", b"a file");
    world.run_with(none, &["snapshots"]).fails(10, &message);
}

#[test]
fn a_passphrase_comes_from_many_places() {
    let world = World::with_repository();
    let repo = world.text("repo");
    world.write("right", b"\xEF\xBB\xBF secret \n");
    world.write("wrong", b"wrong");
    let (right, wrong) = (world.text("right"), world.text("wrong"));
    let none = ("DOLMEN_PASSWORD", "");
    assert_eq!(world.run_with(none, &["snapshots", "-p", &right]).code, 0);
    assert_eq!(
        world
            .run_with(none, &["snapshots", "--password-command", "echo 'secret'"])
            .code,
        0
    );
    assert_eq!(
        world
            .run_with(("DOLMEN_PASSWORD_FILE", &right), &["snapshots"])
            .code,
        0
    );
    world.run(&["snapshots", "-p", &wrong]).fails(
        12,
        &format!(
            "dolmen: cannot open the repository at {repo}: wrong passphrase or no key found\n\
             hint: check --password-file, --password-command and DOLMEN_PASSWORD\n"
        ),
    );
    world
        .run_with(none, &["snapshots"])
        .says(2, "and no terminal to ask for it at");
    world
        .run(&["snapshots", "--password-command", "true"])
        .fails(
            2,
            "dolmen: an empty passphrase protects nothing and is refused\n\
             hint: see that the command prints the passphrase on its stdout\n",
        );
    world
        .run(&["snapshots", "--password-command", "false"])
        .fails(
            1,
            "dolmen: the passphrase command false failed: exit status: 1\n\
             hint: try it by itself: --password-command and DOLMEN_PASSWORD_COMMAND take a program and its \
             arguments, and use no shell\n",
        );
    let gone = world.text("gone");
    world.run(&["snapshots", "-p", &gone]).fails(
        2,
        &format!(
            "dolmen: cannot read the passphrase file {gone}: No such file or directory (os error 2)\n\
             hint: see that --password-file or DOLMEN_PASSWORD_FILE names a file that this user can read\n"
        ),
    );
    std::fs::create_dir(world.path("credentials")).unwrap();
    std::fs::copy(
        world.path("right"),
        world.path("credentials/dolmen-password"),
    )
    .unwrap();
    let mut command = world.command(&["snapshots"]);
    command
        .env_remove("DOLMEN_PASSWORD")
        .env("CREDENTIALS_DIRECTORY", world.path("credentials"));
    assert!(command.output().unwrap().status.success());
}

#[test]
fn a_new_passphrase_replaces_the_old_one() {
    let world = World::with_files();
    world.backup(&["."]);
    let repo = world.text("repo");
    world.run(&["key", "passwd"]).fails(
        2,
        &format!(
            "dolmen: no new passphrase for {repo} given, and no terminal to ask for it at\n\
             hint: give the new one with --new-password-file FILE, DOLMEN_NEW_PASSWORD_FILE or \
             DOLMEN_NEW_PASSWORD\n"
        ),
    );
    let ran = world.run_with(("DOLMEN_NEW_PASSWORD", "changed"), &["key", "passwd"]);
    ran.says(0, "the old key bundle stays in the repository");
    ran.says(0, "make a new repository with another one");
    assert_eq!(world.objects("keys").len(), 2);
    let repo = world.text("repo");
    world.run(&["snapshots"]).fails(
        12,
        &format!(
            "dolmen: cannot open the repository at {repo}: this passphrase was changed\n\
             hint: use the new one\n\
             hint: if nobody of yours changed it, somebody did who knew it: open the repository with \
             --replaced-passphrase, restore, and make a new one with another passphrase\n"
        ),
    );
    let ran = world.run_with(("DOLMEN_PASSWORD", "changed"), &["snapshots"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    world.write("third", b"third\n");
    let mut command =
        world.command(&["key", "passwd", "--new-password-file", &world.text("third")]);
    assert!(
        command
            .env("DOLMEN_PASSWORD", "changed")
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(
        world
            .run_with(("DOLMEN_PASSWORD", "third"), &["snapshots"])
            .code,
        0
    );
}

#[test]
fn a_thief_who_changes_the_passphrase_locks_nobody_out() {
    let world = World::with_files();
    world.backup(&["."]);
    // More often than a wrong passphrase is tried on what was replaced.
    for stolen in 0..20 {
        let ran = world.run_with(
            ("DOLMEN_NEW_PASSWORD", &format!("changed {stolen}")),
            &["key", "passwd", "--replaced-passphrase"],
        );
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert_eq!(world.run(&["snapshots"]).code, 12);
    let target = world.text("target");
    let restore = ["restore", "latest", "--target", &target];
    let ran = world.run(&[&restore[..], &["--replaced-passphrase"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // A wrong one stays wrong.
    let ran = world.run_with(
        ("DOLMEN_PASSWORD", "wrong"),
        &["snapshots", "--replaced-passphrase"],
    );
    ran.says(12, "wrong passphrase");
}

#[test]
fn another_repository_at_the_address_is_refused_until_it_is_accepted() {
    let world = World::with_repository();
    let old = world.objects("root").pop().unwrap();
    let old = old.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::rename(world.path("repo"), world.path("away")).unwrap();
    let mut command = world.command(&["init"]);
    assert!(
        command
            .env("XDG_STATE_HOME", world.path("other"))
            .output()
            .unwrap()
            .status
            .success()
    );
    let new = world.objects("root").pop().unwrap();
    let new = new.file_name().unwrap().to_str().unwrap().to_owned();
    let repo = world.text("repo");
    world.run(&["snapshots"]).fails(
        1,
        &format!(
            "dolmen: cannot open the repository at {repo}: {repo} holds repository {new}, not {old}\n\
             hint: somebody may have put another repository in its place; nothing was changed\n\
             hint: if you did that yourself, accept it with: --trust-repository {new}\n\
             hint: if not, insist on the known one with: --repository-id {old}\n"
        ),
    );
    assert_eq!(world.run(&["snapshots", "--repository-id", &new]).code, 1);
    assert_eq!(
        world.run(&["snapshots", "--trust-repository", &new]).code,
        0
    );
    assert_eq!(world.run(&["snapshots"]).code, 0);
    // A fresh machine is told from outside.
    let elsewhere = world.text("fresh");
    let fresh = ("XDG_STATE_HOME", elsewhere.as_str());
    assert_eq!(
        world
            .run_with(fresh, &["snapshots", "--repository-id", &old])
            .code,
        1
    );
    assert_eq!(
        world
            .run_with(fresh, &["snapshots", "--repository-id", &new])
            .code,
        0
    );
}

#[test]
fn kept_copies_stand_in_for_a_lost_root_and_are_put_back() {
    let world = World::with_files();
    world.backup(&["."]);
    for lost in [world.objects("root"), world.objects("keys")].concat() {
        std::fs::remove_file(lost).unwrap();
    }
    world.run(&["snapshots"]).says(0, "missing from the store");
    assert!(world.objects("root").is_empty());
    let ran = world.run(&["backup", "."]);
    ran.says(0, "from this machine's copy");
    assert_eq!(
        (world.objects("root").len(), world.objects("keys").len()),
        (1, 1)
    );
    assert_eq!(world.run(&["snapshots"]).stderr, "");
    let kept = world.tree("state");
    let kept: Vec<_> = kept
        .iter()
        .filter(|name| name.contains("/standing/"))
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    for name in kept {
        assert_eq!(
            world.path(name).metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn an_emptied_folder_is_no_repository_whatever_is_remembered() {
    let world = World::with_files();
    world.backup(&["."]);
    std::fs::remove_dir_all(world.path("repo")).unwrap();
    std::fs::create_dir(world.path("repo")).unwrap();
    assert_eq!(world.run(&["backup", "."]).code, 10);
    assert!(world.tree("repo").is_empty());
}

#[test]
fn the_root_the_policy_and_objects_can_be_printed() {
    let world = World::with_files();
    let summary = world.backup(&["."]);
    let id = summary["snapshot_id"].as_str().unwrap();
    let (prefix, _) = id.split_at(10);
    let json = |arguments: &[&str]| messages(&world.done(arguments)).pop().unwrap();
    assert_eq!(json(&["cat", "root"])["version"], 1);
    assert_eq!(json(&["cat", "policy"])["lock"], "none");
    assert_eq!(json(&["cat", "snapshot", prefix])["id"], id);
    let segment = json(&["cat", "index", ""]);
    let pack = segment["packs"][0]["id"].as_str().unwrap();
    assert_eq!(json(&["cat", "pack", pack])["id"], pack);
    let tree = json(&["cat", "tree", "latest:/"]);
    let entry = tree["entries"].as_array().unwrap();
    let entry = entry
        .iter()
        .find(|entry| entry["path"] == "/a.txt")
        .unwrap();
    let blob = entry["content"][0].as_str().unwrap();
    assert_eq!(world.done(&["cat", "blob", blob]), "first");
    world
        .run(&["cat", "pack", "ffff"])
        .fails(
            1,
            "dolmen: no pack ffff is there\n\
             hint: give a full id or the first digits of one: the names of the objects below packs/\n",
        );
}
