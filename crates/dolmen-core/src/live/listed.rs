//! Needed packs, held against a listing.

use dolmen_format::{ObjectKey, PackId, WriterId};

use super::{LIVES, LivePack, LivePacks, Placed};
use crate::error::Result;

/// Missing packs that are named.
const MISSING_MAX: usize = 16;

/// Answers for the packs of a listing what is needed of them. A listing shows the packs of each writer in the order of
/// their ids, and so do the needed ones come: these are gone through once for each writer.
#[derive(Debug)]
pub(crate) struct NeededOf<'p> {
    placed: &'p Placed<'p>,
    packs: LivePacks<'p>,
    next: Option<LivePack>,
    is_over: bool,
    writer: Option<WriterId>,
    /// How many needed packs came up to `next`, it included.
    count: usize,
    /// Which needed packs were listed, in their order.
    listed: Vec<bool>,
}

impl<'p> NeededOf<'p> {
    pub(crate) fn new(placed: &'p Placed<'p>) -> Self {
        Self {
            placed,
            packs: placed.packs(),
            next: None,
            is_over: false,
            writer: None,
            count: 0,
            listed: Vec::new(),
        }
    }

    /// What is needed of the next pack of the listing; `None`: nothing.
    pub(crate) fn pack(&mut self, key: &ObjectKey) -> Result<Option<&LivePack>> {
        if key.writer() != self.writer {
            *self = Self {
                writer: key.writer(),
                listed: std::mem::take(&mut self.listed),
                ..Self::new(self.placed)
            };
        }
        let id = key.id();
        while !self.is_over && self.next.as_ref().is_none_or(|next| next.pack < id) {
            self.next = self.packs.next().transpose()?;
            self.is_over = self.next.is_none();
            self.count = self.count.saturating_add(1);
        }
        let found = self.next.as_ref().filter(|next| next.pack == id);
        if found.is_some() {
            let at = self.count.saturating_sub(1);
            if self.listed.len() <= at {
                self.listed.resize(self.count, false);
            }
            if let Some(listed) = self.listed.get_mut(at) {
                *listed = true;
            }
        }
        Ok(found)
    }

    /// Packs that live snapshots need and that a whole listing did not show: their number, and the first few of them.
    pub(crate) fn missing(self) -> Result<(u64, Vec<PackId>)> {
        let (mut count, mut first) = (0_u64, Vec::new());
        let listed = self.listed.into_iter().chain(std::iter::repeat(false));
        for (pack, is_listed) in self.placed.packs().zip(listed) {
            let pack = pack?;
            if is_listed || pack.promise_seconds < LIVES {
                continue;
            }
            count = count.saturating_add(1);
            if first.len() < MISSING_MAX {
                first.push(pack.pack);
            }
        }
        Ok((count, first))
    }
}
