//! Objects as JSON.

use dolmen_core::Repository;
use dolmen_format::index::{IndexedFrame, Segment, decode_frames};
use dolmen_format::ledger::{LockStrategy, Policy};
use dolmen_format::pack::{Compression, PackTable, Recipient};
use dolmen_format::tree::{Content, Entry, NodeKind};
use dolmen_format::{FormatError, PackId};
use serde_json::{Value, json};

use super::kind_name;
use crate::render;

/// The root.
pub(super) fn root(repository: &Repository) -> Value {
    let root = repository.root();
    json!({
        "id": repository.id().to_string(),
        "version": 1,
        "created": render::rfc3339(root.created),
        "suite": root.suite,
        "verify_key": hex(&root.verify_key),
        "domain": root.domain.to_string(),
        "read_public": hex(&root.epoch.read_public),
        "maintain_public": hex(&root.epoch.maintain_public),
    })
}

/// A policy.
pub(crate) fn policy(policy: &Policy) -> Value {
    let keep = policy.keep;
    let classes: Vec<_> = policy
        .classes
        .iter()
        .map(|class| json!({ "rule": class.rule, "protect_seconds": class.protect_seconds }))
        .collect();
    json!({
        "protect_seconds": policy.protect_seconds,
        "generation_seconds": policy.generation_seconds,
        "interval_seconds": policy.interval_seconds,
        "lock": lock_name(policy.lock),
        "keep": {
            "last": keep.last, "hourly": keep.hourly, "daily": keep.daily,
            "weekly": keep.weekly, "monthly": keep.monthly, "yearly": keep.yearly,
        },
        "classes": classes,
    })
}

/// What `--lock` calls a strategy.
pub(crate) const fn lock_name(lock: LockStrategy) -> &'static str {
    match lock {
        LockStrategy::None => "none",
        LockStrategy::Compliance => "compliance",
        LockStrategy::Governance => "governance",
        LockStrategy::Hold => "hold",
        LockStrategy::Hide => "hide",
        LockStrategy::Attribute => "attribute",
    }
}

/// An index segment whose blobs are opened.
pub(super) fn segment(segment: &Segment, plain: &[u8]) -> Result<Value, FormatError> {
    let mut packs = Vec::new();
    decode_frames(plain, segment.packs.len(), |position, frames| {
        if let Some(pack) = segment.packs.get(position) {
            packs.push(json!({
                "id": pack.pack.to_string(),
                "pack_bytes": pack.pack_bytes,
                "table_bytes": pack.table_bytes,
                "frames": frames.iter().map(frame).collect::<Vec<_>>(),
            }));
        }
    })?;
    Ok(json!({
        "writer": segment.writer.to_string(),
        "instance": segment.instance.to_string(),
        "domain": segment.domain.to_string(),
        "packs": packs,
    }))
}

fn frame(frame: &IndexedFrame) -> Value {
    let blobs: Vec<_> = frame
        .blobs
        .iter()
        .map(|blob| {
            json!({
                "id": blob.id.to_string(), "type": kind_name(blob.kind), "length": blob.length,
            })
        })
        .collect();
    json!({
        "frame_bytes": frame.frame_bytes,
        "raw_bytes": frame.raw_bytes,
        "compression": compression_name(frame.compression),
        "blobs": blobs,
    })
}

/// A pack's table.
pub(super) fn pack(id: &PackId, pack_bytes: usize, table: &PackTable) -> Value {
    let frames: Vec<_> = table
        .frames
        .iter()
        .map(|frame| {
            json!({
                "origin": frame.origin,
                "ordinal": frame.ordinal,
                "frame_bytes": frame.frame_bytes,
                "hash": hex(&frame.hash),
                "compression": compression_name(frame.compression),
            })
        })
        .collect();
    let origins: Vec<_> = table
        .origins
        .iter()
        .map(|origin| {
            json!({
                "pack": origin.pack.map(|pack| pack.to_string()),
                "domain": origin.domain.to_string(),
                "salt": origin.salt.to_string(),
            })
        })
        .collect();
    json!({
        "id": id.to_string(),
        "pack_bytes": pack_bytes,
        "sealed_to": match table.recipient {
            Recipient::Read => "read",
            Recipient::Maintain => "maintain",
        },
        "origins": origins,
        "frames": frames,
    })
}

/// An entry of a tree, with where its content lies.
pub(super) fn entry(entry: &Entry) -> Value {
    let node = &entry.node;
    let path: Vec<u8> = entry
        .key
        .iter()
        .map(|byte| if *byte == 0 { b'/' } else { *byte })
        .collect();
    let (kind, content) = match &node.kind {
        NodeKind::Directory => ("dir", Value::Null),
        NodeKind::File(file) => ("file", content(&file.content)),
        NodeKind::Symlink(target) => ("symlink", json!(render::lossy(target))),
        NodeKind::Fifo => ("fifo", Value::Null),
        NodeKind::CharDevice(device) => ("chardev", json!([device.major, device.minor])),
        NodeKind::BlockDevice(device) => ("dev", json!([device.major, device.minor])),
    };
    json!({
        "path": format!("/{}", render::lossy(&path)),
        "type": kind,
        "mode": format!("{:04o}", node.mode),
        "uid": node.uid,
        "gid": node.gid,
        "mtime": render::rfc3339(node.mtime),
        "xattrs": node.xattrs.iter().map(|xattr| render::lossy(&xattr.name)).collect::<Vec<_>>(),
        "content": content,
    })
}

fn content(content: &Content) -> Value {
    match content {
        Content::Chunks(chunks) => chunks.iter().map(|chunk| chunk.id.to_string()).collect(),
        Content::List { level, id } => json!({ "list": id.to_string(), "level": level }),
    }
}

const fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Zstd => "zstd",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
