//! What an attacker does that holds a client's credential, and at times the passphrase too, and knows the code.

mod lies;
mod locks;
mod moves;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use dolmen_core::Repository;
use dolmen_core::snapshots::SnapshotList;
use dolmen_crypto::{Secret, SigningKey};
use dolmen_format::index::{Segment, decode_frames, encode_frames};
use dolmen_format::ledger::{Fact, LockStrategy, Policy, Record};
use dolmen_format::signed::{Reference, SignedBody, Stamp};
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{
    DomainId, InstanceId, Nonce, ObjectId, ObjectKey, RepositoryId, Salt, SnapshotId, Timestamp,
};
use dolmen_store::{
    MemoryStore, ObjectRef, Place, Store as _, StoreError, StoreErrorKind, StoreKey,
};

use crate::dice::Dice;
use crate::error::SimError;
use crate::kit::{Kit, Machine, policy};
use crate::model::{Model, Stored, all_versions};
use crate::mutation::Claims;
use crate::theft::Stolen;

use self::lies::PlantedSegments;

/// A kind of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attack {
    /// Markers on a few keys.
    Hide,
    /// Markers on every key.
    HideEverything,
    /// Garbage on top, of the same length or another.
    Overwrite,
    /// A part of an object on top of it.
    Truncate,
    /// Another object's bytes on top.
    Swap,
    /// An old version's bytes on top, deleted objects' too.
    PutBack,
    /// Names that no object has.
    Foreign,
    /// Valid snapshots, dated in the future, without a manifest or with another's, or many.
    PlantSnapshots,
    /// A valid index segment that names wrong frames.
    LyingSegment,
    /// A valid index segment that names packs which are garbage.
    FalsePacks,
    /// A valid retirement of all that lives.
    RetireEverything,
    /// A valid policy with a shorter protection.
    ShorterPolicy,
    /// Two valid policies that supersede the same one.
    TwinPolicies,
    /// A valid policy that supersedes one that does not exist.
    BrokenPolicy,
    /// A record without a valid signature.
    Unsigned,
    /// A record that somebody else signed.
    WrongSigner,
    /// A record signed for another repository.
    Replayed,
    /// A valid object under a number that is in use: a snapshot, a retirement or a policy.
    TwinNumber,
    /// A record again in another encoding, and with another form of its signature.
    TwinEncoding,
    /// Garbage on top of everything, just before it is renewed.
    OverwriteThenWait,
    /// Locks are to end earlier.
    Shorten,
    /// Locks are to end in decades.
    ExtendForEver,
    /// Every version is to go.
    DeleteVersions,
    /// Valid checkpoints that descend from what lives.
    PlantCheckpoints,
    /// A valid segment, listed by a valid snapshot, that names garbage as the version of a pack.
    ClaimVersion,
    /// A valid witness that everything is older than it is.
    BackdatingWitness,
    /// A valid record of moves to where nothing was moved.
    LyingMoves,
    /// Another repository at the same address, older by its own word.
    ReplaceRoot,
    /// A valid bundle that supersedes the owner's.
    ReplaceBundle,
    /// Snapshots signed with a key that may add backups: from the future, empty, or many.
    PlantAsBackup,
    /// Every version is to go, by the right to bypass governance.
    Bypass,
    /// Some packs go, with a right against which nothing is promised.
    Destroy,
}

