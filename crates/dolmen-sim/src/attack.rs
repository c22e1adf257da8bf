//! What an attacker does that holds a client's credential, and at times the passphrase too, and knows the code.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use dolmen_core::Repository;
use dolmen_core::snapshots::SnapshotList;
use dolmen_crypto::{Secret, SigningKey};
use dolmen_format::index::{Segment, decode_frames, encode_frames};
use dolmen_format::ledger::{Fact, Policy, Record};
use dolmen_format::signed::{SignedBody, Stamp};
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{
    InstanceId, Nonce, ObjectId, ObjectKey, RepositoryId, Salt, SnapshotId, Timestamp,
};
use dolmen_store::{MemoryStore, ObjectRef, Place, Store as _, StoreKey};

use crate::act::stolen_credential;
use crate::dice::Dice;
use crate::error::SimError;
use crate::kit::{Kit, Machine, policy};
use crate::model::{Model, Stored, all_versions};

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
}

impl Attack {
    /// What a stolen credential is enough for.
    pub const WITH_CREDENTIAL: [Self; 10] = [
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
    ];
    /// What takes the passphrase too.
    pub const WITH_PASSPHRASE: [Self; 6] = [
        Self::PlantSnapshots,
        Self::RetireEverything,
        Self::ShorterPolicy,
        Self::TwinPolicies,
        Self::BrokenPolicy,
        Self::TwinNumber,
    ];
    /// What takes the passphrase too, and harms today: readers believe the index where its segments contradict each other.
    pub const UNSOLVED: [Self; 1] = [Self::LyingSegment];
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
            Self::RetireEverything => "retire everything",
            Self::ShorterPolicy => "shorter policy",
            Self::TwinPolicies => "twin policies",
            Self::BrokenPolicy => "broken policy",
            Self::Unsigned => "unsigned record",
            Self::WrongSigner => "wrong signer",
            Self::Replayed => "replayed record",
            Self::TwinNumber => "twin number",
        })
    }
}

