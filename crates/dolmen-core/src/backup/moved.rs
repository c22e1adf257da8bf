//! Frames that are no longer needed where they were written: compaction moved them, and a backup builds upon them where
//! they lie now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::pack::PackTable;
use dolmen_format::{ObjectKey, ObjectKind, PackId};
use dolmen_state::index::{BlobIndex, PackInfo, PackRef};

use super::session::lock;
use crate::ledger::Facts;
use crate::pack::BlobReader;
use crate::repository::Repository;

/// Where moved frames may be relied upon.
pub(super) struct MovedFrames<'a> {
    repository: &'a Repository,
    facts: &'a Facts,
    index: &'a BlobIndex,
    blobs: BlobReader<'a>,
    known: Mutex<Known>,
}

/// What was found out: some 24 bytes for each frame that was asked for.
#[derive(Debug, Default)]
struct Known {
    /// By origin and ordinal, the number of the pack.
    frames: BTreeMap<(PackRef, u32), Option<u32>>,
    packs: Vec<PackInfo>,
    /// Packs that are not what their names or tables say.
    false_packs: BTreeSet<PackId>,
    /// Packs that this run read whole.
    whole: BTreeSet<PackId>,
}

impl<'a> MovedFrames<'a> {
    pub(super) fn new(repository: &'a Repository, facts: &'a Facts, index: &'a BlobIndex) -> Self {
        Self {
            repository,
            facts,
            index,
            blobs: BlobReader::new(repository, index).knowing(&facts.moves),
            known: Mutex::default(),
        }
    }

    /// Whether frames of a pack also lie elsewhere, as is claimed.
    pub(super) fn names(&self, pack: PackRef) -> bool {
        let info = self.index.pack(pack);
        info.is_some_and(|info| self.facts.moves.names(&info.pack))
    }

    /// The pack in which a moved frame may be relied upon. What its origin's writer sealed must stand in that pack's table;
    /// where locks are relied upon, whoever can sign moves must not be able to have rubbish relied upon either: there the
    /// pack is read whole, once for each client.
    ///
    /// Cost: the first time for each pack one request.
    pub(super) fn find(&self, origin: PackRef, ordinal: u32) -> Option<PackInfo> {
        if !self.names(origin) {
            return None;
        }
        let mut known = lock(&self.known);
        if let Some(found) = known.frames.get(&(origin, ordinal)) {
            let number = (*found)?;
            return known.packs.get(usize::try_from(number).ok()?).copied();
        }
        let found = loop {
            let may_hold = |info: &PackInfo, _| !known.false_packs.contains(&info.pack);
            // A store that does not answer ends the run elsewhere; until then the frame is merely not built upon.
            let found = self.blobs.find_moved(origin, ordinal, may_hold).ok();
            let Some(info) = found.flatten().map(|place| place.info) else {
                break None;
            };
            if self.may_rely(&info, &mut known) {
                break Some(info);
            }
            known.false_packs.insert(info.pack);
        };
        let number = found.map(|info| known.number_of(info));
        known.frames.insert((origin, ordinal), number);
        found
    }

    /// Packs that this run read whole.
    pub(super) fn read_whole(&self) -> BTreeSet<PackId> {
        lock(&self.known).whole.clone()
    }

    fn may_rely(&self, info: &PackInfo, known: &mut Known) -> bool {
        let is_locked = self.repository.objects.locking().is_some();
        if !is_locked
            || known.whole.contains(&info.pack)
            || self.facts.compared.is_whole(&info.pack)
        {
            return true;
        }
        let is_whole = self.is_whole(info);
        if is_whole {
            known.whole.insert(info.pack);
        }
        is_whole
    }

    /// Whether a pack's bytes are what its name says, and its frames what its table says.
    fn is_whole(&self, info: &PackInfo) -> bool {
        let key = ObjectKey::Pack(info.writer, info.pack);
        let Ok(stored) = self.repository.objects.fetch(&key, ObjectKind::Pack) else {
            return false;
        };
        let Ok(table) = PackTable::decode_pack(&stored) else {
            return false;
        };
        let mut rest = stored.get(PROLOGUE_BYTES..).unwrap_or_default();
        table.frames.iter().all(|frame| {
            let bytes = usize::try_from(frame.frame_bytes).unwrap_or(usize::MAX);
            let Some((head, tail)) = rest.split_at_checked(bytes) else {
                return false;
            };
            rest = tail;
            blake3::hash(head) == frame.hash
        })
    }
}

impl Known {
    fn number_of(&mut self, info: PackInfo) -> u32 {
        let at = self.packs.iter().rposition(|known| *known == info);
        let at = at.unwrap_or_else(|| {
            self.packs.push(info);
            self.packs.len().saturating_sub(1)
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}
