//! Keys that can do one thing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::world::{Ran, World, messages, noise};

/// Another machine, that has a key file and knows no passphrase.
struct Holder<'w> {
    /// Whose repository it is.
    owner: &'w World,
    own: World,
    key: PathBuf,
}

impl<'w> Holder<'w> {
    /// Has the owner make a key, and gives it to a machine.
    fn of(owner: &'w World, role: &str, name: &str, more: &[&str]) -> Self {
        let (own, file) = (World::new(), owner.text(&format!("{name}.key")));
        let add = ["key", "add", "--role", role, name, "--out", &file];
        owner.done(&[&add, more].concat());
        Self {
            owner,
            own,
            key: file.into(),
        }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.own.command(arguments);
        command
            .env_remove("DOLMEN_PASSWORD")
            .env("DOLMEN_REPOSITORY", self.owner.path("repo"))
            .env("DOLMEN_KEY_FILE", &self.key);
        Ran::of(command.output().unwrap())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    #[track_caller]
    fn told(&self, arguments: &[&str]) -> Value {
        let stdout = self.done(&[arguments, &["--json"]].concat());
        messages(&stdout).pop().unwrap()
    }

    /// Restores the owner's view of a snapshot and compares it with this machine's files.
    #[track_caller]
    fn has(&self, reader: &dyn Fn(&[&str]) -> String, snapshot: &str) {
        let target = tempfile::tempdir().unwrap();
        reader(&[
            "restore",
            snapshot,
            "--target",
            target.path().to_str().unwrap(),
        ]);
        let files = self.own.path("files");
        let restored = target.path().join(files.strip_prefix("/").unwrap());
        let restored = if restored.exists() {
            restored
        } else {
            target.path().to_owned()
        };
        let compared = std::process::Command::new("diff")
            .args(["-r".as_ref(), files.as_os_str(), restored.as_os_str()])
            .output()
            .unwrap();
        assert!(compared.status.success(), "{compared:?}");
    }
}

#[test]
fn a_backup_key_backs_up_and_does_nothing_else() {
    let owner = World::with_repository();
    let machine = Holder::of(&owner, "backup", "web1", &[]);
    machine
        .own
        .write("files/a secret name", &noise(1, 3_000_000));
    let first = machine.told(&["backup", "."]);
    machine.own.write("files/b", b"more");
    machine.told(&["backup", "."]);

    // Without a cache nothing is stored twice: the state folder knows.
    std::fs::remove_dir_all(machine.own.path("cache")).unwrap();
    machine.own.write("files/c", b"and more");
    let third = machine.told(&["backup", "."]);
    assert!(third["data_added"].as_u64().unwrap() < 100_000, "{third}");
    machine.has(
        &|arguments| owner.done(arguments),
        third["snapshot_id"].as_str().unwrap(),
    );

    let listed = machine.done(&["snapshots", "--json"]);
    assert!(listed.contains(first["snapshot_id"].as_str().unwrap()));
    for name in ["paths", "hostname", "username", "tags", "tree"] {
        assert!(!listed.contains(name), "{listed}");
    }
    for refused in [
        &["restore", "latest", "--target", "/nowhere"] as &[&str],
        &["ls", "latest"],
        &["cat", "snapshot", "latest"],
        &["forget", "latest"],
        &["prune"],
        &["renew"],
        &["maintain"],
        &["check"],
        &["recover"],
        &["repair", "index"],
        &["policy", "set", "--keep-last", "1"],
        &[
            "key", "add", "--role", "backup", "other", "--out", "/nowhere",
        ],
        &["key", "revoke", "web1"],
        &["key", "passwd"],
    ] {
        let ran = machine.run(refused);
        assert_eq!(ran.code, 13, "{refused:?}\n{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("this key may not"), "{}", ran.stderr);
    }
    // What the machine holds has no name of a file of its own backups in it, nor what is in them.
    for path in owner.objects("").into_iter().chain([machine.key.clone()]) {
        let bytes = std::fs::read(&path).unwrap();
        let secret = b"a secret name";
        let found = bytes.windows(secret.len()).any(|part| part == secret);
        assert!(!found, "{}", path.display());
    }
}

#[test]
fn a_restore_key_reads_every_machine_and_writes_nothing() {
    let owner = World::with_files();
    owner.backup(&["."]);
    let reader = Holder::of(&owner, "restore", "reader", &[]);
    // Made later, in a domain of its own.
    let machine = Holder::of(&owner, "backup", "web1", &[]);
    machine.own.write("files/a", &noise(2, 2_000_000));
    let theirs = machine.told(&["backup", "."]);
    let theirs = theirs["snapshot_id"].as_str().unwrap();

    let listed = reader.told(&["snapshots"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    machine.has(&|arguments| reader.done(arguments), theirs);
    reader.done(&["check", "--read-data"]);
    owner.done(&["check", "--read-data"]);
    for refused in [
        &["backup", "."] as &[&str],
        &["forget", theirs],
        &["prune"],
        &["renew"],
        &["key", "revoke", "web1"],
    ] {
        let ran = reader.run(refused);
        assert_eq!(ran.code, 13, "{refused:?}\n{}\n{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_maintain_key_maintains_and_reads_nothing() {
    let owner = World::new();
    let terms = ["--protect", "4s", "--generation", "2s", "--every", "1s"];
    owner.done(&[&["init"], &terms as &[&str]].concat());
    owner.done(&["policy", "set", "--keep-last", "3"]);
    let machine = Holder::of(&owner, "backup", "web1", &[]);
    let keeper = Holder::of(&owner, "maintain", "keeper", &[]);
    for round in 0..6_u64 {
        machine.own.write("files/kept", &noise(50, 2_000_000));
        machine.own.write("files/changes", &noise(round, 2_000_000));
        machine.told(&["backup", "."]);
        owner.write("files/changes", &noise(100 + round, 1_000_000));
        owner.backup(&["."]);
    }
    let listed = keeper.done(&["snapshots", "--json"]);
    assert!(!listed.contains("hostname"), "{listed}");
    let before = owner.objects("packs").len();
    let mut turns = 0;
    while owner.objects("packs").len() >= before.saturating_sub(6) {
        let ran = keeper.run(&["maintain"]);
        // Much of a group that goes at once is an alarm.
        assert!(
            [0, 21].contains(&ran.code),
            "{}\n{}",
            ran.stdout,
            ran.stderr
        );
        turns += 1;
        assert!(turns < 60, "space did not come back");
        std::thread::park_timeout(std::time::Duration::from_millis(500));
    }
    keeper.done(&["audit"]);
    keeper.done(&["status"]);
    // Without its cache it learns all of it again.
    std::fs::remove_dir_all(keeper.own.path("cache")).unwrap();
    keeper.done(&["maintain"]);
    owner.done(&["check", "--read-data"]);
    assert_eq!(owner.snapshots().len(), 6);
    machine.has(&|arguments| owner.done(arguments), "latest~1");
    for refused in [
        &["restore", "latest", "--target", "/nowhere"] as &[&str],
        &["ls", "latest"],
        &["cat", "snapshot", "latest"],
        &["backup", "."],
        &["check"],
        &["forget", "latest"],
        &["policy", "set", "--keep-last", "1"],
        &["repair", "index"],
        &[
            "key", "add", "--role", "backup", "other", "--out", "/nowhere",
        ],
    ] {
        let ran = keeper.run(refused);
        assert_eq!(ran.code, 13, "{refused:?}\n{}\n{}", ran.stdout, ran.stderr);
    }
    // Backups build upon what was moved.
    let more = machine.told(&["backup", "."]);
    assert!(more["data_added"].as_u64().unwrap() < 100_000, "{more}");
    owner.done(&["check", "--read-data"]);
}

#[test]
fn no_machine_builds_upon_what_another_says_it_stored() {
    let owner = World::with_repository();
    let content = noise(3, 3_000_000);
    let backs_up = |name: &str, more: &[&str]| {
        let machine = Holder::of(&owner, "backup", name, more);
        machine.own.write("files/same", &content);
        let summary = machine.told(&["backup", "."]);
        machine.has(
            &|arguments| owner.done(arguments),
            summary["snapshot_id"].as_str().unwrap(),
        );
        summary["data_added"].as_u64().unwrap()
    };
    for (name, more) in [
        ("one", &[] as &[&str]),
        ("two", &[]),
        ("three", &["--domain", "lab"]),
        ("four", &["--domain", "lab"]),
    ] {
        assert!(backs_up(name, more) > 2_900_000, "{name}");
    }
    owner.done(&["check", "--read-data"]);
}

#[test]
fn a_revoked_key_writes_no_more_and_what_it_wrote_since_is_quarantined() {
    let owner = World::with_repository();
    let machine = Holder::of(&owner, "backup", "web1", &[]);
    machine.own.write("files/a", b"before");
    let before = machine.told(&["backup", "."]);
    std::thread::park_timeout(std::time::Duration::from_millis(1100));
    let since = jiff::Timestamp::now().to_string();
    std::thread::park_timeout(std::time::Duration::from_millis(1100));
    machine.own.write("files/a", b"after");
    let after = machine.told(&["backup", "."]);
    owner.done(&["key", "revoke", "web1", "--since", &since]);

    let ids = |arguments: &[&str]| -> Vec<String> {
        let listed: Value = serde_json::from_str(&owner.done(arguments)).unwrap();
        let listed = listed.as_array().unwrap().iter();
        listed
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = before["snapshot_id"].as_str().unwrap();
    let after = after["snapshot_id"].as_str().unwrap();
    assert_eq!(ids(&["snapshots", "--json"]), [before]);
    assert_eq!(
        ids(&["snapshots", "--json", "--include-revoked"]),
        [before, after]
    );
    let ran = machine.run(&["backup", "."]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(ran.stderr.contains("revoked"), "{}", ran.stderr);
    machine.has(&|arguments| owner.done(arguments), after);
    let keys: Value = serde_json::from_str(&owner.done(&["key", "list", "--json"])).unwrap();
    let key = keys
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["name"] == "web1");
    assert!(key.unwrap()["revoked_since"].is_string(), "{keys}");
}

#[test]
fn what_a_thief_does_with_a_machines_key_is_an_alarm_there_and_poisons_nothing() {
    let owner = World::with_repository();
    let machine = Holder::of(&owner, "backup", "web1", &[]);
    machine.own.write("files/a", &noise(7, 2_000_000));
    machine.told(&["backup", "."]);
    let thief = Holder {
        owner: &owner,
        own: World::new(),
        key: machine.key.clone(),
    };
    // It knows what the machine will store next, and says that it is there.
    thief.own.write("files/b", &noise(8, 2_000_000));
    thief.told(&["backup", ".", "--trust-own-history"]);
    for pack in owner.objects("packs") {
        let bytes = usize::try_from(pack.metadata().unwrap().len()).unwrap();
        if bytes > 1_000_000 && !is_first(&owner, &pack) {
            std::fs::write(&pack, vec![0; bytes]).unwrap();
        }
    }
    machine.own.write("files/b", &noise(8, 2_000_000));
    let ran = machine.run(&["backup", ".", "--json"]);
    assert_eq!(ran.code, 21, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("the key was copied"), "{}", ran.stderr);
    let summary = messages(&ran.stdout).pop().unwrap();
    let snapshot = summary["snapshot_id"].as_str().unwrap();
    machine.has(&|arguments| owner.done(arguments), snapshot);

    // On purpose it is none.
    let one = Holder::of(&owner, "backup", "farm", &["--shared"]);
    let two = Holder {
        owner: &owner,
        own: World::new(),
        key: one.key.clone(),
    };
    for member in [&one, &two, &one] {
        member.own.write("files/a", b"same job");
        member.told(&["backup", "."]);
    }
}

/// Whether a pack is the largest of those that were stored first.
fn is_first(owner: &World, pack: &std::path::Path) -> bool {
    let modified = |path: &std::path::Path| path.metadata().unwrap().modified().unwrap();
    let packs = owner.objects("packs");
    let large = packs
        .iter()
        .filter(|path| path.metadata().unwrap().len() > 1_000_000);
    large
        .min_by_key(|path| modified(path))
        .is_some_and(|first| first == pack)
}

#[test]
fn a_key_file_that_is_wrong_says_so() {
    let owner = World::with_files();
    owner.backup(&["."]);
    let passphrase = owner.text("wrap");
    owner.write("wrap", b"wrapped");
    let wrap = ["--passphrase", "--new-password-file", &passphrase];
    let reader = Holder::of(&owner, "restore", "reader", &wrap);
    let ran = reader.run(&["ls", "latest", "--password-file", &passphrase]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let wrong = reader.own.text("wrong");
    reader.own.write("wrong", b"another");
    assert_eq!(
        reader
            .run(&["ls", "latest", "--password-file", &wrong])
            .code,
        12
    );

    let machine = Holder::of(&owner, "backup", "web1", &[]);
    let mode = std::fs::metadata(&machine.key)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&machine.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = machine.run(&["snapshots"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("chmod 600"), "{}", ran.stderr);
    let mut damaged = std::fs::read(&machine.key).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] = if damaged[middle] == b'A' { b'B' } else { b'A' };
    std::fs::write(&machine.key, damaged).unwrap();
    assert_eq!(machine.run(&["snapshots"]).code, 12);
    std::fs::write(&machine.key, "no key").unwrap();
    assert_eq!(machine.run(&["snapshots"]).code, 12);
    // Of another repository.
    let other = World::with_repository();
    let stray = Holder::of(&other, "backup", "web1", &[]);
    std::fs::copy(&stray.key, &machine.key).unwrap();
    let ran = machine.run(&["snapshots"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);

    let again = owner.run(&[
        "key",
        "add",
        "--role",
        "backup",
        "web1",
        "--out",
        &owner.text("x"),
    ]);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(!owner.path("x").exists());
}

#[test]
fn an_admins_key_file_opens_everything() {
    let owner = World::with_files();
    owner.backup(&["."]);
    let admin = Holder::of(&owner, "admin", "second", &[]);
    admin.own.write("files/a", b"by the second admin");
    admin.told(&["backup", "."]);
    let listed = admin.told(&["snapshots"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    admin.has(&|arguments| admin.done(arguments), "latest");
    admin.done(&["check", "--read-data"]);
    admin.done(&["maintain"]);
    // No passphrase opened the repository that could be changed: this is one more.
    owner.write("new", b"one more");
    admin.done(&["key", "passwd", "--new-password-file", &owner.text("new")]);
    for passphrase in ["secret", "one more"] {
        let ran = owner.run_with(("DOLMEN_PASSWORD", passphrase), &["snapshots"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}
