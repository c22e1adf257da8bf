#!/usr/bin/env python3
"""An independent reader of Dolmen backup repositories, written from docs/format.md alone.

    read_dolmen.py list REPO
    read_dolmen.py restore REPO SNAPSHOT TARGET

REPO is a local folder; the passphrase comes from the environment variable DOLMEN_PASSWORD. Without any, the variable
DOLMEN_RECOVERY_KIT names a file with the text of a recovery kit's QR code (an admin's key file), or with nothing but its
24 words (then pip install mnemonic, too). SNAPSHOT is an id, the
unique beginning of one, or `latest`. Absolute paths are recreated whole below TARGET. What already exists in TARGET is
never replaced (directories are entered). As root, owners are restored by number.

Exit codes: 0 all is well, 1 something could not be done here (no such snapshot, no space, ...), 2 usage, 10 no
repository there, 12 wrong passphrase, 20 damage in the repository: the rest is restored and each lost file named.

Linux, Python 3.9 or later; pip install blake3 zstandard cryptography argon2-cffi cbor2 kyber-py
The sections of this file are those of docs/format.md.
"""

import array, base64, bisect, collections, datetime, hashlib, hmac, os, re, stat, struct, sys, time, types

try:
    import argon2.low_level, cbor2, zstandard
    from blake3 import blake3
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from kyber_py.ml_kem import ML_KEM_768
except ImportError as e:
    sys.exit(f"{e}: pip install blake3 zstandard cryptography argon2-cffi cbor2 kyber-py")


class Damage(Exception):
    """What was read is not what the format allows, or not what was written."""


class Stop(Exception):
    """Nothing more can be done: (exit code, message)."""


class Log:
    damaged = False  # the repository: exit code 20
    trouble = False  # this machine: exit code 1

    def damage(self, text):
        self.damaged = True
        print(f"damage: {text}", file=sys.stderr)

    def failed(self, text):
        self.trouble = True
        print(f"error: {text}", file=sys.stderr)

    def note(self, text):
        print(f"note: {text}", file=sys.stderr)


log = Log()


def need(condition, text):
    if not condition:
        raise Damage(text)


def show(name):
    """Bytes from a repository, safe for a terminal."""
    text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
    safe = (c if c.isprintable() and c != "\\" else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))
            for c in text)
    return "".join(safe)


# ---- Conventions -----------------------------------------------------------------------------------------------------

KIB, MIB, U64 = 1 << 10, 1 << 20, (1 << 64) - 1


def hash_(data):
    return blake3(data).digest()


def derive(context, material):
    return blake3(material, derive_key_context=context).digest()


def keyed(key, data):
    return blake3(data, key=key).digest()


def u16(n):
    return struct.pack("<H", n)


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


class Reader:
    """Plain little-endian bytes, read from the beginning to the end."""

    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, n):
        need(n <= len(self.data) - self.pos, "the bytes end too early")
        self.pos += n
        return bytes(self.data[self.pos - n:self.pos])

    def byte(self):
        return self.take(1)[0]

    def u32(self):
        return struct.unpack("<I", self.take(4))[0]

    def varint(self):
        n = shift = 0
        while True:
            b = self.byte()
            n |= (b & 0x7f) << shift
            if b < 0x80:
                need(n <= U64 and (b or not shift), "a varint is not in its shortest form or too large")
                return n
            shift += 7
            need(shift < 70, "a varint is too large")

    def zigzag(self):
        n = self.varint()
        return (n >> 1) ^ -(n & 1)

    def end(self):
        need(self.pos == len(self.data), "there are bytes after the end")


# ---- 1. Layout, and 2. Prologue --------------------------------------------------------------------------------------

ROOT, CERTIFICATE, BUNDLE, PACK, SEGMENT, SNAPSHOT, LEDGER = range(1, 8)
LARGEST = {ROOT: 16 * KIB, CERTIFICATE: 16 * KIB, BUNDLE: 16 * KIB, SNAPSHOT: MIB, LEDGER: 16 * MIB,
           SEGMENT: 32 * MIB, PACK: 64 * MIB}
ID, WRITER = re.compile(r"[0-9a-f]{64}\Z"), re.compile(r"[0-9a-f]{32}\Z")


def names_in(folder, pattern):
    try:
        return sorted(n for n in os.listdir(folder) if pattern.match(n))
    except FileNotFoundError:
        return []


def prologue(head, size):
    """The kind of an object, from its first 16 bytes and its size."""
    need(len(head) >= 16, "it is cut off")
    magic, format_, kind, features, body_bytes = struct.unpack("<8sHBBI", head[:16])
    need(magic == b"DOLMEN\r\n", "it does not begin like an object of a repository")
    need(format_ == 1, f"it has format {format_}, which this program does not know")
    need(features == 0, f"it needs features (0x{features:02x}) that this program does not know")
    need(body_bytes == size - 16, f"it says that it has {body_bytes + 16} bytes, but has {size}")
    return kind


def read_object(path, kinds):
    """The bytes of a whole object: they are those of its name, and of one of the kinds. -> (kind, bytes)"""
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        need(size <= max(LARGEST[k] for k in kinds), "it is too large")
        data = f.read(size + 1)
    need(hash_(data).hex() == os.path.basename(path), "its bytes are not those that its name promises")
    kind = prologue(data[:16], len(data))
    need(kind in kinds, f"its kind is {kind}")
    need(len(data) <= LARGEST[kind], "it is too large")
    return kind, data


# ---- 3. Signed objects -----------------------------------------------------------------------------------------------
# A field's check takes what CBOR gave and refuses what the format does not allow.


def uint(most=U64, least=0):
    return lambda v: type(v) is int and least <= v <= most


def data_(least, most=None):
    return lambda v: type(v) is bytes and least <= len(v) <= (least if most is None else most)


def text(most=1 << 32):
    return lambda v: type(v) is str and len(v.encode()) <= most


def list_of(check, least=0, most=1 << 32):
    return lambda v: type(v) is list and least <= len(v) <= most and all(map(check, v))


def row(*checks):
    return lambda v: type(v) is list and len(v) == len(checks) and all(c(x) for c, x in zip(checks, v))


def map_of(checks, optional=()):
    return lambda v: (type(v) is dict and all(type(k) is int and k in checks and checks[k](x) for k, x in v.items())
                      and all(k in v or k in optional for k in checks))


def time_(v):
    return row(lambda s: type(s) is int and -1 << 63 <= s < 1 << 63, uint(999_999_999))(v)


B16, B32, ANY = data_(16), data_(32), data_(0, 1 << 32)
STAMP = row(B16, B16, uint(least=1))
REFERENCE = row(B16, B16, uint(least=1), B32)
BOX = row(B16, data_(1120), data_(16, 1 << 32))


