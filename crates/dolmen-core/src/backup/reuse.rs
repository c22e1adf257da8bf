//! Which stored frames a backup may build upon.
//!
//! A frame that nothing live needs may be deleted at any moment: its lease lapses, and nobody tells. So a backup reuses
//! only what a live snapshot or checkpoint of its own signer needs, as the last listing shows it, and looks again before
//! it commits when that listing has grown old.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use dolmen_format::ledger::LockStrategy;
use dolmen_format::manifest::FrameSet;
use dolmen_format::{ObjectId, PackId, SegmentId, Timestamp};
use dolmen_state::index::{BlobIndex, Location, PackRef, PackSet};
use dolmen_state::state::Needed;
use dolmen_store::StoreTime;

use super::session::lock;
use super::trust::Trust;
use crate::error::{Error, Result};
use crate::frames::{Cover, FrameNumbers, Run};
use crate::lease::{self, Commit, Reliance, Terms};
use crate::live::{LiveWalk, StoredNodes};
use crate::lives::{self, Life};
use crate::pack::BlobReader;
use crate::repository::Repository;
use crate::snapshots::{self, SnapshotEntry, SnapshotList};

/// How a listing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// Its age decides.
    AsItIs,
    /// A snapshot that relied on it came too late.
    TooOld,
}

/// The frames that may be built upon.
pub(super) struct Reuse {
    numbers: FrameNumbers,
    trust: Arc<Trust>,
    cover: Cover,
    /// The believed descriptions of packs of which something live needs a frame.
    live: PackSet,
    /// The segments that something live lists, as the last listing shows it: others may go at any moment.
    listed: Mutex<BTreeSet<SegmentId>>,
    /// Packs that this run read and took over.
    taken_over: Mutex<PackSet>,
    terms: Option<Terms>,
    confirmed: BTreeSet<ObjectId>,
    /// When the listing began that this was learnt from, by the local clock.
    listed_at: Mutex<Timestamp>,
    /// How far the store's clock is ahead of the local one.
    ahead_seconds: i64,
    /// When the first of the run's own packs was put that no checkpoint names yet: nothing else needs it.
    own_since: Mutex<Option<Timestamp>>,
}

/// What only the bucket's rules still keep, where being shown is what protects: it is not built upon until maintenance
/// has put it into view again.
#[derive(Default)]
struct Hidden {
    packs: PackSet,
    segments: BTreeSet<SegmentId>,
}

impl Hidden {
    /// Cost: two listings under the strategy `hide`, else nothing.
    fn look(
        repository: &Repository,
        index: &BlobIndex,
        list: &SnapshotList,
        at: Timestamp,
    ) -> Result<Self> {
        let mut hidden = Self::default();
        if lives::lock(&list.facts, at) != LockStrategy::Hide {
            return Ok(hidden);
        }
        repository.objects.list("packs/", |object| {
            if object.is_hidden {
                for pack in index.find_packs(&object.key.id()) {
                    hidden.packs.insert(pack);
                }
            }
        })?;
        repository.objects.list("index/", |object| {
            if object.is_hidden {
                hidden.segments.insert(object.key.id());
            }
        })?;
        Ok(hidden)
    }
}

/// What is built upon, as it is gathered.
struct Upon<'a> {
    index: &'a BlobIndex,
    numbers: &'a FrameNumbers,
    trust: &'a Trust,
    hidden: &'a Hidden,
    cover: Cover,
    live: PackSet,
}

impl<'a> Upon<'a> {
    fn new(
        index: &'a BlobIndex,
        numbers: &'a FrameNumbers,
        trust: &'a Trust,
        hidden: &'a Hidden,
    ) -> Self {
        Self {
            index,
            numbers,
            trust,
            hidden,
            cover: numbers.cover(),
            live: PackSet::default(),
        }
    }

    /// Adds frames of a pack, as far as its description is believed and it is shown.
    fn add(&mut self, pack: &PackId, frames: &FrameSet) {
        let index = self.index;
        for pack in self.believed(pack) {
            // A bit without a frame would count as the next pack's.
            let frames = frames.iter();
            self.cover(pack, frames.filter(|at| index.frame(pack, *at).is_some()));
        }
    }

    /// Adds all frames of attested packs.
    fn add_attested(&mut self, list: &SnapshotList) {
        let index = self.index;
        for id in &list.facts.attested {
            for pack in self.believed(id) {
                self.cover(
                    pack,
                    (0..).take_while(|at| index.frame(pack, *at).is_some()),
                );
            }
        }
    }

