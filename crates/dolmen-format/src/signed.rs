//! Signed objects: one encoding each, every byte covered (§3).

use minicbor::{Decode, Encode};

use crate::bytes::{take, take_slice, take_u8};
use crate::error::FormatError;
use crate::ids::{InstanceId, ObjectId, RepositoryId, WriterId};
use crate::limits::{PROLOGUE_BYTES, SIGNATURE_BYTES, SNAPSHOT_ITEMS_MAX};
use crate::prologue::{ObjectKind, Prologue};

/// What every signature begins with, so that it means nothing elsewhere.
const SIGNATURE_CONTEXT: &[u8] = b"dolmen v1 signature\0";

/// The CBOR part of a signed object.
pub trait SignedBody: Encode<()> + for<'b> Decode<'b, ()> {
    /// What the prologue states.
    const KIND: ObjectKind;

    /// Checks what the types do not: sizes, counts, ranges.
    fn validate(&self) -> Result<(), FormatError>;
}

/// A signed object, decoded but not yet verified: [`message`] and its signature go to the
/// key that should have made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified<T> {
    /// What it says, if the signature holds.
    pub body: T,
    /// The Ed25519 signature.
    pub signature: [u8; SIGNATURE_BYTES],
    /// BLAKE3 of the whole object.
    pub id: ObjectId,
}

/// Encodes all but the signature.
pub fn encode_unsigned<T: SignedBody>(body: &T) -> Result<Vec<u8>, FormatError> {
    body.validate()?;
    let cbor = to_cbor(body)?;
    let found = cbor.len().saturating_add(SIGNATURE_BYTES);
    let too_large = |_| FormatError::TooLarge {
        field: "object",
        found: u64::try_from(found).unwrap_or(u64::MAX),
        limit: T::KIND.bytes_max(),
    };
    let body_bytes = u32::try_from(found).map_err(too_large)?;
    if u64::from(body_bytes) + PROLOGUE_BYTES_U64 > T::KIND.bytes_max() {
        return Err(FormatError::TooLarge {
            field: "object",
            found: u64::from(body_bytes),
            limit: T::KIND.bytes_max(),
        });
    }
    let mut out = Vec::with_capacity(PROLOGUE_BYTES.saturating_add(found));
    out.extend_from_slice(
        &Prologue {
            kind: T::KIND,
            body_bytes,
        }
        .encode(),
    );
    out.extend_from_slice(&cbor);
    Ok(out)
}

const PROLOGUE_BYTES_U64: u64 = 16;

/// Decodes an object and checks that it is the one encoding of what it says.
pub fn decode<T: SignedBody>(stored: &[u8]) -> Result<Unverified<T>, FormatError> {
    let (cbor, signature) = split(T::KIND, stored)?;
    let body: T = from_cbor(cbor)?;
    body.validate()?;
    Ok(Unverified {
        body,
        signature: *signature,
        id: ObjectId::of(stored),
    })
}

/// Splits an object of a known kind into its CBOR and its signature, looking at neither: what a
/// verifier needs before it lets strangers' bytes near a decoder.
pub fn split(
    kind: ObjectKind,
    stored: &[u8],
) -> Result<(&[u8], &[u8; SIGNATURE_BYTES]), FormatError> {
    let mut input = stored;
    Prologue::decode_whole(kind, &mut input)?;
    input
        .split_last_chunk::<SIGNATURE_BYTES>()
        .ok_or(FormatError::Truncated {
            wanted_bytes: SIGNATURE_BYTES,
            found_bytes: input.len(),
        })
}

/// What the signature of an object covers. For the root, `repository` is all zeros.
pub fn message(repository: &RepositoryId, stored_without_signature: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(
        SIGNATURE_CONTEXT
            .len()
            .saturating_add(32)
            .saturating_add(stored_without_signature.len()),
    );
    message.extend_from_slice(SIGNATURE_CONTEXT);
    message.extend_from_slice(repository.as_bytes());
    message.extend_from_slice(stored_without_signature);
    message
}

/// The part of a whole object that its signature covers.
pub fn signed_part(stored: &[u8]) -> &[u8] {
    stored
        .split_last_chunk::<SIGNATURE_BYTES>()
        .map_or(&[], |(part, _)| part)
}

/// The repository id that stands in a root's signature.
pub const NO_REPOSITORY: RepositoryId = ObjectId([0; 32]);

/// Encodes a structure in its one form.
pub(crate) fn to_cbor<T: Encode<()>>(value: &T) -> Result<Vec<u8>, FormatError> {
    minicbor::to_vec(value).map_err(|error| FormatError::Cbor {
        reason: error.to_string(),
    })
}

