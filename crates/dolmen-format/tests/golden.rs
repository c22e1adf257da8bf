//! The golden vectors: each file in the folder decodes, and encodes to the same bytes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail where it stands"
)]

#[path = "../examples/fuzz/harness.rs"]
#[expect(dead_code, reason = "the mutations are for others")]
mod harness;

use dolmen_format::bundle::Bundle;
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::ledger::{Fact, LockStrategy, Record};
use dolmen_format::limits::{ENCAPSULATED_BYTES, SEAL_PUBLIC_BYTES};
use dolmen_format::list::ListNode;
use dolmen_format::manifest::ManifestNode;
use dolmen_format::pack::{Compression, PackTable, Recipient};
use dolmen_format::root::Root;
use dolmen_format::signed;
use dolmen_format::snapshot::{Body, Snapshot};
use dolmen_format::tree::{Content, NodeKind, TreeNode};
use dolmen_format::{FormatError, ObjectKind, Prologue, Timestamp, bytes};
use harness::{DECODERS, vectors};

/// Fields that `scalars.txt` and the plain-field files hold are checked below and in `dolmen-crypto`.
const PLAIN: [&str; 4] = ["scalars.txt", "varints.txt", "zigzags.txt", "prologues.txt"];

fn vector(name: &str) -> Vec<u8> {
    let found = vectors()
        .expect("the folder")
        .into_iter()
        .find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("{name} is missing")).1
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The fields of each line of a file that is no comment.
fn lines(name: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(vector(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_vector_has_one_encoding() {
    for (name, stored) in vectors().expect("the folder") {
        if PLAIN.contains(&name.as_str()) {
            continue;
        }
        let decoder = DECODERS.iter().find(|(prefix, _)| name.starts_with(prefix));
        let (_, decoder) = decoder.unwrap_or_else(|| panic!("{name}: what is it?"));
        assert_eq!(decoder(&stored), Ok(stored), "{name}");
    }
}

#[test]
fn every_decoder_has_a_vector() {
    let vectors = vectors().expect("the folder");
    for (prefix, _) in DECODERS
        .iter()
        .filter(|(prefix, _)| !prefix.ends_with("anything"))
    {
        assert!(
            vectors.iter().any(|(name, _)| name.starts_with(prefix)),
            "{prefix}"
        );
    }
}

#[test]
fn plain_fields_are_those_of_the_vectors() {
    for line in lines("varints.txt") {
        let (value, encoded) = (line[0].parse().unwrap(), unhex(&line[1]));
        let mut out = Vec::new();
        bytes::put_varint(&mut out, value);
        assert_eq!(out, encoded);
        assert_eq!(bytes::take_varint(&mut encoded.as_slice()), Ok(value));
        assert_eq!(
            bytes::size_bytes(usize::try_from(value).unwrap()),
            encoded.len()
        );
    }
    for line in lines("zigzags.txt") {
        let (value, encoded) = (line[0].parse().unwrap(), unhex(&line[1]));
        let mut out = Vec::new();
        bytes::put_zigzag(&mut out, value);
        assert_eq!(out, encoded);
        assert_eq!(bytes::take_zigzag(&mut encoded.as_slice()), Ok(value));
    }
    for line in lines("prologues.txt") {
        let encoded = unhex(&line[2]);
        let prologue = Prologue::decode(&mut encoded.as_slice()).unwrap();
        assert_eq!(prologue.encode().as_slice(), encoded);
        assert_eq!(prologue.kind.code().to_string(), line[0]);
        assert_eq!(prologue.body_bytes.to_string(), line[1]);
    }
}

#[test]
fn key_objects_say_what_was_written() {
    let root = signed::decode::<Root>(&vector("root.bin")).unwrap().body;
    assert_eq!(
        root.created,
        Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_789
        }
    );
    assert_eq!(root.suite, 1);
    assert_eq!(root.epoch.read_public.len(), SEAL_PUBLIC_BYTES);
    assert_ne!(root.epoch.read_public, root.epoch.maintain_public);
    let bundle = signed::decode::<Bundle>(&vector("bundle.bin"))
        .unwrap()
        .body;
    assert_eq!(
        (bundle.number, bundle.kdf.memory_kib, bundle.kdf.passes),
        (2, 256, 2)
    );
    assert_eq!(bundle.name, None);
    let named = signed::decode::<Bundle>(&vector("bundle-named.bin"));
    assert_eq!(named.unwrap().body.name.as_deref(), Some("Ömer's"));
    let backup = signed::decode::<Certificate>(&vector("certificate-backup.bin"))
        .unwrap()
        .body;
    assert_eq!(
        (backup.name.as_str(), backup.role, backup.rights),
        ("laptop", Role::Backup, 2)
    );
    assert_eq!(backup.domain.map(|domain| domain.0[0]), Some(0x70));
    let admin = signed::decode::<Certificate>(&vector("certificate-admin.bin"))
        .unwrap()
        .body;
    assert_eq!((admin.role, admin.domain), (Role::Admin, None));
}

fn fact(name: &str) -> Fact {
    signed::decode::<Record>(&vector(name)).unwrap().body.fact
}

#[test]
fn a_probe_says_which_store_was_tried_out_and_how_it_was() {
    let Fact::Probe(probe) = fact("ledger-probe.bin") else {
        panic!("another fact")
    };
    let retention = probe.default_retention.unwrap();
    assert_eq!((probe.store.len(), retention.days), (32, 40));
    assert_eq!(
        [probe.lock, retention.lock],
        [LockStrategy::Compliance, LockStrategy::Governance]
    );
}

#[test]
fn ledger_records_say_what_was_written() {
    let Fact::Policy(policy) = fact("ledger-policy.bin") else {
        panic!("another fact")
    };
    assert_eq!(
        (policy.protect_seconds, policy.lock),
        (2_592_000, LockStrategy::Compliance)
    );
    assert_eq!(
        (policy.keep.last, policy.keep.daily, policy.keep.yearly),
        (0, 24, u32::MAX)
    );
    assert_eq!(policy.classes[0].rule, "monthly");
    let Fact::Retirement { snapshots, policy } = fact("ledger-retirement-policy.bin") else {
        panic!("another fact")
    };
    assert_eq!(
        snapshots.iter().map(|s| s.number).collect::<Vec<_>>(),
        [1, u64::MAX]
    );
    assert_eq!(policy.map(|policy| policy.number), Some(24));
    let retirement = fact("ledger-retirement-person.bin");
    assert!(matches!(retirement, Fact::Retirement { policy: None, .. }));
    let Fact::Undo {
        retirement,
        snapshots,
    } = fact("ledger-undo.bin")
    else {
        panic!("another fact")
    };
    assert_eq!((retirement.number, snapshots.len()), (256, 2));
    let Fact::Revocation { writer, cuts } = fact("ledger-revocation.bin") else {
        panic!("another fact")
    };
    assert_eq!((writer.0[0], cuts[0].number), (0xe0, 65_536));
    let Fact::Attestation { packs } = fact("ledger-attestation.bin") else {
        panic!("another fact")
    };
    assert_eq!(packs.len(), 2);
    let Fact::Witness { receipts } = fact("ledger-witness.bin") else {
        panic!("another fact")
    };
    assert_eq!(receipts[0].received, Timestamp::from_seconds(1_700_000_003));
    let Fact::Moves { pack, runs } = fact("ledger-moves.bin") else {
        panic!("another fact")
    };
    assert_eq!(
        (pack.pack_bytes, pack.table_bytes, pack.checksum.len()),
        (33_554_432, 4096, 16)
    );
    assert_eq!(pack.version, "version 6");
    assert_eq!(
        (runs[0].first_ordinal, runs[0].count, runs[0].position),
        (4000, 96, 7)
    );
    let Fact::Acceptance { snapshots } = fact("ledger-acceptance.bin") else {
        panic!("another fact")
    };
    assert_eq!((snapshots.len(), snapshots[0].number), (1, 3));
    let record = signed::decode::<Record>(&vector("ledger-attestation.bin"))
        .unwrap()
        .body;
    assert_eq!(
        record.time,
        Timestamp {
            seconds: -1,
            nanos: 1
        }
    );
    assert!(record.certificate.is_some());
}

#[test]
fn packs_say_what_was_written() {
    let stored = vector("pack-data.bin");
    let table = PackTable::decode_pack(&stored).unwrap();
    assert_eq!((table.recipient, table.origins.len()), (Recipient::Read, 1));
    assert_eq!(table.origins[0].pack, None);
    assert_eq!(
        table.origins[0].sealed_key.encapsulated.len(),
        ENCAPSULATED_BYTES
    );
    let compressions: Vec<_> = table.frames.iter().map(|frame| frame.compression).collect();
    assert_eq!(compressions, [Compression::None, Compression::Zstd]);
    let first = usize::try_from(table.frames[0].frame_bytes).unwrap();
    assert_eq!(
        blake3::hash(&stored[16..][..first]).as_bytes(),
        &table.frames[0].hash
    );
    let maintain = PackTable::decode_pack(&vector("pack-manifest.bin")).unwrap();
    assert_eq!(maintain.recipient, Recipient::Maintain);
    let moved = PackTable::decode_pack(&vector("pack-moved.bin")).unwrap();
    let places: Vec<_> = moved.frames.iter().map(|f| (f.origin, f.ordinal)).collect();
    assert_eq!(places, [(0, 1), (1, 0)]);
    assert!(moved.origins.iter().all(|origin| origin.pack.is_some()));
}

#[test]
fn the_end_of_a_pack_is_enough_and_too_little_says_how_much_it_takes() {
    let stored = vector("pack-data.bin");
    let pack_bytes = u64::try_from(stored.len()).unwrap();
    let whole = PackTable::decode_pack(&stored).unwrap();
    let table_bytes = whole.encode().unwrap().len();
    let tail = &stored[stored.len() - table_bytes..];
    assert_eq!(PackTable::decode_tail(tail, pack_bytes), Ok(whole));
    let short = FormatError::Truncated {
        wanted_bytes: table_bytes,
        found_bytes: 9,
    };
    assert_eq!(
        PackTable::decode_tail(&tail[table_bytes - 9..], pack_bytes),
        Err(short)
    );
    let invalid = FormatError::Invalid {
        field: "frame_bytes",
    };
    assert_eq!(PackTable::decode_tail(tail, pack_bytes + 1), Err(invalid));
    assert!(matches!(
        PackTable::decode_tail(tail, u64::MAX),
        Err(FormatError::TooLarge { field: "pack", .. })
    ));
}

#[test]
fn snapshots_say_what_was_written() {
    let full = signed::decode::<Snapshot>(&vector("snapshot-full.bin"))
        .unwrap()
        .body;
    assert_eq!((full.stamp.number, full.checkpoint, full.alarm), (24, 0, 0));
    assert_eq!(full.relied_until, Some(1_702_592_004));
    assert_eq!((full.heads[0].number, full.segments.len()), (23, 2));
    assert_eq!(full.counts.added_bytes, 1 << 40);
    let checkpoint = signed::decode::<Snapshot>(&vector("snapshot-checkpoint.bin"))
        .unwrap()
        .body;
    assert_eq!((checkpoint.checkpoint, checkpoint.relied_until), (3, None));
    let body = Body::decode(&vector("body-full.bin")).unwrap();
    assert_eq!(body.tree.map(|tree| tree.level), Some(5));
    assert_eq!(body.paths[1].as_slice(), b"/home/\xff");
    assert_eq!(body.summary.total_bytes_processed, u64::MAX);
    assert_eq!(
        Body::decode(&vector("body-checkpoint.bin")).unwrap().tree,
        None
    );
}

#[test]
fn nodes_say_what_was_written() {
    let TreeNode::Leaf(entries) = TreeNode::decode(&vector("tree-0-full.bin"), 0).unwrap() else {
        panic!("no leaf")
    };
    let codes: std::collections::BTreeSet<_> = entries
        .iter()
        .map(|entry| std::mem::discriminant(&entry.node.kind))
        .collect::<Vec<_>>()
        .iter()
        .map(|kind| format!("{kind:?}"))
        .collect();
    assert_eq!(codes.len(), 6, "every kind");
    let linked = entries
        .iter()
        .find(|entry| entry.key == b"etc\0linked")
        .unwrap();
    assert_eq!(
        linked.node.hard_link.map(|link| (link.device, link.inode)),
        Some((u64::MAX, 128))
    );
    assert_eq!(linked.node.xattrs[0].name, b"security.selinux");
    assert_eq!(linked.node.user.as_deref(), Some(b"\xff".as_slice()));
    let sparse = entries
        .iter()
        .find(|entry| entry.key == b"etc\0sparse")
        .unwrap();
    let NodeKind::File(file) = &sparse.node.kind else {
        panic!("no file")
    };
    let extents = file.extents.as_ref().unwrap();
    assert_eq!((extents[1].offset, extents[1].length), (1 << 20, 300));
    assert!(matches!(&file.content, Content::Chunks(chunks) if chunks[0].length == 305));
    assert_eq!(
        sparse.node.mtime,
        Timestamp {
            seconds: -1,
            nanos: 999_999_999
        }
    );
    let TreeNode::Inner(1, children) = TreeNode::decode(&vector("tree-1.bin"), 1).unwrap() else {
        panic!("no inner node")
    };
    assert_eq!(children[1].first, b"etc\0passwd");
    let list = ListNode::decode(&vector("list-0.bin"), 0).unwrap();
    assert_eq!(
        list.entries.iter().map(|chunk| chunk.length).sum::<u64>(),
        129 + (4 << 20)
    );
    let ManifestNode::Leaf(packs) = ManifestNode::decode(&vector("manifest-0.bin")).unwrap() else {
        panic!("no leaf")
    };
    assert_eq!(packs[1].frames.iter().collect::<Vec<_>>(), [1, 7, 8, 4095]);
}

#[test]
fn what_is_newer_is_called_newer() {
    let mut stored = vector("root.bin");
    stored[8] = 2;
    let later = FormatError::TooNew {
        format: 2,
        features: 0,
    };
    assert_eq!(signed::decode::<Root>(&stored).unwrap_err(), later);
    (stored[8], stored[11]) = (1, 0x40);
    let feature = FormatError::TooNew {
        format: 1,
        features: 0x40,
    };
    assert_eq!(signed::decode::<Root>(&stored).unwrap_err(), feature);
    (stored[10], stored[11]) = (8, 0);
    let kind = FormatError::Unknown {
        field: "object kind",
        found: 8,
    };
    assert_eq!(signed::decode::<Root>(&stored).unwrap_err(), kind);
    let mut policy = vector("ledger-policy.bin");
    let fact = policy
        .windows(3)
        .position(|bytes| bytes == [0x04, 0x82, 0x01])
        .unwrap()
        + 2;
    policy[fact] = 10;
    let fact = FormatError::Unknown {
        field: "type of fact",
        found: 10,
    };
    assert_eq!(signed::decode::<Record>(&policy).unwrap_err(), fact);
    assert_eq!(
        fact.to_string(),
        "unknown type of fact 10: written by a newer version of Dolmen"
    );
    let root = signed::decode::<Root>(&vector("root.bin")).unwrap().body;
    let suite = signed::encode_unsigned(&Root { suite: 2, ..root }).unwrap_err();
    assert_eq!(
        suite,
        FormatError::Unknown {
            field: "suite",
            found: 2
        }
    );
    let wrong = signed::decode::<Root>(&vector("bundle.bin")).unwrap_err();
    assert_eq!(
        wrong,
        FormatError::WrongKind {
            wanted: ObjectKind::Root.code(),
            found: ObjectKind::Bundle.code(),
        }
    );
}
