//! Packs into which frames were copied as they are, true or false.

use dolmen_core::{Repository, ledger};
use dolmen_format::index::PackEntry;
use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::pack::{Origin, PackTable, TRAILER_BYTES};
use dolmen_format::signed::Reference;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, PackId, Prologue};
use dolmen_state::Instance;

/// Frames and the pack that they are written into.
pub(crate) struct Copied {
    pub(crate) bytes: Vec<u8>,
    pub(crate) table: PackTable,
    pub(crate) runs: Vec<MoveRun>,
}

/// Copies all frames of packs of one recipient, as they are, the last of each pack first.
pub(crate) fn copy<'p>(packs: impl IntoIterator<Item = &'p [u8]>) -> Copied {
    copy_some(packs, |_| true)
}

/// The same with those frames alone whose positions are named.
pub(crate) fn copy_some<'p>(
    packs: impl IntoIterator<Item = &'p [u8]>,
    is_named: impl Fn(usize) -> bool,
) -> Copied {
    let (mut bytes, mut runs) = (vec![0; 16], Vec::new());
    let (mut origins, mut frames): (Vec<Origin>, Vec<_>) = Default::default();
    let mut recipient = None;
    for stored in packs {
        let own = ObjectId::of(stored);
        let table = PackTable::decode_pack(stored).unwrap();
        recipient = Some(table.recipient);
        let first_origin = u32::try_from(origins.len()).unwrap();
        origins.extend(table.origins.iter().map(|origin| Origin {
            pack: Some(origin.pack.unwrap_or(own)),
            ..origin.clone()
        }));
        let mut ends: Vec<usize> = vec![16];
        for frame in &table.frames {
            ends.push(ends[ends.len() - 1] + usize::try_from(frame.frame_bytes).unwrap());
        }
        let named = table.frames.iter().enumerate().rev();
        for (at, frame) in named.filter(|(at, _)| is_named(*at)) {
            bytes.extend_from_slice(&stored[ends[at]..ends[at + 1]]);
            let mut frame = frame.clone();
            frame.origin += first_origin;
            runs.push(MoveRun {
                origin: origins[usize::try_from(frame.origin).unwrap()]
                    .pack
                    .unwrap(),
                first_ordinal: frame.ordinal,
                count: 1,
                position: u32::try_from(frames.len()).unwrap(),
            });
            frames.push(frame);
        }
    }
    let recipient = recipient.unwrap();
    let table = PackTable {
        recipient,
        origins,
        frames,
    };
    Copied { bytes, table, runs }
}

impl Copied {
    /// The pack as stored, and what a move says of it.
    pub(crate) fn seal(&self) -> (Vec<u8>, PackEntry) {
        let mut bytes = self.bytes.clone();
        let table = self.table.encode().unwrap();
        bytes.extend_from_slice(&table);
        let prologue = Prologue {
            kind: ObjectKind::Pack,
            body_bytes: u32::try_from(bytes.len() - 16).unwrap(),
        };
        bytes[..16].copy_from_slice(&prologue.encode());
        let entry = PackEntry {
            pack: PackId::of(&bytes),
            pack_bytes: u32::try_from(bytes.len()).unwrap(),
            table_bytes: u32::try_from(table.len() - TRAILER_BYTES).unwrap(),
            checksum: Vec::new(),
            version: String::new(),
        };
        (bytes, entry)
    }

    /// Puts the pack and signs the move. Returns the pack's name, and the record's.
    pub(crate) fn publish(
        &self,
        repository: &Repository,
        instance: &mut Instance,
    ) -> (ObjectKey, Reference) {
        let (bytes, entry) = self.seal();
        let key = ObjectKey::Pack(repository.writer(), entry.pack);
        repository.objects.put(&key, bytes.into()).unwrap();
        (key, self.sign(repository, instance, entry))
    }

    /// Signs the move alone.
    pub(crate) fn sign(
        &self,
        repository: &Repository,
        instance: &mut Instance,
        pack: PackEntry,
    ) -> Reference {
        let runs = self.runs.clone();
        ledger::write(repository, instance, Fact::Moves { pack, runs }).unwrap()
    }
}

/// Packs by their recipients: each can only be moved together with its like.
pub(crate) fn by_recipient<T>(packs: Vec<(T, Vec<u8>)>) -> Vec<Vec<(T, Vec<u8>)>> {
    let mut groups: Vec<Vec<(T, Vec<u8>)>> = Vec::new();
    for (name, stored) in packs {
        let of = |stored: &[u8]| PackTable::decode_pack(stored).unwrap().recipient;
        let recipient = of(&stored);
        let group = groups.iter_mut().find(|group| of(&group[0].1) == recipient);
        match group {
            Some(group) => group.push((name, stored)),
            None => groups.push(vec![(name, stored)]),
        }
    }
    groups
}
