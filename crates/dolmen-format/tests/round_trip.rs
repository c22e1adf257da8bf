//! Whatever a writer may write, a reader reads, and there is no second way to write it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dolmen_format::index::{IndexedFrame, decode_frames, encode_frames};
use dolmen_format::limits::{
    PATH_KEY_BYTES_MAX, TREE_NODE_BYTES_TARGET_MAX, TREE_NODE_KEYS_BYTES_TARGET_MAX,
    XATTRS_BYTES_MAX,
};
use dolmen_format::list::{Chunk, ListNode};
use dolmen_format::manifest::{FrameSet, ManifestChild, ManifestNode, PackFrames};
use dolmen_format::pack::{BlobEntry, Compression, Descriptor};
use dolmen_format::tree::{
    Content, Device, Entry, Extent, File, HardLink, InnerWriter, LeafWriter, Name, Node, NodeKind,
    TreeChild, TreeNode, Xattr,
};
use dolmen_format::{BlobId, BlobKind, ObjectId, Timestamp};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

fn blob_id() -> impl Strategy<Value = BlobId> {
    any::<[u8; 32]>().prop_map(BlobId)
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no separator", |byte| !matches!(byte, 0 | b'/'));
    let component = prop_oneof![
        "[ab]{1,3}".prop_map(String::into_bytes),
        vec(byte, 1..30),
        Just(vec![b'x'; 255]),
    ];
    let component = component.prop_filter("a name", |name| name != b"." && name != b"..");
    vec(component, 1..5).prop_map(|parts| parts.join(&0))
}

fn name() -> impl Strategy<Value = Option<Name>> {
    option::of("[ab]{0,2}".prop_map(|name| Arc::from(name.as_bytes())))
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let pairs = btree_map("[a-z.]{1,20}", vec(any::<u8>(), 0..50), 0..4);
    let xattr = |(name, value): (String, Vec<u8>)| Xattr {
        name: name.into_bytes(),
        value,
    };
    pairs.prop_map(move |pairs| pairs.into_iter().map(xattr).collect())
}

fn chunks(count_max: usize) -> impl Strategy<Value = Vec<Chunk>> {
    let chunk = (blob_id(), 1..=4_u64 << 20).prop_map(|(id, length)| Chunk { id, length });
    vec(chunk, 0..count_max)
}

/// Cuts a content into extents with gaps.
fn spread(total: u64, gaps: &[u64]) -> (Vec<Extent>, u64) {
    let parts = u64::try_from(gaps.len()).unwrap_or(1);
    let (mut extents, mut end, mut left) = (Vec::new(), 0, total);
    for (position, gap) in gaps.iter().enumerate() {
        let last = position + 1 == gaps.len();
        let length = if last { left } else { total / parts };
        if length > 0 {
            extents.push(Extent {
                offset: end + gap,
                length,
            });
            end += gap + length;
            left -= length;
        }
    }
    (extents, end)
}

fn file() -> impl Strategy<Value = File> {
    let dense = chunks(65).prop_map(|chunks| File {
        size: chunks.iter().map(|chunk| chunk.length).sum(),
        extents: None,
        content: Content::Chunks(chunks),
    });
    let sparse = (chunks(65), vec(1..1_u64 << 40, 1..6), 0..1_u64 << 40);
    let sparse = sparse.prop_map(|(chunks, gaps, hole)| {
        let (extents, end) = spread(chunks.iter().map(|chunk| chunk.length).sum(), &gaps);
        File {
            size: end + hole,
            extents: Some(extents),
            content: Content::Chunks(chunks),
        }
    });
    let long = (any::<u64>(), 0..=16_u8, blob_id()).prop_map(|(size, level, id)| File {
        size,
        extents: None,
        content: Content::List { level, id },
    });
    prop_oneof![dense, sparse, long]
}

fn kind() -> impl Strategy<Value = NodeKind> {
    let device = any::<(u32, u32)>().prop_map(|(major, minor)| Device { major, minor });
    prop_oneof![
        Just(NodeKind::Directory),
        Just(NodeKind::Fifo),
        file().prop_map(NodeKind::File),
        vec(any::<u8>(), 0..100).prop_map(NodeKind::Symlink),
        device.clone().prop_map(NodeKind::CharDevice),
        device.prop_map(NodeKind::BlockDevice),
    ]
}

