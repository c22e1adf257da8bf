//! Sizes: `500MB`, `2GiB`, `10M`; and shares: `5%`.

/// The units without the last letter's `B`. As in restic, a lone `K`, `M`… is a power of 1024.
const UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Reads a size in bytes: a number, perhaps with a fraction, and a unit.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write it as 500MB, 2GiB, 10M or 4096");
    let trimmed = text.trim();
    let number_end = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at_checked(number_end).ok_or_else(wrong)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return Err(wrong());
    }
    let too_large = || format!("`{text}` is too large a size");
    let digits = u32::try_from(fraction.len()).map_err(|_error| wrong())?;
    let parse = |digits: &str| digits.parse::<u128>().map_err(|_error| too_large());
    let scaled = parse(fraction)? * u128::from(*bytes) / 10_u128.pow(digits);
    parse(whole)?
        .checked_mul(u128::from(*bytes))
        .and_then(|whole| whole.checked_add(scaled))
        .and_then(|total| u64::try_from(total).ok())
        .ok_or_else(too_large)
}

/// Reads a share such as `5%` or `0.5%`: more than 0, at most 100.
pub(crate) fn parse_percent(text: &str) -> Option<f64> {
    let number = text.trim().strip_suffix('%')?;
    let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let share: f64 = number.parse().ok().filter(|_| plain)?;
    (share > 0.0 && share <= 100.0).then_some(share)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("500MB", 500_000_000),
            ("2GiB", 2 << 30),
            ("2 gib", 2 << 30),
            ("10M", 10 << 20),
            ("1k", 1024),
            ("1kB", 1000),
            ("4096", 4096),
            ("7b", 7),
            ("1.5GiB", 3 << 29),
            ("0.25K", 256),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_examples() {
        for text in [
            "",
            "MB",
            "-1",
            "1.",
            ".5",
            "1.2.3",
            "1e3",
            "1 0",
            "5PB",
            "5%",
            "1.0123456789",
        ] {
            let wrong = format!("`{text}` is no size; write it as 500MB, 2GiB, 10M or 4096");
            assert_eq!(parse_size(text), Err(wrong), "{text}");
        }
        let large = "99999999TiB";
        assert_eq!(
            parse_size(large),
            Err(format!("`{large}` is too large a size"))
        );
    }

    #[test]
    fn a_share_is_more_than_nothing_and_at_most_all() {
        assert_eq!(parse_percent("10%"), Some(10.0));
        assert_eq!(parse_percent("0.5%"), Some(0.5));
        for text in ["10", "0%", "101%", "-1%", "%", "1e1%", "inf%", "nan%"] {
            assert_eq!(parse_percent(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_number_of_bytes_is_read(bytes in any::<u64>()) {
            prop_assert_eq!(parse_size(&bytes.to_string()), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _size = parse_size(&text);
            let _share = parse_percent(&text);
        }
    }
}
