//! The bytes of a repository: ids, object keys, packs, index segments, trees, snapshots.
//!
//! No I/O, no clock, no randomness, no keys: what is encrypted or signed goes in and comes out as
//! bytes. `docs/format.md` describes every encoding; the section numbers in this crate are its own.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod bundle;
pub mod bytes;
pub mod certificate;
pub mod error;
pub mod ids;
pub mod index;
pub mod key;
pub mod keyfile;
pub mod ledger;
pub mod limits;
pub mod list;
pub mod manifest;
pub mod pack;
pub mod prologue;
pub mod root;
pub mod seal;
pub mod signed;
pub mod snapshot;
pub mod time;
pub mod tree;

pub use error::FormatError;
pub use ids::{
    BlobId, BlobKind, DomainId, InstanceId, KeyId, Label, Nonce, ObjectId, PackId, RepositoryId,
    Salt, SegmentId, SlotId, SnapshotId, WriterId,
};
pub use key::ObjectKey;
pub use prologue::{ObjectKind, Prologue};
pub use seal::SealedBox;
pub use time::Timestamp;
