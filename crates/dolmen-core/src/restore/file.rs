//! One file on its way: opened, written in parts by any worker, finished by whoever writes the last.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dolmen_format::BlobKind;
use dolmen_format::tree::Content;
use dolmen_fs::{FsError, OutFile, PathKey, Replace, Target};

use super::Action;
use super::entry::{self, Failure, Linked, Meta, Prior};
use super::layout::{self, Layout, Zeros, length};
use super::session::{Session, lock};
use crate::content::Chunks;

/// Files that are kept open between their parts.
const OPEN_MAX: usize = 256;

/// A file to be written.
#[derive(Debug)]
pub(super) struct FileJob {
    pub(super) key: PathKey,
    pub(super) meta: Meta,
    pub(super) layout: Layout,
    pub(super) content: Content,
    pub(super) prior: Prior,
    pub(super) replace: Replace,
    pub(super) linked: Option<Arc<Linked>>,
    /// Parts that are not settled, and one while there may be more.
    pending: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Handle,
    failure: Option<Failure>,
    /// Whether a part of the file that stood there is kept as it is.
    keeps: bool,
    /// Whether a part of it is not.
    differs: bool,
    /// Bytes that the progress has counted.
    advanced: u64,
    began: Began,
}

#[derive(Debug, Default)]
enum Handle {
    /// Nothing was changed yet.
    #[default]
    Untouched,
    /// Open, for all of its parts.
    Open(Arc<OutFile>),
    /// Begun, and closed to make room for others.
    Closed,
}

/// What is being written into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Began {
    #[default]
    Nothing,
    NewFile,
    /// The file that stood there.
    InPlace,
}

impl FileJob {
    /// A file whose planner may add parts until it settles its own.
    pub(super) fn new(
        key: PathKey,
        meta: Meta,
        (layout, content): (Layout, Content),
        (prior, replace): (Prior, Replace),
        linked: Option<Arc<Linked>>,
    ) -> Self {
        let (pending, state) = (AtomicU64::new(1), Mutex::default());
        Self {
            key,
            meta,
            layout,
            content,
            prior,
            replace,
            linked,
            pending,
            state,
        }
    }

    /// Counts a part.
    pub(super) fn expect_part(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes why the file cannot be completed; the first reason counts.
    pub(super) fn fail(&self, session: &Session<'_>, failure: Failure) {
        // A full disk ends the restore at once, not when the file would have ended.
        session.stop_for(&failure);
        lock(&self.state).failure.get_or_insert(failure);
    }

    /// Refuses content of another length than the file's.
    pub(super) fn check_length(&self, content_bytes: u64) -> Result<(), Failure> {
        let wanted = self.layout.content_bytes();
        if content_bytes == wanted {
            return Ok(());
        }
        let reason = format!("its content has {content_bytes} bytes in the place of {wanted}");
        Err(Failure::Lost(reason))
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.state).failure.is_some()
    }

    /// Notes that a part of the file that stood there is right.
    pub(super) fn keep(&self, session: &Session<'_>, bytes: u64) {
        lock(&self.state).keeps = true;
        self.advance(session, bytes);
    }

    /// Notes that a part is another than what stood there.
    pub(super) fn differ(&self) {
        lock(&self.state).differs = true;
    }

    fn advance(&self, session: &Session<'_>, bytes: u64) {
        let mut state = lock(&self.state);
        state.advanced = state.advanced.saturating_add(bytes);
        drop(state);
        session.advance(bytes);
    }

    /// What it takes in memory, about.
    pub(super) fn weight_bytes(&self) -> usize {
        let chunks = match &self.content {
            Content::Chunks(chunks) => size_of_val(chunks.as_slice()),
            Content::List { .. } => 0,
        };
        entry::weight_bytes(&self.key, Some(&self.meta))
            .saturating_add(self.layout.weight_bytes())
            .saturating_add(chunks)
    }

    /// Whether all of the content is one part: the file is then opened and closed by one worker.
    fn is_one_part(&self) -> bool {
        matches!(&self.content, Content::Chunks(chunks) if chunks.len() <= 1)
    }

    /// Writes a part.
    pub(super) fn write(
        self: &Arc<Self>,
        session: &Session<'_>,
        content_offset: u64,
        blob: &[u8],
    ) -> Result<(), Failure> {
        let file = self.open(session)?;
        let zeros = match (session.options.sparse, self.prior) {
            (false, _) => Zeros::Write,
            (true, Prior::Compared { .. }) => Zeros::Punch,
            (true, _) => Zeros::Skip,
        };
        let mut rest = blob;
        for (offset, bytes) in self.layout.segments(content_offset, length(blob.len())) {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_checked(bytes).unwrap_or((rest, &[]));
            layout::write(&file, now, offset, zeros)?;
            rest = later;
        }
        self.advance(session, length(blob.len()));
        Ok(())
    }

