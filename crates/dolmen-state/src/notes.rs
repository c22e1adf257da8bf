//! What a client learnt of versions of objects, so that nothing is asked for twice: ends of locks, results of hashing.
//!
//! A sorted file in the cache folder, mapped, of records of 48 bytes: `key (16) ‖ version (8) ‖ until (i64) ‖ read at
//! (i64) ‖ kind (u8) ‖ checksum (7)`. What is new is kept in memory, and merged into a new file when that is full. A
//! record that is damaged is not found: a date that is too late would let an object lapse.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use dolmen_format::bytes::take;

use crate::durable::{publish, temporary_beside};
use crate::error::{Operation, StateError};
use crate::map::Map;

const RECORD_BYTES: usize = 48;
const CHECKED_BYTES: usize = 41;
/// Notes in memory: some 16 MiB.
const FRESH_MAX: usize = 1 << 17;
/// Notes in the file: 384 MiB. What is beyond is asked for again.
const NOTES_MAX: u64 = 1 << 23;

/// What a note is looked up by: a digest of the store and the object.
pub type NoteKey = [u8; 16];

/// What was learnt of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionNote {
    /// A digest of the version.
    pub version: [u8; 8],
    /// When it lapses, in seconds since 1970.
    pub until: i64,
    /// When it was learnt, in seconds since 1970 by the local clock.
    pub read_at: i64,
    /// What it is, as the caller tells kinds apart.
    pub kind: u8,
}

/// What a client knows of versions.
#[derive(Debug, Default)]
pub struct VersionNotes {
    path: Option<PathBuf>,
    stored: Option<Map>,
    fresh: BTreeMap<NoteKey, VersionNote>,
}

impl VersionNotes {
    /// Keeps notes in a file, which need not be there, with those that are in memory already. One that cannot be read
    /// holds nothing: this is a cache.
    pub fn keep_in(&mut self, path: PathBuf) {
        self.stored = map(&path);
        self.path = Some(path);
    }

    /// What was noted last.
    pub fn get(&self, key: &NoteKey) -> Option<VersionNote> {
        let fresh = self.fresh.get(key).copied();
        fresh.or_else(|| self.stored.as_ref().and_then(|map| find(map.bytes(), key)))
    }

    /// Notes something in the place of the one before. At `now`, in seconds since 1970, room is made of what has lapsed.
    pub fn note(&mut self, key: NoteKey, note: VersionNote, now: i64) {
        if self.fresh.len() >= FRESH_MAX {
            // What cannot be kept is asked for again.
            let _kept = self.save(now);
            self.fresh.clear();
        }
        self.fresh.insert(key, note);
    }

    /// Writes what is new into the file, and leaves out what has lapsed at `now`. Without a file nothing is done.
    pub fn save(&mut self, now: i64) -> Result<(), StateError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if self.fresh.is_empty() {
            return Ok(());
        }
        // Another process may have written it anew since.
        let stored = map(path);
        let stored = stored.as_ref().map_or(&[][..], Map::bytes);
        write_merged(path, stored, &self.fresh, now)?;
        self.stored = map(path);
        self.fresh.clear();
        Ok(())
    }
}

fn map(path: &Path) -> Option<Map> {
    Map::of(&File::open(path).ok()?).ok()
}

/// Writes both, ascending; what is fresh counts.
fn write_merged(
    path: &Path,
    stored: &[u8],
    fresh: &BTreeMap<NoteKey, VersionNote>,
    now: i64,
) -> Result<(), StateError> {
    let mut file = temporary_beside(path)?;
    let mut write = || -> io::Result<()> {
        let mut to = BufWriter::new(file.as_file_mut());
        let stored = stored.chunks_exact(RECORD_BYTES).filter_map(decode);
        let mut stored = stored.peekable();
        let (mut fresh, mut written) = (fresh.iter().peekable(), 0_u64);
        loop {
            let next_fresh = fresh.peek().map(|(key, _)| **key);
            let next_stored = stored.peek().map(|(key, _)| *key);
            let (key, note) = match (next_fresh, next_stored) {
                (None, None) => break,
                (Some(new), Some(old)) if old < new => stored.next(),
                (None, Some(_)) => stored.next(),
                (Some(new), old) => {
                    if old == Some(new) {
                        stored.next();
                    }
                    fresh.next().map(|(key, note)| (*key, *note))
                }
            }
            .unwrap_or_default();
            if note.until > now && written < NOTES_MAX {
                to.write_all(&encode(&key, &note))?;
                written = written.saturating_add(1);
            }
        }
        to.flush()
    };
    write().map_err(StateError::io(Operation::Write, path))?;
    publish(file, path)
}

