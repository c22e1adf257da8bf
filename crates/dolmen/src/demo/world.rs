//! The demo's world: a temporary folder, repositories in it, and who works with them.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use dolmen_core::backup::{self, Context, SourceError};
use dolmen_core::index::Index;
use dolmen_core::pack::Effort;
use dolmen_core::repository::{self, Accept};
use dolmen_core::restore::{self, Action, FailureKind};
use dolmen_core::snapshots::{Filter, SnapshotList};
use dolmen_core::{Environment, Finding, Objects, Repository, check, repair};
use dolmen_format::InstanceId;
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_fs::Root;
use dolmen_state::state::Remembered;
use dolmen_state::{Instance, StateFolder};
use dolmen_store::{LocalStore, Store};

use super::tree;
use crate::commands::App;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::paths;
use crate::units::DAY;

/// The temporary folder.
#[derive(Debug)]
pub(super) struct Home {
    folder: PathBuf,
}

impl Home {
    pub(super) fn new(app: &App) -> Outcome<Self> {
        let name: String = app
            .environment
            .bytes::<8>()
            .iter()
            .fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
        let folder = std::env::temp_dir().join(format!("dolmen-demo-{name}"));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.and_then(|()| folder.canonicalize())
            .map(|folder| Self { folder })
            .map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot make the folder {}: {error}", folder.display()),
                )
                .hint("TMPDIR names another place for it")
            })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes it, what is in it at the same time: most of that is waiting for the disk.
    pub(super) fn remove(&self) -> Outcome<()> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        std::thread::scope(|scope| {
            for entry in entries.flatten() {
                // What fails here fails again below, and is told then.
                scope.spawn(move || std::fs::remove_dir_all(entry.path()));
            }
        });
        std::fs::remove_dir_all(&self.folder).map_err(|error| {
            let folder = self.folder.display();
            Failure::new(
                Exit::Failed,
                format!("cannot remove the folder {folder}: {error}"),
            )
        })
    }
}

/// A repository, and one who has its passphrase.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) folder: PathBuf,
    passphrase: Vec<u8>,
    pub(super) repository: Repository,
    instance: Mutex<Instance>,
    home: PathBuf,
}

/// What came back.
pub(super) struct Restored {
    pub(super) target: PathBuf,
    pub(super) report: restore::Report,
    /// Paths below the target that were said to be damaged.
    pub(super) failed: Vec<Vec<u8>>,
}

impl Site {
    /// Makes a repository with a random passphrase in a folder.
    pub(super) fn create(app: &App, home: &Home, name: &str) -> Outcome<Self> {
        let store = LocalStore::create(home.folder.join(name));
        let store = store.during("cannot make the demo's repository")?;
        Self::create_in(app, home, name, Arc::new(store), LockStrategy::None)
    }

    /// Makes a repository with a random passphrase in a store.
    pub(super) fn create_in(
        app: &App,
        home: &Home,
        name: &str,
        store: Arc<dyn Store>,
        lock: LockStrategy,
    ) -> Outcome<Self> {
        let tried = "cannot make the demo's repository";
        let folder = home.folder.join(name);
        let passphrase = app.environment.bytes::<32>().to_vec();
        let instance = InstanceId(app.environment.bytes());
        let policy = Policy {
            protect_seconds: 30 * DAY,
            generation_seconds: 7 * DAY,
            interval_seconds: DAY,
            lock,
            keep: Keep::default(),
            classes: Vec::new(),
            previous: None,
        };
        let objects = objects(app, store, &folder);
        let environment = app.environment.clone();
        let repository =
            Repository::create(objects, environment, &passphrase, &policy).during(tried)?;
        Self::new(home, name, folder, passphrase, repository, instance)
    }

    /// Copies the repository, and opens the copy as a stranger who knows the passphrase.
    pub(super) fn copy_to(&self, app: &App, home: &Home, name: &str) -> Outcome<Self> {
        let tried = "cannot open the copied repository";
        let folder = home.folder.join(name);
        tree::copy(&self.folder, &folder)?;
        let store = LocalStore::open(&folder).during(tried)?;
        self.reopen(app, home, name, Arc::new(store))
    }

    /// Opens the same repository as a stranger who knows the passphrase, through `store`.
    pub(super) fn reopen(
        &self,
        app: &App,
        home: &Home,
        name: &str,
        store: Arc<dyn Store>,
    ) -> Outcome<Self> {
        let tried = "cannot open the copied repository";
        let folder = home.folder.join(name);
        let objects = objects(app, store, &folder);
        let located = repository::locate(objects, app.environment.clone(), None, &[]);
        let repository = located
            .during(tried)?
            .unlock(&self.passphrase, Accept::Current)
            .during(tried)?;
        let fresh = InstanceId(app.environment.bytes());
        Self::new(
            home,
            name,
            folder,
            self.passphrase.clone(),
            repository,
            fresh,
        )
    }