def cbor(data, check):
    """Decode; what was read must give the same bytes again, and have the fields that the format names."""
    try:
        value = cbor2.loads(data)
        again = cbor2.dumps(value, canonical=True)
    except Exception as e:  # cbor2 raises more than its own exceptions on hostile input
        raise Damage(f"its CBOR cannot be decoded ({e})") from None
    need(again == data, "its CBOR is not in the one permitted encoding")
    need(check(value), "its fields are not those of the format")
    return value


def writer_id(verify_key):
    return hash_(verify_key)[:16]


P25519, L25519 = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER_Y = {0, 1, P25519 - 1, 2707385501144840649318225287225658788936804267575313519463743609750303402022,
                 55188659117513257062467267217118295137698188065244968500265048394206261417927}


def small_order(point):
    return (int.from_bytes(point, "little") & ((1 << 255) - 1)) % P25519 in SMALL_ORDER_Y


def verify(data, repository, verify_key):
    """The signature at the end of an object, strictly."""
    signature = data[-64:]
    need(not small_order(verify_key), "its signer's key is of small order")
    need(not small_order(signature[:32]), "its signature is of small order")
    need(int.from_bytes(signature[32:], "little") < L25519, "its signature is not canonical")
    try:
        Ed25519PublicKey.from_public_bytes(verify_key).verify(
            signature, b"dolmen v1 signature\0" + repository + data[:-64])
    except (InvalidSignature, ValueError):
        raise Damage("its signature is wrong") from None


def fields(data, check):
    """The CBOR map of a signed object whose signature is still to be verified."""
    need(len(data) > 16 + 64, "it is cut off")
    return cbor(data[16:-64], check)


def aes_open(key, nonce, sealed, aad, what):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError):
        raise Damage(f"{what} cannot be decrypted") from None


class XWing:
    """KEM X-Wing (draft-connolly-cfrg-xwing-kem) and, with it, HPKE's base mode (RFC 9180), receiving side only."""

    def __init__(self, seed):
        expanded = hashlib.shake_256(seed).digest(96)
        ek_m, self.dk_m = ML_KEM_768.key_derive(expanded[:64])  # d || z
        self.sk_x = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.pk_x = self.sk_x.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public = ek_m + self.pk_x
        self.key_id = hash_(self.public)[:16]

    def decapsulate(self, encapsulated):
        ct_m, ct_x = encapsulated[:1088], encapsulated[1088:]
        ss_m = ML_KEM_768.decaps(self.dk_m, ct_m)
        ss_x = self.sk_x.exchange(X25519PublicKey.from_public_bytes(ct_x))
        return hashlib.sha3_256(ss_m + ss_x + ct_x + self.pk_x + b"\\.//^\\").digest()

    def open(self, box, info, aad, what):
        key_id, encapsulated, ciphertext = box
        need(key_id == self.key_id, f"{what} is sealed to another key")
        suite = b"HPKE" + bytes.fromhex("647a00010002")

        def extract(salt, label, ikm):
            return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

        def expand(prk, label, context, length):  # at most 32 bytes, so one block of HKDF
            block = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context + b"\x01"
            return hmac.digest(prk, block, "sha256")[:length]

        try:
            shared = self.decapsulate(encapsulated)
        except ValueError:
            raise Damage(f"{what} cannot be decapsulated") from None
        context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
        secret = extract(shared, b"secret", b"")
        key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
        return aes_open(key, nonce, ciphertext, aad, what)


# ---- 3.1 to 3.4: root, bundle, certificate, keys ---------------------------------------------------------------------

POLICY = row(uint(), uint(), uint(), uint(5), list_of(uint((1 << 32) - 1), 6, 6), list_of(row(text(), uint()), 0, 64))
ROOT_MAP = map_of({0: time_, 1: B32, 2: uint(), 3: B32, 4: row(B32, data_(1216), data_(1216)), 5: B16, 6: POLICY})
BUNDLE_MAP = map_of({0: B16, 1: uint(least=1), 2: time_, 3: row(uint(1, 1), uint(), uint(), uint(), B32), 4: B32,
                     5: data_(48), 6: text(64)}, optional=[6])
CERTIFICATE_MAP = map_of({0: text(64), 1: uint(4, 1), 2: B32, 3: B16, 4: time_, 5: uint(), 6: B16, 7: BOX},
                         optional=[3, 7])
ADMIN, BACKUP, MAINTAIN, RESTORE = range(1, 5)
ADMIN_FILE_MAP = map_of({0: B32, 1: text(), 2: text(64), 3: uint(ADMIN, ADMIN), 5: time_, 7: data_(48)})  # no passphrase
SUITE = 1


class Domain:
    def __init__(self, admin_secret, domain_id):
        self.secret = derive("dolmen v1 domain", admin_secret + domain_id)
        self.blob_keys = {k: derive("dolmen v1 blob id key", self.secret + bytes([k])) for k in (1, 2, 3, 4)}
        self.index_key = derive("dolmen v1 index key", self.secret)


def admin_key(secret):
    signing = Ed25519PrivateKey.from_private_bytes(derive("dolmen v1 admin signing key", secret))
    return signing.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


# 3.5 the recovery kit

def read_kit(path):
    """-> admin secret"""
    with open(path) as f:
        content = f.read()
    if "-----BEGIN DOLMEN KEY-----" not in content:
        from mnemonic import Mnemonic
        words = re.findall("[a-z]+", content.lower())
        need(len(words) == 24, f"it has {len(words)} words, not 24")
        return bytes(Mnemonic("english").to_entropy(words))
    body = content.split("-----BEGIN DOLMEN KEY-----")[1].split("-----END DOLMEN KEY-----")[0]
    m = cbor(base64.b64decode("".join(body.split()), validate=True), ADMIN_FILE_MAP)
    secret, tag = m[7][:32], m[7][32:]
    expected = derive("dolmen v1 key file checksum", cbor2.dumps({**m, 7: b""}, canonical=True) + secret)[:16]
    need(hmac.compare_digest(tag, expected), "it is damaged")
    return secret


