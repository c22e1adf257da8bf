//! The store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention,
    ObjectLockRetentionMode, StorageClass,
};
use bytes::Bytes;
use dolmen_store::{
    Bucket, ByPurpose, ByteRange, Capabilities, Hold, Lock, LockMode, LockStatus, LockSupport,
    ObjectRef, Operation, Place, Purpose, PutReceipt, Store, StoreClock, StoreError,
    StoreErrorKind, StoreIdentity, StoreKey, StoreTime, Version, VersionInfo, VersionKind,
};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;

use crate::address::S3Address;
use crate::answer::{self, Heard, WithMd5};
use crate::client::{self, S3Options};
use crate::clock::SigningClock;
use crate::identity::Identity;
use crate::read::{self, Wanted};
use crate::send::{Sender, Unanswered};
use crate::settings::known;
use crate::{checksum, fault, listing};

/// How services name the version of an object in a bucket that keeps none.
pub(crate) const NO_VERSION: &str = "null";

/// Puts of one object of which no answer tells what became of them.
const UNKNOWN_MAX: u32 = 3;

/// A bucket, or a folder in it.
#[derive(Debug)]
pub struct S3Store {
    pub(crate) client: Client,
    pub(crate) sender: Arc<Sender>,
    pub(crate) bucket: String,
    pub(crate) folder: String,
    pub(crate) is_aws: bool,
    storage_class: Option<StorageClass>,
    identity: StoreIdentity,
    /// Whether it keeps versions, or did.
    has_versions: bool,
    locks: LockSupport,
    /// Whether the service has refused conditions on puts.
    refuses_conditions: AtomicBool,
}

impl S3Store {
    /// Opens a bucket, which must exist, and writes nothing. What these credentials may not ask is taken to be as Dolmen
    /// wants it: a probe has shown it, or will.
    ///
    /// One that never kept versions can be read, such as a plain copy, and nothing else: what is put there replaces what was
    /// there, and what is deleted by name may be newer than what was meant. In one that keeps none any more, those that
    /// are there can be read.
    ///
    /// Cost: two requests.
    pub async fn open(address: &S3Address, options: &S3Options) -> Result<Self, StoreError> {
        let mut store = Self::reach(address, options).await;
        store.has_versions = known(store.versioning().await)? != Some(None);
        let asked = known(store.lock_settings().await)?;
        if asked.is_some_and(|(has_locks, _)| !has_locks) {
            store.locks = LockSupport::None;
        }
        Ok(store)
    }

    /// As [`Self::open`], under every credential that is given: that in `options`, unless it is AWS's own chain, which
    /// names nobody, and there is another one; and those of their own. They share what the options bound.
    ///
    /// Cost: two requests, by the credential that reads.
    pub async fn open_each(
        address: &S3Address,
        options: &S3Options,
        own: ByPurpose<Identity>,
    ) -> Result<ByPurpose<Self>, StoreError> {
        let is_alone = own.reader().is_none();
        let mut identities = own;
        if is_alone || options.identity.is_known().await {
            identities.plain = Some(options.identity.clone());
        }
        let mut stores = ByPurpose::<Self>::default();
        for purpose in Purpose::ALL {
            let Some(identity) = identities.get_mut(purpose).take() else {
                continue;
            };
            let options = S3Options {
                identity,
                ..options.clone()
            };
            let store = match stores.reader() {
                None => Self::open(address, &options).await?,
                Some(reader) => reader.under(address, &options).await,
            };
            *stores.get_mut(purpose) = Some(store);
        }
        Ok(stores)
    }

    /// The same bucket, of which the same is known, under another credential. No request.
    async fn under(&self, address: &S3Address, options: &S3Options) -> Self {
        Self {
            sender: Arc::clone(&self.sender),
            has_versions: self.has_versions,
            locks: self.locks,
            ..Self::reach(address, options).await
        }
    }

    /// A bucket that may be missing, of which nothing is known yet: it is taken to be as Dolmen wants it. No request.
    pub async fn reach(address: &S3Address, options: &S3Options) -> Self {
        let mut address = address.clone();
        let client = client::client(&mut address, options, SigningClock::default()).await;
        Self {
            client,
            sender: Arc::new(Sender::new(options.connections)),
            bucket: address.bucket.clone(),
            folder: address.prefix.clone(),
            is_aws: address.is_aws(),
            storage_class: options.storage_class.as_deref().map(StorageClass::from),
            identity: StoreIdentity::new(address.identity()),
            has_versions: true,
            locks: LockSupport::ObjectLock,
            refuses_conditions: AtomicBool::new(false),
        }
    }

