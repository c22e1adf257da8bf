//! One entry of a listing, as restic shows it: modes are those of Go's `os.FileMode`.

use dolmen_format::tree::{Node, NodeKind};
use serde_json::{Map, Value, json};

use crate::render;

/// The `node` message.
pub(super) fn json(path: &[u8], node: &Node) -> Value {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("name", json!(render::lossy(name)));
    put("type", json!(type_name(&node.kind)));
    put("path", json!(render::lossy(path)));
    put("uid", json!(node.uid));
    put("gid", json!(node.gid));
    for (field, name) in [("user", &node.user), ("group", &node.group)] {
        if let Some(name) = name {
            put(field, json!(render::lossy(name)));
        }
    }
    if let NodeKind::File(file) = &node.kind {
        put("size", json!(file.size));
    }
    put("mode", json!(go_mode(node)));
    put("permissions", json!(permissions(node)));
    put("mtime", json!(render::rfc3339(node.mtime)));
    if let Some(link) = &node.hard_link {
        put("inode", json!(link.inode));
        put("links", json!(link.links));
    }
    if let NodeKind::Symlink(target) = &node.kind {
        put("linktarget", json!(render::lossy(target)));
    }
    put("message_type", json!("node"));
    put("struct_type", json!("node"));
    Value::Object(object)
}

/// Mode, owner, size and time in columns.
pub(super) fn long(node: &Node, human_readable: bool) -> String {
    let size = match &node.kind {
        NodeKind::File(file) if human_readable => render::bytes(file.size),
        NodeKind::File(file) => file.size.to_string(),
        NodeKind::Directory
        | NodeKind::Symlink(_)
        | NodeKind::Fifo
        | NodeKind::CharDevice(_)
        | NodeKind::BlockDevice(_) => "0".to_owned(),
    };
    format!(
        "{} {:>5} {:>5} {size:>10} {}",
        permissions(node),
        node.uid,
        node.gid,
        render::local_time(node.mtime)
    )
}

const fn type_name(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Directory => "dir",
        NodeKind::File(_) => "file",
        NodeKind::Symlink(_) => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::CharDevice(_) => "chardev",
        NodeKind::BlockDevice(_) => "dev",
    }
}

/// Go's flags with their letters, in the order in which Go prints them.
const GO_FLAGS: [(u32, char); 8] = [
    (1 << 31, 'd'),
    (1 << 27, 'L'),
    (1 << 26, 'D'),
    (1 << 25, 'p'),
    (1 << 23, 'u'),
    (1 << 22, 'g'),
    (1 << 21, 'c'),
    (1 << 20, 't'),
];

fn go_mode(node: &Node) -> u32 {
    let kind = match node.kind {
        NodeKind::Directory => 1 << 31,
        NodeKind::File(_) => 0,
        NodeKind::Symlink(_) => 1 << 27,
        NodeKind::BlockDevice(_) => 1 << 26,
        NodeKind::CharDevice(_) => 1 << 26 | 1 << 21,
        NodeKind::Fifo => 1 << 25,
    };
    let mode = u32::from(node.mode);
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    special
        .into_iter()
        .filter(|(unix, _)| mode & unix != 0)
        .fold(kind | mode & 0o777, |all, (_, go)| all | go)
}

/// `drwxr-xr-x`, as Go's `FileMode.String` prints it.
fn permissions(node: &Node) -> String {
    let mode = go_mode(node);
    let mut text: String = GO_FLAGS
        .iter()
        .filter(|(flag, _)| mode & flag != 0)
        .map(|(_, letter)| letter)
        .collect();
    if text.is_empty() {
        text.push('-');
    }
    for (position, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> position) == 0 {
            '-'
        } else {
            letter
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use dolmen_format::Timestamp;
    use dolmen_format::tree::{Content, Device, File};

    use super::*;

    fn node(kind: NodeKind, mode: u16) -> Node {
        Node {
            kind,
            mode,
            uid: 1000,
            gid: 100,
            user: None,
            group: None,
            mtime: Timestamp::from_seconds(0),
            hard_link: None,
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn modes_are_those_of_go() {
        let device = Device { major: 1, minor: 2 };
        for (kind, mode, go, text) in [
            (NodeKind::Directory, 0o755, 0x8000_01ed, "drwxr-xr-x"),
            (NodeKind::Directory, 0o1777, 0x8010_01ff, "dtrwxrwxrwx"),
            (
                NodeKind::Symlink(b"t".to_vec()),
                0o777,
                0x0800_01ff,
                "Lrwxrwxrwx",
            ),
            (
                NodeKind::CharDevice(device),
                0o600,
                0x0420_0180,
                "Dcrw-------",
            ),
            (NodeKind::Fifo, 0o4700, 0x0280_01c0, "purwx------"),
        ] {
            let node = node(kind, mode);
            assert_eq!((go_mode(&node), permissions(&node).as_str()), (go, text));
        }
    }

    #[test]
    fn a_file_has_restics_fields() {
        let file = File {
            size: 7,
            extents: None,
            content: Content::EMPTY,
        };
        let shown = json(b"/a/b", &node(NodeKind::File(file), 0o640));
        assert_eq!(
            shown,
            json!({
                "name": "b", "type": "file", "path": "/a/b", "uid": 1000, "gid": 100, "size": 7,
                "mode": 0o640, "permissions": "-rw-r-----", "mtime": "1970-01-01T00:00:00Z",
                "message_type": "node", "struct_type": "node",
            })
        );
    }
}
