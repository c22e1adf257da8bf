//! Manifests: which frames a snapshot needs (`docs/format.md` §9).

use std::collections::BTreeMap;

use dolmen_format::limits::{MANIFEST_NODE_ENTRIES_MAX, MANIFEST_ROOT_BYTES_MAX};
use dolmen_format::manifest::{FrameSet, ManifestChild, ManifestNode, PackFrames};
use dolmen_format::pack::{BlobEntry, Recipient};
use dolmen_format::{BlobId, BlobKind, PackId};
use dolmen_state::index::{BlobIndex, Location};

use crate::error::{Error, Result};
use crate::pack::{Effort, FrameCompressor, PackBuilder, PackListener, put_pack};
use crate::repository::Repository;

/// Where a blob is stored that may be built upon.
pub(crate) type Stored<'a> = &'a dyn Fn(&BlobId) -> Option<Location>;

/// Writes a manifest's nodes into packs of their own, one for each level that has new nodes, and
/// returns its root node for the snapshot, and the packs that hold the others.
///
/// Cost: one put for each level with new nodes; none below some 300 packs, where the root is all.
pub(crate) fn write_manifest(
    repository: &Repository,
    index: &BlobIndex,
    stored: Stored<'_>,
    needed: &BTreeMap<PackId, FrameSet>,
    listener: &dyn PackListener,
) -> Result<(Vec<u8>, BTreeMap<PackId, FrameSet>)> {
    let mut holders: BTreeMap<PackId, FrameSet> = BTreeMap::new();
    let entries = needed
        .iter()
        .map(|(pack, frames)| PackFrames {
            pack: *pack,
            frames: frames.clone(),
        })
        .collect();
    let mut nodes: Vec<(PackId, ManifestNode)> = cut(0, entries, |entry: &PackFrames| entry.pack)
        .into_iter()
        .map(|(first, entries)| (first, ManifestNode::Leaf(entries)))
        .collect();
    loop {
        let level = nodes.first().map_or(0, |(_, node)| node.level());
        if let [(_, node)] = nodes.as_slice() {
            let encoded = node.encode();
            if encoded.len() <= MANIFEST_ROOT_BYTES_MAX {
                return Ok((encoded, holders));
            }
        }
        if nodes.is_empty() {
            return Ok((ManifestNode::Leaf(Vec::new()).encode(), holders));
        }
        let children = store_nodes(repository, index, stored, &nodes, listener)?;
        for child in &children {
            holders.entry(child.pack).or_default().insert(child.ordinal);
        }
        let above = level.saturating_add(1);
        nodes = cut(above, children, |child: &ManifestChild| child.first)
            .into_iter()
            .map(|(first, children)| (first, ManifestNode::Inner(above, children)))
            .collect();
    }
}

/// Cuts a level into nodes where its pack ids say so.
fn cut<T>(level: u8, items: Vec<T>, pack_of: impl Fn(&T) -> PackId) -> Vec<(PackId, Vec<T>)> {
    let mut nodes = Vec::new();
    let mut node = Vec::new();
    for item in items {
        let pack = pack_of(&item);
        node.push(item);
        if ManifestNode::ends_after(level, &pack) || node.len() >= MANIFEST_NODE_ENTRIES_MAX {
            nodes.push(std::mem::take(&mut node));
        }
    }
    if !node.is_empty() {
        nodes.push(node);
    }
    let first = |node: &Vec<T>| node.first().map_or(PackId::from_bytes([0; 32]), &pack_of);
    nodes.into_iter().map(|node| (first(&node), node)).collect()
}

/// Stores the nodes of one level that are not there yet, and names them all.
fn store_nodes(
    repository: &Repository,
    index: &BlobIndex,
    stored: Stored<'_>,
    nodes: &[(PackId, ManifestNode)],
    listener: &dyn PackListener,
) -> Result<Vec<ManifestChild>> {
    let mut compressor = FrameCompressor::new(Effort::Auto);
    let (pool, _buffers) = crossbeam_channel::bounded(1);
    let mut builder = None;
    let mut body = Vec::new();
    for (_, node) in nodes {
        let encoded = node.encode();
        let id = repository
            .keys()
            .home()?
            .blob_id(BlobKind::Manifest, &encoded);
        if stored(&id).is_some() {
            continue;
        }
        let mut current = match builder.take() {
            Some(builder) => builder,
            None => PackBuilder::new(repository, Recipient::Maintain, Vec::new())?,
        };
        let length = u32::try_from(encoded.len()).map_err(|_error| Error::Internal {
            what: "a manifest node is too large",
        })?;
        let compression = compressor.compress(&encoded, &mut body);
        let blob = BlobEntry {
            kind: BlobKind::Manifest,
            id,
            length,
        };
        current
            .push(length, compression, &mut body, &[blob])
            .map_err(Error::encode("a manifest pack"))?;
        if current.is_full() {
            put_pack(repository, index, current, &pool, listener)?;
        } else {
            builder = Some(current);
        }
    }
    if let Some(builder) = builder {
        put_pack(repository, index, builder, &pool, listener)?;
    }
    nodes
        .iter()
        .map(|(first, node)| name_child(repository, index, stored, *first, node))
        .collect()
}

fn name_child(
    repository: &Repository,
    index: &BlobIndex,
    stored: Stored<'_>,
    first: PackId,
    node: &ManifestNode,
) -> Result<ManifestChild> {
    let encoded = node.encode();
    let id = repository
        .keys()
        .home()?
        .blob_id(BlobKind::Manifest, &encoded);
    let location = stored(&id);
    let place = location.and_then(|at| Some((index.pack(at.pack)?.pack, at.ordinal)));
    let (pack, ordinal) = place.ok_or(Error::Internal {
        what: "a manifest node vanished",
    })?;
    Ok(ManifestChild {
        first,
        pack,
        ordinal,
        hash: *blake3::hash(&encoded).as_bytes(),
    })
}
