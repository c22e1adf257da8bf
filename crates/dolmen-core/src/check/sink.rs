//! Where damage is collected, each once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Observer;
use crate::finding::{Finding, Findings};

/// Takes findings from several threads.
pub(super) struct Sink<'a> {
    observer: &'a dyn Observer,
    found: Mutex<BTreeSet<Finding>>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            found: Mutex::default(),
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "keys and texts alike, borrowed or made for it"
    )]
    pub(super) fn finding(&self, subject: impl ToString, problem: impl ToString) {
        let finding = Finding::new(subject.to_string(), problem.to_string());
        if lock(&self.found).insert(finding.clone()) {
            self.observer.finding(&finding);
        }
    }

    pub(super) fn findings(&self, findings: &[Finding]) {
        for finding in findings {
            self.finding(&finding.subject, &finding.problem);
        }
    }

    pub(super) fn notice(&self, text: &str) {
        self.observer.notice(text);
    }

    /// All findings, sorted.
    pub(super) fn finish(self) -> Findings {
        let found = self
            .found
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        found.into_iter().collect()
    }
}

/// A poisoned lock means that a thread of ours panicked, which ends the run with an error of its own.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
