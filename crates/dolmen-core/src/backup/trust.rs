//! Whose word a backup takes for what lies where.
//!
//! A segment with a good signature may lie: whoever holds a copy of the key can sign. So a backup builds upon a pack only
//! as a segment describes it that the client's own head lists, upon what its journal names and it has read, and upon what
//! is attested, as the pack describes itself.

use std::collections::BTreeSet;

use dolmen_format::certificate::Role;
use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectKey, SegmentId};
use dolmen_state::index::{BlobIndex, PackRef, PackSet};
use dolmen_state::state::InstanceRecord;

use crate::error::Result;
use crate::index::{Index, info_of};
use crate::objects::Listed;
use crate::pack::describe::{READS_MAX, describe_all};
use crate::repository::Repository;
use crate::snapshots::{SnapshotList, segments_of};

/// The segments that are believed, and the descriptions of packs that may be built upon.
pub(super) struct Trust {
    segments: BTreeSet<SegmentId>,
    /// What the client's own head lists.
    head: PackSet,
    /// That, and all else that is believed.
    packs: PackSet,
}

/// What a listing of packs shows.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Believed descriptions whose pack is missing, or has another size.
    pub(super) absent: BTreeSet<PackRef>,
    /// Attested packs that no believed segment describes.
    attested: Vec<Listed>,
}

/// Whether the chains of this client's signer are believed unasked: where nothing is locked, whoever holds the
/// passphrase can do worse. A backup key's thief could not.
pub(crate) fn trusts_chains(repository: &Repository) -> bool {
    repository.root().policy.lock == LockStrategy::None && repository.keys().role() == Role::Admin
}

impl Trust {
    /// Believes what the client's head lists, and with `chains` what live snapshots of its signer list.
    ///
    /// Cost: nothing where these segments do not contradict each other; see [`Index::prefer`].
    pub(super) fn learn(
        repository: &Repository,
        index: &Index,
        list: &SnapshotList,
        record: &InstanceRecord,
        chains: bool,
    ) -> Result<Self> {
        let head: BTreeSet<SegmentId> = record.segments.iter().copied().collect();
        let mut segments = head.clone();
        if chains {
            let live = list.snapshots.iter().chain(&list.checkpoints);
            let own = live.filter(|entry| entry.snapshot.stamp.writer == repository.writer());
            segments.extend(segments_of(own));
        }
        index.prefer(repository, &segments)?;
        let believed = |segments| {
            let mut packs = index.blobs.described_by(segments);
            index.blobs.for_each_pack(|pack, _| {
                if index.blobs.is_doubted(pack) {
                    packs.remove(pack);
                }
            });
            packs
        };
        Ok(Self {
            head: believed(&head),
            packs: believed(&segments),
            segments,
        })
    }

    /// Whether a description may be built upon.
    pub(super) fn allows(&self, pack: PackRef) -> bool {
        self.packs.contains(pack)
    }

    /// Whether the client's own head states a description.
    pub(super) fn is_own(&self, pack: PackRef) -> bool {
        self.head.contains(pack)
    }

    /// Holds a listing of all packs against what is believed.
    ///
    /// Cost: one listing.
    pub(super) fn list_packs(
        &self,
        repository: &Repository,
        index: &BlobIndex,
        list: &SnapshotList,
    ) -> Result<Stored> {
        let (mut present, mut stored) = (PackSet::default(), Stored::default());
        let attested = &list.facts.attested;
        repository.objects.list("packs/", |object| {
            let id = object.key.id();
            let described = index.find_packs(&id);
            let mut believed = described.into_iter().filter(|pack| self.allows(*pack));
            let Some(pack) = believed.next() else {
                if attested.contains(&id) && object.key.writer() == Some(repository.writer()) {
                    stored.attested.push(object);
                }
                return;
            };
            for pack in [pack].into_iter().chain(believed) {
                if let Some(info) = index.pack(pack)
                    && object.has_size(u64::from(info.pack_bytes))
                    && object.key == ObjectKey::Pack(info.writer, info.pack)
                {
                    present.insert(pack);
                }
            }
        })?;
        index.for_each_pack(|pack, _| {
            if self.allows(pack) && !present.contains(pack) {
                stored.absent.insert(pack);
            }
        });
        Ok(stored)
    }

    /// Believes what attested packs say of themselves, and hands it on.
    ///
    /// Cost: one or two requests for each; none once a segment describes them that the head lists.
    pub(super) fn adopt_attested(
        &mut self,
        repository: &Repository,
        index: &BlobIndex,
        stored: &Stored,
        mut adopt: impl FnMut(PackEntry, &[IndexedFrame]) -> Result<()>,
    ) -> Result<u64> {
        let mut adopted = 0_u64;
        for batch in stored.attested.chunks(READS_MAX) {
            // What cannot be read is merely not built upon.
            for (entry, frames) in describe_all(repository, batch)?.into_iter().flatten() {
                let pack = index.add_pack(info_of(repository.writer(), &entry), &frames)?;
                index.settle(pack);
                self.packs.insert(pack);
                adopt(entry, &frames)?;
                adopted = adopted.saturating_add(1);
            }
        }
        Ok(adopted)
    }

    /// Finds believed segments that describe these packs, as far as none that is `listed` does.
    pub(super) fn segments_for(
        &self,
        index: &BlobIndex,
        needed: &PackSet,
        listed: &BTreeSet<SegmentId>,
        may_be_listed: impl Fn(&SegmentId) -> bool,
    ) -> BTreeSet<SegmentId> {
        let (mut open, mut found) = (needed.clone(), BTreeSet::new());
        index.for_each_source(|pack, segment| {
            if listed.contains(segment) {
                open.remove(pack);
            }
        });
        index.for_each_source(|pack, segment| {
            let is_believed = self.segments.contains(segment) && may_be_listed(segment);
            if is_believed && open.contains(pack) {
                found.insert(*segment);
                open.remove(pack);
            }
        });
        found
    }
}