    fn new(
        home: &Home,
        name: &str,
        folder: PathBuf,
        passphrase: Vec<u8>,
        repository: Repository,
        instance: InstanceId,
    ) -> Outcome<Self> {
        let state = StateFolder::open(home.folder.join(format!("{name}.state")))?;
        let instance = Mutex::new(state.claim_instance(&repository.id(), None, instance)?);
        Ok(Self {
            folder,
            passphrase,
            repository,
            instance,
            home: home.folder.clone(),
        })
    }

    /// Backs a folder up.
    pub(super) fn backup(&mut self, files: &Path, host: &str) -> Outcome<backup::Report> {
        let tried = "cannot back up";
        let snapshots = SnapshotList::load(&self.repository, None).during(tried)?;
        let index = Index::load(&self.repository, None).during(tried)?;
        let root = Root::absolute(paths::bytes_of(files)).map_err(|error| {
            Failure::usage(format!("cannot back up {}: {error}", files.display()))
        })?;
        let options = backup::Options {
            paths: vec![paths::bytes_of(files).to_vec()],
            roots: vec![root],
            selector: backup::select_everything(),
            one_file_system: false,
            hostname: host.to_owned(),
            username: "demo".to_owned(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            tags: Vec::new(),
            excludes: Vec::new(),
            time: None,
            program_version: "dolmen demo".to_owned(),
            effort: Effort::Auto,
            threads: 2,
            force: false,
            skip_if_unchanged: false,
            dry_run: false,
            trust_own_history: false,
            cache: None,
            scratch: self.home.clone(),
            checkpoint_bytes: backup::CHECKPOINT_BYTES,
            checkpoint_seconds: backup::CHECKPOINT_SECONDS,
        };
        let context = Context {
            repository: &self.repository,
            index: &index,
            snapshots: &snapshots,
            instance: &self.instance,
        };
        backup::paths(
            &context,
            &options,
            &Silent::default(),
            &backup::Progress::default(),
        )
        .during(tried)
    }

    /// Checks everything, data too.
    pub(super) fn check(&self) -> Outcome<Vec<Finding>> {
        let options = check::Options {
            read_data: check::ReadData::All,
            threads: 2,
            cache: None,
            remembered: Remembered::default(),
            at: None,
        };
        let progress = check::Progress::default();
        let report = check::run(&self.repository, &options, &Silent::default(), &progress);
        Ok(report.during("cannot check")?.findings)
    }

    /// Rebuilds the index from the packs.
    pub(super) fn rebuild_index(&mut self) -> Outcome<()> {
        let instance = self
            .instance
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let cancel = AtomicBool::new(false);
        repair::rebuild_index(&self.repository, instance, &Silent::default(), &cancel)
            .during("cannot rebuild the index")?;
        Ok(())
    }

    /// Restores the newest snapshot of the laptop into a folder of the demo's.
    pub(super) fn restore(&self, files: &Path, target: &str) -> Outcome<Restored> {
        let tried = "cannot restore";
        let snapshots = SnapshotList::load(&self.repository, None).during(tried)?;
        let index = Index::load(&self.repository, None).during(tried)?;
        let filter = Filter {
            hosts: vec!["laptop".to_owned()],
            ..Filter::default()
        };
        let now = self.repository.environment.clock.now();
        let entry = snapshots.find("latest", &filter, now).during(tried)?;
        let target = self.home.join(target);
        let options = restore::Options {
            subpath: Some(paths::bytes_of(files).to_vec()),
            threads: 2,
            ..restore::Options::all_to(target.clone())
        };
        let silent = Silent::default();
        let progress = restore::Progress::default();
        let report = restore::run(
            &self.repository,
            &index,
            entry,
            &options,
            &silent,
            &progress,
        )
        .during(tried)?;
        let failed = silent
            .failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Restored {
            target,
            report,
            failed,
        })
    }

    /// Time and randomness.
    pub(super) fn environment(&self) -> &Environment {
        &self.repository.environment
    }
}

fn objects(app: &App, store: Arc<dyn Store>, folder: &Path) -> Objects {
    Objects::new(store, app.runtime.clone(), &folder.to_string_lossy())
}

/// Says nothing; remembers what failed.
#[derive(Debug, Default)]
struct Silent {
    failed: Mutex<Vec<Vec<u8>>>,
}

impl backup::Observer for Silent {
    fn failed(&self, _path: &[u8], _error: &SourceError) {}
    fn skipped(&self, _path: &[u8], _reason: &str) {}
    fn saved(&self, _path: &[u8], _change: backup::Change, _bytes: u64) {}
    fn notice(&self, _text: &str) {}
}

impl check::Observer for Silent {
    fn finding(&self, _finding: &Finding) {}
    fn notice(&self, _text: &str) {}
}

impl restore::Observer for Silent {
    fn failed(&self, path: &[u8], _reason: &str, _kind: FailureKind) {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.to_vec());
    }
    fn done(&self, _path: &[u8], _action: Action, _bytes: u64) {}
    fn notice(&self, _text: &str) {}
}
