//! A model of the lease protocol (DESIGN §3), small enough to visit every state of it.
//!
//! A client and any number of others, maintenance, a person, one attacker, two packs, one snapshot that is watched. The dates,
//! the commit rule, the reader's rule, the computed leases and prune's verdicts are the functions of `dolmen_core` itself, on
//! terms of a few seconds; what moves between them is written anew here. What is left out is listed in
//! `docs/decisions/0013-a-model-of-the-protocol.md`, and why so little stands for all in `0028-one-snapshot-is-watched.md`.

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
