//! Which stored frames a backup may build upon.
//!
//! A frame that nothing live needs may be deleted at any moment: its lease lapses, and nobody tells. So a backup reuses
//! only what a live snapshot or checkpoint of its own signer needs, as the last listing shows it, and looks again before
//! it commits when that listing has grown old.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use dolmen_format::manifest::FrameSet;
use dolmen_format::{ObjectId, PackId, Timestamp};
use dolmen_state::index::{BlobIndex, Location, PackRef};

use super::session::lock;
use crate::error::{Error, Result};
use crate::frames::{Cover, FrameNumbers, Run};
use crate::lease::Terms;
use crate::live::{LiveWalk, StoredNodes};
use crate::lives::{self, Life};
use crate::pack::BlobReader;
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

/// When a listing is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// The snapshot's own put may take some time.
    BeforePut,
    /// It has its receipt.
    AfterPut,
}

/// The frames that may be built upon.
pub(super) struct Reuse {
    numbers: FrameNumbers,
    cover: Cover,
    terms: Option<Terms>,
    confirmed: BTreeSet<ObjectId>,
    /// When the listing began that this was learnt from.
    listed_at: Mutex<Timestamp>,
}

impl Reuse {
    /// Learns what live snapshots and checkpoints of this signer need. Packs that join the index later are the run's own.
    ///
    /// Cost: one request for each manifest node; none below some 300 packs.
    pub(super) fn learn(
        repository: &Repository,
        index: &BlobIndex,
        list: &SnapshotList,
        scratch: &Path,
        cancel: &AtomicBool,
    ) -> Result<Self> {
        let numbers = FrameNumbers::new(index);
        let mut cover = numbers.cover();
        let now = repository.environment.clock.now();
        let terms = lives::terms(&list.facts, now);
        let blobs = BlobReader::new(repository, index);
        let mut walk = LiveWalk::new(scratch);
        // Without terms nobody may prune, and no checkpoint ends.
        let lives = terms.map(|terms| lives::lives(list, &terms, now));
        for (entry, life) in lives.unwrap_or_default() {
            if life == Life::Live && entry.snapshot.stamp.writer == repository.writer() {
                walk.add(repository, entry.id, &entry.snapshot, 0)?;
            }
        }
        let live = walk.finish(&mut StoredNodes::new(&blobs, cancel))?;
        // What cannot be read of a manifest is merely not built upon.
        for needed in live.known_packs() {
            let needed = needed?;
            if let Some(pack) = index.find_pack(&needed.pack) {
                add(&mut cover, &numbers, pack, &needed.frames);
            }
        }
        Ok(Self {
            numbers,
            cover,
            terms,
            confirmed: list.facts.confirmed.clone(),
            listed_at: Mutex::new(list.listed_at),
        })
    }

    /// Whether a blob may be taken as stored.
    pub(super) fn allows(&self, at: &Location) -> bool {
        self.has(at.pack, at.ordinal)
    }

    fn has(&self, pack: PackRef, ordinal: u32) -> bool {
        !self.numbers.knows(pack) || self.cover.contains(self.numbers.number(pack, ordinal))
    }

    /// Seconds between checkpoints, at most: what a checkpoint names is safe from then on.
    pub(super) fn checkpoint_seconds_max(&self) -> u64 {
        self.terms
            .map_or(u64::MAX, |terms| (terms.margin_seconds() / 2).max(1))
    }

    /// Makes sure that what a snapshot builds upon is still needed by something live, where the listing that showed it
    /// is older than a part of the margin: half of it before the snapshot is put, all of it after.
    ///
    /// Cost: nothing while the listing is younger; else two listings, and one request for each object.
    pub(super) fn assure<'n>(
        &self,
        repository: &Repository,
        index: &BlobIndex,
        needed: impl IntoIterator<Item = (&'n PackRef, &'n FrameSet)>,
        age: Age,
        scratch: &Path,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let now = repository.environment.clock.now();
        let margin = self.terms.map_or(u64::MAX, |terms| terms.margin_seconds());
        let allowed = match age {
            Age::BeforePut => margin / 2,
            Age::AfterPut => margin,
        };
        let found = now.seconds.saturating_sub(lock(&self.listed_at).seconds);
        // A clock that was set back says nothing.
        if u64::try_from(found).is_ok_and(|found| found <= allowed) {
            return Ok(());
        }
        let mut list = SnapshotList::load(repository, None)?;
        list.facts.confirmed.clone_from(&self.confirmed);
        let fresh = Self::learn(repository, index, &list, scratch, cancel)?;
        for (pack, frames) in needed {
            let is_own = !self.numbers.knows(*pack);
            let ended = frames.iter().find(|ordinal| !fresh.covers(*pack, *ordinal));
            if let (false, Some(ordinal)) = (is_own, ended) {
                let pack = index
                    .pack(*pack)
                    .map_or(PackId::from_bytes([0; 32]), |info| info.pack);
                return Err(Error::ReuseEnded { pack, ordinal });
            }
        }
        *lock(&self.listed_at) = list.listed_at;
        Ok(())
    }

    fn covers(&self, pack: PackRef, ordinal: u32) -> bool {
        self.cover.contains(self.numbers.number(pack, ordinal))
    }
}

fn add(cover: &mut Cover, numbers: &FrameNumbers, pack: PackRef, frames: &FrameSet) {
    for ordinal in frames.iter() {
        let first = numbers.number(pack, ordinal);
        cover.insert(Run { first, count: 1 });
    }
}
