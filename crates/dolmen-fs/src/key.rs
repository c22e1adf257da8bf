//! Paths as keys whose bytewise order is the depth-first order of the tree.

use std::borrow::Borrow;
use std::fmt;

/// An absolute path, in a file system or in the tree of a snapshot: its components joined by NUL, which no file name
/// can hold.
///
/// `/usr/lib` is `usr\0lib` and `/` is empty. NUL sorts before every other byte, so the bytewise order is the
/// order of a depth-first walk that sorts each directory's names bytewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PathKey(Box<[u8]>);

/// Why bytes are no path key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathKeyError {
    /// The path does not start with a slash.
    #[error("path is not absolute")]
    Relative,
    /// The path has a `..`, whose meaning depends on symbolic links.
    #[error("path has a `..` component")]
    ParentComponent,
    /// A component is empty, `.`, `..` or holds a slash or a NUL.
    #[error("`{}` is not a file name", name.escape_ascii())]
    Name {
        /// The component that cannot be a file name.
        name: Vec<u8>,
    },
}

impl PathKey {
    /// Returns the key of `/`.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads an absolute path. Repeated slashes and `.` components are dropped, `..` is refused.
    pub fn from_path(path: &[u8]) -> Result<Self, PathKeyError> {
        let Some((b'/', rest)) = path.split_first() else {
            return Err(PathKeyError::Relative);
        };
        let mut key = Vec::with_capacity(rest.len());
        for name in rest.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(PathKeyError::ParentComponent),
                name if name.contains(&0) => {
                    return Err(PathKeyError::Name {
                        name: name.to_vec(),
                    });
                }
                name => push(&mut key, name),
            }
        }
        Ok(Self(key.into()))
    }

    /// Takes bytes that are a key already, as a stored tree has them; every component is checked.
    pub fn from_bytes(key: &[u8]) -> Result<Self, PathKeyError> {
        match split(key).find(|name| !is_file_name(name)) {
            Some(name) => Err(PathKeyError::Name {
                name: name.to_vec(),
            }),
            None => Ok(Self(key.into())),
        }
    }

    /// Returns the key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the absolute path, `/usr/lib`.
    pub fn to_path(&self) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.0.len().saturating_add(1));
        path.push(b'/');
        path.extend(
            self.0
                .iter()
                .map(|&byte| if byte == 0 { b'/' } else { byte }),
        );
        path
    }

    /// Returns the key of the directory that holds this path; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        self.split_last().map(|(parent, _)| Self(parent.into()))
    }

    /// Returns the key of the deepest directory at or above this path whose key has at most `key_bytes` bytes.
    #[must_use]
    pub fn ancestor_within(&self, key_bytes: usize) -> Self {
        let end = ancestor_bytes(&self.0, key_bytes);
        Self(self.0.get(..end).unwrap_or(&self.0).into())
    }

    /// Returns how many bytes the key has of the deepest directory that is at or above both paths.
    pub fn shared_bytes(&self, other: &Self) -> usize {
        shared_bytes(&self.0, &other.0)
    }

    /// Returns the path as it is from `ancestor` on; `None` when it does not lie there.
    pub fn below(&self, ancestor: &Self) -> Option<Self> {
        if !self.starts_with(ancestor) {
            return None;
        }
        let rest = self.0.get(ancestor.0.len()..)?;
        Some(Self(rest.strip_prefix(b"\0").unwrap_or(rest).into()))
    }

    /// Returns the last component; empty for `/`.
    pub fn name(&self) -> &[u8] {
        self.split_last().map_or(b"", |(_, name)| name)
    }

    /// Iterates over the components, first to last; `/` has none.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        split(&self.0)
    }

    /// Returns the key of `name` in this directory. The caller vouches that `name` is a file name.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut key = Vec::with_capacity(self.0.len().saturating_add(name.len()).saturating_add(1));
        key.extend_from_slice(&self.0);
        push(&mut key, name);
        Self(key.into())
    }

    /// Whether this path is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        match self.0.strip_prefix(&*ancestor.0) {
            Some(rest) => ancestor.0.is_empty() || rest.first().is_none_or(|&byte| byte == 0),
            None => false,
        }
    }

    /// The key bytes of the parent, and the name in it; `None` for `/`.
    pub(crate) fn split_last(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|&byte| byte == 0) {
            Some(at) => self
                .0
                .split_at_checked(at)
                .map(|(parent, name)| (parent, name.get(1..).unwrap_or_default())),
            None => Some((b"", &self.0)),
        }
    }

    /// The key of `name` in the directory whose key bytes are `parent`.
    pub(crate) fn joined(parent: &[u8], name: &[u8]) -> Self {
        let mut key = Vec::with_capacity(parent.len().saturating_add(name.len()).saturating_add(1));
        key.extend_from_slice(parent);
        push(&mut key, name);
        Self(key.into_boxed_slice())
    }
}

