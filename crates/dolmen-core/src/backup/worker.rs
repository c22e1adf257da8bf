//! Workers: they turn batches of found files into entries, and compress each other's chunks.

use std::collections::HashMap;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, select};
use dolmen_chunker::Chunker;
use dolmen_format::BlobKind;
use dolmen_format::tree::{Content, NodeKind, Xattr};
use dolmen_fs::{Extent, FileHandle, FsError, Kind, Metadata, OwnerNames, PathKey, ReadFile};
use dolmen_state::files::{CachedFile, FileKey, FilesCache};

use super::blobs::BlobWriter;
use super::entry::{
    Outcome, Saved, SavedEntry, device_of, file_kind, is_settled, is_unchanged, join_extents,
    make_node, take_xattrs,
};
use super::list::{ListBuilder, Listed};
use super::reader::{ChunkJob, ChunkQueue, ContentReader, Extents, ReadError};
use super::session::{Session, lock};
use super::{Change, SourceError};
use crate::error::Result;
use crate::pack::PackWriter;

/// Files with several names that are remembered within a run, so that each is read once.
const LINKED_MAX: usize = 1 << 16;

/// Files from this size on are shown while they are read; smaller ones are gone before anybody looks.
const SHOWN_BYTES_MIN: u64 = 1 << 20;

/// Something that the walk found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: PathKey,
    /// What can be saved, or the absolute path of what cannot.
    pub(super) item: std::result::Result<(Metadata, FileHandle), (Vec<u8>, FsError)>,
}

/// Neighbours in the walk, numbered in its order.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) number: u64,
    pub(super) items: Vec<T>,
}

/// What all workers share.
pub(super) struct Shared<'s> {
    pub(super) session: &'s Session<'s>,
    pub(super) packs: &'s PackWriter<'s>,
    pub(super) chunker: Chunker,
    pub(super) cache: Option<FilesCache>,
    pub(super) owners: OwnerNames,
    pub(super) linked: Mutex<HashMap<FileKey, CachedFile>>,
}

impl<'s> Shared<'s> {
    pub(super) fn new(
        session: &'s Session<'s>,
        packs: &'s PackWriter<'s>,
        cache: Option<FilesCache>,
    ) -> Self {
        let key = session.domain.chunker_key();
        Self {
            session,
            packs,
            chunker: Chunker::new(key.expose()),
            cache,
            owners: OwnerNames::default(),
            linked: Mutex::default(),
        }
    }
}

/// Where a worker's work comes from and goes to.
pub(super) struct Channels {
    pub(super) batches: Receiver<Batch<Found>>,
    pub(super) done: Sender<Batch<Outcome>>,
    pub(super) queue: ChunkQueue,
    pub(super) jobs: Receiver<ChunkJob>,
}

/// Works until there is nothing left to do; failures go to the session.
pub(super) fn work(shared: &Shared<'_>, channels: Channels) {
    let Channels {
        batches,
        done,
        queue,
        jobs,
    } = channels;
    let spare = queue.spare.0.clone();
    let mut worker = Worker {
        shared,
        blobs: BlobWriter::new(shared.session, shared.packs),
        reader: ContentReader::new(shared.session, &shared.chunker, queue),
    };
    loop {
        // Chunks of others first: they hold memory, and a reader waits for nobody.
        if let Ok(job) = jobs.try_recv() {
            worker.compress(job, &spare);
            continue;
        }
        select! {
            recv(jobs) -> job => if let Ok(job) = job { worker.compress(job, &spare); },
            recv(batches) -> batch => match batch {
                Ok(batch) => {
                    let batch = worker.take(batch);
                    if done.send(batch).is_err() {
                        break;
                    }
                }
                Err(_) => break,
            },
        }
    }
    let Worker {
        mut blobs, reader, ..
    } = worker;
    // When the last reader is gone, so is the last sender of chunks, and their queue ends.
    drop(reader);
    for ChunkJob { id, bytes } in jobs {
        note(shared.session, blobs.write(BlobKind::Data, id, &bytes));
    }
    note(shared.session, blobs.flush());
}

fn note(session: &Session<'_>, result: Result<()>) {
    if let Err(error) = result {
        session.fail(error);
    }
}

struct Worker<'s> {
    shared: &'s Shared<'s>,
    blobs: BlobWriter<'s>,
    reader: ContentReader<'s>,
}

