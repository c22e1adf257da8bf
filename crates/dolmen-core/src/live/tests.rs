use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::manifest::{ManifestChild, ManifestNode, PackFrames};
use dolmen_format::{ObjectKey, SnapshotId, WriterId};
use dolmen_state::index::BlobIndex;

use super::*;
use crate::error::Error;
use crate::fixture;
use crate::manifest::write_manifest;
use crate::pack::BlobReader;

/// Nodes by where they lie.
#[derive(Debug, Default, Clone)]
struct Nodes {
    stored: BTreeMap<NodePlace, Vec<u8>>,
    reads: BTreeMap<NodePlace, u32>,
}

impl NodeSource for Nodes {
    fn read(
        &mut self,
        places: &[NodePlace],
    ) -> Result<Vec<std::result::Result<Vec<u8>, BlobError>>> {
        let read = places.iter().map(|place| {
            *self.reads.entry(*place).or_default() += 1;
            self.stored.get(place).cloned().ok_or(BlobError::Frame {
                pack: place.pack,
                ordinal: place.ordinal,
            })
        });
        Ok(read.collect())
    }
}

type Model = BTreeMap<PackId, (BTreeSet<u32>, u64)>;

impl Nodes {
    /// Stores a node where its hash says, and names it.
    fn store(&mut self, node: &ManifestNode) -> ManifestChild {
        let bytes = node.encode();
        let hash = *blake3::hash(&bytes).as_bytes();
        let place = NodePlace {
            pack: PackId::of(&hash),
            ordinal: u32::from(hash[0]),
        };
        self.stored.insert(place, bytes);
        ManifestChild {
            first: first_of(node),
            pack: place.pack,
            ordinal: place.ordinal,
            hash,
        }
    }

    /// Stores a tree of small nodes, and returns its root.
    fn tree(&mut self, needed: &BTreeMap<PackId, FrameSet>) -> ManifestNode {
        let entries: Vec<_> = needed
            .iter()
            .map(|(pack, frames)| PackFrames {
                pack: *pack,
                frames: frames.clone(),
            })
            .collect();
        let ends = |pack: &PackId, level: usize| pack.0[31 - level].is_multiple_of(4);
        let leaves = entries.chunk_by(|entry, _| !ends(&entry.pack, 0));
        let mut nodes: Vec<_> = leaves.map(|part| ManifestNode::Leaf(part.into())).collect();
        for level in 1_u8.. {
            match nodes.as_slice() {
                [] => return ManifestNode::Leaf(Vec::new()),
                [root] => return root.clone(),
                _ => {}
            }
            let children: Vec<_> = nodes.iter().map(|node| self.store(node)).collect();
            let parts = children.chunk_by(|child, _| !ends(&child.first, level.into()));
            nodes = parts
                .map(|part| ManifestNode::Inner(level, part.into()))
                .collect();
        }
        unreachable!("a level has fewer nodes than the one below");
    }

    /// What the trees below these roots need.
    fn model(&self, roots: &[(ManifestNode, u64)]) -> Model {
        let mut model = Model::new();
        let mut open: Vec<_> = roots.to_vec();
        while let Some((node, promise)) = open.pop() {
            let mut need = |pack: PackId, ordinal: u32| {
                let known = model.entry(pack).or_default();
                known.0.insert(ordinal);
                known.1 = promise.max(known.1);
            };
            match node {
                ManifestNode::Leaf(entries) => {
                    for entry in entries {
                        entry.frames.iter().for_each(|at| need(entry.pack, at));
                    }
                }
                ManifestNode::Inner(_, children) => {
                    for child in children {
                        need(child.pack, child.ordinal);
                        let stored = self.stored.get(&place_of(&child));
                        let node = stored.and_then(|bytes| ManifestNode::decode(bytes).ok());
                        open.extend(node.map(|node| (node, promise)));
                    }
                }
            }
        }
        model
    }
}

fn first_of(node: &ManifestNode) -> PackId {
    match node {
        ManifestNode::Leaf(entries) => entries[0].pack,
        ManifestNode::Inner(_, children) => children[0].first,
    }
}

