//! The least rights at a provider for each role: IAM policies, Terraform, application keys.
//!
//! Pure text from what is asked for: nothing is sent. `docs/access.md` says why each right is there; the tests hold each
//! policy against the grammar of its provider, and each role against what it may do and what not.

mod b2;
#[cfg(test)]
mod evaluate;
#[cfg(test)]
mod grammar;
mod names;
mod policy;
mod rights;
mod roles;
mod setup;
mod terraform;
#[cfg(test)]
mod tests;

pub(crate) use b2::key_line;
pub(crate) use names::{BUCKET, PREFIX, WRITER, parse_bucket, parse_prefix, parse_writer};
pub(crate) use policy::Policy;
pub(crate) use roles::{bucket_policy, role_policy};
pub(crate) use setup::explain;
pub(crate) use terraform::{terraform_bucket, terraform_user};

/// Who stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Provider {
    /// Amazon S3
    Aws,
    /// Backblaze B2
    B2,
    /// Wasabi
    Wasabi,
    /// MinIO
    Minio,
}

/// Whom a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// A machine that adds backups
    Backup,
    /// Maintenance, for extending locks alone: `DOLMEN_RENEW_`…
    Renew,
    /// Maintenance: retires, compacts, deletes what has lapsed
    Prune,
    /// Whoever reads backups
    Restore,
    /// Whoever makes the repository, its keys and its policy, and heals it
    Owner,
}

impl Role {
    /// As users and keys are called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Renew => "renew",
            Self::Prune => "prune",
            Self::Restore => "restore",
            Self::Owner => "owner",
        }
    }
}

/// How what is needed is locked, with the names of `init --lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LockName {
    /// Locks that nobody ends early
    Compliance,
    /// Locks that those with bypass rights end early
    Governance,
    /// A legal hold after the first lock
    Hold,
    /// No locks: what is hidden is deleted days later (B2)
    Hide,
}

impl LockName {
    /// The mode of a lock that is put with an object.
    const fn mode(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance | Self::Hold | Self::Hide => "COMPLIANCE",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Grant {
    /// Where.
    pub(crate) provider: Provider,
    /// To whom.
    pub(crate) role: Role,
    /// The bucket, or a word to put it in the place of.
    pub(crate) bucket: String,
    /// What every key begins with: empty, or ending in a slash.
    pub(crate) prefix: String,
    /// The signer whose folders may be written to.
    pub(crate) writer: String,
    /// How what is needed is locked.
    pub(crate) lock: LockName,
    /// Days for which the bucket locks what is put without a lock: L + M + G.
    pub(crate) default_days: u64,
    /// Whether a client sets and extends locks itself.
    pub(crate) client_retention: bool,
    /// Whether a client reads the packs of others in its domain.
    pub(crate) shared_domain: bool,
    /// Whether whoever restores also attests.
    pub(crate) attests: bool,
    /// Whether puts may cover what is there, where the provider could refuse that.
    pub(crate) may_cover: bool,
}

impl Grant {
    /// Locks that end later than in so many days are refused, where the provider can: a day more than any lock of Dolmen's
    /// lasts, since days are counted whole.
    pub(crate) const fn lock_days_max(&self) -> u64 {
        self.default_days.saturating_add(1)
    }

    /// How users, policies and keys are called.
    pub(crate) fn name(&self) -> String {
        format!("dolmen-{}", self.role.name())
    }
}
