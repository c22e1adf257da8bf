//! Listings, of which every page is a call.

use std::future::pending;

use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::plan::{Fault, Tear};
use super::{FaultLayer, failed};
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::object::VersionInfo;

type Line = Result<VersionInfo, StoreError>;

/// A listing under way.
pub(super) struct Pages<'a> {
    layer: &'a FaultLayer,
    inner: BoxStream<'a, Line>,
    prefix: Box<str>,
    stage: Stage,
}

/// How far a listing is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Unasked,
    Page(Page),
    Over,
}

/// The page that is being read.
#[derive(Debug, Clone, Copy)]
struct Page {
    /// The number of its call.
    call: u64,
    lines: u64,
    tear: Option<Tear>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(layer: &'a FaultLayer, prefix: &str) -> Self {
        Self {
            layer,
            inner: layer.inner.list_versions(prefix),
            prefix: prefix.into(),
            stage: Stage::Unasked,
        }
    }

    pub(super) fn into_stream(self) -> BoxStream<'a, Line> {
        stream::unfold(self, |mut pages| async move {
            let line = pages.next().await?;
            Some((line, pages))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Line> {
        let page = match self.stage {
            Stage::Over => return None,
            Stage::Unasked => match self.begin().await {
                Ok(page) => page,
                Err(error) => return self.end(Some(Err(error))),
            },
            Stage::Page(page) => page,
        };
        self.stage = Stage::Page(page);
        if page.breaks_off() {
            return self.end(self.break_off(page));
        }
        let Some(line) = self.inner.next().await else {
            return self.end(self.break_off(page));
        };
        let mut page = page;
        // Only what comes after a full page shows that there is another one.
        if page.lines == self.layer.page_versions.get() {
            match self.begin().await {
                Ok(next) if next.breaks_off() => return self.end(self.break_off(next)),
                Ok(next) => page = next,
                Err(error) => return self.end(Some(Err(error))),
            }
        }
        page.lines += 1;
        self.stage = Stage::Page(page);
        Some(line)
    }

    /// Asks for a page.
    async fn begin(&mut self) -> Result<Page, StoreError> {
        let (call, fault) = self.layer.begin(Operation::ListVersions);
        let mut page = Page {
            call,
            lines: 0,
            tear: None,
        };
        match fault {
            None => {}
            Some(Fault::Unavailable | Fault::TimedOut(_) | Fault::Crash(_)) => {
                return Err(self.failed(StoreErrorKind::Unavailable, call));
            }
            Some(Fault::Denied(_)) => return Err(self.failed(StoreErrorKind::Denied, call)),
            Some(Fault::Silent(_)) => pending().await,
            Some(Fault::Torn(tear)) => page.tear = Some(tear),
            Some(Fault::Slow { seconds, .. }) => self.layer.pass_seconds(seconds),
        }
        Ok(page)
    }

    /// What comes instead of the rest of a page.
    fn break_off(&self, page: Page) -> Option<Line> {
        match page.tear {
            Some(Tear::Noticed) => Some(Err(self.failed(StoreErrorKind::Unavailable, page.call))),
            Some(Tear::Unnoticed { .. }) | None => None,
        }
    }

    fn end(&mut self, last: Option<Line>) -> Option<Line> {
        self.stage = Stage::Over;
        last
    }

    fn failed(&self, kind: StoreErrorKind, call: u64) -> StoreError {
        failed(kind, Operation::ListVersions, Some(&self.prefix), call)
    }
}

impl Page {
    const fn breaks_off(self) -> bool {
        match self.tear {
            None => false,
            Some(Tear::Noticed) => self.lines >= 1,
            Some(Tear::Unnoticed { kept }) => self.lines >= kept,
        }
    }
}