const fn place_of(child: &ManifestChild) -> NodePlace {
    NodePlace {
        pack: child.pack,
        ordinal: child.ordinal,
    }
}

fn key(number: u64) -> ObjectKey {
    ObjectKey::Snapshot(WriterId([1; 16]), SnapshotId::of(&number.to_le_bytes()))
}

fn frames(ordinals: &[u32]) -> FrameSet {
    let mut frames = FrameSet::default();
    for ordinal in ordinals {
        assert!(frames.insert(*ordinal));
    }
    frames
}

/// Walks roots, each with its promise, in little memory.
fn walk(roots: &[(ManifestNode, u64)], source: &mut dyn NodeSource) -> Result<Live> {
    let folder = tempfile::tempdir().unwrap();
    let mut walk = LiveWalk::with_memory(folder.path(), 8 << 10, 1 << 10);
    for (number, (root, promise)) in (0..).zip(roots) {
        walk.add_root(key(number), &root.encode(), *promise)?;
    }
    walk.finish(source)
}

fn found(packs: LivePacks<'_>) -> Model {
    let mut last = None;
    packs
        .map(|pack| {
            let pack = pack.unwrap();
            assert!(last.replace(pack.pack) < Some(pack.pack), "ascending");
            let ordinals = pack.frames.iter().collect();
            (pack.pack, (ordinals, pack.promise_seconds))
        })
        .collect()
}

/// A history: each snapshot has the packs of the one before, but for some.
fn history(seed: u64, snapshots: u64, packs: u64) -> (Nodes, Vec<(ManifestNode, u64)>) {
    let mut bytes = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    let mut draw = move |below: u64| {
        let mut out = [0; 8];
        bytes.fill(&mut out);
        u64::from_le_bytes(out) % below
    };
    let (mut nodes, mut roots, mut needed) = (Nodes::default(), Vec::new(), BTreeMap::new());
    for snapshot in 0..snapshots {
        let new = if snapshot == 0 {
            packs
        } else {
            draw(packs / 8 + 1)
        };
        needed.retain(|_, _| draw(8) > 0);
        for _ in 0..new {
            let pack = PackId::of(&draw(packs * 2).to_le_bytes());
            let widest = [3, 64, 4096][usize::try_from(draw(3)).unwrap()];
            let ordinals: Vec<_> = (0..=draw(4)).map(|_| draw(widest)).collect();
            let ordinals: Vec<_> = ordinals
                .iter()
                .map(|at| u32::try_from(*at).unwrap())
                .collect();
            needed.insert(pack, frames(&ordinals));
        }
        roots.push((nodes.tree(&needed), draw(1000)));
    }
    (nodes, roots)
}

#[test]
fn the_walk_agrees_with_reading_every_tree_for_itself_and_reads_each_node_once() {
    let mut shared = 0;
    for seed in 0..40 {
        let (mut nodes, roots) = history(seed, seed % 7, 1 + seed * 10);
        let model = nodes.model(&roots);
        let live = walk(&roots, &mut nodes).unwrap();
        let complete = live.complete().expect("nothing is lost");
        assert_eq!(found(complete.packs()), model, "seed {seed}");
        assert_eq!(found(live.known_packs()), model, "seed {seed}");
        assert!(nodes.reads.values().all(|reads| *reads == 1), "seed {seed}");
        assert_eq!(nodes.reads.len(), nodes.stored.len(), "seed {seed}");
        assert_eq!(live.nodes_read(), nodes.stored.len() as u64);
        shared += nodes.stored.len();
    }
    assert!(shared > 1000, "the histories are too small: {shared} nodes");
}

#[test]
fn nothing_is_needed_without_snapshots_and_by_empty_ones() {
    for roots in [&[][..], &[(ManifestNode::Leaf(Vec::new()), 5)]] {
        let live = walk(roots, &mut Nodes::default()).unwrap();
        assert!(live.complete().unwrap().packs().next().is_none());
    }
}

