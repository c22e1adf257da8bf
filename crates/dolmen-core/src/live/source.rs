//! Nodes out of the store.

use std::sync::atomic::{AtomicBool, Ordering};

use dolmen_format::limits::MANIFEST_NODE_BYTES_MAX;
use dolmen_state::index::PackRef;

use super::{NodePlace, NodeSource};
use crate::error::{Error, Result};
use crate::pack::reader::FrameOpener;
use crate::pack::{BlobError, BlobReader};

/// Nodes that are read at the same time.
const THREADS_MAX: usize = 8;

/// Reads nodes where the index knows their packs.
#[derive(Debug)]
pub struct StoredNodes<'a> {
    blobs: &'a BlobReader<'a>,
    interrupted: &'a AtomicBool,
    openers: Vec<FrameOpener>,
}

impl<'a> StoredNodes<'a> {
    /// A source that stops the walk when `interrupted` is set.
    pub fn new(blobs: &'a BlobReader<'a>, interrupted: &'a AtomicBool) -> Self {
        Self {
            blobs,
            interrupted,
            openers: Vec::new(),
        }
    }
}

type Answer = std::result::Result<Vec<u8>, BlobError>;

impl NodeSource for StoredNodes<'_> {
    /// Cost: a request for each node, and one for each pack of nodes.
    fn read(&mut self, places: &[NodePlace]) -> Result<Vec<Answer>> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let share = places.len().div_ceil(THREADS_MAX).max(1);
        self.openers.resize_with(THREADS_MAX, FrameOpener::new);
        let blobs = self.blobs;
        let read = |places: &[NodePlace], opener: &mut FrameOpener| -> Vec<Answer> {
            let read = places.iter().map(|place| read_node(blobs, opener, place));
            read.collect()
        };
        let answers = std::thread::scope(|scope| {
            let threads: Vec<_> = places
                .chunks(share)
                .zip(&mut self.openers)
                .map(|(places, opener)| scope.spawn(move || read(places, opener)))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().map_err(|_panic| Error::Internal {
                    what: "a reading thread died",
                })
            });
            joined.collect::<Result<Vec<_>>>()
        })?;
        let answers: Vec<Answer> = answers.into_iter().flatten().collect();
        let mut errors = answers.iter().filter_map(|answer| answer.as_ref().err());
        match errors.find_map(BlobError::outage) {
            Some(outage) => Err(outage),
            None => Ok(answers),
        }
    }
}

/// Reads the frame that holds a node alone, as any description of its pack says where it lies: a wrong one finds nothing
/// that opens.
fn read_node(blobs: &BlobReader<'_>, opener: &mut FrameOpener, place: &NodePlace) -> Answer {
    let mut failed = BlobError::Frame {
        pack: place.pack,
        ordinal: place.ordinal,
    };
    for pack in blobs.index().find_packs(&place.pack) {
        match read_described(blobs, opener, pack, place) {
            Err(error) if error.outage().is_none() => failed = error,
            answer => return answer,
        }
    }
    Err(failed)
}

fn read_described(
    blobs: &BlobReader<'_>,
    opener: &mut FrameOpener,
    pack: PackRef,
    place: &NodePlace,
) -> Answer {
    let (_, frame) = blobs.frame_info(pack, place.ordinal)?;
    // A frame of anything else need not be read to be known as such.
    if usize::try_from(frame.raw_bytes).unwrap_or(usize::MAX) > MANIFEST_NODE_BYTES_MAX {
        return Err(BlobError::Frame {
            pack: place.pack,
            ordinal: place.ordinal,
        });
    }
    let mut raw = Vec::new();
    blobs.open_frame(pack, place.ordinal, opener, &mut raw)?;
    Ok(raw)
}
