//! The golden vectors: made the same today, and opened with the keys beside them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail where it stands"
)]

#[path = "../examples/make_vectors/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use dolmen_crypto::domain::LabelKind;
use dolmen_crypto::{AdminSecret, CryptoError, PackKey, Secret, SigningKey, VerifyKey, bundle};
use dolmen_format::bundle::Bundle;
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::index::Segment;
use dolmen_format::ledger::Record;
use dolmen_format::pack::{Compression, PackTable, Recipient};
use dolmen_format::root::Root;
use dolmen_format::signed::NO_REPOSITORY;
use dolmen_format::snapshot::Snapshot;
use dolmen_format::tree::{boundary_input, ends_after};
use dolmen_format::{BlobKind, DomainId, KeyId, ObjectId, RepositoryId, Salt, SealedBox};
use world::{BODY_INFO, MANIFEST_INFO, PASSPHRASE, World, plain::hex};

fn stored() -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors");
    let files = fs::read_dir(folder).expect("the folder").map(|file| {
        let file = file.expect("a file");
        (
            file.file_name().into_string().unwrap(),
            fs::read(file.path()).unwrap(),
        )
    });
    files.filter(|(name, _)| name != "README.md").collect()
}

fn vector(name: &str) -> Vec<u8> {
    stored()
        .remove(name)
        .unwrap_or_else(|| panic!("{name} is missing"))
}

/// What is known without Dolmen: the fields of `scalars.txt`.
struct Scalars(BTreeMap<String, Vec<u8>>);

impl Scalars {
    fn read() -> Self {
        let text = String::from_utf8(vector("scalars.txt")).unwrap();
        let lines = text.lines().map(|line| line.split_once(" = ").unwrap());
        let unhex = |digits: &str| {
            let pairs = digits
                .as_bytes()
                .chunks(2)
                .map(|pair| str::from_utf8(pair).unwrap());
            pairs
                .map(|pair| u8::from_str_radix(pair, 16).unwrap())
                .collect()
        };
        Self(
            lines
                .map(|(name, digits)| (name.to_owned(), unhex(digits)))
                .collect(),
        )
    }

    fn slice(&self, name: &str) -> &[u8] {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing"))
    }

    fn take<const N: usize>(&self, name: &str) -> [u8; N] {
        self.slice(name).try_into().unwrap()
    }

    fn admin(&self) -> AdminSecret {
        AdminSecret::new(Secret::new(self.take("admin secret")))
    }

    fn repository(&self) -> RepositoryId {
        ObjectId(self.take("repository id"))
    }

    fn epoch(&self) -> Salt {
        Salt(self.take("epoch salt"))
    }

    fn domain(&self) -> DomainId {
        DomainId(self.take("domain id"))
    }

    fn backup(&self) -> VerifyKey {
        VerifyKey::from_bytes(&self.take("backup verify key")).unwrap()
    }
}

#[test]
fn this_version_writes_what_is_stored() {
    let made: BTreeMap<_, _> = World::new()
        .unwrap()
        .vectors()
        .unwrap()
        .into_iter()
        .collect();
    let stored = stored();
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        stored.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in made {
        assert_eq!(hex(&stored[&name]), hex(&bytes), "{name}");
    }
}

