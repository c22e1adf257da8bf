use std::collections::BTreeMap;
use std::fs;

use dolmen_format::BlobId;
use dolmen_format::list::Chunk;
use proptest::prelude::*;

use super::*;
use crate::StateError;

fn key(number: u64) -> FileKey {
    FileKey {
        device: 2049 + number % 3,
        inode: number * 8,
    }
}

fn file(number: u64) -> CachedFile {
    let seconds = i64::try_from(number).unwrap() - 50;
    let chunks = (0..number % 4).map(|at| Chunk {
        id: BlobId(*blake3::hash(&(number + at).to_le_bytes()).as_bytes()),
        length: 1 << (at * 20),
    });
    CachedFile {
        size: number << 30,
        mtime: Timestamp::new(seconds, 999_999_999).unwrap(),
        ctime: Timestamp::from_seconds(i64::MIN + seconds.abs()),
        has_xattrs: number % 2 == 1,
        extents: number.is_multiple_of(5).then(|| {
            let extent = |at| Extent {
                offset: at * number,
                length: at + 1,
            };
            (0..number % 7).map(extent).collect()
        }),
        content: if number % 6 == 5 {
            Content::List {
                level: 3,
                id: BlobId([9; 32]),
            }
        } else {
            Content::Chunks(chunks.collect())
        },
    }
}

fn write(path: &Path, numbers: impl IntoIterator<Item = u64>, pairs_max: usize) {
    let mut writer = FilesCacheWriter::create_with(path, pairs_max).unwrap();
    for number in numbers {
        writer.insert(&key(number), &file(number)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn what_was_inserted_is_found_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/files");
    for pairs_max in [1 << 20, 7, 1] {
        write(&path, 0..200, pairs_max);
        let cache = FilesCache::open(&path).unwrap();
        assert_eq!(cache.files(), 200);
        let orders: [Vec<u64>; 3] = [
            (0..200).collect(),
            (0..200).rev().collect(),
            (0..200).map(|at| at * 77 % 200).collect(),
        ];
        for number in orders.into_iter().flatten() {
            assert_eq!(cache.lookup(&key(number)), Some(file(number)));
            assert_eq!(cache.lookup(&key(number + 1000)), None);
        }
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "temporary files are gone");
    }
}

#[test]
fn an_absent_or_empty_cache_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("files");
    assert!(FilesCache::open(&path).is_none());
    write(&path, [], 10);
    let cache = FilesCache::open(&path).unwrap();
    assert_eq!((cache.files(), cache.lookup(&key(1))), (0, None));
}

#[test]
fn a_cache_is_replaced_only_when_the_new_one_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("files");
    write(&path, 0..10, 100);
    let old = FilesCache::open(&path).unwrap();
    let mut unfinished = FilesCacheWriter::create(&path).unwrap();
    unfinished.insert(&key(50), &file(50)).unwrap();
    drop(unfinished);
    let opened = FilesCache::open(&path).unwrap();
    assert_eq!(opened.lookup(&key(50)), None);
    write(&path, 20..30, 100);
    assert_eq!(old.lookup(&key(5)), Some(file(5)), "what is mapped stays");
    let new = FilesCache::open(&path).unwrap();
    assert_eq!(
        (new.lookup(&key(5)), new.lookup(&key(25))),
        (None, Some(file(25)))
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_record_over_the_limit_is_refused_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("files");
    let mut writer = FilesCacheWriter::create(&path).unwrap();
    let mut huge = file(3);
    huge.extents = Some(vec![
        Extent {
            offset: 1 << 60,
            length: 1 << 60
        };
        3_000_000
    ]);
    let refused = writer.insert(&key(3), &huge);
    assert!(matches!(refused, Err(StateError::TooLarge { .. })));
    writer.insert(&key(4), &file(4)).unwrap();
    writer.finish().unwrap();
    let cache = FilesCache::open(&path).unwrap();
    assert_eq!(
        (cache.lookup(&key(3)), cache.lookup(&key(4))),
        (None, Some(file(4)))
    );
}

#[test]
fn a_cut_cache_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("files");
    write(&path, 0..20, 100);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        fs::write(&path, &whole[..at]).unwrap();
        assert!(FilesCache::open(&path).is_none(), "cut at {at}");
    }
    for at in 0..64 {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(FilesCache::open(&path).is_none(), "byte {at} of the header");
    }
}

/// A damaged record, index or fan-out finds nothing; it never finds anything else.
#[test]
fn damage_finds_the_truth_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("files");
    write(&path, 0..60, 100);
    let whole = fs::read(&path).unwrap();
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..1000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(60) {
            let at = 64 + random(bytes.len() - 64);
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        fs::write(&path, &bytes).unwrap();
        let cache = FilesCache::open(&path).unwrap();
        for number in 0..70 {
            if let Some(found) = cache.lookup(&key(number)) {
                assert_eq!(found, file(number));
            }
        }
    }
}

fn arbitrary_file() -> impl Strategy<Value = CachedFile> {
    let time = || (any::<i64>(), 0_u32..1_000_000_000);
    let pairs = || prop::collection::vec(any::<(u64, u64)>(), 0..5);
    let list = any::<(bool, u8, [u8; 32])>();
    (
        any::<(u64, bool, bool)>(),
        time(),
        time(),
        pairs(),
        pairs(),
        list,
    )
        .prop_map(
            |((size, has_xattrs, sparse), mtime, ctime, extents, chunks, (is_list, level, id))| {
                let extents = extents.into_iter();
                let extents = extents.map(|(offset, length)| Extent { offset, length });
                let chunks = chunks.into_iter().map(|(number, length)| Chunk {
                    id: BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes()),
                    length,
                });
                CachedFile {
                    size,
                    mtime: Timestamp::new(mtime.0, mtime.1).unwrap(),
                    ctime: Timestamp::new(ctime.0, ctime.1).unwrap(),
                    has_xattrs,
                    extents: sparse.then(|| extents.collect()),
                    content: if is_list {
                        Content::List {
                            level,
                            id: BlobId(id),
                        }
                    } else {
                        Content::Chunks(chunks.collect())
                    },
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cache_agrees_with_a_map(
        files in prop::collection::btree_map(any::<(u64, u64)>(), arbitrary_file(), 0..40),
        pairs_max in 1_usize..50,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("files");
        let files: BTreeMap<FileKey, CachedFile> = files
            .into_iter()
            .map(|((device, inode), file)| (FileKey { device, inode }, file))
            .collect();
        let mut writer = FilesCacheWriter::create_with(&path, pairs_max).unwrap();
        for (key, file) in &files {
            writer.insert(key, file).unwrap();
        }
        writer.finish().unwrap();
        let cache = FilesCache::open(&path).unwrap();
        for (key, file) in files.iter().chain(files.iter().rev()) {
            prop_assert_eq!(cache.lookup(key), Some(file.clone()));
            let other = FileKey { inode: !key.inode, ..*key };
            prop_assert_eq!(cache.lookup(&other), files.get(&other).cloned());
        }
    }
}
