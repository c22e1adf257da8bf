//! How a verb fails. Damage is no error but a [`crate::Finding`].

use dolmen_crypto::CryptoError;
use dolmen_format::certificate::Role;
use dolmen_format::{FormatError, RepositoryId};
use dolmen_fs::FsError;
use dolmen_state::StateError;
use dolmen_store::StoreError;

/// What stops a verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state or cache folder failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The restore target or a source failed as a whole.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// An object that the verb cannot do without is damaged.
    #[error("{object} is damaged")]
    Damaged {
        /// Its key.
        object: String,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Encryption or encoding of something of our own failed.
    #[error("cannot write {what}")]
    Encode {
        /// What was to be written.
        what: &'static str,
        /// Why.
        #[source]
        source: CryptoError,
    },
    /// Nothing is there.
    #[error("no repository at {address}")]
    NoRepository {
        /// The store.
        address: String,
    },
    /// `init` where something is already.
    #[error("a repository already exists at {address}")]
    RepositoryExists {
        /// The store.
        address: String,
        /// Objects that this client put before it saw that, and that the store keeps: hidden, where this client may.
        stays: usize,
    },
    /// The pinned repository is not there, another is.
    #[error("{address} holds repository {found}, not {wanted}")]
    OtherRepository {
        /// The store.
        address: String,
        /// The repository that this client knows there.
        wanted: RepositoryId,
        /// One that is there.
        found: RepositoryId,
    },
    /// The passphrase opens more than one.
    #[error("{address} holds more than one repository that this passphrase opens: {}", join(.found))]
    ManyRepositories {
        /// The store.
        address: String,
        /// Them.
        found: Vec<RepositoryId>,
    },
    /// No bundle opens.
    #[error("wrong passphrase or no key found")]
    WrongPassphrase,
    /// A key file whose keys are not those of this repository, or not those that its certificate names.
    #[error("the key file does not belong to this repository")]
    WrongKey,
    /// What says what a key may do is not there.
    #[error("the key's certificate {certificate} is not in the repository")]
    NoCertificate {
        /// Its key.
        certificate: String,
    },
    /// The client's key is for something else.
    #[error("this key may not {what}: it is one for {}", duty(*.role))]
    RoleMayNot {
        /// What it is for.
        role: Role,
        /// What was asked for.
        what: &'static str,
    },
    /// A name that no key has.
    #[error("there is no key named {name}")]
    NoKey {
        /// The name.
        name: String,
    },
    /// The client's key was revoked.
    #[error("this key was revoked: what it writes counts for nothing")]
    Revoked,
    /// A name that another key has.
    #[error("there is a key named {name} already")]
    KeyExists {
        /// The name.
        name: String,
    },
    /// Only a bundle opens that a newer one has replaced.
    #[error("this passphrase was changed")]
    ReplacedPassphrase,
    /// No snapshot matches.
    #[error("no snapshot matches {wanted}")]
    NoSnapshot {
        /// What was asked for.
        wanted: String,
    },
    /// A prefix matches several.
    #[error("{count} snapshots match the prefix {wanted}")]
    AmbiguousSnapshot {
        /// The prefix.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// A path is not in the snapshot.
    #[error("path {path} is not in snapshot {snapshot}")]
    NoPath {
        /// The path.
        path: String,
        /// The snapshot's short id.
        snapshot: String,
    },
    /// A backup that would hold nothing.
    #[error(
        "the snapshot would be empty: nothing is there, or all of it is left out or cannot be read"
    )]
    EmptySnapshot,
    /// A command whose output was to be backed up failed.
    #[error("the command failed: {reason}")]
    Command {
        /// How it ended.
        reason: String,
    },
    /// A list of what is to be done elsewhere could not be written.
    #[error("cannot write the manifest")]
    Batch {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// Something that a snapshot needs is not locked for long enough, and this key cannot change that.
    #[error("{object} is not locked for as long as the protection period asks")]
    Unprotected {
        /// Its key, or what it is.
        object: String,
    },
    /// What a backup built upon is no longer needed by any live snapshot, and may go.
    #[error(
        "frame {ordinal} of pack {pack}, on which this backup builds, was retired while it ran"
    )]
    ReuseEnded {
        /// The pack.
        pack: dolmen_format::PackId,
        /// The frame.
        ordinal: u32,
    },
    /// A backup slept for longer than what it had stored is kept without anything that needs it.
    #[error(
        "what this backup stored at its beginning may be gone: it was interrupted for longer than the protection period"
    )]
    OwnPacksAged,
    /// A thread of ours died; a bug.
    #[error("internal error: {what}")]
    Internal {
        /// What happened.
        what: &'static str,
    },
    /// An argument that makes no sense.
    #[error("{reason}")]
    Usage {
        /// Why.
        reason: String,
    },
}

/// A verb's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps why an object is damaged.
    pub fn damaged(
        object: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Damaged {
            object: object.into(),
            source: source.into(),
        }
    }

    /// Wraps why something of our own could not be encoded.
    pub(crate) fn encode(what: &'static str) -> impl FnOnce(CryptoError) -> Self {
        move |source| Self::Encode { what, source }
    }

    /// As [`Self::encode`], for plain encodings.
    pub(crate) fn encode_format(what: &'static str) -> impl FnOnce(FormatError) -> Self {
        move |source| Self::Encode {
            what,
            source: source.into(),
        }
    }
}

/// What a role is for.
const fn duty(role: Role) -> &'static str {
    match role {
        Role::Admin => "everything",
        Role::Backup => "making backups",
        Role::Maintain => "maintenance",
        Role::Restore => "restoring",
    }
}

fn join(ids: &[RepositoryId]) -> String {
    ids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
