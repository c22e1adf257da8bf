//! Price tables: those built in, and a user's own.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::CostError;
use super::money::{Decimal, Usd};

/// The tables that come with Dolmen.
const BUILT_IN: &str = include_str!("prices.json");

/// The form of the tables.
const FORMAT: u32 = 1;
/// The largest file of prices.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;
/// The longest minimum that a provider bills: beyond it is a slip of the pen.
const DAYS_MIN_MAX: u32 = 10_000;
/// How often what is stored may leave for nothing, likewise.
const TIMES_MAX: u64 = 1_000;

/// Requests that are billed together.
const REQUESTS: u128 = 1000;
/// Bytes that are billed together.
const GB: u128 = 1_000_000_000;
const MONTHS: u128 = 12;

/// What providers ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    providers: BTreeMap<String, Provider>,
}

/// What one provider asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    /// Its name, and of what.
    pub(crate) title: String,
    /// The ways of locking that it has.
    pub(crate) strategies: Vec<Strategy>,
    /// Whether its listings state locks.
    pub(crate) listed_locks: bool,
    /// What the numbers do not say.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// For 10^9 bytes and a month.
    pub(crate) storage: Price,
    /// Days for which an object is billed at least.
    #[serde(default)]
    pub(super) storage_days_min: u32,
    /// Bytes that are billed at least.
    #[serde(default)]
    pub(super) storage_bytes_min: u64,
    /// For 1000 requests.
    pub(crate) requests: Requests,
    /// For 10^9 bytes that are read.
    pub(crate) retrieval: Price,
    /// For 10^9 bytes that leave.
    pub(crate) egress: Price,
    /// How often what is stored may leave in a month for nothing.
    #[serde(default)]
    egress_free_times_stored: u64,
    /// Bytes that may leave in a month for nothing.
    #[serde(default)]
    egress_free_bytes: u64,
}

/// A way of locking, with the name that `--lock` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Strategy {
    /// Locks that nobody can end early.
    Compliance,
    /// Locks that those with the right to can.
    Governance,
    /// A legal hold after the first lock.
    Hold,
    /// No locks: what is hidden is deleted days later.
    Hide,
}

impl Strategy {
    /// The name that `--lock` has for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compliance => "compliance",
            Self::Governance => "governance",
            Self::Hold => "hold",
            Self::Hide => "hide",
        }
    }
}

/// The price of each kind of request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requests {
    /// Storing an object.
    pub(crate) put: Price,
    /// Extending a lock.
    pub(crate) extend: Price,
    /// Placing or lifting a legal hold.
    pub(crate) hold: Price,
    /// Hiding an object.
    pub(crate) hide: Price,
    /// Deleting a version.
    pub(crate) delete: Price,
    /// A page of a listing.
    pub(crate) list: Price,
    /// Asking for one lock.
    pub(crate) head: Price,
    /// Reading an object.
    pub(crate) get: Price,
}

/// A price, and how far to trust it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// Dollars.
    pub(crate) usd: Decimal,
    /// When it was asked.
    pub(crate) as_of: String,
    /// Where it stands.
    pub(crate) source: String,
    /// Whether it was read there.
    pub(crate) checked: bool,
    /// Requests of a day that cost nothing.
    #[serde(default)]
    free_per_day: u32,
}

impl Price {
    /// What so many requests of a year cost, spread evenly over its days.
    pub(super) fn requests(&self, calls: u128) -> Result<Usd, CostError> {
        let free = u128::from(self.free_per_day).saturating_mul(365);
        let billed = calls.saturating_sub(free);
        self.usd.times(billed, REQUESTS).ok_or(CostError::TooMuch)
    }

    /// What so many requests cost, all within a day.
    pub(super) fn requests_at_once(&self, calls: u128) -> Result<Usd, CostError> {
        let billed = calls.saturating_sub(u128::from(self.free_per_day));
        self.usd.times(billed, REQUESTS).ok_or(CostError::TooMuch)
    }
}

impl Provider {
    /// What it costs to store so many bytes for a year. Less than the least that is billed costs as much as that.
    pub(super) fn storage_year(&self, bytes: u128) -> Result<Usd, CostError> {
        let billed = bytes.max(u128::from(self.storage_bytes_min));
        let months = billed.checked_mul(MONTHS).ok_or(CostError::TooMuch)?;
        self.storage.usd.times(months, GB).ok_or(CostError::TooMuch)
    }

    /// What it costs to read all of so many bytes in so many objects once.
    pub(super) fn restore(&self, objects: u64, bytes: u64) -> Result<Usd, CostError> {
        let free = bytes.saturating_mul(self.egress_free_times_stored);
        let leaving = bytes
            .saturating_sub(free)
            .saturating_sub(self.egress_free_bytes);
        let gets = self.requests.get.requests_at_once(objects.into())?;
        let of = |price: &Price, bytes: u64| price.usd.times(bytes.into(), GB);
        let read = of(&self.retrieval, bytes).ok_or(CostError::TooMuch)?;
        let left = of(&self.egress, leaving).ok_or(CostError::TooMuch)?;
        Ok(gets + read + left)
    }

