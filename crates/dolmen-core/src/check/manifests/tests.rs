use std::collections::BTreeMap;

use dolmen_format::manifest::FrameSet;
use dolmen_state::index::BlobIndex;

use super::*;
use crate::check::{Observer, packs, sink::Sink};
use crate::finding::Finding;
use crate::fixture::{Deaf, hurt, repository, snapshot};
use crate::manifest::write_manifest;
use crate::repository::Repository;
use crate::snapshots::SnapshotList;

impl Observer for Deaf {
    fn finding(&self, _: &Finding) {}
    fn notice(&self, _: &str) {}
}

/// Reads a snapshot's manifest with all that was stored in view.
fn read(repository: &Repository, index: &BlobIndex, snapshot: &Snapshot) -> Checked<Named> {
    let (sink, progress) = (Sink::new(&Deaf), Progress::default());
    let list = SnapshotList::load(repository, None)?;
    let health = packs::compare(repository, index, &list.facts, &sink)?;
    let (blobs, numbers) = (BlobReader::new(repository, index), FrameNumbers::new(index));
    Manifests::new(&blobs, &health, &numbers, &progress).read(snapshot)
}

#[test]
fn a_large_manifest_is_read_down_to_its_leaves() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let repository = repository(&runtime);
    let (index, _) = BlobIndex::open(None, &[]).unwrap();
    let mut frames = FrameSet::default();
    assert!(frames.insert(5));
    // Packs that the index does not know: enough for three levels.
    let packs = (0_u64..60_000).map(|number| PackId::of(&number.to_le_bytes()));
    let needed: BTreeMap<_, _> = packs.map(|pack| (pack, frames.clone())).collect();
    let (root, _) =
        write_manifest(&repository, &index, &|id| index.lookup(id), &needed, &Deaf).unwrap();
    assert!(ManifestNode::decode(&root).unwrap().level() >= 1);
    let snapshot = snapshot(&repository, &root);
    let found = read(&repository, &index, &snapshot).unwrap().unwrap();
    let mut unknown = found.unknown;
    unknown.sort();
    assert!(unknown.iter().eq(needed.keys()));
    assert_eq!(found.missing, []);

    // One byte of one pack of nodes.
    let mut packs = Vec::new();
    repository
        .objects
        .list("packs/", |object| packs.push(object.key))
        .unwrap();
    assert!(!packs.is_empty());
    for key in packs {
        hurt(&repository, &key);
        assert!(
            read(&repository, &index, &snapshot).unwrap().is_err(),
            "{key}"
        );
        hurt(&repository, &key);
    }
    assert!(read(&repository, &index, &snapshot).unwrap().is_ok());
}
