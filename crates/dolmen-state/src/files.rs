//! Change detection: what was stored for a file when it was last read.
//!
//! A file is known by device and inode, never by its name; whether it changed is for the caller to
//! judge by size and times. The cache is one file, written anew by each backup and read through a map.
//!
//! | part | what |
//! |---|---|
//! | header (64) | magic, version, number of files, where the records end, checksum |
//! | records | in the order of the inserts, each with a checksum |
//! | index | `hash of the key (u64) ‖ offset of the record (u64)`, ascending |
//! | fan-out | over the hash's high 32 bits |
//!
//! Lookups that come in the order of the inserts follow the records and never touch the index.

mod format;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use dolmen_format::Timestamp;
use dolmen_format::tree::{Content, Extent};

use self::format::{Header, PAIR_BYTES, Pair};
use crate::fanout;
use crate::map::Map;

pub use writer::FilesCacheWriter;

/// Records behind the last hit that are looked at before the index is.
const AHEAD: u32 = 8;
/// Records of equal hash that are looked at: two are a rare accident, more mean damage.
const EQUAL_HASHES_MAX: usize = 16;

/// Names a file as the operating system does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// Device number.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
}

/// What was stored for a file, and how it looked then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    /// Its length in bytes.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: Timestamp,
    /// Time of the last change of content or metadata.
    pub ctime: Timestamp,
    /// Whether it had extended attributes.
    pub has_xattrs: bool,
    /// Where the content lies; `None`: everywhere.
    pub extents: Option<Vec<Extent>>,
    /// The content.
    pub content: Content,
}

/// A finished cache, mapped into memory. Shared by threads.
#[derive(Debug)]
pub struct FilesCache {
    map: Map,
    header: Header,
    /// Offset of the record behind the last hit: the next lookup is likely for it.
    next: AtomicU64,
}

impl FilesCache {
    /// Opens a cache; `None` when there is none, or none of this version that is whole.
    ///
    /// The records are not looked at: each has a checksum of its own.
    pub fn open(path: &Path) -> Option<Self> {
        let map = Map::of(&File::open(path).ok()?).ok()?;
        let header = Header::decode(map.bytes())?;
        Some(Self {
            next: AtomicU64::new(header.records_start()),
            map,
            header,
        })
    }

    /// Returns what was stored for a file; `None` when there was nothing, or the record is damaged.
    ///
    /// Of a file that was inserted several times any one record is found.
    pub fn lookup(&self, key: &FileKey) -> Option<CachedFile> {
        self.lookup_ahead(key).or_else(|| self.lookup_index(key))
    }

    /// How many files it holds.
    pub fn files(&self) -> u64 {
        u64::from(self.header.files)
    }

    fn lookup_ahead(&self, key: &FileKey) -> Option<CachedFile> {
        // Threads may overwrite each other's position: this costs a look into the index, nothing else.
        let mut offset = self.next.load(Ordering::Relaxed);
        for _ in 0..AHEAD {
            let record = self.record(offset)?;
            if record.key == *key {
                return self.hit(&record);
            }
            offset = record.end;
        }
        None
    }

    fn lookup_index(&self, key: &FileKey) -> Option<CachedFile> {
        let hash = format::hash(key);
        let bytes = self.map.bytes();
        let index = bytes.get(self.header.index()?).unwrap_or_default();
        let index = index.as_chunks::<PAIR_BYTES>().0;
        let ends = bytes.get(self.header.fanout()?).unwrap_or_default();
        let ends = ends.as_chunks::<4>().0;
        let bucket = fanout::range(ends, self.header.files, format::prefix(hash));
        let bucket = index.get(bucket).unwrap_or_default();
        let start = bucket.partition_point(|pair| Pair::decode(pair).hash < hash);
        let pairs = bucket.get(start..).unwrap_or_default().iter();
        pairs
            .map(Pair::decode)
            .take_while(|pair| pair.hash == hash)
            .take(EQUAL_HASHES_MAX)
            .find_map(|pair| {
                let record = self.record(pair.offset)?;
                (record.key == *key).then(|| self.hit(&record)).flatten()
            })
    }

    fn hit(&self, record: &record::Raw<'_>) -> Option<CachedFile> {
        let file = record.decode()?;
        self.next.store(record.end, Ordering::Relaxed);
        Some(file)
    }

    fn record(&self, offset: u64) -> Option<record::Raw<'_>> {
        let records = self.map.bytes().get(..self.header.records_end()?)?;
        if offset < self.header.records_start() {
            return None;
        }
        record::Raw::at(records, offset)
    }
}
