//! Which versions were hashed before, and what came of it: junk is not fetched twice.

use std::path::Path;
use std::sync::Mutex;

use dolmen_format::ObjectKey;
use dolmen_state::{NoteKey, VersionNote, VersionNotes};
use dolmen_store::{StoreIdentity, Version};

use super::versions::lock as locked;

/// What the bytes of a version turned out to be. On a store with versions no version gets other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What their name says.
    Authentic,
    /// Something else.
    Junk,
}

/// The verdicts that a client knows, from earlier runs too.
#[derive(Debug, Default)]
pub(super) struct Hashes(Mutex<VersionNotes>);

impl Hashes {
    pub(super) fn keep_in(&self, folder: &Path) {
        locked(&self.0).keep_in(folder.join("hashed-versions"));
    }

    /// Writes what is new to where it is kept. A cache that cannot be written costs requests, and nothing else.
    pub(super) fn save(&self) {
        let _kept = locked(&self.0).save(BEFORE_ALL);
    }

    pub(super) fn get(
        &self,
        store: &StoreIdentity,
        key: &ObjectKey,
        version: &Version,
    ) -> Option<Verdict> {
        let note = locked(&self.0).get(&note_key(store, key, version))?;
        match note.kind {
            AUTHENTIC => Some(Verdict::Authentic),
            JUNK => Some(Verdict::Junk),
            _ => None,
        }
    }

    pub(super) fn note(
        &self,
        store: &StoreIdentity,
        key: &ObjectKey,
        version: &Version,
        verdict: Verdict,
    ) {
        let note = VersionNote {
            // The version is part of what it is looked up by.
            version: [0; 8],
            // It never lapses.
            until: i64::MAX,
            read_at: BEFORE_ALL,
            kind: match verdict {
                Verdict::Authentic => AUTHENTIC,
                Verdict::Junk => JUNK,
            },
        };
        locked(&self.0).note(note_key(store, key, version), note, BEFORE_ALL);
    }
}

const AUTHENTIC: u8 = 1;
const JUNK: u8 = 2;
/// A time at which nothing has lapsed.
const BEFORE_ALL: i64 = i64::MIN;

fn note_key(store: &StoreIdentity, key: &ObjectKey, version: &Version) -> NoteKey {
    digest(&[store.as_str(), &key.to_string(), version.as_str()])
}

/// A digest of names, none of which holds a zero byte.
pub(super) fn digest<const BYTES: usize>(names: &[&str]) -> [u8; BYTES] {
    let mut digest = [0; BYTES];
    let mut hasher = blake3::Hasher::new();
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            hasher.update(&[0]);
        }
        hasher.update(name.as_bytes());
    }
    hasher.finalize_xof().fill(&mut digest);
    digest
}
