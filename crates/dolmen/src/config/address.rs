//! Addresses of repositories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dolmen_core::lease::ExtensionCost;
use dolmen_s3::{AddressError, S3Address};

use crate::exit::{Exit, Failure, Outcome};
use crate::paths;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket, or a folder in it.
    S3(S3Address),
}

/// Stores that addresses may name and this version cannot reach.
const OTHER_STORES: [(&str, &str); 6] = [
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
                .hint("give a folder, as /path, or a bucket, as s3:https://host/bucket"));
            }
        }
        if bytes.starts_with(b"s3:") {
            let parsed = text.to_str().ok_or(AddressError::Form);
            return match parsed.and_then(S3Address::parse) {
                Ok(bucket) => Ok(Self::S3(bucket)),
                // It may hold a secret.
                Err(AddressError::Credentials) => Err(Failure::usage(format!(
                    "cannot use the repository address: {}",
                    AddressError::Credentials
                ))),
                Err(error) => Err(Failure::usage(format!(
                    "cannot use {}: {error}",
                    text.display()
                ))),
            };
        }
        let path = bytes.strip_prefix(b"local:").unwrap_or(bytes);
        if path.is_empty() {
            return Err(Failure::usage("the repository address is empty"));
        }
        Ok(Self::Folder(PathBuf::from(OsStr::from_bytes(path))))
    }

    /// What making locks longer costs there.
    pub(crate) fn extension(&self) -> ExtensionCost {
        match self {
            Self::Folder(_) => ExtensionCost::Free,
            Self::S3(bucket) => bucket
                .host()
                .map_or(ExtensionCost::Paid, ExtensionCost::of_host),
        }
    }

    /// How messages call it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Folder(folder) => paths::display(paths::bytes_of(folder)),
            Self::S3(bucket) => bucket.to_string(),
        }
    }
}

/// A folder with its links resolved, and the one spelling under which this machine remembers it; it must be there.
pub(crate) fn canonical(folder: &Path) -> Outcome<(String, PathBuf)> {
    let real = folder.canonicalize().map_err(|error| {
        let shown = paths::display(paths::bytes_of(folder));
        Failure::new(Exit::Failed, format!("cannot find {shown}: {error}"))
    })?;
    // Escaped, two paths that are not UTF-8 stay two.
    let pinned = format!("local:{}", paths::bytes_of(&real).escape_ascii());
    Ok((pinned, real))
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
            assert_eq!(address, Address::Folder(folder.into()), "{text}");
        }
    }

    #[test]
    fn buckets_are_named_by_server_or_by_name_alone() {
        for text in ["s3://bucket/a", "s3:https://host:9000/bucket"] {
            let address = Address::parse(OsStr::new(text)).unwrap();
            assert_eq!(address.shown(), text);
            assert!(matches!(address, Address::S3(_)));
        }
        let secret = Address::parse(OsStr::new("s3:https://key:secret@host/bucket"));
        let failure = secret.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(!failure.message.contains("secret@"), "{}", failure.message);
    }

    #[test]
    fn other_stores_are_refused_by_name() {
        let failure = Address::parse(OsStr::new("b2:bucket")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.message,
            "cannot use b2:bucket: B2 stores are not supported by this version"
        );
        for text in [
            "sftp:user@host:/path",
            "sftp://user@host//path",
            "s3:bucket",
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
