//! Lives and leases on a store that keeps no locks: what is retired can be brought back until its lease lapses, and goes
//! after that; what lives, or is built upon, never does.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod absence;
mod batch;
mod compact;
#[path = "../support/copied.rs"]
mod copied;
mod cost;
mod dates;
mod hiding;
mod holds;
mod locks;
mod missing;
mod moves;
mod nodes;
mod pace;
mod policies;
mod puts;
mod recover;
mod reuse;
mod segments;
mod short;
mod space;
mod world;

#[path = "../support/client.rs"]
mod client;
#[path = "../support/looking.rs"]
mod looking;
