//! A source tree, a repository in a folder, and a target.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dolmen_core::backup::{self, Change, Context, SourceError};
use dolmen_core::index::Index;
use dolmen_core::repository::{self, Accept};
use dolmen_core::restore::{
    self, Action, FailureKind, Observer, Options, Overwrite, Progress, Report,
};
use dolmen_core::snapshots::{Filter, SnapshotEntry, SnapshotList};
use dolmen_core::{Environment, Error, Objects, Repository};
use dolmen_format::ledger::{LockStrategy, Policy};
use dolmen_format::{InstanceId, Timestamp};
use dolmen_fs::pattern::{Case, Pattern, PatternList};
use dolmen_fs::{
    Attributes, Kind, Metadata, PathKey, Replace, Root, Select, Selection, Target, WalkItem,
    WalkOptions, Xattr, walk,
};
use dolmen_state::state::{Instance, StateFolder};
use dolmen_store::{LocalStore, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use crate::client::noise;
use crate::client::{Seeded, options, policy, runtime};
use crate::ticking::Ticking;

/// A client with its repository, and what it restores into.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) repository: Repository,
    pub(crate) options: Options,
    /// Kept until the end: objects are called through it.
    runtime: Runtime,
}

/// What a restore told.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) failed: Mutex<Vec<(String, String, FailureKind)>>,
    pub(crate) done: Mutex<BTreeMap<String, Action>>,
    pub(crate) notices: Mutex<Vec<String>>,
    /// Interrupts after so many entries; 0: never.
    pub(crate) cancel_after: AtomicU64,
    pub(crate) progress: Progress,
}

impl Observer for Notes {
    fn failed(&self, path: &[u8], reason: &str, kind: FailureKind) {
        let path = String::from_utf8_lossy(path).into_owned();
        self.failed
            .lock()
            .unwrap()
            .push((path, reason.to_owned(), kind));
    }

    fn done(&self, path: &[u8], action: Action, _: u64) {
        let path = String::from_utf8_lossy(path).into_owned();
        let mut done = self.done.lock().unwrap();
        assert_eq!(done.insert(path, action), None, "nothing is done twice");
        if done.len() as u64 == self.cancel_after.load(Ordering::SeqCst) {
            self.progress.cancel.store(true, Ordering::SeqCst);
        }
    }

    fn notice(&self, text: &str) {
        self.notices.lock().unwrap().push(text.to_owned());
    }
}

impl Notes {
    /// The paths that failed.
    pub(crate) fn lost(&self) -> BTreeSet<String> {
        self.failed
            .lock()
            .unwrap()
            .iter()
            .map(|(path, ..)| path.clone())
            .collect()
    }

    /// The paths that something became of.
    pub(crate) fn paths(&self, action: Action) -> Vec<String> {
        let done = self.done.lock().unwrap();
        done.iter()
            .filter(|(_, was)| **was == action)
            .map(|(path, _)| path.clone())
            .collect()
    }

    pub(crate) fn assert_clean(&self) {
        assert_eq!(*self.failed.lock().unwrap(), []);
    }
}

#[derive(Debug)]
struct Quiet;

impl backup::Observer for Quiet {
    fn failed(&self, path: &[u8], error: &SourceError) {
        panic!("{}: {error}", String::from_utf8_lossy(path));
    }

    fn skipped(&self, _: &[u8], _: &str) {}

    fn saved(&self, _: &[u8], _: Change, _: u64) {}

    fn notice(&self, _: &str) {}
}

impl World {
    /// A world without a snapshot, in a folder.
    pub(crate) fn new() -> Self {
        Self::in_store(|store| Arc::new(LocalStore::open(store).unwrap()))
    }

    /// A world without a snapshot, in a store that may lie in a folder.
    pub(crate) fn in_store(open: impl FnOnce(PathBuf) -> Arc<dyn Store>) -> Self {
        Self::with_lock(LockStrategy::None, open)
    }

