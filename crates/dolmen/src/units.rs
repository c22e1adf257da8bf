//! Durations, sizes and times as people write them.

mod duration;
mod size;
mod time;

pub(crate) use duration::{DAY, Seconds, parse_duration};
pub(crate) use size::{parse_percent, parse_size};
pub(crate) use time::parse_time;

/// Splits digits, and what follows them up to the next digit, off the front.
fn take_quantity(text: &str) -> Option<(&str, &str, &str)> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(digits_end)?;
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit_end)?;
    (!digits.is_empty()).then_some((digits, unit, rest))
}
