//! The year's bill, row by row.

#[cfg(test)]
mod tests;

use dolmen_core::audit::SAMPLES;
use dolmen_core::lease::Terms;

use super::money::Usd;
use super::plan::{Plan, Size, times_a_year};
use super::prices::{Requests, Strategy};
use super::{CostError, DAY_SECONDS, YEAR_SECONDS};

/// The rows.
#[derive(Debug, Clone)]
pub(crate) struct Bill {
    /// First Dolmen's own ways, by strategy and generation, then the others.
    pub(crate) rows: Vec<Row>,
}

/// What one way of locking costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Which.
    pub(crate) way: Way,
    /// How long a lock stays as it is, in seconds.
    pub(crate) generation_seconds: u64,
    /// Objects that live.
    pub(crate) objects: u64,
    /// Calls that extend locks, place holds and lift them, in a usual year.
    pub(crate) renewal_calls: u64,
    /// More than so many are never made in a year in which no more objects live.
    pub(crate) renewal_calls_max: u64,
    /// What they cost.
    pub(crate) renewal: Usd,
    /// Bytes that nothing needs any more and that are there still.
    pub(crate) kept_bytes: u64,
    /// The part of [`Self::storage`] that is for these, and for the least time that the provider bills.
    pub(crate) kept: Usd,
    /// What storing everything costs.
    pub(crate) storage: Usd,
    /// Objects that are stored in a year after the first backup.
    pub(crate) put_calls: u64,
    /// What storing them, and deleting as many, costs.
    pub(crate) puts: Usd,
    /// Pages of listings, and questions for single locks.
    pub(crate) audit_calls: u64,
    /// What they cost.
    pub(crate) audits: Usd,
    /// What the first backup costs, once: not in [`Self::total`].
    pub(crate) first_backup: Usd,
    /// What restoring everything costs, once: not in [`Self::total`].
    pub(crate) restore: Usd,
    /// Storage, renewals, puts and audits.
    pub(crate) total: Usd,
    /// Whether no other generation makes this strategy cheaper.
    pub(crate) is_best: bool,
}

/// How locks are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As Dolmen does.
    Dolmen(Strategy),
    /// Every object's lock is set anew in every run, due or not, as other tools do.
    Relock(Relock),
}

/// A tool that sets the lock of every object in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relock {
    /// Its name in the bill.
    pub(crate) name: &'static str,
    object_bytes: u64,
    every_days: u64,
}

/// Packs of 20 MiB, and an object for each chunk of 4 MiB; see `docs/cost.md` for who does so.
const RELOCKS: [Relock; 4] = [
    Relock {
        name: "relock-packs-daily",
        object_bytes: 20 << 20,
        every_days: 1,
    },
    Relock {
        name: "relock-packs-weekly",
        object_bytes: 20 << 20,
        every_days: 7,
    },
    Relock {
        name: "relock-chunks-daily",
        object_bytes: 4 << 20,
        every_days: 1,
    },
    Relock {
        name: "relock-chunks-weekly",
        object_bytes: 4 << 20,
        every_days: 7,
    },
];

/// Versions on a page of a listing.
const PAGE_VERSIONS: u128 = 1000;
/// Renewal, compaction, prune and audit each list every version once in a maintenance.
const LISTINGS: u128 = 4;
/// Listings of the small folders in a maintenance, a page each: what one was seen to do.
const SMALL_LISTINGS: u128 = 30;
/// A snapshot and an index segment for each of a year's daily backups, beside the packs.
const SMALL_PUTS: u128 = 2 * 365;

impl Row {
    /// What the total is made of.
    pub(crate) const fn parts(&self) -> [Usd; 4] {
        [self.renewal, self.storage, self.puts, self.audits]
    }
}

impl Way {
    /// Its name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Dolmen(strategy) => strategy.name(),
            Self::Relock(relock) => relock.name,
        }
    }

    /// Whether it is Dolmen's.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self, Self::Dolmen(_))
    }
}

/// Works the bill out.
pub(crate) fn bills(plan: &Plan<'_>) -> Result<Bill, CostError> {
    plan.changed_bytes()?;
    let mut rows = Vec::new();
    let mut strategies = plan.provider.strategies.clone();
    strategies.sort_unstable();
    strategies.dedup();
    for strategy in strategies {
        rows.append(&mut of_strategy(plan, strategy)?);
    }
    for relock in RELOCKS {
        rows.push(of_relock(plan, relock)?);
    }
    Ok(Bill { rows })
}

