//! What the signed policy asks for by itself: what it retires, what it protects for longer, and what was retired in its
//! name that it would have kept.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::signed::Reference;
use dolmen_format::{SnapshotId, Timestamp};
use jiff::tz::TimeZone;

use crate::forget::labelled;
use crate::keep::{Alarm, Group, GroupBy, Rules, Spared, class_promises, limit, select};
use crate::lease::Terms;
use crate::ledger::{ByMaintenance, PolicyRecord};
use crate::lives;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// What maintenance would retire under the signed policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByPolicy {
    /// The policy's record; `None`: it stands in the root.
    pub policy: Option<Reference>,
    /// What goes.
    pub retire: Vec<SnapshotId>,
    /// What the rules would let go and the limits keep: the newest of each group.
    pub spared: u64,
    /// Suspicious ones, which no rule counts: only a person retires them, by name.
    pub set_aside: Vec<SnapshotId>,
    /// Groups of which more than a quarter goes at once.
    pub alarms: Vec<Alarm>,
}

/// Groups are those of host and paths, and never span writers.
const GROUP_BY: GroupBy = GroupBy {
    host: true,
    paths: true,
    tags: false,
    writer: true,
};

/// Decides what the policy in force retires; `None` where it has no rule, or where policies are in doubt.
///
/// Days, weeks and so on are UTC's: whoever maintains a repository decides alike, wherever it runs.
pub fn plan(list: &SnapshotList, now: Timestamp) -> Option<ByPolicy> {
    if list.facts.is_policy_in_doubt() {
        return None;
    }
    let policy = list.facts.policy();
    let groups = groups(list.snapshots.iter(), list, policy, now)?;
    let mut by_policy = ByPolicy {
        policy: policy.reference,
        retire: Vec::new(),
        spared: 0,
        set_aside: Vec::new(),
        alarms: Vec::new(),
    };
    for group in &groups {
        let asked: BTreeSet<_> = group.removed().collect();
        let limited = limit(group, &asked);
        by_policy.retire.extend(limited.retire);
        let newest = |(_, why): &&(SnapshotId, Spared)| *why == Spared::Newest;
        let spared = u64::try_from(limited.spared.iter().filter(newest).count());
        by_policy.spared = by_policy.spared.saturating_add(spared.unwrap_or(u64::MAX));
        by_policy.set_aside.extend(group.set_aside());
        by_policy.alarms.extend(limited.alarm);
    }
    Some(by_policy)
}

/// The snapshots that the policy in force promises to protect for longer than its protection period, and for how many
/// seconds. All others are protected for that period. Where policies contradict each other, the longest promise counts.
pub fn promises(list: &SnapshotList, now: Timestamp) -> BTreeMap<SnapshotId, u64> {
    let mut promises = BTreeMap::new();
    for (policy, classes) in lives::classes(&list.facts) {
        let groups = groups(list.snapshots.iter(), list, policy, now);
        for (id, seconds) in class_promises(&groups.unwrap_or_default(), &classes) {
            let longest = promises.entry(id).or_default();
            *longest = seconds.max(*longest);
        }
    }
    promises
}

/// A retirement that maintenance signed in the name of a policy that keeps what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contrary {
    /// The record.
    pub retirement: Reference,
    /// The snapshots that the policy keeps and that are there.
    pub snapshots: Vec<SnapshotId>,
}

/// Finds the retirements that are contrary to the policy that they name, or name none that counts: they are answered with
/// an undo. What nobody undid for a protection period is not looked at any more, since what it would be judged by goes.
pub fn contrary(list: &SnapshotList, terms: &Terms, now: Timestamp) -> Vec<Contrary> {
    let period = i64::try_from(terms.protect_seconds()).unwrap_or(i64::MAX);
    let there: BTreeSet<SnapshotId> = list.retired.iter().map(|entry| entry.id).collect();
    let recent = list.facts.by_maintenance.iter();
    let recent = recent.filter(|by| by.stored_at.saturating_add_seconds(period) > now);
    let judged = recent.map(|by| {
        let allowed = allowed(list, by);
        let named = by.snapshots.iter().map(|snapshot| snapshot.digest);
        let kept = named.filter(|id| there.contains(id) && !allowed.contains(id));
        Contrary {
            retirement: by.retirement,
            snapshots: kept.collect(),
        }
    });
    judged.filter(|one| !one.snapshots.is_empty()).collect()
}

/// What the policy that a retirement names would have retired when that was stored.
fn allowed(list: &SnapshotList, by: &ByMaintenance) -> BTreeSet<SnapshotId> {
    let mut policies = list.facts.policies();
    let Some(policy) = policies.find(|record| record.reference == Some(by.policy)) else {
        return BTreeSet::new();
    };
    let lived = |entry: &&SnapshotEntry| {
        let retired = list.facts.retired.get(&entry.id);
        entry.stored_at <= by.stored_at
            && retired.is_none_or(|retired| retired.first_stored_at >= by.stored_at)
    };
    let then = list.snapshots.iter().chain(&list.retired).filter(lived);
    let mut then: Vec<_> = then.collect();
    then.sort_by_key(|entry| entry.age());
    let groups = groups(then.into_iter(), list, policy, by.stored_at).unwrap_or_default();
    let asked: BTreeSet<_> = by.snapshots.iter().map(|named| named.digest).collect();
    let mut allowed = BTreeSet::new();
    for group in &groups {
        let removed: BTreeSet<_> = group.removed().filter(|id| asked.contains(id)).collect();
        allowed.extend(limit(group, &removed).retire);
    }
    allowed
}

/// What a policy says of snapshots, oldest first; `None`: it has no rule.
fn groups<'e>(
    entries: impl Iterator<Item = &'e SnapshotEntry>,
    list: &SnapshotList,
    policy: &PolicyRecord,
    now: Timestamp,
) -> Option<Vec<Group>> {
    let candidates: Vec<_> = entries.map(|entry| labelled(list, entry)).collect();
    let rules = Rules::from(policy.policy.keep);
    // An empty policy decides nothing.
    select(&candidates, &rules, GROUP_BY, &TimeZone::UTC, now).ok()
}
