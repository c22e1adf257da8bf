//! Which signed objects are trusted after revocations.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::ledger::{Cut, Fact};
use dolmen_format::signed::Reference;
use dolmen_format::{InstanceId, ObjectId, Timestamp, WriterId};

use super::super::{Entry, reference};
use super::{Known, Twins};
use crate::finding::{Finding, Findings};

/// What revocations leave of their signers' objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    /// Snapshots, checkpoints and records that count for nothing, with the receipt of the revocation that says so.
    pub(super) distrusted: BTreeMap<ObjectId, Timestamp>,
    /// Who was revoked, and since when that is known.
    pub(super) revoked: BTreeMap<WriterId, Timestamp>,
}

/// A revocation that counts.
struct Revocation<'r> {
    writer: WriterId,
    cuts: &'r [Cut],
    received: Timestamp,
}

impl Trust {
    /// Judges every object of a revoked signer; what any of several revocations distrusts is not trusted.
    pub(super) fn judge(
        records: &BTreeMap<ObjectId, Entry>,
        known: &[Known],
        twins: &Twins,
        admin: WriterId,
        findings: &mut Findings,
    ) -> Self {
        let all = revocations(records, twins, admin, findings);
        // First those of the admin itself: whom it revoked revokes nobody.
        let (own, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(by, _)| by.writer == admin);
        let mut trust = Self::default();
        for (_, revocation) in &own {
            trust.apply(revocation, records, known, twins);
        }
        for (by, revocation) in &others {
            if !trust.distrusted.contains_key(&by.digest) {
                trust.apply(revocation, records, known, twins);
            }
        }
        trust
    }

    fn apply(
        &mut self,
        revocation: &Revocation<'_>,
        records: &BTreeMap<ObjectId, Entry>,
        known: &[Known],
        twins: &Twins,
    ) {
        let since = self.revoked.entry(revocation.writer);
        let since = since.or_insert(revocation.received);
        *since = revocation.received.min(*since);
        let chains: BTreeMap<InstanceId, Chain> = revocation
            .cuts
            .iter()
            .map(|cut| (cut.instance, Chain::of(revocation.writer, cut, known)))
            .collect();
        let snapshots = known.iter().map(|one| (one.reference, true));
        let facts = records
            .iter()
            .map(|(id, entry)| (reference(&entry.record.stamp, *id), false));
        for (named, is_snapshot) in snapshots.chain(facts) {
            if named.writer != revocation.writer {
                continue;
            }
            let chain = chains.get(&named.instance);
            if !chain.is_some_and(|chain| chain.trusts(&named, is_snapshot, twins)) {
                let at = self.distrusted.entry(named.digest);
                let at = at.or_insert(revocation.received);
                *at = revocation.received.min(*at);
            }
        }
    }
}

fn revocations<'r>(
    records: &'r BTreeMap<ObjectId, Entry>,
    twins: &Twins,
    admin: WriterId,
    findings: &mut Findings,
) -> Vec<(Reference, Revocation<'r>)> {
    let mut found = Vec::new();
    for (id, entry) in records {
        let Fact::Revocation { writer, cuts } = &entry.record.fact else {
            continue;
        };
        let refused = if twins.has(&entry.record.stamp, *id) {
            Some("another object has its number: it counts for nothing")
        } else if *writer == admin {
            Some("it names the admin itself, whose word it is: it counts for nothing")
        } else {
            None
        };
        if let Some(why) = refused {
            findings.push(Finding::new(format!("revocation {id}"), why));
            continue;
        }
        let revocation = Revocation {
            writer: *writer,
            cuts,
            received: entry.stored_at,
        };
        found.push((reference(&entry.record.stamp, *id), revocation));
    }
    found
}

/// What hangs together up to a cut.
struct Chain {
    cut: Cut,
    /// The snapshots and checkpoints that the cut descends from, itself included.
    linked: BTreeSet<ObjectId>,
    /// The lowest number among them: below it nothing tells what the cut descends from.
    lowest: u64,
}

impl Chain {
    /// Follows the heads from the cut as far as they are there.
    fn of(writer: WriterId, cut: &Cut, known: &[Known]) -> Self {
        let own = known
            .iter()
            .filter(|one| (one.reference.writer, one.reference.instance) == (writer, cut.instance));
        let by_id: BTreeMap<ObjectId, &Known> =
            own.map(|one| (one.reference.digest, one)).collect();
        let mut chain = Self {
            cut: *cut,
            linked: BTreeSet::new(),
            lowest: u64::MAX,
        };
        let first = by_id.get(&cut.digest).map(|one| one.reference);
        let mut open: Vec<Reference> = first.into_iter().collect();
        while let Some(next) = open.pop() {
            if !chain.linked.insert(next.digest) {
                continue;
            }
            chain.lowest = chain.lowest.min(next.number);
            let heads = by_id.get(&next.digest).into_iter();
            let heads = heads.flat_map(|one| &one.heads).copied();
            open.extend(heads.filter(|head| {
                (head.writer, head.instance) == (writer, cut.instance) && head.number <= next.number
            }));
        }
        chain
    }

    fn trusts(&self, named: &Reference, is_snapshot: bool, twins: &Twins) -> bool {
        if named.digest == self.cut.digest || self.linked.contains(&named.digest) {
            return true;
        }
        let is_told_apart = is_snapshot && named.number >= self.lowest;
        named.number < self.cut.number && !is_told_apart && !twins.has_reference(named)
    }
}
