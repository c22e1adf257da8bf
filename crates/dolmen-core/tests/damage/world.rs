//! A repository in a folder that is hurt and healed again, and a second one that objects are replayed from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dolmen_core::backup::{self, Change, Context, SourceError};
use dolmen_core::check::{self, ReadData};
use dolmen_core::content::Chunks;
use dolmen_core::index::Index;
use dolmen_core::pack::BlobReader;
use dolmen_core::snapshots::SnapshotList;
use dolmen_core::tree::TreeReader;
use dolmen_core::{Environment, Error, Finding, Objects, Repository, repair};
use dolmen_format::ledger::{Fact, Policy, Record};
use dolmen_format::manifest::ManifestNode;
use dolmen_format::signed::{Reference, Stamp};
use dolmen_format::snapshot::Snapshot;
use dolmen_format::tree::NodeKind;
use dolmen_format::{BlobKind, InstanceId, ObjectKey};
use dolmen_state::state::{Instance, Remembered, StateFolder};
use dolmen_store::{LocalStore, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use crate::client::noise;
use crate::client::{Seeded, options, policy, runtime};
use crate::ticking::Ticking;

/// A client with its repository.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) repository: Repository,
    /// Kept until the end: objects are called through it.
    _runtime: Runtime,
}

/// What a check told.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) findings: Mutex<Vec<Finding>>,
    pub(crate) notices: Mutex<Vec<String>>,
}

impl check::Observer for Notes {
    fn finding(&self, finding: &Finding) {
        self.findings.lock().unwrap().push(finding.clone());
    }

    fn notice(&self, text: &str) {
        self.notices.lock().unwrap().push(text.to_owned());
    }
}

impl backup::Observer for Notes {
    fn failed(&self, path: &[u8], error: &SourceError) {
        panic!("{}: {error}", String::from_utf8_lossy(path));
    }

    fn skipped(&self, _: &[u8], _: &str) {}

    fn saved(&self, _: &[u8], _: Change, _: u64) {}

    fn notice(&self, text: &str) {
        self.notices.lock().unwrap().push(text.to_owned());
    }
}

impl World {
    /// Two backups of a small tree, and two ledger records, all of one instance.
    pub(crate) fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["source", "cache", "store"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let runtime = runtime();
        let store: Arc<dyn Store> =
            Arc::new(LocalStore::open(folder.path().join("store")).unwrap());
        let objects = Objects::new(store, runtime.handle().clone(), "folder");
        let environment = Environment {
            clock: Arc::new(Ticking::new()),
            random: Arc::new(Seeded::new(seed << 32)),
        };
        let repository = Repository::create(objects, environment, b"secret", &policy()).unwrap();
        let world = Self {
            folder,
            repository,
            _runtime: runtime,
        };
        let first = world.sign(Fact::Policy(policy()));
        world.write_first(seed);
        world.backup().unwrap();
        world.sign(Fact::Policy(Policy {
            previous: Some(first.digest),
            ..policy()
        }));
        world.write("new/large", &noise(seed + 1, 2_500_000));
        world.write("new/small", b"new and small");
        world.backup().unwrap();
        world
    }

