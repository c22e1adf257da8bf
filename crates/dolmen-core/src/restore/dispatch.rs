//! Gathers planned work into windows and hands them out.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dolmen_format::BlobId;
use dolmen_state::index::Location;

use super::after::After;
use super::check::Check;
use super::entry::Prior;
use super::file::FileJob;
use super::read::{Fetched, FetchedFrame};
use super::session::{Session, lock};
use super::window::{Files, Part, Run, WINDOWS_MAX, Window, plan_runs};
use super::work::{Small, Work};
use crate::error::{Error, Result};

/// Entries in the first window: work should begin soon.
const FIRST_ENTRIES: usize = 1 << 10;
/// Entries in a window.
const ENTRIES_MAX: usize = 1 << 13;
/// Parts of files in a window, for each entry that it may have.
const PARTS_PER_ENTRY: usize = 8;
/// Bytes of names, attributes and chunk lists in a window.
const WEIGHT_BYTES_MAX: usize = 8 << 20;
/// Small work that a worker takes at a time.
const BATCH_ITEMS: usize = 256;
/// Parts that a worker compares at a time.
const CHECK_PARTS: usize = 32;

/// Where work goes, and how it is told to be done.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) runs: Sender<Run>,
    pub(super) works: Sender<Work>,
    pub(super) finished: Sender<()>,
    pub(super) windows_finished: Receiver<()>,
}

/// Gathers the window that is being planned.
pub(super) struct Dispatcher<'s> {
    session: &'s Session<'s>,
    lanes: Lanes,
    draft: Draft,
    /// The window before it, while some of its parts are compared.
    comparing: Option<Comparing>,
    entries_max: usize,
    under_way: usize,
}

#[derive(Debug, Default)]
struct Draft {
    files: Vec<Arc<FileJob>>,
    /// Parts to be fetched.
    parts: Vec<Part>,
    /// Parts that may be there already.
    checks: Vec<Part>,
    small: Vec<Small>,
    after: Vec<After>,
    weight_bytes: usize,
}

/// A closed window.
#[derive(Debug)]
struct Comparing {
    files: Files,
    parts: Vec<Part>,
    small: Vec<Small>,
    after: Vec<After>,
    /// Brings the parts that differ; `None`: nothing is compared.
    answers: Option<Receiver<Vec<Part>>>,
}

impl Draft {
    fn entries(&self) -> usize {
        self.files
            .len()
            .saturating_add(self.small.len())
            .saturating_add(self.after.len())
    }

    fn parts(&self) -> usize {
        self.parts.len().saturating_add(self.checks.len())
    }
}

impl<'s> Dispatcher<'s> {
    pub(super) fn new(session: &'s Session<'s>, lanes: Lanes) -> Self {
        let draft = Draft::default();
        Self {
            session,
            lanes,
            draft,
            comparing: None,
            entries_max: FIRST_ENTRIES,
            under_way: 0,
        }
    }

    /// Adds small work.
    pub(super) fn small(&mut self, item: Small, weight_bytes: usize) -> Result<()> {
        self.draft.small.push(item);
        self.weigh(weight_bytes)
    }

    /// Adds what is done when the window's files are written, and those of all windows before it.
    pub(super) fn after(&mut self, item: After, weight_bytes: usize) -> Result<()> {
        self.draft.after.push(item);
        self.weigh(weight_bytes)
    }

