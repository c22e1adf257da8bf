//! Damage to every kind of object: check finds it, the rest can be read, the next backup knows what to do.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail where it stands"
)]

mod facts;
mod repair;
mod tamper;
mod world;

#[path = "../support/client.rs"]
mod client;
#[path = "../support/ticking.rs"]
mod ticking;
