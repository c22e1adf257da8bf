//! Frames that left their pack: found by the ledger's moves, and proved by what their writer sealed into the descriptor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use dolmen_crypto::PackKey;
use dolmen_format::PackId;
use dolmen_format::index::IndexedFrame;
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::pack::{FrameEntry, Origin, PackTable};
use dolmen_state::index::{FrameInfo, PackInfo, PackRef};
use dolmen_store::{ByteRange, StoreErrorKind};

use super::describe::describe_frame;
use super::reader::{BlobError, BlobReader, FrameOpener, lock, open_origin};
use crate::error::Error;
use crate::moves::{Moved, Moves};
use crate::repository::Repository;

/// Bytes of tables that are kept, encoded, unless a single one is larger.
const TABLES_BYTES_MAX: u64 = 32 << 20;
/// How often a reader looks for new moves: once when the first frame is missed, and again when what it knows is gone,
/// because a compaction ran meanwhile. A repository that lost much must not be listed for each loss.
const LOADS_MAX: u32 = 8;

/// What a reader knows of frames that were moved.
#[derive(Debug, Default)]
pub(super) struct MovedFrames {
    loaded: Mutex<Loaded>,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Loaded {
    moves: Option<Arc<Moves>>,
    loads: u32,
}

#[derive(Debug, Default)]
struct Tables {
    by_pack: HashMap<PackId, Arc<Table>>,
    bytes: u64,
}

/// The table of a pack that frames were moved into.
#[derive(Debug)]
struct Table {
    decoded: PackTable,
    /// Where each frame begins.
    offsets: Vec<u64>,
    /// By the origin's number.
    keys: Mutex<HashMap<u32, Arc<PackKey>>>,
}

/// Where a moved frame lies, as a table says.
#[derive(Debug, Clone)]
pub(crate) struct MovedPlace {
    /// The pack that it came to.
    pub(crate) info: PackInfo,
    /// Where in that it begins, in bytes.
    pub(crate) offset: u64,
    table: Arc<Table>,
    /// The number of its origin in the table.
    origin: u32,
}

/// A frame as the index knows it.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    origin: PackRef,
    info: PackInfo,
    ordinal: u32,
    frame: FrameInfo,
}

impl MovedFrames {
    pub(super) fn knowing(moves: Arc<Moves>) -> Self {
        let loaded = Loaded {
            moves: Some(moves),
            loads: 0,
        };
        Self {
            loaded: Mutex::new(loaded),
            tables: Mutex::default(),
        }
    }
}

