//! A small world for a backup: a source tree, a repository in memory, a client's folders, a clock and a seed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dolmen_core::backup::{
    self, Change, Context, Observer, Options, Progress, Report, SourceError,
};
use dolmen_core::content::Chunks;
use dolmen_core::index::Index;
use dolmen_core::pack::BlobReader;
use dolmen_core::snapshots::{Filter, SnapshotList};
use dolmen_core::tree::TreeReader;
use dolmen_core::{Clock, Environment, Error, Objects, Repository};
use dolmen_format::tree::NodeKind;
use dolmen_format::{BlobKind, InstanceId, Timestamp};
use dolmen_fs::{PathKey, Root};
use dolmen_state::state::StateFolder;
use dolmen_store::fault::Effect;
use dolmen_store::record::Detail;
use dolmen_store::{
    Api, Fault, FaultLayer, FaultPlan, LISTING_PAGE_VERSIONS, MemoryOptions, MemoryStore,
    Operation, RecordLayer, RecordOptions, Store,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use crate::client::noise;
use crate::client::{Seeded, options, policy, runtime};

/// Everything that a client has.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) store: Arc<MemoryStore>,
    /// What arrives at the store.
    record: Arc<RecordLayer>,
    /// What the client reaches the store through.
    pub(crate) layer: Arc<FaultLayer>,
    pub(crate) repository: Repository,
    pub(crate) options: Options,
    runtime: Runtime,
}

/// The system's clock, a minute ahead: no file of a test is too fresh to be remembered.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    #[expect(
        clippy::disallowed_methods,
        reason = "files get their times from the system's clock"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Timestamp::new(since.as_secs().cast_signed() + 60, since.subsec_nanos()).unwrap()
    }
}

/// Remembers what could not be saved.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) failed: Mutex<Vec<String>>,
    pub(crate) notices: Mutex<Vec<String>>,
    pub(crate) read: AtomicU64,
}

impl Observer for Notes {
    fn failed(&self, path: &[u8], error: &SourceError) {
        self.failed
            .lock()
            .unwrap()
            .push(format!("{}: {error}", String::from_utf8_lossy(path)));
    }

    fn skipped(&self, _: &[u8], _: &str) {}

    fn saved(&self, _: &[u8], change: Change, _: u64) {
        if change != Change::Unmodified {
            self.read.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn notice(&self, text: &str) {
        self.notices.lock().unwrap().push(text.to_owned());
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("source")).unwrap();
        std::fs::create_dir_all(folder.path().join("cache")).unwrap();
        let runtime = runtime();
        let store = Arc::new(MemoryStore::new(MemoryOptions::PLAIN));
        // Leases are counted by the store's clock, and ended by both.
        store.set_clock(Ahead.now());
        let record = Arc::new(RecordLayer::new(
            Arc::clone(&store) as Arc<dyn Store>,
            RecordOptions {
                api: Api::S3,
                page_versions: LISTING_PAGE_VERSIONS,
                detail: Detail::Totals,
            },
        ));
        let plan = FaultPlan::none();
        let layer = Arc::new(FaultLayer::new(Arc::clone(&record) as Arc<dyn Store>, plan));
        let shared: Arc<dyn Store> = Arc::clone(&layer) as Arc<dyn Store>;
        let objects = Objects::new(shared, runtime.handle().clone(), "memory");
        let environment = Environment {
            clock: Arc::new(Ahead),
            random: Arc::new(Seeded::new(1)),
        };
        let repository = Repository::create(objects, environment, b"secret", &policy()).unwrap();
        let base = folder.path().as_os_str().as_encoded_bytes();
        // Without the folders above, whose times everything that runs beside a test changes.
        let root = Root {
            place: Arc::new(dolmen_fs::Place::new(base, base).unwrap()),
            key: PathKey::from_path(b"/source").unwrap(),
        };
        let source = folder.path().join("source");
        let options = Options {
            force: false,
            cache: Some(folder.path().join("cache")),
            ..options(source, root, folder.path().to_path_buf())
        };
        Self {
            folder,
            store,
            record,
            layer,
            repository,
            options,
            runtime,
        }
    }

    pub(crate) fn source(&self, path: &str) -> PathBuf {
        self.folder.path().join("source").join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.source(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn backup(&self) -> Result<(Report, Notes), Error> {
        self.backup_with(&self.options)
    }

    /// A run as a new process would make it: everything is loaded again.
    pub(crate) fn backup_with(&self, options: &Options) -> Result<(Report, Notes), Error> {
        let state = StateFolder::open(self.folder.path().join("state"))?;
        let fresh = InstanceId(self.repository.environment.bytes());
        let instance = Mutex::new(state.claim_instance(&self.repository.id(), None, fresh)?);
        let index = Index::load(
            &self.repository,
            Some(&self.folder.path().join("cache/index")),
        )?;
        let snapshots = SnapshotList::load(&self.repository, None)?;
        let notes = Notes::default();
        let context = Context {
            repository: &self.repository,
            index: &index,
            snapshots: &snapshots,
            instance: &instance,
        };
        let report = backup::paths(&context, options, &notes, &Progress::default())?;
        Ok((report, notes))
    }

    /// Every file of a snapshot with its content, read blob by blob.
    pub(crate) fn files(&self, snapshot: &str) -> Vec<(String, Vec<u8>)> {
        let index = Index::load(&self.repository, None).unwrap();
        assert_eq!(index.findings, Vec::new());
        let list = SnapshotList::load(&self.repository, None).unwrap();
        assert_eq!(list.findings, Vec::new());
        let now = self.repository.environment.clock.now();
        let entry = list.find(snapshot, &Filter::default(), now).unwrap();
        let blobs = BlobReader::new(&self.repository, &index.blobs);
        let mut files = Vec::new();
        for entry in TreeReader::new(&blobs, entry.tree().unwrap()) {
            let entry = entry.unwrap();
            let NodeKind::File(file) = &entry.node.kind else {
                continue;
            };
            let mut content = Vec::new();
            for chunk in Chunks::new(&blobs, &file.content) {
                content.extend(blobs.blob(&chunk.unwrap().id, BlobKind::Data).unwrap());
            }
            let path = entry.key.rsplit(|byte| *byte == 0).next().unwrap();
            files.push((String::from_utf8_lossy(path).into_owned(), content));
        }
        files
    }

    /// Lets so many more puts arrive, and no call after them.
    pub(crate) fn crash_after(&self, puts: u64) {
        let at = self.layer.calls_of(Operation::Put) + puts;
        let crash = Fault::Crash(Effect::Skipped);
        let plan = FaultPlan::none().at_call_of(Operation::Put, at, crash);
        self.layer.set_plan(plan);
    }

    /// Lets so many more calls through, and none after them.
    pub(crate) fn crash_at_call(&self, calls: u64) {
        let at = self.layer.calls() + calls;
        let crash = Fault::Crash(Effect::Skipped);
        self.layer.set_plan(FaultPlan::none().at(at, crash));
    }

    pub(crate) fn heal(&self) {
        self.layer.set_plan(FaultPlan::none());
    }

    pub(crate) fn put_bytes(&self) -> u64 {
        self.record.totals().of(Operation::Put).sent_bytes
    }

    pub(crate) fn puts(&self) -> u64 {
        self.record.totals().of(Operation::Put).requests
    }

    /// Keeps the runtime in use until the end.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}
