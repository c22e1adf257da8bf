//! Blobs on their way into frames: small ones grouped, all compressed by the thread that holds them.

use std::sync::atomic::Ordering;

use dolmen_format::limits::{GROUP_BLOBS_MAX, GROUP_BYTES_TARGET, LONE_BLOB_BYTES_MIN};
use dolmen_format::pack::BlobEntry;
use dolmen_format::{BlobId, BlobKind};

use super::session::{Claim, Session};
use crate::error::{Error, Result};
use crate::pack::{FrameCompressor, PackWriter};
use crate::tree::StoredBlobs;

/// Writes the blobs of one thread.
pub(super) struct BlobWriter<'s> {
    session: &'s Session<'s>,
    packs: &'s PackWriter<'s>,
    compressor: FrameCompressor,
    /// The group in the making.
    raw: Vec<u8>,
    blobs: Vec<BlobEntry>,
    /// Room for a frame.
    body: Vec<u8>,
}

impl<'s> BlobWriter<'s> {
    pub(super) fn new(session: &'s Session<'s>, packs: &'s PackWriter<'s>) -> Self {
        Self {
            session,
            packs,
            compressor: FrameCompressor::new(session.options.effort),
            raw: Vec::new(),
            blobs: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Writes a blob that was claimed.
    pub(super) fn write(&mut self, kind: BlobKind, id: BlobId, blob: &[u8]) -> Result<()> {
        let length = u32::try_from(blob.len()).map_err(|_error| Error::Internal {
            what: "a blob is too large",
        })?;
        let counters = &self.session.counters;
        let count = match kind {
            BlobKind::Data | BlobKind::List => &counters.data_blobs,
            BlobKind::Tree | BlobKind::Manifest => &counters.tree_blobs,
        };
        count.fetch_add(1, Ordering::Relaxed);
        counters
            .raw_bytes
            .fetch_add(u64::from(length), Ordering::Relaxed);
        if self.session.is_disbelieved(&id) {
            counters
                .again_bytes
                .fetch_add(u64::from(length), Ordering::Relaxed);
        }
        if self.session.options.dry_run {
            return Ok(());
        }
        let entry = BlobEntry { kind, id, length };
        if blob.len() >= LONE_BLOB_BYTES_MIN {
            let compression = self.compressor.compress(blob, &mut self.body);
            return self
                .packs
                .push(blob.len(), compression, &mut self.body, &[entry]);
        }
        self.raw.extend_from_slice(blob);
        self.blobs.push(entry);
        if self.raw.len() >= GROUP_BYTES_TARGET || self.blobs.len() >= GROUP_BLOBS_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the group in the making.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.blobs.is_empty() {
            return Ok(());
        }
        let compression = self.compressor.compress(&self.raw, &mut self.body);
        self.packs
            .push(self.raw.len(), compression, &mut self.body, &self.blobs)?;
        self.raw.clear();
        self.blobs.clear();
        Ok(())
    }
}

impl StoredBlobs for BlobWriter<'_> {
    fn store(&mut self, kind: BlobKind, blob: &[u8]) -> Result<BlobId> {
        let id = self.session.domain.blob_id(kind, blob);
        match self.session.claim(&id) {
            Claim::Present => {}
            Claim::Write => self.write(kind, id, blob)?,
        }
        Ok(id)
    }

    fn boundary(&self, level: u8, key: &[u8]) -> [u8; 32] {
        self.session.domain.boundary(level, key)
    }
}
