//! What a repository holds, in numbers.

use std::collections::HashSet;

use dolmen_format::list::ListNode;
use dolmen_format::tree::{Content, Entry, File, HardLink, NodeKind, TreeNode};
use dolmen_format::{BlobId, BlobKind};

use crate::content::Chunks;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::pack::BlobReader;
use crate::repository::Repository;
use crate::snapshots::SnapshotEntry;
use crate::tree::TreeReader;

/// What is counted, as restic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What a restore of each snapshot would write; hard links once in each.
    RestoreSize,
    /// Files, each content once.
    FilesByContents,
    /// Files of different content, and for each path the different blobs of its file.
    BlobsPerFile,
    /// Blobs as they are stored, each once.
    RawData,
}

/// The numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// Bytes: of files, or of blobs as stored, an equal share of its frame for each byte of a blob.
    pub total_size: u64,
    /// Entries of the trees, or files of different content.
    pub total_file_count: u64,
    /// Different blobs, or with [`Mode::BlobsPerFile`] how often files refer to one; only with these two modes.
    pub total_blob_count: Option<u64>,
    /// Snapshots looked at.
    pub snapshots_count: u64,
    /// Bytes of the blobs before compression; only with [`Mode::RawData`].
    pub total_uncompressed_size: Option<u64>,
    /// That, for each byte stored.
    pub compression_ratio: Option<f64>,
    /// How many of a hundred bytes compression saves.
    pub compression_space_saving: Option<f64>,
}

/// Counts what snapshots hold.
///
/// Cost: up to two requests for each tree node, and with [`Mode::RawData`] for each list node; each node once
/// but for [`Mode::RestoreSize`]. Memory: some 16 bytes for each node, and for each content or blob counted once.
pub fn run(
    repository: &Repository,
    index: &Index,
    snapshots: &[&SnapshotEntry],
    mode: Mode,
) -> Result<Stats> {
    let blobs = BlobReader::new(repository, &index.blobs);
    let mut stats = match mode {
        Mode::RestoreSize => restore_size(&blobs, snapshots)?,
        Mode::FilesByContents => files_by_contents(&blobs, snapshots)?,
        Mode::BlobsPerFile => blobs_per_file(&blobs, snapshots)?,
        Mode::RawData => raw_data(&blobs, snapshots)?,
    };
    stats.snapshots_count = u64::try_from(snapshots.len()).unwrap_or(u64::MAX);
    Ok(stats)
}

fn restore_size(blobs: &BlobReader<'_>, snapshots: &[&SnapshotEntry]) -> Result<Stats> {
    let mut stats = Stats::default();
    for root in snapshots.iter().filter_map(|entry| entry.tree()) {
        let mut links = HashSet::new();
        for entry in TreeReader::new(blobs, root) {
            let entry = entry.map_err(|lost| damaged(&lost.node, lost.error))?;
            stats.total_file_count += 1;
            let is_new = match entry.node.hard_link {
                Some(HardLink { device, inode, .. }) => links.insert((device, inode)),
                None => true,
            };
            if let (NodeKind::File(file), true) = (&entry.node.kind, is_new) {
                stats.total_size = stats.total_size.saturating_add(file.size);
            }
        }
    }
    Ok(stats)
}

fn files_by_contents(blobs: &BlobReader<'_>, snapshots: &[&SnapshotEntry]) -> Result<Stats> {
    let (mut stats, mut contents) = (Stats::default(), HashSet::new());
    let mut seen = HashSet::new();
    for root in snapshots.iter().filter_map(|entry| entry.tree()) {
        each_entry(
            blobs,
            &mut seen,
            &root.id,
            root.level,
            &mut |_id| Ok(()),
            &mut |entry| {
                if let NodeKind::File(file) = &entry.node.kind
                    && contents.insert(content_name(file))
                {
                    stats.total_file_count += 1;
                    stats.total_size = stats.total_size.saturating_add(file.size);
                }
                Ok(())
            },
        )?;
    }
    Ok(stats)
}

/// As restic counts: a path counts once, and each blob once for each path.
fn blobs_per_file(blobs: &BlobReader<'_>, snapshots: &[&SnapshotEntry]) -> Result<Stats> {
    let (mut stats, mut references) = (Stats::default(), 0_u64);
    let (mut seen, mut contents) = (HashSet::new(), HashSet::new());
    let (mut paths, mut counted) = (HashSet::new(), HashSet::new());
    for root in snapshots.iter().filter_map(|entry| entry.tree()) {
        let mut visit = |entry: &Entry| {
            let NodeKind::File(file) = &entry.node.kind else {
                return Ok(());
            };
            if !contents.insert(content_name(file)) {
                return Ok(());
            }
            let path = prefix(blake3::hash(&entry.key).as_bytes());
            for chunk in Chunks::new(blobs, &file.content) {
                let chunk = chunk.map_err(|error| Error::damaged("a file's list", error))?;
                stats.total_file_count += u64::from(paths.insert(path));
                if counted.insert((path, prefix(chunk.id.as_bytes()))) {
                    references += 1;
                    stats.total_size = stats.total_size.saturating_add(chunk.length);
                }
            }
            Ok(())
        };
        let mut node = |_: &BlobId| Ok(());
        each_entry(
            blobs, &mut seen, &root.id, root.level, &mut node, &mut visit,
        )?;
    }
    stats.total_blob_count = Some(references);
    Ok(stats)
}

