//! Leases: how long a lock must last, when it is extended, and when it may end.
//!
//! Everything here is arithmetic on times that come as arguments (DESIGN §3); nothing reads a clock
//! or a store. The letters are the design's: L the protection period, G the generation, I the
//! maintenance interval, M = 3·I the margin, δ = L/4 the delay before a lapsed object goes.
//!
//! ```text
//!   now          now + L      now + L + M   retain-until     now + L + M + G
//!    |-------------|---------------|-------------|-----------------|
//!      protected      margin: due    a grid line, somewhere in here
//! ```

mod checkpoint;
mod clocks;
mod commit;
mod computed;
mod grid;
mod host;
mod policy;
mod terms;

pub use checkpoint::{Checkpoint, Ended, Standing, UNDESCENDED_MAX, standings};
pub use clocks::{Clocks, Held, SKEW_REFUSED_SECONDS, SKEW_WARNED_SECONDS, Skew, apart};
pub use commit::{Commit, Reliance, commit, is_incomplete};
pub use computed::{deletable, lapse};
pub use policy::{InForce, Policies, Received, effective, lock_mode, needs_confirmation, strength};
pub use terms::{Asked, ExtensionCost, MISSED_INTERVALS, PROTECT_SECONDS_MAX, Terms, TermsError};

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// Seconds as times count them. Terms stay far below the limit, which is a century.
fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