impl Attack {
    /// What a stolen credential is enough for.
    pub const WITH_CREDENTIAL: [Self; 12] = [
        Self::Hide,
        Self::HideEverything,
        Self::Overwrite,
        Self::Truncate,
        Self::Swap,
        Self::PutBack,
        Self::Foreign,
        Self::Unsigned,
        Self::WrongSigner,
        Self::Replayed,
        Self::TwinEncoding,
        Self::OverwriteThenWait,
    ];
    /// What can be tried where there are locks.
    pub const ON_LOCKS: [Self; 4] = [
        Self::Shorten,
        Self::ExtendForEver,
        Self::DeleteVersions,
        Self::Bypass,
    ];
    /// What takes the passphrase too.
    pub const WITH_PASSPHRASE: [Self; 14] = [
        Self::PlantSnapshots,
        Self::LyingSegment,
        Self::FalsePacks,
        Self::RetireEverything,
        Self::ShorterPolicy,
        Self::TwinPolicies,
        Self::BrokenPolicy,
        Self::TwinNumber,
        Self::PlantCheckpoints,
        Self::ClaimVersion,
        Self::BackdatingWitness,
        Self::LyingMoves,
        Self::ReplaceRoot,
        Self::ReplaceBundle,
    ];

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        let lists = Self::WITH_CREDENTIAL
            .into_iter()
            .chain(Self::ON_LOCKS)
            .chain(Self::WITH_PASSPHRASE);
        lists.chain([Self::PlantAsBackup, Self::Destroy])
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hide => "hide",
            Self::HideEverything => "hide everything",
            Self::Overwrite => "overwrite",
            Self::Truncate => "truncate",
            Self::Swap => "swap",
            Self::PutBack => "put back",
            Self::Foreign => "foreign names",
            Self::PlantSnapshots => "plant snapshots",
            Self::LyingSegment => "lying segment",
            Self::FalsePacks => "false packs",
            Self::RetireEverything => "retire everything",
            Self::ShorterPolicy => "shorter policy",
            Self::TwinPolicies => "twin policies",
            Self::BrokenPolicy => "broken policy",
            Self::Unsigned => "unsigned record",
            Self::WrongSigner => "wrong signer",
            Self::Replayed => "replayed record",
            Self::TwinNumber => "twin number",
            Self::TwinEncoding => "twin encoding",
            Self::OverwriteThenWait => "overwrite then wait",
            Self::Shorten => "shorten locks",
            Self::ExtendForEver => "extend for ever",
            Self::DeleteVersions => "delete versions",
            Self::PlantCheckpoints => "plant checkpoints",
            Self::ClaimVersion => "claim a version",
            Self::BackdatingWitness => "backdating witness",
            Self::LyingMoves => "lying moves",
            Self::ReplaceRoot => "replace the root",
            Self::ReplaceBundle => "replace the bundle",
            Self::PlantAsBackup => "plant as a backup key",
            Self::Bypass => "bypass governance",
            Self::Destroy => "destroy packs",
        })
    }
}

/// An attacker, and what it remembers.
#[derive(Debug)]
pub struct Attacker {
    machine: Machine,
    stolen: Stolen,
    /// Keys that it locked for ever.
    extended: BTreeSet<String>,
    /// Its own instance, under the admin's name.
    instance: InstanceId,
    next_number: u64,
    /// Objects that it saw: what is deleted since can be put back.
    seen: Vec<(StoreKey, Bytes)>,
}

/// An attack under way.
struct Strike<'a> {
    kit: &'a Kit,
    store: MemoryStore,
    dice: &'a mut Dice,
    all: Vec<Stored>,
}

impl Attacker {
    /// An attacker at a machine of its own.
    pub fn new(machine: Machine, stolen: Stolen, dice: &mut Dice) -> Self {
        Self {
            machine,
            stolen,
            extended: BTreeSet::new(),
            instance: InstanceId(dice.array()),
            next_number: 1,
            seen: Vec::new(),
        }
    }

    /// What it stole.
    pub fn stolen(&self) -> Stolen {
        self.stolen
    }

    /// Whether it can sign as the owner.
    pub fn has_passphrase(&self) -> bool {
        self.stolen.has_passphrase()
    }

    /// Keys that it locked for ever.
    pub fn extended(&self) -> impl Iterator<Item = &String> {
        self.extended.iter()
    }

