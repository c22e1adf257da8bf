mod contradictions;
mod damage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use dolmen_format::pack::BlobEntry;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Small enough that a handful of packs spills and merges.
const SMALL: Limits = Limits {
    memory_records_max: 12,
    tables_max: 3,
};

fn blob_id(number: u32) -> BlobId {
    BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn segment(number: u32) -> SeenObject {
    SeenObject {
        id: SegmentId::of(&number.to_le_bytes()),
        listing: [7; 16],
    }
}

fn info(number: u32) -> PackInfo {
    PackInfo {
        pack: PackId::of(&number.to_le_bytes()),
        writer: WriterId([7; 16]),
        pack_bytes: 1000 + number,
        table_bytes: number,
    }
}

/// A pack of `frames` frames of three blobs each, whose ids begin at `first`.
fn frames(first: u32, frames: u32) -> Vec<IndexedFrame> {
    let frame = |frame: u32| {
        let blobs: Vec<_> = (0..3)
            .map(|at| BlobEntry {
                kind: BlobKind::from_code(u8::try_from(at % 3 + 1).unwrap()).unwrap(),
                id: blob_id(first + 3 * frame + at),
                length: 100 + at,
            })
            .collect();
        IndexedFrame {
            frame_bytes: 200 + frame,
            raw_bytes: 303,
            compression: Compression::Zstd,
            blobs,
        }
    };
    (0..frames).map(frame).collect()
}

fn tables_in(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A folder with one table of four packs, for segment 0.
fn cached() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (index, missing) = BlobIndex::open(Some(folder.path()), &[segment(0)]).unwrap();
    assert_eq!(missing, [segment(0).id]);
    for pack in 0..4 {
        index.add_pack(info(pack), &frames(pack * 100, 5)).unwrap();
    }
    index.persist(&[segment(0)]).unwrap();
    let tables = tables_in(folder.path());
    assert_eq!(tables.len(), 1);
    (folder, tables.into_iter().next().unwrap())
}

/// The places of a blob as a model knows them: pack, frame, offset, length.
type Places = BTreeMap<BlobId, BTreeSet<(PackId, u32, u32, u32)>>;

fn note(model: &mut Places, pack: PackId, frames: &[IndexedFrame]) {
    for (ordinal, frame) in (0..).zip(frames) {
        let mut offset = 0;
        for blob in &frame.blobs {
            let place = (pack, ordinal, offset, blob.length);
            model.entry(blob.id).or_default().insert(place);
            offset += blob.length;
        }
    }
}

fn places(index: &BlobIndex) -> Places {
    let mut found = Places::new();
    index.for_each_blob(|id, at| {
        let pack = index.pack(at.pack).unwrap().pack;
        let place = (pack, at.ordinal, at.offset, at.length);
        assert!(found.entry(*id).or_default().insert(place), "visited twice");
    });
    found
}

fn assert_agrees(index: &BlobIndex, model: &Places) {
    assert_eq!(&places(index), model);
    let count: usize = model.values().map(BTreeSet::len).sum();
    assert_eq!(index.blobs(), u64::try_from(count).unwrap());
    for (id, expected) in model {
        let found = index.locations(id).into_iter();
        let found: BTreeSet<_> = found
            .map(|at| {
                (
                    index.pack(at.pack).unwrap().pack,
                    at.ordinal,
                    at.offset,
                    at.length,
                )
            })
            .collect();
        assert_eq!(&found, expected);
        let one = index.lookup(id).unwrap();
        let frame = index.frame(one.pack, one.ordinal).unwrap();
        assert_eq!(frame.frame_bytes, 200 + one.ordinal);
        // 16 of prologue, then frames of 200, 201, 202… bytes.
        let before: u32 = (0..one.ordinal).map(|at| 200 + at).sum();
        assert_eq!((frame.offset, frame.raw_bytes), (16 + before, 303));
        assert_eq!(
            index.find_pack(&index.pack(one.pack).unwrap().pack),
            Some(one.pack)
        );
    }
    for absent in 1_000_000..1_000_200 {
        assert!(!index.contains(&blob_id(absent)));
    }
    let mut packs = 0;
    index.for_each_pack(|pack, info| {
        assert_eq!(pack.number(), packs);
        assert_eq!(index.pack(pack), Some(info));
        packs += 1;
    });
    assert_eq!(packs, index.pack_count());
    assert_eq!(index.pack(PackRef(packs)), None);
    assert_eq!(index.frame(PackRef(packs), 0), None);
}

#[test]
fn what_was_added_is_found_with_and_without_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for folder in [None, Some(folder.path())] {
        for limits in [SMALL, LIMITS] {
            let (index, _) = BlobIndex::open_with(folder, &[], limits);
            let mut model = Places::new();
            let mut refs = Vec::new();
            for pack in 0..60 {
                // Every pack shares blobs with the next one.
                let frames = frames(pack * 6, 3);
                refs.push(index.add_pack(info(pack), &frames).unwrap());
                note(&mut model, info(pack).pack, &frames);
            }
            assert_agrees(&index, &model);
            for (number, pack) in (0..).zip(refs) {
                assert_eq!(index.pack(pack), Some(info(number)), "numbers never change");
            }
            index.persist(&[]).unwrap();
        }
    }
    assert!(tables_in(folder.path()).is_empty(), "nothing was covered");
}