    fn cover(&mut self, pack: PackRef, ordinals: impl Iterator<Item = u32>) {
        self.live.insert(pack);
        for ordinal in ordinals {
            let first = self.numbers.number(pack, ordinal);
            self.cover.insert(Run { first, count: 1 });
        }
    }

    fn believed(&self, pack: &PackId) -> Vec<PackRef> {
        let described = self.index.find_packs(pack).into_iter();
        let shown = described.filter(|pack| !self.hidden.packs.contains(*pack));
        shown.filter(|pack| self.trust.allows(*pack)).collect()
    }
}

impl Reuse {
    /// Learns what live snapshots and checkpoints of this signer need of the packs that are believed. Packs that join the
    /// index later are the run's own.
    ///
    /// What came too late to count vouches for nothing. A client that may not open manifests knows from its state folder
    /// what its own snapshots need, as `remembered` tells; beyond that it builds upon attested packs where locks say how
    /// long they stay.
    ///
    /// Cost: one request for the store's clock, one for each manifest node; none of these below some 300 packs.
    pub(super) fn learn(
        repository: &Repository,
        index: &BlobIndex,
        list: &SnapshotList,
        trust: Arc<Trust>,
        remembered: &dyn Fn(&SnapshotEntry) -> Option<Needed>,
        (scratch, cancel): (&Path, &AtomicBool),
    ) -> Result<Self> {
        let numbers = FrameNumbers::new(index);
        let store = repository
            .objects
            .block_on(repository.objects.store().now())?;
        let now = repository.environment.clock.now();
        // What is let go is let go by the earlier clock; what lives must do so by the later one, too.
        let (earlier, later) = (now.min(store.earliest), now.max(store.latest));
        let terms = lives::terms(&list.facts, earlier);
        let blobs = BlobReader::new(repository, index).knowing(&list.facts.moves);
        let mut walk = LiveWalk::new(scratch);
        // Without terms nobody may prune, and no checkpoint ends.
        let lives = terms.map(|terms| lives::lives(list, &terms, later));
        let (mut listed, mut kept) = (BTreeSet::new(), Needed::new());
        for (entry, life) in lives.unwrap_or_default() {
            let counts = list.facts.trusts(&entry.id)
                && !snapshots::is_incomplete(repository, &list.facts, entry);
            let is_own = entry.snapshot.stamp.writer == repository.writer();
            if life == Life::Live && is_own && counts {
                if repository.keys().maintain_if_any().is_some() {
                    walk.add(repository, entry.id, &entry.snapshot, 0)?;
                } else {
                    kept.extend(remembered(entry).unwrap_or_default());
                }
                listed.extend(&entry.snapshot.segments);
            }
        }
        let live = walk.finish(&mut StoredNodes::new(&blobs, cancel))?;
        let hidden = Hidden::look(repository, index, list, earlier)?;
        listed.retain(|segment| !hidden.segments.contains(segment));
        let mut upon = Upon::new(index, &numbers, &trust, &hidden);
        // What cannot be read of a manifest is merely not built upon.
        for needed in live.known_packs() {
            let needed = needed?;
            upon.add(&needed.pack, &needed.frames);
        }
        for (pack, frames) in &kept {
            upon.add(pack, frames);
        }
        if repository.keys().maintain_if_any().is_none() && repository.objects.locking().is_some() {
            upon.add_attested(list);
        }
        let Upon { cover, live, .. } = upon;
        Ok(Self {
            numbers,
            trust,
            cover,
            live,
            listed: Mutex::new(listed),
            taken_over: Mutex::default(),
            terms,
            confirmed: list.facts.confirmed.clone(),
            listed_at: Mutex::new(list.listed_at),
            ahead_seconds: store.earliest.seconds.saturating_sub(now.seconds),
            own_since: Mutex::default(),
        })
    }

    /// Whether a blob may be taken as stored.
    pub(super) fn allows(&self, at: &Location) -> bool {
        self.has(at.pack, at.ordinal)
    }

    fn has(&self, pack: PackRef, ordinal: u32) -> bool {
        self.is_own(pack) || self.covers(pack, ordinal)
    }

    /// Whether a pack is the run's own, or was taken over.
    fn is_own(&self, pack: PackRef) -> bool {
        !self.numbers.knows(pack) || lock(&self.taken_over).contains(pack)
    }

    /// Whether what a description says is believed.
    pub(super) fn trusts(&self, pack: PackRef) -> bool {
        self.is_own(pack) || self.trust.allows(pack)
    }

    /// Whether the run itself or the client's head says where a blob lies: such a place is taken before others.
    pub(super) fn is_first_hand(&self, pack: PackRef) -> bool {
        self.is_own(pack) || self.trust.is_own(pack)
    }

