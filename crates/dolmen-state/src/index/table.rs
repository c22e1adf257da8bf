//! A finished blob table, mapped into memory. Nothing in it is believed beyond its bounds.

use core::cmp::Ordering;
use core::ops::Range;
use std::fs::File;
use std::path::{Path, PathBuf};

use dolmen_format::{BlobId, PackId};

use super::layout::{self, Layout};
use super::records::{
    BLOB_BYTES, BlobRecord, FRAME_BYTES, FrameRecord, PACK_BYTES, PackRecord, SEGMENT_BYTES,
    SOURCE_BYTES, SourceRecord, blob_id, decode_segment, prefix,
};
use super::{FrameInfo, Location, PackInfo, PackRef, filter};
use crate::error::{Operation, StateError};
use crate::fanout;
use crate::map::Map;
use crate::number::to_usize;
use crate::seen::SeenObject;

/// A table and the numbers of its packs.
#[derive(Debug)]
pub(super) struct Table {
    map: Map,
    layout: Layout,
    /// The [`PackRef`] of its first pack.
    base: u32,
    /// Where it lies; `None`: a temporary file without a name.
    path: Option<PathBuf>,
}

impl Table {
    /// Maps a table whose packs get the numbers from `base` on; `None` unless it is whole and of this version.
    pub(super) fn map(
        file: &File,
        path: &Path,
        base: u32,
        place: Place,
    ) -> Result<Option<Self>, StateError> {
        let map = Map::of(file).map_err(StateError::io(Operation::Map, path))?;
        Ok(layout::decode(map.bytes()).map(|layout| Self {
            map,
            layout,
            base,
            path: match place {
                Place::Cached => Some(path.to_path_buf()),
                Place::Temporary => None,
            },
        }))
    }

    /// Gives the packs the numbers from `base` on.
    pub(super) fn renumber(&mut self, base: u32) {
        self.base = base;
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) const fn base(&self) -> u32 {
        self.base
    }

    /// The number behind that of the last pack.
    pub(super) const fn end(&self) -> u32 {
        self.base.saturating_add(self.layout.counts.packs)
    }

    pub(super) fn blob_count(&self) -> u64 {
        u64::from(self.layout.counts.blobs)
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The segments that it covers.
    pub(super) fn segments(&self) -> impl Iterator<Item = SeenObject> {
        self.records::<SEGMENT_BYTES>(&self.layout.segments)
            .iter()
            .filter_map(decode_segment)
    }

    /// The places of a blob in this table.
    pub(super) fn locations(&self, id: &BlobId) -> impl Iterator<Item = Location> {
        let found = if filter::may_contain(self.records(&self.layout.filter), id) {
            self.find(id)
        } else {
            &[]
        };
        found.iter().filter_map(|record| {
            let record = BlobRecord::decode(record).ok()?;
            self.location(&record)
        })
    }

    /// The descriptions of a pack, the first one first.
    pub(super) fn find_packs(&self, id: &PackId) -> impl Iterator<Item = PackRef> {
        let order = self.records::<4>(&self.layout.order);
        let compare = |number: &[u8; 4]| {
            let pack = self.pack_record(u32::from_le_bytes(*number));
            pack.map_or(Ordering::Less, |pack| pack.info.pack.cmp(id))
        };
        let start = order.partition_point(|number| compare(number) == Ordering::Less);
        let rest = order.get(start..).unwrap_or_default().iter();
        rest.take_while(move |number| compare(number) == Ordering::Equal)
            .filter_map(|number| {
                let number = u32::from_le_bytes(*number);
                self.base.checked_add(number).map(PackRef)
            })
    }

    pub(super) fn pack(&self, pack: PackRef) -> Option<PackInfo> {
        let number = pack.0.checked_sub(self.base)?;
        self.pack_record(number).map(|record| record.info)
    }

    pub(super) fn frame(&self, pack: PackRef, ordinal: u32) -> Option<FrameInfo> {
        let number = pack.0.checked_sub(self.base)?;
        let frame = self.pack_record(number)?.frame(ordinal)?;
        self.frame_record(frame)?.info()
    }

    /// All blobs, ascending by id, those whose records are damaged left out.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (BlobId, Location)> {
        self.blob_records()
            .filter_map(|record| Some((record.id, self.location(&record)?)))
    }

    pub(super) fn pack_records(&self) -> impl Iterator<Item = PackRecord> {
        self.records::<PACK_BYTES>(&self.layout.packs)
            .iter()
            .filter_map(|record| PackRecord::decode(record).ok())
    }

    /// Which of the covered segments, by their positions, describe which pack.
    pub(super) fn source_records(&self) -> impl Iterator<Item = SourceRecord> {
        self.records::<SOURCE_BYTES>(&self.layout.sources)
            .iter()
            .filter_map(|record| SourceRecord::decode(record).ok())
    }

    pub(super) fn frame_records(&self) -> impl Iterator<Item = FrameRecord> {
        self.records::<FRAME_BYTES>(&self.layout.frames)
            .iter()
            .filter_map(|record| FrameRecord::decode(record).ok())
    }

    pub(super) fn blob_records(&self) -> impl Iterator<Item = BlobRecord> {
        self.records::<BLOB_BYTES>(&self.layout.blobs)
            .iter()
            .filter_map(|record| BlobRecord::decode(record).ok())
    }

    /// The packs' ids and numbers in this table, ascending by id.
    pub(super) fn ordered_packs(&self) -> impl Iterator<Item = (PackId, u32)> {
        let order = self.records::<4>(&self.layout.order).iter();
        order.filter_map(|number| {
            let number = u32::from_le_bytes(*number);
            Some((self.pack_record(number)?.info.pack, number))
        })
    }

    fn find(&self, id: &BlobId) -> &[[u8; BLOB_BYTES]] {
        let blobs = self.records::<BLOB_BYTES>(&self.layout.blobs);
        let ends = self.records(&self.layout.fanout);
        let bucket = fanout::range(ends, self.layout.counts.blobs, prefix(id));
        let bucket = blobs.get(bucket).unwrap_or_default();
        let start = bucket.partition_point(|record| blob_id(record) < id.as_bytes().as_slice());
        let found = bucket.get(start..).unwrap_or_default();
        let count = found
            .iter()
            .take_while(|record| blob_id(record) == id.as_bytes())
            .count();
        found.get(..count).unwrap_or_default()
    }

    fn location(&self, blob: &BlobRecord) -> Option<Location> {
        if blob.pack >= self.layout.counts.packs {
            return None;
        }
        blob.location(PackRef(self.base.checked_add(blob.pack)?))
    }

    fn pack_record(&self, number: u32) -> Option<PackRecord> {
        let record = self
            .records::<PACK_BYTES>(&self.layout.packs)
            .get(to_usize(number))?;
        PackRecord::decode(record).ok()
    }

    fn frame_record(&self, number: u32) -> Option<FrameRecord> {
        let record = self
            .records::<FRAME_BYTES>(&self.layout.frames)
            .get(to_usize(number))?;
        FrameRecord::decode(record).ok()
    }

    fn records<const N: usize>(&self, section: &Range<usize>) -> &[[u8; N]] {
        let bytes = self.map.bytes().get(section.clone()).unwrap_or_default();
        bytes.as_chunks::<N>().0
    }
}

/// Whether a table's file has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the cache folder, for later runs.
    Cached,
    /// Without a name, gone with this process.
    Temporary,
}