/// The rows of a strategy, with the cheapest generation among them.
fn of_strategy(plan: &Plan<'_>, strategy: Strategy) -> Result<Vec<Row>, CostError> {
    // What is hidden has no lock that could be extended.
    if strategy == Strategy::Hide {
        let mut row = row(plan, strategy, &plan.terms(None)?)?;
        row.is_best = true;
        return Ok(vec![row]);
    }
    let mut rows = Vec::new();
    for terms in plan.shown()? {
        rows.push(row(plan, strategy, &terms)?);
    }
    let tried: Vec<_> = plan
        .tried()
        .map(|terms| row(plan, strategy, &terms))
        .collect::<Result<_, _>>()?;
    // Of several that cost the same, the one with the fewest calls.
    let rank = |row: &Row| (row.total, u64::MAX - row.generation_seconds);
    let best = rows.iter().chain(&tried).min_by_key(|row| rank(row));
    let Some(best) = best.cloned() else {
        return Ok(rows);
    };
    rows.retain(|row| row.generation_seconds != best.generation_seconds);
    rows.push(Row {
        is_best: true,
        ..best
    });
    rows.sort_by_key(|row| row.generation_seconds);
    Ok(rows)
}

/// What a way of locking does in a year.
struct Doing {
    way: Way,
    size: Size,
    generation_seconds: u64,
    /// From when nothing needs an object until it is deleted, on average.
    kept_seconds: u64,
    /// Calls of each kind.
    extensions: u128,
    holds: u128,
    renewals_max: u128,
    hides: u128,
    deletes: u128,
    /// How often all versions are listed.
    listings: u128,
    /// How many more pages are.
    small_pages: u128,
    locks_asked: u128,
}

fn row(plan: &Plan<'_>, strategy: Strategy, terms: &Terms) -> Result<Row, CostError> {
    let size = plan.size;
    let generation = terms.generation_seconds();
    let new = plan.new_objects(size.objects)?;
    let runs = times_a_year(1, terms.interval_seconds());
    let each_generation = times_a_year(size.objects, generation);
    let sampled = runs.saturating_mul(size.objects.into());
    let sampled = sampled.div_ceil(SAMPLES.into());
    let asked = if plan.provider.listed_locks {
        0
    } else {
        each_generation.saturating_add(sampled)
    };
    // A lock ends somewhere between L + M and L + M + G from now.
    let locked = terms.lease_seconds().saturating_add(generation.div_ceil(2));
    let hidden_days = terms.lease_seconds().div_ceil(DAY_SECONDS);
    let hidden = hidden_days.saturating_mul(DAY_SECONDS);
    let doing = Doing {
        way: Way::Dolmen(strategy),
        size,
        generation_seconds: generation,
        kept_seconds: locked,
        extensions: 0,
        holds: 0,
        renewals_max: 0,
        hides: 0,
        deletes: new,
        listings: runs.saturating_mul(LISTINGS),
        small_pages: runs.saturating_mul(SMALL_LISTINGS),
        locks_asked: asked,
    };
    let doing = match strategy {
        Strategy::Compliance | Strategy::Governance => Doing {
            extensions: each_generation,
            renewals_max: u128::from(size.objects)
                .saturating_mul(u128::from(YEAR_SECONDS / generation.max(1)) + 1),
            ..doing
        },
        // Placed once, extended once, lifted once.
        Strategy::Hold => Doing {
            extensions: new,
            holds: new.saturating_mul(2),
            renewals_max: new.saturating_mul(3).saturating_add(size.objects.into()),
            ..doing
        },
        // Its lease lapses as where nothing is locked; then it is hidden, and the bucket's days begin.
        Strategy::Hide => Doing {
            kept_seconds: terms
                .lease_seconds()
                .saturating_add(terms.delay_seconds())
                .saturating_add(hidden),
            hides: new,
            deletes: 0,
            locks_asked: 0,
            ..doing
        },
    };
    doing.bill(plan)
}

fn of_relock(plan: &Plan<'_>, relock: Relock) -> Result<Row, CostError> {
    let size = Size::in_objects_of(plan.size.bytes, relock.object_bytes);
    let every = relock.every_days * DAY_SECONDS;
    let extensions = times_a_year(size.objects, every);
    let doing = Doing {
        way: Way::Relock(relock),
        size,
        generation_seconds: every,
        // For the same promise, each run must lock for L and two runs, of which one may be missed: when nothing needs an
        // object any more, half a run of that is over on average.
        kept_seconds: plan
            .protect_seconds
            .saturating_add(every.saturating_mul(3) / 2),
        extensions,
        holds: 0,
        renewals_max: extensions,
        hides: 0,
        deletes: plan.new_objects(size.objects)?,
        listings: times_a_year(1, every),
        small_pages: 0,
        locks_asked: 0,
    };
    doing.bill(plan)
}

