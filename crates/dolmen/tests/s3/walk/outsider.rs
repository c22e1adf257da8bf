//! Somebody who looks at the bucket with a client that owes nothing to Dolmen's, and keeps what it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aws_sdk_s3::Client;
use aws_sdk_s3::types::ObjectLockMode;
use futures_util::StreamExt as _;
use tempfile::TempDir;

use crate::machine::{PREFIX, now_seconds, owner, versions};
use crate::world::World;

/// Requests under way at the same time.
const REQUESTS: usize = 8;

/// Files by their paths.
pub(crate) type Picture = BTreeMap<String, Vec<u8>>;

/// A version that has bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its key below the repository.
    pub(crate) key: String,
    pub(crate) version: String,
    /// Its lock; nobody makes one in compliance mode shorter.
    pub(crate) lock: Option<Locked>,
    /// Whether a plain read gives it.
    pub(crate) is_plain: bool,
    /// Whether its bytes are what its name says.
    pub(crate) is_authentic: bool,
}

/// A lock, as the store states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locked {
    /// When it ends, in seconds since 1970.
    pub(crate) until: i64,
    is_compliance: bool,
}

/// The one who looks.
#[derive(Debug)]
pub(crate) struct Outsider {
    client: Client,
    bucket: String,
    folder: TempDir,
    /// Versions whose bytes are in the folder, and whether they are what the name of the version says.
    bodies: BTreeMap<String, bool>,
    /// The locks as they were last seen.
    locks: BTreeMap<String, Locked>,
    copies: usize,
}

impl Outsider {
    pub(crate) fn new(bucket: &str) -> Self {
        Self {
            client: owner(),
            bucket: bucket.to_owned(),
            folder: tempfile::tempdir().unwrap(),
            bodies: BTreeMap::new(),
            locks: BTreeMap::new(),
            copies: 0,
        }
    }

    /// Every version that has bytes, but for the canaries of probes; no lock may end sooner than it once did.
    pub(crate) async fn look(&mut self) -> Vec<Stored> {
        let listed = list(&self.client, &self.bucket).await;
        let (client, bucket) = (&self.client, &self.bucket);
        let missing = listed.iter();
        let missing = missing.filter(|one| !self.bodies.contains_key(&one.version));
        let fetched: Vec<_> = futures_util::stream::iter(missing)
            .map(|one| async move {
                let get = client
                    .get_object()
                    .bucket(bucket)
                    .key(format!("{PREFIX}{}", one.key));
                let got = get.version_id(&one.version).send().await.unwrap();
                (one, got.body.collect().await.unwrap().into_bytes())
            })
            .buffer_unordered(REQUESTS)
            .collect()
            .await;
        for (one, body) in fetched {
            std::fs::write(self.folder.path().join(&one.version), &body).unwrap();
            let name = one.key.rsplit('/').next().unwrap();
            let is_authentic = blake3::hash(&body).to_hex().as_str() == name;
            self.bodies.insert(one.version.clone(), is_authentic);
        }
        let stored: Vec<_> = futures_util::stream::iter(listed)
            .map(|one| async move {
                let lock = lock_of(client, bucket, &one.key, &one.version).await;
                Stored { lock, ..one }
            })
            .buffered(REQUESTS)
            .collect()
            .await;
        stored.into_iter().map(|one| self.note(one)).collect()
    }

    fn note(&mut self, one: Stored) -> Stored {
        let before = self.locks.get(&one.version);
        let in_force = before.filter(|lock| lock.is_compliance && lock.until > now_seconds());
        if let Some(before) = in_force {
            let holds = |now: Locked| now.is_compliance && now.until >= before.until;
            assert!(one.lock.is_some_and(holds), "{before:?} became {one:?}");
        }
        if let Some(lock) = one.lock {
            self.locks.insert(one.version.clone(), lock);
        }
        Stored {
            is_authentic: self.bodies[&one.version],
            ..one
        }
    }

    /// A folder with these versions, as any tool copies them: a repository, or what is left of one.
    pub(crate) fn copy<'s>(&mut self, versions: impl Iterator<Item = &'s Stored>) -> PathBuf {
        self.copies += 1;
        let copy = self.folder.path().join(format!("copy{}", self.copies));
        for one in versions {
            let path = copy.join(&one.key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.exists() {
                std::fs::hard_link(self.folder.path().join(&one.version), path).unwrap();
            }
        }
        copy
    }
}

/// What a machine that has nothing but the passphrase restores from a folder.
pub(crate) fn restored_from(repository: &Path, snapshot: &str) -> Picture {
    let (stranger, target) = (World::new(), tempfile::tempdir().unwrap());
    let ran = stranger
        .command(&["restore", snapshot, "--target"])
        .arg(target.path())
        .env("DOLMEN_REPOSITORY", repository)
        .output();
    let ran = crate::world::Ran::of(ran.unwrap());
    assert_eq!(
        ran.code, 0,
        "restore {snapshot}\n{}\n{}",
        ran.stdout, ran.stderr
    );
    picture(target.path())
}

/// All files below a folder.
pub(crate) fn picture(folder: &Path) -> Picture {
    let (mut found, mut open) = (Picture::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The paths at which two pictures differ.
pub(crate) fn differences<'p>(one: &'p Picture, other: &'p Picture) -> BTreeSet<&'p str> {
    let paths = one.keys().chain(other.keys()).map(String::as_str);
    paths
        .filter(|path| one.get(*path) != other.get(*path))
        .collect()
}

/// All versions that have bytes, without their locks.
pub(crate) async fn list(client: &Client, bucket: &str) -> Vec<Stored> {
    let found = versions(client, bucket).await.into_iter();
    let stored = found.map(|version| Stored {
        key: version
            .key()
            .unwrap()
            .strip_prefix(PREFIX)
            .unwrap()
            .to_owned(),
        version: version.version_id().unwrap().to_owned(),
        lock: None,
        is_plain: version.is_latest() == Some(true),
        is_authentic: false,
    });
    stored.collect()
}

async fn lock_of(client: &Client, bucket: &str, key: &str, version: &str) -> Option<Locked> {
    let head = client.head_object().bucket(bucket);
    let head = head.key(format!("{PREFIX}{key}")).version_id(version);
    let head = head.send().await.unwrap();
    Some(Locked {
        until: head.object_lock_retain_until_date()?.secs(),
        is_compliance: head.object_lock_mode() == Some(&ObjectLockMode::Compliance),
    })
}
