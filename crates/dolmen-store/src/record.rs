//! A layer that writes down each request: what it was, what came of it, and in which class it is billed.

mod log;

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use self::log::Log;
pub use self::log::{Count, Outcome, Request, Totals};
use crate::api::Api;
use crate::bucket::Bucket;
use crate::error::{Operation, StoreError};
use crate::key::StoreKey;
use crate::lock::{Hold, Lock, LockStatus};
use crate::object::{ByteRange, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo};
use crate::store::{Capabilities, Place, Store, StoreIdentity};

/// A store that writes down what passes through it.
///
/// A request is written down when it is sent, and again when its answer is there: one whose future was dropped stays
/// [`Outcome::Unfinished`]. A listing is a request for each page that was begun.
#[derive(Debug)]
pub struct RecordLayer {
    inner: Arc<dyn Store>,
    page_versions: NonZeroU64,
    log: Mutex<Log>,
}

/// How a [`RecordLayer`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOptions {
    /// Whose prices count.
    pub api: Api,
    /// Versions on one page of a listing; [`LISTING_PAGE_VERSIONS`](crate::LISTING_PAGE_VERSIONS) on real stores.
    pub page_versions: NonZeroU64,
    /// What is kept.
    pub detail: Detail,
}

/// What a [`RecordLayer`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Sums, in bounded memory.
    Totals,
    /// Sums, and every request until it is taken.
    Requests,
}

impl RecordLayer {
    /// Lays an empty log over `inner`.
    pub fn new(inner: Arc<dyn Store>, options: RecordOptions) -> Self {
        Self {
            inner,
            page_versions: options.page_versions,
            log: Mutex::new(Log::new(options.api, options.detail)),
        }
    }

    /// Returns the requests that are kept, in the order in which they were sent.
    pub fn requests(&self) -> Vec<Request> {
        self.log().requests().to_vec()
    }

    /// Returns the requests that are kept, and keeps them no longer. The totals stay.
    pub fn take_requests(&self) -> Vec<Request> {
        self.log().take_requests()
    }

    /// Returns the sums over everything so far.
    pub fn totals(&self) -> Totals {
        self.log().totals().clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one request and writes it down, with the bytes that `received_bytes` sees in its answer.
    async fn pass<T: Send>(
        &self,
        sent: Sent<'_>,
        call: BoxFuture<'_, Result<T, StoreError>>,
        received_bytes: fn(&T) -> u64,
    ) -> Result<T, StoreError> {
        let number = self.log().begin(sent);
        let answer = call.await;
        let (outcome, bytes) = match &answer {
            Ok(value) => (Outcome::Done, received_bytes(value)),
            Err(error) => (Outcome::Failed(error.kind), 0),
        };
        let mut log = self.log();
        log.receive(number, sent.operation, bytes);
        log.finish(number, sent.operation, outcome);
        answer
    }
}

/// What is known of a request when it is sent.
#[derive(Debug, Clone, Copy)]
struct Sent<'a> {
    operation: Operation,
    key: Option<&'a str>,
    version: Option<&'a Version>,
    body_bytes: u64,
}

impl<'a> Sent<'a> {
    const fn to_key(operation: Operation, key: &'a StoreKey) -> Self {
        Self {
            operation,
            key: Some(key.as_str()),
            version: None,
            body_bytes: 0,
        }
    }

    const fn to_object(operation: Operation, object: &'a ObjectRef) -> Self {
        Self {
            version: Some(&object.version),
            ..Self::to_key(operation, &object.key)
        }
    }
}

/// For answers that carry no body.
const fn no_bytes<T>(_: &T) -> u64 {
    0
}

