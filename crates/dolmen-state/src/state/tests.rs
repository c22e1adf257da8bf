use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use dolmen_format::signed::Reference;
use dolmen_format::{ObjectId, PackId, SegmentId, Timestamp, WriterId};
use tempfile::TempDir;

use super::*;

const REPOSITORY: RepositoryId = ObjectId([1; 32]);

fn state() -> (TempDir, StateFolder) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path().join("state")).unwrap();
    (folder, state)
}

fn claim(state: &StateFolder, fresh: u8) -> Instance {
    state
        .claim_instance(&REPOSITORY, None, InstanceId([fresh; 16]))
        .unwrap()
}

fn record(number: u64) -> InstanceRecord {
    let reference = Reference {
        writer: WriterId([2; 16]),
        instance: InstanceId([3; 16]),
        number,
        digest: ObjectId([4; 32]),
    };
    InstanceRecord {
        next_number: number,
        signed: Vec::new(),
        head: Some(reference),
        checkpoint: number.is_multiple_of(2).then_some(reference),
        segments: vec![SegmentId::of(b"1"), SegmentId::of(b"2")],
        store_time: Timestamp::new(-5, 17),
        since: None,
    }
}

fn entries() -> Vec<JournalEntry> {
    vec![
        JournalEntry::PutPack {
            writer: WriterId([2; 16]),
            pack: PackId::of(b"p"),
            pack_bytes: 32 << 20,
        },
        JournalEntry::Put {
            key: "index/aa/bb".into(),
        },
        JournalEntry::Put {
            key: "snapshots/aa/of-the-length-of-a-pack-entry-or-more".into(),
        },
    ]
}

#[test]
fn an_instance_keeps_its_id_record_and_journal() {
    let (_folder, state) = state();
    let mut instance = claim(&state, 7);
    assert_eq!(instance.id(), InstanceId([7; 16]));
    assert_eq!(instance.record(), &InstanceRecord::default());
    assert_eq!(instance.record().next_number, 1);
    instance.save(record(5)).unwrap();
    for entry in entries() {
        instance.journal_append(&entry).unwrap();
    }
    drop(instance);

    let mut instance = claim(&state, 8);
    assert_eq!(instance.id(), InstanceId([7; 16]));
    assert_eq!(instance.record(), &record(5));
    assert_eq!(instance.journal().unwrap(), entries());
    instance.journal_clear().unwrap();
    assert_eq!(instance.journal().unwrap(), []);
    instance.journal_append(&entries()[1]).unwrap();
    drop(instance);
    assert_eq!(claim(&state, 9).journal().unwrap(), entries()[1..2]);
}

#[test]
fn claims_at_once_get_instances_of_their_own_and_later_ones_get_them_back() {
    let (_folder, state) = state();
    let first = claim(&state, 1);
    let second = claim(&state, 2);
    let third = claim(&state, 3);
    let ids = [first.id(), second.id(), third.id()];
    assert_eq!(ids, [1, 2, 3].map(|id| InstanceId([id; 16])));
    drop(second);
    assert_eq!(claim(&state, 4).id(), ids[1]);
    let other = state.claim_instance(&ObjectId([9; 32]), None, InstanceId([5; 16]));
    assert_eq!(
        other.unwrap().id(),
        InstanceId([5; 16]),
        "each repository has its own"
    );
}

#[test]
fn a_damaged_record_is_an_error_that_says_what_to_do() {
    let (_folder, state) = state();
    claim(&state, 1).save(record(5)).unwrap();
    let slot = state.path().join(REPOSITORY.to_string()).join("0");
    let path = slot.join("record");
    let whole = fs::read(&path).unwrap();
    let damaged = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = state
            .claim_instance(&REPOSITORY, None, InstanceId([2; 16]))
            .unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{what}");
        error.to_string()
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x80;
        damaged(&flipped, &format!("flip at {at}"));
        damaged(&whole[..at], &format!("cut at {at}"));
    }
    assert_eq!(
        damaged(b"", "empty"),
        format!(
            "the instance record in {} is damaged; move the folder it lies in away and run again: a \
             new instance begins, and nothing in the repository is lost",
            path.display()
        )
    );
    fs::rename(&slot, state.path().join("away")).unwrap();
    assert_eq!(
        claim(&state, 3).id(),
        InstanceId([3; 16]),
        "the advice works"
    );
}

#[test]
fn a_crash_while_saving_leaves_the_record_and_no_litter() {
    let (_folder, state) = state();
    claim(&state, 1).save(record(5)).unwrap();
    let slot = state.path().join(REPOSITORY.to_string()).join("0");
    fs::write(slot.join("dolmen-crashed00000.tmp"), b"half a rec").unwrap();
    assert_eq!(claim(&state, 2).record(), &record(5));
    let mut names: Vec<_> = fs::read_dir(slot)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["journal", "lock", "record"]);
}

