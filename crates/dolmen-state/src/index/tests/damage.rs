use super::*;

#[test]
fn a_cut_or_foreign_table_is_removed() {
    let (folder, table) = cached();
    let whole = fs::read(&table).unwrap();
    let mut longer = whole.clone();
    longer.push(0);
    let mut versioned = whole.clone();
    versioned[8] += 1;
    let cuts = (0..whole.len()).step_by(37).map(|at| whole[..at].to_vec());
    for bytes in cuts.chain([longer, versioned, vec![0xff; 5000]]) {
        fs::write(&table, &bytes).unwrap();
        let (index, missing) = BlobIndex::open(Some(folder.path()), &[segment(0)]).unwrap();
        assert_eq!((missing.len(), index.blobs()), (1, 0));
        assert!(!table.exists());
    }
}

#[test]
fn a_crashed_writer_leaves_nothing_for_ever() {
    let (folder, table) = cached();
    let left = folder.path().join("dolmen-abandoned000.tmp");
    fs::write(&left, b"half").unwrap();
    let busy = durable_temporary(folder.path());
    let foreign = folder.path().join("notes.txt");
    fs::write(&foreign, b"mine").unwrap();
    BlobIndex::open(Some(folder.path()), &[segment(0)]).unwrap();
    let expected = [table, busy.path().to_path_buf(), foreign];
    assert_eq!(tables_in(folder.path()), BTreeSet::from(expected));
}

fn durable_temporary(folder: &Path) -> tempfile::NamedTempFile {
    crate::durable::temporary_in(folder).unwrap()
}

/// Damage may lose blobs and lead reads astray, but it never invents a blob, panics or keeps a run from ending.
#[test]
fn damaged_tables_never_panic_and_never_invent_a_blob() {
    let (folder, table) = cached();
    let whole = fs::read(&table).unwrap();
    let mut seed = 42_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..=random(40) {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        for path in tables_in(folder.path()) {
            fs::remove_file(path).unwrap();
        }
        fs::write(&table, &bytes).unwrap();
        let wanted = [segment(0), segment(1)];
        let (index, missing) = BlobIndex::open_with(Some(folder.path()), &wanted, SMALL);
        let ids = wanted.map(|seen| seen.id);
        assert!(missing == [segment(1).id] || missing == ids);
        use_everything(&index);
        index.add_pack(info(50), &frames(5000, 5)).unwrap();
        // Makes persist merge.
        index.write().relied_on = Some(PackRef(0));
        let covered = wanted.iter().filter(|seen| missing.contains(&seen.id));
        let persisted = index.persist(&covered.copied().collect::<Vec<_>>());
        use_everything(&index);
        let (again, missing) = BlobIndex::open(Some(folder.path()), &wanted).unwrap();
        match persisted {
            Ok(()) => assert_eq!(missing, []),
            Err(StateError::Damaged { .. }) => assert_eq!(missing, ids),
            Err(error) => panic!("{error}"),
        }
        use_everything(&again);
    }
}

fn use_everything(index: &BlobIndex) {
    for number in 0..60 {
        for at in index.locations(&blob_id(number * 7)) {
            let _info = (index.pack(at.pack), index.frame(at.pack, at.ordinal));
        }
        let _found = index.find_pack(&info(number).pack);
        let _frame = index.frame(PackRef(number), number);
    }
    assert!(!index.contains(&blob_id(1_000_000)));
    index.for_each_pack(|_, _| ());
    index.for_each_blob(|id, _| {
        index.lookup(id);
    });
}
