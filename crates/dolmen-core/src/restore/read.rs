//! Readers: they fetch runs of frames, several at a time, so that workers need not wait for the store.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use dolmen_crypto::PackKey;
use dolmen_state::index::{FrameInfo, PackInfo};
use dolmen_store::ByteRange;

use super::session::Session;
use super::window::{NeededFrame, Run, Window, is_worth_one_request};
use super::work::Work;
use crate::pack::BlobError;
use crate::pack::moved::MovedPlace;

/// A run, fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) window: Arc<Window>,
    pub(super) frames: Vec<FetchedFrame>,
}

/// A frame as stored, with what opens it, or why it cannot be had.
#[derive(Debug)]
pub(super) struct FetchedFrame {
    /// Range of the window's parts that lie in it.
    pub(super) parts: Range<usize>,
    pub(super) stored: Result<Stored, BlobError>,
}

/// See [`FetchedFrame`].
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) key: Arc<PackKey>,
    pub(super) info: PackInfo,
    pub(super) ordinal: u32,
    pub(super) frame: FrameInfo,
    pub(super) bytes: Bytes,
}

/// Parts that a worker takes at a time: of small files, a run holds very many.
const BATCH_PARTS: usize = 1024;

/// Fetches until there is nothing left to do.
pub(super) fn serve(session: &Session<'_>, runs: &Receiver<Run>, works: &Sender<Work>) {
    for run in runs {
        let window = Arc::clone(&run.window);
        let frames = if session.is_over() {
            Vec::new()
        } else {
            fetch(session, run)
        };
        let mut batch = Batch {
            window,
            works,
            frames: Vec::new(),
            parts: 0,
        };
        for frame in frames {
            batch.add(&frame);
        }
        // Even without any frame: the worker ends the run's task.
        batch.send();
    }
}

/// Frames on their way to one worker.
struct Batch<'a> {
    window: Arc<Window>,
    works: &'a Sender<Work>,
    frames: Vec<FetchedFrame>,
    parts: usize,
}

impl Batch<'_> {
    /// Adds a frame; one with very many parts is given to several workers.
    fn add(&mut self, frame: &FetchedFrame) {
        let Range { start, end } = frame.parts;
        for from in (start..end).step_by(BATCH_PARTS) {
            let parts = from..from.saturating_add(BATCH_PARTS).min(end);
            if self.parts.saturating_add(parts.len()) > BATCH_PARTS {
                self.window.begin_task();
                self.send();
            }
            self.parts = self.parts.saturating_add(parts.len());
            self.frames.push(FetchedFrame {
                parts,
                stored: frame.stored.clone(),
            });
        }
    }

    fn send(&mut self) {
        let (window, frames) = (Arc::clone(&self.window), std::mem::take(&mut self.frames));
        self.parts = 0;
        // The workers stay until the last reader has gone.
        self.works
            .send(Work::Fetched(Fetched { window, frames }))
            .ok();
    }
}

fn fetch(session: &Session<'_>, run: Run) -> Vec<FetchedFrame> {
    let span = run.span();
    let key = session.blobs.pack_key(run.pack);
    if key.as_ref().is_err_and(BlobError::is_gone) {
        return fetch_moved(session, run);
    }
    let fetched = key.and_then(|key| Ok((key, read(session, &run.info, &span)?)));
    let several = run.frames.len() > 1;
    let mut frames = Vec::with_capacity(run.frames.len());
    for needed in run.frames {
        let own = u64::from(needed.frame.offset);
        let own = own..own.saturating_add(u64::from(needed.frame.frame_bytes));
        let stored = match &fetched {
            Ok((key, bytes)) => Ok((Arc::clone(key), cut(bytes, &span, &own))),
            // Of a pack that is cut short, the frames at its beginning can still be had.
            Err(BlobError::Store { .. }) if several => session
                .blobs
                .pack_key(run.pack)
                .and_then(|key| Ok((key, read(session, &run.info, &own)?))),
            Err(error) => Err(error.clone()),
        };
        let (info, ordinal, frame) = (run.info, needed.ordinal, needed.frame);
        let stored = stored.map(|(key, bytes)| Stored {
            key,
            info,
            ordinal,
            frame,
            bytes,
        });
        frames.push(FetchedFrame {
            parts: needed.parts,
            stored,
        });
    }
    frames
}

