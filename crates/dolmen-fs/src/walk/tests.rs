use super::*;
use crate::directory::{OPEN_DIRECTORIES_MAX, raise_open_files_limit};
use crate::metadata::Kind;
use proptest::prelude::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Includes all but names that start with `skip`, and what lies in tagged directories.
struct Rules;

impl Select for Rules {
    fn select(&self, path: &[u8], _: &Metadata, directory: &DirectoryView<'_>) -> Selection {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap();
        let tagged = directory.file_starts_with(b"CACHEDIR.TAG", b"Signature");
        if name.starts_with(b"skip") || tagged && name != b"CACHEDIR.TAG" {
            Selection::Exclude
        } else {
            Selection::Include
        }
    }
}

fn key_of(path: &Path) -> PathKey {
    PathKey::from_path(path.as_os_str().as_bytes()).unwrap()
}

fn items_with(roots: &[&Path], options: &WalkOptions) -> Vec<WalkItem> {
    let roots: Vec<_> = roots.iter().map(|root| Root::from(key_of(root))).collect();
    items_of(&roots, options)
}

fn items_of(roots: &[Root], options: &WalkOptions) -> Vec<WalkItem> {
    let mut items = Vec::new();
    walk(roots, options, &Rules, &mut |item| {
        items.push(item);
        ControlFlow::Continue(())
    });
    items
}

fn items(roots: &[&Path]) -> Vec<WalkItem> {
    items_with(
        roots,
        &WalkOptions {
            one_file_system: false,
            threads: 2,
        },
    )
}

/// A letter for the variant, and the path below `base`.
fn lines(base: &Path, items: &[WalkItem]) -> Vec<String> {
    let base = base.as_os_str().as_bytes();
    let line = |item: &WalkItem| {
        let (letter, key) = match item {
            WalkItem::Found { key, .. } => ("found", key),
            WalkItem::Ancestor { key, .. } => ("above", key),
            WalkItem::Failed { key, .. } => ("failed", key),
        };
        let path = key.to_path();
        let path = path.strip_prefix(base)?;
        Some(format!("{letter} {}", path.escape_ascii()))
    };
    items.iter().filter_map(line).collect()
}

fn found_keys(items: &[WalkItem]) -> Vec<PathKey> {
    let found = |item: &WalkItem| match item {
        WalkItem::Found { key, .. } => Some(key.clone()),
        WalkItem::Ancestor { .. } | WalkItem::Failed { .. } => None,
    };
    items.iter().filter_map(found).collect()
}

fn write(path: impl AsRef<Path>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, path.as_os_str().as_bytes()).unwrap();
}

#[test]
fn ancestors_come_before_roots_and_overlapping_roots_come_once() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    write(base.join("a/b/file"));
    write(base.join("a/other"));
    write(base.join("not walked"));
    let roots = [
        &*base.join("a/b"),
        &*base.join("a"),
        &*base.join("a/b/file"),
        &*base.join("gone/x"),
    ];
    let found = items(&roots);
    assert_eq!(
        lines(base, &found),
        [
            "above ",
            "found /a",
            "found /a/b",
            "found /a/b/file",
            "found /a/other",
            "failed /gone/x"
        ]
    );
    assert!(
        matches!(&found[0], WalkItem::Ancestor { metadata, .. } if metadata.kind == Kind::Directory)
    );
    let Some(WalkItem::Failed { error, .. }) = found.last() else {
        panic!("the last root is missing")
    };
    assert!(error.is_not_found());
}

#[test]
fn files_of_several_places_come_in_the_order_of_their_names_in_the_tree() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    for name in [
        "here/a/x",
        "here/a-1",
        "here/c",
        "there/a/y",
        "there/b/z",
        "there/skip",
    ] {
        write(base.join(name));
    }
    let root = |place: &str, key: &str| {
        let path = base.join(place).into_os_string().into_encoded_bytes();
        Root {
            place: Arc::new(Place::new(&path, &path).unwrap()),
            key: PathKey::from_path(key.as_bytes()).unwrap(),
        }
    };
    let roots = [
        root("there", "/a"),
        root("here", "/"),
        root("there", "/b/z"),
        root("gone", "/q"),
    ];
    for threads in [0, 2] {
        let options = WalkOptions {
            one_file_system: false,
            threads,
        };
        let seen: Vec<_> = items_of(&roots, &options)
            .iter()
            .map(|item| {
                let (key, path) = match item {
                    WalkItem::Found { key, handle, .. }
                    | WalkItem::Ancestor { key, handle, .. } => (key, handle.path()),
                    WalkItem::Failed { key, path, .. } => (key, path.clone()),
                };
                let path = path.strip_prefix(base.as_os_str().as_bytes()).unwrap();
                format!("{} {}", key.to_path().escape_ascii(), path.escape_ascii())
            })
            .collect();
        assert_eq!(
            seen,
            [
                "/ /gone",
                "/a /there/a",
                "/a/y /there/a/y",
                "/a-1 /here/a",
                "/a-1/x /here/a/x",
                "/a-1-1 /here/a-1",
                "/b /there/b",
                "/b/z /there/b/z",
                "/c /here/c",
            ]
        );
    }
}