class Repository:
    def __init__(self, folder, passphrase, kit=None):
        self.folder = folder
        self.domains = {}
        self.bundles_seen = False
        for self.id, self.root in self.find_roots():
            secret = self.find_secret(passphrase, kit)
            if secret:
                break
        else:
            if kit:
                raise Stop(12, "the recovery kit is of another repository, or a word of it is wrong")
            if not self.bundles_seen:
                raise Stop(20, "damage: there is a repository, but no key bundle that a passphrase could open")
            raise Stop(12, "wrong passphrase: it opens no key of this repository")
        self.admin_secret, epoch_salt = secret, self.root[4][0]
        self.read_key = XWing(derive("dolmen v1 read key", secret + epoch_salt))
        maintain_key = XWing(derive("dolmen v1 maintain key", secret + epoch_salt))
        if [self.read_key.public, maintain_key.public] != self.root[4][1:]:
            raise Stop(20, "damage: the admin secret does not give the public keys that are in the root")

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def find_roots(self):
        if not os.path.isdir(self.folder):
            raise Stop(10, f"there is no folder {show(self.folder)}, so no repository")
        names, roots = names_in(self.path("root"), ID), []
        if not names:
            raise Stop(10, f"there is no repository in {show(self.folder)} (nothing in root/)")
        for name in names:
            try:
                _, data = read_object(self.path("root", name), [ROOT])
                root = fields(data, ROOT_MAP)
                verify(data, bytes(32), root[3])
                need(root[2] == SUITE, f"it has suite {root[2]}, which this program does not know")
                roots.append((bytes.fromhex(name), root))
            except (Damage, OSError) as e:
                log.damage(f"root/{name}: {e}")
        if not roots:
            raise Stop(20, "damage: there is a repository, but its root cannot be used")
        return roots

    def find_secret(self, passphrase, kit):
        """Read keys/: remember the certificates, open a bundle. -> admin secret, or None if passphrase or kit is wrong"""
        self.certificates, slots = {}, {}
        admin = self.root[3]
        for name in names_in(self.path("keys"), ID):
            try:
                kind, data = read_object(self.path("keys", name), [CERTIFICATE, BUNDLE])
                m = fields(data, CERTIFICATE_MAP if kind == CERTIFICATE else BUNDLE_MAP)
                verify(data, self.id, admin)
                if kind == CERTIFICATE:
                    need((m[1] == BACKUP) == (3 in m), "a domain is for backup certificates, and for them only")
                    self.certificates[bytes.fromhex(name)] = m
                    continue
                _, memory, passes, lanes, _ = m[3]
                need(memory <= 1_048_576 and passes <= 10 and lanes <= 16, "its KDF is too expensive")
                best = slots.setdefault(m[0], [m[1], []])
                if m[1] > best[0]:
                    slots[m[0]] = best = [m[1], []]
                if m[1] == best[0]:
                    best[1].append((name, m))
            except (Damage, OSError) as e:
                log.damage(f"keys/{name}: {e}")
        if kit:
            return kit if admin_key(kit) == admin else None
        for _, bundles in slots.values():
            for name, m in bundles:
                try:
                    self.bundles_seen = True
                    secret = self.open_bundle(m, passphrase)
                    if secret:
                        return secret
                except Damage as e:
                    log.damage(f"keys/{name}: {e}")
        return None

    def open_bundle(self, m, passphrase):
        _, memory, passes, lanes, salt = m[3]
        try:
            output = argon2.low_level.hash_secret_raw(passphrase, salt, passes, memory, lanes, 32,
                                                      argon2.low_level.Type.ID, version=0x13)
        except argon2.exceptions.HashingError as e:
            raise Damage(f"its KDF cannot be computed ({e})") from None
        if not hmac.compare_digest(derive("dolmen v1 key commitment", output), m[4]):
            return None  # a wrong passphrase
        secret = aes_open(derive("dolmen v1 bundle key", output), bytes(12), m[5], self.id + m[0] + u64(m[1]),
                          "the admin secret")
        need(admin_key(secret) == self.root[3], "its admin secret does not give the verify key that is in the root")
        return secret

    def domain(self, domain_id):
        if domain_id not in self.domains:
            self.domains[domain_id] = Domain(self.admin_secret, domain_id)
        return self.domains[domain_id]

    def signer(self, certificate, signer, roles):
        """The verify key of a signer who has one of the roles, by the certificate (an object id, None: the admin),
        and the domain to which the certificate limits it."""
        if certificate is None:
            need(signer == writer_id(self.root[3]), "it names no certificate, but its signer is not the admin")
            return self.root[3], None
        m = self.certificates.get(certificate)
        need(m is not None, f"its signer's certificate {certificate.hex()[:8]} is not in keys/")
        need(m[1] in roles, "its signer's certificate does not permit it")
        need(writer_id(m[2]) == signer, "its signer is not the one whom its certificate names")
        return m[2], m.get(3)


# ---- 4. Blobs --------------------------------------------------------------------------------------------------------

DATA, TREE, LIST, MANIFEST = range(1, 5)
BLOB_MOST = 4 * MIB

# ---- 5. Packs --------------------------------------------------------------------------------------------------------

ORIGIN_MAP = map_of({0: B32, 1: B32, 2: B16, 3: row(B16, data_(1120), data_(48)), 4: B32}, optional=[0])
FRAME_ROW = row(uint(), uint((1 << 32) - 1), uint(LARGEST[PACK], 12 + 1 + 16), B32, uint(1),
                data_(12 + 72 + 37 + 16, LARGEST[PACK]))
TABLE_MAP = map_of({0: uint(2, 1), 1: list_of(ORIGIN_MAP, 1), 2: list_of(FRAME_ROW, 1, 4096)})


def find_pack(repo, pack_id):
    name = pack_id.hex()
    for writer in names_in(repo.path("packs"), WRITER):
        path = repo.path("packs", writer, name[:2], name)
        if os.path.exists(path):
            return path
    raise Damage(f"pack {name} is missing")


