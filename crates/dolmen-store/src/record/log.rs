//! The log itself.

use std::collections::BTreeMap;

use super::{Detail, Sent};
use crate::api::{Api, PriceClass};
use crate::error::{Operation, StoreErrorKind};
use crate::object::Version;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked; a listing is one request for each page.
    pub operation: Operation,
    /// On which key; for a listing the prefix, for the clock none.
    pub key: Option<Box<str>>,
    /// On which version; `None` where the call named a key only.
    pub version: Option<Version>,
    /// Bytes of the body that was put.
    pub sent_bytes: u64,
    /// Bytes of the body that came back.
    pub received_bytes: u64,
    /// Versions on the page of a listing, so far.
    pub versions: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// How it is billed.
    pub class: PriceClass,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No answer yet, or nobody waited for it: it may have taken effect.
    Unfinished,
    /// It did what it was asked.
    Done,
    /// It did not.
    Failed(StoreErrorKind),
}

/// Sums over requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    api: Api,
    counts: BTreeMap<Operation, Count>,
}

/// Sums over the requests of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Requests that were sent, whatever came of them.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Bytes of bodies that were put.
    pub sent_bytes: u64,
    /// Bytes of bodies that came back.
    pub received_bytes: u64,
    /// Versions that were listed.
    pub versions: u64,
}

impl Totals {
    /// Returns the sums of one operation.
    pub fn of(&self, operation: Operation) -> Count {
        self.counts.get(&operation).copied().unwrap_or_default()
    }

    /// Returns the number of all requests.
    pub fn requests(&self) -> u64 {
        self.counts.values().map(|count| count.requests).sum()
    }

    /// Returns the number of requests that are billed in `class`, failed ones included.
    pub fn billed(&self, class: PriceClass) -> u64 {
        let in_class = |operation: &Operation| self.api.price_class(*operation) == class;
        self.counts
            .iter()
            .filter(|(operation, _)| in_class(operation))
            .map(|(_, count)| count.requests)
            .sum()
    }
}

/// Requests and their sums.
#[derive(Debug)]
pub(super) struct Log {
    detail: Detail,
    /// Requests that were kept and are no longer.
    gone: u64,
    requests: Vec<Request>,
    totals: Totals,
}

impl Log {
    pub(super) const fn new(api: Api, detail: Detail) -> Self {
        Self {
            detail,
            gone: 0,
            requests: Vec::new(),
            totals: Totals {
                api,
                counts: BTreeMap::new(),
            },
        }
    }

    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub(super) const fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        let requests = std::mem::take(&mut self.requests);
        self.gone += count_of(&requests);
        requests
    }

    /// Writes down a request that is sent now, and returns its number, which means nothing where only sums are kept.
    pub(super) fn begin(&mut self, sent: Sent<'_>) -> u64 {
        let count = self.count(sent.operation);
        count.requests += 1;
        count.sent_bytes += sent.body_bytes;
        let number = self.gone + count_of(&self.requests);
        if self.detail == Detail::Requests {
            self.requests.push(Request {
                operation: sent.operation,
                key: sent.key.map(Into::into),
                version: sent.version.cloned(),
                sent_bytes: sent.body_bytes,
                received_bytes: 0,
                versions: 0,
                outcome: Outcome::Unfinished,
                class: self.totals.api.price_class(sent.operation),
            });
        }
        number
    }

    /// Adds a body that came back.
    pub(super) fn receive(&mut self, number: u64, operation: Operation, bytes: u64) {
        self.count(operation).received_bytes += bytes;
        if let Some(request) = self.request(number) {
            request.received_bytes += bytes;
        }
    }

    /// Adds one line of a listing.
    pub(super) fn list(&mut self, number: u64) {
        self.count(Operation::ListVersions).versions += 1;
        if let Some(request) = self.request(number) {
            request.versions += 1;
        }
    }

    pub(super) fn finish(&mut self, number: u64, operation: Operation, outcome: Outcome) {
        if matches!(outcome, Outcome::Failed(_)) {
            self.count(operation).failed += 1;
        }
        if let Some(request) = self.request(number) {
            request.outcome = outcome;
        }
    }

    fn count(&mut self, operation: Operation) -> &mut Count {
        self.totals.counts.entry(operation).or_default()
    }

    /// Finds a request, unless it is kept no longer.
    fn request(&mut self, number: u64) -> Option<&mut Request> {
        let place = usize::try_from(number.checked_sub(self.gone)?).ok()?;
        self.requests.get_mut(place)
    }
}

fn count_of(requests: &[Request]) -> u64 {
    u64::try_from(requests.len()).unwrap_or(u64::MAX)
}
