//! Bundles: the admin secret under a passphrase (§3.2).

use minicbor::{Decode, Encode};

use crate::error::FormatError;
use crate::ids::{Salt, SlotId};
use crate::limits::KEY_NAME_BYTES_MAX;
use crate::prologue::ObjectKind;
use crate::signed::{SignedBody, check_count};
use crate::time::Timestamp;

/// Memory that a bundle may ask for, in KiB: 1 GiB.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Passes that a bundle may ask for.
pub const KDF_PASSES_MAX: u32 = 10;
/// Lanes that a bundle may ask for.
pub const KDF_LANES_MAX: u32 = 16;
/// The only KDF: Argon2id, version 1.3.
pub const KDF_ARGON2ID: u8 = 1;

/// The admin secret, wrapped with a passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bundle {
    /// Which passphrase this is.
    #[n(0)]
    pub slot: SlotId,
    /// Of a slot, only the highest number counts.
    #[n(1)]
    pub number: u64,
    /// When it was made, by its maker's clock.
    #[n(2)]
    pub created: Timestamp,
    /// How the passphrase becomes a key.
    #[n(3)]
    pub kdf: Kdf,
    /// Tells a wrong passphrase, and that there is one key only.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub commitment: [u8; 32],
    /// The encrypted admin secret.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub wrapped: [u8; 48],
    /// What people call the passphrase; the first of a repository has no name.
    #[n(6)]
    pub name: Option<String>,
}

/// Argon2id's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Kdf {
    /// [`KDF_ARGON2ID`].
    #[n(0)]
    pub algorithm: u8,
    /// Memory in KiB.
    #[n(1)]
    pub memory_kib: u32,
    /// Passes over the memory.
    #[n(2)]
    pub passes: u32,
    /// Lanes.
    #[n(3)]
    pub lanes: u32,
    /// Random.
    #[n(4)]
    pub salt: Salt,
}

impl Kdf {
    /// Checks that it is known and asks for no more than a machine has.
    pub(crate) fn validate(&self) -> Result<(), FormatError> {
        let sound = self.algorithm == KDF_ARGON2ID
            && (1..=KDF_LANES_MAX).contains(&self.lanes)
            && (1..=KDF_PASSES_MAX).contains(&self.passes)
            && (self.lanes.saturating_mul(8)..=KDF_MEMORY_KIB_MAX).contains(&self.memory_kib);
        if sound {
            Ok(())
        } else {
            Err(FormatError::Invalid { field: "KDF" })
        }
    }
}

impl SignedBody for Bundle {
    const KIND: ObjectKind = ObjectKind::Bundle;

    fn validate(&self) -> Result<(), FormatError> {
        self.kdf.validate()?;
        let name_bytes = self.name.as_ref().map_or(0, String::len);
        check_count("name", name_bytes, KEY_NAME_BYTES_MAX)?;
        if self.number == 0 {
            return Err(FormatError::Invalid { field: "number" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_long_as_a_keys_at_most() {
        let named = |bytes| Bundle {
            slot: SlotId([1; 16]),
            number: 1,
            created: Timestamp::from_seconds(0),
            kdf: Kdf {
                algorithm: KDF_ARGON2ID,
                memory_kib: 8,
                passes: 1,
                lanes: 1,
                salt: Salt([0; 32]),
            },
            commitment: [0; 32],
            wrapped: [0; 48],
            name: Some("x".repeat(bytes)),
        };
        assert_eq!(named(KEY_NAME_BYTES_MAX).validate(), Ok(()));
        assert!(named(KEY_NAME_BYTES_MAX + 1).validate().is_err());
    }
}
