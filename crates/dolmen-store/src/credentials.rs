//! One bucket under several credentials: a layer that sends each call to the one of least rights that is for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::api::Api;
use crate::bucket::{Bucket, BucketSettings, Setting};
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo};
use crate::store::{Capabilities, LISTING_PAGE_VERSIONS, Place, Store, StoreIdentity};

/// What a store credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Whatever there is none of its own for.
    Plain,
    /// Extending locks and placing holds.
    Renew,
    /// Deleting, hiding and lifting holds.
    Prune,
}

impl Purpose {
    /// All of them, in the order in which they are looked for to read: whoever may put reads anyway, and to renew takes less
    /// than to delete.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Renew, Self::Prune];
    /// The same to put: whoever renews puts nothing, if it can be helped.
    const PUT: [Self; 3] = [Self::Plain, Self::Prune, Self::Renew];
    /// The same to keep what is there.
    const KEEP: [Self; 3] = [Self::Renew, Self::Plain, Self::Prune];
    /// The same to let it go.
    const LET_GO: [Self; 3] = [Self::Prune, Self::Plain, Self::Renew];
}

/// One for each purpose, as far as there is one.
#[derive(Debug, Clone)]
pub struct ByPurpose<T> {
    /// For [`Purpose::Plain`].
    pub plain: Option<T>,
    /// For [`Purpose::Renew`].
    pub renew: Option<T>,
    /// For [`Purpose::Prune`].
    pub prune: Option<T>,
}

impl<T> Default for ByPurpose<T> {
    /// None at all.
    fn default() -> Self {
        Self {
            plain: None,
            renew: None,
            prune: None,
        }
    }
}

impl<T> ByPurpose<T> {
    /// The one for a purpose.
    pub const fn get(&self, purpose: Purpose) -> Option<&T> {
        match purpose {
            Purpose::Plain => self.plain.as_ref(),
            Purpose::Renew => self.renew.as_ref(),
            Purpose::Prune => self.prune.as_ref(),
        }
    }

    /// The place of the one for a purpose.
    pub const fn get_mut(&mut self, purpose: Purpose) -> &mut Option<T> {
        match purpose {
            Purpose::Plain => &mut self.plain,
            Purpose::Renew => &mut self.renew,
            Purpose::Prune => &mut self.prune,
        }
    }

    /// The same of what a function makes of each.
    pub fn map<U>(self, make: impl Fn(T) -> U) -> ByPurpose<U> {
        ByPurpose {
            plain: self.plain.map(&make),
            renew: self.renew.map(&make),
            prune: self.prune.map(&make),
        }
    }

    /// The first that there is.
    fn first(&self, order: [Purpose; 3]) -> Option<&T> {
        order.into_iter().find_map(|purpose| self.get(purpose))
    }

    /// The one that reads: the plain one, else that of the least rights. `None`: there is none at all.
    pub fn reader(&self) -> Option<&T> {
        self.first(Purpose::ALL)
    }
}

/// Why a credential of its own is of no use.
#[derive(Debug, thiserror::Error)]
pub enum WrongCredential {
    /// The store did not let it list.
    #[error(transparent)]
    Refused(StoreError),
    /// It leads elsewhere.
    #[error("they reach another bucket than the others")]
    OtherBucket,
}

impl ByPurpose<Arc<dyn Store>> {
    /// Looks whether each credential can be used and shows the same names below `prefix` as the one that reads; returns
    /// the first that is wrong. What fails for another reason than the credential fails the whole.
    ///
    /// Cost: one request for each.
    pub async fn first_wrong(
        &self,
        prefix: &str,
    ) -> Result<Option<(Purpose, WrongCredential)>, StoreError> {
        let mut shown = Vec::new();
        for purpose in Purpose::ALL {
            let Some(store) = self.get(purpose) else {
                continue;
            };
            let page = store.list_versions(prefix);
            let page =
                page.take(usize::try_from(LISTING_PAGE_VERSIONS.get()).unwrap_or(usize::MAX));
            let names = page.map_ok(|line| (line.name, line.version));
            match names.try_collect::<BTreeSet<_>>().await {
                Ok(names) => shown.push((purpose, names)),
                Err(error) if error.kind == StoreErrorKind::Denied => {
                    return Ok(Some((purpose, WrongCredential::Refused(error))));
                }
                Err(error) => return Err(error),
            }
        }
        let Some(((_, first), others)) = shown.split_first() else {
            return Ok(None);
        };
        // Something may be put between two looks; nothing goes.
        let differs = |names: &BTreeSet<_>| {
            first.is_disjoint(names) && !(first.is_empty() && names.is_empty())
        };
        let other = others.iter().find(|(_, names)| differs(names));
        Ok(other.map(|(purpose, _)| (*purpose, WrongCredential::OtherBucket)))
    }
}

