//! A model of the lease protocol (DESIGN §3), small enough to visit every state of it.
//!
//! Two clients, maintenance, a person, one attacker, two packs, a clock of seconds. The dates, the commit rule, the reader's
//! rule and the computed leases are the functions of `dolmen_core::lease` and `dolmen_core::prune` themselves, on terms of a
//! few seconds; what moves between them is written anew here, and so is liveness. What is left out is listed in
//! `docs/decisions/0013-a-model-of-the-protocol.md`.

mod config;
mod model;
mod properties;
mod rules;
mod run;
mod state;
mod steps;

pub use config::{Config, Credential, Flavour, Horizon, Mutation, Regime, terms};
pub use model::Protocol;
pub use run::{Counterexample, Outcome, explore};
pub use state::{Pair, State};
pub use steps::{Action, Answer, Attack, Fate, Other, Thing};
