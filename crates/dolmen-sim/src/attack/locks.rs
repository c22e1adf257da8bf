//! Attacks on locks, and on what they keep.

use dolmen_store::{Hold, Lock, LockMode, ObjectRef, Store as _};

use super::{Strike, attempt};
use crate::error::SimError;
use crate::kit::DAY;
use crate::model::Stored;

/// How long "for ever" is.
const EVER_DAYS: i64 = 20 * 365;

impl Strike<'_> {
    /// An earlier end, by the call that extends and by the one that weakens.
    pub(super) fn shorten(&mut self) -> Result<(), SimError> {
        let earlier = self.kit.now().saturating_add_seconds(DAY);
        for stored in self.all.clone() {
            if !self.dice.chance(500) {
                continue;
            }
            let object = object_of(&stored);
            let mode = if self.dice.chance(500) {
                LockMode::Compliance
            } else {
                LockMode::Governance
            };
            let lock = Lock {
                mode,
                until: earlier,
            };
            attempt(self.kit.block_on(self.store.extend(&object, lock)))?;
            attempt(self.store.weaken(&object, Some(lock)))?;
            attempt(self.store.weaken(&object, None))?;
        }
        Ok(())
    }

    /// Locks that end in decades; returns the keys that have them now.
    pub(super) fn extend_for_ever(&mut self) -> Result<Vec<String>, SimError> {
        let seconds = EVER_DAYS.saturating_mul(DAY);
        let lock = Lock {
            mode: LockMode::Compliance,
            until: self.kit.now().saturating_add_seconds(seconds),
        };
        let mut extended = Vec::new();
        for stored in self.all.clone() {
            let object = object_of(&stored);
            if self.dice.chance(100)
                && attempt(self.kit.block_on(self.store.extend(&object, lock)))?.is_some()
            {
                extended.push(stored.key.to_string());
            }
        }
        Ok(extended)
    }

    /// The same by the call that asks for governance to be bypassed.
    pub(super) fn bypass(&mut self) -> Result<(), SimError> {
        for stored in self.all.clone() {
            attempt(self.store.delete_bypassing(&object_of(&stored)))?;
        }
        Ok(())
    }

    /// Some packs go, whatever keeps them: a hold is lifted first, and a lock in governance mode bypassed. Whoever takes the
    /// root, too, leaves nothing that could tell of it.
    pub(super) fn destroy(&mut self) -> Result<(), SimError> {
        for stored in self.all.clone() {
            let is_chosen = stored.key.as_str().starts_with("packs/") && self.dice.chance(250);
            if !is_chosen {
                continue;
            }
            let object = object_of(&stored);
            attempt(self.kit.block_on(self.store.hold(&object, Hold::Off)))?;
            attempt(self.store.delete_bypassing(&object))?;
            attempt(self.kit.block_on(self.store.delete_version(&object)))?;
        }
        Ok(())
    }

    /// Everything that can be deleted is.
    pub(super) fn delete_versions(&mut self) -> Result<(), SimError> {
        for stored in self.all.clone() {
            let object = object_of(&stored);
            let delete = self.store.delete_version(&object);
            attempt(self.kit.block_on(delete))?;
        }
        Ok(())
    }
}

fn object_of(stored: &Stored) -> ObjectRef {
    ObjectRef {
        key: stored.key.clone(),
        version: stored.version.clone(),
    }
}
