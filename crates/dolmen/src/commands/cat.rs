//! `dolmen cat WHAT`

pub(super) mod show;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::{Args, Subcommand};
use dolmen_core::pack::BlobReader;
use dolmen_core::snapshots::Filter;
use dolmen_core::tree::reader::TreeReader;
use dolmen_core::{Error, Repository};
use dolmen_format::index::Segment;

use dolmen_format::pack::PackTable;
use dolmen_format::{BlobId, BlobKind, FormatError, ObjectKey, ObjectKind, Timestamp};
use dolmen_fs::PathKey;

use super::App;
use super::select::{self, AtArgs};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
use crate::render;

/// What to print.
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    at: AtArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What the repository is
    #[command(alias = "config")]
    Root,
    /// How the repository is kept
    Policy,
    /// A snapshot
    Snapshot {
        /// Full id, unique prefix, `latest`, `latest~N`
        #[arg(value_name = "SNAP")]
        snapshot: String,
    },
    /// The bytes of a blob, as they are
    Blob {
        /// Full id
        #[arg(value_name = "ID")]
        id: BlobId,
    },
    /// An index segment
    Index {
        /// Full id or unique prefix
        #[arg(value_name = "ID")]
        id: String,
    },
    /// A pack's table
    Pack {
        /// Full id or unique prefix
        #[arg(value_name = "ID")]
        id: String,
    },
    /// The entries at and directly below a path
    Tree {
        /// The snapshot and a path in it
        #[arg(value_name = "SNAP[:PATH]")]
        place: OsString,
    },
}

/// Prints it.
pub(super) fn run(app: &App, args: &CatArgs) -> Outcome {
    let at = args.at.time(app)?;
    let opened = open(app, Duty::Read)?;
    let exit = print(app, &opened, &args.what, at)?;
    opened.warn_of_oddities(app);
    Ok(exit)
}

fn print(app: &App, opened: &Opened, what: &What, at: Option<Timestamp>) -> Outcome {
    let repository = &opened.repository;
    match what {
        What::Root => app.output.json(&show::root(repository)),
        What::Policy => {
            let list = opened.load_snapshots_at(app, at)?;
            app.output.json(&show::policy(&list.facts.policy().policy));
        }
        What::Snapshot { snapshot } => {
            let list = opened.load_snapshots_at(app, at)?;
            let entry = select::find(app, &list, snapshot, &Filter::default())?;
            app.output.json(&render::snapshot_json(entry));
        }
        What::Blob { id } => app.output.raw(&blob(app, opened, id)?),
        What::Index { id } => {
            let key = find_object(repository, "index/", "index segment", id, at)?;
            let segment = read_segment(repository, &key)
                .during(&format!("cannot read the index segment {}", key.id()))?;
            app.output.json(&segment);
        }
        What::Pack { id } => {
            let key = find_object(repository, "packs/", "pack", id, at)?;
            let tried = format!("cannot read the pack {}", key.id());
            let stored = fetch(repository, &key, ObjectKind::Pack).during(&tried)?;
            let table = PackTable::decode_pack(&stored)
                .map_err(|error| Error::damaged(key.to_string(), error));
            app.output
                .json(&show::pack(&key.id(), stored.len(), &table.during(&tried)?));
        }
        What::Tree { place } => return tree(app, opened, place, at),
    }
    Ok(Exit::Done)
}

/// The one object below `prefix` whose id begins with `wanted`, and that was there at a time.
fn find_object(
    repository: &Repository,
    prefix: &str,
    what: &str,
    wanted: &str,
    at: Option<Timestamp>,
) -> Outcome<ObjectKey> {
    let mut found = Vec::new();
    repository
        .objects
        .list(prefix, |object| {
            let was_there = |at| object.copies.iter().any(|copy| copy.stored_at <= at);
            if object.key.id().to_string().starts_with(wanted) && at.is_none_or(was_there) {
                found.push(object.key);
            }
        })
        .during(&format!("cannot look for {what} {wanted}"))?;
    match found.as_slice() {
        [key] => Ok(*key),
        [] => Err(
            Failure::new(Exit::Failed, format!("no {what} {wanted} is there")).hint(format!(
                "give a full id or the first digits of one: the names of the objects below {prefix}"
            )),
        ),
        many => Err(Failure::new(
            Exit::Failed,
            format!("{} objects match {what} {wanted}", many.len()),
        )
        .hint("give more digits of the id")),
    }
}