impl BlobReader<'_> {
    /// Opens a frame that cannot be had from its origin where a move says that it also lies. False: nowhere. `was_gone`
    /// says that the origin is not there at all: somebody may have moved its frames since the moves were read.
    ///
    /// Cost: the first time what reading the ledger costs; then a request for each place, and one for each pack's table.
    pub fn open_moved(
        &self,
        origin: PackRef,
        ordinal: u32,
        was_gone: bool,
        opener: &mut FrameOpener,
        raw: &mut Vec<u8>,
    ) -> Result<bool, BlobError> {
        let wanted = self.wanted(origin, ordinal)?;
        let info = wanted.info;
        let (mut tried, mut is_gone) = (None, was_gone);
        while let Some(moves) = self.moves_after(tried.as_ref(), is_gone, &info)? {
            for place in moves.places(&info.pack, ordinal) {
                match self.open_at(&place, &wanted, opener, raw) {
                    Ok(()) => return Ok(true),
                    Err(error) if error.outage().is_some() => return Err(error),
                    Err(error) => is_gone |= error.is_gone(),
                }
            }
            if tried.replace(moves).is_some() {
                break;
            }
        }
        Ok(false)
    }

    fn wanted(&self, origin: PackRef, ordinal: u32) -> Result<Wanted, BlobError> {
        let (info, frame) = self.frame_info(origin, ordinal)?;
        Ok(Wanted {
            origin,
            info,
            ordinal,
            frame,
        })
    }

    /// The moves that are known; where those were `tried` and something `is_gone`, what the ledger says by now.
    fn moves_after(
        &self,
        tried: Option<&Arc<Moves>>,
        is_gone: bool,
        info: &PackInfo,
    ) -> Result<Option<Arc<Moves>>, BlobError> {
        let mut loaded = lock(&self.moved.loaded);
        if let Some(moves) = &loaded.moves {
            if tried.is_none_or(|tried| !Arc::ptr_eq(tried, moves)) {
                return Ok(Some(Arc::clone(moves)));
            }
            if !is_gone || loaded.loads >= LOADS_MAX {
                return Ok(None);
            }
        }
        loaded.loads = loaded.loads.saturating_add(1);
        let moves = match Moves::load(self.repository()) {
            Ok(moves) => Arc::new(moves),
            Err(Error::Store(source)) => {
                return Err(BlobError::Store {
                    pack: info.pack,
                    source: Arc::new(source),
                });
            }
            // A ledger that cannot be read moves nothing.
            Err(_) => Arc::default(),
        };
        loaded.moves = Some(Arc::clone(&moves));
        Ok(Some(moves))
    }

    fn open_at(
        &self,
        place: &Moved,
        wanted: &Wanted,
        opener: &mut FrameOpener,
        raw: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        let mut open = || {
            let table = self.moved_table(&place.pack)?;
            self.open_in(&table, place, wanted, opener, raw)
        };
        let seen = self.view_of(&place.pack);
        match open() {
            Err(BlobError::Frame { .. } | BlobError::Table { .. })
                if self.look_beneath(&place.pack, seen.as_ref())? =>
            {
                lock(&self.moved.tables).by_pack.remove(&place.pack.pack);
                open()
            }
            outcome => outcome,
        }
    }

    fn open_in(
        &self,
        table: &Table,
        place: &Moved,
        wanted: &Wanted,
        opener: &mut FrameOpener,
        raw: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        let damaged = BlobError::Frame {
            pack: place.pack.pack,
            ordinal: place.position,
        };
        let found = self.find_in(table, place, wanted);
        let (offset, entry, origin) = found.ok_or_else(|| damaged.clone())?;
        let range = ByteRange::FromTo {
            offset,
            len: u64::from(entry.frame_bytes),
        };
        let stored = self.read(&place.pack, range)?;
        if *blake3::hash(&stored).as_bytes() != entry.hash {
            return Err(damaged);
        }
        let key = table
            .key(self.repository(), entry.origin, origin)
            .ok_or(damaged)?;
        opener.open(
            &key,
            &place.pack,
            wanted.ordinal,
            &wanted.frame,
            &stored,
            raw,
        )
    }

    /// Finds where a move says that a frame came to, if the table there tells so as the frame's writer sealed it; `may_hold`
    /// says no to places that are known not to hold it. Its bytes are not read.
    ///
    /// Cost: the first time what reading the ledger costs; then one request for each pack's table.
    pub(crate) fn find_moved(
        &self,
        origin: PackRef,
        ordinal: u32,
        may_hold: impl Fn(&PackInfo, u32) -> bool,
    ) -> Result<Option<MovedPlace>, BlobError> {
        let wanted = self.wanted(origin, ordinal)?;
        let info = wanted.info;
        let Some(moves) = self.moves_after(None, false, &info)? else {
            return Ok(None);
        };
        for place in moves.places(&info.pack, ordinal) {
            if !may_hold(&place.pack, place.position) {
                continue;
            }
            match self.locate_at(&place, &wanted) {
                Ok(Some(found)) => return Ok(Some(found)),
                Err(error) if error.outage().is_some() => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Where the table of a place says that a frame begins, in the authentic version of its pack.
    fn locate_at(&self, place: &Moved, wanted: &Wanted) -> Result<Option<MovedPlace>, BlobError> {
        let locate = || {
            let table = self.moved_table(&place.pack)?;
            let found = self.find_in(&table, place, wanted);
            let found = found.map(|(offset, entry, _)| (offset, entry.origin));
            Ok(found.map(|(offset, origin)| MovedPlace {
                info: place.pack,
                offset,
                table,
                origin,
            }))
        };
        let seen = self.view_of(&place.pack);
        match locate() {
            Ok(None) | Err(BlobError::Table { .. })
                if self.look_beneath(&place.pack, seen.as_ref())? =>
            {
                lock(&self.moved.tables).by_pack.remove(&place.pack.pack);
                locate()
            }
            outcome => outcome,
        }
    }

    /// What the table of a pack that a frame came to says of it, as its writer sealed it. It says truly of which salt the
    /// frame is, and not of which origin: whoever reads a blob verifies that by its id. `None`: no table tells.
    ///
    /// Cost: one request for each table.
    pub(crate) fn describe_moved(
        &self,
        origin: &PackId,
        ordinal: u32,
        moves: &Moves,
    ) -> crate::error::Result<Option<IndexedFrame>> {
        for place in moves.places(origin, ordinal) {
            let table = match self.moved_table(&place.pack) {
                Ok(table) => table,
                Err(error) => match error.outage() {
                    Some(outage) => return Err(outage),
                    None => continue,
                },
            };
            let found = table.frame(place.position);
            let found = found.filter(|(_, entry, found)| {
                found.pack == Some(*origin) && entry.ordinal == ordinal
            });
            let described = found.and_then(|(_, entry, found)| {
                describe_frame(self.repository(), found, table.decoded.recipient, entry).ok()
            });
            if described.is_some() {
                return Ok(described);
            }
        }
        Ok(None)
    }

    /// The key that opens a moved frame; `None`: it is not for this repository.
    pub(crate) fn moved_key(&self, place: &MovedPlace) -> Option<Arc<PackKey>> {
        let origin = usize::try_from(place.origin).ok()?;
        let origin = place.table.decoded.origins.get(origin)?;
        place.table.key(self.repository(), place.origin, origin)
    }

    /// Where a table says that the wanted frame begins, if it is the one that its writer sealed.
    fn find_in<'t>(
        &self,
        table: &'t Table,
        place: &Moved,
        wanted: &Wanted,
    ) -> Option<(u64, &'t FrameEntry, &'t Origin)> {
        let (offset, entry, origin) = table.frame(place.position)?;
        let is_named = origin.pack == Some(wanted.info.pack)
            && (entry.ordinal, entry.frame_bytes, entry.compression)
                == (
                    wanted.ordinal,
                    wanted.frame.frame_bytes,
                    wanted.frame.compression,
                );
        (is_named && self.is_sealed_as(entry, origin, wanted)).then_some((offset, entry, origin))
    }

    /// Whether the descriptor, which only the frame's writer can have made, says that this entry is the frame that the
    /// index knows. Without it, whoever may sign moves could have a well sealed frame of something else opened first.
    fn is_sealed_as(&self, entry: &FrameEntry, origin: &Origin, wanted: &Wanted) -> bool {
        let repository = self.repository();
        let Some(domain) = repository.keys().domain(&origin.domain) else {
            // Who knows no domain takes the table's word, and holds what it opens against its hash.
            return repository.keys().is_blind();
        };
        let descriptor = domain
            .descriptor_key(repository.id(), origin.salt)
            .and_then(|key| key.open(wanted.ordinal, &entry.descriptor));
        let Ok(descriptor) = descriptor else {
            return false;
        };
        let mut offset = 0_u32;
        let is_indexed = descriptor.blobs.iter().all(|blob| {
            let found = self.index().locations(&blob.id).iter().any(|at| {
                (at.pack, at.ordinal, at.offset) == (wanted.origin, wanted.ordinal, offset)
                    && (at.kind, at.length) == (blob.kind, blob.length)
            });
            offset = offset.saturating_add(blob.length);
            found
        });
        is_indexed
            && descriptor.frame_hash == entry.hash
            && descriptor.sealed_key_digest == origin.sealed_key.digest()
            && descriptor.raw_bytes == wanted.frame.raw_bytes
    }

    fn moved_table(&self, info: &PackInfo) -> Result<Arc<Table>, BlobError> {
        if let Some(table) = lock(&self.moved.tables).by_pack.get(&info.pack) {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(Table::new(self.read_table(info)?));
        let mut tables = lock(&self.moved.tables);
        tables.bytes = tables.bytes.saturating_add(u64::from(info.table_bytes));
        if tables.bytes > TABLES_BYTES_MAX {
            tables.by_pack.clear();
            tables.bytes = u64::from(info.table_bytes);
        }
        tables.by_pack.insert(info.pack, Arc::clone(&table));
        Ok(table)
    }
}

impl BlobError {
    /// Whether the store no longer has the pack.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.kind == StoreErrorKind::NotFound)
    }
}

impl Table {
    fn new(table: PackTable) -> Self {
        let head = u64::try_from(PROLOGUE_BYTES).unwrap_or(u64::MAX);
        let frames = table.frames.iter();
        let offsets = frames.scan(head, |end, frame| {
            let begin = *end;
            *end = begin.saturating_add(u64::from(frame.frame_bytes));
            Some(begin)
        });
        Self {
            offsets: offsets.collect(),
            decoded: table,
            keys: Mutex::default(),
        }
    }

    /// Where a frame lies, and what the table says of it.
    fn frame(&self, position: u32) -> Option<(u64, &FrameEntry, &Origin)> {
        let at = usize::try_from(position).ok()?;
        let entry = self.decoded.frames.get(at)?;
        let origin = self
            .decoded
            .origins
            .get(usize::try_from(entry.origin).ok()?)?;
        Some((*self.offsets.get(at)?, entry, origin))
    }

    fn key(&self, repository: &Repository, number: u32, origin: &Origin) -> Option<Arc<PackKey>> {
        if let Some(key) = lock(&self.keys).get(&number) {
            return Some(Arc::clone(key));
        }
        let key = Arc::new(open_origin(repository, self.decoded.recipient, origin).ok()?);
        lock(&self.keys).insert(number, Arc::clone(&key));
        Some(key)
    }
}
