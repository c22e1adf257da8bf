//! Workers: they open frames, verify blobs and write them wherever they belong.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use dolmen_format::{BlobId, BlobKind};
use dolmen_state::index::Location;

use super::check::Check;
use super::entry::Failure;
use super::file::FileJob;
use super::layout::length;
use super::other::Other;
use super::read::{Fetched, FetchedFrame, Stored};
use super::session::Session;
use super::window::{Part, Window};
use crate::content::Chunks;
use crate::pack::BlobError;
use crate::pack::reader::FrameOpener;

/// What a worker is given.
#[derive(Debug)]
pub(super) enum Work {
    /// Frames to be written.
    Fetched(Fetched),
    /// Small work, which needs no frames.
    Small(Arc<Window>, Vec<Small>),
    /// Files to be compared.
    Check(Check),
}

/// Small work.
#[derive(Debug)]
pub(super) enum Small {
    /// The planner is done with a file of which it planned nothing in this window.
    Settle(Arc<FileJob>),
    /// Neither directory nor file.
    Make(Other),
}

/// Works until there is nothing left to do.
pub(super) fn serve(session: &Session<'_>, works: &Receiver<Work>, finished: &Sender<()>) {
    let mut worker = Worker::new(session);
    for work in works {
        match work {
            Work::Fetched(Fetched { window, frames }) => {
                for frame in frames {
                    worker.write_frame(&window, frame);
                }
                session.end_task(&window, finished);
            }
            Work::Small(window, items) => {
                for item in &items {
                    worker.do_small(item);
                }
                session.end_task(&window, finished);
            }
            Work::Check(check) => check.run(session, &mut worker.buffer),
        }
    }
}

/// Buffers that are used again and again, and what needs them.
pub(super) struct Worker<'s> {
    session: &'s Session<'s>,
    opener: FrameOpener,
    /// A frame, decompressed.
    raw: Vec<u8>,
    /// Another one.
    spare: Vec<u8>,
    /// What is read back.
    buffer: Vec<u8>,
}

