//! Builds one pack in memory: frames behind each other, then the table.

use dolmen_crypto::domain::DescriptorKey;
use dolmen_crypto::frame::{PackKey, PackRandom};
use dolmen_crypto::{CryptoError, SealKey};
use dolmen_format::index::IndexedFrame;
use dolmen_format::limits::{
    FRAME_BYTES_MAX, PACK_BYTES_TARGET, PACK_FRAMES_MAX, PROLOGUE_BYTES, TABLE_BYTES_MAX,
};
use dolmen_format::pack::{
    BlobEntry, Compression, Descriptor, FrameEntry, Origin, PackTable, Recipient, TRAILER_BYTES,
};
use dolmen_format::{FormatError, ObjectId, ObjectKind, PackId, Prologue, Salt};

use crate::environment::Environment;
use crate::error::Error;
use crate::repository::Repository;

/// Room that a pack's buffer needs, so that it never grows: one frame may join a pack that is just
/// short of its target.
pub(crate) const PACK_BUFFER_BYTES: usize =
    PACK_BYTES_TARGET + FRAME_BYTES_MAX + TABLE_BYTES_TARGET;
/// A pack is closed when its table has grown to this size: a reader of one frame reads all of it.
pub(crate) const TABLE_BYTES_TARGET: usize = TABLE_BYTES_MAX / 8;
/// Bytes of table that a frame takes beside its blobs.
const FRAME_ENTRY_BYTES: usize = 160;
/// Bytes of table that a blob takes.
const BLOB_ENTRY_BYTES: usize = 37;

/// A pack in the making.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    buffer: Vec<u8>,
    recipient: Recipient,
    key: PackKey,
    descriptors: DescriptorKey,
    origin: Origin,
    frames: Vec<(IndexedFrame, [u8; 32])>,
    table_bytes: usize,
}

/// A pack ready to be put.
#[derive(Debug)]
pub(crate) struct FinishedPack {
    pub(crate) id: PackId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) table_bytes: u32,
    pub(crate) frames: Vec<IndexedFrame>,
}

/// Who may read a pack.
pub(crate) fn recipient_key(repository: &Repository, recipient: Recipient) -> &SealKey {
    match recipient {
        Recipient::Read => repository.keys().read_public(),
        Recipient::Maintain => repository.keys().maintain_public(),
    }
}

/// Ends a pack whose frames stand behind room for its prologue. Returns it as it is stored, and the size of its table.
pub(crate) fn close(mut buffer: Vec<u8>, table: &PackTable) -> Result<(Vec<u8>, u32), FormatError> {
    let encoded = table.encode()?;
    buffer.extend_from_slice(&encoded);
    let too_large = |_error| FormatError::Invalid { field: "pack" };
    let prologue = Prologue {
        kind: ObjectKind::Pack,
        body_bytes: u32::try_from(buffer.len() - PROLOGUE_BYTES).map_err(too_large)?,
    };
    if let Some(head) = buffer.first_chunk_mut() {
        *head = prologue.encode();
    }
    let table_bytes = u32::try_from(encoded.len() - TRAILER_BYTES).map_err(too_large)?;
    Ok((buffer, table_bytes))
}

impl PackBuilder {
    /// Begins a pack in `buffer`, which is cleared.
    pub(crate) fn new(
        repository: &Repository,
        recipient: Recipient,
        mut buffer: Vec<u8>,
    ) -> Result<Self, Error> {
        let environment: &Environment = &repository.environment;
        let random = PackRandom {
            key: environment.secret(),
            salt: Salt(environment.bytes()),
            seal: environment.secret(),
        };
        let (id, home) = (repository.id(), repository.keys().home()?);
        let seal = recipient_key(repository, recipient);
        let encode = || Error::encode("a pack");
        let (key, origin) = PackKey::create(&random, id, home.id(), seal).map_err(encode())?;
        let descriptors = home.descriptor_key(id, origin.salt).map_err(encode())?;
        buffer.clear();
        buffer.resize(PROLOGUE_BYTES, 0);
        Ok(Self {
            buffer,
            recipient,
            key,
            descriptors,
            origin,
            frames: Vec::new(),
            table_bytes: 0,
        })
    }

    /// Encrypts `body`, 12 bytes of room and a (compressed) plaintext, and appends it.
    pub(crate) fn push(
        &mut self,
        raw_bytes: u32,
        compression: Compression,
        body: &mut Vec<u8>,
        blobs: &[BlobEntry],
    ) -> Result<u32, CryptoError> {
        let ordinal = u32::try_from(self.frames.len())
            .map_err(|_error| FormatError::Invalid { field: "ordinal" })?;
        self.key.seal_frame(ordinal, compression, body)?;
        let frame_bytes = u32::try_from(body.len()).map_err(|_error| FormatError::Invalid {
            field: "frame_bytes",
        })?;
        self.buffer.extend_from_slice(body);
        let hash = *blake3::hash(body).as_bytes();
        let frame = IndexedFrame {
            frame_bytes,
            raw_bytes,
            compression,
            blobs: blobs.to_vec(),
        };
        self.frames.push((frame, hash));
        self.table_bytes += FRAME_ENTRY_BYTES + blobs.len() * BLOB_ENTRY_BYTES;
        Ok(ordinal)
    }

    /// Whether the pack should be closed before the next frame.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= PACK_BYTES_TARGET
            || self.frames.len() >= PACK_FRAMES_MAX
            || self.table_bytes >= TABLE_BYTES_TARGET
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Gives the buffer back unused.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Appends the table and closes the pack.
    pub(crate) fn finish(self) -> Result<FinishedPack, CryptoError> {
        let sealed_key_digest = self.origin.sealed_key.digest();
        let mut entries = Vec::with_capacity(self.frames.len());
        for (ordinal, (frame, frame_hash)) in (0_u32..).zip(&self.frames) {
            let descriptor = Descriptor {
                frame_hash: *frame_hash,
                sealed_key_digest,
                raw_bytes: frame.raw_bytes,
                blobs: frame.blobs.clone(),
            };
            entries.push(FrameEntry {
                origin: 0,
                ordinal,
                frame_bytes: frame.frame_bytes,
                hash: *frame_hash,
                compression: frame.compression,
                descriptor: self.descriptors.seal(ordinal, &descriptor)?,
            });
        }
        let table = PackTable {
            recipient: self.recipient,
            origins: vec![self.origin],
            frames: entries,
        };
        let (bytes, table_bytes) = close(self.buffer, &table)?;
        Ok(FinishedPack {
            id: ObjectId::of(&bytes),
            bytes,
            table_bytes,
            frames: self.frames.into_iter().map(|(frame, _)| frame).collect(),
        })
    }
}