/// Keys in collections are found by their bytes.
impl Borrow<[u8]> for PathKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Shows the path with what is not printable ASCII escaped.
impl fmt::Debug for PathKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathKey({})", self.to_path().escape_ascii())
    }
}

/// Whether a directory can hold `name`: not empty, not `.` or `..`, without slash and NUL.
pub(crate) fn is_file_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&0) && !name.contains(&b'/')
}

/// A path with key bytes behind it, which begin with the NUL that a slash stands for.
pub(crate) fn appended(path: &[u8], below: &[u8]) -> Vec<u8> {
    let below = below
        .iter()
        .map(|&byte| if byte == 0 { b'/' } else { byte });
    path.iter().copied().chain(below).collect()
}

/// Appends a component to key bytes.
pub(crate) fn push(key: &mut Vec<u8>, name: &[u8]) {
    if !key.is_empty() {
        key.push(0);
    }
    key.extend_from_slice(name);
}

/// How many bytes the key has of the deepest directory that is at or above both keys.
pub(crate) fn shared_bytes(left: &[u8], right: &[u8]) -> usize {
    let equal = equal_bytes(left, right);
    // `usr` and `usr2` begin alike, but neither is above the other.
    ancestor_bytes(left, equal).min(ancestor_bytes(right, equal))
}

/// How many bytes the longest key of a directory at or above `key` has that has at most `key_bytes` of them.
fn ancestor_bytes(key: &[u8], key_bytes: usize) -> usize {
    match key.get(key_bytes) {
        None => key.len(),
        Some(0) => key_bytes,
        Some(_) => key
            .get(..key_bytes)
            .and_then(|head| head.iter().rposition(|&byte| byte == 0))
            .unwrap_or(0),
    }
}

/// How many bytes two keys begin with alike.
fn equal_bytes(left: &[u8], right: &[u8]) -> usize {
    // Keys of a mebibyte are compared for each entry: whole blocks compare far faster than bytes one by one.
    const BLOCK_BYTES: usize = 256;
    let blocks = left
        .chunks_exact(BLOCK_BYTES)
        .zip(right.chunks_exact(BLOCK_BYTES))
        .take_while(|(left, right)| left == right)
        .count();
    let start = blocks.saturating_mul(BLOCK_BYTES);
    let left = left.get(start..).unwrap_or_default();
    let right = right.get(start..).unwrap_or_default();
    let bytes = left
        .iter()
        .zip(right)
        .take_while(|(left, right)| left == right);
    start.saturating_add(bytes.count())
}

