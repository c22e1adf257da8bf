//! The chain of policies, and those that are in doubt.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::ObjectId;
use dolmen_format::ledger::{Fact, Policy};

use super::super::{Entry, reference};
use super::PolicyRecord;
use crate::finding::{Finding, Findings};

/// What policies come to together.
#[derive(Debug, Clone, Default)]
pub(super) struct Chained {
    /// Those that supersede the root's and count, each superseded by the next.
    pub(super) counting: Vec<PolicyRecord>,
    /// All others whose chain begins at the root's, with their places in it: twins, what follows twins alone, and what a
    /// key signed that is not trusted so far.
    pub(super) doubtful: Vec<(usize, PolicyRecord)>,
    /// The end of a longest chain: what the next policy supersedes.
    pub(super) last: Option<ObjectId>,
}

/// Finds the longest chain of policies that starts from the root's. Where two are the longest, neither of the two counts
/// until one is superseded. Those that are distrusted never count; what they protected is in doubt.
pub(super) fn chain(
    records: &BTreeMap<ObjectId, Entry>,
    distrusted: &BTreeSet<ObjectId>,
    findings: &mut Findings,
) -> Chained {
    let policies: BTreeMap<ObjectId, (&Entry, &Policy)> = records
        .iter()
        .filter_map(|(id, entry)| {
            let Fact::Policy(policy) = &entry.record.fact else {
                return None;
            };
            Some((*id, (entry, policy)))
        })
        .collect();
    let previous = |id: &ObjectId| policies.get(id).map(|(_, policy)| policy.previous);
    let mut levels: BTreeMap<usize, BTreeSet<ObjectId>> = BTreeMap::new();
    let mut known: BTreeMap<ObjectId, Option<usize>> = BTreeMap::new();
    let mut places: BTreeMap<ObjectId, usize> = BTreeMap::new();
    for id in policies.keys() {
        if let Some(length) = length(*id, &previous, &mut known) {
            places.insert(*id, length);
            if !distrusted.contains(id) {
                levels.entry(length).or_default().insert(*id);
            }
        } else {
            findings.push(Finding::new(
                format!("policy {id}"),
                "the policy that it supersedes is missing: it counts for nothing",
            ));
        }
    }
    let newest = levels.values().next_back().and_then(BTreeSet::first);
    let mut last = end_of_doubt(&levels, findings);
    let record_of = |id: ObjectId| {
        let (entry, policy) = policies.get(&id)?;
        let place = places.get(&id).and_then(|place| levels.get(place));
        Some(PolicyRecord {
            reference: Some(reference(&entry.record.stamp, id)),
            policy: (*policy).clone(),
            stored_at: entry.stored_at,
            received: entry.received,
            is_sole: place.is_some_and(|ids| ids.len() == 1 && ids.contains(&id)),
        })
    };
    let (mut counting, mut counted) = (Vec::new(), BTreeSet::new());
    while let Some((id, record)) = last.and_then(|id| Some((id, record_of(id)?))) {
        last = record.policy.previous;
        counted.insert(id);
        counting.push(record);
    }
    counting.reverse();
    let others = places.iter().filter(|(id, _)| !counted.contains(id));
    let doubtful = others.filter_map(|(id, place)| Some((*place, record_of(*id)?)));
    Chained {
        doubtful: doubtful.collect(),
        counting,
        last: newest.copied(),
    }
}

/// The end of the longest chain that has no twin.
fn end_of_doubt(
    levels: &BTreeMap<usize, BTreeSet<ObjectId>>,
    findings: &mut Findings,
) -> Option<ObjectId> {
    for ids in levels.values().rev() {
        let mut ids = ids.iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => return Some(*id),
            (Some(id), Some(other)) => findings.push(Finding::new(
                format!("policy {id}"),
                format!(
                    "another, {other}, has its place: neither counts, and the longest protection of both and of the \
                     one before holds, until dolmen policy set settles it"
                ),
            )),
            (None, _) => {}
        }
    }
    None
}

/// The length of the chain from the root's policy; `None`: a link is missing. A chain has no circle, since each names the hash
/// of the one before.
fn length(
    id: ObjectId,
    previous: &dyn Fn(&ObjectId) -> Option<Option<ObjectId>>,
    known: &mut BTreeMap<ObjectId, Option<usize>>,
) -> Option<usize> {
    let (mut path, mut at) = (Vec::new(), id);
    let mut below = loop {
        if let Some(length) = known.get(&at) {
            break *length;
        }
        path.push(at);
        match previous(&at) {
            None => {
                path.pop();
                break None;
            }
            Some(None) => {
                path.pop();
                known.insert(at, Some(1));
                break Some(1);
            }
            Some(Some(before)) => at = before,
        }
    };
    for id in path.into_iter().rev() {
        below = below.map(|length| length.saturating_add(1));
        known.insert(id, below);
    }
    below
}
