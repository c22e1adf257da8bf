//! What must hold after every step.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use dolmen_core::check::{self, ReadData};
use dolmen_core::index::Index;
use dolmen_core::restore::{self, Action, FailureKind, Overwrite};
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList};
use dolmen_core::{Error, Repository, finding};
use dolmen_format::manifest::ManifestNode;
use dolmen_format::{ObjectKey, SnapshotId};
use dolmen_fs::pattern::PatternList;
use dolmen_store::Credential;

use crate::act::{Notes, SOURCE};
use crate::error::SimError;
use crate::files;
use crate::kit::{Kit, Machine};
use crate::model::{Model, Promise, Stored};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No signed fact is ever deleted.
    LedgerRecordsStay,
    /// Every object that a promised snapshot needs is in the store.
    NothingNeededIsGone,
    /// Every promised snapshot restores byte for byte, for whoever has the passphrase.
    PromisedSnapshotsRestore,
    /// A check finds nothing wrong with what lives; in a world without an attacker, nothing at all.
    CheckFindsNothingWrong,
    /// What honest people do succeeds, at the second try if others were at work during the first.
    HonestWorkSucceeds,
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
        let view = self.kit.view(Credential::client());
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
            let mut gone = promise.needs.iter();
            if let Some(key) = gone.find(|key| !present.contains(key.as_str())) {
                let detail = format!("snapshot {} of {} needs {key}", promise.id, promise.machine);
                return Err(violated(Invariant::NothingNeededIsGone, detail));
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
            head: None,
        };
        let progress = check::Progress::default();
        let report = self
            .fresh()
            .and_then(|repository| check::run(&repository, &options, &notes, &progress))
            .map_err(|error| failed(finding::chain(&error)))?;
        let live: Vec<_> = self
            .model
            .held()
            .filter(|one| self.model.lives(&one.id))
            .collect();
        let hurts = |subject: &str| {
            live.iter().any(|promise| {
                promise.needs.contains(subject) || subject.contains(&promise.id.to_string())
            })
        };
        let mut findings = report.findings.iter();
        match findings.find(|finding| !self.is_attacked || hurts(&finding.subject)) {
            Some(finding) => Err(failed(finding.to_string())),
            None => Ok(()),
        }
    }

    /// What a snapshot needs, as its own manifest has it.
    pub fn needs_of(&self, id: &SnapshotId) -> Result<BTreeSet<String>, SimError> {
        let repository = self.fresh()?;
        let list = SnapshotList::load(&repository, None)?;
        let mut needs = BTreeSet::new();
        let Some(entry) = list.all().find(|entry| entry.id == *id) else {
            return Ok(needs);
        };
        let writer = entry.snapshot.stamp.writer;
        needs.insert(ObjectKey::Snapshot(writer, *id).to_string());
        for segment in &entry.snapshot.segments {
            needs.insert(ObjectKey::Index(writer, *segment).to_string());
        }
        let aad =
            dolmen_format::snapshot::Snapshot::box_aad(&repository.id(), &entry.snapshot.nonce);
        let key = repository.maintain_key();
        let plain = key.open(&entry.snapshot.manifest, b"dolmen v1 manifest", &aad)?;
        // So few packs are in the world that the root node is all.
        if let ManifestNode::Leaf(packs) = ManifestNode::decode(&plain)? {
            let keys = packs.iter().map(|one| ObjectKey::Pack(writer, one.pack));
            needs.extend(keys.map(|key| key.to_string()));
        }
        Ok(needs)
    }
}

fn restore_options(target: PathBuf) -> restore::Options {
    restore::Options {
        target,
        subpath: Some(SOURCE.to_vec()),
        include: PatternList::default(),
        exclude: PatternList::default(),
        overwrite: Overwrite::Always,
        delete: false,
        protected: Vec::new(),
        sparse: false,
        verify: false,
        dry_run: false,
        threads: 1,
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
