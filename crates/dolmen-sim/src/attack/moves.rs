//! Frames that are said to lie elsewhere, and packs that are not what is said of them.

use bytes::Bytes;
use dolmen_core::Repository;
use dolmen_format::index::{PackEntry, Segment};
use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::pack::{Origin, PackTable, TRAILER_BYTES};
use dolmen_format::signed::Stamp;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, PackId, Prologue};

use super::{Strike, sign};
use crate::error::SimError;
use crate::model::Stored;

/// A pack that another one's frames were copied into.
struct Copied {
    bytes: Vec<u8>,
    table: PackTable,
    runs: Vec<MoveRun>,
}

impl Strike<'_> {
    /// A record of moves, of which at most the words are true.
    pub(super) fn lie_of_moves(
        &mut self,
        repository: &Repository,
        stamp: Stamp,
    ) -> Result<(), SimError> {
        let (pack, runs) = if self.dice.chance(500) {
            match self.copied_pack(repository)? {
                Some(moved) => moved,
                None => return Ok(()),
            }
        } else {
            match self.false_pack(repository)? {
                Some(moved) => moved,
                None => return Ok(()),
            }
        };
        let origins: Vec<_> = runs.iter().map(|run| run.origin).collect();
        let record = self.put_fact(repository, stamp, Fact::Moves { pack, runs })?;
        self.claims(|claims| {
            let believed = origins.into_iter().map(|origin| (record, origin));
            claims.moves.extend(believed);
        });
        Ok(())
    }

    /// A pack of copied frames: as they are, with other bytes, told in another order, or never stored.
    fn copied_pack(
        &mut self,
        repository: &Repository,
    ) -> Result<Option<(PackEntry, Vec<MoveRun>)>, SimError> {
        let is_pack = |stored: &&Stored| {
            let is_pack = matches!(stored.key.as_str().parse(), Ok(ObjectKey::Pack(..)));
            is_pack && stored.is_authentic
        };
        let packs: Vec<_> = self.all.iter().filter(is_pack).cloned().collect();
        let Some(mut copied) = self.dice.pick(&packs).and_then(copy) else {
            return Ok(None);
        };
        let is_stored = match self.dice.below(4) {
            0 => true,
            1 => {
                let place = self.dice.place(copied.bytes.len());
                if let Some(byte) = copied.bytes.get_mut(place) {
                    *byte ^= 1;
                }
                true
            }
            2 => {
                let by = usize::from(copied.runs.len() > 1);
                let mut positions: Vec<_> = copied.runs.iter().map(|run| run.position).collect();
                positions.rotate_left(by);
                for (run, position) in copied.runs.iter_mut().zip(positions) {
                    run.position = position;
                }
                true
            }
            _ => false,
        };
        let (bytes, entry) = copied.seal()?;
        if is_stored {
            let key = ObjectKey::Pack(repository.writer(), entry.pack);
            self.put(&key.to_string(), Bytes::from(bytes))?;
        }
        Ok(Some((entry, copied.runs)))
    }

    /// Frames of every pack, said to lie in one that has others, that is none, or that is not there.
    fn false_pack(
        &mut self,
        repository: &Repository,
    ) -> Result<Option<(PackEntry, Vec<MoveRun>)>, SimError> {
        let packs = self.known_packs(repository)?;
        let Some(mut pack) = self.dice.pick(&packs).cloned() else {
            return Ok(None);
        };
        match self.dice.below(3) {
            0 => {}
            1 => pack.pack = ObjectId(self.dice.array()),
            _ => pack.pack = self.put_garbage_pack(repository, 1000)?,
        }
        let mut runs = Vec::new();
        for origin in &packs {
            runs.push(MoveRun {
                origin: origin.pack,
                first_ordinal: 0,
                count: 1 + u32::try_from(self.dice.below(4)).unwrap_or(0),
                position: u32::try_from(self.dice.below(4)).unwrap_or(0),
            });
        }
        Ok(Some((pack, runs)))
    }

    /// A segment again, which says that what lies in its packs lies in one that is garbage.
    pub(super) fn lie_of_packs(&mut self, repository: &Repository) -> Result<(), SimError> {
        let Some(body) = self.some_segment(repository) else {
            return Ok(());
        };
        let mut segment = dolmen_format::signed::decode::<Segment>(&body)?.body;
        for entry in &mut segment.packs {
            let length = usize::try_from(entry.pack_bytes).unwrap_or(0);
            entry.pack = self.put_garbage_pack(repository, length)?;
        }
        let (stored, id) = sign(repository, &segment)?;
        let key = ObjectKey::Index(repository.writer(), id);
        self.put(&key.to_string(), stored)
    }

    fn put_garbage_pack(
        &mut self,
        repository: &Repository,
        length: usize,
    ) -> Result<PackId, SimError> {
        let garbage = self.dice.bytes(length);
        let id = ObjectId::of(&garbage);
        let key = ObjectKey::Pack(repository.writer(), id);
        self.put(&key.to_string(), Bytes::from(garbage))?;
        Ok(id)
    }

    /// The packs that segments name.
    fn known_packs(&self, repository: &Repository) -> Result<Vec<PackEntry>, SimError> {
        let mut packs = Vec::new();
        for stored in self.segments(repository) {
            packs.extend(
                dolmen_format::signed::decode::<Segment>(&stored.body)?
                    .body
                    .packs,
            );
        }
        Ok(packs)
    }
}

/// All frames of a pack, the last first; `None`: it is none.
fn copy(stored: &Stored) -> Option<Copied> {
    let own = ObjectId::of(&stored.body);
    let PackTable {
        recipient,
        origins,
        frames,
    } = PackTable::decode_pack(&stored.body).ok()?;
    let origins: Vec<_> = origins
        .into_iter()
        .map(|origin| Origin {
            pack: Some(origin.pack.unwrap_or(own)),
            ..origin
        })
        .collect();
    let mut begins = PROLOGUE_BYTES;
    let mut pieces = Vec::new();
    for frame in frames {
        let ends = begins.saturating_add(usize::try_from(frame.frame_bytes).ok()?);
        pieces.push((frame, stored.body.get(begins..ends)?));
        begins = ends;
    }
    let (mut bytes, mut runs, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for (frame, piece) in pieces.into_iter().rev() {
        let origin = origins.get(usize::try_from(frame.origin).ok()?)?;
        runs.push(MoveRun {
            origin: origin.pack?,
            first_ordinal: frame.ordinal,
            count: 1,
            position: u32::try_from(frames.len()).ok()?,
        });
        bytes.extend_from_slice(piece);
        frames.push(frame);
    }
    let table = PackTable {
        recipient,
        origins,
        frames,
    };
    Some(Copied { bytes, table, runs })
}

impl Copied {
    /// The pack as stored, and what a move says of it.
    fn seal(&self) -> Result<(Vec<u8>, PackEntry), SimError> {
        let table = self.table.encode()?;
        let body_bytes = self.bytes.len().saturating_add(table.len());
        let bytes32 = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let prologue = Prologue {
            kind: ObjectKind::Pack,
            body_bytes: bytes32(body_bytes),
        };
        let mut stored = prologue.encode().to_vec();
        stored.extend_from_slice(&self.bytes);
        stored.extend_from_slice(&table);
        let entry = PackEntry {
            pack: ObjectId::of(&stored),
            pack_bytes: bytes32(stored.len()),
            table_bytes: bytes32(table.len().saturating_sub(TRAILER_BYTES)),
            checksum: Vec::new(),
            version: String::new(),
        };
        Ok((stored, entry))
    }
}