fn size_of(body: &Bytes) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Store for RecordLayer {
    async fn put(
        &self,
        key: &StoreKey,
        body: Bytes,
        lock: Option<Lock>,
        place: Place,
    ) -> Result<PutReceipt, StoreError> {
        let sent = Sent {
            body_bytes: size_of(&body),
            ..Sent::to_key(Operation::Put, key)
        };
        let call = self.inner.put(key, body, lock, place);
        self.pass(sent, call, no_bytes).await
    }

    async fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, StoreError> {
        let sent = Sent {
            version,
            ..Sent::to_key(Operation::Get, key)
        };
        let call = self.inner.get(key, version, range, max_bytes);
        self.pass(sent, call, size_of).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'_, Result<VersionInfo, StoreError>> {
        let pages = Pages {
            layer: self,
            inner: self.inner.list_versions(prefix),
            prefix: prefix.into(),
            page: None,
        };
        stream::unfold(pages, |mut pages| async move {
            let line = pages.next().await?;
            Some((line, pages))
        })
        .boxed()
    }

    async fn lock_of(&self, object: &ObjectRef) -> Result<LockStatus, StoreError> {
        let sent = Sent::to_object(Operation::LockOf, object);
        self.pass(sent, self.inner.lock_of(object), no_bytes).await
    }

    async fn extend(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        let sent = Sent::to_object(Operation::Extend, object);
        let call = self.inner.extend(object, lock);
        self.pass(sent, call, no_bytes).await
    }

    async fn hold(&self, object: &ObjectRef, hold: Hold) -> Result<(), StoreError> {
        let sent = Sent::to_object(Operation::Hold, object);
        self.pass(sent, self.inner.hold(object, hold), no_bytes)
            .await
    }

    async fn hide(&self, key: &StoreKey) -> Result<ObjectRef, StoreError> {
        let sent = Sent::to_key(Operation::Hide, key);
        self.pass(sent, self.inner.hide(key), no_bytes).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), StoreError> {
        let sent = Sent::to_object(Operation::DeleteVersion, object);
        let call = self.inner.delete_version(object);
        self.pass(sent, call, no_bytes).await
    }

    async fn set_aside(&self, name: &str, version: &Version) -> Result<(), StoreError> {
        let sent = Sent {
            operation: Operation::SetAside,
            key: Some(name),
            version: Some(version),
            body_bytes: 0,
        };
        let call = self.inner.set_aside(name, version);
        self.pass(sent, call, no_bytes).await
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        let sent = Sent {
            operation: Operation::Now,
            key: None,
            version: None,
            body_bytes: 0,
        };
        self.pass(sent, self.inner.now(), no_bytes).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    fn bucket(&self) -> Option<&dyn Bucket> {
        self.inner.bucket()
    }
}

/// A listing under way.
struct Pages<'a> {
    layer: &'a RecordLayer,
    inner: BoxStream<'a, Result<VersionInfo, StoreError>>,
    prefix: Box<str>,
    page: Option<Page>,
}

/// The page that is being read.
#[derive(Debug, Clone, Copy)]
struct Page {
    number: u64,
    lines: u64,
    outcome: Outcome,
}

impl Pages<'_> {
    async fn next(&mut self) -> Option<Result<VersionInfo, StoreError>> {
        let page = self.page.unwrap_or_else(|| self.begin());
        self.page = Some(page);
        let line = self.inner.next().await;
        let mut page = match line {
            // A full page is over; whether there is another shows in what comes after it.
            Some(_) if page.lines == self.layer.page_versions.get() => {
                self.finish(page);
                self.begin()
            }
            Some(_) | None => page,
        };
        match &line {
            Some(Ok(_)) => {
                page.lines += 1;
                self.layer.log().list(page.number);
            }
            // A store may go on after a failure; the page has failed all the same.
            Some(Err(error)) if page.outcome == Outcome::Done => {
                page.outcome = Outcome::Failed(error.kind);
                self.finish(page);
            }
            None if page.outcome == Outcome::Done => self.finish(page),
            Some(Err(_)) | None => {}
        }
        self.page = Some(page);
        line
    }

    fn begin(&self) -> Page {
        Page {
            number: self.layer.log().begin(Sent {
                operation: Operation::ListVersions,
                key: Some(&self.prefix),
                version: None,
                body_bytes: 0,
            }),
            lines: 0,
            outcome: Outcome::Done,
        }
    }

    fn finish(&self, page: Page) {
        let mut log = self.layer.log();
        log.finish(page.number, Operation::ListVersions, page.outcome);
    }
}

#[cfg(test)]
mod tests;
