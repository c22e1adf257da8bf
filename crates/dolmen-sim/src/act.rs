//! What honest people and machines do, each act as a process of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use dolmen_core::backup::{self, Change, Context, SourceError};
use dolmen_core::check::{self, ReadData};
use dolmen_core::compact::plan::{MaxUnused, Prices};
use dolmen_core::forget::{self, UndoOptions};
use dolmen_core::index::Index;
use dolmen_core::keep::{Count, Fate, Group, GroupBy, Rules};
use dolmen_core::objects::Source;
use dolmen_core::pack::Effort;
use dolmen_core::snapshots::{Filter, SnapshotList};
use dolmen_core::{
    Error, Finding, Repository, audit, compact, ledger, own, prune, recover, renew, repair,
};
use dolmen_format::ledger::Fact;
use dolmen_format::{InstanceId, SnapshotId, Timestamp};
use dolmen_fs::{PathKey, Place, Root};
use dolmen_state::state::{Compared, Instance, Remembered, Sightings, StateFolder};
use dolmen_store::{Credential, Fault, FaultLayer, FaultPlan, Store};

use crate::files::{self, Picture};
use crate::kit::{Kit, Machine, policy};
use crate::mutation::Purpose;
use crate::tap::{Meanwhile, Moment, Tap};

/// Something that somebody does.
#[derive(Debug, Clone)]
pub enum Act {
    /// A machine backs its source up.
    Backup {
        /// Whether it writes checkpoints as often as it can.
        checkpoints: bool,
    },
    /// A person retires these snapshots, those of them that live.
    Forget(Vec<SnapshotId>),
    /// A person keeps so many of each machine.
    KeepLast(u32),
    /// A person retires everything, whoever made it.
    ForgetAll,
    /// A person brings these back.
    Undo(Vec<SnapshotId>),
    /// Maintenance.
    Prune {
        /// The store's clock is taken as true.
        confirm_clock: bool,
        /// What is missing is taken as lost.
        confirm_missing: bool,
    },
    /// Maintenance gives what is needed of wasteful and small packs to new ones.
    Compact,
    /// Maintenance extends what is due.
    Renew,
    /// The plain view is made whole.
    Recover,
    /// Somebody looks whether all is as it should be.
    Audit,
    /// A person changes L, G and I, in days.
    SetPolicy([u64; 3]),
    /// The index is rebuilt.
    RepairIndex,
    /// The passphrase is replaced.
    ChangePassphrase(Vec<u8>),
    /// Time goes by.
    Pass {
        /// How much.
        seconds: i64,
    },
}

/// What happens to an act from outside.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Which of its calls go wrong.
    pub faults: FaultPlan,
    /// What others do, and when.
    pub meanwhile: Option<(Moment, Vec<(Machine, Act)>)>,
}

/// What came of an act.
#[derive(Debug)]
pub struct Outcome {
    /// Who did it.
    pub machine: Machine,
    /// What it was.
    pub act: Act,
    /// When it began, by the store's clock.
    pub began: Timestamp,
    /// What it says came of it.
    pub result: Result<Done, Error>,
    /// Whether a planned fault was met.
    pub is_faulted: bool,
    /// Whether it ended in a crash.
    pub has_crashed: bool,
    /// Whether others acted between its calls.
    pub is_interleaved: bool,
    /// Its calls.
    pub calls: u64,
    /// What it put.
    pub puts: Vec<String>,
    /// What it deleted.
    pub deletes: Vec<String>,
    /// What the machine's files were then.
    pub picture: Arc<Picture>,
    /// What was noticed on the way.
    pub notices: Vec<String>,
}

/// What a rule made of a group of snapshots.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    /// These stay.
    pub kept: Vec<SnapshotId>,
    /// These are retired.
    pub removed: Vec<SnapshotId>,
}

/// What an act that succeeded says of itself.
#[derive(Debug, Clone)]
pub enum Done {
    /// A snapshot was made.
    Backup(SnapshotId),
    /// So many snapshots were retired.
    Retired(usize),
    /// A rule retired snapshots.
    Kept(Vec<Sorted>),
    /// So many were asked to come back, and so many objects are missing for it.
    Undone(usize, usize),
    /// Maintenance ran.
    Pruned(prune::Report),
    /// Packs were repacked.
    Compacted(compact::Report),
    /// Locks were looked at.
    Renewed(renew::Report),
    /// The plain view was tidied.
    Recovered(recover::Report),
    /// Somebody looked.
    Audited(Arc<audit::View>),
    /// Nothing to say.
    Nothing,
}

