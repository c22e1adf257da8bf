//! The directories of a target, open while files are written into them.

use crate::directory::lock;
use crate::error::{Errno, FsError, Operation};
use crate::key::{PathKey, is_file_name, shared_bytes, split};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Directories that stay open at once, at most.
const OPEN_MAX: usize = 128;

/// Bytes of the keys of directories that stay open, unless a single key is longer: below a thousand directories each key
/// is a large part of a mebibyte.
const KEY_BYTES_MAX: usize = 16 << 20;

/// Directories on the way to one far below that stay open with it, at most.
const ON_THE_WAY_MAX: usize = 8;

/// Bytes of path that one call resolves, at most; the kernel refuses 4096.
const PATH_BYTES_MAX: usize = 3_072;

/// Finds directories below the target.
#[derive(Debug)]
pub(super) struct Parents {
    root: Arc<OwnedFd>,
    open: Mutex<Open>,
    /// Cleared when the kernel turns out not to have `openat2`.
    has_openat2: AtomicBool,
    /// Counts the steps that were opened, for tests.
    #[cfg(test)]
    steps: std::sync::atomic::AtomicUsize,
}

/// The directories used last.
#[derive(Debug, Default)]
struct Open {
    /// By key, so that those at or above a directory are found by the order of the keys.
    directories: BTreeMap<PathKey, Used>,
    /// Bytes of their keys.
    key_bytes: usize,
    /// Counts the uses.
    clock: u64,
}

#[derive(Debug)]
struct Used {
    fd: Arc<OwnedFd>,
    /// Differs from that of any other.
    at: u64,
}

/// A directory on the way down, and how many bytes of the key lead to it.
type Step = (usize, Arc<OwnedFd>);

impl Parents {
    /// Starts from the target's own directory.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root: Arc::new(root),
            open: Mutex::default(),
            has_openat2: AtomicBool::new(true),
            #[cfg(test)]
            steps: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Opens the directory with these key bytes, without following any symbolic link below the target.
    pub(super) fn open(&self, key: &[u8]) -> Result<Arc<OwnedFd>, FsError> {
        if key.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        let (from, rest) = {
            let mut open = lock(&self.open);
            let (found, rest) = open.nearest(key);
            if let (Some(fd), true) = (&found, rest.is_empty()) {
                return Ok(Arc::clone(fd));
            }
            (found.unwrap_or_else(|| Arc::clone(&self.root)), rest)
        };
        let steps = self.open_below(from, rest)?;
        let above_bytes = key.len().saturating_sub(rest.len());
        let mut open = lock(&self.open);
        for (bytes, fd) in &steps {
            let reached = key.get(..above_bytes.saturating_add(*bytes));
            open.insert(reached.unwrap_or(key), fd);
        }
        let last = steps.into_iter().next_back();
        last.map(|(_, fd)| fd).ok_or(FsError::UnsafeKey)
    }

    /// Closes a directory that is about to go, and all below it.
    pub(super) fn forget(&self, key: &PathKey) {
        lock(&self.open).retain(|open, _| !open.starts_with(key));
    }

    /// Chooses how to open, for tests.
    #[cfg(test)]
    pub(super) fn set_openat2(&self, has_openat2: bool) {
        self.has_openat2.store(has_openat2, Ordering::Relaxed);
    }

    /// How many steps were opened, for tests.
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }

    /// Opens in steps that are short enough for the kernel; returns the last of them.
    ///
    /// Not the directory alone: who leaves a deep tree asks next for the directory above, and would go all the way down
    /// again.
    fn open_below(&self, from: Arc<OwnedFd>, rest: &[u8]) -> Result<VecDeque<Step>, FsError> {
        let mut steps = VecDeque::new();
        let mut at = from;
        let mut bytes = 0_usize;
        let mut names = split(rest).peekable();
        while names.peek().is_some() {
            let mut step = Vec::new();
            while let Some(name) = names.next_if(|name| {
                step.is_empty() || step.len().saturating_add(name.len()) < PATH_BYTES_MAX
            }) {
                if !is_file_name(name) {
                    return Err(FsError::UnsafeKey);
                }
                if !step.is_empty() {
                    step.push(b'/');
                }
                step.extend_from_slice(name);
            }
            #[cfg(test)]
            self.steps.fetch_add(1, Ordering::Relaxed);
            at = Arc::new(
                self.open_step(&at, &step)
                    .map_err(FsError::system(Operation::Open))?,
            );
            // Two steps are a separator apart.
            bytes = bytes
                .saturating_add(usize::from(bytes > 0))
                .saturating_add(step.len());
            if steps.len() >= ON_THE_WAY_MAX {
                steps.pop_front();
            }
            steps.push_back((bytes, Arc::clone(&at)));
        }
        Ok(steps)
    }

    /// Opens a relative path that has been checked to go down only.
    fn open_step(&self, from: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
        const HOW: OFlags = OFlags::PATH
            .union(OFlags::DIRECTORY)
            .union(OFlags::NOFOLLOW)
            .union(OFlags::CLOEXEC);
        const BENEATH: ResolveFlags = ResolveFlags::BENEATH
            .union(ResolveFlags::NO_SYMLINKS)
            .union(ResolveFlags::NO_MAGICLINKS);
        if self.has_openat2.load(Ordering::Relaxed) {
            match openat2(from, path, HOW, Mode::empty(), BENEATH) {
                // Filters of older containers answer `EPERM` to calls that they do not know.
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2.store(false, Ordering::Relaxed),
                opened => return opened,
            }
        }
        let mut at = None;
        for name in path.split(|&byte| byte == b'/') {
            at = Some(openat(
                at.as_ref().unwrap_or(from),
                name,
                HOW,
                Mode::empty(),
            )?);
        }
        at.ok_or(Errno::INVAL)
    }
}