/// A journal torn at any byte keeps every whole entry and takes new ones.
#[test]
fn a_journal_survives_a_tear_at_every_byte() {
    let (_folder, state) = state();
    let path = state.path().join(REPOSITORY.to_string()).join("0/journal");
    let mut instance = claim(&state, 1);
    let mut ends = vec![0];
    for entry in entries() {
        instance.journal_append(&entry).unwrap();
        ends.push(fs::read(&path).unwrap().len());
    }
    drop(instance);
    let whole = fs::read(&path).unwrap();
    let mut torn = Vec::new();
    for at in 0..=whole.len() {
        torn.push((at, whole[..at].to_vec()));
        // Some file systems leave zeros where the data did not arrive.
        let mut zeros = whole[..at].to_vec();
        zeros.resize(whole.len(), 0);
        torn.push((at, zeros));
    }
    for (at, bytes) in torn {
        let kept = ends.iter().filter(|end| **end > 0 && **end <= at).count();
        fs::write(&path, &bytes).unwrap();
        let mut instance = claim(&state, 2);
        // Zeros may happen to be what was written.
        let found = instance.journal().unwrap();
        assert!(
            found.len() >= kept && found == entries()[..found.len()],
            "torn at {at}"
        );
        instance.journal_append(&entries()[1]).unwrap();
        let expected = [&found, &entries()[1..2]].concat();
        assert_eq!(instance.journal().unwrap(), expected, "torn at {at}");
        drop(instance);
        assert_eq!(
            claim(&state, 3).journal().unwrap(),
            expected,
            "torn at {at}"
        );
    }
}

#[test]
fn an_entry_damaged_by_the_disk_does_not_hide_those_behind_it() {
    let (_folder, state) = state();
    let path = state.path().join(REPOSITORY.to_string()).join("0/journal");
    let mut instance = claim(&state, 1);
    for entry in entries() {
        instance.journal_append(&entry).unwrap();
    }
    drop(instance);
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(claim(&state, 2).journal().unwrap(), entries()[1..]);
}

#[test]
fn an_entry_over_the_limit_is_refused() {
    let (_folder, state) = state();
    let mut instance = claim(&state, 1);
    let key = "k".repeat(70_000);
    let refused = instance.journal_append(&JournalEntry::Put { key });
    assert!(matches!(
        refused,
        Err(StateError::TooLarge {
            found: 70_000..,
            ..
        })
    ));
    assert_eq!(instance.journal().unwrap(), []);
}

#[test]
fn a_pin_is_found_by_its_address_alone() {
    let (_folder, state) = state();
    assert_eq!(state.pinned("s3://bucket").unwrap(), None);
    let (first, second) = (RepositoryId::of(b"1"), RepositoryId::of(b"2"));
    state.pin("s3://bucket", &first).unwrap();
    assert_eq!(state.pinned("s3://bucket").unwrap(), Some(first));
    assert_eq!(state.pinned("s3://bucket2").unwrap(), None);
    state.pin("s3://bucket", &second).unwrap();
    assert_eq!(state.pinned("s3://bucket").unwrap(), Some(second));
}

#[test]
fn everything_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path().join("state")).unwrap();
    let id = RepositoryId::of(b"1");
    state.pin("a", &id).unwrap();
    let mut instance = state
        .claim_instance(&id, None, InstanceId([7; 16]))
        .unwrap();
    instance
        .journal_append(&JournalEntry::Put { key: "k".into() })
        .unwrap();
    let mut pending = vec![state.path().to_path_buf()];
    let mut files = 0;
    while let Some(path) = pending.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            pending.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            files += 1;
        }
    }
    assert_eq!(files, 4);
}

#[test]
fn a_damaged_pin_is_an_error_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path()).unwrap();
    state.pin("a", &RepositoryId::of(b"1")).unwrap();
    let path = state.pin_path("a");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        assert!(
            matches!(state.pinned("a"), Err(StateError::Damaged { .. })),
            "byte {at}"
        );
        fs::write(&path, &whole[..at]).unwrap();
        assert!(
            matches!(state.pinned("a"), Err(StateError::Damaged { .. })),
            "cut at {at}"
        );
    }
}

#[test]
fn an_error_tells_what_was_tried_on_what() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = StateFolder::open(file.join("state")).unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotADirectory));
    assert_eq!(
        error.to_string(),
        format!("cannot create the folder {}/state", file.display())
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_and_not_a_loop() {
    let error = StateFolder::open("/proc/dolmen/state").unwrap_err();
    assert!(error.to_string().contains("/proc/dolmen"), "{error}");
}

#[test]
fn what_was_seen_is_remembered_for_its_repository_alone() {
    let (_folder, state) = state();
    assert_eq!(state.sightings(&REPOSITORY).unwrap(), Sightings::default());
    let mut seen = Sightings::default();
    let sighting = Sighting {
        stored_at: Timestamp::from_seconds(5),
        body: vec![1, 2, 3],
    };
    seen.note("snapshots/aa/bb".to_owned(), sighting);
    state.note_sightings(&REPOSITORY, &seen).unwrap();
    assert_eq!(state.sightings(&REPOSITORY).unwrap(), seen);
    let other = ObjectId([9; 32]);
    assert_eq!(state.sightings(&other).unwrap(), Sightings::default());
}
