//! A tiny repository of fixed keys and fixed randomness, with every encoding of the format in it.
//!
//! Shared by the generator and the tests that hold it against the stored vectors.

#[path = "nodes.rs"]
mod nodes;
#[path = "plain.rs"]
pub(crate) mod plain;

use dolmen_crypto::bundle::{self, BundleName};
use dolmen_crypto::domain::LabelKind;
use dolmen_crypto::frame::PackRandom;
use dolmen_crypto::{AdminSecret, CryptoError, DomainKeys, PackKey, Secret, SigningKey};
use dolmen_format::bundle::{Bundle, Kdf};
use dolmen_format::certificate::{Certificate, RIGHT_ATTEST, RIGHT_SHARED, Role};
use dolmen_format::index::{IndexedFrame, PackEntry, Segment, encode_frames};
use dolmen_format::ledger::{
    Class, Cut, DefaultRetention, Fact, Keep, LockStrategy, MoveRun, Policy, Probe, Receipt, Record,
};
use dolmen_format::limits::NONCE_BYTES;
use dolmen_format::pack::{
    BlobEntry, Compression, Descriptor, FrameEntry, Origin, PackTable, Recipient,
};
use dolmen_format::root::{Root, SUITE};
use dolmen_format::signed::{NO_REPOSITORY, Reference, Stamp};
use dolmen_format::snapshot::{Body, Counts, Labels, Snapshot, Summary, TreeRoot};
use dolmen_format::{
    BlobId, BlobKind, DomainId, InstanceId, Nonce, ObjectId, ObjectKind, Prologue, RepositoryId,
    Salt, SlotId, Timestamp, WriterId, bytes,
};

pub(crate) use nodes::{lists, manifests, trees};
use plain::{object_keys, prologues, scalars, varints, zigzags};

/// The passphrase of the bundle; not ASCII on purpose.
pub(crate) const PASSPHRASE: &str = "correct horse – Hühnengrab";
/// The info of a manifest's box.
pub(crate) const MANIFEST_INFO: &[u8] = b"dolmen v1 manifest";
/// The info of a body's box.
pub(crate) const BODY_INFO: &[u8] = b"dolmen v1 snapshot body";

/// The name of a vector's file and its bytes.
pub(crate) type Vector = (String, Vec<u8>);

/// All keys, and what the objects share.
pub(crate) struct World {
    pub(crate) admin: AdminSecret,
    pub(crate) epoch: Salt,
    pub(crate) root: Vec<u8>,
    pub(crate) repository: RepositoryId,
    pub(crate) domain: DomainKeys,
    pub(crate) backup: SigningKey,
    pub(crate) certificate: ObjectId,
}

/// A pack with what is known of its frames.
pub(crate) struct Packed {
    pub(crate) stored: Vec<u8>,
    pub(crate) table: PackTable,
    pub(crate) descriptors: Vec<Descriptor>,
}

/// A frame to be packed.
struct Raw {
    blobs: Vec<(BlobKind, Vec<u8>)>,
    compression: Compression,
}

/// `count` secret bytes that are easy to spell: n, n+1, n+2…
pub(crate) fn secret(first: u8) -> Secret {
    Secret::new(counting(first))
}

fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut bytes = [0; N];
    let mut next = first;
    for byte in &mut bytes {
        *byte = next;
        next = next.wrapping_add(1);
    }
    bytes
}

fn time(seconds: i64, nanos: u32) -> Timestamp {
    Timestamp { seconds, nanos }
}

fn object(first: u8) -> ObjectId {
    ObjectId(counting(first))
}

impl World {
    pub(crate) fn new() -> Result<Self, CryptoError> {
        let admin = AdminSecret::new(secret(0x00));
        let epoch = Salt(counting(0x20));
        let root = Root {
            created: time(1_700_000_000, 123_456_789),
            nonce: Salt(counting(0x40)),
            suite: SUITE,
            verify_key: admin.signing_key().verify_key().to_bytes(),
            epoch: admin.epoch(epoch),
            domain: DomainId(counting(0x60)),
            policy: Policy {
                previous: None,
                ..policy()
            },
        };
        let (root, repository) = admin.signing_key().sign(&NO_REPOSITORY, &root)?;
        let mut world = Self {
            domain: admin.domain(&DomainId(counting(0x70))),
            admin,
            epoch,
            root,
            repository,
            backup: SigningKey::new(&secret(0x80)),
            certificate: object(0),
        };
        let certificate = world.certificate(Role::Backup);
        (_, world.certificate) = world.admin.signing_key().sign(&repository, &certificate)?;
        Ok(world)
    }

