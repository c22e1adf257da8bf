//! The bytes of a repository: ids, object keys, packs, index segments, trees, snapshots.
//!
//! No I/O, no clock, no randomness. `docs/format.md` describes every encoding; this crate is its code.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod time;

pub use time::Timestamp;
