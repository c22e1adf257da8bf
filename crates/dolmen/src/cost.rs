//! What a repository costs in a year: storage, locks, requests, strategy against strategy.
//!
//! Everything here is arithmetic on whole numbers, with no store and no clock. The formulas and where they come from are
//! in `docs/cost.md`; the tests compute its example anew.

mod bill;
mod change;
mod money;
mod plan;
mod prices;

pub(crate) use bill::{Bill, Row, bills};
pub(crate) use change::{Change, parse_change};
pub(crate) use money::{Usd, grouped};
pub(crate) use plan::{Plan, Size};
pub(crate) use prices::{FILE_BYTES_MAX, Price, Prices, Provider};

/// A year, as prices and formulas count it: 365 days, 12 months.
const YEAR_SECONDS: u64 = 365 * DAY_SECONDS;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Why there is no bill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CostError {
    /// Protection, generation and interval do not fit together.
    #[error("{0}")]
    Terms(#[from] dolmen_core::lease::TermsError),
    /// A number became too large.
    #[error("this is more than can be counted; make the size, the change or the prices smaller")]
    TooMuch,
    /// More changes than there is.
    #[error("more than everything cannot change in a day; make --change smaller")]
    Change,
    /// A price file cannot be read.
    #[error("cannot use the prices in {file}: {reason}")]
    Prices {
        /// Which one.
        file: String,
        /// Why.
        reason: String,
    },
    /// Nobody's prices.
    #[error("no prices are known for `{name}`; there are some for {}", known.join(", "))]
    Provider {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}
