//! Reading frames out of packs that they were moved into.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dolmen_crypto::PackKey;
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::pack::{Compression, Origin, PackTable, Recipient, TRAILER_BYTES};
use dolmen_format::{ObjectKey, PackId};
use dolmen_state::index::FrameInfo;
use dolmen_store::ByteRange;

use super::reader::BlobError;
use crate::moves::{MovedPack, MovedPlace, Moves};
use crate::repository::Repository;

/// Tables of moved packs kept at the same time: of each frame 24 bytes, of each origin its keys.
const TABLES_MAX: usize = 64;

/// The moves, and what was read of the packs that they name. Nothing is read before a frame is asked for.
#[derive(Debug, Default)]
pub(super) struct MovedFrames {
    moves: OnceLock<Moves>,
    tables: Mutex<HashMap<PackId, Arc<MovedTable>>>,
}

/// What is needed of a moved pack's table.
#[derive(Debug)]
struct MovedTable {
    recipient: Recipient,
    origins: Vec<MovedOrigin>,
    frames: Vec<MovedFrame>,
}

#[derive(Debug)]
struct MovedOrigin {
    origin: Origin,
    key: OnceLock<Arc<PackKey>>,
}

#[derive(Debug, Clone, Copy)]
struct MovedFrame {
    origin: u32,
    ordinal: u32,
    offset: u32,
    frame_bytes: u32,
    compression: Compression,
}

/// A frame as stored, and what opens it.
#[derive(Debug)]
pub(super) struct FoundFrame {
    pub(super) key: Arc<PackKey>,
    pub(super) frame: FrameInfo,
    pub(super) stored: bytes::Bytes,
}

impl MovedFrames {
    /// What is said of where frames went. An outage is told where the frame itself is asked for.
    fn moves(&self, repository: &Repository) -> &Moves {
        self.moves
            .get_or_init(|| Moves::load(repository).unwrap_or_default())
    }

    /// Hands a frame, as it lies in each place beside its origin, to `open` until that takes it.
    ///
    /// Cost: the first time a listing of the ledger; for each place one request for the table, the first time, and one
    /// for the frame.
    pub(super) fn find<T>(
        &self,
        repository: &Repository,
        origin: PackId,
        ordinal: u32,
        raw_bytes: u32,
        mut open: impl FnMut(&FoundFrame) -> Result<T, BlobError>,
    ) -> Option<T> {
        let places = self.moves(repository).places(origin, ordinal);
        places
            .filter_map(|place| self.read(repository, origin, ordinal, raw_bytes, place))
            .find_map(|found| open(&found).ok())
    }

    /// Whether a frame is said to lie anywhere beside its origin.
    pub(super) fn is_claimed(&self, repository: &Repository, origin: PackId, ordinal: u32) -> bool {
        let mut places = self.moves(repository).places(origin, ordinal);
        places.next().is_some()
    }

    /// Reads a frame in one place; `None`: it is not there, or another is.
    fn read(
        &self,
        repository: &Repository,
        origin: PackId,
        ordinal: u32,
        raw_bytes: u32,
        place: MovedPlace<'_>,
    ) -> Option<FoundFrame> {
        let table = self.table(repository, place.pack)?;
        let at = usize::try_from(place.position).ok()?;
        let moved = *table.frames.get(at)?;
        let from = table.origins.get(usize::try_from(moved.origin).ok()?)?;
        if from.origin.pack != Some(origin) || moved.ordinal != ordinal {
            return None;
        }
        let range = ByteRange::FromTo {
            offset: u64::from(moved.offset),
            len: u64::from(moved.frame_bytes),
        };
        let stored = repository.objects.read(&key_of(place.pack), range).ok()?;
        Some(FoundFrame {
            key: from.open(repository, table.recipient)?,
            frame: FrameInfo {
                offset: moved.offset,
                frame_bytes: moved.frame_bytes,
                raw_bytes,
                compression: moved.compression,
            },
            stored,
        })
    }

    fn table(&self, repository: &Repository, pack: &MovedPack) -> Option<Arc<MovedTable>> {
        let id = pack.entry.pack;
        if let Some(known) = self.lock().get(&id) {
            return Some(Arc::clone(known));
        }
        let table_bytes = u64::from(pack.entry.table_bytes);
        let len = table_bytes.saturating_add(TRAILER_BYTES as u64);
        let tail = repository
            .objects
            .read(&key_of(pack), ByteRange::Last { len });
        let table = PackTable::decode_tail(&tail.ok()?, u64::from(pack.entry.pack_bytes)).ok()?;
        let table = Arc::new(MovedTable::of(table)?);
        let mut tables = self.lock();
        if tables.len() >= TABLES_MAX {
            tables.clear();
        }
        tables.insert(id, Arc::clone(&table));
        Some(table)
    }

    /// A poisoned lock means that another thread panicked; what it guards is only a cache.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PackId, Arc<MovedTable>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(pack: &MovedPack) -> ObjectKey {
    ObjectKey::Pack(pack.writer, pack.entry.pack)
}

impl MovedTable {
    fn of(table: PackTable) -> Option<Self> {
        let mut offset = u32::try_from(PROLOGUE_BYTES).ok()?;
        let mut frames = Vec::with_capacity(table.frames.len());
        for frame in &table.frames {
            frames.push(MovedFrame {
                origin: frame.origin,
                ordinal: frame.ordinal,
                offset,
                frame_bytes: frame.frame_bytes,
                compression: frame.compression,
            });
            offset = offset.checked_add(frame.frame_bytes)?;
        }
        let origins = table.origins.into_iter();
        Some(Self {
            recipient: table.recipient,
            origins: origins
                .map(|origin| MovedOrigin {
                    origin,
                    key: OnceLock::new(),
                })
                .collect(),
            frames,
        })
    }
}

impl MovedOrigin {
    fn open(&self, repository: &Repository, recipient: Recipient) -> Option<Arc<PackKey>> {
        if let Some(key) = self.key.get() {
            return Some(Arc::clone(key));
        }
        let opener = super::reader::recipient_opener(repository, recipient);
        let key = PackKey::open(&self.origin, repository.id(), opener).ok()?;
        Some(Arc::clone(self.key.get_or_init(|| Arc::new(key))))
    }
}
