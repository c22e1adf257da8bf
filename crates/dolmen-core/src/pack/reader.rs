//! Reading frames and blobs back: every byte is verified before it is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dolmen_crypto::{CryptoError, PackKey};
use dolmen_format::limits::FRAME_RAW_BYTES_MAX;
use dolmen_format::pack::{Compression, Origin, PackTable, Recipient, TRAILER_BYTES};
use dolmen_format::{BlobId, BlobKind, FormatError, ObjectKey, PackId};
use dolmen_state::index::{BlobIndex, FrameInfo, Location, PackInfo, PackRef};
use dolmen_store::{ByteRange, StoreError, StoreErrorKind, Version};

use super::moved::MovedFrames;
use crate::error::Error;
use crate::moves::Moves;
use crate::repository::Repository;

/// Pack keys kept open at the same time; each is a few hundred bytes.
const OPEN_PACKS_MAX: usize = 4096;
/// Decompressed frames kept for small blobs, trees above all.
const CACHED_FRAMES_MAX: usize = 16;

/// Why a blob or a frame cannot be had. Others may be whole.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// No segment names it.
    #[error("the index does not know blob {0}")]
    Unknown(BlobId),
    /// The pack cannot be read.
    #[error("pack {pack} cannot be read")]
    Store {
        /// The pack.
        pack: PackId,
        /// Why.
        #[source]
        source: Arc<StoreError>,
    },
    /// The pack's table is not what the index and the key say.
    #[error("the table of pack {pack} is damaged")]
    Table {
        /// The pack.
        pack: PackId,
        /// Why.
        #[source]
        source: CryptoError,
    },
    /// A frame does not open or decompress.
    #[error("frame {ordinal} of pack {pack} is damaged")]
    Frame {
        /// The pack.
        pack: PackId,
        /// The frame.
        ordinal: u32,
    },
    /// The bytes are not the blob's.
    #[error("blob {0} does not match its id")]
    Altered(BlobId),
    /// A tree or list node that does not decode.
    #[error("node {id} is damaged")]
    Node {
        /// The node.
        id: BlobId,
        /// Why.
        #[source]
        source: FormatError,
    },
}

/// Reads blobs by their ids.
#[derive(Debug)]
pub struct BlobReader<'a> {
    repository: &'a Repository,
    index: &'a BlobIndex,
    packs: Mutex<HashMap<PackRef, Arc<PackKey>>>,
    frames: Mutex<FrameCache>,
    /// Why packs that are gone cannot be read: nobody asks for them again.
    gone: Mutex<HashMap<PackRef, BlobError>>,
    pub(super) moved: MovedFrames,
}

/// A few decompressed frames, oldest first.
#[derive(Debug, Default)]
struct FrameCache(Vec<CachedFrame>);

/// A frame by its pack and ordinal.
type CachedFrame = ((PackRef, u32), Arc<Vec<u8>>);

impl BlobError {
    /// The failure of the store as a whole, if that is why: no damage, and nothing else can be had either.
    pub(crate) fn outage(&self) -> Option<Error> {
        let Self::Store { source, .. } = self else {
            return None;
        };
        let (kind, operation, key) = (source.kind, source.operation, source.key.clone());
        let cause = source.source.as_ref();
        (kind == StoreErrorKind::Unavailable).then(|| {
            Error::Store(StoreError {
                kind,
                operation,
                key,
                source: cause.map(|cause| cause.to_string().into()),
            })
        })
    }
}

impl<'a> BlobReader<'a> {
    /// A reader over an index.
    pub fn new(repository: &'a Repository, index: &'a BlobIndex) -> Self {
        Self {
            repository,
            index,
            packs: Mutex::default(),
            frames: Mutex::default(),
            gone: Mutex::default(),
            moved: MovedFrames::default(),
        }
    }

    /// The same of a caller that has read the ledger: moves are asked for again only where they led nowhere.
    #[must_use]
    pub fn knowing(self, moves: &Arc<Moves>) -> Self {
        Self {
            moved: MovedFrames::knowing(Arc::clone(moves)),
            ..self
        }
    }