#[test]
fn a_pack_that_is_known_is_not_added_again() {
    let (index, _) = BlobIndex::open_with(None, &[], SMALL);
    let frames = frames(0, 2);
    let first = index.add_pack(info(1), &frames).unwrap();
    for pack in 2..9 {
        assert_eq!(index.add_pack(info(1), &frames).unwrap(), first);
        index.add_pack(info(pack), &[]).unwrap();
    }
    assert_eq!((index.blobs(), index.pack_count()), (6, 8));
}

#[test]
fn an_impossible_pack_is_refused_whole() {
    let (index, _) = BlobIndex::open(None, &[]).unwrap();
    let mut bad = frames(0, 3);
    bad[2].blobs[0].length = 1 << 24;
    let error = index.add_pack(info(0), &bad).unwrap_err();
    assert!(matches!(
        error,
        StateError::PackDescription {
            field: "place of a blob",
            ..
        }
    ));
    bad = frames(0, 3);
    bad[0].frame_bytes = u32::MAX;
    assert!(index.add_pack(info(0), &bad).is_err());
    assert_eq!((index.blobs(), index.pack_count()), (0, 0));
    index.add_pack(info(0), &frames(0, 3)).unwrap();
    assert_eq!(index.blobs(), 9);
}

#[test]
fn a_table_is_used_only_when_all_its_segments_are_wanted() {
    let (folder, table) = cached();
    let (index, missing) = BlobIndex::open(Some(folder.path()), &[segment(1), segment(0)]).unwrap();
    assert_eq!((missing, index.blobs()), (vec![segment(1).id], 60));

    let (index, missing) = BlobIndex::open(Some(folder.path()), &[segment(1)]).unwrap();
    assert_eq!((missing, index.blobs()), (vec![segment(1).id], 0));
    assert!(table.exists(), "another process may still want it");
    index.add_pack(info(9), &frames(900, 1)).unwrap();
    index.persist(&[segment(1)]).unwrap();
    assert!(!table.exists(), "it would lie there for ever");
    let (index, missing) = BlobIndex::open(Some(folder.path()), &[segment(1)]).unwrap();
    assert_eq!((missing, index.blobs()), (vec![], 3));
}

#[test]
fn a_table_is_not_believed_for_a_segment_that_somebody_touched() {
    let (folder, table) = cached();
    let touched = SeenObject {
        listing: [8; 16],
        ..segment(0)
    };
    let (index, missing) = BlobIndex::open(Some(folder.path()), &[touched]).unwrap();
    assert_eq!((missing, index.blobs()), (vec![segment(0).id], 0));

    // Where a store lists several versions, one of them is the one that was verified.
    let (index, missing) = BlobIndex::open(Some(folder.path()), &[touched, segment(0)]).unwrap();
    assert_eq!((missing, index.blobs()), (vec![], 60));

    let (index, _) = BlobIndex::open(Some(folder.path()), &[touched]).unwrap();
    for pack in 0..4 {
        index.add_pack(info(pack), &frames(pack * 100, 5)).unwrap();
    }
    index.persist(&[touched]).unwrap();
    assert!(!table.exists());
    let (index, missing) = BlobIndex::open(Some(folder.path()), &[touched]).unwrap();
    assert_eq!((missing, index.blobs()), (vec![], 60));
}

#[test]
fn a_pack_of_two_segments_is_still_found_when_one_of_them_goes() {
    let (folder, table) = cached();
    let wanted = [segment(0), segment(1)];
    let (index, _) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
    let known = index.add_pack(info(3), &frames(300, 5)).unwrap();
    assert_eq!(index.find_pack(&info(3).pack), Some(known));
    index.persist(&[segment(1)]).unwrap();
    assert!(!table.exists(), "one table holds both");
    assert_eq!(index.find_pack(&info(3).pack), Some(known));
    let (_, missing) = BlobIndex::open(Some(folder.path()), &[segment(1)]).unwrap();
    assert_eq!(
        missing,
        [segment(1).id],
        "fetched again, so that the pack is there"
    );
    let (index, missing) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
    assert_eq!((missing, index.blobs()), (vec![], 60));
}

