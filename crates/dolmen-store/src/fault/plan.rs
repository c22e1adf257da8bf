//! Which calls go wrong, and how.

use std::collections::BTreeMap;

use crate::error::Operation;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The store cannot answer now, and did nothing.
    Unavailable,
    /// The store refuses as if a right were missing. Some do so for a moment after a put, or to say what is so already.
    Denied(Effect),
    /// No answer comes: `OutcomeUnknown` where something may have changed, `Unavailable` where the call only reads.
    TimedOut(Effect),
    /// No answer ever comes, and the call does not end: its caller has to give up.
    Silent(Effect),
    /// The answer breaks off. A call that changes something has taken effect, and is `OutcomeUnknown`.
    Torn(Tear),
    /// The call succeeds, and time passes; before the first line, for a page of a listing.
    Slow {
        /// How much time.
        seconds: i64,
        /// Whether it took long to arrive or long to answer.
        when: When,
    },
    /// This call and every later one is `Unavailable`, until there is another plan.
    Crash(Effect),
}

/// Whether a call did what it was asked before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It did, as far as the store let it.
    Done,
    /// It changed nothing.
    Skipped,
}

/// How an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tear {
    /// The store's client sees it: `ShortRead` for a body, `Unavailable` after at most one line for a listing.
    Noticed,
    /// Nobody says anything, as no honest store does.
    Unnoticed {
        /// Bytes of a body that still come, never all of them, or lines of a page.
        kept: u64,
    },
}

/// When the time of a slow call passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Before the store has the request: what it dates is late.
    BeforeEffect,
    /// After the store did it: the caller learns late.
    AfterEffect,
}

/// Which calls of a [`FaultLayer`](super::FaultLayer) go wrong.
///
/// Faults at numbered calls come first, then those of an operation, then drawn ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultPlan {
    at: BTreeMap<u64, Fault>,
    of: BTreeMap<(Operation, u64), Fault>,
    seeded: Option<SeededFaults>,
}

/// Faults that are drawn for each call from a seed and the number of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeededFaults {
    /// Replays them.
    pub seed: u64,
    /// How many calls of a thousand go wrong.
    pub per_mille: u16,
    /// One of these, each as likely as the next. None at all draws nothing.
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// No fault.
    pub fn none() -> Self {
        Self::default()
    }

    /// Faults drawn from a seed.
    pub fn seeded(faults: SeededFaults) -> Self {
        Self {
            seeded: Some(faults),
            ..Self::default()
        }
    }

    /// Adds `fault` at the call with this number, counted from 0 over the whole life of the layer.
    #[must_use]
    pub fn at(mut self, call: u64, fault: Fault) -> Self {
        self.at.insert(call, fault);
        self
    }

    /// Adds `fault` at the call with this number among those of `operation`, counted likewise.
    #[must_use]
    pub fn at_call_of(mut self, operation: Operation, call: u64, fault: Fault) -> Self {
        self.of.insert((operation, call), fault);
        self
    }

    /// Decides about a call. Pure: same plan, same numbers, same fault.
    pub(super) fn fault_at(
        &self,
        call: u64,
        operation: Operation,
        call_of_operation: u64,
    ) -> Option<Fault> {
        self.at
            .get(&call)
            .or_else(|| self.of.get(&(operation, call_of_operation)))
            .or_else(|| self.seeded.as_ref()?.draw(call))
            .copied()
    }
}

impl SeededFaults {
    fn draw(&self, call: u64) -> Option<&Fault> {
        let drawn = mix(self.seed ^ mix(call));
        if drawn % 1000 >= u64::from(self.per_mille) {
            return None;
        }
        let kinds = u64::try_from(self.faults.len()).ok()?;
        let kind = (drawn / 1000).checked_rem(kinds)?;
        self.faults.get(usize::try_from(kind).ok()?)
    }
}

/// Spreads the bits of a number over all of them: one step of `SplitMix64`.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