prop_compose! {
    fn node()(
        kind in kind(), mode in 0..1_u16 << 12, (uid, gid) in any::<(u32, u32)>(),
        (user, group) in (name(), name()), mtime in timestamp(),
        link in option::of(any::<(u64, u64, u64)>()), xattrs in xattrs(),
    ) -> Node {
        let link = link.filter(|_| kind != NodeKind::Directory);
        let hard_link = link.map(|(device, inode, links)| HardLink { device, inode, links });
        Node { kind, mode, uid, gid, user, group, mtime, hard_link, xattrs }
    }
}

fn leaf() -> impl Strategy<Value = TreeNode> {
    btree_map(key(), node(), 0..20).prop_map(|entries| {
        TreeNode::Leaf(
            entries
                .into_iter()
                .map(|(key, node)| Entry { key, node })
                .collect(),
        )
    })
}

fn inner() -> impl Strategy<Value = TreeNode> {
    (1..=16_u8, btree_map(key(), blob_id(), 1..30)).prop_map(|(level, children)| {
        let child = |(first, id)| TreeChild { first, id };
        TreeNode::Inner(level, children.into_iter().map(child).collect())
    })
}

fn blobs() -> impl Strategy<Value = Vec<BlobEntry>> {
    let kinds = [
        BlobKind::Data,
        BlobKind::Tree,
        BlobKind::List,
        BlobKind::Manifest,
    ];
    let blob = (
        proptest::sample::select(kinds.to_vec()),
        blob_id(),
        1..10_000_u32,
    );
    vec(
        blob.prop_map(|(kind, id, length)| BlobEntry { kind, id, length }),
        1..50,
    )
}

fn raw_bytes(blobs: &[BlobEntry]) -> u32 {
    blobs.iter().map(|blob| blob.length).sum()
}

fn frame() -> impl Strategy<Value = IndexedFrame> {
    let known = (29..4_u32 << 20, any::<bool>(), blobs());
    let known = known.prop_map(|(frame_bytes, zstd, blobs)| IndexedFrame {
        frame_bytes,
        raw_bytes: raw_bytes(&blobs),
        compression: if zstd {
            Compression::Zstd
        } else {
            Compression::None
        },
        blobs,
    });
    prop_oneof![9 => known, 1 => Just(IndexedFrame::UNKNOWN)]
}

fn manifest() -> impl Strategy<Value = ManifestNode> {
    let set = btree_set(0..4096_u32, 1..20).prop_map(|ordinals| {
        let mut set = FrameSet::default();
        for ordinal in ordinals {
            assert!(set.insert(ordinal));
        }
        set
    });
    let pack = |id| ObjectId(id);
    let leaf = btree_map(any::<[u8; 32]>(), set, 0..10).prop_map(move |packs| {
        let entry = |(id, frames)| PackFrames {
            pack: pack(id),
            frames,
        };
        ManifestNode::Leaf(packs.into_iter().map(entry).collect())
    });
    let child = (any::<[u8; 32]>(), 0..4096_u32, any::<[u8; 32]>());
    let inner = (1..=16_u8, btree_map(any::<[u8; 32]>(), child, 1..10));
    let inner = inner.prop_map(move |(level, children)| {
        let child = |(first, (id, ordinal, hash))| ManifestChild {
            first: pack(first),
            pack: pack(id),
            ordinal,
            hash,
        };
        ManifestNode::Inner(level, children.into_iter().map(child).collect())
    });
    prop_oneof![leaf, inner]
}

