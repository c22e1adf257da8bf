//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use dolmen_core::audit::{State, View};
use dolmen_core::check::{self, ReadData};
use dolmen_core::index::Index;
use dolmen_core::restore::{self, Action, FailureKind};
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList};
use dolmen_core::{Error, Repository, finding};
use dolmen_format::manifest::ManifestNode;
use dolmen_format::{ObjectKey, SnapshotId, Timestamp};
use dolmen_state::state::Remembered;
use dolmen_store::Credential;

use crate::act::{Notes, SOURCE};
use crate::error::SimError;
use crate::files;
use crate::kit::{Kit, Machine};
use crate::model::{Model, Promise, Stored};
use crate::mutation::Purpose;
use crate::needs::Needs;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No signed fact is ever deleted.
    LedgerRecordsStay,
    /// Every object that a promised snapshot needs is in the store.
    NothingNeededIsGone,
    /// Everything that a promised snapshot needs is locked until its promise ends, as the store itself states.
    EverythingNeededIsLocked,
    /// What an audit says is so, and what is so it says.
    AuditTellsTheTruth,
    /// The plain view is whole after a recovery.
    RecoveryIsWhole,
    /// Where the bucket deletes what is hidden, what lives is shown after a renewal.
    WhatLivesIsShown,
    /// The past is shown as it was.
    ThePastStays,
    /// Every promised snapshot restores byte for byte, for whoever has the passphrase.
    PromisedSnapshotsRestore,
    /// A check finds nothing wrong with what lives; in a world without an attacker, nothing at all.
    CheckFindsNothingWrong,
    /// What honest people do succeeds, at the second try if others were at work during the first.
    HonestWorkSucceeds,
    /// A rule that keeps so many snapshots of each machine retires none of its own where fewer of them stay, whatever was
    /// planted with a key that may only add.
    RulesKeepTheirNumber,
    /// What an attacker planted keeps no more than what it names.
    AttackersCostLittle,
    /// What nothing needs is deleted, once its lease has lapsed and a maintenance runs whose clock is right.
    SpaceComesBack,
}

/// An invariant that does not hold.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{invariant:?}: {detail}")]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// What is wrong.
    pub detail: String,
}

/// Why a world stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Dolmen is wrong, or the model is.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The world itself failed.
    #[error("the world failed: {}", finding::chain(.0))]
    Sim(#[from] SimError),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Sim(error.into())
    }
}

/// Says that an invariant does not hold.
pub(crate) fn violated(invariant: Invariant, detail: impl fmt::Display) -> Violation {
    Violation {
        invariant,
        detail: detail.to_string(),
    }
}

/// A look at the world from outside.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The store.
    pub kit: &'a Kit,
    /// What is promised.
    pub model: &'a Model,
    /// What the store holds.
    pub all: &'a [Stored],
    /// A machine that never saw the repository.
    pub restorer: &'a Machine,
    /// Whether somebody attacks.
    pub is_attacked: bool,
}