/// The places of all nodes below a root.
fn places(nodes: &Nodes, root: &ManifestNode) -> BTreeSet<NodePlace> {
    let ManifestNode::Inner(_, children) = root else {
        return BTreeSet::new();
    };
    let below = children.iter().flat_map(|child| {
        let node = ManifestNode::decode(&nodes.stored[&place_of(child)]).unwrap();
        places(nodes, &node)
    });
    below.chain(children.iter().map(place_of)).collect()
}

#[test]
fn a_lost_node_leaves_no_proof_names_its_snapshots_and_takes_nothing_else_along() {
    let (nodes, roots) = history(7, 5, 150);
    for (at, lost) in nodes.stored.keys().enumerate() {
        let mut damaged = nodes.clone();
        let expected = match at % 3 {
            0 => {
                damaged.stored.remove(lost);
                "it cannot be read"
            }
            1 => {
                damaged.stored.get_mut(lost).unwrap()[10] ^= 1;
                "the frame holds another"
            }
            _ => {
                damaged.stored.insert(*lost, Vec::new());
                "the frame holds another"
            }
        };
        let live = walk(&roots, &mut damaged).unwrap();
        assert!(live.complete().is_none());
        let [finding] = live.lost() else {
            panic!("{:?}", live.lost());
        };
        assert_eq!(finding.part, LostPart::Node(*lost));
        assert_eq!(finding.problem.to_string(), expected);
        let needed_by = |root: &&(ManifestNode, u64)| places(&nodes, &root.0).contains(lost);
        let first = roots.iter().position(|root| needed_by(&root)).unwrap();
        let last = roots.iter().rposition(|root| needed_by(&root)).unwrap();
        assert_eq!(finding.first, key(first as u64));
        assert_eq!(finding.last, key(last as u64));
        damaged.stored.remove(lost);
        assert_eq!(found(live.known_packs()), damaged.model(&roots));
    }
}

/// A leaf, and a root above it that names it as `child`.
fn leaf(packs: &[u64]) -> ManifestNode {
    let mut packs: Vec<_> = packs
        .iter()
        .map(|number| PackFrames {
            pack: PackId::of(&number.to_le_bytes()),
            frames: frames(&[1, 70]),
        })
        .collect();
    packs.sort_by_key(|entry| entry.pack);
    ManifestNode::Leaf(packs)
}

#[test]
fn a_node_is_found_in_any_place_and_lasts_as_long_as_any_snapshot_needs_it() {
    let mut nodes = Nodes::default();
    let child = nodes.store(&leaf(&[1, 2, 3]));
    // One before and one behind in the order of the walk.
    let places = [[0; 32], [0xff; 32]].map(|pack| ManifestChild {
        pack: PackId::from_bytes(pack),
        ..child
    });
    let bytes = nodes.stored[&place_of(&child)].clone();
    for whole in [&places[0], &child, &places[1]] {
        let mut nodes = Nodes::default();
        nodes.stored.insert(place_of(whole), bytes.clone());
        for promises in [[1, 2, 3], [3, 2, 1], [1, 3, 2]] {
            let named = [places[0], child, places[1]].into_iter().zip(promises);
            let roots: Vec<_> = named
                .map(|(child, promise)| (ManifestNode::Inner(1, vec![child]), promise))
                .collect();
            let live = walk(&roots, &mut nodes).unwrap();
            let all = found(live.complete().expect("it lies somewhere").packs());
            let leaf = leaf(&[1, 2, 3]);
            let ManifestNode::Leaf(entries) = &leaf else {
                unreachable!()
            };
            for entry in entries {
                assert_eq!(all[&entry.pack], (BTreeSet::from([1, 70]), 3));
            }
            for ((child, ordinals), promise) in [places[0], child, places[1]]
                .iter()
                .map(|child| (child, BTreeSet::from([child.ordinal])))
                .zip(promises)
            {
                assert_eq!(all[&child.pack], (ordinals, promise));
            }
        }
    }
}

