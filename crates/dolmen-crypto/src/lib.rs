//! Keys, seals, signatures and keyed ids (`docs/format.md` §3–§7).
//!
//! No I/O; random bytes arrive as arguments. Secrets are wiped when dropped and never printed.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod admin;
mod aead;
pub mod bundle;
pub mod domain;
pub mod error;
pub mod frame;
pub mod role;
pub mod seal;
mod secret;
pub mod sign;
pub mod words;

pub use admin::AdminSecret;
pub use domain::DomainKeys;
pub use error::CryptoError;
pub use frame::PackKey;
pub use role::{Contents, RoleKeys, RoleSecrets, Wrap};
pub use seal::{OpenKey, SealKey};
pub use secret::Secret;
pub use sign::{SigningKey, VerifyKey};
