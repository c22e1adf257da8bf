//! What to keep, as a person or a policy says it.

use std::fmt;
use std::str::FromStr;

use dolmen_format::ledger::Keep;

use super::{CalendarSpan, KeepError};

/// Keep rules: a snapshot stays if any of them wants it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// So many of each period.
    pub counts: Counts,
    /// All that are newer than this before the latest snapshot.
    pub within: CalendarSpan,
    /// The last of each period within these spans before the latest snapshot.
    pub withins: Withins,
    /// All that have every tag of one of these lists.
    pub tags: Vec<TagList>,
}

/// How many snapshots of each period are kept, or are still to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "restic's own names")]
pub struct Counts {
    pub last: Count,
    pub hourly: Count,
    pub daily: Count,
    pub weekly: Count,
    pub monthly: Count,
    pub yearly: Count,
}

/// For how long the last snapshot of each period is kept; a zero span is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "restic's own names")]
pub struct Withins {
    pub hourly: CalendarSpan,
    pub daily: CalendarSpan,
    pub weekly: CalendarSpan,
    pub monthly: CalendarSpan,
    pub yearly: CalendarSpan,
}

/// A number of snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// So many; 0 is no rule.
    AtMost(u32),
    /// All.
    Unlimited,
}

impl Count {
    /// Whether another snapshot may be kept.
    pub(super) fn has_room(self) -> bool {
        self != Self::AtMost(0)
    }

    /// One less.
    pub(super) fn used(self) -> Self {
        match self {
            Self::AtMost(count) => Self::AtMost(count.saturating_sub(1)),
            Self::Unlimited => Self::Unlimited,
        }
    }

    /// The number in restic's JSON, which leaves 0 out.
    pub fn restic(self) -> i64 {
        match self {
            Self::AtMost(count) => i64::from(count),
            Self::Unlimited => -1,
        }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

impl FromStr for Count {
    type Err = KeepError;

    /// Reads a number, or `unlimited`, which older scripts spell -1.
    ///
    /// restic learned both after 0.14.0, for which -1 keeps nothing at all.
    fn from_str(text: &str) -> Result<Self, KeepError> {
        if text == "unlimited" || text == "-1" {
            return Ok(Self::Unlimited);
        }
        let wrong = |_error| KeepError::Count {
            text: text.to_owned(),
        };
        text.parse().map(Self::AtMost).map_err(wrong)
    }
}

impl From<Keep> for Counts {
    fn from(keep: Keep) -> Self {
        Self {
            last: Count::AtMost(keep.last),
            hourly: Count::AtMost(keep.hourly),
            daily: Count::AtMost(keep.daily),
            weekly: Count::AtMost(keep.weekly),
            monthly: Count::AtMost(keep.monthly),
            yearly: Count::AtMost(keep.yearly),
        }
    }
}

impl From<Keep> for Rules {
    fn from(keep: Keep) -> Self {
        Self {
            counts: Counts::from(keep),
            ..Self::default()
        }
    }
}

impl Rules {
    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Tags that a snapshot must all have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TagList(pub Vec<Vec<u8>>);

impl TagList {
    /// Reads tags with commas between them.
    pub fn parse(text: &str) -> Self {
        let tags = text.split(',').map(|tag| tag.trim().as_bytes().to_vec());
        Self(tags.collect())
    }

    /// Whether a snapshot with these tags passes. The empty tag stands for having none.
    pub fn matches(&self, tags: &[Vec<u8>]) -> bool {
        for wanted in &self.0 {
            if wanted.is_empty() && tags.is_empty() {
                return true;
            }
            if !tags.contains(wanted) {
                return false;
            }
        }
        true
    }
}

/// Prints `[a, b]`.
impl fmt::Display for TagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self
            .0
            .iter()
            .map(|tag| String::from_utf8_lossy(tag))
            .collect();
        write!(f, "[{}]", texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_what_would_keep_nothing_by_mistake_is_refused() {
        assert_eq!("7".parse(), Ok(Count::AtMost(7)));
        assert_eq!("unlimited".parse(), Ok(Count::Unlimited));
        assert_eq!("-1".parse(), Ok(Count::Unlimited));
        for text in ["-2", "", "all", "1d", "4294967296"] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_policys_zeros_are_no_rules() {
        assert!(Rules::from(Keep::default()).is_empty());
        let daily = Keep {
            daily: 7,
            ..Keep::default()
        };
        assert_eq!(Rules::from(daily).counts.daily, Count::AtMost(7));
        assert!(!Rules::from(daily).is_empty());
    }

    #[test]
    fn all_tags_of_a_list_must_be_there() {
        let tags = |names: &[&str]| -> Vec<Vec<u8>> {
            names.iter().map(|name| name.as_bytes().to_vec()).collect()
        };
        let list = TagList::parse("a, b");
        assert_eq!(list.to_string(), "[a, b]");
        assert!(list.matches(&tags(&["b", "a", "c"])));
        assert!(!list.matches(&tags(&["a"])));
        assert!(TagList::parse("").matches(&[]));
        assert!(!TagList::parse("").matches(&tags(&["a"])));
    }
}
