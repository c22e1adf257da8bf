use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A key of two bytes, a value of which the larger stays, and nothing.
fn keep_larger(kept: &mut [u8; 9], next: &[u8; 9]) -> bool {
    if kept[..2] != next[..2] {
        return false;
    }
    kept[2] = kept[2].max(next[2]);
    true
}

fn sorted<const N: usize>(
    records: &[[u8; N]],
    memory_bytes: usize,
    runs_max: usize,
    combine: Combine<N>,
) -> Sorted<N> {
    let folder = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::new(folder.path(), memory_bytes, combine);
    sorter.runs_max = runs_max;
    for record in records {
        sorter.push(*record).unwrap();
    }
    let done = sorter.finish().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    done
}

fn all<const N: usize>(sorted: &Sorted<N>) -> Vec<[u8; N]> {
    sorted.iter().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn equal_records_come_once_and_in_order(
        records in prop::collection::vec(prop::array::uniform4(0_u8..6), 0..800),
        memory_bytes in 0_usize..2000,
        runs_max in 2_usize..6,
    ) {
        let sorted = sorted(&records, memory_bytes, runs_max, combine_equal);
        let model: BTreeSet<_> = records.into_iter().collect();
        prop_assert!(all(&sorted).iter().eq(&model));
        // Another iterator starts over.
        prop_assert!(all(&sorted).iter().eq(&model));
    }

    #[test]
    fn records_of_a_key_are_combined(
        records in prop::collection::vec(prop::array::uniform3(0_u8..12), 0..800),
        memory_bytes in 0_usize..2000,
        runs_max in 2_usize..6,
    ) {
        let padded: Vec<_> = records
            .iter()
            .map(|[high, low, value]| [*high, *low, *value, 0, 0, 0, 0, 0, 0])
            .collect();
        let sorted = sorted(&padded, memory_bytes, runs_max, keep_larger);
        let mut model = BTreeMap::new();
        for [high, low, value] in records {
            let largest = model.entry([high, low]).or_insert(value);
            *largest = value.max(*largest);
        }
        let found = all(&sorted).into_iter().map(|[high, low, value, ..]| ([high, low], value));
        prop_assert!(found.eq(model));
    }
}

/// Spread by a hash, so that every run covers the whole range.
fn spread(count: u32) -> Vec<[u8; 32]> {
    (0..count)
        .map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes())
        .collect()
}

#[test]
fn many_runs_of_many_blocks_are_merged_in_passes() {
    let mut records = spread(20_000);
    let sorted = sorted(&records, 16 << 10, 4, combine_equal);
    assert!(sorted.memory.is_empty());
    assert!(sorted.spilled.as_ref().unwrap().runs.len() <= 4);
    records.sort_unstable();
    assert_eq!(all(&sorted), records);
}

#[test]
fn what_comes_again_and_again_never_leaves_memory() {
    let records: Vec<_> = spread(100).into_iter().cycle().take(50_000).collect();
    let sorted = sorted(&records, 32 * 2 * 256, 64, combine_equal);
    assert!(sorted.spilled.is_none());
    assert_eq!(all(&sorted).len(), 100);
}

#[test]
fn memory_stays_within_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::new(folder.path(), 1 << 20, combine_equal);
    for record in spread(100_000) {
        sorter.push(record).unwrap();
        assert!(sorter.memory.capacity() * 32 <= 1 << 19);
    }
}

#[test]
fn a_run_that_was_changed_is_an_error_and_ends_the_records() {
    use std::os::unix::fs::FileExt as _;
    let sorted = sorted(&spread(20_000), 64 << 10, 64, combine_equal);
    let spilled = sorted.spilled.as_ref().unwrap();
    let middle = spilled.runs.last().unwrap().end() / 2;
    let mut byte = [0];
    spilled.file.read_exact_at(&mut byte, middle).unwrap();
    spilled.file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    let mut records = sorted.iter();
    let error = records.find_map(Result::err).unwrap();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    assert!(records.next().is_none());

    spilled.file.set_len(middle).unwrap();
    let error = sorted.iter().find_map(Result::err).unwrap();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
}

#[test]
fn a_run_that_cannot_be_written_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut sorter = Sorter::new(folder.path(), 1 << 10, combine_equal);
    sorter.spilled = Some(Spilled {
        file: full,
        runs: Vec::new(),
    });
    let error = spread(100)
        .into_iter()
        .find_map(|record| sorter.push(record).err())
        .unwrap();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::StorageFull));
    assert_eq!(
        error.to_string(),
        format!("cannot write {}", folder.path().display())
    );

    let gone = folder.path().join("gone");
    let mut sorter = Sorter::new(&gone, 0, combine_equal);
    let error = spread(100)
        .into_iter()
        .find_map(|record| sorter.push(record).err())
        .unwrap();
    assert_eq!(
        error.to_string(),
        format!("cannot create {}", gone.display())
    );
}

#[test]
fn runs_are_for_the_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let sorted = sorted(&spread(1000), 1 << 10, 64, combine_equal);
    let file = &sorted.spilled.as_ref().unwrap().file;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
