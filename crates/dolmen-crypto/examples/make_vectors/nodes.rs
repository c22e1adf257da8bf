//! Nodes of trees, lists and manifests.

use std::sync::Arc;

use dolmen_format::BlobId;
use dolmen_format::list::{Chunk, ListNode};
use dolmen_format::manifest::{FrameSet, ManifestChild, ManifestNode, PackFrames};
use dolmen_format::tree::{
    Content, Device, Entry, Extent, File, HardLink, Node, NodeKind, TreeChild, TreeNode, Xattr,
};

use super::{counting, object, time};

/// The leaf with every kind, flag and field first.
pub(crate) fn trees() -> Vec<(&'static str, TreeNode)> {
    vec![
        ("tree-0-full.bin", TreeNode::Leaf(entries())),
        ("tree-0-empty.bin", TreeNode::Leaf(Vec::new())),
        (
            "tree-1.bin",
            TreeNode::Inner(
                1,
                vec![
                    TreeChild {
                        first: b"etc".to_vec(),
                        id: BlobId(counting(0x22)),
                    },
                    TreeChild {
                        first: b"etc\0passwd".to_vec(),
                        id: BlobId(counting(0x23)),
                    },
                ],
            ),
        ),
    ]
}

fn plain(kind: NodeKind) -> Node {
    Node {
        kind,
        mode: 0o7777,
        uid: 0,
        gid: u32::MAX,
        user: Some(Arc::from(b"root".as_slice())),
        group: None,
        mtime: time(-1, 999_999_999),
        hard_link: None,
        xattrs: Vec::new(),
    }
}

fn chunk(first: u8, length: u64) -> Chunk {
    Chunk {
        id: BlobId(counting(first)),
        length,
    }
}

fn file(size: u64, extents: Option<Vec<Extent>>, content: Content) -> Node {
    plain(NodeKind::File(File {
        size,
        extents,
        content,
    }))
}

/// A file with another name somewhere, and attributes.
fn linked() -> Node {
    let xattr = |name: &[u8], value: &[u8]| Xattr {
        name: name.to_vec(),
        value: value.to_vec(),
    };
    let chunks = vec![chunk(0x24, 5), chunk(0x25, 300)];
    Node {
        user: Some(Arc::from(b"\xff".as_slice())),
        group: Some(Arc::from(b"root".as_slice())),
        mode: 0,
        hard_link: Some(HardLink {
            device: u64::MAX,
            inode: 128,
            links: 2,
        }),
        xattrs: vec![
            xattr(b"security.selinux", b"s\0"),
            xattr(b"user.empty", b""),
        ],
        ..file(305, None, Content::Chunks(chunks))
    }
}

fn entries() -> Vec<Entry> {
    let extent = |offset, length| Extent { offset, length };
    let extents = || Some(vec![extent(0, 5), extent(1 << 20, 300)]);
    let list = || Content::List {
        level: 1,
        id: BlobId(counting(0x26)),
    };
    let sparse = Content::Chunks(vec![chunk(0x27, 305)]);
    let null = Device { major: 1, minor: 3 };
    let sda = Device {
        major: u32::MAX,
        minor: 0,
    };
    let target = b"../dev/null".to_vec();
    let entries: [(&[u8], Node); 13] = [
        (b"dev", plain(NodeKind::Directory)),
        (b"dev\0null", plain(NodeKind::CharDevice(null))),
        (b"dev\0sda", plain(NodeKind::BlockDevice(sda))),
        (b"etc", plain(NodeKind::Directory)),
        (b"etc\0empty", file(0, None, Content::EMPTY)),
        (
            b"etc\0holes",
            file(1 << 40, Some(Vec::new()), Content::EMPTY),
        ),
        (b"etc\0link", plain(NodeKind::Symlink(target))),
        (b"etc\0linked", linked()),
        (b"etc\0long", file(1 << 50, None, list())),
        (b"etc\0long sparse", file(1 << 50, extents(), list())),
        (b"etc\0pipe", plain(NodeKind::Fifo)),
        (b"etc\0sparse", file((1 << 20) + 300, extents(), sparse)),
        (b"etc\0\xc3\x28 not UTF-8", plain(NodeKind::Directory)),
    ];
    let entry = |(key, node): (&[u8], Node)| Entry {
        key: key.to_vec(),
        node,
    };
    entries.into_iter().map(entry).collect()
}

/// The node over chunks first.
pub(crate) fn lists() -> Vec<(&'static str, ListNode)> {
    vec![
        (
            "list-0.bin",
            ListNode {
                level: 0,
                entries: vec![chunk(0x28, 1), chunk(0x29, 128), chunk(0x28, 4 << 20)],
            },
        ),
        (
            "list-1.bin",
            ListNode {
                level: 1,
                entries: vec![chunk(0x2a, (4 << 20) + 129), chunk(0x2b, 1 << 62)],
            },
        ),
    ]
}

/// The leaf first.
pub(crate) fn manifests() -> Vec<(&'static str, ManifestNode)> {
    let set = |ordinals: &[u32]| {
        let mut set = FrameSet::default();
        for ordinal in ordinals {
            set.insert(*ordinal);
        }
        set
    };
    let child = |first: u8, ordinal: u32| ManifestChild {
        first: object(first),
        pack: object(0x2c),
        ordinal,
        hash: counting(0x2d),
    };
    vec![
        (
            "manifest-0.bin",
            ManifestNode::Leaf(vec![
                PackFrames {
                    pack: object(0x2e),
                    frames: set(&[0]),
                },
                PackFrames {
                    pack: object(0x2f),
                    frames: set(&[1, 7, 8, 4095]),
                },
            ]),
        ),
        (
            "manifest-1.bin",
            ManifestNode::Inner(1, vec![child(0x30, 0), child(0x31, 4095)]),
        ),
    ]
}
