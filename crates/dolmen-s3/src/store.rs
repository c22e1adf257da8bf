//! The store.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode, StorageClass,
};
use bytes::Bytes;
use dolmen_store::{
    ByteRange, Capabilities, Hold, Lock, LockMode, LockStatus, LockSupport, ObjectRef, Operation,
    Place, PutReceipt, Store, StoreClock, StoreError, StoreErrorKind, StoreIdentity, StoreKey,
    StoreTime, Version, VersionInfo,
};
use futures_util::stream::BoxStream;

use crate::address::S3Address;
use crate::answer::{self, Heard, WithMd5};
use crate::client::{self, S3Options};
use crate::read::{self, Wanted};
use crate::{checksum, fault, listing};

/// How services name the version of an object in a bucket that keeps none.
pub(crate) const NO_VERSION: &str = "null";

/// A bucket, or a folder in it.
#[derive(Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    folder: String,
    storage_class: Option<StorageClass>,
    identity: StoreIdentity,
    versions: bool,
    locks: LockSupport,
    /// Whether the service has refused conditions on puts.
    refuses_conditions: AtomicBool,
}

impl S3Store {
    /// Opens a bucket, which must exist, and writes nothing. What these credentials may not ask is taken to be as Dolmen
    /// wants it: a probe has shown it, or will.
    ///
    /// Cost: two requests.
    pub async fn open(address: &S3Address, options: &S3Options) -> Result<Self, StoreError> {
        let client = client::client(address, options).await;
        let mut store = Self {
            client,
            bucket: address.bucket.clone(),
            folder: address.prefix.clone(),
            storage_class: options.storage_class.as_deref().map(StorageClass::from),
            identity: StoreIdentity::new(address.identity()),
            versions: true,
            locks: LockSupport::ObjectLock,
            refuses_conditions: AtomicBool::new(false),
        };
        store.versions = store.asks_versions().await?;
        store.locks = if store.versions && store.asks_locks().await? {
            LockSupport::ObjectLock
        } else {
            LockSupport::None
        };
        Ok(store)
    }

    async fn asks_versions(&self) -> Result<bool, StoreError> {
        let answer = self.client.get_bucket_versioning().bucket(&self.bucket);
        match answer.send().await {
            Ok(answer) => Ok(answer.status() == Some(&BucketVersioningStatus::Enabled)),
            Err(error) if error.code() == Some("AccessDenied") => Ok(true),
            Err(error) => match fault::kind_of(&error, Operation::Open) {
                StoreErrorKind::Unsupported => Ok(false),
                _ => Err(fault::store_error(error, Operation::Open, &self.bucket)),
            },
        }
    }

    async fn asks_locks(&self) -> Result<bool, StoreError> {
        let answer = self.client.get_object_lock_configuration();
        match answer.bucket(&self.bucket).send().await {
            Ok(answer) => Ok(answer
                .object_lock_configuration()
                .and_then(|found| found.object_lock_enabled())
                == Some(&ObjectLockEnabled::Enabled)),
            Err(error) if error.code() == Some("AccessDenied") => Ok(true),
            Err(error) => match fault::kind_of(&error, Operation::Open) {
                // `ObjectLockConfigurationNotFoundError`.
                StoreErrorKind::NotFound | StoreErrorKind::Unsupported => Ok(false),
                _ => Err(fault::store_error(error, Operation::Open, &self.bucket)),
            },
        }
    }

    fn name(&self, key: &StoreKey) -> String {
        format!("{}{key}", self.folder)
    }