    /// The index that it reads through.
    pub const fn index(&self) -> &'a BlobIndex {
        self.index
    }

    /// The repository that it reads from.
    pub const fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Where a blob lies.
    pub fn locate(&self, id: &BlobId) -> Result<Location, BlobError> {
        self.index.lookup(id).ok_or(BlobError::Unknown(*id))
    }

    /// Reads one small blob, trying every place where it lies.
    ///
    /// Cost: at most two requests where nothing is damaged; none when its frame was read lately.
    pub fn blob(&self, id: &BlobId, kind: BlobKind) -> Result<Vec<u8>, BlobError> {
        let location = self.locate(id)?;
        let error = match self.blob_at(id, kind, &location) {
            Ok(blob) => return Ok(blob),
            Err(error) => error,
        };
        self.index
            .locations(id)
            .iter()
            .filter(|other| (other.pack, other.ordinal) != (location.pack, location.ordinal))
            .find_map(|other| self.blob_at(id, kind, other).ok())
            .ok_or(error)
    }

    fn blob_at(&self, id: &BlobId, kind: BlobKind, at: &Location) -> Result<Vec<u8>, BlobError> {
        let frame = self.frame(at.pack, at.ordinal)?;
        self.verify_blob(id, kind, at, &frame).map(<[u8]>::to_vec)
    }

    /// Cuts a blob out of its frame and checks it against its id.
    pub fn verify_blob<'f>(
        &self,
        id: &BlobId,
        kind: BlobKind,
        at: &Location,
        frame: &'f [u8],
    ) -> Result<&'f [u8], BlobError> {
        let start = usize::try_from(at.offset).unwrap_or(usize::MAX);
        let length = usize::try_from(at.length).unwrap_or(usize::MAX);
        frame
            .get(start..)
            .and_then(|rest| rest.get(..length))
            .filter(|blob| self.repository.keys().is_blob(id, kind, blob))
            .ok_or(BlobError::Altered(*id))
    }

    /// A frame's blobs, read unless they were lately.
    fn frame(&self, pack: PackRef, ordinal: u32) -> Result<Arc<Vec<u8>>, BlobError> {
        if let Some(frame) = lock(&self.frames).get((pack, ordinal)) {
            return Ok(frame);
        }
        let mut raw = Vec::new();
        self.open_frame(pack, ordinal, &mut FrameOpener::new(), &mut raw)?;
        let raw = Arc::new(raw);
        lock(&self.frames).insert((pack, ordinal), Arc::clone(&raw));
        Ok(raw)
    }

    /// Reads, opens and decompresses one frame into `raw`, exactly: from its origin, else from where it was moved.
    ///
    /// Cost: at most two requests; where the plain view is not authentic, what [`Self::look_beneath`] costs, and where
    /// the origin does not give it, what [`Self::open_moved`] does.
    pub fn open_frame(
        &self,
        pack: PackRef,
        ordinal: u32,
        opener: &mut FrameOpener,
        raw: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        let error = match self.open_at_origin(pack, ordinal, opener, raw) {
            Err(error) if error.outage().is_none() => error,
            outcome => return outcome,
        };
        if self.open_moved(pack, ordinal, error.is_gone(), opener, raw)? {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn open_at_origin(
        &self,
        pack: PackRef,
        ordinal: u32,
        opener: &mut FrameOpener,
        raw: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        let (info, frame) = self.frame_info(pack, ordinal)?;
        let key = self.pack_key(pack)?;
        let range = ByteRange::FromTo {
            offset: u64::from(frame.offset),
            len: u64::from(frame.frame_bytes),
        };
        let mut open = || {
            let stored = self.read(&info, range)?;
            opener.open(&key, &info, ordinal, &frame, &stored, raw)
        };
        let seen = self.view_of(&info);
        match open() {
            Err(BlobError::Frame { .. }) if self.look_beneath(&info, seen.as_ref())? => open(),
            outcome => outcome,
        }
    }

    /// What [`Self::read`] reads of a pack by now.
    pub(super) fn view_of(&self, info: &PackInfo) -> Option<Version> {
        let key = ObjectKey::Pack(info.writer, info.pack);
        self.repository.objects.view_of(&key)
    }

    /// Looks for the authentic version of a pack of which what was `seen` does not open; true if it is worth reading again.
    ///
    /// Cost: nothing where the store has no versions; else a listing, and each version whole until the authentic one,
    /// once.
    pub fn look_beneath(&self, info: &PackInfo, seen: Option<&Version>) -> Result<bool, BlobError> {
        let key = ObjectKey::Pack(info.writer, info.pack);
        let objects = &self.repository.objects;
        let looked = objects.look_beneath(&key, seen);
        looked.map_err(|error| BlobError::Store {
            pack: info.pack,
            source: Arc::new(error),
        })
    }

    /// Whether the authentic version of a pack is another than the plain view shows, as far as is known or can be found
    /// out.
    ///
    /// Cost: as [`Self::look_beneath`].
    pub fn is_beneath(&self, info: &PackInfo) -> bool {
        let key = ObjectKey::Pack(info.writer, info.pack);
        self.look_beneath(info, None).is_ok()
            && self.repository.objects.authentic_copy(&key).is_some()
    }

    /// What the index says of a pack and one of its frames.
    pub fn frame_info(
        &self,
        pack: PackRef,
        ordinal: u32,
    ) -> Result<(PackInfo, FrameInfo), BlobError> {
        let info = self.index.pack(pack);
        let frame = self.index.frame(pack, ordinal);
        match (info, frame) {
            (Some(info), Some(frame)) => Ok((info, frame)),
            (info, _) => Err(BlobError::Frame {
                pack: info.map_or(PackId::from_bytes([0; 32]), |info| info.pack),
                ordinal,
            }),
        }
    }

    /// Reads a range of a pack.
    ///
    /// Cost: one request.
    pub fn read(&self, info: &PackInfo, range: ByteRange) -> Result<bytes::Bytes, BlobError> {
        let key = ObjectKey::Pack(info.writer, info.pack);
        self.repository
            .objects
            .read(&key, range)
            .map_err(|error| BlobError::Store {
                pack: info.pack,
                source: Arc::new(error),
            })
    }

    /// The key that opens a pack's frames.
    ///
    /// Cost: one request for the pack's table, the first time.
    pub fn pack_key(&self, pack: PackRef) -> Result<Arc<PackKey>, BlobError> {
        if let Some(key) = lock(&self.packs).get(&pack) {
            return Ok(Arc::clone(key));
        }
        if let Some(error) = lock(&self.gone).get(&pack) {
            return Err(error.clone());
        }
        let info = self.index.pack(pack).ok_or(BlobError::Frame {
            pack: PackId::from_bytes([0; 32]),
            ordinal: 0,
        })?;
        let seen = self.view_of(&info);
        let opened = match self.open_pack(&info) {
            Err(BlobError::Table { .. }) if self.look_beneath(&info, seen.as_ref())? => {
                self.open_pack(&info)
            }
            opened => opened,
        };
        if let Err(error) = &opened
            && error.is_gone()
        {
            lock(&self.gone).insert(pack, error.clone());
        }
        let key = Arc::new(opened?);
        let mut packs = lock(&self.packs);
        if packs.len() >= OPEN_PACKS_MAX {
            packs.clear();
        }
        packs.insert(pack, Arc::clone(&key));
        Ok(key)
    }

    fn open_pack(&self, info: &PackInfo) -> Result<PackKey, BlobError> {
        let table = self.read_table(info)?;
        open_table(self.repository, &table).map_err(|source| BlobError::Table {
            pack: info.pack,
            source,
        })
    }

    /// Reads a pack's table, unverified.
    ///
    /// Cost: one request.
    pub(crate) fn read_table(&self, info: &PackInfo) -> Result<PackTable, BlobError> {
        let len = u64::from(info.table_bytes).saturating_add(TRAILER_BYTES as u64);
        let tail = self.read(info, ByteRange::Last { len })?;
        PackTable::decode_tail(&tail, u64::from(info.pack_bytes)).map_err(|error| {
            BlobError::Table {
                pack: info.pack,
                source: error.into(),
            }
        })
    }
}

/// Opens the key of an original pack's table.
pub fn open_table(repository: &Repository, table: &PackTable) -> Result<PackKey, CryptoError> {
    let origin = table
        .origins
        .first()
        .ok_or(FormatError::Invalid { field: "origins" })?;
    open_origin(repository, table.recipient, origin)
}

/// Opens the key of the frames that were written into an origin.
pub(crate) fn open_origin(
    repository: &Repository,
    recipient: Recipient,
    origin: &Origin,
) -> Result<PackKey, CryptoError> {
    let keys = repository.keys();
    let key = match recipient {
        Recipient::Read => keys.read_if_any(),
        Recipient::Maintain => keys.maintain_if_any(),
    };
    PackKey::open(origin, repository.id(), key.ok_or(CryptoError::OtherKey)?)
}

/// Opens and decompresses frames; keeps its buffers and its zstd context for the next one.
pub struct FrameOpener {
    compressed: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for FrameOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameOpener")
    }
}

