//! Pack keys and frames (§5).

use core::fmt;

use dolmen_format::pack::{Compression, FrameContext, Origin, sealed_key_aad};
use dolmen_format::{DomainId, RepositoryId, Salt};
use zeroize::Zeroize as _;

use crate::aead::Cipher;
use crate::error::CryptoError;
use crate::seal::{OpenKey, SealKey};
use crate::secret::{Secret, equal};

const SEALED_KEY_INFO: &[u8] = b"dolmen v1 pack key";

/// The key of one pack, never stored but sealed.
pub struct PackKey {
    cipher: Cipher,
    nonce_key: Secret,
    repository: RepositoryId,
    domain: DomainId,
    salt: Salt,
}

impl fmt::Debug for PackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackKey({})", self.salt)
    }
}

/// The random bytes of a new pack.
#[derive(Debug)]
pub struct PackRandom {
    /// The pack key.
    pub key: Secret,
    /// The salt; public.
    pub salt: Salt,
    /// For the encapsulation.
    pub seal: Secret,
}

impl PackKey {
    /// Makes a pack's key and the origin that its table carries.
    pub fn create(
        random: &PackRandom,
        repository: RepositoryId,
        domain: DomainId,
        recipient: &SealKey,
    ) -> Result<(Self, Origin), CryptoError> {
        let PackRandom { key, salt, seal } = random;
        let aad = sealed_key_aad(&repository, &domain, salt);
        let sealed_key = recipient.seal(seal, SEALED_KEY_INFO, &aad, key.expose())?;
        let origin = Origin {
            pack: None,
            salt: *salt,
            domain,
            sealed_key,
            commitment: key.commitment(),
        };
        Ok((Self::new(key, repository, domain, *salt)?, origin))
    }

    /// Opens the key of an origin and checks its commitment.
    pub fn open(
        origin: &Origin,
        repository: RepositoryId,
        key: &OpenKey,
    ) -> Result<Self, CryptoError> {
        let aad = sealed_key_aad(&repository, &origin.domain, &origin.salt);
        let plain = key.open(&origin.sealed_key, SEALED_KEY_INFO, &aad)?;
        let mut bytes: [u8; 32] = plain
            .as_slice()
            .try_into()
            .map_err(|_error| CryptoError::Commitment)?;
        let secret = Secret::new(bytes);
        bytes.zeroize();
        if !equal(&secret.commitment(), &origin.commitment) {
            return Err(CryptoError::Commitment);
        }
        Self::new(&secret, repository, origin.domain, origin.salt)
    }

    fn new(
        key: &Secret,
        repository: RepositoryId,
        domain: DomainId,
        salt: Salt,
    ) -> Result<Self, CryptoError> {
        Ok(Self {
            cipher: Cipher::new(&key.derive("dolmen v1 frame key", &[]))?,
            nonce_key: key.derive("dolmen v1 frame nonce key", &[]),
            repository,
            domain,
            salt,
        })
    }

    /// Encrypts a frame in place: `buffer` holds 12 bytes of room and the (compressed) plaintext, and
    /// then nonce, ciphertext and tag.
    pub fn seal_frame(
        &self,
        ordinal: u32,
        compression: Compression,
        buffer: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let aad = self.context(ordinal).frame_aad(compression);
        self.cipher.seal_frame(&self.nonce_key, &aad, buffer)
    }

    /// Opens a frame into `out`, still compressed.
    pub fn open_frame(
        &self,
        ordinal: u32,
        compression: Compression,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let aad = self.context(ordinal).frame_aad(compression);
        self.cipher.open_frame(&aad, stored, out, "frame")
    }

    const fn context(&self, ordinal: u32) -> FrameContext<'_> {
        FrameContext {
            repository: &self.repository,
            domain: &self.domain,
            salt: &self.salt,
            ordinal,
        }
    }
}
