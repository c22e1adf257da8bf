//! Every limit of the format, and how they relate.

/// Bytes of a prologue.
pub const PROLOGUE_BYTES: usize = 16;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of an X-Wing public key.
pub const SEAL_PUBLIC_BYTES: usize = 1216;
/// Bytes of an X-Wing encapsulated key.
pub const ENCAPSULATED_BYTES: usize = 1120;
/// Bytes that AES-256-GCM adds.
pub const TAG_BYTES: usize = 16;
/// Bytes of an AES-GCM nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes that encryption adds to a frame or a descriptor: nonce and tag.
pub const FRAME_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// Largest root, certificate or bundle.
pub const KEY_OBJECT_BYTES_MAX: u64 = 16 << 10;
/// Largest key file, in characters.
pub const KEY_FILE_BYTES_MAX: usize = 64 << 10;
/// Longest text of store credentials in a key file.
pub const STORE_CREDENTIALS_BYTES_MAX: usize = 16 << 10;
/// What people call a key or a passphrase.
pub const KEY_NAME_BYTES_MAX: usize = 64;
/// Largest snapshot or checkpoint.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 20;
/// Largest ledger record.
pub const LEDGER_BYTES_MAX: u64 = 16 << 20;
/// Largest index segment.
pub const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// Largest pack.
pub const PACK_BYTES_MAX: u64 = 64 << 20;

/// A writer closes a pack that has reached this size.
pub const PACK_BYTES_TARGET: usize = 32 << 20;
/// Frames in a pack.
pub const PACK_FRAMES_MAX: usize = 4096;
/// Origins in a pack.
pub const PACK_ORIGINS_MAX: usize = 4096;
/// Largest table of a pack.
pub const TABLE_BYTES_MAX: usize = 16 << 20;
/// Largest blob.
pub const BLOB_BYTES_MAX: usize = 4 << 20;
/// Largest frame before compression.
pub const FRAME_RAW_BYTES_MAX: usize = 4 << 20;
/// Largest frame as stored.
pub const FRAME_BYTES_MAX: usize = FRAME_RAW_BYTES_MAX + FRAME_OVERHEAD_BYTES;
/// Blobs in a frame.
pub const FRAME_BLOBS_MAX: usize = 1 << 16;
/// A writer gives blobs from this size on a frame of their own.
pub const LONE_BLOB_BYTES_MIN: usize = 256 << 10;
/// A writer closes a group of small blobs that has reached this size.
pub const GROUP_BYTES_TARGET: usize = 512 << 10;
/// A writer closes a group of small blobs that has this many.
pub const GROUP_BLOBS_MAX: usize = 4096;
/// A writer closes a segment whose blobs' plaintext has reached this size.
pub const SEGMENT_PLAIN_BYTES_TARGET: usize = 8 << 20;

/// Largest key of a tree entry: a path of many thousand components.
pub const PATH_KEY_BYTES_MAX: usize = 1 << 20;
/// Longest name of a file, a user or a group.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest symbolic link target.
pub const TARGET_BYTES_MAX: usize = 1 << 16;
/// All extended attributes of an entry together.
pub const XATTRS_BYTES_MAX: usize = 1 << 20;
/// Entries in a tree node.
pub const TREE_NODE_ENTRIES_MAX: usize = 1 << 16;
/// A tree node that has passed this size ends.
pub const TREE_NODE_BYTES_TARGET_MAX: usize = 256 << 10;
/// A tree node whose keys, each in full, have passed this size ends.
pub const TREE_NODE_KEYS_BYTES_TARGET_MAX: usize = 8 << 20;
/// Keys of a tree node, each in full: shared prefixes must not turn a small node into gigabytes.
pub const TREE_NODE_KEYS_BYTES_MAX: usize = 16 << 20;
/// Levels above the leaves of a tree, a list or a manifest.
pub const LEVEL_MAX: u8 = 16;
/// Chunks that a tree entry lists itself.
pub const INLINE_CHUNKS_MAX: usize = 64;
/// Entries in a list node.
pub const LIST_NODE_ENTRIES_MAX: usize = 4096;
/// Extents of a sparse file.
pub const EXTENTS_MAX: usize = 4096;
/// Entries in a manifest node.
pub const MANIFEST_NODE_ENTRIES_MAX: usize = 1024;
/// A manifest's root is at most this large.
pub const MANIFEST_ROOT_BYTES_MAX: usize = 16 << 10;
/// Bytes of a frame bitmap.
pub const BITMAP_BYTES_MAX: usize = PACK_FRAMES_MAX / 8;
/// Largest manifest node: a full leaf, each of its bitmaps as long as can be.
pub const MANIFEST_NODE_BYTES_MAX: usize =
    1 + 4 + MANIFEST_NODE_ENTRIES_MAX * (32 + 2 + BITMAP_BYTES_MAX);
/// Longest name of a store in snapshots and records: a hash, with room for a longer one.
pub const STORE_IDENTITY_BYTES_MAX: usize = 64;
/// Protection classes of a policy.
pub const CLASSES_MAX: usize = 64;
/// Largest item list inside a snapshot: segments, heads, tags, paths.
pub const SNAPSHOT_ITEMS_MAX: usize = 16 << 10;

// One more group member than the target must still fit a frame.
const _: () = assert!(GROUP_BYTES_TARGET + LONE_BLOB_BYTES_MIN <= FRAME_RAW_BYTES_MAX);
const _: () = assert!(GROUP_BLOBS_MAX <= FRAME_BLOBS_MAX);
// A manifest node has a frame for itself.
const _: () = assert!(MANIFEST_NODE_BYTES_MAX <= FRAME_RAW_BYTES_MAX);
// A pack that cannot hold one more largest frame and its largest own table would make the writer loop for ever.
#[expect(clippy::as_conversions, reason = "usize to u64 in a constant")]
const _: () =
    assert!((PACK_BYTES_TARGET + FRAME_BYTES_MAX + TABLE_BYTES_MAX) as u64 <= PACK_BYTES_MAX);
const _: () = assert!(BLOB_BYTES_MAX <= FRAME_RAW_BYTES_MAX);
// The largest entry (key, xattrs, target) joins a node that has not yet passed its target.
const _: () = assert!(
    TREE_NODE_BYTES_TARGET_MAX + PATH_KEY_BYTES_MAX + XATTRS_BYTES_MAX + (1 << 19)
        <= BLOB_BYTES_MAX
);
const _: () =
    assert!(TREE_NODE_KEYS_BYTES_TARGET_MAX + PATH_KEY_BYTES_MAX <= TREE_NODE_KEYS_BYTES_MAX);
