//! Snapshots and checkpoints (§7).

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::error::FormatError;
use crate::ids::{BlobId, DomainId, Label, Nonce, ObjectId, RepositoryId, SegmentId};
use crate::limits::{LEVEL_MAX, SNAPSHOT_ITEMS_MAX, STORE_IDENTITY_BYTES_MAX};
use crate::prologue::ObjectKind;
use crate::seal::SealedBox;
use crate::signed::{
    Reference, SignedBody, Stamp, check_count, check_stamp, decode_items, from_cbor, to_cbor,
};
use crate::time::Timestamp;

/// A snapshot, or a checkpoint of one to come.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// Who, and which.
    #[n(0)]
    pub stamp: Stamp,
    /// 0: a snapshot; else the checkpoint's sub-number.
    #[n(1)]
    pub checkpoint: u32,
    /// When the backup began, by the writer's clock.
    #[n(2)]
    pub time: Timestamp,
    /// Random.
    #[n(3)]
    pub nonce: Nonce,
    /// The snapshots and checkpoints that this one follows.
    #[n(4)]
    pub heads: Vec<Reference>,
    /// The signer's certificate; `None` for the admin.
    #[n(5)]
    pub certificate: Option<ObjectId>,
    /// The dedup domain.
    #[n(6)]
    pub domain: DomainId,
    /// All index segments that it needs.
    #[n(7)]
    pub segments: Vec<SegmentId>,
    /// The store that it was made in.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub store: Vec<u8>,
    /// Earliest retain-until relied on, seconds since 1970; `None` where there are no locks.
    #[n(9)]
    pub relied_until: Option<i64>,
    /// What anyone may know of its size.
    #[n(10)]
    pub counts: Counts,
    /// 0 none, 1 unusual change, 2 looks like mass encryption or deletion.
    #[n(11)]
    pub alarm: u8,
    /// Keyed hashes to group snapshots by.
    #[n(12)]
    pub labels: Labels,
    /// The manifest's root node, sealed to the maintain key.
    #[n(13)]
    pub manifest: SealedBox,
    /// The [`Body`], sealed to the read key.
    #[n(14)]
    pub body: SealedBox,
}

/// Public sizes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
pub struct Counts {
    /// Regular files.
    #[n(0)]
    pub files: u64,
    /// Directories.
    #[n(1)]
    pub directories: u64,
    /// Symlinks, FIFOs and devices.
    #[n(2)]
    pub others: u64,
    /// Bytes of all files.
    #[n(3)]
    pub bytes: u64,
    /// Bytes that this backup put into the store.
    #[n(4)]
    pub added_bytes: u64,
}

/// Keyed hashes: equal names have equal labels, and only the domain can make them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Labels {
    /// Of the host name.
    #[n(0)]
    pub host: Label,
    /// Of the sorted paths.
    #[n(1)]
    pub paths: Label,
    /// Of each tag.
    #[n(2)]
    pub tags: Vec<Label>,
}

impl Snapshot {
    /// Names this snapshot in others; `id` is that of the object.
    pub const fn reference(&self, id: ObjectId) -> Reference {
        Reference {
            writer: self.stamp.writer,
            instance: self.stamp.instance,
            number: self.stamp.number,
            digest: id,
        }
    }

    /// Additional data of the manifest's and the body's boxes.
    pub fn box_aad(repository: &RepositoryId, nonce: &Nonce) -> Vec<u8> {
        [repository.as_bytes().as_slice(), nonce.as_bytes()].concat()
    }
}

impl SignedBody for Snapshot {
    const KIND: ObjectKind = ObjectKind::Snapshot;

    fn validate(&self) -> Result<(), FormatError> {
        check_stamp(&self.stamp)?;
        check_count("heads", self.heads.len(), SNAPSHOT_ITEMS_MAX)?;
        check_count("segments", self.segments.len(), SNAPSHOT_ITEMS_MAX)?;
        check_count("tags", self.labels.tags.len(), SNAPSHOT_ITEMS_MAX)?;
        check_count("store identity", self.store.len(), STORE_IDENTITY_BYTES_MAX)?;
        if self.alarm > 2 {
            return Err(FormatError::Invalid { field: "alarm" });
        }
        self.manifest.validate()?;
        self.body.validate()
    }
}

/// What only readers see of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Body {
    /// The machine's name.
    #[n(0)]
    pub hostname: String,
    /// Who ran the backup.
    #[n(1)]
    pub username: String,
    /// Its user id.
    #[n(2)]
    pub uid: u32,
    /// Its group id.
    #[n(3)]
    pub gid: u32,
    /// Absolute paths that were asked for; bytes, not UTF-8.
    #[cbor(n(4), decode_with = "decode_items")]
    pub paths: Vec<ByteVec>,
    /// Tags.
    #[cbor(n(5), decode_with = "decode_items")]
    pub tags: Vec<String>,
    /// Exclude patterns.
    #[cbor(n(6), decode_with = "decode_items")]
    pub excludes: Vec<ByteVec>,
    /// Who wrote it.
    #[n(7)]
    pub program_version: String,
    /// The root node; `None` in a checkpoint.
    #[n(8)]
    pub tree: Option<TreeRoot>,
    /// What the backup did.
    #[n(9)]
    pub summary: Summary,
    /// When it began.
    #[n(10)]
    pub backup_start: Timestamp,
    /// When it ended.
    #[n(11)]
    pub backup_end: Timestamp,
}

/// Where a tree begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TreeRoot {
    /// The root node.
    #[n(0)]
    pub id: BlobId,
    /// Its level; 0 is a leaf.
    #[n(1)]
    pub level: u8,
}

/// What a backup did, in restic's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
#[expect(missing_docs, reason = "restic's own names; docs/format.md lists them")]
pub struct Summary {
    #[n(0)]
    pub files_new: u64,
    #[n(1)]
    pub files_changed: u64,
    #[n(2)]
    pub files_unmodified: u64,
    #[n(3)]
    pub dirs_new: u64,
    #[n(4)]
    pub dirs_changed: u64,
    #[n(5)]
    pub dirs_unmodified: u64,
    #[n(6)]
    pub data_blobs: u64,
    #[n(7)]
    pub tree_blobs: u64,
    #[n(8)]
    pub data_added: u64,
    #[n(9)]
    pub data_added_packed: u64,
    #[n(10)]
    pub total_files_processed: u64,
    #[n(11)]
    pub total_bytes_processed: u64,
}

impl Body {
    /// The plaintext of the box.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        self.validate()?;
        to_cbor(self)
    }

    /// Reads the plaintext.
    pub fn decode(plain: &[u8]) -> Result<Self, FormatError> {
        let body: Self = from_cbor(plain)?;
        body.validate()?;
        Ok(body)
    }

    fn validate(&self) -> Result<(), FormatError> {
        check_count("paths", self.paths.len(), SNAPSHOT_ITEMS_MAX)?;
        check_count("tags", self.tags.len(), SNAPSHOT_ITEMS_MAX)?;
        check_count("excludes", self.excludes.len(), SNAPSHOT_ITEMS_MAX)?;
        match self.tree {
            Some(TreeRoot { level, .. }) if level > LEVEL_MAX => {
                Err(FormatError::Invalid { field: "tree" })
            }
            _ => Ok(()),
        }
    }
}
