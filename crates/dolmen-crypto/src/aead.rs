//! AES-256-GCM, for the places that name their nonce.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use dolmen_format::limits::{FRAME_OVERHEAD_BYTES, NONCE_BYTES, TAG_BYTES};
use zeroize::Zeroize as _;

use crate::error::CryptoError;
use crate::secret::Secret;

/// A key that encrypts with nonces that its user derives from the plaintext, or never repeats.
#[derive(Debug)]
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    pub(crate) fn new(key: &Secret) -> Result<Self, CryptoError> {
        let key =
            UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_error| CryptoError::Encrypt)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Encrypts in place a buffer of `NONCE_BYTES` of room and the plaintext, and appends the tag.
    pub(crate) fn seal_frame(
        &self,
        nonce_key: &Secret,
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let (head, plain) = buffer
            .split_first_chunk_mut::<NONCE_BYTES>()
            .ok_or(CryptoError::Encrypt)?;
        // The additional data belong to the nonce: two tags of one nonce with different data would
        // give the authentication key away.
        let mut hasher = blake3::Hasher::new_keyed(nonce_key.expose());
        let hash = hasher.update(plain).update(aad).finalize();
        hasher.zeroize();
        head.copy_from_slice(hash.as_bytes().split_at(NONCE_BYTES).0);
        let nonce = Nonce::assume_unique_for_key(*head);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), plain)
            .map_err(|_error| CryptoError::Encrypt)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens nonce, ciphertext and tag into `out`, which becomes exactly the plaintext, and empty on error.
    pub(crate) fn open_frame(
        &self,
        aad: &[u8],
        stored: &[u8],
        out: &mut Vec<u8>,
        what: &'static str,
    ) -> Result<(), CryptoError> {
        let altered = CryptoError::Decrypt { what };
        out.clear();
        let (Some((nonce, rest)), true) = (
            stored.split_first_chunk::<NONCE_BYTES>(),
            stored.len() >= FRAME_OVERHEAD_BYTES,
        ) else {
            return Err(altered);
        };
        let Some((ciphertext, tag)) = rest.split_last_chunk::<TAG_BYTES>() else {
            return Err(altered);
        };
        out.resize(ciphertext.len(), 0);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .0
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out);
        opened.map_err(|_error| {
            out.clear();
            altered
        })
    }

    /// Encrypts one message of a key that never encrypts another: the nonce is zero.
    pub(crate) fn seal_once(&self, aad: &[u8], plain: &mut Vec<u8>) -> Result<(), CryptoError> {
        let nonce = Nonce::assume_unique_for_key([0; NONCE_BYTES]);
        self.0
            .seal_in_place_append_tag(nonce, Aad::from(aad), plain)
            .map_err(|_error| CryptoError::Encrypt)
    }

    /// Opens what [`Self::seal_once`] made.
    pub(crate) fn open_once<'a>(
        &self,
        aad: &[u8],
        stored: &'a mut [u8],
        what: &'static str,
    ) -> Result<&'a mut [u8], CryptoError> {
        let nonce = Nonce::assume_unique_for_key([0; NONCE_BYTES]);
        self.0
            .open_in_place(nonce, Aad::from(aad), stored)
            .map_err(|_error| CryptoError::Decrypt { what })
    }
}