class Cache(collections.OrderedDict):
    """The few that were used last."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def get_or(self, key, make):
        if key not in self:
            self[key] = make()
            if len(self) > self.most:
                self.popitem(last=False)
        self.move_to_end(key)
        return self[key]


class Pack:
    """A pack's table. The pack as a whole is not read, so its hash is not checked: what counts is checked frame by
    frame, by the hash in the table, by the encryption (which binds the place of the frame), and by the blob ids."""

    def __init__(self, path, pack_bytes=None, table_bytes=None):
        self.path, self.id = path, bytes.fromhex(os.path.basename(path))
        with open(path, "rb") as f:
            size = os.fstat(f.fileno()).st_size
            need(pack_bytes in (None, size), f"it has {size} bytes, not the {pack_bytes} of the index")
            need(16 + 4 <= size <= LARGEST[PACK], "its size is impossible")
            need(prologue(f.read(16), size) == PACK, "it is not a pack")
            f.seek(size - 4)
            stored = struct.unpack("<I", f.read(4))[0]
            need(table_bytes in (None, stored), "its table's size is not that of the index")
            need(stored <= size - 16 - 4, "its table's size is impossible")
            f.seek(size - 4 - stored)
            self.table = cbor(f.read(stored), TABLE_MAP)
        self.offsets, offset, seen = [], 16, set()
        for origin, ordinal, frame_bytes, _, _, _ in self.table[2]:
            need(origin < len(self.table[1]), "a frame names an origin that is not there")
            need((origin, ordinal) not in seen, "two of its frames have the same ordinal")
            seen.add((origin, ordinal))
            self.offsets.append(offset)
            offset += frame_bytes
        need(offset == size - 4 - stored, "its frames do not fill it")

    def frame(self, position):
        with open(self.path, "rb") as f:
            f.seek(self.offsets[position])
            frame = f.read(self.table[2][position][2])
        need(hash_(frame) == self.table[2][position][3], "its bytes are not those whose hash is in the pack's table")
        return frame


# ---- 6. Index segments -----------------------------------------------------------------------------------------------

PACK_ENTRY = row(B32, uint(LARGEST[PACK]), uint(LARGEST[PACK]), ANY, text())
SEGMENT_MAP = map_of({0: B16, 1: B16, 2: B16, 3: B32, 4: list_of(PACK_ENTRY), 5: data_(16, 1 << 32)})


class Store:
    """The blobs of a domain, as a snapshot needs them."""

    def __init__(self, repository, snapshot):
        self.repo, self.domain_id = repository, snapshot.map[6]
        self.domain = repository.domain(self.domain_id)
        self.packs = []                    # (pack id, pack_bytes, table_bytes)
        self.frames = array.array("I")     # five numbers each: pack, ordinal, frame_bytes, raw_bytes, compression
        self.blobs = {}                    # kind, blob id -> frame << 46 | offset << 23 | length; or several of those
        self.loaded, self.complete, self.moves = set(), False, None
        self.tables, self.pack_keys, self.contents = Cache(16), Cache(4096), Cache(8)
        self.lost_frames = {}              # frame -> why: each is read, and complained about, once
        wanted = {i.hex() for i in snapshot.map[7]}
        self.load_segments(wanted)
        for name in sorted(wanted - self.loaded):
            log.note(f"index segment {name}, which the snapshot lists, cannot be used")

    def load_segments(self, wanted=None):
        """All segments, or those that are wanted."""
        for writer in names_in(self.repo.path("index"), WRITER):
            for name in names_in(self.repo.path("index", writer), ID):
                if name in self.loaded or (wanted is not None and name not in wanted):
                    continue
                try:
                    self.load_segment(writer, name)
                    self.loaded.add(name)
                except (Damage, OSError) as e:
                    log.damage(f"index/{writer}/{name}: {e}")

    def load_segment(self, writer, name):
        _, data = read_object(self.repo.path("index", writer, name), [SEGMENT])
        m = fields(data, SEGMENT_MAP)
        need(m[0].hex() == writer, "it does not lie under its writer id")
        keys = [self.repo.root[3]] + [c[2] for c in self.repo.certificates.values() if c[1] in (ADMIN, BACKUP)
                                      and c.get(3) in (None, m[2])]
        keys = [k for k in keys if writer_id(k) == m[0]]
        need(keys, "its writer has no certificate for it")
        verify(data, self.repo.id, keys[0])
        if m[2] != self.domain_id:
            return  # another domain's blobs
        key = derive("dolmen v1 segment key", self.domain.index_key + m[3])
        aad = b"dolmen v1 segment" + self.repo.id + m[2] + m[3]
        r = Reader(aes_open(key, bytes(12), m[5], aad, "its list of blobs"))
        packs, frames, blobs = [], [], []  # all of a segment counts, or nothing
        for pack_id, pack_bytes, table_bytes, _, _ in m[4]:
            end, count = 16, r.u32()
            need(1 <= count <= 4096, "a pack has too many frames, or none")
            for ordinal in range(count):
                frame_bytes, raw_bytes, compression, n = struct.unpack("<IIBI", r.take(13))
                unknown = (frame_bytes, raw_bytes, compression, n) == (0, 0, 0, 0)
                need(raw_bytes <= BLOB_MOST and compression <= 1 and (n or unknown), "a frame is not one of the format's")
                end, offset = end + frame_bytes, 0
                for kind, blob_id, length in struct.iter_unpack("<B32sI", r.take(37 * n)):
                    need(1 <= kind <= 4 and 1 <= length <= BLOB_MOST, "a blob is not one of the format's")
                    blobs.append((bytes([kind]) + blob_id, len(frames) << 46 | offset << 23 | length))
                    offset += length
                need(offset == raw_bytes, "the blobs of a frame do not add up to it")
                frames.append((len(packs), ordinal, frame_bytes, raw_bytes, compression))
            need(end + table_bytes + 4 == pack_bytes, "the frames of a pack do not add up to it")
            packs.append((pack_id, pack_bytes, table_bytes))
        r.end()
        base, first = len(self.frames) // 5 << 46, len(self.packs)
        self.packs += packs
        for frame in frames:
            self.frames.extend((frame[0] + first,) + frame[1:])
        for key, place in blobs:
            known = self.blobs.get(key)
            place += base
            self.blobs[key] = place if known is None else (known if type(known) is tuple else (known,)) + (place,)

    def blob(self, kind, blob_id, length=None):
        key, why = bytes([kind]) + blob_id, "no index segment knows it"
        if key not in self.blobs and not self.complete:
            self.complete = True
            self.load_segments()
        places = self.blobs.get(key, ())
        for place in places if type(places) is tuple else (places,):
            n, offset, size = place >> 46, place >> 23 & (1 << 23) - 1, place & (1 << 23) - 1
            if n not in self.lost_frames:
                try:
                    data = self.contents.get_or(n, lambda: self.read_frame(n))[offset:offset + size]
                    need(keyed(self.domain.blob_keys[kind], data) == blob_id, "its bytes are not those of its id")
                    need(length in (None, size), "its length is not the expected one")
                    return data
                except Damage as e:
                    why = str(e)
            else:
                why = self.lost_frames[n]
        raise Damage(f"blob {blob_id.hex()}: {why}")

    def read_frame(self, n):
        """A frame of the index from its original pack, or from where it was moved."""
        number, ordinal, frame_bytes, raw_bytes, compression = self.frames[5 * n:5 * n + 5]
        pack_id, pack_bytes, table_bytes = self.packs[number]
        problems = []

        def attempt(place, position, *sizes):
            try:
                path = find_pack(self.repo, place)
                pack = self.tables.get_or(path, lambda: Pack(path, *sizes))
                need(position < len(pack.table[2]), "the frame is not in it")
                origin, number, size, _, method, _ = entry = pack.table[2][position]
                origin = pack.table[1][origin]
                need(origin.get(0, place) == pack_id and (0 in origin) == (place != pack_id) and number == ordinal,
                     "another frame is in its place")
                need((size, method) == (frame_bytes, compression), "the frame is not the one of the index")
                return self.open_frame(pack, position, entry, origin, raw_bytes, n)
            except (Damage, OSError) as e:
                problems.append(f"frame {ordinal} of pack {place.hex()}: {e}")

        data = attempt(pack_id, ordinal, pack_bytes, table_bytes)
        if data is None:
            self.moves = self.moves or Moves(self.repo)
            for new, new_bytes, new_table_bytes, position in self.moves.places(pack_id, ordinal):
                data = attempt(new, position, new_bytes, new_table_bytes)
                if data is not None:
                    break
        if data is None:
            self.lost_frames[n] = "; ".join(problems)
            raise Damage(self.lost_frames[n])
        return data

    def open_frame(self, pack, position, entry, origin, raw_bytes, n):
        _, ordinal, _, frame_hash, compression, descriptor = entry
        repo, salt, domain_id = self.repo, origin[1], origin[2]
        need(pack.table[0] == 1, "its pack is not for the read key")
        need(domain_id == self.domain_id, "it belongs to another domain")

        def unseal():
            key = repo.read_key.open(origin[3], b"dolmen v1 pack key", repo.id + domain_id + salt, "the pack key")
            need(derive("dolmen v1 key commitment", key) == origin[4], "the pack key is not the committed one")
            return key

        key = self.pack_keys.get_or((salt, *map(bytes, origin[3])), unseal)
        frame = pack.frame(position)
        aad = (b"dolmen v1 frame" + u16(1) + u16(SUITE) + bytes([compression]) + repo.id + domain_id + salt
               + u32(ordinal))
        plain = aes_open(derive("dolmen v1 frame key", key), frame[:12], frame[12:], aad, "it")
        where = f"frame {ordinal} of pack {pack.id.hex()}"
        if keyed(derive("dolmen v1 frame nonce key", key), plain + aad)[:12] != frame[:12]:
            log.damage(f"{where}: its nonce is not derived as it should be (its content is good)")
        try:
            self.check_descriptor(descriptor, frame_hash, origin, ordinal, raw_bytes, n)
        except Damage as e:
            log.damage(f"{where}: its descriptor is wrong, {e} (its content is good)")
        if compression:
            try:
                need(zstandard.frame_content_size(plain) <= BLOB_MOST, "it is too large")
                plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=BLOB_MOST,
                                                                allow_extra_data=False)
            except zstandard.ZstdError as e:
                raise Damage(f"it cannot be decompressed ({e})") from None
        need(len(plain) == raw_bytes, "it does not have the size that the index promises")
        return plain

    def check_descriptor(self, descriptor, frame_hash, origin, ordinal, raw_bytes, n):
        material = self.domain.index_key + origin[1]
        aad = b"dolmen v1 descriptor" + self.repo.id + origin[2] + origin[1] + u32(ordinal)
        plain = aes_open(derive("dolmen v1 descriptor key", material), descriptor[:12], descriptor[12:], aad, "it")
        nonce = keyed(derive("dolmen v1 descriptor nonce key", material), plain + aad)[:12]
        need(nonce == descriptor[:12], "its nonce is not derived as it should be")
        r = Reader(plain)
        need(r.take(32) == frame_hash, "it is of another frame")
        need(r.take(32) == hash_(origin[3][1] + origin[3][2]), "it is of another pack key")
        need(r.u32() == raw_bytes, "its raw_bytes are not those of the index")
        count, offset = r.u32(), 0
        need(count, "it has no blobs")
        for kind, blob_id, length in struct.iter_unpack("<B32sI", r.take(37 * count)):
            places = self.blobs.get(bytes([kind]) + blob_id, ())
            place = n << 46 | offset << 23 | length
            need(kind != MANIFEST and place in (places if type(places) is tuple else (places,)),
                 "its blobs are not those of the index")
            offset += length
        need(offset == raw_bytes, "its blobs do not add up")
        r.end()

# ---- 7. Snapshots ----------------------------------------------------------------------------------------------------

SNAPSHOT_MAP = map_of({
    0: STAMP, 1: uint(), 2: time_, 3: B16, 4: list_of(REFERENCE), 5: B32, 6: B16, 7: list_of(B32), 8: data_(0, 64),
    9: uint(), 10: list_of(uint(), 5, 5), 11: uint(2), 12: row(B16, B16, list_of(B16)), 13: BOX, 14: BOX,
}, optional=[5, 9])
LEVEL_MOST = 16
BODY_MAP = map_of({
    0: text(), 1: text(), 2: uint(), 3: uint(), 4: list_of(ANY), 5: list_of(text()), 6: list_of(ANY), 7: text(),
    8: row(B32, uint(LEVEL_MOST)), 9: list_of(uint(), 12, 12), 10: time_, 11: time_}, optional=[8])


def snapshot(repo, writer, name):
    """A snapshot or checkpoint whose signature is good."""
    _, data = read_object(repo.path("snapshots", writer, name), [SNAPSHOT])
    m = fields(data, SNAPSHOT_MAP)
    need(m[0][0].hex() == writer, "it does not lie under the signer's writer id")
    key, domain = repo.signer(m.get(5), m[0][0], [ADMIN, BACKUP])
    verify(data, repo.id, key)
    need(domain in (None, m[6]), "its domain is not that of its signer's certificate")
    return types.SimpleNamespace(id=name, map=m, time=m[2], checkpoint=m[1] > 0)


def snapshot_names(repo):
    for writer in names_in(repo.path("snapshots"), WRITER):
        for name in names_in(repo.path("snapshots", writer), ID):
            yield writer, name


def snapshots(repo):
    """Those that live."""
    found = []
    for writer, name in snapshot_names(repo):
        try:
            s = snapshot(repo, writer, name)
            found.append(s)
        except (Damage, OSError) as e:
            log.damage(f"snapshots/{writer}/{name}: {e}")
    gone = retired(repo, found)
    return [s for s in found if not s.checkpoint and s.id not in gone]


def find_snapshot(repo, wanted):
    if wanted == "latest":
        now = divmod(time.time_ns(), 10**9)
        past = [s for s in snapshots(repo) if tuple(s.time) <= now]
        if not past:
            raise Stop(20 if log.damaged else 1, "there is no snapshot")
        return max(past, key=lambda s: (s.time, s.id))
    found = [(w, n) for w, n in snapshot_names(repo) if n.startswith(wanted.lower())]
    if len(found) != 1:
        raise Stop(1, f"{len(found)} snapshots have ids that begin with {show(wanted)}" if found else
                   f"there is no snapshot {show(wanted)}")
    try:
        s = snapshot(repo, *found[0])
    except (Damage, OSError) as e:
        raise Stop(20, f"damage: snapshots/{'/'.join(found[0])}: {e}") from None
    if s.checkpoint:
        raise Stop(1, f"{show(wanted)} is a checkpoint, not a snapshot")
    return s


def open_body(repo, s):
    plain = repo.read_key.open(s.map[14], b"dolmen v1 snapshot body", repo.id + s.map[3], "its body")
    return cbor(plain, BODY_MAP)


# ---- 8. File trees ---------------------------------------------------------------------------------------------------

DIRECTORY, FILE, SYMLINK, FIFO, CHARACTER, BLOCK = range(1, 7)
HARD_LINK, XATTRS, EXTENTS, LISTED = 1, 2, 4, 8


def show_key(key):
    return show(b"/" + key.replace(b"\0", b"/"))


class Tree:
    def __init__(self, store):
        self.store, self.last = store, None

    def entries(self, blob_id, level, first=None, end=None):
        """The entries of a tree in order. What lies below a node that cannot be read is named and left out."""
        key = None
        try:
            r = Reader(self.store.blob(TREE, blob_id))
            need(r.byte() == level, "a tree node has another level")
            names = r.varint()
            need(not (level and names), "an inner tree node has names")
            for _ in range(names):
                r.take(r.varint())
            count, children = r.varint(), []
            need(count or (first is None and not level), "a tree node is empty")
            for i in range(count):
                shared, rest = r.varint(), r.varint()
                need(shared <= len(key or b""), "a key shares more than there is")
                new = (key or b"")[:shared] + r.take(rest)
                need(i > 0 or first in (None, new), "a tree node does not begin with the key its parent says")
                if level:
                    need(key is None or new > key, "keys do not ascend")
                    children.append((new, r.take(32)))
                else:
                    need(self.last is None or new > self.last, "keys do not ascend")
                    entry = self.entry(r, new, names)
                    self.last = new
                    yield entry
                key = new
            r.end()
        except Damage as e:
            begin = "the beginning" if first is None and key is None else show_key(key or first)
            begin = f"after {begin}" if key is not None and not level else f"from {begin}"
            end = "the end" if end is None else f"before {show_key(end)}"
            log.damage(f"LOST: all entries {begin} to {end} (in the order of paths): {e}")
            return
        for i, (key, child) in enumerate(children):
            yield from self.entries(child, level - 1, key, children[i + 1][0] if i + 1 < len(children) else end)

    def entry(self, r, key, names):
        e = types.SimpleNamespace(key=key, link=None, xattrs=[], extents=None, listed=None, chunks=None)
        e.kind, e.flags, e.mode = r.byte(), r.varint(), r.varint()
        need(DIRECTORY <= e.kind <= BLOCK, f"an entry has the unknown kind {e.kind}")
        need(e.flags < 16, f"an entry has unknown flags 0x{e.flags:x}")
        need(e.kind == FILE or not e.flags & (EXTENTS | LISTED), "an entry without content has flags about it")
        need(e.kind != DIRECTORY or not e.flags & HARD_LINK, "a directory is a hard link")
        need(e.mode < 0o10000, "an entry has an impossible mode")
        e.uid, e.gid = r.varint(), r.varint()
        user, group = r.varint(), r.varint()
        need(user <= names and group <= names, "an entry's owner is not among the names")
        seconds, nanoseconds = r.zigzag(), r.varint()
        need(nanoseconds < 10**9, "an entry has an impossible time")
        e.mtime = seconds * 10**9 + nanoseconds
        if e.flags & HARD_LINK:
            e.link = r.varint(), r.varint()
            r.varint()  # how many links there were
        if e.flags & XATTRS:
            for _ in range(r.varint()):
                name, value = r.take(r.varint()), r.take(r.varint())
                need(not e.xattrs or name > e.xattrs[-1][0], "the names of xattrs do not ascend")
                e.xattrs.append((name, value))
        if e.kind == SYMLINK:
            e.target = r.take(r.varint())
        elif e.kind in (CHARACTER, BLOCK):
            e.device = r.varint(), r.varint()
        elif e.kind == FILE:
            e.size = r.varint()
            if e.flags & EXTENTS:
                e.extents, offset = [], 0
                for _ in range(r.varint()):
                    gap, length = r.varint(), r.varint()
                    need(length and offset + gap + length <= e.size, "an extent is empty or beyond the end of its file")
                    e.extents.append((offset + gap, length))
                    offset += gap + length
            if e.flags & LISTED:
                e.listed = r.varint(), r.take(32)
                need(e.listed[0] <= LEVEL_MOST, "a list has too many levels")
            else:
                e.chunks = [(r.take(32), r.varint()) for _ in range(r.varint())]
        return e

    def chunks(self, e):
        """(blob id, length) of a file's data blobs in order."""
        def below(blob_id, level, length):
            r = Reader(self.store.blob(LIST, blob_id))
            need(r.byte() == level, "a list node has another level")
            total = 0
            for _ in range(r.varint()):
                child, size = r.take(32), r.varint()
                total += size
                if level:
                    yield from below(child, level - 1, size)
                else:
                    yield child, size
            r.end()
            need(length in (None, total), "the lengths in a list node do not add up")

        return iter(e.chunks) if e.listed is None else below(e.listed[1], e.listed[0], None)

    def content(self, e):
        """(offset in the file, bytes), in order."""
        extents = [(0, e.size)] if e.extents is None else e.extents
        total, done, n = sum(length for _, length in extents), 0, 0
        starts = [0]  # where in the content each extent begins
        for _, length in extents:
            starts.append(starts[-1] + length)
        for blob_id, length in self.chunks(e):
            need(1 <= length <= BLOB_MOST and done + length <= total, "the lengths of a file's content are impossible")
            data = memoryview(self.store.blob(DATA, blob_id, length))
            while data:
                n = bisect.bisect_right(starts, done, n) - 1
                part = data[:starts[n + 1] - done]
                yield extents[n][0] + done - starts[n], part
                done += len(part)
                data = data[len(part):]
        need(done == total, "a file's content does not have the file's length")