/// A frame and where it lies now.
type Placed = (NeededFrame, MovedPlace);

/// Fetches the frames of a run whose pack is gone from where they were moved, neighbours with one request. For one that
/// is not found, or does not come, the worker that wants it looks by itself.
fn fetch_moved(session: &Session<'_>, run: Run) -> Vec<FetchedFrame> {
    let mut frames = Vec::with_capacity(run.frames.len());
    let mut neighbours: Vec<Placed> = Vec::new();
    for needed in run.frames {
        let found = session
            .blobs
            .find_moved(run.pack, needed.ordinal, |_, _| true);
        let Ok(Some(place)) = found else {
            let gone = session.blobs.pack_key(run.pack).map(|_key| ());
            frames.push(FetchedFrame {
                parts: needed.parts,
                stored: Err(gone.err().unwrap_or(BlobError::Frame {
                    pack: run.info.pack,
                    ordinal: needed.ordinal,
                })),
            });
            continue;
        };
        if !neighbours.is_empty() && !is_next(&neighbours, &needed, &place) {
            fetch_neighbours(session, &mut neighbours, &mut frames);
        }
        neighbours.push((needed, place));
    }
    fetch_neighbours(session, &mut neighbours, &mut frames);
    frames
}

fn end_of((needed, place): &Placed) -> u64 {
    let frame_bytes = u64::from(needed.frame.frame_bytes);
    place.offset.saturating_add(frame_bytes)
}

/// Whether a frame is fetched along with those before it.
fn is_next(neighbours: &[Placed], needed: &NeededFrame, place: &MovedPlace) -> bool {
    let (Some(first), Some(last)) = (neighbours.first(), neighbours.last()) else {
        return true;
    };
    let end = place
        .offset
        .saturating_add(u64::from(needed.frame.frame_bytes));
    last.1.info == place.info
        && is_worth_one_request(first.1.offset..end_of(last), place.offset..end)
}

fn fetch_neighbours(
    session: &Session<'_>,
    neighbours: &mut Vec<Placed>,
    frames: &mut Vec<FetchedFrame>,
) {
    let (Some(first), Some(last)) = (neighbours.first(), neighbours.last()) else {
        return;
    };
    let span = first.1.offset..end_of(last);
    let fetched = read(session, &first.1.info, &span);
    for (needed, place) in neighbours.drain(..) {
        let own = place.offset
            ..place
                .offset
                .saturating_add(u64::from(needed.frame.frame_bytes));
        let key = session.blobs.moved_key(&place);
        let key = key.ok_or(BlobError::Frame {
            pack: place.info.pack,
            ordinal: needed.ordinal,
        });
        let stored = key.and_then(|key| {
            let bytes = fetched.as_ref().map_err(Clone::clone)?;
            Ok(Stored {
                key,
                info: place.info,
                ordinal: needed.ordinal,
                frame: needed.frame,
                bytes: cut(bytes, &span, &own),
            })
        });
        frames.push(FetchedFrame {
            parts: needed.parts,
            stored,
        });
    }
}

fn read(session: &Session<'_>, info: &PackInfo, range: &Range<u64>) -> Result<Bytes, BlobError> {
    let len = range.end.saturating_sub(range.start);
    session.blobs.read(
        info,
        ByteRange::FromTo {
            offset: range.start,
            len,
        },
    )
}

/// Cuts a frame out of the bytes that were fetched; what is not there is empty, and no frame.
fn cut(bytes: &Bytes, span: &Range<u64>, own: &Range<u64>) -> Bytes {
    let within = |at: u64| usize::try_from(at.saturating_sub(span.start)).unwrap_or(usize::MAX);
    let (start, end) = (within(own.start), within(own.end));
    if start <= end && end <= bytes.len() {
        bytes.slice(start..end)
    } else {
        Bytes::new()
    }
}
