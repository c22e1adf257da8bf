//! A directory's names, compact and sorted.

use crate::error::{Errno, FsError, Operation};
use rustix::fd::AsFd;
use rustix::fs::RawDir;
use std::ffi::CStr;
use std::fmt;

/// The names in a directory, sorted bytewise, without `.` and `..`.
///
/// Takes the bytes of the names and 5 more for each; while they are sorted, 16 more for each.
#[derive(Clone, Default)]
pub struct Names {
    /// The names, each ended by NUL.
    arena: Vec<u8>,
    /// Where the names start in the arena, in the order of the names.
    starts: Vec<u32>,
}

impl Names {
    /// Reads all names of an open directory. After an error the names read until then are returned with it.
    pub(crate) fn read(
        directory: impl AsFd,
        buffer: &mut Vec<u8>,
    ) -> (NamesBuilder, Option<FsError>) {
        buffer.clear();
        buffer.reserve(LIST_BUFFER_BYTES);
        let mut names = NamesBuilder::default();
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let added = match entry {
                Ok(entry) => match entry.file_name() {
                    name if name == c"." || name == c".." => Ok(()),
                    name => names.add(name.to_bytes()),
                },
                Err(Errno::INTR) => continue,
                Err(errno) => Err(FsError::system(Operation::List)(errno)),
            };
            if let Err(error) = added {
                return (names, Some(error));
            }
        }
        (names, None)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether the directory is empty.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Iterates over the names in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.starts
            .iter()
            .map(|&start| name_at(&self.arena, start).to_bytes())
    }

    /// Whether `name` is there.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.starts
            .binary_search_by(|&start| name_at(&self.arena, start).to_bytes().cmp(name))
            .is_ok()
    }

    /// The name at a place in the order.
    pub(crate) fn get(&self, index: usize) -> Option<&CStr> {
        self.starts
            .get(index)
            .map(|&start| name_at(&self.arena, start))
    }

    /// Bytes of memory that the names take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.arena
            .capacity()
            .saturating_add(self.starts.capacity().saturating_mul(size_of::<u32>()))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(<[u8]>::escape_ascii))
            .finish()
    }
}

/// Names in the order they came in.
#[derive(Debug, Default)]
pub(crate) struct NamesBuilder {
    arena: Vec<u8>,
    starts: Vec<u32>,
}

impl NamesBuilder {
    /// Adds a name.
    pub(crate) fn add(&mut self, name: &[u8]) -> Result<(), FsError> {
        let too_large = FsError::DirectoryTooLarge {
            limit_bytes: u64::from(u32::MAX),
        };
        let Ok(start) = u32::try_from(self.arena.len()) else {
            return Err(too_large);
        };
        self.starts.push(start);
        self.arena.extend_from_slice(name);
        self.arena.push(0);
        Ok(())
    }

    /// Sorts the names. A name that came in twice, as from a directory that changed while it was read, is kept once.
    pub(crate) fn sorted(mut self) -> Names {
        let arena = &self.arena;
        let shared_bytes = self.shared_bytes();
        let mut order: Vec<Order> = self
            .starts
            .iter()
            .map(|&start| Order::new(arena, start, shared_bytes))
            .collect();
        // Comparing the rest of the arena spares looking for the ends of both names: NUL, which ends them, sorts before
        // all that a longer name could have there. Only equal names are told apart by what happens to follow them.
        order.sort_unstable_by(|left, right| {
            left.bytes
                .cmp(&right.bytes)
                .then_with(|| rest_at(arena, left.start).cmp(rest_at(arena, right.start)))
        });
        let name = |order: &Order| name_at(arena, order.start);
        order.dedup_by(|left, right| left.bytes == right.bytes && name(left) == name(right));
        self.starts.clear();
        self.starts.extend(order.iter().map(|order| order.start));
        self.starts.shrink_to_fit();
        self.arena.shrink_to_fit();
        Names {
            arena: self.arena,
            starts: self.starts,
        }
    }

    /// How many bytes all names start with alike.
    fn shared_bytes(&self) -> usize {
        let Some((&first, others)) = self.starts.split_first() else {
            return 0;
        };
        let first = name_at(&self.arena, first).to_bytes();
        others.iter().fold(first.len(), |shared, &other| {
            let other = rest_at(&self.arena, other);
            first
                .iter()
                .zip(other)
                .take(shared)
                .take_while(|(left, right)| left == right)
                .count()
        })
    }
}

/// A name's place in the order: most comparisons need not go to the arena.
#[derive(Debug, Clone, Copy)]
struct Order {
    /// The 8 bytes after those that all names share, the first the highest; zeros after the end.
    bytes: u64,
    start: u32,
}

impl Order {
    fn new(arena: &[u8], start: u32, shared_bytes: usize) -> Self {
        let name = name_at(arena, start).to_bytes().iter().skip(shared_bytes);
        let bytes = name.chain(std::iter::repeat(&0)).take(8);
        Self {
            bytes: bytes.fold(0, |bytes, &byte| bytes << 8 | u64::from(byte)),
            start,
        }
    }
}

/// Room for what one call for names answers.
const LIST_BUFFER_BYTES: usize = 64 * 1024;

fn rest_at(arena: &[u8], start: u32) -> &[u8] {
    usize::try_from(start)
        .ok()
        .and_then(|start| arena.get(start..))
        .unwrap_or_default()
}

fn name_at(arena: &[u8], start: u32) -> &CStr {
    // Every start in the arena has its NUL; an empty name could only come from a bug and fails in the next call.
    CStr::from_bytes_until_nul(rest_at(arena, start)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn names_come_sorted_and_once(
            shared in prop::collection::vec(1_u8..=255, 0..12),
            names in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..12), 0..40)) {
            let mut builder = NamesBuilder::default();
            let names: Vec<Vec<u8>> = names.into_iter().map(|name| [shared.clone(), name].concat()).collect();
            for name in &names {
                builder.add(name).unwrap();
            }
            let sorted = builder.sorted();
            let model: BTreeSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(sorted.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert!(names.iter().all(|name| sorted.contains(name)));
            prop_assert!(!sorted.contains(b""));
        }
    }
}