# ---- 9. Manifests: nobody needs them to restore ----------------------------------------------------------------------

# ---- 10. Ledger records: retirements, undos, revocations, and moves of frames, which are then checked like all others -------------

LEDGER_MAP = map_of({0: STAMP, 1: time_, 2: B16, 3: B32,
                     4: lambda v: type(v) is list and len(v) > 0 and uint()(v[0])}, optional=[3])
RETIREMENT = row(uint(2, 2), list_of(REFERENCE), lambda v: v is None or REFERENCE(v))
UNDO = row(uint(3, 3), REFERENCE, list_of(REFERENCE))
REVOCATION = row(uint(4, 4), B16, list_of(row(B16, uint(), B32)))
MOVES = row(uint(7, 7), PACK_ENTRY, list_of(row(B32, uint(4095), uint(4096, 1), uint(4095))))


def record(repo, signer, name):
    """A record whose signature is good, made by somebody who may state what it says."""
    _, data = read_object(repo.path("ledger", signer, name), [LEDGER])
    m = fields(data, LEDGER_MAP)
    need(m[0][0].hex() == signer, "it does not lie under the signer's writer id")
    by_policy = m[4][0] == 2 and m[4][-1] is not None
    may = {1: [ADMIN], 2: [ADMIN, MAINTAIN] if by_policy else [ADMIN], 3: [ADMIN, MAINTAIN], 4: [ADMIN],
           6: [ADMIN, MAINTAIN], 7: [ADMIN, MAINTAIN], 8: [ADMIN]}
    allowed = may.get(m[4][0], [ADMIN, BACKUP, MAINTAIN, RESTORE])
    verify(data, repo.id, repo.signer(m.get(3), m[0][0], allowed)[0])
    return m


