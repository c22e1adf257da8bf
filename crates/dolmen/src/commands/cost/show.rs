//! The bill as people and programs read it.

use serde_json::{Value, json};

use crate::cost::{Bill, Plan, Price, Row, Usd, grouped};
use crate::render;
use crate::units::{DAY, Seconds};

/// The rows, for programs.
pub(super) fn document(provider: &str, bill: &Bill) -> Value {
    let rows = bill.rows.iter().map(|row| {
        json!({
            "provider": provider,
            "strategy": row.way.name(),
            "dolmen": row.way.is_ours(),
            "best": row.is_best,
            "generation_days": days(row.generation_seconds),
            "objects": row.objects,
            "renewal_calls_per_year": row.renewal_calls,
            "renewal_calls_per_year_max": row.renewal_calls_max,
            "renewal_usd_per_year": row.renewal,
            "kept_bytes": row.kept_bytes,
            "kept_usd_per_year": row.kept,
            "storage_usd_per_year": row.storage,
            "put_calls_per_year": row.put_calls,
            "put_usd_per_year": row.puts,
            "audit_calls_per_year": row.audit_calls,
            "audit_usd_per_year": row.audits,
            "total_usd_per_year": row.total,
            "first_backup_usd": row.first_backup,
            "restore_usd": row.restore,
        })
    });
    rows.collect()
}

/// Whole days as a whole number, others with a fraction.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "below 2^53"
)]
fn days(seconds: u64) -> Value {
    if seconds.is_multiple_of(DAY) {
        json!(seconds / DAY)
    } else {
        json!(seconds as f64 / DAY as f64)
    }
}

/// The bill, for people.
pub(super) fn text(plan: &Plan<'_>, bill: &Bill) -> Vec<String> {
    let mut lines = vec![
        format!(
            "A year at {}, for {} in {} objects, protected for {}:",
            plan.provider.title,
            render::bytes(plan.size.bytes),
            grouped(plan.size.objects),
            Seconds(plan.protect_seconds)
        ),
        String::new(),
    ];
    lines.extend(table(bill));
    lines.push(String::new());
    lines.extend(sentences(bill));
    lines.push(String::new());
    lines.push("Prices in US dollars:".to_owned());
    lines.extend(prices(plan));
    lines.extend(
        plan.provider
            .notes
            .iter()
            .map(|note| format!("  Note: {note}.")),
    );
    lines
}

fn table(bill: &Bill) -> Vec<String> {
    let mut rows = vec![
        [
            "LOCKS",
            "GENERATION",
            "CALLS",
            "RENEWALS",
            "STORAGE",
            "OF IT KEPT",
            "PUTS",
            "AUDITS",
            "TOTAL",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (row, name) in merged(&bill.rows) {
        // What is shown adds up.
        let total: Usd = row.parts().into_iter().map(Usd::rounded_to_cents).sum();
        let best = if row.is_best { "cheapest" } else { "" };
        rows.push(vec![
            name,
            Seconds(row.generation_seconds).to_string(),
            grouped(row.renewal_calls),
            row.renewal.to_string(),
            row.storage.to_string(),
            row.kept.to_string(),
            row.puts.to_string(),
            row.audits.to_string(),
            total.to_string(),
            best.to_owned(),
        ]);
    }
    render::table(&to_the_right(rows))
}

/// Rows that say the same become one, under both names.
fn merged(rows: &[Row]) -> Vec<(&Row, String)> {
    let mut merged: Vec<(&Row, String)> = Vec::new();
    for row in rows {
        let same = |(other, _): &&mut (&Row, String)| {
            Row {
                way: other.way,
                ..row.clone()
            } == **other
        };
        match merged.iter_mut().find(same) {
            Some((_, name)) => *name = format!("{name}, {}", row.way.name()),
            None => merged.push((row, row.way.name().to_owned())),
        }
    }
    merged
}

/// Puts numbers, all columns but the first and the last, to the right of their columns.
fn to_the_right(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let columns = rows.first().map_or(0, Vec::len);
    for column in 1..columns.saturating_sub(1) {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = format!("{cell:>width$}");
        }
    }
    rows
}

fn sentences(bill: &Bill) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(best) = bill.rows.iter().find(|row| row.is_best) else {
        return lines;
    };
    lines.push(format!(
        "The cheapest generation with --lock {} is {}: {} calls a year keep everything locked, for {}.",
        best.way.name(),
        Seconds(best.generation_seconds),
        grouped(best.renewal_calls),
        best.renewal
    ));
    let others = bill.rows.iter().filter(|row| !row.way.is_ours());
    if let Some(most) = others.max_by_key(|row| row.renewal_calls) {
        lines.push(format!(
            "For comparison (relock-…): setting every lock anew in every run takes up to {} calls, for {}.",
            grouped(most.renewal_calls),
            most.renewal
        ));
    }
    lines.push(format!(
        "Not in the total: the first backup's requests, {}; restoring everything once, {}.",
        best.first_backup, best.restore
    ));
    lines
}

/// Prices that are not zero, those of the same amount and source together.
fn prices(plan: &Plan<'_>) -> Vec<String> {
    let mut found: Vec<(Vec<&str>, _)> = Vec::new();
    for (what, price) in plan.provider.prices() {
        let same = |(_, other): &&mut (Vec<&str>, &Price)| {
            (other.usd, &other.as_of, &other.source) == (price.usd, &price.as_of, &price.source)
        };
        match found.iter_mut().find(same) {
            Some((names, _)) => names.push(what),
            None => found.push((vec![what], price)),
        }
    }
    let line = |(names, price): (Vec<&str>, &Price)| {
        let doubt = if price.checked { "" } else { "; NOT VERIFIED" };
        format!(
            "  {:<8} {} ({}, {}{doubt})",
            price.usd.to_string(),
            names.join(", "),
            price.as_of,
            price.source
        )
    };
    found.into_iter().map(line).collect()
}
