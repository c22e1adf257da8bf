//! What is sorted: nodes that are needed, and frames that are needed.

use dolmen_format::PackId;
use dolmen_format::manifest::PackFrames;

use super::walk::Needers;
use super::{LivePack, NodePlace};

/// Bytes of a [`NodeNeed`].
pub(super) const NODE_BYTES: usize = NODE_KEY_BYTES + 8 + 4 + 4;
/// What names a node and says where it lies.
const NODE_KEY_BYTES: usize = 32 + 32 + 32 + 4;
/// Bytes of a [`Need`].
pub(super) const NEED_BYTES: usize = NEED_KEY_BYTES + 8 + 8;
/// Pack and word.
const NEED_KEY_BYTES: usize = 32 + 1;
/// Frames of a [`Need`].
const WORD_FRAMES: u32 = 64;

/// Names a node: the first pack below it, then its hash, so that nodes are read in the order of packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId {
    pub(super) first: PackId,
    pub(super) hash: [u8; 32],
}

/// A node that is needed, as its parents name it.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// |  0 | 32 | first pack |
/// | 32 | 32 | hash |
/// | 64 | 32 | origin pack of its frame |
/// | 96 |  4 | ordinal of its frame |
/// | 100 | 8 | longest promise in seconds |
/// | 108 | 4 | number of the first snapshot that needs it |
/// | 112 | 4 | number of the last one |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeNeed {
    pub(super) id: NodeId,
    pub(super) place: NodePlace,
    pub(super) by: Needers,
}

/// Frames of a pack that are needed: up to 64 of them that are one word of its bitmap.
///
/// | offset | size | field |
/// |-------:|-----:|---|
/// |  0 | 32 | origin pack |
/// | 32 |  1 | number of the word |
/// | 33 |  8 | word; bit i is frame 64 · number + i |
/// | 41 |  8 | longest promise in seconds |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) pack: PackId,
    word_number: u8,
    word: u64,
    pub(super) promise_seconds: u64,
}

impl NodeNeed {
    pub(super) fn encode(&self) -> [u8; NODE_BYTES] {
        let mut out = [0; NODE_BYTES];
        fill(
            &mut out,
            &[
                self.id.first.as_bytes(),
                &self.id.hash,
                self.place.pack.as_bytes(),
                &self.place.ordinal.to_le_bytes(),
                &self.by.promise_seconds.to_le_bytes(),
                &self.by.first.to_le_bytes(),
                &self.by.last.to_le_bytes(),
            ],
        );
        out
    }

    pub(super) fn decode(record: &[u8; NODE_BYTES]) -> Self {
        let mut record: &[u8] = record;
        Self {
            id: NodeId {
                first: PackId::from_bytes(take(&mut record)),
                hash: take(&mut record),
            },
            place: NodePlace {
                pack: PackId::from_bytes(take(&mut record)),
                ordinal: u32::from_le_bytes(take(&mut record)),
            },
            by: Needers {
                promise_seconds: u64::from_le_bytes(take(&mut record)),
                first: u32::from_le_bytes(take(&mut record)),
                last: u32::from_le_bytes(take(&mut record)),
            },
        }
    }

    /// Joins those who need the same node in the same place.
    pub(super) fn combine(kept: &mut [u8; NODE_BYTES], next: &[u8; NODE_BYTES]) -> bool {
        if kept.get(..NODE_KEY_BYTES) != next.get(..NODE_KEY_BYTES) {
            return false;
        }
        let (mut both, next) = (Self::decode(kept), Self::decode(next));
        both.by = both.by.and(next.by);
        *kept = both.encode();
        true
    }
}

impl Need {
    /// One frame.
    pub(super) fn of_frame(place: &NodePlace, promise_seconds: u64) -> Self {
        Self {
            pack: place.pack,
            // Ordinals are below 4096, as the decoder saw.
            word_number: u8::try_from(place.ordinal / WORD_FRAMES).unwrap_or(u8::MAX),
            word: 1 << (place.ordinal % WORD_FRAMES),
            promise_seconds,
        }
    }

    /// All frames of an entry.
    pub(super) fn of_frames(
        entry: &PackFrames,
        promise_seconds: u64,
    ) -> impl Iterator<Item = Self> + '_ {
        let words = entry.frames.bitmap().chunks(8).map(|bytes| {
            let mut word = [0; 8];
            fill(&mut word, &[bytes]);
            u64::from_le_bytes(word)
        });
        (0_u8..)
            .zip(words)
            .filter(|(_, word)| *word != 0)
            .map(move |(word_number, word)| Self {
                pack: entry.pack,
                word_number,
                word,
                promise_seconds,
            })
    }

    pub(super) fn encode(&self) -> [u8; NEED_BYTES] {
        let mut out = [0; NEED_BYTES];
        fill(
            &mut out,
            &[
                self.pack.as_bytes(),
                &[self.word_number],
                &self.word.to_le_bytes(),
                &self.promise_seconds.to_le_bytes(),
            ],
        );
        out
    }

    pub(super) fn decode(record: &[u8; NEED_BYTES]) -> Self {
        let mut record: &[u8] = record;
        Self {
            pack: PackId::from_bytes(take(&mut record)),
            word_number: u8::from_le_bytes(take(&mut record)),
            word: u64::from_le_bytes(take(&mut record)),
            promise_seconds: u64::from_le_bytes(take(&mut record)),
        }
    }

    /// Joins frames of the same word.
    pub(super) fn combine(kept: &mut [u8; NEED_BYTES], next: &[u8; NEED_BYTES]) -> bool {
        if kept.get(..NEED_KEY_BYTES) != next.get(..NEED_KEY_BYTES) {
            return false;
        }
        let (mut both, next) = (Self::decode(kept), Self::decode(next));
        both.word |= next.word;
        both.promise_seconds = both.promise_seconds.max(next.promise_seconds);
        *kept = both.encode();
        true
    }

    /// The frames, ascending.
    pub(super) fn frames(&self) -> impl Iterator<Item = u32> + use<> {
        let (first, word) = (u32::from(self.word_number) * WORD_FRAMES, self.word);
        let bits = (0..WORD_FRAMES).filter(move |bit| word >> bit & 1 == 1);
        bits.map(move |bit| first + bit)
    }

    /// Adds these frames to those of their pack.
    pub(super) fn add_to(&self, pack: &mut LivePack) {
        for frame in self.frames() {
            // Frames that the format has no place for came from no decoder.
            let _representable = pack.frames.insert(frame);
        }
        pack.promise_seconds = pack.promise_seconds.max(self.promise_seconds);
    }
}

/// Writes fields one behind the other.
fn fill(mut out: &mut [u8], fields: &[&[u8]]) {
    for field in fields {
        let Some((slot, rest)) = out.split_at_mut_checked(field.len()) else {
            return;
        };
        slot.copy_from_slice(field);
        out = rest;
    }
}

/// Splits a field off the front. The records' widths are constants, and all their fields are in them.
fn take<const N: usize>(record: &mut &[u8]) -> [u8; N] {
    let (field, rest) = record.split_first_chunk().unwrap_or((&[0; N], &[]));
    *record = rest;
    *field
}
