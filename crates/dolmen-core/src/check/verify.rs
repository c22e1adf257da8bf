//! One pack read in full: every frame, every blob, and what the index says of them.

use bytes::Bytes;
use dolmen_crypto::PackKey;
use dolmen_format::index::IndexedFrame;
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::manifest::FrameSet;
use dolmen_format::pack::{FrameEntry, PackTable, TRAILER_BYTES};
use dolmen_format::{ObjectKey, ObjectKind};
use dolmen_state::index::{BlobIndex, FrameInfo, PackInfo, PackRef};
use dolmen_store::ByteRange;

use super::is_fatal;
use crate::error::Result;
use crate::finding::{Finding, Nature, chain};
use crate::objects::FetchError;
use crate::pack::describe::{describe_frame, describe_table};
use crate::pack::reader::{FrameOpener, open_origin, open_table};
use crate::repository::Repository;

/// Reads packs; keeps its buffers for the next one.
pub(super) struct PackVerifier<'a> {
    repository: &'a Repository,
    index: &'a BlobIndex,
    opener: FrameOpener,
    raw: Vec<u8>,
}

/// What is wrong with a pack.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// In words; empty: nothing.
    pub(super) problems: Vec<String>,
    /// What they are about.
    pub(super) nature: Nature,
    pub(super) frames: LostFrames,
    /// Whether the index says something else than the pack.
    pub(super) index_is_wrong: bool,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Whether it is not there at all any more: deleted since it was listed.
    pub(super) is_missing: bool,
}

/// Which frames cannot be read any more.
#[derive(Debug, Default)]
pub(super) enum LostFrames {
    #[default]
    None,
    Some(FrameSet),
    All,
}

impl Damage {
    fn total(problem: String) -> Self {
        Self {
            problems: vec![problem],
            frames: LostFrames::All,
            ..Self::default()
        }
    }

    /// What is wrong, as one finding.
    pub(super) fn finding(&self, key: &ObjectKey) -> Finding {
        Finding {
            nature: self.nature,
            ..Finding::new(key.to_string(), self.problems.join("; "))
        }
    }

    fn unusable(finding: Finding) -> Self {
        Self {
            nature: finding.nature,
            ..Self::total(finding.problem)
        }
    }

    fn note(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// What was found in these bytes, after what is wrong with them as a whole.
    fn of(mut self, stored: &Bytes, altered: Option<String>) -> Self {
        self.bytes = u64::try_from(stored.len()).unwrap_or(u64::MAX);
        self.problems.splice(0..0, altered);
        self
    }
}

/// A pack's bytes, and what is wrong with them as a whole.
type Stored = (Bytes, Option<String>);

impl<'a> PackVerifier<'a> {
    pub(super) fn new(repository: &'a Repository, index: &'a BlobIndex) -> Self {
        Self {
            repository,
            index,
            opener: FrameOpener::new(),
            raw: Vec::new(),
        }
    }

    /// Reads a pack and everything in it.
    ///
    /// Cost: one request; two where its bytes are not what its name says.
    pub(super) fn verify(&mut self, pack: PackRef, info: &PackInfo) -> Result<Damage> {
        let read = self.read(info)?;
        Ok(read.map_or_else(
            |damage| damage,
            |(stored, altered)| self.verify_body(pack, info, &stored).of(&stored, altered),
        ))
    }

    /// Reads a pack that frames were moved into and everything in it.
    ///
    /// Cost: as [`Self::verify`].
    pub(super) fn verify_moved(&mut self, info: &PackInfo) -> Result<Damage> {
        let read = self.read(info)?;
        Ok(read.map_or_else(
            |damage| damage,
            |(stored, altered)| self.verify_moved_body(info, &stored).of(&stored, altered),
        ))
    }

