use super::*;

/// Version 2; owner rw-, user 1000 rwx, group r--, mask rwx, others ---.
const ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr {
        name: name.into(),
        value: value.into(),
    }
}

fn xattrs_of(file: &OutFile) -> Vec<Xattr> {
    xattr::read_all(&Inode::Open(file.as_fd())).unwrap()
}

/// Says so when a test cannot run here because the file system has no lists or attributes.
fn is_unsupported(failed: &[AttributeError]) -> bool {
    let unsupported = failed.iter().any(|error| {
        matches!(
            error,
            AttributeError::SetXattr {
                source: Errno::OPNOTSUPP,
                ..
            }
        )
    });
    if unsupported {
        println!("skipped: {failed:?}");
    }
    unsupported
}

#[test]
fn attributes_are_applied_whole_and_replaced_whole() {
    let world = World::new();
    let file = world
        .target
        .create_file(&key("/file"), Replace::Nothing)
        .unwrap();
    let xattrs = [
        xattr("system.posix_acl_access", ACL),
        xattr("user.one", b"1"),
    ];
    let failed = file.apply(&attributes(0o4670, &xattrs)).unwrap();
    if is_unsupported(&failed) {
        return;
    }
    assert_eq!(failed, []);
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.mode, 0o4670);
    assert_eq!(
        metadata.mtime,
        Timestamp {
            seconds: -86_400 * 365,
            nanos: 1
        }
    );
    assert_eq!(
        metadata.atime,
        Timestamp {
            seconds: 1_000_000_000,
            nanos: 999_999_999
        }
    );
    assert_eq!(xattrs_of(&file), xattrs);

    // By name this time.
    let fewer = [xattr("user.two", b"2")];
    assert_eq!(
        world
            .target
            .apply(&key("/file"), &attributes(0o600, &fewer))
            .unwrap(),
        []
    );
    assert_eq!(xattrs_of(&file), fewer);
    assert_eq!(file.metadata().unwrap().mode, 0o600);
}

#[test]
fn a_default_list_is_applied_and_what_files_inherit_from_it_is_removed() {
    let world = World::new();
    let target = &world.target;
    target
        .make_directory(&key("/directory"), Replace::Nothing)
        .unwrap();
    let lists = [
        xattr("system.posix_acl_access", ACL),
        xattr("system.posix_acl_default", ACL),
    ];
    let failed = target
        .apply(&key("/directory"), &attributes(0o3670, &lists))
        .unwrap();
    if is_unsupported(&failed) {
        return;
    }
    assert_eq!(failed, []);
    assert_eq!(
        target.existing(&key("/directory")).unwrap().unwrap().mode,
        0o3670
    );
    let root = rustix::fs::open(world.path(""), OFlags::PATH, Mode::empty()).unwrap();
    let directory = Inode::Named {
        directory: root.as_fd(),
        name: c"directory",
    };
    assert_eq!(xattr::read_all(&directory).unwrap(), lists);
    let heir = target
        .create_file(&key("/directory/file"), Replace::Nothing)
        .unwrap();
    assert_ne!(xattrs_of(&heir), []);
    assert_eq!(heir.apply(&attributes(0o640, &[])).unwrap(), []);
    assert_eq!(xattrs_of(&heir), []);
    assert_eq!(heir.metadata().unwrap().mode, 0o640);
}

#[test]
fn owners_capabilities_and_setuid_survive_each_other() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let world = World::new();
    let file = world
        .target
        .create_file(&key("/file"), Replace::Nothing)
        .unwrap();
    // Version 2, effective, cap_net_raw.
    let capability = Xattr {
        name: b"security.capability".to_vec(),
        value: b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    };
    let xattrs = [capability];
    let attributes = Attributes {
        uid: 1234,
        gid: 5678,
        ..attributes(0o6755, &xattrs)
    };
    assert_eq!(file.apply(&attributes).unwrap(), []);
    let metadata = file.metadata().unwrap();
    assert_eq!(
        (metadata.uid, metadata.gid, metadata.mode),
        (1234, 5678, 0o6755)
    );
    assert_eq!(xattr::read_all(&Inode::Open(file.as_fd())).unwrap(), xattrs);
    world
        .target
        .symlink(&key("/link"), b"/etc/passwd", Replace::Nothing)
        .unwrap();
    let attributes = Attributes {
        xattrs: &[],
        ..attributes
    };
    assert_eq!(world.target.apply(&key("/link"), &attributes).unwrap(), []);
    let link = world.target.existing(&key("/link")).unwrap().unwrap();
    assert_eq!((link.uid, link.gid), (1234, 5678));
    assert_eq!(link.mtime, attributes.mtime);
}

#[test]
fn a_step_that_fails_is_reported_and_the_others_are_done() {
    let world = World::new();
    let file = world
        .target
        .create_file(&key("/file"), Replace::Nothing)
        .unwrap();
    let xattrs = [Xattr {
        name: b"nonsense.name".to_vec(),
        value: Vec::new(),
    }];
    let failed = file.apply(&attributes(0o640, &xattrs)).unwrap();
    assert!(
        matches!(&failed[..], [AttributeError::SetXattr { name, .. }] if name == b"nonsense.name")
    );
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.mode, metadata.mtime.nanos), (0o640, 1));
}
