//! What a bucket does by itself, held against what the policy relies on.

use dolmen_format::ledger::{self, Fact, LockStrategy, Policy, Probe};
use dolmen_store::{BucketSettings, DefaultRetention, Harm, Hazard, LockMode};

use crate::error::Result;
use crate::lease::{Terms, lock_mode};
use crate::ledger::Probes;
use crate::probe::relies_on_store;
use crate::repository::Repository;
use crate::snapshots::store_digest;

/// Something about a bucket that takes backups away, or protection from those to come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// What is put from now on replaces what was there.
    #[error(
        "the bucket keeps no versions of what is put from now on: turn versioning on again, with aws s3api \
         put-bucket-versioning or in the service's console"
    )]
    NoVersions,
    /// What is put from now on cannot be locked.
    #[error("the bucket has no Object Lock: what is put from now on is not protected")]
    NoLocks,
    /// A lifecycle rule.
    #[error(
        "the bucket's lifecycle rule `{}`: {}; take it off, or limit it to other prefixes",
        .0.rule, .0.harm
    )]
    Rule(Hazard),
    /// Nothing says that this store keeps what it promises.
    #[error(
        "nothing says that this store keeps its locks: it was tried out at another address or for another --lock; dolmen \
         policy set --lock tries it out"
    )]
    Untried,
    /// Clients that leave locks to the bucket get weaker ones than when it was tried out.
    #[error(
        "the bucket's default retention is {}, and was {} when it was tried out: clients that leave locks to the bucket \
         depend on it; if that is meant, dolmen policy set --lock records it",
        retention_text(*.now), retention_text(Some(*.before))
    )]
    RetentionWeakened {
        /// As it was.
        before: DefaultRetention,
        /// As it is.
        now: Option<DefaultRetention>,
    },
}

/// A default retention that does not reach for a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bucket's default retention is {}, and whoever leaves locks to the bucket needs {}",
    retention_text(Some(*.found)), retention_text(Some(*.needed))
)]
pub struct ShortRetention {
    /// What the bucket gives.
    pub found: DefaultRetention,
    /// What is needed at least.
    pub needed: DefaultRetention,
}

/// What there is to say of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// What is wrong with it.
    pub weaknesses: Vec<Weakness>,
    /// Whether whoever leaves locks to it gets ones that are too short.
    pub short: Option<ShortRetention>,
    /// What these credentials may not ask about it.
    pub untold: Vec<&'static str>,
}

/// What the policy relies on.
#[derive(Debug, Clone, Copy)]
pub struct Relied<'a> {
    /// How objects are locked.
    pub lock: LockStrategy,
    /// For how long; `None`: nothing is.
    pub terms: Option<Terms>,
    /// What stores were tried out.
    pub probes: &'a Probes,
}

/// Asks the bucket behind a repository; one that lies in none has no weakness.
///
/// Cost: at most three requests.
pub fn look(repository: &Repository, relied: &Relied<'_>) -> Result<Judgement> {
    let Some(bucket) = repository.objects.store().bucket() else {
        return Ok(Judgement::default());
    };
    let settings = repository.objects.block_on(bucket.settings())?;
    Ok(judge(&settings, relied, &store_digest(repository)))
}

/// Holds a bucket, which is named as in snapshots, against what is relied on. Pure.
fn judge(settings: &BucketSettings, relied: &Relied<'_>, store: &[u8]) -> Judgement {
    let mode = lock_mode(relied.lock);
    let mut weaknesses = Vec::new();
    if settings.has_versions == Some(false) {
        weaknesses.push(Weakness::NoVersions);
    }
    if settings.has_locks == Some(false) && mode.is_some() {
        weaknesses.push(Weakness::NoLocks);
    }
    let rules = settings.hazards.iter().flatten();
    // Where nothing is locked, the bucket's rules are what deletes what was hidden.
    let rules =
        rules.filter(|rule| relied.lock != LockStrategy::Hide || rule.harm != Harm::DeletesBeneath);
    weaknesses.extend(rules.cloned().map(Weakness::Rule));
    // A repository that no probe speaks of was made where nothing is locked, or by hand.
    let is_untried = !relied.probes.is_empty() && !relied.probes.has(store, relied.lock);
    if mode.is_some() && is_untried {
        weaknesses.push(Weakness::Untried);
    }
    let before = relied.probes.default_retention(store).and_then(stated);
    if let (Some(before), Some(now)) = (before, settings.default_retention)
        && now.is_none_or(|now| is_weaker(now, before))
        && mode.is_some()
    {
        weaknesses.push(Weakness::RetentionWeakened { before, now });
    }
    let told = [
        ("versioning", settings.has_versions.is_some()),
        ("Object Lock", settings.has_locks.is_some()),
        ("lifecycle rules", settings.hazards.is_some()),
    ];
    let untold = told.into_iter().filter(|(_, is_told)| !is_told);
    Judgement {
        weaknesses,
        short: short_retention(settings, relied.lock, relied.terms.as_ref()),
        untold: untold.map(|(what, _)| what).collect(),
    }
}