/// A bucket under all credentials that are given. It is the same for all of them: identity, capabilities and settings are
/// those that the one which reads was told.
pub struct CredentialLayer {
    read: Arc<dyn Store>,
    put: Arc<dyn Store>,
    keep: Arc<dyn Store>,
    let_go: Arc<dyn Store>,
    bucket: Option<AnyOf>,
}

impl CredentialLayer {
    /// Sends each call where it belongs; `None`: there is nowhere to send any.
    pub fn new(stores: &ByPurpose<Arc<dyn Store>>) -> Option<Self> {
        let first = |order| stores.first(order).map(Arc::clone);
        let read = first(Purpose::ALL)?;
        let bucket = read.bucket().map(|bucket| AnyOf {
            api: bucket.api(),
            name: bucket.name().to_owned(),
            prefix: bucket.prefix().to_owned(),
            stores: Purpose::ALL
                .into_iter()
                .filter_map(|purpose| stores.get(purpose).map(Arc::clone))
                .collect(),
        });
        Some(Self {
            put: first(Purpose::PUT)?,
            keep: first(Purpose::KEEP)?,
            let_go: first(Purpose::LET_GO)?,
            read,
            bucket,
        })
    }
}

impl fmt::Debug for CredentialLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialLayer")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for CredentialLayer {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        self.put.put(key, body, lock, place).await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        self.read.get(key, version, range, max_bytes).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        self.read.list_versions(prefix)
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        self.read.lock_of(object).await
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        self.keep.extend(object, lock).await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        match hold {
            Hold::On => self.keep.hold(object, hold).await,
            Hold::Off => self.let_go.hold(object, hold).await,
        }
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        self.let_go.hide(key).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        self.let_go.delete_version(object).await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        self.let_go.set_aside(name, version).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        self.read.now().await
    }

    fn capabilities(&self) -> Capabilities {
        self.read.capabilities()
    }

    fn identity(&self) -> &StoreIdentity {
        self.read.identity()
    }

    fn bucket(&self) -> Option<&dyn Bucket> {
        self.bucket.as_ref().map(|bucket| bucket as &dyn Bucket)
    }
}

/// What a thief of all credentials could do to the bucket: what any of them may.
#[derive(Debug)]
struct AnyOf {
    api: Api,
    name: String,
    prefix: String,
    /// The one that reads first.
    stores: Vec<Arc<dyn Store>>,
}

impl AnyOf {
    fn buckets(&self) -> impl Iterator<Item = &dyn Bucket> {
        self.stores.iter().filter_map(|store| store.bucket())
    }
}

