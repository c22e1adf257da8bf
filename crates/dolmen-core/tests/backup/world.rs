//! A small world for a backup: a source tree, a repository in memory, a client's folders, a clock and a seed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dolmen_core::backup::{
    self, Change, Context, Observer, Options, Progress, Report, SourceError,
};
use dolmen_core::content::Chunks;
use dolmen_core::index::Index;
use dolmen_core::pack::{BlobReader, Effort};
use dolmen_core::snapshots::{Filter, SnapshotList};
use dolmen_core::tree::TreeReader;
use dolmen_core::{Clock, Environment, Error, Objects, Random, Repository};
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_format::tree::NodeKind;
use dolmen_format::{BlobKind, InstanceId, Timestamp};
use dolmen_fs::{PathKey, Root};
use dolmen_state::state::StateFolder;
use dolmen_store::*;
use futures_util::stream::BoxStream;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Everything that a client has.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) store: Arc<CrashStore>,
    pub(crate) repository: Repository,
    pub(crate) options: Options,
    runtime: Runtime,
}

/// A store that counts its calls and refuses all from one on.
#[derive(Debug)]
pub(crate) struct CrashStore {
    inner: MemoryStore,
    pub(crate) puts: AtomicU64,
    pub(crate) put_bytes: AtomicU64,
    /// Calls that still succeed; negative: all.
    left: AtomicI64,
    pub(crate) calls: AtomicU64,
}

impl CrashStore {
    /// Lets `calls` more calls through, then none.
    pub(crate) fn crash_after(&self, calls: i64) {
        self.left.store(calls, Ordering::SeqCst);
    }

    pub(crate) fn heal(&self) {
        self.left.store(-1, Ordering::SeqCst);
    }

    fn check(&self, operation: Operation) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let crashed = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                (left > 0).then(|| left - 1)
            })
            == Err(0);
        if crashed {
            return Err(StoreError {
                kind: StoreErrorKind::Unavailable,
                operation,
                key: None,
                source: None,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for CrashStore {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        self.check(Operation::Put)?;
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.put_bytes
            .fetch_add(body.len() as u64, Ordering::SeqCst);
        self.inner.put(key, body, lock, place).await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        self.check(Operation::Get)?;
        self.inner.get(key, version, range, max_bytes).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        self.inner.list_versions(prefix)
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        self.inner.lock_of(object).await
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        self.inner.extend(object, lock).await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.inner.hold(object, hold).await
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.inner.hide(key).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.inner.delete_version(object).await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        self.inner.set_aside(name, version).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        self.inner.now().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }
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

/// Bytes out of a seed.
#[derive(Debug)]
struct Seeded(AtomicU64);

impl Random for Seeded {
    fn fill(&self, out: &mut [u8]) {
        let draw = self.0.fetch_add(1, Ordering::SeqCst);
        blake3::Hasher::new()
            .update(&draw.to_le_bytes())
            .finalize_xof()
            .fill(out);
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
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = Arc::new(CrashStore {
            inner: MemoryStore::new(MemoryOptions {
                versions: false,
                locks: false,
            }),
            puts: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            left: AtomicI64::new(-1),
            calls: AtomicU64::new(0),
        });
        // Leases are counted by the store's clock, and ended by both.
        store.inner.set_clock(Ahead.now());
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let objects = Objects::new(shared, runtime.handle().clone(), "memory");
        let environment = Environment {
            clock: Arc::new(Ahead),
            random: Arc::new(Seeded(AtomicU64::new(1))),
        };
        let policy = Policy {
            protect_seconds: 30 * 86_400,
            generation_seconds: 7 * 86_400,
            interval_seconds: 86_400,
            lock: LockStrategy::None,
            keep: Keep::default(),
            classes: Vec::new(),
            previous: None,
        };
        let repository = Repository::create(objects, environment, b"secret", &policy).unwrap();
        let options = options(folder.path());
        Self {
            folder,
            store,
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
        let instance = Mutex::new(state.claim_instance(&self.repository.id(), fresh)?);
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
        for entry in TreeReader::new(&blobs, entry.body.tree.unwrap()) {
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

    pub(crate) fn put_bytes(&self) -> u64 {
        self.store.put_bytes.load(Ordering::SeqCst)
    }

    pub(crate) fn puts(&self) -> u64 {
        self.store.puts.load(Ordering::SeqCst)
    }

    /// Keeps the runtime in use until the end.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

fn options(folder: &Path) -> Options {
    let base = folder.as_os_str().as_encoded_bytes();
    Options {
        paths: vec![folder.join("source").into_os_string().into_encoded_bytes()],
        // Without the folders above, whose times everything that runs beside a test changes.
        roots: vec![Root {
            place: Arc::new(dolmen_fs::Place::new(base, base).unwrap()),
            key: PathKey::from_path(b"/source").unwrap(),
        }],
        selector: backup::select_everything(),
        one_file_system: false,
        hostname: "host".to_owned(),
        username: "user".to_owned(),
        uid: 0,
        gid: 0,
        tags: Vec::new(),
        excludes: Vec::new(),
        time: None,
        program_version: "test".to_owned(),
        effort: Effort::Auto,
        threads: 2,
        force: false,
        skip_if_unchanged: false,
        dry_run: false,
        trust_own_history: false,
        cache: Some(folder.join("cache")),
        scratch: folder.to_path_buf(),
        checkpoint_bytes: backup::CHECKPOINT_BYTES,
        checkpoint_seconds: backup::CHECKPOINT_SECONDS,
    }
}