    /// The believed descriptions of packs of which something live needs a frame.
    pub(super) const fn live(&self) -> &PackSet {
        &self.live
    }

    /// Whether something live lists a segment. Without terms nothing is let go.
    pub(super) fn is_listed(&self, segment: &SegmentId) -> bool {
        self.terms.is_none() || lock(&self.listed).contains(segment)
    }

    /// Whose word is taken.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Notes a pack of an earlier run that was read.
    pub(super) fn take_over(&self, pack: PackRef) {
        lock(&self.taken_over).insert(pack);
    }

    /// Seconds between checkpoints, at most: what a checkpoint names is safe from then on.
    pub(super) fn checkpoint_seconds_max(&self) -> u64 {
        self.terms
            .map_or(u64::MAX, |terms| (terms.margin_seconds() / 2).max(1))
    }

    /// Notes that one of the run's own packs was stored, or an earlier run's taken over that was stored then.
    pub(super) fn note_own(&self, stored_at: Timestamp) {
        let mut since = lock(&self.own_since);
        *since = since.into_iter().chain([stored_at]).min();
    }

    /// Notes that a checkpoint which counts names all own packs.
    pub(super) fn own_are_named(&self) {
        *lock(&self.own_since) = None;
    }

    /// When the listing began, as the store's clock would have said.
    fn listed_by_store(&self) -> Timestamp {
        lock(&self.listed_at).saturating_add_seconds(self.ahead_seconds)
    }

    /// What a snapshot states on a store without locks: received later than that less L, it came too late.
    pub(super) fn relied_until(&self) -> Option<Timestamp> {
        let lease_seconds = i64::try_from(self.terms?.lease_seconds()).unwrap_or(i64::MAX);
        Some(self.listed_by_store().saturating_add_seconds(lease_seconds))
    }

    /// Whether a snapshot that builds upon this counts, by the store's answer to its put.
    pub(super) fn judge(&self, received: StoreTime) -> Commit {
        let listing = Reliance::Listing(StoreTime::exact(self.listed_by_store()));
        self.terms.map_or(Commit::Committed, |terms| {
            lease::commit(listing, received, &terms)
        })
    }

    /// Makes sure, before a snapshot is put, that what it builds upon is still needed by something live, where the listing
    /// that showed it is older than half of the margin, or is `Listing::TooOld`; and that the run's own packs are younger
    /// than a protection period, since nothing else needs them yet.
    ///
    /// Cost: nothing while the listing is young; else two listings, and one request for each object.
    pub(super) fn assure<'n>(
        &self,
        repository: &Repository,
        index: &BlobIndex,
        needed: impl IntoIterator<Item = (&'n PackRef, &'n FrameSet)>,
        listing: Listing,
        remembered: &dyn Fn(&SnapshotEntry) -> Option<Needed>,
        (scratch, cancel): (&Path, &AtomicBool),
    ) -> Result<()> {
        let Some(terms) = self.terms else {
            return Ok(());
        };
        let now = repository.environment.clock.now();
        let seconds_since = |at: Timestamp| u64::try_from(now.seconds.saturating_sub(at.seconds));
        if let Some(since) = *lock(&self.own_since)
            && seconds_since(since).is_ok_and(|age| age >= terms.protect_seconds())
        {
            return Err(Error::OwnPacksAged);
        }
        let age = seconds_since(*lock(&self.listed_at));
        // A clock that was set back says nothing.
        let is_young = age.is_ok_and(|age| age <= terms.margin_seconds() / 2);
        if listing == Listing::AsItIs && is_young {
            return Ok(());
        }
        let mut list = SnapshotList::load(repository, None)?;
        list.facts.confirmed.clone_from(&self.confirmed);
        let trust = Arc::clone(&self.trust);
        let folder = (scratch, cancel);
        let fresh = Self::learn(repository, index, &list, trust, remembered, folder)?;
        for (pack, frames) in needed {
            let is_own = self.is_own(*pack);
            let ended = frames.iter().find(|ordinal| !fresh.covers(*pack, *ordinal));
            if let (false, Some(ordinal)) = (is_own, ended) {
                let pack = index
                    .pack(*pack)
                    .map_or(PackId::from_bytes([0; 32]), |info| info.pack);
                return Err(Error::ReuseEnded { pack, ordinal });
            }
        }
        *lock(&self.listed) = std::mem::take(&mut *lock(&fresh.listed));
        *lock(&self.listed_at) = list.listed_at;
        Ok(())
    }

    fn covers(&self, pack: PackRef, ordinal: u32) -> bool {
        self.cover.contains(self.numbers.number(pack, ordinal))
    }
}
