//! What keeps a world's objects, and what its attacker stole.

use dolmen_format::ledger::LockStrategy;
use dolmen_store::memory::Right;
use dolmen_store::{Credential, MemoryModel, MemoryOptions};

use crate::attack::Attack;
use crate::dice::Dice;

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

    /// Whether objects are locked.
    pub fn is_locked(&self) -> bool {
        self.model.options.locks
    }

    /// L, G and I at first, in days. With locks maintenance has to run as often as it promises, so it promises less.
    pub(crate) fn first_days(&self) -> [u64; 3] {
        if self.is_locked() {
            [30, 15, 10]
        } else {
            [30, 7, 1]
        }
    }

    /// What every client holds: it can neither delete nor shorten.
    pub(crate) fn client(&self) -> Credential {
        if self.is_locked() {
            Credential::locking_client()
        } else {
            Credential::client()
        }
    }

    /// What maintenance holds.
    pub(crate) fn maintainer(&self) -> Credential {
        let credential = Credential::pruner().with(Right::DeleteObject);
        if self.is_locked() {
            credential
                .with(Right::PutObjectRetention)
                .with(Right::WriteFileRetentions)
        } else {
            credential
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
}

impl Stolen {
    /// What can be stolen where nothing is locked: whoever may delete there may destroy, and nobody promises otherwise.
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
        let all: &[Self] = if keeping.is_locked() {
            &Self::LOCKED
        } else {
            &Self::UNLOCKED
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
        if keeping.is_locked() {
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
