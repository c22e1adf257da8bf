//! The blobs that are in no table yet.

use std::collections::HashMap;
use std::fs::File;

use dolmen_format::index::IndexedFrame;
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::{BlobId, PackId};

use super::layout::Counts;
use super::records::{BlobRecord, FrameRecord, PackRecord};
use super::write::{Contents, WriteFailure};
use super::{FrameInfo, Location, PackInfo, PackRef};
use crate::error::StateError;
use crate::number::{to_u32, to_u64, to_usize};
use crate::seen::SeenObject;

/// No blob before this one has its id.
const NONE: u32 = u32::MAX;

/// Packs, frames and blobs in the order in which they came, found by hash maps.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The [`PackRef`] of the first pack here.
    base: u32,
    packs: Vec<PackRecord>,
    frames: Vec<FrameRecord>,
    /// Each with the index of the one before it of the same id, or [`NONE`].
    blobs: Vec<(BlobRecord, u32)>,
    /// The index of the last blob of each id.
    by_blob: HashMap<BlobId, u32>,
    /// Several of one id describe it differently.
    by_pack: HashMap<PackId, Vec<u32>>,
}

impl Memory {
    /// An empty one whose packs get the numbers from `base` on.
    pub(super) fn new(base: u32) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    pub(super) const fn base(&self) -> u32 {
        self.base
    }

