//! How much of the data is replaced by other data: `1%/d`, `50GB/w`.

use super::YEAR_SECONDS;
use crate::units::{DAY, parse_size};

/// How much is new in a span of time, and no longer needed in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    amount: Amount,
    span_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Bytes(u64),
    /// In millionths of all.
    Share(u64),
}

/// Millionths of all in one percent.
const PER_PERCENT: u64 = 10_000;

impl Change {
    /// So many bytes in so many seconds; 0 seconds are one.
    pub(crate) fn measured(bytes: u64, span_seconds: u64) -> Self {
        Self {
            amount: Amount::Bytes(bytes),
            span_seconds: span_seconds.max(1),
        }
    }

    /// Bytes in a year, of so many that are there. `None`: more than all of it every day.
    pub(super) fn bytes_per_year(self, all_bytes: u64) -> Option<u128> {
        let year = u128::from(YEAR_SECONDS);
        let (numerator, denominator) = match self.amount {
            Amount::Bytes(bytes) => (u128::from(bytes), u128::from(self.span_seconds)),
            Amount::Share(share) => (
                u128::from(share).checked_mul(u128::from(all_bytes))?,
                u128::from(self.span_seconds).checked_mul(u128::from(100 * PER_PERCENT))?,
            ),
        };
        let bytes = numerator
            .checked_mul(year)?
            .checked_add(denominator / 2)?
            .checked_div(denominator)?;
        let most = u128::from(all_bytes).checked_mul(365)?;
        (bytes <= most).then_some(bytes)
    }
}

/// Reads an amount for a span of time.
pub(crate) fn parse_change(text: &str) -> Result<Change, String> {
    let wrong = || format!("`{text}` is no change; write it as 1%/d, 0.5%/w or 50GB/d");
    let (amount, span) = text.trim().split_once('/').ok_or_else(wrong)?;
    let span_seconds = match span {
        "h" => 60 * 60,
        "d" => DAY,
        "w" => 7 * DAY,
        "m" => 30 * DAY,
        "y" => YEAR_SECONDS,
        _ => return Err(wrong()),
    };
    let amount = match amount.strip_suffix('%') {
        Some(percent) => Amount::Share(millionths(percent).ok_or_else(wrong)?),
        None if amount.bytes().all(|byte| byte.is_ascii_digit()) => return Err(wrong()),
        None => Amount::Bytes(parse_size(amount).map_err(|_error| wrong())?),
    };
    Ok(Change {
        amount,
        span_seconds,
    })
}

/// Percent with at most 4 decimals, in millionths of all.
fn millionths(percent: &str) -> Option<u64> {
    let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
    if !is_plain(whole) || !is_plain(fraction) || fraction.len() > 4 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<4}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(PER_PERCENT)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn changes_are_read_as_people_write_them() {
        let tera = 1_000_000_000_000_u64;
        for (text, bytes) in [
            ("1%/d", 3_650_000_000_000),
            ("0.5%/w", 260_714_285_714),
            ("50GB/d", 18_250_000_000_000),
            ("100%/y", tera),
            ("0%/d", 0),
            ("100%/d", 365 * tera),
            ("0.0001%/y", 1_000_000),
        ] {
            let change = parse_change(text).unwrap();
            assert_eq!(
                change.bytes_per_year(tera),
                Some(u128::from(bytes)),
                "{text}"
            );
        }
    }

    #[test]
    fn more_than_all_of_it_every_day_is_refused() {
        for text in ["100.0001%/d", "1000000000000%/d", "2TB/d", "16000000TiB/h"] {
            let change = parse_change(text).unwrap();
            assert_eq!(change.bytes_per_year(1_000_000_000_000), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_change_is_refused_with_examples() {
        for text in [
            "",
            "1%",
            "/d",
            "%/d",
            "1/d",
            "-1%/d",
            "1%/day",
            "1e2%/d",
            "1.00001%/d",
            "1%/2d",
            "GB/d",
            "99999999999999999999%/d",
        ] {
            let wrong = format!("`{text}` is no change; write it as 1%/d, 0.5%/w or 50GB/d");
            assert_eq!(parse_change(text), Err(wrong), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), all in any::<u64>()) {
            if let Ok(change) = parse_change(&text) {
                let _bytes = change.bytes_per_year(all);
            }
        }
    }
}