proptest! {
    #[test]
    fn leaves_survive(leaf in leaf()) {
        let encoded = leaf.encode();
        let decoded = TreeNode::decode(&encoded, 0).unwrap();
        prop_assert_eq!(&decoded, &leaf);
        prop_assert_eq!(decoded.encode(), encoded);
    }

    #[test]
    fn inner_nodes_survive(inner in inner()) {
        let TreeNode::Inner(level, children) = &inner else { panic!("no inner node") };
        let mut writer = InnerWriter::default();
        for child in children {
            writer.push(&child.first, &child.id);
        }
        let encoded = inner.encode();
        prop_assert_eq!(writer.bytes(), encoded.len());
        prop_assert_eq!(TreeNode::decode(&encoded, *level).unwrap(), inner);
    }

    #[test]
    fn a_leaf_writer_knows_its_size_and_starts_afresh(leaf in leaf()) {
        let TreeNode::Leaf(entries) = &leaf else { panic!("no leaf") };
        let mut writer = LeafWriter::default();
        for _ in 0..2 {
            for entry in entries {
                prop_assert_eq!(entry.node.validate(&entry.key), Ok(()));
                writer.push(&entry.key, &entry.node);
            }
            let (bytes, mut out) = (writer.bytes(), Vec::new());
            writer.finish(&mut out);
            prop_assert_eq!(bytes, out.len());
            prop_assert_eq!(out, leaf.encode());
            prop_assert!(writer.is_empty());
        }
    }

    #[test]
    fn lists_survive(level in 0..=16_u8, entries in chunks(200)) {
        prop_assume!(!entries.is_empty());
        let list = ListNode { level, entries };
        prop_assert_eq!(ListNode::decode(&list.encode(), level).unwrap(), list);
    }

    #[test]
    fn manifests_survive(manifest in manifest()) {
        let encoded = manifest.encode();
        let decoded = ManifestNode::decode(&encoded).unwrap();
        prop_assert_eq!(decoded.encode(), encoded);
        prop_assert_eq!(decoded, manifest);
    }

    #[test]
    fn frame_sets_are_sets(ordinals in vec(0..5000_u32, 0..50)) {
        let mut set = FrameSet::default();
        let taken: BTreeSet<_> = ordinals.into_iter().filter(|it| set.insert(*it)).collect();
        prop_assert!(taken.iter().all(|ordinal| *ordinal < 4096 && set.contains(*ordinal)));
        prop_assert_eq!(set.count(), taken.len());
        prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), taken);
    }

    #[test]
    fn descriptors_survive(blobs in blobs(), hashes in any::<[[u8; 32]; 2]>()) {
        let [frame_hash, sealed_key_digest] = hashes;
        let raw_bytes = raw_bytes(&blobs);
        let descriptor = Descriptor { frame_hash, sealed_key_digest, raw_bytes, blobs };
        prop_assert_eq!(Descriptor::decode(&descriptor.encode()).unwrap(), descriptor);
    }

    #[test]
    fn segments_survive(packs in vec(vec(frame(), 1..5), 0..4)) {
        let mut encoded = Vec::new();
        for frames in &packs {
            encode_frames(frames, &mut encoded);
        }
        let mut decoded = BTreeMap::new();
        decode_frames(&encoded, packs.len(), |pack, frames| drop(decoded.insert(pack, frames))).unwrap();
        prop_assert_eq!(decoded.into_values().collect::<Vec<_>>(), packs);
    }
}

fn plain(kind: NodeKind) -> Node {
    Node {
        kind,
        mode: 0,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: Timestamp::default(),
        hard_link: None,
        xattrs: Vec::new(),
    }
}

fn sparse(size: u64, extents: &[(u64, u64)], length: u64) -> Node {
    let extent = |(offset, length): &(u64, u64)| Extent {
        offset: *offset,
        length: *length,
    };
    let chunk = Chunk {
        id: BlobId([1; 32]),
        length,
    };
    plain(NodeKind::File(File {
        size,
        extents: Some(extents.iter().map(extent).collect()),
        content: Content::Chunks(vec![chunk]),
    }))
}

#[test]
fn a_writer_learns_which_keys_readers_refuse() {
    let directory = plain(NodeKind::Directory);
    assert_eq!(directory.validate(b"a"), Ok(()));
    for key in [
        &b""[..],
        b".",
        b"a\0..",
        b"a\0\0b",
        b"\0a",
        b"a\0",
        b"a/b",
        &[b'x'; 256],
    ] {
        assert!(directory.validate(key).is_err(), "{key:?}");
    }
    let long_path = vec![b'x'; PATH_KEY_BYTES_MAX + 1];
    assert!(directory.validate(&long_path).is_err());
}