impl Doing {
    fn bill(&self, plan: &Plan<'_>) -> Result<Row, CostError> {
        let (provider, requests) = (plan.provider, &plan.provider.requests);
        let kept_bytes = part_of_year(plan.changed_bytes()?, self.kept_seconds)?;
        let short_bytes = self.billed_too_long(plan)?;
        let bytes = u128::from(plan.size.bytes);
        let billed = [kept_bytes, short_bytes]
            .into_iter()
            .try_fold(bytes, u128::checked_add);
        let storage = provider.storage_year(billed.ok_or(CostError::TooMuch)?)?;
        let live = provider.storage_year(bytes)?;
        let (put_calls, puts) = self.puts(plan)?;
        let (audit_calls, audits) = self.audits(plan)?;
        let renewal =
            requests.extend.requests(self.extensions)? + requests.hold.requests(self.holds)?;
        Ok(Row {
            way: self.way,
            generation_seconds: self.generation_seconds,
            objects: self.size.objects,
            renewal_calls: counted(self.extensions.saturating_add(self.holds))?,
            renewal_calls_max: counted(self.renewals_max)?,
            renewal,
            kept_bytes: counted(kept_bytes)?,
            kept: storage - live,
            storage,
            put_calls: counted(put_calls)?,
            puts,
            audit_calls: counted(audit_calls)?,
            audits,
            first_backup: self.first_backup(requests)?,
            restore: provider.restore(self.size.objects, plan.size.bytes)?,
            total: [storage, renewal, puts, audits].into_iter().sum(),
            is_best: false,
        })
    }

    /// Bytes that are billed although they are gone: the provider bills each object for some days at least.
    fn billed_too_long(&self, plan: &Plan<'_>) -> Result<u128, CostError> {
        let changed = plan.changed_bytes()?;
        let least = u64::from(plan.provider.storage_days_min).saturating_mul(DAY_SECONDS);
        let year = u128::from(YEAR_SECONDS);
        // How long a byte is needed: everything is replaced once in that time.
        let needed = (u128::from(plan.size.bytes) * year).checked_div(changed);
        let stored = needed.map(|needed| needed.saturating_add(self.kept_seconds.into()));
        let short = stored.map_or(0, |stored| u128::from(least).saturating_sub(stored));
        part_of_year(changed, u64::try_from(short).unwrap_or(u64::MAX))
    }

    fn puts(&self, plan: &Plan<'_>) -> Result<(u128, Usd), CostError> {
        let requests = &plan.provider.requests;
        let calls = plan
            .new_objects(self.size.objects)?
            .saturating_add(SMALL_PUTS);
        let puts = requests.put.requests(calls)?;
        let deletes =
            requests.delete.requests(self.deletes)? + requests.hide.requests(self.hides)?;
        Ok((calls, puts + deletes))
    }

    fn audits(&self, plan: &Plan<'_>) -> Result<(u128, Usd), CostError> {
        let requests = &plan.provider.requests;
        let kept = part_of_year(plan.new_objects(self.size.objects)?, self.kept_seconds)?;
        let versions = u128::from(self.size.objects).saturating_add(kept);
        let pages = versions.div_ceil(PAGE_VERSIONS).max(1);
        let listed = pages.checked_mul(self.listings).ok_or(CostError::TooMuch)?;
        let listed = listed.saturating_add(self.small_pages);
        let paid = requests.list.requests(listed)? + requests.head.requests(self.locks_asked)?;
        Ok((listed.saturating_add(self.locks_asked), paid))
    }

    fn first_backup(&self, requests: &Requests) -> Result<Usd, CostError> {
        let objects = u128::from(self.size.objects);
        let holds = match self.way {
            Way::Dolmen(Strategy::Hold) => objects,
            Way::Dolmen(_) | Way::Relock(_) => 0,
        };
        Ok(requests.put.requests_at_once(objects)? + requests.hold.requests_at_once(holds)?)
    }
}

/// A number that fits into what is printed.
fn counted(number: u128) -> Result<u64, CostError> {
    u64::try_from(number).map_err(|_error| CostError::TooMuch)
}

/// How much of what comes in a year comes in some seconds, rounded up.
fn part_of_year(amount: u128, seconds: u64) -> Result<u128, CostError> {
    let product = amount.checked_mul(seconds.into());
    Ok(product
        .ok_or(CostError::TooMuch)?
        .div_ceil(YEAR_SECONDS.into()))
}