fn fetch(
    repository: &Repository,
    key: &ObjectKey,
    kind: ObjectKind,
) -> Result<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]>, Error> {
    repository
        .objects
        .fetch(key, kind)
        .map_err(|error| Error::damaged(key.to_string(), error))
}

fn blob(app: &App, opened: &Opened, id: &BlobId) -> Outcome<Vec<u8>> {
    let index = opened.load_index(app)?;
    let blobs = BlobReader::new(&opened.repository, &index.blobs);
    let read = blobs
        .locate(id)
        .and_then(|location| blobs.blob(id, location.kind));
    let name = format!("blob {id}");
    Ok(read.map_err(|error| Error::damaged(name, error))?)
}

fn read_segment(repository: &Repository, key: &ObjectKey) -> Result<serde_json::Value, Error> {
    let stored = fetch(repository, key, ObjectKind::Index)?;
    let unknown = || Error::damaged(key.to_string(), "not signed by a known writer".to_owned());
    let verify = key
        .writer()
        .and_then(|writer| repository.verify_key_of(writer));
    let (mut segment, _) = verify
        .ok_or_else(unknown)?
        .verify::<Segment>(&repository.id(), &stored)
        .map_err(|error| Error::damaged(key.to_string(), error))?;
    let mut sealed = std::mem::take(&mut segment.blobs);
    let domain = repository.keys().domain(&segment.domain);
    let plain = domain
        .ok_or_else(|| {
            Error::damaged(
                key.to_string(),
                "made for a dedup domain that this key does not know".to_owned(),
            )
        })?
        .open_segment(&repository.id(), &segment.salt, &mut sealed)
        .map_err(|error| Error::damaged(key.to_string(), error))?;
    show::segment(&segment, plain)
        .map_err(|error: FormatError| Error::damaged(key.to_string(), error))
}

fn tree(app: &App, opened: &Opened, place: &OsStr, at: Option<Timestamp>) -> Outcome {
    let (wanted, path) = select::split_path(place.as_bytes())?;
    let list = opened.load_snapshots_at(app, at)?;
    let entry = select::find(app, &list, &wanted, &Filter::default())?;
    let index = opened.load_index_for(app, &[entry])?;
    let shown = render::lossy(&path);
    let no_path = || Error::NoPath {
        path: shown.clone(),
        snapshot: entry.short_id(),
    };
    let key = PathKey::from_path(&path).map_err(|_error| no_path())?;
    let root = entry.tree().ok_or_else(no_path)?;
    let depth = key.components().count().saturating_add(1);
    let mut entries = Vec::new();
    let blobs = BlobReader::new(&opened.repository, &index.blobs);
    for item in TreeReader::below(&blobs, root, key.as_bytes()) {
        let item =
            item.map_err(|lost| Error::damaged(format!("tree node {}", lost.node), lost.error))?;
        let names = item
            .key
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .count();
        if names <= depth {
            entries.push(show::entry(&item));
        }
    }
    if entries.is_empty() {
        return Err(no_path().into());
    }
    let id = blobs.locate(&root.id).map(|_| root.id.to_string());
    app.output
        .json(&serde_json::json!({ "root": id.ok(), "level": root.level, "entries": entries }));
    Ok(Exit::Done)
}

/// The name of a blob's kind.
const fn kind_name(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Data => "data",
        BlobKind::Tree => "tree",
        BlobKind::List => "list",
        BlobKind::Manifest => "manifest",
    }
}