    /// Adds a part of a file. A file's parts are added one after the other, with nothing else in between.
    pub(super) fn part(
        &mut self,
        job: &Arc<FileJob>,
        id: BlobId,
        at: Location,
        content_offset: u64,
    ) -> Result<()> {
        self.close_if_full()?;
        let draft = &mut self.draft;
        if !draft
            .files
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, job))
        {
            draft.files.push(Arc::clone(job));
            draft.weight_bytes = draft.weight_bytes.saturating_add(job.weight_bytes());
        }
        let part = Part {
            id,
            at,
            file: draft.files.len().saturating_sub(1),
            content_offset,
        };
        job.expect_part();
        match job.prior {
            Prior::Compared { .. } => draft.checks.push(part),
            Prior::Nothing | Prior::OtherFile | Prior::Other | Prior::Trusted => {
                draft.parts.push(part);
            }
        }
        Ok(())
    }

    /// Notes that a file has no more parts.
    pub(super) fn end_file(&mut self, job: Arc<FileJob>) -> Result<()> {
        // A part in this window is not settled before the window is handed out, so that this is not the last.
        if self
            .draft
            .files
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, &job))
        {
            job.settle(self.session, &mut Vec::new());
            return Ok(());
        }
        let weight_bytes = job.weight_bytes();
        self.small(Small::Settle(job), weight_bytes)
    }

    /// Hands the last window out.
    pub(super) fn finish(mut self) -> Result<()> {
        self.close()?;
        self.finish_comparing()
    }

    fn weigh(&mut self, weight_bytes: usize) -> Result<()> {
        self.draft.weight_bytes = self.draft.weight_bytes.saturating_add(weight_bytes);
        self.close_if_full()
    }

    fn close_if_full(&mut self) -> Result<()> {
        let parts_max = self.entries_max.saturating_mul(PARTS_PER_ENTRY);
        let is_full = self.draft.entries() >= self.entries_max
            || self.draft.parts() >= parts_max
            || self.draft.weight_bytes >= WEIGHT_BYTES_MAX;
        if !is_full {
            return Ok(());
        }
        self.entries_max = self.entries_max.saturating_mul(2).min(ENTRIES_MAX);
        self.close()
    }

    /// Closes the window. While what may be there already is compared, the next one is planned.
    fn close(&mut self) -> Result<()> {
        let draft = std::mem::take(&mut self.draft);
        let next = self.begin_comparing(draft)?;
        self.finish_comparing()?;
        if next.answers.is_some() {
            self.comparing = Some(next);
            return Ok(());
        }
        self.launch(next)
    }

    /// Hands out the window that was being compared.
    fn finish_comparing(&mut self) -> Result<()> {
        let Some(mut compared) = self.comparing.take() else {
            return Ok(());
        };
        if let Some(answers) = compared.answers.take() {
            compared.parts.extend(answers.iter().flatten());
        }
        self.launch(compared)
    }

    /// Has the workers compare parts with what is there.
    fn begin_comparing(&self, draft: Draft) -> Result<Comparing> {
        let Draft {
            files,
            parts,
            checks,
            small,
            after,
            ..
        } = draft;
        let files = Arc::new(files);
        let (differing, answers) = unbounded();
        let answers = (!checks.is_empty()).then_some(answers);
        for parts in checks.chunks(CHECK_PARTS) {
            let check = Check {
                files: Arc::clone(&files),
                parts: parts.to_vec(),
                differing: differing.clone(),
            };
            let sent = self.lanes.works.send(Work::Check(check));
            sent.map_err(|_gone| GONE)?;
        }
        Ok(Comparing {
            files,
            parts,
            small,
            after,
            answers,
        })
    }

    /// Hands a window out, when few enough are under way.
    fn launch(&mut self, compared: Comparing) -> Result<()> {
        let Comparing {
            files,
            mut parts,
            small,
            after,
            ..
        } = compared;
        if self.session.is_dry() {
            settle_unwritten(self.session, &files, &parts);
            parts.clear();
        }
        while self.under_way >= WINDOWS_MAX {
            self.lanes.windows_finished.recv().map_err(|_gone| GONE)?;
            self.under_way = self.under_way.saturating_sub(1);
        }
        self.under_way = self.under_way.saturating_add(1);
        let window = Arc::new(Window::new(files, parts, after));
        lock(&self.session.windows).push_back(Arc::clone(&window));
        self.hand_out(&window, small)?;
        self.session.end_task(&window, &self.lanes.finished);
        Ok(())
    }

    fn hand_out(&self, window: &Arc<Window>, small: Vec<Small>) -> Result<()> {
        let work = |work| {
            window.begin_task();
            self.lanes.works.send(work).map_err(|_gone| GONE)
        };
        let mut small = small.into_iter();
        while small.len() > 0 {
            let batch = small.by_ref().take(BATCH_ITEMS).collect();
            work(Work::Small(Arc::clone(window), batch))?;
        }
        let blobs = &self.session.blobs;
        let (runs, lost) = plan_runs(window, |pack, ordinal| blobs.frame_info(pack, ordinal));
        for (parts, error) in lost {
            let frames = vec![FetchedFrame {
                parts,
                stored: Err(error),
            }];
            work(Work::Fetched(Fetched {
                window: Arc::clone(window),
                frames,
            }))?;
        }
        for run in runs {
            window.begin_task();
            self.lanes.runs.send(run).map_err(|_gone| GONE)?;
        }
        Ok(())
    }
}

/// The channels end only with the threads, and those only after the planner.
const GONE: Error = Error::Internal {
    what: "the restoring threads died",
};

/// In a dry run, takes the parts that would be written for written.
fn settle_unwritten(session: &Session<'_>, files: &Files, parts: &[Part]) {
    for part in parts {
        if session.is_over() {
            return;
        }
        if let Some(job) = files.get(part.file) {
            job.differ();
            job.settle(session, &mut Vec::new());
        }
    }
}
