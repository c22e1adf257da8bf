//! Compression of frames: contexts and buffers are kept, incompressible data is noticed early.

use std::io::Cursor;

use dolmen_format::limits::{FRAME_RAW_BYTES_MAX, NONCE_BYTES};
use dolmen_format::pack::Compression;

/// How hard to compress, in restic's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// zstd 3, incompressible data left alone.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// zstd 1.
    Fastest,
    /// zstd 7.
    Better,
    /// zstd 19.
    Max,
}

impl Effort {
    const fn level(self) -> i32 {
        match self {
            Self::Auto | Self::Off => 3,
            Self::Fastest => 1,
            Self::Better => 7,
            Self::Max => 19,
        }
    }
}

/// Data below this size is compressed without a look first.
const SAMPLED_BYTES_MIN: usize = 64 << 10;
/// Bytes of each sample.
const SAMPLE_BYTES: usize = 4 << 10;
/// Samples, spread evenly.
const SAMPLES: usize = 4;

/// Compresses frames with one zstd context.
pub(crate) struct FrameCompressor {
    effort: Effort,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    quick: Option<zstd::bulk::Compressor<'static>>,
    sample: Vec<u8>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for FrameCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameCompressor({:?})", self.effort)
    }
}

impl FrameCompressor {
    pub(crate) fn new(effort: Effort) -> Self {
        Self {
            effort,
            zstd: zstd::bulk::Compressor::new(effort.level()).ok(),
            quick: zstd::bulk::Compressor::new(1).ok(),
            sample: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Fills `body` with room for a nonce and the frame's plaintext, compressed if that saves anything.
    pub(crate) fn compress(&mut self, raw: &[u8], body: &mut Vec<u8>) -> Compression {
        body.clear();
        body.resize(NONCE_BYTES, 0);
        if self.effort != Effort::Off && self.is_promising(raw) && self.try_zstd(raw, body) {
            return Compression::Zstd;
        }
        body.truncate(NONCE_BYTES);
        body.extend_from_slice(raw);
        Compression::None
    }

    /// Compresses behind the nonce's room; false when it saves less than one part in 64.
    fn try_zstd(&mut self, raw: &[u8], body: &mut Vec<u8>) -> bool {
        let Some(zstd) = &mut self.zstd else {
            return false;
        };
        body.reserve(zstd::zstd_safe::compress_bound(
            raw.len().min(FRAME_RAW_BYTES_MAX),
        ));
        let mut room = Cursor::new(&mut *body);
        room.set_position(NONCE_BYTES as u64);
        let worth_it = raw.len() - raw.len() / 64;
        zstd.compress_to_buffer(raw, &mut room)
            .is_ok_and(|bytes| bytes < worth_it)
    }

    /// Whether samples of the data get smaller. Wrong answers cost time or space, nothing else.
    fn is_promising(&mut self, raw: &[u8]) -> bool {
        if self.effort != Effort::Auto || raw.len() < SAMPLED_BYTES_MIN {
            return true;
        }
        self.sample.clear();
        let stride = raw.len() / SAMPLES;
        for part in raw.chunks(stride.max(1)).take(SAMPLES) {
            self.sample
                .extend_from_slice(part.get(..SAMPLE_BYTES).unwrap_or(part));
        }
        if !looks_random(&self.sample) {
            return true;
        }
        let Some(quick) = &mut self.quick else {
            return true;
        };
        self.scratch.clear();
        self.scratch
            .reserve(zstd::zstd_safe::compress_bound(self.sample.len()));
        let small_enough = self.sample.len() - self.sample.len() / 32;
        quick
            .compress_to_buffer(&self.sample, &mut self.scratch)
            .is_ok_and(|bytes| bytes < small_enough)
    }
}

/// Whether no byte value stands out: in random bytes, none is twice as frequent as the mean.
fn looks_random(sample: &[u8]) -> bool {
    let mut counts = [0_usize; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    counts.iter().all(|count| *count <= sample.len() / 128)
}
