//! The directories that the walk is in.

use dolmen_fs::{Made, Names, PathKey};

use super::entry::Meta;

/// A directory that the walk is in.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) key: PathKey,
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
    pub(super) const fn new(key: PathKey, meta: Option<Meta>) -> Self {
        Self {
            key,
            meta,
            standing: Standing::Unneeded,
            leftovers: None,
            is_incomplete: false,
        }
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