impl<'s> Worker<'s> {
    pub(super) fn new(session: &'s Session<'s>) -> Self {
        let (raw, spare, buffer) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            session,
            opener: FrameOpener::new(),
            raw,
            spare,
            buffer,
        }
    }

    fn do_small(&mut self, item: &Small) {
        match item {
            _ if self.session.is_over() => {}
            Small::Settle(job) => job.settle(self.session, &mut self.buffer),
            Small::Make(other) => other.make(self.session),
        }
    }

    /// Writes the blobs of one frame.
    fn write_frame(&mut self, window: &Window, fetched: FetchedFrame) {
        let session = self.session;
        let mut raw = std::mem::take(&mut self.raw);
        let opened = fetched.stored.and_then(|stored| {
            let Stored {
                key,
                info,
                ordinal,
                frame,
                bytes,
            } = stored;
            self.opener
                .open(&key, &info, ordinal, &frame, &bytes, &mut raw)
        });
        let parts = window.parts.get(fetched.parts).unwrap_or_default();
        let opened = match (opened, parts.first()) {
            (Err(error), Some(part)) if error.outage().is_none() => {
                self.open_moved(&part.at, error, &mut raw)
            }
            (opened, _) => opened,
        };
        for group in parts.chunk_by(|a, b| a.id == b.id && a.at == b.at) {
            let Some(first) = group.first().filter(|_| !session.is_over()) else {
                break;
            };
            let blob = match &opened {
                Ok(()) => session
                    .blobs
                    .verify_blob(&first.id, BlobKind::Data, &first.at, &raw),
                Err(error) => Err(error.clone()),
            };
            match blob {
                Ok(blob) => self.write_parts(window, group, Ok(blob)),
                Err(error) => self.write_from_elsewhere(window, group, first, &error),
            }
        }
        self.raw = raw;
    }

    /// Opens a frame that its origin does not give from where it was moved.
    fn open_moved(
        &mut self,
        at: &Location,
        error: BlobError,
        raw: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        let (blobs, is_gone) = (&self.session.blobs, error.is_gone());
        if blobs.open_moved(at.pack, at.ordinal, is_gone, &mut self.opener, raw)? {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Writes parts that lie in a damaged frame from another one that holds the blob, if there is any.
    fn write_from_elsewhere(
        &mut self,
        window: &Window,
        group: &[Part],
        first: &Part,
        error: &BlobError,
    ) {
        let mut spare = std::mem::take(&mut self.spare);
        // Of a pack that lies beneath other bytes, the same place is read again.
        let blobs = &self.session.blobs;
        let is_beneath = match blobs.index().pack(first.at.pack) {
            Some(info) => blobs.is_beneath(&info),
            None => false,
        };
        let but = (!is_beneath).then_some(&first.at);
        let found = self.find_blob(&first.id, but, &mut spare);
        self.write_parts(window, group, found.map_err(|_error| error));
        self.spare = spare;
    }

    fn write_parts(&mut self, window: &Window, group: &[Part], blob: Result<&[u8], &BlobError>) {
        let session = self.session;
        for part in group {
            let Some(job) = window.files.get(part.file) else {
                continue;
            };
            if session.is_over() {
                return;
            }
            if !job.has_failed() {
                let written = match blob {
                    Ok(blob) => job.write(session, part.content_offset, blob),
                    Err(error) => Err(session.lost(error)),
                };
                if let Err(failure) = written {
                    job.fail(session, failure);
                }
            }
            job.settle(session, &mut self.buffer);
        }
    }

    /// Restores a file whose first name could not be restored, chunk by chunk.
    pub(super) fn restore_alone(&mut self, job: &Arc<FileJob>) {
        let session = self.session;
        if !session.is_dry()
            && let Err(failure) = self.write_alone(job)
        {
            job.fail(session, failure);
        }
        job.settle(session, &mut self.buffer);
    }

    fn write_alone(&mut self, job: &Arc<FileJob>) -> Result<(), Failure> {
        let session = self.session;
        job.differ();
        let mut spare = std::mem::take(&mut self.spare);
        let mut content_offset = 0_u64;
        for chunk in Chunks::new(&session.blobs, &job.content) {
            let chunk = chunk.map_err(|error| session.lost(&error))?;
            let found = self.find_blob(&chunk.id, None, &mut spare);
            let blob = found.map_err(|error| session.lost(&error))?;
            job.write(session, content_offset, blob)?;
            content_offset = content_offset.saturating_add(length(blob.len()));
        }
        self.spare = spare;
        job.check_length(content_offset)
    }

    /// Finds a blob in any place but one, reads its frame into `raw` and verifies it.
    fn find_blob<'r>(
        &mut self,
        id: &BlobId,
        but: Option<&Location>,
        raw: &'r mut Vec<u8>,
    ) -> Result<&'r [u8], BlobError> {
        let blobs = &self.session.blobs;
        let mut failed = BlobError::Unknown(*id);
        let mut found = None;
        for at in blobs.index().locations(id) {
            if but.is_some_and(|but| (but.pack, but.ordinal) == (at.pack, at.ordinal)) {
                continue;
            }
            let read = self
                .read_frame(&at, raw)
                .and_then(|()| blobs.verify_blob(id, BlobKind::Data, &at, raw).map(drop));
            match read {
                Ok(()) => {
                    found = Some(at);
                    break;
                }
                Err(error) => failed = error,
            }
        }
        // Verified once more for the borrow's sake; this is the rare way.
        found.map_or(Err(failed), |at| {
            blobs.verify_blob(id, BlobKind::Data, &at, raw)
        })
    }

    fn read_frame(&mut self, at: &Location, raw: &mut Vec<u8>) -> Result<(), BlobError> {
        let blobs = &self.session.blobs;
        blobs.open_frame(at.pack, at.ordinal, &mut self.opener, raw)
    }
}
