//! Reading content: a stream of bytes becomes chunks, and chunks become blobs, here or in a thread that
//! has nothing else to do.

use crossbeam_channel::{Receiver, Sender, TrySendError};
use dolmen_chunker::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunker, Cutter, EndOfStream};
use dolmen_format::list::Chunk;
use dolmen_format::{BlobId, BlobKind};
use dolmen_fs::{Extent, FsError, ReadFile};

use super::blobs::BlobWriter;
use super::list::{ListBuilder, Listed};
use super::session::{Claim, Session};
use crate::error::{Error, Result};

/// Bytes asked for in one read.
const READ_BYTES: usize = 1 << 20;
/// A chunk of the largest size and the reads that overshoot it.
const BUFFER_BYTES: usize = CHUNK_BYTES_MAX + 2 * READ_BYTES;
/// Chunks of files from this size on are offered to other threads.
pub(super) const SHARED_BYTES_MIN: u64 = 8 << 20;

/// A chunk that any thread may compress.
#[derive(Debug)]
pub(super) struct ChunkJob {
    pub(super) id: BlobId,
    pub(super) bytes: Vec<u8>,
}

/// Where chunks are offered, and empty buffers come back.
#[derive(Debug, Clone)]
pub(super) struct ChunkQueue {
    pub(super) jobs: Sender<ChunkJob>,
    pub(super) spare: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

/// A source of content.
pub(super) trait Content {
    /// Fills `buffer` as far as it can; fewer bytes only at the end.
    fn read(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, ReadError>;
}

/// Why content could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// One file; the others are not affected.
    Source(FsError),
    /// The run.
    Fatal(Error),
}

impl From<FsError> for ReadError {
    fn from(error: FsError) -> Self {
        Self::Source(error)
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// A whole file.
impl Content for ReadFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, ReadError> {
        Ok(Self::read(self, buffer)?)
    }
}

/// The extents of a sparse file, joined.
pub(super) struct Extents<'f> {
    pub(super) file: &'f ReadFile,
    pub(super) parts: std::slice::Iter<'f, Extent>,
    /// What is left of the current one.
    pub(super) rest: Extent,
}

impl Content for Extents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, ReadError> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            if self.rest.length_bytes == 0 {
                match self.parts.next() {
                    Some(next) => self.rest = *next,
                    None => break,
                }
            }
            let wanted = usize::try_from(self.rest.length_bytes)
                .unwrap_or(usize::MAX)
                .min(room.len());
            let part = room.get_mut(..wanted).unwrap_or_default();
            let got = self.file.read_at(part, self.rest.offset)?;
            // The file shrank: the rest of the extent reads as the zeros that a hole would.
            for byte in part.iter_mut().skip(got) {
                *byte = 0;
            }
            filled += wanted;
            let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
            self.rest.offset = self.rest.offset.saturating_add(wanted);
            self.rest.length_bytes = self.rest.length_bytes.saturating_sub(wanted);
        }
        Ok(filled)
    }
}

/// Chunks content; keeps its buffer for the next file.
pub(super) struct ContentReader<'s> {
    session: &'s Session<'s>,
    chunker: Chunker,
    buffer: Vec<u8>,
    queue: ChunkQueue,
}

impl<'s> ContentReader<'s> {
    pub(super) fn new(session: &'s Session<'s>, chunker: &Chunker, queue: ChunkQueue) -> Self {
        Self {
            session,
            chunker: chunker.clone(),
            buffer: Vec::new(),
            queue,
        }
    }

    /// Reads a source to its end. `expected` is its likely size in bytes.
    pub(super) fn read(
        &mut self,
        source: &mut dyn Content,
        expected: u64,
        blobs: &mut BlobWriter<'_>,
    ) -> std::result::Result<Listed, ReadError> {
        let mut list = ListBuilder::new();
        let small = expected <= CHUNK_BYTES_MIN as u64;
        let first_read = if small {
            CHUNK_BYTES_MIN + 1
        } else {
            BUFFER_BYTES
        };
        self.grow(first_read);
        let mut filled = self.fill(source, 0, if small { first_read } else { READ_BYTES })?;
        if filled <= CHUNK_BYTES_MIN && small {
            // All of a small file is one chunk; the cutter would say the same.
            self.emit(0, filled, expected, &mut list, blobs)?;
            return Ok(list.finish(blobs)?);
        }
        self.grow(BUFFER_BYTES);
        let mut cutter = self.chunker.cutter();
        let (mut start, mut end) = (0, EndOfStream::No);
        loop {
            while let Some(length) = self.cut(&mut cutter, start, filled, end) {
                self.emit(start, length, expected, &mut list, blobs)?;
                start += length;
            }
            if end == EndOfStream::Yes {
                return Ok(list.finish(blobs)?);
            }
            if self.session.is_over() {
                return Err(Error::Interrupted.into());
            }
            if self.buffer.len() - filled < READ_BYTES {
                self.buffer.copy_within(start..filled, 0);
                (filled, start) = (filled - start, 0);
            }
            let got = self.fill(source, filled, READ_BYTES)?;
            filled += got;
            if got < READ_BYTES {
                end = EndOfStream::Yes;
            }
        }
    }

    fn cut(
        &self,
        cutter: &mut Cutter,
        start: usize,
        filled: usize,
        end: EndOfStream,
    ) -> Option<usize> {
        cutter.cut(self.buffer.get(start..filled).unwrap_or_default(), end)
    }

    fn fill(
        &mut self,
        source: &mut dyn Content,
        at: usize,
        count: usize,
    ) -> std::result::Result<usize, ReadError> {
        let room = self
            .buffer
            .get_mut(at..)
            .and_then(|rest| rest.get_mut(..count));
        source.read(room.unwrap_or_default())
    }

    fn grow(&mut self, bytes: usize) {
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
    }

    /// Stores one chunk: in this thread, or for large files in whichever thread is free.
    fn emit(
        &mut self,
        start: usize,
        length: usize,
        expected: u64,
        list: &mut ListBuilder,
        blobs: &mut BlobWriter<'_>,
    ) -> Result<()> {
        let chunk = self.buffer.get(start..).and_then(|rest| rest.get(..length));
        let Some(chunk) = chunk.filter(|chunk| !chunk.is_empty()) else {
            return Ok(());
        };
        let id = self.session.domain.blob_id(BlobKind::Data, chunk);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if self.session.claim(&id) == Claim::Write {
            let shared = expected >= SHARED_BYTES_MIN && offer(&self.queue, id, chunk);
            if !shared {
                blobs.write(BlobKind::Data, id, chunk)?;
            }
        }
        super::Progress::add(&self.session.progress.bytes, length);
        list.push(Chunk { id, length }, blobs)
    }
}

/// Offers a chunk to other threads; false when they are busy.
fn offer(queue: &ChunkQueue, id: BlobId, chunk: &[u8]) -> bool {
    if queue.jobs.is_full() {
        return false;
    }
    let mut bytes = queue.spare.1.try_recv().unwrap_or_default();
    bytes.clear();
    bytes.extend_from_slice(chunk);
    match queue.jobs.try_send(ChunkJob { id, bytes }) {
        Ok(()) => true,
        Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
            drop(queue.spare.0.try_send(job.bytes));
            false
        }
    }
}
