//! Nothing that was altered, moved or made by others opens or verifies.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail where it stands"
)]

#[path = "../examples/make_vectors/world.rs"]
#[expect(dead_code, reason = "the vectors are for others")]
mod world;

use dolmen_crypto::frame::PackRandom;
use dolmen_crypto::{AdminSecret, CryptoError, DomainKeys, PackKey, SigningKey, VerifyKey, bundle};
use dolmen_format::bundle::Bundle;
use dolmen_format::certificate::{Certificate, Role};
use dolmen_format::ledger::{Fact, Record};
use dolmen_format::pack::{Compression, Descriptor, Origin};
use dolmen_format::root::Root;
use dolmen_format::signed::{self, NO_REPOSITORY};
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{BlobKind, DomainId, FormatError, ObjectId, RepositoryId, Salt, SlotId};
use world::{PASSPHRASE, World, secret};

const OTHER: RepositoryId = ObjectId([0xee; 32]);

fn world() -> World {
    World::new().expect("fixed keys")
}

fn altered<T>(what: &'static str) -> Result<T, CryptoError> {
    Err(CryptoError::Decrypt { what })
}

#[test]
fn a_signed_object_survives_no_change_of_any_byte() {
    let world = world();
    let key = world.admin.signing_key();
    let (mut stored, _) = key
        .sign(&world.repository, &world.certificate(Role::Backup))
        .unwrap();
    let key = key.verify_key();
    assert!(
        key.verify::<Certificate>(&world.repository, &stored)
            .is_ok()
    );
    for at in 0..stored.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            stored[at] ^= mask;
            let refused = key.verify::<Certificate>(&world.repository, &stored);
            // Past the prologue nothing but the signature is asked.
            if at < 16 {
                assert!(refused.is_err(), "byte {at}");
            } else {
                assert_eq!(refused, Err(CryptoError::Signature), "byte {at}");
            }
            stored[at] ^= mask;
        }
    }
    stored.push(0);
    assert!(
        key.verify::<Certificate>(&world.repository, &stored)
            .is_err()
    );
}

#[test]
fn a_signature_means_nothing_elsewhere() {
    let world = world();
    let key = world.admin.signing_key();
    let (stored, _) = key
        .sign(&world.repository, &world.certificate(Role::Admin))
        .unwrap();
    let verify = key.verify_key();
    for repository in [OTHER, NO_REPOSITORY] {
        let refused = verify.verify::<Certificate>(&repository, &stored);
        assert_eq!(refused, Err(CryptoError::Signature));
    }
    assert_eq!(
        world
            .backup
            .verify_key()
            .verify::<Certificate>(&world.repository, &stored),
        Err(CryptoError::Signature)
    );
    assert!(matches!(
        verify.verify::<Bundle>(&world.repository, &stored),
        Err(CryptoError::Format(FormatError::WrongKind {
            wanted: 3,
            found: 2
        }))
    ));
    // The same bytes under another kind: the kind is signed too.
    let mut renamed = stored;
    renamed[10] = 3;
    let refused = verify.verify::<Bundle>(&world.repository, &renamed);
    assert_eq!(refused, Err(CryptoError::Signature));
    // A root is signed for no repository, so that it cannot be one's own.
    let refused = verify.verify::<Root>(&world.repository, &world.root);
    assert_eq!(refused, Err(CryptoError::Signature));
}

#[test]
fn a_true_signature_does_not_excuse_a_second_encoding() {
    let world = world();
    let key = world.admin.signing_key();
    let record = world.record(Fact::Attestation {
        packs: vec![ObjectId([1; 32])],
    });
    let mut unsigned = signed::encode_unsigned(&record).unwrap();
    // The nonce's head 0x50 written in two bytes, and the length in the prologue with it.
    let at = unsigned
        .windows(2)
        .rposition(|bytes| bytes == [0x50, 0xd1])
        .unwrap();
    unsigned.splice(at..=at, [0x58, 0x10]);
    unsigned[12] += 1;
    let dalek = ed25519_dalek::SigningKey::from_bytes(&blake3::derive_key(
        "dolmen v1 admin signing key",
        world.admin.secret().expose(),
    ));
    let signature =
        ed25519_dalek::Signer::sign(&dalek, &signed::message(&world.repository, &unsigned));
    unsigned.extend_from_slice(&signature.to_bytes());
    assert_eq!(
        key.verify_key()
            .verify::<Record>(&world.repository, &unsigned),
        Err(CryptoError::Format(FormatError::NotCanonical))
    );
}

