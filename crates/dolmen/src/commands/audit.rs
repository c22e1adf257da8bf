//! `dolmen audit`

use clap::Args;
use dolmen_core::audit::{self, Depth, Options, View};
use dolmen_core::check::ReadData;
use serde_json::{Value, json};

use super::App;
use super::check::parse_subset;
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Duty, Opened, open};
use crate::render;

/// How thoroughly.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Read and hash needed packs, too: the n-th of t parts, a share, or as much as SIZE
    #[arg(long, value_name = "N/T|X%|SIZE", value_parser = parse_subset)]
    pub(super) read_data_subset: Option<ReadData>,
}

/// Holds the store against what live snapshots need.
pub(super) fn run(app: &App, args: &AuditArgs) -> Outcome {
    let opened = open(app, Duty::Look)?;
    let view = audit(app, &opened, args)?;
    if app.output.is_json() {
        app.output.json(&document(&view));
    } else {
        print(app, &view);
    }
    Ok(exit_of(&view))
}

/// Looks at everything.
pub(super) fn audit(app: &App, opened: &Opened, args: &AuditArgs) -> Outcome<View> {
    let cancel = app.interrupt.flag();
    let read_data = match args.read_data_subset {
        // Everything: then packs that nothing names, too.
        Some(ReadData::Percent(share)) if share >= 100.0 => ReadData::All,
        Some(ReadData::Part { n: 1, t: 1 }) => ReadData::All,
        Some(subset) => subset,
        None => ReadData::None,
    };
    let (index_cache, scratch) = (opened.index_cache(), opened.scratch());
    let (compared, remembered) = (opened.compared()?, opened.remembered()?);
    let options = Options {
        depth: Depth::Hashes(read_data),
        remembered: &remembered,
        compared: &compared,
        index_cache: index_cache.as_deref(),
        scratch: &scratch,
        cancel: &cancel,
    };
    let view = audit::look(&opened.repository, &options)
        .during(&format!("cannot audit {}", opened.address))?;
    opened.repository.objects.save_notes();
    if view.compared != compared {
        opened.note_compared(&view.compared)?;
    }
    Ok(view)
}

/// 20 for what is lost, 21 for what only looks so or is locked too short, 1 where nothing but what could not be read stands
/// between this and 0.
pub(super) fn exit_of(view: &View) -> Exit {
    let counts = view.counts;
    if counts.missing > 0 || counts.corrupt > 0 {
        Exit::Damage
    } else if counts.is_ok() {
        Exit::Done
    } else if counts.is_unread() {
        Exit::Failed
    } else {
        Exit::Unprotected
    }
}

/// The view as scripts read it.
pub(super) fn document(view: &View) -> Value {
    let counts = view.counts;
    let findings: Vec<_> = view
        .findings
        .iter()
        .map(|finding| json!({ "subject": finding.subject, "problem": finding.problem }))
        .collect();
    json!({
        "objects": view.objects,
        "locked_short": counts.locked_short,
        "shortened": counts.shortened,
        "missing": counts.missing,
        "corrupt": counts.corrupt,
        "hidden": counts.hidden,
        "overwritten": counts.overwritten,
        "foreign": counts.foreign,
        "unread": counts.unread,
        "settings": counts.settings,
        "protected_until": view.protected_until.map(render::rfc3339),
        "findings": findings,
        "findings_left_out": view.findings_left_out,
        "notices": view.notices,
        "ok": counts.is_ok(),
    })
}

/// The view as people read it.
pub(super) fn print(app: &App, view: &View) {
    let output = &app.output;
    for finding in &view.findings {
        output.line(finding.to_string());
    }
    if view.findings_left_out > 0 {
        let more = render::count(view.findings_left_out, "finding");
        output.line(format!("and {more} more"));
    }
    for notice in &view.notices {
        output.notice(notice);
    }
    if output.is_quiet() {
        return;
    }
    let counts = view.counts;
    output.line(format!(
        "{} needed, {}",
        render::count(view.objects, "object"),
        if counts.is_ok() {
            "all of them there and shown".to_owned()
        } else {
            format!(
                "{} missing, {} corrupt, {} hidden, {} overwritten, {} locked too short, {} with a lock that was shortened; \
                 {} foreign, {} not read; {} of the bucket",
                counts.missing,
                counts.corrupt,
                counts.hidden,
                counts.overwritten,
                counts.locked_short,
                counts.shortened,
                counts.foreign,
                counts.unread,
                render::count(counts.settings, "weak setting")
            )
        }
    ));
    if let Some(until) = view.protected_until {
        let until = render::local_time(until);
        output.line(format!(
            "by the store's own word everything needed is locked until {until}"
        ));
    }
    if counts.missing > 0 || counts.corrupt > 0 {
        output.notice("hint: dolmen check names the snapshots that this hurts; a new backup stores again what it still finds, and dolmen \
             repair index rebuilds a lost index");
    }
    if counts.unread > 0 {
        output.notice(
            "hint: it is not known whether what was not read is whole: run dolmen audit with credentials that may read it",
        );
    }
    if counts.hidden > 0 || counts.overwritten > 0 || counts.foreign > 0 {
        output.notice(
            "hint: dolmen recover puts authentic versions back and sets aside what is foreign",
        );
    }
}