    fn require_versions(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        require(
            self.versions,
            operation,
            key,
            "the bucket keeps no versions",
        )
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
        let fail = |error| fault::store_error(error, Operation::Put, key.as_str());
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .body(ByteStream::from(body.clone()))
            .content_md5(checksum::header(md5))
            .set_storage_class(self.storage_class.clone())
            .set_object_lock_mode(lock.map(|lock| mode(lock.mode)))
            .set_object_lock_retain_until_date(lock.map(|lock| answer::until(lock.until)))
            .set_if_none_match(is_conditional.then(|| "*".to_owned()))
            .customize()
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

    async fn head(
        &self,
        object: &ObjectRef,
        operation: Operation,
    ) -> Result<HeadObjectOutput, StoreError> {
        self.client
            .head_object()
            .bucket(&self.bucket)
            .key(self.name(&object.key))
            .version_id(object.version.as_str())
            .send()
            .await
            .map_err(|error| fault::store_error(error, operation, object.key.as_str()))
    }

    /// Asks for the retention itself where the answer to a `HEAD` states none: it leaves out what the caller may not see.
    async fn retention(&self, object: &ObjectRef) -> Result<Option<Lock>, StoreError> {
        let asked = self
            .client
            .get_object_retention()
            .bucket(&self.bucket)
            .key(self.name(&object.key))
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
                error,
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

fn lock_mode(stated: &str) -> Option<LockMode> {
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
        if lock.is_some() {
            self.require_locks(Operation::Put, key.as_str())?;
        }
        let md5 = checksum::digest(&body);
        let is_conditional =
            place == Place::IfAbsent && !self.refuses_conditions.load(Ordering::Relaxed);
        let put = self.try_put(key, &body, md5, lock, is_conditional).await;
        match put {
            Err(error) if is_conditional && error.kind == StoreErrorKind::Unsupported => {
                self.refuses_conditions.store(true, Ordering::Relaxed);
                self.try_put(key, &body, md5, lock, false).await
            }
            put => put,
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
        if range.is_some_and(read::is_beyond_http) {
            let head = self
                .client
                .head_object()
                .bucket(&self.bucket)
                .key(self.name(key))
                .set_version_id(version)
                .send()
                .await
                .map_err(|error| fault::store_error(error, Operation::Get, key.as_str()))?;
            let size_bytes = head.content_length().unwrap_or(0);
            wanted.length_in(u64::try_from(size_bytes).unwrap_or(0))?;
            return Ok(Bytes::new());
        }
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .set_version_id(version);
        read::body(request, wanted).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        listing::versions(&self.client, &self.bucket, &self.folder, prefix)
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
        self.client
            .put_object_retention()
            .bucket(&self.bucket)
            .key(self.name(&object.key))
            .version_id(object.version.as_str())
            .retention(retention)
            .customize()
            .interceptor(WithMd5)
            .send()
            .await
            .map_err(|error| fault::store_error(error, Operation::Extend, object.key.as_str()))?;
        Ok(())
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        self.require_locks(Operation::Hold, object.key.as_str())?;
        let status = match hold {
            Hold::On => ObjectLockLegalHoldStatus::On,
            Hold::Off => ObjectLockLegalHoldStatus::Off,
        };
        self.client
            .put_object_legal_hold()
            .bucket(&self.bucket)
            .key(self.name(&object.key))
            .version_id(object.version.as_str())
            .legal_hold(ObjectLockLegalHold::builder().status(status).build())
            .customize()
            .interceptor(WithMd5)
            .send()
            .await
            .map_err(|error| fault::store_error(error, Operation::Hold, object.key.as_str()))?;
        Ok(())
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.require_versions(Operation::Hide, key.as_str())?;
        let hidden = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .send()
            .await
            .map_err(|error| fault::store_error(error, Operation::Hide, key.as_str()))?;
        let unclear = || {
            fault::own(
                StoreErrorKind::OutcomeUnknown,
                Operation::Hide,
                key.as_str(),
                "the store does not name the marker",
            )
        };
        let version = hidden.version_id().ok_or_else(unclear)?;
        Ok(ObjectRef {
            key: key.clone(),
            version: Version::new(version),
        })
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.name(&object.key))
            .version_id(object.version.as_str())
            .send()
            .await
            .map_err(|error| {
                fault::store_error(error, Operation::DeleteVersion, object.key.as_str())
            })?;
        Ok(())
    }

    /// A bucket hides; it moves nothing.
    async fn set_aside(&self, name: &str, _version: &Version) -> Result<(), StoreError> {
        require(false, Operation::SetAside, name, "a bucket moves nothing")
    }

    /// Takes the time from the answer to a `HEAD` of the bucket, be it a refusal.
    async fn now(&self) -> Result<StoreTime, StoreError> {
        let heard = Heard::default();
        let asked = self
            .client
            .head_bucket()
            .bucket(&self.bucket)
            .customize()
            .interceptor(heard.clone())
            .send()
            .await;
        match (heard.time(), asked) {
            (Some(time), _) => Ok(time),
            (None, Err(error)) => Err(fault::store_error(error, Operation::Now, "")),
            (None, Ok(_)) => Err(fault::own(
                StoreErrorKind::Other,
                Operation::Now,
                "",
                "the store's answers do not say what time it is",
            )),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            versions: self.versions,
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
}
