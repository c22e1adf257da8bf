//! What is to be billed.

use dolmen_core::lease::{Asked, ExtensionCost, Terms};
use dolmen_format::limits::PACK_BYTES_TARGET;

use super::{Change, CostError, DAY_SECONDS, Provider, YEAR_SECONDS};

/// A repository, there or planned, at a provider.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    /// Who bills it.
    pub(crate) provider: &'a Provider,
    /// What live snapshots need.
    pub(crate) size: Size,
    /// How much of that is replaced.
    pub(crate) change: Change,
    /// L in seconds.
    pub(crate) protect_seconds: u64,
    /// I in seconds; `None`: what follows from G.
    pub(crate) interval_seconds: Option<u64>,
    /// Generations in seconds that must be among the rows; empty: the usual ones.
    pub(crate) generations: Vec<u64>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Objects.
    pub(crate) objects: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
}

impl Size {
    /// So many bytes in full packs. The small objects beside them are less than one in a hundred.
    pub(crate) fn in_packs(bytes: u64) -> Self {
        Self::in_objects_of(bytes, u64::try_from(PACK_BYTES_TARGET).unwrap_or(u64::MAX))
    }

    /// The same in objects of another size.
    pub(super) fn in_objects_of(bytes: u64, object_bytes: u64) -> Self {
        Self {
            objects: bytes.div_ceil(object_bytes.max(1)),
            bytes,
        }
    }
}

/// The generations that are shown where nobody names others, in days.
const USUAL_DAYS: [u64; 3] = [7, 14, 30];
/// Generations that are tried for the cheapest one: with shorter ones, one maintenance a day is not enough; longer ones
/// move a lock less than once a year.
const TRIED_DAYS: std::ops::RangeInclusive<u64> = 4..=365;

impl Plan<'_> {
    /// The terms with some generation; `None`: with the one that follows from the rest.
    pub(super) fn terms(&self, generation_seconds: Option<u64>) -> Result<Terms, CostError> {
        let extension = if self.provider.requests.extend.usd.is_free() {
            ExtensionCost::Free
        } else {
            ExtensionCost::Paid
        };
        let asked = Asked {
            protect_seconds: self.protect_seconds,
            generation_seconds,
            interval_seconds: self.interval_seconds,
            extension,
        };
        Ok(Terms::with_defaults(&asked)?)
    }

    /// The terms of the rows, by generation: those that were asked for, else the usual ones as far as they fit.
    pub(super) fn shown(&self) -> Result<Vec<Terms>, CostError> {
        let mut terms = if self.generations.is_empty() {
            let usual = USUAL_DAYS.map(|days| self.terms(Some(days * DAY_SECONDS)).ok());
            let mut terms = vec![self.terms(None)?];
            terms.extend(usual.into_iter().flatten());
            terms
        } else {
            let asked = self.generations.iter();
            asked
                .map(|seconds| self.terms(Some(*seconds)))
                .collect::<Result<_, _>>()?
        };
        terms.sort_by_key(Terms::generation_seconds);
        terms.dedup();
        Ok(terms)
    }

    /// The terms among which the cheapest are looked for.
    pub(super) fn tried(&self) -> impl Iterator<Item = Terms> {
        let least = self.interval_seconds.unwrap_or_default().saturating_mul(4);
        TRIED_DAYS
            .map(|days| days * DAY_SECONDS)
            .filter(move |seconds| *seconds >= least)
            .filter_map(|seconds| self.terms(Some(seconds)).ok())
    }

    /// Bytes that are new in a year, and no longer needed in turn.
    pub(super) fn changed_bytes(&self) -> Result<u128, CostError> {
        let changed = self.change.bytes_per_year(self.size.bytes);
        changed.ok_or(CostError::Change)
    }

    /// Objects that are new in a year, where there are so many in all.
    pub(super) fn new_objects(&self, objects: u64) -> Result<u128, CostError> {
        let bytes = u128::from(self.size.bytes.max(1));
        let product = self.changed_bytes()?.checked_mul(objects.into());
        Ok(product.ok_or(CostError::TooMuch)?.div_ceil(bytes))
    }
}

/// How many of something that happens once in a span happen in a year, rounded up.
pub(super) fn times_a_year(count: u64, span_seconds: u64) -> u128 {
    let seconds = u128::from(count) * u128::from(YEAR_SECONDS);
    seconds.div_ceil(u128::from(span_seconds.max(1)))
}
