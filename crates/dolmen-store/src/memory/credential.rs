//! What a key of the account may do.

use std::collections::BTreeSet;

use crate::api::Api;

/// The rights of one key of the account, over the whole bucket or over some of its names.
///
/// It may hold rights of both vocabularies; a bucket asks for those of its own [`Api`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    rights: BTreeSet<Right>,
    /// Names must start with one of these; `None` allows all.
    prefixes: Option<Vec<Box<str>>>,
    /// Whether it may put over what is there.
    covers: bool,
}

impl Credential {
    /// Everything that there is: the owner of the account.
    pub fn everything() -> Self {
        Self::of(&Right::ALL)
    }

    /// No right at all.
    pub fn nothing() -> Self {
        Self::of(&[])
    }

    /// A key with these rights.
    pub fn of(rights: &[Right]) -> Self {
        Self {
            rights: rights.iter().copied().collect(),
            prefixes: None,
            covers: true,
        }
    }

    /// Puts, gets, lists and sees locks, without any right over them: the bucket's default retention locks what it puts.
    /// On B2 such a key hides too, because a right to put is all that this takes.
    pub fn client() -> Self {
        Self::of(&[
            Right::GetObject,
            Right::GetObjectVersion,
            Right::ListBucketVersions,
            Right::PutObject,
            Right::GetObjectRetention,
            Right::ListFiles,
            Right::ReadFiles,
            Right::WriteFiles,
            Right::ReadFileRetentions,
        ])
    }

    /// A [`Credential::client`] that puts the lock in the same request. On both stores such a key can also extend.
    pub fn locking_client() -> Self {
        Self::client()
            .with(Right::PutObjectRetention)
            .with(Right::WriteFileRetentions)
    }

    /// Lists and extends, and neither reads, writes nor deletes.
    pub fn renewer() -> Self {
        Self::of(&[
            Right::ListBucketVersions,
            Right::GetObjectRetention,
            Right::PutObjectRetention,
            Right::ListFiles,
            Right::ReadFileRetentions,
            Right::WriteFileRetentions,
        ])
    }

    /// A [`Credential::client`] that deletes versions.
    pub fn pruner() -> Self {
        Self::client()
            .with(Right::DeleteObjectVersion)
            .with(Right::DeleteFiles)
    }

    /// Adds a right.
    #[must_use]
    pub fn with(mut self, right: Right) -> Self {
        self.rights.insert(right);
        self
    }

    /// Takes a right away.
    #[must_use]
    pub fn without(mut self, right: Right) -> Self {
        self.rights.remove(&right);
        self
    }

    /// Restricts the key to names that start with one of `prefixes`. It loses all rights over the bucket itself.
    #[must_use]
    pub fn within(self, prefixes: &[&str]) -> Self {
        Self {
            prefixes: Some(prefixes.iter().copied().map(Into::into).collect()),
            ..self
        }
    }

    /// The same under a policy that demands `If-None-Match` of each put, as AWS can: nothing is put over what is there.
    #[must_use]
    pub fn without_covering(self) -> Self {
        Self {
            covers: false,
            ..self
        }
    }

    /// Tells whether it may put over what is there.
    pub(super) const fn may_cover(&self) -> bool {
        self.covers
    }

    /// Tells whether it has a right.
    pub fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Tells whether `call` is allowed on `name`, which is the prefix for a listing. The bucket itself
    /// has the empty name, which starts with nothing but itself.
    pub(super) fn allows(&self, api: Api, call: Call, name: &str) -> bool {
        let reaches = match &self.prefixes {
            None => true,
            Some(prefixes) => prefixes.iter().any(|prefix| name.starts_with(&**prefix)),
        };
        reaches && call.needs(api).iter().all(|&right| self.has(right))
    }

    /// Tells whether it sees the retention of what it lists.
    pub(super) fn sees_retention(&self, api: Api) -> bool {
        self.has(match api {
            Api::S3 => Right::GetObjectRetention,
            Api::B2 => Right::ReadFileRetentions,
        })
    }

    /// Tells whether it sees legal holds.
    pub(super) fn sees_holds(&self, api: Api) -> bool {
        self.has(match api {
            Api::S3 => Right::GetObjectLegalHold,
            Api::B2 => Right::ReadFileLegalHolds,
        })
    }
}