impl Worker<'_> {
    fn compress(&mut self, job: ChunkJob, spare: &Sender<Vec<u8>>) {
        let ChunkJob { id, bytes } = job;
        note(
            self.shared.session,
            self.blobs.write(BlobKind::Data, id, &bytes),
        );
        // A full pool frees the buffer.
        drop(spare.try_send(bytes));
    }

    fn take(&mut self, batch: Batch<Found>) -> Batch<Outcome> {
        let mut items = Vec::with_capacity(batch.items.len());
        for found in batch.items {
            if self.shared.session.is_over() {
                break;
            }
            let Found { key, item } = found;
            let (path, result) = match item {
                Err((path, error)) => (path, Saved::Failed(error.into())),
                Ok((metadata, handle)) => {
                    let result = match self.save_shown(&key, &metadata, &handle) {
                        // One entry that readers refuse would cost them its whole leaf.
                        Saved::Entry(entry) => match entry.node.validate(key.as_bytes()) {
                            Ok(()) => Saved::Entry(entry),
                            Err(error) => Saved::Failed(error.into()),
                        },
                        other => other,
                    };
                    (handle.path(), result)
                }
            };
            items.push(Outcome { key, path, result });
        }
        Batch {
            number: batch.number,
            items,
        }
    }

    /// Saves an entry; what takes time is shown meanwhile.
    fn save_shown(&mut self, key: &PathKey, metadata: &Metadata, handle: &FileHandle) -> Saved {
        if metadata.kind != Kind::File || metadata.size_bytes < SHOWN_BYTES_MIN {
            return self.save(metadata, handle);
        }
        let progress = self.shared.session.progress;
        progress.while_reading(key, || self.save(metadata, handle))
    }

    fn save(&mut self, metadata: &Metadata, handle: &FileHandle) -> Saved {
        let saved = match metadata.kind {
            Kind::Socket => return Saved::Skipped("socket"),
            Kind::File => self.save_file(metadata, handle),
            Kind::Directory | Kind::Symlink | Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                self.save_other(metadata, handle).map_err(ReadError::from)
            }
        };
        match saved {
            Ok(entry) => Saved::Entry(Box::new(entry)),
            Err(ReadError::Source(error)) => Saved::Failed(error.into()),
            Err(ReadError::Fatal(error)) => {
                self.shared.session.fail(error);
                Saved::Skipped("interrupted")
            }
        }
    }

    /// Everything but regular files.
    fn save_other(
        &self,
        metadata: &Metadata,
        handle: &FileHandle,
    ) -> std::result::Result<SavedEntry, FsError> {
        let looked_at = self.shared.session.repository.environment.clock.now();
        let kind = match metadata.kind {
            Kind::Symlink => NodeKind::Symlink(handle.read_link()?),
            Kind::Fifo => NodeKind::Fifo,
            Kind::CharDevice => NodeKind::CharDevice(device_of(metadata)),
            Kind::BlockDevice => NodeKind::BlockDevice(device_of(metadata)),
            Kind::Directory | Kind::File | Kind::Socket => NodeKind::Directory,
        };
        let key = file_key(metadata);
        let cached = self.cached(&key);
        let unchanged = cached
            .as_ref()
            .is_some_and(|cached| is_unchanged(cached, metadata));
        let (xattrs, flaw) = if unchanged && cached.as_ref().is_some_and(|known| !known.has_xattrs)
        {
            (Vec::new(), None)
        } else {
            split_flaw(take_xattrs(handle.xattrs()?))
        };
        let remembered = CachedFile {
            size: metadata.size_bytes,
            mtime: metadata.mtime,
            ctime: metadata.ctime,
            has_xattrs: !xattrs.is_empty(),
            extents: None,
            content: Content::EMPTY,
        };
        let change = match (&cached, unchanged) {
            (_, true) => Change::Unmodified,
            (Some(_), false) => Change::Changed,
            (None, false) => Change::New,
        };
        let cache =
            (is_settled(metadata, looked_at) && flaw.is_none()).then_some((key, remembered));
        let node = make_node(metadata, kind, xattrs, &self.shared.owners);
        Ok(SavedEntry {
            node,
            change,
            cache,
            flaw,
        })
    }

    fn save_file(
        &mut self,
        metadata: &Metadata,
        handle: &FileHandle,
    ) -> std::result::Result<SavedEntry, ReadError> {
        let key = file_key(metadata);
        let cached = self.cached(&key);
        if let Some(known) = cached
            .as_ref()
            .filter(|known| is_unchanged(known, metadata))
            && let Some(content) = self.known_content(known)?
        {
            return Ok(self.save_unchanged(key, known.clone(), content, metadata, handle)?);
        }
        let change = if cached.is_some() {
            Change::Changed
        } else {
            Change::New
        };
        let linked = lock(&self.shared.linked).get(&key).cloned();
        if let Some(known) = linked.filter(|known| is_unchanged(known, metadata))
            && let Some(content) = self.known_content(&known)?
        {
            let saved = self.save_unchanged(key, known, content, metadata, handle)?;
            return Ok(SavedEntry { change, ..saved });
        }
        self.read_file(key, handle, change)
    }

    /// Reads a file and its attributes.
    fn read_file(
        &mut self,
        key: FileKey,
        handle: &FileHandle,
        change: Change,
    ) -> std::result::Result<SavedEntry, ReadError> {
        let looked_at = self.shared.session.repository.environment.clock.now();
        let mut file = handle.open()?;
        let opened = *file.opened();
        // A file system that compresses has files that take less room than their size without a hole.
        let extents = if opened.may_have_holes() {
            Some(find_extents(&file)?).filter(|extents| !is_whole(extents, opened.size_bytes))
        } else {
            None
        };
        let Listed {
            content,
            chunks,
            length,
        } = self.read_content(&mut file, extents.as_deref())?;
        let (xattrs, mut flaw) = split_flaw(take_xattrs(file.xattrs()?));
        let now = file.metadata()?;
        let changed = (opened.size_bytes, opened.mtime, opened.ctime)
            != (now.size_bytes, now.mtime, now.ctime);
        if changed {
            flaw = Some(SourceError::Changed);
        }
        let size = if extents.is_some() {
            opened.size_bytes
        } else {
            length
        };
        let extents: Option<Vec<_>> =
            extents.map(|extents| extents.iter().map(format_extent).collect());
        let remembered = chunks.map(|chunks| CachedFile {
            size: opened.size_bytes,
            mtime: opened.mtime,
            ctime: opened.ctime,
            has_xattrs: !xattrs.is_empty(),
            extents: extents.clone(),
            content: Content::Chunks(chunks),
        });
        if let (Some(known), true, None) = (&remembered, opened.links > 1, &flaw) {
            let mut linked = lock(&self.shared.linked);
            if linked.len() >= LINKED_MAX {
                linked.clear();
            }
            linked.insert(key, known.clone());
        }
        let settled = is_settled(&opened, looked_at) && flaw.is_none();
        let cache = remembered.filter(|_| settled).map(|known| (key, known));
        let kind = file_kind(size, extents, content);
        let node = make_node(&opened, kind, xattrs, &self.shared.owners);
        Ok(SavedEntry {
            node,
            change,
            cache,
            flaw,
        })
    }

    fn read_content(
        &mut self,
        file: &mut ReadFile,
        extents: Option<&[Extent]>,
    ) -> std::result::Result<Listed, ReadError> {
        let Some(extents) = extents else {
            let expected = file.opened().size_bytes;
            return self.reader.read(file, expected, &mut self.blobs);
        };
        let expected = extents
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.length_bytes));
        let rest = Extent {
            offset: 0,
            length_bytes: 0,
        };
        let mut source = Extents {
            file,
            parts: extents.iter(),
            rest,
        };
        self.reader.read(&mut source, expected, &mut self.blobs)
    }

    /// The content of a remembered file, if every blob of it is still stored.
    fn known_content(&mut self, known: &CachedFile) -> Result<Option<Content>> {
        let Content::Chunks(chunks) = &known.content else {
            return Ok(None);
        };
        if !chunks
            .iter()
            .all(|chunk| self.shared.session.need(&chunk.id))
        {
            return Ok(None);
        }
        let mut list = ListBuilder::default();
        for chunk in chunks {
            list.push(*chunk, &mut self.blobs)?;
        }
        Ok(Some(list.finish(&mut self.blobs)?.content))
    }

    fn save_unchanged(
        &self,
        key: FileKey,
        known: CachedFile,
        content: Content,
        metadata: &Metadata,
        handle: &FileHandle,
    ) -> std::result::Result<SavedEntry, FsError> {
        let (xattrs, flaw) = if known.has_xattrs {
            split_flaw(take_xattrs(handle.xattrs()?))
        } else {
            (Vec::new(), None)
        };
        let kind = file_kind(known.size, known.extents.clone(), content);
        let node = make_node(metadata, kind, xattrs, &self.shared.owners);
        super::Progress::add(&self.shared.session.progress.bytes, metadata.size_bytes);
        Ok(SavedEntry {
            node,
            change: Change::Unmodified,
            cache: Some((key, known)),
            flaw,
        })
    }

    fn cached(&self, key: &FileKey) -> Option<CachedFile> {
        self.shared
            .cache
            .as_ref()
            .and_then(|cache| cache.lookup(key))
    }
}

