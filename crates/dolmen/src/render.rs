//! Numbers, times and tables as people and programs read them.

use dolmen_core::snapshots::{SnapshotEntry, SnapshotList};
use dolmen_format::snapshot::{Body, Counts};
use dolmen_format::{SnapshotId, Timestamp};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::paths;

/// Bytes in the unit that suits them: `1.5 GiB`.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "four digits are shown"
)]
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1 << 50, "PiB"),
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match UNITS.iter().find(|(size, _)| count >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", count as f64 / *size as f64),
        None => format!("{count} B"),
    }
}

/// A count with its noun: `1 file`, `2 files`.
pub(crate) fn count(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// A span of time: `1:02`, `1:02:03`.
pub(crate) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Seconds from one time to another, with their fraction; 0 when the clock went back.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a span, not a point in time"
)]
pub(crate) fn seconds_between(start: Timestamp, end: Timestamp) -> f64 {
    let seconds = end.seconds.saturating_sub(start.seconds) as f64;
    let nanos = f64::from(end.nanos) - f64::from(start.nanos);
    (seconds + nanos / 1e9).max(0.0)
}

/// RFC 3339 in UTC; a time beyond the years that it knows is given in seconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    match jiff_timestamp(time) {
        Some(instant) => instant.to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// The local time to the second: `2026-11-20 14:00:05`.
pub(crate) fn local_time(time: Timestamp) -> String {
    match jiff_timestamp(time) {
        Some(instant) => instant
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        None => format!("@{}", time.seconds),
    }
}

fn jiff_timestamp(time: Timestamp) -> Option<jiff::Timestamp> {
    let nanos = i128::from(time.seconds)
        .checked_mul(i128::from(dolmen_format::time::NANOS_PER_SECOND))?
        .checked_add(i128::from(time.nanos))?;
    jiff::Timestamp::from_nanosecond(nanos).ok()
}

/// Rows of text in columns as wide as they must be; the last one is left ragged.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Bytes as JSON text; what is not UTF-8 is replaced, as restic does.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A snapshot as restic's JSON has it, with what only Dolmen knows; names are left out where this client reads none.
pub(crate) fn snapshot_json(entry: &SnapshotEntry) -> Value {
    let mut value = json!({
        "time": rfc3339(entry.snapshot.time),
        "id": entry.id.to_string(),
        "short_id": entry.short_id(),
        "protected_until": null,
        "retired": false,
        "writer": entry.snapshot.stamp.writer.to_string(),
        "stored": rfc3339(entry.received),
    });
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    let own = match &entry.body {
        Some(body) => body_json(body),
        None => counts_json(entry.snapshot.counts),
    };
    if let Value::Object(own) = own {
        fields.extend(own);
    }
    if let Some(parent) = entry.snapshot.heads.first() {
        let parent = Value::String(parent.digest.to_string());
        fields.insert("parent".to_owned(), parent);
    }
    value
}

/// What readers see of a snapshot.
fn body_json(body: &Body) -> Value {
    let summary = body.summary;
    json!({
        "tree": body.tree.map(|tree| tree.id.to_string()),
        "paths": texts(&body.paths),
        "hostname": body.hostname,
        "username": body.username,
        "uid": body.uid,
        "gid": body.gid,
        "excludes": texts(&body.excludes),
        "tags": body.tags,
        "program_version": body.program_version,
        "summary": {
            "backup_start": rfc3339(body.backup_start),
            "backup_end": rfc3339(body.backup_end),
            "files_new": summary.files_new,
            "files_changed": summary.files_changed,
            "files_unmodified": summary.files_unmodified,
            "dirs_new": summary.dirs_new,
            "dirs_changed": summary.dirs_changed,
            "dirs_unmodified": summary.dirs_unmodified,
            "data_blobs": summary.data_blobs,
            "tree_blobs": summary.tree_blobs,
            "data_added": summary.data_added,
            "data_added_packed": summary.data_added_packed,
            "total_files_processed": summary.total_files_processed,
            "total_bytes_processed": summary.total_bytes_processed,
        },
    })
}

/// What anyone may know of a snapshot's size.
fn counts_json(counts: Counts) -> Value {
    json!({
        "summary": {
            "data_added_packed": counts.added_bytes,
            "total_files_processed": counts.files,
            "total_bytes_processed": counts.bytes,
        },
    })
}

/// What is wrong with a snapshot.
pub(crate) fn suspicions(list: &SnapshotList, id: SnapshotId) -> Vec<String> {
    let wrong = list.suspicious.get(&id).into_iter().flatten();
    wrong.map(ToString::to_string).collect()
}

fn texts<T: std::ops::Deref<Target = Vec<u8>>>(list: &[T]) -> Vec<String> {
    list.iter().map(|item| lossy(item)).collect()
}

/// `snapshot 1a2b3c4d of [/home] at 2026-11-20 14:00:00 by user@host`, without names where this client reads none.
pub(crate) fn snapshot_line(entry: &SnapshotEntry) -> String {
    let (id, time) = (entry.short_id(), local_time(entry.snapshot.time));
    let Some(body) = &entry.body else {
        return format!("snapshot {id} at {time}");
    };
    format!(
        "snapshot {id} of [{}] at {time} by {}@{}",
        shown_paths(entry),
        paths::display(body.username.as_bytes()),
        paths::display(body.hostname.as_bytes()),
    )
}

/// A snapshot's paths in a line; nothing where this client reads no names.
pub(crate) fn shown_paths(entry: &SnapshotEntry) -> String {
    let paths = entry.body.iter().flat_map(|body| &body.paths);
    let paths: Vec<_> = paths.map(|path| paths::display(path)).collect();
    paths.join(", ")
}

/// A snapshot's tags in a line; nothing where this client reads no names.
pub(crate) fn shown_tags(entry: &SnapshotEntry) -> String {
    let tags = entry.body.as_ref().map(|body| body.tags.join(","));
    paths::display(tags.unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(clock(62), "1:02");
        assert_eq!(clock(3723), "1:02:03");
    }

    #[test]
    fn any_time_has_a_text() {
        let time = Timestamp {
            seconds: -1,
            nanos: 250_000_000,
        };
        assert_eq!(rfc3339(time), "1969-12-31T23:59:59.25Z");
        assert_eq!(
            rfc3339(Timestamp::from_seconds(i64::MAX)),
            format!("@{}", i64::MAX)
        );
        let later = Timestamp {
            seconds: 1,
            nanos: 0,
        };
        assert!((seconds_between(time, later) - 1.75).abs() < 1e-9);
        assert!(seconds_between(later, time) < 1e-9);
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["ID", "Paths"]), row(["1234", "/a"])]),
            ["ID    Paths", "1234  /a"]
        );
    }
}