/// Makes the enum and the list of all its variants.
macro_rules! rights {
    ($($(#[$doc:meta])* $right:ident,)*) => {
        /// One right of a key, under the name that its store gives it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Right {
            $($(#[$doc])* $right,)*
        }

        impl Right {
            /// Every right of both vocabularies.
            pub const ALL: [Self; [$(Self::$right),*].len()] = [$(Self::$right),*];
        }
    };
}

rights! {
    /// S3: reads the current version.
    GetObject,
    /// S3: reads a version by name.
    GetObjectVersion,
    /// S3: lists versions.
    ListBucketVersions,
    /// S3: puts.
    PutObject,
    /// S3: sets retention, in a put too.
    PutObjectRetention,
    /// S3: places and lifts legal holds.
    PutObjectLegalHold,
    /// S3: weakens or breaks locks in governance mode, with the right to set retention or to delete.
    BypassGovernanceRetention,
    /// S3: reads retention.
    GetObjectRetention,
    /// S3: sees legal holds.
    GetObjectLegalHold,
    /// S3: deletes by key, which puts a marker on top.
    DeleteObject,
    /// S3: deletes versions, markers included.
    DeleteObjectVersion,
    /// S3: sets lifecycle rules.
    PutLifecycleConfiguration,
    /// S3: suspends and resumes versioning.
    PutBucketVersioning,
    /// S3: sets the bucket's default retention.
    PutBucketObjectLockConfiguration,
    /// B2 `listFiles`: lists versions.
    ListFiles,
    /// B2 `readFiles`: reads bodies.
    ReadFiles,
    /// B2 `writeFiles`: puts and hides.
    WriteFiles,
    /// B2 `deleteFiles`: deletes versions, markers included.
    DeleteFiles,
    /// B2 `bypassGovernance`: weakens or breaks locks in governance mode.
    BypassGovernance,
    /// B2 `readFileRetentions`: sees retention in listings.
    ReadFileRetentions,
    /// B2 `writeFileRetentions`: sets retention, in a put too.
    WriteFileRetentions,
    /// B2 `readFileLegalHolds`: sees legal holds in listings.
    ReadFileLegalHolds,
    /// B2 `writeFileLegalHolds`: places and lifts legal holds.
    WriteFileLegalHolds,
    /// B2 `writeBuckets`: sets lifecycle rules.
    WriteBuckets,
    /// B2 `writeBucketRetentions`: sets the bucket's default retention.
    WriteBucketRetentions,
    /// B2 `writeKeys`: makes other keys.
    WriteKeys,
}

/// A call as rights see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Put,
    PutLocked,
    Get,
    GetVersion,
    List,
    ReadLock,
    Extend,
    Weaken,
    Hold,
    Hide,
    Delete,
    DeleteBypassing,
    Copy,
    SetDefaultRetention,
    SetLifecycle,
    SetVersioning,
}

impl Call {
    /// Says which rights the call takes, all of them.
    const fn needs(self, api: Api) -> &'static [Right] {
        match api {
            Api::S3 => self.needs_on_s3(),
            Api::B2 => self.needs_on_b2(),
        }
    }

    const fn needs_on_s3(self) -> &'static [Right] {
        match self {
            Self::Put => &[Right::PutObject],
            Self::PutLocked => &[Right::PutObject, Right::PutObjectRetention],
            Self::Get => &[Right::GetObject],
            Self::GetVersion => &[Right::GetObjectVersion],
            Self::List => &[Right::ListBucketVersions],
            Self::ReadLock => &[Right::GetObjectRetention],
            Self::Extend => &[Right::PutObjectRetention],
            Self::Weaken => &[Right::PutObjectRetention, Right::BypassGovernanceRetention],
            Self::Hold => &[Right::PutObjectLegalHold],
            Self::Hide => &[Right::DeleteObject],
            Self::Delete => &[Right::DeleteObjectVersion],
            Self::DeleteBypassing => {
                &[Right::DeleteObjectVersion, Right::BypassGovernanceRetention]
            }
            Self::Copy => &[Right::GetObjectVersion, Right::PutObject],
            Self::SetDefaultRetention => &[Right::PutBucketObjectLockConfiguration],
            Self::SetLifecycle => &[Right::PutLifecycleConfiguration],
            Self::SetVersioning => &[Right::PutBucketVersioning],
        }
    }

    const fn needs_on_b2(self) -> &'static [Right] {
        match self {
            Self::Put | Self::Hide => &[Right::WriteFiles],
            Self::PutLocked => &[Right::WriteFiles, Right::WriteFileRetentions],
            Self::Get | Self::GetVersion => &[Right::ReadFiles],
            Self::List => &[Right::ListFiles],
            // A listing that starts at the version: the right to read bodies is not needed for it.
            Self::ReadLock => &[Right::ListFiles, Right::ReadFileRetentions],
            Self::Extend => &[Right::WriteFileRetentions],
            Self::Weaken => &[Right::WriteFileRetentions, Right::BypassGovernance],
            Self::Hold => &[Right::WriteFileLegalHolds],
            Self::Delete => &[Right::DeleteFiles],
            Self::DeleteBypassing => &[Right::DeleteFiles, Right::BypassGovernance],
            Self::Copy => &[Right::ReadFiles, Right::WriteFiles],
            Self::SetDefaultRetention => &[Right::WriteBucketRetentions],
            // Versioning cannot be suspended on B2; the bucket refuses whoever asks.
            Self::SetLifecycle | Self::SetVersioning => &[Right::WriteBuckets],
        }
    }
}
