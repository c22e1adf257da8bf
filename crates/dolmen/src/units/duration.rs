//! Durations: `30d`, `12h`, `90s`, `1y2m3d4h`.

use std::fmt;

use super::take_quantity;

/// Seconds in a day.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// The units, the longest first. As in restic, `m` is a month; the shorter one is `min`.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * DAY),
    ("m", 30 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", 60 * 60),
    ("min", 60),
    ("s", 1),
];

/// A span of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub(crate) u64);

/// Prints the spelling that [`parse_duration`] reads, the years and months left out.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (unit, seconds) in UNITS.iter().skip(3) {
            let count = rest / seconds;
            rest %= seconds;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        if self.0 == 0 {
            f.write_str("0s")
        } else {
            Ok(())
        }
    }
}

/// Reads a duration: numbers with units, the longest unit first, each at most once.
pub(crate) fn parse_duration(text: &str) -> Result<Seconds, String> {
    let wrong = || format!("`{text}` is no duration; write it as 30d, 12h, 90s or 1y2m3d4h");
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (digits, unit, after) = take_quantity(rest).ok_or_else(wrong)?;
        let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let too_long = || format!("`{text}` is too long a time");
        let count: u64 = digits.parse().map_err(|_error| too_long())?;
        let part = count.checked_mul(*seconds).ok_or_else(too_long)?;
        total = total.checked_add(part).ok_or_else(too_long)?;
        rest = after;
    }
    Ok(Seconds(total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("30d", 30 * DAY),
            ("12h", 12 * 3600),
            ("90s", 90),
            ("1w", 7 * DAY),
            ("1y2m3d4h", (365 + 60 + 3) * DAY + 4 * 3600),
            ("1h30min", 5400),
            (" 0s ", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_examples() {
        for text in [
            "", "30", "d", "3d3d", "4h3d", "-1d", "1.5d", "30 d", "30D", "1µ", "٣d",
        ] {
            let wrong = format!("`{text}` is no duration; write it as 30d, 12h, 90s or 1y2m3d4h");
            assert_eq!(parse_duration(text), Err(wrong), "{text}");
        }
        let long = "99999999999999999999y";
        assert_eq!(
            parse_duration(long),
            Err(format!("`{long}` is too long a time"))
        );
        let long = "600000000000y";
        assert_eq!(
            parse_duration(long),
            Err(format!("`{long}` is too long a time"))
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(seconds in any::<u64>()) {
            let printed = Seconds(seconds).to_string();
            prop_assert_eq!(parse_duration(&printed), Ok(Seconds(seconds)));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _read = parse_duration(&text);
        }
    }
}