/// Decodes a structure, refusing trailing bytes and every other form.
pub(crate) fn from_cbor<T: Encode<()> + for<'b> Decode<'b, ()>>(
    input: &[u8],
) -> Result<T, FormatError> {
    check_items(input)?;
    let mut decoder = minicbor::Decoder::new(input);
    let value: T = decoder.decode().map_err(|error| cbor_error(&error))?;
    match input.len().checked_sub(decoder.position()) {
        Some(0) => {}
        Some(bytes) => return Err(FormatError::TrailingBytes { bytes }),
        None => return Err(FormatError::Invalid { field: "CBOR" }),
    }
    if to_cbor(&value)? == input {
        Ok(value)
    } else {
        Err(FormatError::NotCanonical)
    }
}

/// Walks over every item: definite lengths, shortest integers, and of tags and simple values null alone.
///
/// The decoder below would also refuse the rest, but only after it had built it: skipping what it
/// does not know costs it memory for every nested array without a length.
fn check_items(mut input: &[u8]) -> Result<(), FormatError> {
    const NULL: u8 = 0xf6;
    while !input.is_empty() {
        let head = take_u8(&mut input)?;
        if head == NULL {
            continue;
        }
        let (major, info) = (head >> 5, head & 0x1f);
        let (value, least) = match info {
            0..=23 => (u64::from(info), 0),
            24 => (big_endian(take::<1>(&mut input)?), 24),
            25 => (big_endian(take::<2>(&mut input)?), 1 << 8),
            26 => (big_endian(take::<4>(&mut input)?), 1 << 16),
            27 => (big_endian(take::<8>(&mut input)?), 1 << 32),
            _ => return Err(FormatError::NotCanonical),
        };
        match major {
            _ if value < least => return Err(FormatError::NotCanonical),
            // Byte and text strings.
            2 | 3 => {
                take_slice(&mut input, usize::try_from(value).unwrap_or(usize::MAX))?;
            }
            // Integers; the items of arrays and maps follow.
            0 | 1 | 4 | 5 => {}
            _ => return Err(FormatError::Invalid { field: "CBOR" }),
        }
    }
    Ok(())
}

/// CBOR's byte order.
fn big_endian<const N: usize>(bytes: [u8; N]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Decodes an array of at most [`SNAPSHOT_ITEMS_MAX`] items: for items so short that a hostile object
/// could hold millions.
pub(crate) fn decode_items<'b, C, T: Decode<'b, C>>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut C,
) -> Result<Vec<T>, minicbor::decode::Error> {
    let position = d.position();
    let count = d
        .array()?
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count <= SNAPSHOT_ITEMS_MAX)
        .ok_or_else(|| minicbor::decode::Error::message("too many items").at(position))?;
    (0..count).map(|_| d.decode_with(ctx)).collect()
}

/// Keeps an error of our own that a decoder wrapped.
fn cbor_error(error: &minicbor::decode::Error) -> FormatError {
    let own = core::error::Error::source(error).and_then(|source| source.downcast_ref());
    own.cloned().unwrap_or_else(|| FormatError::Cbor {
        reason: error.to_string(),
    })
}

/// Who signed, and which of the signer's objects this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Stamp {
    /// The signer.
    #[n(0)]
    pub writer: WriterId,
    /// The signer's state folder.
    #[n(1)]
    pub instance: InstanceId,
    /// Counts from 1 in this instance.
    #[n(2)]
    pub number: u64,
}

/// Names a signed object beyond doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Reference {
    /// The signer.
    #[n(0)]
    pub writer: WriterId,
    /// The signer's state folder.
    #[n(1)]
    pub instance: InstanceId,
    /// Its number there.
    #[n(2)]
    pub number: u64,
    /// BLAKE3 of the object.
    #[n(3)]
    pub digest: ObjectId,
}

/// Refuses more than `limit` items.
pub(crate) fn check_count(
    field: &'static str,
    count: usize,
    limit: usize,
) -> Result<(), FormatError> {
    if count <= limit {
        return Ok(());
    }
    Err(FormatError::TooLarge {
        field,
        found: u64::try_from(count).unwrap_or(u64::MAX),
        limit: u64::try_from(limit).unwrap_or(u64::MAX),
    })
}

/// A number starts at 1.
pub(crate) fn check_stamp(stamp: &Stamp) -> Result<(), FormatError> {
    if stamp.number == 0 {
        Err(FormatError::Invalid { field: "number" })
    } else {
        Ok(())
    }
}
