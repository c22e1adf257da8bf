//! Small durable records: a checksum and CBOR.

use std::io;
use std::path::Path;

use dolmen_format::signed::Reference;
use dolmen_format::{InstanceId, SegmentId, Timestamp};
use minicbor::{Decode, Encode};

use super::sightings::{SIGHTED_BYTES_MAX, SIGHTED_OBJECTS_MAX, Sighting};
use crate::durable;
use crate::error::{Operation, StateError};
use crate::number::to_u64;

const MAGIC: [u8; 8] = *b"DOLMENS1";
/// Largest record: what maintenance has seen, or a list of 1 million segments.
const RECORD_BYTES_MAX: usize = 48 << 20;

// Snapshots and ledger records have bodies, roots and keys only names; a name takes less than 200 bytes.
const _: () = assert!(2 * SIGHTED_BYTES_MAX + 4 * SIGHTED_OBJECTS_MAX * 200 <= RECORD_BYTES_MAX);

/// Records of its own that an instance remembers. Older ones are told of by the numbers of those that follow.
const SIGNED_RECORDS_MAX: usize = 64;
/// Bytes of their bodies.
const SIGNED_BYTES_MAX: usize = 1 << 20;

/// A ledger record that an instance signed and the store took.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Signed {
    /// Its name and number.
    #[n(0)]
    pub reference: Reference,
    /// Its bytes, where they are known.
    #[n(1)]
    pub sighting: Option<Sighting>,
}

/// What an instance knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InstanceRecord {
    /// The number of the next snapshot or ledger record that it signs, from 1.
    #[n(0)]
    pub next_number: u64,
    /// The latest snapshot that it knows of.
    #[n(1)]
    pub head: Option<Reference>,
    /// The latest checkpoint of a snapshot that is not finished.
    #[n(2)]
    pub checkpoint: Option<Reference>,
    /// Index segments that it relies on.
    #[n(3)]
    pub segments: Vec<SegmentId>,
    /// The latest time that the store stated.
    #[n(4)]
    pub store_time: Option<Timestamp>,
    /// The latest ledger records that it signed, oldest first.
    #[n(5)]
    #[cbor(default)]
    pub signed: Vec<Signed>,
    /// The store's time when it wrote for the first time.
    #[n(6)]
    pub since: Option<Timestamp>,
}

impl InstanceRecord {
    /// Remembers a ledger record of its own; the oldest make room.
    pub fn note_signed(&mut self, mut signed: Signed) {
        let bytes_of = |signed: &Signed| signed.sighting.as_ref().map_or(0, |seen| seen.body.len());
        if bytes_of(&signed) > SIGNED_BYTES_MAX {
            signed.sighting = None;
        }
        self.signed.push(signed);
        let (mut records, mut bytes) = (0_usize, 0_usize);
        let newest_first = self.signed.iter().rev();
        let kept = newest_first.take_while(|signed| {
            records = records.saturating_add(1);
            bytes = bytes.saturating_add(bytes_of(signed));
            records <= SIGNED_RECORDS_MAX && bytes <= SIGNED_BYTES_MAX
        });
        let surplus = self.signed.len().saturating_sub(kept.count());
        self.signed.drain(..surplus);
    }
}

impl Default for InstanceRecord {
    fn default() -> Self {
        Self {
            next_number: 1,
            head: None,
            checkpoint: None,
            segments: Vec::new(),
            store_time: None,
            signed: Vec::new(),
            since: None,
        }
    }
}

/// An instance's file: id and record, so that never one is lost without the other. A record that began
/// anew under an old id would use numbers twice.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct NamedRecord {
    #[n(0)]
    pub(super) id: InstanceId,
    #[n(1)]
    pub(super) record: InstanceRecord,
}

impl NamedRecord {
    /// Writes the record of an instance that begins. Durable when it returns.
    pub(super) fn create(
        path: &Path,
        id: InstanceId,
        signed: Vec<Signed>,
    ) -> Result<Self, StateError> {
        let named = Self {
            id,
            record: InstanceRecord {
                signed,
                ..InstanceRecord::default()
            },
        };
        write(path, &named)?;
        Ok(named)
    }
}

/// Reads a record; `None` when there is no file.
pub(super) fn read<T: for<'b> Decode<'b, ()>>(
    path: &Path,
    what: &'static str,
    remedy: &'static str,
) -> Result<Option<T>, StateError> {
    let file = match std::fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::io(Operation::Read, path)(error)),
    };
    match decode(&file) {
        Some(value) => Ok(Some(value)),
        None => Err(StateError::Damaged {
            what,
            path: path.to_path_buf(),
            remedy,
        }),
    }
}

/// Writes a record in the place of the one before. Durable when it returns.
pub(super) fn write<T: Encode<()>>(path: &Path, value: &T) -> Result<(), StateError> {
    let body = to_cbor(value, path)?;
    if body.len() > RECORD_BYTES_MAX {
        return Err(StateError::TooLarge {
            what: "the record size",
            found: to_u64(body.len()),
            limit: to_u64(RECORD_BYTES_MAX),
            path: path.to_path_buf(),
        });
    }
    let checksum = blake3::hash(&body);
    durable::replace(
        path,
        &[&MAGIC, checksum.as_bytes().as_slice(), &body].concat(),
    )
}

/// Encodes a value that goes into the file `path`.
pub(super) fn to_cbor<T: Encode<()>>(value: &T, path: &Path) -> Result<Vec<u8>, StateError> {
    // Writing to memory does not fail; a value that has no encoding would.
    minicbor::to_vec(value)
        .map_err(|error| StateError::io(Operation::Write, path)(io::Error::other(error)))
}

/// Decodes a value that fills `input`.
pub(super) fn from_cbor<T: for<'b> Decode<'b, ()>>(input: &[u8]) -> Option<T> {
    let mut decoder = minicbor::Decoder::new(input);
    let value = decoder.decode().ok()?;
    (decoder.position() == input.len()).then_some(value)
}

fn decode<T: for<'b> Decode<'b, ()>>(file: &[u8]) -> Option<T> {
    let body = file.strip_prefix(&MAGIC)?;
    let (checksum, body) = body.split_first_chunk::<32>()?;
    (blake3::hash(body) == *checksum).then(|| from_cbor(body))?
}
