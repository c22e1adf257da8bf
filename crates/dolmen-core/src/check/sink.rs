//! Where damage is collected, each once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dolmen_format::ObjectKey;

use super::Observer;
use crate::error::Result;
use crate::finding::{Finding, Findings, Nature, counted};
use crate::strays::Strays;

/// Takes findings from several threads.
pub(super) struct Sink<'a> {
    observer: &'a dyn Observer,
    found: Mutex<BTreeSet<Finding>>,
    /// Whether what is found now may come from what could not be read.
    is_unsure: AtomicBool,
    has_damage: AtomicBool,
    /// Junk that was told of, and how much more there is.
    junk: Mutex<(BTreeSet<String>, u64)>,
}

/// Junk that is named: whoever may write can leave any number.
const JUNK_NAMED_MAX: usize = 20;

impl<'a> Sink<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            found: Mutex::default(),
            is_unsure: AtomicBool::new(false),
            has_damage: AtomicBool::new(false),
            junk: Mutex::default(),
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "keys and texts alike, borrowed or made for it"
    )]
    pub(super) fn finding(&self, subject: impl ToString, problem: impl ToString) {
        self.add(&Finding::new(subject.to_string(), problem.to_string()));
    }

    /// Takes one that others made.
    pub(super) fn add(&self, finding: &Finding) {
        let is_unsure = self.is_unsure.load(Ordering::Relaxed);
        if finding.nature != Nature::Unreadable && !is_unsure {
            self.has_damage.store(true, Ordering::Relaxed);
        }
        if lock(&self.found).insert(finding.clone()) {
            self.observer.finding(finding);
        }
    }

    pub(super) fn findings(&self, findings: &[Finding]) {
        for finding in findings {
            self.add(finding);
        }
    }

    /// Says whether what is found from now on may come from what could not be read.
    pub(super) fn doubt(&self, is_unsure: bool) {
        self.is_unsure.store(is_unsure, Ordering::Relaxed);
    }

    /// Whether something was found that is damage for sure.
    pub(super) fn has_damage(&self) -> bool {
        self.has_damage.load(Ordering::Relaxed)
    }

    /// Takes findings of what does not verify; junk, and what this version does not know, is only mentioned. Returns the
    /// keys of what is damaged.
    ///
    /// Cost: what [`Strays::is_junk`] costs for each.
    pub(super) fn judge(
        &self,
        strays: &Strays<'_>,
        findings: &[Finding],
    ) -> Result<BTreeSet<ObjectKey>> {
        let mut damaged = BTreeSet::new();
        for finding in findings {
            if strays.is_junk(finding)? {
                self.junk(finding);
            } else if finding.nature == Nature::Unknown {
                self.notice(&format!("{finding}: it is left as it is"));
            } else {
                damaged.extend(finding.subject.parse::<ObjectKey>());
                self.add(finding);
            }
        }
        Ok(damaged)
    }

    /// Tells of what nobody needs.
    pub(super) fn junk(&self, finding: &Finding) {
        {
            let (named, more) = &mut *lock(&self.junk);
            if named.contains(&finding.subject) {
                return;
            }
            if named.len() >= JUNK_NAMED_MAX {
                *more = more.saturating_add(1);
                return;
            }
            named.insert(finding.subject.clone());
        }
        self.notice(&format!(
            "{finding}: junk that nothing needs; dolmen recover sets it aside"
        ));
    }

    pub(super) fn notice(&self, text: &str) {
        self.observer.notice(text);
    }

    /// All findings, sorted.
    pub(super) fn finish(self) -> Findings {
        let more = lock(&self.junk).1;
        if more > 0 {
            self.notice(&format!(
                "{} more of junk: dolmen audit names it",
                counted(more, "object")
            ));
        }
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
