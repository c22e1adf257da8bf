//! The dates that a client knows of locks, all of them from the store's own mouth.

use std::path::Path;
use std::sync::Mutex;

use dolmen_format::{ObjectKey, Timestamp};
use dolmen_state::{NoteKey, VersionNote, VersionNotes};
use dolmen_store::{Lock, LockMode, LockStatus, StoreIdentity, Version};

use super::hashes::digest;
use super::locking::Locking;
use super::versions::lock as locked;

/// What is known of the one version of a key, or of the one that was found to be authentic. What lies under another
/// writer's name is another key.
#[derive(Debug, Default)]
pub(super) struct Dates(Mutex<VersionNotes>);

/// A lock that was read before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    version: [u8; 8],
    pub(super) status: LockStatus,
    read_at: Timestamp,
}

impl Known {
    pub(super) fn is_of(&self, version: &Version) -> bool {
        self.version == digest_of(version)
    }

    /// Whether it need not be read again; see [`Locking::still_counts`].
    pub(super) fn counts(&self, locking: &Locking) -> bool {
        locking.still_counts(self.status, self.read_at)
    }

    /// Whether it was read within this generation.
    pub(super) fn is_recent(&self, locking: &Locking) -> bool {
        locking.is_of_this_generation(self.read_at)
    }

    /// Whether the lock ended later than it does now: nobody shortens one but an attacker.
    pub(super) fn was_longer_than(&self, now: LockStatus) -> bool {
        let until = |status: LockStatus| status.retention().map(|lock| lock.until);
        until(self.status) > until(now)
    }
}

impl Dates {
    pub(super) fn keep_in(&self, folder: &Path) {
        locked(&self.0).keep_in(folder.join("lock-dates"));
    }

    /// Writes what is new to where it is kept. A cache that cannot be written costs requests, and nothing else.
    pub(super) fn save(&self, now: Timestamp) {
        let _kept = locked(&self.0).save(now.seconds);
    }

    pub(super) fn get(&self, store: &StoreIdentity, key: &ObjectKey) -> Option<Known> {
        let date = locked(&self.0).get(&date_key(store, key))?;
        let until = Timestamp::from_seconds(date.until);
        let by = |mode| LockStatus::Until(Lock { mode, until });
        Some(Known {
            version: date.version,
            status: match date.kind {
                COMPLIANCE => by(LockMode::Compliance),
                GOVERNANCE => by(LockMode::Governance),
                HELD => LockStatus::Held { retention: None },
                _ => return None,
            },
            read_at: Timestamp::from_seconds(date.read_at),
        })
    }

    /// Notes what the store states of a version.
    pub(super) fn note(
        &self,
        store: &StoreIdentity,
        (key, version): (&ObjectKey, &Version),
        status: LockStatus,
        locking: &Locking,
    ) {
        let (kind, until) = match status {
            LockStatus::Unknown | LockStatus::None => return,
            LockStatus::Until(lock) => match lock.mode {
                LockMode::Compliance => (COMPLIANCE, lock.until.seconds),
                LockMode::Governance => (GOVERNANCE, lock.until.seconds),
            },
            // What lies beneath a hold counts once that is lifted.
            LockStatus::Held { .. } => (HELD, i64::MAX),
        };
        let now = locking.clocks().local.seconds;
        let date = VersionNote {
            version: digest_of(version),
            until,
            read_at: now,
            kind,
        };
        let (mut dates, key) = (locked(&self.0), date_key(store, key));
        let known = dates.get(&key);
        let is_news = known.is_none_or(|known| {
            let age = now.saturating_sub(known.read_at);
            let half = locking.terms().generation_seconds() / 2;
            let is_young = u64::try_from(age).is_ok_and(|age| age < half);
            !is_young
                || (VersionNote {
                    read_at: now,
                    ..known
                }) != date
        });
        if is_news {
            dates.note(key, date, now);
        }
    }
}

const COMPLIANCE: u8 = 1;
const GOVERNANCE: u8 = 2;
const HELD: u8 = 3;

fn date_key(store: &StoreIdentity, key: &ObjectKey) -> NoteKey {
    digest(&[store.as_str(), &key.to_string()])
}

fn digest_of(version: &Version) -> [u8; 8] {
    digest(&[version.as_str()])
}