/// A malleated signature: S plus the order of the group.
#[test]
fn a_second_signature_cannot_be_made_from_the_first() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let world = world();
    let key = world.admin.signing_key();
    let (mut stored, _) = key
        .sign(&world.repository, &world.certificate(Role::Admin))
        .unwrap();
    let s = stored.len() - 32;
    let mut carry = 0;
    for (byte, order) in stored[s..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    let refused = key
        .verify_key()
        .verify::<Certificate>(&world.repository, &stored);
    assert_eq!(refused, Err(CryptoError::Signature));
}

#[test]
fn keys_of_small_order_and_second_spellings_are_refused() {
    let with = |first: u8, rest: u8, last: u8| {
        let mut bytes = [rest; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let order_8 = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    let mut negative_8 = order_8;
    negative_8[31] |= 0x80;
    let small = [
        [0; 32],
        with(0, 0, 0x80),
        with(1, 0, 0),
        with(1, 0, 0x80),
        with(0xec, 0xff, 0x7f),
        with(0xec, 0xff, 0xff),
        order_8,
        negative_8,
    ];
    for bytes in small {
        assert_eq!(
            VerifyKey::from_bytes(&bytes),
            Err(CryptoError::PublicKey),
            "{bytes:02x?}"
        );
    }
    // y of 2^255 - 19 and more: spellings of 0 to 18.
    for first in 0xed..=0xff {
        for last in [0x7f, 0xff] {
            let refused = VerifyKey::from_bytes(&with(first, 0xff, last));
            assert_eq!(refused, Err(CryptoError::PublicKey), "{first:02x}");
        }
    }
    let good = world().backup.verify_key();
    assert_eq!(VerifyKey::from_bytes(&good.to_bytes()), Ok(good));
}

#[test]
fn a_bundle_opens_with_its_passphrase_in_its_place_only() {
    let world = world();
    let repository = world.repository;
    let wrapped = world.bundle().unwrap();
    let open = |bundle: &Bundle, passphrase: &str| {
        bundle::unwrap(&repository, bundle, passphrase.as_bytes()).map(|_| ())
    };
    assert_eq!(open(&wrapped, PASSPHRASE), Ok(()));
    for wrong in ["", "correct horse", &PASSPHRASE.to_uppercase()] {
        assert_eq!(open(&wrapped, wrong), Err(CryptoError::Passphrase));
    }
    let elsewhere = bundle::unwrap(&OTHER, &wrapped, PASSPHRASE.as_bytes()).map(|_| ());
    assert_eq!(elsewhere, altered("bundle"));
    let slot = Bundle {
        slot: SlotId([0; 16]),
        ..wrapped.clone()
    };
    assert_eq!(open(&slot, PASSPHRASE), altered("bundle"));
    let number = Bundle {
        number: wrapped.number + 1,
        ..wrapped.clone()
    };
    assert_eq!(open(&number, PASSPHRASE), altered("bundle"));
    for at in 0..wrapped.wrapped.len() {
        let mut flipped = wrapped.clone();
        flipped.wrapped[at] ^= 1;
        assert_eq!(open(&flipped, PASSPHRASE), altered("bundle"));
    }
    for at in 0..32 {
        let mut flipped = wrapped.clone();
        flipped.commitment[at] ^= 0x80;
        assert_eq!(open(&flipped, PASSPHRASE), Err(CryptoError::Passphrase));
    }
    let mut salt = wrapped.clone();
    salt.kdf.salt = Salt([0; 32]);
    assert_eq!(open(&salt, PASSPHRASE), Err(CryptoError::Passphrase));
}

#[test]
fn a_bundle_may_not_ask_for_the_moon() {
    let world = world();
    let sound = world.bundle().unwrap();
    let sign = |change: fn(&mut Bundle)| {
        let mut bundle = sound.clone();
        change(&mut bundle);
        world
            .admin
            .signing_key()
            .sign(&world.repository, &bundle)
            .map(|_| ())
    };
    assert_eq!(sign(|_| ()), Ok(()));
    assert_eq!(sign(|bundle| bundle.kdf.memory_kib = 1 << 20), Ok(()));
    let refused: [fn(&mut Bundle); 7] = [
        |bundle| bundle.kdf.memory_kib = (1 << 20) + 1,
        |bundle| bundle.kdf.memory_kib = 15,
        |bundle| bundle.kdf.passes = 11,
        |bundle| bundle.kdf.passes = 0,
        |bundle| bundle.kdf.lanes = 17,
        |bundle| bundle.kdf.lanes = 0,
        |bundle| bundle.kdf.algorithm = 2,
    ];
    for change in refused {
        let invalid = FormatError::Invalid { field: "KDF" };
        assert_eq!(sign(change), Err(CryptoError::Format(invalid)));
    }
}

struct Packed {
    random: PackRandom,
    key: PackKey,
    origin: Origin,
    frame: Vec<u8>,
}

fn packed(world: &World) -> Packed {
    let random = PackRandom {
        key: secret(1),
        salt: Salt([2; 32]),
        seal: secret(3),
    };
    let read = world.admin.read_key(&world.epoch);
    let (key, origin) =
        PackKey::create(&random, world.repository, world.domain.id(), read.public()).unwrap();
    let mut frame = vec![0; 12];
    frame.extend_from_slice(b"a frame");
    key.seal_frame(7, Compression::None, &mut frame).unwrap();
    Packed {
        random,
        key,
        origin,
        frame,
    }
}

#[test]
fn a_frame_opens_in_its_place_only() {
    let world = world();
    let Packed {
        random, key, frame, ..
    } = packed(&world);
    let read = world.admin.read_key(&world.epoch);
    let open = |key: &PackKey, ordinal, compression| {
        let mut out = b"old".to_vec();
        key.open_frame(ordinal, compression, &frame, &mut out)
            .map(|()| out)
    };
    let create = |key: u8, salt: u8, repository, domain| {
        let random = PackRandom {
            key: secret(key),
            salt: Salt([salt; 32]),
            seal: secret(3),
        };
        PackKey::create(&random, repository, domain, read.public())
            .unwrap()
            .0
    };
    let (repository, domain) = (world.repository, world.domain.id());
    assert_eq!(random.salt, Salt([2; 32]));
    let same = create(1, 2, repository, domain);
    assert_eq!(open(&same, 7, Compression::None), Ok(b"a frame".to_vec()));
    let refused = [
        ("ordinal", open(&key, 8, Compression::None)),
        ("compression", open(&key, 7, Compression::Zstd)),
    ];
    let others = [
        ("repository", create(1, 2, OTHER, domain)),
        ("domain", create(1, 2, repository, DomainId([0; 16]))),
        ("salt", create(1, 9, repository, domain)),
        ("key", create(9, 2, repository, domain)),
    ];
    let others = others.map(|(what, key)| (what, open(&key, 7, Compression::None)));
    for (what, result) in refused.into_iter().chain(others) {
        assert_eq!(result, altered("frame"), "another {what}");
    }
}

#[test]
fn a_frame_survives_no_change_of_any_byte() {
    let world = world();
    let Packed { key, frame, .. } = packed(&world);
    let mut out = Vec::new();
    for at in 0..frame.len() {
        let mut flipped = frame.clone();
        flipped[at] ^= 4;
        let refused = key.open_frame(7, Compression::None, &flipped, &mut out);
        assert_eq!(refused, altered("frame"));
        assert!(out.is_empty(), "nothing of what was not authentic");
        let refused = key.open_frame(7, Compression::None, &frame[..at], &mut out);
        assert_eq!(refused, altered("frame"));
    }
}

/// With one nonce for two additional data, two tags would give the authentication key away.
#[test]
fn equal_plaintexts_in_two_places_have_two_nonces() {
    let world = world();
    let Packed { key, frame, .. } = packed(&world);
    let seal = |ordinal, compression| {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(b"a frame");
        key.seal_frame(ordinal, compression, &mut frame).unwrap();
        frame
    };
    assert_eq!(
        seal(7, Compression::None),
        frame,
        "the same place: the same bytes"
    );
    assert_ne!(seal(8, Compression::None)[..12], frame[..12]);
    assert_ne!(seal(7, Compression::Zstd)[..12], frame[..12]);
}

#[test]
fn an_origin_opens_with_its_key_and_commitment_only() {
    let world = world();
    let Packed { random, origin, .. } = packed(&world);
    let read = world.admin.read_key(&world.epoch);
    let open = |origin: &Origin| PackKey::open(origin, world.repository, &read).map(|_| ());
    assert_eq!(open(&origin), Ok(()));
    let mut commitment = origin.clone();
    commitment.commitment[31] ^= 1;
    assert_eq!(open(&commitment), Err(CryptoError::Commitment));
    // A true box with another key in it, under the first one's commitment.
    let other = PackRandom {
        key: secret(9),
        salt: random.salt,
        seal: secret(4),
    };
    let (_, other) =
        PackKey::create(&other, world.repository, world.domain.id(), read.public()).unwrap();
    let swapped = Origin {
        sealed_key: other.sealed_key,
        ..origin.clone()
    };
    assert_eq!(open(&swapped), Err(CryptoError::Commitment));
    // A true box of something that is no key.
    let aad = dolmen_format::pack::sealed_key_aad(&world.repository, &origin.domain, &origin.salt);
    let short = read
        .public()
        .seal(&secret(5), b"dolmen v1 pack key", &aad, &[0; 31])
        .unwrap();
    assert_eq!(
        open(&Origin {
            sealed_key: short,
            ..origin.clone()
        }),
        Err(CryptoError::Commitment)
    );
    let salt = Origin {
        salt: Salt([0; 32]),
        ..origin.clone()
    };
    assert_eq!(open(&salt), altered("sealed box"));
    let domain = Origin {
        domain: DomainId([0; 16]),
        ..origin.clone()
    };
    assert_eq!(open(&domain), altered("sealed box"));
    let elsewhere = PackKey::open(&origin, OTHER, &read).map(|_| ());
    assert_eq!(elsewhere, altered("sealed box"));
    let maintain = world.admin.maintain_key(&world.epoch);
    let other_key = PackKey::open(&origin, world.repository, &maintain).map(|_| ());
    assert_eq!(other_key, Err(CryptoError::OtherKey));
    let mut tampered = origin;
    for at in (0..1120).step_by(41).chain([1087, 1088, 1119]) {
        tampered.sealed_key.encapsulated[at] ^= 0x80;
        assert_eq!(open(&tampered), altered("sealed box"), "byte {at}");
        tampered.sealed_key.encapsulated[at] ^= 0x80;
    }
    for at in 0..tampered.sealed_key.ciphertext.len() {
        tampered.sealed_key.ciphertext[at] ^= 1;
        assert_eq!(open(&tampered), altered("sealed box"));
        tampered.sealed_key.ciphertext[at] ^= 1;
    }
    tampered.sealed_key.ciphertext.truncate(15);
    assert_eq!(open(&tampered), altered("sealed box"));
    tampered.sealed_key.encapsulated.pop();
    assert_eq!(open(&tampered), altered("sealed box"));
}

#[test]
fn descriptors_and_segments_open_in_their_place_only() {
    let world = world();
    let (repository, salt) = (world.repository, Salt([5; 32]));
    let other: DomainKeys = world.admin.domain(&DomainId([0; 16]));
    let descriptor: Descriptor = world.data_pack().unwrap().descriptors.remove(0);
    let key =
        |domain: &DomainKeys, repository, salt| domain.descriptor_key(repository, salt).unwrap();
    let stored = key(&world.domain, repository, salt)
        .seal(3, &descriptor)
        .unwrap();
    assert_eq!(
        key(&world.domain, repository, salt).open(3, &stored),
        Ok(descriptor)
    );
    let refused = [
        key(&world.domain, repository, salt).open(4, &stored),
        key(&world.domain, OTHER, salt).open(3, &stored),
        key(&world.domain, repository, Salt([6; 32])).open(3, &stored),
        key(&other, repository, salt).open(3, &stored),
        key(&world.domain, repository, salt).open(3, &stored[..27]),
    ];
    assert!(
        refused
            .iter()
            .all(|result| *result == altered("descriptor"))
    );
    for at in 0..stored.len() {
        let mut flipped = stored.clone();
        flipped[at] ^= 1;
        assert_eq!(
            key(&world.domain, repository, salt).open(3, &flipped),
            altered("descriptor")
        );
    }
    let sealed = world
        .domain
        .seal_segment(&repository, &salt, b"blobs".to_vec())
        .unwrap();
    let open = |domain: &DomainKeys, repository, salt, mut sealed: Vec<u8>| {
        domain
            .open_segment(repository, &salt, &mut sealed)
            .map(<[u8]>::to_vec)
    };
    assert_eq!(
        open(&world.domain, &repository, salt, sealed.clone()),
        Ok(b"blobs".to_vec())
    );
    let segment = || altered("index segment");
    assert_eq!(open(&world.domain, &OTHER, salt, sealed.clone()), segment());
    assert_eq!(
        open(&world.domain, &repository, Salt([6; 32]), sealed.clone()),
        segment()
    );
    assert_eq!(open(&other, &repository, salt, sealed.clone()), segment());
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        assert_eq!(open(&world.domain, &repository, salt, flipped), segment());
        assert_eq!(
            open(&world.domain, &repository, salt, sealed[..at].to_vec()),
            segment()
        );
    }
}

#[test]
fn every_purpose_and_every_domain_has_keys_of_its_own() {
    let world = world();
    let others = [
        world.admin.domain(&DomainId([0; 16])),
        AdminSecret::new(secret(7)).domain(&world.domain.id()),
    ];
    let kinds = [
        BlobKind::Data,
        BlobKind::Tree,
        BlobKind::List,
        BlobKind::Manifest,
    ];
    let mut ids = std::collections::BTreeSet::new();
    for domain in others.iter().chain([&world.domain]) {
        ids.extend(kinds.map(|kind| domain.blob_id(kind, b"").0));
        ids.insert(*domain.chunker_key().expose());
        ids.insert(domain.boundary(0, b"a"));
        ids.insert(domain.boundary(1, b"a"));
    }
    assert_eq!(ids.len(), 3 * 7);
    let epoch = |salt| world.admin.read_key(&Salt([salt; 32])).public().id();
    assert_ne!(epoch(1), epoch(2));
}

#[test]
fn no_secret_is_printed() {
    let world = world();
    let Packed { random, key, .. } = packed(&world);
    let read = world.admin.read_key(&world.epoch);
    let descriptor_key = world
        .domain
        .descriptor_key(world.repository, Salt([5; 32]))
        .unwrap();
    let signing = SigningKey::new(&secret(0x80));
    let printed = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:#?}",
        world.admin,
        world.domain,
        random,
        key,
        read,
        descriptor_key,
        signing,
        secret(1)
    );
    let derived = |context: &str| blake3::derive_key(context, world.admin.secret().expose());
    let secrets = [
        *world.admin.secret().expose(),
        *secret(1).expose(),
        *secret(3).expose(),
        *secret(0x80).expose(),
        derived("dolmen v1 admin signing key"),
        *world.domain.chunker_key().expose(),
    ];
    for bytes in secrets {
        let (hex, list) = (world::plain::hex(&bytes[..4]), format!("{:?}", &bytes[..4]));
        let list = list.trim_matches(['[', ']']).to_owned();
        assert!(
            !printed.contains(&hex) && !printed.contains(&list),
            "{printed}"
        );
    }
    let error = bundle::unwrap(&world.repository, &world.bundle().unwrap(), b"s3cret").unwrap_err();
    assert_eq!(error.to_string(), "wrong passphrase");
}

#[test]
fn a_snapshots_boxes_belong_to_it() {
    let world = world();
    let snapshot: Snapshot = world.snapshot(0).unwrap();
    let read = world.admin.read_key(&world.epoch);
    let aad = Snapshot::box_aad(&world.repository, &snapshot.nonce);
    assert!(read.open(&snapshot.body, world::BODY_INFO, &aad).is_ok());
    let elsewhere = Snapshot::box_aad(&OTHER, &snapshot.nonce);
    assert_eq!(
        read.open(&snapshot.body, world::BODY_INFO, &elsewhere),
        altered("sealed box")
    );
    assert_eq!(
        read.open(&snapshot.body, world::MANIFEST_INFO, &aad),
        altered("sealed box")
    );
}
