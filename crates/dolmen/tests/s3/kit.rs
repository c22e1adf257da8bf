//! The recovery kit of a repository in a bucket.

use crate::machine::{Machine, noise};
use crate::world::Ran;

#[test]
fn a_fresh_machine_needs_the_kit_and_store_credentials_alone() {
    let machine = Machine::with_repository("kit", &["--protect", "1h"]);
    machine.world.write("files/a.txt", b"first");
    machine.world.write("files/noise", &noise(1, 1_000_000));
    machine.done(&["backup", "."]);
    let pages = [
        machine.world.text("kit.html"),
        machine.world.text("kit.txt"),
    ];
    machine.done(&["key", "export", "--out", &pages[0], "--text", &pages[1]]);
    let text = String::from_utf8(machine.world.read("kit.txt")).unwrap();
    assert!(
        text.contains(&format!("-r {} ", machine.address())),
        "{text}"
    );
    assert!(text.contains("AWS_SECRET_ACCESS_KEY"), "{text}");
    for page in pages {
        let fresh = Machine::new("kit");
        let target = fresh.world.text("restored");
        let run = |arguments: &[&str]| {
            let mut command = fresh.command(arguments);
            command.env_remove("DOLMEN_REPOSITORY");
            command.env_remove("DOLMEN_PASSWORD");
            Ran::of(command.env("DOLMEN_RECOVERY_KIT", &page).output().unwrap())
        };
        let ran = run(&["restore", "latest", "--target", &target]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        for name in ["a.txt", "noise"] {
            let restored = std::fs::read(fresh.world.path("restored").join(name)).unwrap();
            assert_eq!(restored, machine.world.read(&format!("files/{name}")));
        }
        assert_eq!(run(&["key", "verify-kit", &page]).code, 0);
    }
}
