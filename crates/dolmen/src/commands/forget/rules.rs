//! restic's keep flags.

use clap::Args;
use dolmen_core::keep::{CalendarSpan, Count, Counts, KeepError, Rules, TagList, Withins};
use serde_json::{Map, Value};

/// What to keep.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to keep")]
#[expect(clippy::struct_field_names, reason = "restic's own names")]
pub(crate) struct RuleArgs {
    /// Keep the last N snapshots (`unlimited` keeps all)
    #[arg(short = 'l', long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    keep_last: Option<Count>,
    /// Keep the last snapshot of each of the last N hours that have any
    #[arg(short = 'H', long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    keep_hourly: Option<Count>,
    /// … of each of the last N days
    #[arg(short = 'd', long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    keep_daily: Option<Count>,
    /// … of each of the last N weeks
    #[arg(short = 'w', long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    keep_weekly: Option<Count>,
    /// … of each of the last N months
    #[arg(short = 'm', long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    keep_monthly: Option<Count>,
    /// … of each of the last N years
    #[arg(short = 'y', long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    keep_yearly: Option<Count>,
    /// Keep snapshots that are newer than this before the latest one, such as 1y5m7d2h
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    keep_within: Option<CalendarSpan>,
    /// Keep hourly snapshots that are newer than this before the latest one
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    keep_within_hourly: Option<CalendarSpan>,
    /// … daily ones
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    keep_within_daily: Option<CalendarSpan>,
    /// … weekly ones
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    keep_within_weekly: Option<CalendarSpan>,
    /// … monthly ones
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    keep_within_monthly: Option<CalendarSpan>,
    /// … yearly ones
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    keep_within_yearly: Option<CalendarSpan>,
    /// Keep snapshots with all these tags (several: with any of the lists)
    #[arg(long, value_name = "TAG[,TAG…]")]
    keep_tag: Vec<String>,
}

fn parse_count(text: &str) -> Result<Count, String> {
    text.parse().map_err(|error: KeepError| error.to_string())
}

fn parse_span(text: &str) -> Result<CalendarSpan, String> {
    text.parse().map_err(|error: KeepError| error.to_string())
}

impl RuleArgs {
    /// The rules that they make.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            counts: Counts {
                last: self.keep_last.unwrap_or_default(),
                hourly: self.keep_hourly.unwrap_or_default(),
                daily: self.keep_daily.unwrap_or_default(),
                weekly: self.keep_weekly.unwrap_or_default(),
                monthly: self.keep_monthly.unwrap_or_default(),
                yearly: self.keep_yearly.unwrap_or_default(),
            },
            within: self.keep_within.unwrap_or_default(),
            withins: Withins {
                hourly: self.keep_within_hourly.unwrap_or_default(),
                daily: self.keep_within_daily.unwrap_or_default(),
                weekly: self.keep_within_weekly.unwrap_or_default(),
                monthly: self.keep_within_monthly.unwrap_or_default(),
                yearly: self.keep_within_yearly.unwrap_or_default(),
            },
            tags: self
                .keep_tag
                .iter()
                .map(|list| TagList::parse(list))
                .collect(),
        }
    }
}

/// What is left of the rules, as restic's JSON has it: zeros are left out.
pub(super) fn counters(counts: &Counts) -> Value {
    let all = [
        ("last", counts.last),
        ("hourly", counts.hourly),
        ("daily", counts.daily),
        ("weekly", counts.weekly),
        ("monthly", counts.monthly),
        ("yearly", counts.yearly),
    ];
    let left = all.into_iter().filter(|(_, count)| count.restic() != 0);
    let fields: Map<_, _> = left
        .map(|(name, count)| (name.to_owned(), count.restic().into()))
        .collect();
    Value::Object(fields)
}