impl Scene<'_> {
    /// Opens the repository with nothing but its id and the passphrase.
    fn fresh(&self) -> Result<Repository, Error> {
        let view = self.kit.view(Credential::client(), Purpose::Other);
        self.kit.open(view, self.restorer, 1)
    }

    /// [`Invariant::LedgerRecordsStay`]
    pub fn ledger_records_stay(&self) -> Result<(), Violation> {
        let authentic = self.all.iter().filter(|stored| stored.is_authentic);
        let keys = authentic.filter_map(|stored| stored.key.as_str().parse::<ObjectKey>().ok());
        let present: BTreeSet<_> = keys.map(|key| key.id()).collect();
        match self.model.record_ids().find(|id| !present.contains(id)) {
            Some(id) => Err(violated(Invariant::LedgerRecordsStay, id)),
            None => Ok(()),
        }
    }

    /// [`Invariant::NothingNeededIsGone`]
    pub fn nothing_needed_is_gone(&self) -> Result<(), Violation> {
        let authentic = self.all.iter().filter(|stored| stored.is_authentic);
        let present: BTreeSet<_> = authentic.map(|stored| stored.key.as_str()).collect();
        for promise in self.model.held() {
            let is_present = |key: &str| present.contains(key);
            if let Some(key) = self.model.places.lacks(&promise.needs, is_present) {
                let detail = format!("snapshot {} of {} needs {key}", promise.id, promise.machine);
                return Err(violated(Invariant::NothingNeededIsGone, detail));
            }
        }
        Ok(())
    }

    /// [`Invariant::EverythingNeededIsLocked`]
    pub fn everything_needed_is_locked(&self) -> Result<(), Violation> {
        if !self.kit.keeping.is_renewed() {
            return Ok(());
        }
        let mut locks: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for stored in self.all.iter().filter(|stored| stored.is_authentic) {
            if let Some(until) = stored.locked_until {
                let longest = locks.entry(stored.key.as_str()).or_insert(until);
                *longest = until.max(*longest);
            }
        }
        let now = self.kit.now();
        let is_short = |key: &str, until| {
            let locked = locks.get(key).copied();
            now < until && locked.is_none_or(|locked| locked < until)
        };
        let failed = |key: &str, until: Timestamp, who: &str| {
            let locked = locks.get(key).map(|locked| locked.seconds);
            let until = until.seconds;
            let detail = format!(
                "{key} is locked until {locked:?}, and {who} was promised it until {until}"
            );
            violated(Invariant::EverythingNeededIsLocked, detail)
        };
        for promise in self.model.held() {
            let is_locked = |key: &str| !is_short(key, promise.until);
            if let Some(key) = self.model.places.lacks(&promise.needs, is_locked) {
                let who = format!("snapshot {} of {}", promise.id, promise.machine);
                return Err(failed(key, promise.until, &who));
            }
        }
        let mut standing = self.model.standing();
        match standing.find(|(key, until)| is_short(key, *until)) {
            Some((key, until)) => Err(failed(key, until, "the repository")),
            None => Ok(()),
        }
    }

    /// [`Invariant::AuditTellsTheTruth`]: for what live snapshots need both ways, for the rest as far as it was told.
    pub fn audit_tells_the_truth(&self, view: &View) -> Result<(), Violation> {
        let failed = |name: &str, told: &str| {
            let detail = format!("{name} is said to be {told}");
            violated(Invariant::AuditTellsTheTruth, detail)
        };
        let mut told = BTreeMap::new();
        let troubles = view.troubles.iter();
        // Of names that no object has, the store tells no versions here.
        for trouble in troubles.filter(|one| one.name.parse::<ObjectKey>().is_ok()) {
            let (is, word) = (self.state_of(&trouble.name), word_of(&trouble.state));
            told.insert(trouble.name.as_str(), word);
            // What was planted may be called foreign for what planted records say of it.
            let is_foreign = matches!(trouble.state, State::Foreign { .. });
            if is_foreign && !self.is_promised(&trouble.name) {
                continue;
            }
            if is != word {
                return Err(failed(&trouble.name, &format!("{word}, and is {is}")));
            }
        }
        let live = self.model.living();
        for (promise, key) in live.flat_map(|one| one.needs.keys.iter().map(move |key| (one, key)))
        {
            // What also lies elsewhere may be needed there alone.
            if self
                .model
                .places
                .are_elsewhere(&promise.needs, key, |_place| true)
            {
                continue;
            }
            let is = self.state_of(key);
            let said = told.get(key.as_str()).copied().unwrap_or(WHOLE);
            if is != said {
                return Err(failed(key, &format!("{said}, and is {is}")));
            }
        }
        Ok(())
    }

    fn is_promised(&self, name: &str) -> bool {
        let mut promised = self.model.held().chain(self.model.living());
        promised.any(|promise| promise.needs.keys.contains(name))
    }

    /// [`Invariant::RecoveryIsWhole`]
    pub fn recovery_is_whole(&self) -> Result<(), Violation> {
        self.plain_view_is_whole(Invariant::RecoveryIsWhole)
    }

    /// [`Invariant::WhatLivesIsShown`]
    pub fn what_lives_is_shown(&self) -> Result<(), Violation> {
        if !self.model.terms_at(self.kit.now()).is_kept {
            return Ok(());
        }
        self.plain_view_is_whole(Invariant::WhatLivesIsShown)
    }

    fn plain_view_is_whole(&self, invariant: Invariant) -> Result<(), Violation> {
        let mut live = self.model.held().filter(|one| self.model.lives(&one.id));
        let is_whole = |key: &str| self.state_of(key) == WHOLE;
        match live.find_map(|one| self.model.places.lacks(&one.needs, is_whole)) {
            Some(key) => {
                let detail = format!("{key} is {}", self.state_of(key));
                Err(violated(invariant, detail))
            }
            None => Ok(()),
        }
    }

    /// What the plain view makes of a name.
    fn state_of(&self, name: &str) -> &'static str {
        let of_name = || self.all.iter().filter(|one| one.key.as_str() == name);
        let has_bytes = of_name().next().is_some();
        let is_valid = |one: &Stored| self.model.is_valid(self.kit, one);
        let is_there = of_name().any(is_valid);
        let is_shown = of_name().any(|one| one.is_plain);
        let is_right = of_name().any(|one| one.is_plain && is_valid(one));
        match (has_bytes, is_there, is_right, is_shown) {
            (false, ..) => "missing",
            (_, false, ..) => "damaged",
            (_, _, true, _) => WHOLE,
            (.., false) => "hidden",
            (.., true) => "overwritten",
        }
    }

    /// [`Invariant::ThePastStays`]
    pub fn the_past_stays(&self, at: Timestamp) -> Result<(), Violation> {
        let failed = |detail: String| violated(Invariant::ThePastStays, detail);
        let loaded = self
            .fresh()
            .and_then(|repository| SnapshotList::load(&repository, Some(at)));
        let list = loaded.map_err(|error| failed(finding::chain(&error)))?;
        for promise in self.model.held() {
            let was = promise.received <= at;
            let lived = self.model.lived_at(&promise.id, at);
            let is_shown = list.all().any(|entry| entry.id == promise.id);
            let is_live = list.snapshots.iter().any(|entry| entry.id == promise.id);
            if (is_shown, is_live) != (was, lived) {
                let detail = format!(
                    "at {}, snapshot {} was there: {was}, lived: {lived}; shown: {is_shown}, as live: {is_live}",
                    at.seconds, promise.id
                );
                return Err(failed(detail));
            }
        }
        Ok(())
    }

    /// [`Invariant::PromisedSnapshotsRestore`], for some of them.
    pub fn promised_snapshots_restore(&self, some: &[SnapshotId]) -> Result<(), Failure> {
        let failed = |detail: String| violated(Invariant::PromisedSnapshotsRestore, detail);
        let opened = self.fresh().and_then(|repository| {
            let list = SnapshotList::load(&repository, None)?;
            let mut index = Index::load(&repository, None)?;
            let all = list.snapshots.iter().chain(&list.retired);
            let wanted: Vec<_> = all
                .filter(|entry| some.contains(&entry.id))
                .flat_map(|entry| entry.snapshot.segments.iter().copied())
                .collect();
            index.complete(&repository, &wanted)?;
            Ok((repository, list, index))
        });
        let (repository, list, index) = opened.map_err(|error| failed(finding::chain(&error)))?;
        for id in some {
            let Some(promise) = self.model.promises.get(id) else {
                continue;
            };
            let mut all = list.snapshots.iter().chain(&list.retired);
            let Some(entry) = all.find(|entry| entry.id == *id) else {
                return Err(failed(format!("snapshot {id} is not listed")).into());
            };
            let is_retired = list.facts.retired.contains_key(id);
            if is_retired == self.model.lives(id) {
                let detail = format!("snapshot {id} is listed as retired: {is_retired}");
                return Err(failed(detail).into());
            }
            self.restore(&repository, &index, entry, promise)?;
        }
        Ok(())
    }

    fn restore(
        &self,
        repository: &Repository,
        index: &Index,
        entry: &SnapshotEntry,
        promise: &Promise,
    ) -> Result<(), Failure> {
        let target = self.restorer.folder.join("target");
        files::remove(&target)?;
        std::fs::create_dir_all(&target)?;
        let options = restore_options(target.clone());
        let notes = RestoreNotes::default();
        let progress = restore::Progress::default();
        let report = restore::run(repository, index, entry, &options, &notes, &progress);
        let told = notes.0.take().join("; ");
        let (id, machine) = (promise.id, &promise.machine);
        let failed = |detail: String| {
            let detail = format!("snapshot {id} of {machine}: {detail}");
            violated(Invariant::PromisedSnapshotsRestore, detail)
        };
        let report = report.map_err(|error| failed(finding::chain(&error)))?;
        if report.errors > 0 {
            return Err(failed(told).into());
        }
        let found = files::look(&target)?;
        if found != *promise.picture {
            let wanted: Vec<_> = promise.picture.keys().collect();
            let found: Vec<_> = found.keys().collect();
            return Err(failed(format!("restored {found:?} for {wanted:?}")).into());
        }
        Ok(())
    }

    /// [`Invariant::CheckFindsNothingWrong`]
    pub fn check_finds_nothing_wrong(&self, read_data: ReadData) -> Result<(), Violation> {
        let failed = |detail: String| violated(Invariant::CheckFindsNothingWrong, detail);
        let notes = Notes::default();
        let options = check::Options {
            read_data,
            threads: 1,
            cache: None,
            remembered: Remembered::default(),
            at: None,
        };
        let progress = check::Progress::default();
        let report = self
            .fresh()
            .and_then(|repository| check::run(&repository, &options, &notes, &progress))
            .map_err(|error| failed(finding::chain(&error)))?;
        let held = self.model.held();
        let live: Vec<_> = held.filter(|one| self.model.lives(&one.id)).collect();
        let authentic = self.all.iter().filter(|stored| stored.is_authentic);
        let present: BTreeSet<_> = authentic.map(|stored| stored.key.as_str()).collect();
        let is_present = |key: &str| present.contains(key);
        let hurts = |subject: &str| {
            live.iter().any(|promise| {
                let is_named = subject.contains(&promise.id.to_string());
                // Of a pack whose frames were moved, what was planted may name others that nobody keeps.
                let needs = &promise.needs;
                let is_moved = || self.model.places.are_elsewhere(needs, subject, is_present);
                is_named || (needs.keys.contains(subject) && !is_moved())
            })
        };
        let mut findings = report.findings.iter();
        match findings.find(|finding| !self.is_attacked || hurts(&finding.subject)) {
            Some(finding) => Err(failed(finding.to_string())),
            None => Ok(()),
        }
    }

    /// What snapshots and checkpoints that live need, as far as they can be read.
    pub fn named_by_the_living(&self) -> Result<BTreeSet<String>, SimError> {
        let list = SnapshotList::load(&self.fresh()?, None)?;
        let retired: BTreeSet<_> = list.retired.iter().map(|entry| entry.id).collect();
        let living = list.all().filter(|entry| !retired.contains(&entry.id));
        let mut named = BTreeSet::new();
        for entry in living {
            // A manifest that cannot be read names nothing.
            let needs = self.needs_of(&entry.id).unwrap_or_default();
            named.extend(self.model.places.of(&needs));
        }
        Ok(named)
    }

    /// What a snapshot needs, as its own manifest has it.
    pub fn needs_of(&self, id: &SnapshotId) -> Result<Needs, SimError> {
        let repository = self.fresh()?;
        let list = SnapshotList::load(&repository, None)?;
        let mut needs = Needs::default();
        let Some(entry) = list.all().find(|entry| entry.id == *id) else {
            return Ok(needs);
        };
        let writer = entry.snapshot.stamp.writer;
        needs
            .keys
            .insert(ObjectKey::Snapshot(writer, *id).to_string());
        for segment in &entry.snapshot.segments {
            needs
                .keys
                .insert(ObjectKey::Index(writer, *segment).to_string());
        }
        let aad =
            dolmen_format::snapshot::Snapshot::box_aad(&repository.id(), &entry.snapshot.nonce);
        let key = repository.keys().maintain()?;
        let plain = key.open(&entry.snapshot.manifest, b"dolmen v1 manifest", &aad)?;
        // So few packs are in the world that the root node is all.
        if let ManifestNode::Leaf(packs) = ManifestNode::decode(&plain)? {
            for one in packs {
                let key = ObjectKey::Pack(writer, one.pack).to_string();
                needs.keys.insert(key.clone());
                needs.frames.insert(key, one.frames.iter().collect());
            }
        }
        Ok(needs)
    }
}

const WHOLE: &str = "whole";

fn word_of(state: &State) -> &'static str {
    match state {
        State::Missing => "missing",
        State::Corrupt { .. } | State::Foreign { .. } => "damaged",
        State::Covered(covered) if covered.markers.is_empty() => "overwritten",
        State::Covered(_) => "hidden",
    }
}

fn restore_options(target: PathBuf) -> restore::Options {
    restore::Options {
        subpath: Some(SOURCE.to_vec()),
        ..restore::Options::all_to(target)
    }
}

#[derive(Debug, Default)]
struct RestoreNotes(Notes);

impl restore::Observer for RestoreNotes {
    fn failed(&self, path: &[u8], reason: &str, _: FailureKind) {
        let path = String::from_utf8_lossy(path);
        check::Observer::notice(&self.0, &format!("{path}: {reason}"));
    }

    fn done(&self, _: &[u8], _: Action, _: u64) {}

    fn notice(&self, _: &str) {}
}