def records(repo):
    for signer in names_in(repo.path("ledger"), WRITER):
        for name in names_in(repo.path("ledger", signer), ID):
            try:
                yield bytes.fromhex(name), record(repo, signer, name)
            except (Damage, OSError) as e:
                log.damage(f"ledger/{signer}/{name}: {e}")


def retired(repo, found):
    """The ids of snapshots whose lives have ended, or which a revocation leaves aside; `found` are all snapshots and
    checkpoints that are there."""
    numbers, named, facts = collections.defaultdict(set), {}, list(records(repo))
    for s in found:
        named[bytes.fromhex(s.id)] = (tuple(s.map[0]), s)
        if not s.checkpoint:
            numbers[tuple(s.map[0])].add(bytes.fromhex(s.id))
    for name, m in facts:
        named[name] = (tuple(m[0]), None)
        numbers[tuple(m[0])].add(name)
        if RETIREMENT(m[4]):
            for r in m[4][1]:
                numbers[tuple(r[:3])].add(r[3])
    aside = distrusted(repo, facts, named, numbers)
    undone = {(m[4][1][3], r[3]) for name, m in facts if UNDO(m[4]) and name not in aside for r in m[4][2]}
    gone = {r[3] for name, m in facts if RETIREMENT(m[4]) and name not in aside and len(numbers[tuple(m[0])]) == 1
            for r in m[4][1] if (name, r[3]) not in undone}
    return {i.hex() for i in gone | aside}


