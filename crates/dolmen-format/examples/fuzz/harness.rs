//! Every decoder, the golden vectors and what an enemy does to them; shared by the fuzzer and the tests.

use std::fs;
use std::io;
use std::path::PathBuf;

use dolmen_format::bundle::Bundle;
use dolmen_format::certificate::Certificate;
use dolmen_format::index::{Segment, decode_frames, encode_frames};
use dolmen_format::ledger::Record;
use dolmen_format::limits::{PROLOGUE_BYTES, SIGNATURE_BYTES};
use dolmen_format::list::ListNode;
use dolmen_format::manifest::ManifestNode;
use dolmen_format::pack::{Descriptor, PackTable, TRAILER_BYTES};
use dolmen_format::root::Root;
use dolmen_format::signed::{self, SignedBody};
use dolmen_format::snapshot::{Body, Snapshot};
use dolmen_format::tree::TreeNode;
use dolmen_format::{FormatError, ObjectKey, Prologue, bytes};

/// Decodes and encodes again; of an input with more behind it, only what was read.
type Decoder = fn(&[u8]) -> Result<Vec<u8>, FormatError>;

/// Packs that the plaintext in `frames.bin` describes.
const FRAMES_PACKS: usize = 2;

/// Every decoder, and what the names of its vectors begin with. The first match counts.
pub(crate) const DECODERS: [(&str, Decoder); 21] = [
    ("root", again::<Root>),
    ("bundle", again::<Bundle>),
    ("certificate-", again::<Certificate>),
    ("ledger-", again::<Record>),
    ("segment", again::<Segment>),
    ("snapshot-", again::<Snapshot>),
    ("pack-", |input| {
        let table = PackTable::decode_pack(input)?.encode()?;
        let frames = input.get(..input.len().saturating_sub(table.len()));
        Ok([frames.unwrap_or_default(), &table].concat())
    }),
    ("descriptor-", |input| {
        Ok(Descriptor::decode(input)?.encode())
    }),
    ("frames", |input| {
        let mut out = Vec::new();
        decode_frames(input, FRAMES_PACKS, |_, frames| {
            encode_frames(&frames, &mut out);
        })?;
        Ok(out)
    }),
    ("body-", |input| Body::decode(input)?.encode()),
    ("tree-0", |input| Ok(TreeNode::decode(input, 0)?.encode())),
    ("tree-1", |input| Ok(TreeNode::decode(input, 1)?.encode())),
    ("list-0", |input| Ok(ListNode::decode(input, 0)?.encode())),
    ("list-1", |input| Ok(ListNode::decode(input, 1)?.encode())),
    ("manifest-", |input| {
        Ok(ManifestNode::decode(input)?.encode())
    }),
    ("object-keys.txt", |input| {
        let text = std::str::from_utf8(input).map_err(|_error| FormatError::NotDolmen)?;
        // Not `lines`: it drops a carriage return before the end of a line, and no key has one.
        let keys = text
            .split_terminator('\n')
            .map(|line| Ok(format!("{}\n", line.parse::<ObjectKey>()?)));
        let keys: Result<String, FormatError> = keys.collect();
        // Of a last line without its end, only the key is read.
        let mut keys = keys?;
        keys.truncate(input.len());
        Ok(keys.into_bytes())
    }),
    ("prologue of anything", |mut input| {
        Ok(Prologue::decode(&mut input)?.encode().to_vec())
    }),
    ("varint of anything", |mut input| {
        let mut out = Vec::new();
        bytes::put_varint(&mut out, bytes::take_varint(&mut input)?);
        Ok(out)
    }),
    ("zigzag of anything", |mut input| {
        let mut out = Vec::new();
        bytes::put_zigzag(&mut out, bytes::take_zigzag(&mut input)?);
        Ok(out)
    }),
    ("varint u32 of anything", |mut input| {
        let mut out = Vec::new();
        bytes::put_varint(
            &mut out,
            bytes::take_varint_u32(&mut input, "field")?.into(),
        );
        Ok(out)
    }),
    ("tail of anything", |input| {
        // As read from a store: any range, any size that a listing claims.
        let table = PackTable::decode_tail(input, u64::try_from(input.len()).unwrap_or(0))?;
        let table = table.encode()?;
        let frames = input.get(..input.len().saturating_sub(table.len()));
        Ok([frames.unwrap_or_default(), &table].concat())
    }),
];

fn again<T: SignedBody>(stored: &[u8]) -> Result<Vec<u8>, FormatError> {
    let unverified = signed::decode::<T>(stored)?;
    let mut encoded = signed::encode_unsigned(&unverified.body)?;
    encoded.extend_from_slice(&unverified.signature);
    Ok(encoded)
}