    /// Attacks once.
    pub fn strike(
        &mut self,
        kit: &Kit,
        model: &Model,
        attack: Attack,
        dice: &mut Dice,
    ) -> Result<(), SimError> {
        let all = all_versions(kit)?;
        self.remember(&all);
        let mut strike = Strike {
            kit,
            store: kit
                .store
                .with_credential(self.stolen.credential(&kit.keeping)),
            dice,
            all,
        };
        match attack {
            Attack::Hide => strike.hide(false),
            Attack::HideEverything => strike.hide(true),
            Attack::Overwrite | Attack::Truncate | Attack::Swap | Attack::OverwriteThenWait => {
                strike.cover(attack)
            }
            Attack::PutBack => strike.put_back(&self.seen),
            Attack::Foreign => strike.foreign(),
            Attack::Unsigned | Attack::WrongSigner | Attack::Replayed => {
                strike.forge(model, attack)
            }
            Attack::TwinEncoding => strike.encode_again(),
            Attack::Shorten => strike.shorten(),
            Attack::ExtendForEver => {
                self.extended.extend(strike.extend_for_ever()?);
                Ok(())
            }
            Attack::DeleteVersions => strike.delete_versions(),
            Attack::Bypass => strike.bypass(),
            Attack::Destroy => strike.destroy(),
            Attack::PlantAsBackup => self.plant_as_backup(&mut strike),
            Attack::PlantSnapshots
            | Attack::LyingSegment
            | Attack::FalsePacks
            | Attack::RetireEverything
            | Attack::ShorterPolicy
            | Attack::TwinPolicies
            | Attack::BrokenPolicy
            | Attack::TwinNumber
            | Attack::PlantCheckpoints
            | Attack::ClaimVersion
            | Attack::BackdatingWitness
            | Attack::LyingMoves
            | Attack::ReplaceRoot
            | Attack::ReplaceBundle => self.strike_with_passphrase(&mut strike, model, attack),
        }
    }

    fn remember(&mut self, all: &[Stored]) {
        for stored in all.iter().filter(|stored| stored.is_authentic) {
            if !self.seen.iter().any(|(key, _)| *key == stored.key) {
                self.seen.push((stored.key.clone(), stored.body.clone()));
            }
        }
        // In the order in which they were stored, which does not hang on hashes.
    }

    fn strike_with_passphrase(
        &mut self,
        strike: &mut Strike<'_>,
        model: &Model,
        attack: Attack,
    ) -> Result<(), SimError> {
        let mut repository = self.open(strike)?;
        match attack {
            Attack::PlantSnapshots => self.plant_snapshots(strike, &repository, model),
            Attack::LyingSegment => strike.lie_in_segment(&repository),
            Attack::FalsePacks => strike.lie_of_packs(&repository),
            Attack::ShorterPolicy | Attack::TwinPolicies | Attack::BrokenPolicy => {
                self.plant_policies(strike, &repository, model, attack)
            }
            Attack::TwinNumber => strike.plant_twin(&repository, model),
            Attack::PlantCheckpoints => strike.plant_checkpoint(&repository),
            Attack::ClaimVersion => {
                let stamp = self.next_stamp(&repository);
                strike.claim_version(&repository, stamp)
            }
            Attack::BackdatingWitness => {
                let stamp = self.next_stamp(&repository);
                strike.backdate(&repository, stamp)
            }
            Attack::LyingMoves => {
                let stamp = self.next_stamp(&repository);
                strike.lie_of_moves(&repository, stamp)
            }
            Attack::ReplaceRoot => strike.replace_root(&repository),
            Attack::ReplaceBundle => Ok(repository.change_passphrase(&strike.dice.bytes(12))?),
            _ => {
                let list = SnapshotList::load(&repository, None)?;
                let snapshots: Vec<_> = list
                    .snapshots
                    .iter()
                    .map(|entry| entry.snapshot.reference(entry.id))
                    .collect();
                let stamp = self.next_stamp(&repository);
                let fact = Fact::Retirement {
                    snapshots,
                    policy: None,
                };
                strike.put_fact(&repository, stamp, fact).map(|_id| ())
            }
        }
    }