impl Machine {
    /// Its files.
    pub fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    /// What it remembers.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }
}

/// Notes what is told.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn add(&self, text: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(text);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl check::Observer for Notes {
    fn finding(&self, finding: &Finding) {
        self.add(finding.to_string());
    }

    fn notice(&self, text: &str) {
        self.add(text.to_owned());
    }
}

impl backup::Observer for Notes {
    fn failed(&self, path: &[u8], error: &SourceError) {
        self.add(format!("{}: {error}", String::from_utf8_lossy(path)));
    }

    fn skipped(&self, _: &[u8], _: &str) {}

    fn saved(&self, _: &[u8], _: Change, _: u64) {}

    fn notice(&self, text: &str) {
        self.add(text.to_owned());
    }
}

/// Does something; first the outcomes of what others did meanwhile, last its own.
pub fn perform(
    kit: &Kit,
    machine: &Machine,
    act: &Act,
    weather: Weather,
    seed: u64,
) -> Vec<Outcome> {
    let others = Arc::new(Mutex::new(Vec::new()));
    let is_interleaved = weather.meanwhile.is_some();
    let meanwhile = weather.meanwhile.map(|(moment, acts)| {
        let (kit, told) = (kit.clone(), Arc::clone(&others));
        let act: Meanwhile = Box::new(move || {
            for (number, (machine, act)) in (1_u64..).zip(&acts) {
                let seed = seed.wrapping_add(number << 48);
                let outcomes = perform(&kit, machine, act, Weather::default(), seed);
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.extend(outcomes);
            }
        });
        (moment, act)
    });
    let began = kit.now();
    let clock = Arc::clone(&kit.store);
    let view = kit.view(credential(kit, act), purpose(act));
    let faults = FaultLayer::new(view, weather.faults)
        .with_slowness(Arc::new(move |seconds| clock.advance_clock(seconds)));
    let faults = Arc::new(faults);
    let tap = Arc::new(Tap::new(Arc::clone(&faults) as Arc<dyn Store>, meanwhile));
    let notes = Notes::default();
    let process = Process {
        kit,
        machine,
        notes: &notes,
        seed,
    };
    let result = process.run(act, Arc::clone(&tap) as Arc<dyn Store>);
    let mut outcomes = {
        let mut told = others.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *told)
    };
    for other in &mut outcomes {
        other.is_interleaved = true;
    }
    outcomes.push(Outcome {
        machine: machine.clone(),
        act: act.clone(),
        began,
        result,
        is_faulted: !faults.fired().is_empty(),
        has_crashed: faults
            .fired()
            .iter()
            .any(|fired| matches!(fired.fault, Fault::Crash(_))),
        is_interleaved,
        calls: tap.calls(),
        puts: tap.puts(),
        deletes: tap.deletes(),
        picture: Arc::new(files::look(&machine.source()).unwrap_or_default()),
        notices: notes.take(),
    });
    outcomes
}

/// Each process has the rights that it needs: only maintenance deletes.
fn credential(kit: &Kit, act: &Act) -> Credential {
    match act {
        Act::Prune { .. } | Act::RepairIndex | Act::Compact | Act::Renew | Act::Recover => {
            kit.keeping.maintainer()
        }
        Act::Backup { .. }
        | Act::Forget(_)
        | Act::KeepLast(_)
        | Act::ForgetAll
        | Act::Undo(_)
        | Act::Audit
        | Act::SetPolicy(_)
        | Act::ChangePassphrase(_)
        | Act::Pass { .. } => kit.keeping.client(),
    }
}

fn purpose(act: &Act) -> Purpose {
    match act {
        Act::Backup { .. } => Purpose::Backup,
        Act::Undo(_) => Purpose::Undo,
        Act::Prune { .. } | Act::RepairIndex | Act::Compact | Act::Renew | Act::Recover => {
            Purpose::Maintain
        }
        Act::Forget(_)
        | Act::KeepLast(_)
        | Act::ForgetAll
        | Act::Audit
        | Act::SetPolicy(_)
        | Act::ChangePassphrase(_)
        | Act::Pass { .. } => Purpose::Other,
    }
}

