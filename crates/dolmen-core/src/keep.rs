//! Which snapshots a keep policy keeps: restic's rules, and what Dolmen adds to them.
//!
//! [`select`] decides as `restic forget` does; `keep/restic-0.14.0.txt` holds what that program
//! decided. On top, a snapshot can be without a *slot*: it is kept, whatever the rules say, and uses
//! nothing of them up. [`suspicions`] says which of a backup key's snapshots get none, and [`limit`]
//! bounds what maintenance may retire by itself.

mod classes;
mod group;
mod limits;
mod rules;
mod select;
mod span;
mod suspicion;

pub use classes::class_promises;
pub use group::{GroupBy, GroupKey};
pub use limits::{Alarm, Limited, NEWEST_KEPT, Spared, limit};
pub use rules::{Count, Counts, Rules, TagList, Withins};
pub use select::{Candidate, Decision, Fate, Group, Period, Reason, select};
pub use span::CalendarSpan;
pub use suspicion::{
    BURST_SNAPSHOTS_MAX, DATED_SECONDS_MAX, FILES_COMPARED, Observed, Suspicion, suspicions,
};

/// Why no selection is made, or what is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// There is no rule, and everything would go.
    #[error("no rule says what to keep, so that every snapshot would go")]
    Empty,
    /// No field to group by.
    #[error("`{found}` is nothing to group by; use host, paths and tags, or nothing")]
    Grouping {
        /// What was given.
        found: String,
    },
    /// No span of time.
    #[error("`{text}` is no duration; write it as 30d, 12h, 90s or 1y2m3d4h")]
    Duration {
        /// What was given.
        text: String,
    },
    /// No number of snapshots.
    #[error("`{text}` is no number of snapshots; write 0, 1, 2 and so on, or unlimited")]
    Count {
        /// What was given.
        text: String,
    },
}
