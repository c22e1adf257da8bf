//! When objects were received that were stored again.

use std::collections::BTreeMap;

use dolmen_format::ledger::{Fact, Receipt};
use dolmen_format::{ObjectId, Timestamp};

use super::super::Entry;

/// Receipt times that witnesses tell of.
#[derive(Debug, Clone, Default)]
pub struct Receipts(BTreeMap<ObjectId, Vec<Timestamp>>);

impl Receipts {
    /// Gathers them from records that count.
    pub(super) fn of<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Self {
        let mut all: BTreeMap<ObjectId, Vec<Timestamp>> = BTreeMap::new();
        for entry in entries {
            if let Fact::Witness { receipts } = &entry.record.fact {
                for receipt in receipts {
                    let times = all.entry(receipt.object).or_default();
                    times.push(receipt.received);
                }
            }
        }
        Self(all)
    }

    /// The receipt time of an object: the store's, or the oldest that a witness tells of, but never before the time that the
    /// object itself states. So no witness dates an object before its own time, and none makes it younger. Where the
    /// signer's clock was ahead of the store's, a true witness tells of an older time: then the object's own counts.
    pub fn received(&self, id: &ObjectId, signed: Timestamp, by_store: Timestamp) -> Timestamp {
        let told = self.0.get(id).into_iter().flatten().min();
        told.map_or(by_store, |told| (*told).max(signed).min(by_store))
    }

    /// Those of some receipts that no witness tells of, in the order in which a record states them.
    pub(crate) fn unsaid(&self, receipts: impl Iterator<Item = Receipt>) -> Vec<Receipt> {
        let mut unsaid: Vec<_> = receipts.filter(|receipt| !self.has(receipt)).collect();
        unsaid.sort_by_key(|receipt| receipt.object);
        unsaid
    }

    /// Whether a witness tells of this very receipt.
    fn has(&self, receipt: &Receipt) -> bool {
        let told = self.0.get(&receipt.object);
        told.is_some_and(|times| times.contains(&receipt.received))
    }
}
