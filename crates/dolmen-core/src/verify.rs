//! What lies under a signer's name: signed by that one, or refused.

use dolmen_crypto::{CryptoError, VerifyKey};
use dolmen_format::prologue::states_kind;
use dolmen_format::signed::SignedBody;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, RepositoryId, WriterId};

use crate::finding::chain;
use crate::repository::Repository;

/// What lies below `keys/`.
pub(crate) const KEY_KINDS: [ObjectKind; 2] = [ObjectKind::Certificate, ObjectKind::Bundle];

/// Why an object that is what its name says does not count, in one clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nobody known signed it, or its signer had no right to: it never will count.
    #[error("{0}")]
    Foreign(String),
    /// One of ours signed it, and it may count once more is known: with a later version, or when what it leans on is there.
    #[error("{0}")]
    Unknown(String),
}

impl Refusal {
    pub(crate) fn foreign(problem: impl Into<String>) -> Self {
        Self::Foreign(problem.into())
    }

    pub(crate) fn unknown(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Unknown(chain(error))
    }

    /// Of an object that should be of one of these kinds and by this signer: what the signer made of that kind may count
    /// once, what it made of another does not belong there.
    pub(crate) fn of(
        error: &CryptoError,
        kinds: &[ObjectKind],
        signer: &VerifyKey,
        repository: &RepositoryId,
        stored: &[u8],
    ) -> Self {
        let problem = chain(error);
        let is_of_kind = kinds.iter().any(|kind| states_kind(*kind, stored));
        if is_of_kind && signer.has_signed(repository, stored) {
            Self::Unknown(problem)
        } else {
            Self::Foreign(problem)
        }
    }
}

/// Decodes an object that lies under a signer's name, and verifies that this signer signed it in this repository, for itself.
pub(crate) fn verify<T: SignedBody>(
    repository: &Repository,
    key: &ObjectKey,
    stored: &[u8],
    signed_for: impl Fn(&T) -> WriterId,
) -> Result<(T, ObjectId), Refusal> {
    let writer = key.writer();
    let writer = writer.ok_or_else(|| Refusal::foreign("not under a signer's name"))?;
    let signer = repository.verify_key_of(writer);
    let signer = signer.ok_or_else(|| Refusal::foreign("not signed by a known writer"))?;
    let repository = repository.id();
    let (body, id) = signer
        .verify::<T>(&repository, stored)
        .map_err(|error| Refusal::of(&error, &[T::KIND], &signer, &repository, stored))?;
    if signed_for(&body) == writer {
        Ok((body, id))
    } else {
        Err(Refusal::foreign("signed for another writer"))
    }
}
