//! The admin secret under a passphrase (§3.2).

use argon2::{Algorithm, Argon2, Params, Version};
use dolmen_format::bundle::{Bundle, KDF_ARGON2ID, Kdf};
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
    let mut plain = admin.secret().expose().to_vec();
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

fn run_kdf(kdf: &Kdf, passphrase: &[u8]) -> Result<Secret, CryptoError> {
    let failed = CryptoError::Kdf {
        memory_kib: kdf.memory_kib,
    };
    let Ok(params) = Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)) else {
        return Err(failed);
    };
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = [0; 32];
    argon
        .hash_password_into(passphrase, kdf.salt.as_bytes(), &mut output)
        .map_err(|_error| failed)?;
    let key = Secret::new(output);
    output.zeroize();
    Ok(key)
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
