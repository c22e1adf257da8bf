//! From a found file to an entry of the tree.

use std::sync::Arc;

use dolmen_format::Timestamp;
use dolmen_format::limits::{EXTENTS_MAX, XATTRS_BYTES_MAX};
use dolmen_format::tree::{Content, Device, Extent, File, HardLink, Name, Node, NodeKind, Xattr};
use dolmen_fs::{Kind, Metadata, OwnerNames, PathKey};
use dolmen_state::files::{CachedFile, FileKey};

use super::{Change, SourceError};

/// Holes below this size are data.
const HOLE_BYTES_MIN: u64 = 64 << 10;
/// A file system whose times have no fraction may not tell two changes within this many seconds apart.
const COARSE_CLOCK_SECONDS: i64 = 2;
/// Others tell them apart when they are this many nanoseconds apart: a few ticks of the slowest kernel.
const FINE_CLOCK_NANOS: i128 = 40_000_000;
/// A modification time further ahead than this is no clock's: clocks are off by hours, or by a time zone.
const SET_AHEAD_SECONDS: i64 = 2 * 24 * 3600;

/// What became of one found file.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Its path in the tree.
    pub(super) key: PathKey,
    /// Its absolute path, for messages.
    pub(super) path: Vec<u8>,
    pub(super) result: Saved,
}

