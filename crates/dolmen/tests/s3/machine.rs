//! A machine that backs up into a bucket, and somebody else who looks into that.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ObjectVersion;
use bytes::Bytes;
use serde_json::Value;

use crate::proxy::{Fault, Proxy, Request};
use crate::seaweed::{OWNER, server};
use crate::world::{Ran, World, messages};

/// A machine with files, and a bucket.
pub(crate) struct Machine {
    pub(crate) world: World,
    /// The bucket, in which the repository has a folder.
    pub(crate) bucket: String,
    /// The server, or what stands in front of it.
    pub(crate) endpoint: String,
}

/// A version in the bucket, as an independent client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// The end of its lock, in seconds since 1970.
    pub(crate) until: Option<i64>,
}

impl Machine {
    /// One without a bucket.
    pub(crate) fn new(bucket: &str) -> Self {
        Self::at(&server().endpoint(), bucket)
    }

    /// The same at another server, or at what stands in front of it.
    pub(crate) fn at(endpoint: &str, bucket: &str) -> Self {
        Self {
            world: World::new(),
            bucket: bucket.to_owned(),
            endpoint: endpoint.to_owned(),
        }
    }

    /// One with a repository, whose requests pass a proxy that breaks them as long as the switch is on.
    pub(crate) async fn behind(
        bucket: &str,
        terms: &[&str],
        rule: impl Fn(&Request, usize) -> Fault + Send + Sync + 'static,
    ) -> (Self, Arc<AtomicBool>, Proxy) {
        let is_on = Arc::<AtomicBool>::default();
        let (on, count) = (Arc::clone(&is_on), AtomicUsize::new(0));
        let rule = move |request: &Request, _| {
            if on.load(Ordering::SeqCst) {
                rule(request, count.fetch_add(1, Ordering::SeqCst))
            } else {
                Fault::None
            }
        };
        let proxy = Proxy::start(&server().endpoint(), Arc::new(rule)).await;
        let machine = Self::at(&proxy.endpoint, bucket);
        machine.done(&[&["init", "--create-bucket"], terms].concat());
        (machine, is_on, proxy)
    }

    /// One with a repository of these terms, in a bucket that `init` makes.
    pub(crate) fn with_repository(bucket: &str, terms: &[&str]) -> Self {
        let machine = Self::new(bucket);
        machine.done(&[&["init", "--create-bucket"], terms].concat());
        machine
    }

    /// The address of the repository.
    pub(crate) fn address(&self) -> String {
        format!("s3:{}/{}/repository", self.endpoint, self.bucket)
    }

    /// The program, with the owner's credentials.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command
            .env("DOLMEN_REPOSITORY", self.address())
            .env("AWS_ACCESS_KEY_ID", OWNER.0)
            .env("AWS_SECRET_ACCESS_KEY", OWNER.1)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// Runs the program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs it and expects that it is done; returns stdout.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Runs it with `--json`, expects that it is done, and returns its last message.
    #[track_caller]
    pub(crate) fn told(&self, arguments: &[&str]) -> Value {
        let stdout = self.done(&[arguments, &["--json"]].concat());
        messages(&stdout).pop().unwrap()
    }

    /// Restores a snapshot and compares it with `files`, byte for byte.
    #[track_caller]
    pub(crate) fn restores(&self, snapshot: &str) {
        let target = tempfile::tempdir().unwrap();
        let arguments = ["restore", snapshot, "--target"];
        let target_text = target.path().to_str().unwrap();
        self.done(&[&arguments as &[&str], &[target_text]].concat());
        let files = self.world.path("files");
        let compared = Command::new("diff")
            .arg("-r")
            .arg(files)
            .arg(target.path())
            .output()
            .unwrap();
        let listed = || self.run(&["snapshots", "--all", "--json"]).stdout;
        assert!(compared.status.success(), "{compared:?}\n{}", listed());
    }

    /// Waits until everything that a renewal looks at is due.
    pub(crate) async fn until_all_is_due(&self) {
        until(|| {
            let planned = self.told(&["renew", "--dry-run"]);
            planned["renewed"] == planned["examined"]
        })
        .await;
    }

    /// All versions of the repository's objects that have bytes, by version id, without the probes' canaries.
    pub(crate) async fn versions(&self) -> BTreeMap<String, Seen> {
        let client = owner();
        let mut found = BTreeMap::new();
        for version in versions(&client, &self.bucket).await {
            let key = version.key().unwrap().to_owned();
            let id = version.version_id().unwrap().to_owned();
            let head = client.head_object().bucket(&self.bucket).key(&key);
            let until = match head.version_id(&id).send().await {
                Ok(head) => head.object_lock_retain_until_date().map(DateTime::secs),
                // Encrypted with a key of somebody else's own, which is nothing that Dolmen ever locks.
                Err(error) => {
                    let status = error.raw_response().unwrap().status().as_u16();
                    assert_eq!(status, 400, "{key}: {error:?}");
                    None
                }
            };
            let bytes = u64::try_from(version.size().unwrap()).unwrap();
            found.insert(id, Seen { key, bytes, until });
        }
        found
    }

    /// What the plain view of the repository shows, as tools copy it that know nothing of versions: bodies by key.
    pub(crate) async fn plain(&self) -> BTreeMap<String, Bytes> {
        let client = owner();
        let list = client.list_objects_v2().bucket(&self.bucket).prefix(PREFIX);
        let (mut pages, mut bodies) = (list.into_paginator().send(), BTreeMap::new());
        while let Some(page) = pages.next().await {
            for object in page.unwrap().contents() {
                let key = object.key().unwrap();
                let get = client.get_object().bucket(&self.bucket).key(key);
                let body = get.send().await.unwrap().body.collect().await.unwrap();
                bodies.insert(key.to_owned(), body.into_bytes());
            }
        }
        bodies
    }
}

/// The folder of the repository in a bucket.
pub(crate) const PREFIX: &str = "repository/";

/// All versions in the repository's folder that have bytes, without the probes' canaries.
pub(crate) async fn versions(client: &Client, bucket: &str) -> Vec<ObjectVersion> {
    let mut found = Vec::new();
    let (mut key_marker, mut version_marker) = (None, None);
    loop {
        let page = client
            .list_object_versions()
            .bucket(bucket)
            .prefix(PREFIX)
            .set_key_marker(key_marker)
            .set_version_id_marker(version_marker)
            .send()
            .await
            .unwrap();
        let needed = page.versions().iter();
        let needed = needed.filter(|version| !version.key().unwrap().contains("/canary/"));
        found.extend(needed.cloned());
        if page.is_truncated() != Some(true) {
            return found;
        }
        key_marker = page.next_key_marker().map(str::to_owned);
        version_marker = page.next_version_id_marker().map(str::to_owned);
    }
}

/// Somebody else with the owner's credentials.
pub(crate) fn owner() -> Client {
    server().client(OWNER)
}

/// Waits for something that locks bring about when they lapse.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    const TURNS_MAX: u32 = 200;
    for _turn in 0..TURNS_MAX {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("it does not come about");
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// This machine's clock, in seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}