impl Default for FrameOpener {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameOpener {
    /// Without a zstd context, every compressed frame is a damaged one; there is always memory for it.
    pub fn new() -> Self {
        Self {
            compressed: Vec::new(),
            decompressor: zstd::bulk::Decompressor::new().ok(),
        }
    }

    /// Opens a stored frame into `raw`, exactly.
    pub fn open(
        &mut self,
        key: &PackKey,
        info: &PackInfo,
        ordinal: u32,
        frame: &FrameInfo,
        stored: &[u8],
        raw: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        let damaged = BlobError::Frame {
            pack: info.pack,
            ordinal,
        };
        // Who knows no domain does not know how large a frame is inside.
        let known = (frame.raw_bytes > 0).then_some(frame.raw_bytes);
        let known = known.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let raw_bytes = known.unwrap_or(FRAME_RAW_BYTES_MAX);
        if raw_bytes > FRAME_RAW_BYTES_MAX {
            return Err(damaged);
        }
        let opened = match frame.compression {
            Compression::None => key
                .open_frame(ordinal, frame.compression, stored, raw)
                .is_ok(),
            Compression::Zstd => {
                key.open_frame(ordinal, frame.compression, stored, &mut self.compressed)
                    .is_ok()
                    && self.decompress(raw_bytes, raw)
            }
        };
        if opened && known.is_none_or(|bytes| raw.len() == bytes) {
            Ok(())
        } else {
            Err(damaged)
        }
    }

    fn decompress(&mut self, raw_bytes: usize, raw: &mut Vec<u8>) -> bool {
        raw.clear();
        raw.reserve(raw_bytes);
        self.decompressor
            .as_mut()
            .is_some_and(|zstd| zstd.decompress_to_buffer(&self.compressed, raw).is_ok())
    }
}

impl FrameCache {
    fn get(&mut self, at: (PackRef, u32)) -> Option<Arc<Vec<u8>>> {
        let position = self.0.iter().position(|(known, _)| *known == at)?;
        let entry = self.0.remove(position);
        let frame = Arc::clone(&entry.1);
        self.0.push(entry);
        Some(frame)
    }

    fn insert(&mut self, at: (PackRef, u32), frame: Arc<Vec<u8>>) {
        if self.0.len() >= CACHED_FRAMES_MAX {
            self.0.remove(0);
        }
        self.0.push((at, frame));
    }
}

/// A poisoned lock means that another thread panicked; what it guards is only a cache.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
