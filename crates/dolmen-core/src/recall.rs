//! What maintenance has seen alive and the store does not give any more.
//!
//! Only a retirement ends a life: an object that is gone, or that cannot be read, goes on counting as this machine
//! remembers it, and so does what it needs.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::{ObjectId, ObjectKey, Timestamp};
use dolmen_state::state::{NumberRange, Remembered, Sighting, Sightings};

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, reason};
use crate::lease::Terms;
use crate::lives::{self, Life};
use crate::numbers;
use crate::objects::{Listed, Objects};
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

/// Where a list is read from besides the store.
#[derive(Debug, Clone, Copy)]
pub enum Recall<'a> {
    /// From nowhere.
    Nothing,
    /// From what this machine remembers, too.
    Seen(&'a Sightings),
    /// The same, and a listing that breaks off is no error: for whoever only keeps.
    Whatever(&'a Sightings),
}

/// Why an object is taken from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// The store lists it no longer.
    Gone,
    /// The store lists it, or could not tell, and does not give its bytes.
    Unread,
}

/// What was taken from memory.
#[derive(Debug, Clone, Default)]
pub struct Recalled {
    /// Objects, and why.
    pub objects: BTreeMap<ObjectKey, Absence>,
    /// Listings that broke off.
    pub broke_off: Findings,
}

impl<'a> Recall<'a> {
    pub(crate) const fn sightings(self) -> Option<&'a Sightings> {
        match self {
            Self::Nothing => None,
            Self::Seen(sightings) | Self::Whatever(sightings) => Some(sightings),
        }
    }

    /// Whether the bytes of an object are remembered.
    pub(crate) fn has_body(self, key: &ObjectKey) -> bool {
        let seen = self.sightings().and_then(|seen| seen.get(&key.to_string()));
        seen.is_some_and(|sighting| !sighting.body.is_empty())
    }

    /// Lists a prefix; returns the names that are none of ours.
    pub(crate) fn list(
        self,
        objects: &Objects,
        prefix: &str,
        recalled: &mut Recalled,
        each: impl FnMut(Listed),
    ) -> Result<Vec<String>> {
        match (objects.list(prefix, each), self) {
            (Err(Error::Store(error)), Self::Whatever(_)) => {
                let finding = Finding::new(prefix, reason(&error));
                recalled.broke_off.push(finding);
                Ok(Vec::new())
            }
            (outcome, _) => outcome,
        }
    }

    /// What was seen of a kind and is not among what the store gave; `each` gets what is remembered of it.
    pub(crate) fn missing(
        self,
        prefix: &str,
        listed: &[Listed],
        recalled: &mut Recalled,
        is_given: impl Fn(&ObjectId) -> bool,
        mut each: impl FnMut(&ObjectKey, &Sighting),
    ) {
        let listed: BTreeSet<_> = listed.iter().map(|object| object.key).collect();
        let broke_off = recalled.broke_off.iter();
        let is_unsure = broke_off.clone().any(|finding| finding.subject == prefix);
        let seen = self.sightings().into_iter();
        for (name, sighting) in seen.flat_map(|seen| seen.of_kind(prefix)) {
            let Ok(key) = name.parse::<ObjectKey>() else {
                continue;
            };
            if is_given(&key.id()) {
                continue;
            }
            let absence = if is_unsure || listed.contains(&key) {
                Absence::Unread
            } else {
                Absence::Gone
            };
            recalled.objects.insert(key, absence);
            if ObjectId::of(&sighting.body) == key.id() {
                each(&key, sighting);
            }
        }
    }
}

impl Recalled {
    /// Whether the store lists an object no longer.
    pub fn is_gone(&self, key: &ObjectKey) -> bool {
        self.objects.get(key) == Some(&Absence::Gone)
    }