fn file_key(metadata: &Metadata) -> FileKey {
    FileKey {
        device: metadata.device,
        inode: metadata.inode,
    }
}

fn find_extents(file: &ReadFile) -> std::result::Result<Vec<Extent>, FsError> {
    // A file of very many extents is joined as it is read, so that they never pile up.
    let mut extents = Vec::new();
    for extent in file.data_extents() {
        extents.push(extent?);
        if extents.len() > 4 * dolmen_format::limits::EXTENTS_MAX {
            extents = join_extents(extents);
        }
    }
    let mut extents = join_extents(extents);
    let size = file.opened().size_bytes;
    // What was appended since the opening belongs to the next backup.
    extents.retain_mut(|extent| {
        extent.length_bytes = extent.length_bytes.min(size.saturating_sub(extent.offset));
        extent.length_bytes > 0
    });
    Ok(extents)
}

fn is_whole(extents: &[Extent], size: u64) -> bool {
    matches!(extents, [only] if only.offset == 0 && only.length_bytes == size)
}

fn format_extent(extent: &Extent) -> dolmen_format::tree::Extent {
    dolmen_format::tree::Extent {
        offset: extent.offset,
        length: extent.length_bytes,
    }
}

fn split_flaw(
    xattrs: std::result::Result<Vec<Xattr>, SourceError>,
) -> (Vec<Xattr>, Option<SourceError>) {
    match xattrs {
        Ok(xattrs) => (xattrs, None),
        Err(flaw) => (Vec::new(), Some(flaw)),
    }
}
