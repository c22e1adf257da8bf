//! What live snapshots need, and what is known to be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dolmen_format::{ObjectId, ObjectKey, PackId, SegmentId, SnapshotId, Timestamp};
use dolmen_state::index::PackInfo;

use super::{Look, Options, State};
use crate::error::Result;
use crate::finding::{Finding, Findings, Nature};
use crate::index::Index;
use crate::lease::{Clocks, Terms};
use crate::live::{ENDED, LIVES, Live, LiveWalk, LostPart, StoredNodes};
use crate::lives::{self, Life};
use crate::moves::places::Places;
use crate::numbers::{self, Missing};
use crate::objects::Locking;
use crate::own;
use crate::pack::BlobReader;
use crate::prune::{Verdict, judge};
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList, segments_of};

/// Everything that is needed.
#[derive(Debug)]
pub(crate) struct Needs {
    pub(super) index: Index,
    /// Objects that are no packs.
    pub(super) ids: BTreeMap<ObjectId, Named>,
    /// What does not verify where it lies.
    junk: BTreeSet<ObjectKey>,
    /// What others tell of, or this client remembers, and what is not there whole.
    missing: Missing,
    /// Of packs that the index knows, by their numbers.
    packs: Vec<Want>,
    /// Packs that frames were moved into, ascending. Their numbers follow those of the index.
    moved: Vec<(PackInfo, Want)>,
    /// Needed packs that the index does not know.
    pub(super) unknown_packs: BTreeSet<PackId>,
    /// Packs that hold parts of live manifests that cannot be read.
    pub(super) lost_packs: BTreeSet<PackId>,
    lost: Findings,
    /// Live snapshots whose manifests cannot be opened.
    lost_roots: u64,
    /// Parts of live manifests that this user may not read.
    unread_nodes: u64,
    terms: Option<Terms>,
    /// The earlier clock.
    now: Timestamp,
    /// How what is needed is to be locked; `None`: not at all.
    pub(super) locking: Option<Arc<Locking>>,
    /// A lock that ends before leaves less than L.
    pub(super) protect_until: Timestamp,
}

/// A needed object.
#[derive(Debug)]
pub(super) struct Named {
    /// What to call it where it is missing.
    pub(super) name: String,
    /// Where it is of use; `None`: it is a segment that the index does not know.
    key: Option<ObjectKey>,
}

/// Why a pack is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing that is there needs it.
    Unneeded,
    /// A retired snapshot needs it whose lease has not lapsed.
    Kept,
    /// A live snapshot needs it.
    Needed,
}

impl Needs {
    /// Cost: a listing, one request for each segment that the cache lacks and for each manifest node.
    pub(crate) fn gather(
        repository: &Repository,
        list: &SnapshotList,
        options: &Options<'_>,
    ) -> Result<Self> {
        let clocks = Clocks {
            store: own::lock_by_policy(repository, list)?,
            local: repository.environment.clock.now(),
            remembered_store: None,
            confirmed: false,
        };
        let now = clocks.store.earliest.min(clocks.local);
        let terms = lives::terms(&list.facts, now);
        let (live, kept) = split(list, terms.as_ref(), now);
        let mut index = Index::load(repository, options.index_cache)?;
        let segments = segments_of(live.iter().copied());
        index.complete(repository, &segments)?;
        let listed = segments.iter().map(|id| named_segment(&index, *id));
        let mut ids: BTreeMap<ObjectId, Named> = listed.collect();
        ids.extend(live.iter().map(|entry| named(entry.key())));
        let records = list.facts.stamps.iter();
        ids.extend(records.map(|(stamp, id)| named(ObjectKey::Ledger(stamp.writer, *id))));
        let standing = repository.standing_objects().iter();
        ids.extend(standing.map(|(key, _)| named(*key)));
        let found = list.findings.iter().chain(&index.findings);
        let found = found.chain(repository.findings());
        let junk = found.filter_map(Finding::of_stray).collect();
        let seconds = |count: Option<u64>| i64::try_from(count.unwrap_or(0)).unwrap_or(i64::MAX);
        let wants_locks = lives::locks_what_lives(repository, &list.facts, now);
        let protected = terms.map(|terms| terms.protect_seconds());
        let mut needs = Self {
            packs: vec![
                Want::Unneeded;
                usize::try_from(index.blobs.pack_count()).unwrap_or(usize::MAX)
            ],
            index,
            moved: Vec::new(),
            ids,
            junk,
            missing: numbers::missing(list, options.remembered),
            unknown_packs: BTreeSet::new(),
            lost_packs: BTreeSet::new(),
            lost: Findings::new(),
            lost_roots: 0,
            unread_nodes: 0,
            terms,
            now,
            locking: wants_locks.then(|| repository.objects.locking()).flatten(),
            protect_until: clocks
                .protect_from()
                .saturating_add_seconds(seconds(protected)),
        };
        let found = needs.walk(repository, list, [&live, &kept], options)?;
        let stand_ins = needs.index.stand_ins(&segments, &found, LIVES)?;
        needs.ids.retain(|id, _| !stand_ins.excused.contains(id));
        for id in stand_ins.needed {
            let (id, named) = named_segment(&needs.index, id);
            needs.ids.insert(id, named);
        }
        Ok(needs)
    }