    /// Reads a pack whole, and what is wrong with it as a whole; or says why it cannot be had.
    fn read(&self, info: &PackInfo) -> Result<std::result::Result<Stored, Damage>> {
        let key = ObjectKey::Pack(info.writer, info.pack);
        let objects = &self.repository.objects;
        Ok(match objects.fetch(&key, ObjectKind::Pack) {
            Ok(stored) => Ok((stored, None)),
            Err(FetchError::Store(error)) if is_fatal(&error) => return Err(error.into()),
            Err(error) if error.is_missing() => Err(Damage {
                is_missing: true,
                ..Damage::default()
            }),
            Err(error @ FetchError::Store(_)) => {
                Err(Damage::unusable(Finding::unusable(key.to_string(), &error)))
            }
            Err(error @ FetchError::Altered) => {
                // What is left of it tells which files are hurt.
                let range = ByteRange::FromTo {
                    offset: 0,
                    len: u64::from(info.pack_bytes),
                };
                match objects.read(&key, range) {
                    Ok(stored) => Ok((stored, Some(chain(&error)))),
                    Err(again) if is_fatal(&again) => return Err(again.into()),
                    Err(_) => Err(Damage::total(chain(&error))),
                }
            }
        })
    }

    /// Every frame by its own table alone: whoever reads one holds it against the index.
    fn verify_moved_body(&mut self, info: &PackInfo, stored: &Bytes) -> Damage {
        let mut damage = Damage::default();
        let table = match PackTable::decode_tail(stored, u64::from(info.pack_bytes)) {
            Ok(table) => table,
            Err(error) => return Damage::total(chain(&error)),
        };
        let keys: Vec<_> = table
            .origins
            .iter()
            .map(|origin| open_origin(self.repository, table.recipient, origin).ok())
            .collect();
        let (mut lost, mut names) = (FrameSet::default(), Vec::new());
        let mut offset = PROLOGUE_BYTES;
        for (position, entry) in (0_u32..).zip(&table.frames) {
            let bytes = usize::try_from(entry.frame_bytes).unwrap_or(usize::MAX);
            let end = offset.saturating_add(bytes);
            let frame = stored.get(offset..end).unwrap_or_default();
            let origin = usize::try_from(entry.origin).unwrap_or(usize::MAX);
            let key = keys.get(origin).and_then(Option::as_ref);
            let origin = table.origins.get(origin);
            let keys = self.repository.keys();
            let is_whole = match (key, origin) {
                // Of a domain that this client does not know its hash is all that can be told.
                (_, Some(origin)) if keys.domain(&origin.domain).is_none() => {
                    blake3::hash(frame) == entry.hash
                }
                (Some(key), Some(origin)) => {
                    describe_frame(self.repository, origin, table.recipient, entry).is_ok_and(
                        |described| self.is_described(key, info, entry, &described, frame),
                    )
                }
                (None, _) | (_, None) => false,
            };
            if !is_whole {
                lost.insert(position);
                names.push(position);
            }
            offset = end;
        }
        if !names.is_empty() {
            damage.note(lost_text(&names, table.frames.len()));
            damage.frames = LostFrames::Some(lost);
        }
        damage
    }

    /// Whether a frame is what its descriptor says.
    fn is_described(
        &mut self,
        key: &PackKey,
        info: &PackInfo,
        entry: &FrameEntry,
        described: &IndexedFrame,
        stored: &[u8],
    ) -> bool {
        let frame = FrameInfo {
            offset: 0,
            frame_bytes: described.frame_bytes,
            raw_bytes: described.raw_bytes,
            compression: described.compression,
        };
        self.opens(key, info, entry.ordinal, &frame, stored, entry) && self.holds(described)
    }

