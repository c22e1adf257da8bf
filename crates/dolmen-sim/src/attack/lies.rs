//! Lies that bear a valid signature: what takes the passphrase.

use bytes::Bytes;
use dolmen_core::Repository;
use dolmen_core::snapshots::SnapshotList;
use dolmen_crypto::{AdminSecret, Secret, bundle};
use dolmen_format::index::Segment;
use dolmen_format::ledger::{Fact, Receipt};
use dolmen_format::root::{Root, SUITE};
use dolmen_format::signed::{NO_REPOSITORY, Stamp};
use dolmen_format::{DomainId, ObjectKey, Salt, SegmentId, SlotId, Timestamp};
use dolmen_store::{Place, Store as _, StoreKey};

use super::{Planted, Strike, attempt, now_plus, sign};
use crate::error::SimError;
use crate::kit::DAY;
use crate::model::Stored;

impl Strike<'_> {
    /// A checkpoint that descends from a victim's snapshot, as if that were over.
    pub(super) fn plant_checkpoint(&mut self, repository: &Repository) -> Result<(), SimError> {
        let list = SnapshotList::load(repository, None)?;
        let victims: Vec<_> = list.snapshots.iter().collect();
        let Some(victim) = self.dice.pick(&victims) else {
            return Ok(());
        };
        let reference = victim.snapshot.reference(victim.id);
        let next = Stamp {
            number: reference.number.saturating_add(1),
            ..victim.snapshot.stamp
        };
        let planted = Planted {
            checkpoint: 1,
            heads: vec![reference],
            ..Planted::of(repository, next)
        };
        let key = ObjectKey::Snapshot(reference.writer, victim.id).to_string();
        self.claims(|claims| claims.descended.insert(key));
        self.plant_snapshot(repository, planted)
    }

    /// Garbage on a pack, and a segment that a snapshot lists which says that the garbage is the pack.
    pub(super) fn claim_version(
        &mut self,
        repository: &Repository,
        stamp: Stamp,
    ) -> Result<(), SimError> {
        let Some(body) = self.some_segment(repository) else {
            return Ok(());
        };
        let mut segment = dolmen_format::signed::decode::<Segment>(&body)?.body;
        for entry in &mut segment.packs {
            let key = ObjectKey::Pack(repository.writer(), entry.pack);
            let length = usize::try_from(entry.pack_bytes).unwrap_or(0);
            let garbage = Bytes::from(self.dice.bytes(length));
            let Ok(key) = StoreKey::try_from(key.to_string()) else {
                continue;
            };
            let put = self.store.put(&key, garbage, None, Place::OnTop);
            let Some(receipt) = attempt(self.kit.block_on(put))? else {
                continue;
            };
            receipt
                .object
                .version
                .as_str()
                .clone_into(&mut entry.version);
            let version = receipt.object.version;
            self.claims(|claims| claims.versions.insert(key.to_string(), version));
        }
        let (stored, id) = sign(repository, &segment)?;
        let key = ObjectKey::Index(repository.writer(), id);
        self.put(&key.to_string(), stored)?;
        let planted = Planted {
            segments: Some(vec![id]),
            ..Planted::of(repository, stamp)
        };
        self.plant_snapshot(repository, planted)
    }

    /// A witness that everything is much older than it is.
    pub(super) fn backdate(
        &mut self,
        repository: &Repository,
        stamp: Stamp,
    ) -> Result<(), SimError> {
        let received = now_plus(self.kit.now(), -400);
        let known = self.all.iter().filter(|stored| stored.is_authentic);
        let keys = known.filter_map(|stored| stored.key.as_str().parse::<ObjectKey>().ok());
        let keys: Vec<_> = keys.collect();
        let receipts = keys.iter().map(|key| Receipt {
            object: key.id(),
            received,
        });
        let fact = Fact::Witness {
            receipts: receipts.collect(),
        };
        self.claims(|claims| {
            let names = keys.iter().map(ToString::to_string);
            claims.receipts.extend(names.map(|name| (name, received)));
        });
        self.put_fact(repository, stamp, fact).map(|_id| ())
    }

    /// Another repository at the same address, which the same passphrase opens and which says that it is older.
    pub(super) fn replace_root(&mut self, repository: &Repository) -> Result<(), SimError> {
        let admin = AdminSecret::new(Secret::new(self.dice.array()));
        let signing = admin.signing_key();
        let created = Timestamp::from_seconds(DAY);
        let root = Root {
            created,
            nonce: Salt(self.dice.array()),
            suite: SUITE,
            verify_key: signing.verify_key().to_bytes(),
            epoch: admin.epoch(Salt(self.dice.array())),
            domain: DomainId(self.dice.array()),
            policy: repository.root().policy.clone(),
        };
        let (root, id) = signing.sign(&NO_REPOSITORY, &root)?;
        let name = bundle::BundleName {
            slot: SlotId(self.dice.array()),
            number: 1,
            created,
        };
        let mut kdf = bundle::default_kdf(Salt(self.dice.array()));
        (kdf.memory_kib, kdf.passes, kdf.lanes) = (64, 1, 1);
        let bundle = bundle::wrap(&id, name, kdf, &self.kit.passphrase(), &admin)?;
        let (bundle, bundle_id) = signing.sign(&id, &bundle)?;
        self.put(&ObjectKey::Key(bundle_id).to_string(), Bytes::from(bundle))?;
        self.put(&ObjectKey::Root(id).to_string(), Bytes::from(root))
    }

    /// A segment that there is.
    pub(super) fn some_segment(&mut self, repository: &Repository) -> Option<Bytes> {
        let bodies = self.segments(repository).map(|stored| stored.body.clone());
        let bodies: Vec<_> = bodies.collect();
        self.dice.pick(&bodies).cloned()
    }

    pub(super) fn segments(&self, repository: &Repository) -> impl Iterator<Item = &Stored> {
        let prefix = format!("index/{}/", repository.writer());
        let is_segment =
            move |stored: &&Stored| stored.is_authentic && stored.key.as_str().starts_with(&prefix);
        self.all.iter().filter(is_segment)
    }
}

impl Planted {
    /// A snapshot like others.
    pub(super) fn of(repository: &Repository, stamp: Stamp) -> Self {
        Self {
            signer: repository.keys().signing().clone(),
            certificate: None,
            domain: repository.root().domain,
            stamp,
            days: 0,
            checkpoint: 0,
            heads: Vec::new(),
            segments: None,
        }
    }
}

/// The segments that a planted snapshot lists.
pub(super) type PlantedSegments = Option<Vec<SegmentId>>;