    /// Walks the manifests of live snapshots first: what is lost then names a live one, if any needs it.
    fn walk(
        &mut self,
        repository: &Repository,
        list: &SnapshotList,
        [live, kept]: [&[&SnapshotEntry]; 2],
        options: &Options<'_>,
    ) -> Result<Live> {
        let mut walk = LiveWalk::new(options.scratch);
        for (entries, promise) in [(live, LIVES), (kept, ENDED)] {
            for entry in entries {
                walk.add(repository, entry.id, &entry.snapshot, promise)?;
            }
        }
        let found = {
            let blobs = BlobReader::new(repository, &self.index.blobs).knowing(&list.facts.moves);
            walk.finish(&mut StoredNodes::new(&blobs, options.cancel))?
        };
        let places = Places::look(repository, &list.facts)?;
        self.moved = places
            .packs()
            .map(|claim| (claim.pack, Want::Unneeded))
            .collect();
        for pack in found.placed(&places, options.scratch)?.packs() {
            let pack = pack?;
            let want = if pack.promise_seconds == ENDED {
                Want::Kept
            } else {
                Want::Needed
            };
            match self.find(&pack.pack) {
                Some(slot) => *slot = want,
                None if want == Want::Needed => {
                    self.unknown_packs.insert(pack.pack);
                }
                None => {}
            }
        }
        let live: BTreeSet<SnapshotId> = live.iter().map(|entry| entry.id).collect();
        for lost in found.lost() {
            if !live.contains(&lost.first.id()) {
                continue;
            }
            self.lost.push(lost.finding());
            match lost.part {
                LostPart::Root => self.lost_roots = self.lost_roots.saturating_add(1),
                LostPart::Node(_) if lost.is_withheld() => {
                    self.unread_nodes = self.unread_nodes.saturating_add(1);
                }
                LostPart::Node(place) => {
                    self.lost_packs.insert(place.pack);
                }
            }
        }
        Ok(found)
    }

    fn find(&mut self, pack: &PackId) -> Option<&mut Want> {
        if let Some(known) = self.index.blobs.find_pack(pack) {
            return self.packs.get_mut(usize::try_from(known.number()).ok()?);
        }
        let at = self.find_moved(pack)?;
        self.moved.get_mut(at).map(|(_, want)| want)
    }

    fn find_moved(&self, pack: &PackId) -> Option<usize> {
        let found = self.moved.binary_search_by_key(pack, |(info, _)| info.pack);
        found.ok()
    }

    /// A pack that the index, or a record of moves, knows under this writer: its number, and why it is there.
    pub(super) fn known(&self, key: &ObjectKey) -> Option<(u32, PackInfo, Want)> {
        let (number, info, want) = if let Some(pack) = self.index.blobs.find_pack(&key.id()) {
            let want = *self.packs.get(usize::try_from(pack.number()).ok()?)?;
            (pack.number(), self.index.blobs.pack(pack)?, want)
        } else {
            let at = self.find_moved(&key.id())?;
            let (info, want) = *self.moved.get(at)?;
            (self.number_of_moved(at)?, info, want)
        };
        (Some(info.writer) == key.writer()).then_some((number, info, want))
    }

    fn number_of_moved(&self, at: usize) -> Option<u32> {
        u32::try_from(self.packs.len().checked_add(at)?).ok()
    }

    /// Calls `each` with the number of every needed pack.
    pub(super) fn for_each_needed(&self, mut each: impl FnMut(u32, PackInfo)) {
        self.index.blobs.for_each_pack(|pack, info| {
            let at = usize::try_from(pack.number()).ok();
            if at.and_then(|at| self.packs.get(at)) == Some(&Want::Needed) {
                each(pack.number(), info);
            }
        });
        for (at, (info, want)) in self.moved.iter().enumerate() {
            if let (Want::Needed, Some(number)) = (want, self.number_of_moved(at)) {
                each(number, *info);
            }
        }
    }