/// An attacker, and what it remembers.
#[derive(Debug)]
pub struct Attacker {
    machine: Machine,
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
    pub fn new(machine: Machine, dice: &mut Dice) -> Self {
        Self {
            machine,
            instance: InstanceId(dice.array()),
            next_number: 1,
            seen: Vec::new(),
        }
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
            store: kit.store.with_credential(stolen_credential()),
            dice,
            all,
        };
        match attack {
            Attack::Hide => strike.hide(false),
            Attack::HideEverything => strike.hide(true),
            Attack::Overwrite | Attack::Truncate | Attack::Swap => strike.cover(attack),
            Attack::PutBack => strike.put_back(&self.seen),
            Attack::Foreign => strike.foreign(),
            Attack::Unsigned | Attack::WrongSigner | Attack::Replayed => {
                strike.forge(model, attack)
            }
            Attack::PlantSnapshots
            | Attack::LyingSegment
            | Attack::RetireEverything
            | Attack::ShorterPolicy
            | Attack::TwinPolicies
            | Attack::BrokenPolicy
            | Attack::TwinNumber => self.strike_with_passphrase(&mut strike, model, attack),
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
        let view: Arc<dyn dolmen_store::Store> =
            Arc::new(strike.kit.store.with_credential(stolen_credential()));
        let repository = strike.kit.open(view, &self.machine, strike.dice.next())?;
        match attack {
            Attack::PlantSnapshots => self.plant_snapshots(strike, &repository, model),
            Attack::LyingSegment => strike.lie_in_segment(&repository),
            Attack::ShorterPolicy | Attack::TwinPolicies | Attack::BrokenPolicy => {
                self.plant_policies(strike, &repository, model, attack)
            }
            Attack::TwinNumber => strike.plant_twin(&repository, model),
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
            strike.plant_snapshot(repository, stamp)?;
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
            Attack::ShorterPolicy => vec![policy([10, 5, 1], newest)],
            Attack::TwinPolicies => vec![policy([3, 1, 1], newest), policy([4, 1, 1], newest)],
            _ => vec![policy([3, 1, 1], Some(ObjectId(strike.dice.array())))],
        };
        for policy in shorter {
            let stamp = self.next_stamp(repository);
            strike.put_fact(repository, stamp, Fact::Policy(policy))?;
        }
        Ok(())
    }
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
        self.kit.block_on(put)?;
        Ok(())
    }

    fn keys(&self) -> Vec<StoreKey> {
        let mut keys: Vec<_> = self.all.iter().map(|stored| stored.key.clone()).collect();
        keys.dedup();
        keys
    }

    fn plant_twin(&mut self, repository: &Repository, model: &Model) -> Result<(), SimError> {
        let used = model.used_stamps();
        let Some((_, stamp)) = self.dice.pick(&used).copied() else {
            return Ok(());
        };
        match self.dice.below(3) {
            0 => self.plant_snapshot(repository, stamp),
            1 => {
                let fact = Fact::Policy(policy([3, 1, 1], model.newest_policy()));
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
        let reference = dolmen_format::signed::Reference {
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
                self.kit.block_on(self.store.hide(&key))?;
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
                self.store.put_back(&object)?;
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
            self.store.put_foreign(&name, b"nothing of yours")?;
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
    fn plant_snapshot(&mut self, repository: &Repository, stamp: Stamp) -> Result<(), SimError> {
        let list = SnapshotList::load(repository, None)?;
        let known: Vec<_> = list.snapshots.iter().chain(&list.retired).collect();
        let Some(like) = self.dice.pick(&known) else {
            return Ok(());
        };
        let days = self.dice.between(-1, 4000);
        let nonce = Nonce(self.dice.array());
        let aad = Snapshot::box_aad(&repository.id(), &nonce);
        let manifest = match self.dice.below(3) {
            0 => Vec::new(),
            1 => dolmen_format::manifest::ManifestNode::Leaf(Vec::new()).encode(),
            _ => self.dice.bytes(100),
        };
        let (read, maintain) = (repository.read_key(), repository.maintain_key());
        let secret = Secret::new(self.dice.array());
        let mut snapshot = Snapshot {
            stamp,
            time: now_plus(self.kit.now(), days),
            nonce,
            manifest: maintain
                .public()
                .seal(&secret, b"dolmen v1 manifest", &aad, &manifest)?,
            body: read.public().seal(
                &Secret::new(self.dice.array()),
                b"dolmen v1 snapshot body",
                &aad,
                &like.body.encode()?,
            )?,
            ..like.snapshot.clone()
        };
        if self.dice.chance(500) {
            snapshot.segments.clear();
        }
        let (stored, id) = sign(repository, &snapshot)?;
        let key = ObjectKey::Snapshot(repository.writer(), id);
        self.put(&key.to_string(), stored)
    }

    /// A valid segment that says of the blobs of known packs that they lie in each other's frames.
    fn lie_in_segment(&mut self, repository: &Repository) -> Result<(), SimError> {
        let prefix = format!("index/{}/", repository.writer());
        let segments: Vec<_> = self
            .all
            .iter()
            .filter(|stored| stored.is_authentic && stored.key.as_str().starts_with(&prefix))
            .map(|stored| stored.body.clone())
            .collect();
        let Some(body) = self.dice.pick(&segments) else {
            return Ok(());
        };
        let mut segment = dolmen_format::signed::decode::<Segment>(body)?.body;
        let (id, domain) = (repository.id(), repository.domain());
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

fn now_plus(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_add_seconds(days.saturating_mul(crate::kit::DAY))
}

fn sign<T: SignedBody>(repository: &Repository, body: &T) -> Result<(Bytes, ObjectId), SimError> {
    let (stored, id) = repository.signing_key().sign(&repository.id(), body)?;
    Ok((Bytes::from(stored), id))
}
