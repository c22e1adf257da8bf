//! Why cryptography refuses.

use dolmen_format::FormatError;

/// Why something does not open or verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The ciphertext, its key or what it is bound to is not the one that was encrypted.
    #[error("decryption failed: the {what} was altered or belongs elsewhere")]
    Decrypt {
        /// What was to be opened.
        what: &'static str,
    },
    /// The signature is not by the key that should have signed.
    #[error("the signature is not valid")]
    Signature,
    /// A public key that no honest party makes.
    #[error("invalid public key")]
    PublicKey,
    /// The box is sealed to another key.
    #[error("sealed to another key")]
    OtherKey,
    /// The passphrase does not open the bundle.
    #[error("wrong passphrase")]
    Passphrase,
    /// The key that came out of a box is not the one committed to.
    #[error("the key does not match its commitment")]
    Commitment,
    /// Encryption was refused by the library; the input is too long.
    #[error("encryption failed")]
    Encrypt,
    /// The KDF could not run: its memory cannot be had.
    #[error("the key derivation could not run with {memory_kib} KiB of memory")]
    Kdf {
        /// What it asked for.
        memory_kib: u32,
    },
    /// The object's encoding is refused.
    #[error(transparent)]
    Format(#[from] FormatError),
}
