//! Manifests: the frames that a snapshot needs (§9).

use crate::bytes::{finish, put_count, take, take_count, take_slice, take_u8, take_u16, take_u32};
use crate::error::FormatError;
use crate::ids::PackId;
use crate::limits::{BITMAP_BYTES_MAX, LEVEL_MAX, MANIFEST_NODE_ENTRIES_MAX};

/// A manifest node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestNode {
    /// Level 0.
    Leaf(Vec<PackFrames>),
    /// A level above, and its children.
    Inner(u8, Vec<ManifestChild>),
}

/// The frames of one origin pack that are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFrames {
    /// The origin pack.
    pub pack: PackId,
    /// Which of its frames.
    pub frames: FrameSet,
}

/// A child node: the frame that holds it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestChild {
    /// First pack id below.
    pub first: PackId,
    /// Origin pack of the frame.
    pub pack: PackId,
    /// The frame's ordinal.
    pub ordinal: u32,
    /// BLAKE3 of the child node's bytes.
    pub hash: [u8; 32],
}

/// A set of ordinals, as the bitmap of the format.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameSet(Vec<u8>);

impl FrameSet {
    /// Adds a frame; ordinals beyond `PACK_FRAMES_MAX` are not representable and refused by `false`.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        let Some((byte, bit)) = position(ordinal) else {
            return false;
        };
        if self.0.len() <= byte {
            self.0.resize(byte.saturating_add(1), 0);
        }
        if let Some(slot) = self.0.get_mut(byte) {
            *slot |= bit;
        }
        true
    }

    /// Whether a frame is in it.
    pub fn contains(&self, ordinal: u32) -> bool {
        position(ordinal)
            .is_some_and(|(byte, bit)| self.0.get(byte).is_some_and(|slot| slot & bit != 0))
    }

    /// The ordinals, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..)
            .zip(
                self.0
                    .iter()
                    .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)),
            )
            .filter_map(|(ordinal, set)| (set == 1).then_some(ordinal))
    }

    /// The bitmap: bit `i mod 8` (1 = lowest) of byte `i div 8` says that frame `i` is in it.
    pub fn bitmap(&self) -> &[u8] {
        &self.0
    }

    /// Appends the bitmap, after its length in bytes (u16).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let bytes = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&bytes.to_le_bytes());
        out.extend_from_slice(&self.0);
    }

    /// Reads what [`Self::encode`] appended, off the front.
    pub fn decode(input: &mut &[u8]) -> Result<Self, FormatError> {
        let bytes = usize::from(take_u16(input)?);
        let bitmap = take_slice(input, bytes)?;
        if bytes > BITMAP_BYTES_MAX || bitmap.last().is_none_or(|last| *last == 0) {
            return Err(FormatError::Invalid { field: "bitmap" });
        }
        Ok(Self(bitmap.to_vec()))
    }

    /// How many frames are in it.
    pub fn count(&self) -> usize {
        self.iter().count()
    }
}

fn position(ordinal: u32) -> Option<(usize, u8)> {
    let byte = usize::try_from(ordinal / 8)
        .ok()
        .filter(|byte| *byte < BITMAP_BYTES_MAX)?;
    Some((byte, 1 << (ordinal % 8)))
}

impl ManifestNode {
    /// 0 for a leaf.
    pub const fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner(level, _) => *level,
        }
    }

    /// Whether a node of `level` ends after an entry with this (first) pack id.
    pub fn ends_after(level: u8, pack: &PackId) -> bool {
        let from_the_end = usize::from(level);
        pack.0
            .iter()
            .rev()
            .nth(from_the_end)
            .is_some_and(|byte| byte.trailing_zeros() >= 7)
    }

    /// The node's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.level()];
        match self {
            Self::Leaf(entries) => {
                put_count(&mut out, entries.len());
                for entry in entries {
                    out.extend_from_slice(entry.pack.as_bytes());
                    entry.frames.encode(&mut out);
                }
            }
            Self::Inner(_, children) => {
                put_count(&mut out, children.len());
                for child in children {
                    out.extend_from_slice(child.first.as_bytes());
                    out.extend_from_slice(child.pack.as_bytes());
                    out.extend_from_slice(&child.ordinal.to_le_bytes());
                    out.extend_from_slice(&child.hash);
                }
            }
        }
        out
    }

    /// Reads a node.
    pub fn decode(mut input: &[u8]) -> Result<Self, FormatError> {
        let level = take_u8(&mut input)?;
        if level > LEVEL_MAX {
            return Err(FormatError::Invalid { field: "level" });
        }
        let count = take_count(&mut input, "entries", MANIFEST_NODE_ENTRIES_MAX)?;
        let mut last = None;
        let mut ascending = |pack: PackId| {
            let ascends = last.is_none_or(|last| last < pack);
            last = Some(pack);
            if ascends {
                Ok(pack)
            } else {
                Err(FormatError::Invalid { field: "pack id" })
            }
        };
        let node = if level == 0 {
            let mut entries = Vec::new();
            for _ in 0..count {
                let pack = ascending(PackId::from_bytes(take(&mut input)?))?;
                entries.push(PackFrames {
                    pack,
                    frames: FrameSet::decode(&mut input)?,
                });
            }
            Self::Leaf(entries)
        } else {
            if count == 0 {
                return Err(FormatError::Invalid { field: "entries" });
            }
            let mut children = Vec::new();
            for _ in 0..count {
                let child = ManifestChild {
                    first: ascending(PackId::from_bytes(take(&mut input)?))?,
                    pack: PackId::from_bytes(take(&mut input)?),
                    ordinal: take_u32(&mut input)?,
                    hash: take(&mut input)?,
                };
                if position(child.ordinal).is_none() {
                    return Err(FormatError::Invalid { field: "ordinal" });
                }
                children.push(child);
            }
            Self::Inner(level, children)
        };
        finish(input)?;
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_set_holds_what_was_put_in() {
        let mut set = FrameSet::default();
        for ordinal in [0, 7, 8, 4095] {
            assert!(set.insert(ordinal));
        }
        assert!(!set.insert(4096));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 7, 8, 4095]);
        assert!(set.contains(7) && !set.contains(6));
    }
}
