//! Worlds in which Dolmen is made to err, to see that the invariants notice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dolmen_format::{ObjectId, PackId, Timestamp};
use dolmen_store::{
    Bucket, ByteRange, Capabilities, Hold, Lock, LockStatus, ObjectRef, Place, PutReceipt, Store,
    StoreError, StoreIdentity, StoreKey, StoreTime, Version, VersionInfo,
};
use futures_util::StreamExt as _;
use futures_util::future::ready;
use futures_util::stream::BoxStream;

use crate::attack::Attack;

/// A way to err. Each is made from outside, with what the code is told: the code itself is not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// What the plain view shows is taken as all that there is.
    TrustLatest,
    /// Leases lapse by a clock that is two months ahead, and nobody compares it with another.
    PruneByClientClock,
    /// What a listing does not show is taken to be gone for good.
    AbsenceIsDeath,
    /// A backup is a success however short the locks are that it relies on.
    DropTheCommitRule,
    /// Whether a backup counts is decided by the time at which it began.
    DecideBeforeThePut,
    /// A lock is extended where the plain view shows a version, be it another.
    ExtendWithoutVersion,
    /// The version that the first claim names is taken as the one that there is.
    FirstClaimPicksTheVersion,
    /// A witness makes objects older than the store says.
    WitnessBackdates,
    /// Of two objects under one number neither counts, whatever they are.
    NumberVoidsObjects,
    /// The life of a snapshot ends where a checkpoint says that it descends from it.
    CheckpointEndsLives,
    /// The ledger, the root and the keys are not renewed.
    ForgetStandingObjects,
    /// The same record in another encoding is another record.
    AcceptTwinEncodings,
    /// What is brought back keeps the locks that it had.
    UndoWithoutExtending,
    /// What is suspicious takes a rule's place all the same.
    CountPlanted,
    /// Frames lie where a record says that they were moved to, whatever lies there.
    BelieveMoves,
    /// A hold goes before the lock beneath it is made longer, and the run ends there.
    LiftBeforeExtending,
    /// Where the bucket deletes what is hidden, packs that a marker hides are taken to be let go.
    HiddenIsDead,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Self; 17] = [
        Self::TrustLatest,
        Self::PruneByClientClock,
        Self::AbsenceIsDeath,
        Self::DropTheCommitRule,
        Self::DecideBeforeThePut,
        Self::ExtendWithoutVersion,
        Self::FirstClaimPicksTheVersion,
        Self::WitnessBackdates,
        Self::NumberVoidsObjects,
        Self::CheckpointEndsLives,
        Self::ForgetStandingObjects,
        Self::AcceptTwinEncodings,
        Self::UndoWithoutExtending,
        Self::CountPlanted,
        Self::BelieveMoves,
        Self::LiftBeforeExtending,
        Self::HiddenIsDead,
    ];

    /// The attack that it falls for.
    pub(crate) fn bait(self) -> Option<Attack> {
        match self {
            Self::AbsenceIsDeath => Some(Attack::Hide),
            Self::TrustLatest => Some(Attack::Overwrite),
            Self::ExtendWithoutVersion => Some(Attack::OverwriteThenWait),
            Self::FirstClaimPicksTheVersion => Some(Attack::ClaimVersion),
            Self::WitnessBackdates => Some(Attack::BackdatingWitness),
            Self::NumberVoidsObjects => Some(Attack::TwinNumber),
            Self::CheckpointEndsLives => Some(Attack::PlantCheckpoints),
            Self::AcceptTwinEncodings => Some(Attack::TwinEncoding),
            Self::CountPlanted => Some(Attack::PlantAsBackup),
            Self::BelieveMoves => Some(Attack::LyingMoves),
            Self::HiddenIsDead => Some(Attack::HideEverything),
            Self::PruneByClientClock
            | Self::DropTheCommitRule
            | Self::DecideBeforeThePut
            | Self::ForgetStandingObjects
            | Self::UndoWithoutExtending
            | Self::LiftBeforeExtending => None,
        }
    }

    /// Whether it errs in what somebody does.
    fn touches(self, purpose: Purpose) -> bool {
        match self {
            Self::TrustLatest | Self::PruneByClientClock => true,
            // Whoever deletes nothing does no harm by it.
            Self::AbsenceIsDeath
            | Self::ExtendWithoutVersion
            | Self::FirstClaimPicksTheVersion
            | Self::WitnessBackdates
            | Self::NumberVoidsObjects
            | Self::CheckpointEndsLives
            | Self::ForgetStandingObjects
            | Self::AcceptTwinEncodings
            | Self::LiftBeforeExtending
            | Self::HiddenIsDead => purpose == Purpose::Maintain,
            Self::DropTheCommitRule | Self::DecideBeforeThePut => purpose == Purpose::Backup,
            Self::UndoWithoutExtending => purpose == Purpose::Undo,
            // What is handed in errs, not the store.
            Self::CountPlanted | Self::BelieveMoves => false,
        }
    }
}