#[test]
fn lies_about_a_node_are_findings_against_the_liar_alone() {
    let mut nodes = Nodes::default();
    let leaf = leaf(&[1, 2, 3]);
    let honest = nodes.store(&leaf);
    let above = nodes.store(&ManifestNode::Inner(1, vec![honest]));
    let lies = [
        // Begins with an earlier or a later pack.
        (
            1,
            ManifestChild {
                first: PackId::from_bytes([0; 32]),
                ..honest
            },
        ),
        (
            1,
            ManifestChild {
                first: PackId::from_bytes([0xff; 32]),
                ..honest
            },
        ),
        // Has another level.
        (2, honest),
        (16, honest),
        (1, above),
        (3, above),
    ];
    let honest_root = (ManifestNode::Inner(1, vec![honest]), 9);
    let model = nodes.model(std::slice::from_ref(&honest_root));
    for (level, lie) in lies {
        for liar in [0, 1] {
            let mut roots = vec![honest_root.clone()];
            roots.insert(liar, (ManifestNode::Inner(level, vec![lie]), 4));
            let live = walk(&roots, &mut nodes).unwrap();
            assert!(live.complete().is_none());
            let [lost] = live.lost() else {
                panic!("{:?}", live.lost());
            };
            let liar = key(liar as u64);
            assert_eq!((lost.first, lost.last), (liar, liar));
            assert!(matches!(lost.problem, NodeProblem::Misplaced), "{lost:?}");
            let found = found(live.known_packs());
            assert!(
                model
                    .iter()
                    .all(|(pack, need)| found[pack].0.is_superset(&need.0))
            );
            assert!(model.iter().all(|(pack, need)| found[pack].1 == need.1));
        }
    }
}

#[test]
fn roots_that_are_lost_are_findings() {
    let folder = tempfile::tempdir().unwrap();
    let mut walk = LiveWalk::new(folder.path());
    let root = leaf(&[1]).encode();
    walk.add_root(key(0), &root, 1).unwrap();
    walk.add_root(key(1), &root[1..], 1).unwrap();
    walk.add_lost(key(2), NodeProblem::Snapshot("it is gone".to_owned()));
    let live = walk.finish(&mut Nodes::default()).unwrap();
    assert!(live.complete().is_none());
    let findings: Vec<_> = live.lost().iter().map(LostNode::finding).collect();
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[1].subject, key(2).to_string());
    assert_eq!(
        findings[1].problem,
        "the manifest's root is lost: the snapshot cannot be used: it is gone"
    );
}

#[test]
fn many_losses_are_counted_and_some_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut walk = LiveWalk::new(folder.path());
    for number in 0..1500 {
        walk.add_root(key(number), &[], 1).unwrap();
    }
    let live = walk.finish(&mut Nodes::default()).unwrap();
    assert_eq!((live.lost().len(), live.lost_count()), (LOST_MAX, 1500));
}

/// Whatever the nodes are, nothing panics, and what honest snapshots need is known.
#[test]
fn hostile_nodes_harm_nobody_else() {
    let (nodes, roots) = history(11, 3, 100);
    let (victim, honest) = roots.split_last().unwrap();
    let model = nodes.model(honest);
    let honest_places: BTreeSet<_> = honest
        .iter()
        .flat_map(|(root, _)| places(&nodes, root))
        .collect();
    let mut bytes = blake3::Hasher::new().update(b"hostile").finalize_xof();
    let mut draw = || {
        let mut out = [0; 4];
        bytes.fill(&mut out);
        u32::from_le_bytes(out) as usize
    };
    let own: Vec<_> = places(&nodes, &victim.0)
        .difference(&honest_places)
        .copied()
        .collect();
    for _ in 0..300 {
        let mut nodes = nodes.clone();
        let mut root = victim.0.encode();
        for _ in 0..=draw() % 3 {
            // The hashes above are left as they are, or made right.
            let place = own[draw() % own.len()];
            let stored = nodes.stored.get_mut(&place).unwrap();
            let before = *blake3::hash(stored).as_bytes();
            let at = draw() % stored.len();
            stored[at] ^= 1 << (draw() % 8);
            let after = *blake3::hash(stored).as_bytes();
            if let Some(at) = root.windows(32).position(|hash| hash == before) {
                root[at..at + 32].copy_from_slice(&after);
            }
        }
        let at = draw() % root.len();
        root[at] ^= 1 << (draw() % 8);
        let folder = tempfile::tempdir().unwrap();
        let mut walk = LiveWalk::with_memory(folder.path(), 8 << 10, 1 << 10);
        for (number, (root, promise)) in (0..).zip(honest) {
            walk.add_root(key(number), &root.encode(), *promise)
                .unwrap();
        }
        walk.add_root(key(99), &root, victim.1).unwrap();
        let live = walk.finish(&mut nodes).unwrap();
        let found = found(live.known_packs());
        for (pack, (ordinals, promise)) in &model {
            assert!(found[pack].0.is_superset(ordinals));
            assert!(found[pack].1 >= *promise);
        }
        for lost in live.lost() {
            assert_eq!(lost.first, key(99), "{}", lost.finding());
        }
    }
}