    /// The same, whose policy locks what it needs.
    pub(crate) fn with_lock(
        lock: LockStrategy,
        open: impl FnOnce(PathBuf) -> Arc<dyn Store>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["source", "cache", "store"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let runtime = runtime();
        let store = open(folder.path().join("store"));
        let objects = Objects::new(store, runtime.handle().clone(), "folder");
        let environment = Environment {
            clock: Arc::new(Ticking::new()),
            random: Arc::new(Seeded::new(1)),
        };
        let policy = Policy { lock, ..policy() };
        let repository = Repository::create(objects, environment, b"secret", &policy).unwrap();
        let options = Options {
            subpath: Some(
                folder
                    .path()
                    .join("source")
                    .into_os_string()
                    .into_encoded_bytes(),
            ),
            overwrite: Overwrite::default(),
            threads: 2,
            ..Options::all_to(folder.path().join("target"))
        };
        Self {
            folder,
            repository,
            options,
            runtime,
        }
    }

    /// Goes on as a new client that has only the passphrase, through `store`.
    pub(crate) fn reopen(&mut self, store: Arc<dyn Store>) {
        let objects = Objects::new(store, self.runtime.handle().clone(), "again");
        let environment = self.repository.environment.clone();
        let located = repository::locate(objects, environment, None, &[]).unwrap();
        self.repository = located.unlock(b"secret", Accept::Current).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn source(&self, path: &str) -> PathBuf {
        self.path("source").join(path)
    }

    pub(crate) fn target(&self, path: &str) -> PathBuf {
        self.path("target").join(path)
    }

    /// Writes a file into the source.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        put(&self.source(path), content);
    }

    /// Writes a file into the target.
    pub(crate) fn write_target(&self, path: &str, content: &[u8]) {
        put(&self.target(path), content);
    }

    /// This client's identity.
    pub(crate) fn instance(&self) -> Instance {
        let state = StateFolder::open(self.path("state")).unwrap();
        let fresh = InstanceId(self.repository.environment.bytes());
        state
            .claim_instance(&self.repository.id(), None, fresh)
            .unwrap()
    }

    pub(crate) fn backup(&self) {
        let instance = Mutex::new(self.instance());
        let index = Index::load(&self.repository, None).unwrap();
        let snapshots = SnapshotList::load(&self.repository, None).unwrap();
        let context = Context {
            repository: &self.repository,
            index: &index,
            snapshots: &snapshots,
            instance: &instance,
        };
        let source = self.path("source");
        let root = Root::absolute(source.as_os_str().as_encoded_bytes()).unwrap();
        let options = options(source, root, self.path("cache"));
        backup::paths(&context, &options, &Quiet, &backup::Progress::default()).unwrap();
    }

    pub(crate) fn latest(&self) -> SnapshotEntry {
        let list = SnapshotList::load(&self.repository, None).unwrap();
        let now = self.repository.environment.clock.now();
        list.find("latest", &Filter::default(), now)
            .unwrap()
            .clone()
    }

    /// Restores the latest snapshot.
    pub(crate) fn restore(&self) -> (Report, Notes) {
        let notes = Notes::default();
        let report = self.try_restore(&notes).unwrap();
        (report, notes)
    }

    pub(crate) fn try_restore(&self, notes: &Notes) -> Result<Report, Error> {
        let index = Index::load(&self.repository, None).unwrap();
        self.restore_through(&index, notes)
    }

    /// Restores the latest snapshot with an index at hand.
    pub(crate) fn restore_through(&self, index: &Index, notes: &Notes) -> Result<Report, Error> {
        let snapshot = self.latest();
        let (options, progress) = (&self.options, &notes.progress);
        restore::run(&self.repository, index, &snapshot, options, notes, progress)
    }

    pub(crate) fn assert_restored(&self) {
        assert_same(
            &picture(&self.path("source")),
            &picture(&self.path("target")),
        );
    }

    /// The packs, the largest last.
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let mut packs = Vec::new();
        let mut pending = vec![self.path("store/packs")];
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(
                    std::fs::read_dir(path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            } else {
                packs.push(path);
            }
        }
        packs.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
        packs
    }
}

fn put(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// All that is to be the same about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: Timestamp,
    size_bytes: u64,
    device: (u32, u32),
    links: u64,
    /// Which of the names of a file comes first.
    same_as: Option<Vec<u8>>,
    xattrs: Vec<Xattr>,
    content: Option<blake3::Hash>,
    link_target: Vec<u8>,
}