#[test]
fn roots_are_found_below_what_is_excluded() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    write(base.join("skip/this/file"));
    write(base.join("skip/other"));
    write(base.join("zeta"));
    let found = items(&[base, &base.join("skip/this")]);
    assert_eq!(
        lines(base, &found),
        [
            "found ",
            "above /skip",
            "found /skip/this",
            "found /skip/this/file",
            "found /zeta"
        ]
    );
}

#[test]
fn links_above_roots_are_followed_and_links_in_roots_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    write(base.join("real/sub/file"));
    std::os::unix::fs::symlink("real", base.join("link")).unwrap();
    assert_eq!(
        lines(base, &items(&[&base.join("link/sub")])),
        [
            "above ",
            "above /link",
            "found /link/sub",
            "found /link/sub/file"
        ]
    );
    let direct = items(&[&base.join("link")]);
    assert_eq!(lines(base, &direct), ["above ", "found /link"]);
    let Some(WalkItem::Found {
        metadata, handle, ..
    }) = direct.last()
    else {
        panic!("not found")
    };
    assert_eq!(metadata.kind, Kind::Symlink);
    assert_eq!(handle.read_link().unwrap(), b"real");
    let both = items(&[base, &base.join("link/sub")]);
    assert_eq!(
        lines(base, &both),
        [
            "found ",
            "found /link",
            "failed /link/sub",
            "found /real",
            "found /real/sub",
            "found /real/sub/file"
        ]
    );
}

#[test]
fn selections_see_the_directory_of_each_file() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    write(base.join("cache/data"));
    fs::write(base.join("cache/CACHEDIR.TAG"), "Signature: 8a477f").unwrap();
    write(base.join("false/data"));
    fs::write(base.join("false/CACHEDIR.TAG"), "Sign").unwrap();
    assert_eq!(
        lines(base, &items(&[base])),
        [
            "found ",
            "found /cache",
            "found /cache/CACHEDIR.TAG",
            "found /false",
            "found /false/CACHEDIR.TAG",
            "found /false/data"
        ]
    );
    // A root is looked at like any other file, in a directory that is not listed.
    assert_eq!(
        lines(base, &items(&[&base.join("cache/data")])),
        ["above ", "above /cache"]
    );
}

#[test]
fn one_file_system_keeps_mount_points_and_leaves_out_what_is_mounted() {
    let options = WalkOptions {
        one_file_system: true,
        threads: 0,
    };
    let found = items_with(&[Path::new("/dev")], &options);
    let below = |items: &[WalkItem], path: &str| {
        let above = key_of(Path::new(path));
        found_keys(items)
            .iter()
            .filter(|key| key.starts_with(&above))
            .count()
    };
    let device = |path: &str| rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
    assert!(below(&found, "/dev/null") == 1);
    if device("/dev/pts").is_none_or(|pts| Some(pts) == device("/dev")) {
        println!("skipped: nothing is mounted on /dev/pts here");
        return;
    }
    assert_eq!(below(&found, "/dev/pts"), 1, "the mount point alone");
    let both = items_with(&[Path::new("/dev"), Path::new("/dev/pts")], &options);
    assert!(below(&both, "/dev/pts") > 1, "a root may be a mount point");
    let inside = items_with(&[Path::new("/dev"), Path::new("/dev/pts/ptmx")], &options);
    assert_eq!(
        below(&inside, "/dev/pts"),
        2,
        "a root may lie beyond a mount point"
    );
}

