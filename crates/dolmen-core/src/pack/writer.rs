//! Packs on their way into the store: filled by many threads, put by a few of their own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use dolmen_format::ObjectKey;
use dolmen_format::index::PackEntry;
use dolmen_format::pack::{BlobEntry, Compression, Recipient};
use dolmen_state::index::{BlobIndex, PackInfo};
use dolmen_store::{Checksum, PutReceipt};

use super::builder::{FinishedPack, PACK_BUFFER_BYTES, PackBuilder};
use crate::error::{Error, Result};
use crate::repository::Repository;

/// What happens around the put of a pack.
pub(crate) trait PackListener: Sync {
    /// The pack is about to be put; durable before this returns.
    fn before_put(&self, info: &PackInfo) -> Result<()>;
    /// The pack is in the store and in the index.
    fn after_put(&self, entry: PackEntry, pack: &FinishedPack) -> Result<()>;
    /// An uploading thread has put a pack and takes the next one.
    fn between_packs(&self) -> Result<()>;
}

/// Takes frames from many threads and fills packs with them.
#[derive(Debug)]
pub struct PackWriter<'a> {
    repository: &'a Repository,
    recipient: Recipient,
    current: Mutex<Option<PackBuilder>>,
    /// Empty buffers; waiting for one is what bounds memory.
    buffers: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    full: Sender<PackBuilder>,
}

/// The other end: where full packs come out.
#[derive(Debug)]
pub(crate) struct FullPacks(Receiver<PackBuilder>);

impl<'a> PackWriter<'a> {
    /// A writer with `buffers` packs in memory at most, and where its packs come out.
    pub(crate) fn new(
        repository: &'a Repository,
        recipient: Recipient,
        buffers: usize,
    ) -> (Self, FullPacks) {
        let pool = bounded(buffers);
        for _ in 0..buffers {
            // The pool was made with room for just these.
            drop(pool.0.try_send(Vec::new()));
        }
        let (full, packs) = bounded(buffers);
        let writer = Self {
            repository,
            recipient,
            current: Mutex::new(None),
            buffers: pool,
            full,
        };
        (writer, FullPacks(packs))
    }

    /// Encrypts `body` (12 bytes of room and a plaintext) into the current pack. Waits while every
    /// buffer is on its way to the store.
    pub(crate) fn push(
        &self,
        raw_bytes: usize,
        compression: Compression,
        body: &mut Vec<u8>,
        blobs: &[BlobEntry],
    ) -> Result<()> {
        let raw_bytes = u32::try_from(raw_bytes).map_err(|_error| Error::Internal {
            what: "a frame is too large",
        })?;
        let mut current = self.lock();
        let mut builder = match current.take() {
            Some(builder) => builder,
            None => self.begin()?,
        };
        builder
            .push(raw_bytes, compression, body, blobs)
            .map_err(Error::encode("a frame"))?;
        if builder.is_full() {
            return self.send(builder);
        }
        *current = Some(builder);
        Ok(())
    }

    /// Sends the current pack off, however small.
    pub(crate) fn flush(&self) -> Result<()> {
        match self.lock().take() {
            Some(builder) if !builder.is_empty() => self.send(builder),
            Some(_) | None => Ok(()),
        }
    }

    fn begin(&self) -> Result<PackBuilder> {
        let closed = |_error| Error::Internal {
            what: "the uploading threads are gone",
        };
        let mut buffer = self.buffers.1.recv().map_err(closed)?;
        if buffer.capacity() == 0 {
            buffer.reserve_exact(PACK_BUFFER_BYTES);
        }
        PackBuilder::new(self.repository, self.recipient, buffer)
    }

    fn send(&self, builder: PackBuilder) -> Result<()> {
        self.full.send(builder).map_err(|_error| Error::Internal {
            what: "the uploading threads are gone",
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<PackBuilder>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the uploading threads give buffers back.
    pub(crate) fn pool(&self) -> Sender<Vec<u8>> {
        self.buffers.0.clone()
    }
}

/// A pack's bytes on loan to the store; the buffer goes back when the store is done with it.
struct Loan {
    bytes: Vec<u8>,
    pool: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // When nobody waits for it any more, the buffer is simply freed.
        drop(self.pool.try_send(std::mem::take(&mut self.bytes)));
    }
}

impl FullPacks {
    /// Puts packs until the writer is gone; run by each uploading thread.
    pub(crate) fn put_all(
        &self,
        repository: &Repository,
        index: &BlobIndex,
        pool: &Sender<Vec<u8>>,
        listener: &dyn PackListener,
    ) -> Result<()> {
        for builder in &self.0 {
            put_pack(repository, index, builder, pool, listener)?;
            listener.between_packs()?;
        }
        Ok(())
    }
}

impl FullPacks {
    /// Throws packs away until the writer is gone, so that nobody waits for a buffer for ever.
    pub(crate) fn drain(&self, pool: &Sender<Vec<u8>>) {
        for builder in &self.0 {
            drop(pool.try_send(builder.into_buffer()));
        }
    }
}

/// Closes a pack, puts it and adds it to the index.
pub(crate) fn put_pack(
    repository: &Repository,
    index: &BlobIndex,
    builder: PackBuilder,
    pool: &Sender<Vec<u8>>,
    listener: &dyn PackListener,
) -> Result<FinishedPack> {
    let mut pack = builder.finish().map_err(Error::encode("a pack"))?;
    let pack_bytes = u32::try_from(pack.bytes.len()).map_err(|_error| Error::Internal {
        what: "a pack is too large",
    })?;
    let info = PackInfo {
        pack: pack.id,
        writer: repository.writer(),
        pack_bytes,
        table_bytes: pack.table_bytes,
    };
    listener.before_put(&info)?;
    let loan = Loan {
        bytes: std::mem::take(&mut pack.bytes),
        pool: pool.clone(),
    };
    let key = ObjectKey::Pack(info.writer, info.pack);
    let receipt = repository.objects.put(&key, Bytes::from_owner(loan))?;
    index.add_pack(info, &pack.frames)?;
    listener.after_put(pack_entry(&info, &receipt), &pack)?;
    Ok(pack)
}

/// What a segment states of a pack.
pub(crate) fn pack_entry(info: &PackInfo, receipt: &PutReceipt) -> PackEntry {
    let checksum = match receipt.checksum {
        Some(Checksum::Md5(bytes)) => bytes.to_vec(),
        Some(Checksum::Sha1(bytes)) => bytes.to_vec(),
        Some(Checksum::Sha256(bytes)) => bytes.to_vec(),
        None => Vec::new(),
    };
    PackEntry {
        pack: info.pack,
        pack_bytes: info.pack_bytes,
        table_bytes: info.table_bytes,
        checksum,
        version: receipt.object.version.as_str().to_owned(),
    }
}
