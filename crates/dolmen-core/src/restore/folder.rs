//! The directories that the walk is in.

use dolmen_fs::{Made, Names, PathKey};

use super::entry::Meta;

/// The directories that the walk is in, the target first.
///
/// They hold one key between them: in a tree of thousands of levels a key of its own for each would take gigabytes.
#[derive(Debug, Default)]
pub(super) struct Folders {
    pub(super) open: Vec<Folder>,
    /// The key of the last directory, or one below it; the others' keys are its beginnings.
    pub(super) deepest: PathKey,
}

impl Folders {
    /// Enters a directory that lies directly in the last one.
    pub(super) fn enter(&mut self, key: PathKey, meta: Option<Meta>) {
        self.open.push(Folder::new(key.as_bytes().len(), meta));
        self.deepest = key;
    }

    /// Enters the directories that hold `key` and that the walk is not in: their entries are lost. The last directory
    /// is one that holds it.
    pub(super) fn enter_lost(&mut self, key: &PathKey) {
        let parent_bytes = parent_bytes(key);
        let last_bytes = self.open.last().map_or(0, |last| last.key_bytes);
        if last_bytes >= parent_bytes {
            return;
        }
        self.deepest = key.ancestor_within(parent_bytes);
        let mut key_bytes = 0_usize;
        for name in self.deepest.components() {
            let separator_bytes = usize::from(key_bytes > 0);
            key_bytes = key_bytes
                .saturating_add(separator_bytes)
                .saturating_add(name.len());
            if key_bytes > last_bytes {
                let mut folder = Folder::new(key_bytes, None);
                folder.is_incomplete = true;
                self.open.push(folder);
            }
        }
    }

    /// Bytes of the longest key that a directory which holds `key` can have, as far as the walk is in it.
    pub(super) fn shared_bytes(&self, key: &PathKey) -> usize {
        self.deepest.shared_bytes(key).min(parent_bytes(key))
    }

    /// Takes the last directory out, with its key, when that has more bytes than `kept_bytes`; `None` keeps nothing.
    pub(super) fn leave(&mut self, kept_bytes: Option<usize>) -> Option<(PathKey, Folder)> {
        let leaves = |last: &mut Folder| kept_bytes.is_none_or(|kept| last.key_bytes > kept);
        let folder = self.open.pop_if(leaves)?;
        Some((folder.key(&self.deepest), folder))
    }
}

/// Bytes of the key of the directory that holds `key`.
fn parent_bytes(key: &PathKey) -> usize {
    let name_and_separator_bytes = key.name().len().saturating_add(1);
    key.as_bytes()
        .len()
        .saturating_sub(name_and_separator_bytes)
}

/// A directory that the walk is in.
#[derive(Debug)]
pub(super) struct Folder {
    /// Bytes of its key; see [`Folders`].
    key_bytes: usize,
    /// `None` for the target itself, and for a directory whose entry is lost.
    pub(super) meta: Option<Meta>,
    pub(super) standing: Standing,
    /// What the target had there that may have to go; `None`: nothing.
    pub(super) leftovers: Option<Leftovers>,
    /// Whether a part of the tree was lost while the walk was in it.
    pub(super) is_incomplete: bool,
}

/// Whether a directory is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing in it was wanted yet.
    Unneeded,
    /// It is there.
    Made(Made),
    /// It could not be made; what is below it is lost to this machine.
    Failed,
}

impl Folder {
    const fn new(key_bytes: usize, meta: Option<Meta>) -> Self {
        Self {
            key_bytes,
            meta,
            standing: Standing::Unneeded,
            leftovers: None,
            is_incomplete: false,
        }
    }

    /// Its key, out of that of the deepest directory; see [`Folders`].
    pub(super) fn key(&self, deepest: &PathKey) -> PathKey {
        deepest.ancestor_within(self.key_bytes)
    }

    /// Whether nothing can be in it but what this restore put there.
    pub(super) const fn is_new(&self) -> bool {
        matches!(self.standing, Standing::Made(Made::New))
    }

    /// Notes that the snapshot has this name. Names come in order.
    pub(super) fn expect(&mut self, name: &[u8]) {
        if let Some(leftovers) = &mut self.leftovers {
            leftovers.expect(name);
        }
    }
}

/// The names that a directory had before, less those that the snapshot has.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Names in order, each ended by NUL.
    names: Vec<u8>,
    /// Where the names begin that are yet to be compared.
    at: usize,
    /// Those that the snapshot does not have, each ended by NUL.
    unexpected: Vec<u8>,
}