    /// Whether an object that is no pack, and authentic, is needed where it lies. All keys are, of whatever role.
    pub(super) fn is_needed(&self, key: &ObjectKey) -> bool {
        let is_key = matches!(key, ObjectKey::Key(_)) && !self.is_junk(key);
        is_key || self.names(key)
    }

    /// Whether an object that is no pack is named by something that lives, as lying there.
    pub(super) fn names(&self, key: &ObjectKey) -> bool {
        let named = self.ids.get(&key.id());
        named.is_some_and(|named| match named.key {
            Some(place) => place == *key,
            None => matches!(key, ObjectKey::Index(..)),
        })
    }

    /// Whether an object was read, and does not verify where it lies.
    pub(super) fn is_junk(&self, key: &ObjectKey) -> bool {
        self.junk.contains(key)
    }

    /// The time by which leases and locks lapse.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether what was stored then and is not needed is still under its lease.
    pub(super) fn is_leased(&self, stored_at: Timestamp) -> bool {
        self.terms
            .is_none_or(|terms| judge(stored_at, None, &terms, self.now) != Verdict::Delete)
    }
}

fn named(key: ObjectKey) -> (ObjectId, Named) {
    let (id, name) = (key.id(), key.to_string());
    let key = Some(key);
    (id, Named { name, key })
}

fn named_segment(index: &Index, id: SegmentId) -> (ObjectId, Named) {
    let name = format!("index segment {id}");
    let writer = index.writers.get(&id);
    let key = writer.map(|writer| ObjectKey::Index(*writer, id));
    (id, Named { name, key })
}

/// What lives, and what has ended and is kept for its lease.
fn split<'l>(
    list: &'l SnapshotList,
    terms: Option<&Terms>,
    now: Timestamp,
) -> (Vec<&'l SnapshotEntry>, Vec<&'l SnapshotEntry>) {
    let Some(terms) = terms else {
        // Without a policy nothing says that anything has ended.
        return (list.all().collect(), Vec::new());
    };
    let (mut live, mut kept) = (Vec::new(), Vec::new());
    for (entry, life) in lives::lives(list, terms, now) {
        match life {
            Life::Live => live.push(entry),
            Life::Ended(at) => {
                if judge(entry.stored_at, Some(at), terms, now) != Verdict::Delete {
                    kept.push(entry);
                }
            }
        }
    }
    (live, kept)
}

impl Needs {
    /// Whether others tell of an object that is not there whole: it is needed, whatever lies under its name.
    pub(super) fn is_told(&self, key: &ObjectKey) -> bool {
        self.missing.objects.contains_key(key)
    }
}

impl Look<'_> {
    /// Notes what others tell of and what is not there, and what is odd about the snapshots together. What was `seen` where
    /// it lies, damaged or withheld, was told; what lies elsewhere, or is no object, is not there.
    ///
    /// While something may not be read, what is told of is not known to be missing: that may be its retirement.
    pub(super) fn note_history(&mut self, list: &SnapshotList, seen: &BTreeSet<ObjectKey>) {
        let needs = self.needs;
        let missing = &needs.missing;
        let mut unread = list.findings.iter();
        let is_unsure = unread.any(|finding| finding.nature == Nature::Unreadable);
        let gone = missing.objects.iter();
        for (key, object) in gone.filter(|(key, _)| !seen.contains(key)) {
            if is_unsure {
                self.doubt(&key.to_string(), &object.problem);
                continue;
            }
            self.view.objects = self.view.objects.saturating_add(1);
            self.trouble(&key.to_string(), State::Missing, &object.problem);
        }
        for range in &missing.numbers {
            let finding = numbers::unused(range);
            if missing.explains(range) {
                self.tell(finding.subject, finding.problem);
            } else if is_unsure {
                self.doubt(&finding.subject, &finding.problem);
            } else {
                self.trouble(&finding.subject, State::Missing, &finding.problem);
            }
        }
        for finding in numbers::twins(list).into_iter().chain(needs.lost.clone()) {
            self.tell(finding.subject, finding.problem);
        }
        let counts = &mut self.view.counts;
        counts.corrupt = counts.corrupt.saturating_add(needs.lost_roots);
        counts.unread = counts.unread.saturating_add(needs.unread_nodes);
    }
}
