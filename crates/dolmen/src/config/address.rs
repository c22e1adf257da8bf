//! Addresses of repositories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure, Outcome};
use crate::paths;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    folder: PathBuf,
}

/// Stores that addresses may name and this version cannot reach.
const OTHER_STORES: [(&str, &str); 7] = [
    ("s3:", "S3"),
    ("b2:", "B2"),
    ("sftp:", "SFTP"),
    ("rest:", "rest-server"),
    ("rclone:", "rclone"),
    ("azure:", "Azure"),
    ("gs:", "Google Cloud Storage"),
];

impl Address {
    /// Reads an address.
    pub(crate) fn parse(text: &OsStr) -> Outcome<Self> {
        let bytes = text.as_bytes();
        for (prefix, store) in OTHER_STORES {
            if bytes.starts_with(prefix.as_bytes()) {
                return Err(Failure::usage(format!(
                    "cannot use {}: {store} stores are not supported by this version",
                    text.display()
                ))
                .hint("give a folder: /path, relative/path or local:/path"));
            }
        }
        let path = bytes.strip_prefix(b"local:").unwrap_or(bytes);
        if path.is_empty() {
            return Err(Failure::usage("the repository address is empty"));
        }
        Ok(Self {
            folder: PathBuf::from(OsStr::from_bytes(path)),
        })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How messages call it.
    pub(crate) fn shown(&self) -> String {
        paths::display(paths::bytes_of(&self.folder))
    }

    /// The one spelling under which this machine remembers it; the folder must be there.
    pub(crate) fn canonical(&self) -> Outcome<(String, PathBuf)> {
        let folder = self.folder.canonicalize().map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("cannot find {}: {error}", self.shown()),
            )
        })?;
        // Escaped, two paths that are not UTF-8 stay two.
        let pinned = format!("local:{}", paths::bytes_of(&folder).escape_ascii());
        Ok((pinned, folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_in_three_ways() {
        for (text, folder) in [
            ("/a/b", "/a/b"),
            ("a/b", "a/b"),
            ("local:/a", "/a"),
            ("local:a", "a"),
            ("x:y", "x:y"),
        ] {
            let address = Address::parse(OsStr::new(text)).unwrap();
            assert_eq!(address.folder(), Path::new(folder), "{text}");
        }
    }

    #[test]
    fn other_stores_are_refused_by_name() {
        let failure = Address::parse(OsStr::new("s3:https://host/bucket")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.message,
            "cannot use s3:https://host/bucket: S3 stores are not supported by this version"
        );
        for text in [
            "b2:bucket",
            "sftp:user@host:/path",
            "sftp://user@host//path",
            "s3://bucket",
        ] {
            assert_eq!(
                Address::parse(OsStr::new(text)).unwrap_err().exit,
                Exit::Usage,
                "{text}"
            );
        }
        assert_eq!(
            Address::parse(OsStr::new("local:")).unwrap_err().exit,
            Exit::Usage
        );
    }
}
