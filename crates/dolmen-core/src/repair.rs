//! Rebuilding what can be rebuilt.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, PackId, SegmentId};
use dolmen_state::index::PackSet;
use dolmen_state::state::Instance;
use dolmen_store::{StoreErrorKind, VersionInfo, VersionKind};
use futures_util::TryStreamExt as _;

use crate::backup::trusts_chains;
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, chain};
use crate::index::segments::SegmentWriter;
use crate::index::{Index, info_of};
use crate::moves::{Moves, gone};
use crate::objects::Listed;
use crate::pack::describe::{Described, READS_MAX, describe_all};
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

/// Writes segments for what the packs of this writer say of themselves, as far as no segment says the same, and then
/// removes the index objects that are not what their names say. Nothing else is removed; the old segments stay. Where
/// nothing is missing or wrong, nothing is written.
///
/// Origins that are gone are described by the tables of the packs that their frames were moved to.
///
/// Cost: three listings; one or two requests for each pack, two for each old segment, one for each table that tells of
/// packs that are gone, one put for each new segment.
pub fn rebuild_index(
    repository: &Repository,
    instance: &mut Instance,
    observer: &dyn Observer,
    cancel: &AtomicBool,
) -> Result<IndexReport> {
    let mut packs = Vec::new();
    let prefix = format!("packs/{}/", repository.writer());
    let foreign = repository
        .objects
        .list(&prefix, |object| packs.push(object))?;
    for name in foreign {
        observer.notice(&format!("{name} is no pack"));
    }
    packs.sort_by_key(|object| object.key);
    let index = Index::load(repository, None)?;
    let mut rebuild = Rebuild {
        repository,
        index: &index,
        moves: Moves::load(repository)?,
        observer,
        cancel,
        writer: SegmentWriter::new(instance.id()),
        truths: PackSet::default(),
        lies: PackSet::default(),
        report: IndexReport::default(),
    };
    rebuild.describe_packs(&packs)?;
    rebuild.describe_gone()?;
    let honest = rebuild.honest();
    rebuild.repeat(&packs, &honest.all)?;
    rebuild.writer.flush(repository)?;
    let mut record = instance.record().clone();
    record.segments.retain(|id| honest.all.contains(id));
    // What a pack says of itself nobody vouches for. It is believed where all that is listed is.
    if trusts_chains(repository) {
        let written = rebuild.writer.written().iter();
        let written = written.map(|segment| segment.seen.id);
        let believed = written.chain(honest.own.iter().copied());
        let known: BTreeSet<SegmentId> = record.segments.iter().copied().collect();
        record
            .segments
            .extend(believed.filter(|id| !known.contains(id)));
    }
    instance.save(record)?;
    let report = rebuild.report;
    remove(repository, &junk_segments(repository)?, observer);
    Ok(report)
}

/// What the packs say of themselves, held against what segments say of them.
struct Rebuild<'a> {
    repository: &'a Repository,
    index: &'a Index,
    moves: Moves,
    observer: &'a dyn Observer,
    cancel: &'a AtomicBool,
    writer: SegmentWriter,
    /// Descriptions in segments that are what packs say of themselves.
    truths: PackSet,
    /// Descriptions in segments of packs that say something else of themselves.
    lies: PackSet,
    report: IndexReport,
}

/// Segments none of which says anything of a pack that this does not say of itself.
struct Honest {
    all: BTreeSet<SegmentId>,
    /// Those that describe packs of this writer.
    own: BTreeSet<SegmentId>,
}