/// Gives `input` to every decoder; returns how many accepted it, or who read a second encoding.
pub(crate) fn round_trip(input: &[u8]) -> Result<u32, &'static str> {
    let mut accepted = 0;
    for (name, decoder) in DECODERS {
        if let Ok(encoded) = decoder(input) {
            let same = if name.ends_with("anything") && encoded.len() < input.len() {
                input.starts_with(&encoded)
            } else {
                input == encoded
            };
            if !same {
                return Err(name);
            }
            accepted += u32::from(!name.ends_with("anything"));
        }
    }
    Ok(accepted)
}

/// Every file among the golden vectors, by name; the README is none.
pub(crate) fn vectors() -> io::Result<Vec<(String, Vec<u8>)>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors");
    let mut vectors = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name != "README.md" {
            vectors.push((name, fs::read(file.path())?));
        }
    }
    vectors.sort();
    Ok(vectors)
}

/// SplitMix64: the same numbers from the same seed, for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }
}

/// Makes a hostile input out of the vectors.
pub(crate) fn mutate(vectors: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| {
        vectors
            .get(random.below(vectors.len()))
            .map_or(&[][..], |(_, bytes)| bytes.as_slice())
    };
    let other = pick(random);
    let whole = pick(random);
    // Half of the time the envelope is repaired, so that what is inside is reached.
    let parts = if random.below(2) == 0 {
        inside(whole)
    } else {
        None
    };
    let Some((head, inner, tail)) = parts else {
        let mut input = whole.to_vec();
        damage(&mut input, other, random);
        return input;
    };
    let mut inner = inner.to_vec();
    damage(
        &mut inner,
        inside(other).map_or(other, |(_, inner, _)| inner),
        random,
    );
    seal_up(head, &inner, tail)
}

/// Prologue and frames, CBOR, signature or table size of a whole object.
fn inside(whole: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    const PACK: u8 = 4;
    Prologue::decode(&mut &*whole).ok()?;
    let is_pack = whole.get(10) == Some(&PACK);
    let tail_bytes = if is_pack {
        TRAILER_BYTES
    } else {
        SIGNATURE_BYTES
    };
    let (rest, tail) = whole.split_at_checked(whole.len().checked_sub(tail_bytes)?)?;
    let head_bytes = if is_pack {
        let table_bytes = usize::try_from(bytes::take_u32(&mut &*tail).ok()?).ok()?;
        rest.len().checked_sub(table_bytes)?
    } else {
        PROLOGUE_BYTES
    };
    let (head, inner) = rest.split_at_checked(head_bytes)?;
    Some((head, inner, tail))
}

/// Puts an object together again, with sizes that are right.
fn seal_up(head: &[u8], inner: &[u8], tail: &[u8]) -> Vec<u8> {
    let table_bytes = u32::try_from(inner.len()).unwrap_or(u32::MAX).to_le_bytes();
    let tail = if tail.len() == TRAILER_BYTES {
        &table_bytes
    } else {
        tail
    };
    let mut whole = [head, inner, tail].concat();
    let body_bytes = u32::try_from(whole.len().saturating_sub(PROLOGUE_BYTES)).unwrap_or(u32::MAX);
    if let Some(field) = whole.get_mut(12..16) {
        field.copy_from_slice(&body_bytes.to_le_bytes());
    }
    whole
}

/// Heads and sizes that promise more than there is.
const BLOWN_UP: [&[u8]; 12] = [
    &[0xff; 4],
    &[0xff; 9],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x04],
    &[0xff, 0x0f, 0x00, 0x00],
    &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x9a, 0x00, 0xff, 0xff, 0xff],
    &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xbb, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00],
    &[0x9f, 0x9f, 0x9f, 0x9f, 0x82, 0x9f],
    &[0xf6],
    &[0x18, 0x05],
];

fn damage(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(input.len());
        let end = at.saturating_add(random.below(40)).min(input.len());
        match random.below(9) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.next().to_le_bytes()[0];
                }
            }
            3 => input.truncate(at),
            4 => {
                let [byte, ..] = random.next().to_le_bytes();
                input.insert(at.min(input.len()), byte);
            }
            5 => drop(input.drain(at.min(end)..end)),
            6 => {
                let from = random.below(other.len());
                let to = from.saturating_add(random.below(100)).min(other.len());
                let piece = other.get(from..to).unwrap_or_default().to_vec();
                input.splice(at.min(end)..end, piece);
            }
            7 => {
                let piece = BLOWN_UP
                    .get(random.below(BLOWN_UP.len()))
                    .copied()
                    .unwrap_or_default();
                let end = at.saturating_add(piece.len()).min(input.len());
                input.splice(at.min(end)..end, piece.iter().copied());
            }
            _ => {
                let piece = input.get(at.min(end)..end).unwrap_or_default().to_vec();
                input.splice(end..end, piece);
            }
        }
    }
}
