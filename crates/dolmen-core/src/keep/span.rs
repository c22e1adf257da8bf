//! Spans of calendar time, as `--keep-within` takes them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::KeepError;

/// A span whose years, months and days are the calendar's: a month ago is the same day of the month
/// before, however long that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CalendarSpan {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days, weeks included.
    pub days: u32,
    /// Seconds, hours and minutes included.
    pub seconds: u64,
}

/// Seconds in an hour and in a minute.
const HOUR: u64 = 3600;
const MINUTE: u64 = 60;

impl CalendarSpan {
    /// Whether it is no time at all, which as a rule is no rule.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The time that is this span before another, by a zone's calendar; the beginning of time where
    /// no calendar reaches.
    ///
    /// A day that the month does not have is one of the next month, as in restic: a month before the
    /// 31st of March is the 3rd of March, or the 2nd in a leap year. Where clocks change, the
    /// wall-clock time is kept; one that does not exist is moved by the length of the gap.
    pub(super) fn before(&self, end: Timestamp, zone: &TimeZone) -> Timestamp {
        let local = zone.to_datetime(end);
        let start = self.date_before(local.date()).and_then(|date| {
            let moved = DateTime::from_parts(date, local.time());
            let start = zone.to_ambiguous_timestamp(moved).compatible().ok()?;
            let seconds = i64::try_from(self.seconds).ok()?;
            start.checked_sub(SignedDuration::from_secs(seconds)).ok()
        });
        start.unwrap_or(Timestamp::MIN)
    }

    /// Years and months first, then days, all from the first of the month.
    fn date_before(&self, date: Date) -> Option<Date> {
        let months = i64::from(date.year())
            .checked_mul(12)?
            .checked_add(i64::from(date.month()).checked_sub(1)?)?
            .checked_sub(i64::from(self.years).checked_mul(12)?)?
            .checked_sub(i64::from(self.months))?;
        let year = i16::try_from(months.div_euclid(12)).ok()?;
        let month = i8::try_from(months.rem_euclid(12).checked_add(1)?).ok()?;
        let first = Date::new(year, month, 1).ok()?;
        let days = i64::from(date.day())
            .checked_sub(1)?
            .checked_sub(i64::from(self.days))?;
        first.checked_add(Span::new().try_days(days).ok()?).ok()
    }
}

impl FromStr for CalendarSpan {
    type Err = KeepError;

    /// Reads numbers with units in any order, each unit once: y, m (months), w, d, h, min and s.
    fn from_str(text: &str) -> Result<Self, KeepError> {
        let wrong = || KeepError::Duration {
            text: text.to_owned(),
        };
        let mut span = Self::default();
        let mut seen = Vec::new();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (digits, unit, after) = take_quantity(rest).ok_or_else(wrong)?;
            if seen.contains(&unit) {
                return Err(wrong());
            }
            span.add(digits, unit).ok_or_else(wrong)?;
            seen.push(unit);
            rest = after;
        }
        Ok(span)
    }
}

impl CalendarSpan {
    /// Adds a number of a unit; `None` for an unknown unit or too large a number.
    fn add(&mut self, digits: &str, unit: &str) -> Option<()> {
        let count: u32 = digits.parse().ok()?;
        let seconds = |each: u64| u64::from(count).checked_mul(each);
        match unit {
            "y" => self.years = count,
            "m" => self.months = count,
            "w" => self.days = self.days.checked_add(count.checked_mul(7)?)?,
            "d" => self.days = self.days.checked_add(count)?,
            "h" => self.seconds = self.seconds.checked_add(seconds(HOUR)?)?,
            "min" => self.seconds = self.seconds.checked_add(seconds(MINUTE)?)?,
            "s" => self.seconds = self.seconds.checked_add(seconds(1)?)?,
            _ => return None,
        }
        Some(())
    }
}

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

/// Prints restic's spelling, the longest unit first: `1y2m3d4h`.
impl fmt::Display for CalendarSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (u64::from(self.years), "y"),
            (u64::from(self.months), "m"),
            (u64::from(self.days), "d"),
            (self.seconds / HOUR, "h"),
            (self.seconds % HOUR / MINUTE, "min"),
            (self.seconds % MINUTE, "s"),
        ];
        let mut there = parts.iter().filter(|(count, _)| *count > 0);
        there.try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(text: &str) -> CalendarSpan {
        text.parse().unwrap()
    }

    /// The Central European rules as a POSIX string, which needs no zone files.
    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn before(text: &str, end: &str) -> String {
        let end: DateTime = end.parse().unwrap();
        let end = zone().to_zoned(end).unwrap().timestamp();
        let start = span(text).before(end, &zone());
        zone().to_datetime(start).to_string()
    }

    #[test]
    fn durations_are_read_in_any_order_and_printed_as_restic_does() {
        for (text, printed) in [
            ("1y2m3d4h", "1y2m3d4h"),
            ("2h3d", "3d2h"),
            ("36h", "36h"),
            ("2w", "14d"),
            ("90s", "1min30s"),
            ("0d", ""),
        ] {
            assert_eq!(span(text).to_string(), printed, "{text}");
        }
        assert!(span("0y0h").is_zero() && !span("1s").is_zero());
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "d",
            "-3d",
            "1d1d",
            "1x",
            "1.5d",
            "5000000000d",
            "٣d",
        ] {
            let wrong = KeepError::Duration {
                text: text.to_owned(),
            };
            assert_eq!(text.parse::<CalendarSpan>(), Err(wrong), "{text}");
        }
    }

    #[test]
    fn months_and_years_are_the_calendars() {
        for (text, end, start) in [
            ("1m", "2026-03-15T12:00:00", "2026-02-15T12:00:00"),
            ("1m", "2026-03-31T12:00:00", "2026-03-03T12:00:00"),
            ("1m", "2024-03-31T12:00:00", "2024-03-02T12:00:00"),
            ("1y", "2024-02-29T12:00:00", "2023-03-01T12:00:00"),
            ("1y14m", "2026-01-10T12:00:00", "2023-11-10T12:00:00"),
            ("1m1d", "2026-03-01T12:00:00", "2026-01-31T12:00:00"),
        ] {
            assert_eq!(before(text, end), start, "{text} before {end}");
        }
    }

    #[test]
    fn days_are_the_calendars_and_hours_are_the_clocks() {
        // The clocks went from 2:00 to 3:00 on the 29th.
        assert_eq!(before("1d", "2026-03-29T12:00:00"), "2026-03-28T12:00:00");
        assert_eq!(before("24h", "2026-03-29T12:00:00"), "2026-03-28T11:00:00");
        assert_eq!(before("1d", "2026-03-30T02:30:00"), "2026-03-29T03:30:00");
    }

    #[test]
    fn a_span_longer_than_any_calendar_reaches_the_beginning_of_time() {
        for text in ["4294967295y", "4294967295m", "4294967295d", "12000y"] {
            let start = span(text).before(Timestamp::UNIX_EPOCH, &zone());
            assert_eq!(start, Timestamp::MIN, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_time_makes_it_panic(text in any::<String>(), span in any::<[u32; 4]>(), end in any::<i64>()) {
            let _read = text.parse::<CalendarSpan>();
            let [years, months, days, seconds] = span;
            let span = CalendarSpan { years, months, days, seconds: u64::from(seconds) };
            let end = Timestamp::from_second(end).unwrap_or(Timestamp::MAX);
            prop_assert!(span.before(end, &zone()) <= end);
        }
    }
}
