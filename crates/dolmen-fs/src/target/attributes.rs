//! Giving files their owner, rights and times.

use crate::error::{Errno, FsError};
use crate::inode::Inode;
use crate::metadata::{Kind, MODE_BITS, Metadata};
use crate::xattr::{self, Xattr};
use dolmen_format::Timestamp;
use rustix::fs::{Timespec, Timestamps};

/// The attributes that a file is to have.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// The 12 permission bits; symbolic links have none and ignore it.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When the content last changed.
    pub mtime: Timestamp,
    /// When the content was last read.
    pub atime: Timestamp,
    /// All extended attributes, access control lists among them.
    pub xattrs: &'a [Xattr],
}

/// An attribute that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The owner or the group.
    #[error("cannot set the owner to {uid}:{gid}")]
    Owner {
        /// The owner's number.
        uid: u32,
        /// The group's number.
        gid: u32,
        /// Why it failed.
        source: Errno,
    },
    /// The extended attributes that the file has could not be read.
    #[error("cannot list the extended attributes")]
    ListXattrs {
        /// Why it failed.
        source: Errno,
    },
    /// One extended attribute could not be set.
    #[error("cannot set the extended attribute {}", name.escape_ascii())]
    SetXattr {
        /// Its name.
        name: Vec<u8>,
        /// Why it failed.
        source: Errno,
    },
    /// One extended attribute could not be removed.
    #[error("cannot remove the extended attribute {}", name.escape_ascii())]
    RemoveXattr {
        /// Its name.
        name: Vec<u8>,
        /// Why it failed.
        source: Errno,
    },
    /// The permission bits.
    #[error("cannot set the mode to {mode:04o}")]
    Mode {
        /// The permission bits.
        mode: u32,
        /// Why it failed.
        source: Errno,
    },
    /// The times.
    #[error("cannot set the times")]
    Times {
        /// Why it failed.
        source: Errno,
    },
}

/// Applies attributes and returns what failed. Fails itself only when the file cannot be looked at.
pub(super) fn apply(
    inode: &Inode<'_>,
    attributes: &Attributes<'_>,
    privileged: bool,
) -> Result<Vec<AttributeError>, FsError> {
    let before = inode.metadata()?;
    let mut failed = Vec::new();
    let owner = set_owner(inode, attributes, &before, privileged, &mut failed);
    set_xattrs(inode, attributes.xattrs, &mut failed);
    if before.kind != Kind::Symlink {
        set_mode(inode, attributes, &before, owner, &mut failed);
    }
    let times = Timestamps {
        last_access: timespec(attributes.atime),
        last_modification: timespec(attributes.mtime),
    };
    if let Err(source) = inode.set_times(&times) {
        failed.push(AttributeError::Times { source });
    }
    Ok(failed)
}

/// What became of the owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It was right already.
    Kept,
    /// It was changed, which clears some mode bits.
    Changed,
    /// It is another one than wanted.
    Wrong,
}

fn set_owner(
    inode: &Inode<'_>,
    attributes: &Attributes<'_>,
    before: &Metadata,
    privileged: bool,
    failed: &mut Vec<AttributeError>,
) -> Owner {
    let Attributes { uid, gid, .. } = *attributes;
    if (before.uid, before.gid) == (uid, gid) {
        return Owner::Kept;
    }
    match inode.set_owner(Some(uid), Some(gid)) {
        Ok(()) => Owner::Changed,
        Err(Errno::PERM) if !privileged => {
            // Members of a group may still give their own files to it.
            let group = inode.set_owner(None, Some(gid));
            if group.is_ok() && before.uid == uid {
                Owner::Changed
            } else {
                Owner::Wrong
            }
        }
        Err(source) => {
            failed.push(AttributeError::Owner { uid, gid, source });
            Owner::Wrong
        }
    }
}

fn set_xattrs(inode: &Inode<'_>, wanted: &[Xattr], failed: &mut Vec<AttributeError>) {
    let existing = xattr::names(inode).unwrap_or_else(|source| {
        failed.push(AttributeError::ListXattrs { source });
        Vec::new()
    });
    for name in existing.iter().filter(|name| is_removable(name)) {
        if wanted.iter().all(|xattr| xattr.name != *name) {
            match inode.remove_xattr(name) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(source) => {
                    failed.push(AttributeError::RemoveXattr {
                        name: name.clone(),
                        source,
                    });
                }
            }
        }
    }
    for Xattr { name, value } in wanted {
        // Setting what is there would change nothing but the change time, and may be refused.
        if existing.contains(name) && xattr::value(inode, name).as_ref() == Ok(value) {
            continue;
        }
        if let Err(source) = inode.set_xattr(name, value) {
            failed.push(AttributeError::SetXattr {
                name: name.clone(),
                source,
            });
        }
    }
}

fn set_mode(
    inode: &Inode<'_>,
    attributes: &Attributes<'_>,
    before: &Metadata,
    owner: Owner,
    failed: &mut Vec<AttributeError>,
) {
    let lends = before.kind != Kind::Directory && owner == Owner::Wrong;
    let mode = attributes.mode
        & if lends {
            MODE_BITS & !SET_ID_BITS
        } else {
            MODE_BITS
        };
    // An access control list changes the mode as well.
    if mode == before.mode && owner == Owner::Kept && attributes.xattrs.is_empty() {
        return;
    }
    if let Err(source) = inode.set_mode(mode) {
        failed.push(AttributeError::Mode { mode, source });
    }
}

/// Setuid and setgid.
const SET_ID_BITS: u32 = 0o6000;

/// Whether an extended attribute that a file has and should not have is to go.
///
/// Security modules label each new file themselves; such a label is theirs.
fn is_removable(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || name.starts_with(b"system.posix_acl_")
        || name == b"security.capability"
}

fn timespec(time: Timestamp) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanos.into(),
    }
}