    /// The number that the next pack gets.
    pub(super) fn end(&self) -> u32 {
        self.base.saturating_add(to_u32(self.packs.len()))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Blobs and frames together: what the memory it takes depends on.
    pub(super) const fn records(&self) -> usize {
        self.blobs.len().saturating_add(self.frames.len())
    }

    /// Adds a pack that is not known like this; changes nothing when its description is impossible.
    pub(super) fn add(
        &mut self,
        info: PackInfo,
        frames: &[IndexedFrame],
    ) -> Result<PackRef, StateError> {
        let number = to_u32(self.packs.len());
        let pack = number
            .checked_add(self.base)
            .filter(|pack| *pack < u32::MAX);
        let pack = pack.map(PackRef).ok_or(impossible(info, "number"))?;
        let first_frame = to_u32(self.frames.len());
        let (new_frames, new_blobs) = describe(info, number, frames)?;
        let blobs_end = self.blobs.len().saturating_add(new_blobs.len());
        let frames_end = self.frames.len().saturating_add(new_frames.len());
        if to_u32(blobs_end.max(frames_end)) == u32::MAX {
            return Err(impossible(info, "number of blobs"));
        }
        self.packs.push(PackRecord {
            info,
            first_frame,
            frames: to_u32(new_frames.len()),
        });
        self.by_pack.entry(info.pack).or_default().push(number);
        self.frames.extend(new_frames);
        for blob in new_blobs {
            let at = to_u32(self.blobs.len());
            let before = self.by_blob.insert(blob.id, at).unwrap_or(NONE);
            self.blobs.push((blob, before));
        }
        Ok(pack)
    }

    /// The places of a blob, the latest first.
    pub(super) fn locations(&self, id: &BlobId) -> impl Iterator<Item = Location> {
        let mut next = self.by_blob.get(id).copied().unwrap_or(NONE);
        core::iter::from_fn(move || {
            let (blob, before) = self.blobs.get(to_usize(next))?;
            next = *before;
            Some(blob)
        })
        .filter_map(|blob| self.location(blob))
    }

    /// The descriptions of a pack, the first one first.
    pub(super) fn find_packs(&self, id: &PackId) -> impl Iterator<Item = PackRef> {
        let numbers = self.by_pack.get(id).into_iter().flatten();
        numbers.filter_map(|number| self.base.checked_add(*number).map(PackRef))
    }

    /// The packs' ids and numbers, ascending by id.
    pub(super) fn ordered_packs(&self) -> Vec<(PackId, PackRef)> {
        let numbers = (self.base..).map(PackRef);
        let packs = self.packs.iter().map(|record| record.info.pack);
        let mut ordered: Vec<_> = packs.zip(numbers).collect();
        ordered.sort_unstable();
        ordered
    }

    pub(super) fn pack(&self, pack: PackRef) -> Option<PackInfo> {
        let number = pack.0.checked_sub(self.base)?;
        self.packs.get(to_usize(number)).map(|record| record.info)
    }

    pub(super) fn frame(&self, pack: PackRef, ordinal: u32) -> Option<FrameInfo> {
        let number = pack.0.checked_sub(self.base)?;
        let frame = self.packs.get(to_usize(number))?.frame(ordinal)?;
        self.frames.get(to_usize(frame))?.info()
    }

    pub(super) fn packs(&self) -> impl Iterator<Item = PackInfo> {
        self.packs.iter().map(|record| record.info)
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = (BlobId, Location)> {
        let blobs = self.blobs.iter();
        blobs.filter_map(|(blob, _)| Some((blob.id, self.location(blob)?)))
    }

    pub(super) fn blob_count(&self) -> u64 {
        to_u64(self.blobs.len())
    }

    /// Writes everything as a table that covers no segment.
    pub(super) fn write(&self, file: &File) -> Result<(), WriteFailure> {
        let mut blobs: Vec<u32> = (0..to_u32(self.blobs.len())).collect();
        let blob = |at: &u32| self.blobs.get(to_usize(*at)).map(|(blob, _)| *blob);
        blobs.sort_unstable_by_key(blob);
        let mut order: Vec<u32> = (0..to_u32(self.packs.len())).collect();
        // Stable: of several descriptions the first one stays first.
        order.sort_by_key(|at| self.packs.get(to_usize(*at)).map(|pack| pack.info.pack));
        let no_segments: &[SeenObject] = &[];
        Contents {
            counts: Counts {
                segments: 0,
                packs: to_u32(self.packs.len()),
                frames: to_u32(self.frames.len()),
                blobs: to_u32(self.blobs.len()),
                sources: 0,
            },
            segments: no_segments,
            packs: self.packs.iter().copied(),
            order: order.into_iter(),
            sources: core::iter::empty(),
            frames: self.frames.iter().copied(),
            blobs: blobs.iter().filter_map(blob),
        }
        .write(file)
    }

    fn location(&self, blob: &BlobRecord) -> Option<Location> {
        blob.location(PackRef(self.base.checked_add(blob.pack)?))
    }
}

/// The records of a pack's frames and blobs. Offsets follow from the sizes before them (§6).
fn describe(
    info: PackInfo,
    pack: u32,
    frames: &[IndexedFrame],
) -> Result<(Vec<FrameRecord>, Vec<BlobRecord>), StateError> {
    let mut frame_records = Vec::with_capacity(frames.len());
    let mut blob_records = Vec::new();
    let mut offset = to_u32(PROLOGUE_BYTES);
    for (ordinal, frame) in (0_u32..).zip(frames) {
        let record = FrameRecord::new(FrameInfo {
            offset,
            frame_bytes: frame.frame_bytes,
            raw_bytes: frame.raw_bytes,
            compression: frame.compression,
        });
        frame_records.push(record.ok_or(impossible(info, "raw_bytes"))?);
        let mut blob_offset = 0_u32;
        for blob in &frame.blobs {
            let place = Location {
                kind: blob.kind,
                pack: PackRef(pack),
                ordinal,
                offset: blob_offset,
                length: blob.length,
            };
            let record = BlobRecord::new(blob.id, pack, place);
            blob_records.push(record.ok_or(impossible(info, "place of a blob"))?);
            blob_offset = blob_offset
                .checked_add(blob.length)
                .ok_or(impossible(info, "place of a blob"))?;
        }
        offset = offset
            .checked_add(frame.frame_bytes)
            .ok_or(impossible(info, "frame_bytes"))?;
    }
    Ok((frame_records, blob_records))
}

const fn impossible(info: PackInfo, field: &'static str) -> StateError {
    StateError::PackDescription {
        pack: info.pack,
        field,
    }
}