/// What a view of the store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Backups.
    Backup,
    /// Bringing snapshots back.
    Undo,
    /// Renewing, pruning and tidying.
    Maintain,
    /// Anything else.
    Other,
}

/// What an attacker claims, which must count for nothing, and a mutation believes.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// The versions that planted segments state for packs.
    pub(crate) versions: BTreeMap<String, Version>,
    /// The times of receipt that planted witnesses state.
    pub(crate) receipts: BTreeMap<String, Timestamp>,
    /// Objects under whose numbers others were planted.
    pub(crate) doubled: BTreeSet<String>,
    /// Snapshots that planted checkpoints descend from.
    pub(crate) descended: BTreeSet<String>,
    /// Records that were planted in another encoding.
    pub(crate) twins: BTreeSet<String>,
    /// Planted records of moves, and the packs whose frames they say were moved.
    pub(crate) moves: BTreeSet<(ObjectId, PackId)>,
}

/// How far [`Mutation::PruneByClientClock`] is ahead.
pub(crate) const AHEAD_SECONDS: i64 = 60 * 86_400;
/// How far locks reach where nobody looks at them.
const LONG_SECONDS: i64 = 1000 * 86_400;

/// A store that misleads as a mutation says.
#[derive(Debug)]
pub(crate) struct Misleading {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) mutation: Mutation,
    /// When the process began.
    pub(crate) began: Timestamp,
    pub(crate) claims: Arc<Mutex<Claims>>,
}

impl Misleading {
    /// Lays itself over a store where the mutation errs in what that is for.
    pub(crate) fn over(
        inner: Arc<dyn Store>,
        mutation: Option<Mutation>,
        purpose: Purpose,
        began: Timestamp,
        claims: &Arc<Mutex<Claims>>,
    ) -> Arc<dyn Store> {
        match mutation.filter(|mutation| mutation.touches(purpose)) {
            None => inner,
            Some(mutation) => Arc::new(Self {
                inner,
                mutation,
                began,
                claims: Arc::clone(claims),
            }),
        }
    }

    /// Whether locks are told to be long.
    fn flatters(&self) -> bool {
        matches!(
            self.mutation,
            Mutation::DropTheCommitRule | Mutation::UndoWithoutExtending
        )
    }

    fn flattered(&self, lock: LockStatus) -> LockStatus {
        match lock.retention() {
            Some(lock) if self.flatters() => LockStatus::Until(Lock {
                until: self.long(),
                ..lock
            }),
            Some(_) | None => lock,
        }
    }

    fn long(&self) -> Timestamp {
        self.began.saturating_add_seconds(LONG_SECONDS)
    }