#[test]
fn keys_derive_as_the_page_says() {
    let scalars = Scalars::read();
    let admin = scalars.admin();
    let seed = SigningKey::new(&Secret::new(scalars.take("admin signing seed")));
    assert_eq!(seed.verify_key(), admin.signing_key().verify_key());
    let backup = SigningKey::new(&Secret::new(scalars.take("backup signing seed")));
    assert_eq!(backup.verify_key(), scalars.backup());
    assert_eq!(
        backup.verify_key().writer_id().0,
        scalars.take::<16>("backup writer id")
    );
    let (read, maintain) = (
        admin.read_key(&scalars.epoch()),
        admin.maintain_key(&scalars.epoch()),
    );
    assert_eq!(read.public().id(), KeyId(scalars.take("read key id")));
    assert_eq!(
        maintain.public().id(),
        KeyId(scalars.take("maintain key id"))
    );
    let domain = admin.domain(&scalars.domain());
    assert_eq!(
        domain.chunker_key().expose(),
        &scalars.take::<32>("chunker key")
    );
    for (kind, name) in [
        (BlobKind::Data, "data"),
        (BlobKind::Tree, "tree"),
        (BlobKind::List, "list"),
        (BlobKind::Manifest, "manifest"),
    ] {
        let key = scalars.take(&format!("blob id key {}", kind.code()));
        assert_eq!(
            &domain.blob_id(kind, b"any").0,
            blake3::keyed_hash(&key, b"any").as_bytes()
        );
        let stored = scalars.take::<32>(&format!("blob id of hello as {name}"));
        assert_eq!(domain.blob_id(kind, b"hello").0, stored);
    }
    let label = |kind: u8, bytes: &[u8]| {
        let hash = blake3::keyed_hash(&scalars.take("label key"), &[&[kind], bytes].concat());
        hash.as_bytes()[..16].to_vec()
    };
    assert_eq!(domain.label(LabelKind::Host, b"host").0, *label(1, b"host"));
    assert_eq!(scalars.slice("label of host \"host\""), label(1, b"host"));
    assert_eq!(
        scalars.slice("label of paths /etc /home"),
        label(2, b"/etc\0/home\0")
    );
    assert_eq!(
        scalars.slice("label of tag \"täglich\""),
        label(3, "täglich".as_bytes())
    );
    let key = scalars.take("boundary key");
    let boundary = blake3::keyed_hash(&key, b"\x01usr\0lib");
    assert_eq!(boundary_input(1, b"usr\0lib"), b"\x01usr\0lib");
    assert_eq!(&domain.boundary(1, b"usr\0lib"), boundary.as_bytes());
    assert_eq!(
        scalars.slice("boundary of usr/lib, level 1"),
        boundary.as_bytes()
    );
    assert!(ends_after(&[0; 32]) && !ends_after(&[1; 32]));
}

#[test]
fn the_admins_objects_verify_and_the_passphrase_opens_the_bundle() {
    let scalars = Scalars::read();
    let (admin, repository) = (scalars.admin(), scalars.repository());
    let key = admin.signing_key().verify_key();
    let (root, id) = key
        .verify::<Root>(&NO_REPOSITORY, &vector("root.bin"))
        .unwrap();
    assert_eq!(id, repository);
    assert_eq!(admin.matches(&root), Ok(()));
    let other = AdminSecret::new(Secret::new([9; 32]));
    assert_eq!(other.matches(&root), Err(CryptoError::PublicKey));
    let (wrapped, _) = key
        .verify::<Bundle>(&repository, &vector("bundle.bin"))
        .unwrap();
    let opened = bundle::unwrap(&repository, &wrapped, PASSPHRASE.as_bytes()).unwrap();
    assert_eq!(opened.secret().expose(), admin.secret().expose());
    for (name, stored) in stored() {
        if name.starts_with("certificate-") {
            let (certificate, _) = key.verify::<Certificate>(&repository, &stored).unwrap();
            assert_eq!(
                certificate.domain.is_some(),
                certificate.role == Role::Backup
            );
        } else if name.starts_with("ledger-") {
            let (record, _) = key.verify::<Record>(&repository, &stored).unwrap();
            assert_eq!(record.stamp.writer, key.writer_id(), "{name}");
        }
    }
}

#[test]
fn snapshots_open() {
    let scalars = Scalars::read();
    let (admin, repository, epoch) = (scalars.admin(), scalars.repository(), scalars.epoch());
    for (name, body) in [
        ("full", "body-full.bin"),
        ("checkpoint", "body-checkpoint.bin"),
    ] {
        let stored = vector(&format!("snapshot-{name}.bin"));
        let (snapshot, _) = scalars
            .backup()
            .verify::<Snapshot>(&repository, &stored)
            .unwrap();
        let aad = Snapshot::box_aad(&repository, &snapshot.nonce);
        let opened = admin
            .read_key(&epoch)
            .open(&snapshot.body, BODY_INFO, &aad)
            .unwrap();
        assert_eq!(*opened, vector(body));
        let maintain = admin.maintain_key(&epoch);
        let manifest = maintain
            .open(&snapshot.manifest, MANIFEST_INFO, &aad)
            .unwrap();
        assert_eq!(*manifest, vector("manifest-0.bin"));
        let swapped = maintain.open(&snapshot.body, BODY_INFO, &aad);
        assert_eq!(swapped, Err(CryptoError::OtherKey));
    }
}

