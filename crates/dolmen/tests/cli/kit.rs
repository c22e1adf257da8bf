//! The recovery kit: what is left when all else is lost.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::world::{Ran, World, messages};

/// A machine on which nothing is known but what is given to it.
struct Fresh {
    own: World,
}

impl Fresh {
    /// With a kit in a file of its own.
    fn with_kit(kit: &str) -> Self {
        let own = World::new();
        own.write("kit", kit.as_bytes());
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(own.path("kit"), mode).unwrap();
        Self { own }
    }

    /// No passphrase, no state, no cache, and the address only where it is said.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.own.command(arguments);
        command
            .env_remove("DOLMEN_PASSWORD")
            .env_remove("DOLMEN_REPOSITORY")
            .env("DOLMEN_RECOVERY_KIT", self.own.path("kit"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Restores the latest snapshot and compares it.
    #[track_caller]
    fn restores(&self, owner: &World, more: &[&str]) {
        let target = self.own.text("restored");
        let ran = self.run(&[&["restore", "latest", "--target", &target], more].concat());
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        let files = owner.path("files");
        let restored = self.own.path("restored");
        let below = restored.join(files.strip_prefix("/").unwrap());
        same(&files, if below.exists() { &below } else { &restored });
    }
}

#[track_caller]
fn same(files: &Path, restored: &Path) {
    let compared = Command::new("diff")
        .args(["-r".as_ref(), files.as_os_str(), restored.as_os_str()])
        .output()
        .unwrap();
    assert!(compared.status.success(), "{compared:?}");
}

/// A repository with a backup, and its kit: as text, as HTML, the words.
fn exported() -> (World, String, String, Vec<String>) {
    let owner = World::with_files();
    owner.backup(&["."]);
    let (html, text) = (owner.text("kit.html"), owner.text("kit.txt"));
    owner.done(&["key", "export", "--out", &html, "--text", &text]);
    let text = String::from_utf8(owner.read("kit.txt")).unwrap();
    let html = String::from_utf8(owner.read("kit.html")).unwrap();
    let words = words_of(&text);
    (owner, text, html, words)
}

/// The words on a page, each behind its number.
fn words_of(page: &str) -> Vec<String> {
    let (_, block) = page.split_once("Made: ").unwrap();
    let (block, _) = block.split_once("-----END").unwrap();
    let tokens: Vec<_> = block.split_whitespace().skip(1).collect();
    let words: Vec<_> = tokens.chunks(2).map(|pair| pair[1].to_owned()).collect();
    assert_eq!(words.len(), 24, "{page}");
    words
}

fn id_of(page: &str) -> String {
    let (_, rest) = page.split_once("Repository: ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

fn lose_bundles(owner: &World) {
    let keys = owner.objects("keys");
    assert!(!keys.is_empty());
    for key in keys {
        std::fs::remove_file(key).unwrap();
    }
}

#[test]
fn each_form_of_the_kit_restores_when_all_else_is_lost() {
    let (owner, text, html, words) = exported();
    let as_key_file = owner.text("admin.key");
    // The text of the QR code is an admin's key file.
    owner.done(&["key", "add", "--role", "admin", "x", "--out", &as_key_file]);
    let scanned = String::from_utf8(owner.read("admin.key")).unwrap();
    lose_bundles(&owner);
    for folder in ["state", "cache", "home"] {
        drop(std::fs::remove_dir_all(owner.path(folder)));
    }
    for kit in [&text, &html, &scanned] {
        Fresh::with_kit(kit).restores(&owner, &[]);
    }
    let (repo, id) = (owner.text("repo"), id_of(&text));
    let numbered = words.iter().enumerate();
    let numbered = numbered.map(|(at, word)| format!("{}.\t{}\n", at + 1, word.to_uppercase()));
    for kit in [words.join(" "), numbered.collect()] {
        let fresh = Fresh::with_kit(&kit);
        fresh.restores(&owner, &["-r", &repo, "--repository-id", &id]);
        Fresh::with_kit(&kit).restores(&owner, &["-r", &repo]);
        // Nobody says where.
        let ran = fresh.run(&["snapshots"]);
        ran.says(2, "no repository given");
    }
}

#[test]
fn a_flipped_word_and_swapped_words_are_refused() {
    let (owner, text, html, words) = exported();
    let repo = owner.text("repo");
    let refused = |kit: &str| {
        let fresh = Fresh::with_kit(kit);
        let ran = fresh.run(&["snapshots", "-r", &repo]);
        assert_eq!(ran.code, 12, "{}", ran.stderr);
        let verified = fresh.run(&["key", "verify-kit", &fresh.own.text("kit"), "-r", &repo]);
        assert_eq!(verified.code, 12, "{}", verified.stderr);
        ran.stderr
    };
    let other = if words[4] == "zoo" { "zone" } else { "zoo" };
    let flip = |page: &str| {
        let numbered = format!(" 5 {:<8}", words[4]);
        assert!(page.contains(&numbered), "{page}");
        page.replacen(&numbered, &format!(" 5 {other:<8}"), 1)
    };
    refused(&flip(&text));
    refused(&flip(&html));
    let (first, second) = (0, words.iter().position(|word| *word != words[0]).unwrap());
    let mut swapped = words.clone();
    swapped.swap(first, second);
    refused(&swapped.join(" "));
    let mut mistyped = words.clone();
    mistyped[6] = "zooo".to_owned();
    let stderr = refused(&mistyped.join(" "));
    assert!(
        stderr.contains("word 7 is not in the list; the nearest that is: zoo"),
        "{stderr}"
    );
    let stderr = refused(&words[1..].join(" "));
    assert!(stderr.contains("has 24 words, not 23"), "{stderr}");
    refused("");
    // A right secret under a wrong id.
    let id = id_of(&text);
    let stderr = refused(&text.replace(&id, &"0".repeat(64)));
    assert!(stderr.contains("names repository 0000"), "{stderr}");
}

#[test]
fn a_kit_is_verified_without_a_passphrase_and_without_telling_it() {
    let (owner, text, html, words) = exported();
    let moved = owner.path("moved");
    for (kit, has_address) in [(&text, true), (&html, true), (&words.join(" "), false)] {
        let fresh = Fresh::with_kit(kit);
        let (file, repo) = (fresh.own.text("kit"), owner.text("repo"));
        let ran = fresh.run(&["key", "verify-kit", &file, "-r", &repo]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(&id_of(&text)), "{}", ran.stdout);
        assert_eq!(ran.stderr.contains("lacks the address"), !has_address);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        // One word alone may be a word of the messages.
        let tokens: Vec<_> = said.split(|letter: char| !letter.is_alphabetic()).collect();
        let told = tokens
            .windows(3)
            .any(|run| words.windows(3).any(|words| words == run));
        assert!(!told, "{said}");
        let ran = fresh.run(&["key", "verify-kit", &file, "-r", &repo, "--json"]);
        let told: Value = messages(&ran.stdout).pop().unwrap();
        assert_eq!(told["kit_address"].is_string(), has_address, "{told}");
    }
    // The address on the page is taken where none is given, and is told where it is another.
    let fresh = Fresh::with_kit(&text);
    let file = fresh.own.text("kit");
    assert_eq!(fresh.run(&["key", "verify-kit", &file]).code, 0);
    std::fs::rename(owner.path("repo"), &moved).unwrap();
    let ran = fresh.run(&["key", "verify-kit", &file]);
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    let ran = fresh.run(&["key", "verify-kit", &file, "-r", moved.to_str().unwrap()]);
    ran.says(0, "if it moved, print a new kit");
}

#[test]
fn a_kit_of_another_repository_is_refused() {
    let (owner, ..) = exported();
    let (other, text, _, words) = exported();
    let repo = owner.text("repo");
    for kit in [text, words.join(" ")] {
        let fresh = Fresh::with_kit(&kit);
        let file = fresh.own.text("kit");
        let ran = fresh.run(&["key", "verify-kit", &file, "-r", &repo]);
        ran.says(12, "opens no repository there");
        fresh
            .run(&["snapshots", "-r", &repo])
            .says(12, "opens no repository there");
        // Where this machine knows the repository, too.
        let mut command = owner.command(&["key", "verify-kit", &file]);
        let ran = Ran::of(command.env_remove("DOLMEN_PASSWORD").output().unwrap());
        ran.says(12, "opens no repository there");
    }
    drop(other);
}

#[test]
fn a_new_passphrase_is_set_with_the_kit_when_all_are_lost() {
    let (owner, text, ..) = exported();
    let fresh = Fresh::with_kit(&text);
    let passwd = |new: &str| {
        let mut command = fresh.command(&["key", "passwd"]);
        let ran = Ran::of(command.env("DOLMEN_NEW_PASSWORD", new).output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    let opens = |passphrase: &str| {
        owner
            .run_with(("DOLMEN_PASSWORD", passphrase), &["snapshots"])
            .code
    };
    let ran = passwd("new one");
    assert!(ran.stdout.contains("added a passphrase"), "{}", ran.stdout);
    assert!(ran.stderr.contains("1 passphrase"), "{}", ran.stderr);
    assert_eq!([opens("secret"), opens("new one"), opens("x")], [0, 0, 12]);
    lose_bundles(&owner);
    drop(std::fs::remove_dir_all(owner.path("state")));
    drop(std::fs::remove_dir_all(fresh.own.path("state")));
    owner
        .run_with(("DOLMEN_PASSWORD", "new one"), &["snapshots"])
        .says(20, "its recovery kit opens it");
    let ran = passwd("the newest");
    assert!(!ran.stderr.contains("still open"), "{}", ran.stderr);
    assert_eq!([opens("the newest"), opens("new one")], [0, 12]);
    owner
        .run_with(("DOLMEN_PASSWORD", "the newest"), &["check", "--read-data"])
        .says(0, "");
}

#[test]
fn more_passphrases_have_names_and_each_changes_its_own() {
    let owner = World::with_repository();
    let add = |name: &str, new: &str| {
        let arguments = ["key", "add", "--role", "admin", name, "--passphrase"];
        owner.run_with(("DOLMEN_NEW_PASSWORD", new), &arguments)
    };
    let opens = |passphrase: &str| {
        owner
            .run_with(("DOLMEN_PASSWORD", passphrase), &["snapshots"])
            .code
    };
    assert_eq!(add("anna", "annas").code, 0);
    add("anna", "again").says(1, "anna");
    add("admin", "again").says(1, "admin");
    assert_eq!(
        [opens("secret"), opens("annas"), opens("again")],
        [0, 0, 12]
    );
    let mut command = owner.command(&["key", "passwd"]);
    command
        .env("DOLMEN_PASSWORD", "annas")
        .env("DOLMEN_NEW_PASSWORD", "changed");
    assert_eq!(Ran::of(command.output().unwrap()).code, 0);
    assert_eq!(
        [opens("secret"), opens("annas"), opens("changed")],
        [0, 12, 0]
    );
    let keys: Value = serde_json::from_str(&owner.done(&["key", "list", "--json"])).unwrap();
    let named: Vec<_> = keys
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["name"].as_str().unwrap(), key["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(named.len(), 3, "{keys}");
    for expected in [
        ("admin", "secret"),
        ("", "passphrase"),
        ("anna", "passphrase"),
    ] {
        assert!(named.contains(&expected), "{keys}");
    }
    // A key without a file is a passphrase, and only the admin has those.
    let ran = owner.run(&["key", "add", "--role", "backup", "web1", "--passphrase"]);
    ran.says(2, "--out FILE");
    let ran = owner.run(&["key", "add", "--role", "admin", "bob"]);
    ran.says(2, "--out FILE");
    let ran = owner.run(&[
        "key",
        "add",
        "--role",
        "backup",
        "anna",
        "--out",
        &owner.text("x"),
    ]);
    ran.says(1, "anna");
}

#[test]
fn pages_are_private_and_replace_nothing() {
    let (owner, text, ..) = exported();
    for name in ["kit.html", "kit.txt"] {
        let mode = owner.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let (there, new) = (owner.text("kit.txt"), owner.text("new.html"));
    let ran = owner.run(&["key", "export", "--out", &new, "--text", &there]);
    ran.says(1, "cannot write the recovery kit");
    assert_eq!(owner.read("kit.txt"), text.as_bytes());
    // Nothing is left of the half that was made.
    assert!(!owner.path("new.html").exists());
    // To a pipe it goes as it is; to no JSON reader.
    let piped = owner.done(&["key", "export"]);
    assert_eq!(words_of(&piped), words_of(&text));
    owner
        .run(&["key", "export", "--json"])
        .says(2, "is no JSON");
    // Only the admin has it.
    let key = owner.text("web1.key");
    owner.done(&["key", "add", "--role", "restore", "web1", "--out", &key]);
    let mut command = owner.command(&["key", "export"]);
    command
        .env_remove("DOLMEN_PASSWORD")
        .env("DOLMEN_KEY_FILE", key);
    Ran::of(command.output().unwrap()).says(13, "this key may not");
}

#[test]
fn a_kit_is_not_shown_on_a_terminal_unless_that_is_asked_for() {
    const PTY: &str =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let (owner, text, ..) = exported();
    let shown = |arguments: &[&str]| {
        let plain = owner.command(arguments);
        // It gives the program a terminal, and us what that shows.
        let mut terminal = Command::new(crate::reader::python());
        terminal
            .args(["-c", PTY])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .envs(
                plain
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(owner.path("files"))
            .stdin(Stdio::null());
        let output = terminal.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, refused) = shown(&["key", "export"]);
    assert_eq!(code, Some(2), "{refused}");
    assert!(refused.contains("scrollback"), "{refused}");
    assert!(!refused.contains("BEGIN DOLMEN"), "{refused}");
    let (code, page) = shown(&["key", "export", "--show"]);
    assert_eq!(code, Some(0), "{page}");
    assert_eq!(words_of(&page), words_of(&text));
}

#[test]
fn an_address_cannot_write_on_the_page() {
    let owner = World::new();
    let evil = "x\nRepository: 00\n<script>alert('&lt;')<\\script>";
    let repo: PathBuf = owner.path(evil);
    let run = |arguments: &[&str]| {
        let mut command = owner.command(arguments);
        command.env("DOLMEN_REPOSITORY", &repo);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, 0, "{arguments:?} {}", ran.stderr);
    };
    run(&["init"]);
    owner.write("files/a", b"content");
    run(&["backup", "."]);
    let (html, text) = (owner.text("kit.html"), owner.text("kit.txt"));
    run(&["key", "export", "--out", &html, "--text", &text]);
    let html = String::from_utf8(owner.read("kit.html")).unwrap();
    assert!(!html.contains("<script"), "{html}");
    let text = String::from_utf8(owner.read("kit.txt")).unwrap();
    for kit in [html, text] {
        let labels = kit.lines().filter(|line| line.starts_with("Repository:"));
        assert_eq!(labels.count(), 1, "{kit}");
        // Both hold the address as it is.
        Fresh::with_kit(&kit).restores(&owner, &[]);
    }
}

#[test]
fn a_kit_and_a_key_file_contradict_each_other() {
    let (owner, ..) = exported();
    let kit = owner.text("kit.txt");
    let ran = owner.run(&["snapshots", "--recovery-kit", &kit, "--key-file", &kit]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    // Whoever else can read it is told of.
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&kit, open).unwrap();
    let ran = owner.run(&["snapshots", "--recovery-kit", &kit]);
    ran.says(0, "chmod 600");
    let ran = owner.run(&["snapshots", "--recovery-kit", &owner.text("no")]);
    ran.says(2, "cannot read the recovery kit");
}

#[test]
fn the_independent_reader_takes_the_text_of_the_qr_code() {
    let (owner, ..) = exported();
    let (key, repo) = (owner.text("admin.key"), owner.text("repo"));
    owner.done(&["key", "add", "--role", "admin", "x", "--out", &key]);
    // Certificates and bundles with names are read, too.
    let more = ["key", "add", "--role", "backup", "web1", "--out"];
    owner.done(&[&more, &[owner.text("web1.key").as_str()][..]].concat());
    let named = ["key", "add", "--role", "admin", "anna", "--passphrase"];
    let ran = owner.run_with(("DOLMEN_NEW_PASSWORD", "annas"), &named);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    owner.write("files/more", b"by a backup key");
    let mut command = owner.command(&["backup", "."]);
    command
        .env_remove("DOLMEN_PASSWORD")
        .env("DOLMEN_KEY_FILE", owner.path("web1.key"));
    assert_eq!(Ran::of(command.output().unwrap()).code, 0);

    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/read_dolmen.py");
    let read = |secret: (&str, &str), target: &str| {
        let mut command = Command::new(crate::reader::python());
        let arguments = ["restore", &repo, "latest", target];
        command.arg(&reader).args(arguments);
        command.env_remove("DOLMEN_PASSWORD");
        Ran::of(command.env(secret.0, secret.1).output().unwrap())
    };
    for (at, secret) in [
        ("DOLMEN_RECOVERY_KIT", key.as_str()),
        ("DOLMEN_PASSWORD", "annas"),
    ]
    .into_iter()
    .enumerate()
    {
        let target = owner.text(&format!("read{at}"));
        std::fs::create_dir(&target).unwrap();
        let ran = read(secret, &target);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let restored = Path::new(&target);
        let below = restored.join(owner.path("files").strip_prefix("/").unwrap());
        same(
            &owner.path("files"),
            if below.exists() { &below } else { restored },
        );
    }
    let (other, ..) = exported();
    let stray = other.text("admin.key");
    other.done(&["key", "add", "--role", "admin", "x", "--out", &stray]);
    let ran = read(("DOLMEN_RECOVERY_KIT", &stray), &owner.text("nothing"));
    ran.says(12, "of another repository");
}
