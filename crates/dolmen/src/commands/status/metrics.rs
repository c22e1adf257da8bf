//! Prometheus' text format.

use std::fmt::Write as _;

use dolmen_core::status::Status;
use dolmen_format::Timestamp;

/// Everything, each metric with its help and type.
pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    head(&mut out, "dolmen_snapshots", "Live snapshots.");
    line(&mut out, "dolmen_snapshots", &[], status.snapshots);
    let name = "dolmen_last_backup_timestamp_seconds";
    head(
        &mut out,
        name,
        "When the last backup of a host by a writer was received.",
    );
    for (source, backup) in &status.last {
        line(
            &mut out,
            name,
            &[("host", &source.host), ("writer", &source.writer)],
            seconds(backup.received),
        );
    }
    let space = status.space;
    head(&mut out, "dolmen_bytes", "Bytes in the store.");
    for (kind, tally) in [
        ("live", space.live),
        ("retired", space.retired),
        ("locked", space.locked),
        ("junk", space.junk),
    ] {
        line(&mut out, "dolmen_bytes", &[("kind", kind)], tally.bytes);
    }
    for (name, help, at) in [
        (
            "dolmen_protected_until_timestamp_seconds",
            "The least date until which something needed is locked; 0: not at all.",
            status.protected_until,
        ),
        (
            "dolmen_renewal_due_timestamp_seconds",
            "When the first lock is due for renewal; 0: nothing is locked.",
            status.renewal_due,
        ),
        (
            "dolmen_last_maintenance_timestamp_seconds",
            "When maintenance last did all its steps from this machine; 0: never.",
            status.maintained,
        ),
    ] {
        head(&mut out, name, help);
        line(&mut out, name, &[], at.map_or(0, seconds));
    }
    head(
        &mut out,
        "dolmen_warnings",
        "Warnings that dolmen status shows.",
    );
    line(&mut out, "dolmen_warnings", &[], status.warnings.len());
    let short = status.warnings.iter().filter(|warning| warning.falls_short);
    head(
        &mut out,
        "dolmen_warnings_falling_short",
        "Warnings that say that protection falls short or a backup is too old.",
    );
    line(
        &mut out,
        "dolmen_warnings_falling_short",
        &[],
        short.count(),
    );
    out
}

/// Whole seconds: nothing here is finer.
const fn seconds(at: Timestamp) -> i64 {
    at.seconds
}

fn head(out: &mut String, name: &str, help: &str) {
    // Writing to a string cannot fail.
    let _written = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<_> = labels
        .iter()
        .map(|(key, text)| format!("{key}=\"{}\"", escaped(text)))
        .collect();
    let _written = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{}}} {value}", labels.join(","))
    };
}

/// A label's value: backslash, quote and line feed are written with a backslash.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dolmen_core::audit::Space;
    use dolmen_core::status::{LastBackup, Source};
    use dolmen_format::ledger::LockStrategy;

    use super::*;

    #[test]
    fn a_host_cannot_forge_a_line() {
        let backup = LastBackup {
            snapshot: "1a2b3c4d".to_owned(),
            received: Timestamp::from_seconds(1_700_000_000),
        };
        let source = Source {
            host: "a\"} 0\ndolmen_snapshots 9\\".to_owned(),
            writer: "admin".to_owned(),
        };
        let status = Status {
            snapshots: 3,
            protected_longer: 0,
            maintained: None,
            last: BTreeMap::from([(source, backup)]),
            lock: LockStrategy::None,
            protect_seconds: None,
            protected_until: None,
            renewal_due: None,
            space: Space::default(),
            warnings: Vec::new(),
        };
        let text = text(&status);
        assert!(text.contains(
            "dolmen_last_backup_timestamp_seconds{host=\"a\\\"} 0\\ndolmen_snapshots 9\\\\\",writer=\"admin\"} 1700000000\n"
        ));
        assert!(text.contains("\ndolmen_snapshots 3\n"));
        assert!(text.contains("dolmen_bytes{kind=\"junk\"} 0\n"));
        let is_known = |line: &str| line.starts_with("# ") || line.starts_with("dolmen_");
        assert!(text.lines().all(is_known), "{text}");
    }
}