/// Whether the lock that a bucket gives by itself is too short for whoever leaves locks to it: L + M + G are needed, in
/// whole days. One that gives none at all is for clients that lock by themselves.
fn short_retention(
    settings: &BucketSettings,
    lock: LockStrategy,
    terms: Option<&Terms>,
) -> Option<ShortRetention> {
    let found = settings.default_retention.flatten()?;
    let needed = DefaultRetention {
        mode: lock_mode(lock)?,
        days: u32::try_from(terms?.longest_lock_days()).unwrap_or(u32::MAX),
    };
    is_weaker(found, needed).then_some(ShortRetention { found, needed })
}

/// What is recorded of a store that was just tried out for a policy's strategy, and whether its bucket's own locks are too
/// short for it; `None`: there is no bucket, or the strategy relies on nothing.
///
/// Cost: at most three requests.
pub fn record(
    repository: &Repository,
    policy: &Policy,
) -> Result<Option<(Fact, Option<ShortRetention>)>> {
    let bucket = repository.objects.store().bucket();
    let Some(bucket) = bucket.filter(|_| relies_on_store(policy.lock)) else {
        return Ok(None);
    };
    let settings = repository.objects.block_on(bucket.settings())?;
    let retention = settings.default_retention.flatten();
    let fact = Fact::Probe(Probe {
        store: store_digest(repository),
        lock: policy.lock,
        default_retention: retention.map(|retention| ledger::DefaultRetention {
            lock: match retention.mode {
                LockMode::Compliance => LockStrategy::Compliance,
                LockMode::Governance => LockStrategy::Governance,
            },
            days: retention.days,
        }),
    });
    let terms = Terms::try_from(policy).ok();
    let short = short_retention(&settings, policy.lock, terms.as_ref());
    Ok(Some((fact, short)))
}

/// A default retention as it was recorded.
fn stated(retention: ledger::DefaultRetention) -> Option<DefaultRetention> {
    Some(DefaultRetention {
        mode: lock_mode(retention.lock)?,
        days: retention.days,
    })
}

/// Whether one default retention protects less than another.
fn is_weaker(found: DefaultRetention, than: DefaultRetention) -> bool {
    found.mode < than.mode || found.days < than.days
}

fn retention_text(retention: Option<DefaultRetention>) -> String {
    match retention {
        None => "none".to_owned(),
        Some(DefaultRetention { mode, days }) => {
            let mode = match mode {
                LockMode::Compliance => "compliance",
                LockMode::Governance => "governance",
            };
            format!("{days} d in {mode} mode")
        }
    }
}

#[cfg(test)]
mod tests {
    use dolmen_format::{ObjectId, Timestamp};

    use super::*;
    use crate::lease::{Asked, ExtensionCost};

    const HERE: &[u8] = b"here";

    fn good() -> BucketSettings {
        BucketSettings {
            has_versions: Some(true),
            has_locks: Some(true),
            default_retention: Some(None),
            hazards: Some(Vec::new()),
        }
    }

    fn gives(mode: LockMode, days: u32) -> BucketSettings {
        BucketSettings {
            default_retention: Some(Some(DefaultRetention { mode, days })),
            ..good()
        }
    }

    /// Those of 30, 7 and 1 days: 40 days are the longest lock.
    fn terms() -> Terms {
        Terms::with_defaults(&Asked {
            protect_seconds: 30 * 86_400,
            generation_seconds: None,
            interval_seconds: None,
            extension: ExtensionCost::Free,
        })
        .unwrap()
    }

    fn tried(store: &[u8], lock: LockStrategy, days: Option<u32>) -> Probes {
        let mut probes = Probes::default();
        let probe = Probe {
            store: store.to_vec(),
            lock,
            default_retention: days.map(|days| ledger::DefaultRetention {
                lock: LockStrategy::Compliance,
                days,
            }),
        };
        probes.take(Timestamp::from_seconds(1), ObjectId::of(&[]), &probe);
        probes
    }