    /// Settles a part, written or failed; whoever settles the last one finishes the file.
    pub(super) fn settle(self: &Arc<Self>, session: &Session<'_>, buffer: &mut Vec<u8>) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(session, buffer);
        }
    }

    /// Opens the file, makes it as long as it will be, and keeps it open if more is to come.
    fn open(self: &Arc<Self>, session: &Session<'_>) -> Result<Arc<OutFile>, Failure> {
        let mut state = lock(&self.state);
        if let Handle::Open(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        let target = session
            .place
            .writable()
            .ok_or_else(|| Failure::Target("internal error: a dry run would write".to_owned()))?;
        let is_begun = matches!(state.file, Handle::Closed);
        let in_place = if is_begun || matches!(self.prior, Prior::Compared { .. }) {
            target.open_existing_file_for_update(&self.key)?
        } else {
            None
        };
        let file = match in_place {
            Some(file) if is_begun => file,
            Some(file) => {
                // From here on the file is another one.
                state.file = Handle::Closed;
                state.began = Began::InPlace;
                session.mark_incomplete(&file);
                self.reshape(&file)?;
                file
            }
            None if is_begun || state.keeps => {
                let reason = "the file was replaced by another program while it was restored";
                return Err(Failure::Target(reason.to_owned()));
            }
            None => {
                let file = target.create_file(&self.key, self.replace)?;
                state.file = Handle::Closed;
                state.began = Began::NewFile;
                session.mark_incomplete(&file);
                if session.options.sparse || self.layout.has_holes() {
                    file.set_len(self.layout.size)?;
                }
                file
            }
        };
        let file = Arc::new(file);
        state.file = Handle::Open(Arc::clone(&file));
        drop(state);
        if !self.is_one_part() {
            session.open.add(self);
        }
        Ok(file)
    }

    /// Gives a file that stood there its new length and holes.
    fn reshape(&self, file: &OutFile) -> Result<(), FsError> {
        if file.metadata()?.size_bytes != self.layout.size {
            file.set_len(self.layout.size)?;
        }
        self.layout
            .holes()
            .try_for_each(|hole| file.punch_hole(hole))
    }

    /// Whether the file that stood there has to be opened although all of its parts are right.
    fn needs_reshaping(&self, state: &State) -> bool {
        match self.prior {
            Prior::Compared { size_bytes } => {
                state.differs || self.layout.has_holes() || size_bytes != self.layout.size
            }
            Prior::Nothing | Prior::OtherFile | Prior::Other => true,
            Prior::Trusted => false,
        }
    }

    /// Completes the file and says so, or cleans up.
    fn finish(self: &Arc<Self>, session: &Session<'_>, buffer: &mut Vec<u8>) {
        let (failed, changes, advanced) = {
            let state = lock(&self.state);
            (
                state.failure.is_some(),
                self.needs_reshaping(&state),
                state.advanced,
            )
        };
        if !failed && let Err(failure) = self.complete(session, changes, buffer) {
            self.fail(session, failure);
        }
        let (failure, began) = {
            let mut state = lock(&self.state);
            state.file = Handle::Untouched;
            (state.failure.take(), state.began)
        };
        if !self.is_one_part() {
            session.open.forget(self);
        }
        if let Some(failure) = failure {
            return session.failed(&self.key, self.clean_up(session, failure, began));
        }
        if let Some(linked) = &self.linked {
            linked.set_whole();
        }
        let action = match self.prior {
            Prior::Nothing | Prior::Other => Action::Restored,
            Prior::OtherFile => Action::Updated,
            Prior::Compared { .. } if changes => Action::Updated,
            Prior::Compared { .. } | Prior::Trusted => Action::Unchanged,
        };
        session.done(&self.key, action, self.layout.size, advanced);
    }

    fn complete(
        self: &Arc<Self>,
        session: &Session<'_>,
        changes: bool,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let Some(target) = session.place.writable() else {
            return Ok(());
        };
        let attributes = self.meta.attributes();
        let failed = if changes {
            let file = self.open(session)?;
            if session.options.verify {
                self.verify(session, &file, buffer)?;
            }
            file.apply(&attributes)?
        } else {
            if session.options.verify {
                self.verify_untouched(session, target, buffer)?;
            }
            target.apply(&self.key, &attributes)?
        };
        session.attributes_failed(&self.key, &failed);
        Ok(())
    }

    /// Removes a new file that was begun: half a file must not pass for a whole one. One that stood there is never
    /// removed: what cannot be had of the snapshot may still be in it.
    fn clean_up(&self, session: &Session<'_>, failure: Failure, began: Began) -> Failure {
        match (session.place.writable(), began) {
            (None, _) | (Some(_), Began::Nothing) => {
                if matches!(
                    self.prior,
                    Prior::Compared { .. } | Prior::OtherFile | Prior::Trusted
                ) {
                    failure.and("the file that was there is left as it was")
                } else {
                    failure
                }
            }
            (Some(_), Began::InPlace) => {
                failure.and("the rest is written over the file that was there: it is INCOMPLETE")
            }
            (Some(target), Began::NewFile) => match target.remove(&self.key) {
                Ok(()) => failure.and("what was written of it is removed"),
                Err(error) => {
                    failure.and(&format!("it is INCOMPLETE and cannot be removed: {error}"))
                }
            },
        }
    }

    /// Reads back a file that was taken to have the content already, or was compared part by part before.
    fn verify_untouched(
        &self,
        session: &Session<'_>,
        target: &Target,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if matches!(self.prior, Prior::Compared { .. }) {
            session.verified();
            return Ok(());
        }
        let file = target.open_existing_file(&self.key)?;
        let file = file.ok_or_else(|| {
            Failure::Target("verify: the file was replaced by another program".to_owned())
        })?;
        if file.metadata()?.size_bytes != self.layout.size {
            let reason = "verify: read back, the size differs";
            return Err(Failure::Differs(reason.to_owned()));
        }
        self.layout
            .holes()
            .try_for_each(|hole| verify_hole(session, &file, hole, buffer))?;
        self.verify(session, &file, buffer)
    }

    /// Reads the file back and compares every chunk.
    fn verify(
        &self,
        session: &Session<'_>,
        file: &OutFile,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut content_offset = 0_u64;
        for chunk in Chunks::new(&session.blobs, &self.content) {
            let chunk = chunk.map_err(|error| session.lost(&error))?;
            let keys = session.blobs.repository().keys();
            let is_same = self.read_back(file, content_offset, chunk.length, buffer)?
                && keys.is_blob(&chunk.id, BlobKind::Data, buffer);
            if !is_same {
                return Err(Failure::Differs(format!(
                    "verify: read back, the content differs from byte {content_offset} on"
                )));
            }
            content_offset = content_offset.saturating_add(chunk.length);
        }
        session.verified();
        Ok(())
    }

    /// Reads a part of the content; false when the file is too short for it.
    pub(super) fn read_back(
        &self,
        file: &OutFile,
        content_offset: u64,
        bytes: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, FsError> {
        buffer.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        let mut rest = buffer.as_mut_slice();
        for (offset, bytes) in self.layout.segments(content_offset, bytes) {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let Some((now, later)) = rest.split_at_mut_checked(bytes) else {
                return Ok(false);
            };
            if file.read_at(now, offset)? != bytes {
                return Ok(false);
            }
            rest = later;
        }
        Ok(rest.is_empty())
    }
}

/// Bytes of a hole that are looked at together.
const HOLE_BYTES: usize = 1 << 20;

/// Reads a hole back: nothing but zeros.
fn verify_hole(
    session: &Session<'_>,
    file: &OutFile,
    hole: Range<u64>,
    buffer: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut at = hole.start;
    while at < hole.end && !session.is_over() {
        let bytes = usize::try_from(hole.end.saturating_sub(at)).unwrap_or(usize::MAX);
        buffer.resize(bytes.min(HOLE_BYTES), 0);
        let read = file.read_at(buffer, at)?;
        if read != buffer.len() || buffer.iter().any(|byte| *byte != 0) {
            return Err(Failure::Differs(format!(
                "verify: read back, the content differs from byte {at} on"
            )));
        }
        at = at.saturating_add(length(read));
    }
    Ok(())
}

/// The files that are kept open between their parts, the oldest first.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<VecDeque<Arc<FileJob>>>);

impl OpenFiles {
    /// Notes an open file, and closes another where there are too many.
    fn add(&self, job: &Arc<FileJob>) {
        let mut open = lock(&self.0);
        open.push_back(Arc::clone(job));
        let oldest = if open.len() > OPEN_MAX {
            open.pop_front()
        } else {
            None
        };
        drop(open);
        if let Some(oldest) = oldest {
            let mut state = lock(&oldest.state);
            if matches!(state.file, Handle::Open(_)) {
                state.file = Handle::Closed;
            }
        }
    }

    fn forget(&self, job: &Arc<FileJob>) {
        lock(&self.0).retain(|open| !Arc::ptr_eq(open, job));
    }
}
