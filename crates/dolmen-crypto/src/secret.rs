//! Secret bytes.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes, wiped when dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes secret bytes over; the caller wipes its own copy.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the next derivation or cipher.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives another secret from this one and `more`.
    pub(crate) fn derive(&self, context: &str, more: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(more);
        let mut hash = hasher.finalize();
        let secret = Self(*hash.as_bytes());
        hash.zeroize();
        hasher.zeroize();
        secret
    }

    /// The commitment to this key.
    pub(crate) fn commitment(&self) -> [u8; 32] {
        blake3::derive_key("dolmen v1 key commitment", &self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Compares in time that does not depend on where they differ.
pub(crate) fn equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*left) == blake3::Hash::from_bytes(*right)
}
