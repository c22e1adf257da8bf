//! The work ahead of a walk: nearest first, and only so much of it.

use super::scan::{Batch, Scanner, Task};
use crate::directory::lock;
use crate::key::PathKey;
use std::collections::BTreeMap;
use std::mem::{replace, take};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes of memory that batches may take which were scanned ahead and are not asked for yet.
const AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Slots that wait for a worker, by the key where the walk will ask for them.
pub(super) struct Queue<'w> {
    threads: usize,
    state: Mutex<State<'w>>,
    changed: Condvar,
}

#[derive(Default)]
struct State<'w> {
    waiting: BTreeMap<PathKey, Arc<Slot<'w>>>,
    ahead_bytes: usize,
    /// Workers that wait. Waking costs a call even when there is nobody to wake.
    idle: usize,
    stopped: bool,
}

impl<'w> Queue<'w> {
    /// Makes a queue for so many workers. Without any, nothing is queued and all work is done when it is asked for.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            threads,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Whether anybody works ahead.
    pub(super) fn has_workers(&self) -> bool {
        self.threads > 0
    }

    /// Offers work to the workers.
    pub(super) fn push(&self, slots: Vec<Arc<Slot<'w>>>) {
        if slots.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        state
            .waiting
            .extend(slots.into_iter().map(|slot| (slot.key.clone(), slot)));
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Works until the walk stops.
    pub(super) fn work(&self, scanner: &mut Scanner<'w>) {
        while let Some(slot) = self.next() {
            self.do_ahead(&slot, scanner);
        }
    }

    /// Does the work of a slot that nobody has asked for yet.
    pub(super) fn do_ahead(&self, slot: &Slot<'w>, scanner: &mut Scanner<'w>) {
        let Some(task) = slot.start() else { return };
        let batch = scanner.scan(task);
        let mut state = lock(&self.state);
        state.ahead_bytes = state.ahead_bytes.saturating_add(batch.memory_bytes);
        drop(state);
        slot.finish(batch);
    }

    /// Lets the workers end.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        let abandoned = take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        drop(abandoned);
    }

    /// Notes that the walk has come to a batch that was scanned ahead.
    pub(super) fn caught_up(&self, batch: &Batch<'w>) {
        let mut state = lock(&self.state);
        let was_full = state.ahead_bytes >= AHEAD_BYTES_MAX;
        state.ahead_bytes = state.ahead_bytes.saturating_sub(batch.memory_bytes);
        let wake = was_full && state.ahead_bytes < AHEAD_BYTES_MAX && state.idle > 0;
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Takes back a slot that the walk works off itself.
    pub(super) fn withdraw(&self, slot: &Slot<'w>) {
        if self.has_workers() {
            lock(&self.state).waiting.remove(&slot.key);
        }
    }

    /// Work that is there now, if any.
    pub(super) fn next_now(&self) -> Option<Arc<Slot<'w>>> {
        lock(&self.state).next()
    }

    /// Waits for work; `None` when the walk has stopped.
    fn next(&self) -> Option<Arc<Slot<'w>>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(slot) = state.next() {
                return Some(slot);
            }
            state.idle = state.idle.saturating_add(1);
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle = state.idle.saturating_sub(1);
        }
    }
}

impl<'w> State<'w> {
    /// The work that will be asked for first, unless enough is done ahead.
    fn next(&mut self) -> Option<Arc<Slot<'w>>> {
        if self.ahead_bytes >= AHEAD_BYTES_MAX {
            return None;
        }
        self.waiting.pop_first().map(|(_, slot)| slot)
    }
}

/// The place where a task becomes a batch, by whoever gets to it first.
pub(super) struct Slot<'w> {
    key: PathKey,
    progress: Mutex<Progress<'w>>,
    finished: Condvar,
}

enum Progress<'w> {
    Waiting(Task<'w>),
    /// Also the state after the batch was taken: a slot is asked once.
    Running,
    /// Running, and the walk waits for it.
    Awaited,
    Done(Batch<'w>),
}

/// What the walk gets from a slot.
pub(super) enum Taken<'w> {
    /// Nobody has started: the walk does it.
    Task(Task<'w>),
    /// A worker has done it.
    Batch(Batch<'w>),
    /// A worker is at it.
    Busy,
}

impl<'w> Slot<'w> {
    /// Bytes of its key.
    pub(super) fn key_bytes(&self) -> usize {
        self.key.as_bytes().len()
    }

    pub(super) fn new(key: PathKey, task: Task<'w>) -> Arc<Self> {
        let progress = Mutex::new(Progress::Waiting(task));
        Arc::new(Self {
            key,
            progress,
            finished: Condvar::new(),
        })
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Taken<'w> {
        let mut progress = lock(&self.progress);
        match replace(&mut *progress, Progress::Running) {
            Progress::Waiting(task) => Taken::Task(task),
            Progress::Done(batch) => Taken::Batch(batch),
            Progress::Running | Progress::Awaited => Taken::Busy,
        }
    }

    /// Waits while a worker has the task.
    pub(super) fn wait(&self) {
        let mut progress = lock(&self.progress);
        while matches!(*progress, Progress::Running | Progress::Awaited) {
            *progress = Progress::Awaited;
            progress = self
                .finished
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn start(&self) -> Option<Task<'w>> {
        let mut progress = lock(&self.progress);
        match replace(&mut *progress, Progress::Running) {
            Progress::Waiting(task) => Some(task),
            other @ (Progress::Running | Progress::Awaited | Progress::Done(_)) => {
                *progress = other;
                None
            }
        }
    }

    fn finish(&self, batch: Batch<'w>) {
        let before = replace(&mut *lock(&self.progress), Progress::Done(batch));
        if matches!(before, Progress::Awaited) {
            self.finished.notify_all();
        }
    }
}

/// Drops slots and what they lead to one by one: nested drops of a deep tree would overflow the stack.
pub(super) fn dismantle(mut slots: Vec<Arc<Slot<'_>>>) {
    while let Some(slot) = slots.pop() {
        if let Progress::Done(batch) = replace(&mut *lock(&slot.progress), Progress::Running) {
            slots.extend(batch.into_slots());
        }
    }
}