    fn open(&self, strike: &mut Strike<'_>) -> Result<Repository, SimError> {
        let credential = self.stolen.credential(&strike.kit.keeping);
        let view: Arc<dyn dolmen_store::Store> =
            Arc::new(strike.kit.store.with_credential(credential));
        Ok(strike.kit.open(view, &self.machine, strike.dice.next())?)
    }

    fn next_stamp(&mut self, repository: &Repository) -> Stamp {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        Stamp {
            writer: repository.writer(),
            instance: self.instance,
            number,
        }
    }

    fn plant_snapshots(
        &mut self,
        strike: &mut Strike<'_>,
        repository: &Repository,
        model: &Model,
    ) -> Result<(), SimError> {
        let many = if strike.dice.chance(300) { 9 } else { 1 };
        for _ in 0..many {
            let stamp = match strike.dice.below(3) {
                // In the name of a victim's instance, as its next.
                0 => next_of_victim(model, strike.dice),
                _ => None,
            };
            let stamp = stamp.unwrap_or_else(|| self.next_stamp(repository));
            let days = strike.dice.between(-1, 4000);
            let planted = Planted {
                days,
                ..Planted::of(repository, stamp)
            };
            strike.plant_snapshot(repository, planted)?;
        }
        Ok(())
    }

    /// What it needs of the passphrase is what a key file would hold: the public halves of the keys.
    fn plant_as_backup(&mut self, strike: &mut Strike<'_>) -> Result<(), SimError> {
        let repository = self.open(strike)?;
        let writer = strike.kit.backup.signing.verify_key().writer_id();
        let many = if strike.dice.chance(300) { 9 } else { 1 };
        for _ in 0..many {
            let stamp = Stamp {
                writer,
                ..self.next_stamp(&repository)
            };
            let planted = Planted {
                signer: strike.kit.backup.signing.clone(),
                certificate: Some(strike.kit.backup.certificate),
                domain: strike.kit.backup.domain,
                days: strike.dice.between(2, 4000),
                ..Planted::of(&repository, stamp)
            };
            strike.plant_snapshot(&repository, planted)?;
        }
        Ok(())
    }

    fn plant_policies(
        &mut self,
        strike: &mut Strike<'_>,
        repository: &Repository,
        model: &Model,
        attack: Attack,
    ) -> Result<(), SimError> {
        let newest = model.newest_policy();
        let shorter: Vec<Policy> = match attack {
            Attack::ShorterPolicy => vec![short([10, 5, 1], newest)],
            Attack::TwinPolicies => vec![short([3, 1, 1], newest), short([4, 1, 1], newest)],
            _ => vec![short([3, 1, 1], Some(ObjectId(strike.dice.array())))],
        };
        for policy in shorter {
            let stamp = self.next_stamp(repository);
            strike.put_fact(repository, stamp, Fact::Policy(policy))?;
        }
        Ok(())
    }
}

/// A policy that protects for less, and locks nothing.
fn short(days: [u64; 3], previous: Option<ObjectId>) -> Policy {
    policy(days, LockStrategy::None, previous)
}

