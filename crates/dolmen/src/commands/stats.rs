//! `dolmen stats [SNAP…]`

use clap::{Args, ValueEnum};
use dolmen_core::stats::{self, Mode, Stats};
use serde_json::{Map, Value, json};

use super::App;
use super::select::{self, FilterArgs};
use crate::exit::{During as _, Exit, Outcome};
use crate::open::{Duty, open};
use crate::render;

/// What to count.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// The snapshots; none: all
    #[arg(value_name = "SNAP")]
    snapshots: Vec<String>,
    /// What to count
    #[arg(long, value_enum, default_value = "restore-size")]
    mode: ModeName,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The ways of counting, with restic's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// What a restore of each snapshot would write
    RestoreSize,
    /// Files whose contents differ
    FilesByContents,
    /// Files whose contents differ, and the blobs that they refer to
    BlobsPerFile,
    /// What the store holds for them
    RawData,
}

/// Counts.
pub(super) fn run(app: &App, args: &StatsArgs) -> Outcome {
    let (filter, at) = (args.filter.filter()?, args.filter.at(app)?);
    let opened = open(app, Duty::Read)?;
    let list = opened.load_snapshots_at(app, at)?;
    let found = select::find_all(app, &list, &args.snapshots, &filter)?;
    let index = opened.load_index_for(app, &found)?;
    let mode = match args.mode {
        ModeName::RestoreSize => Mode::RestoreSize,
        ModeName::FilesByContents => Mode::FilesByContents,
        ModeName::BlobsPerFile => Mode::BlobsPerFile,
        ModeName::RawData => Mode::RawData,
    };
    let stats = stats::run(&opened.repository, &index, &found, mode)
        .during(&format!("cannot count what is in {}", opened.address))?;
    if app.output.is_json() {
        app.output.json(&to_json(&stats));
    } else {
        for line in to_text(&stats) {
            app.output.line(line);
        }
    }
    opened.warn_of_oddities(app);
    Ok(Exit::Done)
}

fn to_json(stats: &Stats) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            object.insert(name.to_owned(), value);
        }
    };
    put("total_size", json!(stats.total_size));
    put(
        "total_uncompressed_size",
        json!(stats.total_uncompressed_size),
    );
    put("compression_ratio", json!(stats.compression_ratio));
    put(
        "compression_space_saving",
        json!(stats.compression_space_saving),
    );
    put("total_file_count", json!(stats.total_file_count));
    put("total_blob_count", json!(stats.total_blob_count));
    put("snapshots_count", json!(stats.snapshots_count));
    Value::Object(object)
}

fn to_text(stats: &Stats) -> Vec<String> {
    let mut rows = vec![["Snapshots".to_owned(), stats.snapshots_count.to_string()]];
    if let Some(blobs) = stats.total_blob_count {
        rows.push(["Blobs".to_owned(), blobs.to_string()]);
    }
    // What is stored has no files.
    if stats.total_uncompressed_size.is_none() {
        rows.push(["Files".to_owned(), stats.total_file_count.to_string()]);
    }
    if let Some(size) = stats.total_uncompressed_size {
        rows.push(["Before compression".to_owned(), render::bytes(size)]);
    }
    if let Some(ratio) = stats.compression_ratio {
        rows.push(["Compression".to_owned(), format!("{ratio:.2}x")]);
    }
    if let Some(saving) = stats.compression_space_saving {
        let text = match format!("{saving:.1}%") {
            zero if zero == "-0.0%" => "0.0%".to_owned(),
            text => text,
        };
        rows.push(["Space saved".to_owned(), text]);
    }
    rows.push(["Total size".to_owned(), render::bytes(stats.total_size)]);
    let rows: Vec<_> = rows.into_iter().map(Vec::from).collect();
    render::table(&rows)
}
