//! The demo.

use std::os::unix::fs::PermissionsExt as _;

use crate::world::{Ran, World, messages};

#[test]
fn the_demo_shows_that_nothing_was_lost() {
    let world = World::with_files();
    let mut command = world.command(&["demo", "."]);
    let output = command.env("TMPDIR", world.path("")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), stderr.as_str()),
        (Some(0), ""),
        "{stdout}"
    );
    assert!(
        stdout.contains("Wrong bytes passed off as right: 0."),
        "{stdout}"
    );
    assert!(stdout.contains("nothing was lost.\n"), "{stdout}");
    assert!(stdout.contains(" refused, 0 deleted"), "{stdout}");
    assert!(stdout.contains("came back, each byte\n"), "{stdout}");
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[lines.len() - 2], "10. Removing the temporary folder.");
    assert!(lines[lines.len() - 1].starts_with("That took "), "{stdout}");
    assert!(
        !world
            .tree("")
            .iter()
            .any(|name| name.contains("dolmen-demo"))
    );
    assert_eq!(world.read("files/a.txt"), b"first");
}

#[test]
fn the_demo_names_what_it_could_not_read() {
    let world = World::with_files();
    let unreadable = |name: &str| {
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(world.path(name), closed).unwrap();
    };
    unreadable("files/a.txt");
    unreadable("files/sub/b.txt");
    let demo = |arguments: &[&str]| Ran::of(world.command_as_nobody(arguments).output().unwrap());
    let ran = demo(&["demo", "."]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (a, b) = (world.text("files/./a.txt"), world.text("files/./sub/b.txt"));
    let line = format!("   Left out, because this user cannot read it: 2 items ({a}, {b}).\n");
    assert!(ran.stdout.contains(&line), "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("nothing was lost of what could be read.\n"),
        "{}",
        ran.stdout
    );
    unreadable("files/sub");
    let sub = world.text("files/sub");
    demo(&["demo", "sub"]).fails(
        2,
        &format!(
            "dolmen: cannot read {sub}: Permission denied (os error 13)\n\
             hint: name a folder that this user can read: dolmen demo DIR\n"
        ),
    );
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(world.path("files/sub"), open).unwrap();
}

#[test]
fn the_demo_gives_programs_a_summary() {
    let world = World::with_files();
    let mut command = world.command(&["demo", "--json", "."]);
    let ran = Ran::of(command.env("TMPDIR", world.path("")).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let summary = messages(&ran.stdout);
    assert_eq!(summary.len(), 1);
    assert_eq!(summary[0]["message_type"], "summary");
    assert_eq!(
        (&summary[0]["files"], &summary[0]["unreadable"]),
        (&3.into(), &0.into())
    );
}
