//! Writing a blob table: one pass from the first byte to the last.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use super::filter::FilterWriter;
use super::layout::{Counts, HEADER_BYTES, Layout, encode_header};
use super::records::{BlobRecord, FrameRecord, PackRecord, SourceRecord, encode_segment, prefix};
use crate::error::{Operation, StateError};
use crate::fanout::FanoutWriter;
use crate::number::to_u64;
use crate::seen::SeenObject;

const BUFFER_BYTES: usize = 256 << 10;

/// What goes into a table, each in the order of the file.
#[derive(Debug)]
pub(super) struct Contents<'a, P, O, S, F, B> {
    pub(super) counts: Counts,
    pub(super) segments: &'a [SeenObject],
    pub(super) packs: P,
    pub(super) order: O,
    pub(super) sources: S,
    pub(super) frames: F,
    pub(super) blobs: B,
}

/// Why a table could not be written.
#[derive(Debug)]
pub(super) enum WriteFailure {
    /// The file could not be written.
    Io(io::Error),
    /// A table that is being merged is damaged: its records do not add up or are out of order.
    DamagedSource,
    /// More than a file can hold.
    TooLarge,
}

impl From<io::Error> for WriteFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl WriteFailure {
    /// This failure with the path it concerns.
    pub(super) fn at(self, path: &Path) -> StateError {
        match self {
            Self::Io(error) => StateError::io(Operation::Write, path)(error),
            Self::DamagedSource => StateError::Damaged {
                what: "the cached blob index",
                path: path.to_path_buf(),
                remedy: "the damaged tables were removed and are fetched again by the next run",
            },
            Self::TooLarge => StateError::TooLarge {
                what: "the number of blobs",
                found: u64::from(u32::MAX) + 1,
                limit: u64::from(u32::MAX),
                path: path.to_path_buf(),
            },
        }
    }
}

impl<P, O, S, F, B> Contents<'_, P, O, S, F, B>
where
    P: Iterator<Item = PackRecord>,
    O: Iterator<Item = u32>,
    S: Iterator<Item = SourceRecord>,
    F: Iterator<Item = FrameRecord>,
    B: Iterator<Item = BlobRecord>,
{
    /// Writes the table to an empty file. Not yet durable.
    pub(super) fn write(self, file: &File) -> Result<(), WriteFailure> {
        let counts = self.counts;
        let layout = Layout::of(counts).ok_or(WriteFailure::TooLarge)?;
        let mut out = Sections::new(file);

        let segments: Vec<u8> = self.segments.iter().flat_map(encode_segment).collect();
        out.section(0, HEADER_BYTES, [encode_header(counts, &segments)])?;
        let segments = self.segments.iter().map(encode_segment);
        out.section(layout.segments.start, layout.segments.end, segments)?;

        let packs = self.packs.map(|pack| pack.encode());
        out.section(layout.packs.start, layout.packs.end, packs)?;
        let order = self.order.map(u32::to_le_bytes);
        out.section(layout.order.start, layout.order.end, order)?;
        let sources = self.sources.map(SourceRecord::encode);
        out.section(layout.sources.start, layout.sources.end, sources)?;
        let frames = self.frames.map(|frame| frame.encode());
        out.section(layout.frames.start, layout.frames.end, frames)?;

        let mut fanout = FanoutWriter::new(counts.blobs);
        let mut filter = FilterWriter::new(counts.blobs);
        let mut previous = None;
        let mut sound = true;
        let blobs = self.blobs.map(|blob| {
            sound &= previous.is_none_or(|id| id <= blob.id) && blob.pack < counts.packs;
            previous = Some(blob.id);
            fanout.add(prefix(&blob.id));
            filter.add(&blob.id);
            blob.encode()
        });
        out.section(layout.blobs.start, layout.blobs.end, blobs)?;
        if !sound {
            return Err(WriteFailure::DamagedSource);
        }
        out.section(layout.fanout.start, layout.fanout.end, fanout.finish())?;
        out.section(layout.filter.start, layout.filter.end, filter.finish())?;
        out.out.flush()?;
        Ok(())
    }
}

/// Writes sections where the layout wants them.
struct Sections<'a> {
    out: BufWriter<&'a File>,
    /// Bytes written so far.
    at: u64,
}

impl<'a> Sections<'a> {
    fn new(file: &'a File) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            at: 0,
        }
    }

    /// Fills up to `start` with zeros and writes records that must end exactly at `end`.
    fn section<const N: usize>(
        &mut self,
        start: usize,
        end: usize,
        records: impl IntoIterator<Item = [u8; N]>,
    ) -> Result<(), WriteFailure> {
        let (start, end) = (to_u64(start), to_u64(end));
        while self.at < start {
            self.out.write_all(&[0])?;
            self.at += 1;
        }
        for record in records {
            self.out.write_all(&record)?;
            self.at += to_u64(N);
        }
        if self.at == end {
            Ok(())
        } else {
            Err(WriteFailure::DamagedSource)
        }
    }
}
