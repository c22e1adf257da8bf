//! What every client of the tests' worlds has: bytes out of a seed, a policy, a runtime, a way to back up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use dolmen_core::Random;
use dolmen_core::backup;
use dolmen_core::pack::Effort;
use dolmen_format::ledger::{Keep, LockStrategy, Policy};
use dolmen_fs::Root;
use tokio::runtime::Runtime;

/// Random bytes, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Seeded(AtomicU64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for Seeded {
    fn fill(&self, out: &mut [u8]) {
        expand(self.0.fetch_add(1, Ordering::SeqCst), out);
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    expand(seed, &mut out);
    out
}

fn expand(seed: u64, out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).finalize_xof().fill(out);
}

/// Thirty days, renewed every seven, maintained every day, without locks.
pub(crate) fn policy() -> Policy {
    Policy {
        protect_seconds: 30 * 86_400,
        generation_seconds: 7 * 86_400,
        interval_seconds: 86_400,
        lock: LockStrategy::None,
        keep: Keep::default(),
        classes: Vec::new(),
        previous: None,
    }
}

/// Keep it until the end: objects are called through it.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// A backup of everything below one folder, read anew.
pub(crate) fn options(source: PathBuf, root: Root, scratch: PathBuf) -> backup::Options {
    backup::Options {
        paths: vec![source.into_os_string().into_encoded_bytes()],
        roots: vec![root],
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
        force: true,
        skip_if_unchanged: false,
        dry_run: false,
        trust_own_history: false,
        cache: None,
        scratch,
        checkpoint_bytes: backup::CHECKPOINT_BYTES,
        checkpoint_seconds: backup::CHECKPOINT_SECONDS,
    }
}
