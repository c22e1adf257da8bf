//! `dolmen ls SNAP [DIR…]`

mod node;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use clap::Args;
use dolmen_core::finding::chain;
use dolmen_core::pack::BlobReader;
use dolmen_core::snapshots::SnapshotEntry;
use dolmen_core::tree::reader::TreeReader;
use dolmen_core::{Error, Repository};
use dolmen_format::tree::{Entry, NodeKind};
use dolmen_fs::PathKey;
use dolmen_state::index::BlobIndex;
use serde_json::Value;

use super::App;
use super::select::{self, FilterArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::open::{Duty, open};
use crate::{paths, render};

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The snapshot: full id, unique prefix, `latest`, `latest~N`; `SNAP:PATH` lists what is below PATH
    #[arg(value_name = "SNAP[:PATH]")]
    snapshot: OsString,
    /// Only these absolute paths and what is directly in them
    #[arg(value_name = "DIR")]
    dirs: Vec<OsString>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    long: bool,
    /// Go down into the folders that DIR names
    #[arg(long)]
    recursive: bool,
    /// With --long, print sizes with units
    #[arg(long)]
    human_readable: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Lists files.
pub(super) fn run(app: &App, args: &LsArgs) -> Outcome {
    let (wanted, below) = select::split_path(args.snapshot.as_bytes())?;
    let (filter, at) = (args.filter.filter()?, args.filter.at(app)?);
    let mut listing = Listing {
        app,
        args,
        below: key(&below)?,
        dirs: Vec::new(),
        shown: 0,
    };
    for dir in &args.dirs {
        if !dir.as_bytes().starts_with(b"/") {
            return Err(Failure::usage(format!(
                "`{}` is not an absolute path",
                dir.display()
            )));
        }
        listing
            .dirs
            .push(key(&paths::absolute(dir.as_bytes(), b"/"))?);
    }
    let opened = open(app, Duty::Read)?;
    let snapshots = opened.load_snapshots_at(app, at)?;
    let entry = select::find(app, &snapshots, &wanted, &filter)?;
    let index = opened.load_index_for(app, &[entry])?;
    listing.head(entry);
    let exit = listing.walk(&opened.repository, &index.blobs, entry);
    opened.warn_of_oddities(app);
    if listing.shown == 0 && exit == Exit::Done && listing.names_a_path() {
        let path = args
            .dirs
            .first()
            .map_or(below, |dir| dir.as_bytes().to_vec());
        let path = render::lossy(&path);
        return Err(Error::NoPath {
            path,
            snapshot: entry.short_id(),
        }
        .into());
    }
    Ok(exit)
}

fn key(path: &[u8]) -> Outcome<PathKey> {
    PathKey::from_path(path)
        .map_err(|error| Failure::usage(format!("`{}`: {error}", String::from_utf8_lossy(path))))
}

struct Listing<'a> {
    app: &'a App,
    args: &'a LsArgs,
    /// Where the listing begins; paths are shown from there.
    below: PathKey,
    /// From there on: only these, when there are any.
    dirs: Vec<PathKey>,
    shown: u64,
}

impl Listing<'_> {
    fn names_a_path(&self) -> bool {
        !self.dirs.is_empty() || !self.below.as_bytes().is_empty()
    }

    fn head(&self, entry: &SnapshotEntry) {
        let output = &self.app.output;
        if output.is_json() {
            let mut head = render::snapshot_json(entry);
            if let Some(object) = head.as_object_mut() {
                for name in ["message_type", "struct_type"] {
                    object.insert(name.to_owned(), Value::String("snapshot".to_owned()));
                }
            }
            output.json(&head);
        } else if !output.is_quiet() {
            output.line(format!("{}:", render::snapshot_line(entry)));
        }
    }

    fn walk(&mut self, repository: &Repository, index: &BlobIndex, entry: &SnapshotEntry) -> Exit {
        let Some(root) = entry.tree() else {
            return Exit::Done;
        };
        let blobs = BlobReader::new(repository, index);
        let mut exit = Exit::Done;
        let starts = if self.dirs.is_empty() {
            vec![PathKey::root()]
        } else {
            self.dirs.clone()
        };
        for start in starts {
            let prefix = start
                .components()
                .fold(self.below.clone(), |key, name| key.join(name));
            let mut entries = TreeReader::below(&blobs, root, prefix.as_bytes());
            while let Some(item) = entries.next() {
                if self.app.output.is_closed() {
                    return exit;
                }
                match item {
                    Ok(entry) => {
                        if self.take(&entry, &start) == Below::Skip {
                            entries.skip_below(entry.key);
                        }
                    }
                    Err(lost) => {
                        exit = Exit::Damage;
                        let first = paths::display(&shown_path(&lost.first));
                        self.app
                            .output
                            .item_error(&first, "listing", &chain(&lost.error));
                    }
                }
            }
        }
        exit
    }

    /// Shows an entry if it is to be shown.
    fn take(&mut self, entry: &Entry, start: &PathKey) -> Below {
        let Ok(key) = PathKey::from_bytes(&entry.key) else {
            return Below::Show;
        };
        let Some(mut relative) = key.below(&self.below) else {
            return Below::Show;
        };
        if relative.as_bytes().is_empty() && !matches!(entry.node.kind, NodeKind::Directory) {
            // A path that names no folder is what it names.
            relative = PathKey::root().join(key.name());
        }
        if relative.as_bytes().is_empty() {
            // The folder that stands for the root is there, even when nothing is in it.
            self.shown = self.shown.saturating_add(1);
            return Below::Show;
        }
        let recursive = self.args.recursive || self.dirs.is_empty();
        // Not counted where it does not matter: a path can have thousands of components.
        let depth_below = if recursive {
            0
        } else {
            relative
                .components()
                .count()
                .saturating_sub(start.components().count())
        };
        if depth_below > 1 {
            // Only below a folder whose own entry is lost.
            return Below::Skip;
        }
        self.shown = self.shown.saturating_add(1);
        let path = relative.to_path();
        let output = &self.app.output;
        if output.is_json() {
            output.json(&node::json(&path, &entry.node));
        } else if self.args.long {
            let line = node::long(&entry.node, self.args.human_readable);
            output.line(format!("{line} {}", paths::display(&path)));
        } else {
            output.line(paths::display(&path));
        }
        if depth_below > 0 {
            Below::Skip
        } else {
            Below::Show
        }
    }
}

/// Whether what is below an entry is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Show,
    Skip,
}

/// A key as a path, whether its names are sound or not.
fn shown_path(key: &[u8]) -> Vec<u8> {
    let slashes = key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte });
    std::iter::once(b'/').chain(slashes).collect()
}
