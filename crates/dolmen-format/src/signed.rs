//! Signed objects: one encoding each, every byte covered (§3).

use minicbor::{Decode, Encode};

use crate::error::FormatError;
use crate::ids::{InstanceId, ObjectId, RepositoryId, WriterId};
use crate::limits::{PROLOGUE_BYTES, SIGNATURE_BYTES};
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

/// A signed object, decoded but not yet verified: [`Unverified::message`] and its signature go to the
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
    let mut input = stored;
    Prologue::decode_whole(T::KIND, &mut input)?;
    let (cbor, signature) =
        input
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(FormatError::Truncated {
                wanted_bytes: SIGNATURE_BYTES,
                found_bytes: input.len(),
            })?;
    let body: T = from_cbor(cbor)?;
    body.validate()?;
    Ok(Unverified {
        body,
        signature: *signature,
        id: ObjectId::of(stored),
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
    let mut decoder = minicbor::Decoder::new(input);
    let value: T = decoder.decode().map_err(|error| FormatError::Cbor {
        reason: error.to_string(),
    })?;
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
