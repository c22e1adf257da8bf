//! A repository in memory whose time only the test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use dolmen_core::backup::{self, Change, Context, Options, SourceError};
use dolmen_core::check::{self, ReadData};
use dolmen_core::forget::{self, UndoOptions};
use dolmen_core::index::Index;
use dolmen_core::repair::{IndexReport, rebuild_index};
use dolmen_core::repository::{self, Accept};
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList};
use dolmen_core::{
    Clock, Environment, Error, Finding, Findings, Objects, Repository, ledger, own, prune, renew,
};
use dolmen_format::ledger::{Fact, LockStrategy, Policy};
use dolmen_format::{InstanceId, ObjectId, Timestamp};
use dolmen_fs::{PathKey, Place, Root};
use dolmen_state::state::{Remembered, Sightings};
use dolmen_state::{Compared, Instance, StateFolder};
use dolmen_store::record::Detail;
use dolmen_store::{
    Api, Credential, FaultLayer, FaultPlan, LISTING_PAGE_VERSIONS, MemoryModel, MemoryOptions,
    MemoryStore, Operation, RecordLayer, RecordOptions, Store,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use crate::client::policy;
use crate::client::{Seeded, noise, options, runtime};

/// L, M and δ of the worlds' policy.
pub(crate) const DAY: i64 = 86_400;
pub(crate) const LEASE_DAYS: i64 = 30 + 3;
/// A quarter of 30 days, in whole seconds.
pub(crate) const DELAY_SECONDS: i64 = 30 * DAY / 4;

pub(crate) struct World {
    folder: TempDir,
    pub(crate) store: Arc<MemoryStore>,
    /// What the client reaches the store through.
    pub(crate) layer: Arc<FaultLayer>,
    /// What the client asks of it.
    pub(crate) record: Arc<RecordLayer>,
    pub(crate) repository: Repository,
    clock: Arc<TestClock>,
    runtime: Runtime,
}

/// What a client with a key reaches a store through, and what records its requests.
fn layers(
    store: &Arc<MemoryStore>,
    clock: &Arc<TestClock>,
    credential: Credential,
) -> (Arc<FaultLayer>, Arc<RecordLayer>) {
    let (slow_store, slow_clock) = (Arc::clone(store), Arc::clone(clock));
    let layer = Arc::new(
        FaultLayer::new(
            Arc::new(store.with_credential(credential)),
            FaultPlan::none(),
        )
        .with_slowness(Arc::new(move |seconds| {
            slow_store.advance_clock(seconds);
            slow_clock.0.fetch_add(seconds, Ordering::SeqCst);
        })),
    );
    let record = Arc::new(RecordLayer::new(
        Arc::clone(&layer) as Arc<dyn Store>,
        RecordOptions {
            api: Api::S3,
            page_versions: LISTING_PAGE_VERSIONS,
            detail: Detail::Requests,
        },
    ));
    (layer, record)
}

/// A clock that stands still.
#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Deaf;

impl check::Observer for Deaf {
    fn finding(&self, _: &Finding) {}
    fn notice(&self, _: &str) {}
}

impl backup::Observer for Deaf {
    fn failed(&self, path: &[u8], error: &SourceError) {
        panic!("{}: {error}", String::from_utf8_lossy(path));
    }
    fn skipped(&self, _: &[u8], _: &str) {}
    fn saved(&self, _: &[u8], _: Change, _: u64) {}
    fn notice(&self, _: &str) {}
}

/// A client: its state folder and its host's name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) &'static str);

impl World {
    /// A store that keeps no locks.
    pub(crate) fn new() -> Self {
        Self::with(MemoryOptions::PLAIN, &policy())
    }

    /// A store with Object Lock, in compliance mode.
    pub(crate) fn locked() -> Self {
        Self::locked_with(&policy())
    }

    /// The same under a policy.
    pub(crate) fn locked_with(policy: &Policy) -> Self {
        let policy = Policy {
            lock: LockStrategy::Compliance,
            ..policy.clone()
        };
        Self::with(MemoryOptions::LOCKS, &policy)
    }

    /// A store with Object Lock, which the policy makes no use of.
    pub(crate) fn lockable() -> Self {
        Self::with(MemoryOptions::LOCKS, &policy())
    }

    /// A store with Object Lock, on which holds keep what lives.
    pub(crate) fn held(model: impl Into<MemoryModel>) -> Self {
        let policy = Policy {
            lock: LockStrategy::Hold,
            ..policy()
        };
        Self::with(model, &policy)
    }

    /// A store without locks whose clients may hide, and that keeps hidden objects for a while.
    pub(crate) fn hiding(credential: Credential) -> Self {
        let policy = Policy {
            lock: LockStrategy::Hide,
            ..policy()
        };
        let model = MemoryModel::b2(MemoryOptions::VERSIONS);
        Self::with_rights(model, &policy, credential)
    }

    pub(crate) fn with(model: impl Into<MemoryModel>, policy: &Policy) -> Self {
        Self::with_rights(model, policy, Credential::everything())
    }

    pub(crate) fn with_rights(
        model: impl Into<MemoryModel>,
        policy: &Policy,
        credential: Credential,
    ) -> Self {
        let runtime = runtime();
        let store = Arc::new(MemoryStore::new(model));
        let clock = Arc::new(TestClock(AtomicI64::new(store.clock().seconds)));
        let (layer, record) = layers(&store, &clock, credential);
        let shared: Arc<dyn Store> = Arc::clone(&record) as Arc<dyn Store>;
        let objects = Objects::new(shared, runtime.handle().clone(), "memory");
        let environment = Environment {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Arc::new(Seeded::new(1)),
        };
        let repository = Repository::create(objects, environment, b"secret", policy).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            store,
            layer,
            record,
            repository,
            clock,
            runtime,
        }
    }

    /// Goes on with another key of the account.
    pub(crate) fn use_key(&mut self, credential: Credential) {
        (self.layer, self.record) = layers(&self.store, &self.clock, credential);
        self.reopen();
    }

    /// Goes on as another process, which knows nothing but what it keeps in folders.
    pub(crate) fn reopen(&mut self) {
        let shared: Arc<dyn Store> = Arc::clone(&self.record) as Arc<dyn Store>;
        let objects = Objects::new(shared, self.runtime.handle().clone(), "memory");
        let (environment, id) = (self.repository.environment.clone(), self.repository.id());
        let located = repository::locate(objects, environment, Some(id), &[]).unwrap();
        self.repository = located.unlock(b"secret", Accept::Current).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Moves both clocks on.
    pub(crate) fn wait(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
        self.store.advance_clock(seconds);
    }

    /// Moves the local clock alone.
    pub(crate) fn shift_local_clock(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Writes a file of noise into a client's source.
    pub(crate) fn write(&self, client: Client, name: &str, seed: u64, bytes: usize) {
        let folder = self.path(client.0);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), noise(seed, bytes)).unwrap();
    }

    pub(crate) fn remove(&self, client: Client, name: &str) {
        std::fs::remove_file(self.path(client.0).join(name)).unwrap();
    }

    pub(crate) fn instance(&self, client: Client) -> Instance {
        let state = StateFolder::open(self.path("state").join(client.0)).unwrap();
        let fresh = InstanceId(self.repository.environment.bytes());
        let mut instance = state
            .claim_instance(&self.repository.id(), None, fresh)
            .unwrap();
        own::settle(&self.repository, &mut instance, &self.list(), &|_| {}).unwrap();
        instance
    }

    pub(crate) fn list(&self) -> SnapshotList {
        SnapshotList::load(&self.repository, None).unwrap()
    }

    pub(crate) fn backup(&self, client: Client) -> SnapshotEntry {
        self.backup_after(client, || {}).unwrap()
    }

    /// A backup during which something happens: after the repository was looked at, before anything is put.
    pub(crate) fn backup_after(
        &self,
        client: Client,
        meanwhile: impl FnOnce(),
    ) -> Result<SnapshotEntry, Error> {
        self.backup_with(client, &self.options(client), meanwhile)
    }

    pub(crate) fn backup_with(
        &self,
        client: Client,
        options: &Options,
        meanwhile: impl FnOnce(),
    ) -> Result<SnapshotEntry, Error> {
        let instance = Mutex::new(self.instance(client));
        let snapshots = self.list();
        let index = Index::load(&self.repository, None)?;
        meanwhile();
        let context = Context {
            repository: &self.repository,
            index: &index,
            snapshots: &snapshots,
            instance: &instance,
        };
        let report = backup::paths(&context, options, &Deaf, &backup::Progress::default())?;
        let id = report.snapshot.unwrap();
        let list = self.list();
        let entry = list.snapshots.iter().find(|entry| entry.id == id);
        Ok(entry.unwrap().clone())
    }

    pub(crate) fn options(&self, client: Client) -> Options {
        let base = self.folder.path().as_os_str().as_encoded_bytes();
        // Without the folders above, whose times other tests change.
        let root = Root {
            place: Arc::new(Place::new(base, base).unwrap()),
            key: PathKey::from_path(format!("/{}", client.0).as_bytes()).unwrap(),
        };
        Options {
            hostname: client.0.to_owned(),
            threads: 1,
            ..options(self.path(client.0), root, self.folder.path().to_path_buf())
        }
    }

    pub(crate) fn retire(&self, client: Client, snapshots: &[&SnapshotEntry]) {
        let mut instance = self.instance(client);
        forget::retire(&self.repository, &mut instance, snapshots, None).unwrap();
    }

    pub(crate) fn undo(&self, client: Client, snapshot: &SnapshotEntry) -> Findings {
        let mut instance = self.instance(client);
        let cancel = AtomicBool::new(false);
        let options = UndoOptions {
            index_cache: None,
            scratch: self.folder.path(),
            cancel: &cancel,
        };
        let (list, repository) = (self.list(), &self.repository);
        forget::undo(
            repository,
            &mut instance,
            &list,
            &[snapshot],
            &options,
            &Deaf,
        )
        .unwrap()
    }

    pub(crate) fn sign(&self, client: Client, fact: Fact) {
        let mut instance = self.instance(client);
        ledger::write(&self.repository, &mut instance, fact).unwrap();
    }

    pub(crate) fn prune(&self) -> prune::Report {
        self.prune_with(|_| {})
    }

    pub(crate) fn prune_with(&self, change: impl FnOnce(&mut prune::Options<'_>)) -> prune::Report {
        self.prune_confirmed(&BTreeSet::new(), change)
    }

    /// A run of a client that knows where moved frames are the same.
    pub(crate) fn prune_knowing(&self, compared: &Compared) -> prune::Report {
        let known = (Remembered::nothing(), &Sightings::default());
        self.prune_as(&BTreeSet::new(), compared, known, |_| {})
    }

    /// A run of a client that knows what it wrote.
    pub(crate) fn prune_remembering(&self, remembered: &Remembered) -> prune::Report {
        let known = (remembered, &Sightings::default());
        self.prune_as(&BTreeSet::new(), &Compared::default(), known, |_| {})
    }

    /// A run of a client that remembers what it has seen.
    pub(crate) fn prune_seeing(
        &self,
        sightings: &Sightings,
        change: impl FnOnce(&mut prune::Options<'_>),
    ) -> prune::Report {
        let known = (Remembered::nothing(), sightings);
        self.prune_as(&BTreeSet::new(), &Compared::default(), known, change)
    }

    /// A run of a client whose user confirmed policies.
    pub(crate) fn prune_confirmed(
        &self,
        confirmed: &BTreeSet<ObjectId>,
        change: impl FnOnce(&mut prune::Options<'_>),
    ) -> prune::Report {
        let known = (Remembered::nothing(), &Sightings::default());
        self.prune_as(confirmed, &Compared::default(), known, change)
    }

    fn prune_as(
        &self,
        confirmed: &BTreeSet<ObjectId>,
        compared: &Compared,
        (remembered, sightings): (&Remembered, &Sightings),
        change: impl FnOnce(&mut prune::Options<'_>),
    ) -> prune::Report {
        let cancel = AtomicBool::new(false);
        let mut options = prune::Options {
            confirmed,
            compared,
            remembered,
            sightings,
            supposed: &BTreeSet::new(),
            dry_run: false,
            confirm_clock: false,
            confirm_missing: false,
            remembered_store: None,
            index_cache: None,
            scratch: self.folder.path(),
            cancel: &cancel,
        };
        change(&mut options);
        prune::run(&self.repository, &options, &Deaf).unwrap()
    }

    pub(crate) fn renew(&self, client: Client) -> renew::Report {
        // Whoever renews settles first what it may sign as.
        let mut instance = self.instance(client);
        self.renew_as(Some(&mut instance), &self.list(), &mut Sightings::default())
    }

    /// The same by a list that was loaded before, and signing nothing.
    pub(crate) fn renew_listed(&self, list: &SnapshotList) -> renew::Report {
        self.renew_as(None, list, &mut Sightings::default())
    }

    /// The same of a client that remembers what it has seen.
    pub(crate) fn renew_seeing(
        &self,
        list: &SnapshotList,
        sightings: &mut Sightings,
    ) -> renew::Report {
        self.renew_as(None, list, sightings)
    }

    fn renew_as(
        &self,
        signer: Option<&mut Instance>,
        list: &SnapshotList,
        sightings: &mut Sightings,
    ) -> renew::Report {
        let cancel = AtomicBool::new(false);
        let options = renew::Options {
            dry_run: false,
            index_cache: None,
            scratch: self.folder.path(),
            cancel: &cancel,
        };
        renew::run(&self.repository, signer, list, sightings, &options, &Deaf).unwrap()
    }

    /// Describes all packs anew, in segments that no snapshot lists.
    pub(crate) fn rebuild_index(&self, client: Client) -> IndexReport {
        let (mut instance, cancel) = (self.instance(client), AtomicBool::new(false));
        rebuild_index(&self.repository, &mut instance, &Deaf, &cancel).unwrap()
    }

    /// The names of all objects below a prefix.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        let objects = &self.repository.objects;
        objects
            .list(prefix, |object| names.push(object.key.to_string()))
            .unwrap();
        names
    }

    /// The requests of what is done, by operation.
    pub(crate) fn count<T>(&self, work: impl FnOnce() -> T) -> BTreeMap<Operation, u64> {
        self.record.take_requests();
        work();
        let mut counts = BTreeMap::new();
        for request in self.record.take_requests() {
            *counts.entry(request.operation).or_default() += 1;
        }
        counts
    }

    /// Everything that lives is whole, each byte of it.
    pub(crate) fn assert_whole(&self) {
        self.check(ReadData::All);
    }

    /// A check that finds nothing wrong.
    pub(crate) fn check(&self, read_data: ReadData) -> check::Report {
        let options = check::Options {
            read_data,
            threads: 1,
            cache: None,
            remembered: Remembered::default(),
            at: None,
        };
        let progress = check::Progress::default();
        let report = check::run(&self.repository, &options, &Deaf, &progress).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.snapshots_damaged, 0);
        report
    }

    /// Reads what nobody has attested, and attests it. Returns how many packs that are.
    pub(crate) fn attest(&self, client: Client) -> usize {
        let report = self.check(ReadData::Unattested);
        let mut instance = self.instance(client);
        check::attest(&self.repository, &mut instance, &report.attestable).unwrap();
        report.attestable.len()
    }

    /// The client's state folder is lost.
    pub(crate) fn forget_state(&self, client: Client) {
        std::fs::remove_dir_all(self.path("state").join(client.0)).unwrap();
    }
}
