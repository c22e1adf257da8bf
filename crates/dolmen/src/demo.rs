//! `dolmen demo [DIR]`: one minute, nothing to set up, nothing to answer.
//!
//! Everything happens in a temporary folder, on a copy of the files: backed up, changed, backed up again; then a thief
//! who has the passphrase and may write everywhere attacks a copy of the repository; then all is restored and compared.
//! The same thief then tries a store with locks, simulated in memory.

mod attack;
mod locked;
mod tree;
mod world;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use dolmen_core::Finding;
use dolmen_core::restore;
use serde_json::json;

use crate::commands::App;
use crate::exit::{Exit, Failure, Outcome};
use crate::{paths, render};

use world::{Home, Site};

/// What to show it on.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The folder to back up; none: the sources around the current folder, or that folder. It is only read
    dir: Option<PathBuf>,
}

/// What it came to, in numbers.
#[derive(Debug, Default)]
struct Tally {
    files: u64,
    bytes: u64,
    unreadable: u64,
    items: u64,
    items_damaged: u64,
}

/// Shows it.
pub(crate) fn run(app: &App, args: &DemoArgs) -> Outcome {
    let start = Instant::now();
    let say = |text: &str| {
        if !app.output.is_quiet() && !app.output.is_json() {
            app.output.line(text);
            app.output.flush();
        }
    };
    let source = tree::choose(args.dir.as_deref())?;
    let home = Home::new(app)?;
    let remove = home.folder().to_path_buf();
    app.interrupt.tell(move || {
        let _removed = std::fs::remove_dir_all(&remove);
    });
    let shown = show(app, &source, &home, &say);
    if shown.is_ok() {
        say("10. Removing the temporary folder.");
    }
    let removed = home.remove();
    if app.interrupt.is_set() {
        return Err(Failure::new(Exit::Interrupted, "interrupted"));
    }
    let tally = shown?;
    removed?;
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("That took {seconds:.0} s. {WHAT_NOW}"));
    if app.output.is_json() {
        app.output.json(&json!({
            "message_type": "summary",
            "files": tally.files,
            "bytes": tally.bytes,
            "unreadable": tally.unreadable,
            "items": tally.items,
            "items_restored": tally.items,
            "items_damaged_by_attack": tally.items_damaged,
            "wrong_bytes": 0,
            "seconds_elapsed": seconds,
        }));
    }
    Ok(Exit::Done)
}

fn show(app: &App, source: &Path, home: &Home, say: &dyn Fn(&str)) -> Outcome<Tally> {
    let files = home.folder().join("files");
    let copied = tree::copy(source, &files)?;
    let mut tally = Tally {
        files: copied.files,
        bytes: copied.bytes,
        unreadable: copied.unreadable,
        ..Tally::default()
    };
    say(&format!(
        "1. These files are to be kept: {} in {}, {}.{}",
        render::count(copied.files, "file"),
        source.display(),
        render::bytes(copied.bytes),
        if copied.is_cut {
            " (There are more; a minute is short.)"
        } else {
            ""
        }
    ));
    if copied.unreadable > 0 {
        say(&left_out(&copied));
    }
    say(
        "   All that follows happens to a copy of them, in a temporary folder that is removed at the end.",
    );

    let mut site = Site::create(app, home, "repository")?;
    let first = site.backup(&files, "laptop")?;
    say(&format!("2. Backed up in {}", added(&first)));

    let changes = tree::change(&files)?;
    let second = site.backup(&files, "laptop")?;
    say(&format!(
        "3. {changes} Backed up again in {}",
        added(&second)
    ));

    say(
        "4. A thief has the machine, the passphrase, and may write to the folder with the backups.",
    );
    say("   (To a copy of it here, so that we can look at both.)");
    let mut stolen = site.copy_to(app, home, "attacked")?;
    for deed in attack::attack(&mut stolen, home)? {
        say(&format!("   - {deed}"));
    }

    say("5. What `dolmen check` says of the attacked copy:");
    let findings = stolen.check()?;
    for line in sample(&findings) {
        say(&format!("   - {line}"));
    }

    restore_both(home, &mut site, &mut stolen, &mut tally, say)?;
    locked::show(app, home, &files, say)?;
    Ok(tally)
}

