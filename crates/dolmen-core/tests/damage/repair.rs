//! Whole repositories, chosen packs, rebuilt indexes, numbers.

use std::sync::atomic::AtomicBool;

use dolmen_core::Error;
use dolmen_core::Finding;
use dolmen_core::check::{self, ReadData};
use dolmen_core::index::Index;
use dolmen_core::snapshots::SnapshotList;
use dolmen_core::stats::{self, Mode};
use dolmen_format::index::IndexedFrame;
use dolmen_format::pack::{BlobEntry, Compression};
use dolmen_format::{BlobId, BlobKind, ObjectId};
use dolmen_state::index::{BlobIndex, PackInfo};
use dolmen_state::state::Remembered;

use crate::world::{Notes, World};

#[test]
fn a_whole_repository_has_no_findings() {
    let world = World::new(1);
    for read_data in [
        ReadData::None,
        ReadData::All,
        ReadData::Bytes(1),
        ReadData::Percent(40.0),
    ] {
        let (report, notes) = world.check(read_data);
        assert_eq!(report.findings, []);
        assert_eq!((report.snapshots, report.snapshots_damaged), (2, 0));
        assert!(!report.suggest_repair_index && report.broken_packs.is_empty());
        assert_eq!(notes.notices.into_inner().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn all_parts_together_are_all_packs() {
    let world = World::new(1);
    let packs = u64::try_from(world.objects("packs").len()).unwrap();
    let (whole, _) = world.check(ReadData::All);
    assert_eq!(whole.packs_read, packs);
    let parts = (1..=3).map(|n| world.check(ReadData::Part { n, t: 3 }).0.packs_read);
    assert_eq!(parts.sum::<u64>(), packs);
    assert_eq!(world.check(ReadData::Bytes(1)).0.packs_read, 1);
    assert_eq!(world.check(ReadData::Bytes(u64::MAX)).0.packs_read, packs);
    assert_eq!(world.check(ReadData::Percent(0.1)).0.packs_read, 1);
    assert_eq!(world.check(ReadData::Percent(100.0)).0.packs_read, packs);
}

#[test]
fn senseless_parts_are_refused() {
    let world = World::new(1);
    for read_data in [
        ReadData::Part { n: 0, t: 3 },
        ReadData::Part { n: 4, t: 3 },
        ReadData::Percent(f64::NAN),
    ] {
        let options = check::Options {
            read_data,
            threads: 1,
            cache: None,
            remembered: Remembered::default(),
            at: None,
        };
        let progress = check::Progress::default();
        let outcome = check::run(&world.repository, &options, &Notes::default(), &progress);
        assert!(matches!(outcome, Err(Error::Usage { .. })), "{read_data:?}");
    }
}

#[test]
fn an_interrupted_check_ends() {
    let world = World::new(1);
    let options = check::Options {
        read_data: ReadData::All,
        threads: 2,
        cache: None,
        remembered: Remembered::default(),
        at: None,
    };
    let progress = check::Progress {
        cancel: AtomicBool::new(true),
        ..check::Progress::default()
    };
    let outcome = check::run(&world.repository, &options, &Notes::default(), &progress);
    assert!(matches!(outcome, Err(Error::Interrupted)));
}

#[test]
fn a_lost_index_is_rebuilt_from_the_packs() {
    let world = World::new(1);
    let whole = world.read_all();
    for path in world.objects("index") {
        std::fs::remove_file(path).unwrap();
    }
    let (report, _) = world.check(ReadData::None);
    assert!(report.suggest_repair_index);
    assert_eq!(report.snapshots_damaged, 2);
    assert_eq!(world.read_all().whole.len(), 0);

    let (rebuilt, _) = world.rebuild_index();
    assert_eq!(rebuilt.unreadable, []);
    assert_eq!(
        rebuilt.packs,
        u64::try_from(world.objects("packs").len()).unwrap()
    );
    assert!(rebuilt.blobs > 40);
    let (report, notes) = world.check(ReadData::All);
    assert_eq!(report.findings, []);
    assert!(
        notes
            .notices
            .into_inner()
            .unwrap()
            .iter()
            .all(|notice| notice.contains("index segment"))
    );
    assert_eq!(world.read_all().whole, whole.whole);
    world.backup().unwrap();
    assert_eq!(world.check(ReadData::All).0.findings, []);
}

#[test]
fn of_an_index_only_what_is_missing_is_written() {
    let world = World::new(1);
    let (segments, relied_on) = (world.objects("index"), world.instance().record().clone());
    let (whole, _) = world.rebuild_index();
    assert_eq!((whole.packs, whole.blobs), (0, 0));
    assert_eq!(world.objects("index"), segments);
    assert_eq!(world.instance().record().segments, relied_on.segments);

    std::fs::remove_file(&segments[0]).unwrap();
    let (part, _) = world.rebuild_index();
    let packs = u64::try_from(world.objects("packs").len()).unwrap();
    assert!(0 < part.packs && part.packs < packs, "{part:?}");
    assert_eq!(world.objects("index").len(), segments.len());
    let listed = world.instance().record().segments.len();
    assert_eq!(listed, relied_on.segments.len());
    let (again, _) = world.rebuild_index();
    assert_eq!((again.packs, again.blobs), (0, 0));
    assert_eq!(world.check(ReadData::All).0.findings, []);
}

#[test]
fn a_rebuilt_index_is_relied_on_though_the_state_was_lost() {
    let world = World::new(1);
    for path in world.objects("index") {
        std::fs::remove_file(path).unwrap();
    }
    world.rebuild_index();
    let rebuilt = world.instance().record().segments.clone();
    std::fs::remove_dir_all(world.path("state")).unwrap();
    let (again, _) = world.rebuild_index();
    assert_eq!(again.packs, 0);
    assert_eq!(world.instance().record().segments, rebuilt);
}

#[test]
fn a_damaged_segment_is_replaced_and_removed() {
    let world = World::new(1);
    let segments = world.objects("index");
    let mut body = std::fs::read(&segments[0]).unwrap();
    body[100] ^= 1;
    std::fs::write(&segments[0], body).unwrap();
    let (_, notes) = world.rebuild_index();
    let notices = notes.notices.into_inner().unwrap();
    assert!(
        notices.iter().any(|notice| notice.contains("removed")),
        "{notices:?}"
    );
    assert!(!segments[0].exists() && segments[1..].iter().all(|path| path.exists()));
    assert_eq!(world.check(ReadData::All).0.findings, []);
    assert!(!world.instance().record().segments.is_empty());
}

#[test]
fn a_rebuilt_index_leaves_unreadable_packs_out() {
    let world = World::new(1);
    let pack = world.objects("packs").into_iter().next().unwrap();
    let body = std::fs::read(&pack).unwrap();
    std::fs::write(&pack, &body[..body.len() - 10]).unwrap();
    for path in world.objects("index") {
        std::fs::remove_file(path).unwrap();
    }
    let (rebuilt, notes) = world.rebuild_index();
    let id = pack.file_name().unwrap().to_str().unwrap();
    assert!(
        matches!(rebuilt.unreadable.as_slice(), [Finding { subject, .. }] if subject.contains(id))
    );
    assert_eq!(*notes.findings.lock().unwrap(), rebuilt.unreadable);
    assert_eq!(
        rebuilt.packs + 1,
        u64::try_from(world.objects("packs").len()).unwrap()
    );
}

#[test]
fn snapshots_are_read_through_the_packs_where_segments_are_lost() {
    let world = World::new(1);
    let saved = world.save();
    let whole = world.read_all().whole;
    let list = SnapshotList::load(&world.repository, None).unwrap();
    let listed: Vec<_> = list
        .snapshots
        .iter()
        .flat_map(|entry| entry.snapshot.segments.iter().copied())
        .collect();
    let mut index = Index::load(&world.repository, None).unwrap();
    assert_eq!(index.complete(&world.repository, &listed).unwrap(), 0);
    for path in world.objects("index") {
        std::fs::write(path, b"damaged").unwrap();
    }
    let mut index = Index::load(&world.repository, None).unwrap();
    assert!(index.complete(&world.repository, &listed).unwrap() > 0);
    let reading = world.read_all_through(&index);
    assert_eq!((reading.whole, reading.lost_ranges), (whole, 0));

    // A pack that cannot say what is in it costs no more than itself.
    std::fs::write(world.objects("packs").pop().unwrap(), b"damaged").unwrap();
    let mut index = Index::load(&world.repository, None).unwrap();
    let told = index.findings.len();
    index.complete(&world.repository, &listed).unwrap();
    assert_eq!(index.findings.len(), told + 1);
    world.heal(&saved);
}

#[test]
fn a_wrong_cache_is_noticed_and_not_believed() {
    let world = World::new(1);
    let index = Index::load(&world.repository, None).unwrap();
    let cache = world.path("cache/index");
    std::fs::remove_dir_all(&cache).unwrap();
    let (cached, _missing) = BlobIndex::open(Some(&cache), &index.segments).unwrap();
    let blobs = vec![BlobEntry {
        kind: BlobKind::Data,
        id: BlobId([7; 32]),
        length: 10,
    }];
    let frame = IndexedFrame {
        frame_bytes: 38,
        raw_bytes: 10,
        compression: Compression::None,
        blobs,
    };
    let (pack, writer) = (ObjectId::of(b"no pack"), world.repository.writer());
    let info = PackInfo {
        pack,
        writer,
        pack_bytes: 1000,
        table_bytes: 100,
    };
    cached.add_pack(info, &[frame]).unwrap();
    cached.persist(&index.segments).unwrap();

    let (report, notes) = world.check(ReadData::None);
    assert_eq!(report.findings, []);
    let notices = notes.notices.into_inner().unwrap();
    assert!(matches!(notices.as_slice(), [text] if text.contains("is wrong in 1 place:")));
}

#[test]
fn the_numbers_add_up() {
    let world = World::new(1);
    let index = Index::load(&world.repository, None).unwrap();
    let list = SnapshotList::load(&world.repository, None).unwrap();
    let all: Vec<_> = list.snapshots.iter().collect();
    let stats = |mode| stats::run(&world.repository, &index, &all, mode).unwrap();
    let first = 40 * 700 + 3_000_000 + 12_000;
    let second = first + 2_500_000 + 13;

    let size = stats(Mode::RestoreSize);
    assert_eq!((size.total_size, size.snapshots_count), (first + second, 2));
    assert_eq!(
        (size.total_blob_count, size.compression_ratio),
        (None, None)
    );

    let files = stats(Mode::FilesByContents);
    // The empty file is one content, the two names of a file another.
    assert_eq!(
        (files.total_size, files.total_file_count),
        (second, 40 + 1 + 1 + 1 + 2)
    );

    let raw = stats(Mode::RawData);
    let stored: u64 = world
        .objects("packs")
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    assert!(
        raw.total_size > 5_500_000 && raw.total_size < stored,
        "{raw:?} of {stored}"
    );
    assert!(raw.total_uncompressed_size.unwrap() > second);
    assert!(raw.total_blob_count.unwrap() > 45);
    assert!(raw.compression_ratio.unwrap() > 1.0);
    let saving = raw.compression_space_saving.unwrap();
    assert!(saving > 0.0 && saving < 5.0, "{saving}");
}