/// What came of a call that may be refused; anything else that fails is the world's own failure.
fn attempt<T>(result: Result<T, StoreError>) -> Result<Option<T>, SimError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error)
            if matches!(
                error.kind,
                StoreErrorKind::Denied
                    | StoreErrorKind::Locked
                    | StoreErrorKind::NotFound
                    | StoreErrorKind::Unsupported
                    | StoreErrorKind::Other
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What is particular about a planted snapshot.
#[derive(Debug)]
struct Planted {
    signer: SigningKey,
    certificate: Option<ObjectId>,
    domain: DomainId,
    stamp: Stamp,
    /// How far from now it is dated.
    days: i64,
    /// 0 for a snapshot.
    checkpoint: u32,
    heads: Vec<Reference>,
    /// `None`: those of the snapshot that it is like, or none.
    segments: PlantedSegments,
}

/// The number after the highest that some instance used.
fn next_of_victim(model: &Model, dice: &mut Dice) -> Option<Stamp> {
    let used = model.used_stamps();
    let (_, victim) = dice.pick(&used)?;
    let of_victim = used
        .iter()
        .filter(|(_, stamp)| stamp.instance == victim.instance);
    let number = of_victim.map(|(_, stamp)| stamp.number).max()?;
    Some(Stamp {
        number: number.saturating_add(1),
        ..*victim
    })
}

impl Strike<'_> {
    fn put(&self, name: &str, body: Bytes) -> Result<(), SimError> {
        let Ok(key) = StoreKey::try_from(name) else {
            return Ok(());
        };
        let put = self.store.put(&key, body, None, Place::OnTop);
        attempt(self.kit.block_on(put))?;
        Ok(())
    }

    /// Notes what is claimed, for whom a mutation makes believe it.
    fn claims<T>(&self, note: impl FnOnce(&mut Claims) -> T) {
        let claims = self.kit.claims.lock();
        note(&mut claims.unwrap_or_else(PoisonError::into_inner));
    }

    /// Retirements and policies again: with a byte more, and with the other form of the signature that careless
    /// verifiers take, its scalar plus the order of the group.
    fn encode_again(&mut self) -> Result<(), SimError> {
        let records = self.all.clone();
        let is_record =
            |stored: &&Stored| stored.is_authentic && stored.key.as_str().starts_with("ledger/");
        for stored in records.iter().filter(is_record) {
            let Ok(ObjectKey::Ledger(writer, _)) = stored.key.as_str().parse() else {
                continue;
            };
            let mut longer = stored.body.to_vec();
            longer.push(0);
            for twin in [longer, with_other_signature(&stored.body)] {
                let key = ObjectKey::Ledger(writer, ObjectId::of(&twin));
                self.put(&key.to_string(), Bytes::from(twin))?;
            }
            self.claims(|claims| claims.twins.insert(stored.key.to_string()));
        }
        Ok(())
    }

    fn keys(&self) -> Vec<StoreKey> {
        let mut keys: Vec<_> = self.all.iter().map(|stored| stored.key.clone()).collect();
        keys.dedup();
        keys
    }

    fn plant_twin(&mut self, repository: &Repository, model: &Model) -> Result<(), SimError> {
        let used = model.used_stamps();
        let Some((id, stamp)) = self.dice.pick(&used).copied() else {
            return Ok(());
        };
        self.claims(|claims| {
            for key in [
                ObjectKey::Snapshot(stamp.writer, id),
                ObjectKey::Ledger(stamp.writer, id),
            ] {
                claims.doubled.insert(key.to_string());
            }
        });
        match self.dice.below(3) {
            0 => self.plant_snapshot(repository, Planted::of(repository, stamp)),
            1 => {
                let fact = Fact::Policy(short([3, 1, 1], model.newest_policy()));
                self.put_fact(repository, stamp, fact).map(|_id| ())
            }
            _ => {
                let list = SnapshotList::load(repository, None)?;
                let live: Vec<_> = list.snapshots.iter().collect();
                let named = self.dice.pick(&live);
                let snapshots = named.map(|entry| entry.snapshot.reference(entry.id));
                let fact = Fact::Retirement {
                    snapshots: snapshots.into_iter().collect(),
                    policy: None,
                };
                self.put_fact(repository, stamp, fact).map(|_id| ())
            }
        }
    }

    /// Records that must count for nothing.
    fn forge(&mut self, model: &Model, attack: Attack) -> Result<(), SimError> {
        let used = model.used_stamps();
        let live: Vec<SnapshotId> = model.held().map(|promise| promise.id).collect();
        let (Some((_, stamp)), Some(victim)) =
            (self.dice.pick(&used).copied(), self.dice.pick(&live))
        else {
            return Ok(());
        };
        let stamp = Stamp {
            number: stamp.number.saturating_add(self.dice.below(3)),
            ..stamp
        };
        let reference = Reference {
            writer: stamp.writer,
            instance: stamp.instance,
            number: stamp.number,
            digest: *victim,
        };
        let fact = Fact::Retirement {
            snapshots: vec![reference],
            policy: None,
        };
        let record = self.record(stamp, fact);
        let stranger = SigningKey::new(&Secret::new(self.dice.array()));
        let repository = if attack == Attack::Replayed {
            RepositoryId::from_bytes(self.dice.array())
        } else {
            self.kit.id
        };
        let (mut stored, _) = stranger.sign(&repository, &record)?;
        if attack == Attack::Unsigned
            && let Some(last) = stored.last_mut()
        {
            *last ^= 1;
        }
        let key = ObjectKey::Ledger(stamp.writer, ObjectId::of(&stored));
        self.put(&key.to_string(), Bytes::from(stored))
    }

    fn hide(&mut self, everything: bool) -> Result<(), SimError> {
        let keys = self.keys();
        let chance = if everything { 1000 } else { 200 };
        for key in keys {
            if self.dice.chance(chance) {
                attempt(self.kit.block_on(self.store.hide(&key)))?;
            }
        }
        Ok(())
    }

    fn cover(&mut self, attack: Attack) -> Result<(), SimError> {
        let all = self.all.clone();
        let chance = if self.dice.chance(300) { 1000 } else { 200 };
        for stored in all.iter().filter(|stored| stored.is_authentic) {
            if !self.dice.chance(chance) {
                continue;
            }
            let length = stored.body.len();
            let body = match attack {
                Attack::Truncate => stored.body.slice(..self.dice.place(length)),
                Attack::Swap => self
                    .dice
                    .pick(&all)
                    .map_or_else(Bytes::new, |other| other.body.clone()),
                _ => {
                    let more = self.dice.place(3).saturating_mul(10);
                    Bytes::from(self.dice.bytes(length.saturating_add(more)))
                }
            };
            self.put(stored.key.as_str(), body)?;
        }
        Ok(())
    }

    fn put_back(&mut self, seen: &[(StoreKey, Bytes)]) -> Result<(), SimError> {
        for (key, body) in seen {
            if self.dice.chance(150) {
                self.put(key.as_str(), body.clone())?;
            }
        }
        for stored in self.all.clone() {
            if self.dice.chance(100) {
                let object = ObjectRef {
                    key: stored.key,
                    version: stored.version,
                };
                attempt(self.store.put_back(&object))?;
            }
        }
        Ok(())
    }

    fn foreign(&mut self) -> Result<(), SimError> {
        let folders = [
            "",
            "packs/",
            "index/",
            "snapshots/",
            "ledger/",
            "root/",
            "keys/",
            "x/",
        ];
        for folder in folders {
            let name = format!("{folder}strange {}", self.dice.below(1000));
            attempt(self.store.put_foreign(&name, b"nothing of yours"))?;
        }
        Ok(())
    }

    fn record(&mut self, stamp: Stamp, fact: Fact) -> Record {
        Record {
            stamp,
            time: self.kit.now(),
            nonce: Nonce(self.dice.array()),
            certificate: None,
            fact,
        }
    }

    fn put_fact(
        &mut self,
        repository: &Repository,
        stamp: Stamp,
        fact: Fact,
    ) -> Result<ObjectId, SimError> {
        let record = self.record(stamp, fact);
        let (stored, id) = sign(repository, &record)?;
        let key = ObjectKey::Ledger(repository.writer(), id);
        self.put(&key.to_string(), stored)?;
        Ok(id)
    }

    /// A valid snapshot like one that there is: from the future, or with a manifest that names nothing or is none.
    fn plant_snapshot(
        &mut self,
        repository: &Repository,
        planted: Planted,
    ) -> Result<(), SimError> {
        let list = SnapshotList::load(repository, None)?;
        let known: Vec<_> = list.snapshots.iter().chain(&list.retired).collect();
        let Some(like) = self.dice.pick(&known) else {
            return Ok(());
        };
        let nonce = Nonce(self.dice.array());
        let aad = Snapshot::box_aad(&repository.id(), &nonce);
        let manifest = match self.dice.below(3) {
            0 => Vec::new(),
            1 => dolmen_format::manifest::ManifestNode::Leaf(Vec::new()).encode(),
            _ => self.dice.bytes(100),
        };
        let (read, maintain) = (repository.keys().read()?, repository.keys().maintain()?);
        let secret = Secret::new(self.dice.array());
        let mut snapshot = Snapshot {
            stamp: planted.stamp,
            certificate: planted.certificate,
            domain: planted.domain,
            checkpoint: planted.checkpoint,
            heads: planted.heads,
            time: now_plus(self.kit.now(), planted.days),
            nonce,
            manifest: maintain
                .public()
                .seal(&secret, b"dolmen v1 manifest", &aad, &manifest)?,
            body: read.public().seal(
                &Secret::new(self.dice.array()),
                b"dolmen v1 snapshot body",
                &aad,
                &like.readable()?.encode()?,
            )?,
            ..like.snapshot.clone()
        };
        if let Some(segments) = planted.segments {
            snapshot.segments = segments;
        } else if self.dice.chance(500) {
            snapshot.segments.clear();
        }
        let (stored, id) = planted.signer.sign(&repository.id(), &snapshot)?;
        let key = ObjectKey::Snapshot(planted.stamp.writer, id);
        self.put(&key.to_string(), Bytes::from(stored))
    }

    /// A valid segment that says of the blobs of known packs that they lie in each other's frames.
    fn lie_in_segment(&mut self, repository: &Repository) -> Result<(), SimError> {
        let Some(body) = self.some_segment(repository) else {
            return Ok(());
        };
        let mut segment = dolmen_format::signed::decode::<Segment>(&body)?.body;
        let (id, domain) = (repository.id(), repository.keys().home()?);
        let mut plain = Vec::new();
        let opened = domain.open_segment(&id, &segment.salt, &mut segment.blobs)?;
        decode_frames(opened, segment.packs.len(), |_, mut frames| {
            let mut blobs: Vec<_> = frames.iter().map(|frame| frame.blobs.clone()).collect();
            let by = usize::from(blobs.len() > 1);
            blobs.rotate_left(by);
            for (frame, blobs) in frames.iter_mut().zip(blobs) {
                let raw_bytes = blobs.iter().map(|blob| blob.length).sum();
                (frame.blobs, frame.raw_bytes) = (blobs, raw_bytes);
            }
            encode_frames(&frames, &mut plain);
        })?;
        segment.salt = Salt(self.dice.array());
        segment.blobs = domain.seal_segment(&id, &segment.salt, plain)?;
        if self.dice.chance(300) {
            for pack in &mut segment.packs {
                pack.pack_bytes = pack.pack_bytes.saturating_add(1);
            }
        }
        let (stored, id) = sign(repository, &segment)?;
        let key = ObjectKey::Index(repository.writer(), id);
        self.put(&key.to_string(), stored)
    }
}

/// The order of the group that signatures are made in, little-endian.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn with_other_signature(stored: &[u8]) -> Vec<u8> {
    let mut twin = stored.to_vec();
    if let Some(scalar) = twin.last_chunk_mut::<32>() {
        let mut carry = 0;
        for (byte, order) in scalar.iter_mut().zip(GROUP_ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            let [low, high] = sum.to_le_bytes();
            (*byte, carry) = (low, u16::from(high));
        }
    }
    twin
}

fn now_plus(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_add_seconds(days.saturating_mul(crate::kit::DAY))
}

fn sign<T: SignedBody>(repository: &Repository, body: &T) -> Result<(Bytes, ObjectId), SimError> {
    let (stored, id) = repository.keys().signing().sign(&repository.id(), body)?;
    Ok((Bytes::from(stored), id))
}