    pub(crate) fn name_of(&self, key: &StoreKey) -> String {
        format!("{}{key}", self.folder)
    }

    /// Refuses to change a bucket without versions.
    fn require_versions(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        let why = "the bucket keeps no versions, so that whoever may write to it can replace what is in it: it can only be \
                   read; turn versioning on";
        require(self.has_versions, operation, key, why)
    }

    fn require_locks(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        let has_locks = self.locks == LockSupport::ObjectLock;
        require(has_locks, operation, key, "the bucket has no Object Lock")
    }

    /// Puts once; `is_conditional` asks the service to refuse a key that is taken.
    async fn try_put(
        &self,
        key: &StoreKey,
        body: &Bytes,
        md5: [u8; 16],
        lock: Option<Lock>,
        is_conditional: bool,
    ) -> Result<PutReceipt, StoreError> {
        let heard = Heard::default();
        let fail = |error| fault::store_error(&error, Operation::Put, key.as_str());
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name_of(key))
            .body(ByteStream::from(body.clone()))
            .content_md5(checksum::header(md5))
            .set_storage_class(self.storage_class.clone())
            .set_object_lock_mode(lock.map(|lock| mode(lock.mode)))
            .set_object_lock_retain_until_date(lock.map(|lock| answer::until(lock.until)))
            .set_if_none_match(is_conditional.then(|| "*".to_owned()))
            .customize()
            .config_override(client::for_put(body.len()))
            .interceptor(heard.clone())
            .send()
            .await
            .map_err(fail)?;
        let unclear = || {
            fault::own(
                StoreErrorKind::OutcomeUnknown,
                Operation::Put,
                key.as_str(),
                "the store does not say when it received it",
            )
        };
        // What a service that encrypts states is a checksum of something else.
        let stated = put.e_tag().and_then(checksum::in_tag);
        let own = dolmen_store::Checksum::Md5(md5);
        Ok(PutReceipt {
            object: ObjectRef {
                key: key.clone(),
                version: Version::new(put.version_id().unwrap_or(NO_VERSION)),
            },
            stored_at: heard.time().ok_or_else(unclear)?,
            locked_until: None,
            checksum: stated.filter(|stated| *stated == own),
        })
    }

    /// Puts, and puts again where nothing came of it.
    async fn put_until_known(
        &self,
        key: &StoreKey,
        body: &Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        let md5 = checksum::digest(body);
        let is_conditional =
            place == Place::IfAbsent && !self.refuses_conditions.load(Ordering::Relaxed);
        let put = self.sender.call(Unanswered::Look, || {
            self.try_put(key, body, md5, lock, is_conditional)
        });
        match put.await {
            Err(error) if is_conditional && error.kind == StoreErrorKind::Unsupported => {
                self.refuses_conditions.store(true, Ordering::Relaxed);
                let put = self.sender.call(Unanswered::Look, || {
                    self.try_put(key, body, md5, lock, false)
                });
                put.await
            }
            put => put,
        }
    }

    /// Puts a marker once, and names it.
    async fn try_hide(&self, key: &StoreKey) -> Result<Version, StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket);
        let hidden = request.key(self.name_of(key)).send().await;
        let hidden =
            hidden.map_err(|error| fault::store_error(&error, Operation::Hide, key.as_str()))?;
        hidden.version_id().map(Version::new).ok_or_else(|| {
            fault::own(
                StoreErrorKind::OutcomeUnknown,
                Operation::Hide,
                key.as_str(),
                "the store does not name the marker",
            )
        })
    }

    /// What lies on top of a key. Cost: one request.
    async fn newest(&self, key: &StoreKey) -> Result<Option<VersionInfo>, StoreError> {
        let mut lines = self.list_versions(key.as_str());
        while let Some(line) = lines.try_next().await? {
            if line.name == key.as_str() && line.is_current {
                return Ok(Some(line));
            }
            if line.name != key.as_str() {
                break;
            }
        }
        Ok(None)
    }

    /// Whether a version was locked at a time: some services refuse to delete it in the words in which they refuse who may
    /// not. Cost: one request, or two.
    async fn was_locked(&self, object: &ObjectRef, at: Option<StoreTime>) -> bool {
        match self.lock_of(object).await {
            Ok(LockStatus::Held { .. }) => true,
            Ok(LockStatus::Until(lock)) => at.is_none_or(|at| lock.until > at.earliest),
            Ok(LockStatus::None | LockStatus::Unknown) | Err(_) => false,
        }
    }

    /// Deletes a version. Cost: one request; a refusal one more, or two: it asks for the lock.
    pub(crate) async fn delete(
        &self,
        object: &ObjectRef,
        bypasses_governance: Option<bool>,
    ) -> Result<(), StoreError> {
        self.require_versions(Operation::DeleteVersion, object.key.as_str())?;
        let heard = Heard::default();
        let deleted = self.sender.call(Unanswered::Repeat, || async {
            let request = self
                .client
                .delete_object()
                .bucket(&self.bucket)
                .key(self.name_of(&object.key))
                .version_id(object.version.as_str())
                .set_bypass_governance_retention(bypasses_governance);
            let sent = request.customize().interceptor(heard.clone()).send().await;
            sent.map_err(|error| {
                fault::store_error(&error, Operation::DeleteVersion, object.key.as_str())
            })
        });
        match deleted.await {
            Err(error)
                if error.kind == StoreErrorKind::Denied
                    && self.was_locked(object, heard.time()).await =>
            {
                let kind = StoreErrorKind::Locked;
                Err(StoreError { kind, ..error })
            }
            deleted => deleted.map(|_| ()),
        }
    }

    async fn head(
        &self,
        object: &ObjectRef,
        operation: Operation,
    ) -> Result<HeadObjectOutput, StoreError> {
        let asked = self.sender.call(Unanswered::Repeat, || async {
            let request = self.client.head_object().bucket(&self.bucket);
            let request = request.key(self.name_of(&object.key));
            let request = request.version_id(object.version.as_str());
            let failed = |error| fault::store_error(&error, operation, object.key.as_str());
            request.send().await.map_err(failed)
        });
        asked.await
    }

    /// Asks for the retention itself where the answer to a `HEAD` states none: it leaves out what the caller may not see.
    async fn retention(&self, object: &ObjectRef) -> Result<Option<Lock>, StoreError> {
        let asked = self
            .sender
            .call(Unanswered::Repeat, || self.try_retention(object));
        asked.await
    }

    async fn try_retention(&self, object: &ObjectRef) -> Result<Option<Lock>, StoreError> {
        let asked = self
            .client
            .get_object_retention()
            .bucket(&self.bucket)
            .key(self.name_of(&object.key))
            .version_id(object.version.as_str())
            .send()
            .await;
        match asked {
            Ok(answer) => Ok(answer.retention().and_then(|found| {
                let mode = lock_mode(found.mode()?.as_str())?;
                let until = answer::ends_at(found.retain_until_date()?);
                Some(Lock { mode, until })
            })),
            Err(SdkError::ServiceError(said))
                if matches!(
                    said.err().code(),
                    Some("NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError")
                ) || said.raw().status().as_u16() == 404 =>
            {
                Ok(None)
            }
            Err(error) => Err(fault::store_error(
                &error,
                Operation::LockOf,
                object.key.as_str(),
            )),
        }
    }
}

