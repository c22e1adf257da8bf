//! The keys of a dedup domain (§3.4–§7): blob ids, boundaries, labels, descriptors and segments.

use core::fmt;

use dolmen_format::index::segment_aad;
use dolmen_format::pack::{Descriptor, FrameContext};
use dolmen_format::tree::boundary_input;
use dolmen_format::{BlobId, BlobKind, DomainId, Label, RepositoryId, Salt};
use zeroize::Zeroize as _;

use crate::aead::Cipher;
use crate::error::CryptoError;
use crate::secret::Secret;

/// What whoever writes into a domain holds; none of it reads a file or a name.
#[derive(Clone)]
pub struct DomainKeys {
    domain: DomainId,
    data: Secret,
    tree: Secret,
    list: Secret,
    manifest: Secret,
    chunker: Secret,
    index: Secret,
    label: Secret,
    boundary: Secret,
}

impl fmt::Debug for DomainKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainKeys({})", self.domain)
    }
}

/// What a label is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKind {
    /// A host name.
    Host,
    /// The sorted paths.
    Paths,
    /// A tag.
    Tag,
}

impl DomainKeys {
    /// The keys of a domain secret.
    pub(crate) fn new(domain: DomainId, secret: &Secret) -> Self {
        let blob = |kind: BlobKind| secret.derive("dolmen v1 blob id key", &[kind.code()]);
        Self {
            domain,
            data: blob(BlobKind::Data),
            tree: blob(BlobKind::Tree),
            list: blob(BlobKind::List),
            manifest: blob(BlobKind::Manifest),
            chunker: secret.derive("dolmen v1 chunker key", &[]),
            index: secret.derive("dolmen v1 index key", &[]),
            label: secret.derive("dolmen v1 label key", &[]),
            boundary: secret.derive("dolmen v1 boundary key", &[]),
        }
    }

    /// The domain.
    pub const fn id(&self) -> DomainId {
        self.domain
    }

    /// The id of a blob.
    pub fn blob_id(&self, kind: BlobKind, plain: &[u8]) -> BlobId {
        let key = match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.tree,
            BlobKind::List => &self.list,
            BlobKind::Manifest => &self.manifest,
        };
        BlobId(*blake3::keyed_hash(key.expose(), plain).as_bytes())
    }

    /// The chunker's key.
    pub const fn chunker_key(&self) -> &Secret {
        &self.chunker
    }

    /// What decides whether a tree node ends after `key`.
    pub fn boundary(&self, level: u8, key: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(self.boundary.expose(), &boundary_input(level, key)).as_bytes()
    }

    /// A keyed hash to group snapshots by.
    pub fn label(&self, kind: LabelKind, bytes: &[u8]) -> Label {
        let kind = match kind {
            LabelKind::Host => 1,
            LabelKind::Paths => 2,
            LabelKind::Tag => 3,
        };
        let mut hasher = blake3::Hasher::new_keyed(self.label.expose());
        let hash = hasher.update(&[kind]).update(bytes).finalize();
        hasher.zeroize();
        let (head, _) = hash.as_bytes().split_at(Label::BYTES);
        Label(head.try_into().unwrap_or_default())
    }

    /// The key of the descriptors of one origin.
    pub fn descriptor_key(
        &self,
        repository: RepositoryId,
        salt: Salt,
    ) -> Result<DescriptorKey, CryptoError> {
        let derive = |context| self.index.derive(context, salt.as_bytes());
        Ok(DescriptorKey {
            cipher: Cipher::new(&derive("dolmen v1 descriptor key"))?,
            nonce_key: derive("dolmen v1 descriptor nonce key"),
            repository,
            domain: self.domain,
            salt,
        })
    }

    /// Encrypts a segment's blobs under a fresh salt.
    pub fn seal_segment(
        &self,
        repository: &RepositoryId,
        salt: &Salt,
        mut plain: Vec<u8>,
    ) -> Result<Vec<u8>, CryptoError> {
        let aad = segment_aad(repository, &self.domain, salt);
        self.segment_cipher(salt)?.seal_once(&aad, &mut plain)?;
        Ok(plain)
    }

    /// Opens a segment's blobs in place.
    pub fn open_segment<'a>(
        &self,
        repository: &RepositoryId,
        salt: &Salt,
        stored: &'a mut [u8],
    ) -> Result<&'a [u8], CryptoError> {
        let aad = segment_aad(repository, &self.domain, salt);
        Ok(self
            .segment_cipher(salt)?
            .open_once(&aad, stored, "index segment")?)
    }

    fn segment_cipher(&self, salt: &Salt) -> Result<Cipher, CryptoError> {
        Cipher::new(&self.index.derive("dolmen v1 segment key", salt.as_bytes()))
    }
}

/// Encrypts and opens the descriptors of one origin.
pub struct DescriptorKey {
    cipher: Cipher,
    nonce_key: Secret,
    repository: RepositoryId,
    domain: DomainId,
    salt: Salt,
}

impl fmt::Debug for DescriptorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DescriptorKey({})", self.salt)
    }
}

impl DescriptorKey {
    /// Encrypts what a frame holds.
    pub fn seal(&self, ordinal: u32, descriptor: &Descriptor) -> Result<Vec<u8>, CryptoError> {
        let mut buffer = vec![0; dolmen_format::limits::NONCE_BYTES];
        buffer.extend_from_slice(&descriptor.encode());
        let aad = self.context(ordinal).descriptor_aad();
        self.cipher.seal_frame(&self.nonce_key, &aad, &mut buffer)?;
        Ok(buffer)
    }

    /// Opens what a frame holds.
    pub fn open(&self, ordinal: u32, stored: &[u8]) -> Result<Descriptor, CryptoError> {
        let aad = self.context(ordinal).descriptor_aad();
        let mut plain = Vec::new();
        self.cipher
            .open_frame(&aad, stored, &mut plain, "descriptor")?;
        Ok(Descriptor::decode(&plain)?)
    }

    const fn context(&self, ordinal: u32) -> FrameContext<'_> {
        FrameContext {
            repository: &self.repository,
            domain: &self.domain,
            salt: &self.salt,
            ordinal,
        }
    }
}
