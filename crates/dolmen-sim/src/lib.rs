//! The simulation: a world from one seed, and what must hold in it after every step.
//!
//! Several machines back files up, each with its own state folder and a clock of its own; maintainers renew, forget,
//! undo, prune and recover; an attacker holds a stolen credential, at times the passphrase too; calls crash, get lost
//! and take long, and others act between two calls of one process. The store is the memory store, as a folder or a bucket,
//! with Object Lock or without, whose clock only the world moves. Nothing of Dolmen is replaced: every act is a process of
//! its own that begins with a passphrase.
//!
//! [`model`] says plainly what is promised; [`invariants`] holds it against what the store holds and what a stranger with
//! the passphrase restores. The same seed makes the same world.

pub mod act;
pub mod attack;
pub mod dice;
pub mod error;
pub mod files;
pub mod invariants;
pub mod kit;
pub mod model;
pub mod mutation;
pub mod needs;
pub mod tap;
pub mod theft;
pub mod world;

pub use error::SimError;
pub use invariants::{Failure, Invariant, Violation};
pub use mutation::Mutation;
pub use world::{Options, Tally, World};