#[test]
fn a_writer_learns_which_fields_readers_refuse() {
    let directory = plain(NodeKind::Directory);
    let link = HardLink {
        device: 1,
        inode: 2,
        links: 3,
    };
    let xattr = |name: &[u8], value_bytes| Xattr {
        name: name.to_vec(),
        value: vec![0; value_bytes],
    };
    let refused = [
        Node {
            mode: 1 << 12,
            ..directory.clone()
        },
        Node {
            hard_link: Some(link),
            ..directory.clone()
        },
        Node {
            user: Some(Arc::from([b'u'; 256].as_slice())),
            ..directory.clone()
        },
        Node {
            mtime: Timestamp {
                seconds: 0,
                nanos: 1_000_000_000,
            },
            ..directory.clone()
        },
        Node {
            xattrs: vec![xattr(b"b", 0), xattr(b"a", 0)],
            ..directory.clone()
        },
        Node {
            xattrs: vec![xattr(b"a", 0), xattr(b"a", 1)],
            ..directory.clone()
        },
        Node {
            xattrs: vec![xattr(b"", 0)],
            ..directory.clone()
        },
        Node {
            xattrs: vec![xattr(b"a\0", 0)],
            ..directory.clone()
        },
        Node {
            xattrs: vec![xattr(b"a", XATTRS_BYTES_MAX)],
            ..directory.clone()
        },
    ];
    for node in refused {
        assert!(node.validate(b"a").is_err(), "{node:?}");
    }
}

#[test]
fn a_writer_learns_which_kinds_readers_refuse() {
    let refused = [
        plain(NodeKind::Symlink(vec![b'x'; (1 << 16) + 1])),
        sparse(10, &[(0, 5), (5, 5)], 10),
        sparse(10, &[(5, 5), (0, 5)], 10),
        sparse(10, &[(0, 11)], 11),
        sparse(10, &[(0, 5)], 6),
        sparse(u64::MAX, &[(u64::MAX, 1)], 1),
        sparse(1 << 40, &[(0, 1 << 30)], 1 << 30),
    ];
    for node in refused {
        assert!(node.validate(b"a").is_err(), "{:?}", node.kind);
    }
    assert_eq!(sparse(10, &[(0, 4), (5, 5)], 9).validate(b"a"), Ok(()));
}

#[test]
fn a_full_node_fits_a_blob_and_its_keys_fit_a_reader() {
    let mut writer = LeafWriter::default();
    let user = |number: u32| -> Name { Arc::from(format!("{number:0>255}").as_bytes()) };
    let mut number = 0;
    while !writer.is_full() {
        let mut node = plain(NodeKind::Fifo);
        (node.user, node.group) = (Some(user(number)), Some(user(number + 1_000_000)));
        writer.push(format!("{number:08}").as_bytes(), &node);
        number += 1;
    }
    let mut out = Vec::new();
    writer.finish(&mut out);
    assert!(
        out.len() < TREE_NODE_BYTES_TARGET_MAX + 1024,
        "names count: {}",
        out.len()
    );
    let path = vec![vec![b'd'; 200]; 1000].join(&0);
    let mut writer = InnerWriter::default();
    while !writer.is_full() {
        let first = [&path[..], format!("\0{:08}", writer.count()).as_bytes()].concat();
        writer.push(&first, &BlobId([0; 32]));
    }
    assert!(
        writer.bytes() < TREE_NODE_BYTES_TARGET_MAX,
        "long paths end a node before its size"
    );
    assert!(writer.count() * path.len() < TREE_NODE_KEYS_BYTES_TARGET_MAX + PATH_KEY_BYTES_MAX);
    out.clear();
    writer.finish(1, &mut out);
    assert!(TreeNode::decode(&out, 1).is_ok());
}

/// Tables of names that a writer does not write: another order, one twice, one unused.
#[test]
fn a_leaf_has_one_table_of_names() {
    let entry = |key: u8, user: u8, group: u8| [0, 1, key, 4, 0, 0, 0, 0, user, group, 0, 0];
    let leaf = |names: &[u8], entries: &[[u8; 12]]| {
        let mut out = vec![0, u8::try_from(names.len()).unwrap()];
        for name in names {
            out.extend([1, *name]);
        }
        out.push(u8::try_from(entries.len()).unwrap());
        out.extend(entries.concat());
        TreeNode::decode(&out, 0)
    };
    assert!(leaf(b"ab", &[entry(b'x', 1, 2), entry(b'y', 2, 1)]).is_ok());
    assert!(leaf(b"ba", &[entry(b'x', 2, 1)]).is_err(), "another order");
    assert!(leaf(b"aa", &[entry(b'x', 1, 2)]).is_err(), "one twice");
    assert!(leaf(b"ab", &[entry(b'x', 1, 1)]).is_err(), "one unused");
    assert!(leaf(b"a", &[]).is_err(), "one for nobody");
    assert!(leaf(b"a", &[entry(b'x', 1, 2)]).is_err(), "one missing");
}
