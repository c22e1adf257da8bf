//! Restores as a whole: what comes back, what stays, what is lost with what is damaged.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail where it stands"
)]

mod beneath;
#[path = "../support/copied.rs"]
mod copied;
mod damage;
mod heal;
mod lies;
mod moves;
mod overwrite;
mod round_trip;
mod select;
mod sparse;
mod stop;
mod world;

#[path = "../support/client.rs"]
mod client;
#[path = "../support/looking.rs"]
mod looking;
#[path = "../support/ticking.rs"]
mod ticking;
