//! What keeps a world's objects, and what its attacker stole.

use dolmen_format::ledger::LockStrategy;
use dolmen_store::memory::{LifecycleRule, Right};
use dolmen_store::{Api, Credential, MemoryModel, MemoryOptions};

use crate::attack::Attack;
use crate::dice::Dice;

/// D in days, no less than L + M of any policy of the owner's.
pub(crate) const HIDDEN_DAYS: u32 = 90;

/// What keeps what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// The store.
    pub model: MemoryModel,
    /// How objects are locked.
    pub lock: LockStrategy,
}

impl Keeping {
    /// A folder: one body for each key.
    pub fn plain() -> Self {
        Self::unlocked(MemoryOptions::PLAIN)
    }

    /// A bucket with versions and without locks.
    pub fn versions() -> Self {
        Self::unlocked(MemoryOptions::VERSIONS)
    }

    fn unlocked(options: MemoryOptions) -> Self {
        Self {
            model: options.into(),
            lock: LockStrategy::None,
        }
    }

    /// A bucket with Object Lock, of one make or another.
    pub fn locks(dice: &mut Dice) -> Self {
        let model = match dice.below(3) {
            0 => MemoryOptions::LOCKS.into(),
            1 => MemoryModel::s3(MemoryOptions::LOCKS),
            _ => MemoryModel::b2(MemoryOptions::LOCKS),
        };
        let lock = if dice.chance(700) {
            LockStrategy::Compliance
        } else {
            LockStrategy::Governance
        };
        Self { model, lock }
    }

    /// A bucket with Object Lock, where holds keep what lives.
    pub fn holds(dice: &mut Dice) -> Self {
        Self {
            lock: LockStrategy::Hold,
            ..Self::locks(dice)
        }
    }

    /// A bucket with versions whose rules delete what the plain view does not show.
    pub fn hides(dice: &mut Dice) -> Self {
        let model = if dice.chance(500) {
            MemoryModel::s3(MemoryOptions::VERSIONS)
        } else {
            MemoryModel::b2(MemoryOptions::VERSIONS)
        };
        Self {
            model,
            lock: LockStrategy::Hide,
        }
    }

    /// Whether the store states until when it keeps an object.
    pub fn has_locks(&self) -> bool {
        self.model.options.locks
    }

    /// Whether protection has an end that maintenance makes later, be it a lock's or that of what is hidden.
    pub fn is_renewed(&self) -> bool {
        self.lock != LockStrategy::None
    }

    /// The rules by which the bucket tidies itself.
    pub(crate) fn lifecycle(&self) -> Vec<LifecycleRule> {
        let deletes = self.lock == LockStrategy::Hide;
        let rule = deletes.then(|| LifecycleRule {
            delete_noncurrent_days: Some(HIDDEN_DAYS),
            ..LifecycleRule::default()
        });
        rule.into_iter().collect()
    }

    /// L, G and I at first, in days. With locks maintenance has to run as often as it promises, so it promises less.
    pub(crate) fn first_days(&self) -> [u64; 3] {
        if self.is_renewed() {
            [30, 15, 10]
        } else {
            [30, 7, 1]
        }
    }

    /// What every client holds: it can neither delete nor shorten.
    pub(crate) fn client(&self) -> Credential {
        let client = if self.has_locks() {
            Credential::locking_client()
        } else {
            Credential::client()
        };
        if self.lock == LockStrategy::Hold {
            // Who relies on holds has to see them.
            client
                .with(Right::GetObjectLegalHold)
                .with(Right::ReadFileLegalHolds)
        } else {
            client
        }
    }

    /// What maintenance holds.
    pub(crate) fn maintainer(&self) -> Credential {
        let client = self.client().with(Right::DeleteObject);
        if self.lock == LockStrategy::Hide && self.model.api == Api::B2 {
            // Prune hides, and nobody needs a right to delete.
            return client;
        }
        let pruner = client
            .with(Right::DeleteObjectVersion)
            .with(Right::DeleteFiles);
        if self.lock == LockStrategy::Hold {
            pruner
                .with(Right::PutObjectLegalHold)
                .with(Right::WriteFileLegalHolds)
        } else {
            pruner
        }
    }
}

