//! What is needed, by where it lies now.

use std::path::Path;

use dolmen_state::sort::{Sorted, Sorter};

use super::records::{NEED_BYTES, Need};
use super::walk::NEEDS_MEMORY_BYTES;
use super::{Live, LivePacks, NodePlace};
use crate::error::Result;
use crate::moves::places::Places;

/// What is known to be needed, by the packs in which it has to stay. A frame may have to stay in several.
#[derive(Debug)]
pub(crate) enum Placed<'l> {
    /// Nothing was ever moved: everything lies where it was written.
    Origins(&'l Live),
    /// Some frames were moved. A [`LivePack`](super::LivePack) then names positions in the tables of packs.
    Places(Sorted<NEED_BYTES>),
}

impl Placed<'_> {
    /// The packs, ascending.
    pub(crate) fn packs(&self) -> LivePacks<'_> {
        match self {
            Self::Origins(live) => live.known_packs(),
            Self::Places(needs) => LivePacks::of(needs),
        }
    }
}

impl Live {
    /// Finds where everything that is needed has to stay. What does not fit into memory lies in `folder` meanwhile.
    pub(crate) fn placed(&self, places: &Places<'_>, folder: &Path) -> Result<Placed<'_>> {
        if places.is_empty() {
            return Ok(Placed::Origins(self));
        }
        let mut sorter = Sorter::new(folder, NEEDS_MEMORY_BYTES, Need::combine);
        for need in &self.needs {
            let need = Need::decode(&need?);
            if !places.names(&need.pack) {
                sorter.push(need.encode())?;
                continue;
            }
            for ordinal in need.frames() {
                for place in places.kept(&need.pack, ordinal) {
                    let place = NodePlace {
                        pack: place.pack,
                        ordinal: place.position,
                    };
                    sorter.push(Need::of_frame(&place, need.promise_seconds).encode())?;
                }
            }
        }
        Ok(Placed::Places(sorter.finish()?))
    }
}
