//! Backups as a whole: what they add, what survives a crash, what they do with a changing source.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod changes;
mod crashes;
mod growth;
mod world;

#[path = "../support/client.rs"]
mod client;