impl Open {
    /// The nearest open directory at or above a key, and what is left of the key below it.
    fn nearest<'k>(&mut self, key: &'k [u8]) -> (Option<Arc<OwnedFd>>, &'k [u8]) {
        self.clock = self.clock.saturating_add(1);
        let mut above = key;
        // All that lies between a directory and a key below it lies below that directory too. So those above the key
        // are also above the open directory just before it, and what the two share holds them all.
        while let Some((before, used)) = self
            .directories
            .range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(above)))
            .next_back()
        {
            let shared = shared_bytes(before.as_bytes(), above);
            let Some((found, below)) = key.split_at_checked(shared) else {
                break;
            };
            if shared == before.as_bytes().len() {
                used.at = self.clock;
                let below = below.strip_prefix(b"\0").unwrap_or(below);
                return (Some(Arc::clone(&used.fd)), below);
            }
            above = found;
        }
        (None, key)
    }

    fn insert(&mut self, key: &[u8], fd: &Arc<OwnedFd>) {
        // Another thread may have opened it meanwhile.
        if self.directories.remove(key).is_some() {
            self.key_bytes = self.key_bytes.saturating_sub(key.len());
        }
        while !self.directories.is_empty()
            && (self.directories.len() >= OPEN_MAX
                || self.key_bytes.saturating_add(key.len()) > KEY_BYTES_MAX)
        {
            let oldest = self.directories.values().map(|used| used.at).min();
            self.retain(|_, used| Some(used.at) != oldest);
        }
        self.clock = self.clock.saturating_add(1);
        let used = Used {
            fd: Arc::clone(fd),
            at: self.clock,
        };
        self.directories.insert(PathKey::joined(b"", key), used);
        self.key_bytes = self.key_bytes.saturating_add(key.len());
    }

    fn retain(&mut self, mut keeps: impl FnMut(&PathKey, &Used) -> bool) {
        let key_bytes = &mut self.key_bytes;
        self.directories.retain(|key, used| {
            let is_kept = keeps(key, used);
            if !is_kept {
                *key_bytes = key_bytes.saturating_sub(key.as_bytes().len());
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn any_fd() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").unwrap().into())
    }

    fn sum_of_keys(open: &Open) -> usize {
        open.directories
            .keys()
            .map(|key| key.as_bytes().len())
            .sum()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Open(PathKey),
        Forget(PathKey),
    }

    /// Few names, so that paths meet; some begin alike.
    fn some_key() -> impl Strategy<Value = PathKey> {
        let name = prop::sample::select(vec![&b"a"[..], b"a\x01", b"ab", b"b"]);
        prop::collection::vec(name, 1..6).prop_map(|names| {
            names
                .iter()
                .fold(PathKey::root(), |key, name| key.join(name))
        })
    }

    fn some_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            40 => some_key().prop_map(Step::Open),
            1 => some_key().prop_map(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn the_longest_open_ancestor_is_found(steps in prop::collection::vec(some_step(), 0..400)) {
            let mut open = Open::default();
            let mut inserted = HashMap::new();
            for step in steps {
                match step {
                    Step::Open(key) => {
                        let expected = open.directories.keys().filter(|open| key.starts_with(open));
                        let expected = expected.max_by_key(|open| open.as_bytes().len()).cloned();
                        let (found, rest) = open.nearest(key.as_bytes());
                        prop_assert_eq!(found.is_some(), expected.is_some());
                        if let (Some(found), Some(expected)) = (&found, &expected) {
                            prop_assert!(Arc::ptr_eq(found, &inserted[expected]));
                        }
                        let above = expected.unwrap_or_default();
                        let below = key.below(&above).unwrap();
                        prop_assert_eq!(rest, below.as_bytes());
                        if !rest.is_empty() {
                            let fd = any_fd();
                            open.insert(key.as_bytes(), &fd);
                            inserted.insert(key.clone(), fd);
                            prop_assert!(open.directories.contains_key(&key));
                        }
                    }
                    Step::Forget(key) => {
                        let mut left: Vec<_> = open.directories.keys().cloned().collect();
                        left.retain(|open| !open.starts_with(&key));
                        open.retain(|open, _| !open.starts_with(&key));
                        prop_assert!(open.directories.keys().eq(&left));
                    }
                }
                prop_assert!(open.directories.len() <= OPEN_MAX);
                prop_assert_eq!(open.key_bytes, sum_of_keys(&open));
            }
        }
    }

    #[test]
    fn keys_of_open_directories_stay_within_their_bytes() {
        let mut open = Open::default();
        let fd = any_fd();
        let mut key = PathKey::root();
        for _ in 0..4_000 {
            key = key.join(&[b'n'; 250]);
        }
        let deepest_bytes = key.as_bytes().len();
        for depth in (1..=64).rev() {
            let key = key.ancestor_within(deepest_bytes - depth * 251);
            open.insert(key.as_bytes(), &fd);
            open.insert(key.as_bytes(), &fd);
            assert_eq!(open.key_bytes, sum_of_keys(&open));
            assert!(open.key_bytes <= KEY_BYTES_MAX);
            assert!(open.nearest(key.as_bytes()).1.is_empty());
        }
        assert_eq!(open.directories.len(), KEY_BYTES_MAX / deepest_bytes);
        open.insert(&vec![b'n'; KEY_BYTES_MAX + 1], &fd);
        assert_eq!(open.directories.len(), 1, "one is always kept");
    }
}
