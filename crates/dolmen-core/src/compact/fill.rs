//! How far a pack is filled: by bytes, frames, origins or its table, whichever is most.

use dolmen_format::limits::{PACK_BYTES_TARGET, PACK_FRAMES_MAX, PACK_ORIGINS_MAX};
use dolmen_format::pack::{FrameEntry, PackTable};

use crate::pack::TABLE_BYTES_TARGET;

/// Bytes of table that a frame takes beside its descriptor.
const FRAME_ENTRY_BYTES: usize = 64;
/// Bytes of table that an origin takes.
const ORIGIN_BYTES: usize = 1280;

/// What a pack holds of all that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fill {
    bytes: usize,
    frames: usize,
    origins: usize,
    table_bytes: usize,
}

impl Fill {
    /// Of a pack that is there.
    pub(super) fn of(table: &PackTable) -> Self {
        let mut fill = Self::default();
        for _ in &table.origins {
            fill.add_origin();
        }
        for entry in &table.frames {
            fill.add_frame(entry);
        }
        fill
    }

    pub(super) const fn add_origin(&mut self) {
        self.origins = self.origins.saturating_add(1);
        self.table_bytes = self.table_bytes.saturating_add(ORIGIN_BYTES);
    }

    pub(super) fn add_frame(&mut self, entry: &FrameEntry) {
        let bytes = usize::try_from(entry.frame_bytes).unwrap_or(usize::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.frames = self.frames.saturating_add(1);
        let entry_bytes = FRAME_ENTRY_BYTES.saturating_add(entry.descriptor.len());
        self.table_bytes = self.table_bytes.saturating_add(entry_bytes);
    }

    pub(super) fn is_full(&self) -> bool {
        self.as_bytes() >= PACK_BYTES_TARGET
    }

    /// The size of a pack that is filled as far by its bytes alone.
    pub(super) fn as_bytes(&self) -> usize {
        let parts = [
            (self.frames, PACK_FRAMES_MAX),
            (self.origins, PACK_ORIGINS_MAX),
            (self.table_bytes, TABLE_BYTES_TARGET),
        ];
        let as_bytes = parts.map(|(held, limit)| held.saturating_mul(PACK_BYTES_TARGET / limit));
        as_bytes.into_iter().fold(self.bytes, usize::max)
    }
}

// What is full by one limit is full.
const _: () = assert!(
    PACK_BYTES_TARGET.is_multiple_of(PACK_FRAMES_MAX)
        && PACK_BYTES_TARGET.is_multiple_of(PACK_ORIGINS_MAX)
        && PACK_BYTES_TARGET.is_multiple_of(TABLE_BYTES_TARGET)
);

#[cfg(test)]
mod tests {
    use dolmen_format::pack::Compression;

    use super::*;

    fn frames(count: usize, frame_bytes: u32, descriptor_bytes: usize) -> Fill {
        let entry = FrameEntry {
            origin: 0,
            ordinal: 0,
            frame_bytes,
            hash: [0; 32],
            compression: Compression::None,
            descriptor: vec![0; descriptor_bytes],
        };
        let mut fill = Fill::default();
        fill.add_origin();
        for _ in 0..count {
            fill.add_frame(&entry);
        }
        fill
    }

    #[test]
    fn each_limit_fills_a_pack_alone() {
        assert!(!frames(4095, 40, 100).is_full());
        assert!(frames(4096, 40, 100).is_full());
        assert!(!frames(7, 4 << 20, 100).is_full());
        assert!(frames(8, 4 << 20, 100).is_full());
        assert!(frames(2000, 40, 1000).is_full());
        let mut origins = Fill::default();
        for _ in 0..1639 {
            origins.add_origin();
        }
        assert!(origins.is_full());
    }
}