/// A process under way.
struct Process<'a> {
    kit: &'a Kit,
    machine: &'a Machine,
    notes: &'a Notes,
    seed: u64,
}

impl Process<'_> {
    fn run(&self, act: &Act, store: Arc<dyn Store>) -> Result<Done, Error> {
        if let Act::Pass { seconds } = act {
            self.kit.store.advance_clock(*seconds);
            return Ok(Done::Nothing);
        }
        let mut repository = self.kit.open(store, self.machine, self.seed)?;
        match act {
            Act::Backup { checkpoints } => self.backup(&repository, *checkpoints),
            Act::Forget(ids) => self.forget(&repository, |list| {
                let named: BTreeSet<_> = ids.iter().copied().collect();
                let live = list.snapshots.iter().map(|entry| entry.id);
                live.filter(|id| named.contains(id)).collect()
            }),
            Act::KeepLast(count) => {
                let now = repository.environment.clock.now();
                let mut sorted = Vec::new();
                let is_mutant = self.kit.mutation == Some(crate::Mutation::CountPlanted);
                self.forget(&repository, |list| {
                    if is_mutant {
                        list.suspicious.clear();
                    }
                    sorted = select(list, *count, now);
                    sorted
                        .iter()
                        .flat_map(|group| group.removed.iter().copied())
                        .collect()
                })?;
                Ok(Done::Kept(sorted))
            }
            Act::ForgetAll => self.forget(&repository, |list| {
                list.snapshots.iter().map(|entry| entry.id).collect()
            }),
            Act::Undo(ids) => self.undo(&repository, ids),
            Act::Prune {
                confirm_clock,
                confirm_missing,
            } => self.prune(&repository, *confirm_clock, *confirm_missing),
            Act::Compact => self.compact(&repository),
            Act::Renew => self.renew(&repository),
            Act::Recover => self.recover(&repository),
            Act::Audit => {
                let cancel = AtomicBool::new(false);
                let scratch = self.machine.scratch();
                let compared = self.compared(&repository)?;
                let options = look_options(&compared, &scratch, &cancel);
                let view = audit::look(&repository, &options)?;
                Ok(Done::Audited(Arc::new(view)))
            }
            Act::SetPolicy(days) => self.set_policy(&repository, *days),
            Act::RepairIndex => self.repair_index(&repository),
            Act::ChangePassphrase(passphrase) => {
                let list = SnapshotList::load(&repository, None)?;
                drop(self.settled(&repository, &list)?);
                repository.change_passphrase(passphrase)?;
                self.kit.set_passphrase(passphrase.clone());
                Ok(Done::Nothing)
            }
            Act::Pass { .. } => Ok(Done::Nothing),
        }
    }

    fn claim(&self, repository: &Repository) -> Result<Instance, Error> {
        let state = StateFolder::open(self.machine.state())?;
        let fresh = InstanceId(repository.environment.bytes());
        Ok(state.claim_instance(&repository.id(), None, fresh)?)
    }

    /// As every verb that signs: with its own history settled.
    fn settled(&self, repository: &Repository, list: &SnapshotList) -> Result<Instance, Error> {
        let mut instance = self.claim(repository)?;
        let notice = |text: &str| self.notes.add(text.to_owned());
        own::settle(repository, &mut instance, list, &notice)?;
        Ok(instance)
    }

    fn backup(&self, repository: &Repository, checkpoints: bool) -> Result<Done, Error> {
        // A folder that cannot be dated is a snapshot that differs from run to run, nothing worse.
        files::date_alike(&self.machine.source()).ok();
        let instance = Mutex::new(self.claim(repository)?);
        let snapshots = SnapshotList::load(repository, None)?;
        let index = Index::load(repository, None)?;
        let context = Context {
            repository,
            index: &index,
            snapshots: &snapshots,
            instance: &instance,
        };
        let mut options = backup_options(self.machine);
        if checkpoints {
            options.checkpoint_bytes = 1;
        }
        let progress = backup::Progress::default();
        let report = backup::paths(&context, &options, self.notes, &progress)?;
        Ok(report.snapshot.map_or(Done::Nothing, Done::Backup))
    }

    fn forget(
        &self,
        repository: &Repository,
        choose: impl FnOnce(&mut SnapshotList) -> BTreeSet<SnapshotId>,
    ) -> Result<Done, Error> {
        let mut list = SnapshotList::load(repository, None)?;
        let chosen = choose(&mut list);
        let retired: Vec<_> = list
            .snapshots
            .iter()
            .filter(|entry| chosen.contains(&entry.id))
            .collect();
        let mut instance = self.settled(repository, &list)?;
        if !retired.is_empty() {
            forget::retire(repository, &mut instance, &retired, None)?;
        }
        Ok(Done::Retired(retired.len()))
    }

    fn undo(&self, repository: &Repository, ids: &[SnapshotId]) -> Result<Done, Error> {
        let list = SnapshotList::load(repository, None)?;
        let retired = list.retired.iter();
        let named: Vec<_> = retired.filter(|entry| ids.contains(&entry.id)).collect();
        if named.is_empty() {
            return Ok(Done::Undone(0, 0));
        }
        let mut instance = self.settled(repository, &list)?;
        let scratch = self.machine.scratch();
        let options = UndoOptions {
            index_cache: None,
            scratch: &scratch,
            cancel: &AtomicBool::new(false),
        };
        let missing = forget::undo(
            repository,
            &mut instance,
            &list,
            &named,
            &options,
            self.notes,
        )?;
        Ok(Done::Undone(named.len(), missing.len()))
    }

    fn prune(
        &self,
        repository: &Repository,
        confirm_clock: bool,
        confirm_missing: bool,
    ) -> Result<Done, Error> {
        let mut instance = self.claim(repository)?;
        let scratch = self.machine.scratch();
        let compared = self.compared(repository)?;
        let is_dead = self.kit.mutation == Some(crate::Mutation::AbsenceIsDeath);
        let options = prune::Options {
            dry_run: false,
            supposed: &BTreeSet::new(),
            confirm_clock,
            confirm_missing: confirm_missing || is_dead,
            confirmed: &BTreeSet::new(),
            compared: &compared,
            remembered: Remembered::nothing(),
            sightings: &Sightings::default(),
            remembered_store: instance.record().store_time,
            index_cache: None,
            scratch: &scratch,
            cancel: &AtomicBool::new(false),
        };
        let report = prune::run(repository, &options, self.notes)?;
        let mut record = instance.record().clone();
        record.store_time = record.store_time.max(report.store_time);
        instance.save(record)?;
        Ok(Done::Pruned(report))
    }

    /// What this machine knows of places of moved frames.
    fn compared(&self, repository: &Repository) -> Result<Compared, Error> {
        let state = StateFolder::open(self.machine.state())?;
        let mut compared = state.compared(&repository.id())?;
        if self.kit.mutation == Some(crate::Mutation::BelieveMoves) {
            let claims = self.kit.claims.lock();
            let claims = claims.unwrap_or_else(PoisonError::into_inner);
            compared.equal.extend(claims.moves.iter().copied());
        }
        Ok(compared)
    }

    fn compact(&self, repository: &Repository) -> Result<Done, Error> {
        let mut list = SnapshotList::load(repository, None)?;
        list.facts.compared = self.compared(repository)?;
        let mut instance = self.settled(repository, &list)?;
        let scratch = self.machine.scratch();
        let options = compact::Options {
            dry_run: false,
            prices: Prices::OWN,
            max_unused: MaxUnused::Share(50),
            repack_bytes_max: u64::MAX,
            compare_bytes_max: u64::MAX,
            confirm_clock: false,
            remembered_store: instance.record().store_time,
            index_cache: None,
            scratch: &scratch,
            cancel: &AtomicBool::new(false),
        };
        let report = compact::run(repository, &mut instance, &mut list, &options, self.notes);
        let state = StateFolder::open(self.machine.state())?;
        state.note_compared(&repository.id(), &list.facts.compared)?;
        report.map(Done::Compacted)
    }

    fn renew(&self, repository: &Repository) -> Result<Done, Error> {
        let mut list = SnapshotList::load(repository, None)?;
        list.facts.compared = self.compared(repository)?;
        // Whoever renews follows the policy as it is now.
        let mut instance = self.settled(repository, &list)?;
        let scratch = self.machine.scratch();
        let options = renew::Options {
            dry_run: false,
            index_cache: None,
            scratch: &scratch,
            cancel: &AtomicBool::new(false),
        };
        renew::run(
            repository,
            Some(&mut instance),
            &list,
            &mut Sightings::default(),
            &options,
            self.notes,
        )
        .map(Done::Renewed)
    }

    fn recover(&self, repository: &Repository) -> Result<Done, Error> {
        let list = SnapshotList::load_from(repository, None, Source::Store)?;
        let mut instance = self.settled(repository, &list)?;
        let (compared, scratch) = (self.compared(repository)?, self.machine.scratch());
        let cancel = AtomicBool::new(false);
        let options = recover::Options {
            look: look_options(&compared, &scratch, &cancel),
            list: &list,
            then: None,
        };
        let action = recover::Action::Apply(&mut instance);
        recover::run(repository, &options, action, self.notes).map(Done::Recovered)
    }

    fn set_policy(&self, repository: &Repository, days: [u64; 3]) -> Result<Done, Error> {
        let list = SnapshotList::load(repository, None)?;
        let previous = list.facts.policy().reference.map(|known| known.digest);
        let mut instance = self.settled(repository, &list)?;
        let policy = policy(days, self.kit.keeping.lock, previous);
        ledger::write(repository, &mut instance, Fact::Policy(policy))?;
        Ok(Done::Nothing)
    }

    fn repair_index(&self, repository: &Repository) -> Result<Done, Error> {
        let mut instance = self.claim(repository)?;
        let cancel = AtomicBool::new(false);
        repair::rebuild_index(repository, &mut instance, self.notes, &cancel)?;
        Ok(Done::Nothing)
    }
}

