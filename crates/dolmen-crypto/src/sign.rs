//! Signatures: Ed25519, strict (§3).

use core::fmt;

use dolmen_format::signed::{self, SignedBody};
use dolmen_format::{ObjectId, RepositoryId, WriterId};
use ed25519_dalek::Signer as _;

use crate::error::CryptoError;
use crate::secret::Secret;

/// Signs objects.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verify_key().writer_id())
    }
}

impl SigningKey {
    /// The key of a seed.
    pub fn new(seed: &Secret) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed.expose()))
    }

    /// The public half.
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(self.0.verifying_key())
    }

    /// Encodes and signs an object; returns its stored bytes and its id.
    pub fn sign<T: SignedBody>(
        &self,
        repository: &RepositoryId,
        body: &T,
    ) -> Result<(Vec<u8>, ObjectId), CryptoError> {
        let mut stored = signed::encode_unsigned(body)?;
        let signature = self.0.sign(&signed::message(repository, &stored));
        stored.extend_from_slice(&signature.to_bytes());
        let id = ObjectId::of(&stored);
        Ok((stored, id))
    }
}

/// Verifies objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyKey(ed25519_dalek::VerifyingKey);

impl VerifyKey {
    /// Reads a public key; refuses those of small order and second spellings of a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .map_err(|_error| CryptoError::PublicKey)?;
        // Decompression reduces y modulo 2^255 - 19, so a few keys have two spellings, and two writer ids.
        let [least, middle @ .., most] = bytes;
        let reduced =
            *least < 0xed || most & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff);
        if key.is_weak() || !reduced {
            Err(CryptoError::PublicKey)
        } else {
            Ok(Self(key))
        }
    }

    /// The public key's bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The id under which this signer's objects lie.
    pub fn writer_id(&self) -> WriterId {
        let hash = blake3::hash(self.0.as_bytes());
        let (head, _) = hash.as_bytes().split_at(WriterId::BYTES);
        WriterId(head.try_into().unwrap_or_default())
    }

    /// Decodes an object and verifies that this key signed it in this repository.
    pub fn verify<T: SignedBody>(
        &self,
        repository: &RepositoryId,
        stored: &[u8],
    ) -> Result<(T, ObjectId), CryptoError> {
        // The signature first: a stranger's bytes reach the decoder only where the signer is unknown.
        let _prologue_fits = signed::split(T::KIND, stored)?;
        if !self.has_signed(repository, stored) {
            return Err(CryptoError::Signature);
        }
        let unverified = signed::decode::<T>(stored)?;
        Ok((unverified.body, unverified.id))
    }

    /// Whether this key signed an object in this repository, of whatever kind and format: every format has the signature
    /// at the end, over everything before it.
    pub fn has_signed(&self, repository: &RepositoryId, stored: &[u8]) -> bool {
        let Some((signed, signature)) = stored.split_last_chunk() else {
            return false;
        };
        let message = signed::message(repository, signed);
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(&message, &signature).is_ok()
    }
}