    /// Every vector, named after what it is.
    pub(crate) fn vectors(&self) -> Result<Vec<Vector>, CryptoError> {
        let data = self.data_pack()?;
        let manifest = self.manifest_pack()?;
        let mut all: Vec<Vector> = vec![
            ("root.bin".into(), self.root.clone()),
            ("pack-moved.bin".into(), moved_pack(&data)?),
            ("pack-manifest.bin".into(), manifest.stored),
            ("frames.bin".into(), frames_plain(&data)),
        ];
        for (position, descriptor) in data.descriptors.iter().enumerate() {
            all.push((format!("descriptor-{position}.bin"), descriptor.encode()));
        }
        self.put_signed(&data, &mut all)?;
        all.push(("pack-data.bin".into(), data.stored));
        all.push(("body-full.bin".into(), body(Some(5)).encode()?));
        all.push(("body-checkpoint.bin".into(), body(None).encode()?));
        for (name, node) in trees() {
            all.push((name.into(), node.encode()));
        }
        for (name, node) in lists() {
            all.push((name.into(), node.encode()));
        }
        for (name, node) in manifests() {
            all.push((name.into(), node.encode()));
        }
        all.push(("scalars.txt".into(), scalars(self)?.into_bytes()));
        all.push(("varints.txt".into(), varints().into_bytes()));
        all.push(("zigzags.txt".into(), zigzags().into_bytes()));
        all.push(("object-keys.txt".into(), object_keys().into_bytes()));
        all.push(("prologues.txt".into(), prologues().into_bytes()));
        all.sort();
        Ok(all)
    }

    fn put_signed(&self, data: &Packed, all: &mut Vec<Vector>) -> Result<(), CryptoError> {
        let admin = self.admin.signing_key();
        let (bundle, _) = admin.sign(&self.repository, &self.bundle()?)?;
        all.push(("bundle.bin".into(), bundle));
        let named = Bundle {
            name: Some("Ömer's".into()),
            ..self.bundle()?
        };
        let (named, _) = admin.sign(&self.repository, &named)?;
        all.push(("bundle-named.bin".into(), named));
        for (name, role) in [
            ("admin", Role::Admin),
            ("backup", Role::Backup),
            ("maintain", Role::Maintain),
            ("restore", Role::Restore),
        ] {
            let (stored, _) = admin.sign(&self.repository, &self.certificate(role))?;
            all.push((format!("certificate-{name}.bin"), stored));
        }
        for (name, fact) in self.facts() {
            let (stored, _) = admin.sign(&self.repository, &self.record(fact))?;
            all.push((format!("ledger-{name}.bin"), stored));
        }
        let (segment, _) = self.backup.sign(&self.repository, &self.segment(data)?)?;
        all.push(("segment.bin".into(), segment));
        for (name, checkpoint) in [("full", 0), ("checkpoint", 3)] {
            let snapshot = self.snapshot(checkpoint)?;
            let (stored, _) = self.backup.sign(&self.repository, &snapshot)?;
            all.push((format!("snapshot-{name}.bin"), stored));
        }
        Ok(())
    }

    pub(crate) fn bundle(&self) -> Result<Bundle, CryptoError> {
        let kdf = Kdf {
            algorithm: 1,
            memory_kib: 256,
            passes: 2,
            lanes: 2,
            salt: Salt(counting(0x90)),
        };
        let name = BundleName {
            slot: SlotId(counting(0xa0)),
            number: 2,
            created: time(1_700_000_001, 0),
        };
        bundle::wrap(
            &self.repository,
            name,
            kdf,
            PASSPHRASE.as_bytes(),
            &self.admin,
        )
    }

    pub(crate) fn certificate(&self, role: Role) -> Certificate {
        let (name, rights) = match role {
            Role::Admin => ("Ömer", RIGHT_ATTEST | RIGHT_SHARED),
            Role::Backup => ("laptop", RIGHT_SHARED),
            Role::Maintain => ("", 0),
            Role::Restore => ("kit", RIGHT_ATTEST),
        };
        Certificate {
            name: name.into(),
            role,
            verify_key: self.backup.verify_key().to_bytes(),
            domain: (role == Role::Backup).then_some(self.domain.id()),
            created: time(1_700_000_002, 999_999_999),
            rights,
            nonce: Nonce(counting(0xb0)),
            domain_secret: None,
        }
    }