    /// What is wrong with those that did not end: each is an alarm.
    fn alarms(&self, ended: &BTreeSet<ObjectId>) -> Findings {
        let alive = self.objects.iter();
        let alive = alive.filter(|(key, _)| !ended.contains(&key.id()));
        alive
            .map(|(key, absence)| Finding::new(key.to_string(), absence.problem()))
            .collect()
    }
}

impl Absence {
    const fn problem(self) -> &'static str {
        match self {
            Self::Gone => {
                "gone, and no retirement names it; what it needs is kept by this machine's own record"
            }
            Self::Unread => {
                "cannot be read; what it needs is kept as this machine's own record has it"
            }
        }
    }
}

/// What maintenance has seen, has not ended, and is not given by the store. Without terms nothing ends.
pub fn alarms(list: &SnapshotList, terms: Option<&Terms>, now: Timestamp) -> Findings {
    list.recalled.alarms(&ended(list, terms, now))
}

/// What is taken from memory and has not ended, by the terms and the clock of now.
pub(crate) fn alive(repository: &Repository, list: &SnapshotList) -> Vec<ObjectKey> {
    let now = repository.environment.clock.now();
    let ended = ended(list, lives::terms(&list.facts, now).as_ref(), now);
    let recalled = list.recalled.objects.keys();
    let alive = recalled.filter(|key| !ended.contains(&key.id()));
    alive.copied().collect()
}

/// Takes what is gone, or told of and not there, as lost for good. What is listed and cannot be read is never given up.
///
/// Cost: two listings of `snapshots/` and `ledger/`, and one request for each object of them that this client keeps no
/// copy of.
pub fn give_up(
    repository: &Repository,
    sightings: &mut Sightings,
    remembered: &mut Remembered,
) -> Result<()> {
    let list = SnapshotList::load_recalling(repository, Recall::Seen(sightings))?;
    let absent = list.recalled.objects.iter();
    let gone = absent.filter(|(_, absence)| **absence == Absence::Gone);
    let gone: BTreeSet<_> = gone.map(|(key, _)| *key).collect();
    sightings.retain(|key| !key.parse().is_ok_and(|key| gone.contains(&key)));
    let ids: BTreeSet<ObjectId> = gone.iter().map(ObjectKey::id).collect();
    // Later objects show that their numbers are used by nothing.
    let used = numbers::of_objects(&list, &ids);
    remembered.given_up.add_numbers(used);
    remembered.given_up.add_objects(ids);
    // What nobody remembers any more leaves its number unused.
    let list = SnapshotList::load_recalling(repository, Recall::Seen(sightings))?;
    let missing = numbers::missing(&list, remembered);
    let ids = missing.objects.keys().map(ObjectKey::id);
    remembered.given_up.add_objects(ids);
    let named = missing.objects.values().map(|object| object.reference);
    let named = named.map(|one| NumberRange::of_one(one.writer, one.instance, one.number));
    remembered
        .given_up
        .add_numbers(named.chain(missing.numbers));
    Ok(())
}

/// Forgets what has ended and is gone: nobody waits for it.
pub(crate) fn forget_ended(
    sightings: &mut Sightings,
    list: &SnapshotList,
    terms: Option<&Terms>,
    now: Timestamp,
) {
    let ended = ended(list, terms, now);
    let gone = list.recalled.objects.keys();
    let gone = gone.filter(|key| list.recalled.is_gone(key) && ended.contains(&key.id()));
    let gone: BTreeSet<_> = gone.map(ToString::to_string).collect();
    if !gone.is_empty() {
        sightings.retain(|key| !gone.contains(key));
    }
}

/// Snapshots and checkpoints whose lives are over.
fn ended(list: &SnapshotList, terms: Option<&Terms>, now: Timestamp) -> BTreeSet<ObjectId> {
    if list.recalled.objects.is_empty() {
        return BTreeSet::new();
    }
    let lives = terms.map(|terms| lives::with_gone(list, terms, now));
    let lives = lives.into_iter().flatten();
    let ended = lives.filter(|(_, life)| *life != Life::Live);
    ended.map(|(entry, _)| entry.id).collect()
}
