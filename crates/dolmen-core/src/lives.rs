//! Which snapshots and checkpoints live, and from when on those that do not are free.

use std::collections::BTreeMap;

use dolmen_format::signed::Stamp;
use dolmen_format::{ObjectId, Timestamp};

use crate::lease::{self, Checkpoint, Received, Standing, Terms};
use crate::ledger::{Facts, PolicyRecord};
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// Whether a snapshot or checkpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// What it needs is protected.
    Live,
    /// What it needed is kept for a lease from then on.
    Ended(Timestamp),
}

/// The terms in force at a time, which is the earlier clock's; `None` where the root's policy makes none.
pub fn terms(facts: &Facts, at: Timestamp) -> Option<Terms> {
    lease::effective(&consented(facts).0, at)
}

/// The policies that wait for this client's user to confirm them.
pub fn waiting(facts: &Facts) -> Vec<&PolicyRecord> {
    consented(facts).1
}

/// Whether a policy with these terms would wait for a confirmation on every machine.
pub fn waits(facts: &Facts, terms: &Terms) -> bool {
    let base = consented(facts).2;
    base.is_some_and(|base| lease::needs_confirmation(&base, terms))
}

/// Splits the policies into those that count for this client and those that wait: one that more than doubles a time of
/// the root's, or of the last one that the user confirmed, waits, since a stolen passphrase could else lock junk for a
/// century, be it in many small steps.
fn consented(facts: &Facts) -> (Vec<Received>, Vec<&PolicyRecord>, Option<Terms>) {
    let (mut counted, mut waiting): (Vec<Received>, Vec<&PolicyRecord>) = Default::default();
    let mut base = None;
    for record in facts.policies() {
        let Ok(terms) = Terms::try_from(&record.policy) else {
            if counted.is_empty() {
                return (Vec::new(), Vec::new(), None);
            }
            continue;
        };
        let is_confirmed = record
            .reference
            .is_some_and(|reference| facts.confirmed.contains(&reference.digest));
        let waits = base.is_some_and(|base| lease::needs_confirmation(&base, &terms));
        if waits && !is_confirmed {
            waiting.push(record);
            continue;
        }
        if base.is_none() || is_confirmed {
            base = Some(terms);
        }
        let received = record.stored_at;
        counted.push(Received { terms, received });
    }
    (counted, waiting, base)
}

/// Decides the life of every snapshot, retired or not, and of every checkpoint.
pub fn lives<'l>(
    list: &'l SnapshotList,
    terms: &Terms,
    now: Timestamp,
) -> Vec<(&'l SnapshotEntry, Life)> {
    let live = list.snapshots.iter().map(|entry| (entry, Life::Live));
    let retired = list.retired.iter().map(|entry| {
        let ended = list.facts.retired.get(&entry.id);
        (
            entry,
            ended.map_or(Life::Live, |ended| Life::Ended(ended.stored_at)),
        )
    });
    let mut lives: Vec<_> = live.chain(retired).collect();
    let successors = Successors::of(list);
    // An incomplete snapshot is kept like a checkpoint.
    let kept_like: Vec<_> = list.incomplete.iter().chain(&list.checkpoints).collect();
    let checkpoints: Vec<_> = kept_like
        .iter()
        .map(|entry| Checkpoint {
            id: entry.id,
            signer: entry.snapshot.stamp.writer,
            received: entry.stored_at,
            succeeded: successors.first_of(entry),
        })
        .collect();
    let standings = lease::standings(&checkpoints, terms, now);
    for (entry, standing) in kept_like.into_iter().zip(standings) {
        lives.push(match standing {
            Standing::Live => (entry, Life::Live),
            Standing::Ended { at, .. } => (entry, Life::Ended(at)),
        });
    }
    lives
}

/// What was stored after a checkpoint and carries on from it.
struct Successors {
    /// When the first object that names a head was stored.
    by_head: BTreeMap<ObjectId, Timestamp>,
    /// When the snapshot with a number was stored: a checkpoint bears that of the coming one.
    by_stamp: BTreeMap<Stamp, Timestamp>,
}

impl Successors {
    fn of(list: &SnapshotList) -> Self {
        let (mut by_head, mut by_stamp) = (BTreeMap::new(), BTreeMap::new());
        for entry in list.all() {
            for head in &entry.snapshot.heads {
                note(&mut by_head, head.digest, entry.stored_at);
            }
            if entry.snapshot.checkpoint == 0 {
                note(&mut by_stamp, entry.snapshot.stamp, entry.stored_at);
            }
        }
        Self { by_head, by_stamp }
    }

    fn first_of(&self, entry: &SnapshotEntry) -> Option<Timestamp> {
        let by_head = self.by_head.get(&entry.id);
        // A snapshot bears its own number.
        let is_checkpoint = entry.snapshot.checkpoint > 0;
        let by_stamp = self
            .by_stamp
            .get(&entry.snapshot.stamp)
            .filter(|_| is_checkpoint);
        by_head.into_iter().chain(by_stamp).min().copied()
    }
}

fn note<K: Ord>(times: &mut BTreeMap<K, Timestamp>, key: K, at: Timestamp) {
    let first = times.entry(key).or_insert(at);
    *first = at.min(*first);
}