#[test]
fn what_stops_the_source_stops_the_walk() {
    #[derive(Debug)]
    struct Outage;
    impl NodeSource for Outage {
        fn read(
            &mut self,
            _: &[NodePlace],
        ) -> Result<Vec<std::result::Result<Vec<u8>, BlobError>>> {
            Err(Error::Interrupted)
        }
    }
    let (_, roots) = history(3, 2, 50);
    assert!(matches!(walk(&roots, &mut Outage), Err(Error::Interrupted)));
}

#[test]
fn a_stored_manifest_is_walked_down_to_its_leaves() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let repository = fixture::repository(&runtime);
    let (index, _) = BlobIndex::open(None, &[]).unwrap();
    let packs = (0_u64..60_000).map(|number| PackId::of(&number.to_le_bytes()));
    let needed: BTreeMap<_, _> = packs.map(|pack| (pack, frames(&[5, 700]))).collect();
    let (root, _) = write_manifest(
        &repository,
        &index,
        &|id| index.lookup(id),
        &needed,
        &fixture::Deaf,
    )
    .unwrap();
    let snapshot = fixture::snapshot(&repository, &root);
    let id = SnapshotId::of(b"a snapshot");
    let folder = tempfile::tempdir().unwrap();
    let interrupted = std::sync::atomic::AtomicBool::new(false);
    let run = || {
        let blobs = BlobReader::new(&repository, &index);
        let mut walk = LiveWalk::new(folder.path());
        walk.add(&repository, id, &snapshot, 42).unwrap();
        walk.finish(&mut StoredNodes::new(&blobs, &interrupted))
    };
    let live = run().unwrap();
    let all = found(live.complete().unwrap().packs());
    let mut node_packs = Vec::new();
    let mut node_frames = 0;
    index.for_each_pack(|pack, info| {
        node_packs.push(info.pack);
        node_frames += (0..4096)
            .filter(|at| index.frame(pack, *at).is_some())
            .count();
        assert!(!all[&info.pack].0.is_empty());
    });
    assert_eq!(live.nodes_read(), node_frames as u64);
    assert_eq!(all.len(), needed.len() + node_packs.len());
    for (pack, frames) in &needed {
        assert_eq!(all[pack], (frames.iter().collect(), 42));
    }

    let mut packs = Vec::new();
    repository
        .objects
        .list("packs/", |object| packs.push(object.key))
        .unwrap();
    for key in packs {
        fixture::hurt(&repository, &key);
        let live = run().unwrap();
        assert!(live.complete().is_none());
        let [lost] = live.lost() else {
            panic!("{:?}", live.lost());
        };
        let wanted = ObjectKey::Snapshot(repository.writer(), id);
        assert_eq!(lost.first, wanted);
        assert!(matches!(lost.problem, NodeProblem::Unreadable(_)));
        fixture::hurt(&repository, &key);
    }

    // Sealed for another snapshot.
    let mut walk = LiveWalk::new(folder.path());
    let mut other = snapshot.clone();
    other.nonce = dolmen_format::Nonce([4; 16]);
    walk.add(&repository, id, &other, 42).unwrap();
    let live = walk.finish(&mut Nodes::default()).unwrap();
    assert!(live.complete().is_none());

    interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(run(), Err(Error::Interrupted)));
}