#[test]
fn paths_longer_than_the_kernel_takes_are_walked_and_read() {
    raise_open_files_limit();
    let temp = tempfile::tempdir().unwrap();
    let depth = 700;
    let mut at = rustix::fs::open(
        temp.path(),
        rustix::fs::OFlags::PATH,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "directory", rustix::fs::Mode::RWXU).unwrap();
        for name in ["a file", "z file"] {
            let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            let file = rustix::fs::openat(&at, name, flags, rustix::fs::Mode::RUSR).unwrap();
            rustix::io::write(&file, b"deep").unwrap();
        }
        at = rustix::fs::openat(
            &at,
            "directory",
            rustix::fs::OFlags::PATH,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    for threads in [0, 2] {
        let options = WalkOptions {
            one_file_system: false,
            threads,
        };
        let found = items_with(&[temp.path()], &options);
        let handles: Vec<_> = found
            .iter()
            .filter_map(|item| match item {
                WalkItem::Found {
                    metadata, handle, ..
                } if metadata.kind == Kind::File => Some(handle),
                _ => None,
            })
            .collect();
        assert_eq!(handles.len(), depth * 2);
        // Opening them all, deepest last and first, needs most directories again.
        for handle in handles.iter().chain(handles.iter().rev()) {
            let mut buffer = [0; 8];
            assert_eq!(handle.open().unwrap().read(&mut buffer).unwrap(), 4);
            assert_eq!(handle.xattrs().unwrap(), []);
        }
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        // Other tests have some open as well.
        assert!(open < OPEN_DIRECTORIES_MAX * 2, "{open} open files");
    }
    crate::Target::open_or_create(temp.path())
        .unwrap()
        .remove(&PathKey::root().join(b"directory"))
        .unwrap();
}

#[test]
fn a_walk_can_be_ended_at_any_item() {
    let temp = tempfile::tempdir().unwrap();
    for index in 0..40 {
        write(temp.path().join(format!("{}/{}/file", index % 4, index)));
    }
    for threads in [0, 1, 3] {
        for end in 1..60 {
            let mut seen = 0;
            walk(
                &[key_of(temp.path()).into()],
                &WalkOptions {
                    one_file_system: false,
                    threads,
                },
                &Rules,
                &mut |_| {
                    seen += 1;
                    if seen == end {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            );
            assert_eq!(seen, end);
        }
    }
}

#[test]
fn what_vanishes_or_changes_during_a_walk_fails_alone() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    write(base.join("a"));
    write(base.join("b/inside"));
    write(base.join("c"));
    let mut seen = Vec::new();
    let mut replaced = None;
    walk(
        &[key_of(base).into()],
        &WalkOptions {
            one_file_system: false,
            threads: 0,
        },
        &Rules,
        &mut |item| {
            match &item {
                WalkItem::Found { key, handle, .. } if key.name() == b"a" => {
                    fs::remove_dir_all(base.join("b")).unwrap();
                    fs::remove_file(base.join("a")).unwrap();
                    fs::create_dir(base.join("a")).unwrap();
                    replaced = Some(handle.open().unwrap_err());
                }
                _ => {}
            }
            seen.push(item);
            ControlFlow::Continue(())
        },
    );
    assert_eq!(
        lines(base, &seen),
        ["found ", "found /a", "found /b", "failed /b", "found /c"]
    );
    assert_eq!(
        replaced,
        Some(FsError::NotRegular {
            found: Kind::Directory
        })
    );
}

#[test]
fn a_directory_that_takes_anothers_place_is_not_read_in_its_stead() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    write(base.join("d/one"));
    let how = crate::directory::LIST;
    let fd = rustix::fs::open(base, how, rustix::fs::Mode::empty()).unwrap();
    let top = Directory::from_open(fd, how).unwrap();
    let found = Metadata::of_name(&*top.fd().unwrap(), c"d").unwrap();
    let directory = top.child(c"d", found.identity(), how);
    let file = FileHandle::new(&directory, c"one".to_owned());
    fs::rename(base.join("d"), base.join("e")).unwrap();
    write(base.join("d/one"));
    assert_eq!(file.open().unwrap_err(), FsError::Replaced);
    fs::remove_dir_all(base.join("d")).unwrap();
    fs::rename(base.join("e"), base.join("d")).unwrap();
    assert!(file.open().is_ok());
}

#[test]
fn a_large_directory_comes_whole_and_in_order() {
    let temp = tempfile::tempdir().unwrap();
    for index in 0..2_000 {
        fs::write(temp.path().join(format!("{index}")), "").unwrap();
    }
    for threads in [0, 2] {
        let options = WalkOptions {
            one_file_system: false,
            threads,
        };
        let keys = found_keys(&items_with(&[temp.path()], &options));
        assert_eq!(keys.len(), 2_001);
        assert!(keys.is_sorted());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_walk_finds_every_file_once_in_key_order(
        paths in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(prop::sample::select(vec![1_u8, b'-', b'.', b'a', 0xff]), 1..3), 1..5),
            0..30,
        ),
        threads in 0_usize..3,
    ) {
        let temp = tempfile::tempdir().unwrap();
        let mut model = std::collections::BTreeSet::from([key_of(temp.path())]);
        for names in &paths {
            let mut path = temp.path().to_path_buf();
            let mut key = key_of(temp.path());
            for name in names {
                if matches!(&name[..], b"." | b"..") {
                    continue;
                }
                path.push(OsStr::from_bytes(name));
                key = key.join(name);
                model.insert(key.clone());
            }
            fs::create_dir_all(path).unwrap();
        }
        let found = items_with(&[temp.path()], &WalkOptions { one_file_system: false, threads });
        prop_assert_eq!(found_keys(&found), model.into_iter().collect::<Vec<_>>());
    }
}