impl Leftovers {
    pub(super) fn new(found: &Names) -> Self {
        let mut names = Vec::new();
        for name in found.iter() {
            push(&mut names, name);
        }
        Self {
            names,
            ..Self::default()
        }
    }

    fn expect(&mut self, expected: &[u8]) {
        while let Some(name) = first(self.names.get(self.at..).unwrap_or_default()) {
            if name > expected {
                return;
            }
            if name < expected {
                push(&mut self.unexpected, name);
            }
            self.at = self.at.saturating_add(name.len()).saturating_add(1);
        }
    }

    /// The names that are to go.
    pub(super) fn into_unexpected(mut self) -> Vec<Box<[u8]>> {
        self.unexpected
            .extend_from_slice(self.names.get(self.at..).unwrap_or_default());
        let names = self
            .unexpected
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        names.map(Box::from).collect()
    }
}

fn push(names: &mut Vec<u8>, name: &[u8]) {
    names.extend_from_slice(name);
    names.push(0);
}

fn first(names: &[u8]) -> Option<&[u8]> {
    names
        .split(|byte| *byte == 0)
        .next()
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> PathKey {
        PathKey::from_path(path.as_bytes()).unwrap()
    }

    /// Leaves what does not hold a path, enters what does, and returns what was left.
    fn go_to(folders: &mut Folders, path: &str) -> Vec<PathKey> {
        let kept_bytes = folders.shared_bytes(&key(path));
        let left = std::iter::from_fn(|| folders.leave(Some(kept_bytes)));
        let left = left.map(|(key, _)| key).collect();
        folders.enter_lost(&key(path));
        left
    }

    fn open(folders: &Folders) -> Vec<(PathKey, bool)> {
        let of = |folder: &Folder| (folder.key(&folders.deepest), folder.is_incomplete);
        folders.open.iter().map(of).collect()
    }

    #[test]
    fn a_walk_is_in_the_directories_that_hold_its_entry() {
        let mut folders = Folders::default();
        folders.enter(PathKey::root(), None);
        for path in ["/a", "/a/b", "/a/b/c"] {
            assert_eq!(go_to(&mut folders, path), []);
            folders.enter(key(path), None);
        }
        assert_eq!(go_to(&mut folders, "/a/b/cc"), [key("/a/b/c")]);
        assert_eq!(go_to(&mut folders, "/a/b/cd"), [], "a file is not entered");
        assert_eq!(go_to(&mut folders, "/a/bc"), [key("/a/b")]);
        assert_eq!(
            open(&folders),
            [(key("/"), false), (key("/a"), false)],
            "a name that begins alike is another"
        );
        assert_eq!(go_to(&mut folders, "/a/d/e/f"), []);
        let lost = [(key("/a/d"), true), (key("/a/d/e"), true)];
        assert_eq!(open(&folders)[2..], lost);
        assert_eq!(
            go_to(&mut folders, "/a/d/e"),
            [key("/a/d/e")],
            "no directory holds itself"
        );
        assert_eq!(go_to(&mut folders, "/b"), [key("/a/d"), key("/a")]);
        assert_eq!(open(&folders), [(key("/"), false)]);
        folders.leave(None).expect("the target is left at the end");
        assert!(folders.leave(None).is_none());
    }

    #[test]
    fn directories_hold_no_keys_of_their_own() {
        let mut folders = Folders::default();
        let mut deep = PathKey::root();
        for _ in 0..500 {
            folders.enter(deep.clone(), None);
            deep = deep.join(&[b'n'; 250]);
        }
        let keys = folders
            .open
            .iter()
            .map(|folder| folder.key(&folders.deepest));
        assert!(keys.eq((0..500_usize).map(|depth| deep.ancestor_within(depth * 251))));
        // Whole keys would be 31 MB.
        let held_bytes = folders.deepest.as_bytes().len() + size_of_val(folders.open.as_slice());
        assert!(held_bytes < 1 << 18, "{held_bytes}");
    }

    #[test]
    fn what_the_snapshot_does_not_name_is_left_over() {
        let mut leftovers = Leftovers::default();
        for name in ["a", "ab", "b", "c", "e"] {
            push(&mut leftovers.names, name.as_bytes());
        }
        for name in ["aa", "b", "d"] {
            leftovers.expect(name.as_bytes());
        }
        let unexpected = leftovers.into_unexpected();
        let unexpected: Vec<&[u8]> = unexpected.iter().map(AsRef::as_ref).collect();
        assert_eq!(unexpected, [&b"a"[..], b"ab", b"c", b"e"]);
    }
}
