//! Keys, keyed ids and plain fields, as text.

use dolmen_crypto::CryptoError;
use dolmen_format::{ObjectKey, ObjectKind, Prologue, WriterId, bytes};

use super::{PASSPHRASE, World, counting, object, secret};

/// Lines of `name = hex`.
#[derive(Default)]
struct Scalars(Vec<String>);

impl Scalars {
    fn put(&mut self, name: &str, bytes: &[u8]) {
        self.0.push(format!("{name} = {}\n", hex(bytes)));
    }
}

/// Keys and keyed ids by the formulas of the page; the tests hold the crate against them.
pub(super) fn scalars(world: &World) -> Result<String, CryptoError> {
    let mut out = Scalars::default();
    out.put("passphrase", PASSPHRASE.as_bytes());
    out.put("repository id", world.repository.as_bytes());
    put_keys(world, &mut out);
    put_keyed_ids(world, &mut out);
    out.put("pack key of pack-data", secret(0x11).expose());
    out.put("pack key of pack-manifest", secret(0x14).expose());
    let read = world.admin.read_key(&world.epoch);
    let sealed = read
        .public()
        .seal(&secret(0x1f), b"info", b"aad", b"plain")?;
    let name = "box of \"plain\" (info, aad)";
    out.put(&format!("{name}: encapsulated"), &sealed.encapsulated);
    out.put(&format!("{name}: ciphertext"), &sealed.ciphertext);
    Ok(out.0.concat())
}

fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

fn domain_secret(world: &World) -> [u8; 32] {
    let (admin, domain) = (world.admin.secret().expose(), world.domain.id());
    derive("dolmen v1 domain", &[admin, domain.as_bytes()])
}

fn blob_id_key(domain: &[u8], kind: u8) -> [u8; 32] {
    derive("dolmen v1 blob id key", &[domain, &[kind]])
}

fn put_keys(world: &World, out: &mut Scalars) {
    let admin = world.admin.secret().expose().as_slice();
    let epoch = world.epoch.as_bytes().as_slice();
    let domain = domain_secret(world);
    out.put("admin secret", admin);
    out.put("epoch salt", epoch);
    out.put("domain id", world.domain.id().as_bytes());
    let seed = derive("dolmen v1 admin signing key", &[admin]);
    out.put("admin signing seed", &seed);
    out.put("read seed", &derive("dolmen v1 read key", &[admin, epoch]));
    let seed = derive("dolmen v1 maintain key", &[admin, epoch]);
    out.put("maintain seed", &seed);
    out.put("domain secret", &domain);
    for kind in 1..=4 {
        out.put(&format!("blob id key {kind}"), &blob_id_key(&domain, kind));
    }
    for name in ["chunker key", "index key", "label key", "boundary key"] {
        out.put(name, &derive(&format!("dolmen v1 {name}"), &[&domain]));
    }
    let backup = world.backup.verify_key();
    out.put("backup signing seed", secret(0x80).expose());
    out.put("backup verify key", &backup.to_bytes());
    out.put("backup writer id", backup.writer_id().as_bytes());
    let read = world.admin.read_key(&world.epoch);
    out.put("read key id", read.public().id().as_bytes());
    let maintain = world.admin.maintain_key(&world.epoch);
    out.put("maintain key id", maintain.public().id().as_bytes());
}

fn put_keyed_ids(world: &World, out: &mut Scalars) {
    let domain = domain_secret(world);
    for (kind, name) in (1..).zip(["data", "tree", "list", "manifest"]) {
        let id = blake3::keyed_hash(&blob_id_key(&domain, kind), b"hello");
        out.put(&format!("blob id of hello as {name}"), id.as_bytes());
    }
    let labels = world.labels();
    out.put("label of host \"host\"", labels.host.as_bytes());
    out.put("label of paths /etc /home", labels.paths.as_bytes());
    for tag in &labels.tags {
        out.put("label of tag \"täglich\"", tag.as_bytes());
    }
    let boundary = world.domain.boundary(1, b"usr\0lib");
    out.put("boundary of usr/lib, level 1", &boundary);
}

/// Each power of two and the number before it, and the largest number.
pub(super) fn varints() -> String {
    let around = |power: u64| [power.wrapping_sub(1), power];
    let values = (0..64).flat_map(|shift| around(1 << shift));
    let lines = values.chain([u64::MAX]).map(|value| {
        let mut encoded = Vec::new();
        bytes::put_varint(&mut encoded, value);
        format!("{value} {}\n", hex(&encoded))
    });
    text("# value, then its varint\n", lines)
}

/// Numbers of both signs and sizes.
pub(super) fn zigzags() -> String {
    let values = [0, -1, 1, -64, 64, 1_700_000_000, i64::MAX, i64::MIN];
    let lines = values.iter().map(|value| {
        let mut encoded = Vec::new();
        bytes::put_zigzag(&mut encoded, *value);
        format!("{value} {}\n", hex(&encoded))
    });
    text("# value, then its zigzag\n", lines)
}

fn text(head: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<_> = lines.collect();
    [head, &lines.concat()].concat()
}

/// One key of each kind.
pub(super) fn object_keys() -> String {
    let (writer, id) = (WriterId(counting(0xf0)), object(0xf1));
    let keys = [
        ObjectKey::Root(id),
        ObjectKey::Key(id),
        ObjectKey::Pack(writer, id),
        ObjectKey::Index(writer, id),
        ObjectKey::Snapshot(writer, id),
        ObjectKey::Ledger(writer, id),
        ObjectKey::Canary(id),
    ];
    text("", keys.iter().map(|key| format!("{key}\n")))
}

/// One prologue of each kind.
pub(super) fn prologues() -> String {
    let kinds = [
        ObjectKind::Root,
        ObjectKind::Certificate,
        ObjectKind::Bundle,
        ObjectKind::Pack,
        ObjectKind::Index,
        ObjectKind::Snapshot,
        ObjectKind::Ledger,
    ];
    let lines = (0x0102_0304..).zip(kinds).map(|(body_bytes, kind)| {
        let encoded = hex(&Prologue { kind, body_bytes }.encode());
        format!("{} {body_bytes} {encoded}\n", kind.code())
    });
    text("# kind, body_bytes, then the prologue\n", lines)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}
