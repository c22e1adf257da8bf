//! The admin secret under a passphrase (§3.2).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use dolmen_format::bundle::{Bundle, KDF_ARGON2ID, Kdf};
use dolmen_format::limits::TAG_BYTES;
use dolmen_format::{RepositoryId, Salt, SlotId, Timestamp};
use zeroize::{Zeroize as _, Zeroizing};

use crate::admin::AdminSecret;
use crate::aead::Cipher;
use crate::error::CryptoError;
use crate::secret::{Secret, equal};

/// Argon2id with 64 MiB, 3 passes, 4 lanes: RFC 9106's second recommendation.
pub const fn default_kdf(salt: Salt) -> Kdf {
    Kdf {
        algorithm: KDF_ARGON2ID,
        memory_kib: 64 << 10,
        passes: 3,
        lanes: 4,
        salt,
    }
}

/// Secret and tag.
const WRAPPED_BYTES: usize = 32 + TAG_BYTES;

/// Which bundle of which passphrase is made.
#[derive(Debug, Clone, Copy)]
pub struct BundleName {
    /// The passphrase's slot.
    pub slot: SlotId,
    /// One more than the slot's last.
    pub number: u64,
    /// Now.
    pub created: Timestamp,
}

/// Wraps the admin secret. Takes the KDF's time and memory.
pub fn wrap(
    repository: &RepositoryId,
    name: BundleName,
    kdf: Kdf,
    passphrase: &[u8],
    admin: &AdminSecret,
) -> Result<Bundle, CryptoError> {
    let BundleName {
        slot,
        number,
        created,
    } = name;
    let key = run_kdf(&kdf, passphrase)?;
    // With room for the tag: growing would leave a copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(WRAPPED_BYTES));
    plain.extend_from_slice(admin.secret().expose());
    cipher(&key)?.seal_once(&aad(repository, &slot, number), &mut plain)?;
    let wrapped = plain
        .as_slice()
        .try_into()
        .map_err(|_error| CryptoError::Encrypt)?;
    Ok(Bundle {
        slot,
        number,
        created,
        kdf,
        commitment: key.commitment(),
        wrapped,
        name: None,
    })
}

/// Unwraps the admin secret of a bundle whose signature was verified. Takes the KDF's time and memory.
pub fn unwrap(
    repository: &RepositoryId,
    bundle: &Bundle,
    passphrase: &[u8],
) -> Result<AdminSecret, CryptoError> {
    let key = run_kdf(&bundle.kdf, passphrase)?;
    if !equal(&key.commitment(), &bundle.commitment) {
        return Err(CryptoError::Passphrase);
    }
    let mut stored = Zeroizing::new(bundle.wrapped);
    let aad = aad(repository, &bundle.slot, bundle.number);
    let plain = cipher(&key)?.open_once(&aad, stored.as_mut_slice(), "bundle")?;
    let mut bytes: [u8; 32] = (&*plain)
        .try_into()
        .map_err(|_error| CryptoError::Decrypt { what: "bundle" })?;
    let secret = Secret::new(bytes);
    bytes.zeroize();
    Ok(AdminSecret::new(secret))
}

pub(crate) fn run_kdf(kdf: &Kdf, passphrase: &[u8]) -> Result<Secret, CryptoError> {
    let failed = CryptoError::Kdf {
        memory_kib: kdf.memory_kib,
    };
    let Ok(params) = Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)) else {
        return Err(failed);
    };
    // Our own memory, because the library frees its without wiping it.
    let mut blocks = Vec::new();
    if blocks.try_reserve_exact(params.block_count()).is_err() {
        return Err(failed);
    }
    blocks.resize(params.block_count(), Block::default());
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = [0; 32];
    let salt = kdf.salt.as_bytes();
    let run = argon.hash_password_into_with_memory(passphrase, salt, &mut output, &mut blocks);
    blocks.zeroize();
    let key = Secret::new(output);
    output.zeroize();
    run.map(|()| key).map_err(|_error| failed)
}

fn cipher(key: &Secret) -> Result<Cipher, CryptoError> {
    Cipher::new(&key.derive("dolmen v1 bundle key", &[]))
}

fn aad(repository: &RepositoryId, slot: &SlotId, number: u64) -> Vec<u8> {
    [
        repository.as_bytes().as_slice(),
        slot.as_bytes(),
        &number.to_le_bytes(),
    ]
    .concat()
}
