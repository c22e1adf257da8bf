//! Prune: deletes what no live snapshot needs and whose lease has lapsed.
//!
//! A run works in rounds. Each begins with a listing and ends before that is too old to be acted on; what is left is for
//! the next. Nothing here needs to succeed: whatever stays is deleted by a later run.

mod round;
mod tellers;
mod verdict;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use dolmen_format::{ObjectId, SnapshotId, Timestamp};
use dolmen_state::state::{Compared, Remembered, Sightings};

use self::tellers::Tellers;
use crate::check::Observer;
use crate::compact;
use crate::error::Result;
use crate::repository::Repository;

pub use verdict::{Verdict, judge, judge_lock};

/// What a run may do.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Delete nothing, only tell.
    pub dry_run: bool,
    /// What is taken as retired now, as a dry run does with what it would retire.
    pub supposed: &'a BTreeSet<SnapshotId>,
    /// The user takes the store's clock as true.
    pub confirm_clock: bool,
    /// The user takes as lost for good what the repository tells of and does not hold: what was not given up before counts
    /// no more either in this run.
    pub confirm_missing: bool,
    /// Policies that this client's user confirmed.
    pub confirmed: &'a BTreeSet<ObjectId>,
    /// What this client's maintenance knows of places of moved frames.
    pub compared: &'a Compared,
    /// What this client knows by itself: what is gone of it holds everything.
    pub remembered: &'a Remembered,
    /// What this client's maintenance has seen: what is gone of it without a retirement holds everything, too.
    pub sightings: &'a Sightings,
    /// The latest time that the store stated to this client.
    pub remembered_store: Option<Timestamp>,
    /// Where the index's tables are kept.
    pub index_cache: Option<&'a Path>,
    /// A folder for what does not fit into memory.
    pub scratch: &'a Path,
    /// Set to interrupt.
    pub cancel: &'a AtomicBool,
}

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a run did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What was deleted.
    pub deleted: Tally,
    /// What nothing live needs and whose lease has not lapsed, or which the store did not let go.
    pub locked: Tally,
    /// When the next of these lapses.
    pub next_unlock: Option<Timestamp>,
    /// What is needed.
    pub live: Tally,
    /// Roots, keys, snapshots and records that are none, and are not deleted yet: recovery sets them aside.
    pub junk: Tally,
    /// Objects that the credential may not delete.
    pub denied: u64,
    /// Why nothing was let go, where something kept it.
    pub held: Option<String>,
    /// The latest time that the store stated, to be remembered.
    pub store_time: Option<Timestamp>,
}

impl Report {
    /// Takes into a dry run's report what a compaction before it would have changed: the packs repacked go, or stay until
    /// their leases end, and others are needed for them.
    pub fn expect(&mut self, planned: &compact::Report) {
        let repacked = Tally {
            objects: planned.packs_read,
            bytes: planned.bytes_read,
        };
        let written = Tally {
            objects: planned.packs_written,
            bytes: planned.bytes_written,
        };
        self.live = self.live.without(repacked).with(written);
        self.deleted = self.deleted.with(planned.freed);
        self.locked = self.locked.with(repacked.without(planned.freed));
    }
}

impl Tally {
    const fn with(self, other: Self) -> Self {
        Self {
            objects: self.objects.saturating_add(other.objects),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    const fn without(self, other: Self) -> Self {
        Self {
            objects: self.objects.saturating_sub(other.objects),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Prunes a repository.
///
/// Cost: for each round nine listings (ten where frames were moved), one request for each snapshot, ledger record and manifest node, and one for each
/// object that is deleted. A round is as long as a quarter of the protection period, a day at most.
pub fn run(
    repository: &Repository,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Report> {
    let mut deleted = Tally::default();
    let mut tellers = Tellers::default();
    loop {
        let (mut report, end) = round::run(repository, options, &mut tellers, observer)?;
        let is_stuck = report.deleted == Tally::default();
        deleted.objects = deleted.objects.saturating_add(report.deleted.objects);
        deleted.bytes = deleted.bytes.saturating_add(report.deleted.bytes);
        report.deleted = deleted;
        match end {
            round::End::Done => return Ok(report),
            // What a dry run leaves for another round would be there again.
            round::End::Late if options.dry_run => return Ok(report),
            round::End::Late if is_stuck => {
                report.held = Some(
                    "looking at the repository took longer than a quarter of its protection period, so that what was \
                     seen may not be acted on"
                        .to_owned(),
                );
                return Ok(report);
            }
            round::End::Late => {}
        }
    }
}
