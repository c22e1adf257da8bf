use super::*;
use crate::directory::LIST;
use dolmen_format::Timestamp;
use rustix::fs::{FileType, Mode, XattrFlags};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

fn handle(directory: &Path, name: &str) -> FileHandle {
    let fd = rustix::fs::open(directory, LIST, Mode::empty()).unwrap();
    FileHandle::new(
        &Directory::from_open(fd, LIST).unwrap(),
        CString::new(name).unwrap(),
    )
}

#[test]
fn bytes_are_read_in_order_and_at_offsets() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "0123456789").unwrap();
    let mut file = handle(temp.path(), "file").open().unwrap();
    let mut buffer = [0; 4];
    assert_eq!((file.read(&mut buffer).unwrap(), &buffer), (4, b"0123"));
    assert_eq!(
        (file.read_at(&mut buffer, 6).unwrap(), &buffer),
        (4, b"6789")
    );
    assert_eq!((file.read(&mut buffer).unwrap(), &buffer), (4, b"4567"));
    assert_eq!(file.read(&mut buffer).unwrap(), 2);
    assert_eq!(file.read(&mut buffer).unwrap(), 0);
    assert_eq!(file.opened().size_bytes, 10);
    fs::write(temp.path().join("file"), "longer than before").unwrap();
    assert_ne!(file.metadata().unwrap(), *file.opened());
}

#[test]
fn data_extents_leave_out_holes() {
    let temp = tempfile::tempdir().unwrap();
    let made = fs::File::create(temp.path().join("sparse")).unwrap();
    let data = vec![7; 65_536];
    made.write_all_at(&data, 1 << 20).unwrap();
    made.write_all_at(&data, 1 << 30).unwrap();
    made.set_len(1 << 31).unwrap();
    let file = handle(temp.path(), "sparse").open().unwrap();
    assert!(file.opened().may_have_holes());
    let extents: Vec<_> = file.data_extents().map(Result::unwrap).collect();
    assert_eq!(
        extents,
        [
            Extent {
                offset: 1 << 20,
                length_bytes: 65_536
            },
            Extent {
                offset: 1 << 30,
                length_bytes: 65_536
            },
        ]
    );
    fs::write(temp.path().join("empty"), "").unwrap();
    let empty = handle(temp.path(), "empty").open().unwrap();
    assert_eq!(empty.data_extents().count(), 0);
    fs::write(temp.path().join("dense"), "dense").unwrap();
    let dense = handle(temp.path(), "dense").open().unwrap();
    let extents: Vec<_> = dense.data_extents().map(Result::unwrap).collect();
    assert_eq!(
        extents,
        [Extent {
            offset: 0,
            length_bytes: 5
        }]
    );
}

#[test]
fn only_regular_files_open_and_no_pipe_is_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", temp.path().join("link")).unwrap();
    let directory = rustix::fs::open(temp.path(), LIST, Mode::empty()).unwrap();
    rustix::fs::mknodat(&directory, "pipe", FileType::Fifo, Mode::RUSR, 0).unwrap();
    for (name, found) in [
        ("link", Kind::Symlink),
        ("pipe", Kind::Fifo),
        (".", Kind::Directory),
    ] {
        let error = handle(temp.path(), name).open().unwrap_err();
        assert_eq!(error, FsError::NotRegular { found });
    }
    assert!(
        handle(temp.path(), "gone")
            .open()
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        handle(temp.path(), "gone")
            .metadata()
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn extended_attributes_are_read_open_or_not() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("file");
    fs::write(&path, "").unwrap();
    let large = vec![b'x'; 2_000];
    for (name, value) in [
        ("user.b", &b"two"[..]),
        ("user.a", b""),
        ("user.large", &large),
    ] {
        if let Err(Errno::OPNOTSUPP) = rustix::fs::setxattr(&path, name, value, XattrFlags::empty())
        {
            println!("skipped: no extended attributes on this file system");
            return;
        }
    }
    let by_name = handle(temp.path(), "file").xattrs().unwrap();
    let expected = [
        ("user.a", &b""[..]),
        ("user.b", b"two"),
        ("user.large", &large),
    ];
    let expected = expected.map(|(name, value)| Xattr {
        name: name.into(),
        value: value.into(),
    });
    assert_eq!(by_name, expected);
    assert_eq!(
        handle(temp.path(), "file")
            .open()
            .unwrap()
            .xattrs()
            .unwrap(),
        expected
    );
    std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
    assert_eq!(
        handle(temp.path(), "link").xattrs().unwrap(),
        [],
        "links are not followed"
    );
}

#[test]
fn times_before_1970_keep_their_nanoseconds() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("old");
    fs::write(&path, "").unwrap();
    let time = rustix::fs::Timespec {
        tv_sec: -1_000,
        tv_nsec: 123_456_789,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    let metadata = handle(temp.path(), "old").metadata().unwrap();
    assert_eq!(
        metadata.mtime,
        Timestamp {
            seconds: -1_000,
            nanos: 123_456_789
        }
    );
}