    fn reference(&self, number: u64) -> Reference {
        Reference {
            writer: self.backup.verify_key().writer_id(),
            instance: InstanceId(counting(0xc0)),
            number,
            digest: object(0xc1),
        }
    }

    pub(crate) fn record(&self, fact: Fact) -> Record {
        Record {
            stamp: Stamp {
                writer: self.admin.signing_key().verify_key().writer_id(),
                instance: InstanceId(counting(0xd0)),
                number: 300,
            },
            time: time(-1, 1),
            nonce: Nonce(counting(0xd1)),
            certificate: matches!(fact, Fact::Attestation { .. }).then(|| object(0xd2)),
            fact,
        }
    }

    /// One fact of each type and of each shape.
    pub(crate) fn facts(&self) -> Vec<(&'static str, Fact)> {
        let snapshots = vec![self.reference(1), self.reference(u64::MAX)];
        vec![
            ("policy", Fact::Policy(policy())),
            (
                "retirement-policy",
                Fact::Retirement {
                    snapshots: snapshots.clone(),
                    policy: Some(self.reference(24)),
                },
            ),
            (
                "retirement-person",
                Fact::Retirement {
                    snapshots: snapshots.clone(),
                    policy: None,
                },
            ),
            (
                "undo",
                Fact::Undo {
                    retirement: self.reference(256),
                    snapshots,
                },
            ),
            (
                "revocation",
                Fact::Revocation {
                    writer: WriterId(counting(0xe0)),
                    cuts: vec![Cut {
                        instance: InstanceId(counting(0xe1)),
                        number: 65_536,
                        digest: object(0xe2),
                    }],
                },
            ),
            (
                "attestation",
                Fact::Attestation {
                    packs: vec![object(0xe3), object(0xe4)],
                },
            ),
            (
                "witness",
                Fact::Witness {
                    receipts: vec![Receipt {
                        object: object(0xe5),
                        received: time(1_700_000_003, 0),
                    }],
                },
            ),
            ("moves", moves()),
            (
                "acceptance",
                Fact::Acceptance {
                    snapshots: vec![self.reference(3)],
                },
            ),
            (
                "probe",
                Fact::Probe(Probe {
                    store: vec![0xe6; 32],
                    lock: LockStrategy::Compliance,
                    default_retention: Some(DefaultRetention {
                        lock: LockStrategy::Governance,
                        days: 40,
                    }),
                }),
            ),
        ]
    }

    /// A pack of two frames: joined small blobs as they are, and a list node in a zstd frame.
    pub(crate) fn data_pack(&self) -> Result<Packed, CryptoError> {
        let leaf = trees().swap_remove(0).1.encode();
        let list = lists().swap_remove(0).1.encode();
        let random = PackRandom {
            key: secret(0x11),
            salt: Salt(counting(0x12)),
            seal: secret(0x13),
        };
        let frames = [
            Raw {
                blobs: vec![(BlobKind::Data, b"hello".to_vec()), (BlobKind::Tree, leaf)],
                compression: Compression::None,
            },
            Raw {
                blobs: vec![(BlobKind::List, list)],
                compression: Compression::Zstd,
            },
        ];
        self.pack(Recipient::Read, &random, &frames)
    }

    fn manifest_pack(&self) -> Result<Packed, CryptoError> {
        let random = PackRandom {
            key: secret(0x14),
            salt: Salt(counting(0x15)),
            seal: secret(0x16),
        };
        let frame = Raw {
            blobs: vec![(BlobKind::Manifest, manifests().swap_remove(0).1.encode())],
            compression: Compression::None,
        };
        self.pack(Recipient::Maintain, &random, &[frame])
    }