fn require(
    holds: bool,
    operation: Operation,
    key: &str,
    why: &'static str,
) -> Result<(), StoreError> {
    if holds {
        Ok(())
    } else {
        Err(fault::own(StoreErrorKind::Unsupported, operation, key, why))
    }
}

fn mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

pub(crate) fn lock_mode(stated: &str) -> Option<LockMode> {
    match stated {
        "GOVERNANCE" => Some(LockMode::Governance),
        "COMPLIANCE" => Some(LockMode::Compliance),
        _ => None,
    }
}

#[async_trait]
impl Store for S3Store {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        self.require_versions(Operation::Put, key.as_str())?;
        if lock.is_some() {
            self.require_locks(Operation::Put, key.as_str())?;
        }
        let mut attempts = 1;
        loop {
            let error = match self.put_until_known(key, &body, lock, place).await {
                Err(error) if error.kind == StoreErrorKind::OutcomeUnknown => error,
                outcome => return outcome,
            };
            if attempts >= UNKNOWN_MAX {
                return Err(error);
            }
            attempts = attempts.saturating_add(1);
            // What lies there may be another's: the caller looks. To cover bytes with themselves harms nothing.
            if place == Place::IfAbsent
                && let Ok(Some(found)) = self.newest(key).await
                && found.kind == VersionKind::Data
            {
                let kind = StoreErrorKind::Exists;
                return Err(StoreError { kind, ..error });
            }
        }
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        let wanted = Wanted {
            key: key.as_str(),
            range,
            bytes_max: max_bytes,
        };
        let version = version.map(|version| version.as_str().to_owned());
        let failed = |error| fault::store_error(&error, Operation::Get, key.as_str());
        if range.is_some_and(read::is_beyond_http) {
            let asked = self.sender.call(Unanswered::Repeat, || async {
                let request = self.client.head_object().bucket(&self.bucket);
                let request = request.key(self.name_of(key));
                let request = request.set_version_id(version.clone());
                request.send().await.map_err(failed)
            });
            let size_bytes = asked.await?.content_length().unwrap_or(0);
            wanted.length_in(u64::try_from(size_bytes).unwrap_or(0))?;
            return Ok(Bytes::new());
        }
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.name_of(key))
            .set_version_id(version);
        let read = self
            .sender
            .call(Unanswered::Repeat, || read::body(request.clone(), wanted));
        read.await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        listing::versions(self, prefix)
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        self.require_locks(Operation::LockOf, object.key.as_str())?;
        let head = self.head(object, Operation::LockOf).await?;
        let stated = head.object_lock_mode().and_then(|mode| {
            let until = answer::ends_at(head.object_lock_retain_until_date()?);
            let mode = lock_mode(mode.as_str())?;
            Some(Lock { mode, until })
        });
        let is_held = head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On);
        let retention = match stated {
            Some(lock) => Some(lock),
            None => self.retention(object).await?,
        };
        Ok(match (is_held, retention) {
            (true, retention) => LockStatus::Held { retention },
            (false, Some(lock)) => LockStatus::Until(lock),
            (false, None) => LockStatus::None,
        })
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        self.require_locks(Operation::Extend, object.key.as_str())?;
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let retention = ObjectLockRetention::builder()
            .mode(mode)
            .retain_until_date(answer::until(lock.until))
            .build();
        let extended = self.sender.call(Unanswered::Repeat, || async {
            let request = self
                .client
                .put_object_retention()
                .bucket(&self.bucket)
                .key(self.name_of(&object.key))
                .version_id(object.version.as_str())
                .retention(retention.clone());
            let sent = request.customize().interceptor(WithMd5).send().await;
            sent.map_err(|error| fault::store_error(&error, Operation::Extend, object.key.as_str()))
        });
        extended.await?;
        Ok(())
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.require_locks(Operation::Hold, object.key.as_str())?;
        let status = match hold {
            Hold::On => ObjectLockLegalHoldStatus::On,
            Hold::Off => ObjectLockLegalHoldStatus::Off,
        };
        let placed = self.sender.call(Unanswered::Repeat, || async {
            let hold = ObjectLockLegalHold::builder()
                .status(status.clone())
                .build();
            let request = self
                .client
                .put_object_legal_hold()
                .bucket(&self.bucket)
                .key(self.name_of(&object.key))
                .version_id(object.version.as_str())
                .legal_hold(hold);
            let sent = request.customize().interceptor(WithMd5).send().await;
            sent.map_err(|error| fault::store_error(&error, Operation::Hold, object.key.as_str()))
        });
        placed.await?;
        Ok(())
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.require_versions(Operation::Hide, key.as_str())?;
        let named = |version: Version| ObjectRef {
            key: key.clone(),
            version,
        };
        let hidden = self.sender.call(Unanswered::Look, || self.try_hide(key));
        match hidden.await {
            Ok(version) => Ok(named(version)),
            Err(error) if error.kind == StoreErrorKind::OutcomeUnknown => {
                match self.newest(key).await {
                    Ok(Some(found)) if found.kind == VersionKind::Marker => {
                        Ok(named(found.version))
                    }
                    Ok(_) | Err(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.delete(object, None).await
    }

    /// A bucket hides; it moves nothing.
    async fn set_aside(&self, name: &str, _version: &Version) -> Result<(), StoreError> {
        require(false, Operation::SetAside, name, "a bucket moves nothing")
    }

    /// Takes the time from the answer to a `HEAD` of the bucket, be it a refusal.
    async fn now(&self) -> Result<StoreTime, StoreError> {
        let asked = self.sender.call(Unanswered::Repeat, || async {
            let heard = Heard::default();
            let request = self.client.head_bucket().bucket(&self.bucket).customize();
            let asked = request.interceptor(heard.clone()).send().await;
            match (heard.time(), asked) {
                (Some(time), _) => Ok(time),
                (None, Err(error)) => Err(fault::store_error(&error, Operation::Now, "")),
                (None, Ok(_)) => Err(fault::own(
                    StoreErrorKind::Other,
                    Operation::Now,
                    "",
                    "the store's answers do not say what time it is",
                )),
            }
        });
        asked.await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            versions: true,
            quarantine: false,
            locks: self.locks,
            listed_locks: false,
            // Some services ignore the condition: that a put succeeds does not mean that it was the first.
            conditional_put: false,
            clock: StoreClock::Server,
        }
    }

    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    fn bucket(&self) -> Option<&dyn Bucket> {
        Some(self)
    }
}
