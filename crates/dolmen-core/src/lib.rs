//! Backup, restore and every other verb on a repository.
//!
//! Data flows one way: files → chunks → frames → packs → store → snapshot. Nothing here prints, reads
//! the environment or asks the time: clock and randomness arrive in an [`Environment`].

pub mod audit;
pub mod backup;
pub mod bucket;
pub mod by_policy;
pub mod check;
pub mod compact;
pub mod content;
pub mod drill;
pub mod environment;
pub mod error;
pub mod finding;
#[cfg(test)]
mod fixture;
pub mod forget;
mod frames;
pub mod index;
pub mod keep;
pub mod lease;
pub mod ledger;
pub mod live;
pub mod lives;
pub mod manifest;
pub mod moves;
pub mod numbers;
pub mod objects;
pub mod own;
pub mod pack;
pub mod probe;
pub mod prune;
pub mod recall;
pub mod recover;
mod release;
pub mod renew;
pub mod repair;
pub mod repository;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod status;
mod strays;
pub mod tree;
mod verify;

pub use environment::{Clock, Environment, Random};
pub use error::{Error, Result};
pub use finding::{Finding, Findings};
pub use objects::Objects;
pub use repository::Repository;