    fn pack(
        &self,
        recipient: Recipient,
        random: &PackRandom,
        frames: &[Raw],
    ) -> Result<Packed, CryptoError> {
        let open_key = match recipient {
            Recipient::Read => self.admin.read_key(&self.epoch),
            Recipient::Maintain => self.admin.maintain_key(&self.epoch),
        };
        let (key, origin) =
            PackKey::create(random, self.repository, self.domain.id(), open_key.public())?;
        let descriptor_key = self.domain.descriptor_key(self.repository, origin.salt)?;
        let (mut body, mut entries, mut descriptors) = (Vec::new(), Vec::new(), Vec::new());
        for (ordinal, raw) in (0_u32..).zip(frames) {
            let (plain, blobs) = self.join(&raw.blobs);
            let mut frame = vec![0; NONCE_BYTES];
            match raw.compression {
                Compression::None => frame.extend_from_slice(&plain),
                Compression::Zstd => frame.extend_from_slice(&zstd_raw(&plain)),
            }
            key.seal_frame(ordinal, raw.compression, &mut frame)?;
            let descriptor = Descriptor {
                frame_hash: *blake3::hash(&frame).as_bytes(),
                sealed_key_digest: origin.sealed_key.digest(),
                raw_bytes: size(&plain),
                blobs,
            };
            entries.push(FrameEntry {
                origin: 0,
                ordinal,
                frame_bytes: size(&frame),
                hash: descriptor.frame_hash,
                compression: raw.compression,
                descriptor: descriptor_key.seal(ordinal, &descriptor)?,
            });
            descriptors.push(descriptor);
            body.extend_from_slice(&frame);
        }
        let table = PackTable {
            recipient,
            origins: vec![origin],
            frames: entries,
        };
        Ok(Packed {
            stored: pack_bytes(&body, &table)?,
            table,
            descriptors,
        })
    }

    fn join(&self, blobs: &[(BlobKind, Vec<u8>)]) -> (Vec<u8>, Vec<BlobEntry>) {
        let plain = blobs.iter().flat_map(|(_, blob)| blob.clone()).collect();
        let entries = blobs.iter().map(|(kind, blob)| BlobEntry {
            kind: *kind,
            id: self.domain.blob_id(*kind, blob),
            length: size(blob),
        });
        (plain, entries.collect())
    }

    pub(crate) fn segment(&self, data: &Packed) -> Result<Segment, CryptoError> {
        let salt = Salt(counting(0x19));
        let plain = frames_plain(data);
        let table_bytes = size(&data.table.encode()?).saturating_sub(4);
        let entry = |version: &str, checksum: &[u8]| PackEntry {
            pack: ObjectId::of(&data.stored),
            pack_bytes: size(&data.stored),
            table_bytes,
            checksum: checksum.to_vec(),
            version: version.into(),
        };
        Ok(Segment {
            writer: self.backup.verify_key().writer_id(),
            instance: InstanceId(counting(0xc0)),
            domain: self.domain.id(),
            salt,
            packs: vec![entry("", b""), entry("3/L4kqtJlcpXroDTDmJ", &[0xfe; 20])],
            blobs: self.domain.seal_segment(&self.repository, &salt, plain)?,
        })
    }

    pub(crate) fn snapshot(&self, checkpoint: u32) -> Result<Snapshot, CryptoError> {
        let full = checkpoint == 0;
        let nonce = Nonce(counting(0x1a));
        let aad = Snapshot::box_aad(&self.repository, &nonce);
        let manifest = manifests().swap_remove(0).1.encode();
        let body = body(full.then_some(5)).encode()?;
        let maintain = self.admin.maintain_key(&self.epoch);
        let read = self.admin.read_key(&self.epoch);
        Ok(Snapshot {
            stamp: Stamp {
                writer: self.backup.verify_key().writer_id(),
                instance: InstanceId(counting(0xc0)),
                number: 24,
            },
            checkpoint,
            time: time(1_700_000_004, 5),
            nonce,
            heads: if full {
                vec![self.reference(23)]
            } else {
                Vec::new()
            },
            certificate: full.then_some(self.certificate),
            domain: self.domain.id(),
            segments: vec![object(0x1b), object(0x1c)],
            store: b"s3:eu-central-1/backups".to_vec(),
            relied_until: full.then_some(1_702_592_004),
            counts: Counts {
                files: 23,
                directories: 24,
                others: 255,
                bytes: 256,
                added_bytes: 1 << 40,
            },
            alarm: if full { 0 } else { 2 },
            labels: self.labels(),
            manifest: maintain
                .public()
                .seal(&secret(0x1d), MANIFEST_INFO, &aad, &manifest)?,
            body: read.public().seal(&secret(0x1e), BODY_INFO, &aad, &body)?,
        })
    }

    fn labels(&self) -> Labels {
        Labels {
            host: self.domain.label(LabelKind::Host, b"host"),
            paths: self.domain.label(LabelKind::Paths, b"/etc\0/home\0"),
            tags: vec![self.domain.label(LabelKind::Tag, "täglich".as_bytes())],
        }
    }
}

