//! Rebuilding what can be rebuilt.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use dolmen_format::index::IndexedFrame;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, PackId, SegmentId};
use dolmen_state::state::Instance;
use dolmen_store::{StoreErrorKind, VersionInfo, VersionKind};
use futures_util::TryStreamExt as _;

use crate::backup::trusts_chains;
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, chain};
use crate::index::Index;
use crate::index::segments::SegmentWriter;
use crate::moves::{Moves, gone};
use crate::pack::describe::{READS_MAX, describe_all};
use crate::repository::Repository;

/// What a rebuilding of the index did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexReport {
    /// Packs that the new segments describe.
    pub packs: u64,
    /// Blobs in them.
    pub blobs: u64,
    /// Packs that could not be read.
    pub unreadable: Vec<Finding>,
}

impl IndexReport {
    fn add(&mut self, frames: &[IndexedFrame]) {
        let blobs = frames.iter().map(|frame| count(frame.blobs.len()));
        self.packs += 1;
        self.blobs += blobs.sum::<u64>();
    }
}

/// Writes segments anew from the tables of all packs of this writer, and then removes the index objects
/// that are not what their names say. Nothing else is removed; the old segments stay.
///
/// Origins that are gone are described by the tables of the packs that their frames were moved to, unless a segment does.
///
/// Cost: three listings; one or two requests for each pack, one for each old segment, one put for each new.
pub fn rebuild_index(
    repository: &Repository,
    instance: &mut Instance,
    observer: &dyn Observer,
    cancel: &AtomicBool,
) -> Result<IndexReport> {
    let mut report = IndexReport::default();
    let mut packs = Vec::new();
    let prefix = format!("packs/{}/", repository.writer());
    let foreign = repository
        .objects
        .list(&prefix, |object| packs.push(object))?;
    for name in foreign {
        observer.notice(&format!("{name} is no pack"));
    }
    packs.sort_by_key(|object| object.key);
    let moves = Moves::load(repository)?;
    let destinations = moves.destinations();
    packs.retain(|object| !destinations.contains(&object.key));
    let mut writer = SegmentWriter::new(instance.id());
    for batch in packs.chunks(READS_MAX) {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        for (object, described) in batch.iter().zip(describe_all(repository, batch)?) {
            match described {
                Ok((entry, frames)) => {
                    report.add(&frames);
                    writer.push(repository, entry, &frames)?;
                }
                Err(problem) => {
                    let finding = Finding::new(object.key.to_string(), problem);
                    observer.finding(&finding);
                    report.unreadable.push(finding);
                }
            }
        }
    }
    let index = Index::load(repository, None)?;
    let gone = gone_undescribed(repository, &index, &moves)?;
    gone::describe(
        repository,
        &index.blobs,
        &moves,
        &gone,
        cancel,
        |entry, frames| {
            report.add(&frames);
            writer.push(repository, entry, &frames)
        },
    )?;
    writer.flush(repository)?;
    let old = old_segments(repository)?;
    let mut record = instance.record().clone();
    // What a pack says of itself nobody vouches for. It is believed where all that is listed is.
    record.segments.retain(|id| old.intact.contains(id));
    if trusts_chains(repository) {
        let written = writer.written().iter();
        record
            .segments
            .extend(written.map(|segment| segment.seen.id));
    }
    instance.save(record)?;
    remove(repository, &old.junk, observer);
    Ok(report)
}

/// Origins that are gone and that no segment describes.
fn gone_undescribed(
    repository: &Repository,
    index: &Index,
    moves: &Moves,
) -> Result<BTreeSet<PackId>> {
    let mut gone: BTreeSet<PackId> = moves.origins().copied().collect();
    gone.retain(|origin| index.blobs.find_pack(origin).is_none());
    if !gone.is_empty() {
        repository.objects.list("packs/", |object| {
            gone.remove(&object.key.id());
        })?;
    }
    Ok(gone)
}

/// The index objects of the store.
#[derive(Debug, Default)]
struct OldSegments {
    /// Whose bytes are what their names say.
    intact: BTreeSet<SegmentId>,
    /// Whose bytes are not: by definition no objects of a repository.
    junk: Vec<VersionInfo>,
}

fn old_segments(repository: &Repository) -> Result<OldSegments> {
    let objects = &repository.objects;
    let versions: Vec<VersionInfo> =
        objects.block_on(objects.store().list_versions("index/").try_collect())?;
    let mut old = OldSegments::default();
    for version in versions {
        let Ok(ObjectKey::Index(_, id)) = version.name.parse() else {
            continue;
        };
        let (VersionKind::Data, Some(object)) = (version.kind, version.object_ref()) else {
            continue;
        };
        let limit = ObjectKind::Index.bytes_max();
        let body = objects.block_on(objects.store().get(
            &object.key,
            Some(&object.version),
            None,
            limit,
        ));
        match body {
            Ok(body) if ObjectId::of(&body) == id => {
                old.intact.insert(id);
            }
            Ok(_) => old.junk.push(version),
            Err(error) if error.kind == StoreErrorKind::Unavailable => return Err(error.into()),
            // Whatever it is, it was not read: nobody can say that it is junk.
            Err(_) => {}
        }
    }
    Ok(old)
}

/// Removes junk as far as the store lets it go: the rest stays and does no harm.
fn remove(repository: &Repository, junk: &[VersionInfo], observer: &dyn Observer) {
    let objects = &repository.objects;
    for version in junk {
        let Some(object) = version.object_ref() else {
            continue;
        };
        match objects.block_on(objects.store().delete_version(&object)) {
            Ok(()) => observer.notice(&format!("removed the damaged {}", version.name)),
            Err(error) => observer.notice(&format!("a damaged object stays: {}", chain(&error))),
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