/// The first success, or else a refusal rather than that it cannot be asked.
async fn any<T>(
    calls: impl Iterator<Item = BoxFuture<'_, Result<T, StoreError>>> + Send,
) -> Result<T, StoreError> {
    let mut refused = unasked();
    for call in calls {
        match call.await {
            Ok(done) => return Ok(done),
            Err(error) if refused.kind == StoreErrorKind::Unsupported => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

fn unasked() -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unsupported,
        operation: Operation::Configure,
        key: None,
        source: None,
    }
}

#[async_trait]
impl Bucket for AnyOf {
    fn api(&self) -> Api {
        self.api
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn settings(&self) -> Result<BucketSettings, StoreError> {
        any(self.buckets().map(Bucket::settings)).await
    }

    async fn delete_bypassing(&self, object: &ObjectRef) -> Result<(), StoreError> {
        any(self.buckets().map(|bucket| bucket.delete_bypassing(object))).await
    }

    async fn set_again(&self, setting: Setting) -> Result<(), StoreError> {
        any(self.buckets().map(|bucket| bucket.set_again(setting))).await
    }

    async fn may_create_keys(&self) -> Result<bool, StoreError> {
        let mut told = None;
        for bucket in self.buckets() {
            match (bucket.may_create_keys().await, &told) {
                (Ok(true), _) => return Ok(true),
                (answer, None | Some(Err(_))) => told = Some(answer),
                (_, Some(Ok(_))) => {}
            }
        }
        told.unwrap_or_else(|| Err(unasked()))
    }
}

#[cfg(test)]
mod tests {
    use dolmen_format::Timestamp;

    use super::*;
    use crate::lock::LockMode;
    use crate::memory::{Credential, MemoryOptions, MemoryStore};
    use crate::record::{Detail, RecordLayer, RecordOptions};

    /// Views of one bucket that write down what they are asked.
    fn recorded(purposes: &[Purpose]) -> (CredentialLayer, ByPurpose<Arc<RecordLayer>>) {
        let bucket = MemoryStore::new(MemoryOptions::LOCKS);
        let (mut stores, mut records) = (ByPurpose::default(), ByPurpose::default());
        for purpose in purposes {
            let view = bucket.with_credential(Credential::everything());
            let options = RecordOptions {
                api: Api::S3,
                page_versions: LISTING_PAGE_VERSIONS,
                detail: Detail::Requests,
            };
            let record = Arc::new(RecordLayer::new(Arc::new(view), options));
            *stores.get_mut(*purpose) = Some(Arc::clone(&record) as Arc<dyn Store>);
            *records.get_mut(*purpose) = Some(record);
        }
        (CredentialLayer::new(&stores).unwrap(), records)
    }

    /// Makes every call once; returns who was asked for what, in order.
    async fn asked(purposes: &[Purpose]) -> Vec<(Operation, Vec<Purpose>)> {
        let (store, records) = recorded(purposes);
        let mut told = Vec::new();
        let mut note = |operation| {
            let asked = Purpose::ALL.into_iter().filter(|purpose| {
                let record = records.get(*purpose);
                record.is_some_and(|record| !record.take_requests().is_empty())
            });
            told.push((operation, asked.collect()));
        };
        let key = StoreKey::try_from("canary/a").unwrap();
        let put = store.put(&key, Bytes::from_static(b"a"), None, Place::IfAbsent);
        let object = put.await.unwrap().object;
        note(Operation::Put);
        store.get(&key, None, None, 9).await.unwrap();
        note(Operation::Get);
        store.list_versions("").count().await;
        note(Operation::ListVersions);
        store.lock_of(&object).await.unwrap();
        note(Operation::LockOf);
        let now = store.now().await.unwrap();
        note(Operation::Now);
        let lock = Lock {
            mode: LockMode::Governance,
            until: Timestamp::from_seconds(now.latest.ceil_seconds() + 60),
        };
        store.extend(&object, lock).await.unwrap();
        note(Operation::Extend);
        store.hold(&object, Hold::On).await.unwrap();
        note(Operation::Hold);
        store.hold(&object, Hold::Off).await.unwrap();
        note(Operation::Hold);
        let marker = store.hide(&key).await.unwrap();
        note(Operation::Hide);
        store.delete_version(&marker).await.unwrap();
        note(Operation::DeleteVersion);
        let aside = store.set_aside("x", &object.version).await;
        aside.unwrap_err();
        note(Operation::SetAside);
        told
    }

    fn expected(
        read: Purpose,
        put: Purpose,
        keep: Purpose,
        let_go: Purpose,
    ) -> Vec<(Operation, Vec<Purpose>)> {
        [
            (Operation::Put, put),
            (Operation::Get, read),
            (Operation::ListVersions, read),
            (Operation::LockOf, read),
            (Operation::Now, read),
            (Operation::Extend, keep),
            (Operation::Hold, keep),
            (Operation::Hold, let_go),
            (Operation::Hide, let_go),
            (Operation::DeleteVersion, let_go),
            (Operation::SetAside, let_go),
        ]
        .map(|(operation, purpose)| (operation, vec![purpose]))
        .to_vec()
    }

    #[tokio::test]
    async fn each_call_goes_to_the_credential_of_least_rights_that_is_for_it() {
        use Purpose::{Plain, Prune, Renew};
        for (given, answer) in [
            (
                &[Plain, Renew, Prune] as &[_],
                expected(Plain, Plain, Renew, Prune),
            ),
            (&[Plain, Renew], expected(Plain, Plain, Renew, Plain)),
            (&[Plain, Prune], expected(Plain, Plain, Plain, Prune)),
            (&[Plain], expected(Plain, Plain, Plain, Plain)),
            (&[Renew], expected(Renew, Renew, Renew, Renew)),
            (&[Prune], expected(Prune, Prune, Prune, Prune)),
            (&[Renew, Prune], expected(Renew, Prune, Renew, Prune)),
        ] {
            assert_eq!(asked(given).await, answer, "{given:?}");
        }
        assert!(CredentialLayer::new(&ByPurpose::default()).is_none());
    }

    #[tokio::test]
    async fn a_credential_that_is_refused_or_leads_elsewhere_is_found_out() {
        let bucket = MemoryStore::new(MemoryOptions::LOCKS);
        let view = |credential| Arc::new(bucket.with_credential(credential)) as Arc<dyn Store>;
        let mut stores = ByPurpose {
            plain: Some(view(Credential::everything())),
            renew: Some(view(Credential::everything())),
            prune: None,
        };
        assert!(stores.first_wrong("root/").await.unwrap().is_none());
        for name in ["root/a", "root/b"] {
            let key = StoreKey::try_from(name).unwrap();
            let put = bucket.put(&key, Bytes::new(), None, Place::IfAbsent);
            put.await.unwrap();
        }
        assert!(stores.first_wrong("root/").await.unwrap().is_none());
        stores.prune = Some(Arc::new(MemoryStore::new(MemoryOptions::LOCKS)));
        let wrong = stores.first_wrong("root/").await.unwrap();
        assert!(matches!(
            wrong,
            Some((Purpose::Prune, WrongCredential::OtherBucket))
        ));
        stores.renew = Some(view(Credential::nothing()));
        let wrong = stores.first_wrong("root/").await.unwrap();
        assert!(matches!(
            wrong,
            Some((Purpose::Renew, WrongCredential::Refused(_)))
        ));
    }
}