/// Names what could not be read.
fn left_out(copied: &tree::Copied) -> String {
    let names = copied.examples.iter();
    let mut names: Vec<_> = names
        .map(|path| paths::display(paths::bytes_of(path)))
        .collect();
    let more = copied
        .unreadable
        .saturating_sub(u64::try_from(names.len()).unwrap_or(u64::MAX));
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    format!(
        "   Left out, because this user cannot read it: {} ({}).",
        render::count(copied.unreadable, "item"),
        names.join(", ")
    )
}

const WHAT_NOW: &str = "Begin with: dolmen init -r FOLDER";

/// Restores from what the attack left, and from the repository that it did not reach.
fn restore_both(
    home: &Home,
    site: &mut Site,
    stolen: &mut Site,
    tally: &mut Tally,
    say: &dyn Fn(&str),
) -> Outcome<()> {
    stolen.rebuild_index()?;
    say("6. The index is rebuilt from the packs, and the newest backup that is left is restored:");
    let files = home.folder().join("files");
    let rest = stolen.restore(&files, "left")?;
    let compared = tree::compare(&files, &rest.target, &rest.failed)?;
    tally.items_damaged = compared.named;
    say(&format!(
        "   {} of {} came back; {} said to be damaged.",
        compared.same,
        render::count(compared.total, "item"),
        if compared.named == 0 {
            "none".to_owned()
        } else {
            compared.named.to_string()
        },
    ));
    say(&format!(
        "   Wrong bytes passed off as right: {}. Every byte is verified before it is believed.",
        compared.wrong
    ));
    say(
        "   But what was deleted is gone: a plain folder cannot refuse. A store with locks can; see 8.",
    );

    let whole = site.restore(&files, "restored")?;
    let all = tree::compare(&files, &whole.target, &whole.failed)?;
    if all.same != all.total || whole.report != expected(whole.report) {
        return Err(Failure::new(
            Exit::Damage,
            format!(
                "{} of {} items came back from the untouched repository",
                all.same, all.total
            ),
        )
        .hint("this is a bug in Dolmen; please report it"));
    }
    say(&format!(
        "7. From the repository that the thief did not reach, all {} came back, every byte, mode and",
        render::count(all.total, "item")
    ));
    tally.items = all.total;
    say(if tally.unreadable == 0 {
        "   time compared with the originals: nothing was lost."
    } else {
        "   time compared with the originals: nothing was lost of what could be read."
    });
    if compared.wrong > 0 {
        return Err(
            Failure::new(Exit::Damage, "the attacked copy gave back wrong bytes")
                .hint("this is a bug in Dolmen; please report it"),
        );
    }
    Ok(())
}

/// The same report without damage and errors.
const fn expected(report: restore::Report) -> restore::Report {
    restore::Report {
        damaged: 0,
        differing: 0,
        errors: 0,
        ..report
    }
}

fn added(report: &dolmen_core::backup::Report) -> String {
    let summary = &report.summary;
    format!(
        "{:.1} s: {} looked at, {} stored, compressed and encrypted.",
        render::seconds_between(report.start, report.end),
        render::count(summary.total_files_processed, "file"),
        render::bytes(summary.data_added_packed)
    )
}

/// How many findings are shown.
const SHOWN_MAX: usize = 8;

/// The first findings, and how many more there are.
fn sample(findings: &[Finding]) -> Vec<String> {
    let mut lines: Vec<_> = findings
        .iter()
        .take(SHOWN_MAX)
        .map(|finding| shorten(&finding.to_string()))
        .collect();
    if let Some(more) = findings
        .len()
        .checked_sub(SHOWN_MAX)
        .filter(|more| *more > 0)
    {
        lines.push(format!("and {more} more"));
    }
    if lines.is_empty() {
        lines.push("nothing".to_owned());
    }
    lines
}

/// Cuts ids of 32 and 64 digits to 8: they are for machines.
fn shorten(text: &str) -> String {
    let mut short = String::new();
    let mut digits = String::new();
    for c in text.chars().chain([' ']) {
        if matches!(c, '0'..='9' | 'a'..='f') {
            digits.push(c);
            continue;
        }
        let shown = if digits.len() >= 32 { 8 } else { digits.len() };
        short.extend(digits.chars().take(shown));
        if shown < digits.len() {
            short.push('…');
        }
        digits.clear();
        short.push(c);
    }
    short.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_cut() {
        let id = "ab".repeat(32);
        assert_eq!(
            shorten(&format!("packs/x/{id}: gone")),
            "packs/x/abababab…: gone"
        );
        assert_eq!(shorten("deadbeef is short"), "deadbeef is short");
    }
}
