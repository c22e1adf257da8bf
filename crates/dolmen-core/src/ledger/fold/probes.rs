//! Stores that were tried out.

use std::collections::BTreeMap;

use dolmen_format::ledger::{DefaultRetention, LockStrategy, Probe};
use dolmen_format::{ObjectId, Timestamp};

/// What probes of stores came to, the newest for each store and strategy. Newest is what its signer's clock says: a record
/// of a store lengthens nothing, shortens nothing and lets nothing go.
#[derive(Debug, Clone, Default)]
pub struct Probes(BTreeMap<Vec<u8>, BTreeMap<LockStrategy, Newest>>);

#[derive(Debug, Clone)]
struct Newest {
    /// When it was signed; of several at one time the record with the greatest id.
    at: (Timestamp, ObjectId),
    default_retention: Option<DefaultRetention>,
}

impl Probes {
    pub(crate) fn take(&mut self, signed: Timestamp, id: ObjectId, probe: &Probe) {
        let newest = Newest {
            at: (signed, id),
            default_retention: probe.default_retention,
        };
        let of_store = self.0.entry(probe.store.clone()).or_default();
        let known = of_store.entry(probe.lock).or_insert(newest.clone());
        if known.at < newest.at {
            *known = newest;
        }
    }

    /// Whether any store was tried out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a store, named as in snapshots, was tried out for a strategy.
    pub fn has(&self, store: &[u8], lock: LockStrategy) -> bool {
        self.0
            .get(store)
            .is_some_and(|tried| tried.contains_key(&lock))
    }

    /// The bucket's default retention when a store was tried out last.
    pub fn default_retention(&self, store: &[u8]) -> Option<DefaultRetention> {
        let newest = self.0.get(store)?.values().max_by_key(|newest| newest.at)?;
        newest.default_retention
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(store: u8, lock: LockStrategy, days: u32) -> Probe {
        Probe {
            store: vec![store],
            lock,
            default_retention: Some(DefaultRetention {
                lock: LockStrategy::Compliance,
                days,
            }),
        }
    }

    #[test]
    fn the_newest_of_a_store_counts_in_whatever_order_they_come() {
        let (old, new) = (
            probe(1, LockStrategy::Compliance, 40),
            probe(1, LockStrategy::Governance, 50),
        );
        let later = probe(1, LockStrategy::Compliance, 60);
        let at = Timestamp::from_seconds;
        let mut all = [(1, &old), (2, &new), (3, &later)];
        for _ in 0..all.len() {
            all.rotate_left(1);
            let mut probes = Probes::default();
            assert!(probes.is_empty());
            for (seconds, probe) in all {
                probes.take(at(seconds), ObjectId::of(&[]), probe);
            }
            assert!(probes.has(&[1], LockStrategy::Compliance));
            assert!(probes.has(&[1], LockStrategy::Governance));
            assert!(!probes.has(&[1], LockStrategy::Hold));
            assert!(!probes.has(&[2], LockStrategy::Compliance));
            assert_eq!(
                probes.default_retention(&[1]).map(|found| found.days),
                Some(60)
            );
            assert_eq!(probes.default_retention(&[2]), None);
        }
    }
}
