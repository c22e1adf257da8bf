//! Rules by which a bucket tidies itself.

use dolmen_format::Timestamp;

use super::bucket::{Binding, Bucket, Content, SECONDS_PER_DAY};
use crate::bucket::Harm;
use crate::object::{StoreTime, Version};

/// What a bucket does to the names that start with `prefix`, without anybody asking.
///
/// B2 says "days from uploading to hiding" and "days from hiding to deleting". A rule runs whenever the owner of the
/// clock sets it, and never deletes what is locked or held: that goes at the first run after its lock has lapsed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LifecycleRule {
    /// The start of the names; empty for all.
    pub prefix: String,
    /// Days after which a current body gets a marker on top, locked or not. Without versions it is deleted.
    pub expire_current_days: Option<u32>,
    /// Days after which a version is deleted, markers included, counted from the moment at which it was covered.
    pub delete_noncurrent_days: Option<u32>,
}

impl LifecycleRule {
    /// What it does to objects that are still needed.
    pub(super) const fn harm(&self) -> Option<Harm> {
        match (self.expire_current_days, self.delete_noncurrent_days) {
            (Some(_), _) => Some(Harm::Expires),
            (None, Some(_)) => Some(Harm::DeletesBeneath),
            (None, None) => None,
        }
    }
}

impl Bucket {
    /// Runs all rules. `before` is when the clock last stood still: what falls due in between does so at its own time.
    pub(super) fn run_lifecycle(&mut self, before: Timestamp) {
        for rule in self.lifecycle.clone() {
            self.expire_current(&rule, before);
            self.delete_noncurrent(&rule);
        }
    }

    fn expire_current(&mut self, rule: &LifecycleRule, before: Timestamp) {
        let Some(days) = rule.expire_current_days else {
            return;
        };
        let due: Vec<(String, Version, Timestamp)> = self
            .below(&rule.prefix)
            .filter_map(|(name, versions)| {
                let current = versions.last().filter(|current| current.is_data())?;
                let due = days_after(current.received_at, days);
                let at = due.max(before).min(self.now);
                (due <= self.now).then(|| (name.to_owned(), current.version.clone(), at))
            })
            .collect();
        for (name, version, at) in due {
            if self.model.options.versions {
                let received_at = StoreTime::within_second(at.seconds);
                self.add(&name, received_at, Content::Marker);
            } else {
                self.remove(&name, &version);
            }
        }
    }

    fn delete_noncurrent(&mut self, rule: &LifecycleRule) {
        let Some(days) = rule.delete_noncurrent_days else {
            return;
        };
        let due: Vec<(String, Version)> = self
            .below(&rule.prefix)
            .flat_map(|(name, versions)| {
                let covers = versions.iter().skip(1);
                versions
                    .iter()
                    .zip(covers)
                    .filter(|(_, cover)| days_after(cover.received_at, days) <= self.now)
                    .filter(|(stored, _)| self.binding(stored) == Binding::Free)
                    .map(move |(stored, _)| (name.to_owned(), stored.version.clone()))
            })
            .collect();
        for (name, version) in due {
            self.remove(&name, &version);
        }
    }
}

/// The first moment at which so many days may have passed.
fn days_after(time: StoreTime, days: u32) -> Timestamp {
    time.earliest
        .saturating_add_seconds(i64::from(days) * SECONDS_PER_DAY)
}
