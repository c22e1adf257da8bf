//! Objects as a store names, states and cuts them.

use std::fmt;

use dolmen_format::Timestamp;

use crate::key::StoreKey;
use crate::lock::LockStatus;

/// The store's own name for one version of a key. It means nothing to any other store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Box<str>);

impl Version {
    /// Takes a version as the store wrote it.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the version as the store wrote it.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One version of one key. Locks belong to versions: a call that named only a key could reach a newer version that an
/// intruder wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The key.
    pub key: StoreKey,
    /// Which of its versions.
    pub version: Version,
}

/// A time as the store states it: somewhere from `earliest` to `latest`, because many clocks print whole seconds.
/// To protect, take `latest`; to let go, `earliest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreTime {
    /// The time is not before this.
    pub earliest: Timestamp,
    /// The time is not after this.
    pub latest: Timestamp,
}

impl StoreTime {
    /// A time that the store states to the nanosecond.
    pub const fn exact(at: Timestamp) -> Self {
        Self {
            earliest: at,
            latest: at,
        }
    }

    /// A time of which the store states the second only.
    pub const fn within_second(seconds: i64) -> Self {
        Self {
            earliest: Timestamp::from_seconds(seconds),
            latest: Timestamp {
                seconds,
                nanos: dolmen_format::time::NANOS_PER_SECOND - 1,
            },
        }
    }
}

/// Some bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteRange {
    /// `len` bytes after the first `offset`.
    FromTo {
        /// Bytes before the range.
        offset: u64,
        /// Bytes in the range, 0 included.
        len: u64,
    },
    /// The last `len` bytes.
    Last {
        /// Bytes in the range, 0 included.
        len: u64,
    },
}

impl ByteRange {
    /// Returns offset and length within an object of `size_bytes`, or `None` if the object is too short.
    pub const fn within(self, size_bytes: u64) -> Option<(u64, u64)> {
        match self {
            Self::FromTo { offset, len } => match offset.checked_add(len) {
                Some(end) if end <= size_bytes => Some((offset, len)),
                Some(_) | None => None,
            },
            Self::Last { len } => match size_bytes.checked_sub(len) {
                Some(offset) => Some((offset, len)),
                None => None,
            },
        }
    }
}

/// What a store answers to a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutReceipt {
    /// What was made.
    pub object: ObjectRef,
    /// When the store received it.
    pub stored_at: StoreTime,
    /// The end of the lock as the store states it in this answer. `None` says nothing about the lock:
    /// [`crate::Store::lock_of`] does.
    pub locked_until: Option<Timestamp>,
    /// The store's own checksum of the body, where it states one.
    pub checksum: Option<Checksum>,
}

/// A checksum that a store computed itself over a whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// MD5, as S3 entity tags state it.
    Md5([u8; 16]),
    /// SHA-1, as B2 lists it.
    Sha1([u8; 20]),
    /// SHA-256, as S3 keeps it on request.
    Sha256([u8; 32]),
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// The name as the store holds it, which need be no [`StoreKey`]. Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// The version.
    pub version: Version,
    /// Bytes of its body; 0 for what has none.
    pub size_bytes: u64,
    /// When the store received it.
    pub stored_at: StoreTime,
    /// What it is.
    pub kind: VersionKind,
    /// Whether this is the version that a get without a version sees. A current marker hides the key.
    pub is_current: bool,
    /// Its lock, where the listing states it.
    pub lock: LockStatus,
    /// The store's own checksum, where the listing states it.
    pub checksum: Option<Checksum>,
}

impl VersionInfo {
    /// Names this version for other calls; `None` for what no store call can reach.
    pub fn object_ref(&self) -> Option<ObjectRef> {
        match self.kind {
            VersionKind::Foreign => None,
            VersionKind::Data | VersionKind::Marker => StoreKey::try_from(self.name.as_str())
                .ok()
                .map(|key| ObjectRef {
                    key,
                    version: self.version.clone(),
                }),
        }
    }
}

/// What a listed version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionKind {
    /// Bytes.
    Data,
    /// A delete marker: as the current version it hides the key.
    Marker,
    /// Something that is no object at all, as a symlink, a device, or a folder with a name that no key has. It is only
    /// ever reported; a folder's name ends in a slash, and what lies in it is not listed.
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_whole_or_not_at_all() {
        let from = |offset, len| ByteRange::FromTo { offset, len };
        assert_eq!(from(2, 3).within(5), Some((2, 3)));
        assert_eq!(from(5, 0).within(5), Some((5, 0)));
        assert_eq!(from(2, 4).within(5), None);
        assert_eq!(from(6, 0).within(5), None);
        assert_eq!(from(u64::MAX, 2).within(5), None);
        assert_eq!(ByteRange::Last { len: 5 }.within(5), Some((0, 5)));
        assert_eq!(ByteRange::Last { len: 0 }.within(5), Some((5, 0)));
        assert_eq!(ByteRange::Last { len: 6 }.within(5), None);
    }

    #[test]
    fn a_foreign_name_is_no_object() {
        let line = |name: &str, kind| VersionInfo {
            name: name.to_owned(),
            version: Version::new("1"),
            size_bytes: 0,
            stored_at: StoreTime::within_second(0),
            kind,
            is_current: true,
            lock: LockStatus::Unknown,
            checksum: None,
        };
        assert!(line("a/b", VersionKind::Data).object_ref().is_some());
        assert!(line("a/b", VersionKind::Marker).object_ref().is_some());
        assert!(line("a/b", VersionKind::Foreign).object_ref().is_none());
        assert!(line("a b", VersionKind::Data).object_ref().is_none());
    }
}