/// What an attacker stole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stolen {
    /// A client's key of the store.
    ClientKey,
    /// That, and the passphrase.
    Passphrase,
    /// A client's key of the store, and a signing key that may add backups.
    BackupKey,
    /// A renewer's key, which may only list and set retention.
    RenewerKey,
    /// A pruner's key, which may delete what no lock keeps.
    PrunerKey,
    /// Every key that there is, and the passphrase; not the store's account.
    AllButTheAccount,
    /// The key of a maintenance that may break what keeps objects: bypass governance, or lift holds. It destroys, and what it
    /// destroyed is found; nothing else is promised.
    Breaker,
}

impl Stolen {
    /// What can be stolen where nothing is locked, or by holds: whoever may delete there, or lift, may destroy, and nobody
    /// promises otherwise.
    const UNLOCKED: [Self; 3] = [Self::ClientKey, Self::BackupKey, Self::Passphrase];
    const LOCKED: [Self; 6] = [
        Self::ClientKey,
        Self::BackupKey,
        Self::Passphrase,
        Self::RenewerKey,
        Self::PrunerKey,
        Self::AllButTheAccount,
    ];

    /// Draws what was stolen in a world.
    pub(crate) fn draw(keeping: &Keeping, dice: &mut Dice) -> Option<Self> {
        let is_breakable = matches!(keeping.lock, LockStrategy::Governance | LockStrategy::Hold);
        let all: &[Self] = match keeping.lock {
            _ if is_breakable && dice.chance(250) => &[Self::Breaker],
            LockStrategy::Compliance | LockStrategy::Governance => &Self::LOCKED,
            LockStrategy::Hold
            | LockStrategy::Hide
            | LockStrategy::None
            | LockStrategy::Attribute => &Self::UNLOCKED,
        };
        dice.pick(all).copied()
    }

    /// The rights of the stolen keys. On a store where puts and markers are one right, a client can hide.
    pub(crate) fn credential(self, keeping: &Keeping) -> Credential {
        let client = keeping.client().with(Right::DeleteObject);
        match self {
            Self::ClientKey | Self::BackupKey | Self::Passphrase => client,
            Self::RenewerKey => Credential::renewer(),
            Self::PrunerKey => Credential::pruner().with(Right::DeleteObject),
            Self::Breaker => keeping
                .maintainer()
                .with(Right::BypassGovernanceRetention)
                .with(Right::BypassGovernance),
            Self::AllButTheAccount => {
                let all = client
                    .with(Right::DeleteObjectVersion)
                    .with(Right::DeleteFiles)
                    .with(Right::PutObjectLegalHold);
                // Against whoever may bypass governance, that promises nothing.
                if keeping.lock == LockStrategy::Governance {
                    all
                } else {
                    all.with(Right::BypassGovernanceRetention)
                        .with(Right::BypassGovernance)
                }
            }
        }
    }

    /// Whether whoever stole it can sign as the owner.
    pub(crate) fn has_passphrase(self) -> bool {
        matches!(self, Self::Passphrase | Self::AllButTheAccount)
    }

    /// What can be tried with it.
    pub(crate) fn attacks(self, keeping: &Keeping) -> Vec<Attack> {
        let mut attacks = Vec::new();
        if self != Self::RenewerKey {
            attacks.extend(Attack::WITH_CREDENTIAL);
        }
        if self == Self::Breaker {
            attacks.extend([Attack::Destroy; 6]);
        } else if keeping.has_locks() {
            attacks.extend(Attack::ON_LOCKS);
        }
        if self == Self::BackupKey {
            attacks.extend([Attack::PlantAsBackup; 4]);
        }
        if self.has_passphrase() {
            attacks.extend(Attack::WITH_PASSPHRASE);
        }
        attacks
    }
}