/// The components of key bytes.
pub(crate) fn split(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Splitting the empty key would give one empty component; `/` has none.
    key.split(|&byte| byte == 0)
        .filter(move |_| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(path: &str) -> PathKey {
        PathKey::from_path(path.as_bytes()).unwrap()
    }

    #[test]
    fn paths_and_keys_convert_both_ways() {
        assert_eq!(key("/usr/lib").as_bytes(), b"usr\0lib");
        assert_eq!(key("/usr/lib").to_path(), b"/usr/lib");
        assert_eq!(key("//usr/./lib/"), key("/usr/lib"));
        assert_eq!(key("/").as_bytes(), b"");
        assert_eq!(key("/").to_path(), b"/");
        assert_eq!(key("/").components().count(), 0);
        assert_eq!(key("/usr/lib").parent(), Some(key("/usr")));
        assert_eq!(key("/usr").parent(), Some(key("/")));
        assert_eq!(key("/").parent(), None);
        assert_eq!(key("/usr/lib").name(), b"lib");
        assert_eq!(key("/").join(b"usr").join(b"lib"), key("/usr/lib"));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        assert_eq!(PathKey::from_path(b"usr"), Err(PathKeyError::Relative));
        assert_eq!(PathKey::from_path(b""), Err(PathKeyError::Relative));
        assert_eq!(
            PathKey::from_path(b"/a/../b"),
            Err(PathKeyError::ParentComponent)
        );
        for bad in [&b"a\0"[..], b"\0a", b"a\0\0b", b".", b"a\0..", b"a/b"] {
            assert!(PathKey::from_bytes(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_path_starts_with_its_ancestors_only() {
        assert!(key("/usr/lib").starts_with(&key("/usr")));
        assert!(key("/usr/lib").starts_with(&key("/usr/lib")));
        assert!(key("/usr/lib").starts_with(&key("/")));
        assert!(!key("/usr/lib").starts_with(&key("/usr/li")));
        assert!(!key("/usr").starts_with(&key("/usr/lib")));
    }

    #[test]
    fn ancestors_are_found_by_the_length_of_their_keys() {
        let lib = key("/usr/lib/x");
        assert_eq!(lib.ancestor_within(0), key("/"));
        assert_eq!(lib.ancestor_within(2), key("/"));
        assert_eq!(lib.ancestor_within(3), key("/usr"));
        assert_eq!(lib.ancestor_within(4), key("/usr"));
        assert_eq!(lib.ancestor_within(7), key("/usr/lib"));
        assert_eq!(lib.ancestor_within(9), lib);
        assert_eq!(lib.ancestor_within(usize::MAX), lib);
        assert_eq!(key("/").ancestor_within(3), key("/"));
    }

    #[test]
    fn a_path_is_told_from_an_ancestor_on() {
        assert_eq!(key("/usr/lib/x").below(&key("/usr")), Some(key("/lib/x")));
        assert_eq!(key("/usr/lib").below(&key("/")), Some(key("/usr/lib")));
        assert_eq!(key("/usr").below(&key("/usr")), Some(key("/")));
        assert_eq!(key("/usr").below(&key("/us")), None);
        assert_eq!(key("/usr").below(&key("/usr/lib")), None);
    }

    /// Keys that often begin alike, some of them longer than a block that is compared at once.
    fn similar_key() -> impl Strategy<Value = PathKey> {
        let name = prop::sample::select(vec![
            b"a".to_vec(),
            b"ab".to_vec(),
            b"b".to_vec(),
            vec![b'n'; 200],
            [vec![b'n'; 200], vec![b'z']].concat(),
        ]);
        prop::collection::vec(name, 0..6).prop_map(|names| {
            names
                .iter()
                .fold(PathKey::root(), |key, name| key.join(name))
        })
    }

    proptest! {
        #[test]
        fn what_two_keys_share_is_their_deepest_common_ancestor(left in similar_key(), right in similar_key()) {
            let common = left
                .components()
                .zip(right.components())
                .take_while(|(left, right)| left == right)
                .fold(PathKey::root(), |key, (name, _)| key.join(name));
            prop_assert_eq!(left.shared_bytes(&right), common.as_bytes().len());
            prop_assert_eq!(right.shared_bytes(&left), common.as_bytes().len());
            prop_assert_eq!(left.ancestor_within(left.shared_bytes(&right)), common);
        }

        #[test]
        fn bytewise_order_is_the_order_of_component_lists(
            left in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..4), 0..4),
            right in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..4), 0..4),
        ) {
            let key_of = |names: &[Vec<u8>]| names.iter().fold(PathKey::root(), |key, name| key.join(name));
            prop_assert_eq!(key_of(&left).cmp(&key_of(&right)), left.cmp(&right));
        }
    }
}