    /// A line of a listing as it is told; `None`: it is not.
    fn told(&self, prefix: &str, mut line: VersionInfo) -> Option<VersionInfo> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let name = line.name.as_str();
        let is_told = match self.mutation {
            // What is hidden is not there; of snapshots, that no other object tells of them counts for nothing either.
            Mutation::AbsenceIsDeath => prefix != "snapshots/" || line.is_current,
            Mutation::TrustLatest => line.is_current,
            Mutation::HiddenIsDead => prefix != "packs/" || line.is_current,
            Mutation::FirstClaimPicksTheVersion => claims
                .versions
                .get(name)
                .is_none_or(|version| *version == line.version),
            Mutation::NumberVoidsObjects => !claims.doubled.contains(name),
            Mutation::CheckpointEndsLives => !claims.descended.contains(name),
            Mutation::AcceptTwinEncodings => !claims.twins.contains(name),
            Mutation::PruneByClientClock
            | Mutation::DropTheCommitRule
            | Mutation::DecideBeforeThePut
            | Mutation::ExtendWithoutVersion
            | Mutation::WitnessBackdates
            | Mutation::ForgetStandingObjects
            | Mutation::UndoWithoutExtending
            | Mutation::CountPlanted
            | Mutation::BelieveMoves
            | Mutation::LiftBeforeExtending => true,
        };
        if let (Mutation::WitnessBackdates, Some(at)) = (self.mutation, claims.receipts.get(name)) {
            (line.stored_at.earliest, line.stored_at.latest) = (*at, *at);
        }
        line.lock = self.flattered(line.lock);
        is_told.then_some(line)
    }

    /// The version that a call reaches.
    async fn reached(&self, object: &ObjectRef) -> Result<ObjectRef, StoreError> {
        if self.mutation != Mutation::ExtendWithoutVersion {
            return Ok(object.clone());
        }
        let mut all = self.inner.list_versions(object.key.as_str());
        while let Some(line) = all.next().await {
            let line = line?;
            if line.is_current && line.name == object.key.as_str() {
                return Ok(line.object_ref().unwrap_or_else(|| object.clone()));
            }
        }
        Ok(object.clone())
    }

    async fn skips(&self, object: &ObjectRef) -> Result<bool, StoreError> {
        if self.mutation == Mutation::LiftBeforeExtending {
            let lock = self.inner.lock_of(object).await?;
            return Ok(matches!(lock, LockStatus::Held { .. }));
        }
        let standing = ["root/", "keys/", "ledger/"];
        let name = object.key.as_str();
        Ok(self.mutation == Mutation::ForgetStandingObjects
            && standing.iter().any(|prefix| name.starts_with(prefix)))
    }
}

#[async_trait]
impl Store for Misleading {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        let mut receipt = self.inner.put(key, body, lock, place).await?;
        if self.mutation == Mutation::DecideBeforeThePut {
            receipt.stored_at = StoreTime::exact(self.began);
        }
        if self.flatters() {
            receipt.locked_until = receipt.locked_until.map(|_| self.long());
        }
        Ok(receipt)
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        self.inner.get(key, version, range, max_bytes).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        let prefix_told = prefix.to_owned();
        let all = self.inner.list_versions(prefix);
        all.filter_map(move |line| {
            ready(match line {
                Ok(line) => self.told(&prefix_told, line).map(Ok),
                Err(error) => Some(Err(error)),
            })
        })
        .boxed()
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        let reached = self.reached(object).await?;
        Ok(self.flattered(self.inner.lock_of(&reached).await?))
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        if self.skips(object).await? {
            return Ok(());
        }
        let reached = self.reached(object).await?;
        self.inner.extend(&reached, lock).await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.inner.hold(object, hold).await
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.inner.hide(key).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.inner.delete_version(object).await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        self.inner.set_aside(name, version).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        let mut now = self.inner.now().await?;
        if self.mutation == Mutation::PruneByClientClock {
            now.earliest = now.earliest.saturating_add_seconds(AHEAD_SECONDS);
            now.latest = now.latest.saturating_add_seconds(AHEAD_SECONDS);
        }
        Ok(now)
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        Capabilities {
            versions: capabilities.versions && self.mutation != Mutation::TrustLatest,
            ..capabilities
        }
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    fn bucket(&self) -> Option<&dyn Bucket> {
        self.inner.bucket()
    }
}