def distrusted(repo, facts, named, numbers):
    """The ids of what revoked signers made beyond their cuts."""
    admin, aside = writer_id(repo.root[3]), set()
    revocations = [(name, m) for name, m in facts if REVOCATION(m[4]) and len(numbers[tuple(m[0])]) == 1
                   and m[4][1] != admin]
    by_admin = [m for _, m in revocations if m[0][0] == admin]
    for m in by_admin:
        aside |= beyond(m[4], named, numbers)
    for m in [m for name, m in revocations if m[0][0] != admin and name not in aside]:
        aside |= beyond(m[4], named, numbers)
    return aside


def beyond(revocation, named, numbers):
    """What one revocation does not trust."""
    writer, chains = revocation[1], {}
    for instance, number, digest in revocation[2]:
        linked, lowest, open_ = set(), 2**64, [digest] if named.get(digest, (0, None))[1] else []
        while open_:
            one = open_.pop()
            stamp, s = named.get(one, (None, None))
            linked.add(one)
            if s is not None:
                lowest = min(lowest, stamp[2])
                for head in s.map[4]:
                    if (head[0], head[1]) == (writer, instance) and head[2] <= stamp[2] and head[3] not in linked:
                        lowest = min(lowest, head[2])
                        open_.append(head[3])
        chains[instance] = (number, digest, linked, lowest)

    def trusts(one, stamp, s):
        if stamp[1] not in chains:
            return False
        number, digest, linked, lowest = chains[stamp[1]]
        if one == digest or one in linked:
            return True
        if stamp[2] >= number or (s is not None and stamp[2] >= lowest):
            return False
        return not numbers[stamp] - {one}

    return {one for one, (stamp, s) in named.items() if stamp[0] == writer and not trusts(one, stamp, s)}


class Moves:
    def __init__(self, repo):
        self.of = collections.defaultdict(list)  # origin pack id -> moves
        for _, m in records(repo):
            if m[4][0] == 7 and MOVES(m[4]):
                for origin, first, count, position in m[4][2]:
                    self.of[origin].append((m[1], first, count, position, m[4][1]))

    def places(self, pack_id, ordinal):
        """-> (new pack id, its size, its table's, position) of a frame, the newest first"""
        found = [m for m in self.of.get(pack_id, ()) if m[1] <= ordinal < m[1] + m[2]]
        return [(*new[:3], position + ordinal - first) for _, first, _, position, new in sorted(found, reverse=True)]


# ---- 11. Restoring ---------------------------------------------------------------------------------------------------
# Everything happens relative to open directories, so that paths may be of any length and no symbolic link is followed.


def components(key):
    parts = key.split(b"\0")
    need(all(p not in (b"", b".", b"..") and b"/" not in p for p in parts), "its path is not permitted")
    return parts


