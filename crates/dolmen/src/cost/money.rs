//! Money in whole numbers: prices to a millionth of a millionth of a dollar, amounts to a millionth.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Parts of a dollar that prices are counted in.
const PICOS: u128 = 1_000_000_000_000;
/// Those in a part that amounts are counted in.
const PICOS_PER_MICRO: u128 = 1_000_000;
const MICROS: u128 = 1_000_000;
const MICROS_PER_CENT: u128 = 10_000;
/// The highest price of a unit.
const DOLLARS_MAX: u128 = 1_000_000;

/// A price in dollars, exactly as it is written: at most 12 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Decimal(u128);

impl Decimal {
    /// Reads `0.023`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no price in dollars; write it as 0.023");
        let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        if !is_plain(whole) || !is_plain(fraction) || fraction.len() > 12 || whole.len() > 12 {
            return Err(wrong());
        }
        let parse = |digits: &str| digits.parse::<u128>().map_err(|_error| wrong());
        let picos = parse(&format!("{fraction:0<12}"))?;
        let total = parse(whole)?.saturating_mul(PICOS).saturating_add(picos);
        if total > DOLLARS_MAX.saturating_mul(PICOS) {
            return Err(format!("`{text}` is more than a million dollars"));
        }
        Ok(Self(total))
    }

    /// Whether nothing is to be paid.
    pub(crate) const fn is_free(self) -> bool {
        self.0 == 0
    }

    /// What so many units cost, of which `per` have this price: rounded once, half a millionth of a dollar up.
    /// `None`: more than can be counted.
    pub(super) fn times(self, units: u128, per: u128) -> Option<Usd> {
        let picos = self.0.checked_mul(units)?;
        let part = per.checked_mul(PICOS_PER_MICRO)?;
        let rounded = picos.checked_add(part / 2)?.checked_div(part)?;
        Some(Usd(rounded))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:012}", self.0 / PICOS, self.0 % PICOS);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// From a text: numbers of JSON are no decimals.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// An amount of money in millionths of a dollar. Sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Usd(u128);

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl Usd {
    /// To the nearest cent, half a cent up.
    #[must_use]
    pub(crate) const fn rounded_to_cents(self) -> Self {
        Self(self.0.saturating_add(MICROS_PER_CENT / 2) / MICROS_PER_CENT * MICROS_PER_CENT)
    }
}

/// To the cent, for people: `$1,234.50`; a part of a cent is `<$0.01`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.rounded_to_cents().0 / MICROS_PER_CENT;
        if cents == 0 && self.0 > 0 {
            return f.pad("<$0.01");
        }
        f.pad(&format!("${}.{:02}", grouped(cents / 100), cents % 100))
    }
}

impl Serialize for Usd {
    /// As a number of dollars with 6 decimals.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The nearest double of a decimal is printed as that decimal again, up to 15 digits.
        let text = format!("{}.{:06}", self.0 / MICROS, self.0 % MICROS);
        let number: f64 = text.parse().map_err(serde::ser::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

/// A number with its thousands apart: `298,024`.
pub(crate) fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices_are_taken_exactly_as_they_are_written() {
        for text in ["0", "0.023", "0.00695", "0.000000000001", "1000000", "12.5"] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Decimal::parse("1.500").unwrap().to_string(), "1.5");
        for text in [
            "",
            ".5",
            "1.",
            "-1",
            "1e3",
            "0.0000000000001",
            "1,5",
            "NaN",
            "1000000.1",
            "9999999999999",
        ] {
            assert!(Decimal::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn money_is_rounded_once_and_to_the_nearest() {
        let price = Decimal::parse("0.005").unwrap();
        assert_eq!(price.times(10_877_770, 1000), Some(Usd(54_388_850)));
        // Half a millionth goes up.
        assert_eq!(
            Decimal::parse("0.0000005").unwrap().times(1, 1),
            Some(Usd(1))
        );
        assert_eq!(
            Decimal::parse("0.0000004").unwrap().times(1, 1),
            Some(Usd(0))
        );
        assert_eq!(price.times(u128::MAX, 1000), None);
    }

    #[test]
    fn amounts_are_shown_to_the_cent() {
        for (micros, text) in [
            (0, "$0.00"),
            (1, "<$0.01"),
            (4_999, "<$0.01"),
            (5_000, "$0.01"),
            (2_760_000_000, "$2,760.00"),
            (1_234_567_894_999, "$1,234,567.89"),
        ] {
            assert_eq!(Usd(micros).to_string(), text);
        }
        assert_eq!(serde_json::to_string(&Usd(54_388_850)).unwrap(), "54.38885");
        assert_eq!(grouped(1_000_u32), "1,000");
    }

    proptest! {
        #[test]
        fn json_keeps_every_millionth(micros in 0_u64..1_000_000_000_000_000) {
            let json = serde_json::to_value(Usd(u128::from(micros))).unwrap();
            let dollars = json.as_f64().unwrap();
            prop_assert_eq!(format!("{dollars:.6}"), format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _price = Decimal::parse(&text);
        }
    }
}
