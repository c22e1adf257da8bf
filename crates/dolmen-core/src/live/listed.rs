//! Needed packs, held against a listing.

use dolmen_format::{ObjectKey, WriterId};

use super::{LivePack, LivePacks, Placed};
use crate::error::Result;

/// Answers for the packs of a listing what is needed of them. A listing shows the packs of each writer in the order of
/// their ids, and so do the needed ones come: these are gone through once for each writer.
#[derive(Debug)]
pub(crate) struct NeededOf<'p> {
    placed: &'p Placed<'p>,
    packs: LivePacks<'p>,
    next: Option<LivePack>,
    is_over: bool,
    writer: Option<WriterId>,
}

impl<'p> NeededOf<'p> {
    pub(crate) fn new(placed: &'p Placed<'p>) -> Self {
        Self {
            placed,
            packs: placed.packs(),
            next: None,
            is_over: false,
            writer: None,
        }
    }

    /// What is needed of the next pack of the listing; `None`: nothing.
    pub(crate) fn pack(&mut self, key: &ObjectKey) -> Result<Option<&LivePack>> {
        if key.writer() != self.writer {
            *self = Self {
                writer: key.writer(),
                ..Self::new(self.placed)
            };
        }
        let id = key.id();
        while !self.is_over && self.next.as_ref().is_none_or(|next| next.pack < id) {
            self.next = self.packs.next().transpose()?;
            self.is_over = self.next.is_none();
        }
        Ok(self.next.as_ref().filter(|next| next.pack == id))
    }
}