class Target:
    OPEN = 64  # directories that are kept open; those above them are opened again when needed

    def __init__(self, path):
        os.makedirs(path, exist_ok=True)
        self.fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY)]
        self.stack = []   # (name, entry) of each directory we are in; its descriptor is fds[i + 1], or None
        self.links = {}   # (device, inode) in the backup -> (kind, path components, device, inode) here
        self.root = os.geteuid() == 0
        self.count = 0

    def open_below(self, fd, name):
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)

    def walk(self, parts):
        """A new descriptor of a directory below the target."""
        fd = os.dup(self.fds[0])
        for name in parts:
            try:
                below = self.open_below(fd, name)
            finally:
                os.close(fd)
            fd = below
        return fd

    def here(self):
        """The descriptor of the directory we are in."""
        depth = len(self.stack)
        if self.fds[depth] is None:
            above = max(i for i in range(depth) if self.fds[i] is not None)
            for i in range(above, depth):
                self.fds[i + 1] = self.open_below(self.fds[i], self.stack[i][0])
                self.shut(i + 1 - self.OPEN)
        return self.fds[depth]

    def shut(self, i):
        if i > 0 and self.fds[i] is not None:
            os.close(self.fds[i])
            self.fds[i] = None

    def enter(self, name, entry):
        fd = self.here()
        try:
            os.mkdir(name, 0o700, dir_fd=fd)
        except FileExistsError:
            pass
        self.fds.append(self.open_below(fd, name))
        self.stack.append((name, entry))
        self.shut(len(self.stack) - self.OPEN)

    def leave(self):
        """A directory's metadata is set after its contents."""
        name, entry = self.stack[-1]
        try:
            if entry:
                self.metadata(entry, self.here())
        except OSError as e:
            log.failed(f"{show_key(entry.key)}: {e.strerror}")
        self.shut(len(self.stack))
        self.stack.pop()
        self.fds.pop()

    def go_to(self, parts):
        same = 0
        while same < min(len(parts), len(self.stack)) and self.stack[same][0] == parts[same]:
            same += 1
        while len(self.stack) > same:
            self.leave()
        while len(self.stack) < len(parts):
            self.enter(parts[len(self.stack)], None)
            log.damage(f"directory {show_key(b'/'.join(parts[:len(self.stack)]))} has no entry")

    def put(self, tree, e):
        parts = components(e.key)
        self.go_to(parts[:-1])
        name = parts[-1]
        if e.kind == DIRECTORY:
            self.enter(name, e)
        elif not (e.link in self.links and self.put_link(e, name)):
            fd = self.here()
            if e.kind == FILE:
                self.put_file(tree, e, fd, name)
            else:
                if e.kind == SYMLINK:
                    need(e.target and b"\0" not in e.target, "its target is not permitted")
                    os.symlink(e.target, name, dir_fd=fd)
                elif e.kind == FIFO:
                    os.mkfifo(name, 0o600, dir_fd=fd)
                else:
                    type_ = stat.S_IFCHR if e.kind == CHARACTER else stat.S_IFBLK
                    os.mknod(name, type_ | 0o600, os.makedev(*e.device), dir_fd=fd)
                self.metadata(e, fd, name)
            if e.link:
                st = os.stat(name, dir_fd=fd, follow_symlinks=False)
                self.links[e.link] = e.kind, parts, st.st_dev, st.st_ino
        self.count += 1

    def put_link(self, e, name):
        kind, parts, device, inode = self.links[e.link]
        need(kind == e.kind, "it is a hard link to something of another kind")
        try:
            source = self.walk(parts[:-1])
            try:
                st = os.stat(parts[-1], dir_fd=source, follow_symlinks=False)
                if (st.st_dev, st.st_ino) != (device, inode):
                    raise OSError(0, "the first of its names is something else by now")
                os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=self.here(), follow_symlinks=False)
            finally:
                os.close(source)
            return True
        except FileExistsError:
            raise
        except OSError as x:
            log.failed(f"{show_key(e.key)}: restored as a file of its own, not as a hard link: {x.strerror}")
            return False

    def put_file(self, tree, e, dir_fd, name):
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=dir_fd)
        try:
            try:
                os.ftruncate(fd, e.size)
                for offset, part in tree.content(e):
                    while part:
                        n = os.pwrite(fd, part, offset)
                        part, offset = part[n:], offset + n
            except BaseException:
                os.unlink(name, dir_fd=dir_fd)  # half a file is none
                raise
            self.metadata(e, fd)
        finally:
            os.close(fd)

    def metadata(self, e, fd, name=None):
        """Of the open file or directory fd; or of `name`, which is neither, in the directory fd."""
        mode, owned = e.mode, self.root
        by = {} if name is None else {"dir_fd": fd, "follow_symlinks": False}
        what = fd if name is None else name

        def attempt(text, action, *args, **more):
            try:
                action(*args, **more)
            except (OSError, OverflowError, ValueError) as x:
                log.failed(f"{show_key(e.key)}: {text}: {getattr(x, 'strerror', None) or x}")
                return False
            return True

        if self.root:  # first of all: it clears setuid bits and capabilities
            owned = attempt("owner", os.chown, what, e.uid, e.gid, **by)
        for attribute, value in e.xattrs:
            text = f"xattr {show(attribute)}"
            if name is None:
                attempt(text, os.setxattr, fd, attribute, value)
            else:
                attempt(text, os.setxattr, b"/proc/self/fd/%d/%s" % (fd, name), attribute, value, follow_symlinks=False)
        if not owned and e.kind == FILE and mode & 0o6000:
            mode &= ~0o6000  # setuid is for the owner whom the file had, not for us
            log.note(f"{show_key(e.key)}: restored without setuid and setgid, for its owner is not restored")
        if name is None:
            attempt("mode", os.chmod, fd, mode)
        elif e.kind != SYMLINK:
            node = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
            attempt("mode", os.chmod, f"/proc/self/fd/{node}", mode)
            os.close(node)
        attempt("time", os.utime, what, ns=(e.mtime, e.mtime), **by)


def restore(repo, wanted, path):
    s = find_snapshot(repo, wanted)
    try:
        body = open_body(repo, s)
        need(8 in body, "it has no tree")
    except Damage as e:
        raise Stop(20, f"damage: snapshot {s.id}: {e}") from None
    tree = Tree(Store(repo, s))
    target = Target(path)
    for e in tree.entries(*body[8]):
        try:
            target.put(tree, e)
        except Damage as x:
            log.damage(f"LOST: {show_key(e.key)}: {x}")
        except (OSError, OverflowError, ValueError) as x:
            log.failed(f"not restored: {show_key(e.key)}: {getattr(x, 'strerror', None) or x}")
    target.go_to([])
    print(f"restored {target.count} entries of snapshot {s.id[:8]}")


def list_(repo):
    for s in sorted(snapshots(repo), key=lambda s: (s.time, s.id)):
        try:
            body = open_body(repo, s)
            try:
                when = (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=s.time[0])).isoformat() + "Z"
            except OverflowError:
                when = f"@{s.time[0]}"
            print(s.id[:8], when, show(body[0]), " ".join(map(show, body[4])), sep="  ")
        except Damage as e:
            log.damage(f"snapshot {s.id}: {e}")


def main(args):
    if args[:1] == ["list"] and len(args) == 2:
        action = list_
    elif args[:1] == ["restore"] and len(args) == 4 and args[2]:
        action = restore
    else:
        print("usage: read_dolmen.py list REPO | restore REPO SNAPSHOT TARGET", file=sys.stderr)
        return 2
    passphrase = os.environb.get(b"DOLMEN_PASSWORD")
    kit = os.environ.get("DOLMEN_RECOVERY_KIT")
    if passphrase is None and kit is None:
        print("DOLMEN_PASSWORD, the environment variable with the passphrase, is not set", file=sys.stderr)
        return 2
    try:
        try:
            kit = read_kit(kit) if kit else None
        except (Damage, ValueError, LookupError, ImportError) as e:
            raise Stop(12, f"cannot use the recovery kit: {e}") from None
        action(Repository(args[1], passphrase, kit), *args[2:])
    except Stop as e:
        print(e.args[1], file=sys.stderr)
        return e.args[0]
    except OSError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 20 if log.damaged else 1 if log.trouble else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