fn look_options<'a>(
    compared: &'a Compared,
    scratch: &'a Path,
    cancel: &'a AtomicBool,
) -> audit::Options<'a> {
    audit::Options {
        depth: audit::Depth::Hashes(ReadData::All),
        remembered: Remembered::nothing(),
        compared,
        index_cache: None,
        scratch,
        cancel,
    }
}

/// What a rule that keeps so many of each machine makes of them.
fn select(list: &SnapshotList, count: u32, now: Timestamp) -> Vec<Sorted> {
    let mut rules = Rules::default();
    rules.counts.last = Count::AtMost(count);
    let by = GroupBy {
        host: true,
        paths: false,
        tags: false,
        writer: false,
    };
    let zone = jiff::tz::TimeZone::UTC;
    let groups = forget::plan(list, &Filter::default(), &rules, by, &zone, now);
    let sort = |group: Group| {
        let mut sorted = Sorted::default();
        for decision in group.decisions {
            match decision.fate {
                Fate::Keep { .. } => sorted.kept.push(decision.id),
                Fate::Remove => sorted.removed.push(decision.id),
            }
        }
        sorted
    };
    groups.into_iter().flatten().map(sort).collect()
}

fn backup_options(machine: &Machine) -> backup::Options {
    backup::Options {
        paths: vec![SOURCE.to_vec()],
        roots: source_root(machine).into_iter().collect(),
        selector: backup::select_everything(),
        one_file_system: false,
        hostname: machine.name.clone(),
        username: "user".to_owned(),
        uid: 0,
        gid: 0,
        tags: Vec::new(),
        excludes: Vec::new(),
        time: None,
        program_version: "simulation".to_owned(),
        effort: Effort::Auto,
        threads: 1,
        force: true,
        skip_if_unchanged: false,
        dry_run: false,
        trust_own_history: false,
        cache: None,
        scratch: machine.scratch(),
        checkpoint_bytes: backup::CHECKPOINT_BYTES,
        checkpoint_seconds: backup::CHECKPOINT_SECONDS,
    }
}

/// What every snapshot calls the folder that it holds: where the world's files lie tells one run from another.
pub(crate) const SOURCE: &[u8] = b"/source";

fn source_root(machine: &Machine) -> Option<Root> {
    let place = Place::new(machine.folder.as_os_str().as_encoded_bytes(), b"/").ok()?;
    Some(Root {
        place: Arc::new(place),
        key: PathKey::from_path(SOURCE).ok()?,
    })
}
