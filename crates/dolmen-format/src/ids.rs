//! Ids: fixed-size byte strings, each a type of its own (§1, §3, §4).

use core::fmt;
use core::str::FromStr;

use crate::error::FormatError;

/// Declares an id of a fixed size with its hex form and its CBOR encoding as a byte string.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Bytes of this id.
            pub const BYTES: usize = $bytes;

            /// An id of these bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = FormatError;

            fn from_str(text: &str) -> Result<Self, FormatError> {
                let mut id = [0; $bytes];
                decode_hex(text, &mut id)?;
                Ok(Self(id))
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                <[u8; $bytes]>::try_from(d.bytes()?)
                    .map(Self)
                    .map_err(|_| minicbor::decode::Error::message("id of a wrong size"))
            }
        }
    };
}

id!(
    /// Names an object: BLAKE3-256 of its stored bytes.
    ObjectId, 32
);
id!(
    /// Names a blob: keyed BLAKE3 of its bytes.
    BlobId, 32
);
id!(
    /// Names a signer: the first 16 bytes of BLAKE3 of its verify key.
    WriterId, 16
);
id!(
    /// Names a dedup domain.
    DomainId, 16
);
id!(
    /// Names a state folder; numbers count within it.
    InstanceId, 16
);
id!(
    /// Names one of a repository's passphrases.
    SlotId, 16
);
id!(
    /// Names a public key of a seal: the first 16 bytes of its BLAKE3.
    KeyId, 16
);
id!(
    /// A keyed hash of a host name, the paths or a tag.
    Label, 16
);
id!(
    /// Makes every signed object differ.
    Nonce, 16
);
id!(
    /// Makes every derived key differ.
    Salt, 32
);

/// The id of a root object.
pub type RepositoryId = ObjectId;
/// The id of a pack.
pub type PackId = ObjectId;
/// The id of an index segment.
pub type SegmentId = ObjectId;
/// The id of a snapshot.
pub type SnapshotId = ObjectId;

impl ObjectId {
    /// The id of an object with these stored bytes.
    pub fn of(stored: &[u8]) -> Self {
        Self(*blake3::hash(stored).as_bytes())
    }
}

/// What a blob is. Kinds have id keys of their own, so equal bytes of two kinds are two blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlobKind {
    /// A piece of a file's content.
    Data = 1,
    /// A node of a file tree.
    Tree = 2,
    /// A node of a long file's list of chunks.
    List = 3,
    /// A node of a manifest.
    Manifest = 4,
}

impl BlobKind {
    /// The byte that stands for this kind.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Tree => 2,
            Self::List => 3,
            Self::Manifest => 4,
        }
    }

    /// The kind that a byte stands for.
    pub const fn from_code(code: u8) -> Result<Self, FormatError> {
        match code {
            1 => Ok(Self::Data),
            2 => Ok(Self::Tree),
            3 => Ok(Self::List),
            4 => Ok(Self::Manifest),
            _ => Err(FormatError::Invalid { field: "blob kind" }),
        }
    }
}

fn decode_hex(text: &str, out: &mut [u8]) -> Result<(), FormatError> {
    const INVALID: FormatError = FormatError::Invalid { field: "hex id" };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != out.len() || !rest.is_empty() {
        return Err(INVALID);
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = hex_digit(*high).ok_or(INVALID)? << 4 | hex_digit(*low).ok_or(INVALID)?;
    }
    Ok(())
}

/// Lower case only: a key has one spelling.
const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = Nonce([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("AB".repeat(16).parse::<Nonce>().is_err());
        assert!("ab".repeat(15).parse::<Nonce>().is_err());
    }
}
