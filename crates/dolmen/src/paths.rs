//! Paths as the user gave them: made absolute and cleaned, no link resolved.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Makes a path absolute against `current` and cleans it as Go's `filepath.Clean` does: `//`, `.` and `..` are
/// resolved by the text alone.
pub(crate) fn absolute(path: &[u8], current: &[u8]) -> Vec<u8> {
    let whole = if path.starts_with(b"/") {
        path.to_vec()
    } else {
        [current, b"/", path].concat()
    };
    // Above `/` there is nothing.
    let (_up, below) = clean(&whole);
    below
}

/// Cleans a path in the same way, and tells how many folders up a relative one begins; the rest is told as if it began
/// at `/`.
pub(crate) fn clean(path: &[u8]) -> (usize, Vec<u8>) {
    let mut names: Vec<&[u8]> = Vec::new();
    let mut up = 0_usize;
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                if names.pop().is_none() {
                    up = up.saturating_add(1);
                }
            }
            _ => names.push(name),
        }
    }
    (up, [b"/".as_slice(), &names.join(&b'/')].concat())
}

/// The current folder, spelled as in `PWD` where that is true: a shell shows the user that one.
pub(crate) fn current_folder() -> std::io::Result<Vec<u8>> {
    let real = std::env::current_dir()?;
    let same = |shown: &Path| match (std::fs::metadata(shown), std::fs::metadata(&real)) {
        (Ok(shown), Ok(real)) => (shown.dev(), shown.ino()) == (real.dev(), real.ino()),
        _ => false,
    };
    let shown = std::env::var_os("PWD").map(PathBuf::from);
    let shown = shown.filter(|shown| shown.is_absolute() && same(shown));
    Ok(shown.unwrap_or(real).into_os_string().as_bytes().to_vec())
}

/// Bytes as a path.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A path's bytes.
pub(crate) fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// What `path` is below `folder`, without a slash in front; `None` when it is not below it.
pub(crate) fn strip<'p>(path: &'p [u8], folder: &[u8]) -> Option<&'p [u8]> {
    if folder == b"/" {
        return path.strip_prefix(b"/");
    }
    match path.strip_prefix(folder)? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// The path for people: what is not UTF-8 is replaced, and control characters are escaped so that a file's name cannot
/// play with the terminal.
pub(crate) fn display(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for c in String::from_utf8_lossy(path).chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, clean) in [
            ("", "/home/u"),
            (".", "/home/u"),
            ("a", "/home/u/a"),
            ("./a//b/../c/", "/home/u/a/c"),
            ("../../../x", "/x"),
            ("/", "/"),
            ("/a/./b/..", "/a"),
        ] {
            let absolute = absolute(path.as_bytes(), b"/home/u");
            assert_eq!(String::from_utf8(absolute).unwrap(), clean, "{path}");
        }
    }

    #[test]
    fn a_relative_path_may_begin_further_up() {
        for (path, up, below) in [
            (".", 0, "/"),
            ("./a//b/", 0, "/a/b"),
            ("..", 1, "/"),
            ("a/../../y/z/..", 1, "/y"),
            ("../../", 2, "/"),
        ] {
            let (found_up, found) = clean(path.as_bytes());
            let found = String::from_utf8(found).unwrap();
            assert_eq!((found_up, found.as_str()), (up, below), "{path}");
        }
    }

    #[test]
    fn what_is_below_a_folder_is_told_from_what_begins_alike() {
        assert_eq!(strip(b"/a/b", b"/a"), Some(b"b".as_slice()));
        assert_eq!(strip(b"/a", b"/a"), Some(b"".as_slice()));
        assert_eq!(strip(b"/ab", b"/a"), None);
        assert_eq!(strip(b"/ab", b"/"), Some(b"ab".as_slice()));
    }

    #[test]
    fn a_name_cannot_play_with_the_terminal() {
        assert_eq!(display(b"a\x1b[2Jb\n\xff"), "a\\u{1b}[2Jb\\n\u{fffd}");
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(path in prop::collection::vec(prop::sample::select(b"/.a".to_vec()), 0..20)) {
            let once = absolute(&path, b"/x");
            prop_assert_eq!(absolute(&once, b"/y"), once);
        }
    }
}
