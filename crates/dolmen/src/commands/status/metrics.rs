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
    times(&mut out, status);
    let protect = "dolmen_protect_seconds";
    head(
        &mut out,
        protect,
        "The protection period; 0: no policy states one.",
    );
    line(&mut out, protect, &[], status.protect_seconds.unwrap_or(0));
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

/// What happened, or will, at which time.
fn times(out: &mut String, status: &Status) {
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
        head(out, name, help);
        line(out, name, &[], at.map_or(0, seconds));
    }
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

    fn status(host: &str, protected_until: Option<i64>) -> Status {
        let backup = LastBackup {
            snapshot: "1a2b3c4d".to_owned(),
            received: Timestamp::from_seconds(1_700_000_000),
        };
        let source = Source {
            host: host.to_owned(),
            writer: "admin".to_owned(),
        };
        Status {
            snapshots: 3,
            protected_longer: 0,
            maintained: None,
            last: BTreeMap::from([(source, backup)]),
            lock: LockStrategy::Compliance,
            protect_seconds: Some(30 * 86_400),
            protected_until: protected_until.map(Timestamp::from_seconds),
            renewal_due: None,
            space: Space::default(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_host_cannot_forge_a_line() {
        let status = status("a\"} 0\ndolmen_snapshots 9\\", None);
        let text = text(&status);
        assert!(text.contains(
            "dolmen_last_backup_timestamp_seconds{host=\"a\\\"} 0\\ndolmen_snapshots 9\\\\\",writer=\"admin\"} 1700000000\n"
        ));
        assert!(text.contains("\ndolmen_snapshots 3\n"));
        assert!(text.contains("dolmen_bytes{kind=\"junk\"} 0\n"));
        let is_known = |line: &str| line.starts_with("# ") || line.starts_with("dolmen_");
        assert!(text.lines().all(is_known), "{text}");
    }

    /// Samples by name and labels.
    type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

    /// Takes a name off the front.
    fn name(text: &str) -> (&str, &str) {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        assert!(!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()));
        (name, rest)
    }

    /// Takes labels in braces off the front.
    fn labels(mut text: &str) -> (BTreeMap<String, String>, &str) {
        let mut labels = BTreeMap::new();
        loop {
            let (label, rest) = name(text);
            let rest = rest.strip_prefix("=\"").unwrap();
            let (mut value, mut characters) = (String::new(), rest.chars());
            loop {
                match characters.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(match characters.next().unwrap() {
                        '\\' => '\\',
                        '"' => '"',
                        'n' => '\n',
                        other => panic!("\\{other} is no escape"),
                    }),
                    plain => value.push(plain),
                }
            }
            assert_eq!(labels.insert(label.to_owned(), value), None, "twice");
            let rest = characters.as_str();
            match rest.strip_prefix(',') {
                Some(more) => text = more,
                None => return (labels, rest.strip_prefix('}').unwrap()),
            }
        }
    }

    /// Reads the text format as its grammar has it: each metric's help, its type, then its samples, no name or sample twice.
    fn parse(text: &str) -> Samples {
        let (mut samples, mut seen) = (Samples::new(), Vec::new());
        let mut lines = text.strip_suffix('\n').unwrap().split('\n').peekable();
        while let Some(line) = lines.next() {
            let (metric, help) = name(line.strip_prefix("# HELP ").unwrap());
            assert!(help.starts_with(' ') && !help.contains('\\'));
            assert!(metric.starts_with("dolmen_") && !seen.contains(&metric));
            seen.push(metric);
            let kind = format!("# TYPE {metric} gauge");
            assert_eq!(lines.next(), Some(kind.as_str()));
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (of, rest) = name(line);
                assert_eq!(of, metric);
                let (labels, rest) = match rest.strip_prefix('{') {
                    Some(rest) => labels(rest),
                    None => (BTreeMap::new(), rest),
                };
                let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
                let before = samples.insert((of.to_owned(), labels), value);
                assert_eq!(before, None, "{line}");
            }
        }
        samples
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let host = "a\"} 0\ndolmen_snapshots 9\\,b=\"ü";
        let samples = parse(&text(&status(host, Some(1_800_000_000))));
        let of = |metric: &str, labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            samples.get(&(metric.to_owned(), labels.collect())).copied()
        };
        let last = "dolmen_last_backup_timestamp_seconds";
        let source = [("host", host), ("writer", "admin")];
        assert_eq!(of(last, &source), Some(1_700_000_000.0));
        let horizon = "dolmen_protected_until_timestamp_seconds";
        assert_eq!(of(horizon, &[]), Some(1_800_000_000.0));
        assert_eq!(of("dolmen_protect_seconds", &[]), Some(2_592_000.0));
        assert_eq!(of("dolmen_snapshots", &[]), Some(3.0));
        for kind in ["live", "retired", "locked", "junk"] {
            assert_eq!(of("dolmen_bytes", &[("kind", kind)]), Some(0.0));
        }
    }
}
