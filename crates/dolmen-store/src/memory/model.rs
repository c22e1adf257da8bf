//! Which store a memory store plays.

use crate::api::Api;

/// What a [`MemoryStore`](super::MemoryStore) can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryOptions {
    /// Whether older versions stay and keys can be hidden.
    pub versions: bool,
    /// Whether it enforces locks. They bring versions with them, as on S3.
    pub locks: bool,
}

impl MemoryOptions {
    /// One body for each key, as in a folder.
    pub const PLAIN: Self = Self {
        versions: false,
        locks: false,
    };
    /// Versions and markers, without locks.
    pub const VERSIONS: Self = Self {
        versions: true,
        locks: false,
    };
    /// Versions, markers and locks.
    pub const LOCKS: Self = Self {
        versions: true,
        locks: true,
    };
}

/// Whose ways a [`MemoryStore`](super::MemoryStore) has, down to its lies.
///
/// Made of [`MemoryOptions`] alone it speaks as S3 does, but states locks in listings and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryModel {
    /// What it can do.
    pub options: MemoryOptions,
    /// Whose rights it asks for.
    pub api: Api,
    /// Whether listings and the answers to puts state locks, to those who may see them.
    pub listed_locks: bool,
    /// Which checksum listings and the answers to puts state.
    pub checksum: StatedChecksum,
    /// Whether [`Place::IfAbsent`](crate::Place::IfAbsent) counts; without, every put makes a version, as when each of
    /// several writers is told that it was first.
    pub conditional_put: bool,
    /// What it claims and does not do.
    pub lies: &'static [Lie],
}

impl MemoryModel {
    /// S3: listings that do not state locks, conditional puts.
    pub const fn s3(options: MemoryOptions) -> Self {
        Self {
            options,
            api: Api::S3,
            listed_locks: false,
            checksum: StatedChecksum::Md5,
            conditional_put: true,
            lies: &[],
        }
    }

    /// B2's own API: listings that state locks and SHA-1, no conditional put.
    pub const fn b2(options: MemoryOptions) -> Self {
        Self {
            options,
            api: Api::B2,
            listed_locks: true,
            checksum: StatedChecksum::Sha1,
            conditional_put: false,
            lies: &[],
        }
    }

    /// The same store, with these lies.
    #[must_use]
    pub const fn lying(self, lies: &'static [Lie]) -> Self {
        Self { lies, ..self }
    }

    pub(super) fn lies_about(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }
}

impl From<MemoryOptions> for MemoryModel {
    fn from(options: MemoryOptions) -> Self {
        Self {
            options,
            api: Api::S3,
            listed_locks: true,
            checksum: StatedChecksum::None,
            conditional_put: true,
            lies: &[],
        }
    }
}

/// The checksum that a store computes over a body and states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatedChecksum {
    /// None.
    None,
    /// MD5, as S3's entity tags.
    Md5,
    /// SHA-1, as B2's listings.
    Sha1,
}

/// Something that a store accepts and does not do. Real ones were seen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lie {
    /// Locks are kept and stated, and a locked version can be deleted.
    DeletesLocked,
    /// A legal hold is kept and stated, and does not stand in the way.
    DeletesHeld,
    /// An earlier end or a weaker mode is applied.
    WeakensLocks,
    /// An extension is accepted and not applied.
    IgnoresExtensions,
    /// A put accepts the lock, states it in its answer, and forgets it.
    ForgetsLocks,
    /// What is put on top of a key replaces its locked versions.
    ReplacesLocked,
    /// The condition of a put is claimed to count, and does not.
    IgnoresConditions,
}

impl Lie {
    /// Every lie.
    pub const ALL: [Self; 7] = [
        Self::DeletesLocked,
        Self::DeletesHeld,
        Self::WeakensLocks,
        Self::IgnoresExtensions,
        Self::ForgetsLocks,
        Self::ReplacesLocked,
        Self::IgnoresConditions,
    ];
}