/// What compaction makes: frames under their old names, in another order.
fn moved_pack(data: &Packed) -> Result<Vec<u8>, CryptoError> {
    // Two origins, so that the index into them shows; the second is a twin of the first.
    let origins = data.table.origins.iter().cycle().zip([0x17, 0x18]);
    let origins = origins.map(|(origin, id)| Origin {
        pack: Some(object(id)),
        ..origin.clone()
    });
    let mut rest = data.stored.get(16..).unwrap_or_default();
    let mut frames = Vec::new();
    for (entry, origin) in data.table.frames.iter().zip([1, 0]) {
        let length = usize::try_from(entry.frame_bytes).unwrap_or_default();
        let moved = FrameEntry {
            origin,
            ..entry.clone()
        };
        frames.push((bytes::take_slice(&mut rest, length)?, moved));
    }
    let body: Vec<u8> = frames
        .iter()
        .rev()
        .flat_map(|(frame, _)| frame.to_vec())
        .collect();
    let table = PackTable {
        recipient: Recipient::Read,
        origins: origins.collect(),
        frames: frames.into_iter().rev().map(|(_, entry)| entry).collect(),
    };
    pack_bytes(&body, &table)
}

fn policy() -> Policy {
    Policy {
        protect_seconds: 2_592_000,
        generation_seconds: 604_800,
        interval_seconds: 86_400,
        lock: LockStrategy::Compliance,
        keep: Keep {
            last: 0,
            hourly: 1,
            daily: 24,
            weekly: 256,
            monthly: 65_536,
            yearly: u32::MAX,
        },
        classes: vec![Class {
            rule: "monthly".into(),
            protect_seconds: 15_552_000,
        }],
        previous: Some(object(25)),
    }
}

pub(crate) fn body(level: Option<u8>) -> Body {
    Body {
        hostname: "host".into(),
        username: "användare".into(),
        uid: 1000,
        gid: u32::MAX,
        paths: vec![b"/etc".to_vec().into(), b"/home/\xff".to_vec().into()],
        tags: vec!["täglich".into()],
        excludes: vec![b"*.tmp".to_vec().into()],
        program_version: "dolmen 0.1.0".into(),
        tree: level.map(|level| TreeRoot {
            id: BlobId(counting(0x21)),
            level,
        }),
        summary: Summary {
            files_new: 1,
            files_changed: 2,
            files_unmodified: 3,
            dirs_new: 4,
            dirs_changed: 5,
            dirs_unmodified: 6,
            data_blobs: 7,
            tree_blobs: 8,
            data_added: 9,
            data_added_packed: 10,
            total_files_processed: 11,
            total_bytes_processed: u64::MAX,
        },
        backup_start: time(1_700_000_004, 5),
        backup_end: time(1_700_000_005, 999_999_999),
    }
}

/// Two packs' worth of the plaintext of a segment.
pub(crate) fn frames_plain(data: &Packed) -> Vec<u8> {
    let frames: Vec<_> = data
        .table
        .frames
        .iter()
        .zip(&data.descriptors)
        .map(|(entry, descriptor)| IndexedFrame {
            frame_bytes: entry.frame_bytes,
            raw_bytes: descriptor.raw_bytes,
            compression: entry.compression,
            blobs: descriptor.blobs.clone(),
        })
        .collect();
    let mut out = Vec::new();
    encode_frames(&frames, &mut out);
    encode_frames(frames.get(..1).unwrap_or_default(), &mut out);
    out
}

/// One zstd frame with one raw block: a single segment whose size is stated in four bytes.
fn zstd_raw(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    out.extend_from_slice(&size(plain).to_le_bytes());
    let block = (size(plain) << 3 | 1).to_le_bytes();
    out.extend_from_slice(block.split_last().map_or(&[], |(_, head)| head));
    out.extend_from_slice(plain);
    out
}

fn pack_bytes(body: &[u8], table: &PackTable) -> Result<Vec<u8>, CryptoError> {
    let table = table.encode()?;
    let prologue = Prologue {
        kind: ObjectKind::Pack,
        body_bytes: size(body).saturating_add(size(&table)),
    };
    Ok([prologue.encode().as_slice(), body, &table].concat())
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Frames that went to another pack.
fn moves() -> Fact {
    Fact::Moves {
        pack: PackEntry {
            pack: object(0xe6),
            pack_bytes: 33_554_432,
            table_bytes: 4096,
            checksum: counting::<16>(0xe8).to_vec(),
            version: "version 6".to_owned(),
        },
        runs: vec![MoveRun {
            origin: object(0xe7),
            first_ordinal: 4000,
            count: 96,
            position: 7,
        }],
    }
}