impl Rebuild<'_> {
    /// Describes what no segment describes as it describes itself.
    fn describe_packs(&mut self, packs: &[Listed]) -> Result<()> {
        let destinations = self.moves.destinations();
        let blobs = &self.index.blobs;
        for batch in packs.chunks(READS_MAX) {
            for (object, described) in batch.iter().zip(self.describe(batch)?) {
                let (entry, frames) = match described {
                    Ok(described) => described,
                    // What frames were moved to tells of their origins. A claim alone makes no pack one.
                    Err(wrong) if wrong.is_gone || destinations.contains(&object.key) => continue,
                    Err(wrong) => {
                        let finding = Finding::new(object.key.to_string(), wrong.problem);
                        self.observer.finding(&finding);
                        self.report.unreadable.push(finding);
                        continue;
                    }
                };
                let info = info_of(self.repository.writer(), &entry);
                let truth = blobs.find_description(&info, &frames);
                for known in blobs.find_packs(&entry.pack) {
                    if truth == Some(known) {
                        self.truths.insert(known);
                    } else {
                        self.lies.insert(known);
                    }
                }
                if truth.is_none() {
                    self.push(entry, &frames)?;
                }
            }
        }
        Ok(())
    }

    /// Describes origins that are gone, unless a segment says what is known of them.
    fn describe_gone(&mut self) -> Result<()> {
        let (repository, index, cancel) = (self.repository, self.index, self.cancel);
        let mut gone: BTreeSet<PackId> = self.moves.origins().copied().collect();
        if gone.is_empty() {
            return Ok(());
        }
        repository.objects.list("packs/", |object| {
            gone.remove(&object.key.id());
        })?;
        let moves = std::mem::take(&mut self.moves);
        gone::describe(
            repository,
            &index.blobs,
            &moves,
            &gone,
            cancel,
            |entry, frames| match index.blobs.find_agreeing(&entry.pack, &frames) {
                Some(known) => {
                    self.truths.insert(known);
                    Ok(())
                }
                None => self.push(entry, &frames),
            },
        )
    }

    /// Finds the segments that say nothing wrong.
    fn honest(&self) -> Honest {
        let mut all: BTreeSet<SegmentId> = self.index.segment_ids().collect();
        let mut own = BTreeSet::new();
        let blobs = &self.index.blobs;
        blobs.for_each_source(|pack, segment| {
            if self.lies.contains(pack) {
                all.remove(segment);
            }
            let info = blobs.pack(pack).filter(|_| self.truths.contains(pack));
            if info.is_some_and(|info| info.writer == self.repository.writer()) {
                own.insert(*segment);
            }
        });
        own.retain(|segment| all.contains(segment));
        Honest { all, own }
    }

    /// Describes once more what only segments describe that lie about something else.
    fn repeat(&mut self, packs: &[Listed], honest: &BTreeSet<SegmentId>) -> Result<()> {
        let (blobs, believed) = (&self.index.blobs, self.index.blobs.described_by(honest));
        let is_doubtful = |object: &&Listed| {
            let known = blobs.find_packs(&object.key.id());
            let mut known = known.iter().filter(|pack| self.truths.contains(**pack));
            known.next().is_some_and(|truth| !believed.contains(*truth))
        };
        let doubtful: Vec<_> = packs.iter().filter(is_doubtful).cloned().collect();
        for batch in doubtful.chunks(READS_MAX) {
            for (entry, frames) in self.describe(batch)?.into_iter().flatten() {
                self.push(entry, &frames)?;
            }
        }
        Ok(())
    }

    fn describe(&self, batch: &[Listed]) -> Result<Vec<Described>> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        describe_all(self.repository, batch)
    }

    fn push(&mut self, entry: PackEntry, frames: &[IndexedFrame]) -> Result<()> {
        self.report.add(frames);
        self.writer.push(self.repository, entry, frames)
    }
}

/// The index objects whose bytes are not what their names say: by definition no objects of a repository.
///
/// Cost: a listing, and one request for each.
fn junk_segments(repository: &Repository) -> Result<Vec<VersionInfo>> {
    let objects = &repository.objects;
    let versions: Vec<VersionInfo> =
        objects.block_on(objects.store().list_versions("index/").try_collect())?;
    let mut junk = Vec::new();
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
            Ok(body) if ObjectId::of(&body) == id => {}
            Ok(_) => junk.push(version),
            Err(error) if error.kind == StoreErrorKind::Unavailable => return Err(error.into()),
            // Whatever it is, it was not read: nobody can say that it is junk.
            Err(_) => {}
        }
    }
    Ok(junk)
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