fn find(records: &[u8], key: &NoteKey) -> Option<VersionNote> {
    let (mut first, mut end) = (0, records.len() / RECORD_BYTES);
    while first < end {
        let middle = first.midpoint(end);
        let at = middle.saturating_mul(RECORD_BYTES);
        let record = records.get(at..at.saturating_add(RECORD_BYTES))?;
        match record.get(..key.len())?.cmp(key) {
            core::cmp::Ordering::Less => first = middle.saturating_add(1),
            core::cmp::Ordering::Greater => end = middle,
            core::cmp::Ordering::Equal => return decode(record).map(|(_, note)| note),
        }
    }
    None
}

fn encode(key: &NoteKey, note: &VersionNote) -> [u8; RECORD_BYTES] {
    let VersionNote {
        version,
        until,
        read_at,
        kind,
    } = note;
    let mut record = [0; RECORD_BYTES];
    let parts = [
        key.as_slice(),
        version,
        &until.to_le_bytes(),
        &read_at.to_le_bytes(),
        &[*kind],
    ]
    .concat();
    let checksum = blake3::hash(&parts);
    let bytes = parts.iter().chain(checksum.as_bytes());
    for (to, from) in record.iter_mut().zip(bytes) {
        *to = *from;
    }
    record
}

fn decode(record: &[u8]) -> Option<(NoteKey, VersionNote)> {
    let (checked, checksum) = record.split_at_checked(CHECKED_BYTES)?;
    if !blake3::hash(checked).as_bytes().starts_with(checksum) {
        return None;
    }
    let mut left = checked;
    let left = &mut left;
    let key = take(left).ok()?;
    let note = VersionNote {
        version: take(left).ok()?,
        until: i64::from_le_bytes(take(left).ok()?),
        read_at: i64::from_le_bytes(take(left).ok()?),
        kind: u8::from_le_bytes(take(left).ok()?),
    };
    Some((key, note))
}

impl Default for VersionNote {
    /// One that has lapsed.
    fn default() -> Self {
        Self {
            version: [0; 8],
            until: i64::MIN,
            read_at: i64::MIN,
            kind: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> NoteKey {
        *blake3::hash(&[number]).as_bytes().first_chunk().unwrap()
    }

    fn note_of(until: i64) -> VersionNote {
        VersionNote {
            version: [3; 8],
            until,
            read_at: 7,
            kind: 1,
        }
    }

    fn kept(folder: &tempfile::TempDir) -> VersionNotes {
        let mut notes = VersionNotes::default();
        notes.keep_in(folder.path().join("notes"));
        notes
    }

    #[test]
    fn notes_are_found_again_by_another_run_and_the_newest_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = kept(&folder);
        for number in 0..100 {
            notes.note(key(number), note_of(100 + i64::from(number)), 0);
        }
        notes.save(0).unwrap();
        notes.note(key(7), note_of(500), 0);
        assert_eq!(notes.get(&key(7)), Some(note_of(500)));
        // Another process writes between.
        let mut other = kept(&folder);
        other.note(key(200), note_of(900), 0);
        other.save(0).unwrap();
        notes.save(120).unwrap();
        let again = kept(&folder);
        assert_eq!(again.get(&key(7)), Some(note_of(500)));
        assert_eq!(again.get(&key(200)), Some(note_of(900)));
        assert_eq!(again.get(&key(20)), None);
        assert_eq!(again.get(&key(21)), Some(note_of(121)));
        assert_eq!(again.get(&key(201)), None);
    }

    #[test]
    fn a_record_that_was_altered_anywhere_is_not_found_and_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = kept(&folder);
        let mut keys = [key(1), key(2), key(3)];
        keys.sort_unstable();
        for key in keys {
            notes.note(key, note_of(100), 0);
        }
        notes.save(0).unwrap();
        let path = folder.path().join("notes");
        let whole = std::fs::read(&path).unwrap();
        // The key itself is what is searched by.
        for at in RECORD_BYTES + 16..2 * RECORD_BYTES {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let notes = kept(&folder);
            assert_eq!(notes.get(&keys[1]), None, "byte {at}");
            assert_eq!(notes.get(&keys[0]), Some(note_of(100)), "byte {at}");
            assert_eq!(notes.get(&keys[2]), Some(note_of(100)), "byte {at}");
        }
        // A file that was cut.
        std::fs::write(&path, &whole[..2 * RECORD_BYTES + 5]).unwrap();
        assert_eq!(kept(&folder).get(&keys[0]), Some(note_of(100)));
    }

    #[test]
    fn without_a_file_the_memory_is_bounded() {
        let mut notes = VersionNotes::default();
        for number in 0..u64::try_from(FRESH_MAX).unwrap() + 10 {
            let digest = blake3::hash(&number.to_le_bytes());
            notes.note(*digest.as_bytes().first_chunk().unwrap(), note_of(9), 0);
        }
        assert_eq!(notes.fresh.len(), 10);
    }
}
