//! What a bucket holds, whoever looks at it.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use dolmen_format::Timestamp;
use md5::{Digest as _, Md5};
use sha1::Sha1;

use super::lifecycle::LifecycleRule;
use super::model::{Lie, MemoryModel, StatedChecksum};
use super::owner::Versioning;
use super::refusal::Refusal;
use crate::bucket::DefaultRetention;
use crate::error::StoreErrorKind;
use crate::lock::{Hold, Lock, LockMode, LockStatus};
use crate::object::{Checksum, StoreTime, Version, VersionInfo, VersionKind};
use crate::store::Place;

/// The name of the one version that puts replace while versioning is suspended.
const NULL_VERSION: &str = "null";

/// A bucket: its ways, its clock, its settings and its versions.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) model: MemoryModel,
    pub(super) now: Timestamp,
    pub(super) default_retention: Option<DefaultRetention>,
    pub(super) lifecycle: Vec<LifecycleRule>,
    pub(super) versioning: Versioning,
    made_versions: u64,
    /// The versions of each name, oldest first, never none. Names need not be keys.
    names: BTreeMap<String, Vec<Stored>>,
}

/// One version.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) version: Version,
    pub(super) received_at: StoreTime,
    pub(super) content: Content,
}

/// What a version is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A body and its locks.
    Data(Data),
    /// A delete marker.
    Marker,
}

/// A body and its locks.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub(super) body: Bytes,
    pub(super) checksum: Option<Checksum>,
    pub(super) retention: Option<Lock>,
    pub(super) hold: Hold,
}

/// What a put made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) version: Version,
    pub(super) stored_at: StoreTime,
    pub(super) locked_until: Option<Timestamp>,
    pub(super) checksum: Option<Checksum>,
}

impl Bucket {
    pub(super) const fn new(model: MemoryModel, now: Timestamp) -> Self {
        Self {
            model,
            now,
            default_retention: None,
            lifecycle: Vec::new(),
            versioning: Versioning::Enabled,
            made_versions: 0,
            names: BTreeMap::new(),
        }
    }

    /// Puts `body`, which is copied: the caller's memory goes back to it.
    pub(super) fn put(
        &mut self,
        name: &str,
        body: &[u8],
        lock: Option<Lock>,
        place: Place,
    ) -> Result<Made, Refusal> {
        let lock = match lock.map(in_whole_seconds) {
            Some(lock) if lock.until <= self.now => return Err(Refusal::PAST),
            Some(lock) => Some(lock),
            None => self.default_lock(),
        };
        let conditional =
            self.model.conditional_put && !self.model.lies_about(Lie::IgnoresConditions);
        if place == Place::IfAbsent
            && conditional
            && self.current(name).is_some_and(Stored::is_data)
        {
            return Err(StoreErrorKind::Exists.into());
        }
        if !self.model.options.versions || self.model.lies_about(Lie::ReplacesLocked) {
            self.names.remove(name);
        }
        let forgets = self.model.lies_about(Lie::ForgetsLocks);
        let checksum = checksum(self.model.checksum, body);
        let content = Content::Data(Data {
            body: Bytes::copy_from_slice(body),
            checksum,
            retention: lock.filter(|_| !forgets),
            hold: Hold::Off,
        });
        let received_at = self.time();
        Ok(Made {
            version: self.add(name, received_at, content),
            stored_at: received_at,
            locked_until: lock.map(|lock| lock.until),
            checksum,
        })
    }

    /// The clock to the second, as a `Date` header states it.
    pub(super) const fn time(&self) -> StoreTime {
        StoreTime::within_second(self.now.seconds)
    }

    pub(super) fn current(&self, name: &str) -> Option<&Stored> {
        self.names.get(name)?.last()
    }

    pub(super) fn find(&self, name: &str, version: &Version) -> Option<&Stored> {
        self.names
            .get(name)?
            .iter()
            .find(|stored| stored.version == *version)
    }

    /// Finds a version that can be locked.
    pub(super) fn find_data(
        &mut self,
        name: &str,
        version: &Version,
    ) -> Result<&mut Data, StoreErrorKind> {
        let stored = self
            .names
            .get_mut(name)
            .and_then(|versions| {
                versions
                    .iter_mut()
                    .find(|stored| stored.version == *version)
            })
            .ok_or(StoreErrorKind::NotFound)?;
        match &mut stored.content {
            Content::Data(data) => Ok(data),
            Content::Marker => Err(StoreErrorKind::Unsupported),
        }
    }