#[test]
fn two_processes_leave_a_folder_that_a_third_can_use() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = [segment(0), segment(1), segment(2)];
    let (first, _) = BlobIndex::open(Some(folder.path()), &wanted[..2]).unwrap();
    let (second, _) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
    for pack in 0..3 {
        if pack < 2 {
            first.add_pack(info(pack), &frames(pack * 100, 4)).unwrap();
        }
        second.add_pack(info(pack), &frames(pack * 100, 4)).unwrap();
    }
    first.persist(&wanted[..2]).unwrap();
    second.persist(&wanted).unwrap();
    assert_eq!(tables_in(folder.path()).len(), 2);

    let (third, missing) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
    assert_eq!((missing, third.blobs()), (vec![], 36));
    third.add_pack(info(3), &frames(300, 4)).unwrap();
    third.persist(&[segment(3)]).unwrap();
    assert_eq!(
        tables_in(folder.path()).len(),
        2,
        "the overlapping one is gone"
    );
    assert_eq!(first.blobs(), 24, "what is mapped stays");
    assert_eq!(second.locations(&blob_id(0)).len(), 1);
}

#[test]
fn files_that_vanish_are_not_missed() {
    let (folder, _) = cached();
    let wanted = [segment(0), segment(1)];
    let (index, _) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
    for path in tables_in(folder.path()) {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(index.lookup(&blob_id(0)).unwrap().pack, PackRef(0));
    index.add_pack(info(9), &frames(900, 1)).unwrap();
    index.persist(&[segment(1)]).unwrap();
    let (_, missing) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
    assert_eq!(missing, [segment(0).id]);
}

#[test]
fn tables_stay_few_over_many_runs() {
    let folder = tempfile::tempdir().unwrap();
    let wanted: Vec<_> = (0..100).map(segment).collect();
    let mut model = Places::new();
    for run in 0..100 {
        let (index, missing) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
        let uncovered = wanted.iter().skip(usize::try_from(run).unwrap());
        assert_eq!(missing, uncovered.map(|seen| seen.id).collect::<Vec<_>>());
        let frames = frames(run * 9, 3);
        note(&mut model, info(run).pack, &frames);
        index.add_pack(info(run), &frames).unwrap();
        index.persist(&[segment(run)]).unwrap();
        assert!(tables_in(folder.path()).len() <= LIMITS.tables_max);
    }
    let (index, _) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
    assert_agrees(&index, &model);
}

#[test]
fn a_folder_that_cannot_be_used_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"x").unwrap();
    let (index, missing) = BlobIndex::open_with(Some(&file), &[segment(0)], SMALL);
    assert_eq!(missing, [segment(0).id]);
    for pack in 0..20 {
        index.add_pack(info(pack), &frames(pack * 9, 3)).unwrap();
    }
    index.persist(&[segment(0)]).unwrap();
    assert_eq!(index.blobs(), 180);
}

#[test]
fn threads_add_look_up_and_persist_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        memory_records_max: 100,
        tables_max: 3,
    };
    let (index, _) = BlobIndex::open_with(Some(folder.path()), &[], limits);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let index = &index;
            scope.spawn(move || {
                for at in 0..100 {
                    let number = thread * 100 + at;
                    let pack = index
                        .add_pack(info(number), &frames(number * 9, 3))
                        .unwrap();
                    assert_eq!(index.pack(pack), Some(info(number)));
                    let first = number - at;
                    for earlier in first..=number {
                        let found = index.lookup(&blob_id(earlier * 9 + 4)).unwrap();
                        assert_eq!(index.pack(found.pack), Some(info(earlier)));
                        assert_eq!(index.frame(found.pack, 1).unwrap().frame_bytes, 201);
                    }
                    if at % 9 == thread {
                        index.persist(&[segment(number)]).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!((index.blobs(), index.pack_count()), (3600, 400));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any mix of adding, persisting and opening again finds what a plain map finds.
    #[test]
    fn an_index_agrees_with_a_map(
        steps in prop::collection::vec((0_u8..8, 0_u32..40, 0_u32..5, 0_u32..60), 1..60)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = Vec::new();
        let (mut index, _) = BlobIndex::open_with(Some(folder.path()), &wanted, SMALL);
        // What is persisted, what was added since, and the frames of each pack.
        let (mut kept, mut model) = (Places::new(), Places::new());
        let mut known: BTreeMap<u32, Vec<IndexedFrame>> = BTreeMap::new();
        let mut kept_packs = known.clone();
        for (step, pack, count, first) in steps {
            match step {
                0..6 => {
                    let frames = known.entry(pack).or_insert_with(|| frames(first, count));
                    index.add_pack(info(pack), frames).unwrap();
                    note(&mut model, info(pack).pack, frames);
                }
                6 => {
                    wanted.push(segment(u32::try_from(wanted.len()).unwrap()));
                    index.persist(&wanted).unwrap();
                    (kept, kept_packs) = (model.clone(), known.clone());
                }
                _ => {
                    let (opened, missing) =
                        BlobIndex::open_with(Some(folder.path()), &wanted, SMALL);
                    prop_assert_eq!(missing, vec![]);
                    index = opened;
                    (model, known) = (kept.clone(), kept_packs.clone());
                }
            }
        }
        assert_agrees(&index, &model);
    }
}