/// Tells contents apart: by their chunks, as restic does.
fn content_name(file: &File) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    match &file.content {
        Content::Chunks(chunks) => {
            for chunk in chunks {
                hasher.update(chunk.id.as_bytes());
            }
        }
        Content::List { level, id } => {
            hasher.update(&[*level]).update(id.as_bytes());
        }
    }
    prefix(hasher.finalize().as_bytes())
}

fn raw_data(blobs: &BlobReader<'_>, snapshots: &[&SnapshotEntry]) -> Result<Stats> {
    let mut seen = HashSet::new();
    // Trees and files are walked in turn, and both count.
    let raw = std::cell::RefCell::new(RawData {
        blobs,
        counted: HashSet::new(),
        sums: Sums::default(),
    });
    for root in snapshots.iter().filter_map(|entry| entry.tree()) {
        let mut node = |id: &BlobId| raw.borrow_mut().count(id).map(|_is_new| ());
        each_entry(
            blobs,
            &mut seen,
            &root.id,
            root.level,
            &mut node,
            &mut |entry| match &entry.node.kind {
                NodeKind::File(file) => raw.borrow_mut().file(file),
                _ => Ok(()),
            },
        )?;
    }
    Ok(raw.into_inner().sums.stats())
}

/// Counts blobs, each once.
struct RawData<'a> {
    blobs: &'a BlobReader<'a>,
    counted: HashSet<[u8; 16]>,
    sums: Sums,
}

#[derive(Debug, Default)]
struct Sums {
    blobs: u64,
    raw_bytes: u64,
    /// In parts of 2^-16 bytes: shares of frames are no whole numbers.
    stored: u128,
}

impl RawData<'_> {
    /// Counts a blob; false when it was counted before.
    fn count(&mut self, id: &BlobId) -> Result<bool> {
        if !self.counted.insert(prefix(id.as_bytes())) {
            return Ok(false);
        }
        let at = self.blobs.locate(id).map_err(|error| damaged(id, error))?;
        let (_, frame) = self
            .blobs
            .frame_info(at.pack, at.ordinal)
            .map_err(|error| damaged(id, error))?;
        self.sums.blobs += 1;
        self.sums.raw_bytes = self.sums.raw_bytes.saturating_add(u64::from(at.length));
        let share = (u128::from(frame.frame_bytes) << 16) * u128::from(at.length);
        self.sums.stored += share / u128::from(frame.raw_bytes.max(1));
        Ok(true)
    }

    fn file(&mut self, file: &File) -> Result<()> {
        match &file.content {
            Content::Chunks(chunks) => chunks
                .iter()
                .try_for_each(|chunk| self.count(&chunk.id).map(|_is_new| ())),
            Content::List { level, id } => self.list(id, *level),
        }
    }

    fn list(&mut self, id: &BlobId, level: u8) -> Result<()> {
        if !self.count(id)? {
            return Ok(());
        }
        let blob = self
            .blobs
            .blob(id, BlobKind::List)
            .map_err(|error| damaged(id, error))?;
        let node = ListNode::decode(&blob, level).map_err(|error| damaged(id, error))?;
        for entry in &node.entries {
            match level.checked_sub(1) {
                Some(below) => self.list(&entry.id, below)?,
                None => {
                    self.count(&entry.id)?;
                }
            }
        }
        Ok(())
    }
}

impl Sums {
    fn stats(&self) -> Stats {
        let stored = u64::try_from((self.stored + (1 << 15)) >> 16).unwrap_or(u64::MAX);
        let mut stats = Stats {
            total_size: stored,
            total_blob_count: Some(self.blobs),
            total_uncompressed_size: Some(self.raw_bytes),
            ..Stats::default()
        };
        if stored > 0 && self.raw_bytes > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
            let (raw, stored) = (self.raw_bytes as f64, stored as f64);
            stats.compression_ratio = Some(raw / stored);
            stats.compression_space_saving = Some((1.0 - stored / raw) * 100.0);
        }
        stats
    }
}

/// Visits the nodes of a tree, and the entries in them, that are not in `seen` yet.
fn each_entry(
    blobs: &BlobReader<'_>,
    seen: &mut HashSet<[u8; 16]>,
    id: &BlobId,
    level: u8,
    node: &mut dyn FnMut(&BlobId) -> Result<()>,
    visit: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    if !seen.insert(prefix(id.as_bytes())) {
        return Ok(());
    }
    node(id)?;
    let blob = blobs
        .blob(id, BlobKind::Tree)
        .map_err(|error| damaged(id, error))?;
    match TreeNode::decode(&blob, level).map_err(|error| damaged(id, error))? {
        TreeNode::Leaf(entries) => entries.iter().try_for_each(visit),
        TreeNode::Inner(_, children) => children.iter().try_for_each(|child| {
            each_entry(blobs, seen, &child.id, level.saturating_sub(1), node, visit)
        }),
    }
}

/// The first half of a hash: enough to tell apart whatever fits into memory.
fn prefix(hash: &[u8; 32]) -> [u8; 16] {
    hash.first_chunk().copied().unwrap_or_default()
}

fn damaged(id: &BlobId, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::damaged(format!("blob {id}"), error)
}
