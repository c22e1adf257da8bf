//! Times: RFC 3339, `2026-11-20`, `2026-11-20 14:00`, `3d ago`.

use dolmen_format::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::parse_duration;

/// Reads a time. Without a zone it is one of `zone`; `now` is what `ago` counts from.
pub(crate) fn parse_time(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let trimmed = text.trim();
    let wrong = || {
        format!(
            "`{text}` is no time; write it as 2026-11-20, 2026-11-20 14:00, 2026-11-20T14:00:00Z or 3d ago"
        )
    };
    if trimmed == "now" {
        return Ok(now);
    }
    if let Some(duration) = trimmed.strip_suffix("ago") {
        let ago = parse_duration(duration).map_err(|_error| wrong())?;
        let seconds = i64::try_from(ago.0).map_err(|_error| wrong())?;
        return Ok(now.saturating_add_seconds(seconds.saturating_neg()));
    }
    if let Ok(instant) = trimmed.parse::<jiff::Timestamp>() {
        return Ok(from_jiff(instant));
    }
    let is_date = trimmed.len() == "2026-11-20".len();
    let civil = if is_date {
        trimmed.parse::<Date>().map(|date| date.at(0, 0, 0, 0))
    } else {
        trimmed.parse::<DateTime>()
    };
    let zoned = civil.and_then(|civil| civil.to_zoned(zone.clone()));
    zoned
        .map(|zoned| from_jiff(zoned.timestamp()))
        .map_err(|_error| wrong())
}

/// A point in time as jiff has it: a negative one counts its nanoseconds downwards.
fn from_jiff(instant: jiff::Timestamp) -> Timestamp {
    let nanos = instant.as_nanosecond();
    let second = i128::from(dolmen_format::time::NANOS_PER_SECOND);
    Timestamp {
        seconds: i64::try_from(nanos.div_euclid(second)).unwrap_or_default(),
        nanos: u32::try_from(nanos.rem_euclid(second)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn parse(text: &str) -> Result<i64, String> {
        parse_time(text, NOW, &TimeZone::fixed(jiff::tz::offset(1))).map(|time| time.seconds)
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let midnight = 1_795_129_200; // 2026-11-20 00:00 +01:00
        assert_eq!(parse("2026-11-20"), Ok(midnight));
        assert_eq!(parse("2026-11-20 14:00"), Ok(midnight + 14 * 3600));
        assert_eq!(parse("2026-11-20 14:00:05"), Ok(midnight + 14 * 3600 + 5));
        assert_eq!(parse("2026-11-20T14:00:00Z"), Ok(midnight + 15 * 3600));
        assert_eq!(parse("2026-11-20T14:00:00+02:00"), Ok(midnight + 13 * 3600));
        assert_eq!(parse("3d ago"), Ok(NOW.seconds - 3 * 86400));
        assert_eq!(parse("1h30min ago"), Ok(NOW.seconds - 5400));
        assert_eq!(parse("now"), Ok(NOW.seconds));
    }

    #[test]
    fn fractions_before_1970_are_counted_upwards() {
        let time = parse_time("1969-12-31T23:59:59.25Z", NOW, &TimeZone::UTC);
        assert_eq!(
            time,
            Ok(Timestamp {
                seconds: -1,
                nanos: 250_000_000
            })
        );
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in ["", "yesterday", "2026-13-01", "ago", "3 ago", "20261120140"] {
            assert_eq!(
                parse(text),
                Err(format!(
                    "`{text}` is no time; write it as 2026-11-20, 2026-11-20 14:00, 2026-11-20T14:00:00Z or 3d ago"
                )),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _time = parse(&text);
        }
    }
}
