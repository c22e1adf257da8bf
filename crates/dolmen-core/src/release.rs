//! Release: lifts the legal holds of what nothing live needs any more.
//!
//! A hold has no end, so that the lock beneath it has mostly lapsed when it is lifted. It is made whole again first: what is
//! released stays for a protection period like anything that is let go.

use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectId, Timestamp};
use dolmen_store::{Hold, Lock, LockMode, LockStatus, ObjectRef, StoreError};

use crate::lease::{Clocks, Terms};
use crate::ledger::Facts;
use crate::objects::{Listed, Objects, limited, store_key};

/// How holds are lifted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Release {
    terms: Terms,
    clocks: Clocks,
}

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing holds it.
    Nothing,
    /// Its lock lasts: the hold goes.
    Lift,
    /// Its lock is extended before the hold goes.
    ExtendAndLift(Lock),
}

impl Release {
    /// Lifts holds where a policy of the repository ever asked for them: others are none of ours.
    pub(crate) fn new(facts: &Facts, terms: Terms, clocks: Clocks) -> Option<Self> {
        let doubtful = facts.doubtful_policies().map(|(_, record)| record);
        let mut policies = facts.policies().chain(doubtful);
        let holds = policies.any(|record| record.policy.lock == LockStrategy::Hold);
        holds.then_some(Self { terms, clocks })
    }

    fn step(&self, id: &ObjectId, status: LockStatus) -> Step {
        let LockStatus::Held { retention } = status else {
            return Step::Nothing;
        };
        let until = retention.map(|lock| lock.until);
        let Some(next) = self.clocks.next(&self.terms, id, until) else {
            return Step::Lift;
        };
        Step::ExtendAndLift(Lock {
            mode: retention.map_or(LockMode::Compliance, |lock| lock.mode),
            until: limited(&self.clocks, &self.terms, next),
        })
    }

    /// Releases every version of an object. Returns until when it stays locked; `None`: nothing held it.
    ///
    /// Cost: for each version that is held two requests at most, and one more where the listing does not state locks.
    pub(crate) fn apply(
        &self,
        objects: &Objects,
        object: &Listed,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (store, key) = (objects.store(), store_key(&object.key)?);
        let mut latest = None;
        for copy in &object.copies {
            let held = ObjectRef {
                key: key.clone(),
                version: copy.version.clone(),
            };
            let until = objects.block_on(async {
                let status = match copy.lock {
                    LockStatus::Unknown => store.lock_of(&held).await?,
                    stated => stated,
                };
                let until = match self.step(&object.key.id(), status) {
                    Step::Nothing => return Ok::<_, StoreError>(None),
                    Step::Lift => status.retention().map(|lock| lock.until),
                    Step::ExtendAndLift(lock) => {
                        store.extend(&held, lock).await?;
                        Some(lock.until)
                    }
                };
                store.hold(&held, Hold::Off).await?;
                Ok(until)
            })?;
            latest = latest.max(until);
        }
        Ok(latest)
    }
}

#[cfg(test)]
mod tests {
    use dolmen_store::StoreTime;

    use super::*;
    use crate::lease::{Asked, ExtensionCost};

    const DAY: i64 = 86_400;
    const NOW: i64 = 2_000_000_000;

    fn release() -> Release {
        let asked = Asked {
            protect_seconds: 30 * 86_400,
            generation_seconds: None,
            interval_seconds: None,
            extension: ExtensionCost::Free,
        };
        Release {
            terms: Terms::with_defaults(&asked).unwrap(),
            clocks: Clocks {
                local: Timestamp::from_seconds(NOW),
                store: StoreTime::within_second(NOW),
                remembered_store: None,
                confirmed: false,
            },
        }
    }

    fn lock(mode: LockMode, days: i64) -> Lock {
        Lock {
            mode,
            until: Timestamp::from_seconds(NOW + days * DAY),
        }
    }

    #[test]
    fn a_hold_is_lifted_over_a_whole_lease_in_the_mode_that_there_is() {
        let (release, id) = (release(), ObjectId([7; 32]));
        let lease = i64::try_from(release.terms.lease_seconds()).unwrap();
        for retention in [
            None,
            Some(lock(LockMode::Compliance, -300)),
            Some(lock(LockMode::Governance, 5)),
        ] {
            let step = release.step(&id, LockStatus::Held { retention });
            let Step::ExtendAndLift(next) = step else {
                panic!("{retention:?}: {step:?}");
            };
            assert!(next.until.seconds >= NOW + lease, "{retention:?}");
            let mode = retention.map_or(LockMode::Compliance, |lock| lock.mode);
            assert_eq!(next.mode, mode);
        }
        let lasting = Some(lock(LockMode::Compliance, 400));
        let held = LockStatus::Held { retention: lasting };
        assert_eq!(release.step(&id, held), Step::Lift);
    }

    #[test]
    fn what_nothing_holds_is_left_alone() {
        let short = lock(LockMode::Compliance, 1);
        for status in [LockStatus::None, LockStatus::Until(short)] {
            assert_eq!(release().step(&ObjectId([7; 32]), status), Step::Nothing);
        }
    }
}