/// See [`Outcome`].
#[derive(Debug)]
pub(super) enum Saved {
    /// It goes into the tree.
    Entry(Box<SavedEntry>),
    /// It does not, and someone should know.
    Failed(SourceError),
    /// It does not, and need not.
    Skipped(&'static str),
}

/// An entry and what is to be remembered of it.
#[derive(Debug)]
pub(super) struct SavedEntry {
    pub(super) node: Node,
    pub(super) change: Change,
    pub(super) cache: Option<(FileKey, CachedFile)>,
    /// It is saved, but not as it should be.
    pub(super) flaw: Option<SourceError>,
}

/// The part of a node that all kinds have.
pub(super) fn make_node(
    metadata: &Metadata,
    kind: NodeKind,
    xattrs: Vec<Xattr>,
    owners: &OwnerNames,
) -> Node {
    let hard_link = (metadata.links > 1 && metadata.kind != Kind::Directory).then_some(HardLink {
        device: metadata.device,
        inode: metadata.inode,
        links: metadata.links,
    });
    let name = |name: Arc<str>| -> Name { Arc::from(name) };
    Node {
        kind,
        mode: u16::try_from(metadata.mode & 0o7777).unwrap_or_default(),
        uid: metadata.uid,
        gid: metadata.gid,
        user: owners.user(metadata.uid).map(name),
        group: owners.group(metadata.gid).map(name),
        mtime: metadata.mtime,
        hard_link,
        xattrs,
    }
}

/// A regular file's kind.
pub(super) fn file_kind(size: u64, extents: Option<Vec<Extent>>, content: Content) -> NodeKind {
    NodeKind::File(File {
        size,
        extents,
        content,
    })
}

/// A device's numbers.
pub(super) fn device_of(metadata: &Metadata) -> Device {
    Device {
        major: metadata.rdev_major,
        minor: metadata.rdev_minor,
    }
}

/// Takes the attributes that fit into an entry.
pub(super) fn take_xattrs(found: Vec<dolmen_fs::Xattr>) -> Result<Vec<Xattr>, SourceError> {
    let bytes: usize = found
        .iter()
        .map(|xattr| xattr.name.len() + xattr.value.len() + 8)
        .sum();
    if bytes + 8 > XATTRS_BYTES_MAX {
        return Err(SourceError::Xattrs {
            limit: XATTRS_BYTES_MAX,
        });
    }
    Ok(found
        .into_iter()
        .map(|xattr| Xattr {
            name: xattr.name,
            value: xattr.value,
        })
        .collect())
}

/// Joins extents over small holes, and over as many of the smallest others as are too many; of equal ones the first.
pub(super) fn join_extents(extents: Vec<dolmen_fs::Extent>) -> Vec<dolmen_fs::Extent> {
    let joined = join_holes(extents, |_, hole_bytes| hole_bytes < HOLE_BYTES_MIN);
    let Some(superfluous) = joined
        .len()
        .checked_sub(EXTENTS_MAX)
        .filter(|&count| count > 0)
    else {
        return joined;
    };
    let ends = joined.iter().map(end_of);
    let holes = joined.iter().skip(1).zip(ends);
    let mut ranked: Vec<(u64, usize)> = holes
        .map(|(extent, end)| extent.offset.saturating_sub(end))
        .zip(1..)
        .collect();
    let (_, last, _) = ranked.select_nth_unstable(superfluous.saturating_sub(1));
    let last = *last;
    join_holes(joined, |position, hole_bytes| {
        (hole_bytes, position) <= last
    })
}

const fn end_of(extent: &dolmen_fs::Extent) -> u64 {
    extent.offset.saturating_add(extent.length_bytes)
}

/// Joins extents over the holes that are `to_fill`, which are told by the position of the extent behind and their size.
fn join_holes(
    extents: Vec<dolmen_fs::Extent>,
    to_fill: impl Fn(usize, u64) -> bool,
) -> Vec<dolmen_fs::Extent> {
    let mut joined: Vec<dolmen_fs::Extent> = Vec::new();
    for (position, extent) in extents.into_iter().enumerate() {
        if let Some(last) = joined.last_mut() {
            let hole_bytes = extent.offset.saturating_sub(end_of(last));
            if to_fill(position, hole_bytes) {
                last.length_bytes = end_of(&extent).saturating_sub(last.offset);
                continue;
            }
        }
        joined.push(extent);
    }
    joined
}

/// Whether a file is the one that the cache knows, unchanged.
pub(super) fn is_unchanged(cached: &CachedFile, metadata: &Metadata) -> bool {
    cached.size == metadata.size_bytes
        && cached.mtime == metadata.mtime
        && cached.ctime == metadata.ctime
}

/// Whether a file may be remembered: a change that came after `looked_at` must show in its times.
pub(super) fn is_settled(metadata: &Metadata, looked_at: Timestamp) -> bool {
    // A modification time far ahead was set by hand: the change time, which nobody can set, tells alone.
    let is_set = metadata.mtime > looked_at.saturating_add_seconds(SET_AHEAD_SECONDS);
    let newest = if is_set {
        metadata.ctime
    } else {
        metadata.mtime.max(metadata.ctime)
    };
    let coarse = metadata.mtime.nanos == 0 && metadata.ctime.nanos == 0;
    if coarse {
        return newest.saturating_add_seconds(COARSE_CLOCK_SECONDS) <= looked_at;
    }
    nanos(newest) + FINE_CLOCK_NANOS <= nanos(looked_at)
}

fn nanos(at: Timestamp) -> i128 {
    i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn extent(offset: u64, length_bytes: u64) -> dolmen_fs::Extent {
        dolmen_fs::Extent {
            offset,
            length_bytes,
        }
    }

    #[test]
    fn small_holes_become_data_and_large_ones_stay() {
        let joined = join_extents(vec![extent(0, 10), extent(4096, 10), extent(1 << 20, 5)]);
        assert_eq!(joined, [extent(0, 4106), extent(1 << 20, 5)]);
    }

    #[test]
    fn there_are_never_too_many_extents() {
        // A larger hole now and then.
        let start = |n: u64| (n << 17) + ((n / 100) << 16);
        let joined = join_extents((0..20_000).map(|n| extent(start(n), 4096)).collect());
        assert_eq!(joined.len(), EXTENTS_MAX);
        assert_eq!(joined.last().map(end_of), Some(start(19_999) + 4096));
        let starts: BTreeSet<u64> = joined.iter().map(|extent| extent.offset).collect();
        assert!((0..200).all(|n| starts.contains(&start(n * 100))));
    }
}