    fn verify_body(&mut self, pack: PackRef, info: &PackInfo, stored: &Bytes) -> Damage {
        let mut damage = Damage::default();
        if let Err(error) = PackTable::decode_pack(stored) {
            damage.note(chain(&error));
        }
        let tail = PackTable::decode_tail(stored, u64::from(info.pack_bytes));
        let (Ok(table), Some(trailer)) = (tail, stored.last_chunk::<TRAILER_BYTES>()) else {
            damage.frames = LostFrames::All;
            return damage;
        };
        let key = match open_table(self.repository, &table) {
            Ok(key) => key,
            Err(error) => {
                damage.note(chain(&error));
                damage.frames = LostFrames::All;
                return damage;
            }
        };
        let described = describe_table(self.repository, &table);
        if let Err(error) = &described {
            damage.note(chain(error));
        }
        let described = described.ok();
        let past = u32::try_from(table.frames.len()).unwrap_or(u32::MAX);
        if u32::from_le_bytes(*trailer) != info.table_bytes
            || self.index.frame(pack, past).is_some()
        {
            damage.index_is_wrong = true;
        }
        self.verify_frames(
            pack,
            info,
            &key,
            &table,
            described.as_deref(),
            stored,
            &mut damage,
        );
        damage
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of one pack, taken apart by the caller"
    )]
    fn verify_frames(
        &mut self,
        pack: PackRef,
        info: &PackInfo,
        key: &PackKey,
        table: &PackTable,
        described: Option<&[IndexedFrame]>,
        stored: &[u8],
        damage: &mut Damage,
    ) {
        let (mut lost, mut names) = (FrameSet::default(), Vec::new());
        let mut offset = PROLOGUE_BYTES;
        for (ordinal, entry) in (0_u32..).zip(&table.frames) {
            let bytes = usize::try_from(entry.frame_bytes).unwrap_or(usize::MAX);
            let frame = stored
                .get(offset..)
                .and_then(|rest| rest.get(..bytes))
                .unwrap_or_default();
            let indexed = self.index.frame(pack, ordinal);
            let position = usize::try_from(ordinal).unwrap_or(usize::MAX);
            let described = described.and_then(|frames| frames.get(position));
            let whole = match (described, indexed) {
                (Some(described), _) => {
                    let says = FrameInfo {
                        offset: u32::try_from(offset).unwrap_or(u32::MAX),
                        frame_bytes: described.frame_bytes,
                        raw_bytes: described.raw_bytes,
                        compression: described.compression,
                    };
                    let agrees =
                        indexed == Some(says) && self.index_agrees(pack, ordinal, described);
                    damage.index_is_wrong |= !agrees;
                    self.opens(key, info, ordinal, &says, frame, entry) && self.holds(described)
                }
                (None, Some(indexed)) => self.opens(key, info, ordinal, &indexed, frame, entry),
                (None, None) => false,
            };
            if !whole {
                lost.insert(ordinal);
                names.push(ordinal);
            }
            offset = offset.saturating_add(bytes);
        }
        if !names.is_empty() {
            damage.note(lost_text(&names, table.frames.len()));
            damage.frames = LostFrames::Some(lost);
        }
    }

    /// Opens a frame into the buffer.
    fn opens(
        &mut self,
        key: &PackKey,
        info: &PackInfo,
        ordinal: u32,
        frame: &FrameInfo,
        stored: &[u8],
        entry: &FrameEntry,
    ) -> bool {
        blake3::hash(stored) == entry.hash
            && self
                .opener
                .open(key, info, ordinal, frame, stored, &mut self.raw)
                .is_ok()
    }

    /// Whether the buffer is made of just these blobs.
    fn holds(&self, frame: &IndexedFrame) -> bool {
        let mut rest = self.raw.as_slice();
        let all = frame.blobs.iter().all(|blob| {
            let length = usize::try_from(blob.length).unwrap_or(usize::MAX);
            let Some((head, tail)) = rest.split_at_checked(length) else {
                return false;
            };
            rest = tail;
            self.repository.keys().is_blob(&blob.id, blob.kind, head)
        });
        all && rest.is_empty()
    }

    fn index_agrees(&self, pack: PackRef, ordinal: u32, frame: &IndexedFrame) -> bool {
        let mut offset = 0_u32;
        frame.blobs.iter().all(|blob| {
            let found = self.index.locations(&blob.id).iter().any(|at| {
                (at.pack, at.ordinal, at.offset) == (pack, ordinal, offset)
                    && (at.kind, at.length) == (blob.kind, blob.length)
            });
            offset = offset.saturating_add(blob.length);
            found
        })
    }
}

fn lost_text(lost: &[u32], frames: usize) -> String {
    const NAMED_MAX: usize = 8;
    let mut named: Vec<_> = lost
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    if lost.len() > NAMED_MAX {
        named.push("…".to_owned());
    }
    format!(
        "{} of {frames} frames are damaged: {}",
        lost.len(),
        named.join(", ")
    )
}