    fn judged(settings: &BucketSettings, lock: LockStrategy, probes: &Probes) -> Judgement {
        let terms = Some(terms());
        judge(
            settings,
            &Relied {
                lock,
                terms,
                probes,
            },
            HERE,
        )
    }

    fn weaknesses(settings: &BucketSettings, lock: LockStrategy) -> Vec<Weakness> {
        judged(settings, lock, &Probes::default()).weaknesses
    }

    #[test]
    fn a_good_bucket_has_no_weakness_under_any_strategy() {
        for lock in [
            LockStrategy::None,
            LockStrategy::Compliance,
            LockStrategy::Governance,
            LockStrategy::Hold,
            LockStrategy::Hide,
        ] {
            let judged = judged(&good(), lock, &tried(HERE, lock, None));
            assert_eq!(judged, Judgement::default(), "{lock:?}");
        }
    }

    #[test]
    fn what_takes_away_or_does_not_protect_is_told() {
        let compliance = LockStrategy::Compliance;
        let suspended = BucketSettings {
            has_versions: Some(false),
            ..good()
        };
        assert_eq!(weaknesses(&suspended, compliance), [Weakness::NoVersions]);
        assert_eq!(
            weaknesses(&suspended, LockStrategy::None),
            [Weakness::NoVersions]
        );
        let unlocked = BucketSettings {
            has_locks: Some(false),
            ..good()
        };
        assert_eq!(weaknesses(&unlocked, compliance), [Weakness::NoLocks]);
        assert_eq!(weaknesses(&unlocked, LockStrategy::None), []);
        for (harm, is_wanted) in [
            (Harm::Expires, false),
            (Harm::Archives, false),
            // That is how a bucket without locks lets go of what is hidden.
            (Harm::DeletesBeneath, true),
        ] {
            let hazard = Hazard {
                rule: "tidy".to_owned(),
                harm,
            };
            let ruled = BucketSettings {
                hazards: Some(vec![hazard.clone()]),
                ..good()
            };
            let told = [Weakness::Rule(hazard)];
            assert_eq!(weaknesses(&ruled, compliance), told);
            let hiding = weaknesses(&ruled, LockStrategy::Hide);
            assert_eq!(hiding.is_empty(), is_wanted, "{harm:?}");
        }
    }

    #[test]
    fn what_was_tried_elsewhere_or_for_another_lock_says_nothing() {
        let compliance = LockStrategy::Compliance;
        for probes in [
            tried(b"there", compliance, None),
            tried(HERE, LockStrategy::Governance, None),
        ] {
            let told = judged(&good(), compliance, &probes).weaknesses;
            assert_eq!(told, [Weakness::Untried]);
            assert_eq!(judged(&good(), LockStrategy::None, &probes).weaknesses, []);
        }
        assert_eq!(weaknesses(&good(), compliance), []);
    }

    #[test]
    fn a_default_retention_that_became_weaker_is_told_and_one_that_is_too_short_is_mentioned() {
        let compliance = LockStrategy::Compliance;
        let probes = tried(HERE, compliance, Some(40));
        for (now, is_weaker, is_short) in [
            (gives(LockMode::Compliance, 40), false, false),
            (gives(LockMode::Compliance, 400), false, false),
            (gives(LockMode::Compliance, 39), true, true),
            (gives(LockMode::Governance, 400), true, true),
            (good(), true, false),
        ] {
            let judged = judged(&now, compliance, &probes);
            let told = matches!(
                judged.weaknesses.as_slice(),
                [Weakness::RetentionWeakened { .. }]
            );
            assert_eq!(told, is_weaker, "{judged:?}");
            assert_eq!(judged.weaknesses.is_empty(), !is_weaker, "{judged:?}");
            assert_eq!(judged.short.is_some(), is_short, "{judged:?}");
        }
        let short = judged(
            &gives(LockMode::Governance, 7),
            compliance,
            &Probes::default(),
        );
        assert_eq!(short.weaknesses, []);
        assert_eq!(
            short.short.unwrap().to_string(),
            "the bucket's default retention is 7 d in governance mode, and whoever leaves locks to the bucket needs 40 d \
             in compliance mode"
        );
    }

    #[test]
    fn what_is_not_told_is_no_weakness_and_is_said() {
        let judged = judged(
            &BucketSettings::default(),
            LockStrategy::Compliance,
            &tried(HERE, LockStrategy::Compliance, Some(40)),
        );
        assert_eq!(judged.weaknesses, []);
        assert_eq!(
            judged.untold,
            ["versioning", "Object Lock", "lifecycle rules"]
        );
    }
}
