//! Extended attributes, access control lists and file capabilities among them.

use crate::error::{Errno, FsError, Operation};
use crate::inode::Inode;

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// The full name, `user.comment` or `system.posix_acl_access`.
    pub name: Vec<u8>,
    /// The raw value, at most 64 KiB, the kernel's limit.
    pub value: Vec<u8>,
}

/// Marks a file whose content is not complete. No attributes that are applied at the end name it, so that it goes then.
pub(crate) const INCOMPLETE: &[u8] = b"user.dolmen.incomplete";

/// Bytes in an attribute's value, at most; the kernel's own limit.
const XATTR_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Bytes in the list of a file's attribute names, at most; the kernel's own limit.
const LIST_BYTES_MAX: usize = 64 * 1024;

/// Reads all extended attributes, sorted by name. A file system without any has none.
pub(crate) fn read_all(inode: &Inode<'_>) -> Result<Vec<Xattr>, FsError> {
    let failed = FsError::system(Operation::ReadXattrs);
    let mut found = Vec::new();
    for name in names(inode).map_err(failed)? {
        match value(inode, &name) {
            Ok(value) => found.push(Xattr { name, value }),
            // Removed since it was listed, or listed by a file system that does not hand it out.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The names of all extended attributes, in the system's order.
pub(crate) fn names(inode: &Inode<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let listed = with_buffer(
        LIST_BYTES_MAX,
        |buffer| inode.list_xattrs(buffer),
        |list| {
            list.split(|&byte| byte == 0)
                .filter(|name| !name.is_empty())
                .map(<[u8]>::to_vec)
                .collect()
        },
    );
    match listed {
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        listed => listed,
    }
}

/// The value of an extended attribute.
pub(crate) fn value(inode: &Inode<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    with_buffer(
        XATTR_VALUE_BYTES_MAX,
        |buffer| inode.get_xattr(name, buffer),
        <[u8]>::to_vec,
    )
}

/// Calls with a small buffer, and again with one of `bytes_max` if that is too small.
fn with_buffer<T>(
    bytes_max: usize,
    call: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<T, Errno> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => Ok(take(small.get(..length).unwrap_or_default())),
        Err(Errno::RANGE) => {
            let mut large = vec![0; bytes_max];
            let length = call(&mut large)?;
            Ok(take(large.get(..length).unwrap_or_default()))
        }
        Err(errno) => Err(errno),
    }
}