/// What lies below a directory, without the directory itself.
pub(crate) fn picture(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let root = PathKey::from_path(root.as_os_str().as_encoded_bytes()).unwrap();
    let mut firsts = BTreeMap::new();
    let mut picture = BTreeMap::new();
    let mut sink = |item| {
        match item {
            WalkItem::Found {
                key,
                metadata,
                handle,
            } if key != root => {
                let path = key.to_path().split_off(root.to_path().len());
                picture.insert(path.clone(), see(&metadata, &handle, path, &mut firsts));
            }
            WalkItem::Found { .. } | WalkItem::Ancestor { .. } => {}
            WalkItem::Failed { key, error, .. } => panic!("{key:?}: {error}"),
        }
        ControlFlow::Continue(())
    };
    let options = WalkOptions {
        one_file_system: false,
        threads: 0,
    };
    walk(
        &[Root::from(root.clone())],
        &options,
        &Everything,
        &mut sink,
    );
    picture
}

fn see(
    metadata: &Metadata,
    handle: &dolmen_fs::FileHandle,
    path: Vec<u8>,
    firsts: &mut BTreeMap<u64, Vec<u8>>,
) -> Seen {
    let is_directory = metadata.kind == Kind::Directory;
    let content = (metadata.kind == Kind::File).then(|| {
        let mut file = handle.open().unwrap();
        let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => break hasher.finalize(),
                count => hasher.update(&buffer[..count]),
            };
        }
    });
    let link_target = match metadata.kind {
        Kind::Symlink => handle.read_link().unwrap(),
        _ => Vec::new(),
    };
    Seen {
        kind: metadata.kind,
        mode: metadata.mode,
        owner: (metadata.uid, metadata.gid),
        mtime: metadata.mtime,
        size_bytes: if is_directory { 0 } else { metadata.size_bytes },
        device: (metadata.rdev_major, metadata.rdev_minor),
        links: if is_directory { 0 } else { metadata.links },
        same_as: (metadata.links > 1 && !is_directory)
            .then(|| firsts.entry(metadata.inode).or_insert(path).clone()),
        xattrs: handle.xattrs().unwrap(),
        content,
        link_target,
    }
}

pub(crate) fn assert_same(wanted: &BTreeMap<Vec<u8>, Seen>, found: &BTreeMap<Vec<u8>, Seen>) {
    let names = |picture: &BTreeMap<Vec<u8>, Seen>| {
        picture
            .keys()
            .map(|path| path.escape_ascii().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(wanted), names(found));
    for (path, seen) in wanted {
        assert_eq!(Some(seen), found.get(path), "{}", path.escape_ascii());
    }
}

struct Everything;

impl Select for Everything {
    fn select(&self, _: &[u8], _: &Metadata, _: &dolmen_fs::DirectoryView<'_>) -> Selection {
        Selection::Include
    }
}

/// Makes what no ordinary call makes.
pub(crate) struct Maker(Target);

impl Maker {
    pub(crate) fn new(folder: &Path) -> Self {
        Self(Target::open_or_create(folder).unwrap())
    }

    pub(crate) fn directory(&self, key: &PathKey) {
        self.0.make_directory(key, Replace::Nothing).unwrap();
    }

    pub(crate) fn file(&self, key: &PathKey, content: &[u8]) {
        let file = self.0.create_file(key, Replace::Nothing).unwrap();
        file.write_all_at(content, 0).unwrap();
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0
    }

    pub(crate) fn apply(&self, key: &PathKey, mode: u32, owner: (u32, u32), xattrs: &[Xattr]) {
        let mtime = Timestamp::new(1_000_000_007, 123_456_789).unwrap();
        let attributes = Attributes {
            mode,
            uid: owner.0,
            gid: owner.1,
            mtime,
            atime: mtime,
            xattrs,
        };
        assert_eq!(self.0.apply(key, &attributes).unwrap(), []);
    }
}

pub(crate) fn patterns(texts: &[&str]) -> PatternList {
    let parse = |text: &&str| Pattern::parse(text.as_bytes(), Case::Sensitive).unwrap();
    PatternList::new(texts.iter().map(parse).collect())
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