    /// Names that start with `prefix` and their versions, oldest first.
    pub(super) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a [Stored])> {
        self.names
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(name, versions)| (name.as_str(), versions.as_slice()))
    }

    /// Puts a version on top.
    pub(super) fn add(&mut self, name: &str, received_at: StoreTime, content: Content) -> Version {
        let versions = self.names.entry(name.to_owned()).or_default();
        let version = match self.versioning {
            Versioning::Enabled => {
                self.made_versions += 1;
                Version::new(self.made_versions.to_string())
            }
            Versioning::Suspended => {
                versions.retain(|stored| stored.version.as_str() != NULL_VERSION);
                Version::new(NULL_VERSION)
            }
        };
        versions.push(Stored {
            version: version.clone(),
            received_at,
            content,
        });
        version
    }

    pub(super) fn remove(&mut self, name: &str, version: &Version) {
        if let Some(versions) = self.names.get_mut(name) {
            versions.retain(|stored| stored.version != *version);
            if versions.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// Tells what keeps a version now, as far as this store cares.
    pub(super) fn binding(&self, stored: &Stored) -> Binding {
        let Content::Data(data) = &stored.content else {
            return Binding::Free;
        };
        if data.hold == Hold::On && !self.model.lies_about(Lie::DeletesHeld) {
            return Binding::Held;
        }
        match data.retention {
            Some(lock) if self.now < lock.until && !self.model.lies_about(Lie::DeletesLocked) => {
                Binding::Retained(lock.mode)
            }
            Some(_) | None => Binding::Free,
        }
    }

    fn default_lock(&self) -> Option<Lock> {
        let DefaultRetention { mode, days } = self.default_retention?;
        let until = self
            .now
            .saturating_add_seconds(i64::from(days) * SECONDS_PER_DAY);
        Some(in_whole_seconds(Lock { mode, until }))
    }
}

/// Seconds in the days of default retention and lifecycle rules.
pub(super) const SECONDS_PER_DAY: i64 = 86_400;

/// What keeps a version from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// Nothing.
    Free,
    /// A legal hold, whatever the retention.
    Held,
    /// Retention that has not lapsed.
    Retained(LockMode),
}

impl Stored {
    pub(super) const fn is_data(&self) -> bool {
        matches!(self.content, Content::Data(_))
    }

    pub(super) const fn lock(&self) -> LockStatus {
        match &self.content {
            Content::Data(Data {
                retention,
                hold: Hold::On,
                ..
            }) => LockStatus::Held {
                retention: *retention,
            },
            Content::Data(Data {
                retention: Some(lock),
                ..
            }) => LockStatus::Until(*lock),
            Content::Data(Data {
                retention: None, ..
            })
            | Content::Marker => LockStatus::None,
        }
    }

    /// States the version as a listing does to one who sees `lock`.
    pub(super) fn line(&self, name: &str, is_current: bool, lock: LockStatus) -> VersionInfo {
        let (kind, size_bytes, checksum) = match &self.content {
            Content::Data(data) => (VersionKind::Data, size_of(&data.body), data.checksum),
            Content::Marker => (VersionKind::Marker, 0, None),
        };
        VersionInfo {
            name: name.to_owned(),
            version: self.version.clone(),
            size_bytes,
            stored_at: self.received_at,
            kind,
            is_current,
            lock,
            checksum,
        }
    }
}

pub(super) const fn in_whole_seconds(lock: Lock) -> Lock {
    Lock {
        until: Timestamp::from_seconds(lock.until.ceil_seconds()),
        ..lock
    }
}

pub(super) fn size_of(body: &Bytes) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

fn checksum(stated: StatedChecksum, body: &[u8]) -> Option<Checksum> {
    match stated {
        StatedChecksum::None => None,
        StatedChecksum::Md5 => Some(Checksum::Md5(Md5::digest(body).into())),
        StatedChecksum::Sha1 => Some(Checksum::Sha1(Sha1::digest(body).into())),
    }
}