#[test]
fn packs_open() {
    let scalars = Scalars::read();
    let (admin, repository) = (scalars.admin(), scalars.repository());
    let list = vector("list-0.bin");
    let joined = [b"hello".as_slice(), &vector("tree-0-full.bin")].concat();
    for name in ["pack-data.bin", "pack-manifest.bin", "pack-moved.bin"] {
        let stored = vector(name);
        let table = PackTable::decode_pack(&stored).unwrap();
        let key = match table.recipient {
            Recipient::Read => admin.read_key(&scalars.epoch()),
            Recipient::Maintain => admin.maintain_key(&scalars.epoch()),
        };
        let mut start = 16;
        for entry in &table.frames {
            let frame = &stored[start..][..usize::try_from(entry.frame_bytes).unwrap()];
            start += frame.len();
            assert_eq!(blake3::hash(frame).as_bytes(), &entry.hash);
            let origin = &table.origins[usize::try_from(entry.origin).unwrap()];
            let pack_key = PackKey::open(origin, repository, &key).unwrap();
            let mut plain = Vec::new();
            pack_key
                .open_frame(entry.ordinal, entry.compression, frame, &mut plain)
                .unwrap();
            let descriptors = admin
                .domain(&origin.domain)
                .descriptor_key(repository, origin.salt);
            let descriptor = descriptors
                .unwrap()
                .open(entry.ordinal, &entry.descriptor)
                .unwrap();
            assert_eq!(descriptor.frame_hash, entry.hash);
            assert_eq!(descriptor.sealed_key_digest, origin.sealed_key.digest());
            match (table.recipient, entry.compression) {
                (Recipient::Maintain, _) => assert_eq!(plain, vector("manifest-0.bin")),
                (Recipient::Read, Compression::None) => assert_eq!(plain, joined),
                // A raw block: the content lies behind 9 bytes of zstd's head and 3 of the block's.
                (Recipient::Read, Compression::Zstd) => assert_eq!(plain[12..], list),
            }
            let domain = admin.domain(&origin.domain);
            let first = &descriptor.blobs[0];
            let length = usize::try_from(first.length).unwrap();
            let skip = if entry.compression == Compression::Zstd {
                12
            } else {
                0
            };
            assert_eq!(
                domain.blob_id(first.kind, &plain[skip..][..length]),
                first.id
            );
            if table.recipient == Recipient::Read {
                let expected = vector(&format!("descriptor-{}.bin", entry.ordinal));
                assert_eq!(descriptor.encode(), expected);
            }
        }
    }
}

#[test]
fn the_segment_opens() {
    let scalars = Scalars::read();
    let repository = scalars.repository();
    let stored = vector("segment.bin");
    let (mut segment, _) = scalars
        .backup()
        .verify::<Segment>(&repository, &stored)
        .unwrap();
    assert_eq!(
        segment.packs[0].pack,
        ObjectId::of(&vector("pack-data.bin"))
    );
    let domain = scalars.admin().domain(&segment.domain);
    let plain = domain
        .open_segment(&repository, &segment.salt, &mut segment.blobs)
        .unwrap();
    assert_eq!(plain, vector("frames.bin"));
}

#[test]
fn the_sealed_box_opens() {
    let scalars = Scalars::read();
    let sealed = SealedBox {
        key: KeyId(scalars.take("read key id")),
        encapsulated: scalars
            .slice("box of \"plain\" (info, aad): encapsulated")
            .to_vec(),
        ciphertext: scalars
            .slice("box of \"plain\" (info, aad): ciphertext")
            .to_vec(),
    };
    let key = scalars.admin().read_key(&scalars.epoch());
    assert_eq!(
        key.open(&sealed, b"info", b"aad").unwrap().as_slice(),
        b"plain"
    );
}
