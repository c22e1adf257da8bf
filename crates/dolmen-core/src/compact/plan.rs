//! Which packs are repacked. Pure.

use std::collections::BTreeSet;

use dolmen_format::Timestamp;
use dolmen_format::pack::Recipient;

/// A pack of fewer bytes is small: merged with others.
pub const SMALL_BYTES_MAX: u64 = 8 << 20;
/// Small packs that are merged, however small: fewer are not worth a pack and a record of their own.
const MERGED_MIN: usize = 4;
/// Bytes that are worth a pack, however few packs they come from.
const MERGED_BYTES_MIN: u64 = 16 << 20;
const YEAR_SECONDS: u128 = 365 * 24 * 60 * 60;

/// What a store charges, in attodollars (10^-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// To keep a byte for a year.
    pub storage_byte_year: u64,
    /// To read a byte.
    pub egress_byte: u64,
    /// To put an object.
    pub put: u64,
}

/// How much of what is stored may be unneeded, on a store without locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxUnused {
    /// So many thousandths of what is stored then.
    Share(u64),
    /// So many bytes.
    Bytes(u64),
    /// Nothing is repacked for its unneeded bytes.
    Unlimited,
}

/// By what is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Where nothing is locked.
    pub max_unused: MaxUnused,
    /// Where objects are locked.
    pub prices: Prices,
    /// Bytes of packs that are read at most.
    pub repack_bytes_max: u64,
    /// The time by which locks and lives are reckoned.
    pub now: Timestamp,
}

/// A pack of which something is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackUse {
    /// Its size.
    pub stored_bytes: u64,
    /// What of it is needed.
    pub needed_bytes: u64,
    /// When the store received it.
    pub received: Timestamp,
    /// The end of its lock; `None`: it has none.
    pub locked_until: Option<Timestamp>,
    /// Who reads it, where it is small: only like packs are merged.
    pub recipient: Option<Recipient>,
}

impl Prices {
    /// Amazon S3, Standard, us-east-1, read from outside: $0.023 a GB and month, $0.09 a GB read, $0.005 for 1000 puts.
    pub const S3: Self = Self {
        storage_byte_year: 276_000_000,
        egress_byte: 90_000_000,
        put: 5_000_000_000_000,
    };
    /// A store of the user's own: only space counts.
    pub const OWN: Self = Self {
        storage_byte_year: 1,
        egress_byte: 0,
        put: 0,
    };
}

impl PackUse {
    const fn unneeded_bytes(&self) -> u64 {
        self.stored_bytes.saturating_sub(self.needed_bytes)
    }
}

/// Chooses packs, by their places in `uses`. `needed_bytes` are those of all packs, the others included.
pub fn plan(uses: &[PackUse], needed_bytes: u64, limits: &Limits) -> BTreeSet<usize> {
    let mut budget = limits.repack_bytes_max;
    let mut chosen = BTreeSet::new();
    for (at, pack) in wasteful(uses, needed_bytes, limits) {
        if let Some(rest) = budget.checked_sub(pack.stored_bytes) {
            budget = rest;
            chosen.insert(at);
        }
    }
    for recipient in [Recipient::Read, Recipient::Maintain] {
        let small = uses.iter().enumerate().filter(|(at, pack)| {
            let is_like = pack.recipient == Some(recipient);
            is_like && pack.stored_bytes < SMALL_BYTES_MAX && !chosen.contains(at)
        });
        let mut small: Vec<_> = small.map(|(at, pack)| (pack.stored_bytes, at)).collect();
        small.sort_unstable();
        for (bytes, at) in worth_merging(small, budget) {
            budget = budget.saturating_sub(bytes);
            chosen.insert(at);
        }
    }
    chosen
}

/// Packs that are repacked for what is unneeded of them, the most wasteful first.
fn wasteful<'u>(
    uses: &'u [PackUse],
    needed_bytes: u64,
    limits: &Limits,
) -> Vec<(usize, &'u PackUse)> {
    let mut wasteful: Vec<_> = uses
        .iter()
        .enumerate()
        .filter(|(_, pack)| pack.unneeded_bytes() > 0)
        .collect();
    // By shares: a/b > c/d where a·d > c·b.
    wasteful.sort_by(|(_, one), (_, other)| {
        let cross =
            |a: &PackUse, b: &PackUse| u128::from(a.unneeded_bytes()) * u128::from(b.stored_bytes);
        cross(other, one).cmp(&cross(one, other))
    });
    let unlocked = wasteful
        .iter()
        .filter(|(_, pack)| pack.locked_until.is_none());
    let mut unneeded: u64 = unlocked.map(|(_, pack)| pack.unneeded_bytes()).sum();
    let allowed = match limits.max_unused {
        MaxUnused::Share(thousandths) => {
            let rest = 1000_u64.saturating_sub(thousandths).max(1);
            needed_bytes.saturating_mul(thousandths) / rest
        }
        MaxUnused::Bytes(bytes) => bytes,
        MaxUnused::Unlimited => u64::MAX,
    };
    wasteful.retain(|(_, pack)| {
        if let Some(until) = pack.locked_until {
            return pays(pack, until, limits);
        }
        let is_too_much = unneeded > allowed;
        if is_too_much {
            unneeded = unneeded.saturating_sub(pack.unneeded_bytes());
        }
        is_too_much
    });
    wasteful
}

/// Whether what is saved by repacking a locked pack is more than what it costs. It is taken to live as long again as it
/// has lived; until its lock lapses, both copies are paid for.
fn pays(pack: &PackUse, locked_until: Timestamp, limits: &Limits) -> bool {
    let seconds = |from: Timestamp, to: Timestamp| {
        u128::try_from(to.seconds.saturating_sub(from.seconds)).unwrap_or(0)
    };
    let remaining = seconds(limits.now, locked_until);
    let expected = seconds(pack.received, limits.now);
    let prices = &limits.prices;
    let storage = u128::from(prices.storage_byte_year);
    let saved = u128::from(pack.unneeded_bytes())
        .saturating_mul(expected.saturating_sub(remaining))
        .saturating_mul(storage);
    let twice = u128::from(pack.needed_bytes)
        .saturating_mul(remaining)
        .saturating_mul(storage);
    let read = u128::from(pack.stored_bytes).saturating_mul(u128::from(prices.egress_byte));
    let once = read.saturating_add(u128::from(prices.put));
    saved > twice.saturating_add(once.saturating_mul(YEAR_SECONDS))
}

/// Which small packs are merged, given by their sizes, ascending. One that is larger than all smaller ones together waits
/// until these have grown, so that nothing is written again more often than its size can double.
fn worth_merging(mut small: Vec<(u64, usize)>, budget: u64) -> Vec<(u64, usize)> {
    let sum = |small: &[(u64, usize)]| small.iter().map(|(bytes, _)| *bytes).sum::<u64>();
    while let Some(((largest, _), others)) = small.split_last() {
        if *largest <= sum(others) && sum(&small) <= budget {
            break;
        }
        small.pop();
    }
    if small.len() < MERGED_MIN && sum(&small) < MERGED_BYTES_MIN {
        small.clear();
    }
    small
}

#[cfg(test)]
mod tests;
