//! Sealed boxes: what only the holder of a secret key opens (§3).

use minicbor::{Decode, Encode};

use crate::error::FormatError;
use crate::ids::KeyId;
use crate::limits::{ENCAPSULATED_BYTES, TAG_BYTES};

/// HPKE with X-Wing: the encapsulated key and what it encrypts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SealedBox {
    /// The public key that it is sealed to.
    #[n(0)]
    pub key: KeyId,
    /// X-Wing's encapsulated key, `ENCAPSULATED_BYTES` long.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub encapsulated: Vec<u8>,
    /// Ciphertext and tag.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

impl SealedBox {
    /// Checks the sizes that CBOR does not.
    pub(crate) fn validate(&self) -> Result<(), FormatError> {
        if self.encapsulated.len() == ENCAPSULATED_BYTES && self.ciphertext.len() >= TAG_BYTES {
            Ok(())
        } else {
            Err(FormatError::Invalid {
                field: "sealed box",
            })
        }
    }

    /// Names this very box: BLAKE3 of the encapsulated key and the ciphertext.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.encapsulated).update(&self.ciphertext);
        *hasher.finalize().as_bytes()
    }
}
