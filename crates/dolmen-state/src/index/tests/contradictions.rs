//! Segments that contradict each other: no description hides another, in memory, in tables, and after merging.

use super::*;

/// Segments that describe a description, each once.
fn sources(index: &BlobIndex, pack: PackRef) -> BTreeSet<SegmentId> {
    let mut found = BTreeSet::new();
    index.for_each_source(|described, segment| {
        if described == pack {
            assert!(found.insert(*segment), "told twice");
        }
    });
    found
}

fn add(index: &BlobIndex, pack: u32, of: &[IndexedFrame], by: u32) -> PackRef {
    let added = index.add_pack(info(pack), of).unwrap();
    index.note_source(added, segment(by).id);
    added
}

/// Every description is there, with what it says and who says it.
fn assert_two_descriptions(index: &BlobIndex) {
    let packs = index.find_packs(&info(1).pack);
    assert_eq!(packs.len(), 2);
    let (honest, lying) = (packs[0], packs[1]);
    assert_eq!(
        index.find_description(&info(1), &frames(100, 5)),
        Some(honest)
    );
    assert_eq!(
        index.find_description(&info(1), &frames(900, 5)),
        Some(lying)
    );
    assert_eq!(index.find_description(&info(1), &frames(100, 4)), None);
    assert_eq!(index.find_description(&info(1), &frames(100, 6)), None);
    // What is known of a pack that is gone agrees with what says the same of it, and more.
    let known = |of: Vec<IndexedFrame>, unknown: usize| {
        let mut of = of;
        of[unknown] = IndexedFrame::UNKNOWN;
        index.find_agreeing(&info(1).pack, &of)
    };
    assert_eq!(known(frames(100, 4), 0), Some(honest));
    assert_eq!(known(frames(100, 5), 2), Some(honest));
    assert_eq!(known(frames(900, 5), 4), Some(lying));
    assert_eq!(known(frames(100, 6), 0), None);
    assert_eq!(known(frames(101, 4), 0), None);
    assert_eq!(index.lookup(&blob_id(100)).unwrap().pack, honest);
    assert_eq!(index.lookup(&blob_id(900)).unwrap().pack, lying);
    let by = |numbers: &[u32]| numbers.iter().map(|number| segment(*number).id).collect();
    assert_eq!(sources(index, honest), by(&[0, 2]));
    assert_eq!(sources(index, lying), by(&[1]));
    assert_eq!(index.contested(), [info(1).pack]);
    // Who is asked about first comes first.
    for (preferred, first) in [([0], honest), ([1], lying), ([2], honest)] {
        index.prefer(&by(&preferred));
        assert_eq!(index.find_pack(&info(1).pack), Some(first));
        assert_eq!(index.contested(), []);
    }
    index.prefer(&by(&[0, 1]));
    assert_eq!(index.contested(), [info(1).pack]);
    index.settle(lying);
    assert_eq!(index.find_pack(&info(1).pack), Some(lying));
    index.prefer(&by(&[0, 1, 2]));
}

#[test]
fn contradictions_stay_apart_through_tables_and_merges() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<_> = (0..3).map(segment).collect();
    let (index, _) = BlobIndex::open_with(Some(folder.path()), &all, SMALL);
    add(&index, 0, &frames(0, 3), 0);
    add(&index, 1, &frames(100, 5), 0);
    add(&index, 1, &frames(900, 5), 1);
    add(&index, 1, &frames(100, 5), 2);
    add(&index, 2, &frames(200, 5), 2);
    assert_two_descriptions(&index);
    index.persist(&all).unwrap();
    assert_two_descriptions(&index);
    for _ in 0..2 {
        let (index, missing) = BlobIndex::open_with(Some(folder.path()), &all, SMALL);
        assert_eq!(missing, []);
        assert_two_descriptions(&index);
    }
}

#[test]
fn a_contradiction_that_comes_after_a_table_was_kept_joins_it() {
    let folder = tempfile::tempdir().unwrap();
    let known = [segment(0)];
    let (index, _) = BlobIndex::open_with(Some(folder.path()), &known, SMALL);
    add(&index, 1, &frames(100, 5), 0);
    index.persist(&known).unwrap();
    let all: Vec<_> = (0..3).map(segment).collect();
    let (index, missing) = BlobIndex::open_with(Some(folder.path()), &all, SMALL);
    assert_eq!(missing, [segment(1).id, segment(2).id]);
    add(&index, 1, &frames(900, 5), 1);
    add(&index, 1, &frames(100, 5), 2);
    assert_two_descriptions(&index);
    index.persist(&all).unwrap();
    let (index, missing) = BlobIndex::open_with(Some(folder.path()), &all, SMALL);
    assert_eq!(missing, []);
    assert_two_descriptions(&index);
}

#[test]
fn another_size_is_another_description() {
    let (index, _) = BlobIndex::open(None, &[]).unwrap();
    let honest = add(&index, 1, &frames(100, 5), 0);
    let longer = PackInfo {
        pack_bytes: info(1).pack_bytes + 1,
        ..info(1)
    };
    let other = index.add_pack(longer, &frames(100, 5)).unwrap();
    assert_ne!(honest, other);
    assert_eq!(index.locations(&blob_id(100)).len(), 2);
    index.prefer(&BTreeSet::from([segment(0).id]));
    // What no segment states is not doubted for that.
    assert!(!index.is_doubted(other));
    index.prefer(&BTreeSet::new());
    index.settle(honest);
    assert!(index.is_doubted(other));
    assert_eq!(index.locations(&blob_id(100))[0].pack, honest);
    assert_eq!(index.lookup(&blob_id(100)).unwrap().pack, honest);
}