    /// Every price with what it is for.
    pub(crate) fn prices(&self) -> [(&'static str, &Price); 11] {
        let requests = &self.requests;
        [
            ("1 GB stored for a month", &self.storage),
            ("1 GB read", &self.retrieval),
            ("1 GB leaving", &self.egress),
            ("1000 puts", &requests.put),
            ("1000 extensions of locks", &requests.extend),
            ("1000 holds", &requests.hold),
            ("1000 hidden objects", &requests.hide),
            ("1000 deletes", &requests.delete),
            ("1000 pages of listings", &requests.list),
            ("1000 questions for a lock", &requests.head),
            ("1000 reads", &requests.get),
        ]
    }

    fn check(&self) -> Result<(), String> {
        let wrong = if self.title.trim().is_empty() {
            "a provider has no title"
        } else if self.strategies.is_empty() {
            "a provider has no strategies"
        } else if self.storage_days_min > DAYS_MIN_MAX {
            "storage_days_min is too large"
        } else if self.egress_free_times_stored > TIMES_MAX {
            "egress_free_times_stored is too large"
        } else {
            return Ok(());
        };
        Err(wrong.to_owned())
    }
}

/// The tables, by the names of providers.
#[derive(Debug, Clone)]
pub(crate) struct Prices(BTreeMap<String, Provider>);

impl Prices {
    /// Those built in.
    pub(crate) fn built_in() -> Result<Self, CostError> {
        read(BUILT_IN.as_bytes(), "the program itself").map(Self)
    }

    /// Takes a user's own tables; they stand in for built-in ones of the same name.
    pub(crate) fn take(&mut self, body: &[u8], file: &str) -> Result<(), CostError> {
        self.0.extend(read(body, file)?);
        Ok(())
    }

    /// One provider's.
    pub(crate) fn of(&self, name: &str) -> Result<&Provider, CostError> {
        self.0.get(name).ok_or_else(|| CostError::Provider {
            name: name.to_owned(),
            known: self.0.keys().cloned().collect(),
        })
    }
}

fn read(body: &[u8], file: &str) -> Result<BTreeMap<String, Provider>, CostError> {
    let fail = |reason: String| CostError::Prices {
        file: file.to_owned(),
        reason,
    };
    let found: File = serde_json::from_slice(body).map_err(|error| fail(error.to_string()))?;
    if found.format != FORMAT {
        return Err(fail(format!("format {} is not known", found.format)));
    }
    for (name, provider) in &found.providers {
        provider
            .check()
            .map_err(|reason| fail(format!("{name}: {reason}")))?;
    }
    Ok(found.providers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_price_has_a_date_and_a_source() {
        let prices = Prices::built_in().unwrap();
        let names: Vec<_> = prices.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["aws", "aws-ia", "b2", "b2-s3", "minio", "wasabi"]);
        for (name, provider) in &prices.0 {
            for (what, price) in provider.prices() {
                let (year, month) = price.as_of.split_once('-').unwrap();
                assert!(year.parse::<u16>().unwrap() >= 2026, "{name}: {what}");
                assert!(
                    (1..=12).contains(&month.parse::<u8>().unwrap()),
                    "{name}: {what}"
                );
                assert!(price.source.len() > 10, "{name}: {what}");
            }
        }
        // Nobody has seen a page that says what an extension costs there.
        let aws = prices.of("aws").unwrap();
        assert!(!aws.requests.extend.checked);
        assert!(prices.of("b2").unwrap().requests.extend.checked);
    }

    #[test]
    fn what_a_day_has_free_is_not_billed() {
        let prices = Prices::built_in().unwrap();
        let list = &prices.of("b2").unwrap().requests.list;
        assert_eq!(list.requests(2500 * 365).unwrap(), Usd::default());
        assert_eq!(
            list.requests(2500 * 365 + 1000).unwrap().to_string(),
            "<$0.01"
        );
        assert_eq!(list.requests_at_once(12_500).unwrap().to_string(), "$0.04");
    }

    #[test]
    fn a_restore_pays_for_what_leaves_beyond_what_is_free() {
        let prices = Prices::built_in().unwrap();
        let restore = |name: &str| {
            let provider = prices.of(name).unwrap();
            provider
                .restore(29_803, 1_000_000_000_000)
                .unwrap()
                .to_string()
        };
        // 29,803 gets are 1.2 cents; 900 GB at 9 cents.
        assert_eq!(restore("aws"), "$81.01");
        assert_eq!(restore("b2"), "$0.01");
        assert_eq!(restore("wasabi"), "$0.00");
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_and_named() {
        let mut prices = Prices::built_in().unwrap();
        for (body, part) in [
            ("", "EOF"),
            ("{\"format\":2,\"providers\":{}}", "format 2"),
            ("{\"format\":1,\"providers\":{},\"x\":1}", "unknown field"),
            ("{\"format\":1,\"providers\":{\"a\":{}}}", "missing field"),
        ] {
            let error = prices
                .take(body.as_bytes(), "my.json")
                .unwrap_err()
                .to_string();
            assert!(error.contains("my.json") && error.contains(part), "{error}");
        }
        let number = BUILT_IN.replacen("\"0.023\"", "0.023", 1);
        assert!(prices.take(number.as_bytes(), "f").is_err());
        let negative = BUILT_IN.replacen("\"0.023\"", "\"-0.023\"", 1);
        let error = prices
            .take(negative.as_bytes(), "f")
            .unwrap_err()
            .to_string();
        assert!(error.contains("is no price in dollars"), "{error}");
    }

    #[test]
    fn a_file_replaces_tables_of_the_same_name() {
        let mut prices = Prices::built_in().unwrap();
        let own = BUILT_IN.replacen("\"0.023\"", "\"0.5\"", 1);
        prices.take(own.as_bytes(), "f").unwrap();
        assert_eq!(prices.of("aws").unwrap().storage.usd.to_string(), "0.5");
        assert!(
            prices
                .of("nobody")
                .unwrap_err()
                .to_string()
                .contains("aws-ia")
        );
    }
}