    fn write_first(&self, seed: u64) {
        for number in 0..40 {
            self.write(&format!("many/{number}"), &noise(seed + 100 + number, 700));
        }
        self.write("old/large", &noise(seed + 2, 3_000_000));
        self.write("old/text", &b"lorem ipsum ".repeat(1000));
        self.write("empty", b"");
        std::fs::hard_link(self.source("old/text"), self.source("old/link")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn source(&self, path: &str) -> PathBuf {
        self.path("source").join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.source(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn claim(&self, fresh: InstanceId) -> Instance {
        let state = StateFolder::open(self.path("state")).unwrap();
        state
            .claim_instance(&self.repository.id(), None, fresh)
            .unwrap()
    }

    pub(crate) fn instance(&self) -> Instance {
        self.claim(InstanceId([0xff; 16]))
    }

    fn use_number(instance: &mut Instance) -> u64 {
        let mut record = instance.record().clone();
        let number = record.next_number;
        record.next_number += 1;
        instance.save(record).unwrap();
        number
    }

    /// Signs a fact under the client's next number.
    pub(crate) fn sign(&self, fact: Fact) -> Reference {
        let mut instance = self.instance();
        let number = Self::use_number(&mut instance);
        let writer = self.repository.writer();
        let record = Record {
            stamp: Stamp {
                writer,
                instance: instance.id(),
                number,
            },
            time: self.repository.environment.clock.now(),
            nonce: self.repository.environment.nonce(),
            certificate: None,
            fact,
        };
        let (stored, digest) = self
            .repository
            .keys()
            .signing()
            .sign(&self.repository.id(), &record)
            .unwrap();
        let key = ObjectKey::Ledger(writer, digest);
        self.repository
            .objects
            .put(&key, Bytes::from(stored))
            .unwrap();
        Reference {
            writer,
            instance: instance.id(),
            number,
            digest,
        }
    }

    /// Writes a snapshot like the latest one, whose manifest names no frame.
    pub(crate) fn forge_an_empty_manifest(&self) -> String {
        let list = SnapshotList::load(&self.repository, None).unwrap();
        let latest = list.snapshots.last().unwrap();
        let mut snapshot = latest.snapshot.clone();
        let mut instance = self.instance();
        snapshot.stamp.number = Self::use_number(&mut instance);
        let aad = Snapshot::box_aad(&self.repository.id(), &snapshot.nonce);
        let plain = ManifestNode::Leaf(Vec::new()).encode();
        let random = self.repository.environment.secret();
        let key = self.repository.keys().maintain_public();
        snapshot.manifest = key
            .seal(&random, b"dolmen v1 manifest", &aad, &plain)
            .unwrap();
        let (stored, id) = self
            .repository
            .keys()
            .signing()
            .sign(&self.repository.id(), &snapshot)
            .unwrap();
        let key = ObjectKey::Snapshot(self.repository.writer(), id);
        self.repository
            .objects
            .put(&key, Bytes::from(stored))
            .unwrap();
        id.to_string()
    }

    /// A run as a new process would make it: everything is loaded again.
    pub(crate) fn backup(&self) -> Result<Notes, Error> {
        let instance = Mutex::new(self.instance());
        let index = Index::load(&self.repository, Some(&self.path("cache/index")))?;
        let snapshots = SnapshotList::load(&self.repository, None)?;
        let notes = Notes::default();
        let context = Context {
            repository: &self.repository,
            index: &index,
            snapshots: &snapshots,
            instance: &instance,
        };
        backup::paths(
            &context,
            &self.options(),
            &notes,
            &backup::Progress::default(),
        )?;
        Ok(notes)
    }

    pub(crate) fn rebuild_index(&self) -> (repair::IndexReport, Notes) {
        let (notes, mut instance) = (Notes::default(), self.instance());
        let cancel = AtomicBool::new(false);
        let report =
            repair::rebuild_index(&self.repository, &mut instance, &notes, &cancel).unwrap();
        (report, notes)
    }

    fn options(&self) -> backup::Options {
        let source = self.path("source");
        let root = dolmen_fs::Root::absolute(source.as_os_str().as_encoded_bytes()).unwrap();
        backup::Options {
            threads: 1,
            force: false,
            cache: Some(self.path("cache")),
            ..options(source, root, self.path("cache"))
        }
    }

    /// The latest snapshot that the client remembers.
    pub(crate) fn head(&self) -> Option<Reference> {
        self.instance().record().head
    }

    /// Its short id.
    pub(crate) fn latest(&self) -> String {
        self.head()
            .unwrap()
            .digest
            .to_string()
            .chars()
            .take(8)
            .collect()
    }

    pub(crate) fn check(&self, read_data: ReadData) -> (check::Report, Notes) {
        let cache = Some(self.path("cache/index"));
        let options = check::Options {
            read_data,
            threads: 2,
            cache,
            remembered: Remembered {
                heads: self.head().into_iter().collect(),
                ..Remembered::default()
            },
            at: None,
        };
        let (notes, progress) = (Notes::default(), check::Progress::default());
        let report = check::run(&self.repository, &options, &notes, &progress).unwrap();
        let mut told = notes.findings.lock().unwrap().clone();
        told.sort();
        assert_eq!(
            told, report.findings,
            "what is told is what is reported, once"
        );
        (report, notes)
    }

    /// Objects of a kind, by the folder they lie in.
    pub(crate) fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path("store").join(kind), &mut |path| {
            found.push(path.to_owned());
        });
        found.sort();
        found
    }

    /// All that a test may change.
    pub(crate) fn save(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut saved = BTreeMap::new();
        for name in ["store", "state", "cache"] {
            walk(&self.path(name), &mut |path| {
                saved.insert(path.to_owned(), std::fs::read(path).unwrap());
            });
        }
        saved
    }

    pub(crate) fn heal(&self, saved: &BTreeMap<PathBuf, Vec<u8>>) {
        for path in self.save().keys().filter(|path| !saved.contains_key(*path)) {
            std::fs::remove_file(path).unwrap();
        }
        for (path, body) in saved {
            if std::fs::read(path).ok().as_ref() != Some(body) {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, body).unwrap();
            }
        }
    }

    /// Reads every file of every snapshot: which can be had, which not, by snapshot and path; and whether
    /// all trees are whole.
    pub(crate) fn read_all(&self) -> Reading {
        self.read_all_through(&Index::load(&self.repository, None).unwrap())
    }

    /// The same through an index of the caller's.
    pub(crate) fn read_all_through(&self, index: &Index) -> Reading {
        let list = SnapshotList::load(&self.repository, None).unwrap();
        let blobs = BlobReader::new(&self.repository, &index.blobs);
        let mut reading = Reading::default();
        for snapshot in &list.snapshots {
            for entry in TreeReader::new(&blobs, snapshot.tree().unwrap()) {
                let Ok(entry) = entry else {
                    reading.lost_ranges += 1;
                    continue;
                };
                let NodeKind::File(file) = &entry.node.kind else {
                    continue;
                };
                let whole = Chunks::new(&blobs, &file.content).all(|chunk| {
                    chunk.is_ok_and(|chunk| blobs.blob(&chunk.id, BlobKind::Data).is_ok())
                });
                let path = String::from_utf8(entry.key).unwrap().replace('\0', "/");
                let name = format!("snapshot {}: /{path}", snapshot.short_id());
                if whole {
                    reading.whole.insert(name)
                } else {
                    reading.lost.insert(name)
                };
            }
        }
        reading
    }
}

/// What came of reading everything.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) whole: BTreeSet<String>,
    pub(crate) lost: BTreeSet<String>,
    pub(crate) lost_ranges: usize,
}

fn walk(folder: &Path, each: &mut dyn FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, each);
        } else {
            each(&path);
        }
    }
}
